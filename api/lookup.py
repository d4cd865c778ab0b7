"""The current documents by key: many callers, few queries."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Final, Generic, NamedTuple, TypeVar

import msgspec
from msgspec import Raw, Struct

from schemas.types import Module, identity
from streams import location_tree as tree
from streams.location_tree import Node
from streams.ports import StoreUnavailable, TableStore
from streams.projections.locations import Locations
from streams.values import octets

Key = tuple[str, ...]
"""What an object is found by: the owner as `NL*TNM`, then its lowered ids.

An EVSE's are its Location's and its own, a Connector's those of all three; a Token's are its uid and its type.
"""

KEYS: Final = 1000
"""How many keys one query asks for."""


class Query(NamedTuple):
    """A statement that takes `keys` and gives, per row, the parts of a key and then the document."""

    sql: str
    parts: int


# ORDER BY with a LIMIT makes ClickHouse read the documents last, of the rows that are left: half the time of a plain IN.
SESSIONS_BY_KEY: Final = """
SELECT party, session_id, doc
FROM sessions
WHERE served = 1 AND (party, session_id) IN {keys:Array(Tuple(String, String))}
ORDER BY party, session_id
LIMIT 1000
"""

# The same CDR id under two charging keys is two rows; the one that came first is the CDR.
CDRS_BY_KEY: Final = """
SELECT party, cdr_id, doc
FROM cdrs
WHERE (party, cdr_id) IN {keys:Array(Tuple(String, String))}
ORDER BY first_seen, charging_key
LIMIT 1 BY party, cdr_id
LIMIT 1000
"""

LOCATIONS_BY_KEY: Final = """
SELECT party, location_id, doc
FROM locations
WHERE served = 1 AND (party, location_id) IN {keys:Array(Tuple(String, String))}
ORDER BY party, location_id
LIMIT 1000
"""

# An EVSE that its Location no longer lists answers all the same (DESIGN: membership).
EVSES_BY_KEY: Final = """
SELECT party, location_id, evse_uid, doc
FROM evses
WHERE (party, location_id, evse_uid) IN {keys:Array(Tuple(String, String, String))}
ORDER BY party, location_id, evse_uid
LIMIT 1000
"""

LOCATION_STATES: Final = """
SELECT party, location_id, doc, state
FROM locations
WHERE (party, location_id) IN {keys:Array(Tuple(String, String))}
ORDER BY party, location_id
LIMIT 1000
"""

TARIFFS_BY_KEY: Final = """
SELECT party, tariff_id, doc
FROM tariffs
WHERE served = 1 AND (party, tariff_id) IN {keys:Array(Tuple(String, String))}
ORDER BY party, tariff_id
LIMIT 1000
"""

TOKENS_BY_KEY: Final = """
SELECT party, token_uid, type, doc
FROM tokens
WHERE served = 1 AND (party, token_uid, type) IN {keys:Array(Tuple(String, String, String))}
ORDER BY party, token_uid, type
LIMIT 1000
"""

# Whose a card is, its uid does not tell: the owners are few, so the sort key still leads to the rows.
TOKENS_BY_UID: Final = """
SELECT token_uid, type, party, doc
FROM tokens
WHERE served = 1 AND (token_uid, type) IN {keys:Array(Tuple(String, String))}
ORDER BY first_seen, party
LIMIT 100 BY token_uid, type
"""

# Who has the contract, its id does not tell: all Tokens are looked through, so few callers ask, and each is remembered.
CONTRACT_OWNERS: Final = """
SELECT lower(contract_id) AS contract, any(party)
FROM tokens
WHERE served = 1 AND contract IN {keys:Array(String)}
GROUP BY contract
HAVING uniqExact(party) = 1
"""

# Whose a Location is, its id does not tell a reader of the Sender interface.
OWNERS_OF_LOCATIONS: Final = """
SELECT location_id, party, publish
FROM locations
WHERE served = 1 AND location_id IN {keys:Array(String)}
ORDER BY first_seen, party
LIMIT 100 BY location_id
"""

_QUERIES: Final = {
    Module.LOCATIONS: Query(LOCATIONS_BY_KEY, 2),
    Module.SESSIONS: Query(SESSIONS_BY_KEY, 2),
    Module.CDRS: Query(CDRS_BY_KEY, 2),
    Module.TARIFFS: Query(TARIFFS_BY_KEY, 2),
    Module.TOKENS: Query(TOKENS_BY_KEY, 3),
}
_EVSES: Final = Query(EVSES_BY_KEY, 3)

FoundT = TypeVar("FoundT")


class DocumentLookup:
    """Reads of single documents, coalesced: while one query of a kind runs, the next one collects its keys."""

    def __init__(self, store: TableStore) -> None:
        self._store = store
        self._objects = {module: _Coalesced(partial(self._read, query)) for module, query in _QUERIES.items()}
        self._evses = _Coalesced(partial(self._read, _EVSES))
        self._connectors = _Coalesced(self._read_connectors)
        self._tokens = _Coalesced(self._read_tokens)
        self._owners = _Coalesced(self._read_owners)
        self._contracts = _Coalesced(self._read_contracts)

    async def documents(self, module: Module, keys: Sequence[Key]) -> dict[Key, bytes]:
        """Return the canonical JSON of those keys that a reader would be served, as of some instant after the call.

        Keys are (owner, lowered id, …); of locations some may be those of EVSEs and Connectors. Raises StoreUnavailable.
        """
        if module is not Module.LOCATIONS:
            return await self._objects[module].get(keys)
        found: dict[Key, bytes] = {}
        for parts, reads in ((2, self._objects[module]), (3, self._evses), (4, self._connectors)):
            if wanted := [key for key in keys if len(key) == parts]:
                found |= await reads.get(wanted)
        return found

    async def tokens(self, uid: str, kind: str) -> Sequence[tuple[str, bytes]]:
        """Return the owner and the canonical JSON of every Token of that uid and type, in any spelling.

        The one that came first stands first. Raises StoreUnavailable.
        """
        key = (identity(uid), identity(kind))
        return (await self._tokens.get([key])).get(key, [])

    async def owners(self, location_id: str) -> Sequence[tuple[str, bool]]:
        """Return who has a Location of that id, in any spelling, and whether it is to be published; who came first stands first.

        Raises StoreUnavailable.
        """
        key = (identity(location_id),)
        return (await self._owners.get([key])).get(key, [])

    async def _read(self, query: Query, keys: list[Key]) -> dict[Key, bytes]:
        found: dict[Key, bytes] = {}
        for start in range(0, len(keys), KEYS):
            for row in await self._store.query(query.sql, {"keys": keys[start : start + KEYS]}):
                found[tuple(map(_text, row[: query.parts]))] = octets(row[query.parts])
        return found

    async def _read_connectors(self, keys: list[Key]) -> dict[Key, bytes]:
        evses = await self._evses.get(list(dict.fromkeys(key[:3] for key in keys)))
        found: dict[Key, bytes] = {}
        for key in keys:
            for connector in _connectors.decode(evses[key[:3]]).connectors if key[:3] in evses else ():
                if identity(_id.decode(connector).id) == key[3]:
                    found[key] = bytes(connector)
        missing = [key for key in keys if key not in found]
        if missing:
            # What an EVSE no longer lists stands in its Location's tree alone.
            trees = await self._read_trees(list(dict.fromkeys(key[:2] for key in missing)))
            for key in missing:
                document = _unlisted(trees, key)
                if document is not None:
                    found[key] = document
        return found

    async def _read_trees(self, keys: list[Key]) -> dict[Key, Node]:
        found: dict[Key, Node] = {}
        for start in range(0, len(keys), KEYS):
            for party, location_id, doc, state in await self._store.query(LOCATION_STATES, {"keys": keys[start : start + KEYS]}):
                key = _text(party), _text(location_id)
                found[key] = _locations.decode(key, octets(doc), octets(state)).node
        return found

    async def contract_owners(self, contract_ids: Sequence[str]) -> dict[str, str]:
        """Return the party of each lowered contract_id that exactly one party's Tokens have, whether valid or not.

        Raises StoreUnavailable.
        """
        found = await self._contracts.get([(contract_id,) for contract_id in contract_ids])
        return {contract_id: party for (contract_id,), party in found.items()}

    async def _read_contracts(self, keys: list[Key]) -> dict[Key, str]:
        found: dict[Key, str] = {}
        for start in range(0, len(keys), KEYS):
            ids = [contract_id for (contract_id,) in keys[start : start + KEYS]]
            for contract_id, party in await self._store.query(CONTRACT_OWNERS, {"keys": ids}):
                found[(_text(contract_id),)] = _text(party)
        return found

    async def _read_tokens(self, keys: list[Key]) -> dict[Key, list[tuple[str, bytes]]]:
        found: dict[Key, list[tuple[str, bytes]]] = {}
        for start in range(0, len(keys), KEYS):
            for uid, kind, party, doc in await self._store.query(TOKENS_BY_UID, {"keys": keys[start : start + KEYS]}):
                found.setdefault((_text(uid), _text(kind)), []).append((_text(party), octets(doc)))
        return found

    async def _read_owners(self, keys: list[Key]) -> dict[Key, list[tuple[str, bool]]]:
        found: dict[Key, list[tuple[str, bool]]] = {}
        for start in range(0, len(keys), KEYS):
            ids = [location_id for (location_id,) in keys[start : start + KEYS]]
            for location_id, party, publish in await self._store.query(OWNERS_OF_LOCATIONS, {"keys": ids}):
                found.setdefault((_text(location_id),), []).append((_text(party), bool(publish)))
        return found


class _Batch(Generic[FoundT]):
    """The keys that callers wait for together, and what came of them."""

    def __init__(self) -> None:
        self.keys: dict[Key, None] = {}
        self.found: dict[Key, FoundT] | None = None
        self.failure: StoreUnavailable | None = None


class _Coalesced(Generic[FoundT]):
    """One kind of read: at most one query at a time, and the next one takes all keys that came meanwhile."""

    def __init__(self, read: Callable[[list[Key]], Awaitable[dict[Key, FoundT]]]) -> None:
        self._read = read
        self._turn = asyncio.Lock()
        self._next: _Batch[FoundT] = _Batch()

    async def get(self, keys: Sequence[Key]) -> dict[Key, FoundT]:
        """Return what is found of the keys, as of some instant after the call; raises StoreUnavailable."""
        batch = self._next
        batch.keys.update(dict.fromkeys(keys))
        async with self._turn:
            if batch.found is None and batch.failure is None:
                # From here on later callers wait for the next one. Whoever is cancelled in the query leaves `batch` to the
                # next of its waiters, who runs it anew.
                if self._next is batch:
                    self._next = _Batch()
                try:
                    batch.found = await self._read(list(batch.keys))
                except StoreUnavailable as failure:
                    batch.failure = failure
        if batch.failure is not None:
            raise batch.failure
        found = batch.found or {}
        return {key: found[key] for key in keys if key in found}


class _Connector(Struct):
    id: str


class _Connectors(Struct):
    connectors: list[Raw] = []


_id: Final = msgspec.json.Decoder(_Connector)
_connectors: Final = msgspec.json.Decoder(_Connectors)
_locations: Final = Locations()


def _unlisted(trees: Mapping[Key, Node], key: Key) -> bytes | None:
    location = trees.get(key[:2])
    evse = None if location is None else location.children.get(key[2])
    connector = None if evse is None else evse.children.get(key[3])
    return tree.document(connector, tree.CONNECTOR) if connector is not None and connector.served else None


def _text(value: object) -> str:
    return octets(value).decode()
