"""Locations as trees, EVSEs as rows (availability now), and every status that an EVSE was seen in."""

from collections.abc import Iterable, Sequence
from decimal import Decimal, InvalidOperation
from typing import Final, TypeAlias

import msgspec
from msgspec import Raw, Struct

from schemas.events import (
    ConnectorPatched,
    ConnectorReplaced,
    EvsePatched,
    EvseReplaced,
    LocationPatched,
    LocationReplaced,
    LocationVanished,
)
from schemas.types import Finding, Instant, date_time, identity
from streams import location_tree as tree
from streams.errors import Poison
from streams.lastwriter import AHEAD_US, instant_of
from streams.location_tree import CONNECTOR, EVSE, LOCATION, Event, Node
from streams.projection import Column, Fact, Key, Recorded, Table
from streams.projections.facts import findings, findings_table, repeated
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


class _Header(Struct, frozen=True, array_like=True, gc=False):
    """The state as the column `state` keeps it."""

    node: Node
    first_seen: Instant
    changed_at: Instant
    parked: int
    event_ids: tuple[bytes, ...]
    pushed: bool = False
    gone: bool = False

    @property
    def served(self) -> bool:
        """Whether a PUT has described it, and nothing said later that its owner lists it no more."""
        return self.node.writer.base is not None and not self.gone


class LocationState(Struct, frozen=True, gc=False):
    """A Location's tree with when it was first servable and which events it has seen.

    `texts` has the served JSON of listed EVSEs by key and `columns` what rows need of the Location's own fields, so that an
    event of one EVSE does not make all of them anew.
    """

    header: _Header
    texts: dict[str, bytes]
    columns: "_Columns"

    @property
    def node(self) -> Node:
        """The tree."""
        return self.header.node


class _Coordinates(Struct, frozen=True, gc=False):
    latitude: str = ""
    longitude: str = ""


class _Columns(Struct, frozen=True, gc=False):
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
_text: Final = msgspec.json.Decoder(str)
_columns: Final = msgspec.json.Decoder(_Columns)
_evse_columns: Final = msgspec.json.Decoder(_EvseColumns)


class Locations:
    """The projection of Locations and of availability (OCPI 2.2.1 mod_locations; DESIGN: membership)."""

    name: Final = "locations"
    version: Final = 3
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
            return state, repeated(LOCATION_FINDINGS, recorded, "/".join(envelope.key))
        if isinstance(recorded.event, LocationVanished):
            return _vanished(state, recorded)
        seen: list[Finding] = []
        before = None if state is None else earlier.node
        node, moved = _applied(before, recorded, seen)
        served = node.writer.base is not None
        if not served and earlier.parked >= PARKED:
            raise Poison(f"{PARKED} changes below a Location are waiting for its PUT")
        received_at = envelope.received_at
        if envelope.last_updated is not None and envelope.last_updated > received_at + AHEAD_US:
            text = f"last_updated {date_time(envelope.last_updated)} is ahead of its arrival"
            seen.append(Finding("/last_updated", "clock_ahead", "warning", text))
        header = _Header(
            node,
            earlier.first_seen or (received_at if served else 0),
            max(earlier.changed_at, received_at),
            0 if served else earlier.parked + 1,
            (*earlier.event_ids[-REMEMBERED + 1 :], envelope.event_id),
            earlier.pushed or envelope.origin == "push",
        )
        columns = state.columns if state is not None and earlier.node.text is node.text else _columns.decode(node.text)
        after = LocationState(header, _texts(state, node, moved), columns)
        rows = _evse_rows(state, after, None if earlier.gone else moved, recorded)
        rows += _statuses(recorded)
        if seen or envelope.findings or envelope.losses:
            rows += findings(LOCATION_FINDINGS, recorded, "/".join(envelope.key), seen)
        return after, rows

    def decode(self, key: Key, doc: bytes, state: bytes) -> LocationState:
        """Read a state back from its row."""
        header = _header.decode(state)
        listed = _evses.decode(doc).evses or []
        texts = {key: bytes(text) for (key, _), text in zip(header.node.listed(), listed, strict=True)}
        return LocationState(header, texts, _columns.decode(header.node.text))

    def row(self, key: Key, state: LocationState) -> tuple[object, ...]:
        """Return the current row; `doc` is the served Location with its listed EVSEs."""
        node, at = state.node, state.columns
        return (
            *key,
            int(state.header.served),
            int(at.publish),
            at.name or "",
            at.city,
            at.country,
            at.time_zone or "",
            _degrees(at.coordinates.latitude if at.coordinates else ""),
            _degrees(at.coordinates.longitude if at.coordinates else ""),
            len(state.texts),
            node.touched,
            state.header.first_seen,
            state.header.changed_at,
            tree.document(node, LOCATION, state.texts),
            _msgpack.encode(state.header),
        )


_Moved: TypeAlias = dict[str, tuple[Node | None, Node]]
"""The EVSEs that an event was of, by key: before (None: unknown) and after it."""


