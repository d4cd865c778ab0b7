"""A whole house in one process: pushes over HTTP, a log in memory, the real projector over chDB, and everything that reads."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple
from urllib.parse import unquote

from fastapi import FastAPI
from starlette.types import ASGIApp, Message

from api.access import Reader, reader_of
from api.app import Outlet, add_routes
from api.lookup import DocumentLookup
from ingest import http
from ingest.authorize import Authorize
from ingest.clients import Clients
from ingest.existence import Existence
from ingest.partners import PartnerRegistry, party_roles
from ingest.push import Push
from schemas.ocpi.discovery import discover
from schemas.types import Instant
from streams.clock import FixedClock
from streams.generations import AnyProjection
from streams.logs.memory import MemoryLog
from streams.metrics import Metrics
from streams.ports import TableStore, TopicPartition
from streams.projections.cdrs import Cdrs
from streams.projections.crawls import Crawls
from streams.projections.ledger import Ledger
from streams.projections.locations import Locations
from streams.projections.rejected import Rejections
from streams.projections.sessions import Sessions
from streams.projections.tariffs import Tariffs
from streams.projections.tokens import Tokens
from streams.runtimes.embedded import Embedded

NOW: Final[Instant] = 1_790_000_000_000_000
"""2026-09-21T14:13:20Z, where the clock of a house begins."""

PROJECTIONS: Final[tuple[AnyProjection, ...]] = (
    *(Sessions(), Cdrs(), Ledger(), Locations(), Tariffs(), Tokens(), Rejections(), Crawls()),
)

OPERATOR: Final = "operator-token"
URL: Final = "https://hub.example"
SECOND: Final = 1_000_000


class Reply(NamedTuple):
    """An HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def code(self) -> int:
        """The OCPI status code."""
        return int(self.json["status_code"])

    @property
    def data(self) -> Any:
        """The data of the OCPI envelope."""
        return self.json["data"]

    @property
    def ids(self) -> list[str]:
        """The ids of the objects of a page."""
        return [one["id"] for one in self.data]


