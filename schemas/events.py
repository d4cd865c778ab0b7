"""What the log says: the envelope around every fact and the union of facts.

Type tags are past tense and permanent; a class may be renamed, a tag never. Trees all of them, thousands at a time, so they are
kept from the collector of cycles (`gc=False`), which would look at each again and again.
"""

from collections.abc import Callable
from typing import Final, Literal, TypeAlias

import msgspec
from msgspec import Raw, Struct

from schemas import crawl
from schemas.crawl import CrawlEnded, CrawlPageRead, CrawlStarted
from schemas.link import Doubt, Link, decode_doubt, decode_link
from schemas.rejected import Rejected
from schemas.types import Finding, Instant, Loss, Module, date_time

Document: TypeAlias = dict[str, Raw]
"""A canonical object: field name to the JSON text of its value. Text, so that digits and unknown fields survive."""

Origin = Literal["push", "pull", "load", "ocpp"]


class Crawl(Struct, frozen=True):
    """Where a pulled object came from: the run and the page (counted from 1)."""

    run: str
    page: int


class Envelope(Struct, frozen=True, kw_only=True, gc=False):
    """Who said what about which object, when, over which connection; Avro `schemas/avro/envelope.1.avsc`.

    `key` holds the ids as received (location_id, evse_uid, connector_id; or one id; tokens: uid, type).
    `payload` is canonical JSON (a `Document`, or a `Patch`), `raw` the object as received, None when it equals `payload`.
    `addressed_to` is the other party (`NL*MSP`) when the edge could tell; None in a PATCH says nothing.
    """

    event_id: bytes
    type: str
    module: str
    origin: Origin
    connection: str
    party: str
    key: tuple[str, ...]
    version: str
    edition: str
    revision: int
    received_at: Instant
    last_updated: Instant | None
    payload: bytes
    raw: bytes | None = None
    request_id: str | None = None
    correlation_id: str | None = None
    ocpi_from: str | None = None
    ocpi_to: str | None = None
    addressed_to: str | None = None
    crawl: Crawl | None = None
    findings: tuple[Finding, ...] = ()
    losses: tuple[Loss, ...] = ()


class Patch(Struct, frozen=True, omit_defaults=True, gc=False):
    """A PATCH as explicit operations, so that a fold never asks for the version.

    `set` gives fields their value (JSON `null` clears), `append` adds list members (charging_periods, 2.2+),
    `upsert` merges list members by id (evses by uid, connectors by id), each a Patch whose `set` names the id.
    """

    set: Document = {}
    append: dict[str, list[Raw]] = {}
    upsert: dict[str, list[Raw]] = {}


class SessionReplaced(Struct, frozen=True, gc=False, tag="session.replaced"):
    """A PUT: the partner's Session as it now stands."""

    session: Document


class SessionPatched(Struct, frozen=True, gc=False, tag="session.patched"):
    """A PATCH of a Session."""

    patch: Patch


class SessionDeleted(Struct, frozen=True, gc=False, tag="session.deleted"):
    """A DELETE of a Session (OCPI 2.0): it is served no more; what it was stays findable."""


class CdrPosted(Struct, frozen=True, gc=False, tag="cdr.posted"):
    """A CDR, credit CDRs included. It never changes afterwards."""

    cdr: Document


class CdrLinked(Struct, frozen=True, gc=False, tag="cdr.linked"):
    """The second stage found the Session of a CDR. Stands under the CDR's own key and under the Session's.

    The envelope's key is (CDR id, the key under which this copy stands).
    """

    link: Link


class CdrLeftUnlinked(Struct, frozen=True, gc=False, tag="cdr.left_unlinked"):
    """The second stage found several Sessions that fit a CDR equally well; the envelope's key is (CDR id, its own key)."""

    doubt: Doubt


class LocationReplaced(Struct, frozen=True, gc=False, tag="location.replaced"):
    """A PUT of a Location, its EVSEs and Connectors nested."""

    location: Document


class LocationPatched(Struct, frozen=True, gc=False, tag="location.patched"):
    """A PATCH of a Location; `upsert["evses"]` patches EVSEs."""

    patch: Patch


class LocationVanished(Struct, frozen=True, gc=False, tag="location.vanished"):
    """A complete list of its owner no longer has the Location: it is served no more until something is said of it again."""


class EvseReplaced(Struct, frozen=True, gc=False, tag="evse.replaced"):
    """A PUT of an EVSE, its Connectors nested."""

    evse: Document


class EvsePatched(Struct, frozen=True, gc=False, tag="evse.patched"):
    """A PATCH of an EVSE; `upsert["connectors"]` patches Connectors."""

    patch: Patch


class ConnectorReplaced(Struct, frozen=True, gc=False, tag="connector.replaced"):
    """A PUT of a Connector."""

    connector: Document


class ConnectorPatched(Struct, frozen=True, gc=False, tag="connector.patched"):
    """A PATCH of a Connector."""

    patch: Patch


class TariffReplaced(Struct, frozen=True, gc=False, tag="tariff.replaced"):
    """A PUT of a Tariff."""

    tariff: Document


class TariffPatched(Struct, frozen=True, gc=False, tag="tariff.patched"):
    """A PATCH of a Tariff (OCPI 2.1.1 and before)."""

    patch: Patch


class TariffDeleted(Struct, frozen=True, gc=False, tag="tariff.deleted"):
    """A DELETE of a Tariff: it is no longer valid; what it was stays findable."""


