"""The stream runtime inside one process: one projector over one log and one store, with rebuild and verify beside it."""

import asyncio
import contextlib
import logging
import math
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import Final

from schemas import envelope as envelopes
from schemas.ocpi.dialect import Dialect
from schemas.relift import DialectRelifted
from schemas.types import Module
from streams import relift
from streams.generations import AnyProjection, Generation, Generations, Reached
from streams.linker import Linker
from streams.metrics import Metrics
from streams.moves import Moves, moves
from streams.ports import Clock, Entry, EventLog, Position, StoreUnavailable, TableStore, TopicPartition
from streams.progress import Progress
from streams.projector import ROUND_RECORDS, ROUND_WAIT_S, Projector, Round, Work
from streams.relift import Relifted, Relifts
from streams.topics import CHARGING, PARTNERS
from streams.verify import Difference, compare, ends_of

CACHE_BYTES: Final = 16 * 1024 * 1024
"""What the states of one projection may keep in memory."""

_say: Final = logging.getLogger("roamlog")

END_EVERY_US: Final = 1_000_000
PAUSE_S: Final = 0.05
BUSY_RECORDS: Final = 500
"""After a round of so many records the next ones gather for longer, unless a reader waits: more of them share its inserts."""
BUSY_WAIT_S: Final = 1.0

PATIENCE_S: Final = 15.0
"""How long `rebuild` and `verify` wait for a store that takes nothing: an operator waits for them, and the disk may be full."""

RELIFTED_KEY: Final = b"dialects"
"""What keys a dialect's mending in ocpi.partners, beside the partners' names."""

Told = Callable[[str, int, int], None]
"""Called with what is being done, records done and records in all."""


