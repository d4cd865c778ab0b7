"""The floor: a bare Starlette PUT route that reads its body and does nothing with it."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


async def put(request: Request) -> Response:
    await request.body()
    return Response()


app = Starlette(routes=[Route("/sessions/{country_code}/{party_id}/{session_id}", put, methods=["PUT"])])
