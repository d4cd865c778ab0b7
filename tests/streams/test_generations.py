"""What serves: tables that are there, seen through views that lead to them, whatever was interrupted or lost."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from charging import T0, entry, put

from streams.clock import FixedClock
from streams.generations import Generation, Generations, Reached
from streams.logs.memory import MemoryLog
from streams.ports import StoreUnavailable, TableStore, TopicPartition
from streams.projections.sessions import SESSIONS, Sessions
from streams.runtimes.embedded import Embedded
from streams.tables import view
from streams.topics import CHARGING

COUNT = "SELECT count() FROM sessions"


@pytest.fixture
async def log() -> MemoryLog:
    made = MemoryLog()
    await made.append([entry(put(number, id=f"S{number}")) for number in range(9)])
    return made


@asynccontextmanager
async def started(log: MemoryLog, store: TableStore, patience_s: float = 10) -> AsyncIterator[Embedded]:
    runtime = Embedded(log, "log-1", store, [Sessions()], clock=FixedClock(T0), patience_s=patience_s)
    await runtime.start()
    try:
        yield runtime
    finally:
        await runtime.close()


async def folded(log: MemoryLog, store: TableStore) -> int:
    """Start anew, fold what is there to fold, and return how many records that were."""
    records = 0
    async with started(log, store) as runtime:
        while done := (await runtime.turn(wait_s=0)).records:
            records += done
    return records


async def test_a_table_that_is_gone_is_filled_anew_and_the_others_are_left_alone(log: MemoryLog, store: TableStore) -> None:
    assert await folded(log, store) == 9
    assert await folded(log, store) == 0
    await store.command("DROP TABLE sessions_v1_g1 SYNC".replace("v1", f"v{SESSIONS.version}"))
    assert await folded(log, store) == 9
    assert await store.query(COUNT) == [(9,)]


async def test_a_view_that_is_gone_or_leads_elsewhere_is_made_again(log: MemoryLog, store: TableStore) -> None:
    await folded(log, store)
    await store.command("DROP VIEW sessions")
    assert await folded(log, store) == 0
    assert await store.query(COUNT) == [(9,)]
    # A process that was killed while it brought the second generation to serve had come this far.
    await Generations(store, "log-1", 0).create(Sessions(), 2)
    await store.command(view(SESSIONS, "g2"))
    assert await store.query(COUNT) == [(0,)]
    assert await folded(log, store) == 0
    assert await store.query(COUNT) == [(9,)]


class FullStore:
    """A store whose disk has no room for the tables of the second generation, nor for verify's shadows."""

    def __init__(self, store: TableStore) -> None:
        self._store = store
        self.command = store.command
        self.query = store.query
        self.query_bytes = store.query_bytes
        self.close = store.close

    async def insert(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[object]], token: str = "") -> None:
        if table.endswith(("_g2", "_g0")) and table.startswith("session"):
            raise StoreUnavailable("there is no room")
        await self._store.insert(table, columns, rows, token)


async def test_rebuild_and_verify_give_up_on_a_store_that_takes_nothing_and_leave_nothing_behind(
    log: MemoryLog, store: TableStore, caplog: pytest.LogCaptureFixture
) -> None:
    await folded(log, store)
    async with started(log, FullStore(store), patience_s=0.1) as runtime:
        with pytest.raises(StoreUnavailable, match="there is no room"):
            await runtime.rebuild(["sessions"])
        with pytest.raises(StoreUnavailable, match="there is no room"):
            await runtime.verify()
        assert "there is no room" in caplog.text
        names: Sequence[tuple[object, ...]] = await store.query(
            "SELECT name FROM system.tables WHERE database = currentDatabase() AND name LIKE 'session%\\_g%'"
        )
        assert {str(name).rpartition("_")[2] for (name,) in names} == {"g1'"}
        assert await store.query(COUNT) == [(9,)]
        # The line goes on: what failed has taken nothing with it.
        await log.append([entry(put(9, id="S9"))])
        assert (await runtime.turn(wait_s=0)).records == 1
    assert await store.query(COUNT) == [(10,)]


async def test_tables_that_know_more_than_the_log_are_filled_anew(
    log: MemoryLog, store: TableStore, caplog: pytest.LogCaptureFixture
) -> None:
    await folded(log, store)
    restored = MemoryLog()
    await restored.append([entry(put(number, id=f"S{number}")) for number in range(5)])
    assert await folded(restored, store) == 5
    assert await store.query(COUNT) == [(5,)]
    assert "records of ocpi.charging/" in caplog.text
    await restored.append([entry(put(9, id="S9"))])
    assert await folded(restored, store) == 1


async def test_a_number_that_was_abandoned_is_not_given_again(log: MemoryLog, store: TableStore) -> None:
    # Its positions are still there, and would skip the records that a new filling of that number needs.
    await folded(log, store)
    generations = Generations(store, "log-1", 0)
    second = await generations.create(Sessions())
    await generations.save([second], {TopicPartition(CHARGING, 0): Reached(9, T0)})
    await generations.abandon(Sessions(), second)
    assert await generations.create(Sessions()) == Generation("sessions", 3)


async def test_what_is_abandoned_while_it_was_brought_to_serve_serves_no_more(log: MemoryLog, store: TableStore) -> None:
    await folded(log, store)
    generations = Generations(store, "log-1", 0)
    second = await generations.create(Sessions())
    assert second == Generation("sessions", 2)
    await store.command(view(SESSIONS, "g2"))
    await generations.abandon(Sessions(), second)
    assert await store.query(COUNT) == [(9,)]
    served = await generations.serving(Sessions())
    assert served == Generation("sessions", 1)
    await generations.abandon(Sessions(), Generation("sessions", 1))  # it serves, so it stays
    assert await store.query(COUNT) == [(9,)]
