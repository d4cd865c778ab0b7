"""The OCPI interfaces that give: the Sender's lists, and the GET of the Receiver interfaces.

Source: OCPI 2.2.1 mod_sessions and mod_cdrs, transport_and_format (pagination); requirements 2 and 3.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

from api.access import Side
from api.errors import missing, no_such_path, not_allowed, unavailable
from api.exchange import Answer, Asked
from api.freshness import Freshness
from api.lookup import DocumentLookup
from api.pages import BEHIND_US, SOURCES, Page, Pages
from api.parameters import ListQuery, list_query
from api.versions import OFFERED, spoken, unknown_module
from schemas.ocpi.dialect import Dialect
from schemas.types import Instant, Module, date_time, identity, party_of
from streams.ports import TopicPartition
from streams.topics import CHARGING, lane, record_key

DATE_FROM: Final = frozenset({Module.SESSIONS})
"""The lists that need a date_from (OCPI 2.2.1 mod_sessions; requirements 10, point 8)."""

ID_CHARACTERS: Final = 255
"""A longer path segment can be no id in any version (the longest is 39 characters)."""

LOWERED_AT_ONCE: Final = 100
"""After so many documents of a page others get their turn: a whole page in one go would hold up every push."""


class SenderLists:
    """Answers `GET /ocpi/{version}/sender/{module}`. `cap` is the most objects on a page (`X-Limit`)."""

    def __init__(
        self, pages: Pages, freshness: Freshness, dialects: Mapping[str, Dialect], *, public_url: str, cap: int = 1000
    ) -> None:
        self._pages = pages
        self._freshness = freshness
        self._dialects = dialects
        self._public_url = public_url.rstrip("/")
        self._cap = cap

    async def __call__(self, asked: Asked) -> Answer:
        """Return a page; raises Refusal, LogUnavailable, StoreUnavailable."""
        _, version, _, *rest = asked.segments
        dialect = spoken(self._dialects, version)
        if len(rest) != 1:
            raise no_such_path(asked.path)
        module = _module(version, "SENDER", rest[0])
        if asked.method != "GET":
            raise not_allowed(asked.method, "GET")
        query = list_query(module, asked.query, self._cap, needs_date_from=module in DATE_FROM)
        until = query.cursor.complete_until if query.cursor else await self._complete_until(module, query, asked)
        page = await self._pages.read(module, asked.reader, query, until)
        headers = [(b"x-total-count", b"%d" % page.total), (b"x-limit", b"%d" % self._cap)]
        if page.next is not None:
            url = f"{self._public_url}/ocpi/{version}/sender/{module}?{query.next_page(page.next)}"
            headers.append((b"link", f'<{url}>; rel="next"'.encode()))
        return Answer(await self._array(dialect, module, page), headers)

    async def _complete_until(self, module: Module, query: ListQuery, asked: Asked) -> Instant:
        """Return W; raises Refusal (503) where so much may be missing that a short list would look whole."""
        source = SOURCES[module]
        until = await self._freshness.complete_until(source.projection, source.topic, asked.at)
        if asked.at - until > BEHIND_US and query.window.date_to > until:
            what = f"the {module} that came after {date_time(until)} are not in the tables yet; please try again"
            raise unavailable(what, retry_after_s=30)
        return until

    async def _array(self, dialect: Dialect, module: Module, page: Page) -> bytes:
        """Return the JSON array of a page. Nothing is decoded that the version says as the canonical form does."""
        bodies: list[bytes] = []
        for document in page.documents:
            bodies.append(dialect.lower(module, document).body)
            if len(bodies) % LOWERED_AT_ONCE == 0:
                await asyncio.sleep(0)
        return b"[%b]" % b",".join(bodies)


class ReceiverReads:
    """Answers `GET /ocpi/{version}/receiver/{module}/{country_code}/{party_id}/{id}` to the object's owner.

    It reads what the owner wrote: a Session is looked up once everything that its partition held at the request is folded,
    or `freshness` has waited long enough (then what is known is answered). `partitions` tells how many a topic has.
    """

    def __init__(
        self, lookup: DocumentLookup, freshness: Freshness, partitions: Callable[[str], int], dialects: Mapping[str, Dialect]
    ) -> None:
        self._lookup = lookup
        self._freshness = freshness
        self._partitions = partitions
        self._dialects = dialects

    async def __call__(self, asked: Asked) -> Answer:
        """Return the object; raises Refusal, LogUnavailable, StoreUnavailable."""
        _, version, _, *rest = asked.segments
        dialect = spoken(self._dialects, version)
        if not rest:
            raise no_such_path(asked.path)
        module = _module(version, "RECEIVER", rest[0])
        if len(rest) == 1:
            raise not_allowed(asked.method, "POST") if module is Module.CDRS else _not_here(module)
        if len(rest) != 4:
            raise _not_here(module)
        party, object_id = party_of(rest[1], rest[2]), rest[3]
        if not asked.reader.owns(party):
            raise missing(f"{party[:20]} is no party of this connection")
        if not object_id or len(object_id) > ID_CHARACTERS:
            raise missing("the path holds what can be no id")
        document = await self._document(module, party, object_id)
        if document is None:
            raise missing(f"no {module.value[:-1]} {object_id!r} of {party} is known")
        return Answer(dialect.lower(module, document).body, [])

    async def _document(self, module: Module, party: str, object_id: str) -> bytes | None:
        key = (party, identity(object_id))
        partitions = self._partitions(CHARGING)
        if module is Module.SESSIONS:
            await self._freshness.folded("sessions", [lane(CHARGING, record_key(party, object_id), partitions)])
            return (await self._lookup.documents(module, [key])).get(key)
        # A CDR never changes, so one that is found needs no waiting. Which partition an unknown one would stand in, its id
        # does not tell: it is keyed by its session.
        document = (await self._lookup.documents(module, [key])).get(key)
        if document is None:
            await self._freshness.folded("cdrs", [TopicPartition(CHARGING, partition) for partition in range(partitions)])
            document = (await self._lookup.documents(module, [key])).get(key)
        return document


def _module(version: str, side: Side, name: str) -> Module:
    for module in OFFERED[side]:
        if module.value == name:
            return module
    raise unknown_module(version, side, name)


def _not_here(module: Module) -> Exception:
    one = module.value[:-1]
    return missing(f"a {one} is at {module}/{{country_code}}/{{party_id}}/{{{one}_id}}")
