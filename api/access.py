"""Who reads, and what each reader may see."""

import base64
import binascii
from collections.abc import Callable, Collection, Sequence
from typing import Final, Protocol

from msgspec import Struct

from api.errors import Refusal, forbidden, unauthenticated
from schemas.party import PartyRole, Role

IsOperator = Callable[[str], bool]
"""Tells whether a text is the operator's token, in constant time."""

_BASIC: Final = b'Basic realm="roamlog: any name, the operator token as password"'


class Reader(Struct, frozen=True):
    """A partner as a reader, in all its roles. It sees what its `owners` own, and what is addressed to one of `addressees`.

    `first` is the role that it plays where a connection has one alone (OCPI 2.1.1 and before), None while nobody knows it.
    """

    name: str
    owners: tuple[str, ...]
    addressees: tuple[str, ...]
    roles: frozenset[Role]
    first: Role | None

    @property
    def sees_offers(self) -> bool:
        """Whether it reads the Locations and Tariffs of all CPOs: everybody does who is not a CPO alone."""
        return bool(self.roles - {"CPO"})

    @property
    def sees_tokens(self) -> bool:
        """Whether it reads the Tokens of all eMSPs: they are for the CPOs, and for nobody else (a hub's own role is none)."""
        return "CPO" in self.roles

    def owns(self, party: str) -> bool:
        """Whether the party (`NL*TNM`) is one that the partner writes for."""
        return party in self.owners


class Authenticate(Protocol):
    """The register of partners, as reading needs it."""

    async def __call__(self, authorization: bytes) -> Reader | None:
        """Return whom an Authorization header means, None where nobody; raises LogUnavailable."""
        ...


def reader_of(name: str, roles: Sequence[PartyRole], parties: Collection[str] = ()) -> Reader:
    """Return what a connection with these roles may read; `parties` are further ones that it may write, as a hub's.

    A party is addressed in every role but CPO: a CPO reads back its own objects, nobody's else.
    Source: OCPI 2.2.1 mod_cdrs and mod_sessions, Sender and Receiver Interface; terminology, roles.
    """
    own = {role.party for role in roles}
    addressed = {role.party for role in roles if role.role != "CPO"}
    if any(role.role == "HUB" for role in roles):
        addressed |= set(parties)
    return Reader(
        name, tuple(sorted(own | set(parties))), tuple(sorted(addressed)), frozenset(role.role for role in roles), roles[0].role
    )


def guest_of(name: str, roles: Sequence[Role]) -> Reader:
    """Return who is about to register: it may read what is offered to these roles, to all where none is known, but no object."""
    return Reader(name, (), (), frozenset(roles or _ANY), roles[0] if len(roles) == 1 else None)


_ANY: Final[tuple[Role, ...]] = ("CPO", "EMSP", "HUB")
"""To one of these everything is offered."""


class Gate:
    """Lets in whom a header names. The operator's token opens what is the operator's, a partner's the OCPI interfaces."""

    def __init__(self, authenticate: Authenticate, is_operator: IsOperator) -> None:
        self._authenticate = authenticate
        self._is_operator = is_operator

    async def partner(self, authorization: bytes) -> Reader:
        """Return the partner; raises Refusal (401) or LogUnavailable."""
        reader = await self._authenticate(authorization)
        if reader is None:
            raise unauthenticated(b"Token")
        return reader

    async def operator(self, authorization: bytes) -> None:
        """Return for the operator alone; raises Refusal (401, for a partner 403) or LogUnavailable."""
        if any(self._is_operator(text) for text in _texts(authorization)):
            return
        if await self._authenticate(authorization) is not None:
            raise forbidden()
        raise _operator_wanted()


def _operator_wanted() -> Refusal:
    # Basic makes a browser ask, so that /docs can be opened without any tool.
    return unauthenticated(_BASIC)


def _texts(authorization: bytes) -> list[str]:
    """Return what may be the operator's token: `Token` or `Bearer` as it is, `Basic` its password."""
    scheme, _, rest = authorization[:1024].partition(b" ")
    given = rest.strip()
    match scheme.lower():
        case b"token" | b"bearer":
            return [given.decode("latin-1"), *_unpacked(given)]
        case b"basic":
            return [text.partition(":")[2] for text in _unpacked(given)]
    return []


def _unpacked(given: bytes) -> list[str]:
    try:
        return [base64.b64decode(given, validate=True).decode().rstrip("\n")]
    except (binascii.Error, UnicodeDecodeError):
        return []
