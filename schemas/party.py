"""Who is connected, directly or behind a hub: the roles of a partner and the events that say so (topic ocpi.partners)."""

from typing import Final, Literal, TypeAlias, get_args

import msgspec
from msgspec import Raw, Struct

from schemas.events import Envelope, UnknownEvent
from schemas.ocpi.clientinfo import ConnectionStatus
from schemas.types import Instant, party_of

Role = Literal["CPO", "EMSP", "HUB", "NSP", "NAP", "SCSP", "OTHER"]
ROLES: Final[tuple[Role, ...]] = get_args(Role)
MODULE: Final = "partners"


class PartyRole(Struct, frozen=True):
    """One role of a party (OCPI 2.2.1 credentials, CredentialsRole without its business details)."""

    role: Role
    country_code: str
    party_id: str

    @property
    def party(self) -> str:
        """The party as `NL*TNM`."""
        return party_of(self.country_code, self.party_id)


EndpointRole = Literal["SENDER", "RECEIVER", ""]


class Endpoint(Struct, frozen=True):
    """Where a partner offers a module (OCPI 2.2.1 version_information_endpoint, Endpoint class); before 2.2 it has no role."""

    identifier: str
    role: EndpointRole
    url: str


Encoding = Literal["raw", "base64"]
"""How a token stands in the Authorization header: itself (2.0, 2.1.1 and many others), or in Base64."""


class PartnerAdded(Struct, frozen=True, tag="partner.added"):
    """A connection was opened to a partner.

    `token_hashes` are the peppered digests of every text that presents its token; the token itself is kept nowhere.
    `allowed` lists further parties (`NL*TNM`) that the connection may write, for a hub or a platform with many brands.
    """

    name: str
    roles: tuple[PartyRole, ...]
    version: str
    token_hashes: tuple[str, ...]
    allowed: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"PartnerAdded({self.name!r})"


class PartnerRemoved(Struct, frozen=True, tag="partner.removed"):
    """The connection was closed: its token opens nothing any more, its objects stay."""

    name: str


class ClientReplaced(Struct, frozen=True, tag="clientinfo.replaced"):
    """A hub said how a party behind it is (OCPI 2.2.1 mod_hub_client_info); `document` is the ClientInfo as received."""

    hub: str
    country_code: str
    party_id: str
    role: str
    status: ConnectionStatus
    last_updated: Instant
    document: Raw


class Client(Struct, frozen=True):
    """How a party is as a client of a hub: of `hub` (the name of a connection), of ourselves where it is ''.

    `document` is the ClientInfo as the hub wrote it, empty where nobody did.
    """

    country_code: str
    party_id: str
    role: str
    status: ConnectionStatus
    last_updated: Instant
    first_seen: Instant
    hub: str = ""
    document: bytes = b""

    @property
    def party(self) -> str:
        """The party as `NL*TNM`."""
        return party_of(self.country_code, self.party_id)


PartnerEvent: TypeAlias = PartnerAdded | PartnerRemoved | ClientReplaced

TYPES: Final = frozenset({"partner.added", "partner.removed", "clientinfo.replaced"})

_decoder: Final[msgspec.json.Decoder[PartnerEvent]] = msgspec.json.Decoder(PartnerAdded | PartnerRemoved | ClientReplaced)


def partner_event_of(envelope: Envelope) -> PartnerEvent:
    """Decode the payload of a partner's event; raises `UnknownEvent` or msgspec.DecodeError."""
    if envelope.type not in TYPES:
        raise UnknownEvent(f"no event of a partner is called {envelope.type!r}; is this log written by a newer roamlog?")
    return _decoder.decode(envelope.payload)
