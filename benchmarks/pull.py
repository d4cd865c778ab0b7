"""`pull`: pages of 1,000 Sessions from a local Sender into durable events; then a hundred partners at once."""

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import msgspec

from benchmarks.frame import ROOT, Measure, Options, Ratio, Result, Unavailable, median_and_spread
from benchmarks.servers import Server, drained_s, free_port, get, peak_rss_mib, roamlog, rss_mib, serving

PAGE: Final = 1_000
PARTNERS: Final = 100
REPEATS: Final = 5
SETTINGS: Final = {"ROAMLOG_ALLOW_PRIVATE_PARTNERS": "1", "ROAMLOG_PULL_EVERY_S": "0"}


async def run(options: Options) -> Result:
    """Crawl 200 pages (quick: 20) with the projector paused and running, twice, and 100 lists of 5 pages. Raises Unavailable."""
    pages = options.pick(200, 20)
    async with _sender(options.scratch, pages) as sender:
        decoded = await _decoded_a_second(sender, min(pages, 20))
        async with _house(options.scratch / "paused", ROAMLOG_PROJECTOR="paused") as ours:
            paused = await _crawl(ours, sender, pages, "AAA")
        async with _house(options.scratch / "running") as ours:
            running = await _crawl(ours, sender, pages, "AAA")
            drained = await drained_s(ours.server)
            again = await _again(ours, pages, "AAA")
    async with _sender(options.scratch, 5) as sender, _house(options.scratch / "many", ROAMLOG_PULL_AT_ONCE=str(PARTNERS)) as ours:
        names = [f"{first}{second}P" for first in "ABCDEFGHIJ" for second in "0123456789"]
        for name in names:
            await ours.ask("partner-register", name=name, url=f"{_url(sender)}/{name}/versions", token="token-a")
        before = rss_mib(ours.server.pid)
        begun = time.perf_counter()
        await asyncio.gather(*(ours.crawl(name, 5 * PAGE) for name in names))
        many_s = time.perf_counter() - begun
        peak = peak_rss_mib(ours.server.pid)
        await drained_s(ours.server)
        folded = peak_rss_mib(ours.server.pid)
    return Result(
        ratios=[
            Ratio("pull / msgspec decoding the pages, projector paused", paused / decoded, 0.1),
            Ratio("pull / msgspec decoding the pages, projector running", running / decoded),
            Ratio("objects/s, projector paused", paused, 10_000),
            Ratio(f"{PARTNERS} partners at once, peak memory in MiB", peak, 1024, "<="),
        ],
        measures=[
            Measure("msgspec decoding the pages, fractions as Decimal", decoded, "objects/s"),
            Measure("pull, projector paused", paused, "objects/s"),
            Measure("pull, projector running", running, "objects/s"),
            Measure("folded after the crawl", drained, "s"),
            Measure("pull, everything known already", again, "objects/s"),
            Measure(f"{PARTNERS} partners at once", PARTNERS * 5 * PAGE / many_s, "objects/s"),
            Measure(f"{PARTNERS} partners: memory before", before, "MiB"),
            Measure(f"{PARTNERS} partners: peak memory once all is folded, too", folded, "MiB"),
        ],
        remarks=[f"{pages * PAGE:,} Sessions of three periods on pages of {PAGE:,}; the Sender shares the machine"],
    )


class _House:
    """A roamlog and its socket."""

    def __init__(self, server: Server, data: Path) -> None:
        self.server = server
        self._socket = str(data / "serve.sock")

    async def ask(self, operation: str, **asked: Any) -> Any:
        """Return what an operation found. Raises Unavailable with its sentence."""
        reader, writer = await asyncio.open_unix_connection(self._socket, limit=1 << 24)
        with contextlib.closing(writer):
            body = msgspec.json.encode(asked)
            writer.write(
                f"POST /{operation} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {len(body)}\r\n\r\n".encode()
            )
            writer.write(body)
            answer = await reader.read(-1)
        for line in answer.splitlines():
            if line.startswith(b'{"failure"'):
                raise Unavailable(f"{operation}: {msgspec.json.decode(line)['failure']}")
            if line.startswith(b'{"found"'):
                return msgspec.json.decode(line)["found"]
        raise Unavailable(f"{operation} answers {answer[:300]!r}")

    async def crawl(self, name: str, objects: int) -> dict[str, Any]:
        """Crawl a partner's list, which must give so many objects."""
        (found,) = (await self.ask("pull-run", name=name))["crawls"]
        if found["status"] != "complete" or found["objects"] != objects:
            raise Unavailable(f"the crawl of {name} gave {found}")
        return dict(found)


async def _crawl(ours: _House, sender: Server, pages: int, name: str) -> float:
    """Register a partner and crawl it; return objects per second."""
    await ours.ask("partner-register", name=name, url=f"{_url(sender)}/{name}/versions", token="token-a")
    begun = time.perf_counter()
    found = await ours.crawl(name, pages * PAGE)
    taken = time.perf_counter() - begun
    if found["appended"] != pages * PAGE:
        raise Unavailable(f"not all were appended: {found}")
    return pages * PAGE / taken


async def _again(ours: _House, pages: int, name: str) -> float:
    begun = time.perf_counter()
    found = await ours.crawl(name, pages * PAGE)
    taken = time.perf_counter() - begun
    if found["unchanged"] != pages * PAGE:
        raise Unavailable(f"not all were known: {found}")
    return pages * PAGE / taken


async def _decoded_a_second(sender: Server, pages: int) -> float:
    """Return how many of the objects msgspec decodes a second, digits kept as they are."""
    bodies = [(await get(sender.port, f"/AAA/sessions?offset={number * PAGE}"))[1] for number in range(pages)]
    decoder = msgspec.json.Decoder(float_hook=Decimal)
    rates = []
    for _ in range(REPEATS):
        begun = time.perf_counter()
        for body in bodies:
            decoder.decode(body)
        rates.append(pages * PAGE / (time.perf_counter() - begun))
    return median_and_spread(rates)[0]


@contextlib.asynccontextmanager
async def _sender(scratch: Path, pages: int) -> AsyncIterator[Server]:
    port = free_port()
    command = [
        *(sys.executable, "-m", "uvicorn", "benchmarks.pages_app:app", "--app-dir", str(ROOT), "--host", "127.0.0.1"),
        *(
            "--port",
            str(port),
            "--loop",
            "uvloop",
            "--http",
            "httptools",
            "--no-access-log",
            "--lifespan",
            "off",
            "--log-level",
            "error",
        ),
    ]
    env = {"PAGES": str(pages), "PAGE": str(PAGE)}
    async with serving("the Sender", command, port, log=scratch / "sender.log", env=env) as server:
        await get(port, "/AAA/sessions?offset=0")
        yield server


@contextlib.asynccontextmanager
async def _house(data: Path, **settings: str) -> AsyncIterator[_House]:
    port = free_port()
    command = roamlog("serve", "--data", str(data), "--port", str(port))
    async with serving("roamlog", command, port, log=data.with_suffix(".log"), env=SETTINGS | settings) as server:
        while True:
            head, _ = await get(port, "/health")
            if b" 200 " in head and (data / "serve.sock").exists():
                break
            await asyncio.sleep(0.05)
        yield _House(server, data)


def _url(sender: Server) -> str:
    return f"http://127.0.0.1:{sender.port}"
