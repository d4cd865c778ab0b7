"""The demo itself: serve as a process of its own, platforms around it, and a check of everything that it gives back."""

import asyncio
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import aiohttp
import msgspec
from msgspec import Struct

from roamlog.demo.card import cards, questions
from roamlog.demo.charging import Object
from roamlog.demo.checker import named
from roamlog.demo.checks import READ_WITHIN_S, Check, authorized, crawled, for_provider, priced, read_back
from roamlog.demo.figures import Times, figures
from roamlog.demo.neighbours import NEWCOMER, NeighbourPlatform, linked, neighbours, read_by_all, read_in_2_3_0
from roamlog.demo.neighbours import told as told_by
from roamlog.demo.offer import offer
from roamlog.demo.place import places
from roamlog.demo.platforms import OperatorPlatform, Platform, ProviderPlatform, Script
from roamlog.demo.story import stories
from roamlog.demo.world import Operator, World, world
from roamlog.errors import Failure

STARTED_WITHIN_S: Final = 30
STOPPED_WITHIN_S: Final = 15

QUESTIONS: Final = {
    "sessions/by-status": "",
    "energy": "",
    "ledger": "",
    "findings": "",
    "evses/status": "?by=country",
    "utilisation": "",
    "charging": "",
    "cdrs/revenue": "",
    "cdrs/lateness": "",
}
"""What the demo asks of the analytics, and how it is narrowed."""

Told = Callable[[str, int, int], None]
"""Called with what happens now, and how much of how much is done."""

_decode: Final = msgspec.json.Decoder(float_hook=Decimal).decode


class Outcome(Struct):
    """All that the demo did and found."""

    world: World
    platforms: Sequence[Platform]
    started_s: float
    pushed_s: float
    folded_s: float
    stopped_s: float
    pages: dict[str, int]
    analytics: dict[str, list[Object]]
    refusals: list[Object]
    verified: str
    checks: list[Check]


class Server:
    """A `roamlog serve` on a folder of its own and a free port."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.url = ""
        self.operator_token = ""
        self._process: asyncio.subprocess.Process | None = None
        self._said = data.parent / "serve.log"

    async def start(self) -> float:
        """Return the seconds until it accepted pushes; raises Failure with its last words."""
        began = time.perf_counter()
        with self._said.open("wb") as said:
            command = _command("serve", "--data", str(self.data), "--host", "127.0.0.1", "--port", "0", "--json")
            self._process = await asyncio.create_subprocess_exec(
                *command, stdout=asyncio.subprocess.PIPE, stderr=said, env=_environment()
            )
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(STARTED_WITHIN_S):
                banner = await self._process.stdout.readline()
        except TimeoutError:
            banner = b""
        if not banner:
            raise Failure(f"serve did not start: {self._last_words()}")
        at = _decode(banner)
        self.url, self.operator_token = at["url"], at["operator_token"]
        return time.perf_counter() - began

    async def stop(self) -> float:
        """Ask it to stop and return the seconds that it took; raises Failure where it does not end with 0."""
        began = time.perf_counter()
        process = self._process
        if process is None or process.returncode is not None:
            raise Failure(f"serve ended by itself: {self._last_words()}")
        process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOPPED_WITHIN_S):
                code = await process.wait()
        except TimeoutError:
            raise Failure(f"serve did not stop within {STOPPED_WITHIN_S} s") from None
        if code != 0:
            raise Failure(f"serve ended with exit code {code}: {self._last_words()}")
        return time.perf_counter() - began

    def kill(self) -> None:
        """End it at once if it still runs."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    def _last_words(self) -> str:
        lines = self._said.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"


async def play(sessions: int, seed: int, told: Told) -> Outcome:
    """Run the demo and return what came of it; raises Failure where it could not be run to its end."""
    with tempfile.TemporaryDirectory(prefix="roamlog-demo-") as folder:
        server = Server(Path(folder) / "data")
        try:
            return await _play(server, sessions, seed, told)
        finally:
            server.kill()


