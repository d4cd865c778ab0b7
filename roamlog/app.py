"""The application that partners and operators reach over HTTP: what ingest and api offer, in the order in which it is tried."""

from fastapi import FastAPI
from starlette.types import ASGIApp

from api.access import Reader, reader_of
from api.app import Outlet, add_routes
from ingest import http as receiver
from ingest.authorize import Authorize
from ingest.partners import Connection
from roamlog.node import Node


def application(node: Node, public_url: str) -> ASGIApp:
    """Return the application of an open node whose tables are open; `public_url` is where partners reach it."""
    tables, limit = node.tables, node.settings.body_limit_bytes
    pushed = (tables.push, node.registry, node.clock, node.metrics)
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    outlet = Outlet(
        store=tables.store,
        log=node.log,
        positions=tables.runtime.progress,
        clock=node.clock,
        metrics=node.metrics,
        dialects=node.dialects,
        projections={projection.name: projection.topics for projection in tables.runtime.projections},
        lookup=tables.lookup,
        authenticate=_Readers(node),
        is_operator=node.secrets.is_operator,
        clients=node.registry.clients,
        public_url=public_url,
        is_hub=bool(node.settings.hub_party_id),
        page_limit=node.settings.page_limit,
        read_wait_s=node.settings.read_wait_s,
    )
    add_routes(app, outlet)
    app.router.routes.extend(receiver.fallback(*pushed, body_bytes=limit))
    authorize = Authorize(
        log=node.log,
        dialects=node.dialects,
        clock=node.clock,
        tokens=tables.lookup,
        positions=tables.runtime.progress,
        registry=node.registry,
        metrics=node.metrics,
        wait_s=node.settings.read_wait_s,
    )
    return receiver.WritesFirst(app, *pushed, authorize=authorize, body_bytes=limit)


class _Readers:
    """The partners as readers; what a connection may read is worked out once."""

    def __init__(self, node: Node) -> None:
        self._registry = node.registry
        self._known: dict[str, tuple[Connection, Reader]] = {}

    async def __call__(self, authorization: bytes) -> Reader | None:
        connection = self._registry.known(authorization) or await self._registry.authenticate(authorization)
        if connection is None:
            return None
        known = self._known.get(connection.name)
        if known is None or known[0] is not connection:
            known = connection, reader_of(connection.name, connection.roles, connection.parties)
            self._known[connection.name] = known
        return known[1]
