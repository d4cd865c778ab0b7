"""`roamlog pull` and the crawls of a real `roamlog serve`, killed in the middle of one."""

import asyncio
import copy
import json
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
from samples import TARIFF
from sender import Fault, Sender, serving
from serving import Serve, command

TARIFFS: Final = 50
WITHIN_S: Final = 120
PRIVATE: Final = {"ROAMLOG_ALLOW_PRIVATE_PARTNERS": "1", "ROAMLOG_PULL_PAGE": "10"}


def tariff(number: int) -> dict[str, Any]:
    return copy.deepcopy(TARIFF) | {"id": f"T{number}", "last_updated": "2026-01-01T00:00:00Z"}


@pytest.fixture
async def sender() -> AsyncIterator[Sender]:
    async with serving(Sender(tariffs=[tariff(number) for number in range(TARIFFS)])) as opened:
        yield opened


@pytest.fixture
async def serve(tmp_path: Path) -> AsyncIterator[Serve]:
    made = Serve(tmp_path / "data")
    yield made
    made.kill()


async def roamlog(serve: Serve, *arguments: str) -> tuple[int, Any, str]:
    """Run a command beside the serve; return its exit code, what it printed as JSON, and what it said."""
    done = await asyncio.to_thread(command, *arguments, "--data", str(serve.data), "--json", environment=PRIVATE)
    return done.returncode, json.loads(done.stdout) if done.stdout.strip() else None, done.stderr


async def register(serve: Serve, sender: Sender) -> None:
    code, _, said = await roamlog(serve, "partner", "register", "tnm", f"{sender.origin}/versions", "--token", "partner-token")
    assert code == 0, said
    sender.asked.clear()


async def pages(serve: Serve) -> list[Any]:
    """Return the certificates."""
    code, crawls, said = await roamlog(serve, "pull", "log", "tnm")
    assert code == 0, said
    return list(crawls)


async def until(asked: Callable[[], Awaitable[list[Any]]], holds: Callable[[list[Any]], bool]) -> list[Any]:
    """Return the answer that is as wanted."""
    while True:
        found = await asked()
        if holds(found):
            return found
        await asyncio.sleep(0.05)


async def served(serve: Serve) -> list[str]:
    """Return the ids of the Tariffs that an eMSP is served."""
    found: list[str] = []
    async with aiohttp.ClientSession(headers={"authorization": "Token msp-token"}) as client:
        url: str | None = f"{serve.url}/ocpi/2.2.1/sender/tariffs?limit=1000"
        while url:
            async with client.get(url) as answer:
                found += [one["id"] for one in json.loads(await answer.read())["data"]]
                url = answer.headers["link"].partition(">")[0].removeprefix("<") if "link" in answer.headers else None
    return sorted(found)


async def test_a_crawl_goes_on_behind_the_last_page_after_kill_9(serve: Serve, sender: Sender) -> None:
    await serve.start(PRIVATE)
    await register(serve, sender)
    reached = asyncio.Event()
    sender.faults = {4: Fault(silent=True), 5: Fault(silent=True)}
    sender.on_page = lambda number: reached.set() if number == 3 else None
    pulling = asyncio.ensure_future(roamlog(serve, "pull", "run", "tnm", "--full"))
    async with asyncio.timeout(WITHIN_S):
        await reached.wait()
        await until(lambda: pages(serve), lambda found: found[0]["pages"] == 3)
    await serve.end(signal.SIGKILL)
    code, _, said = await pulling
    assert code == 1
    assert "ended before it answered" in said
    sender.faults = {}
    before = len(sender.asked)
    await serve.start(PRIVATE)
    async with asyncio.timeout(WITHIN_S):
        found = await until(lambda: pages(serve), lambda found: found[-1]["status"] != "running")
    assert (found[-1]["status"], found[-1]["pages"], found[-1]["objects"]) == ("complete", 5, TARIFFS)
    assert [one.query["offset"] for one in sender.asked[before:]][:2] == ["30", "40"], "no page is read twice"
    added = await asyncio.to_thread(
        command, "partner", "add", "msp", "--party", "DE*MSP", "--role", "EMSP", "--token", "msp-token", "--data", str(serve.data)
    )
    assert added.returncode == 0, added.stderr
    await serve.folded()
    assert await served(serve) == sorted(f"T{number}" for number in range(TARIFFS))
    assert await serve.end(signal.SIGTERM) == 0


async def test_pull_run_says_what_came_of_each_list_with_and_without_a_serve(serve: Serve, sender: Sender) -> None:
    await serve.start(PRIVATE)
    await register(serve, sender)
    code, crawls, said = await roamlog(serve, "pull", "run", "tnm", "--module", "tariffs", "--full")
    assert (code, said) == (0, "")
    assert {one["status"] for one in crawls} == {"complete"}
    assert (crawls[-1]["objects"], crawls[-1]["reach"], crawls[-1]["pages"]) == (TARIFFS, "full", 5)
    for arguments, sentence in (
        (("run", "nobody"), "no partner is called nobody"),
        (("run", "tnm", "--module", "cdrs"), "tnm offers no list of cdrs"),
        (("run", "tnm", "--module", "chargers"), "there is no module chargers"),
        (("set", "tnm", "sometimes"), "'sometimes' is no policy"),
    ):
        code, _, said = await roamlog(serve, "pull", *arguments)
        assert code != 0
        assert sentence in said
    assert (await roamlog(serve, "pull", "set", "tnm", "silent", "--silent", "120"))[1] == {
        "name": "tnm",
        "policy": "silent",
        "silent_s": 120,
    }
    assert await serve.end(signal.SIGTERM) == 0
    sender.lists["tariffs"] = [tariff(number) for number in range(1, TARIFFS + 1)]
    code, crawls, said = await roamlog(serve, "pull", "run", "tnm", "--full")
    assert (code, said) == (0, "")
    assert (crawls[0]["unchanged"], crawls[0]["appended"], crawls[0]["vanished"]) == (2 * (TARIFFS - 1) + 1, 1, 1)
    sender.always = Fault(401)
    code, crawls, said = await roamlog(serve, "pull", "run", "tnm")
    assert (code, crawls[0]["status"], crawls[0]["oddities"][0][1]) == (1, "incomplete", "unauthorized")
    assert "the crawl of tariffs is incomplete" in said
    assert (await roamlog(serve, "pull", "set", "tnm"))[1]["policy"] == "silent"
    printed = await asyncio.to_thread(command, "pull", "log", "tnm", "--data", str(serve.data), environment=PRIVATE)
    assert printed.returncode == 0
    assert "incomplete" in printed.stdout
    assert "partner-token" not in printed.stdout + serve.output()
