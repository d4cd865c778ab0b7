"""Which OCPI versions we speak, and the endpoints of one of them for the partner that asks."""

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec
from msgspec import Struct

from api.access import Side
from api.errors import Refusal, no_such_path, not_allowed, not_spoken
from api.exchange import Answer, Asked
from schemas.ocpi.dialect import Dialect
from schemas.types import Module

OFFERED: Final[Mapping[Side, tuple[Module, ...]]] = {
    "SENDER": (Module.SESSIONS, Module.CDRS),
    "RECEIVER": (Module.SESSIONS, Module.CDRS),
}
"""The modules of each of our interfaces."""


class Version(Struct, frozen=True):
    """OCPI 2.2.1 version_information_endpoint, Version class."""

    version: str
    url: str


class Offered(Struct, frozen=True):
    """OCPI 2.2.1 version_information_endpoint, Endpoint class."""

    identifier: str
    role: Side
    url: str


class VersionDetails(Struct, frozen=True):
    """OCPI 2.2.1 version_information_endpoint, version details."""

    version: str
    endpoints: list[Offered]


class Versions:
    """Answers `/ocpi/versions` and `/ocpi/{version}`. `public_url` is where partners reach this house."""

    def __init__(self, dialects: Mapping[str, Dialect], public_url: str) -> None:
        self._dialects = dialects
        self._base = f"{public_url.rstrip('/')}/ocpi"

    async def __call__(self, asked: Asked) -> Answer:
        """Return every version, the same for all partners, or the details of one for this partner; raises Refusal."""
        if len(asked.segments) < 2:
            raise no_such_path(asked.path)
        version = asked.segments[1]
        if len(asked.segments) > 2:
            raise no_such_path(asked.path) if version in self._dialects else not_spoken(version)
        if version == "versions":
            data = _encode([Version(spoken, f"{self._base}/{spoken}") for spoken in self._dialects])
        elif version in self._dialects:
            data = _encode(VersionDetails(version, self._endpoints(version, asked.reader.sides)))
        else:
            raise not_spoken(version)
        if asked.method != "GET":
            raise not_allowed(asked.method, "GET")
        return Answer(data, [])

    def _endpoints(self, version: str, sides: Iterable[Side]) -> list[Offered]:
        return [
            Offered(module.value, side, f"{self._base}/{version}/{side.lower()}/{module.value}")
            for side in sorted(sides)
            for module in OFFERED[side]
        ]


def spoken(dialects: Mapping[str, Dialect], version: str) -> Dialect:
    """Return the dialect of a version; raises Refusal."""
    dialect = dialects.get(version)
    if dialect is None:
        raise not_spoken(version)
    return dialect


def unknown_module(version: str, side: Side, module: str) -> Refusal:
    """Return the refusal of a module that has no such interface here."""
    return Refusal(404, 2000, f"OCPI {version} has no {side.capitalize()} interface {module[:40]!r} here")


_encode: Final = msgspec.json.Encoder().encode
