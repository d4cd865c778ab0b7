"""uvicorn's protocol with whole answers: on the wire what ASGI's two messages are, in one write."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send
from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from ingest.http import WHOLE
from roamlog.protocol import Protocol

DATE = (b"date", b"Sat, 31 Jan 2026 11:00:00 GMT")
BODY = b'{"status_code":1000}'
HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(BODY)), (b"x-request-id", b"r1")]


async def whole(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    lines = b"".join(b"%b: %b\r\n" % header for header in HEADERS)
    assert scope["extensions"][WHOLE](send, 201, lines, BODY)


async def in_two(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "http.response.start", "status": 201, "headers": HEADERS})
    await send({"type": "http.response.body", "body": BODY})


class Wire(asyncio.Transport):
    """A connection whose other end is the test."""

    def __init__(self, protocol: HttpToolsProtocol) -> None:
        super().__init__()
        self.protocol = protocol
        self.written: list[bytes] = []
        self.closed = False
        protocol.connection_made(self)

    def write(self, data: Any) -> None:
        self.written.append(bytes(data))

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    async def answers(self, sent: bytes) -> list[bytes]:
        """Send, and return what is written until every request was answered."""
        self.protocol.data_received(sent)
        async with asyncio.timeout(5):
            while self.protocol.tasks:  # the next of a pipeline begins when one ends
                await asyncio.wait(self.protocol.tasks)
        written, self.written = self.written, []
        return written


def opened(app: Any, protocol: type[HttpToolsProtocol]) -> Wire:
    state = ServerState()
    state.default_headers = [DATE]
    return Wire(protocol(Config(app, lifespan="off", ws="none"), state, {}))


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    one = opened(whole, Protocol)
    yield one
    one.protocol.connection_lost(None)


def request(version: str = "1.1", *headers: str) -> bytes:
    return "\r\n".join([f"PUT /x HTTP/{version}", "Host: x", *headers, "Content-Length: 2", "", "{}"]).encode()


async def test_an_answer_is_one_write(wire: Wire) -> None:
    assert len(await wire.answers(request())) == 1
    assert not wire.closed


@pytest.mark.parametrize(
    "asked",
    [
        request(),
        request("1.1", "Connection: close"),
        request("1.0"),
        request("1.0", "Connection: keep-alive"),
        request("1.1", "Expect: 100-continue"),
    ],
)
async def test_the_bytes_are_those_of_two_messages(wire: Wire, asked: bytes) -> None:
    other = opened(in_two, HttpToolsProtocol)
    assert b"".join(await wire.answers(asked)) == b"".join(await other.answers(asked))
    assert wire.closed == other.closed
    other.protocol.connection_lost(None)


async def test_the_default_headers_follow_the_clock(wire: Wire) -> None:
    assert DATE[1] in (await wire.answers(request()))[0]
    wire.protocol.server_state.default_headers = [(b"date", b"Sat, 31 Jan 2026 11:00:01 GMT")]
    assert b"11:00:01" in (await wire.answers(request()))[0]


async def test_pipelined_requests_are_answered_one_after_the_other(wire: Wire) -> None:
    answers = await wire.answers(request() * 3 + request("1.1", "Connection: close"))
    assert [b"connection: close" in answer for answer in answers] == [False, False, False, True]
    assert wire.closed


async def test_a_client_that_does_not_read_is_waited_for(wire: Wire) -> None:
    told: list[bool] = []

    async def slowly(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        told.append(scope["extensions"][WHOLE](send, 200, b"content-length: 0\r\n", b""))
        wire.protocol.resume_writing()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    wire.protocol.app = slowly
    wire.protocol.pause_writing()
    assert b"".join(await wire.answers(request())).startswith(b"HTTP/1.1 200 OK")
    assert told == [False]


async def test_a_client_that_has_gone_is_written_nothing(wire: Wire) -> None:
    told: list[bool] = []

    async def late(scope: Scope, receive: Receive, send: Send) -> None:
        wire.protocol.connection_lost(ConnectionResetError())
        told.append(scope["extensions"][WHOLE](send, 200, b"content-length: 0\r\n", b""))

    wire.protocol.app = late
    wire.protocol.data_received(request())
    await asyncio.gather(*wire.protocol.tasks)
    assert (told, wire.written) == ([True], [])


async def test_a_wrapped_send_is_not_mistaken_for_the_servers(wire: Wire) -> None:
    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        async def around(message: Any) -> None:
            await send(message)

        assert scope["extensions"][WHOLE](around, 200, b"content-length: 0\r\n", b"") is False
        await in_two(scope, receive, around)

    wire.protocol.app = wrapped
    assert b"HTTP/1.1 201 Created" in b"".join(await wire.answers(request()))
