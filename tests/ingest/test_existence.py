"""What a process knows to exist, and how it reads what it does not know."""

import asyncio
import sys
from collections.abc import Mapping, Sequence

import pytest

from ingest.admission import Key
from ingest.existence import Documents, Existence
from schemas.types import Module
from streams.ports import StoreUnavailable


def key(number: int) -> Key:
    return ("NL*TNM", f"session-{number:08}")


def test_a_key_is_known_with_its_value_and_by_module() -> None:
    existence = Existence()
    existence.add("cdrs", key(1), b"digest")
    assert existence.get("cdrs", key(1)) == b"digest"
    assert existence.get("sessions", key(1)) is None
    existence.add("sessions", key(1))
    assert existence.get("sessions", key(1)) == b""


def test_the_least_recently_used_key_is_forgotten_first() -> None:
    existence = Existence(max_bytes=1200)
    for number in range(3):
        existence.add("sessions", key(number))
    assert existence.get("sessions", key(0)) == b""
    existence.add("sessions", key(3))
    assert [existence.get("sessions", key(number)) for number in range(4)] == [b"", None, b"", b""]


def test_its_bound_is_one_of_real_bytes() -> None:
    """What 10,000 keys occupy in CPython is within the bytes that are counted for them, and not far below."""
    existence = Existence()
    for number in range(10_000):
        existence.add("cdrs", ("".join(("NL*", "TNM")), f"session-{number:08}"), number.to_bytes(16, "big"))
    values = existence._values
    real = sys.getsizeof(values) + sum(
        sys.getsizeof(place) + sys.getsizeof(place[1]) + sum(map(sys.getsizeof, place[1])) + sys.getsizeof(value)
        for place, value in values.items()
    )
    assert real <= existence._bytes <= 1.5 * real


def test_adding_again_counts_once() -> None:
    existence = Existence()
    existence.add("cdrs", key(1), b"12345678")
    before = existence._bytes
    existence.add("cdrs", key(1), b"1234567890")
    assert (len(existence), existence._bytes) == (1, before + 2)


class Gated:
    """A lookup that answers when it is let go."""

    def __init__(self) -> None:
        self.asked: list[list[Key]] = []
        self.started = asyncio.Event()
        self.gate = asyncio.Event()
        self.away = False

    async def documents(self, module: Module, keys: Sequence[Key]) -> Mapping[Key, bytes]:
        self.asked.append(list(keys))
        self.started.set()
        await self.gate.wait()
        if self.away:
            raise StoreUnavailable("away")
        return {one: b"{}" for one in keys if one != key(0)}


async def test_while_one_query_runs_the_next_collects_keys() -> None:
    lookup = Gated()
    documents = Documents(lookup)
    reads = [asyncio.ensure_future(documents.get(Module.SESSIONS, key(number % 5))) for number in range(20)]
    await lookup.started.wait()
    assert not documents.idle
    lookup.gate.set()
    assert await asyncio.gather(*reads) == [None if number % 5 == 0 else b"{}" for number in range(20)]
    assert len(lookup.asked) <= 2
    assert documents.idle


async def test_a_query_asks_for_one_module() -> None:
    lookup = Gated()
    documents = Documents(lookup)
    wanted = [(Module.SESSIONS, key(1)), (Module.CDRS, key(2)), (Module.CDRS, key(0))]
    reads = [asyncio.ensure_future(documents.get(*one)) for one in wanted]
    await lookup.started.wait()
    lookup.gate.set()
    assert await asyncio.gather(*reads) == [b"{}", b"{}", None]
    assert [len(asked) for asked in lookup.asked] == [1, 2]


async def test_a_reader_that_leaves_takes_no_other_with_it() -> None:
    lookup = Gated()
    documents = Documents(lookup)
    first, second = (asyncio.ensure_future(documents.get(Module.SESSIONS, key(1))) for _ in range(2))
    await lookup.started.wait()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    lookup.gate.set()
    assert await second == b"{}"
    assert len(lookup.asked) == 2


async def test_a_store_that_is_away_is_told_to_everyone_who_asked() -> None:
    lookup = Gated()
    lookup.away = True
    lookup.gate.set()
    documents = Documents(lookup)
    reads = [documents.get(Module.SESSIONS, key(number)) for number in range(3)]
    results = await asyncio.gather(*reads, return_exceptions=True)
    assert [type(result) for result in results] == [StoreUnavailable] * 3
    lookup.away = False
    assert await documents.get(Module.SESSIONS, key(1)) == b"{}"
