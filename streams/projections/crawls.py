"""Crawls of partners' lists: how far each is, and the certificate of each that ended."""

from collections.abc import Sequence
from typing import Final

import msgspec

from schemas.crawl import CrawlEnded, CrawlPageRead, CrawlStarted, Run, certificate, fold
from streams.projection import OFFSET_MASK, Column, Fact, Key, Recorded, Table
from streams.topics import CRAWLS

CRAWLS_TABLE: Final = Table(
    name="crawls",
    version=1,
    kind="current",
    columns=(
        Column("run", "String"),
        Column("connection", "LowCardinality(String)"),
        Column("module", "LowCardinality(String)"),
        Column("ocpi_version", "LowCardinality(String)"),
        Column("reach", "LowCardinality(String)"),
        Column("reason", "LowCardinality(String)"),
        Column("status", "LowCardinality(String)"),
        Column("started_at", "DateTime64(6, 'UTC')"),
        Column("ended_at", "Nullable(DateTime64(6, 'UTC'))"),
        Column("date_from", "Nullable(DateTime64(6, 'UTC'))"),
        Column("date_to", "Nullable(DateTime64(6, 'UTC'))"),
        Column("watermark", "Nullable(DateTime64(6, 'UTC'))"),
        Column("pages", "UInt32"),
        Column("objects", "UInt64"),
        Column("appended", "UInt64"),
        Column("unchanged", "UInt64"),
        Column("older", "UInt64"),
        Column("refused", "UInt64"),
        Column("drifted", "UInt64"),
        Column("vanished", "UInt64"),
        Column("first_total", "Nullable(UInt64)"),
        Column("last_total", "Nullable(UInt64)"),
        Column("odd", "UInt64"),
        Column("rules", "Array(LowCardinality(String))"),
        Column("topic_offset", "UInt64"),
        Column("doc", "String CODEC(ZSTD(1))"),
        Column("state", "String CODEC(ZSTD(1))"),
    ),
    order_by=("run",),
)


class CrawlState(msgspec.Struct, frozen=True, array_like=True):
    """A crawl, and the offset in its partition at which it began: from there on its pages can be read again."""

    run: Run
    offset: int


class Crawls:
    """The projection of crawls (requirements 3). `doc` is the certificate; of a crawl under way, as it would be now."""

    name: Final = "crawls"
    version: Final = 1
    topics: Final = (CRAWLS,)
    current: Final = CRAWLS_TABLE
    facts: Final = ()

    def key(self, recorded: Recorded) -> Key | None:
        """Return the run."""
        match recorded.event:
            case CrawlStarted(run=run) | CrawlPageRead(run=run) | CrawlEnded(run=run):
                return (run,)
            case _:
                return None

    def fold(self, state: CrawlState | None, recorded: Recorded) -> tuple[CrawlState | None, Sequence[Fact]]:
        """Return the crawl after the event."""
        match recorded.event:
            case CrawlStarted() | CrawlPageRead() | CrawlEnded() as event:
                before = None if state is None else state.run
                run = fold(before, event)
                if run is None or run is before:
                    return state, ()
                return CrawlState(run, recorded.version & OFFSET_MASK if state is None else state.offset), ()
            case _:
                return state, ()

    def decode(self, key: Key, doc: bytes, state: bytes) -> CrawlState:
        """Read a state back from its row."""
        return _state.decode(state)

    def row(self, key: Key, state: CrawlState) -> tuple[object, ...]:
        """Return the current row; `status` is running, complete or incomplete."""
        run = state.run
        of = run.ended or certificate(run, run.started.started_at, False)
        status = "running" if run.ended is None else "complete" if of.complete else "incomplete"
        counts = of.counts
        return (
            *key,
            of.connection,
            of.module.value,
            of.version,
            of.reach,
            of.reason,
            status,
            of.started_at,
            None if run.ended is None else of.ended_at,
            of.date_from,
            of.date_to,
            of.watermark,
            of.pages,
            *(counts.objects, counts.appended, counts.unchanged, counts.older, counts.refused, counts.drifted),
            of.vanished,
            of.first_total,
            of.last_total,
            of.odd,
            sorted({oddity.rule for oddity in of.oddities}),
            state.offset,
            _json.encode(of),
            _msgpack.encode(state),
        )


_state: Final = msgspec.msgpack.Decoder(CrawlState)
_json: Final = msgspec.json.Encoder()
_msgpack: Final = msgspec.msgpack.Encoder()
