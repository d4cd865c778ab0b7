"""One fold of a log in a process of its own, so that memory and processor time are its alone.

`bare` fetches and decodes envelopes, which is the least that any projector has to do; `project` fills all projections from
an empty store; `rebuild` fills a new generation of each, one after the other, as `roamlog rebuild` does.
"""

import asyncio
import gc
import re
import resource
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Literal

import msgspec
from msgspec import Struct

from benchmarks.frame import ROOT, Unavailable
from benchmarks.servers import rss_mib
from roamlog.listen import COLLECT_AFTER, SWITCH_S, one_heap, trim
from schemas import envelope as envelopes
from streams.catalogue import projections
from streams.clock import SystemClock
from streams.generations import AnyProjection
from streams.logs.local import LocalLog
from streams.ports import Position, TableStore, TopicPartition
from streams.projection import Key, Recorded
from streams.projector import ROUND_RECORDS
from streams.runtimes.embedded import Embedded, running
from streams.stores.clickhouse import ClickHouseStore

RSS_EVERY_S: Final = 0.1


class Job(Struct, frozen=True):
    """What to do with which log; the store is made below `folder`."""

    work: Literal["bare", "project", "rebuild"]
    log: str
    folder: str


class Done(Struct, frozen=True):
    """What it took. `rss_mib` is the median of the second half of the run, `peak_rss_mib` the highest of all.

    Of the states that events were folded upon, `keyed` counts the events, `asked` those whose state was not in the cache and
    `found` those of them that the store had, by projection. `loading_s` and `inserting_s` are the seconds of the store's
    calls (they run beside the folding), by table.
    """

    records: int
    seconds: float
    cpu_s: float
    rss_mib: float
    peak_rss_mib: float
    keyed: dict[str, int]
    asked: dict[str, int]
    found: dict[str, int]
    loading_s: dict[str, float]
    inserting_s: dict[str, float]


async def fold(job: Job) -> Done:
    """Do the job in a process of its own. Raises Unavailable."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.folding"), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, cwd=ROOT
    )
    output, _ = await process.communicate(msgspec.json.encode(job))
    if process.returncode:
        raise Unavailable(f"the {job.work} of {job.log} ended with {process.returncode}")
    return msgspec.json.decode(output, type=Done)


async def _do(job: Job) -> Done:
    one_heap()  # all as the serving process has it
    gc.set_threshold(*COLLECT_AFTER)
    sys.setswitchinterval(SWITCH_S)
    trimming = asyncio.create_task(trim())
    log = LocalLog.open(Path(job.log))
    samples: list[float] = []
    seen = _Seen()
    watch = asyncio.create_task(_watch(samples))
    try:
        match job.work:
            case "bare":
                begun, cpu = time.perf_counter(), _cpu_s()
                records = await _bare(log)
                seconds, spent = time.perf_counter() - begun, _cpu_s() - cpu
            case "project" | "rebuild":
                store = ClickHouseStore.embedded(Path(job.folder))
                counted = [_Counted(projection, seen) for projection in projections()]
                runtime = Embedded(log, log.log_id, _Watched(store, seen), counted, clock=SystemClock())
                begun, cpu = time.perf_counter(), _cpu_s()
                records = await (_project(runtime, log) if job.work == "project" else _rebuild(runtime, log))
                seconds, spent = time.perf_counter() - begun, _cpu_s() - cpu
                await store.close()
    finally:
        watch.cancel()
        trimming.cancel()
        await log.close()
    late = sorted(samples[len(samples) // 2 :]) or [0.0]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Done(
        records=records,
        seconds=seconds,
        cpu_s=spent,
        rss_mib=late[len(late) // 2],
        peak_rss_mib=peak,
        keyed=seen.keyed,
        asked=seen.asked,
        found=seen.found,
        loading_s=seen.loading_s,
        inserting_s=seen.inserting_s,
    )


def topics() -> tuple[str, ...]:
    """Return the topics that any projection reads."""
    return tuple(dict.fromkeys(topic for projection in projections() for topic in projection.topics))


async def _ends(log: LocalLog) -> dict[TopicPartition, int]:
    return {TopicPartition(topic, partition): end for topic in topics() for partition, end in (await log.end(topic)).items()}


async def _bare(log: LocalLog) -> int:
    ends = await _ends(log)
    at = dict.fromkeys(ends, 0)
    records = 0
    while at != ends:
        for lane, batch in (await log.fetch(at, max_records=ROUND_RECORDS, wait_s=0)).items():
            for record in batch:
                envelopes.decode(record.value)
            at[lane] += len(batch)
            records += len(batch)
    return records


async def _project(runtime: Embedded, log: LocalLog) -> int:
    ends = await _ends(log)
    async with running(runtime):
        for projection in runtime.projections:
            for lane, end in ends.items():
                if end and lane.topic in projection.topics:
                    await runtime.progress.reached(projection.name, Position(*lane, end - 1), None)
    return sum(ends.values())


async def _rebuild(runtime: Embedded, log: LocalLog) -> int:
    runtime.pause(True)
    await runtime.start()
    await runtime.rebuild([projection.name for projection in runtime.projections])
    await runtime.close()
    return sum((await _ends(log)).values())


class _Seen:
    """What the projector asked of projections and store."""

    def __init__(self) -> None:
        self.keyed: Counter[str] = Counter()
        self.asked: Counter[str] = Counter()
        self.found: Counter[str] = Counter()
        self.loading_s: defaultdict[str, float] = defaultdict(float)
        self.inserting_s: defaultdict[str, float] = defaultdict(float)


class _Counted:
    """A projection that counts the events it folds."""

    def __init__(self, projection: AnyProjection, seen: _Seen) -> None:
        self.name, self.version, self.topics = projection.name, projection.version, projection.topics
        self.current, self.facts = projection.current, projection.facts
        self.fold, self.decode, self.row = projection.fold, projection.decode, projection.row
        self._key, self._keyed = projection.key, seen.keyed

    def key(self, recorded: Recorded) -> Key | None:
        key = self._key(recorded)
        if key is not None:
            self._keyed[self.name] += 1
        return key


class _Watched:
    """A store that notes how long it takes, and which states it is asked for."""

    def __init__(self, store: TableStore, seen: _Seen) -> None:
        self._store, self._seen = store, seen
        self.command, self.query_bytes, self.close = store.command, store.query_bytes, store.close

    async def insert(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[object]], token: str = "") -> None:
        begun = time.perf_counter()
        await self._store.insert(table, columns, rows, token)
        self._seen.inserting_s[_logical(table)] += time.perf_counter() - begun

    async def query(self, sql: str, parameters: Mapping[str, object] | None = None) -> list[tuple[object, ...]]:
        begun = time.perf_counter()
        rows = await self._store.query(sql, parameters)
        if parameters is not None and isinstance(keys := parameters.get("keys"), list):
            table = _logical(sql.partition(" FROM ")[2].partition(" ")[0])
            self._seen.asked[table] += len(keys)
            self._seen.found[table] += len(rows)
            self._seen.loading_s[table] += time.perf_counter() - begun
        return rows


def _logical(table: str) -> str:
    """Return a table's name without its version and generation."""
    return re.sub(r"_v\d+_g\d+$", "", table)


async def _watch(samples: list[float]) -> None:
    pid = (await asyncio.to_thread(Path("/proc/self/stat").read_text, encoding="utf-8")).split()[0]
    while True:
        samples.append(rss_mib(int(pid)))
        await asyncio.sleep(RSS_EVERY_S)


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.json.encode(asyncio.run(_do(msgspec.json.decode(sys.stdin.buffer.read(), type=Job)))))
