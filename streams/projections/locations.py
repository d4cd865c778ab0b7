"""Locations as trees, EVSEs as rows (availability now), and every status that an EVSE was seen in."""

from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from typing import Final

import msgspec
from msgspec import Raw, Struct

from schemas.events import (
    ConnectorPatched,
    ConnectorReplaced,
    EvsePatched,
    EvseReplaced,
    LocationPatched,
    LocationReplaced,
)
from schemas.types import Finding, Instant, date_time, identity, instant
from streams import location_tree as tree
from streams.errors import Poison
from streams.lastwriter import AHEAD_US
from streams.location_tree import CONNECTOR, EVSE, LOCATION, Event, Node
from streams.projection import Column, Fact, Key, Recorded, Table
from streams.projections.facts import findings, findings_table
from streams.topics import LOCATIONS

REMEMBERED: Final = 16
PARKED: Final = 100

LOCATIONS_TABLE: Final = Table(
    name="locations",
    version=1,
    kind="current",
    columns=(
        Column("party", "LowCardinality(String)"),
        Column("location_id", "String"),
        Column("served", "UInt8"),
        Column("publish", "UInt8"),
        Column("name", "String"),
        Column("city", "String"),
        Column("country", "LowCardinality(String)"),
        Column("time_zone", "LowCardinality(String)"),
        Column("latitude", "Nullable(Float64)"),
        Column("longitude", "Nullable(Float64)"),
        Column("evses", "UInt32"),
        Column("last_updated", "DateTime64(6, 'UTC')"),
        Column("first_seen", "DateTime64(6, 'UTC')"),
        Column("changed_at", "DateTime64(6, 'UTC')"),
        Column("doc", "String CODEC(ZSTD(1))"),
        Column("state", "String CODEC(ZSTD(1))"),
    ),
    order_by=("party", "location_id"),
)

EVSES: Final = Table(
    name="evses",
    version=1,
    kind="current",
    columns=(
        Column("party", "LowCardinality(String)"),
        Column("location_id", "String"),
        Column("evse_uid", "String"),
        Column("listed", "UInt8"),
        Column("publish", "UInt8"),
        Column("evse_id", "String"),
        Column("status", "LowCardinality(String)"),
        Column("country", "LowCardinality(String)"),
        Column("time_zone", "LowCardinality(String)"),
        Column("last_updated", "DateTime64(6, 'UTC')"),
        Column("changed_at", "DateTime64(6, 'UTC')"),
        Column("doc", "String CODEC(ZSTD(1))"),
    ),
    order_by=("party", "location_id", "evse_uid"),
)

EVSE_STATUS: Final = Table(
    name="evse_status",
    version=1,
    kind="fact",
    columns=(
        Column("party", "LowCardinality(String)"),
        Column("location_id", "String"),
        Column("evse_uid", "String"),
        Column("observed_at", "DateTime64(6, 'UTC')"),
        Column("event_id", "FixedString(16)"),
        Column("status", "LowCardinality(String)"),
        Column("received_at", "DateTime64(6, 'UTC')"),
        Column("type", "LowCardinality(String)"),
        Column("origin", "LowCardinality(String)"),
        Column("connection", "LowCardinality(String)"),
    ),
    order_by=("party", "location_id", "evse_uid", "observed_at", "event_id"),
)

LOCATION_FINDINGS: Final = findings_table("location_findings")


class _Header(Struct, frozen=True, array_like=True):
    """The state as the column `state` keeps it."""

    node: Node
    first_seen: Instant
    changed_at: Instant
    parked: int
    event_ids: tuple[bytes, ...]


class LocationState(Struct, frozen=True):
    """A Location's tree with when it was first servable and which events it has seen.

    `texts` has the served JSON of EVSEs by key, so that an event of one EVSE does not write all of them anew.
    """

    header: _Header
    texts: dict[str, bytes]

    @property
    def node(self) -> Node:
        """The tree."""
        return self.header.node


class _Coordinates(Struct):
    latitude: str = ""
    longitude: str = ""


class _Columns(Struct):
    publish: bool = True
    name: str | None = None
    city: str = ""
    country: str = ""
    time_zone: str | None = None
    coordinates: _Coordinates | None = None


class _EvseColumns(Struct):
    status: str = ""
    evse_id: str | None = None


class _Evses(Struct):
    evses: list[Raw] | None = None


