"""The second stage at scale: of all workers one links CDRs, by lease; another goes on where it stood when it ends.

Two at a time, as after a freeze, do no harm: the same tables give the same links, with the same event ids. That the tables are
the same is what the wait at the beginning is for: what the one before had on its way has come to stand by then, and is folded
before anything is decided.
"""

import asyncio
import logging
from collections.abc import Mapping
from typing import Final

from schemas.ocpi.dialect import Dialect
from streams import relift
from streams.generations import Generations
from streams.lease import Lease
from streams.linker import Linker
from streams.logs.kafka import ANSWER_S, KafkaLog
from streams.metrics import Metrics
from streams.ports import Clock, LogUnavailable, StoreUnavailable, TableStore
from streams.progress import Progress
from streams.relift import Relifts
from streams.topics import CHARGING

LEASE: Final = "links"
"""What the lease is called, in the name of its group and in metrics."""

RETRY_S: Final = 1.0

_say: Final = logging.getLogger("roamlog")


class Linking:
    """The work under the lease, for `while_held`. `progress` says how far all workers have folded."""

    def __init__(
        self,
        log: KafkaLog,
        store: TableStore,
        progress: Progress,
        lease: Lease,
        *,
        clock: Clock,
        metrics: Metrics,
        dialects: Mapping[str, Dialect],
        settles_s: float = ANSWER_S,
    ) -> None:
        """`settles_s` is how long an append of another process may be on its way."""
        self._log = log
        self._store = store
        self._progress = progress
        self._lease = lease
        self._clock = clock
        self._metrics = metrics
        self._dialects = dialects
        self._settles_s = settles_s
        metrics.set("roamlog_lease_held", 0, LEASE)

    async def __call__(self) -> None:
        """Link what comes until cancelled. Raises LeaseLost, StoreDamaged and defects."""
        self._metrics.set("roamlog_lease_held", 1, LEASE)
        try:
            _say.info("this process links CDRs from now on")
            await asyncio.sleep(self._settles_s)
            linker = await self._started()
            await linker.run()
        finally:
            self._metrics.set("roamlog_lease_held", 0, LEASE)

    async def _started(self) -> Linker:
        away = False
        while True:
            generations = Generations(self._store, self._log.log_id, self._log.epoch)
            linker = Linker(
                self._log, self._store, generations, self._progress, clock=self._clock, metrics=self._metrics, lease=self._lease
            )
            try:
                relifts = Relifts(await relift.read(self._log), self._dialects, self._log.epoch)
                await linker.start(relifts.name([CHARGING]))
            except (LogUnavailable, StoreUnavailable) as fault:
                if not away:
                    _say.warning("CDRs cannot be linked now, which is tried again: %s", fault)
                away = True
                await asyncio.sleep(RETRY_S)
            else:
                return linker
