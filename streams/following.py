"""How far the projections have come, for a process that does not run them: read from the tables that they keep.

The processes that take and serve wait for positions as they would beside the projector; only the news comes from the store.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Final, NoReturn

from schemas.types import Instant
from streams.generations import Reached
from streams.ports import Clock, EventLog, LogUnavailable, StoreUnavailable, TableStore, TopicPartition
from streams.progress import Progress
from streams.values import integer, text

IDLE_S: Final = 1.0
"""About how old positions may be while nobody waits for one."""
BUSY_S: Final = 0.05
"""How often they are read while somebody does."""

_say: Final = logging.getLogger("roamlog")

# Of the generation that serves only: one that is being filled says nothing of what readers see.
_POSITIONS: Final = """
SELECT projection_name, topic, of_partition, next_offset, received_at
FROM positions
WHERE epoch = {epoch:UInt16}
  AND (projection_name, generation) IN (SELECT projection_name, generation FROM generations WHERE log_id = {log_id:String})
"""


class Following:
    """Keeps a `Progress` as the tables say. `look` once before serving; the process keeps `run` running."""

    def __init__(
        self,
        log: EventLog,
        log_id: str,
        store: TableStore,
        projections: Mapping[str, Sequence[str]],
        clock: Clock,
        *,
        idle_s: float = IDLE_S,
    ) -> None:
        """`projections` are the names of those to follow, each with the topics that it folds."""
        self.progress = Progress()
        self._log = log
        self._log_id = log_id
        self._store = store
        self._projections = {name: tuple(topics) for name, topics in projections.items()}
        self._topics = tuple(dict.fromkeys(topic for topics in projections.values() for topic in topics))
        self._clock = clock
        self._idle_s = idle_s

    async def look(self) -> None:
        """Read the positions, and where the log ends. Raises LogUnavailable or StoreUnavailable."""
        asked_at: Instant = self._clock.now()
        ends: dict[TopicPartition, int] = {}
        for topic, last in zip(self._topics, await asyncio.gather(*map(self._log.end, self._topics)), strict=True):
            ends |= {TopicPartition(topic, partition): end for partition, end in last.items()}
        found: dict[str, dict[TopicPartition, Reached]] = {name: {} for name in self._projections}
        rows = await self._store.query(_POSITIONS, {"epoch": self._log.epoch, "log_id": self._log_id})
        for of, where, partition, offset, received_at in rows:
            if (projection := text(of)) in found:
                found[projection][TopicPartition(text(where), integer(partition))] = Reached(integer(offset), integer(received_at))
        for name, topics in self._projections.items():
            own = {lane: end for lane, end in ends.items() if lane.topic in topics}
            # A lane in which nothing was ever folded has no row; it still has its place in what is complete.
            self.progress.moved([name], {lane: found[name].get(lane, Reached(0, 0)) for lane in own})
            self.progress.at_end([name], own, asked_at)

    async def run(self) -> NoReturn:
        """Look again and again, for ever: often while somebody waits, and on through outages, which are said once."""
        away = ""
        while True:
            try:
                await self.look()
                if away:
                    _say.info("the positions can be read again")
                away = ""
            except (LogUnavailable, StoreUnavailable) as fault:
                if not away:
                    _say.warning("the positions of the projections cannot be read now: %s", fault)
                away = str(fault)
                await asyncio.sleep(self._idle_s)
            await asyncio.sleep(min(BUSY_S, self._idle_s))
            await self.progress.wanted(self._idle_s)
