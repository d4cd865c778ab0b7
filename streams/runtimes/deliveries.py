"""What a group delivers to a worker, as the log that its projector reads.

Batches come when Faust has them, and rounds ask when they are through with the last: a round takes all that has come. Whatever
stands in the log before what is delivered next is read from there: the group may have committed further than a projection has
folded, and around a rebalance batches come before the worker knows that they are its own.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from msgspec import Struct

from streams.logs.kafka import KafkaLog
from streams.ports import Entry, LogUnavailable, Position, Record, TopicPartition

WAITING_BYTES: Final = 8 * 1024 * 1024
"""What may wait for the next round, so that nothing waits for two of them; the batch that goes beyond it is taken whole."""
SILENT_S: Final = 2.0
"""After so long without a delivery of a partition the log is read for what it held when the partitions were given out."""
READ_WAIT_S: Final = 2.0
"""How long the log is waited for where something is missing."""

RECORD_BYTES: Final = 400
"""About what a record takes beside its value."""


class Delivered(Struct):
    """A batch on its way through the projector: Faust's message, and what of its records is still to be folded."""

    message: Any
    place: TopicPartition
    records: deque[Record]
    end: int
    size: int


class Deliveries:
    """The log as the projector of a worker sees it: what the group delivers, in place of what it would fetch.

    Everything else is the Kafka log's own. `done` lets go of the batches that are stored. `waiting_bytes` is how much may wait.
    """

    def __init__(self, log: KafkaLog, prefix: str, *, waiting_bytes: int = WAITING_BYTES, silent_s: float = SILENT_S) -> None:
        self.epoch = log.epoch
        self._log = log
        self._prefix = prefix
        self._most = waiting_bytes
        self._silent_s = silent_s
        self._heard: dict[TopicPartition, float] = {}
        self._assigned_at = 0.0
        self._ours: frozenset[TopicPartition] = frozenset()
        self._coming: dict[TopicPartition, deque[Delivered]] = {}
        self._folding: dict[TopicPartition, deque[Delivered]] = {}
        self._bytes = 0
        self._arrived = asyncio.Event()
        self._room = asyncio.Event()
        self._held: dict[TopicPartition, range] | None = {}
        self._again_at = 0.0

    async def deliver(self, message: Any) -> None:
        """Take a message of Faust's; waits while enough others do."""
        while self._bytes >= self._most:
            self._room.clear()
            await self._room.wait()
        self._unpack(message)
        self._arrived.set()

    def assign(self, places: frozenset[TopicPartition]) -> None:
        """Let go of all that was delivered: the partitions were given out anew.

        The group begins where it committed, and some of that may be lost on the way around a rebalance: of a partition of which
        nothing is delivered for a while, what the log holds by now is read from there.
        """
        self._ours = places
        self._heard.clear()
        self._assigned_at = asyncio.get_running_loop().time()
        self._coming.clear()
        self._folding.clear()
        self._bytes = 0
        self._room.set()
        self._held = None
        self._again_at = 0.0

    def done(self, reached: Mapping[TopicPartition, int], let_go: Callable[[Any], None]) -> None:
        """Let go of every batch that ends at or before these offsets."""
        for place, offset in reached.items():
            folding = self._folding.get(place, deque())
            while folding and folding[0].end <= offset:
                let_go(folding.popleft().message)

    def partitions(self, topic: str) -> int:
        return self._log.partitions(topic)

    async def append(self, entries: Sequence[Entry]) -> list[Position]:
        return await self._log.append(entries)

    async def end(self, topic: str) -> dict[int, int]:
        return await self._log.end(topic)

    async def close(self) -> None:
        """Do nothing: the log is its opener's."""

    async def fetch(
        self, start: Mapping[TopicPartition, int], *, max_records: int, wait_s: float
    ) -> dict[TopicPartition, list[Record]]:
        found = await self._take(start, max_records)
        if not found and wait_s > 0:
            self._arrived.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._arrived.wait()
            found = await self._take(start, max_records)
        return found

    def _unpack(self, message: Any) -> None:
        topic = message.topic.removeprefix(self._prefix)
        place = TopicPartition(topic, message.partition)
        if place not in self._ours:
            return
        self._heard[place] = asyncio.get_running_loop().time()
        records = deque(Record(topic, message.partition, one.offset, one.key or b"", one.value or b"") for one in message.value)
        size = sum([len(record.value) + RECORD_BYTES for record in records])
        self._coming.setdefault(place, deque()).append(Delivered(message, place, records, message.offset + 1, size))
        self._bytes += size

    async def _take(self, start: Mapping[TopicPartition, int], most: int) -> dict[TopicPartition, list[Record]]:
        if self._held is None:
            await self._look(start)
        missing = self._missing(start)
        found = await self._read(missing, most) if missing else {}
        most -= sum(map(len, found.values()))
        for place, offset in start.items():
            if most <= 0:
                break
            # Looked at again: more may have been delivered while the log was read.
            coming = self._coming.get(place, deque())
            self._skip(place, coming, offset)
            if coming and place not in found and coming[0].records[0].offset <= max(offset, self._first(place)):
                found[place] = self._next(place, coming, most)
                most -= len(found[place])
        return found

    def _missing(self, start: Mapping[TopicPartition, int]) -> dict[TopicPartition, range]:
        """Return, where something comes before what is delivered next, the offsets at which it stands."""
        missing: dict[TopicPartition, range] = {}
        for place, offset in start.items():
            coming = self._coming.get(place, deque())
            self._skip(place, coming, offset)
            # The group's commit may be ahead of our own position, as behind a new fold.
            stop = coming[0].records[0].offset if coming else self._stop(place)
            before = range(max(offset, self._first(place)), stop)
            if before:
                missing[place] = before
        return missing

    def _stop(self, place: TopicPartition) -> int:
        """Return up to where the log is read for a partition of which nothing waits: while something comes, it is waited for."""
        if asyncio.get_running_loop().time() - self._heard.get(place, self._assigned_at) < self._silent_s:
            return 0
        return (self._held or {}).get(place, range(0)).stop

    def _first(self, place: TopicPartition) -> int:
        """Return the offset of the oldest record that the log holds, as far as is known."""
        return (self._held or {}).get(place, range(0)).start

    async def _read(self, missing: dict[TopicPartition, range], most: int) -> dict[TopicPartition, list[Record]]:
        """Read from the log what is missing; where nothing comes, the others go on for a while before it is tried again."""
        start = {place: before.start for place, before in missing.items()}
        read: dict[TopicPartition, list[Record]] = {}
        if (loop := asyncio.get_running_loop()).time() >= self._again_at:
            with contextlib.suppress(LogUnavailable, TimeoutError):
                async with asyncio.timeout(2 * READ_WAIT_S):
                    read = await self._log.fetch(start, max_records=most, wait_s=READ_WAIT_S)
            if not read:
                self._again_at = loop.time() + READ_WAIT_S
        found: dict[TopicPartition, list[Record]] = {}
        for place, records in read.items():
            if inside := [record for record in records if record.offset in missing[place]]:
                found[place] = inside
            elif self._held is not None and records:  # forgotten since the log was looked at
                first = records[0].offset
                self._held[place] = range(first, max(first, self._held.get(place, range(0)).stop))
        return found

    async def _look(self, start: Mapping[TopicPartition, int]) -> None:
        """Note which offsets the log holds in our partitions; left open for a while where no broker answers."""
        if (loop := asyncio.get_running_loop()).time() < self._again_at:
            return
        held: dict[TopicPartition, range] = {}
        try:
            async with asyncio.timeout(2 * READ_WAIT_S):
                for topic in {place.topic for place in start}:
                    ends = await self._log.end(topic)
                    for partition, first in (await self._log.beginning(topic)).items():
                        held[TopicPartition(topic, partition)] = range(first, ends[partition])
        except (LogUnavailable, TimeoutError):
            self._again_at = loop.time() + READ_WAIT_S
        else:
            self._held = held

    def _skip(self, place: TopicPartition, coming: deque[Delivered], offset: int) -> None:
        """Pass over what is folded already."""
        while coming:
            records = coming[0].records
            while records and records[0].offset < offset:
                records.popleft()
            if records:
                return
            self._begin(place, coming)

    def _next(self, place: TopicPartition, coming: deque[Delivered], most: int) -> list[Record]:
        records: list[Record] = []
        while coming and len(records) < most:
            batch = coming[0].records
            if batch and records and batch[0].offset != records[-1].offset + 1:
                break  # around a rebalance: delivered twice, or with something between that the log has
            while batch and len(records) < most:
                records.append(batch.popleft())
            if not batch:
                self._begin(place, coming)
        return records

    def _begin(self, place: TopicPartition, coming: deque[Delivered]) -> None:
        """Have the first batch among those that are being folded."""
        batch = coming.popleft()
        self._folding.setdefault(place, deque()).append(batch)
        self._bytes -= batch.size
        if self._bytes < self._most:
            self._room.set()
