"""What partners write, over HTTP: paths, headers, limits. Everything that decides is in push.py and authorize.py.

Two routes share one endpoint: the hot one for the verbs that write stands first, and the other, which stands last, answers
in OCPI whatever no route wanted. An endpoint reads the ASGI scope itself: Starlette's Request costs as much as the rest.
"""

import asyncio
from collections.abc import Callable
from time import perf_counter
from typing import Final, Protocol, TypeAlias
from urllib.parse import quote

from starlette.routing import Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ingest import auth, credentials
from ingest.authorize import Authorize
from ingest.credentials import Credentials, CredentialsRequest
from ingest.partners import Connection, PartnerRegistry
from ingest.push import Push
from ingest.requests import UNAVAILABLE, Answer, PushRequest, Refusal
from schemas.ocpi.headers import FROM, TO, routing_party, segments_of, taken_over
from schemas.ocpi.response import error, success
from streams.metrics import Metrics
from streams.ports import Clock, LogUnavailable

BODY_BYTES: Final = 4 * 1024 * 1024
"""The default limit of a request's body."""

WHOLE: Final = "roamlog.whole"
"""The ASGI extension of a server that takes an answer in one piece: a callable of the request's `send`, status, header lines
and body, the lines with their ends and a Content-Length among them. It tells whether it took the answer."""

RECEIVER: Final = "receiver"
SENDER: Final = "sender"
_ASKED_OF: Final = ("tokens/", "sessions/")
_ASKED: Final = ("/authorize", "/charging_preferences")
_WRITES: Final = frozenset({"PUT", "PATCH", "POST", "DELETE"})
_JSON: Final = (b"content-type", b"application/json")
_LINE: Final = b"%b: %b\r\n"
_OPENING: Final = _LINE % _JSON + b"content-length: %d\r\n"
_PLAIN_JSON: Final = frozenset({b"application/json", b"application/json; charset=utf-8", b"application/json;charset=utf-8"})
_STOPPING: Final = UNAVAILABLE._replace(message="this process stops, and cannot say whether that was done; please send it again")
_UNKNOWN: Final = Answer(401, 2000, "the Authorization header holds no token that is known here")


class WritesFirst:
    """An ASGI application that takes pushes itself, and what `authorize` answers, and leaves everything else to `app`.

    What a framework wraps around every request costs as much as a push, and a push needs none of it.
    """

    def __init__(
        self,
        app: ASGIApp,
        push: Push,
        registry: PartnerRegistry,
        clock: Clock,
        metrics: Metrics,
        *,
        authorize: Authorize | None = None,
        body_bytes: int = BODY_BYTES,
    ) -> None:
        self._app = app
        common = (registry, clock, metrics, body_bytes)
        self._endpoints = {RECEIVER: _Endpoint(push, "roamlog_push_seconds", *common)}
        if authorize is not None:
            self._endpoints[SENDER] = _Endpoint(authorize, "roamlog_authorization_seconds", *common)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] in _WRITES:
            endpoint = self._endpoints.get(_interface(scope))
            if endpoint is not None:
                return await endpoint(scope, receive, send)
        return await self._app(scope, receive, send)


def routes(
    push: Push,
    registry: PartnerRegistry,
    clock: Clock,
    metrics: Metrics,
    *,
    authorize: Authorize | None = None,
    body_bytes: int = BODY_BYTES,
) -> list[Route]:
    """Return the hot routes: every write below `/ocpi/{version}/receiver/`, and what `authorize` answers below `/sender/`.

    They belong before all others.
    """
    common = (registry, clock, metrics, body_bytes)
    found: list[Route] = [_Route(RECEIVER, _Endpoint(push, "roamlog_push_seconds", *common), sorted(_WRITES))]
    if authorize is not None:
        found.append(_Route(SENDER, _Endpoint(authorize, "roamlog_authorization_seconds", *common), sorted(_WRITES)))
    return found


def fallback(push: Push, registry: PartnerRegistry, clock: Clock, metrics: Metrics, *, body_bytes: int = BODY_BYTES) -> list[Route]:
    """Return the route that answers every other request below `/ocpi/{version}/receiver/`; it belongs after all others."""
    return [_Route(RECEIVER, _Endpoint(push, "roamlog_push_seconds", registry, clock, metrics, body_bytes), None)]


def registration(taking: Credentials, registry: PartnerRegistry, clock: Clock, metrics: Metrics) -> list[Route]:
    """Return the route of `/ocpi/{version}/credentials`; it belongs before all that answer below `/ocpi/{version}`."""
    return [_Registration(_Door(taking, registry, clock, metrics))]


