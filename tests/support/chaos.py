"""Faults at random moments under load, on the processes of the scale profile, their broker and their ClickHouse.

    make chaos        at most 15 minutes, figures to benchmarks/chaos.json; ROAMLOG_CHAOS_SEED picks another draw

Processes and the broker are killed, stopped and frozen, workers join and leave, ClickHouse goes away, connections are cut and
slowed down, while partners push. Whatever ends is started again, as a container engine would. Afterwards history.py tells
whether anything that was answered is lost or wrong. The last line that is printed is JSON.
"""

import asyncio
import contextlib
import math
import os
import random
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp
import broker
import history
import msgspec
from between import Between
from broker import Broker
from clickhouse_server import USER, ClickHouseServer
from history import HEADERS, SENDER, TOKEN, Pusher, Verdict
from msgspec import Struct
from serving import command

from roamlog.listen import many_files
from roamlog.scale import server_at
from roamlog.settings import Scale
from streams.logs.kafka import Cluster, KafkaLog
from streams.ports import LogUnavailable, StoreUnavailable
from streams.stores.clickhouse import ClickHouseStore
from streams.topics import CHARGING, LOCATIONS

BOUND_S: Final = 12 * 60.0
"""For the faults alone, which leaves three minutes for the start and the verdict."""
SOON_S: Final = 180.0
"""How long a slow machine may take for what takes a calm one seconds."""
STOPS_WITHIN_S: Final = 30.0
TIMES: Final = 5
"""How often `make chaos` does each fault."""
FIGURES: Final = Path(__file__).parents[2] / "benchmarks" / "chaos.json"
PASSWORD: Final = "secret"
_LOOK_S: Final = 0.2
_SAYS_WHEN_UP: Final = (b" answers at http://", b"/ready tells how far")

_SIGNALS: Final = {"kill": signal.SIGKILL, "terminate": signal.SIGTERM, "freeze": signal.SIGSTOP}
_PARTS: Final = ("ingest", "streams", "api", "broker")

PROCESS_FAULTS: Final = (
    *(f"{how} {part}" for part in _PARTS for how in _SIGNALS),
    "clickhouse away",
    "a worker joins",
    "a worker leaves",
)
CONNECTION_FAULTS: Final = ("cut kafka", "cut clickhouse", "delay kafka", "delay clickhouse")


class Plan(Struct, frozen=True):
    """How much of it: `each` fault so many times, at most `at_once` of them at a time."""

    seed: int
    faults: tuple[str, ...]
    at_once: int = 3
    pushers: int = 16
    ingests: int = 2
    frozen_s: float = 12.0
    away_s: float = 60.0
    pause_s: float = 3.0
    bound_s: float = BOUND_S


