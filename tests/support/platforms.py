"""Platforms that register with each other over real HTTP: the application itself, on a log in memory, without any tables."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import aiohttp
from away import NoStore
from outlet import Reply
from receiver import NOW, Tables

from api.lookup import DocumentLookup
from ingest.clients import Clients
from ingest.connections import Connection
from ingest.existence import Existence
from ingest.partners import PartnerRegistry
from ingest.push import Push
from ingest.registration import Registration
from ingest.secrets import Secrets
from roamlog.app import House, application
from roamlog.handshakes import outbound_of, own_parties, registration_of
from roamlog.listen import bound, server_of, url_of
from roamlog.settings import Settings
from schemas import envelope as envelopes
from schemas import rejected as rejections
from schemas.events import Envelope
from schemas.ocpi.discovery import discover
from schemas.rejected import Rejected
from streams.clock import FixedClock
from streams.logs.memory import MemoryLog
from streams.metrics import Metrics
from streams.ports import EventLog, TopicPartition
from streams.progress import Progress
from streams.topics import PARTNERS, REJECTED

DIALECTS: Final = discover()
VERSIONS: Final = tuple(DIALECTS)


class Platform:
    """A roamlog that listens at `url`."""

    def __init__(self, url: str, settings: Settings, log: MemoryLog, clock: FixedClock, versions: Sequence[str]) -> None:
        self.url = url
        self.versions_url = f"{url}/ocpi/versions"
        self.settings = settings
        self.log = log
        self.clock = clock
        self.registry = PartnerRegistry(log, b"pepper", clock, b"key", own_parties(settings))
        self.outbound = outbound_of(settings, clock)
        dialects = {version: DIALECTS[version] for version in versions}
        self.registration: Registration = registration_of(settings, self.registry, self.outbound, dialects, url)
        store, tables = NoStore(), Tables(log)
        metrics = Metrics()
        push = Push(
            log=log,
            dialects=dialects,
            clock=clock,
            existence=Existence(),
            lookup=tables,
            positions=tables,
            metrics=metrics,
            clients=Clients(self.registry, clock),
            public_url=url,
            patch_wait_s=0.05,
        )
        house = House(
            settings=settings,
            log=log,
            store=store,
            positions=Progress(),
            clock=clock,
            metrics=metrics,
            dialects=dialects,
            topics={},
            lookup=DocumentLookup(store),
            registry=self.registry,
            secrets=Secrets(b"pepper", "operator-token", b"key"),
            push=push,
            outbound=self.outbound,
        )
        self.app = application(house, url)
        self.session: aiohttp.ClientSession | None = None

    async def ask(
        self, method: str, path: str, token: str | None = None, body: object = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        """Ask it something; `path` may be a whole URL, `body` bytes or what becomes JSON."""
        url = path if path.startswith("http") else f"{self.url}/ocpi/{path}"
        sent = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        named = {"authorization": f"Token {token}"} if token is not None else {}
        if self.session is None:
            self.session = aiohttp.ClientSession()
        async with self.session.request(method, url, data=sent, headers=named | dict(headers or {})) as answer:
            return Reply(answer.status, {name.lower(): value for name, value in answer.headers.items()}, await answer.read())

    def partner(self, name: str) -> Connection:
        """Return a connection that must be there."""
        found = self.registry.get(name)
        assert found is not None, name
        return found

    def outbound_token(self, name: str) -> str:
        """Return the token that it presents to a partner."""
        token = self.registry.token_for(name)
        assert token is not None, name
        return token

    async def said(self) -> list[Envelope]:
        """Return what stands in ocpi.partners."""
        return [envelopes.decode(value) for value in await written(self.log, PARTNERS)]

    async def rejected(self) -> list[Rejected]:
        """Return what stands in ocpi.rejected."""
        return [rejections.decode(value) for value in await written(self.log, REJECTED)]

    async def close(self) -> None:
        if self.session is not None:
            await self.session.close()
        await self.outbound.close()


async def written(log: EventLog, topic: str) -> list[bytes]:
    """Return all records of a topic."""
    start = {TopicPartition(topic, partition): 0 for partition in range(log.partitions(topic))}
    found = []
    while page := await log.fetch(start, max_records=1000, wait_s=0):
        for lane, records in page.items():
            found += [record.value for record in records]
            start[lane] = records[-1].offset + 1
    return found


@asynccontextmanager
async def platform(
    *roles: str, versions: Sequence[str] = VERSIONS, log: MemoryLog | None = None, **options: Any
) -> AsyncIterator[Platform]:
    """Open a platform with these roles (`NL*TNM:CPO`) that speaks these versions."""
    given = {"allow_private_partners": True, "partner_timeout_s": 60.0} | options
    with bound("127.0.0.1", 0) as listener:
        settings = Settings(roles=",".join(roles) or "ZZ*RML:CPO,ZZ*RML:EMSP", **given)
        made = Platform(url_of(listener), settings, log or MemoryLog(), FixedClock(NOW), versions)
        server = server_of(made.app, settings)
        await server.startup(sockets=[listener])
        try:
            yield made
        finally:
            server.should_exit = True
            await made.close()
            await server.shutdown()
            await asyncio.sleep(0)