class House:
    """Partners `cpo` (NL*TNM), `msp` (DE*MSP), `rival` (FR*RIV, EMSP) and `other` (BE*BEC, CPO) are connected."""

    def __init__(
        self,
        log: MemoryLog,
        store: TableStore,
        runtime: Embedded,
        clock: FixedClock,
        *,
        page_limit: int,
        read_wait_s: float,
        is_hub: bool,
        url: str = URL,
    ) -> None:
        self.url = url
        self.version = "2.2.1"
        """In which version `push`, `post` and `put` write."""
        self.log = log
        self.store = store
        self.runtime = runtime
        self.clock = clock
        self.metrics = Metrics()
        self.registry = PartnerRegistry(log, b"pepper", clock)
        dialects, lookup = discover(), DocumentLookup(store)
        self.dialects = dialects
        push = Push(
            log=log,
            dialects=dialects,
            clock=clock,
            existence=Existence(),
            lookup=lookup,
            positions=runtime.progress,
            metrics=self.metrics,
            clients=Clients(self.registry, clock),
            public_url=url,
            patch_wait_s=0.05,
        )
        self.pusher = push
        app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
        authorize = Authorize(
            log=log,
            dialects=dialects,
            clock=clock,
            tokens=lookup,
            positions=runtime.progress,
            registry=self.registry,
            metrics=self.metrics,
            wait_s=read_wait_s,
        )
        app.router.routes[:0] = http.routes(push, self.registry, clock, self.metrics, authorize=authorize)
        outlet = Outlet(
            store=store,
            log=log,
            positions=runtime.progress,
            clock=clock,
            metrics=self.metrics,
            dialects=dialects,
            projections={one.name: one.topics for one in PROJECTIONS},
            lookup=lookup,
            authenticate=self._authenticate,
            is_operator=OPERATOR.__eq__,
            clients=self.registry.clients,
            is_hub=is_hub,
            public_url=url,
            page_limit=page_limit,
            read_wait_s=read_wait_s,
        )
        add_routes(app, outlet)
        app.router.routes += http.fallback(push, self.registry, clock, self.metrics)
        self.app: ASGIApp = app
        self.fastapi = app

    @property
    def receiver(self) -> str:
        """The Receiver interface of the version."""
        return f"/ocpi/{self.version}/receiver"

    @property
    def sender(self) -> str:
        """The Sender interface of the version."""
        return f"/ocpi/{self.version}/sender"

    async def _authenticate(self, authorization: bytes) -> Reader | None:
        connection = await self.registry.authenticate(authorization)
        return None if connection is None else reader_of(connection.name, connection.roles, connection.parties)

    async def connect(self, name: str, party: str, *roles: str) -> None:
        """Add a partner whose token is its name."""
        await self.registry.add(name, party_roles([party], roles), token=name)

    async def fold(self) -> None:
        """Fold what the log holds, and tell the readers that this was all."""
        while (await self.runtime.turn(wait_s=0)).records:
            pass
        for topic in {topic for one in PROJECTIONS for topic in one.topics}:
            ends = {TopicPartition(topic, partition): end for partition, end in (await self.log.end(topic)).items()}
            names = [one.name for one in PROJECTIONS if topic in one.topics]
            self.runtime.progress.at_end(names, ends, self.clock.now())

    async def push(self, *sessions: Mapping[str, Any], method: str = "PUT", by: str = "cpo") -> None:
        """Push Sessions, one a second, and fold them."""
        for one in sessions:
            owner = f"{one.get('country_code', 'NL')}/{one.get('party_id', 'TNM')}"
            path = f"{self.receiver}/sessions/{owner}/{one['id']}"
            reply = await self.ask(method, path, token=by, body=one)
            assert reply.code == 1000, reply
            self.clock.advance(SECOND)
        await self.fold()

    async def post(self, *cdrs: Mapping[str, Any], by: str = "cpo") -> None:
        """Post CDRs, one a second, and fold them."""
        for one in cdrs:
            reply = await self.ask("POST", f"{self.receiver}/cdrs", token=by, body=one)
            assert reply.code == 1000, reply
            self.clock.advance(SECOND)
        await self.fold()

    async def put(self, path: str, body: Mapping[str, Any], *, by: str = "cpo", method: str = "PUT") -> None:
        """Write an object below the Receiver interface, fold it, and let a second pass."""
        reply = await self.ask(method, f"{self.receiver}/{path}", token=by, body=body)
        assert reply.code == 1000, reply
        self.clock.advance(SECOND)
        await self.fold()

    async def get(self, path: str, token: str | None = "msp", headers: Mapping[str, str] | None = None) -> Reply:
        """GET a path; an URL of this house is one too."""
        return await self.ask("GET", path.removeprefix(self.url), token=token, headers=headers)

    async def ask(
        self,
        method: str,
        path: str,
        *,
        token: str | None,
        body: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Ask as an HTTP server would: the path as sent, percent-encoding and all."""
        sent = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        named = {} if token is None else {"authorization": f"Token {token}"}
        named |= {name.lower(): value for name, value in (headers or {}).items()}
        return await asked(self.app, method, path, sent, named)

    async def crawl(self, path: str, token: str = "msp") -> list[Reply]:
        """Return every page, following Link as it is."""
        pages = [await self.get(path, token)]
        while "link" in pages[-1].headers:
            assert len(pages) < 1000
            pages.append(await self.get(next_of(pages[-1]), token))
        return pages


@asynccontextmanager
async def house(
    store: TableStore, *, page_limit: int = 1000, read_wait_s: float = 0.05, is_hub: bool = False, url: str = URL
) -> AsyncIterator[House]:
    """Open a house on an empty store."""
    log, clock = MemoryLog(), FixedClock(NOW)
    runtime = Embedded(log, "log-1", store, PROJECTIONS, clock=clock, links=True)
    await runtime.start()
    try:
        made = House(log, store, runtime, clock, page_limit=page_limit, read_wait_s=read_wait_s, is_hub=is_hub, url=url)
        await made.connect("cpo", "NL*TNM", "CPO")
        await made.connect("msp", "DE*MSP", "EMSP")
        await made.connect("rival", "FR*RIV", "EMSP")
        await made.connect("other", "BE*BEC", "CPO")
        await made.fold()
        yield made
    finally:
        await runtime.close()


def next_of(reply: Reply) -> str:
    """Return the URL of the next page."""
    url, _, relation = reply.headers["link"].partition(">; ")
    assert relation == 'rel="next"'
    return url.removeprefix("<")


async def asked(app: ASGIApp, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Reply:
    raw_path, _, query = path.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(raw_path, errors="replace"),
        "raw_path": raw_path.encode("latin-1"),
        "query_string": query.encode("latin-1"),
        "root_path": "",
        "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()],
        "client": ("127.0.0.1", 40000),
        "server": ("127.0.0.1", 80),
    }
    sent: list[Message] = []
    incoming: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        return incoming.pop(0) if incoming else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    named: Sequence[tuple[bytes, bytes]] = sent[0]["headers"]
    answered = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in named}
    return Reply(sent[0]["status"], answered, b"".join(message.get("body", b"") for message in sent[1:]))