class _Registration(Route):
    """Matches `/ocpi/{version}/credentials`, whatever the verb."""

    def __init__(self, endpoint: "_Door") -> None:
        super().__init__("/ocpi/{version}/credentials", endpoint, name="credentials", include_in_schema=False)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope["type"] != "http":
            return Match.NONE, {}
        parts = _path(scope).split("/")
        is_ours = len(parts) in {4, 5} and parts[:2] == ["", "ocpi"] and parts[3] == "credentials" and parts[4:] in ([], [""])
        return (Match.FULL, {"endpoint": self.endpoint}) if is_ours else (Match.NONE, {})


class _Route(Route):
    """Matches by the path's beginning: an id may hold anything, a line feed too, which Starlette's patterns do not match."""

    def __init__(self, interface: str, endpoint: "_Endpoint", methods: list[str] | None) -> None:
        super().__init__(
            f"/ocpi/{{version}}/{interface}/{{rest:path}}",
            endpoint,
            methods=methods,
            name=interface if methods else f"{interface}-rest",
            include_in_schema=False,
        )
        self._interface = interface

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope["type"] != "http" or (self.methods is not None and scope["method"] not in self.methods):
            return Match.NONE, {}
        return (Match.FULL, {"endpoint": self.endpoint}) if _interface(scope) == self._interface else (Match.NONE, {})


def _interface(scope: Scope) -> str:
    """Return which of our interfaces a path belongs to; of the Sender's only what is written there."""
    parts = _path(scope).split("/", 4)
    if len(parts) < 4 or parts[1] != "ocpi" or parts[0]:
        return ""
    if parts[3] == SENDER and len(parts) == 5:
        return SENDER if parts[4].startswith(_ASKED_OF) and parts[4].rstrip("/").endswith(_ASKED) else ""
    return RECEIVER if parts[3] == RECEIVER else ""


def _path(scope: Scope) -> str:
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


class _Taking(Protocol):
    """Who answers a request."""

    async def receive(self, request: PushRequest) -> Answer: ...

    async def refuse(self, request: PushRequest, refusal: Refusal) -> Answer: ...


_Whole: TypeAlias = Callable[[Send, int, bytes, bytes], bool]


class _TooLong(Exception):
    """The body passed the limit."""


class _Gone(Exception):
    """The client left before its body was whole."""


