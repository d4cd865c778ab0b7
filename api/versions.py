"""Which OCPI versions we speak, and the endpoints of one of them for the partner that asks."""

from collections.abc import Collection, Mapping
from typing import Final

import msgspec
from msgspec import Struct

from api.access import Side
from api.errors import Refusal, no_such_path, not_allowed, not_spoken
from api.exchange import Answer, Asked
from schemas.ocpi.dialect import Dialect
from schemas.party import Role
from schemas.types import Module

OFFERED: Final[Mapping[Side, tuple[Module, ...]]] = {"SENDER": tuple(Module), "RECEIVER": tuple(Module)}
"""The modules of each of our interfaces."""

OWNERS: Final[Mapping[Module, Role]] = {
    Module.LOCATIONS: "CPO",
    Module.SESSIONS: "CPO",
    Module.CDRS: "CPO",
    Module.TARIFFS: "CPO",
    Module.TOKENS: "EMSP",
}
"""In which role a party owns a module's objects (OCPI 2.2.1, "Data owner" of each module)."""


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
            data = _encode(VersionDetails(version, self._endpoints(version, asked.reader.roles)))
        else:
            raise not_spoken(version)
        if asked.method != "GET":
            raise not_allowed(asked.method, "GET")
        return Answer(data, [])

    def _endpoints(self, version: str, roles: Collection[Role]) -> list[Offered]:
        return [
            Offered(module.value, side, f"{self._base}/{version}/{side.lower()}/{module.value}")
            for side, modules in sorted(OFFERED.items())
            for module in modules
            if is_offered(side, module, roles)
        ]


def is_offered(side: Side, module: Module, roles: Collection[Role]) -> bool:
    """Return whether a partner with these roles is told of the interface: it gets the side opposite to its own.

    Who owns a module's objects pushes them to our RECEIVER, the others read them from our SENDER: the CPO's objects all
    other roles, Tokens the CPOs alone. A hub stands for everybody.
    """
    owner = OWNERS[module]
    if side == "RECEIVER" or module is Module.TOKENS:
        return "HUB" in roles or (owner if side == "RECEIVER" else "CPO") in roles
    return any(role != owner for role in roles)


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