class Embedded:
    """Runs the projections in this process. `start`, then drive `run` in one task; the rest may be called beside it."""

    def __init__(
        self, log: EventLog, log_id: str, store: TableStore, projections: Sequence[AnyProjection], *, clock: Clock,
        cache_bytes: int = CACHE_BYTES, patience_s: float = PATIENCE_S, links: bool = False, metrics: Metrics | None = None,
        dialects: Mapping[str, Dialect] = MappingProxyType({}),
    ) -> None:  # fmt: skip
        """`links`: run the second stage, which finds the Sessions of CDRs, beside the projections.

        `dialects` lift again what `dialect.relifted` names.
        """
        self.progress = Progress()
        self._log = log
        self._store = store
        self._clock = clock
        self._cache_bytes = cache_bytes
        self._patience_s = patience_s
        self._projections = {projection.name: projection for projection in projections}
        self._generations = Generations(store, log_id, log.epoch)
        self.linker: Linker | None = None
        if links:
            self.linker = Linker(log, store, self._generations, self.progress, clock=clock, metrics=metrics)
        self._dialects = dialects
        self._relifts = Relifts((), dialects, log.epoch)
        self._generations.relifted = lambda projection: self._relifts.name(projection.topics)
        self._stale: list[AnyProjection] = []
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="fold")
        self._main = self._projector([], dead_letter=True)
        self._behind: list[tuple[Work, dict[TopicPartition, Reached]]] = []
        self._turn = asyncio.Lock()
        self._repair = asyncio.Lock()
        self._paused = False

    @property
    def projections(self) -> tuple[AnyProjection, ...]:
        """All projections that this runtime fills."""
        return tuple(self._projections.values())

    async def start(self) -> None:
        """Create what is missing and find where each projection stands; one that stands behind catches up in `run`.

        Tables that know of records that the log does not have were filled from another past, as after the log was restored from
        a backup: they are filled anew. Those that were filled before a dialect was mended serve until `catch_up` has filled others.
        """
        await self._generations.prepare()
        self._lift_again(await relift.read(self._log))
        works: list[tuple[Work, dict[TopicPartition, Reached]]] = []
        for projection in self.projections:
            generation = await self._generations.serving(projection)
            positions = {} if generation is None else await self._generations.positions(generation)
            if generation is None or not await self._has(projection, positions):
                generation, positions = await self._generations.create(projection), {}
                await self._generations.serve(projection, generation)
            elif not await self._generations.is_current(projection):
                self._stale.append(projection)
            works.append((self._work(projection, generation), positions))
        await self._generations.views(self.projections)
        furthest: dict[TopicPartition, Reached] = {}
        for _, positions in works:
            for lane, at in positions.items():
                if at.next_offset > furthest.get(lane, Reached(0, 0)).next_offset:
                    furthest[lane] = at
        for work, positions in works:
            lanes = {lane for lane in furthest if lane.topic in work.projection.topics}
            if all(positions.get(lane) == furthest[lane] for lane in lanes):
                self._main.works.append(work)
            else:
                self._behind.append((work, positions))
        self._main.start_at(furthest)
        for work in self._main.works:
            self._report(work, self._main.positions)
        if self.linker is not None:
            await self.linker.start(self._relifts.name([CHARGING]))

    async def run(self, stop: asyncio.Event) -> None:
        """Fold what the log has and what comes, until `stop` is set. Raises what ends the process (StopTheLine, defects)."""
        if self.linker is None:
            await self._fold(stop)
            return
        async with asyncio.TaskGroup() as tasks:
            linking = tasks.create_task(self.linker.run(), name="links")
            await self._fold(stop)
            linking.cancel()  # what it was at, the next start does again

    async def _fold(self, stop: asyncio.Event) -> None:
        await self.catch_up()
        asked = 0
        while not stop.is_set():
            if self._paused:
                await asyncio.sleep(PAUSE_S)
                continue
            began = asyncio.get_running_loop().time()
            done = await self.turn()
            if done.records * 2 < ROUND_RECORDS:
                gather_s = BUSY_WAIT_S if done.records >= BUSY_RECORDS else ROUND_WAIT_S
                await self.progress.wanted(began + gather_s - asyncio.get_running_loop().time())
            if done.records == 0 or self._clock.now() - asked > END_EVERY_US:
                asked = self._clock.now()
                await self._ask_end(asked)

    async def catch_up(self) -> None:
        """Fold the projections that stand behind up to where the others stand, and let them run together.

        Those that were filled before a dialect was mended are filled anew.
        """
        while self._behind:
            work, positions = self._behind[0]
            await self._join(work, positions, told=None)
            self._behind.pop(0)
        while self._stale:
            projection = self._stale[0]
            if not await self._generations.is_current(projection):
                _say.warning("projection %s is filled anew, because a dialect was mended since", projection.name)
                await self.rebuild([projection.name])
            self._stale.pop(0)

    async def turn(self, wait_s: float = ROUND_WAIT_S) -> Round:
        """Fold one round, waiting up to `wait_s` for records."""
        async with self._turn:
            done = await self._main.round(wait_s=wait_s)
            for work in self._main.works:
                self._report(work, done.reached)
            return done

    async def close(self) -> None:
        """Let go of the worker thread."""
        self._executor.shutdown(wait=True)

    def pause(self, paused: bool) -> None:
        """Stop folding, or go on (for measurements)."""
        self._paused = paused

    async def lag(self) -> dict[str, dict[TopicPartition, int]]:
        """Return, per projection and partition, how many records are not folded yet."""
        ends = {topic: await self._log.end(topic) for projection in self.projections for topic in projection.topics}
        return {
            projection.name: {
                TopicPartition(topic, partition): end - self.progress.folded(projection.name, TopicPartition(topic, partition))
                for topic in projection.topics
                for partition, end in ends[topic].items()
            }
            for projection in self.projections
        }

    async def rebuild(self, names: Sequence[str], told: Told | None = None) -> None:
        """Fill a new generation of each named projection from the log's start while the old one serves, then swap.

        Raises KeyError for a projection that does not exist, StoreUnavailable where the store takes nothing for long; then the
        old generation goes on serving.
        """
        chosen = [self._projections[name] for name in names]
        async with self._repair:
            for projection in chosen:
                await self._refill(projection, told)

    async def relift(
        self, version: str | None = None, module: Module | None = None, told: Told | None = None
    ) -> tuple[list[Relifted], list[Moves]]:
        """Lift again what an older revision of a dialect lifted, and fill the tables anew with it; one version or module or all.

        Returns what was lifted again, nothing where the present revisions lifted all, and what moved in the tables. The event is
        durable before any table changes: whatever happens then, the next call or the next start goes on with it.
        Raises LogUnavailable, or StoreUnavailable where the store takes nothing for long.
        """
        async with self._repair:
            older = await self._older(version, module, told)
            events = [await self._mended(*what) for what in sorted(older)]
            if events:
                at = self._clock.now()
                entries = [Entry(PARTNERS, RELIFTED_KEY, envelopes.encode(event.envelope(at))) for event in events]
                await self._log.append(entries)
                self._lift_again([*self._relifts.events, *events])
            moved: list[Moves] = []
            for projection in self.projections:  # those too that an earlier call did not come to
                if not await self._generations.is_current(projection):
                    await self._refill(projection, told, moved)
        if self.linker is not None:
            self.linker.look_again(self._relifts.name([CHARGING]))
        return [
            Relifted(event.version, event.module, event.revision, older[event.version, event.module]) for event in events
        ], moved

    async def verify(self, told: Told | None = None) -> list[Difference]:
        """Fold the log anew into shadow tables, up to its present end, and return where they differ from the served ones.

        Raises StoreUnavailable where the store takes nothing for long.
        """
        async with self._repair:
            differences: list[Difference] = []
            for projection in self.projections:
                upto = await ends_of(self._log, projection.topics)
                shadow = await self._generations.create(projection, SHADOW)
                try:
                    work = self._work(projection, shadow)
                    refold = self._projector([work], keep=False, patience_s=self._patience_s)
                    refold.start_at({})
                    await self._fill(refold, upto, f"refolding {projection.name}", told)
                    await self._caught_up(projection, upto)
                    async with self._turn:
                        serving = await self._generations.serving(projection)
                        if serving is None:
                            raise RuntimeError(f"projection {projection.name} lost its generation")
                        differences += await compare(self._store, projection, serving, shadow, upto)
                finally:
                    await self._generations.drop(projection, shadow)
            return differences

    async def _refill(self, projection: AnyProjection, told: Told | None, moved: list[Moves] | None = None) -> None:
        generation = await self._generations.create(projection)
        try:
            await self._join(self._work(projection, generation), {}, told, self._patience_s, moved)
        except BaseException:
            with contextlib.suppress(StoreUnavailable):
                await self._generations.abandon(projection, generation)
            raise

    def _lift_again(self, events: Sequence[DialectRelifted]) -> None:
        self._relifts = Relifts(events, self._dialects, self._log.epoch)
        self._main.mend = self._relifts or None

    async def _older(self, version: str | None, module: Module | None, told: Told | None) -> Counter[tuple[str, Module]]:
        """Count what older revisions lifted, by version and module."""
        dialects = {name: dialect for name, dialect in self._dialects.items() if version in {None, name}}
        topics = {topic for of, topic in relift.TOPIC_OF.items() if module in {None, of}}
        ends = await ends_of(self._log, sorted(topics))
        at = dict.fromkeys(ends, 0)
        older: Counter[tuple[str, Module]] = Counter()
        while start := {lane: offset for lane, offset in at.items() if offset < ends[lane]}:
            found = await self._log.fetch(start, max_records=ROUND_RECORDS, wait_s=0)
            records = [record for some in found.values() for record in some]
            older += await asyncio.get_running_loop().run_in_executor(
                self._executor, relift.count_older, records, dialects, self._relifts
            )
            for lane, some in found.items():
                at[lane] = some[-1].offset + 1
            if told is not None:
                told("looking for what older revisions lifted", sum(at.values()), sum(ends.values()))
        return Counter({what: count for what, count in older.items() if module in {None, what[1]}})

    async def _mended(self, version: str, module: Module) -> DialectRelifted:
        ends = await self._log.end(relift.TOPIC_OF[module])
        return DialectRelifted(
            version=version,
            module=module,
            revision=self._dialects[version].revision,
            epoch=self._log.epoch,
            ends=tuple((relift.TOPIC_OF[module], partition, end) for partition, end in sorted(ends.items()) if end),
        )

    async def _has(self, projection: AnyProjection, positions: Mapping[TopicPartition, Reached]) -> bool:
        """Whether the log has all the records that the projection folded."""
        ends = await ends_of(self._log, projection.topics)
        for lane, at in positions.items():
            if lane in ends and at.next_offset > ends[lane]:
                text = "projection %s has folded %d records of %s/%d, but the log has %d: it is made again from the log"
                _say.warning(text, projection.name, at.next_offset, *lane, ends[lane])
                return False
        return True

    async def _caught_up(self, projection: AnyProjection, upto: Mapping[TopicPartition, int]) -> None:
        """Wait until the projection has come that far; raises StoreUnavailable where it comes no further."""
        for lane, end in upto.items():
            before = -1
            while not (end == 0 or await self.progress.reached(projection.name, Position(*lane, end - 1), self._patience_s)):
                folded = self.progress.folded(projection.name, lane)
                if folded == before:
                    raise StoreUnavailable(f"{projection.name} stays at record {folded} of {lane.topic}/{lane.partition}")
                before = folded

    async def _join(
        self, work: Work, positions: Mapping[TopicPartition, Reached], told: Told | None, patience_s: float = math.inf,
        moved: list[Moves] | None = None,
    ) -> None:  # fmt: skip
        """Fill a work up to where the others stand, then serve it and let it run with them; `moved` takes how it differs."""
        solo = self._projector([work], patience_s=patience_s)
        solo.start_at(positions)
        title = f"rebuilding {work.projection.name}"
        while True:
            upto = await ends_of(self._log, work.projection.topics)
            left = await self._fill(solo, upto, title, told)
            if left < ROUND_RECORDS:
                break
        async with self._turn:
            await self._main.flush()
            here = {lane: at.next_offset for lane, at in self._main.positions.items() if lane.topic in work.projection.topics}
            await self._fill(solo, here, title, told)
            served = await self._generations.serving(work.projection) if moved is not None else None
            if moved is not None and served is not None:
                moved += await moves(self._store, work.projection, served, work.generation)
            await self._generations.serve(work.projection, work.generation)
            self._main.works = [w for w in self._main.works if w.projection.name != work.projection.name]
            others = {topic for w in self._main.works for topic in w.projection.topics}
            self._main.works.append(work)
            # Lanes that another projection reads stand where it stands; the rest stand where this one came to.
            known = {lane: at for lane, at in self._main.positions.items() if lane.topic in others}
            ahead = {lane: at for lane, at in solo.positions.items() if lane not in known}
            self._main.start_at(known | ahead)
            self._report(work, solo.positions)

    async def _fill(self, projector: Projector, upto: Mapping[TopicPartition, int], title: str, told: Told | None) -> int:
        """Fold up to these offsets; returns how many records that were."""
        total, done = sum(upto.values()), 0
        before = sum(min(at.next_offset, upto.get(lane, 0)) for lane, at in projector.positions.items())
        while any(at.next_offset < upto.get(lane, 0) for lane, at in projector.positions.items()):
            done += (await projector.round(upto=upto)).records
            if told is not None:
                told(title, before + done, total)
        return done

    async def _ask_end(self, asked_at: int) -> None:
        for topic in self._main.topics():
            ends = {TopicPartition(topic, partition): end for partition, end in (await self._log.end(topic)).items()}
            self.progress.at_end([w.projection.name for w in self._main.works], ends, asked_at)

    def _report(self, work: Work, reached: Mapping[TopicPartition, Reached]) -> None:
        self.progress.moved(
            [work.projection.name], {lane: at for lane, at in reached.items() if lane.topic in work.projection.topics}
        )

    def _work(self, projection: AnyProjection, generation: Generation) -> Work:
        return Work(projection, generation, self._cache_bytes)

    def _projector(
        self, works: Sequence[Work], *, keep: bool = True, dead_letter: bool = False, patience_s: float = math.inf
    ) -> Projector:
        return Projector(
            self._log,
            self._store,
            self._generations,
            works,
            clock=self._clock,
            executor=self._executor,
            dead_letter=dead_letter,
            save_positions=keep,
            patience_s=patience_s,
            mend=self._relifts or None,
        )


SHADOW: Final = 0
"""The generation number of verify's shadow tables; served generations count from 1."""


@asynccontextmanager
async def running(runtime: Embedded) -> AsyncIterator[Embedded]:
    """Start the runtime, drive it in a task, and stop both cleanly; a failure inside ends the block."""
    await runtime.start()
    stop = asyncio.Event()
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(runtime.run(stop), name="projector")
            try:
                yield runtime
            finally:
                stop.set()
    finally:
        await runtime.close()
