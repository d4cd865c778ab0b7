"""A partner's platform by script: it answers over real HTTP what a test tells it to, and keeps what it was asked."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple, TypeAlias

from aiohttp import web

from schemas.ocpi.interface import interface

TOKEN: Final = "their-token-that-nobody-may-see"
"""What it gives in its credentials."""


class Asked(NamedTuple):
    """A request that it got."""

    method: str
    path: str
    authorization: str
    headers: Mapping[str, str]
    body: Any


Answer: TypeAlias = "web.Response | Callable[[Asked], web.StreamResponse | Awaitable[web.StreamResponse]]"


class Counterpart:
    """A CPO NL*TNM; `answers` replaces what it would answer, by method and path below its URL."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.versions_url = f"{url}/versions"
        self.version = "2.2.1"
        self.modules: list[tuple[str, str]] = [("locations", "SENDER"), ("tokens", "RECEIVER")]
        self.answers: dict[str, Answer] = {}
        self.asked: list[Asked] = []
        self.knows: set[str] | None = None
        """The texts that it takes for a token; None takes any."""

    def credentials(self, **changes: Any) -> dict[str, Any]:
        """Return its credentials as its version says them."""
        party = {"country_code": "NL", "party_id": "TNM", "business_details": {"name": "TNM"}}
        said: dict[str, Any] = {"token": TOKEN, "url": self.versions_url}
        said |= {"roles": [{"role": "CPO", **party}]} if interface(self.version).has_roles else party
        return said | changes

    def details(self, *more: Mapping[str, Any]) -> dict[str, Any]:
        """Return its version details."""
        modules = [("credentials", "SENDER"), *self.modules]
        endpoints = [{"identifier": name, "role": role, "url": f"{self.url}/{role}/{name}"} for name, role in modules]
        if not interface(self.version).has_roles:
            endpoints = [{"identifier": one["identifier"], "url": one["url"]} for one in endpoints]
        return {"version": self.version, "endpoints": [*endpoints, *more]}

    def to(self, method: str, path: str = "") -> list[Asked]:
        """Return the requests to a path."""
        return [one for one in self.asked if one.method == method and path in one.path]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        text = await request.text()
        authorization = request.headers.get("authorization", "")
        asked = Asked(request.method, request.path, authorization, dict(request.headers), json.loads(text) if text else None)
        self.asked.append(asked)
        if self.knows is not None and authorization.removeprefix("Token ") not in self.knows:
            return ocpi(None, 2000, 401)
        found = self.answers.get(f"{request.method} {request.path}")
        if callable(found):
            made = found(asked)
            return made if isinstance(made, web.StreamResponse) else await made
        if found is not None:  # one answer object is sent once
            return web.Response(body=found.body, status=found.status, headers={"content-type": found.content_type})
        match request.method, request.path:
            case "GET", "/versions":
                return ocpi([{"version": self.version, "url": f"{self.url}/details"}])
            case "GET", "/details":
                return ocpi(self.details())
            case "POST" | "PUT", "/SENDER/credentials":
                return ocpi(self.credentials())
            case "DELETE", "/SENDER/credentials":
                return ocpi(None)
        return web.Response(status=404)


def ocpi(data: Any, code: int = 1000, status: int = 200, message: str | None = None) -> web.Response:
    """Return an answer in OCPI's envelope."""
    said = {"data": data, "status_code": code, "timestamp": "2026-01-01T00:00:00Z"}
    return web.json_response(said | ({} if message is None else {"status_message": message}), status=status)


@asynccontextmanager
async def counterpart() -> AsyncIterator[Counterpart]:
    """Open one."""
    application = web.Application(client_max_size=2**20)
    runner = web.AppRunner(application, shutdown_timeout=0.1)

    async def handle(request: web.Request) -> web.StreamResponse:
        return await made.handle(request)

    application.router.add_route("*", "/{path:.*}", handle)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    made = Counterpart(f"http://{host}:{port}")
    try:
        yield made
    finally:
        await runner.cleanup()
        await asyncio.sleep(0)
