"""Point reads: thousands of callers, few queries, none left waiting."""

import asyncio
from collections.abc import AsyncIterator, Mapping

import pytest
from outlet import House, house
from receiver import cdr, session

from api.lookup import KEYS, DocumentLookup
from schemas.types import Module
from streams.ports import StoreUnavailable, TableStore


@pytest.fixture
async def home(store: TableStore) -> AsyncIterator[House]:
    async with house(store) as opened:
        yield opened


class Watched:
    """The real store, with a look at what it is asked; `away` lets so many queries fail, `gate` holds them up."""

    def __init__(self, store: TableStore) -> None:
        self.asked: list[int] = []
        self.was_asked = asyncio.Event()
        self.away = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self._store = store

    async def query(self, sql: str, parameters: Mapping[str, object] | None = None) -> list[tuple[object, ...]]:
        keys = (parameters or {})["keys"]
        assert isinstance(keys, list)
        self.asked.append(len(keys))
        self.was_asked.set()
        await self.gate.wait()
        if self.away:
            self.away -= 1
            raise StoreUnavailable("away")
        return await self._store.query(sql, parameters)

    async def command(self, sql: str, parameters: Mapping[str, object] | None = None) -> None:
        raise NotImplementedError

    async def insert(self, *_: object, **__: object) -> None:
        raise NotImplementedError

    async def query_bytes(self, *_: object) -> bytes:
        raise NotImplementedError

    async def close(self) -> None:
        raise NotImplementedError


async def test_documents_are_given_by_key_and_what_is_unknown_is_left_out(home: House) -> None:
    await home.push(session("A"))
    await home.post(cdr("C"))
    lookup = DocumentLookup(home.store)
    known, unknown = ("NL*TNM", "a"), ("NL*TNM", "zz")
    found = await lookup.documents(Module.SESSIONS, [known, unknown, ("DE*MSP", "a")])
    assert list(found) == [known]
    assert b'"id":"A"' in found[known]
    assert list(await lookup.documents(Module.CDRS, [("NL*TNM", "c"), unknown])) == [("NL*TNM", "c")]
    assert await lookup.documents(Module.CDRS, []) == {}


async def test_thousands_of_callers_share_few_queries(home: House) -> None:
    await home.push(session("S1"))
    store = Watched(home.store)
    lookup = DocumentLookup(store)
    keys = [("NL*TNM", f"s{number}") for number in range(2 * KEYS)]
    async with asyncio.TaskGroup() as tasks:
        reads = [tasks.create_task(lookup.documents(Module.SESSIONS, [key])) for key in keys]
    assert [number for number, read in enumerate(reads) if read.result()] == [1]
    assert sum(store.asked) == len(keys)
    assert len(store.asked) <= 4


async def test_a_read_sees_what_stood_in_the_table_when_it_was_asked_for(home: House) -> None:
    store = Watched(home.store)
    lookup = DocumentLookup(store)
    store.gate.clear()
    key = ("NL*TNM", "s1")
    early = asyncio.create_task(lookup.documents(Module.SESSIONS, [key]))
    await store.was_asked.wait()
    await home.push(session("S1"))
    late = asyncio.create_task(lookup.documents(Module.SESSIONS, [key]))
    store.gate.set()
    await early
    # It joins no query that began before it.
    assert list(await late) == [key]
    assert store.asked == [1, 1]


async def test_a_caller_who_leaves_takes_nobody_with_him(home: House) -> None:
    await home.push(session("S1"), session("S2"))
    store = Watched(home.store)
    lookup = DocumentLookup(store)
    store.gate.clear()
    first = asyncio.create_task(lookup.documents(Module.SESSIONS, [("NL*TNM", "s1")]))
    second = asyncio.create_task(lookup.documents(Module.SESSIONS, [("NL*TNM", "s2")]))
    await store.was_asked.wait()
    first.cancel()
    store.gate.set()
    assert list(await second) == [("NL*TNM", "s2")]
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_a_store_that_is_away_fails_those_who_waited_and_no_others(home: House) -> None:
    await home.push(session("S1"))
    store = Watched(home.store)
    store.away = 2
    lookup = DocumentLookup(store)
    key = ("NL*TNM", "s1")
    store.gate.clear()
    asked = asyncio.gather(*(lookup.documents(Module.SESSIONS, [key]) for _ in range(9)), return_exceptions=True)
    await store.was_asked.wait()
    store.gate.set()
    failed = await asked
    # The first caller's query, and the one that all others share.
    assert [type(one) for one in failed] == [StoreUnavailable] * 9
    assert store.asked == [1, 1]
    assert list(await lookup.documents(Module.SESSIONS, [key])) == [key]
