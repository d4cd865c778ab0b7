"""Which OCPI versions we speak, and the endpoints of one of them for the partner that asks."""

from collections.abc import Collection, Iterator, Mapping
from typing import Final, NamedTuple

import msgspec
from msgspec import UNSET, Struct, UnsetType

from api.access import Reader
from api.errors import Refusal, no_such_path, not_allowed, not_spoken
from api.exchange import Answer, Asked
from schemas.ocpi.dialect import Dialect
from schemas.ocpi.interface import CREDENTIALS, EITHER, HUBCLIENTINFO, OWNERS, Interface, Side, interface, side_of
from schemas.party import Role
from schemas.types import Module

SIDES: Final[tuple[Side, ...]] = ("RECEIVER", "SENDER")


class Version(Struct, frozen=True):
    """OCPI 2.2.1 version_information_endpoint, Version class."""

    version: str
    url: str


class Offered(Struct, frozen=True):
    """OCPI 2.2.1 version_information_endpoint, Endpoint class; before 2.2 it has no role."""

    identifier: str
    url: str
    role: Side | UnsetType = UNSET


class VersionDetails(Struct, frozen=True):
    """OCPI 2.2.1 version_information_endpoint, version details."""

    version: str
    endpoints: list[Offered]


class Versions:
    """Answers `/ocpi/versions` and `/ocpi/{version}`. `public_url` is where partners reach this house.

    `is_hub`: we tell partners of each other (hubclientinfo).
    """

    def __init__(self, dialects: Mapping[str, Dialect], public_url: str, *, is_hub: bool = False) -> None:
        self._dialects = dialects
        self._is_hub = is_hub
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
            data = _encode(VersionDetails(version, list(self._endpoints(interface(version), asked.reader))))
        else:
            raise not_spoken(version)
        if asked.method != "GET":
            raise not_allowed(asked.method, "GET")
        return Answer(data, [])

    def _endpoints(self, version: Interface, reader: Reader) -> Iterator[Offered]:
        base = f"{self._base}/{version.version}"
        # Of credentials the role means nothing, but it is required (OCPI 2.2.1 version_information_endpoint, Endpoint class).
        yield Offered(CREDENTIALS, f"{base}/{CREDENTIALS}", "SENDER" if version.has_roles else UNSET)
        if not version.has_roles:
            for module in Module:
                if reader.first is None:
                    yield Offered(module.value, f"{base}/{EITHER}/{module.value}")
                    continue
                yield Offered(module.value, f"{base}/{side_of(reader.first, module).lower()}/{module.value}")
            return
        for side in SIDES:
            named = [module.value for module in Module if is_offered(side, module, reader.roles)]
            if version.tells_clients and (self._is_hub if side == "SENDER" else "HUB" in reader.roles):
                named.append(HUBCLIENTINFO)
            for name in named:
                yield Offered(name, f"{base}/{side.lower()}/{name}", side)


def is_offered(side: Side, module: Module, roles: Collection[Role]) -> bool:
    """Return whether a partner with these roles is told of the interface: it gets the side opposite to its own.

    Who owns a module's objects pushes them to our RECEIVER, the others read them from our SENDER: the CPO's objects all
    other roles, Tokens the CPOs alone. A hub stands for everybody.
    """
    owner = OWNERS[module]
    if side == "RECEIVER" or module is Module.TOKENS:
        return "HUB" in roles or (owner if side == "RECEIVER" else "CPO") in roles
    return any(role != owner for role in roles)


class Spoken(NamedTuple):
    """A version: what its objects look like, and what its requests do."""

    dialect: Dialect
    interface: Interface


def spoken(dialects: Mapping[str, Dialect], version: str) -> Spoken:
    """Return a version; raises Refusal."""
    dialect = dialects.get(version)
    if dialect is None:
        raise not_spoken(version)
    return Spoken(dialect, interface(version))


def unknown_module(version: str, side: Side, module: str) -> Refusal:
    """Return the refusal of a module that has no such interface here."""
    return Refusal(404, 2000, f"OCPI {version} has no {side.capitalize()} interface {module[:40]!r} here")


_encode: Final = msgspec.json.Encoder().encode
