"""Killed at random moments under load, serve loses nothing that it answered: `make kill-test` does it 50 times."""

import asyncio
import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import aiohttp
import pytest
from serving import Serve, add_partner, as_json, command, wire_session

from schemas.types import date_time, instant

KILLS: Final = int(os.environ.get("ROAMLOG_KILLS", "5"))
SEED: Final = int(os.environ.get("ROAMLOG_SEED", "20261121"))
PUSHERS: Final = 16
BEGIN: Final = instant("2026-10-01T08:00:00Z")
HEADERS: Final = {"Authorization": "Token kill-token-1", "Content-Type": "application/json"}


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    serving = Serve(tmp_path / "data")
    yield serving
    serving.kill()


class Pusher:
    """Pushes its own Sessions one after the other and remembers what was answered; kwh counts the pushes."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.number = 0
        self.session = 0
        self.answered: dict[str, int] = {}
        self.sent: dict[str, int] = {}

    async def push(self, client: aiohttp.ClientSession, url: str) -> None:
        """Push until the connection breaks: a PUT, four PATCHes, the next Session."""
        while True:
            if self.number % 5 == 0:
                self.session += 1
            session_id = f"{self.name}-{self.session}"
            self.number += 1
            stamp = date_time(BEGIN + self.number * 1_000_000)
            is_new = session_id not in self.answered
            body = wire_session(session_id, self.number, stamp) if is_new else {"kwh": self.number, "last_updated": stamp}
            self.sent[session_id] = self.number
            path = f"{url}/ocpi/2.2.1/receiver/sessions/NL/TNM/{session_id}"
            try:
                async with client.request("PUT" if is_new else "PATCH", path, data=as_json(body), headers=HEADERS) as answer:
                    said = await answer.json()
            except (aiohttp.ClientError, OSError):
                return
            if said["status_code"] == 1000:
                self.answered[session_id] = self.number
            else:
                assert answer.status in {404, 503}, said  # the PUT before it was cut off, or the server is stopping


async def pushed_until(serve: Serve, pushers: list[Pusher], moment_s: float, how: signal.Signals) -> None:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as client, asyncio.TaskGroup() as tasks:
        for pusher in pushers:
            tasks.create_task(pusher.push(client, serve.url))
        await asyncio.sleep(moment_s)
        code = await serve.end(how)
        assert code == (-signal.SIGKILL if how is signal.SIGKILL else 0), serve.output()[-2000:]


async def lost(serve: Serve, pushers: list[Pusher]) -> list[str]:
    """Return every Session whose state is older than the last push that was answered."""
    gone = []
    await serve.folded()
    async with aiohttp.ClientSession() as client:
        for pusher in pushers:
            for session_id, number in list(pusher.answered.items())[-3:]:
                async with client.get(f"{serve.url}/ocpi/2.2.1/receiver/sessions/NL/TNM/{session_id}", headers=HEADERS) as answer:
                    said = await answer.json()
                if answer.status != 200 or not number <= said["data"]["kwh"] <= pusher.sent[session_id]:
                    gone.append(f"{session_id}: {number} was answered, {said} is served")
    return gone


@pytest.mark.system
async def test_kill_and_terminate_lose_nothing_that_was_answered(serve: Serve) -> None:
    dice = random.Random(SEED)
    serve.data.mkdir()
    add_partner(serve.data, "tnm", "NL*TNM", "CPO", "kill-token-1")
    pushers = [Pusher(f"p{number}") for number in range(PUSHERS)]
    slowest_start = 0.0
    for _ in range(KILLS):
        slowest_start = max(slowest_start, await serve.start())
        assert await lost(serve, pushers) == []
        how = dice.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM])
        await pushed_until(serve, pushers, dice.uniform(0.05, 1.5), how)
    await serve.start()
    assert await lost(serve, pushers) == []
    verified = command("verify", "--data", str(serve.data))
    assert verified.returncode == 0, verified.stdout + verified.stderr
    await serve.end(signal.SIGTERM)
    answered = sum(len(pusher.answered) for pusher in pushers)
    assert answered > KILLS
    print(f"{KILLS} stops, {sum(p.number for p in pushers)} pushes, {answered} sessions, slowest start {slowest_start:.1f} s")  # noqa: T201
