"""`project-kafka`, `worker`, `push-kafka` and `fresh`: the processes of the scale profile over a real broker.

Broker, ClickHouse and load generator share the machine with what is measured.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Sequence
from typing import Final
from urllib.parse import quote

import aiohttp
import msgspec
from msgspec import Struct
from msgspec.structs import replace
from yarl import URL

from benchmarks import mix, sessions
from benchmarks.cluster import PARTITIONS, TOPICS, House, servers
from benchmarks.consuming import Consumed, consume
from benchmarks.frame import Measure, Options, Ratio, Result, Unavailable, median_and_spread
from benchmarks.http_load import Load, load
from benchmarks.push import (
    ACCEPTED,
    EMPTY,
    LAG_GOAL_S,
    OURS,
    OWNER,
    PAUSED,
    RUNNING,
    SESSIONS,
    Contender,
    Round,
    empty_route,
    loaded_round,
)
from benchmarks.servers import cpu_s, free_port, peak_rss_mib, roamlog, rss_mib, run_command, serving, stop
from schemas.types import date_time
from streams.following import Following
from streams.logs.kafka import KafkaLog
from streams.ports import TopicPartition

LOOK_S: Final = 0.1
FOLDED_WITHIN_S: Final = 1800
MEMORY_GOAL_MIB: Final = 800
RATE: Final = 1_500
PROBE: Final = "probe-token"
READER: Final = "reader-token"


class Folded(Struct, frozen=True):
    """What workers took for a log, from the first fold that was seen to the last: the two in which nothing else was done.

    `cpu_s` is all workers' together, `rss_mib` the first one's at a quarter of the log and at its end.
    """

    records: int
    seconds: float
    cpu_s: float
    rss_mib: tuple[float, float]
    peak_rss_mib: float


async def project(options: Options) -> Result:
    """Fold a Kafka log of mixed events with one worker and with two, beside two readers that only decode. Raises Unavailable."""
    chosen = mix.read()
    events = options.pick(chosen.events, 60_000)
    async with servers(options.scratch) as under:
        house = under.house("mixed")
        await _fill(house, chosen, events)
        one, two = await _folded(house.refilled("one"), 1), await _folded(house.refilled("two"), 2)
        bare = await consume("bare", house.kafka, house.prefix, events)
        stock = await consume("stock", house.kafka, house.prefix, events)
    rate, rate_of_two = one.records / one.seconds, two.records / two.seconds
    of_bare, of_stock = _rate(bare), _rate(stock)
    cpu, cpu_of_two = one.cpu_s / one.records * 1e6, two.cpu_s / two.records * 1e6
    return Result(
        ratios=[
            Ratio("worker / bare getmany and decode", rate / of_bare, 0.15),
            Ratio("worker / a stock Faust agent that decodes", rate / of_stock, 3),
            Ratio("two workers / one, processor time an event", cpu_of_two / cpu, 1.15, "<="),
        ],
        measures=[
            Measure("one worker", rate, "events/s"),
            Measure("two workers", rate_of_two, "events/s"),
            Measure("bare getmany and decode", of_bare, "events/s"),
            Measure("stock Faust agent", of_stock, "events/s"),
            Measure("one worker: processor an event", cpu, "us"),
            Measure("two workers: processor an event", cpu_of_two, "us"),
            Measure("one worker: peak memory", one.peak_rss_mib, "MiB"),
        ],
        remarks=[f"{events:,} events in Kafka; the workers' processor time is without ClickHouse, a process of its own"],
    )


async def worker(options: Options) -> Result:
    """Fold millions of events with one worker and watch its memory. Raises Unavailable."""
    chosen = mix.read()
    events = options.pick(2_000_000, 200_000)
    async with servers(options.scratch) as under:
        house = under.house("long")
        await _fill(house, chosen, events)
        done = await _folded(house, 1)
    early, late = done.rss_mib
    return Result(
        ratios=[
            Ratio("memory at the end / at a quarter", late / early, 1.15, "<="),
            Ratio("peak memory of the worker, MiB", done.peak_rss_mib, MEMORY_GOAL_MIB, "<="),
        ],
        measures=[
            Measure("worker", done.records / done.seconds, "events/s"),
            Measure("memory at a quarter", early, "MiB"),
            Measure("memory at the end", late, "MiB"),
        ],
        remarks=[f"{events:,} events of {chosen.keys.sessions:,} sessions and {chosen.keys.locations:,} Locations"],
    )


async def push_kafka(options: Options) -> Result:
    """Put Sessions to `ingest` over Kafka, without workers and with one, beside an empty route. Raises Unavailable."""
    rounds, seconds = options.pick(5, 2), options.pick(8, 2)
    async with servers(options.scratch) as under, contextlib.AsyncExitStack() as stack:
        contenders: dict[str, Contender] = {}
        started = await empty_route("app")(EMPTY, options.scratch, SESSIONS)
        server = await stack.enter_async_context(serving(EMPTY, started.command, started.port, log=options.scratch / "log-empty"))
        contenders[EMPTY] = Contender(server, f"/{SESSIONS.module}/{OWNER}", SESSIONS.content, "")
        for name in (PAUSED, RUNNING):
            house = under.house("folded" if name == RUNNING else "kept")
            await house.prepare()
            await _connect(house, "bench", "*".join(sessions.PARTY), "CPO", sessions.TOKEN)
            if name == RUNNING:
                await stack.enter_async_context(_workers(house, 1))
            port = free_port()
            command, log = roamlog("ingest", "--port", str(port)), options.scratch / f"log-{house.prefix}"
            server = await stack.enter_async_context(serving(name, command, port, log=log, env=house.environment))
            contenders[name] = Contender(server, f"{OURS}/{SESSIONS.module}/{OWNER}", SESSIONS.content, ACCEPTED)
        seen: dict[str, list[Round]] = {name: [] for name in contenders}
        for turn in range(rounds + 1):
            for name, contender in contenders.items():
                one = await loaded_round(contender, 1 + turn * 1000, min(seconds, 3) if turn == 0 else seconds)
                if turn:
                    seen[name].append(one)
        memory = peak_rss_mib(contenders[RUNNING].server.pid)
    rate = {name: median_and_spread([one.loaded.rate for one in of])[0] for name, of in seen.items()}
    cpu = {name: median_and_spread([one.cpu_us for one in of])[0] for name, of in seen.items()}
    return Result(
        ratios=[
            Ratio("ingest alone / empty route", rate[PAUSED] / rate[EMPTY], 0.5),
            Ratio("ingest beside a worker / empty route", rate[RUNNING] / rate[EMPTY], 0.25),
            Ratio("processor time, empty route / ingest", cpu[EMPTY] / cpu[PAUSED]),
            Ratio("lag when the load ends, s", max(one.lag_s for one in seen[RUNNING]), LAG_GOAL_S, "<="),
        ],
        measures=[
            *(Measure(f"{name}: pushes", rate[name], "/s") for name in seen),
            *(Measure(f"{name}: processor a push", cpu[name], "us") for name in seen),
            *(Measure(f"{name}: p99", median_and_spread([one.loaded.p99_ms for one in of])[0], "ms") for name, of in seen.items()),
            Measure("ingest: peak memory", memory, "MiB"),
        ],
        remarks=[f"{rounds} rounds of {seconds} s; broker, ClickHouse, worker and load generator share the cores with ingest"],
    )


async def fresh(options: Options) -> Result:
    """Push at a steady rate and see when single Sessions can be read: by GET of the object, and on a list's first page.

    Raises Unavailable.
    """
    seconds = options.pick(120, 20)
    async with servers(options.scratch) as under, contextlib.AsyncExitStack() as stack:
        house = under.house("fresh")
        await house.prepare()
        await _connect(house, "bench", "*".join(sessions.PARTY), "CPO", sessions.TOKEN)
        await _connect(house, "probe", "BE*PRB", "CPO", PROBE)
        await _connect(house, "reader", "FR*PRB", "EMSP", READER)
        await stack.enter_async_context(_workers(house, 1))
        ports = {}
        for part in ("ingest", "api"):
            ports[part] = free_port()
            command, log = roamlog(part, "--port", str(ports[part])), options.scratch / f"log-{part}"
            await stack.enter_async_context(serving(part, command, ports[part], log=log, env=house.environment))
        warm = Load(port=ports["ingest"], path=f"{OURS}/sessions/{OWNER}", seconds=5, turn=1, rate=RATE, expect=ACCEPTED)
        await load(warm)
        under_load = asyncio.create_task(load(replace(warm, seconds=seconds + 2, turn=1000)))
        by_get, on_page = await _probe(ports["ingest"], ports["api"], seconds)
        loaded = await under_load
    return Result(
        ratios=[
            Ratio("p99 until a GET of the object has it, s", _p99(by_get), 1, "<="),
            Ratio("p99 until the first page has it, s", _p99(on_page), 1, "<="),
            Ratio("pushes a second meanwhile", loaded.rate, RATE * 0.95),
        ],
        measures=[
            Measure("median until a GET has it", sorted(by_get)[len(by_get) // 2] * 1000, "ms"),
            Measure("median until the first page has it", sorted(on_page)[len(on_page) // 2] * 1000, "ms"),
            Measure("push: p99", loaded.p99_ms, "ms"),
        ],
        remarks=[f"{len(on_page)} Sessions probed in {seconds} s, from the answer 1000 on; one worker"],
    )


async def _probe(ingest: int, api: int, seconds: int) -> tuple[list[float], list[float]]:
    """Put Sessions one after the other and ask for each until it is there; return the seconds since their answers."""
    by_get: list[float] = []
    on_page: list[float] = []
    ends, number = time.perf_counter() + seconds, 0
    begun = quote(date_time(int(time.time() - 1) * 1_000_000))
    async with aiohttp.ClientSession() as http:
        while time.perf_counter() < ends:
            number += 1
            await _put_probe(http, ingest, number)
            at, owner = time.perf_counter(), f"{OURS}/sessions/BE/PRB/probe-{number}"
            page = f"/ocpi/2.2.1/sender/sessions?date_from={begun}&limit=1000"
            got, listed = await asyncio.gather(
                _seen(http, ingest, owner, PROBE, number), _seen(http, api, page, READER, number, every_s=0.01)
            )
            by_get.append(got - at)
            on_page.append(listed - at)
            await asyncio.sleep(0.05)
    return by_get, on_page


async def _seen(http: aiohttp.ClientSession, port: int, path: str, token: str, number: int, *, every_s: float = 0.0) -> float:
    """Ask until the probe is there; return when it was."""
    while not await _has(http, port, path, token, number):  # noqa: ASYNC110 (what is measured is what a reader sees)
        await asyncio.sleep(every_s)
    return time.perf_counter()


async def _put_probe(http: aiohttp.ClientSession, port: int, number: int) -> None:
    body = msgspec.json.decode(sessions.session(number, 1)) | {
        "country_code": "BE",
        "party_id": "PRB",
        "id": f"probe-{number}",
        "cdr_token": {"country_code": "FR", "party_id": "PRB", "uid": "1", "type": "RFID", "contract_id": "FR-PRB-1"},
        "last_updated": date_time(int(time.time()) * 1_000_000),
    }
    url = f"http://127.0.0.1:{port}{OURS}/sessions/BE/PRB/probe-{number}"
    async with http.put(url, json=body, headers={"Authorization": f"Token {PROBE}"}) as answer:
        if ACCEPTED.encode() not in await answer.read():
            raise Unavailable(f"ingest refuses a probe: {(await answer.read())[:300]!r}")


async def _has(http: aiohttp.ClientSession, port: int, path: str, token: str, number: int) -> bool:
    headers = {"Authorization": f"Token {token}"}
    async with http.get(URL(f"http://127.0.0.1:{port}{path}", encoded=True), headers=headers) as answer:
        return b'"probe-%d"' % number in await answer.read()


def _p99(seconds: Sequence[float]) -> float:
    return sorted(seconds)[len(seconds) * 99 // 100]


async def _connect(house: House, name: str, party: str, role: str, token: str) -> None:
    command = roamlog("partner", "add", name, "--party", party, "--role", role, "--token", token, "--kafka")
    await run_command(*command, env=house.environment)


async def _fill(house: House, chosen: mix.Mix, events: int) -> None:
    await house.prepare()
    log = await KafkaLog.open(house.cluster)
    try:
        await mix.fill(log, chosen, events)
    finally:
        await log.close()


def _rate(done: Consumed) -> float:
    return done.records / done.seconds


async def _folded(house: House, workers: int) -> Folded:
    """Fold a log into empty tables. Raises Unavailable."""
    await house.prepare()
    async with house.following() as (log, following), _workers(house, workers) as processes:
        total = sum([sum((await log.end(topic)).values()) for topic in {topic for topics in TOPICS.values() for topic in topics}])
        begun = await _until(following, 1)
        at, before, cpu = time.perf_counter(), begun, _cpu_s(processes)
        await _until(following, total // 4)
        early = rss_mib(processes[0].pid)
        folded = await _until(following, total)
        return Folded(
            records=folded - before,
            seconds=time.perf_counter() - at,
            cpu_s=_cpu_s(processes) - cpu,
            rss_mib=(early, rss_mib(processes[0].pid)),
            peak_rss_mib=max(peak_rss_mib(one.pid) for one in processes),
        )


async def _until(following: Following, records: int) -> int:
    """Wait until so many records are folded by every projection that reads them; return how many are."""
    until = time.perf_counter() + FOLDED_WITHIN_S
    while (folded := await _least(following)) < records:
        if time.perf_counter() > until:
            raise Unavailable(f"{folded:,} of {records:,} records are folded after {FOLDED_WITHIN_S} s")
        await asyncio.sleep(LOOK_S)
    return folded


async def _least(following: Following) -> int:
    await following.look()
    least: dict[str, int] = {}
    for projection, topics in TOPICS.items():
        for topic in topics:
            lanes = [TopicPartition(topic, partition) for partition in range(PARTITIONS)]
            folded = sum(following.progress.folded(projection, lane) for lane in lanes)
            least[topic] = min(folded, least.get(topic, folded))
    return sum(least.values())


@contextlib.asynccontextmanager
async def _workers(house: House, count: int) -> AsyncIterator[list[asyncio.subprocess.Process]]:
    """Run workers for the length of the block. Raises Unavailable where one ends before it."""
    environment = {**os.environ, **house.environment}
    processes = [
        await asyncio.create_subprocess_exec(*roamlog("streams"), env=environment, stdout=asyncio.subprocess.DEVNULL)
        for _ in range(count)
    ]
    try:
        yield processes
        if any(process.returncode is not None for process in processes):
            raise Unavailable("a worker ended by itself")
    finally:
        for process in processes:
            await stop(process)


def _cpu_s(processes: Sequence[asyncio.subprocess.Process]) -> float:
    return sum(cpu_s(process.pid) for process in processes)
