"""How far the projections have come, for readers that wait."""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from typing import Final

from schemas.types import Instant
from streams.generations import Reached
from streams.ports import Position, TopicPartition

SETTLE_US: Final = 5_000_000
"""How long an event may travel between its received_at and its place in the log: lists stop this much earlier."""


class Progress:
    """The `Positions` port for readers in the projector's own process: woken after each round."""

    def __init__(self) -> None:
        self._reached: dict[str, dict[TopicPartition, Reached]] = {}
        self._at_end: dict[str, dict[TopicPartition, Instant]] = {}
        self._waiting: list[tuple[str, TopicPartition, int, asyncio.Future[bool]]] = []
        self._wanted = asyncio.Event()

    def moved(self, projections: Sequence[str], reached: Mapping[TopicPartition, Reached]) -> None:
        """Record positions and wake whoever waited for them."""
        for projection in projections:
            self._reached.setdefault(projection, {}).update(reached)
        still: list[tuple[str, TopicPartition, int, asyncio.Future[bool]]] = []
        for entry in self._waiting:
            projection, lane, offset, future = entry
            if future.done():
                continue
            if self.folded(projection, lane) > offset:
                future.set_result(True)
            else:
                still.append(entry)
        self._waiting = still
        if not still:
            self._wanted.clear()

    async def wanted(self, timeout_s: float) -> None:
        """Return when a reader waits for a position, or after `timeout_s`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._wanted.wait()

    def at_end(self, projections: Sequence[str], ends: Mapping[TopicPartition, int], asked_at: Instant) -> None:
        """Record that the log ended at `ends` at `asked_at`: who has folded that much has all received before it."""
        for projection in projections:
            lanes = self._at_end.setdefault(projection, {})
            for lane, end in ends.items():
                if self.folded(projection, lane) >= end:
                    lanes[lane] = asked_at

    def folded(self, projection: str, partition: TopicPartition) -> int:
        """Return the offset after the last folded record (0: none yet)."""
        at = self._reached.get(projection, {}).get(partition)
        return 0 if at is None else at.next_offset

    async def reached(self, projection: str, upto: Position, timeout_s: float | None) -> bool:
        """Wait until `projection` has folded the partition up to and at `upto`; False on time-out (None waits for ever)."""
        lane = TopicPartition(upto.topic, upto.partition)
        if self.folded(projection, lane) > upto.offset:
            return True
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append((projection, lane, upto.offset, future))
        self._wanted.set()
        try:
            async with asyncio.timeout(timeout_s):
                return await future
        except TimeoutError:
            return False

    def complete_until(self, projection: str, topic: str) -> Instant:
        """Return W: every record of `topic` received at or before it is folded."""
        lanes = [lane for lane in self._reached.get(projection, {}) if lane.topic == topic]
        return min((self.complete_in(projection, lane) for lane in lanes), default=0)

    def complete_in(self, projection: str, lane: TopicPartition) -> Instant:
        """Return W of one partition; 0 where nothing is known of it."""
        at = self._reached.get(projection, {}).get(lane)
        if at is None:
            return 0
        return max(at.received_at, self._at_end.get(projection, {}).get(lane, 0)) - SETTLE_US
