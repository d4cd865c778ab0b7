"""What the pure code needs of the world: a log, a table store, positions, a clock.

Adapters do not inherit; mypy compares. Each promise is tested once for all adapters in tests/contracts.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from schemas.types import Instant


class TopicPartition(NamedTuple):
    """One ordered lane of a topic."""

    topic: str
    partition: int


class Entry(NamedTuple):
    """A record to be appended: the partition follows from the key (Kafka's murmur2)."""

    topic: str
    key: bytes
    value: bytes


class Position(NamedTuple):
    """Where a record stands."""

    topic: str
    partition: int
    offset: int


class Record(NamedTuple):
    """A record as the log gives it back."""

    topic: str
    partition: int
    offset: int
    key: bytes
    value: bytes


class LogUnavailable(Exception):
    """The log cannot take or give records now (OCPI 3000, HTTP 503); nothing of the call was appended."""


class RecordTooLarge(ValueError):
    """Key and value are more bytes than the topic takes in one record; it never will take them."""


class EventLog(Protocol):
    """Append-only, partitioned by key, ordered within a partition. Safe for concurrent use in one event loop."""

    @property
    def epoch(self) -> int:
        """The generation of the log (0 … 65535): offsets of different epochs cannot be compared."""
        ...

    def partitions(self, topic: str) -> int:
        """Return the topic's partition count, fixed within an epoch. Raises KeyError for an undeclared topic."""
        ...

    async def append(self, entries: Sequence[Entry]) -> list[Position]:
        """Return once every entry is durable, with their positions in order; all or none.

        Concurrent appends share one commit. Entries of one call with one key keep their order.
        Raises LogUnavailable, or RecordTooLarge or KeyError (no such topic), appending nothing.
        """
        ...

    async def fetch(
        self, start: Mapping[TopicPartition, int], *, max_records: int, wait_s: float
    ) -> dict[TopicPartition, list[Record]]:
        """Return records at and after the given offsets, in offset order per partition; fair over partitions.

        Waits up to `wait_s` seconds when there are none, then returns {}. No gap, no record twice.
        """
        ...

    async def end(self, topic: str) -> dict[int, int]:
        """Return, per partition, the offset that the next record will get; all durable records are below."""
        ...

    async def close(self) -> None:
        """Finish pending appends and let go of files and connections."""
        ...


class TableStore(Protocol):
    """ClickHouse, embedded or remote. SQL text is ours alone; values travel as bound parameters (`{name:Type}`)."""

    async def command(self, sql: str, parameters: Mapping[str, object] | None = None) -> None:
        """Run DDL or a statement without a result."""
        ...

    async def insert(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[object]], token: str = "") -> None:
        """Insert rows as one block, durable on return; the same token with the same rows twice is once."""
        ...

    async def query(self, sql: str, parameters: Mapping[str, object] | None = None) -> list[tuple[object, ...]]:
        """Return the rows; String columns as `bytes`, DateTime64(6) as Instant, Decimal as Decimal."""
        ...

    async def query_bytes(self, sql: str, fmt: str, parameters: Mapping[str, object] | None = None) -> bytes:
        """Return the result as ClickHouse formats it (`JSONEachRow`, `CSVWithNames`, `Parquet`, `Arrow` …)."""
        ...

    async def close(self) -> None:
        """Let go of the connection."""
        ...


class RefusedRow(Exception):
    """The store refuses an insert because of its data; the projector bisects to the row."""


class StoreUnavailable(Exception):
    """The store cannot answer now; try again."""


class ResultTooLarge(Exception):
    """A question has more rows in its answer than it may; it is to be narrowed."""


class StoreDamaged(StoreUnavailable):
    """The store's files cannot be read as they were written: trying again is no use, filling it anew from the log is."""


class Clock(Protocol):
    """The wall clock, as an argument."""

    def now(self) -> Instant:
        """Return the present instant (UTC)."""
        ...


class Positions(Protocol):
    """How far the projections have come."""

    async def reached(self, projection: str, upto: Position, timeout_s: float | None) -> bool:
        """Wait until `projection` has folded every record of the partition below and at `upto`; False on time-out."""
        ...

    def folded(self, projection: str, partition: TopicPartition) -> int:
        """Return the offset after the last folded record (0: none yet)."""
        ...

    def complete_until(self, projection: str, topic: str) -> Instant:
        """Return W: every record of `topic` received at or before it is folded (DESIGN: lists stop at W)."""
        ...
