"""One fold of a log in a process of its own, so that memory and processor time are its alone.

`bare` fetches and decodes envelopes, which is the least that any projector has to do; `project` fills all projections from
an empty store; `rebuild` fills a new generation of each, one after the other, as `roamlog rebuild` does.
"""

import asyncio
import resource
import sys
import time
from pathlib import Path
from typing import Final, Literal

import msgspec
from msgspec import Struct

from benchmarks.frame import ROOT, Unavailable
from benchmarks.servers import rss_mib
from schemas import envelope as envelopes
from streams.catalogue import projections
from streams.clock import SystemClock
from streams.logs.local import LocalLog
from streams.ports import Position, TopicPartition
from streams.projector import ROUND_RECORDS
from streams.runtimes.embedded import Embedded, running
from streams.stores.clickhouse import ClickHouseStore
from streams.topics import CHARGING

RSS_EVERY_S: Final = 0.1


class Job(Struct, frozen=True):
    """What to do with which log; the store is made below `folder`."""

    work: Literal["bare", "project", "rebuild"]
    log: str
    folder: str


class Done(Struct, frozen=True):
    """What it took. `rss_mib` is the median of the second half of the run, `peak_rss_mib` the highest of all."""

    records: int
    seconds: float
    cpu_s: float
    rss_mib: float
    peak_rss_mib: float


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
    log = LocalLog.open(Path(job.log))
    samples: list[float] = []
    watch = asyncio.create_task(_watch(samples))
    try:
        match job.work:
            case "bare":
                begun, cpu = time.perf_counter(), _cpu_s()
                records = await _bare(log)
                seconds, spent = time.perf_counter() - begun, _cpu_s() - cpu
            case "project" | "rebuild":
                store = ClickHouseStore.embedded(Path(job.folder))
                runtime = Embedded(log, log.log_id, store, projections(), clock=SystemClock())
                begun, cpu = time.perf_counter(), _cpu_s()
                records = await (_project(runtime, log) if job.work == "project" else _rebuild(runtime, log))
                seconds, spent = time.perf_counter() - begun, _cpu_s() - cpu
                await store.close()
    finally:
        watch.cancel()
        await log.close()
    late = sorted(samples[len(samples) // 2 :]) or [0.0]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Done(records=records, seconds=seconds, cpu_s=spent, rss_mib=late[len(late) // 2], peak_rss_mib=peak)


async def _bare(log: LocalLog) -> int:
    ends = {TopicPartition(CHARGING, partition): end for partition, end in (await log.end(CHARGING)).items()}
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
    ends = await log.end(CHARGING)
    async with running(runtime):
        for projection in runtime.projections:
            if CHARGING in projection.topics:
                for partition, end in ends.items():
                    if end:
                        await runtime.progress.reached(projection.name, Position(CHARGING, partition, end - 1), None)
    return sum(ends.values())


async def _rebuild(runtime: Embedded, log: LocalLog) -> int:
    runtime.pause(True)
    await runtime.start()
    await runtime.rebuild([projection.name for projection in runtime.projections])
    await runtime.close()
    return sum((await log.end(CHARGING)).values())


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
