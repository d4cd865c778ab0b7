"""A load generator of its own process: keep-alive writes over raw sockets, requests rendered beforehand, closed loop.

It reads a `Load` as JSON from standard input and writes a `Loaded` to standard output. One request is in flight per
connection; when time is up it waits for those in flight, so that every push that was sent was also answered.
"""

import asyncio
import sys
import time
from array import array
from collections import Counter
from typing import Final, cast

import msgspec
import uvloop
from msgspec import Struct

from benchmarks import sessions
from benchmarks.contents import CONTENTS, Name
from benchmarks.frame import ROOT, Unavailable

ONCE_S: Final = 120.0
"""How long sending each object once may take."""


class Load(Struct, frozen=True, kw_only=True):
    """Send a content below `path` for `seconds`, or each of its objects `once`; `turn` (rising) makes each body new."""

    port: int
    path: str
    seconds: float
    turn: int
    content: Name = "session"
    once: bool = False
    connections: int = 64
    rate: float = 0
    """Pushes a second, evenly; 0 sends the next one when an answer is there."""
    expect: str = ""
    """What each answer's body must hold."""


class Loaded(Struct, frozen=True, kw_only=True):
    """What came back: answers within the time, their rate, latencies, and whatever was not as expected."""

    answers: int
    rate: float
    p50_ms: float
    p99_ms: float
    statuses: dict[str, int]
    unexpected: int
    first_unexpected: str


async def load(spec: Load) -> Loaded:
    """Run a load in a process of its own. Raises Unavailable when any answer is not as expected."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.http_load"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
    )
    output, _ = await process.communicate(msgspec.json.encode(spec))
    if process.returncode:
        raise Unavailable(f"the load generator ended with {process.returncode}")
    loaded = msgspec.json.decode(output, type=Loaded)
    if loaded.unexpected:
        one = loaded.first_unexpected
        raise Unavailable(f"{loaded.unexpected} of {loaded.answers} answers on {spec.path} were not as expected: {one}")
    return loaded


class Requests:
    """The requests in turn: every id once, then every id again with a newer body."""

    def __init__(self, spec: Load) -> None:
        self._heads: list[bytes] = []
        self._tails: list[bytes] = []
        content = CONTENTS[spec.content]
        self._changing, self._count = content.changing, content.objects
        slot = len(self._changing(0))
        for number in range(self._count):
            before, after = content.frame(number)
            head = (
                f"{content.verb} {spec.path}/{content.path(number)} HTTP/1.1\r\nHost: 127.0.0.1:{spec.port}\r\n"
                f"Authorization: {sessions.AUTHORIZATION}\r\nContent-Type: application/json\r\n"
                f"X-Request-ID: r{number:07d}\r\nX-Correlation-ID: c{number:07d}\r\n"
                f"Content-Length: {len(before) + slot + len(after)}\r\n\r\n"
            )
            self._heads.append((head + before).encode())
            self._tails.append(after.encode())
        self._turn = spec.turn
        self._once = spec.once
        self._next = 0
        self._slot = self._changing(self._turn).encode()

    @property
    def all_sent(self) -> bool:
        """Whether every object was sent that is to be sent once."""
        return self._once and self._next == self._count

    def take(self) -> bytes:
        at = self._next
        if at == self._count:
            at = 0
            self._turn += 1
            self._slot = self._changing(self._turn).encode()
        self._next = at + 1
        return self._heads[at] + self._slot + self._tails[at]


class Tally:
    """What all connections have seen."""

    def __init__(self, expect: bytes, rate: float) -> None:
        self.expect = expect
        self._apart_s = 1 / rate if rate else 0.0
        self._next_at = 0.0
        self.deadline = 0.0
        self.within = 0
        self.latencies = array("d")
        self.statuses: Counter[str] = Counter()
        self.unexpected = 0
        self.first_unexpected = ""

    def turn_s(self) -> float:
        """Return how long the next request has to wait for its turn."""
        if not self._apart_s:
            return 0.0
        now = time.perf_counter()
        self._next_at = max(self._next_at + self._apart_s, now - 1)  # what a slow second held up is sent soon, but not all
        return self._next_at - now

    def note(self, answer: bytes, sent_at: float) -> bool:
        """Count an answer; tell whether another request is wanted."""
        now = time.perf_counter()
        self.latencies.append(now - sent_at)
        status = answer[9:12].decode()
        self.statuses[status] += 1
        if not status.startswith("2") or self.expect not in answer:
            self.unexpected += 1
            self.first_unexpected = self.first_unexpected or answer[:600].decode(errors="replace")
        if now >= self.deadline:
            return False
        self.within += 1
        return True


class Connection(asyncio.Protocol):
    """One keep-alive connection with one request in flight."""

    def __init__(self, requests: Requests, tally: Tally) -> None:
        self._requests, self._tally = requests, tally
        self._seen = b""
        self._sent_at = 0.0
        self._transport: asyncio.Transport | None = None
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's does not inherit

    def send(self) -> None:
        wait_s = self._tally.turn_s()
        if wait_s > 0:
            asyncio.get_running_loop().call_later(wait_s, self._send)
        else:
            self._send()

    def _send(self) -> None:
        assert self._transport is not None
        self._sent_at = time.perf_counter()
        self._transport.write(self._requests.take())

    def data_received(self, data: bytes) -> None:
        self._seen = self._seen + data if self._seen else data
        end = self._seen.find(b"\r\n\r\n")
        if end < 0 or len(self._seen) < end + 4 + _content_length(self._seen[:end]):
            return
        answer, self._seen = self._seen, b""
        if self._tally.note(answer, self._sent_at) and not self._requests.all_sent:
            self.send()
        else:
            assert self._transport is not None
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._tally.deadline and time.perf_counter() < self._tally.deadline and not self._requests.all_sent:
            self._tally.unexpected += 1
            self._tally.first_unexpected = self._tally.first_unexpected or f"connection lost: {exc}"
        if not self.done.done():
            self.done.set_result(None)


def _content_length(head: bytes) -> int:
    at = head.lower().find(b"content-length:")
    return int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0


async def generate(spec: Load) -> Loaded:
    """Open the connections, then send for the given time and wait for the last answers."""
    loop = asyncio.get_running_loop()
    requests = Requests(spec)
    tally = Tally(spec.expect.encode(), spec.rate)
    connections: list[Connection] = []
    for _ in range(spec.connections):
        _, connection = await loop.create_connection(lambda: Connection(requests, tally), "127.0.0.1", spec.port)
        connections.append(connection)
    tally.deadline = time.perf_counter() + (ONCE_S if spec.once else spec.seconds)
    for connection in connections:
        connection.send()
    _, late = await asyncio.wait([connection.done for connection in connections], timeout=tally.deadline - time.perf_counter() + 60)
    if late:
        tally.unexpected += len(late)
        tally.first_unexpected = tally.first_unexpected or f"{len(late)} requests had no answer for 60 s"
    latencies = sorted(tally.latencies) or [0.0]
    return Loaded(
        answers=len(tally.latencies),
        rate=tally.within / spec.seconds if spec.seconds else 0.0,
        p50_ms=latencies[len(latencies) // 2] * 1000,
        p99_ms=latencies[len(latencies) * 99 // 100] * 1000,
        statuses=dict(tally.statuses),
        unexpected=tally.unexpected,
        first_unexpected=tally.first_unexpected,
    )


if __name__ == "__main__":
    uvloop.install()
    spec = msgspec.json.decode(sys.stdin.buffer.read(), type=Load)
    sys.stdout.buffer.write(msgspec.json.encode(asyncio.run(generate(spec))))
