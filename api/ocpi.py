"""The OCPI interfaces that give: the Sender's lists and Locations, and the GET of the Receiver interfaces.

Source: OCPI 2.2.1 mod_locations, mod_sessions, mod_cdrs, mod_tariffs, mod_tokens, transport_and_format (pagination).
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import unquote

from api.access import Side
from api.errors import Refusal, invalid, missing, no_such_path, not_allowed, unavailable
from api.exchange import Answer, Asked
from api.freshness import Freshness
from api.lookup import DocumentLookup, Key
from api.pages import BEHIND_US, SOURCES, Page, Pages
from api.parameters import ListQuery, list_query
from api.versions import OFFERED, spoken, unknown_module
from schemas.ocpi.dialect import Dialect, Level
from schemas.ocpi.response import Status
from schemas.types import Instant, Module, date_time, identity, party_of
from streams.ports import TopicPartition
from streams.topics import CHARGING, LOCATIONS, TARIFFS, TOKENS, lane, record_key

DATE_FROM: Final = frozenset({Module.SESSIONS})
"""The lists that need a date_from (OCPI 2.2.1 mod_sessions; requirements 10, point 8)."""

ID_CHARACTERS: Final = 255
"""A longer path segment can be no id in any version (the longest is 39 characters)."""

LOWERED_AT_ONCE: Final = 100
"""After so many documents of a page others get their turn: a whole page in one go would hold up every push."""


LEVELS: Final[tuple[Level, ...]] = ("location", "evse", "connector")

RFID: Final = "RFID"
"""The TokenType that a request means where it names none (OCPI 2.2.1 mod_tokens, Receiver Interface)."""

_UNKNOWN: Final = {Module.LOCATIONS: Status.UNKNOWN_LOCATION, Module.TOKENS: Status.UNKNOWN_TOKEN}
_TOPICS: Final = {Module.LOCATIONS: LOCATIONS, Module.SESSIONS: CHARGING, Module.TARIFFS: TARIFFS, Module.TOKENS: TOKENS}


class SenderReads:
    """Answers `GET /ocpi/{version}/sender/{module}`, and of locations `/{location_id}[/{evse_uid}[/{connector_id}]]`.

    `cap` is the most objects on a page (`X-Limit`).
    """

    def __init__(
        self,
        pages: Pages,
        lookup: DocumentLookup,
        freshness: Freshness,
        dialects: Mapping[str, Dialect],
        *,
        public_url: str,
        cap: int = 1000,
    ) -> None:
        self._pages = pages
        self._lookup = lookup
        self._freshness = freshness
        self._dialects = dialects
        self._public_url = public_url.rstrip("/")
        self._cap = cap

    async def __call__(self, asked: Asked) -> Answer:
        """Return a page or an object; raises Refusal, LogUnavailable, StoreUnavailable."""
        _, version, _, *rest = asked.segments
        dialect = spoken(self._dialects, version)
        if not rest:
            raise no_such_path(asked.path)
        module = _module(version, "SENDER", rest[0])
        if len(rest) > 1 and (module is not Module.LOCATIONS or len(rest) > 1 + len(LEVELS)):
            raise no_such_path(asked.path)
        if asked.method != "GET":
            raise not_allowed(asked.method, "GET")
        if len(rest) > 1:
            return await self._location(dialect, asked, rest[1:])
        return await self._list(dialect, module, asked, version)

    async def _location(self, dialect: Dialect, asked: Asked, ids: list[str]) -> Answer:
        """Return a Location, EVSE or Connector. The path names no owner: of several the reader gets the one that came first.

        What its parent no longer lists, such as a REMOVED EVSE, is given by its own path (OCPI 2.2.1 mod_locations).
        """
        _check(ids)
        projection, topic = SOURCES[Module.LOCATIONS].projection, SOURCES[Module.LOCATIONS].topic
        await self._freshness.complete_until(projection, topic, asked.at)
        reader = asked.reader
        owners = await self._lookup.owners(ids[0])
        keys = [(party, *map(identity, ids)) for party, publish in owners if reader.owns(party) or (reader.sees_offers and publish)]
        found = await self._lookup.documents(Module.LOCATIONS, keys) if keys else {}
        for key in keys:
            if key in found:
                return Answer(dialect.lower(Module.LOCATIONS, found[key], level=LEVELS[len(ids) - 1]).body, [])
        raise _unknown(Module.LOCATIONS, ids)

    async def _list(self, dialect: Dialect, module: Module, asked: Asked, version: str) -> Answer:
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

    Below a Location its EVSEs and their Connectors have paths of their own, and a Token's `?type=` is part of its name. It
    reads what the owner wrote: an object is looked up once everything that its partition held at the request is folded, or
    `freshness` has waited long enough (then what is known is answered). `partitions` tells how many a topic has.
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
        if not 4 <= len(rest) <= (6 if module is Module.LOCATIONS else 4):
            raise _not_here(module)
        party, ids = party_of(rest[1], rest[2]), rest[3:]
        if not asked.reader.owns(party):
            raise missing(f"{party[:20]} is no party of this connection")
        _check(ids)
        if module is Module.TOKENS:
            ids.append(_token_type(asked.query))
        document = await self._document(module, party, ids)
        if document is None:
            raise _unknown(module, ids, party)
        level = LEVELS[len(ids) - 1] if module is Module.LOCATIONS else LEVELS[0]
        return Answer(dialect.lower(module, document, level=level).body, [])

    async def _document(self, module: Module, party: str, ids: list[str]) -> bytes | None:
        key: Key = (party, *map(identity, ids))
        if module is not Module.CDRS:
            topic = _TOPICS[module]
            # A Token's records are keyed by its type and its uid, a Location's tree by the Location alone.
            named = reversed(ids) if module is Module.TOKENS else ids[:1]
            await self._freshness.folded(module.value, [lane(topic, record_key(party, *named), self._partitions(topic))])
            return (await self._lookup.documents(module, [key])).get(key)
        # A CDR never changes, so one that is found needs no waiting. Which partition an unknown one would stand in, its id
        # does not tell: it is keyed by its session.
        document = (await self._lookup.documents(module, [key])).get(key)
        if document is None:
            lanes = [TopicPartition(CHARGING, partition) for partition in range(self._partitions(CHARGING))]
            await self._freshness.folded("cdrs", lanes)
            document = (await self._lookup.documents(module, [key])).get(key)
        return document


def _module(version: str, side: Side, name: str) -> Module:
    for module in OFFERED[side]:
        if module.value == name:
            return module
    raise unknown_module(version, side, name)


def _check(ids: list[str]) -> None:
    if any(not one or len(one) > ID_CHARACTERS for one in ids):
        raise missing("the path holds what can be no id")


def _token_type(query: bytes) -> str:
    """Return the `type` of a Token that the query names; raises Refusal where it cannot be one."""
    given = [part[5:] for part in query.decode("latin-1").split("&") if part.startswith("type=")]
    if len(given) > 1:
        raise invalid("type is given twice")
    kind = unquote(given[0]) if given else RFID
    if not kind or len(kind) > ID_CHARACTERS:
        raise invalid("type can be no TokenType")
    return kind


def _unknown(module: Module, ids: list[str], party: str = "") -> Refusal:
    """Return the refusal of an object that is not known, in the module's own status code."""
    owner = f" of {party}" if party else ""
    match module:
        case Module.LOCATIONS:
            named = " of ".join(f"{level} {one!r}" for level, one in reversed(list(zip(LEVELS, ids, strict=False))))
        case Module.TOKENS:
            named = f"token {ids[0]!r} of type {ids[1][:40]}"
        case _:
            named = f"{module.value[:-1]} {ids[0]!r}"
    return missing(f"no {named}{owner} is known", _UNKNOWN.get(module, Status.INVALID_PARAMETERS))


def _not_here(module: Module) -> Refusal:
    one = module.value[:-1]
    below = "[/{evse_uid}[/{connector_id}]]" if module is Module.LOCATIONS else ""
    return missing(f"a {one} is at {module}/{{country_code}}/{{party_id}}/{{{one}_id}}{below}")
