"""Workers of a group over a real broker: what Faust is relied on for, and that nothing is lost or folded to something else."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import faust
import pytest
from aiokafka import TopicPartition as KafkaPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.records_to_delete import RecordsToDelete
from aiokafka.cluster import ClusterMetadata
from broker import new_log
from charging import T0, cdr, entry, patch, period, posted, put

from schemas.events import Envelope
from streams.clock import FixedClock
from streams.logs.kafka import Cluster, KafkaLog
from streams.logs.memory import MemoryLog
from streams.ports import Entry, Record, StoreUnavailable, TableStore, TopicPartition
from streams.projections.cdrs import Cdrs
from streams.projections.ledger import Ledger
from streams.projections.rejected import Rejections
from streams.projections.sessions import Sessions
from streams.runtimes import faust_app
from streams.runtimes.deliveries import Deliveries
from streams.runtimes.embedded import Embedded
from streams.runtimes.faust_app import BUFFERED, FETCH_WAIT_MS, POLL_RECORDS, Group, WrongFaust
from streams.runtimes.worker import NotPrepared, Stuck, Worker, prepare
from streams.topics import CHARGING, LOCATIONS, REJECTED

CHARGED = (Sessions(), Cdrs(), Ledger(), Rejections())
TABLES = ("sessions", "session_history", "cdrs", "ledger")
SOON_S = 60
_groups = count(1)


def group_of(cluster: Cluster) -> str:
    return f"{cluster.prefix}g{next(_groups)}"


def sessions(number: int) -> list[Envelope]:
    """Return what so many Sessions say, in an order that mixes them."""
    told = [
        (
            put(0, id=f"S{one}", charging_periods=[period(0)]),
            patch(5, period(5), id=f"S{one}", kwh=2),
            patch(9, id=f"S{one}", status="COMPLETED", kwh=3),
            posted(cdr(f"C{one}", session_id=f"S{one}")),
        )
        for one in range(number)
    ]
    return [events[step] for step in range(4) for events in told]


@pytest.fixture
async def log(cluster: Cluster) -> AsyncIterator[KafkaLog]:
    opened = await new_log(cluster)
    yield opened
    await opened.close()


# --- the group -------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def member(
    cluster: Cluster, log: KafkaLog, name: str, topics: Sequence[str] = (CHARGING,), **options: int
) -> AsyncIterator["Member"]:
    one = Member(cluster, log, name, topics, **options)
    await one.group.start()
    try:
        await one.joined()
        yield one
    finally:
        await one.group.stop()


class Member:
    """A member of a group that keeps what it was delivered."""

    def __init__(self, cluster: Cluster, log: KafkaLog, name: str, topics: Sequence[str], **options: int) -> None:
        self.deliveries = Deliveries(log, cluster.prefix, **options)
        self.group = Group(cluster, name, topics, self.deliveries)
        self.at: dict[TopicPartition, int] = {}
        self.seen = 0
        self.forgetful = False
        self.records: list[Record] = []

    async def joined(self) -> None:
        async with asyncio.timeout(SOON_S):
            while not self.group.assigned or self.group.changes == self.seen:  # noqa: ASYNC110 (Faust tells it by a call)
                await asyncio.sleep(0.02)
        self.seen = self.group.changes
        self.deliveries.assign(self.group.assigned)
        self.at = dict.fromkeys(self.group.assigned, 0)

    async def read(self, wanted: int) -> list[Record]:
        """Return the next records, so many in all at least."""
        found: list[Record] = []
        async with asyncio.timeout(SOON_S):
            while len(found) < wanted:
                for place, records in (await self.deliveries.fetch(self.at, max_records=5_000, wait_s=1.0)).items():
                    first = records[0].offset if self.forgetful else self.at[place]
                    assert [one.offset for one in records] == list(range(first, first + len(records)))
                    self.at[place] = first
                    self.at[place] += len(records)
                    found += records
        self.records += found
        return found

    def done(self) -> None:
        self.deliveries.done(self.at, self.group.let_go)

    async def stored(self, records: int) -> None:
        """Report that all that was read is stored, until the group may commit so many."""
        async with asyncio.timeout(SOON_S):
            while sum(self.group._consumer._stored.values()) < records:
                await self.deliveries.fetch(self.at, max_records=0, wait_s=0.1)  # what was read from the log is delivered as well
                self.done()


async def committed(cluster: Cluster, group: str) -> int:
    """Return the sum of the offsets that the group has committed."""
    admin = AIOKafkaAdminClient(**cluster.options())
    await admin.start()
    try:
        return sum(one.offset for one in (await admin.list_consumer_group_offsets(group)).values())
    finally:
        await admin.close()


def numbered(first: int, number: int) -> list[Entry]:
    return [Entry(CHARGING, b"k%d" % (one % 50), b"%d" % one) for one in range(first, first + number)]


async def test_a_member_gets_every_record_once_and_in_order(cluster: Cluster, log: KafkaLog) -> None:
    await log.append(numbered(0, 5_000))
    async with member(cluster, log, group_of(cluster)) as one:
        await one.read(5_000)
        await log.append(numbered(5_000, 10))
        await one.read(10)
    assert sorted(int(record.value) for record in one.records) == list(range(5_010))
    for key in {record.key for record in one.records}:
        values = [int(record.value) for record in one.records if record.key == key]
        assert values == sorted(values)


async def test_busy_partitions_do_not_wait_for_quiet_ones(cluster: Cluster, log: KafkaLog) -> None:
    async with member(cluster, log, group_of(cluster)) as one:
        consumer: Any = one.group._consumer._thread._consumer
        assert consumer._fetcher._fetch_max_wait_ms == FETCH_WAIT_MS


async def test_only_what_was_stored_is_committed(cluster: Cluster, log: KafkaLog) -> None:
    name = group_of(cluster)
    await log.append(numbered(0, 400))
    async with member(cluster, log, name) as one:
        await one.read(400)
        await one.stored(400)
        await log.append(numbered(400, 100))
        await one.read(100)  # and is stopped before that is stored
    assert await committed(cluster, name) == 400
    async with member(cluster, log, name) as two:
        found = await two.read(500)
    assert sorted({int(record.value) for record in found}) == list(range(500))


async def test_what_the_commit_leaves_out_is_read_from_the_log(cluster: Cluster, log: KafkaLog) -> None:
    name = group_of(cluster)
    await log.append(numbered(0, 300))
    async with member(cluster, log, name) as one:
        await one.read(300)
        await one.stored(300)
    await log.append(numbered(300, 200))
    async with member(cluster, log, name) as two:  # its own positions are at the start, as a new fold's are
        found = await two.read(500)
    assert sorted(int(record.value) for record in found) == list(range(500))


async def test_members_share_the_partitions_and_one_takes_over_from_the_other(cluster: Cluster, log: KafkaLog) -> None:
    name = group_of(cluster)
    await log.append(numbered(0, 1_000))
    async with member(cluster, log, name) as one:
        assert len(one.group.assigned) == 4
        async with member(cluster, log, name) as two:
            await one.joined()
            assert one.group.assigned | two.group.assigned == {TopicPartition(CHARGING, number) for number in range(4)}
            assert not one.group.assigned & two.group.assigned
            await asyncio.gather(one.read(1), two.read(1))
        await one.joined()
        assert len(one.group.assigned) == 4


async def test_a_batch_of_an_assignment_that_is_over_commits_nothing(cluster: Cluster, log: KafkaLog) -> None:
    name = group_of(cluster)
    await log.append(numbered(0, 400))
    async with member(cluster, log, name) as one:
        await one.read(400)
        async with member(cluster, log, name):
            await one.joined()
        await one.joined()
        one.done()
    assert await committed(cluster, name) == 0


async def test_several_topics_are_delivered_apart(cluster: Cluster, log: KafkaLog) -> None:
    await log.append([*numbered(0, 100), Entry(LOCATIONS, b"k", b"1000"), Entry(REJECTED, b"k", b"2000")])
    async with member(cluster, log, group_of(cluster), (CHARGING, LOCATIONS)) as one:
        found = await one.read(101)
    assert {record.topic for record in found} == {CHARGING, LOCATIONS}
    assert sorted(int(record.value) for record in found) == [*range(100), 1000]


async def test_what_was_delivered_before_a_member_knew_of_its_share_is_read_from_the_log(cluster: Cluster, log: KafkaLog) -> None:
    await log.append(numbered(0, 400))
    async with member(cluster, log, group_of(cluster)) as one:
        await one.read(400)
        await one.stored(400)
        one.deliveries.assign(one.group.assigned)  # as if all of it had come just before
        one.at = dict.fromkeys(one.group.assigned, 0)
        found = await one.read(400)
    assert sorted(int(record.value) for record in found) == list(range(400))


async def test_what_the_log_has_forgotten_is_not_waited_for(cluster: Cluster, log: KafkaLog) -> None:
    await log.append([Entry(CHARGING, b"k", b"%d" % number) for number in range(400)])
    (place,) = [lane for lane, end in (await log.end(CHARGING)).items() if end]
    admin = AIOKafkaAdminClient(**cluster.options())
    await admin.start()
    try:
        await admin.delete_records({KafkaPartition(cluster.prefix + CHARGING, place): RecordsToDelete(before_offset=300)})
    finally:
        await admin.close()
    async with member(cluster, log, group_of(cluster)) as one:  # its own positions are at the start, as a new fold's are
        one.forgetful = True
        found = await one.read(100)
    assert [int(record.value) for record in found] == list(range(300, 400))


async def test_a_member_for_whom_no_partition_is_left_has_its_share(cluster: Cluster, log: KafkaLog) -> None:
    name = group_of(cluster)
    async with member(cluster, log, name):
        groups = [Group(cluster, name, (CHARGING,), Deliveries(log, cluster.prefix)) for _ in range(4)]
        try:
            await asyncio.gather(*(group.start() for group in groups))
            async with asyncio.timeout(SOON_S):
                while not all(group.joined for group in groups) or sum(len(group.assigned) for group in groups) < 3:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
            assert sorted(len(group.assigned) for group in groups) == [0, 1, 1, 1]
        finally:
            await asyncio.gather(*(group.stop() for group in groups))


async def test_what_waits_for_a_round_is_bounded(cluster: Cluster, log: KafkaLog) -> None:
    async with member(cluster, log, group_of(cluster), waiting_bytes=1_000_000) as one:
        await log.append([Entry(CHARGING, b"k", b"x" * 10_000) for _ in range(3_000)])
        async with asyncio.timeout(SOON_S):
            while one.deliveries._bytes < 1_000_000:  # noqa: ASYNC110 (nothing tells how much waits)
                await asyncio.sleep(0.02)
        await asyncio.sleep(0.2)
        assert one.deliveries._bytes < 1_000_000 + POLL_RECORDS * 10_400  # a batch is taken whole
        found = await one.read(3_000)
    assert len(found) == 3_000


def test_more_than_one_at_a_time_is_refused(cluster: Cluster) -> None:
    with pytest.raises(ValueError, match="concurrency 1; run more workers instead"):
        Group(cluster, "g", (CHARGING,), Any, concurrency=2)  # type: ignore[arg-type]


JOINING_NOBODY = """
import asyncio
from streams.logs.kafka import Cluster
from streams.logs.memory import MemoryLog
from streams.ports import LogUnavailable
from streams.runtimes.deliveries import Deliveries
from streams.runtimes.faust_app import Group