async def _play(server: Server, sessions: int, seed: int, told: Told) -> Outcome:
    made, now = world(seed), datetime.now(UTC).replace(microsecond=0)
    told("starting roamlog serve", 0, 1)
    shares = (sessions - sessions * 2 // 5, sessions * 2 // 5)
    # The platforms write their stories while the server starts.
    writing = asyncio.gather(
        *(
            asyncio.to_thread(_written, made, operator, share, seed, now)
            for operator, share in zip(made.operators, shares, strict=True)
        )
    )
    started_s = await server.start()
    written = await writing
    told("connecting the partners", 0, 1)
    scripts = [told_by(one, seed, now) for one in neighbours(seed)]
    tokens = await asyncio.gather(
        *(_connect(server, o.name, o.party, "CPO") for o in made.operators),
        _connect(server, made.provider.name, made.provider.party, "EMSP"),
        *(
            _connect(server, one.neighbour.operator.name, one.neighbour.operator.party, "CPO", one.neighbour.version)
            for one in scripts
        ),
        _connect(server, NEWCOMER.name, NEWCOMER.party, "EMSP", "2.3.0"),
    )
    operators = [
        OperatorPlatform(operator, token, server.url, own)
        for operator, token, own in zip(made.operators, tokens[:2], written, strict=True)
    ]
    issued = list(cards(made, seed, now))
    provider = ProviderPlatform(made.provider, tokens[2], server.url, issued)
    beside = [NeighbourPlatform(token, server.url, script) for token, script in zip(tokens[3:], scripts, strict=False)]
    newcomer = Platform(tokens[-1], server.url, encodes_token=True, version="2.3.0")
    platforms: list[OperatorPlatform | ProviderPlatform | NeighbourPlatform] = [*operators, provider, *beside]

    requests = sum(platform.requests for platform in platforms)
    done = 0

    def pushed() -> None:
        nonlocal done
        done += 1
        told("pushing Tariffs, Tokens, Locations, Sessions and CDRs", done, requests)

    began, pushing_from = time.perf_counter(), datetime.now(UTC)
    await asyncio.gather(*(platform.run(pushed) for platform in platforms))
    pushed_s = time.perf_counter() - began
    pushed_between = (pushing_from, datetime.now(UTC))
    told("waiting for the tables", 0, 1)
    began = time.perf_counter()
    await _folded(server)
    folded_s = time.perf_counter() - began

    told("asking whether drivers may charge", 0, 1)
    asked = [list(questions(operator, made, issued, seed)) for operator in made.operators]
    infos = await asyncio.gather(*(operator.ask(own) for operator, own in zip(operators, asked, strict=True)))
    await _folded(server)

    # Nothing comes any more: the log is folded anew while everything is read back.
    verifying = asyncio.create_task(_run("verify", "--data", str(server.data)))
    listing = asyncio.create_task(_run("rejected", "list", "--limit", "10000", "--json", "--data", str(server.data)))
    surprises = [one for platform in platforms for one in platform.surprises]
    checks = [Check("every request was answered as its version of OCPI prescribes", surprises)]
    checks.append(authorized([one for own in asked for one in own], [info for own in infos for info in own]))
    told("reading back", 0, 4)
    checks += [await read_back(operators), await read_by_all(beside)]
    told("reading back", 1, 4)
    analytics = {path: await _analytics(server, path + narrowed) for path, narrowed in QUESTIONS.items()}
    parties = {operator.party for operator in made.operators}
    books = {path: [row for row in rows if row.get("party", "") in {*parties, ""}] for path, rows in analytics.items()}
    checks += [*figures(operators, books, Times(now, *pushed_between)), linked(scripts, analytics["ledger"])]
    told("reading back", 2, 4)
    refusals = _decode(await listing)
    refused = sum(platform.refused for platform in platforms)
    kept = refusals["total"]
    checks.append(
        Check(f"all {refused:,} refused requests are kept with their reason", [] if kept == refused else [f"{kept:,} are kept"])
    )
    told("reading back", 3, 4)
    pages: dict[str, int] = {}
    served: dict[str, list[Object]] = {}
    for module in ("locations", "tariffs", "sessions", "cdrs"):
        believed = for_provider(operators, module, made.provider)
        extra = {"locations": [one for script in scripts for one in script.locations]}
        extra["tariffs"] = [one for script in scripts for one in script.tariffs]
        check, served[module] = await crawled(provider, "the eMSP's", module, believed, pages, beside=extra.get(module, ()))
        checks.append(check)
    in_2_3_0 = await newcomer.crawl("locations")
    checks.append(read_in_2_3_0(scripts, in_2_3_0.objects, len(for_provider(operators, "locations", made.provider))))
    own_tokens = {named(card.token): card.token for card in issued}
    check, _ = await crawled(operators[0], f"{made.operators[0].name}'s", "tokens", own_tokens, pages)
    checks += [check, priced(served["sessions"], served["tariffs"])]
    told("verifying", 0, 1)
    verified = (await verifying).decode().strip()
    told("stopping", 0, 1)
    stopped_s = await server.stop()
    return Outcome(
        world=made,
        platforms=platforms,
        started_s=started_s,
        pushed_s=pushed_s,
        folded_s=folded_s,
        stopped_s=stopped_s,
        pages=pages,
        analytics=analytics,
        refusals=refusals["refusals"],
        verified=verified,
        checks=checks,
    )


def _written(made: World, operator: Operator, count: int, seed: int, now: datetime) -> Script:
    told = list(stories(made, operator, count, seed, now))
    return Script(offer(operator), list(places(made, operator, [story.charging for story in told], seed, now)), told)


async def _folded(server: Server) -> None:
    """Wait until every projection has folded all that the log holds."""
    until = time.monotonic() + READ_WITHIN_S
    async with aiohttp.ClientSession() as client:
        while time.monotonic() < until:
            async with client.get(f"{server.url}/ready") as answer:
                if not any(lane["lag"] for lane in _decode(await answer.read())["lanes"]):
                    return
            await asyncio.sleep(0.1)
    raise Failure(f"the tables did not reach the end of the log within {READ_WITHIN_S} s")


async def _analytics(server: Server, path: str) -> list[Object]:
    headers = {"Authorization": f"Bearer {server.operator_token}"}
    async with aiohttp.ClientSession(headers=headers) as client, client.get(f"{server.url}/analytics/{path}") as answer:
        if answer.status != 200:
            raise Failure(f"GET /analytics/{path}: HTTP {answer.status} {(await answer.text())[:200]}")
        rows: list[Object] = _decode(await answer.read())["rows"]
        return rows


async def _connect(server: Server, name: str, party: str, role: str, version: str = "2.2.1") -> str:
    options = ("--party", party, "--role", role, "--version", version, "--json", "--data", str(server.data))
    added = _decode(await _run("partner", "add", name.lower(), *options))
    token: str = added["token"]
    return token


async def _run(*arguments: str) -> bytes:
    """Run a roamlog command beside the server and return what it printed; raises Failure with what it said instead."""
    process = await asyncio.create_subprocess_exec(
        *_command(*arguments), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=_environment()
    )
    printed, said = await process.communicate()
    if process.returncode != 0:
        why = f"{said.decode(errors='replace').strip()} {printed.decode(errors='replace').strip()}".strip()
        raise Failure(f"roamlog {' '.join(arguments[:2])} ended with exit code {process.returncode}: {why}")
    return printed


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "roamlog", *arguments]


def _environment() -> dict[str, Any]:
    """The demo shows the defaults, whatever the settings of this shell."""
    return {name: value for name, value in os.environ.items() if not name.startswith("ROAMLOG_")}
