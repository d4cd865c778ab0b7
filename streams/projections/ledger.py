"""The ledger: what was charged against what was billed, per Session, with its CDRs and their credits."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Final, Literal

import msgspec
from msgspec import Raw, Struct

from schemas.columns import DECIMAL, column_decimal
from schemas.events import CdrPosted, Document, SessionPatched, SessionReplaced
from schemas.types import Instant, identity
from streams.lastwriter import LastWriter, Stamp, patched, replaced, stamp
from streams.projection import Column, Fact, Key, Recorded, Table
from streams.projections.cdrs import charging_key, columns_of
from streams.topics import CHARGING

LEDGER: Final = Table(
    name="ledger",
    version=1,
    kind="current",
    columns=(
        Column("party", "LowCardinality(String)"),
        Column("charging_key", "String"),
        Column("standing", "LowCardinality(String)"),
        Column("session_id", "String"),
        Column("session_status", "LowCardinality(String)"),
        Column("cdr_ids", "Array(String)"),
        Column("credit_ids", "Array(String)"),
        Column("currency", "LowCardinality(String)"),
        Column("billed_before_taxes", f"Nullable({DECIMAL})"),
        Column("billed_taxes", f"Nullable({DECIMAL})"),
        Column("billed_energy_kwh", f"Nullable({DECIMAL})"),
        Column("first_cdr_at", "Nullable(DateTime64(6, 'UTC'))"),
        Column("addressed_to", "LowCardinality(String)"),
        Column("first_seen", "DateTime64(6, 'UTC')"),
        Column("changed_at", "DateTime64(6, 'UTC')"),
        Column("doc", "String CODEC(ZSTD(1))"),
        Column("state", "String CODEC(ZSTD(1))"),
    ),
    order_by=("party", "charging_key"),
)

Standing = Literal[
    "open",  # a Session that runs, no CDR yet
    "unbilled",  # a COMPLETED Session without a CDR (whether it is late is a question of time, asked when reading)
    "billed",  # exactly one CDR stands uncredited
    "overbilled",  # more than one CDR stands uncredited
    "credited",  # every CDR was taken back
    "unmatched_credit",  # a credit whose CDR is not here
    "mixed_currencies",  # the CDRs cannot be added up
]

_NEEDED: Final = ("status", "id")
"""What the balance needs of a Session; energy and times are joined from `sessions`, which shares the key."""

_REMEMBERED: Final = 16


class _Entry(Struct, frozen=True, array_like=True):
    """A CDR's share of the balance."""

    id: str
    credit_of: str | None
    currency: str
    before_taxes: Decimal
    taxes: Decimal
    energy_kwh: Decimal
    received_at: Instant


class LedgerState(Struct, frozen=True, array_like=True):
    """The session fields that the balance needs, by last writer, and the CDRs by lowered id, in the order of arrival."""

    fields: dict[str, bytes]
    writer: LastWriter
    cdrs: dict[str, _Entry]
    addressed_to: str
    addressed_at: Stamp | None
    first_seen: Instant
    changed_at: Instant
    event_ids: tuple[bytes, ...]

    @property
    def standing(self) -> Standing:
        """How Session, CDRs and credits stand to each other."""
        credited = {entry.credit_of for entry in self.cdrs.values() if entry.credit_of is not None}
        billed = [key for key, entry in self.cdrs.items() if entry.credit_of is None]
        if len({entry.currency for entry in self.cdrs.values()}) > 1:
            return "mixed_currencies"
        if credited - set(billed):
            return "unmatched_credit"
        uncredited = len(billed) - len(credited)
        if not billed:
            return "unbilled" if self.fields.get("status") == b'"COMPLETED"' else "open"
        return "credited" if uncredited == 0 else "billed" if uncredited == 1 else "overbilled"


class _Session(Struct):
    id: str | None = None
    status: str = ""


_session: Final = msgspec.json.Decoder(_Session)
_state: Final = msgspec.msgpack.Decoder(LedgerState)
_json: Final = msgspec.json.Encoder(decimal_format="number")
_msgpack: Final = msgspec.msgpack.Encoder()
_EMPTY: Final = LedgerState({}, LastWriter(), {}, "", None, 0, 0, ())


