"""The OCPI interfaces that give: the Sender's lists and Locations, and the GET of the Receiver interfaces.

Source: OCPI 2.2.1 mod_locations, mod_sessions, mod_cdrs, mod_tariffs, mod_tokens, transport_and_format (pagination).
"""

from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import unquote

import msgspec
from msgspec import Struct

from api.clients import ClientReads
from api.errors import Refusal, invalid, missing, no_such_path, not_allowed, unavailable
from api.exchange import Answer, Asked
from api.freshness import Freshness
from api.lookup import DocumentLookup, Key
from api.lowering import CODES, Lowering, representable
from api.pages import BEHIND_US, SOURCES, Pages
from api.parameters import ListQuery, list_query
from api.versions import Spoken, spoken, unknown_module
from schemas.ocpi.dialect import Dialect, Level
from schemas.ocpi.interface import HUBCLIENTINFO, ID_CHARACTERS, RFID, TOKEN_TYPES, Side
from schemas.ocpi.response import Status
from schemas.types import Instant, Module, date_time, identity, instant, party_of
from streams.ports import TopicPartition
from streams.topics import CHARGING, LOCATIONS, TARIFFS, TOKENS, lane, record_key

LEVELS: Final[tuple[Level, ...]] = ("location", "evse", "connector")

_MODULES: Final = {module.value: module for module in Module}
_TOPICS: Final = {Module.LOCATIONS: LOCATIONS, Module.SESSIONS: CHARGING, Module.TARIFFS: TARIFFS, Module.TOKENS: TOKENS}


class SenderReads:
    """Answers `GET /ocpi/{version}/sender/{module}`, and of locations `/{location_id}[/{evse_uid}[/{connector_id}]]`.

    `cap` is the most objects on a page (`X-Limit`).
    """

    def __init__(  # noqa: PLR0917
        self,
        pages: Pages,
        lookup: DocumentLookup,
        freshness: Freshness,
        dialects: Mapping[str, Dialect],
        lowering: Lowering,
        clients: ClientReads,
        *,
        public_url: str,
        cap: int = 1000,
    ) -> None:
        self._pages = pages
        self._lookup = lookup
        self._freshness = freshness
        self._dialects = dialects
        self._lowering = lowering
        self._clients = clients
        self._public_url = public_url.rstrip("/")
        self._cap = cap

    async def __call__(self, asked: Asked) -> Answer:
        """Return a page or an object; raises Refusal, LogUnavailable, StoreUnavailable."""
        _, version, _, *rest = asked.segments
        speaks = spoken(self._dialects, version)
        if not rest:
            raise no_such_path(asked.path)
        if rest[0] == HUBCLIENTINFO and speaks.interface.tells_clients:
            return self._clients.listed(speaks, asked, rest[1:])
        module = _module(version, "SENDER", rest[0])
        single = module is Module.LOCATIONS and speaks.interface.single_locations
        if len(rest) > 1 and (not single or len(rest) > 1 + len(LEVELS)):
            raise no_such_path(asked.path)
        if asked.method != "GET":
            raise not_allowed(asked.method, "GET")
        if len(rest) > 1:
            return await self._location(speaks, asked, rest[1:])
        return await self._list(speaks, module, asked)

    async def _location(self, speaks: Spoken, asked: Asked, ids: list[str]) -> Answer:
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
            compares = speaks.interface.compares(Module.LOCATIONS)
            if key in found and (not compares or await spelt(self._lookup, Module.LOCATIONS, key, ids, found[key])):
                level = LEVELS[len(ids) - 1]
                of = (speaks, Module.LOCATIONS, found[key], reader, asked.at)
                return Answer(await self._lowering.one(*of, party=key[0], level=level), [])
        raise _unknown(Module.LOCATIONS, ids)

    async def _list(self, speaks: Spoken, module: Module, asked: Asked) -> Answer:
        query = list_query(module, asked.query, self._cap, speaks.interface.lists[module])
        until = query.cursor.complete_until if query.cursor else await self._complete_until(module, query, asked)
        page = await self._pages.read(module, asked.reader, query, until, representable(speaks.interface, module))
        bodies = await self._lowering.page(speaks, module, page.documents, asked.reader, asked.at)
        # Of a list with more pages nobody knows yet what the others withhold, and its total must not change on the way.
        is_whole = page.next is None and len(page.documents) == page.total
        total = len(bodies) if is_whole else page.total
        headers = [(b"x-total-count", b"%d" % total), (b"x-limit", b"%d" % self._cap)]
        if page.next is not None:
            url = f"{self._public_url}/ocpi/{speaks.dialect.version}/sender/{module}?{query.next_page(page.next)}"
            headers.append((b"link", f'<{url}>; rel="next"'.encode()))
        return Answer(b"[%b]" % b",".join(bodies), headers)

    async def _complete_until(self, module: Module, query: ListQuery, asked: Asked) -> Instant:
        """Return W; raises Refusal (503) where so much may be missing that a short list would look whole."""
        source = SOURCES[module]
        until = await self._freshness.complete_until(source.projection, source.topic, asked.at)
        # What began in a window may be told long after it; what changed in one is not.
        closed = not query.window.by_start and query.window.date_to <= until
        if asked.at - until > BEHIND_US and not closed:
            what = f"the {module} that came after {date_time(until)} are not in the tables yet; please try again"
            raise unavailable(what, retry_after_s=30)
        return until


