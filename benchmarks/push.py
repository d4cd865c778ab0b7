"""`push` and `push-status`: writes over HTTP, durable before the answer, beside empty routes and two libraries with a dict.

`push` puts Sessions; `push-status` patches the status of EVSEs whose Locations everybody was sent before. All contenders
run at once and idle in turn: a round loads one after the other, so that a slow minute of the machine falls on all of them.
Figures are medians over the rounds.
"""

import contextlib
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple, TypeAlias

from msgspec import Struct

from benchmarks import sessions
from benchmarks.contents import Name
from benchmarks.environments import APPS, EXTRAWEST, PY_OCPI, Peer, python_of
from benchmarks.frame import ROOT, Measure, Options, Ratio, Result, median_and_spread
from benchmarks.http_load import Load, Loaded, load
from benchmarks.servers import Server, drained_s, free_port, peak_rss_mib, roamlog, run_command, serving, uvicorn

CONNECTIONS: Final = 64
ACCEPTED: Final = '"status_code":1000'
OWNER: Final = "/".join(sessions.PARTY)
OURS: Final = "/ocpi/2.2.1/receiver"
THEIRS: Final = "/ocpi/emsp/2.2.1"
MEMORY_GOAL_MIB: Final = 700
LAG_GOAL_S: Final = 5.0
START_GOAL_S: Final = 4.0


class Work(NamedTuple):
    """What is sent, below which path of every contender, and what has to be sent before."""

    content: Name
    module: str
    known: Name | None = None


SESSIONS: Final = Work("session", "sessions")
STATUSES: Final = Work("evse status", "locations", known="location")


class Contender(Struct, frozen=True):
    """Who is loaded, where and with what."""

    server: Server
    path: str
    content: Name
    expect: str = ACCEPTED


class Started(NamedTuple):
    """How a contender's server is started."""

    command: list[str]
    port: int
    env: Mapping[str, str] = MappingProxyType({})


Start: TypeAlias = Callable[[str, Path, Work], Awaitable[Started]]


class Round(Struct, frozen=True):
    """One contender's turn: what the load generator saw, processor microseconds a push, and the lag when it ended:
    the seconds until the last push was in the tables."""

    loaded: Loaded
    cpu_us: float
    lag_s: float


async def run(options: Options) -> Result:
    """Put Sessions. Raises Unavailable."""
    return await _run(options, SESSIONS)


async def run_statuses(options: Options) -> Result:
    """Patch the status of EVSEs. Raises Unavailable."""
    return await _run(options, STATUSES)


async def _run(options: Options, work: Work) -> Result:
    """Load every contender in `rounds` rounds of `seconds`, after a warm-up each. Raises Unavailable."""
    rounds, seconds = options.pick(5, 2), options.pick(8, 2)
    async with contextlib.AsyncExitStack() as stack:
        contenders: dict[str, Contender] = {}

        async def enter(name: str, base: str, start: Start) -> None:
            folder = options.scratch / name.replace(" ", "-")
            folder.mkdir()
            started = await start(name, folder, work)
            running = serving(name, started.command, started.port, log=folder / "log", env=started.env)
            server = await stack.enter_async_context(running)
            path = f"{base}/{work.module}/{OWNER}"
            contenders[name] = Contender(server, path, work.content, ACCEPTED if base else "")
            if work.known and start is not _roamlog and base:
                await _make_known(server, path, work.known)

        await enter(EMPTY, "", empty_route("app"))
        await enter(EMPTY_ON_FASTAPI, "", empty_route("on_fastapi"))
        await enter(PAUSED, OURS, _roamlog)
        await enter(RUNNING, OURS, _roamlog)
        await enter(PY_OCPI.name, THEIRS, _peer(PY_OCPI))
        await enter(EXTRAWEST.name, THEIRS, _peer(EXTRAWEST))

        first_push_s = await _first_push(contenders[RUNNING])
        seen: dict[str, list[Round]] = {name: [] for name in contenders}
        for turn in range(rounds + 1):
            for name, contender in contenders.items():
                warm_up = turn == 0
                one = await loaded_round(contender, 1 + turn * 1000, min(seconds, 3) if warm_up else seconds)
                if not warm_up:
                    seen[name].append(one)
        memory = {name: peak_rss_mib(contender.server.pid) for name, contender in contenders.items()}
        started_s = contenders[RUNNING].server.started_s
    return _result(seen, memory, started_s, first_push_s, f"{rounds} rounds of {seconds} s, {CONNECTIONS} connections")


async def _make_known(server: Server, path: str, known: Name) -> None:
    await load(Load(port=server.port, path=path, seconds=0, turn=0, content=known, once=True, expect=ACCEPTED))


EMPTY: Final = "empty route"
EMPTY_ON_FASTAPI: Final = "empty route on a FastAPI app"
PAUSED: Final = "roamlog, projector paused"
RUNNING: Final = "roamlog, projector running"


