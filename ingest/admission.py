"""From an object as received to the log entry that says so: what pushes, loads and replays have in common."""

import hashlib
from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from schemas import envelope as envelopes
from schemas.events import EVENT_TYPE, LEVEL_EVENT_TYPE, Crawl, Envelope, Origin
from schemas.ocpi.dialect import Dialect, Level, Lifted, Refused
from schemas.types import Finding, Instant, Module, Verb, identity
from streams.ports import Entry
from streams.topics import CHARGING, LOCATIONS, TARIFFS, TOKENS, record_key

TOPIC: Final[dict[Module, str]] = {
    Module.LOCATIONS: LOCATIONS,
    Module.SESSIONS: CHARGING,
    Module.CDRS: CHARGING,
    Module.TARIFFS: TARIFFS,
    Module.TOKENS: TOKENS,
}
"""Where a module's events stand."""

LONG_BYTES: Final = 64 * 1024
"""A longer body is admitted in a thread: a Location of 5,000 EVSEs would hold up every other request."""

# Every attribute of an enum's class costs as much as a call.
_OF_LOCATIONS: Final = Module.LOCATIONS
_OF_CDRS: Final = Module.CDRS
_OF_TOKENS: Final = Module.TOKENS
_DELETE: Final = Verb.DELETE
_NAME: Final = {module: module.value for module in Module}
_LEVELS: Final[dict[int, Level]] = {0: "location", 1: "location", 2: "evse", 3: "connector"}
_json: Final = msgspec.json.Encoder().encode

Key = tuple[str, ...]
"""What an object is found by in the tables: the owner as `NL*TNM`, then its ids lowered.

An EVSE's ids are its Location's and its own, a Connector's those of all three; a Token's are its uid and its type.
"""


class Circumstances(Struct, frozen=True, kw_only=True):
    """What an envelope says beside the object: over which connection it came, when, under which message ids."""

    connection: str
    origin: Origin
    received_at: Instant
    request_id: str | None = None
    correlation_id: str | None = None
    ocpi_from: str | None = None
    ocpi_to: str | None = None
    crawl: Crawl | None = None
    findings: tuple[Finding, ...] = ()


class Admitted(Struct, frozen=True):
    """An object that may be appended: its key in the tables, its envelope, its entry for the log."""

    key: Key
    envelope: Envelope
    entry: Entry


class _Connector(Struct):
    id: str


class _Evse(Struct):
    uid: str
    connectors: list[_Connector] | None = None


class _Location(Struct):
    evses: list[_Evse] | None = None


class _Own(Struct):
    id: str | None = None
    uid: str | None = None


_own: Final = msgspec.json.Decoder(_Own)
_location: Final = msgspec.json.Decoder(_Location)
_evse: Final = msgspec.json.Decoder(_Evse)


class NotOwned(Exception):
    """The connection may not write the owner's objects."""

    def __init__(self, party: str) -> None:
        self.party = party
        super().__init__(f"{party} is no party of this connection")


def admit(
    dialect: Dialect,
    module: Module,
    verb: Verb,
    body: bytes,
    circumstances: Circumstances,
    *,
    party: str | None,
    ids: tuple[str, ...],
    owns: Callable[[str], bool],
) -> Admitted:
    """Return the object lifted, checked against its path and enveloped.

    `party` and `ids` are what the path says (tokens: with the type, "" where it says none), None and () where only the body
    tells (a POST, a file). Where both speak they must agree, without regard to case. Before 2.2 no body tells its party, so
    `party` is never None. A DELETE has no object, so its body is not looked at.
    Raises NotJson, Refused, or NotOwned when the body names a party that `owns` denies.
    Source: OCPI 2.2.1 transport_and_format, client owned object push; requirements 2.7.
    """
    if verb is _DELETE:
        lifted, body = Lifted(module=module, verb=verb, payload=b"{}", raw=None, party=None, ids=(), last_updated=None), b""
    elif module is _OF_LOCATIONS:
        lifted = dialect.lift(module, verb, body, level=_LEVELS[len(ids)], owner=party, received_at=circumstances.received_at)
    else:
        lifted = dialect.lift(module, verb, body, owner=party, received_at=circumstances.received_at)
    owner = _owner(lifted, party)
    if party is None and not owns(owner):
        raise NotOwned(owner)
    said = _ids(lifted, ids)
    if module is _OF_LOCATIONS:
        tag, record = LEVEL_EVENT_TYPE[len(said), verb], record_key(owner, said[0])
    else:
        tag, record = EVENT_TYPE[module, verb], _record_key(owner, lifted, said)
    lowered = (owner, *map(identity, said))
    envelope = Envelope(
        event_id=event_id(circumstances, lowered, lifted, body),
        type=tag,
        module=_NAME[module],
        origin=circumstances.origin,
        connection=circumstances.connection,
        party=owner,
        key=said,
        version=dialect.version,
        edition=dialect.edition,
        revision=dialect.revision,
        received_at=circumstances.received_at,
        last_updated=lifted.last_updated,
        payload=lifted.payload,
        raw=lifted.raw,
        request_id=circumstances.request_id,
        correlation_id=circumstances.correlation_id,
        ocpi_from=circumstances.ocpi_from,
        ocpi_to=circumstances.ocpi_to,
        addressed_to=lifted.addressed_to or circumstances.ocpi_to,
        crawl=circumstances.crawl,
        findings=circumstances.findings + lifted.findings if circumstances.findings else lifted.findings,
        losses=lifted.losses,
    )
    return Admitted(lowered, envelope, Entry(TOPIC[module], record, envelopes.encode(envelope)))