class _Endpoint:
    def __init__(  # noqa: PLR0917
        self, taking: _Taking, seconds: str, registry: PartnerRegistry, clock: Clock, metrics: Metrics, body_bytes: int
    ) -> None:
        """`seconds` is the histogram of how long answers take."""
        self._taking = taking
        self._seconds = seconds
        self._registry = registry
        self._clock = clock
        self._metrics = metrics
        self._body_bytes = body_bytes
        self._success = (-1, b"")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers: dict[bytes, bytes] = dict(scope["headers"])
        authorization = headers.get(b"authorization", b"")
        connection = self._registry.known(authorization)
        if connection is None:
            try:
                connection = await self._registry.authenticate(authorization)
            except LogUnavailable:
                return await self._send(scope, send, headers, UNAVAILABLE)
            if connection is None:
                self._metrics.count("roamlog_unauthenticated_total")
                return await self._send(scope, send, headers, _UNKNOWN)
        refusal = None
        try:
            self._check(headers.get(b"content-length"))
            message = await receive()
            body: bytes = message.get("body", b"")
            if message["type"] != "http.request" or message.get("more_body") or len(body) > self._body_bytes:
                body = await self._rest(receive, message)
        except _Gone:
            return None
        except _TooLong:
            body = b""
            limit = f"the body is longer than {self._body_bytes} bytes; it was not read"
            refusal = Refusal(Answer(413, 2001, limit, close=True), is_json=False)
        started = perf_counter()
        request = _request(scope, headers, connection, body)
        try:
            if refusal is not None:
                answer = await self._taking.refuse(request, refusal)
            else:
                answer = await self._taking.receive(request)
        except asyncio.CancelledError:  # the server stops and waits no longer
            await self._send(scope, send, headers, _STOPPING)
            raise
        self._metrics.observe(self._seconds, perf_counter() - started)
        await self._send(scope, send, headers, answer)

    def _check(self, declared: bytes | None) -> None:
        if declared is not None and declared.isdigit() and int(declared) > self._body_bytes:
            raise _TooLong

    async def _rest(self, receive: Receive, message: Message) -> bytes:
        """Return a body that did not come whole, or too long; raises _TooLong, reading no further, or _Gone."""
        chunks: list[bytes] = []
        size = 0
        while True:
            if message["type"] == "http.disconnect":
                raise _Gone
            chunks.append(message.get("body", b""))
            size += len(chunks[-1])
            if size > self._body_bytes:
                raise _TooLong
            if not message.get("more_body", False):
                return b"".join(chunks)
            message = await receive()

    async def _send(self, scope: Scope, send: Send, asked: dict[bytes, bytes], answer: Answer) -> None:
        now = self._clock.now()
        if answer.message is not None:
            body = error(answer.code, answer.message, now)
        elif answer.data is not None:
            body = success(answer.data, now)
        else:
            # An answer's timestamp is in milliseconds, so those of one millisecond are the same bytes.
            millisecond, body = self._success
            if millisecond != now // 1000:
                body = success(None, now)
                self._success = (now // 1000, body)
        headers = taken_over(asked, scope["path"] if not scope.get("root_path") else _path(scope))
        if answer.location is not None:
            headers.append((b"location", answer.location.encode()))
        if answer.http >= 400:
            headers += _of_errors(answer)
        elif "extensions" in scope:
            whole: _Whole | None = scope["extensions"].get(WHOLE)
            if whole is not None:
                lines = b"".join([_OPENING % len(body), *[_LINE % header for header in headers]])
                if whole(send, answer.http, lines, body):
                    return
        headers += [_JSON, (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": answer.http, "headers": headers})
        await send({"type": "http.response.body", "body": body})


class _Door:
    """Who wants to be a partner, is one, or was: any token that is known in any way gets an answer."""

    def __init__(self, taking: Credentials, registry: PartnerRegistry, clock: Clock, metrics: Metrics) -> None:
        self._taking = taking
        self._registry = registry
        self._clock = clock
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers: dict[bytes, bytes] = dict(scope["headers"])
        authorization = headers.get(b"authorization", b"")
        presented = auth.presented(authorization)
        try:
            bearer = await self._registry.bearer(authorization)
        except LogUnavailable:
            return await self._send(scope, send, headers, UNAVAILABLE)
        if bearer is None or presented is None:
            self._metrics.count("roamlog_unauthenticated_total")
            return await self._send(scope, send, headers, _UNKNOWN)
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            body += message.get("body", b"")
            if len(body) > credentials.BODY_BYTES:
                limit = f"the body is longer than {credentials.BODY_BYTES} bytes; it was not read"
                return await self._send(scope, send, headers, Answer(413, 2001, limit, close=True))
            if not message.get("more_body", False):
                break
        request = CredentialsRequest(
            bearer=bearer,
            presented=presented,
            method=scope["method"],
            version=_path(scope).split("/")[2],
            path=_path(scope),
            body=bytes(body),
            request_id=_text(headers[b"x-request-id"]) if b"x-request-id" in headers else None,
            correlation_id=_text(headers[b"x-correlation-id"]) if b"x-correlation-id" in headers else None,
        )
        await self._send(scope, send, headers, await self._taking.receive(request))

    async def _send(self, scope: Scope, send: Send, asked: dict[bytes, bytes], answer: Answer) -> None:
        now = self._clock.now()
        body = success(answer.data, now) if answer.message is None else error(answer.code, answer.message, now)
        headers = [*taken_over(asked, _path(scope)), *(_of_errors(answer) if answer.http >= 400 else ())]
        headers += [_JSON, (b"content-length", b"%d" % len(body)), (b"cache-control", b"no-store")]
        await send({"type": "http.response.start", "status": answer.http, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def _request(scope: Scope, headers: dict[bytes, bytes], connection: Connection, body: bytes) -> PushRequest:
    raw_path: bytes = scope.get("raw_path") or quote(scope["path"]).encode()
    # ('ocpi', version, 'receiver', module, …); () where the path is no UTF-8
    segments = segments_of(raw_path[len(scope.get("root_path", "")) :]) or ()
    query: bytes = scope.get("query_string", b"")
    content_type = headers.get(b"content-type")
    return PushRequest(
        connection=connection,
        method=scope["method"],
        version=segments[1] if segments else "",
        module=segments[3] if len(segments) > 3 else "",
        segments=segments[4:],
        path=(raw_path + b"?" + query if query else raw_path).decode("latin-1"),
        body=body,
        content_type=None if content_type is None or content_type in _PLAIN_JSON else _text(content_type),
        request_id=_text(headers[b"x-request-id"]) if b"x-request-id" in headers else None,
        correlation_id=_text(headers[b"x-correlation-id"]) if b"x-correlation-id" in headers else None,
        ocpi_from=routing_party(headers, FROM, _path(scope)) if b"ocpi-from-party-id" in headers else None,
        ocpi_to=routing_party(headers, TO, _path(scope)) if b"ocpi-to-party-id" in headers else None,
    )


def _text(value: bytes) -> str:
    """Return a header as it is kept: printable, 128 characters at most."""
    text = value[:128].decode("latin-1")
    return text if text.isprintable() else "".join(filter(str.isprintable, text))


def _of_errors(answer: Answer) -> list[tuple[bytes, bytes]]:
    headers = []
    if answer.http == 401:
        headers.append((b"www-authenticate", b"Token"))
    if answer.allow is not None:
        headers.append((b"allow", answer.allow.encode()))
    if answer.retry_after_s is not None:
        headers.append((b"retry-after", b"%d" % answer.retry_after_s))
    if answer.close:
        # Else the server would go on reading what nobody wants, to keep the connection.
        headers.append((b"connection", b"close"))
    return headers
