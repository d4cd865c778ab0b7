"""`roamlog doctor`: is everything there that the processes need, and if not, what is to be done? It looks, and changes nothing."""

import asyncio
import contextlib
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from importlib.metadata import version
from typing import Final

from msgspec import Struct

from roamlog.scale import cluster_of, server_at
from roamlog.settings import Scale
from streams.catalogue import projections
from streams.generations import Generations
from streams.logs import kafka
from streams.logs.kafka import KafkaLog
from streams.runtimes.faust_app import WrongFaust, check_faust
from streams.stores.clickhouse import NOT_MADE, ClickHouseStore, StoreError
from streams.values import integer, text

CLOCKS_APART_S: Final = 2.0
"""So far may our clock and ClickHouse's be apart; events are stamped with ours, and lists end by it."""

FREE_BYTES: Final = 1024**3
PREPARE: Final = "run roamlog prepare"


class Finding(Struct, frozen=True):
    """One thing that was looked at: whether it is well, what was found, and what to do about it ("" where nothing)."""

    what: str
    well: bool
    said: str
    remedy: str = ""


async def examine(settings: Scale) -> list[Finding]:
    """Look at versions, brokers, topics, the log, ClickHouse, its clock, the tables and the disks; never raises."""
    found: list[Finding] = []
    with _noting(found, "versions", "install from requirements.lock"):
        found.append(_versions())
    async with contextlib.AsyncExitStack() as opened:
        log: KafkaLog | None = None
        store: ClickHouseStore | None = None
        with _noting(found, "brokers", "start the brokers, or look at ROAMLOG_KAFKA and the settings that begin with it"):
            found += await _brokers(settings)
        if found[-1].well:
            with _noting(found, "log", PREPARE):
                log = await opened.enter_async_context(_log(settings))
                found.append(await _records(log))
        with _noting(found, "ClickHouse", "start the server, or look at ROAMLOG_CLICKHOUSE, its user and password"):
            store = await opened.enter_async_context(_store(settings))
            found += await _server(store)
        if store is not None:
            with _noting(found, "tables", PREPARE):
                found.append(await _tables(log, store))
            with _noting(found, "disk", "look at the server's disks"):
                found += await _disks(store)
    with _noting(found, "disk", "set TMPDIR"):
        folder = tempfile.gettempdir()
        found.append(_room(f"in {folder}", shutil.disk_usage(folder).free, "free some space, or set TMPDIR"))
    return found


@contextlib.contextmanager
def _noting(found: list[Finding], what: str, remedy: str) -> Iterator[None]:
    try:
        yield
    except Exception as fault:
        if isinstance(fault, StoreError) and fault.code in NOT_MADE:
            remedy = PREPARE
        found.append(Finding(what, False, (str(fault).strip().splitlines() or [type(fault).__name__])[0][:200], remedy))


def _versions() -> Finding:
    try:
        check_faust()
    except WrongFaust as fault:
        return Finding("versions", False, str(fault), "install from requirements.lock")
    names = ("roamlog", "faust-streaming", "aiokafka", "clickhouse-connect")
    python = ".".join(map(str, sys.version_info[:3]))
    return Finding("versions", True, ", ".join((f"python {python}", *(f"{name} {version(name)}" for name in names))))


async def _brokers(settings: Scale) -> list[Finding]:
    began = time.perf_counter()
    seen = await kafka.survey(cluster_of(settings))
    took_ms = (time.perf_counter() - began) * 1000
    topics = f"{seen.topics} topics with {seen.partitions} partitions"
    return [
        Finding("brokers", True, f"{seen.brokers} at {settings.kafka}, answered in {took_ms:.0f} ms"),
        Finding("topics", not seen.amiss, "; ".join((*seen.amiss, topics)), seen.remedy),
    ]


@contextlib.asynccontextmanager
async def _log(settings: Scale) -> AsyncIterator[KafkaLog]:
    log = await KafkaLog.open(cluster_of(settings))
    try:
        yield log
    finally:
        await log.close()


async def _records(log: KafkaLog) -> Finding:
    topics = {topic for projection in projections() for topic in projection.topics}
    records = sum([sum((await log.end(topic)).values()) for topic in topics])
    return Finding("log", True, f"{log.log_id}, epoch {log.epoch}, {records:,} records")


@contextlib.asynccontextmanager
async def _store(settings: Scale) -> AsyncIterator[ClickHouseStore]:
    store = await asyncio.to_thread(ClickHouseStore.http, server_at(settings), readers=1, make=False)
    try:
        yield store
    finally:
        await store.close()


async def _server(store: ClickHouseStore) -> list[Finding]:
    before = time.time()
    ((release, now_us),) = await store.query("SELECT version(), toUnixTimestamp64Micro(now64(6))")
    apart_s = abs(integer(now_us) / 1e6 - (before + time.time()) / 2)
    near = apart_s <= CLOCKS_APART_S
    said = f"{apart_s:.1f} s between ClickHouse's and ours"
    return [
        Finding("ClickHouse", True, text(release)),
        Finding("clock", near, said, "" if near else "let all machines follow the same time servers"),
    ]


async def _tables(log: KafkaLog | None, store: ClickHouseStore) -> Finding:
    if log is None:
        return Finding("tables", False, "whose log they are of cannot be told without the log", "mend what stands above first")
    generations = Generations(store, log.log_id, log.epoch)
    missing = [one.name for one in projections() if await generations.serving(one, mend=False) is None]
    if missing:
        return Finding("tables", False, f"none of this release and log for {', '.join(missing)}", PREPARE)
    return Finding("tables", True, f"{len(projections())} projections have theirs")


async def _disks(store: ClickHouseStore) -> list[Finding]:
    rows = await store.query("SELECT name, free_space FROM system.disks WHERE total_space > 0")
    remedy = "free some space on the server, or give it more"
    return [_room(f"on ClickHouse's disk {text(name)}", integer(free), remedy) for name, free in rows]


def _room(where: str, free: int, remedy: str) -> Finding:
    enough = free >= FREE_BYTES
    return Finding("disk", enough, f"{free / 1024**3:.1f} GiB free {where}", "" if enough else remedy)