_header: Final = msgspec.msgpack.Decoder(_Header)
_evses: Final = msgspec.json.Decoder(_Evses)
_EMPTY: Final = _Header(Node(""), 0, 0, 0, ())
_msgpack: Final = msgspec.msgpack.Encoder()
_json: Final = msgspec.json.Encoder()
_text: Final = msgspec.json.Decoder(str)
_columns: Final = msgspec.json.Decoder(_Columns)
_evse_columns: Final = msgspec.json.Decoder(_EvseColumns)


class Locations:
    """The projection of Locations and of availability (OCPI 2.2.1 mod_locations; DESIGN: membership)."""

    name: Final = "locations"
    version: Final = 1
    topics: Final = (LOCATIONS,)
    current: Final = LOCATIONS_TABLE
    facts: Final = (EVSES, EVSE_STATUS, LOCATION_FINDINGS)

    def key(self, recorded: Recorded) -> Key | None:
        """Return (party, location id): the tree is folded as one."""
        return recorded.envelope.party, identity(recorded.envelope.key[0])

    def fold(self, state: LocationState | None, recorded: Recorded) -> tuple[LocationState | None, Sequence[Fact]]:
        """Return the tree after the event, the EVSE rows that changed and the statuses that were observed."""
        envelope = recorded.envelope
        earlier = _EMPTY if state is None else state.header
        if envelope.event_id in earlier.event_ids:
            return state, ()
        before = None if state is None else state.node
        seen: list[Finding] = []
        node = _applied(before, recorded, seen)
        if not node.served and earlier.parked >= PARKED:
            raise Poison(f"{PARKED} changes below a Location are waiting for its PUT")
        if envelope.last_updated is not None and envelope.last_updated > envelope.received_at + AHEAD_US:
            text = f"last_updated {date_time(envelope.last_updated)} is ahead of its arrival"
            seen.append(Finding("/last_updated", "clock_ahead", "warning", text))
        header = _Header(
            node,
            earlier.first_seen or (envelope.received_at if node.served else 0),
            max(earlier.changed_at, envelope.received_at),
            0 if node.served else earlier.parked + 1,
            (*earlier.event_ids[-REMEMBERED + 1 :], envelope.event_id),
        )
        changed = node.changed(before)
        after = LocationState(header, _texts(state, node, changed))
        rows = [
            *_evse_rows(before, after, changed, recorded),
            *_statuses(recorded),
            *findings(LOCATION_FINDINGS, recorded, "/".join(envelope.key), seen),
        ]
        return after, rows

    def decode(self, key: Key, doc: bytes, state: bytes) -> LocationState:
        """Read a state back from its row."""
        header = _header.decode(state)
        listed = _evses.decode(doc).evses or []
        return LocationState(header, {key: bytes(text) for (key, _), text in zip(header.node.listed(), listed, strict=True)})

    def row(self, key: Key, state: LocationState) -> tuple[object, ...]:
        """Return the current row; `doc` is the served Location with its listed EVSEs."""
        node, at = state.node, _location_columns(state.node)
        return (
            *key,
            int(node.served),
            int(at.publish),
            at.name or "",
            at.city,
            at.country,
            at.time_zone or "",
            _degrees(at.coordinates.latitude if at.coordinates else ""),
            _degrees(at.coordinates.longitude if at.coordinates else ""),
            len(node.listed()),
            node.touched,
            state.header.first_seen,
            state.header.changed_at,
            tree.document(node, LOCATION, state.texts),
            _msgpack.encode(state.header),
        )


def _applied(before: Node | None, recorded: Recorded, seen: list[Finding]) -> Node:
    envelope = recorded.envelope
    event = Event(envelope.last_updated, envelope.received_at, recorded.version)
    location_id, *below = envelope.key
    stale: list[str] = []
    match recorded.event:
        case LocationReplaced(document):
            node = tree.put(before, document, LOCATION, event, stale)
        case LocationPatched(change):
            node = tree.patch(before, location_id, change, LOCATION, event)
        case EvseReplaced(document):
            evse = tree.put(_child(before, below[0]), document, EVSE, event, stale)
            node = tree.below(before, location_id, evse, event)
        case EvsePatched(change):
            evse = tree.patch(_child(before, below[0]), below[0], change, EVSE, event)
            node = tree.below(before, location_id, evse, event)
        case ConnectorReplaced(document):
            parent = _child(before, below[0])
            connector = tree.put(_child(parent, below[1]), document, CONNECTOR, event, stale)
            node = tree.below(before, location_id, tree.below(parent, below[0], connector, event), event)
        case ConnectorPatched(change):
            parent = _child(before, below[0])
            connector = tree.patch(_child(parent, below[1]), below[1], change, CONNECTOR, event)
            node = tree.below(before, location_id, tree.below(parent, below[0], connector, event), event)
        case other:
            raise Poison(f"{type(other).__name__} is not an event of ocpi.locations")
    seen.extend(Finding("", "stale_nested", "info", f"{one} is older than what is known of it; that was kept") for one in stale)
    return node