class TokenReplaced(Struct, frozen=True, gc=False, tag="token.replaced"):
    """A PUT of a Token; the envelope's key is (uid, type)."""

    token: Document


class TokenPatched(Struct, frozen=True, gc=False, tag="token.patched"):
    """A PATCH of a Token."""

    patch: Patch


class TokenAuthorized(Struct, frozen=True, gc=False, tag="token.authorized"):
    """A real-time authorization: what was asked (LocationReferences) and what was answered (AuthorizationInfo)."""

    authorization: Document


class TokenUnconfirmed(Struct, frozen=True, gc=False, tag="token.unconfirmed"):
    """A complete list of its owner no longer has the Token. It stays what it was (requirements 3, "Tokens contradiction")."""


class RequestRejected(Struct, frozen=True, gc=False, tag="request.rejected"):
    """A request or record that was refused, or (`replay_of` set) the outcome of replaying one."""

    rejected: Rejected


Event: TypeAlias = (
    LocationReplaced
    | LocationPatched
    | LocationVanished
    | EvseReplaced
    | EvsePatched
    | ConnectorReplaced
    | ConnectorPatched
    | SessionReplaced
    | SessionPatched
    | SessionDeleted
    | CdrPosted
    | CdrLinked
    | CdrLeftUnlinked
    | TariffReplaced
    | TariffPatched
    | TariffDeleted
    | TokenReplaced
    | TokenPatched
    | TokenAuthorized
    | TokenUnconfirmed
    | CrawlStarted
    | CrawlPageRead
    | CrawlEnded
    | RequestRejected
)

EVENT_TYPE: Final[dict[tuple[Module, str], str]] = {
    (Module.SESSIONS, "PUT"): "session.replaced",
    (Module.SESSIONS, "PATCH"): "session.patched",
    (Module.SESSIONS, "DELETE"): "session.deleted",
    (Module.CDRS, "POST"): "cdr.posted",
    (Module.TARIFFS, "PUT"): "tariff.replaced",
    (Module.TARIFFS, "PATCH"): "tariff.patched",
    (Module.TARIFFS, "DELETE"): "tariff.deleted",
    (Module.TOKENS, "PUT"): "token.replaced",
    (Module.TOKENS, "PATCH"): "token.patched",
}
"""The tag that a verb on a module writes; for locations it depends on the level as well, see `LEVEL_EVENT_TYPE`."""

LEVEL_EVENT_TYPE: Final[dict[tuple[int, str], str]] = {
    (1, "PUT"): "location.replaced",
    (1, "PATCH"): "location.patched",
    (2, "PUT"): "evse.replaced",
    (2, "PATCH"): "evse.patched",
    (3, "PUT"): "connector.replaced",
    (3, "PATCH"): "connector.patched",
}
"""The tag that a verb writes on a path of so many ids below the party (Location, EVSE, Connector)."""

_REPLACED: Final[dict[str, Callable[[Document], Event]]] = {
    "location.replaced": LocationReplaced,
    "evse.replaced": EvseReplaced,
    "connector.replaced": ConnectorReplaced,
    "session.replaced": SessionReplaced,
    "cdr.posted": CdrPosted,
    "tariff.replaced": TariffReplaced,
    "token.replaced": TokenReplaced,
    "token.authorized": TokenAuthorized,
}
_PATCHED: Final[dict[str, Callable[[Patch], Event]]] = {
    "location.patched": LocationPatched,
    "evse.patched": EvsePatched,
    "connector.patched": ConnectorPatched,
    "session.patched": SessionPatched,
    "tariff.patched": TariffPatched,
    "token.patched": TokenPatched,
}
_BARE: Final[dict[str, Event]] = {
    "session.deleted": SessionDeleted(),
    "tariff.deleted": TariffDeleted(),
    "location.vanished": LocationVanished(),
    "token.unconfirmed": TokenUnconfirmed(),
}
_document: Final = msgspec.json.Decoder(Document)
_patch: Final = msgspec.json.Decoder(Patch)


def event_of(envelope: Envelope) -> Event:
    """Decode the payload by the envelope's tag; raises `UnknownEvent` or msgspec.DecodeError."""
    replaced = _REPLACED.get(envelope.type)
    if replaced is not None:
        return replaced(_document.decode(envelope.payload))
    patched = _PATCHED.get(envelope.type)
    if patched is not None:
        patch = _patch.decode(envelope.payload)
        return patched(patch if envelope.last_updated is not None else _dated(patch, envelope.received_at))
    bare = _BARE.get(envelope.type)
    if bare is not None:
        return bare
    if envelope.type == "cdr.linked":
        return CdrLinked(decode_link(envelope.payload))
    if envelope.type == "cdr.left_unlinked":
        return CdrLeftUnlinked(decode_doubt(envelope.payload))
    if envelope.type in crawl.TYPES:
        return crawl.decode(envelope.payload)
    raise UnknownEvent(f"no event is called {envelope.type!r}; is this log written by a newer roamlog?")


def _dated(patch: Patch, received_at: Instant) -> Patch:
    """Return a PATCH that said no last_updated with its arrival as one (OCPI 2.1.1 and before).

    Else a reader who has the object would take what changed for what it knows.
    """
    if "last_updated" in patch.set:
        return patch
    return Patch(patch.set | {"last_updated": Raw(b'"%b"' % date_time(received_at).encode())}, patch.append, patch.upsert)


class UnknownEvent(ValueError):
    """A tag that this release does not know."""
