"""CDRs: the first of an id in its partition wins and never changes."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Final

import msgspec
from msgspec import Struct

from schemas.columns import DECIMAL, column_decimal
from schemas.events import CdrLeftUnlinked, CdrPosted, Document
from schemas.types import Finding, Instant, identity, instant
from streams.projection import Column, Fact, Key, Recorded, Table
from streams.projections.facts import findings, findings_table, repeated
from streams.topics import CHARGING

CDRS: Final = Table(
    name="cdrs",
    version=1,
    kind="current",
    columns=(
        Column("party", "LowCardinality(String)"),
        Column("cdr_id", "String"),
        Column("charging_key", "String"),
        Column("session_id", "String"),
        Column("credit", "UInt8"),
        Column("credit_reference_id", "String"),
        Column("start_date_time", "DateTime64(6, 'UTC')"),
        Column("end_date_time", "DateTime64(6, 'UTC')"),
        Column("currency", "LowCardinality(String)"),
        Column("cost_before_taxes", DECIMAL),
        Column("taxes", DECIMAL),
        Column("energy_kwh", DECIMAL),
        Column("time_h", DECIMAL),
        Column("parking_time_h", f"Nullable({DECIMAL})"),
        Column("auth_method", "LowCardinality(String)"),
        Column("contract_id", "String"),
        Column("location_id", "String"),
        Column("evse_uid", "String"),
        Column("connector_id", "String"),
        Column("country", "LowCardinality(String)"),
        Column("addressed_to", "LowCardinality(String)"),
        Column("last_updated", "DateTime64(6, 'UTC')"),
        Column("first_seen", "DateTime64(6, 'UTC')"),
        Column("changed_at", "DateTime64(6, 'UTC')"),
        Column("doc", "String CODEC(ZSTD(1))"),
        Column("state", "String CODEC(ZSTD(1))"),
    ),
    order_by=("party", "cdr_id", "charging_key"),
)

CDR_FINDINGS: Final = findings_table("cdr_findings")


class _Header(Struct, frozen=True, array_like=True, gc=False):
    addressed_to: str
    first_seen: Instant


class CdrState(Struct, frozen=True, gc=False):
    """A CDR as first received."""

    fields: Document
    header: _Header


class _Tax(Struct):
    amount: Decimal


class _Price(Struct):
    before_taxes: Decimal
    taxes: list[_Tax] | None = None


class _Token(Struct):
    contract_id: str = ""


class _Location(Struct):
    id: str = ""
    evse_uid: str = ""
    connector_id: str = ""
    country: str = ""


class CdrColumns(Struct):
    """What rows need of a CDR; every name is a field of the canonical CDR."""

    id: str
    start_date_time: str
    end_date_time: str
    total_cost: _Price
    total_energy: Decimal
    total_time: Decimal
    currency: str
    last_updated: str
    total_parking_time: Decimal | None = None
    session_id: str | None = None
    credit: bool | None = None
    credit_reference_id: str | None = None
    auth_method: str = ""
    cdr_token: _Token | None = None
    cdr_location: _Location | None = None

    @property
    def taxes(self) -> Decimal:
        """The sum of the tax amounts of total_cost; 0 where none are listed."""
        return sum((tax.amount for tax in self.total_cost.taxes or ()), Decimal(0))


columns_of: Final = msgspec.json.Decoder(CdrColumns).decode
_document: Final = msgspec.json.Decoder(Document)
_value: Final = msgspec.json.Decoder(float_hook=Decimal)
_header: Final = msgspec.msgpack.Decoder(_Header)
_json: Final = msgspec.json.Encoder()
_msgpack: Final = msgspec.msgpack.Encoder()


def charging_key(cdr: Document) -> str:
    """Return what keys a CDR in the log, lowered: its session_id, else its credit_reference_id, else its id."""
    for name in ("session_id", "credit_reference_id", "id"):
        text = cdr.get(name)
        if text is not None and (value := _value.decode(text)):
            return identity(str(value))
    return ""


def same_values(one: Document, other: Document) -> bool:
    """Whether two documents are equal as JSON values: 4.0 is 4.00, the order of keys does not count."""
    if one.keys() != other.keys():
        return False
    return all(bytes(text) == bytes(other[name]) or _value.decode(text) == _value.decode(other[name]) for name, text in one.items())


class Cdrs:
    """The projection of CDRs (OCPI 2.2.1 mod_cdrs; requirements 2.5)."""

    name: Final = "cdrs"
    version: Final = 3
    topics: Final = (CHARGING,)
    current: Final = CDRS
    facts: Final = (CDR_FINDINGS,)

    def key(self, recorded: Recorded) -> Key | None:
        """Return (party, CDR id, charging key)."""
        envelope = recorded.envelope
        match recorded.event:
            case CdrPosted(cdr):
                return envelope.party, identity(envelope.key[0]), charging_key(cdr)
            case CdrLeftUnlinked(doubt):
                return envelope.party, identity(doubt.cdr_id), doubt.own_key
        return None

    def fold(self, state: CdrState | None, recorded: Recorded) -> tuple[CdrState | None, Sequence[Fact]]:
        """Return the CDR as first received. An equal one is a repeat, a different one the finding `cdr_conflict`."""
        envelope = recorded.envelope
        match recorded.event:
            case CdrPosted(document):
                pass
            case CdrLeftUnlinked():
                return state, findings(CDR_FINDINGS, recorded, envelope.key[0], ())
            case _:
                return state, ()
        if state is None:
            first = CdrState(document, _Header(envelope.addressed_to or "", envelope.received_at))
            return first, findings(CDR_FINDINGS, recorded, envelope.key[0], ())
        if same_values(state.fields, document):
            return state, repeated(CDR_FINDINGS, recorded, envelope.key[0])
        conflict = Finding("", "cdr_conflict", "error", "a CDR of this id with other values stands already; it was kept")
        return state, findings(CDR_FINDINGS, recorded, envelope.key[0], (conflict,))

    def decode(self, key: Key, doc: bytes, state: bytes) -> CdrState:
        """Read a state back from its row."""
        return CdrState(_document.decode(doc), _header.decode(state))

    def row(self, key: Key, state: CdrState) -> tuple[object, ...]:
        """Return the current row."""
        doc, header = _json.encode(state.fields), state.header
        cdr = columns_of(doc)
        location = cdr.cdr_location or _Location()
        return (
            *key,
            identity(cdr.session_id or ""),
            int(bool(cdr.credit)),
            identity(cdr.credit_reference_id or ""),
            instant(cdr.start_date_time),
            instant(cdr.end_date_time),
            cdr.currency,
            column_decimal(cdr.total_cost.before_taxes),
            column_decimal(cdr.taxes),
            column_decimal(cdr.total_energy),
            column_decimal(cdr.total_time),
            None if cdr.total_parking_time is None else column_decimal(cdr.total_parking_time),
            cdr.auth_method,
            cdr.cdr_token.contract_id if cdr.cdr_token else "",
            identity(location.id),
            identity(location.evse_uid),
            identity(location.connector_id),
            location.country,
            header.addressed_to,
            instant(cdr.last_updated),
            header.first_seen,
            header.first_seen,
            doc,
            _msgpack.encode(header),
        )
