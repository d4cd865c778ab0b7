"""Sessions as they now stand, and every state that they went through."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Final

import msgspec
from msgspec import Raw, Struct

from schemas.columns import DECIMAL, column_decimal
from schemas.events import Document, Patch, SessionDeleted, SessionPatched, SessionReplaced
from schemas.types import Finding, Instant, date_time, identity
from streams.errors import Poison
from streams.lastwriter import (
    AHEAD_US,
    LastWriter,
    Periods,
    Stamp,
    instant_of,
    patched,
    periods_appended,
    periods_replaced,
    replaced,
    stamp,
)
from streams.projection import Column, Fact, Key, Recorded, Table
from streams.projections.facts import findings, findings_table, repeated
from streams.topics import CHARGING

REMEMBERED: Final = 16
"""How many event_ids a state keeps: a PUT retried after a PATCH of the same second must not revert it."""

PARKED: Final = 100
"""How many PATCHes may wait for their PUT."""

SESSIONS: Final = Table(
    name="sessions",
    version=1,
    kind="current",
    columns=(
        Column("party", "LowCardinality(String)"),
        Column("session_id", "String"),
        Column("served", "UInt8"),
        Column("status", "LowCardinality(String)"),
        Column("location_id", "String"),
        Column("evse_uid", "String"),
        Column("connector_id", "String"),
        Column("auth_method", "LowCardinality(String)"),
        Column("contract_id", "String"),
        Column("start_date_time", "DateTime64(6, 'UTC')"),
        Column("end_date_time", "Nullable(DateTime64(6, 'UTC'))"),
        Column("energy_kwh", DECIMAL),
        Column("currency", "LowCardinality(String)"),
        Column("cost_before_taxes", f"Nullable({DECIMAL})"),
        Column("addressed_to", "LowCardinality(String)"),
        Column("last_updated", "DateTime64(6, 'UTC')"),
        Column("first_seen", "DateTime64(6, 'UTC')"),
        Column("changed_at", "DateTime64(6, 'UTC')"),
        Column("doc", "String CODEC(ZSTD(1))"),
        Column("state", "String CODEC(ZSTD(1))"),
    ),
    order_by=("party", "session_id"),
)

SESSION_HISTORY: Final = Table(
    name="session_history",
    version=1,
    kind="fact",
    columns=(
        Column("party", "LowCardinality(String)"),
        Column("session_id", "String"),
        Column("event_id", "FixedString(16)"),
        Column("type", "LowCardinality(String)"),
        Column("origin", "LowCardinality(String)"),
        Column("connection", "LowCardinality(String)"),
        Column("last_updated", "Nullable(DateTime64(6, 'UTC'))"),
        Column("received_at", "DateTime64(6, 'UTC')"),
        Column("changed", "UInt8"),
        Column("doc", "String CODEC(ZSTD(1))"),
    ),
    order_by=("party", "session_id", "event_id"),
)

SESSION_FINDINGS: Final = findings_table("session_findings")


class _Header(Struct, frozen=True, array_like=True, gc=False):
    """The state beside the document, as the column `state` keeps it."""

    writer: LastWriter
    periods: Periods
    addressed_to: str
    addressed_at: Stamp | None
    first_seen: Instant
    changed_at: Instant
    parked: int
    event_ids: tuple[bytes, ...]
    deleted: Stamp | None = None
    pushed: bool = False


class SessionState(Struct, frozen=True, gc=False):
    """A Session with who wrote what. `fields` is the merged document, charging_periods included, `doc` its JSON."""

    fields: Document
    header: _Header
    doc: bytes = b"{}"

    @property
    def served(self) -> bool:
        """Whether a PUT has described it and no newer DELETE (OCPI 2.0) has taken it away."""
        base, deleted = self.header.writer.base, self.header.deleted
        return base is not None and (deleted is None or base > deleted)


class _Price(Struct):
    before_taxes: Decimal


class _Token(Struct):
    contract_id: str = ""


class _Columns(Struct):
    """What the row needs of the document; every name is a field of the canonical Session."""

    status: str = ""
    location_id: str = ""
    evse_uid: str = ""
    connector_id: str = ""
    auth_method: str = ""
    currency: str = ""
    kwh: Decimal = Decimal(0)
    start_date_time: str | None = None
    end_date_time: str | None = None
    last_updated: str | None = None
    total_cost: _Price | None = None
    cdr_token: _Token | None = None


_PERIODS: Final = "charging_periods"
_START: Final = "start_date_time"
_BEGUN: Final = frozenset({b'"ACTIVE"', b'"COMPLETED"', b'"INVALID"'})
"""The statuses in which a Session's start is known: only PENDING says when it was created (OCPI 2.2.1 mod_sessions, object)."""
_IDENTITY: Final = ("country_code", "party_id", "id")
_NOT_PATCHED: Final = frozenset({*_IDENTITY, _PERIODS})
_columns: Final = msgspec.json.Decoder(_Columns)
_document: Final = msgspec.json.Decoder(Document)
_header_decoder: Final = msgspec.msgpack.Decoder(_Header)
_json: Final = msgspec.json.Encoder()
_msgpack: Final = msgspec.msgpack.Encoder()
_EMPTY: Final = _Header(LastWriter(), Periods(), "", None, 0, 0, 0, ())


