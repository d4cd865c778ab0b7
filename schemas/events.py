"""What the log says: the envelope around every fact and the union of facts.

Type tags are past tense and permanent; a class may be renamed, a tag never.
"""

from typing import Final, Literal, TypeAlias

import msgspec
from msgspec import Raw, Struct

from schemas.rejected import Rejected
from schemas.types import Finding, Instant, Loss, Module

Document: TypeAlias = dict[str, Raw]
"""A canonical object: field name to the JSON text of its value. Text, so that digits and unknown fields survive."""

Origin = Literal["push", "pull", "load", "ocpp"]


class Crawl(Struct, frozen=True):
    """Where a pulled object came from: the run and the page (counted from 1)."""

    run: str
    page: int


class Envelope(Struct, frozen=True, kw_only=True):
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


class Patch(Struct, frozen=True, omit_defaults=True):
    """A PATCH as explicit operations, so that a fold never asks for the version.

    `set` gives fields their value (JSON `null` clears), `append` adds list members (charging_periods, 2.2+),
    `upsert` merges list members by id (evses by uid, connectors by id), each a patch document itself.
    """

    set: Document = {}
    append: dict[str, list[Raw]] = {}
    upsert: dict[str, list[Raw]] = {}


class SessionReplaced(Struct, frozen=True, tag="session.replaced"):
    """A PUT: the partner's Session as it now stands."""

    session: Document


class SessionPatched(Struct, frozen=True, tag="session.patched"):
    """A PATCH of a Session."""

    patch: Patch


class CdrPosted(Struct, frozen=True, tag="cdr.posted"):
    """A CDR, credit CDRs included. It never changes afterwards."""

    cdr: Document


class RequestRejected(Struct, frozen=True, tag="request.rejected"):
    """A request or record that was refused, or (`replay_of` set) the outcome of replaying one."""

    rejected: Rejected


Event: TypeAlias = SessionReplaced | SessionPatched | CdrPosted | RequestRejected

EVENT_TYPE: Final[dict[tuple[Module, str], str]] = {
    (Module.SESSIONS, "PUT"): "session.replaced",
    (Module.SESSIONS, "PATCH"): "session.patched",
    (Module.CDRS, "POST"): "cdr.posted",
}
"""The tag that a verb on a module writes."""

_document: Final = msgspec.json.Decoder(Document)
_patch: Final = msgspec.json.Decoder(Patch)


def event_of(envelope: Envelope) -> Event:
    """Decode the payload by the envelope's tag; raises `UnknownEvent` or msgspec.DecodeError."""
    match envelope.type:
        case "session.replaced":
            return SessionReplaced(_document.decode(envelope.payload))
        case "session.patched":
            return SessionPatched(_patch.decode(envelope.payload))
        case "cdr.posted":
            return CdrPosted(_document.decode(envelope.payload))
        case other:
            raise UnknownEvent(f"no event is called {other!r}; is this log written by a newer roamlog?")


class UnknownEvent(ValueError):
    """A tag that this release does not know."""
