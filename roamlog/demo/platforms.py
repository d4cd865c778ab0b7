"""The simulated platforms, operators and an eMSP: they push over HTTP and read back, lists page by page."""

import asyncio
import base64
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import aiohttp
import msgspec

from roamlog.demo.card import Card, Question
from roamlog.demo.charging import Object
from roamlog.demo.offer import Offer
from roamlog.demo.place import Place
from roamlog.demo.step import Step
from roamlog.demo.story import Story, strays
from roamlog.demo.world import Operator, Provider

LINES: Final = 24
"""How many sessions and sites of one platform are told at the same time."""

PAGE: Final = 500
ATTEMPTS: Final = 5

_T = TypeVar("_T")
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


class Crawl(msgspec.Struct):
    """What an eMSP got by following a list to its end."""

    objects: list[Object]
    pages: int
    total: int


class Platform:
    """Sends requests in the name of one party and keeps account of every answer."""

    def __init__(self, token: str, url: str, *, encodes_token: bool, version: str = "2.2.1") -> None:
        self.answers: Counter[tuple[str, str, int, int]] = Counter()
        self.dirt: Counter[tuple[str, str]] = Counter()
        self.surprises: list[str] = []
        self.seconds: list[float] = []
        self.pushes = 0
        self.version = version
        self._url = url
        shown = base64.b64encode(token.encode()).decode() if encodes_token else token
        self._headers = {"Authorization": f"Token {shown}", "Content-Type": "application/json"}

    @property
    def refused(self) -> int:
        """How many requests were refused and are therefore kept in `rejected`; of strangers nothing is kept."""
        return sum(count for (_, _, http, code), count in self.answers.items() if code != 1000 and http != 401)

    async def push(self, first: Sequence[Step], lines: Iterable[Sequence[Step]], pushed: Callable[[], None]) -> None:
        """Push `first` in its order, then the lines, several at a time; `pushed` is called after each answer."""
        waiting = iter(lines)
        connector = aiohttp.TCPConnector(limit=LINES)
        async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as client, asyncio.TaskGroup() as tasks:

            async def told() -> None:
                for line in waiting:
                    for step in line:
                        await self.send(client, step)
                        pushed()

            for step in first:
                await self.send(client, step)
                pushed()
            for _ in range(LINES):
                tasks.create_task(told())

    async def read(self, paths: Iterable[str]) -> list[Object | None]:
        """Return what is at each of the paths below the version's, None where there is nothing."""
        async with aiohttp.ClientSession(headers=self._headers) as client:
            found: list[Object | None] = []
            for path in paths:
                async with client.get(f"{self._url}/ocpi/{self.version}/{path}") as answer:
                    found.append(decoded(await answer.read()).data)
        return found

    async def crawl(self, module: str) -> Crawl:
        """Return every object of the Sender's list, page by page along its `Link`."""
        url: str | None = f"{self._url}/ocpi/{self.version}/sender/{module}?date_from=2020-01-01T00:00:00Z&limit={PAGE}"
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

    async def send(self, client: aiohttp.ClientSession, step: Step) -> Any:
        """Send a request, again where the server is busy, and return the `data` of the answer."""
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
        return envelope.data

    async def _hang_up(self, step: Step) -> None:
        """Send the request and break the connection before the answer, as a platform does whose time is up."""
        address = urlsplit(self._url)
        _, writer = await asyncio.open_connection(address.hostname, address.port)
        headers = "".join(f"{name}: {value}\r\n" for name, value in self._headers.items())
        head = f"{step.verb} {step.path} HTTP/1.1\r\nHost: {address.netloc}\r\n{headers}Content-Length: {len(step.body)}\r\n\r\n"
        writer.write(head.encode() + step.body)
        await writer.drain()
        writer.transport.abort()


class Script(msgspec.Struct, frozen=True):
    """All that an operator's platform has to tell."""

    offer: Offer
    places: Sequence[Place]
    stories: Sequence[Story]

    @property
    def lines(self) -> list[tuple[Step, ...]]:
        """What is told in its order; the lines beside each other."""
        return [place.steps for place in self.places] + [story.steps for story in self.stories]


class OperatorPlatform(Platform):
    """Pushes the script of one operator."""

    def __init__(self, operator: Operator, token: str, url: str, script: Script) -> None:
        super().__init__(token, url, encodes_token=operator.encodes_token)
        self.operator = operator
        self.script = script

    @property
    def requests(self) -> int:
        """How many requests the script has."""
        return sum(map(len, (self._first, *self.script.lines)))

    async def run(self, pushed: Callable[[], None]) -> None:
        """Push everything; `pushed` is called after each answer."""
        await self.push(self._first, self.script.lines, pushed)

    async def ask(self, questions: Sequence[Question]) -> list[Object | None]:
        """Return the AuthorizationInfo of every question, None where there is none."""
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=LINES), auto_decompress=False) as client:
            return list(await asyncio.gather(*(self.send(client, question.step) for question in questions)))

    async def read_back(self, every: int) -> list[tuple[str, Object, Object | None]]:
        """Return id, what we believe and what the Receiver interface gives back, for about so many objects of a module."""
        wanted = [
            *(("sessions", story.session) for story in _some(self.script.stories, every)),
            *(("cdrs", cdr) for story in _some(self.script.stories, every) for cdr in story.cdrs),
            *(("locations", place.location) for place in _some(self.script.places, every)),
            *(("tariffs", tariff) for tariff in self.script.offer.tariffs),
        ]
        below = [(module, one["id"], one) for module, one in wanted]
        # What its Location names no longer is still there under its own path (OCPI 2.2.1 mod_locations).
        below += [("locations", f"{place.site.id}/{evse['uid']}", evse) for place in self.script.places for evse in place.unlisted]
        owner = f"{self.operator.country_code}/{self.operator.party_id}"
        given = await self.read(f"receiver/{module}/{owner}/{name}" for module, name, _ in below)
        return [(name, one, found) for (_, name, one), found in zip(below, given, strict=True)]

    @property
    def _first(self) -> tuple[Step, ...]:
        return (*strays(self.operator), *self.script.offer.steps)


class ProviderPlatform(Platform):
    """Pushes the Tokens of one eMSP, and reads the Sender lists, as its drivers need it."""

    def __init__(self, provider: Provider, token: str, url: str, cards: Sequence[Card]) -> None:
        super().__init__(token, url, encodes_token=True)
        self.provider = provider
        self.cards = cards

    @property
    def requests(self) -> int:
        """How many requests the Tokens take."""
        return sum(len(card.steps) for card in self.cards)

    async def run(self, pushed: Callable[[], None]) -> None:
        """Push every Token; `pushed` is called after each answer."""
        await self.push((), [card.steps for card in self.cards], pushed)


def _some(of: Sequence[_T], count: int) -> Sequence[_T]:
    return of[:: max(1, len(of) // count)]
