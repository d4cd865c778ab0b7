"""Reading what was written: until when the tables are complete, and waiting for them where that is soon."""

import asyncio
from collections.abc import Collection, Mapping

from schemas.types import Instant
from streams.ports import EventLog, Position, Positions, TopicPartition


class Freshness:
    """Compares the tables with the log, at most `wait_s` seconds long for each question."""

    def __init__(self, log: EventLog, positions: Positions, wait_s: float = 2.0) -> None:
        self._log = log
        self._positions = positions
        self._wait_s = wait_s
        self._turn = asyncio.Lock()
        self._next: dict[str, _Question] = {}

    async def complete_until(self, projection: str, topic: str, at: Instant) -> Instant:
        """Return `at`, the present instant, once all that the topic held at the call is folded; else W, what is folded by then.

        So a list shows every object whose push was answered before the list was asked for. Raises LogUnavailable.
        """
        lanes = {TopicPartition(topic, partition) for partition in range(self._log.partitions(topic))}
        if await self.folded(projection, lanes):
            return at
        return self._positions.complete_until(projection, topic)

    async def folded(self, projection: str, lanes: Collection[TopicPartition]) -> bool:
        """Wait until all that the lanes of one topic held at the call is folded; False on time-out. Raises LogUnavailable."""
        open_lanes = []
        for topic in {lane.topic for lane in lanes}:
            ends = await self._ends(topic)
            open_lanes += [
                Position(*lane, ends.get(lane.partition, 0) - 1)
                for lane in lanes
                if lane.topic == topic and ends.get(lane.partition, 0) > self._positions.folded(projection, lane)
            ]
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._wait_s
        for upto in open_lanes:
            if not await self._positions.reached(projection, upto, max(deadline - loop.time(), 0.0)):
                return False
        return True

    def position(self, projections: Mapping[str, str]) -> dict[str, dict[str, int]]:
        """Return, by topic and partition, the offset below which each of these projections (to its topic) has all."""
        position: dict[str, dict[str, int]] = {}
        for projection, topic in projections.items():
            lanes = position.setdefault(topic, {})
            for partition in range(self._log.partitions(topic)):
                folded = self._positions.folded(projection, TopicPartition(topic, partition))
                lanes[str(partition)] = min(folded, lanes.get(str(partition), folded))
        return position

    async def _ends(self, topic: str) -> Mapping[int, int]:
        """Return where the topic ends, as of some instant after the call: while one answer is under way, the next collects."""
        question = self._next.setdefault(topic, _Question())
        async with self._turn:
            if question.ends is None:
                # Who asks from here on may mean records that this answer does not count any more.
                if self._next.get(topic) is question:
                    del self._next[topic]
                question.ends = await self._log.end(topic)
        return question.ends


class _Question:
    """One look at the log's end, for all who wait for it."""

    def __init__(self) -> None:
        self.ends: Mapping[int, int] | None = None