def empty_route(app: str) -> Start:
    """Return how to start the route that only reads a body."""

    async def start(_name: str, _folder: Path, _work: Work) -> Started:
        port = free_port()
        return Started(uvicorn(Path(sys.executable), f"benchmarks.empty_app:{app}", ROOT, port), port)

    return start


async def _roamlog(name: str, folder: Path, work: Work) -> Started:
    port, data = free_port(), str(folder / "data")
    party = "*".join(sessions.PARTY)
    await run_command(
        *roamlog("partner", "add", "bench", "--party", party, "--role", "CPO", "--token", sessions.TOKEN, "--data", data)
    )
    command = roamlog("serve", "--data", data, "--port", str(port))
    if work.known:
        async with serving(name, command, port, log=folder / "log-before") as server:
            await _make_known(server, f"{OURS}/{work.module}/{OWNER}", work.known)
            await drained_s(server)  # a paused projector would never get to know them
    return Started(command, port, {"ROAMLOG_PROJECTOR": "paused"} if name == PAUSED else {})


def _peer(peer: Peer) -> Start:
    async def start(_name: str, _folder: Path, _work: Work) -> Started:
        port = free_port()
        return Started(uvicorn(await python_of(peer), peer.app, APPS, port), port, {"OCPI_HOST": f"127.0.0.1:{port}"})

    return start


async def loaded_round(contender: Contender, turn: int, seconds: float) -> Round:
    """Load one contender; the one that folds is waited for."""
    server = contender.server
    before = server.cpu_s()
    loaded = await load(
        Load(
            port=server.port,
            path=contender.path,
            seconds=seconds,
            turn=turn,
            content=contender.content,
            connections=CONNECTIONS,
            expect=contender.expect,
        )
    )
    cpu_us = (server.cpu_s() - before) / max(loaded.answers, 1) * 1e6
    # Waiting for it also keeps one contender's work from being the next one's noise.
    return Round(loaded, cpu_us, await drained_s(server) if server.name == RUNNING else 0.0)


async def _first_push(contender: Contender) -> float:
    """Return the seconds from the start of the server to its first accepted push (it was asked at once)."""
    begun = time.perf_counter()
    await load(
        Load(
            port=contender.server.port,
            path=contender.path,
            seconds=0,
            turn=0,
            content=contender.content,
            connections=1,
            expect=contender.expect,
        )
    )
    return contender.server.started_s + time.perf_counter() - begun


def _result(
    seen: Mapping[str, list[Round]], memory: Mapping[str, float], started_s: float, first_push_s: float, how: str
) -> Result:
    rate = {name: median_and_spread([one.loaded.rate for one in rounds])[0] for name, rounds in seen.items()}
    cpu = {name: median_and_spread([one.cpu_us for one in rounds])[0] for name, rounds in seen.items()}
    measures = []
    for name, rounds in seen.items():
        _, spread = median_and_spread([one.loaded.rate for one in rounds])
        measures += [
            Measure(f"{name}: pushes", rate[name], "/s"),
            Measure(f"{name}: p99", median_and_spread([one.loaded.p99_ms for one in rounds])[0], "ms"),
            Measure(f"{name}: processor a push", cpu[name], "us"),
            Measure(f"{name}: peak memory", memory[name], "MiB"),
            Measure(f"{name}: farthest round from the median", 100 * spread, "%"),
        ]
    measures.append(Measure("roamlog: listening after", started_s, "s"))
    lag = max(one.lag_s for one in seen[RUNNING])
    return Result(
        measures=measures,
        ratios=[
            Ratio("projector paused / empty route", rate[PAUSED] / rate[EMPTY], 0.5),
            Ratio("projector running / empty route", rate[RUNNING] / rate[EMPTY], 0.25),
            Ratio("projector paused / empty route on a FastAPI app", rate[PAUSED] / rate[EMPTY_ON_FASTAPI]),
            Ratio("projector running / empty route on a FastAPI app", rate[RUNNING] / rate[EMPTY_ON_FASTAPI]),
            Ratio("processor time, empty route / projector paused", cpu[EMPTY] / cpu[PAUSED]),
            Ratio("processor time, empty route / projector running", cpu[EMPTY] / cpu[RUNNING]),
            Ratio("lag when the load ends, s", lag, LAG_GOAL_S, "<="),
            Ratio("projector paused / py-ocpi", rate[PAUSED] / rate[PY_OCPI.name], 6),
            Ratio("projector running / py-ocpi", rate[RUNNING] / rate[PY_OCPI.name]),
            Ratio("projector paused / extrawest-ocpi", rate[PAUSED] / rate[EXTRAWEST.name], 15),
            Ratio("projector running / extrawest-ocpi", rate[RUNNING] / rate[EXTRAWEST.name]),
            Ratio("memory of serve under load, MiB", memory[RUNNING], MEMORY_GOAL_MIB, "<="),
            Ratio("first push accepted after the start, s", first_push_s, START_GOAL_S, "<="),
        ],
        remarks=[how, "the load generator shares the machine's cores with the server"],
    )