def _applied(before: Node | None, recorded: Recorded, seen: list[Finding]) -> tuple[Node, _Moved | None]:
    """Return the tree after the event with the EVSEs that it moved, None where that may be any of them."""
    envelope = recorded.envelope
    event = Event(envelope.last_updated, envelope.received_at, recorded.version)
    name = envelope.key[0]
    stale: list[str] = []
    moved: _Moved | None = None
    match recorded.event:
        case LocationReplaced(document):
            node = tree.put(before, document, LOCATION, event, stale)
        case LocationPatched(change):
            node = tree.patch(before, name, change, LOCATION, event)
        case _:
            uid = envelope.key[1]
            was = _child(before, uid)
            match recorded.event:
                case EvsePatched(change):
                    evse = tree.patch(was, uid, change, EVSE, event)
                case EvseReplaced(document):
                    evse = tree.put(was, document, EVSE, event, stale)
                case ConnectorReplaced(document):
                    connector = tree.put(_child(was, envelope.key[2]), document, CONNECTOR, event, stale)
                    evse = tree.below(was, uid, connector, event)
                case ConnectorPatched(change):
                    connector = tree.patch(_child(was, envelope.key[2]), envelope.key[2], change, CONNECTOR, event)
                    evse = tree.below(was, uid, connector, event)
                case other:
                    raise Poison(f"{type(other).__name__} is not an event of ocpi.locations")
            node = tree.below(before, name, evse, event)
            moved = {identity(evse.id): (was, evse)}
    if stale:
        text = "is older than what is known of it; that was kept"
        seen += [Finding("", "stale_nested", "info", f"{one} {text}") for one in stale]
    return node, moved


def _vanished(state: LocationState | None, recorded: Recorded) -> tuple[LocationState | None, Sequence[Fact]]:
    """Return the Location served no more, with its EVSEs. Whatever is said of it later lists it again."""
    envelope = recorded.envelope
    if state is None:
        return None, ()
    header = msgspec.structs.replace(
        state.header,
        changed_at=max(state.header.changed_at, envelope.received_at),
        event_ids=(*state.header.event_ids[-REMEMBERED + 1 :], envelope.event_id),
        gone=True,
    )
    after = LocationState(header, state.texts, state.columns)
    return after, [*_evse_rows(state, after, None, recorded), *findings(LOCATION_FINDINGS, recorded, envelope.key[0], ())]


def _texts(before: LocationState | None, node: Node, moved: _Moved | None) -> dict[str, bytes]:
    """Return the JSON of every listed EVSE, written anew only where the EVSE is another object than before."""
    known, parts = ({}, {}) if before is None else (before.texts, before.header.node.parts)
    if moved is None:
        return {
            key: known[key] if key in known and parts.get(key) is evse else tree.document(evse.node, EVSE)
            for key, evse in node.listed()
        }
    texts = dict(known)
    for key, (was, evse) in moved.items():
        earlier = texts.pop(key, None)
        if node.lists(node.parts[key]):
            if was is None or earlier is None:
                texts[key] = tree.document(evse, EVSE)
            else:
                texts[key] = tree.document_after(was, earlier, evse, EVSE)
    return texts


def _child(node: Node | None, name: str) -> Node | None:
    return None if node is None else node.child(identity(name))


def _evse_rows(before: LocationState | None, after: LocationState, moved: Iterable[str] | None, recorded: Recorded) -> list[Fact]:
    """Return a row for each EVSE whose own row changed: its document, whether it is listed, or the Location's columns."""
    node, at = after.header.node, after.columns
    was = None if before is None else before.header.node
    same_location = before is not None and before.header.gone == after.header.gone and (moved is not None or before.columns == at)
    envelope = recorded.envelope
    party, location_id, received_at = envelope.party, identity(envelope.key[0]), envelope.received_at
    served, publish, country, time_zone = after.header.served, int(at.publish), at.country, at.time_zone or ""
    rows = []
    for key in node.parts if moved is None else moved:
        evse = node.parts[key]
        listed = node.lists(evse)
        if not evse.served:
            continue
        if same_location and was is not None:
            earlier = was.parts.get(key)
            if (earlier is evse or earlier == evse) and was.lists(evse) == listed:
                continue
        text = after.texts.get(key) or tree.document(evse.node, EVSE)
        columns = _evse_columns.decode(text)
        row = (
            party,
            location_id,
            key,
            int(listed and served),
            publish,
            columns.evse_id or "",
            columns.status,
            country,
            time_zone,
            evse.touched,
            received_at,
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
        case EvsePatched(change):
            if "status" not in change.set:
                return []
            observed = [_observed_patch.decode(envelope.payload).set]
        case _:
            observed = []
    facts = []
    for one in observed:
        if one.status is None:
            continue
        uid = envelope.key[1] if len(envelope.key) > 1 else one.uid
        stated = instant_of(one.last_updated) if one.last_updated else envelope.last_updated
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


def _degrees(text: str) -> float | None:
    """Return the coordinate for maps; the document keeps the exact text."""
    try:
        return float(Decimal(text))
    except InvalidOperation:
        return None