class Ledger:
    """The projection that links a Session with its CDRs and credits: they share a partition, so they meet in order.

    Source: OCPI 2.2.1 mod_cdrs, Credit CDRs (a credit negates total_cost only; energy stays positive).
    """

    name: Final = "ledger"
    version: Final = 1
    topics: Final = (CHARGING,)
    current: Final = LEDGER
    facts: Final = ()

    def key(self, recorded: Recorded) -> Key | None:
        """Return (party, charging key): the lowered session id, or what the CDR is keyed by."""
        match recorded.event:
            case SessionReplaced() | SessionPatched():
                return recorded.envelope.party, identity(recorded.envelope.key[0])
            case CdrPosted(cdr):
                return recorded.envelope.party, charging_key(cdr)
        return None

    def fold(self, state: LedgerState | None, recorded: Recorded) -> tuple[LedgerState | None, Sequence[Fact]]:
        """Return the entry after the event. A CDR id counts once, in its first form."""
        envelope, before = recorded.envelope, state or _EMPTY
        if envelope.event_id in before.event_ids:
            return state, ()
        match recorded.event:
            case SessionReplaced(document):
                after = _session_event(before, _needed(document), recorded, put=True)
            case SessionPatched(patch):
                changes = _needed(patch.set)
                if not changes:  # most PATCHes of a running Session: energy and periods
                    return state, ()
                after = _session_event(before, changes, recorded, put=False)
            case CdrPosted(cdr):
                after = _cdr_event(before, cdr, recorded)
            case _:
                return state, ()
        if after is before:
            return state, ()
        return (
            msgspec.structs.replace(
                after,
                first_seen=after.first_seen or envelope.received_at,
                changed_at=max(after.changed_at, envelope.received_at),
                event_ids=(*after.event_ids[-_REMEMBERED + 1 :], envelope.event_id),
            ),
            (),
        )

    def decode(self, key: Key, doc: bytes, state: bytes) -> LedgerState:
        """Read a state back from its row."""
        return _state.decode(state)

    def row(self, key: Key, state: LedgerState) -> tuple[object, ...]:
        """Return the current row; amounts are NULL where there is no CDR or the currencies differ."""
        session = _session.decode(_json.encode({name: Raw(text) for name, text in state.fields.items()}))
        entries = tuple(state.cdrs.values())
        standing = state.standing
        summable = bool(entries) and standing != "mixed_currencies"
        doc = {
            "standing": standing,
            "session_id": session.id,
            "cdrs": [
                {
                    "id": entry.id,
                    "credit_of": entry.credit_of,
                    "currency": entry.currency,
                    "before_taxes": entry.before_taxes,
                    "taxes": entry.taxes,
                    "energy_kwh": entry.energy_kwh,
                }
                for entry in entries
            ],
        }
        return (
            *key,
            standing,
            identity(session.id or ""),
            session.status,
            [entry.id for entry in entries if entry.credit_of is None],
            [entry.id for entry in entries if entry.credit_of is not None],
            entries[0].currency if summable else "",
            column_decimal(sum((entry.before_taxes for entry in entries), Decimal(0))) if summable else None,
            column_decimal(sum((entry.taxes for entry in entries), Decimal(0))) if summable else None,
            column_decimal(sum((_net_energy(entry) for entry in entries), Decimal(0))) if summable else None,
            min((entry.received_at for entry in entries), default=None),
            state.addressed_to,
            state.first_seen,
            state.changed_at,
            _json.encode(doc),
            _msgpack.encode(state),
        )


def _needed(fields: Document) -> Document:
    return {name: fields[name] for name in _NEEDED if name in fields}


def _net_energy(entry: _Entry) -> Decimal:
    """A credit takes back the energy that it copies."""
    return entry.energy_kwh if entry.credit_of is None else -entry.energy_kwh


def _session_event(before: LedgerState, changes: Document, recorded: Recorded, *, put: bool) -> LedgerState:
    envelope = recorded.envelope
    last_updated = envelope.received_at if envelope.last_updated is None else envelope.last_updated
    at = stamp(last_updated, envelope.received_at, recorded.version)
    present: Document = {name: Raw(text) for name, text in before.fields.items()}
    writer, fields = (replaced if put else patched)(before.writer, present, changes, at)
    if writer is before.writer:
        return before
    addressed_to, addressed_at = before.addressed_to, before.addressed_at
    if envelope.addressed_to is not None and (addressed_at is None or at > addressed_at):
        addressed_to, addressed_at = envelope.addressed_to, at
    return msgspec.structs.replace(
        before,
        fields={name: bytes(text) for name, text in fields.items()},
        writer=writer,
        addressed_to=addressed_to,
        addressed_at=addressed_at,
    )


def _cdr_event(before: LedgerState, document: Document, recorded: Recorded) -> LedgerState:
    cdr = columns_of(_json.encode(document))
    if identity(cdr.id) in before.cdrs:
        return before
    credit_of = identity(cdr.credit_reference_id or "") if cdr.credit else None
    entry = _Entry(
        cdr.id,
        credit_of,
        cdr.currency,
        cdr.total_cost.before_taxes,
        cdr.taxes,
        cdr.total_energy,
        recorded.envelope.received_at,
    )
    return msgspec.structs.replace(
        before,
        cdrs=before.cdrs | {identity(cdr.id): entry},
        addressed_to=before.addressed_to or recorded.envelope.addressed_to or "",
    )
