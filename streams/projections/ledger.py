"""The ledger: what was charged against what was billed, per Session, with its CDRs and their credits.

A CDR that names no Session stands under a key of its own until the second stage links it (`cdr.linked`): then it leaves that
row, which names the Session from there on, and counts in the Session's.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Final, Literal

import msgspec
from msgspec import Raw, Struct

from schemas.columns import DECIMAL, column_decimal
from schemas.events import CdrLinked, CdrPosted, Document, SessionPatched, SessionReplaced
from schemas.link import Link
from schemas.types import Instant, identity
from streams.lastwriter import LastWriter, Stamp, patched, replaced, stamp
from streams.projection import Column, Fact, Key, Recorded, Table
from streams.projections.cdrs import charging_key, columns_of
from streams.topics import CHARGING

LEDGER: Final = Table(
    name="ledger",
    version=2,
    kind="current",
    columns=(
        Column("party", "LowCardinality(String)"),
        Column("charging_key", "String"),
        Column("standing", "LowCardinality(String)"),
        Column("session_id", "String"),
        Column("session_status", "LowCardinality(String)"),
        Column("cdr_ids", "Array(String)"),
        Column("credit_ids", "Array(String)"),
        Column("orphans", "UInt32"),
        Column("linked_ids", "Array(String)"),
        Column("confidence", "Nullable(Decimal(3, 2))"),
        Column("moved_ids", "Array(String)"),
        Column("moved_to", "Array(String)"),
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
    "orphan",  # a CDR that names no Session, and none was found for it
    "linked",  # nothing is left here: the CDRs count where they were linked to
    "mixed_currencies",  # the CDRs cannot be added up
]

_NEEDED: Final = ("status", "id")
"""What the balance needs of a Session; energy and times are joined from `sessions`, which shares the key."""

_REMEMBERED: Final = 16


class _Entry(Struct, frozen=True, array_like=True, gc=False):
    """A CDR's share of the balance."""

    id: str
    credit_of: str | None
    currency: str
    before_taxes: Decimal
    taxes: Decimal
    energy_kwh: Decimal
    received_at: Instant
    named: bool
    """Whether it names its Session, or is a credit."""
    confidence: Decimal | None = None
    """How sure the second stage is that it belongs here; None where the CDR says so itself."""
    reasons: tuple[str, ...] = ()


class Moved(Struct, frozen=True, array_like=True):
    """Where a CDR of this key counts."""

    session_id: str
    confidence: Decimal
    reasons: tuple[str, ...]


class LedgerState(Struct, frozen=True, array_like=True, gc=False):
    """The session fields that the balance needs, by last writer, and the CDRs by lowered id, in the order of arrival.

    `cdrs` has those that count elsewhere as well; `moved` says which, and where.
    """

    fields: dict[str, bytes]
    writer: LastWriter
    cdrs: dict[str, _Entry]
    addressed_to: str
    addressed_at: Stamp | None
    first_seen: Instant
    changed_at: Instant
    event_ids: tuple[bytes, ...]
    moved: dict[str, Moved] = {}

    @property
    def counted(self) -> dict[str, _Entry]:
        """The CDRs that count here, by lowered id."""
        return {key: entry for key, entry in self.cdrs.items() if key not in self.moved} if self.moved else self.cdrs

    @property
    def orphans(self) -> int:
        """How many CDRs name no Session and were not linked."""
        return sum(not entry.named and entry.confidence is None for entry in self.counted.values())

    @property
    def standing(self) -> Standing:
        """How Session, CDRs and credits stand to each other."""
        counted = self.counted
        if not counted and self.moved and not self.fields:
            return "linked"
        credited = {entry.credit_of for entry in counted.values() if entry.credit_of is not None}
        billed = [key for key, entry in counted.items() if entry.credit_of is None]
        if len({entry.currency for entry in counted.values()}) > 1:
            return "mixed_currencies"
        if credited - set(billed):
            return "unmatched_credit"
        if self.orphans:
            return "orphan"
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
    version: Final = 2
    topics: Final = (CHARGING,)
    current: Final = LEDGER
    facts: Final = ()

    def key(self, recorded: Recorded) -> Key | None:
        """Return (party, charging key): the lowered session id, or what the CDR is keyed by; of a link, the key it stands under."""
        match recorded.event:
            case SessionReplaced() | SessionPatched():
                return recorded.envelope.party, identity(recorded.envelope.key[0])
            case CdrPosted(cdr):
                return recorded.envelope.party, charging_key(cdr)
            case CdrLinked():
                return recorded.envelope.party, recorded.envelope.key[1]
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
            case CdrLinked(link):
                after = _linked(before, link, envelope.key[1])
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
        entries = tuple(state.counted.values())
        linked = [entry for entry in entries if entry.confidence is not None]
        sure = [*(entry.confidence for entry in linked), *(to.confidence for to in state.moved.values())]
        standing = state.standing
        found = next((to.session_id for to in state.moved.values()), "") if standing == "linked" else ""
        summable = bool(entries) and standing != "mixed_currencies"
        doc = {
            "standing": standing,
            "session_id": session.id,
            "cdrs": [
                {
                    "id": entry.id,
                    "confidence": entry.confidence,
                    "reasons": entry.reasons,
                    "credit_of": entry.credit_of,
                    "currency": entry.currency,
                    "before_taxes": entry.before_taxes,
                    "taxes": entry.taxes,
                    "energy_kwh": entry.energy_kwh,
                }
                for entry in entries
            ],
            "moved": state.moved,
        }
        return (
            *key,
            standing,
            identity(session.id or "") or found,
            session.status,
            [entry.id for entry in entries if entry.credit_of is None],
            [entry.id for entry in entries if entry.credit_of is not None],
            state.orphans,
            [identity(entry.id) for entry in linked],
            min((one for one in sure if one is not None), default=None),
            list(state.moved),
            [to.session_id for to in state.moved.values()],
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
        bool(cdr.session_id) or bool(cdr.credit),
    )
    return msgspec.structs.replace(
        before,
        cdrs=before.cdrs | {identity(cdr.id): entry},
        addressed_to=before.addressed_to or recorded.envelope.addressed_to or "",
    )


def _linked(before: LedgerState, link: Link, under: str) -> LedgerState:
    """Return the row after a link: the CDR's own row lets go of the CDR for good, the Session's takes it in.

    A CDR that the Session's row has from the CPO itself stays as it came; one that came by a link takes the newer amounts.
    """
    cdr_id = identity(link.cdr_id)
    known = before.cdrs.get(cdr_id)
    if under == link.own_key != link.session_id:
        if cdr_id in before.moved:
            return before
        moved = Moved(link.session_id, link.confidence, link.reasons)
        return msgspec.structs.replace(before, moved=before.moved | {cdr_id: moved})
    if known is not None and known.named and known.confidence is None:
        return before
    entry = _Entry(
        link.cdr_id if known is None else known.id,
        None if link.credit_of is None else identity(link.credit_of),
        link.currency,
        link.before_taxes,
        link.taxes,
        link.energy_kwh,
        link.received_at,
        False,
        link.confidence,
        link.reasons,
    )
    return msgspec.structs.replace(
        before,
        cdrs=before.cdrs | {cdr_id: entry},
        addressed_to=before.addressed_to or link.addressed_to,
    )
