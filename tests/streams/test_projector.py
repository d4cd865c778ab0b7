"""The projector over a real log and a real store: a crash is an input, poison is put aside, what is served is what was said."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from charging import T0, cdr, entry, patch, period, posted, put
from places import (
    evse,
    location_entry,
    patch_connector,
    patch_evse,
    patch_location,
    put_connector,
    put_evse,
    put_location,
)

from schemas import rejected as rejections
from schemas.events import Envelope
from streams.clock import FixedClock
from streams.errors import StopTheLine
from streams.generations import Generations
from streams.logs.memory import MemoryLog
from streams.ports import Entry, Position, TableStore
from streams.projections.cdrs import Cdrs
from streams.projections.ledger import Ledger
from streams.projections.locations import Locations
from streams.projections.rejected import Rejections
from streams.projections.sessions import Sessions
from streams.projector import POISON_IN_A_ROW, Projector, Work
from streams.runtimes.embedded import Embedded
from streams.topics import CHARGING, REJECTED

CHARGED = (Sessions(), Cdrs(), Ledger(), Rejections())
TABLES = ("sessions", "session_history", "cdrs", "ledger", "findings")

SCENARIO: Sequence[Envelope] = (
    put(0, charging_periods=[period(0)]),
    patch(5, period(5), kwh=2),
    put(0, charging_periods=[period(0)]),
    patch(3, period(3), kwh=1),
    put(20, id="S2", status="COMPLETED"),
    patch(9, status="COMPLETED", kwh=3),
    posted(cdr()),
    posted(cdr(cost="11.00")),
    posted(cdr("C1-credit", "-10.00", credit=True, credit_reference_id="C1")),
)


async def runtime_over(log: MemoryLog, store: TableStore) -> Embedded:
    runtime = Embedded(log, "log-1", store, CHARGED, clock=FixedClock(T0))
    await runtime.start()
    return runtime


@asynccontextmanager
async def started(log: MemoryLog, store: TableStore) -> AsyncIterator[Embedded]:
    runtime = await runtime_over(log, store)
    try:
        yield runtime
    finally:
        await runtime.close()


async def drain(runtime: Embedded) -> None:
    while (await runtime.turn(wait_s=0)).records:
        pass


async def contents(store: TableStore) -> dict[str, list[tuple[Any, ...]]]:
    """Return what every table serves, without the order of equal keys."""
    return {table: sorted(await store.query(f"SELECT * FROM {table}"), key=repr) for table in TABLES}


async def folded_at_once(store: TableStore, events: Sequence[Envelope]) -> dict[str, list[tuple[Any, ...]]]:
    log = MemoryLog()
    await log.append([entry(event) for event in events])
    async with started(log, store) as runtime:
        await drain(runtime)
        return await contents(store)


async def test_records_become_rows(store: TableStore) -> None:
    tables = await folded_at_once(store, SCENARIO)
    assert {name: len(rows) for name, rows in tables.items()} == {
        "sessions": 2,
        "session_history": 5,
        "cdrs": 2,
        "ledger": 2,
        "findings": 2,
    }
    rows = await store.query("SELECT energy_kwh, status FROM sessions WHERE session_id = 's1'")
    assert [(str(kwh), status) for kwh, status in rows] == [("3.000000000000", b"COMPLETED")]
    assert await store.query("SELECT standing FROM ledger WHERE charging_key = 's1'") == [(b"credited",)]
    assert await store.query("SELECT rule FROM findings ORDER BY rule") == [(b"cdr_conflict",), (b"repeated",)]


NEVER_CRASHED: dict[str, list[tuple[Any, ...]]] = {}
"""What the tables hold when nothing happens; folded once, by the first test that compares."""


class Crash(Exception):
    """The process ends here."""


class CrashingStore:
    """A store that dies before its n-th insert, like a process that is killed there."""

    def __init__(self, store: TableStore, inserts: int) -> None:
        self._store = store
        self._left = inserts
        self.command = store.command
        self.query = store.query
        self.query_bytes = store.query_bytes
        self.close = store.close

    async def insert(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[object]], token: str = "") -> None:
        if self._left == 0:
            raise Crash
        self._left -= 1
        await self._store.insert(table, columns, rows, token)


@pytest.mark.parametrize("position", range(1, len(SCENARIO)))
@pytest.mark.parametrize("inserts", [0, 1, 3])
async def test_a_crash_at_any_position_changes_nothing(
    two_stores: tuple[TableStore, TableStore], position: int, inserts: int
) -> None:
    undisturbed, store = two_stores
    if not NEVER_CRASHED:
        NEVER_CRASHED.update(await folded_at_once(undisturbed, SCENARIO))
    log = MemoryLog()
    await log.append([entry(event) for event in SCENARIO[:position]])
    async with started(log, store) as runtime:
        await drain(runtime)
    await log.append([entry(event) for event in SCENARIO[position:]])
    async with started(log, CrashingStore(store, inserts)) as runtime:
        with suppress(Crash):  # a round of few tables makes fewer inserts
            await drain(runtime)
    async with started(log, store) as runtime:
        await drain(runtime)
        assert await contents(store) == NEVER_CRASHED


SITES: Sequence[Envelope] = (
    put_location(0, evse("E1"), evse("E2"), name="Stationsplein"),
    patch_evse(5, status="CHARGING"),
    patch_evse(6, uid="E2", status="BLOCKED"),
    patch_evse(7, status="AVAILABLE"),
    put_location(4, evse("E1", 4, status="OUTOFORDER")),
    patch_connector(8, max_amperage=32),
    put_connector(9, connector_id="2"),
    patch_location(10, {"uid": "E2", "status": "CHARGING"}, city="Zeist"),
    put_evse(11, uid="E3", status="PLANNED"),
    put_location(20, evse("E3", 20)),
    patch_evse(21, status="REMOVED"),
)


@pytest.mark.parametrize("cache_bytes", [0, 1_000_000])
async def test_one_by_one_and_all_at_once_events_of_a_location_give_the_same_rows(
    two_stores: tuple[TableStore, TableStore], cache_bytes: int
) -> None:
    at_once, one_by_one = two_stores
    tables = ("locations", "evses", "evse_status", "location_findings")

    async def rows(store: TableStore) -> dict[str, list[tuple[Any, ...]]]:
        return {table: sorted(await store.query(f"SELECT * FROM {table}"), key=repr) for table in tables}

    logs = MemoryLog(), MemoryLog()
    for log, store, size in zip(logs, two_stores, (len(SITES), 1), strict=True):
        runtime = Embedded(log, "log-1", store, (Locations(),), clock=FixedClock(T0), cache_bytes=cache_bytes)
        await runtime.start()
        for first in range(0, len(SITES), size):
            await log.append([location_entry(event) for event in SITES[first : first + size]])
            await drain(runtime)
        assert await runtime.verify() == []
        await runtime.close()
    assert await rows(one_by_one) == await rows(at_once)
    listed = await one_by_one.query("SELECT evse_uid, listed, status FROM evses ORDER BY evse_uid")
    assert listed == [(b"e1", 1, b"REMOVED"), (b"e2", 0, b"CHARGING"), (b"e3", 1, b"AVAILABLE")]


async def test_what_cannot_be_read_is_put_aside_and_the_rest_goes_on(store: TableStore) -> None:
    log = MemoryLog()
    await log.append([entry(put(0)), Entry(CHARGING, b"NL*TNM|s1", b"no envelope"), entry(patch(5, kwh=9))])
    async with started(log, store) as runtime:
        await drain(runtime)
        await drain(runtime)
        assert [str(row[0]) for row in await store.query("SELECT energy_kwh FROM sessions")] == ["9.000000000000"]
        rows = await store.query("SELECT source, reason FROM rejected")
    assert len(rows) == 1
    assert rows[0][0] == b"poison"
    assert b"cannot be read" in bytes(str(rows[0][1]), "utf-8")
    ends = await log.end(REJECTED)
    assert sum(ends.values()) == 1


async def test_too_much_poison_stops_the_line(store: TableStore) -> None:
    log = MemoryLog()
    await log.append([Entry(CHARGING, b"k", b"garbage") for _ in range(POISON_IN_A_ROW)])
    async with started(log, store) as runtime:
        with pytest.raises(StopTheLine, match="could not be folded"):
            await drain(runtime)


async def test_a_row_that_the_store_refuses_is_poison_and_the_others_stand(store: TableStore) -> None:
    log = MemoryLog()
    unfit = put(5, id="S2", kwh=10**30)
    await log.append([entry(put(0)), entry(unfit), entry(put(0, id="S3"))])
    async with started(log, store) as runtime:
        await drain(runtime)
        await drain(runtime)
        assert sorted(await store.query("SELECT session_id FROM sessions")) == [(b"s1",), (b"s3",)]
        assert [row[0] for row in await store.query("SELECT source FROM rejected")] == [b"poison"]
        assert await runtime.verify() == []


async def test_verify_finds_a_row_that_was_tampered_with(store: TableStore) -> None:
    log = MemoryLog()
    await log.append([entry(event) for event in SCENARIO])
    async with started(log, store) as runtime:
        await drain(runtime)
        await store.command("ALTER TABLE cdrs_v1_g1 UPDATE cost_before_taxes = 9 WHERE cdr_id = 'c1' SETTINGS mutations_sync = 2")
        await store.command("ALTER TABLE sessions_v1_g1 DELETE WHERE session_id = 's2' SETTINGS mutations_sync = 2")
        found = {(one.table, one.key[1], one.kind) for one in await runtime.verify()}
    assert found == {("cdrs", "c1", "different"), ("sessions", "s2", "missing")}


async def test_rebuild_mends_what_was_tampered_with(store: TableStore) -> None:
    log = MemoryLog()
    await log.append([entry(event) for event in SCENARIO])
    async with started(log, store) as runtime:
        await drain(runtime)
        await store.command("ALTER TABLE cdrs_v1_g1 UPDATE cost_before_taxes = 9 WHERE cdr_id = 'c1' SETTINGS mutations_sync = 2")
        told: list[tuple[str, int, int]] = []
        await runtime.rebuild(["cdrs"], lambda *progress: told.append(progress))
        assert await runtime.verify() == []
        assert told[-1] == ("rebuilding cdrs", len(SCENARIO), len(SCENARIO))
        await log.append([entry(put(30, id="S9"))])
        await drain(runtime)
        assert await runtime.verify() == []


async def test_readers_can_wait_for_their_own_write(store: TableStore) -> None:
    log = MemoryLog()
    positions = await log.append([entry(put(0))])
    async with started(log, store) as runtime:
        assert not await runtime.progress.reached("sessions", positions[0], timeout_s=0)
        await drain(runtime)
        assert await runtime.progress.reached("sessions", positions[0], timeout_s=0)
        assert not await runtime.progress.reached("sessions", Position(*positions[0][:2], 1), timeout_s=0)


async def test_a_projection_that_stands_behind_catches_up_alone_and_joins(store: TableStore) -> None:
    log = MemoryLog()
    await log.append([entry(event) for event in SCENARIO])
    first = Embedded(log, "log-1", store, (Sessions(), Cdrs()), clock=FixedClock(T0))
    await first.start()
    await drain(first)
    await first.close()
    async with started(log, store) as runtime:
        await runtime.catch_up()
        await drain(runtime)
        assert await store.query("SELECT standing FROM ledger WHERE charging_key = 's1'") == [(b"credited",)]
        assert await runtime.verify() == []


async def test_positions_of_another_log_are_not_believed(store: TableStore) -> None:
    log = MemoryLog()
    await log.append([entry(put(0))])
    async with started(log, store) as runtime:
        await drain(runtime)
    other = MemoryLog()
    await other.append([entry(put(0, id="S7"))])
    runtime = Embedded(other, "log-2", store, CHARGED, clock=FixedClock(T0))
    await runtime.start()
    await drain(runtime)
    await runtime.close()
    assert await store.query("SELECT session_id FROM sessions") == [(b"s7",)]


async def test_the_dead_letter_says_where_the_record_stands(store: TableStore) -> None:
    log = MemoryLog()
    await log.append([Entry(CHARGING, b"k", b"garbage")])
    generations = Generations(store, "log-1", log.epoch)
    await generations.prepare()
    sessions = Sessions()
    work = Work(sessions, await generations.create(sessions), 1_000_000)
    projector = Projector(log, store, generations, [work], clock=FixedClock(T0))
    projector.start_at({})
    assert (await projector.round(wait_s=0)).poisoned == 1
    letters = [record for records in (await log.fetch(_lanes(log), max_records=9, wait_s=0)).values() for record in records]
    letter = rejections.decode(letters[0].value)
    assert letter.body == b"garbage"
    assert letter.record is not None
    assert (letter.record.topic, letter.record.offset) == (CHARGING, 0)


def _lanes(log: MemoryLog) -> dict[Any, int]:
    from streams.ports import TopicPartition

    return {TopicPartition(REJECTED, partition): 0 for partition in range(log.partitions(REJECTED))}
