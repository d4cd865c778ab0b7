"""Everything that leaves, as routes on a FastAPI application."""

from collections.abc import Awaitable, Callable, Mapping
from functools import cache
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from msgspec import Struct
from starlette.exceptions import HTTPException

from api import analytics, docs, health
from api.access import Authenticate, Gate, IsOperator
from api.analytics import Analytics
from api.clients import ClientReads, KnownClients
from api.errors import Refusal, no_such_path, not_allowed
from api.exchange import Answering, Endpoint, OcpiRoute, refusal_of
from api.freshness import Freshness
from api.lookup import DocumentLookup
from api.lowering import Lowering
from api.ocpi import ReceiverReads, SenderReads
from api.pages import Pages
from api.twins import Twins
from api.versions import Versions
from schemas.ocpi import response
from schemas.ocpi.dialect import Dialect
from schemas.ocpi.headers import taken_over
from streams.metrics import Metrics
from streams.ports import Clock, EventLog, LogUnavailable, Positions, ResultTooLarge, StoreUnavailable, TableStore


class Outlet(Struct, frozen=True, kw_only=True):
    """What serving needs. `projections` are all that run, by name, with the topics that each folds.

    `welcome` says who may look at versions and their details: partners alone, where nobody registers.
    `clients` are the parties that a hub may tell of, `is_hub` whether we are one. `public_url` is where partners reach this
    house; `page_limit` the most objects on a page of an OCPI list; `read_wait_s` how long reads wait for what was written
    before them.
    """

    store: TableStore
    log: EventLog
    positions: Positions
    clock: Clock
    metrics: Metrics
    dialects: Mapping[str, Dialect]
    projections: Mapping[str, tuple[str, ...]]
    lookup: DocumentLookup
    authenticate: Authenticate
    is_operator: IsOperator
    clients: KnownClients
    public_url: str
    is_hub: bool = False
    welcome: Authenticate | None = None
    page_limit: int = 1000
    read_wait_s: float = 2.0


def add_routes(app: FastAPI, outlet: Outlet) -> None:
    """Add every route that reads: after those that push, before whatever answers the rest of `/ocpi/…/receiver/`.

    The application is to be made without FastAPI's own documentation (`docs_url=None, redoc_url=None, openapi_url=None`).
    Whatever fails on any route, a path that nobody offers and a verb that a path does not know are answered in OCPI's
    envelope.
    """
    gate = Gate(outlet.authenticate, outlet.is_operator)

    async def operator(request: Request) -> None:
        await gate.operator(request.headers.get("authorization", "").encode("latin-1", "replace"))

    twins = Twins(outlet.store, outlet.clock)
    freshness = Freshness(outlet.log, outlet.positions, outlet.read_wait_s)
    app.router.redirect_slashes = False
    app.router.routes += _ocpi(outlet, gate, twins, freshness)
    ready = health.Ready(outlet.log, outlet.positions, outlet.clock, outlet.projections)
    answers = Analytics(outlet.store, freshness, twins, outlet.clock, outlet.metrics)
    failure: dict[int | str, dict[str, Any]] = {
        "default": {"model": docs.Envelope, "description": "a failure; its HTTP status says which"}
    }
    app.include_router(health.router(ready, outlet.metrics.registry, operator))
    app.include_router(analytics.router(answers, analytics.questions(), operator), responses=failure)
    app.include_router(_documentation(app, outlet.dialects, operator))
    _answer_failures(app, outlet.clock)


def _ocpi(outlet: Outlet, gate: Gate, twins: Twins, freshness: Freshness) -> list[OcpiRoute]:
    pages, lookup, dialects = Pages(outlet.store, twins), outlet.lookup, outlet.dialects
    url, cap, is_hub = outlet.public_url, outlet.page_limit, outlet.is_hub
    lowering = Lowering(lookup, outlet.metrics)
    clients = ClientReads(outlet.clients, public_url=url, cap=cap, is_hub=is_hub)
    sender = SenderReads(pages, lookup, freshness, dialects, lowering, clients, public_url=url, cap=cap)
    receiver = ReceiverReads(lookup, freshness, outlet.log.partitions, dialects, lowering, clients)
    versions = Versions(dialects, url, is_hub=is_hub)

    door = Gate(outlet.welcome or outlet.authenticate, outlet.is_operator)

    def endpoint(interface: str, answering: Answering, gate: Gate = gate) -> Endpoint:
        return Endpoint(interface, gate, outlet.clock, outlet.metrics, answering)

    return [
        OcpiRoute("receiver-get", lambda parts: parts[1:2] == ["receiver"], endpoint("receiver", receiver), method="GET"),
        OcpiRoute("sender", lambda parts: parts[1:2] == ["sender"], endpoint("sender", sender)),
        OcpiRoute("versions", lambda parts: parts[1:2] not in (["receiver"], ["sender"]), endpoint("versions", versions, door)),
    ]


def _documentation(app: FastAPI, dialects: Mapping[str, Dialect], operator: Callable[[Request], Awaitable[None]]) -> APIRouter:
    router = APIRouter(dependencies=[Depends(operator)], include_in_schema=False)

    @cache
    def document() -> docs.Schema:
        return docs.openapi(app, dialects)

    @router.get("/openapi.json")
    async def for_programs() -> JSONResponse:
        return JSONResponse(document())

    @router.get("/docs")
    async def for_people() -> HTMLResponse:
        policy = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        return HTMLResponse(docs.page(document()), headers={"content-security-policy": policy})

    return router


def _answer_failures(app: FastAPI, clock: Clock) -> None:
    async def failed(request: Request, fault: Exception) -> Response:
        match fault:
            case RequestValidationError():
                error = fault.errors()[0]
                refusal = Refusal(400, response.Status.INVALID_PARAMETERS, f"{error['loc'][-1]}: {error['msg']}")
            case HTTPException(status_code=405):
                refusal = not_allowed(request.method, (fault.headers or {}).get("Allow", ""))
            case HTTPException(status_code=404):
                refusal = no_such_path(request.url.path)
            case HTTPException():
                refusal = Refusal(fault.status_code, response.Status.CLIENT_ERROR, str(fault.detail))
            case ResultTooLarge():
                text = "the answer has too many rows; narrow it by party, from and to"
                refusal = Refusal(400, response.Status.INVALID_PARAMETERS, text)
            case _:
                refusal = refusal_of(fault)
        body = response.error(refusal.code, refusal.message, clock.now())
        answer = Response(body, refusal.http, media_type="application/json")
        answer.raw_headers += [*refusal.headers, *taken_over(dict(request.headers.raw), request.url.path)]
        return answer

    for kind in (RequestValidationError, HTTPException, Refusal, ResultTooLarge, StoreUnavailable, LogUnavailable, Exception):
        app.add_exception_handler(kind, failed)
