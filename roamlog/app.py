"""The application that partners and operators reach over HTTP: what ingest and api offer, in the order in which it is tried."""

from collections.abc import Mapping

from fastapi import FastAPI
from msgspec import Struct
from starlette.types import ASGIApp

from api.access import Reader, guest_of, reader_of
from api.app import Outlet, add_routes
from api.lookup import DocumentLookup
from ingest import http as receiver
from ingest.authorize import Authorize
from ingest.outbound import Outbound
from ingest.partners import Connection, PartnerRegistry
from ingest.push import Push
from ingest.secrets import Secrets
from ingest.sides import EitherSide
from roamlog.handshakes import credentials_of
from roamlog.node import Node
from roamlog.settings import Settings
from schemas.ocpi.dialect import Dialect
from streams.metrics import Metrics
from streams.ports import Clock, EventLog, Positions, TableStore


class House(Struct, frozen=True, kw_only=True):
    """What answers HTTP, whichever process has it. `topics` are all projections by name, with the topics that each folds."""

    settings: Settings
    log: EventLog
    store: TableStore
    positions: Positions
    clock: Clock
    metrics: Metrics
    dialects: Mapping[str, Dialect]
    topics: Mapping[str, tuple[str, ...]]
    lookup: DocumentLookup
    registry: PartnerRegistry
    secrets: Secrets
    push: Push
    outbound: Outbound


def house_of(node: Node) -> House:
    """Return what an open node has whose tables are open."""
    tables = node.tables
    return House(
        settings=node.settings,
        log=node.log,
        store=tables.store,
        positions=tables.runtime.progress,
        clock=node.clock,
        metrics=node.metrics,
        dialects=node.dialects,
        topics={projection.name: projection.topics for projection in tables.runtime.projections},
        lookup=tables.lookup,
        registry=node.registry,
        secrets=node.secrets,
        push=tables.push,
        outbound=node.outbound,
    )


def application(house: House, public_url: str) -> ASGIApp:
    """Return the application that takes and gives; `public_url` is where partners reach it."""
    limit = house.settings.body_limit_bytes
    pushed = (house.push, house.registry, house.clock, house.metrics)
    app = reading(house, public_url)
    app.router.routes.extend(receiver.fallback(*pushed, body_bytes=limit))
    taking = credentials_of(house.settings, house.registry, house.outbound, house.dialects, house.log, house.clock, public_url)
    app.router.routes[:0] = receiver.registration(taking, house.registry, house.clock, house.metrics)
    authorize = Authorize(
        log=house.log,
        dialects=house.dialects,
        clock=house.clock,
        tokens=house.lookup,
        positions=house.positions,
        registry=house.registry,
        metrics=house.metrics,
        wait_s=house.settings.read_wait_s,
    )
    writes_first = receiver.WritesFirst(app, *pushed, authorize=authorize, body_bytes=limit)
    return EitherSide(writes_first, house.registry)


def giving(house: House, public_url: str) -> ASGIApp:
    """Return the application that only gives, to partners of every version."""
    return EitherSide(reading(house, public_url), house.registry)


def reading(house: House, public_url: str) -> FastAPI:
    """Return the application that only gives: lists, objects, analytics, and how the process fares."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    readers = Readers(house.registry)
    add_routes(
        app,
        Outlet(
            store=house.store,
            log=house.log,
            positions=house.positions,
            clock=house.clock,
            metrics=house.metrics,
            dialects=house.dialects,
            projections=house.topics,
            lookup=house.lookup,
            authenticate=readers,
            welcome=readers.welcome,
            is_operator=house.secrets.is_operator,
            clients=house.registry.clients,
            public_url=public_url,
            is_hub=bool(house.settings.hub_party_id),
            page_limit=house.settings.page_limit,
            read_wait_s=house.settings.read_wait_s,
        ),
    )
    return app


class Readers:
    """The partners as readers; what a connection may read is worked out once."""

    def __init__(self, registry: PartnerRegistry) -> None:
        self._registry = registry
        self._known: dict[str, tuple[Connection, Reader]] = {}

    async def __call__(self, authorization: bytes) -> Reader | None:
        connection = self._registry.known(authorization) or await self._registry.authenticate(authorization)
        return None if connection is None else self._reader(connection)

    async def welcome(self, authorization: bytes) -> Reader | None:
        """Return who may look at versions and their details: partners, and who registers to become one."""
        connection = self._registry.known(authorization)
        if connection is not None:
            return self._reader(connection)
        bearer = await self._registry.bearer(authorization)
        if bearer is None:
            return None
        if bearer.is_partner and bearer.connection is not None:
            return self._reader(bearer.connection)
        return None if bearer.invitation is None else guest_of(bearer.name, bearer.invitation.roles)

    def _reader(self, connection: Connection) -> Reader:
        known = self._known.get(connection.name)
        if known is None or known[0] is not connection:
            known = connection, reader_of(connection.name, connection.roles, connection.parties)
            self._known[connection.name] = known
        return known[1]
