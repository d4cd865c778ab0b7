"""The log in memory: the contract without a disk, for tests and trials; it can be told to be away."""

import asyncio
from collections.abc import Mapping, Sequence

from streams.logs.lanes import FETCH_BYTES, Lanes, closed, shares
from streams.ports import Entry, LogUnavailable, Position, Record, TopicPartition


class MemoryLog:
    """An EventLog that lasts as long as the process. Set `unavailable` to a sentence and appends are refused with it."""

    def __init__(self, partitions: int = 4, epoch: int = 0) -> None:
        self.unavailable = ""
        self.epoch = epoch
        self._lanes = Lanes.declared(partitions)
        self._records: dict[int, list[Record]] = {lane: [] for lane in self._lanes.names}
        self._grown = asyncio.Event()
        self._closed = False
        self._turn = 0

    def partitions(self, topic: str) -> int:
        return self._lanes.partitions(topic)

    async def append(self, entries: Sequence[Entry]) -> list[Position]:
        placed, _ = self._lanes.place(entries)
        await asyncio.sleep(0)  # others get their turn, as with a log that waits for a disk
        if self._closed:
            raise closed()
        if self.unavailable:
            raise LogUnavailable(self.unavailable)
        positions = []
        for lane, key, value in placed:
            topic, partition = self._lanes.names[lane]
            records = self._records[lane]
            records.append(Record(topic, partition, len(records), key, value))
            positions.append(Position(topic, partition, len(records) - 1))
        grown, self._grown = self._grown, asyncio.Event()
        grown.set()
        return positions

    async def fetch(
        self, start: Mapping[TopicPartition, int], *, max_records: int, wait_s: float
    ) -> dict[TopicPartition, list[Record]]:
        offsets = {self._lanes.lane(*at): offset for at, offset in start.items()}
        deadline = asyncio.get_running_loop().time() + wait_s
        while True:
            if self._closed:
                raise closed()
            grown = self._grown
            if found := self._read(offsets, max_records):
                return found
            try:
                async with asyncio.timeout_at(deadline):
                    await grown.wait()
            except TimeoutError:
                return {}

    async def end(self, topic: str) -> dict[int, int]:
        return {p: len(self._records[self._lanes.lane(topic, p)]) for p in range(self._lanes.partitions(topic))}

    async def close(self) -> None:
        self._closed = True
        self._grown.set()

    def _read(self, offsets: Mapping[int, int], max_records: int) -> dict[TopicPartition, list[Record]]:
        lanes = [lane for lane, offset in offsets.items() if offset < len(self._records[lane])]
        if not lanes:
            return {}
        self._turn += 1
        turn = self._turn % len(lanes)
        lanes = (lanes[turn:] + lanes[:turn])[:max_records]
        wanted = shares([len(self._records[lane]) - offsets[lane] for lane in lanes], max_records)
        found: dict[TopicPartition, list[Record]] = {}
        budget = FETCH_BYTES
        for place, (lane, count) in enumerate(zip(lanes, wanted, strict=True)):
            if budget <= 0:
                break
            allowed = budget // (len(lanes) - place)
            records: list[Record] = []
            for record in self._records[lane][offsets[lane] : offsets[lane] + count]:
                size = len(record.key) + len(record.value)
                if records and size > allowed:
                    break
                allowed -= size
                budget -= size
                records.append(record)
            found[TopicPartition(*self._lanes.names[lane])] = records
        return found