async def join() -> None:
    try:
        await Group(Cluster(servers="127.0.0.1:9"), "g", ("ocpi.charging",), Deliveries(MemoryLog(), "")).start()
    except LogUnavailable as fault:
        print(fault)

asyncio.run(join())
"""


def test_a_group_whose_brokers_are_away_is_a_sentence() -> None:
    # In a process of its own, which ends then: what Faust had begun to start it leaves behind.
    done = subprocess.run([sys.executable, "-c", JOINING_NOBODY], capture_output=True, text=True, timeout=SOON_S, check=False)
    assert done.stdout.startswith("the brokers at 127.0.0.1:9 cannot be used now: "), done.stderr


async def test_few_batches_wait_in_memory(cluster: Cluster, log: KafkaLog) -> None:
    app = Group(cluster, group_of(cluster), (CHARGING,), Deliveries(log, cluster.prefix))._app
    assert (app.conf.stream_buffer_maxsize, app.conf.stream_wait_empty) == (BUFFERED, False)
    assert (app.conf.broker_session_timeout, app.conf.broker_heartbeat_interval) == (6, 0.5)
    (agent,) = [agent for name, agent in app.agents.items() if name.startswith("take-")]
    assert agent.concurrency == 1


async def test_all_partitions_are_given_out_also_while_no_broker_names_them() -> None:
    deliveries = Deliveries(MemoryLog(), "")  # type: ignore[arg-type]  # asked for its partitions alone
    assignor = Group(Cluster(servers="127.0.0.1:9"), "g", (CHARGING, LOCATIONS), deliveries)._app.assignor
    members = {name: assignor.metadata({CHARGING, LOCATIONS}) for name in ("one", "other")}
    given = assignor.assign(ClusterMetadata(), members)
    for topic in (CHARGING, LOCATIONS):
        numbers = [number for name in members for of, some in given[name].assignment if of == topic for number in some]
        assert sorted(numbers) == list(range(deliveries.partitions(topic)))


def test_an_upgrade_that_takes_a_method_away_is_told_by_its_name() -> None:
    faust_app.check_faust()
    gone: dict[type, tuple[str, ...]] = {faust.App: ("_no_such_method",)}
    with pytest.raises(WrongFaust, match=r"has no faust\.app\.base\.App\._no_such_method any more"):
        faust_app.check_faust(gone)


# --- the worker ------------------------------------------------------------------------------------------------------


async def contents(store: TableStore) -> dict[str, list[tuple[Any, ...]]]:
    """Return what every table serves, but for where in the log it came from."""
    return {
        table: sorted(await store.query(f"SELECT * EXCEPT (partition, version, state) FROM {table}"), key=repr) for table in TABLES
    }


async def folded_by_one(store: TableStore, events: Sequence[Envelope]) -> dict[str, list[tuple[Any, ...]]]:
    log = MemoryLog()
    await log.append([entry(event) for event in events])
    runtime = Embedded(log, "other", store, CHARGED, clock=FixedClock(T0))
    await runtime.start()
    while (await runtime.turn(wait_s=0)).records:
        pass
    found = await contents(store)
    await runtime.close()
    return found


class Running:
    """A worker in this process."""

    def __init__(self, cluster: Cluster, group: str, log: KafkaLog, store: TableStore, **options: Any) -> None:
        self.worker = Worker(cluster, group, log, store, CHARGED, clock=FixedClock(T0), **options)
        self.stop = asyncio.Event()
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        await self.worker.start()
        await self.worker.run(self.stop)

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(SOON_S):
            while not true():
                if self.task.done():
                    self.task.result()
                await asyncio.sleep(0.02)

    def folded(self) -> int:
        return sum(at.next_offset for place, at in self.worker.positions.items() if place.topic == CHARGING)

    async def end(self) -> None:
        self.stop.set()
        await asyncio.gather(self.task, return_exceptions=True)


async def test_a_worker_folds_what_one_process_would(
    cluster: Cluster, log: KafkaLog, two_stores: tuple[TableStore, TableStore]
) -> None:
    store, other = two_stores
    events = sessions(60)
    expected = await folded_by_one(other, events)
    assert await prepare(log, store, CHARGED) == [projection.name for projection in CHARGED]
    assert await prepare(log, store, CHARGED) == []
    await log.append([entry(event) for event in events])
    running = Running(cluster, group_of(cluster), log, store)
    await running.until(lambda: running.folded() == len(events))
    await running.end()
    assert await contents(store) == expected


async def test_workers_that_come_and_go_fold_what_one_process_would(
    cluster: Cluster, log: KafkaLog, two_stores: tuple[TableStore, TableStore]
) -> None:
    store, other = two_stores
    events = sessions(60)
    expected = await folded_by_one(other, events)
    await prepare(log, store, CHARGED)
    name = group_of(cluster)
    first = Running(cluster, name, log, store)
    parts = [events[start : start + 80] for start in range(0, len(events), 80)]
    await log.append([entry(event) for event in parts[0]])
    await first.until(lambda: first.folded() == len(parts[0]))
    second = Running(cluster, name, log, store)
    await second.until(lambda: bool(second.worker.positions))
    await log.append([entry(event) for event in parts[1]])
    await first.until(lambda: first.folded() + second.folded() == len(parts[0]) + len(parts[1]))
    await first.end()
    await log.append([entry(event) for event in parts[2]])
    await second.until(lambda: second.folded() == len(events))
    await second.end()
    assert await contents(store) == expected


async def test_a_worker_that_fails_in_mid_batch_has_committed_nothing_of_it(
    cluster: Cluster, log: KafkaLog, two_stores: tuple[TableStore, TableStore]
) -> None:
    store, other = two_stores
    events = sessions(20)
    expected = await folded_by_one(other, events)
    await prepare(log, store, CHARGED)
    name = group_of(cluster)
    await log.append([entry(event) for event in events])
    broken = Running(cluster, name, log, Breaking(store))
    with pytest.raises(BaseExceptionGroup) as raised:
        await broken.until(lambda: False)
    assert raised.group_contains(RuntimeError, match="the insert that breaks")
    assert await committed(cluster, name) == 0
    whole = Running(cluster, name, log, store)
    await whole.until(lambda: whole.folded() == len(events))
    await whole.end()
    assert await contents(store) == expected


class Breaking:
    """A store whose insert of the ledger is a defect."""

    def __init__(self, store: TableStore) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def insert(self, table: str, *arguments: Any) -> None:
        if table.startswith("ledger"):
            raise RuntimeError("the insert that breaks")
        await self._store.insert(table, *arguments)


async def test_a_worker_without_its_tables_says_what_to_run(cluster: Cluster, log: KafkaLog, store: TableStore) -> None:
    running = Running(cluster, group_of(cluster), log, store)
    with pytest.raises(NotPrepared, match="run roamlog prepare"):
        await running.until(lambda: False)


class Deaf:
    """A store that never answers an insert."""

    def __init__(self, store: TableStore) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def insert(self, table: str, *_: Any) -> None:
        if table.startswith("sessions"):
            await asyncio.Event().wait()


async def test_a_worker_that_gets_nowhere_ends(cluster: Cluster, log: KafkaLog, store: TableStore) -> None:
    await prepare(log, store, CHARGED)
    await log.append([entry(event) for event in sessions(2)])
    running = Running(cluster, group_of(cluster), log, Deaf(store), stuck_s=1.0)
    with pytest.raises(BaseExceptionGroup) as raised:
        await running.until(lambda: False)
    assert raised.group_contains(Stuck, match="records wait, and none was folded")


async def test_a_worker_that_is_given_no_share_ends(cluster: Cluster, log: KafkaLog, store: TableStore) -> None:
    await prepare(log, store, CHARGED)
    name, over = group_of(cluster), asyncio.Event()

    async def stand_still(_: object) -> None:
        await over.wait()

    async with member(cluster, log, name) as other:
        other.group._consumer.on_partitions_revoked = stand_still  # type: ignore[method-assign, assignment]
        running = Running(cluster, name, log, store, joins_within_s=4.0)  # less than the group waits for the other
        try:
            with pytest.raises(BaseExceptionGroup) as raised:
                await running.until(lambda: False)
        finally:
            over.set()
    assert raised.group_contains(Stuck, match="the group gave out no partitions")
    assert not running.worker.at_work


class Away(Deaf):
    """A store that is away for a while."""

    away = True

    async def query(self, sql: str, *arguments: Any) -> Any:
        if self.away and "SELECT 1" in sql:
            raise StoreUnavailable("away")
        return await self._store.query(sql, *arguments)

    async def insert(self, table: str, *arguments: Any) -> None:
        if self.away:
            raise StoreUnavailable("away")
        await self._store.insert(table, *arguments)


async def test_a_store_that_is_away_is_waited_for(cluster: Cluster, log: KafkaLog, store: TableStore) -> None:
    await prepare(log, store, CHARGED)
    events = sessions(2)
    await log.append([entry(event) for event in events])
    away = Away(store)
    running = Running(cluster, group_of(cluster), log, away, stuck_s=4)
    await running.until(lambda: bool(running.worker.positions))
    await asyncio.sleep(4.5)
    assert not running.task.done()
    away.away = False
    await running.until(lambda: running.folded() == len(events))
    await running.end()


class AwayThenDeaf(Deaf):
    """A store that is away, and once it is back takes no insert."""

    away = True

    async def query(self, sql: str, *arguments: Any) -> Any:
        if self.away and "SELECT 1" in sql:
            raise StoreUnavailable("away")
        return await self._store.query(sql, *arguments)


async def test_the_time_to_fold_something_counts_from_when_the_store_is_back(
    cluster: Cluster, log: KafkaLog, store: TableStore
) -> None:
    await prepare(log, store, CHARGED)
    await log.append([entry(event) for event in sessions(2)])
    deaf = AwayThenDeaf(store)
    running = Running(cluster, group_of(cluster), log, deaf, stuck_s=2.0)
    await running.until(lambda: bool(running.worker.positions))
    await asyncio.sleep(3.9)  # nearly twice as long as may be nothing is folded
    deaf.away, back = False, asyncio.get_running_loop().time()
    with pytest.raises(BaseExceptionGroup) as raised:
        await running.until(lambda: False)
    assert raised.group_contains(Stuck)
    assert asyncio.get_running_loop().time() - back > 1.2


class AwayAtFirst:
    """A store that cannot tell where the projections stand, the first times that it is asked."""

    def __init__(self, store: TableStore) -> None:
        self.refused = 0
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def query(self, sql: str, *arguments: Any) -> Any:
        if "FROM positions" in sql and self.refused < 2 * len(CHARGED):
            self.refused += 1
            raise StoreUnavailable("away")
        return await self._store.query(sql, *arguments)


async def test_a_store_that_is_away_while_partitions_are_given_out_is_waited_for(
    cluster: Cluster, log: KafkaLog, store: TableStore
) -> None:
    await prepare(log, store, CHARGED)
    events = sessions(2)
    await log.append([entry(event) for event in events])
    away = AwayAtFirst(store)
    running = Running(cluster, group_of(cluster), log, away)
    await running.until(lambda: running.folded() == len(events))
    await running.end()
    assert away.refused > len(CHARGED)