class ReceiverReads:
    """Answers `GET /ocpi/{version}/receiver/{module}/{country_code}/{party_id}/{id}` to the object's owner.

    Below a Location its EVSEs and their Connectors have paths of their own, and a Token's `?type=` is part of its name. It
    reads what the owner wrote: an object is looked up once everything that its partition held at the request is folded, or
    `freshness` has waited long enough (then what is known is answered). `partitions` tells how many a topic has.
    """

    def __init__(  # noqa: PLR0917
        self,
        lookup: DocumentLookup,
        freshness: Freshness,
        partitions: Callable[[str], int],
        dialects: Mapping[str, Dialect],
        lowering: Lowering,
        clients: ClientReads,
    ) -> None:
        self._lookup = lookup
        self._freshness = freshness
        self._partitions = partitions
        self._dialects = dialects
        self._lowering = lowering
        self._clients = clients

    async def __call__(self, asked: Asked) -> Answer:
        """Return the object; raises Refusal, LogUnavailable, StoreUnavailable."""
        _, version, _, *rest = asked.segments
        speaks = spoken(self._dialects, version)
        if not rest:
            raise no_such_path(asked.path)
        if rest[0] == HUBCLIENTINFO and speaks.interface.tells_clients:
            return self._clients.one(asked, rest[1:])
        module = _module(version, "RECEIVER", rest[0])
        if len(rest) == 1:
            raise not_allowed(asked.method, "POST") if module is Module.CDRS else _not_here(module)
        if not 4 <= len(rest) <= (6 if module is Module.LOCATIONS else 4):
            raise _not_here(module)
        party, ids = party_of(rest[1], rest[2]), rest[3:]
        if not asked.reader.owns(party) or (not speaks.interface.folds_case and party != "*".join(rest[1:3])):
            raise missing(f"{'*'.join(rest[1:3])[:20]} is no party of this connection")
        _check(ids)
        document = await self._named(speaks, module, party, ids, asked.query)
        if document is None:
            raise _unknown(module, ids, party)
        level = LEVELS[len(ids) - 1] if module is Module.LOCATIONS else LEVELS[0]
        body = await self._lowering.one(speaks, module, document, asked.reader, asked.at, party=party, level=level)
        return Answer(body, [])

    async def _named(self, speaks: Spoken, module: Module, party: str, ids: list[str], query: bytes) -> bytes | None:
        """Return the document of a path, None where there is none in that spelling, if the version tells spellings apart."""
        if module is not Module.TOKENS:
            document = await self._document(module, party, ids)
        elif speaks.interface.types_tokens:
            ids.append(_token_type(query))
            document = await self._document(module, party, ids)
        else:
            document = await self._token(party, ids[0])
        if document is None or not speaks.interface.compares(module):
            return document
        return document if await spelt(self._lookup, module, (party, *map(identity, ids)), ids, document) else None

    async def _token(self, party: str, uid: str) -> bytes | None:
        """Return the Token that changed last of those with the uid, whatever their types."""
        lanes = {lane(TOKENS, record_key(party, kind, uid), self._partitions(TOKENS)) for kind in TOKEN_TYPES}
        await self._freshness.folded(Module.TOKENS.value, lanes)
        keys = [(party, identity(uid), identity(kind)) for kind in TOKEN_TYPES]
        found = await self._lookup.documents(Module.TOKENS, keys)
        return max(found.values(), key=_changed, default=None)

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
    module = _MODULES.get(name)
    if module is None:
        raise unknown_module(version, side, name)
    return module


async def spelt(lookup: DocumentLookup, module: Module, key: Key, ids: list[str], document: bytes) -> bool:
    """Return whether a path spells its ids as they are known, for a version in which another spelling is another id."""
    if module is not Module.LOCATIONS:
        return spelled(document) == ids[0]
    keys = [key[: depth + 1] for depth in range(1, len(ids) + 1)]
    found = await lookup.documents(module, keys)
    return all(spelled(found[one]) == own for one, own in zip(keys, ids, strict=True) if one in found)


class _Spelled(Struct, frozen=True):
    id: str | None = None
    uid: str | None = None
    last_updated: str | None = None


_spelled: Final = msgspec.json.Decoder(_Spelled)


def spelled(document: bytes) -> str:
    """Return the id of an object, its uid where it has one."""
    own = _spelled.decode(document)
    return own.uid or own.id or ""


def _changed(document: bytes) -> Instant:
    last_updated = _spelled.decode(document).last_updated
    return instant(last_updated) if last_updated else 0


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
            named = f"token {ids[0]!r}" + "".join(f" of type {kind[:40]}" for kind in ids[1:])
        case _:
            named = f"{module.value[:-1]} {ids[0]!r}"
    return missing(f"no {named}{owner} is known", CODES.get(module, Status.INVALID_PARAMETERS))


def _not_here(module: Module) -> Refusal:
    one = module.value[:-1]
    below = "[/{evse_uid}[/{connector_id}]]" if module is Module.LOCATIONS else ""
    return missing(f"a {one} is at {module}/{{country_code}}/{{party_id}}/{{{one}_id}}{below}")
