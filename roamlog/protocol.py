"""uvicorn's HTTP/1.1 with one ASGI extension more, an answer that is whole leaves in one write, and with bounds.

ASGI sends a head and a body, uvicorn writes each at once, and to the network the second write costs as much as the first.
uvicorn waits for ever for a head that never ends and for a body that never comes, and what it refuses itself is no OCPI.
"""

import asyncio
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from ingest.http import WHOLE
from schemas.ocpi.response import Status, error
from streams.clock import SystemClock

HEAD_BYTES: Final = 64 * 1024
"""What a request's head may have. Its parts are joined as they come: an endless one would take memory and all the time there is."""

REQUEST_BYTES: Final = 16 * 1024 * 1024
"""What a request may have in all, read or not: more than any body that is taken, with room for its chunks."""


class Protocol(HttpToolsProtocol):
    """Offers `ingest.http.WHOLE` in every scope, refuses in OCPI what is too long, too slow or no HTTP; all else is uvicorn's."""

    _received = 0  # bytes since the last request was complete
    _began: float | None = None  # when the request began that is under way, or the connection that has none yet

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._began = self.loop.time()

    def data_received(self, data: bytes) -> None:
        self._received += len(data)
        super().data_received(data)
        if self._received > HEAD_BYTES:
            is_whole = self.cycle is not None and self.cycle.scope is self.scope
            if not is_whole:
                self._end(431, f"the head of a request may have {HEAD_BYTES} bytes")
            elif self._received > REQUEST_BYTES:
                self._end(413, f"a request may have {REQUEST_BYTES} bytes")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        scope: Any = self.scope
        scope["extensions"] = _EXTENSIONS
        self._began = self.loop.time()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._received, self._began = 0, None

    def expire(self, patience_s: float) -> None:
        """End the connection where the request under way began that long ago and has not come whole: it holds a place."""
        if self._began is not None and self.loop.time() - self._began > patience_s:
            self._end(408, f"the request did not come within {patience_s:g} seconds")

    def send_400_response(self, msg: str) -> None:
        self._end(400, "what was sent is no HTTP/1.1 request")

    def _end(self, status: int, message: str) -> None:
        """Answer the request under way, where it has none yet and it is its turn, and close."""
        if self.transport.is_closing():
            return
        cycle = self.cycle
        if cycle is None or (not cycle.response_started if cycle.scope is self.scope else cycle.response_complete):
            body = error(Status.CLIENT_ERROR, message, SystemClock().now())
            head = [*self.server_state.default_headers, (b"content-type", b"application/json"), (b"connection", b"close")]
            lines = b"".join([b"%b: %b\r\n" % header for header in [*head, (b"content-length", b"%d" % len(body))]])
            self.transport.write(STATUS_LINE[status] + lines + b"\r\n" + body)
        self.transport.close()


def _answer(send: object, status: int, head: bytes, body: bytes) -> bool:
    """Write status, default headers, `head` and body, as two ASGI messages would be; False where that must wait.

    Source: uvicorn's RequestResponseCycle.send, for an answer with a Content-Length.
    """
    # Whose `send` it is tells the request: what a scope holds must not hold the request, or only the collector would free it.
    cycle = getattr(send, "__self__", None)
    if not isinstance(cycle, RequestResponseCycle) or cycle.response_started or cycle.flow.write_paused:
        return False
    if cycle.disconnected:
        return True
    cycle.response_started = cycle.response_complete = True
    cycle.waiting_for_100_continue = False
    end = b"\r\n" if cycle.keep_alive else b"connection: close\r\n\r\n"
    cycle.transport.write(b"".join((_opening(status, cycle.default_headers), head, end, body)))
    cycle.message_event.set()
    if not cycle.keep_alive:
        cycle.transport.close()
    cycle.on_response()
    return True


_EXTENSIONS: Final = {WHOLE: _answer}


class _Openings:
    """Status lines with the default headers behind them, which stay the same for a second."""

    def __init__(self) -> None:
        self._headers: list[tuple[bytes, bytes]] = []
        self._made: dict[int, bytes] = {}

    def __call__(self, status: int, headers: list[tuple[bytes, bytes]]) -> bytes:
        if headers is not self._headers:
            self._headers, self._made = headers, {}
        made = self._made.get(status)
        if made is None:
            made = self._made[status] = STATUS_LINE[status] + b"".join([b"%b: %b\r\n" % header for header in headers])
        return made


_opening: Final = _Openings()