class Supervised:
    """A process of roamlog that is started anew whenever it ends."""

    def __init__(self, name: str, environment: Mapping[str, str], folder: Path, *arguments: str) -> None:
        self.name = name
        self.fell: list[str] = []
        self._environment = environment
        self._arguments = arguments
        self._log = folder / f"{name}.log"
        self._process: asyncio.subprocess.Process | None = None
        self._asked = False
        self._retired = False
        self._up = asyncio.Event()
        self._task = asyncio.create_task(self._run(), name=name)

    async def up(self, within_s: float = math.inf) -> None:
        """Return once it says that it is there."""
        upping = asyncio.ensure_future(self._up.wait())
        try:
            timeout = None if within_s == math.inf else within_s
            await asyncio.wait({upping, self._task}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            upping.cancel()
        if self._task.done():
            self._task.result()
        assert self._up.is_set(), f"{self.name} is not up within {within_s:.0f} s: {self.said()[-1000:]}"

    async def end(self, how: signal.Signals) -> int:
        """End it, and return its exit code once it has: it is started anew."""
        process = await self.running()
        self._asked = True
        return await self._ended(process, how)

    async def retire(self, how: signal.Signals = signal.SIGTERM) -> int:
        """End it for good."""
        self._retired = True
        process = self._process
        code = 0 if process is None or process.returncode is not None else await self._ended(process, how)
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        return code

    async def freeze(self, for_s: float) -> None:
        """Let it stand still for a while."""
        process = await self.running()
        process.send_signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(for_s)
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGCONT)

    def said(self) -> str:
        """Return what it printed."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    async def running(self) -> asyncio.subprocess.Process:
        """Return the process once it is up."""
        while True:
            await self.up()
            if self._process is not None and self._process.returncode is None:
                return self._process
            await asyncio.sleep(0.05)

    async def _ended(self, process: asyncio.subprocess.Process, how: signal.Signals) -> int:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGCONT)
            process.send_signal(how)
        try:
            async with asyncio.timeout(STOPS_WITHIN_S):
                return await process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            self.fell.append(f"{self.name} did not stop within {STOPS_WITHIN_S:.0f} s of {how.name}")
            return await process.wait()

    async def _run(self) -> None:
        while not self._retired:
            began = self._log.stat().st_size if self._log.exists() else 0
            with self._log.open("ab") as output:
                self._process = process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", "roamlog.cli", *self._arguments),
                    stdout=output,
                    stderr=output,
                    env=os.environ | self._environment,
                )
            try:
                ended = asyncio.ensure_future(process.wait())
                while not ended.done() and not self._up.is_set():
                    await asyncio.wait({ended}, timeout=0.05)
                    said = self._log.read_bytes()[began:]
                    if not ended.done() and any(sign in said for sign in _SAYS_WHEN_UP):
                        self._up.set()
                await ended
            except asyncio.CancelledError:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
                raise
            if not self._asked and not self._retired:
                was = "which was up" if self._up.is_set() else "which was starting"
                last = (self._log.read_text(errors="replace").strip().splitlines() or [""])[-1]
                self.fell.append(f"{self.name}, {was}, ended with {process.returncode}: {last[:300]}")
                await asyncio.sleep(1)
            self._up.clear()
            self._asked = False


class Ground:
    """The broker, ClickHouse and the proxies before them, and the processes of one house on them."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self.dice = random.Random(plan.seed)
        self.plan = plan
        self.folder = folder
        port = broker.free_pair()
        self.kafka = Between(broker.free_pair(), port, self.dice)
        advertised = {"advertised.listeners": f"PLAINTEXT://127.0.0.1:{self.kafka.port}"}
        self.broker = Broker(folder / "broker", port, advertised)
        self.server = ClickHouseServer(folder / "clickhouse", PASSWORD)
        self.clickhouse = Between(broker.free_pair(), self.server.port, self.dice)
        self.environment = {
            "ROAMLOG_KAFKA": f"127.0.0.1:{self.kafka.port}",
            "ROAMLOG_CLICKHOUSE": f"http://127.0.0.1:{self.clickhouse.port}",
            "ROAMLOG_CLICKHOUSE_USER": USER,
            "ROAMLOG_CLICKHOUSE_PASSWORD": PASSWORD,
            "ROAMLOG_PEPPER": "a secret of the chaos that is long enough",
            "ROAMLOG_OPERATOR_TOKEN": "an operator's token for the chaos, long",
        }
        self.ingests: list[Supervised] = []
        self.workers: list[Supervised] = []
        self.apis: list[Supervised] = []
        self.urls: list[str] = []
        self.api = ""
        self.retired: list[Supervised] = []

    @property
    def processes(self) -> list[Supervised]:
        """All of roamlog's that run now."""
        return [*self.ingests, *self.workers, *self.apis]

    async def start(self) -> None:
        """Start all of it and connect a partner."""
        await asyncio.gather(asyncio.to_thread(self.broker.start), asyncio.to_thread(self.server.start))
        await self.kafka.start()
        await self.clickhouse.start()
        partner = ("partner", "add", "tnm", "--party", "NL*TNM", "--role", "CPO", "--role", "EMSP", "--token", TOKEN, "--kafka")
        for arguments in (("prepare",), partner):
            done = await asyncio.to_thread(command, *arguments, environment=self.environment)
            assert done.returncode == 0, done.stderr
        for number in range(self.plan.ingests):
            port = broker.free_pair()
            self.urls.append(f"http://127.0.0.1:{port}")
            self.ingests.append(self._supervised(f"ingest-{number}", "ingest", "--port", str(port)))
        port = broker.free_pair()
        self.api = f"http://127.0.0.1:{port}"
        self.apis.append(self._supervised("api", "api", "--port", str(port)))
        for _ in range(2):
            self.join()
        await asyncio.gather(*(one.up(SOON_S) for one in self.processes))

    def join(self) -> Supervised:
        """Start one more worker."""
        one = self._supervised(f"streams-{len(self.workers) + len(self.retired)}", "streams")
        self.workers.append(one)
        return one

    async def leave(self, one: Supervised) -> int:
        """Let a worker go for good."""
        self.workers.remove(one)
        self.retired.append(one)
        return await one.retire()

    async def end(self) -> None:
        """End all of it, at once."""
        await asyncio.gather(*(one.retire(signal.SIGKILL) for one in self.processes), return_exceptions=True)
        await self.kafka.close()
        await self.clickhouse.close()
        with contextlib.suppress(ProcessLookupError):
            if self.broker.pid:
                os.kill(self.broker.pid, signal.SIGCONT)
        await asyncio.to_thread(self.broker.kill)
        await asyncio.to_thread(self.server.stop, signal.SIGKILL)

    async def away(self, for_s: float) -> None:
        """Kill ClickHouse, and start it again after a while, at another port behind the proxy."""
        await asyncio.to_thread(self.server.stop, signal.SIGKILL)
        await asyncio.sleep(for_s)
        self.server.port = self.clickhouse.upstream = broker.free_pair()
        await asyncio.to_thread(self.server.start)

    async def fault_of_broker(self, how: str) -> None:
        """Kill, stop or freeze the broker; it is there again on return."""
        if how == "freeze":
            os.kill(self.broker.pid, signal.SIGSTOP)
            try:
                await asyncio.sleep(self.plan.frozen_s)
            finally:
                os.kill(self.broker.pid, signal.SIGCONT)
            return
        await asyncio.to_thread(self.broker.kill, _SIGNALS[how])
        await asyncio.sleep(self.dice.uniform(0, 3))
        await asyncio.to_thread(self.broker.start)

    def store(self, database: str = "roamlog") -> ClickHouseStore:
        """Return the tables, past the proxy."""
        settings = Scale(
            clickhouse=f"http://127.0.0.1:{self.server.port}",
            clickhouse_user=USER,
            clickhouse_password=PASSWORD,
            clickhouse_database=database,
        )
        return ClickHouseStore.http(server_at(settings))

    def _supervised(self, name: str, *arguments: str) -> Supervised:
        return Supervised(name, self.environment, self.folder, *arguments)


