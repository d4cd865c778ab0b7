"""A Receiver interface on a log in memory: partners, routes, and tables that fold what the log holds."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
from fastapi import FastAPI
from starlette.types import ASGIApp, Message

from ingest import http
from ingest.admission import Key
from ingest.authorize import Authorize
from ingest.clients import Clients
from ingest.existence import Existence
from ingest.partners import Issued, PartnerRegistry, party_roles
from ingest.push import Push
from schemas import envelope as envelopes
from schemas import rejected as rejections
from schemas.events import Envelope, event_of
from schemas.ocpi.discovery import discover
from schemas.rejected import Rejected
from schemas.types import Instant, Module
from streams import location_tree as tree
from streams.clock import FixedClock
from streams.logs.memory import MemoryLog
from streams.metrics import Metrics
from streams.ports import Position, Record, StoreUnavailable, TopicPartition
from streams.projection import Projection, Recorded, row_version
from streams.projections.cdrs import Cdrs
from streams.projections.locations import Locations
from streams.projections.sessions import Sessions
from streams.projections.tariffs import Tariffs
from streams.projections.tokens import Tokens
from streams.topics import CHARGING, LOCATIONS, REJECTED, TARIFFS, TOKENS

NOW: Final[Instant] = 1_790_000_000_000_000
DIALECTS: Final = discover()


def session(session_id: str = "S1", **fields: Any) -> dict[str, Any]:
    """Return a Session of NL*TNM as OCPI 2.2.1 writes it."""
    return {
        "country_code": "NL",
        "party_id": "TNM",
        "id": session_id,
        "start_date_time": "2026-09-20T10:00:00Z",
        "kwh": 1.5,
        "cdr_token": {"country_code": "DE", "party_id": "MSP", "uid": "U1", "type": "RFID", "contract_id": "DE-MSP-C1"},
        "auth_method": "WHITELIST",
        "location_id": "LOC1",
        "evse_uid": "E1",
        "connector_id": "1",
        "currency": "EUR",
        "status": "ACTIVE",
        "last_updated": "2026-09-20T10:05:00Z",
    } | fields


def cdr(cdr_id: str = "C1", **fields: Any) -> dict[str, Any]:
    """Return a CDR of NL*TNM and session S1 as OCPI 2.2.1 writes it."""
    return {
        "country_code": "NL",
        "party_id": "TNM",
        "id": cdr_id,
        "start_date_time": "2026-09-20T10:00:00Z",
        "end_date_time": "2026-09-20T11:00:00Z",
        "session_id": "S1",
        "cdr_token": {"country_code": "DE", "party_id": "MSP", "uid": "U1", "type": "RFID", "contract_id": "DE-MSP-C1"},
        "auth_method": "WHITELIST",
        "cdr_location": {
            "id": "LOC1",
            "address": "Keizersgracht 1",
            "city": "Amsterdam",
            "country": "NLD",
            "coordinates": {"latitude": "52.37022", "longitude": "4.89517"},
            "evse_uid": "E1",
            "evse_id": "NL*TNM*E1",
            "connector_id": "1",
            "connector_standard": "IEC_62196_T2",
            "connector_format": "SOCKET",
            "connector_power_type": "AC_3_PHASE",
        },
        "currency": "EUR",
        "charging_periods": [{"start_date_time": "2026-09-20T10:00:00Z", "dimensions": [{"type": "ENERGY", "volume": 20.5}]}],
        "total_cost": {"excl_vat": 10.0, "incl_vat": 12.1},
        "total_energy": 20.5,
        "total_time": 1.0,
        "last_updated": "2026-09-20T11:01:00Z",
    } | fields


PROJECTIONS: Final[tuple[Projection[Any], ...]] = (Locations(), Sessions(), Cdrs(), Tariffs(), Tokens())
SHAPES: Final = (tree.LOCATION, tree.EVSE, tree.CONNECTOR)


class Tables:
    """The tables and their positions, folded from a log. While `stalled`, nothing more is folded; `away`, nothing answers."""

    def __init__(self, log: MemoryLog) -> None:
        self.stalled = False
        self.away = False
        self.asked: list[tuple[Module, tuple[Key, ...]]] = []
        self._log = log
        self._next = {
            TopicPartition(topic, partition): 0
            for topic in (CHARGING, LOCATIONS, TARIFFS, TOKENS)
            for partition in range(log.partitions(topic))
        }
        self._states: dict[str, dict[Key, Any]] = {projection.name: {} for projection in PROJECTIONS}

    async def documents(self, module: Module, keys: Sequence[Key]) -> Mapping[Key, bytes]:
        self.asked.append((module, tuple(keys)))
        await self._fold()
        if self.away:
            raise StoreUnavailable("the store is away")
        found = {key: self._document(module, key) for key in keys}
        return {key: document for key, document in found.items() if document is not None}

    async def tokens(self, uid: str, kind: str) -> Sequence[tuple[str, bytes]]:
        await self._fold()
        if self.away:
            raise StoreUnavailable("the store is away")
        states = [(key, state) for key, state in self._states["tokens"].items() if state is not None and state.served]
        states = [(key, state) for key, state in states if key[1:] == (uid.lower(), kind.lower())]
        states.sort(key=lambda one: (one[1].header.first_seen, one[0]))
        return [(key[0], msgspec.json.encode(state.fields)) for key, state in states]

    async def contract_owners(self, contract_ids: Sequence[str]) -> Mapping[str, str]:
        await self._fold()
        if self.away:
            raise StoreUnavailable("the store is away")
        found: dict[str, set[str]] = {}
        for key, state in self._states["tokens"].items():
            if state is not None and state.served:
                found.setdefault(json.loads(bytes(state.fields["contract_id"])).lower(), set()).add(key[0])
        return {contract: next(iter(found[contract])) for contract in contract_ids if len(found.get(contract, ())) == 1}

    async def reached(self, projection: str, upto: Position, timeout_s: float | None) -> bool:
        assert projection in self._states
        await self._fold()
        return self.folded(projection, TopicPartition(upto.topic, upto.partition)) > upto.offset

    def folded(self, projection: str, partition: TopicPartition) -> int:
        return self._next[partition]

    def complete_until(self, projection: str, topic: str) -> Instant:
        return 0

    def _document(self, module: Module, key: Key) -> bytes | None:
        states = self._states[module]
        match module:
            case Module.LOCATIONS:
                state = states.get(key[:2])
                node = None if state is None else state.node
                for below in key[2:]:
                    node = None if node is None else node.children.get(below)
                return None if node is None or not node.served else tree.document(node, SHAPES[len(key) - 2])
            case Module.SESSIONS:
                state = states.get(key)
                return None if state is None or "id" not in state.fields else msgspec.json.encode(state.fields)
            case Module.CDRS:
                for (*name, _), state in states.items():
                    if tuple(name) == key:
                        return msgspec.json.encode(state.fields)
                return None
            case Module.TARIFFS | Module.TOKENS:
                state = states.get(key)
                return None if state is None or not state.served else msgspec.json.encode(state.fields)

    async def _fold(self) -> None:
        while not self.stalled and (found := await self._log.fetch(self._next, max_records=1000, wait_s=0)):
            for lane, records in found.items():
                for record in records:
                    self._take(record)
                self._next[lane] = records[-1].offset + 1

    def _take(self, record: Record) -> None:
        envelope = envelopes.decode(record.value)
        one = Recorded(envelope, event_of(envelope), record.partition, row_version(0, record.offset))
        for projection in PROJECTIONS:
            key = projection.key(one) if record.topic in projection.topics else None
            if key is not None:
                states = self._states[projection.name]
                states[key], _ = projection.fold(states.get(key), one)


class Reply(NamedTuple):
    """An HTTP answer; `ocpi` is its envelope."""

    status: int
    headers: dict[str, str]
    ocpi: dict[str, Any]

    @property
    def code(self) -> int:
        """The OCPI status code."""
        return int(self.ocpi["status_code"])


class World:
    """One process that takes pushes, started anew by `restarted`."""

    def __init__(self, log: MemoryLog, clock: FixedClock, body_bytes: int = http.BODY_BYTES) -> None:
        self.log = log
        self.clock = clock
        self.metrics = Metrics()
        self.tables = Tables(log)
        self.existence = Existence()
        self.registry = PartnerRegistry(log, b"pepper", clock)
        self.push = Push(
            log=log,
            dialects=DIALECTS,
            clock=clock,
            existence=self.existence,
            lookup=self.tables,
            positions=self.tables,
            metrics=self.metrics,
            clients=Clients(self.registry, clock),
            public_url="https://hub.example",
            patch_wait_s=0.05,
        )
        self.authorize = Authorize(
            log=log,
            dialects=DIALECTS,
            clock=clock,
            tokens=self.tables,
            positions=self.tables,
            registry=self.registry,
            metrics=self.metrics,
            wait_s=0.05,
        )
        app = FastAPI()
        app.router.routes[:0] = http.routes(
            self.push, self.registry, clock, self.metrics, authorize=self.authorize, body_bytes=body_bytes
        )
        app.router.routes += http.fallback(self.push, self.registry, clock, self.metrics, body_bytes=body_bytes)
        self.app: ASGIApp = app

    async def partner(self, name: str = "tnm", *parties: str, roles: Sequence[str] = ("CPO",), **options: Any) -> Issued:
        return await self.registry.add(name, party_roles(parties or ("NL*TNM",), roles), **options)

    async def restarted(self) -> "World":
        world = World(self.log, self.clock)
        await world.registry.catch_up()
        return world

    async def ask(
        self,
        method: str,
        path: str,
        body: object = b"",
        *,
        token: str | None,
        headers: Mapping[str, str] | None = None,
        chunks: int = 1,
    ) -> Reply:
        """Ask as an HTTP server would: the path as sent, percent-encoding and all, behind `/ocpi/2.2.1/receiver/`."""
        sent = body if isinstance(body, bytes) else json.dumps(body).encode()
        named = {"content-length": str(len(sent)), "content-type": "application/json"} if chunks == 1 else {}
        if token is not None:
            named["authorization"] = f"Token {token}"
        named |= {name.lower(): value for name, value in (headers or {}).items()}
        return await asked(self.app, method, path, sent, named, chunks=chunks)

    async def envelopes(self, topic: str = CHARGING) -> list[Envelope]:
        """Return what stands in a topic."""
        return [envelopes.decode(record.value) async for record in self._records(topic)]

    async def rejected(self) -> list[Rejected]:
        """Return what stands in ocpi.rejected."""
        return [rejections.decode(record.value) async for record in self._records(REJECTED)]

    async def _records(self, topic: str) -> AsyncIterator[Record]:
        start = {TopicPartition(topic, partition): 0 for partition in range(self.log.partitions(topic))}
        while found := await self.log.fetch(start, max_records=1000, wait_s=0):
            for lane, records in found.items():
                for record in records:
                    yield record
                start[lane] = records[-1].offset + 1


async def asked(app: ASGIApp, method: str, path: str, body: bytes, headers: Mapping[str, str], *, chunks: int = 1) -> Reply:
    """Send one request to an ASGI app, its body in so many pieces, and return the answer."""
    whole = path if path.startswith("/") else f"/ocpi/2.2.1/receiver/{path}"
    raw_path, _, query = whole.partition("?")
    raw = raw_path.encode("latin-1")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": _decoded(raw),
        "raw_path": raw,
        "query_string": query.encode("latin-1"),
        "root_path": "",
        "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()],
        "client": ("127.0.0.1", 40000),
        "server": ("127.0.0.1", 80),
    }
    size = -(-len(body) // chunks) or 1
    pieces = [body[at : at + size] for at in range(0, len(body), size)] or [b""]
    incoming: list[Message] = [
        {"type": "http.request", "body": piece, "more_body": number < len(pieces) - 1} for number, piece in enumerate(pieces)
    ]
    sent: list[Message] = []

    async def receive() -> Message:
        return incoming.pop(0) if incoming else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    start = sent[0]
    answered = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in start["headers"]}
    content = b"".join(message.get("body", b"") for message in sent[1:])
    return Reply(start["status"], answered, json.loads(content))


def _decoded(raw: bytes) -> str:
    from urllib.parse import unquote_to_bytes

    return unquote_to_bytes(raw).decode("utf-8", errors="replace")
