"""Servers under measurement: a subprocess on a free loopback port, watched through /proc."""

import asyncio
import contextlib
import os
import socket
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from benchmarks.frame import Unavailable

MIB: Final = 1024 * 1024
_TICKS: Final = os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def uvicorn(python: Path, app: str, folder: Path, port: int) -> list[str]:
    """Return the command that serves an ASGI app as fast as uvicorn can: uvloop, httptools, one worker, no access log."""
    return [
        *(str(python), "-m", "uvicorn", app, "--app-dir", str(folder), "--host", "127.0.0.1", "--port", str(port)),
        *("--loop", "uvloop", "--http", "httptools", "--workers", "1", "--no-access-log", "--log-level", "error"),
    ]


def rss_mib(pid: int) -> float:
    """Return the resident memory of a process; 0 when it has gone."""
    return _status(pid, "VmRSS")


def peak_rss_mib(pid: int) -> float:
    """Return the highest resident memory that the process ever had; 0 when it has gone."""
    return _status(pid, "VmHWM")


def cpu_s(pid: int) -> float:
    """Return the processor time that a process has spent, user and system, all threads."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _status(pid: int, field: str) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0.0
    kib = next((line.split()[1] for line in lines if line.startswith(f"{field}:")), "0")
    return int(kib) * 1024 / MIB


class Server:
    """A running server: where it listens, and what it has cost so far."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, port: int, started_s: float) -> None:
        self.name, self.process, self.port = name, process, port
        self.started_s = started_s
        """Seconds from the start of the process until it accepted a connection."""

    @property
    def pid(self) -> int:
        return self.process.pid

    def cpu_s(self) -> float:
        """Return the processor time spent, user and system, all threads."""
        return cpu_s(self.pid)


@contextlib.asynccontextmanager
async def serving(
    name: str, command: Sequence[str], port: int, *, log: Path, env: Mapping[str, str] | None = None
) -> AsyncIterator[Server]:
    """Run a server and yield it once it accepts connections; its output goes to `log`. Raises Unavailable with its last words."""
    with log.open("wb") as out:
        begun = time.perf_counter()
        process = await asyncio.create_subprocess_exec(
            *command, stdout=out, stderr=asyncio.subprocess.STDOUT, env={**os.environ, **(env or {})}
        )
        try:
            while not await _accepts(port):
                if process.returncode is not None or time.perf_counter() - begun > 60:
                    raise Unavailable(f"{name} does not listen: {_last_words(log)}")
                await asyncio.sleep(0.02)
            yield Server(name, process, port, time.perf_counter() - begun)
        finally:
            await stop(process)


async def get(port: int, path: str, headers: Mapping[str, str] | None = None) -> tuple[bytes, bytes]:
    """Return head and body of an answer, whatever its status."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with contextlib.closing(writer):
        lines = [f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        writer.write("\r\n".join([*lines, "", ""]).encode())
        head, _, body = (await reader.read(-1)).partition(b"\r\n\r\n")
    return head, body


class _Lane(Struct):
    projection: str
    lag: int


class _Ready(Struct):
    lanes: list[_Lane]


async def behind(server: Server) -> int:
    """Return how many records the hindmost projection of a roamlog has not folded yet. Raises Unavailable."""
    _, body = await get(server.port, "/ready")
    try:
        lanes = msgspec.json.decode(body, type=_Ready).lanes
    except msgspec.DecodeError as fault:
        raise Unavailable(f"/ready of {server.name} answers {body[:200]!r}") from fault
    return max(sum(lane.lag for lane in lanes if lane.projection == name) for name in {lane.projection for lane in lanes})


async def drained_s(server: Server) -> float:
    """Wait until a roamlog has folded all that it has accepted; return the seconds that took. Raises Unavailable."""
    begun = time.perf_counter()
    while await behind(server):
        if time.perf_counter() - begun > 900:
            raise Unavailable(f"{server.name} is still behind after 900 s")
        await asyncio.sleep(0.05)
    return time.perf_counter() - begun


async def stop(process: asyncio.subprocess.Process) -> None:
    """End a process politely, after 20 s without manners."""
    if process.returncode is not None:
        return
    process.terminate()
    try:
        await asyncio.wait_for(process.wait(), 20)
    except TimeoutError:
        process.kill()
        await process.wait()


async def run_command(*command: str, env: Mapping[str, str] | None = None) -> str:
    """Run a command to its end and return what it printed. Raises Unavailable with its last words."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, env={**os.environ, **(env or {})}
    )
    output, _ = await process.communicate()
    text = output.decode(errors="replace")
    if process.returncode:
        raise Unavailable(f"{' '.join(command[:3])} … ended with {process.returncode}: {text.strip()[-600:]}")
    return text


def roamlog(*arguments: str) -> list[str]:
    """Return the command line of the roamlog that is installed beside this interpreter."""
    return [str(Path(sys.executable).with_name("roamlog")), *arguments]


async def _accepts(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True


def _last_words(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace").strip()[-600:] or "it said nothing"