class Sharing:
    """Faults that may come together, and some that have to be alone."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._places = asyncio.Semaphore(most)
        self._next = asyncio.Lock()

    @asynccontextmanager
    async def place(self, *, alone: bool) -> AsyncIterator[None]:
        """Hold one place, or all of them."""
        wanted = self._most if alone else 1
        async with self._next:
            for _ in range(wanted):
                await self._places.acquire()
        try:
            yield
        finally:
            for _ in range(wanted):
                self._places.release()


class Chaos:
    """One run: load, faults, and what came of it."""

    def __init__(self, plan: Plan, ground: Ground) -> None:
        self.plan = plan
        self.ground = ground
        self.done: Counter[str] = Counter()
        self.cut = 0
        self.stalls_s: list[float] = []
        self.stopped_s: list[float] = []
        self.codes: list[str] = []
        self.reads: Counter[str] = Counter()
        self._sharing = Sharing(plan.at_once)
        self._not_before: dict[str, float] = {}

    async def run(self) -> tuple[list[Pusher], list[str]]:
        """Push and break things until all faults of the plan are done, or the time is over; returns what was not done."""
        begin = history.begin_of_run()
        urls, dice = self.ground.urls, self.ground.dice
        pushers = [Pusher(f"p{number}", urls, begin, random.Random(dice.random())) for number in range(self.plan.pushers)]
        stop = asyncio.Event()
        timeout = aiohttp.ClientTimeout(total=history.ANSWERED_WITHIN_S)
        left = list(self.plan.faults)
        self.ground.dice.shuffle(left)
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as client,
            asyncio.TaskGroup() as tasks,
        ):
            for pusher in pushers:
                tasks.create_task(pusher.run(client, stop))
            tasks.create_task(self._read(client, stop))
            try:
                async with asyncio.timeout(self.plan.bound_s), asyncio.TaskGroup() as breaking:
                    for _ in range(2 * self.plan.at_once):  # who waits for a process to come up breaks nothing meanwhile
                        breaking.create_task(self._break(left))
            except TimeoutError:
                pass
            finally:
                stop.set()
        return pushers, left

    async def _break(self, left: list[str]) -> None:
        while left:
            await asyncio.sleep(self.ground.dice.uniform(0, self.plan.pause_s))
            fault = self._next(left)
            if fault is None:
                continue
            left.remove(fault)
            target = _target(fault)
            self._not_before[target] = math.inf
            try:
                async with self._sharing.place(alone=fault == "kill streams"):
                    await self._do(fault)
                if target in {"ingest", "streams", "api"}:
                    await asyncio.gather(*(one.up() for one in self.ground.processes if one.name.startswith(target)))
            except asyncio.CancelledError:
                left.append(fault)
                raise
            # Else ClickHouse would be away for minutes, and little would be pushed, folded and broken meanwhile.
            rest_s = self.plan.away_s if target == "clickhouse" else 0.0
            self._not_before[target] = time.monotonic() + rest_s
            self.done[fault] += 1

    def _next(self, left: Sequence[str]) -> str | None:
        """Return a fault of something that is not broken now, None where there is none; the longest ones first."""
        now = time.monotonic()
        ready = [fault for fault in left if self._not_before.get(_target(fault), 0.0) <= now]
        return "clickhouse away" if "clickhouse away" in ready else next(iter(ready), None)

    async def _do(self, fault: str) -> None:
        ground, plan, dice = self.ground, self.plan, self.ground.dice
        match fault.split():
            case ["cut", where]:
                between = ground.kafka if where == "kafka" else ground.clickhouse
                self.cut += between.cut(dice.uniform(0.3, 1.0))
            case ["delay", where]:
                between = ground.kafka if where == "kafka" else ground.clickhouse
                await between.delay(dice.uniform(0.05, 0.5), dice.uniform(2, 6))
            case ["clickhouse", "away"]:
                await ground.away(plan.away_s)
            case ["a", "worker", "joins"]:
                ground.join()
            case ["a", "worker", "leaves"]:
                if len(ground.workers) < 3:  # one joins first, which counts for itself elsewhere
                    await ground.join().up()
                one = dice.choice(ground.workers)
                await one.running()
                self._ended("streams", await self._timed(ground.leave(one)))
            case [how, "broker"]:
                await ground.fault_of_broker(how)
            case [how, part]:
                await self._process(how, part)

    async def _process(self, how: str, part: str) -> None:
        ground = self.ground
        one = ground.dice.choice({"ingest": ground.ingests, "streams": ground.workers, "api": ground.apis}[part])
        if how == "freeze":
            await one.freeze(self.plan.frozen_s)
        elif how == "terminate":
            await one.running()
            self._ended(part, await self._timed(one.end(signal.SIGTERM)))
        elif part == "streams":
            await self._stall(one)
        else:
            await one.end(signal.SIGKILL)

    def _ended(self, part: str, code: int) -> None:
        if code:
            self.codes.append(f"{part} ended with {code} after SIGTERM")

    async def _timed(self, ending: Awaitable[int]) -> int:
        began = time.monotonic()
        code = await ending
        self.stopped_s.append(round(time.monotonic() - began, 2))
        return code

    async def _stall(self, one: Supervised) -> None:
        """Kill a worker while all is well, and note how long the partition that stood still longest did."""
        await self._all_move()
        await one.end(signal.SIGKILL)
        died = time.monotonic()
        await asyncio.sleep(0.3)  # what the dead one had sent to ClickHouse
        self.stalls_s.append(round(await self._all_move() - died, 2))

    async def _all_move(self) -> float:
        """Return when every partition that is pushed to had come further than it was at the call."""
        store = await asyncio.to_thread(self.ground.store)
        until = time.monotonic() + SOON_S
        try:
            first = await _positions(store)
            while True:
                await asyncio.sleep(_LOOK_S)
                now = await _positions(store)
                still = [place for place, offset in first.items() if now[place] <= offset]
                if first and not still:
                    return time.monotonic()
                first = first or now  # nothing was folded yet
                said = {one.name: one.said()[-500:] for one in self.ground.workers}
                assert time.monotonic() < until, f"{still or 'all'} stand still; the workers said {said}"
        finally:
            await store.close()

    async def _read(self, client: aiohttp.ClientSession, stop: asyncio.Event) -> None:
        """Ask the api for lists as a reader would, and count how it answers."""
        while not stop.is_set():
            try:
                module = self.ground.dice.choice(("sessions", "cdrs", "locations"))
                async with client.get(f"{self.ground.api}{SENDER}/{module}?limit=50", headers=HEADERS) as answer:
                    await answer.read()
                    self.reads[str(answer.status)] += 1
            except (aiohttp.ClientError, OSError, TimeoutError) as fault:
                self.reads[type(fault).__name__] += 1
            await asyncio.sleep(0.2)


def _target(fault: str) -> str:
    """Return what a fault is one of: two at once are for different ones."""
    if fault in CONNECTION_FAULTS:
        return fault  # which breaks nothing that another could not break as well
    if fault.startswith("a worker"):
        return "streams"
    return "clickhouse" if fault == "clickhouse away" else fault.partition(" ")[2]


async def _positions(store: ClickHouseStore) -> dict[tuple[object, object], int]:
    sql = (
        "SELECT topic, of_partition, min(next_offset) FROM positions"
        " WHERE projection_name IN ('sessions', 'locations') AND topic IN ({one:String}, {other:String})"
        " GROUP BY ALL HAVING min(next_offset) > 0"
    )
    rows = await store.query(sql, {"one": CHARGING, "other": LOCATIONS})
    return {(topic, partition): int(str(offset)) for topic, partition, offset in rows}


async def run(plan: Plan, folder: Path) -> dict[str, Any]:
    """Return the figures of a run: what the JSON line says."""
    many_files()
    ground = Ground(plan, folder)
    began = time.monotonic()
    try:
        await ground.start()
        chaos = Chaos(plan, ground)
        pushers, left = await chaos.run()
        broken_s = time.monotonic() - began
        if not ground.broker.pid:  # the time was over in the middle of a fault
            await asyncio.to_thread(ground.broker.start)
        await asyncio.gather(*(one.up(SOON_S) for one in ground.processes))
        verdict = await _verdict(ground, pushers)
        wrong = verdict.wrong + await _end(ground)
    finally:
        await ground.end()
    everyone = [*ground.processes, *ground.retired]
    defects = [f"{one.name}: {line[:300]}" for one in everyone for line in one.said().splitlines() if "a defect of roamlog" in line]
    tracebacks = sum(one.said().count("Traceback (most recent call last)") for one in everyone)
    stalls = sorted(chaos.stalls_s)
    statuses: Counter[str] = sum((pusher.statuses for pusher in pushers), Counter())
    return {
        "seed": plan.seed,
        "seconds": round(time.monotonic() - began, 1),
        "seconds_under_faults": round(broken_s, 1),
        "process_or_broker_faults": sum(chaos.done[one] for one in PROCESS_FAULTS),
        "connection_faults": sum(chaos.done[one] for one in CONNECTION_FAULTS),
        "connections_cut": chaos.cut,
        "faults": {one: chaos.done[one] for one in (*PROCESS_FAULTS, *CONNECTION_FAULTS)},
        "not_done": sorted(left),
        "pushed": verdict.pushed,
        "answered": verdict.answered,
        "unknown": verdict.unknown,
        "unknown_that_stand": verdict.unknown_that_stand,
        "records": verdict.records,
        "repeated_records": verdict.repeated_records,
        "push_answers": dict(statuses.most_common()),
        "list_answers": dict(chaos.reads.most_common()),
        "stalls_s": stalls,
        "stall_median_s": statistics.median(stalls) if stalls else None,
        "stall_longest_s": stalls[-1] if stalls else None,
        "slowest_stop_s": max(chaos.stopped_s, default=None),
        # What starts while its neighbours are away ends with a sentence, and is started again.
        "starts_in_vain": sum("which was starting" in sentence for one in everyone for sentence in one.fell),
        "fell": [sentence for one in everyone for sentence in one.fell if "which was starting" not in sentence],
        "bad_exits": chaos.codes,
        "defects": defects,
        "tracebacks_of_libraries": tracebacks,
        "lost": len(verdict.lost),
        "wrong": len(wrong),
        "sentences": [*verdict.lost[:10], *wrong[:10]],
    }


async def _verdict(ground: Ground, pushers: list[Pusher]) -> Verdict:
    """Wait until what the log holds is folded and listed, and compare."""
    log = await _patiently(lambda: KafkaLog.open(Cluster(servers=ground.environment["ROAMLOG_KAFKA"])))
    try:
        events = await history.events_of(log)
    finally:
        await log.close()
    until = time.monotonic() + SOON_S
    async with aiohttp.ClientSession() as client:
        while True:
            try:
                found = await history.served(client, ground.api)
                verdict = history.judged(pushers, events, found)
                if time.monotonic() > until or not (verdict.lost or verdict.wrong):
                    return verdict
            except aiohttp.ClientError:
                if time.monotonic() > until:
                    raise
            await asyncio.sleep(0.5)


async def _end(ground: Ground) -> list[str]:
    """End the workers and return what is wrong in the tables that they leave."""
    for one in (*ground.workers, *ground.apis, *ground.ingests):
        await one.retire()
    log = await KafkaLog.open(Cluster(servers=ground.environment["ROAMLOG_KAFKA"]))
    store, other = await asyncio.to_thread(ground.store), await asyncio.to_thread(ground.store, "refolded")
    try:
        return await history.tables_judged(log, store, other, await history.events_of(log))
    finally:
        await log.close()
        await store.close()
        await other.close()


async def _patiently(call: Callable[[], Awaitable[Any]]) -> Any:
    until = time.monotonic() + SOON_S
    while True:
        try:
            return await call()
        except (LogUnavailable, StoreUnavailable):
            if time.monotonic() > until:
                raise
            await asyncio.sleep(0.5)


def whole(seed: int, times: int = TIMES) -> Plan:
    """Return the plan of `make chaos`: every fault so many times."""
    return Plan(seed, (*PROCESS_FAULTS, *CONNECTION_FAULTS) * times)


def main() -> int:
    """Run it and print the line; 1 where anything is lost or wrong, or was not done."""
    seed = int(os.environ.get("ROAMLOG_CHAOS_SEED", "20261121"))
    broker.libraries()
    for stopping in (signal.SIGINT, signal.SIGTERM):  # also where it runs in the background: what it has started ends with it
        signal.signal(stopping, signal.default_int_handler)
    folder = Path(tempfile.mkdtemp(prefix="roamlog-chaos-"))
    print(f"logs of all processes: {folder}", flush=True)  # noqa: T201
    times = int(os.environ.get("ROAMLOG_CHAOS_TIMES", str(TIMES)))
    told = asyncio.run(run(whole(seed, times), folder))
    failed = told["lost"] or told["wrong"] or told["defects"] or told["not_done"]
    if not failed and not told["fell"]:
        shutil.rmtree(folder, ignore_errors=True)
    line = msgspec.json.encode(told).decode()
    if times == TIMES and not told["not_done"]:
        FIGURES.write_text(line + "\n")
    print(line, flush=True)  # noqa: T201
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
