"""A partner's Sender over real HTTP whose lists change while they are read, and that answers badly where it is told to."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from aiohttp import web
from msgspec import Struct

Object = Mapping[str, Any]
TIMESTAMP: Final = "2026-09-21T14:13:20Z"


class Asked(Struct, frozen=True):
    """A request as it came; `path` with its query as sent."""

    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]


class Fault(Struct, frozen=True):
    """An answer in place of a page: what is sent, or nothing at all (`silent`), or a connection that ends (`hangs_up`)."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = {}
    silent: bool = False
    hangs_up: bool = False


class Sender:
    """Lists by module. `faults` answers a request by its number (from 1) in place of the list; `on_page` runs after each page."""

    def __init__(self, **lists: Sequence[Object]) -> None:
        self.lists: dict[str, list[Object]] = {module: list(objects) for module, objects in lists.items()}
        self.asked: list[Asked] = []
        self.faults: dict[int, Fault] = {}
        self.always: Fault | None = None
        self.cap = 1000
        self.links: Callable[[str, str], str | None] = lambda url, _: f'<{url}>; rel="next"'
        """Makes the Link of the URL of the next page and that of the page itself; None leaves it out."""
        self.total: Callable[[int], str | None] = str
        self.raw: dict[int, bytes] = {}
        """By place in a list, the bytes that stand for the object."""
        self.on_page: Callable[[int], None] = lambda _: None
        self.token = f"Token {base64.b64encode(b'partner-token').decode()}"
        self.date = ""
        """Its clock as the header Date has it; '' leaves that to the server."""
        self.version = "2.2.1"
        self.given = ""
        """The token that whoever registered gave us."""
        self.origin = ""
        self.release = asyncio.Event()

    def url(self, module: str) -> str:
        """Return where the list of a module is."""
        return f"{self.origin}/ocpi/sender/{module}"

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        path = request.raw_path
        if not path.startswith("/ocpi/sender/"):
            return await self._introduce(request)
        self.asked.append(Asked(path, dict(request.query), {name.lower(): value for name, value in request.headers.items()}))
        number = len(self.asked)
        fault = self.faults.get(number, self.always)
        if fault is not None:
            return await self._fail(request, fault)
        if request.headers.get("authorization") not in {self.token, "Token partner-token"}:
            return web.Response(status=401, body=b'{"status_code":2001,"timestamp":"%b"}' % TIMESTAMP.encode())
        module, _, object_id = request.path.removeprefix("/ocpi/sender/").partition("/")
        if module not in self.lists:
            return web.Response(status=404)
        if object_id:
            found = [one for one in self.lists[module] if one["id"] == object_id]
            if not found:
                return web.Response(status=404, body=b'{"status_code":2003,"timestamp":"%b"}' % TIMESTAMP.encode())
            return web.json_response({"data": found[0], "status_code": 1000, "timestamp": TIMESTAMP})
        return self._page(request, module, number)

    def _page(self, request: web.Request, module: str, number: int) -> web.Response:
        since, until = request.query.get("date_from"), request.query.get("date_to")
        kept = [
            (place, one)
            for place, one in enumerate(self.lists[module])
            if (since is None or one.get("last_updated", "9") >= since) and (until is None or one.get("last_updated", "0") < until)
        ]
        offset = int(request.query.get("offset", "0"))
        limit = min(int(request.query.get("limit", "1000")), self.cap)
        page = kept[offset : offset + limit]
        texts = [self.raw.get(place) or json.dumps(one).encode() for place, one in page]
        headers = {"content-type": "application/json", "x-limit": str(self.cap)}
        if self.date:
            headers["date"] = self.date
        if (total := self.total(len(kept))) is not None:
            headers["x-total-count"] = total
        if offset + limit < len(kept):
            here = f"{self.origin}{request.raw_path}"
            following = here.replace(f"offset={offset}", f"offset={offset + limit}")
            if (link := self.links(following, here)) is not None:
                headers["link"] = link
        self.on_page(number)
        body = b'{"data":[%b],"status_code":1000,"timestamp":"%b"}' % (b",".join(texts), TIMESTAMP.encode())
        return web.Response(body=body, headers=headers)

    async def _introduce(self, request: web.Request) -> web.Response:
        """Answer as the platform that offers the lists: whoever registers gets `partner-token`."""
        data: Any = None
        match request.method, request.path:
            case "GET", "/versions":
                data = [{"version": self.version, "url": f"{self.origin}/details"}]
            case "GET", "/details":
                modules = [("credentials", f"{self.origin}/credentials"), *((name, self.url(name)) for name in self.lists)]
                data = {
                    "version": self.version,
                    "endpoints": [{"identifier": name, "role": "SENDER", "url": url} for name, url in modules],
                }
            case "POST", "/credentials":
                self.given = (await request.json())["token"]
                party = {"role": "CPO", "country_code": "NL", "party_id": "TNM", "business_details": {"name": "TNM"}}
                data = {"token": "partner-token", "url": f"{self.origin}/versions", "roles": [party]}
            case _:
                return web.Response(status=404)
        return web.json_response({"data": data, "status_code": 1000, "timestamp": TIMESTAMP})

    async def _fail(self, request: web.Request, fault: Fault) -> web.StreamResponse:
        if fault.hangs_up:
            assert request.transport is not None
            request.transport.close()
            return web.Response()
        if fault.silent:
            await self.release.wait()
        return web.Response(status=fault.status, body=fault.body, headers={"content-type": "application/json", **fault.headers})


@asynccontextmanager
async def serving(sender: Sender) -> AsyncIterator[Sender]:
    """Serve on a free loopback port for the length of the block."""
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", sender.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert runner.addresses
    sender.origin = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield sender
    finally:
        sender.release.set()
        await runner.cleanup()
