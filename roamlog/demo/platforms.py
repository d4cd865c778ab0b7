"""The simulated platforms: operators that push over HTTP, and an eMSP that reads page by page."""

import asyncio
import base64
import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
import msgspec

from roamlog.demo.charging import Object
from roamlog.demo.story import Step, Story, strays
from roamlog.demo.world import Operator, Provider

LINES: Final = 24
"""How many sessions of one operator are told at the same time."""

PAGE: Final = 500
ATTEMPTS: Final = 5

_next: Final = re.compile(r'<([^>]+)>\s*;\s*rel="next"')


class _Exact(msgspec.Struct):
    """OCPI's response envelope, its numbers read exactly."""

    status_code: int
    data: Any = None
    status_message: str | None = None


def decoded(body: bytes) -> _Exact:
    """Return the envelope; every fraction is a Decimal."""
    return _envelope.decode(body)


_envelope: Final = msgspec.json.Decoder(_Exact, float_hook=Decimal)


class OperatorPlatform:
    """Pushes the stories of one operator and keeps account of every answer."""

    def __init__(self, operator: Operator, token: str, url: str, stories: Sequence[Story]) -> None:
        self.operator = operator
        self.stories = stories
        self.answers: Counter[tuple[str, str, int, int]] = Counter()
        self.dirt: Counter[tuple[str, str]] = Counter()
        self.surprises: list[str] = []
        self.seconds: list[float] = []
        self.pushes = 0
        self._url = url
        shown = base64.b64encode(token.encode()).decode() if operator.encodes_token else token
        self._headers = {"Authorization": f"Token {shown}", "Content-Type": "application/json"}

    @property
    def refused(self) -> int:
        """How many requests were refused and are therefore kept in `rejected`; of strangers nothing is kept."""
        return sum(count for (_, _, http, code), count in self.answers.items() if code != 1000 and http != 401)

    async def run(self, pushed: Callable[[], None]) -> None:
        """Push everything; `pushed` is called after each answer."""
        waiting = list(reversed(self.stories))
        connector = aiohttp.TCPConnector(limit=LINES)
        async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as client, asyncio.TaskGroup() as tasks:

            async def line() -> None:
                while waiting:
                    for step in waiting.pop().steps:
                        await self._send(client, step)
                        pushed()

            for step in strays(self.operator):
                await self._send(client, step)
                pushed()
            for _ in range(LINES):
                tasks.create_task(line())

    async def read_back(self, stories: Sequence[Story]) -> list[tuple[str, Object, Object | None]]:
        """Return id, what we believe and what the Receiver interface gives back, for each Session and CDR."""
        found: list[tuple[str, Object, Object | None]] = []
        owner = f"{self.operator.country_code}/{self.operator.party_id}"
        async with aiohttp.ClientSession(headers=self._headers) as client:
            for story in stories:
                for module, wanted in (("sessions", story.session), *(("cdrs", cdr) for cdr in story.cdrs)):
                    url = f"{self._url}/ocpi/2.2.1/receiver/{module}/{owner}/{wanted['id']}"
                    async with client.get(url) as answer:
                        found.append((wanted["id"], wanted, decoded(await answer.read()).data))
        return found

    async def _send(self, client: aiohttp.ClientSession, step: Step) -> None:
        if step.hang_up:
            await self._hang_up(step)
        headers = self._headers if step.token is None else self._headers | {"Authorization": f"Token {step.token}"}
        for attempt in range(ATTEMPTS):
            began = time.perf_counter()
            async with client.request(step.verb, self._url + step.path, data=step.body, headers=headers) as answer:
                body = await answer.read()
            self.seconds.append(time.perf_counter() - began)
            if answer.status != 503 or attempt == ATTEMPTS - 1:
                break
            await asyncio.sleep(0.2)
        self.pushes += 1
        envelope = decoded(body)
        self.answers[step.module, step.verb, answer.status, envelope.status_code] += 1
        if step.dirt:
            self.dirt[step.dirt, f"HTTP {answer.status}, OCPI {envelope.status_code}"] += 1
        if (answer.status, envelope.status_code) not in step.wants:
            said = f"HTTP {answer.status}, OCPI {envelope.status_code} {envelope.status_message}"
            self.surprises.append(f"{step.verb} {step.path} ({step.dirt or 'clean'}): {said}")

    async def _hang_up(self, step: Step) -> None:
        """Send the request and break the connection before the answer, as a platform does whose time is up."""
        address = urlsplit(self._url)
        _, writer = await asyncio.open_connection(address.hostname, address.port)
        headers = "".join(f"{name}: {value}\r\n" for name, value in self._headers.items())
        head = f"{step.verb} {step.path} HTTP/1.1\r\nHost: {address.netloc}\r\n{headers}Content-Length: {len(step.body)}\r\n\r\n"
        writer.write(head.encode() + step.body)
        await writer.drain()
        writer.transport.abort()


class Crawl(msgspec.Struct):
    """What an eMSP got by following a list to its end."""

    objects: list[Object]
    pages: int
    total: int


class ProviderPlatform:
    """Reads the Sender lists, as its drivers' bills need it."""

    def __init__(self, provider: Provider, token: str, url: str) -> None:
        self.provider = provider
        self._url = url
        self._headers = {"Authorization": f"Token {base64.b64encode(token.encode()).decode()}"}

    async def crawl(self, module: str) -> Crawl:
        """Return every object of the list, page by page along its `Link`."""
        url: str | None = f"{self._url}/ocpi/2.2.1/sender/{module}?date_from=2020-01-01T00:00:00Z&limit={PAGE}"
        crawl = Crawl([], 0, 0)
        async with aiohttp.ClientSession(headers=self._headers) as client:
            while url is not None:
                async with client.get(url) as answer:
                    envelope = decoded(await answer.read())
                    if envelope.status_code != 1000:
                        raise RuntimeError(
                            f"GET {url}: HTTP {answer.status}, OCPI {envelope.status_code} {envelope.status_message}"
                        )
                    follows = _next.search(answer.headers.get("Link", ""))
                    crawl.total = int(answer.headers["X-Total-Count"])
                crawl.objects += envelope.data
                crawl.pages += 1
                url = follows[1] if follows else None
        return crawl
