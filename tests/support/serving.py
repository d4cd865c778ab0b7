"""A real `roamlog serve` as a process of its own, for tests that stop it in every way there is."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import aiohttp

STARTED_WITHIN_S: Final = 60
STOPPED_WITHIN_S: Final = 30
FOLDED_WITHIN_S: Final = 120


def free_port() -> int:
    """Return a loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def command(
    *arguments: str, timeout_s: float = 120, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `roamlog …` to its end."""
    return subprocess.run(
        [sys.executable, "-m", "roamlog.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
        env=os.environ | dict(environment or {}),
    )


class Serve:
    """A serve on `data`, always on the same port, started and stopped as often as wanted."""

    def __init__(self, data: Path, log: Path | None = None) -> None:
        """`log` takes what it prints; by default a file beside the folder."""
        self.data = data
        self.log = log or data.parent / f"{data.name}.serve.log"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    async def start(self, environment: Mapping[str, str] | None = None) -> float:
        """Start it and return after how many seconds it answered."""
        began = time.monotonic()
        self.process = self._spawn(environment)
        async with aiohttp.ClientSession() as client:
            while time.monotonic() - began < STARTED_WITHIN_S:
                if self.process.poll() is not None:
                    raise AssertionError(f"serve ended with {self.process.returncode}: {self.output()[-2000:]}")
                try:
                    async with client.get(f"{self.url}/health") as answer:
                        if answer.status == 200:
                            return time.monotonic() - began
                except aiohttp.ClientError:
                    pass
                await asyncio.sleep(0.02)
        raise AssertionError(f"serve did not answer within {STARTED_WITHIN_S} s: {self.output()[-2000:]}")

    def _spawn(self, environment: Mapping[str, str] | None) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "roamlog.cli", "serve", "--data", str(self.data), "--port", str(self.port)],
                stdout=output,
                stderr=output,
                env=os.environ | dict(environment or {}),
            )

    async def folded(self) -> None:
        """Return once the tables have all that the log holds: a read waits for that, but less long than a slow machine takes."""
        until = time.monotonic() + FOLDED_WITHIN_S
        async with aiohttp.ClientSession() as client:
            while True:
                async with client.get(f"{self.url}/ready") as answer:
                    lanes = json.loads(await answer.read())["lanes"]
                if lanes and not any(lane["lag"] for lane in lanes):
                    return
                assert time.monotonic() < until, f"not folded within {FOLDED_WITHIN_S} s: {lanes}"
                await asyncio.sleep(0.02)

    def output(self) -> str:
        """Return all that it printed."""
        return self.log.read_text(errors="replace")  # ClickHouse shows what it cannot read

    def rss_mb(self) -> float:
        """Return the resident memory in MB."""
        assert self.process is not None
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024

    async def end(self, how: signal.Signals) -> int:
        """Send the signal and return the exit code; a serve that does not stop is killed and fails the test."""
        process, self.process = self.process, None
        assert process is not None
        process.send_signal(how)
        try:
            return await asyncio.to_thread(process.wait, STOPPED_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"serve did not stop within {STOPPED_WITHIN_S} s of {how.name}") from None

    def kill(self) -> None:
        """End it at once if it still runs."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


def add_partner(data: Path, name: str, party: str, role: str, token: str) -> None:
    """Connect a partner, beside a running serve or without one."""
    done = command("partner", "add", name, "--party", party, "--role", role, "--token", token, "--data", str(data), "--json")
    assert done.returncode == 0, done.stderr


def wire_session(session_id: str, number: int, last_updated: str, **fields: Any) -> dict[str, Any]:
    """Return a 2.2.1 Session of NL*TNM whose kwh is `number`."""
    return {
        "country_code": "NL",
        "party_id": "TNM",
        "id": session_id,
        "start_date_time": "2026-10-01T08:00:00Z",
        "kwh": number,
        "cdr_token": {"country_code": "DE", "party_id": "MSP", "uid": "U1", "type": "RFID", "contract_id": "DE-MSP-C1"},
        "auth_method": "WHITELIST",
        "location_id": "LOC1",
        "evse_uid": "E1",
        "connector_id": "1",
        "currency": "EUR",
        "status": "ACTIVE",
        "last_updated": last_updated,
    } | fields


def as_json(body: Mapping[str, Any]) -> bytes:
    """Return the request body."""
    return json.dumps(body).encode()
