"""The floor: a bare Starlette route that reads its body and does nothing with it; `on_fastapi` has it on a FastAPI app."""

from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


async def write(request: Request) -> Response:
    await request.body()
    return Response()


ROUTES = [
    Route("/sessions/{country_code}/{party_id}/{session_id}", write, methods=["PUT"]),
    Route("/locations/{country_code}/{party_id}/{location_id}/{evse_uid}", write, methods=["PATCH"]),
]
app = Starlette(routes=ROUTES)
on_fastapi = FastAPI()
on_fastapi.router.routes.extend(ROUTES)
