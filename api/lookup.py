"""The current documents by key: many callers, few queries."""

import asyncio
from collections.abc import Sequence
from typing import Final

from schemas.types import Module
from streams.ports import StoreUnavailable, TableStore

Key = tuple[str, ...]
"""What an object is found by: the owner as `NL*TNM`, then its lowered id."""

KEYS: Final = 1000
"""How many keys one query asks for."""

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

_QUERIES: Final = {Module.SESSIONS: SESSIONS_BY_KEY, Module.CDRS: CDRS_BY_KEY}


class _Batch:
    """The keys that callers wait for together, and what came of them."""

    def __init__(self) -> None:
        self.keys: dict[Key, None] = {}
        self.found: dict[Key, bytes] | None = None
        self.failure: StoreUnavailable | None = None


class DocumentLookup:
    """Reads of single documents, coalesced: while one query of a module runs, the next one collects its keys."""

    def __init__(self, store: TableStore) -> None:
        self._store = store
        self._turns = {module: asyncio.Lock() for module in _QUERIES}
        self._next = {module: _Batch() for module in _QUERIES}

    async def documents(self, module: Module, keys: Sequence[Key]) -> dict[Key, bytes]:
        """Return the canonical JSON of those keys that a reader would be served, as of some instant after the call.

        Keys are (owner, lowered id). Raises StoreUnavailable.
        """
        batch = self._next[module]
        batch.keys.update(dict.fromkeys(keys))
        async with self._turns[module]:
            if batch.found is None and batch.failure is None:
                # From here on later callers wait for the next one. Whoever is cancelled in the query leaves `batch` to the
                # next of its waiters, who runs it anew.
                if self._next[module] is batch:
                    self._next[module] = _Batch()
                try:
                    batch.found = await self._read(module, list(batch.keys))
                except StoreUnavailable as failure:
                    batch.failure = failure
        if batch.failure is not None:
            raise batch.failure
        found = batch.found or {}
        return {key: found[key] for key in keys if key in found}

    async def _read(self, module: Module, keys: Sequence[Key]) -> dict[Key, bytes]:
        found: dict[Key, bytes] = {}
        for start in range(0, len(keys), KEYS):
            for party, object_id, doc in await self._store.query(_QUERIES[module], {"keys": keys[start : start + KEYS]}):
                found[_text(party), _text(object_id)] = _bytes(doc)
        return found


def _text(value: object) -> str:
    return _bytes(value).decode()


def _bytes(value: object) -> bytes:
    if not isinstance(value, bytes):
        raise TypeError(f"ClickHouse gave {type(value).__name__} where a String is kept")
    return value
