"""One of several workers at scale: it folds the partitions that its group gives it, and hands them over when they change.

Whose a partition is may change at any moment, also while its records are folded: the rows of a worker that comes late have
lower versions than those of the one that took over, so nobody has to be stopped, and what is folded twice is folded to the same.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import MappingProxyType
from typing import Final, NoReturn

from schemas.ocpi.dialect import Dialect
from streams import relift
from streams.generations import AnyProjection, Generation, Generations, Reached
from streams.logs.kafka import Cluster, KafkaLog
from streams.metrics import Metrics
from streams.ports import Clock, EventLog, LogUnavailable, StoreUnavailable, TableStore, TopicPartition
from streams.projector import Projector, Work
from streams.relift import Relifts
from streams.runtimes.deliveries import Deliveries
from streams.runtimes.faust_app import Group

NO_DIALECTS: Final[Mapping[str, Dialect]] = MappingProxyType({})

CACHE_BYTES: Final = 64 * 1024 * 1024
"""What the states of one projection may keep in a worker's memory."""

STUCK_S: Final = 30.0
"""A worker that lags and folds nothing for so long ends, so that its partitions go to another; so does one that gets no share."""

IDLE_S: Final = 0.1
WAIT_S: Final = 0.2
AGAIN_S: Final = 1.0
"""How long a worker waits for a store that is away before it asks again where its partitions stand."""

_say: Final = logging.getLogger("roamlog")


class NotPrepared(Exception):
    """The tables that the projections fill are not there."""


class Stuck(Exception):
    """There is work, and none is done: the process ends and is started anew."""


async def prepare(
    log: KafkaLog,
    store: TableStore,
    projections: Sequence[AnyProjection],
    dialects: Mapping[str, Dialect] = NO_DIALECTS,
    on_cluster: str = "",
) -> list[str]:
    """Make the tables that are missing, empty, and let them serve; returns the projections that got new ones.

    Workers fill them from the log's start. Run by one process at a time, before the others. `on_cluster` names the ClickHouse
    cluster whose replicas keep them.
    """
    generations = Generations(store, log.log_id, log.epoch, on_cluster)
    relifts = Relifts(await relift.read(log), dialects, log.epoch)
    generations.relifted = lambda projection: relifts.name(projection.topics)
    await generations.prepare()
    made = []
    for projection in projections:
        if await generations.serving(projection) is None:
            await generations.serve(projection, await generations.create(projection))
            made.append(projection.name)
    await generations.views(projections)
    return made


