"""The Receiver interface behind a real server and a real socket."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple

import pytest
import uvicorn
from receiver import NOW, World, session

from ingest.http import WritesFirst
from roamlog.protocol import Protocol
from streams.clock import FixedClock
from streams.logs.memory import MemoryLog
from streams.ports import Entry, Position

LIMIT = 100_000


class Server(NamedTuple):
    """A running server: its port, its world, its partner's token."""

    port: int
    world: World
    token: str

    def head(self, method: str, path: str, *headers: str) -> bytes:
        lines = [f"{method} /ocpi/2.2.1/receiver/{path} HTTP/1.1", "Host: x", f"Authorization: Token {self.token}", *headers]
        return ("\r\n".join(lines) + "\r\n\r\n").encode()

    async def exchange(self, *sent: bytes) -> bytes:
        """Send, and return everything until the server closes the connection."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        for piece in sent:
            writer.write(piece)
        async with asyncio.timeout(5):
            answer = await reader.read()
        writer.close()
        return answer


@pytest.fixture(params=["routes", "writes first", "answers whole"])
async def server(request: pytest.FixtureRequest) -> AsyncIterator[Server]:
    world = World(MemoryLog(), FixedClock(NOW), body_bytes=LIMIT)
    token = (await world.partner()).token
    app = world.app
    if request.param != "routes":
        app = WritesFirst(app, world.push, world.registry, world.clock, world.metrics, body_bytes=LIMIT)
    listening = socket.create_server(("127.0.0.1", 0))
    http = Protocol if request.param == "answers whole" else "auto"
    running = uvicorn.Server(uvicorn.Config(app, http=http, log_level="critical", lifespan="off"))
    running.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    task = asyncio.ensure_future(running._serve([listening]))
    yield Server(listening.getsockname()[1], world, token)
    running.should_exit = True
    await task
    with contextlib.suppress(OSError):
        listening.close()


def parsed(answer: bytes) -> tuple[int, dict[str, object]]:
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), json.loads(body)


async def test_a_push_over_a_socket(server: Server) -> None:
    body = json.dumps(session("a/b")).encode()
    head = server.head("PUT", "sessions/NL/TNM/a%2Fb", f"Content-Length: {len(body)}", "Connection: close")
    assert parsed(await server.exchange(head, body)) == (201, {"status_code": 1000, "timestamp": "2026-09-21T14:13:20Z"})
    (event,) = await server.world.envelopes()
    assert event.key == ("a/b",)


async def test_a_chunked_push(server: Server) -> None:
    body = json.dumps(session()).encode()
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (body[:7], body[7:])) + b"0\r\n\r\n"
    head = server.head("PUT", "sessions/NL/TNM/S1", "Transfer-Encoding: chunked", "Connection: close")
    assert parsed(await server.exchange(head, chunks))[0] == 201


async def test_what_is_too_long_is_answered_and_the_connection_closed_before_it_all_came(server: Server) -> None:
    announced = server.head("PUT", "sessions/NL/TNM/S1", f"Content-Length: {10**9}")
    assert parsed(await server.exchange(announced))[0] == 413
    chunked = server.head("PUT", "sessions/NL/TNM/S1", "Transfer-Encoding: chunked")
    piece = b"%x\r\n%b\r\n" % (60_000, b" " * 60_000)
    assert parsed(await server.exchange(chunked, piece, piece))[0] == 413


async def test_a_client_that_leaves_in_the_middle_of_its_body_has_pushed_nothing(server: Server) -> None:
    body = json.dumps(session()).encode()
    head = server.head("PUT", "sessions/NL/TNM/S1", f"Content-Length: {len(body)}")
    _, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(head + body[:-1])
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    close = server.head("DELETE", "sessions/NL/TNM/S1", "Connection: close")
    assert parsed(await server.exchange(close))[0] == 405
    assert await server.world.envelopes() == []


async def test_a_reader_reaches_the_routes_behind(server: Server) -> None:
    assert parsed(await server.exchange(server.head("GET", "cdrs", "Connection: close")))[0] == 405
    assert parsed(await server.exchange(b"GET /elsewhere HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))[0] == 404


async def test_pushes_share_a_connection(server: Server) -> None:
    body = json.dumps(session()).encode()
    request = server.head("PUT", "sessions/NL/TNM/S1", f"Content-Length: {len(body)}") + body
    last = server.head("PUT", "sessions/NL/TNM/S1/", f"Content-Length: {len(body)}", "Connection: close") + body
    answer = await server.exchange(request * 3 + last)
    assert answer.count(b'"status_code":1000') == 4
    assert answer.count(b"HTTP/1.1 201 ") == 1


class StandingStill(MemoryLog):
    """A log whose brokers do not answer any more from when they are told to."""

    def __init__(self) -> None:
        super().__init__()
        self.stands = False
        self.asked = asyncio.Event()

    async def append(self, entries: Sequence[Entry]) -> list[Position]:
        if self.stands:
            self.asked.set()
            await asyncio.Event().wait()
        return await super().append(entries)


async def test_who_still_waits_when_the_server_has_to_stop_is_told_to_send_again() -> None:
    log = StandingStill()
    world = World(log, FixedClock(NOW))
    token = (await world.partner()).token
    app = WritesFirst(world.app, world.push, world.registry, world.clock, world.metrics)
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, http=Protocol, log_level="critical", lifespan="off", timeout_graceful_shutdown=1)
    running = uvicorn.Server(config)
    running.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    task = asyncio.ensure_future(running._serve([listening]))
    server = Server(listening.getsockname()[1], world, token)
    body = json.dumps(session()).encode()
    log.stands = True
    answer = asyncio.ensure_future(server.exchange(server.head("PUT", "sessions/NL/TNM/S1", f"Content-Length: {len(body)}"), body))
    await log.asked.wait()
    running.should_exit = True
    status, said = parsed(await answer)
    assert (status, said["status_code"]) == (503, 3000)
    assert "please send it again" in str(said["status_message"])
    await task
    with contextlib.suppress(OSError):
        listening.close()