class Sessions:
    """The projection of Sessions (OCPI 2.2.1 mod_sessions; requirements 2.1 to 2.3)."""

    name: Final = "sessions"
    version: Final = 3
    topics: Final = (CHARGING,)
    current: Final = SESSIONS
    facts: Final = (SESSION_HISTORY, SESSION_FINDINGS)

    def key(self, recorded: Recorded) -> Key | None:
        """Return (party, session id); CDRs do not concern a Session."""
        if isinstance(recorded.event, SessionReplaced | SessionPatched | SessionDeleted):
            return recorded.envelope.party, identity(recorded.envelope.key[0])
        return None

    def fold(self, state: SessionState | None, recorded: Recorded) -> tuple[SessionState | None, Sequence[Fact]]:
        """Return the Session after the event; a repeat changes nothing but that it is noted.

        Raises Poison for the 101st PATCH of a Session that no PUT has described.
        """
        envelope, event = recorded.envelope, recorded.event
        if state is not None and envelope.event_id in state.header.event_ids:
            return state, repeated(SESSION_FINDINGS, recorded, envelope.key[0])
        seen: list[Finding] = []
        before = state or SessionState({}, _EMPTY)
        match event:
            case SessionReplaced(document):
                after = _replaced(before, document, recorded)
            case SessionPatched(patch):
                after = _patched(before, patch, recorded, seen)
            case SessionDeleted():
                after = _deleted(before, recorded)
            case _:
                return state, ()
        if envelope.last_updated is not None and envelope.last_updated > envelope.received_at + AHEAD_US:
            text = f"last_updated {date_time(envelope.last_updated)} is ahead of its arrival"
            seen.append(Finding("/last_updated", "clock_ahead", "warning", text))
        changed = after is not before
        if before.served and _moved_its_start(before.fields, after.fields):
            text = "start_date_time changed, which only a Session that becomes ACTIVE may do"
            seen.append(Finding("/start_date_time", "start_moved", "warning", text))
        header = after.header
        after = SessionState(
            after.fields,
            _Header(
                header.writer,
                header.periods,
                header.addressed_to,
                header.addressed_at,
                header.first_seen or (envelope.received_at if after.served else 0),
                max(header.changed_at, envelope.received_at) if changed else header.changed_at,
                header.parked,
                (*header.event_ids[-REMEMBERED + 1 :], envelope.event_id),
                header.deleted,
                header.pushed or envelope.origin == "push",
            ),
            _json.encode(after.fields) if changed else before.doc,
        )
        history = (
            envelope.party,
            identity(envelope.key[0]),
            envelope.event_id,
            envelope.type,
            envelope.origin,
            envelope.connection,
            envelope.last_updated,
            envelope.received_at,
            int(changed),
            after.doc,
        )
        if not (seen or envelope.findings or envelope.losses):
            return after, (Fact(SESSION_HISTORY, history),)
        return after, [Fact(SESSION_HISTORY, history), *findings(SESSION_FINDINGS, recorded, envelope.key[0], seen)]

    def decode(self, key: Key, doc: bytes, state: bytes) -> SessionState:
        """Read a state back from its row."""
        return SessionState(_document.decode(doc), _header_decoder.decode(state), doc)

    def row(self, key: Key, state: SessionState) -> tuple[object, ...]:
        """Return the current row; a parked Session's row holds what its PATCHes said and `served` 0."""
        doc, header = state.doc, state.header
        at = _columns.decode(doc)
        return (
            *key,
            int(state.served),
            at.status,
            identity(at.location_id),
            identity(at.evse_uid),
            identity(at.connector_id),
            at.auth_method,
            at.cdr_token.contract_id if at.cdr_token else "",
            instant_of(at.start_date_time) if at.start_date_time else 0,
            instant_of(at.end_date_time) if at.end_date_time else None,
            column_decimal(at.kwh),
            at.currency,
            column_decimal(at.total_cost.before_taxes) if at.total_cost else None,
            header.addressed_to,
            instant_of(at.last_updated) if at.last_updated else 0,
            header.first_seen,
            header.changed_at,
            doc,
            _msgpack.encode(header),
        )


