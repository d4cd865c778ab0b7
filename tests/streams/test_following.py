"""Positions for a process that runs no projector: what it knows is what the tables keep."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from charging import T0, entry, put

from streams.clock import FixedClock
from streams.following import Following
from streams.logs.memory import MemoryLog
from streams.ports import Clock, Position, StoreUnavailable, TableStore, TopicPartition
from streams.progress import SETTLE_US
from streams.projections.sessions import Sessions
from streams.runtimes.embedded import Embedded
from streams.topics import CHARGING

LATER = T0 + 100_000_000


@pytest.fixture
async def log() -> AsyncIterator[MemoryLog]:
    opened = MemoryLog(partitions=2)
    yield opened
    await opened.close()


@pytest.fixture
async def runtime(log: MemoryLog, store: TableStore) -> AsyncIterator[Embedded]:
    started = Embedded(log, "log-1", store, (Sessions(),), clock=FixedClock(T0))
    await started.start()
    yield started
    await started.close()


def following(log: MemoryLog, store: TableStore, log_id: str = "log-1", clock: Clock | None = None) -> Following:
    return Following(log, log_id, store, {"sessions": (CHARGING,)}, clock or FixedClock(LATER))


async def fold(runtime: Embedded) -> None:
    while (await runtime.turn(wait_s=0)).records:
        pass


async def test_what_is_folded_elsewhere_is_known_after_a_look(log: MemoryLog, store: TableStore, runtime: Embedded) -> None:
    (place,) = await log.append([entry(put(0))])
    lane = TopicPartition(CHARGING, place.partition)
    follower = following(log, store)
    await follower.look()
    assert follower.progress.folded("sessions", lane) == 0
    assert follower.progress.complete_until("sessions", CHARGING) < T0
    await fold(runtime)
    await follower.look()
    assert follower.progress.folded("sessions", lane) == 1
    assert follower.progress.complete_until("sessions", CHARGING) == LATER - SETTLE_US  # both partitions stand at their end


async def test_an_empty_log_is_complete_as_of_now(log: MemoryLog, store: TableStore, runtime: Embedded) -> None:
    follower = following(log, store)
    await follower.look()
    assert follower.progress.complete_until("sessions", CHARGING) == LATER - SETTLE_US


async def test_positions_of_another_log_say_nothing(log: MemoryLog, store: TableStore, runtime: Embedded) -> None:
    (place,) = await log.append([entry(put(0))])
    await fold(runtime)
    follower = following(log, store, log_id="log-2")
    await follower.look()
    assert follower.progress.folded("sessions", TopicPartition(CHARGING, place.partition)) == 0


async def test_a_generation_that_is_being_filled_says_nothing(log: MemoryLog, store: TableStore, runtime: Embedded) -> None:
    (place,) = await log.append([entry(put(0))])
    await fold(runtime)
    await store.command(
        f"INSERT INTO positions_v1_g0 VALUES ('sessions', 9, '{CHARGING}', {place.partition}, 0, 77, now64(6), 0, 77)"
    )
    follower = following(log, store)
    await follower.look()
    assert follower.progress.folded("sessions", TopicPartition(CHARGING, place.partition)) == 1


async def test_whoever_waits_is_woken_soon(log: MemoryLog, store: TableStore, runtime: Embedded) -> None:
    follower = following(log, store)
    running = asyncio.create_task(follower.run())
    try:
        (place,) = await log.append([entry(put(0))])
        waiting = asyncio.create_task(follower.progress.reached("sessions", Position(*place), timeout_s=60))
        await fold(runtime)
        assert await waiting
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


class Away:
    """A store that is away until it is told to be there."""

    def __init__(self, store: TableStore) -> None:
        self.store = store
        self.away = True
        self.asked = asyncio.Event()

    async def query(self, sql: str, parameters: object = None) -> list[tuple[object, ...]]:
        self.asked.set()
        if self.away:
            raise StoreUnavailable("gone fishing")
        return await self.store.query(sql, parameters)  # type: ignore[arg-type]


async def test_an_outage_of_the_store_is_said_once_and_ends(
    log: MemoryLog, store: TableStore, runtime: Embedded, caplog: pytest.LogCaptureFixture
) -> None:
    away = Away(store)
    follower = Following(log, "log-1", away, {"sessions": (CHARGING,)}, FixedClock(LATER), idle_s=0.01)  # type: ignore[arg-type]
    with caplog.at_level("INFO", "roamlog"):
        running = asyncio.create_task(follower.run())
        for _ in range(3):
            await away.asked.wait()
            away.asked.clear()
        away.away = False
        (place,) = await log.append([entry(put(0))])
        await fold(runtime)
        assert await follower.progress.reached("sessions", Position(*place), timeout_s=60)
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
    said = [record.message for record in caplog.records]
    assert said == ["the positions of the projections cannot be read now: gone fishing", "the positions can be read again"]
