"""uvicorn's HTTP/1.1 with one ASGI extension more: an answer that is whole leaves in one write.

ASGI sends a head and a body, uvicorn writes each at once, and to the network the second write costs as much as the first.
"""

from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from ingest.http import WHOLE


class Protocol(HttpToolsProtocol):
    """Offers `ingest.http.WHOLE` in every scope; all else is uvicorn's."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        scope: Any = self.scope
        scope["extensions"] = _EXTENSIONS


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