class Worker:
    """Folds, until it is stopped, what its group gives it."""

    def __init__(
        self,
        cluster: Cluster,
        group: str,
        log: KafkaLog,
        store: TableStore,
        projections: Sequence[AnyProjection],
        *,
        clock: Clock,
        dialects: Mapping[str, Dialect] = NO_DIALECTS,
        cache_bytes: int = CACHE_BYTES,
        stuck_s: float = STUCK_S,
        joins_within_s: float = STUCK_S,
        metrics: Metrics | None = None,
        on_cluster: str = "",
    ) -> None:
        """`dialects` lift again what `dialect.relifted` names."""
        self._metrics = metrics
        self._log = log
        self._store = store
        self._projections = projections
        self._clock = clock
        self._cache_bytes = cache_bytes
        self._stuck_s = stuck_s
        self._joins_within_s = joins_within_s
        self._dialects = dialects
        self._relifts = Relifts((), dialects, log.epoch)
        self._generations = Generations(store, log.log_id, log.epoch, on_cluster)
        self._generations.relifted = lambda projection: self._relifts.name(projection.topics)
        self._serving: dict[str, Generation] = {}
        self._deliveries = Deliveries(log, cluster.prefix)
        topics = tuple(dict.fromkeys(topic for projection in projections for topic in projection.topics))
        self._group = Group(cluster, group, topics, self._deliveries)
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="fold")
        self._projector = self._fresh([])
        self._seen = 0
        self._took_over = 0
        self._counted: dict[TopicPartition, int] = {}
        self._moved_at = 0.0

    @property
    def at_work(self) -> bool:
        """Whether it folds what the group gave it last, be that nothing; False while it joins or takes over."""
        return self._group.joined and self._took_over == self._group.changes

    @property
    def positions(self) -> Mapping[TopicPartition, Reached]:
        """Where this worker stands in the partitions that are its own now."""
        return self._projector.positions

    async def start(self) -> None:
        """Find the tables. Raises NotPrepared, LogUnavailable, StoreUnavailable."""
        self._relifts = Relifts(await relift.read(self._log), self._dialects, self._log.epoch)
        await self._generations.prepare()
        for projection in self._projections:
            generation = await self._generations.serving(projection)
            if generation is None:
                raise NotPrepared(f"projection {projection.name} has no tables for this release; run roamlog prepare")
            self._serving[projection.name] = generation

    async def run(self, stop: asyncio.Event) -> None:
        """Join the group, fold until `stop` is set, commit and leave; `start` first.

        Raises Stuck, StopTheLine, LogUnavailable and whatever is a defect; nothing that was not stored is committed.
        """
        self._moved_at = asyncio.get_running_loop().time()
        try:
            async with asyncio.TaskGroup() as tasks:
                watching = tasks.create_task(self._watch(), name="watchdog")
                try:
                    await self._group.start()
                    await self._fold(stop)
                finally:
                    watching.cancel()
        finally:
            await self._group.stop()
            self._executor.shutdown(wait=True)

    async def _fold(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            if (failed := self._group.failed) is not None:
                raise failed
            if self._group.changes != self._seen:
                await self._take_over()
                continue
            if not self._projector.positions:
                if self._group.joined:
                    self._moved()
                await asyncio.sleep(IDLE_S)
                continue
            done = await self._projector.round(wait_s=WAIT_S)
            if done.records:
                self._moved()
            here = {place: at.next_offset for place, at in self._projector.positions.items()}
            self._deliveries.done(here, self._group.let_go)
            if self._metrics is not None:
                for place, offset in here.items():
                    self._metrics.count("roamlog_folded_records_total", place.topic, by=offset - self._counted.get(place, offset))
                self._counted = here

    async def _take_over(self) -> None:
        """Begin with the partitions that are ours now: where each projection stands in them, its own rows say."""
        self._seen, ours = self._group.changes, self._group.assigned
        self._deliveries.assign(ours)
        standing: list[tuple[Work, dict[TopicPartition, Reached]]] = []
        furthest: dict[TopicPartition, Reached] = {}
        works = [Work(projection, self._serving[projection.name], self._cache_bytes) for projection in self._projections]
        positions = await self._saved(works)
        for work, projection, saved in zip(works, self._projections, positions, strict=True):
            own = {place: saved.get(place, Reached(0, 0)) for place in ours if place.topic in projection.topics}
            standing.append((work, own))
            for place, at in own.items():
                if at.next_offset >= furthest.get(place, Reached(0, 0)).next_offset:
                    furthest[place] = at
        for work, own in standing:
            await self._catch_up(work, own, furthest)
        self._projector = self._fresh([work for work, own in standing if own])
        if self._seen == self._group.changes:
            self._projector.positions = furthest
            self._counted = {place: at.next_offset for place, at in furthest.items()}
            self._took_over = self._seen
            self._moved()

    async def _saved(self, works: Sequence[Work]) -> list[dict[TopicPartition, Reached]]:
        """Return where each projection stands, waiting for a store that is away: what was delivered is not delivered again."""
        away = False
        while True:
            try:
                # At once, because nothing of these partitions is folded meanwhile.
                return await asyncio.gather(*(self._generations.positions(work.generation) for work in works))
            except StoreUnavailable as fault:
                if not away:
                    _say.warning("where the projections stand cannot be read now, which is tried again: %s", fault)
                away = True
                await asyncio.sleep(AGAIN_S)

    async def _catch_up(
        self, work: Work, own: Mapping[TopicPartition, Reached], furthest: Mapping[TopicPartition, Reached]
    ) -> None:
        """Fold with one projection, such as a new one, up to where the others stand; given up when the partitions change."""
        upto = {place: furthest[place].next_offset for place in own}
        solo = self._projector_on(self._log, [work], dead_letter=False)
        solo.positions = dict(own)
        while self._seen == self._group.changes and any(at.next_offset < upto[place] for place, at in solo.positions.items()):
            if (await solo.round(wait_s=WAIT_S, upto=upto)).records:
                self._moved()

    async def _watch(self) -> NoReturn:
        """End the process where there is work and none is done: a broken connection may look like a quiet one."""
        loop = asyncio.get_running_loop()
        every_s = min(self._stuck_s / 6, self._joins_within_s / 6, 5.0)
        while True:
            await asyncio.sleep(every_s)
            if loop.time() - self._moved_at < every_s:
                continue
            # Asked long before it is too long: an outage that ends as the time does would be taken for our own fault.
            try:
                behind = await self._behind()
            except (LogUnavailable, StoreUnavailable):
                self._moved()  # another worker could do no more; the time counts from when they are back
                continue
            idle_s = loop.time() - self._moved_at
            if not self._group.joined:
                if (waits_s := min(idle_s, loop.time() - self._group.waits_since)) >= self._joins_within_s:
                    raise Stuck(f"the group gave out no partitions for {waits_s:.0f} s")
            elif not behind:
                self._moved()
            elif idle_s >= self._stuck_s:
                raise Stuck(f"{behind} records wait, and none was folded for {idle_s:.0f} s")

    async def _behind(self) -> int:
        """Return how many records of our partitions are not folded. Raises LogUnavailable or StoreUnavailable."""
        await self._store.query("SELECT 1")
        waiting = 0
        # One that has no partitions asks for a topic as well: whether the brokers answer.
        for topic in {place.topic for place in self.positions} or self._projections[0].topics[:1]:
            ends, firsts = await self._log.end(topic), await self._log.beginning(topic)
            for place, at in self.positions.items():
                if place.topic == topic:
                    waiting += max(0, ends[place.partition] - max(at.next_offset, firsts[place.partition]))
        return waiting

    def _moved(self) -> None:
        self._moved_at = asyncio.get_running_loop().time()

    def _fresh(self, works: Sequence[Work]) -> Projector:
        return self._projector_on(self._deliveries, works, dead_letter=True)

    def _projector_on(self, log: EventLog, works: Sequence[Work], *, dead_letter: bool) -> Projector:
        return Projector(
            log,
            self._store,
            self._generations,
            works,
            clock=self._clock,
            executor=self._executor,
            dead_letter=dead_letter,
            mend=self._relifts or None,
        )