def below(admitted: Admitted) -> Iterator[Key]:
    """Yield the keys of the EVSEs and Connectors that the PUT of a Location or of an EVSE holds."""
    match admitted.envelope.type:
        case "location.replaced":
            for evse in _location.decode(admitted.envelope.payload).evses or ():
                key = (*admitted.key, identity(evse.uid))
                yield key
                for connector in evse.connectors or ():
                    yield *key, identity(connector.id)
        case "evse.replaced":
            for connector in _evse.decode(admitted.envelope.payload).connectors or ():
                yield *admitted.key, identity(connector.id)


def spelled(document: bytes) -> str:
    """Return the id of an object, its uid where it has one, as its canonical form spells it."""
    own = _own.decode(document)
    return own.uid or own.id or ""


def addressed(admitted: Admitted, party: str) -> Admitted:
    """Return the object as one that concerns the party (`DE*MSP`)."""
    return amended(admitted, addressed_to=party)


def amended(admitted: Admitted, **changes: Any) -> Admitted:
    """Return the object with other fields of its envelope; its key stays."""
    envelope = replace(admitted.envelope, **changes)
    return Admitted(admitted.key, envelope, Entry(admitted.entry.topic, admitted.entry.key, envelopes.encode(envelope)))


def event_id(circumstances: Circumstances, key: Key, lifted: Lifted, body: bytes) -> bytes:
    """Return 16 bytes that are equal for a retry of the same request and for nothing else.

    An object without last_updated hashes its receipt: a repeat then counts as another event, which folds to the same.
    """
    at = (circumstances.received_at,) if lifted.last_updated is None else lifted.last_updated
    # As JSON text nothing of one part can be taken for another's, whatever an id holds.
    head = hashlib.blake2b(_json((circumstances.connection, lifted.module, key, lifted.verb, at)), digest_size=16)
    head.update(body)
    return head.digest()


def _owner(lifted: Lifted, party: str | None) -> str:
    if lifted.party is None:
        if party is None:
            raise _refused("", "owner_missing", "neither the path nor the object names its owner")
        return party
    owner = lifted.party.upper()
    if party is not None and owner != party:
        raise _refused("/party_id", "owner_mismatch", f"the object says {owner}, its path {party}")
    return owner


def _record_key(owner: str, lifted: Lifted, ids: tuple[str, ...]) -> bytes:
    if lifted.module is _OF_CDRS:  # in the lane of its session, so that one fold sees both
        return record_key(owner, lifted.charging_key or ids[0])
    if lifted.module is _OF_TOKENS:
        return token_record_key(owner, *ids)
    return record_key(owner, *ids)


def token_record_key(owner: str, uid: str, kind: str) -> bytes:
    """Return where a Token and its authorizations stand in the log."""
    return record_key(owner, kind, uid)


def _ids(lifted: Lifted, ids: tuple[str, ...]) -> tuple[str, ...]:
    """Return the ids as the path spells them, or the body where there is no path."""
    own = lifted.ids
    if not own:
        if not ids:
            raise _refused("/id", "id_missing", "neither the path nor the object names its id")
        return ids
    if not ids:
        return own
    # Compared as sent first: lowering both costs more than most requests need. An EVSE or a Connector names itself alone.
    if own == ids[-len(own) :]:
        return ids
    if not ids[-1]:
        ids = (*ids[:-1], own[-1])
    for place, (one, other) in enumerate(zip(own, ids[-len(own) :], strict=True)):
        if one and identity(one) != identity(other):
            if lifted.module is _OF_TOKENS and place == 1:
                text = f"the object is a Token of type {one}, the request addresses type {other}; say ?type={one}"
                raise _refused("/type", "type_mismatch", text)
            field = "/uid" if lifted.module is _OF_TOKENS or len(ids) == 2 else "/id"
            raise _refused(field, "id_mismatch", f"the object says {one!r}, its path {other!r}")
    return ids


def _refused(pointer: str, rule: str, message: str) -> Refused:
    return Refused((Finding(pointer, rule, "error", message),))
