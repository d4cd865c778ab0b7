"""`roamlog doctor`: is everything there that the processes need, and if not, what is to be done?"""

import asyncio
import shutil
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from typing import Final

from msgspec import Struct

from roamlog.scale import cluster_of, server_at
from roamlog.settings import Scale
from streams.catalogue import projections
from streams.generations import Generations
from streams.logs.kafka import KafkaLog
from streams.runtimes.faust_app import WrongFaust, check_faust
from streams.stores.clickhouse import ClickHouseStore
from streams.values import text

CLOCKS_APART_S: Final = 2.0
"""So far may our clock and ClickHouse's be apart; events are stamped with ours, and lists end by it."""

FREE_BYTES: Final = 1024**3


class Finding(Struct, frozen=True):
    """One thing that was looked at: whether it is well, what was found, and what to do about it ("" where nothing)."""

    what: str
    well: bool
    said: str
    remedy: str = ""


async def examine(settings: Scale) -> list[Finding]:
    """Look at versions, brokers, topics, ClickHouse, its clock, the tables and the disk; never raises."""
    looks: tuple[tuple[str, Callable[[Scale], Awaitable[Finding]], str], ...] = (
        ("versions", _versions, "install from requirements.lock"),
        ("Kafka", _log, "start the brokers, set ROAMLOG_KAFKA, or run roamlog prepare"),
        ("ClickHouse", _store, "start the server, or set ROAMLOG_CLICKHOUSE and its user and password"),
        ("tables", _tables, "run roamlog prepare"),
        ("disk", _disk, "free some space, or set TMPDIR"),
    )
    found = []
    for what, look, remedy in looks:
        try:
            found.append(await look(settings))
        except Exception as fault:
            found.append(Finding(what, False, (str(fault).strip().splitlines() or [type(fault).__name__])[0][:200], remedy))
    return found


async def _versions(_: Scale) -> Finding:
    try:
        check_faust()
    except WrongFaust as fault:
        return Finding("versions", False, str(fault), "install from requirements.lock")
    names = ("roamlog", "faust-streaming", "aiokafka", "clickhouse-connect")
    python = ".".join(map(str, sys.version_info[:3]))
    return Finding("versions", True, ", ".join((f"python {python}", *(f"{name} {version(name)}" for name in names))))


async def _log(settings: Scale) -> Finding:
    began = time.perf_counter()
    log = await KafkaLog.open(cluster_of(settings))
    try:
        took_ms = (time.perf_counter() - began) * 1000
        records = sum([sum((await log.end(topic)).values()) for projection in projections() for topic in projection.topics])
        return Finding("Kafka", True, f"log {log.log_id}, epoch {log.epoch}, {records:,} records; opened in {took_ms:.0f} ms")
    finally:
        await log.close()


async def _store(settings: Scale) -> Finding:
    store = await asyncio.to_thread(ClickHouseStore.http, server_at(settings), readers=1)
    try:
        before = time.time()
        ((release, now_us),) = await store.query("SELECT version(), toUnixTimestamp64Micro(now64(6))")
        middle = (before + time.time()) / 2
        apart_s = abs(float(str(now_us)) / 1e6 - middle)
        said = f"ClickHouse {text(release)}, its clock {apart_s:.1f} s from ours"
        if apart_s > CLOCKS_APART_S:
            return Finding("ClickHouse", False, said, "let both machines follow the same time servers")
        return Finding("ClickHouse", True, said)
    finally:
        await store.close()


async def _tables(settings: Scale) -> Finding:
    log = await KafkaLog.open(cluster_of(settings))
    try:
        store = await asyncio.to_thread(ClickHouseStore.http, server_at(settings), readers=1)
        try:
            generations = Generations(store, log.log_id, log.epoch)
            missing = [one.name for one in projections() if await generations.serving(one) is None]
        finally:
            await store.close()
    finally:
        await log.close()
    if missing:
        return Finding("tables", False, f"no tables of this release and log for {', '.join(missing)}", "run roamlog prepare")
    return Finding("tables", True, f"{len(projections())} projections have their tables")


async def _disk(_: Scale) -> Finding:
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    said = f"{free / 1024**3:.1f} GiB free in {folder}"
    return Finding("disk", free >= FREE_BYTES, said, "" if free >= FREE_BYTES else "free some space, or set TMPDIR")
