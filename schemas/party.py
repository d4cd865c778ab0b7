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


class PartnerInvited(Struct, frozen=True, tag="partner.invited"):
    """An operator made a token A, with which a partner may register itself, once, until `expires_at`.

    It may then only be what is named here: one of `parties`, in `roles`; where none is named it says itself who it is.
    """

    name: str
    token_hashes: tuple[str, ...]
    expires_at: Instant
    parties: tuple[str, ...] = ()
    roles: tuple[Role, ...] = ()
    allowed: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"PartnerInvited({self.name!r})"


class PartnerOffered(Struct, frozen=True, tag="partner.offered"):
    """We are about to give a partner a token B, or a new one, with which it calls us before it has answered.

    `roles` are those that it is taken for until it has said them.
    """

    name: str
    token_hashes: tuple[str, ...]
    expires_at: Instant
    roles: tuple[Role, ...] = ()

    def __repr__(self) -> str:
        return f"PartnerOffered({self.name!r})"


class PartnerWithdrawn(Struct, frozen=True, tag="partner.withdrawn"):
    """A token that was offered came to nothing; `token_hash` is its first digest."""

    name: str
    token_hash: str

    def __repr__(self) -> str:
        return f"PartnerWithdrawn({self.name!r})"


class Terms(Struct, frozen=True):
    """What two parties agreed on by their credentials.

    `roles` are the partner's own, a hub's as HUB; `behind` are the parties that it lists as reachable through it (2.3.0).
    `token_hashes` are the digests of the token that it presents now, `outbound` is the one that it gave us, encrypted.
    """

    roles: tuple[PartyRole, ...]
    version: str
    token_hashes: tuple[str, ...]
    endpoints: tuple[Endpoint, ...]
    versions_url: str
    outbound: bytes
    encoding: Encoding
    behind: tuple[PartyRole, ...] = ()

    def __repr__(self) -> str:
        return f"Terms({self.roles!r}, {self.version!r})"


By = Literal["them", "us"]
"""Who began."""


class PartnerRegistered(Struct, frozen=True, tag="partner.registered"):
    """A connection was made by credentials (POST). `opened_with` is the first digest of the token that this uses up."""

    name: str
    by: By
    opened_with: str
    terms: Terms
    allowed: tuple[str, ...] = ()


class PartnerUpdated(Struct, frozen=True, tag="partner.updated"):
    """Credentials were changed (PUT): new tokens, perhaps another version or other endpoints.

    `replaces` is the first digest of the token that held until then, so that of two changes at once one wins.
    """

    name: str
    by: By
    replaces: str
    terms: Terms


class PartnerUnregistered(Struct, frozen=True, tag="partner.unregistered"):
    """The connection was closed by credentials (DELETE): both tokens are dead, what was sent stays."""

    name: str
    by: By


PullPolicy = Literal["always", "silent", "never"]
"""Whether a partner's lists are crawled by themselves: always, while it has pushed nothing for a while, or never."""

POLICIES: Final[tuple[PullPolicy, ...]] = get_args(PullPolicy)


class PartnerPullSet(Struct, frozen=True, tag="partner.pull_set"):
    """An operator said when the partner's lists are crawled; `silent_s` (seconds) counts for the policy `silent`."""

    name: str
    policy: PullPolicy = "always"
    silent_s: int = 3600


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
    withdrawn: bool = False
    """It is SUSPENDED because its connection ended, not because anybody said so: whatever is said of it anew holds."""

    @property
    def party(self) -> str:
        """The party as `NL*TNM`."""
        return party_of(self.country_code, self.party_id)


Said: TypeAlias = (
    PartnerAdded
    | PartnerRemoved
    | PartnerInvited
    | PartnerOffered
    | PartnerWithdrawn
    | PartnerRegistered
    | PartnerUpdated
    | PartnerUnregistered
    | PartnerPullSet
)
"""What is said of a partner by name."""

PartnerEvent: TypeAlias = Said | ClientReplaced

_KINDS: Final = get_args(PartnerEvent)

TAGS: Final[dict[type[PartnerEvent], str]] = {kind: str(kind.__struct_config__.tag) for kind in _KINDS}
TYPES: Final = frozenset(TAGS.values())

_decoder: Final[msgspec.json.Decoder[PartnerEvent]] = msgspec.json.Decoder(PartnerEvent)


def partner_event_of(envelope: Envelope) -> PartnerEvent:
    """Decode the payload of a partner's event; raises `UnknownEvent` or msgspec.DecodeError."""
    if envelope.type not in TYPES:
        raise UnknownEvent(f"no event of a partner is called {envelope.type!r}; is this log written by a newer roamlog?")
    return _decoder.decode(envelope.payload)
