"""What readers may believe of positions, and a cache that knows its size."""

import asyncio

from streams.cache import ENTRY_BYTES, ByteCache
from streams.generations import Reached
from streams.ports import Position, TopicPartition
from streams.progress import SETTLE_US, Progress

LANES = [TopicPartition("ocpi.charging", partition) for partition in range(2)]


def standing(first: int, second: int) -> Progress:
    progress = Progress()
    progress.moved(["sessions"], {LANES[0]: Reached(3, first), LANES[1]: Reached(7, second)})
    return progress


async def test_a_waiter_is_woken_when_its_position_is_folded() -> None:
    progress = standing(0, 0)
    waiting = asyncio.create_task(progress.reached("sessions", Position(*LANES[0], 3), timeout_s=10))
    await asyncio.sleep(0)
    progress.moved(["cdrs"], {LANES[0]: Reached(9, 0)})
    assert not waiting.done()
    progress.moved(["sessions"], {LANES[0]: Reached(4, 0)})
    assert await waiting


async def test_waiting_ends_with_its_time() -> None:
    assert not await standing(0, 0).reached("sessions", Position(*LANES[0], 3), timeout_s=0)


def test_a_list_is_complete_as_far_as_its_slowest_partition() -> None:
    assert standing(10 * SETTLE_US, 5 * SETTLE_US).complete_until("sessions", "ocpi.charging") == 4 * SETTLE_US


def test_a_partition_that_stands_at_the_end_is_complete_until_the_end_was_asked_for() -> None:
    progress = standing(10 * SETTLE_US, 5 * SETTLE_US)
    progress.at_end(["sessions"], {LANES[0]: 3, LANES[1]: 7}, asked_at=20 * SETTLE_US)
    assert progress.complete_until("sessions", "ocpi.charging") == 19 * SETTLE_US


def test_a_partition_with_more_to_fold_is_not() -> None:
    progress = standing(10 * SETTLE_US, 5 * SETTLE_US)
    progress.at_end(["sessions"], {LANES[0]: 3, LANES[1]: 8}, asked_at=20 * SETTLE_US)
    assert progress.complete_until("sessions", "ocpi.charging") == 4 * SETTLE_US


class Text:
    def __init__(self, size: int) -> None:
        self.size = size


def test_the_cache_forgets_what_was_used_longest_ago() -> None:
    cache: ByteCache[str, Text] = ByteCache(2 * (ENTRY_BYTES + 100))
    for key in "ab":
        cache.put(key, Text(100))
    cache.get("a")
    cache.put("c", Text(100))
    assert [key for key in "abc" if cache.get(key)] == ["a", "c"]
    assert cache.used_bytes == 2 * (ENTRY_BYTES + 100)


def test_replacing_and_discarding_give_back_their_bytes() -> None:
    cache: ByteCache[str, Text] = ByteCache(10_000)
    cache.put("a", Text(1000))
    cache.put("a", Text(10))
    assert cache.used_bytes == ENTRY_BYTES + 10
    cache.discard("a")
    assert (len(cache), cache.used_bytes) == (0, 0)


def test_an_entry_larger_than_the_cache_is_not_kept() -> None:
    cache: ByteCache[str, Text] = ByteCache(1000)
    cache.put("a", Text(5000))
    assert len(cache) == 0