def _stamp(recorded: Recorded, header: _Header) -> Stamp:
    """Return the event's stamp; without last_updated it takes the newest stamp time that it meets, with its own version."""
    envelope = recorded.envelope
    if envelope.last_updated is not None:
        return stamp(envelope.last_updated, envelope.received_at, recorded.version)
    met = [written.event for written in header.writer.newer.values()]
    met += [written.event for written in (header.writer.base, header.deleted) if written is not None]
    newest = max(met, default=envelope.received_at)
    return Stamp(newest, newest, recorded.version)


def _moved_its_start(before: Document, after: Document) -> bool:
    was, became = before.get(_START), after.get(_START)
    if was is became or was is None or became is None or bytes(was) == bytes(became):
        return False
    return bytes(before.get("status", Raw(b""))) in _BEGUN


def _addressed(header: _Header, addressed_to: str | None, at: Stamp) -> tuple[str, Stamp | None]:
    """Return whom the newest event that says it addresses; None says nothing."""
    if addressed_to is None or (header.addressed_at is not None and at <= header.addressed_at):
        return header.addressed_to, header.addressed_at
    return addressed_to, at


def _replaced(before: SessionState, document: Document, recorded: Recorded) -> SessionState:
    header, at = before.header, _stamp(recorded, before.header)
    if header.writer.base is not None and at <= header.writer.base:
        return before
    put = {name: value for name, value in document.items() if name != _PERIODS}
    writer, fields = replaced(header.writer, before.fields, put, at)
    periods, listed = periods_replaced(header.periods, before.fields.get(_PERIODS), document.get(_PERIODS), at)
    fields.pop(_PERIODS, None)
    if listed is not None:
        fields[_PERIODS] = listed
    if before.served:  # the first spelling is served (identity is the lowered id)
        fields |= {name: before.fields[name] for name in _IDENTITY if name in before.fields}
    addressed_to, addressed_at = _addressed(header, recorded.envelope.addressed_to, at)
    after = msgspec.structs.replace(
        header, writer=writer, periods=periods, parked=0, addressed_to=addressed_to, addressed_at=addressed_at
    )
    return SessionState(fields, after)


def _deleted(before: SessionState, recorded: Recorded) -> SessionState:
    header, at = before.header, _stamp(recorded, before.header)
    if header.deleted is not None and at <= header.deleted:
        return before
    return SessionState(before.fields, msgspec.structs.replace(header, deleted=at), before.doc)


def _patched(before: SessionState, patch: Patch, recorded: Recorded, seen: list[Finding]) -> SessionState:
    header, at = before.header, _stamp(recorded, before.header)
    if header.writer.base is not None and at <= header.writer.base:
        return before
    described = header.writer.base is not None
    if not described and header.parked >= PARKED:
        raise Poison(f"{PARKED} PATCHes of a Session are waiting for its PUT")
    changes = {name: value for name, value in patch.set.items() if name not in _NOT_PATCHED}
    periods, listed = header.periods, before.fields.get(_PERIODS)
    if _PERIODS in patch.set:
        periods, listed = periods_replaced(periods, listed, patch.set[_PERIODS], at)
    if _PERIODS in patch.append:
        periods, listed, restated = periods_appended(periods, listed, patch.append[_PERIODS], at)
        seen.extend(
            Finding("/charging_periods", "period_restated", "warning", f"the period from {date_time(start)} was sent before")
            for start in restated
        )
    writer, fields = patched(header.writer, before.fields, changes, at)
    if writer is header.writer and periods is header.periods:
        return before
    if before.served and bytes(before.fields.get("status", Raw(b""))) == b'"COMPLETED"':
        seen.append(Finding("", "patched_after_completed", "warning", "a COMPLETED Session is not to be modified"))
    if listed is not None and listed is not fields.get(_PERIODS):
        fields = fields | {_PERIODS: listed}
    addressed_to, addressed_at = _addressed(header, recorded.envelope.addressed_to, at)
    after = msgspec.structs.replace(
        header,
        writer=writer,
        periods=periods,
        parked=header.parked + (not described),
        addressed_to=addressed_to,
        addressed_at=addressed_at,
    )
    return SessionState(fields, after)