def _texts(before: LocationState | None, node: Node, changed: Sequence[str] | None) -> dict[str, bytes]:
    """Return the JSON of every listed EVSE, written anew only where the EVSE is another object than before."""
    known = {} if before is None else before.texts
    if changed is not None:
        texts = {key: text for key, text in known.items() if key not in changed}
        texts |= {key: tree.document(evse, EVSE) for key in changed if node.lists(evse := node.children[key])}
        return texts
    children = {} if before is None else before.node.children
    return {
        key: known[key] if key in known and children.get(key) is evse else tree.document(evse, EVSE) for key, evse in node.listed()
    }


def _child(node: Node | None, name: str) -> Node | None:
    return None if node is None else node.children.get(identity(name))


def _evse_rows(before: Node | None, after: LocationState, changed: Sequence[str] | None, recorded: Recorded) -> list[Fact]:
    """Return a row for each EVSE whose own row changed: its document, whether it is listed, or the Location's columns."""
    node = after.node
    at = _location_columns(node)
    same_location = before is not None and (changed is not None or _location_columns(before) == at)
    rows = []
    for key in node.children if changed is None else changed:
        evse = node.children[key]
        listed = node.lists(evse)
        earlier = None if before is None else before.children.get(key)
        same = same_location and (earlier is evse or earlier == evse)
        if not evse.served or (same and before is not None and before.lists(evse) == listed):
            continue
        text = after.texts.get(key) or tree.document(evse, EVSE)
        columns = _evse_columns.decode(text)
        row = (
            recorded.envelope.party,
            identity(recorded.envelope.key[0]),
            key,
            int(listed and node.served),
            int(at.publish),
            columns.evse_id or "",
            columns.status,
            at.country,
            at.time_zone or "",
            evse.touched,
            recorded.envelope.received_at,
            text,
        )
        rows.append(Fact(EVSES, row))
    return rows


class _Observed(Struct, frozen=True):
    uid: str = ""
    status: str | None = None
    last_updated: str | None = None


class _ObservedLocation(Struct, frozen=True):
    evses: list[_Observed] | None = None


class _ObservedPatch(Struct, frozen=True):
    set: _Observed = _Observed()


class _ObservedUpsert(Struct, frozen=True):
    evses: tuple[_ObservedPatch, ...] = ()


class _ObservedLocationPatch(Struct, frozen=True):
    upsert: _ObservedUpsert = _ObservedUpsert()


_observed: Final = msgspec.json.Decoder(_Observed)
_observed_location: Final = msgspec.json.Decoder(_ObservedLocation)
_observed_patch: Final = msgspec.json.Decoder(_ObservedPatch)
_observed_location_patch: Final = msgspec.json.Decoder(_ObservedLocationPatch)


def _statuses(recorded: Recorded) -> list[Fact]:
    """Return every status that the event states, as it states it: what came late is history as well."""
    envelope = recorded.envelope
    match recorded.event:
        case LocationReplaced():
            observed = _observed_location.decode(envelope.payload).evses or []
        case LocationPatched():
            observed = [member.set for member in _observed_location_patch.decode(envelope.payload).upsert.evses]
        case EvseReplaced():
            observed = [_observed.decode(envelope.payload)]
        case EvsePatched():
            observed = [_observed_patch.decode(envelope.payload).set]
        case _:
            observed = []
    facts = []
    for one in observed:
        if one.status is None:
            continue
        uid = envelope.key[1] if len(envelope.key) > 1 else one.uid
        stated = instant(one.last_updated) if one.last_updated else envelope.last_updated
        row = (
            envelope.party,
            identity(envelope.key[0]),
            identity(uid),
            envelope.received_at if stated is None else stated,
            envelope.event_id,
            one.status,
            envelope.received_at,
            envelope.type,
            envelope.origin,
            envelope.connection,
        )
        facts.append(Fact(EVSE_STATUS, row))
    return facts


def _location_columns(node: Node) -> _Columns:
    fields = node.fields
    return _columns.decode(b"{" + b",".join([said + fields[name] for name, said in _NAMES if name in fields]) + b"}")


_NAMES: Final = [(name, _json.encode(name) + b":") for name in _Columns.__struct_fields__]


def _degrees(text: str) -> float | None:
    """Return the coordinate for maps; the document keeps the exact text."""
    try:
        return float(Decimal(text))
    except InvalidOperation:
        return None
