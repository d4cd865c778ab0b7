"""Tariffs as they are valid now, and every form that they were valid in."""

from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec import Struct

from schemas.events import Document, TariffDeleted, TariffPatched, TariffReplaced
from schemas.types import identity, instant
from streams import kept
from streams.kept import Header, Kept
from streams.projection import Column, Fact, Key, Recorded, Table
from streams.projections.facts import findings, findings_table, repeated
from streams.topics import TARIFFS

TARIFFS_TABLE: Final = Table(
    name="tariffs",
    version=1,
    kind="current",
    columns=(
        Column("party", "LowCardinality(String)"),
        Column("tariff_id", "String"),
        Column("served", "UInt8"),
        Column("type", "LowCardinality(String)"),
        Column("currency", "LowCardinality(String)"),
        Column("start_date_time", "Nullable(DateTime64(6, 'UTC'))"),
        Column("end_date_time", "Nullable(DateTime64(6, 'UTC'))"),
        Column("last_updated", "DateTime64(6, 'UTC')"),
        Column("first_seen", "DateTime64(6, 'UTC')"),
        Column("changed_at", "DateTime64(6, 'UTC')"),
        Column("doc", "String CODEC(ZSTD(1))"),
        Column("state", "String CODEC(ZSTD(1))"),
    ),
    order_by=("party", "tariff_id"),
)

TARIFF_HISTORY: Final = Table(
    name="tariff_history",
    version=1,
    kind="fact",
    columns=(
        Column("party", "LowCardinality(String)"),
        Column("tariff_id", "String"),
        Column("event_id", "FixedString(16)"),
        Column("type", "LowCardinality(String)"),
        Column("last_updated", "Nullable(DateTime64(6, 'UTC'))"),
        Column("received_at", "DateTime64(6, 'UTC')"),
        Column("connection", "LowCardinality(String)"),
        Column("ocpi_version", "LowCardinality(String)"),
        Column("doc", "String CODEC(ZSTD(1))"),
    ),
    order_by=("party", "tariff_id", "event_id"),
)

TARIFF_FINDINGS: Final = findings_table("tariff_findings")


class _Columns(Struct):
    type: str | None = None
    currency: str = ""
    start_date_time: str | None = None
    end_date_time: str | None = None
    last_updated: str | None = None


_IDENTITY: Final = ("country_code", "party_id", "id")
_columns: Final = msgspec.json.Decoder(_Columns)
_document: Final = msgspec.json.Decoder(Document)
_header: Final = msgspec.msgpack.Decoder(Header)
_json: Final = msgspec.json.Encoder()
_msgpack: Final = msgspec.msgpack.Encoder()


class Tariffs:
    """The projection of Tariffs (OCPI 2.2.1 mod_tariffs): PUT replaces, DELETE ends, and until 2.1.1 PATCH changes.

    `tariff_history` forgets nothing.
    """

    name: Final = "tariffs"
    version: Final = 3
    topics: Final = (TARIFFS,)
    current: Final = TARIFFS_TABLE
    facts: Final = (TARIFF_HISTORY, TARIFF_FINDINGS)

    def key(self, recorded: Recorded) -> Key | None:
        """Return (party, tariff id)."""
        return recorded.envelope.party, identity(recorded.envelope.key[0])

    def fold(self, state: Kept | None, recorded: Recorded) -> tuple[Kept | None, Sequence[Fact]]:
        """Return the Tariff after the event; the history keeps the document that the event stated or led to."""
        envelope = recorded.envelope
        if state is not None and envelope.event_id in state.header.event_ids:
            return state, repeated(TARIFF_FINDINGS, recorded, envelope.key[0])
        before = state or Kept()
        match recorded.event:
            case TariffReplaced(document):
                after, said = kept.put(before, document, recorded, _IDENTITY), envelope.payload
            case TariffPatched(patch):
                after = kept.patch(before, patch, recorded, _IDENTITY)
                said = _json.encode(after.fields)
            case TariffDeleted():
                after, said = kept.delete(before, recorded), b""
            case _:
                return state, ()
        history = (
            *(envelope.party, identity(envelope.key[0]), envelope.event_id, envelope.type),
            *(envelope.last_updated, envelope.received_at, envelope.connection, envelope.version, said),
        )
        facts = [Fact(TARIFF_HISTORY, history), *findings(TARIFF_FINDINGS, recorded, envelope.key[0], kept.clock_ahead(recorded))]
        return kept.noted(state, after, recorded), facts

    def decode(self, key: Key, doc: bytes, state: bytes) -> Kept:
        """Read a state back from its row."""
        return Kept(_document.decode(doc), _header.decode(state))

    def row(self, key: Key, state: Kept) -> tuple[object, ...]:
        """Return the current row; `served` is 0 after a DELETE, the document stays."""
        doc, header = _json.encode(state.fields), state.header
        at = _columns.decode(doc)
        return (
            *key,
            int(state.served),
            at.type or "",
            at.currency,
            instant(at.start_date_time) if at.start_date_time else None,
            instant(at.end_date_time) if at.end_date_time else None,
            instant(at.last_updated) if at.last_updated else 0,
            header.first_seen,
            header.changed_at,
            doc,
            _msgpack.encode(header),
        )
