"""One OCPI request and its answer over ASGI: who asks, under which path, and the envelope around whatever came of it."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from time import perf_counter
from typing import Final, NamedTuple
from urllib.parse import quote

from starlette.routing import Match, Route
from starlette.types import Receive, Scope, Send

from api.access import Gate, Reader
from api.errors import Refusal, unavailable
from schemas.ocpi import response
from schemas.ocpi.headers import Headers, segments_of, taken_over
from schemas.ocpi.interface import interface
from schemas.types import Instant
from streams.metrics import Metrics
from streams.ports import Clock, LogUnavailable, StoreUnavailable

_log: Final = logging.getLogger(__name__)
_JSON: Final = (b"content-type", b"application/json")


class Asked(NamedTuple):
    """A request of a partner. `segments` is its percent-decoded path, `path` and `query` are as received."""

    reader: Reader
    method: str
    segments: tuple[str, ...]
    path: str
    query: bytes
    at: Instant


class Answer(NamedTuple):
    """A success: the JSON text of `data`, and the headers of its own."""

    data: bytes
    headers: Headers


Answering = Callable[[Asked], Awaitable[Answer]]


class OcpiRoute(Route):
    """A route for the paths that `wanted` takes, for one verb or for all.

    It looks at the path's parts itself: an id may hold anything, a line feed too, which Starlette's patterns do not match.
    """

    def __init__(self, name: str, wanted: Callable[[list[str]], bool], endpoint: "Endpoint", *, method: str | None = None) -> None:
        super().__init__("/ocpi/{rest:path}", endpoint, name=name, include_in_schema=False)
        self._wanted = wanted
        self._method = method

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope["type"] != "http" or (self._method is not None and scope["method"] != self._method):
            return Match.NONE, {}
        parts = path_of(scope).split("/", 4)
        if len(parts) > 2 and not parts[0] and parts[1] == "ocpi" and self._wanted(parts[2:]):
            return Match.FULL, {"endpoint": self.endpoint}
        return Match.NONE, {}


class Endpoint:
    """Answers partners in OCPI: authenticated first, in the envelope always, whatever goes wrong."""

    def __init__(self, interface: str, gate: Gate, clock: Clock, metrics: Metrics, answering: Answering) -> None:
        """`interface` is what the metrics call it."""
        self._interface = interface
        self._gate = gate
        self._clock = clock
        self._metrics = metrics
        self._answering = answering

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers: dict[bytes, bytes] = dict(scope["headers"])
        started = perf_counter()
        try:
            answer = await self._answer(scope, headers)
        except asyncio.CancelledError:  # the server stops and waits no longer
            await self._refuse(scope, headers, send, unavailable("this process stops; please ask again"))
            raise
        except Exception as fault:
            return await self._refuse(scope, headers, send, refusal_of(fault))
        self._metrics.count("roamlog_read_requests_total", self._interface, "served")
        self._metrics.observe("roamlog_read_seconds", perf_counter() - started)
        carried = taken_over(headers, path_of(scope))
        await _send(send, 200, response.success(answer.data, self._clock.now()), [*answer.headers, *carried])

    async def _refuse(self, scope: Scope, headers: dict[bytes, bytes], send: Send, refusal: Refusal) -> None:
        self._count(refusal)
        code = interface(_version(path_of(scope))).code(refusal.code)
        body = response.error(code, refusal.message, self._clock.now())
        await _send(send, refusal.http, body, [*refusal.headers, *taken_over(headers, path_of(scope))])

    def _count(self, refusal: Refusal) -> None:
        if refusal.http == 401:
            self._metrics.count("roamlog_unauthenticated_total")
        else:
            outcome = "refused" if refusal.http < 500 else "unavailable" if refusal.http == 503 else "failed"
            self._metrics.count("roamlog_read_requests_total", self._interface, outcome)

    async def _answer(self, scope: Scope, headers: Mapping[bytes, bytes]) -> Answer:
        at = self._clock.now()
        reader = await self._gate.partner(headers.get(b"authorization", b""))
        raw_path: bytes = (scope.get("raw_path") or quote(scope["path"]).encode())[len(scope.get("root_path", "")) :]
        segments = segments_of(raw_path)
        if segments is None:
            raise Refusal(404, response.Status.INVALID_PARAMETERS, "the path is no UTF-8")
        path = raw_path.decode("latin-1")
        return await self._answering(Asked(reader, scope["method"], segments, path, scope.get("query_string", b""), at))


def path_of(scope: Scope) -> str:
    """Return the path below the application's own root."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


def _version(path: str) -> str:
    return path.split("/", 3)[2] if path.count("/") > 1 else ""


def refusal_of(fault: Exception) -> Refusal:
    """Return the answer that an exception means; what nobody foresaw is logged and answered as OCPI 3000."""
    match fault:
        case Refusal():
            return fault
        case StoreUnavailable():
            return unavailable("the tables cannot be read now; please try again")
        case LogUnavailable():
            return unavailable("the event log cannot be read now; please try again")
    _log.error("a request failed unexpectedly", exc_info=fault)
    return Refusal(500, response.Status.SERVER_ERROR, "this should not have happened; the operator's log says more")


async def _send(send: Send, status: int, body: bytes, headers: Headers) -> None:
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": status, "headers": [_JSON, length, *headers]})
    await send({"type": "http.response.body", "body": body})
