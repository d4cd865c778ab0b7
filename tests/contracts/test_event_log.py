"""What every event log promises (streams/ports.py: EventLog), run over each adapter."""

import asyncio
from collections.abc import AsyncIterator, Callable
from itertools import pairwise
from pathlib import Path

import pytest
from broker import new_log

from streams.logs.local import LocalLog
from streams.logs.memory import MemoryLog
from streams.ports import Entry, EventLog, LogUnavailable, Position, Record, RecordTooLarge, TopicPartition
from streams.topics import CHARGING, CRAWLS, PARTNERS, partition_of

# An adapter is added here: how a log of four partitions a topic is opened for one test. Kafka's is opened on the broker.
ADAPTERS: dict[str, Callable[[Path], EventLog]] = {
    "memory": lambda folder: MemoryLog(partitions=4),
    "local": lambda folder: LocalLog.open(folder / "log.sqlite", partitions=4),
}


@pytest.fixture(params=[*sorted(ADAPTERS), "kafka"])
async def log(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[EventLog]:
    if request.param == "kafka":
        opened: EventLog = await new_log(request.getfixturevalue("cluster"))
    else:
        opened = ADAPTERS[request.param](tmp_path)
    yield opened
    await opened.close()


def charging(key: str, value: str = "") -> Entry:
    return Entry(CHARGING, key.encode(), value.encode())


def everywhere(topic: str, offset: int = 0) -> dict[TopicPartition, int]:
    return {TopicPartition(topic, partition): offset for partition in range(4)}


async def everything(log: EventLog, start: dict[TopicPartition, int], max_records: int = 1000) -> list[Record]:
    """Read to the end, call by call, each going on where the last one stopped."""
    at = dict(start)
    records = []
    while found := await log.fetch(at, max_records=max_records, wait_s=0):
        assert sum(map(len, found.values())) <= max_records
        for lane, batch in found.items():
            assert batch, "a lane without records is left out"
            assert [record.offset for record in batch] == list(range(at[lane], at[lane] + len(batch)))
            assert {(record.topic, record.partition) for record in batch} == {tuple(lane)}
            at[lane] += len(batch)
            records += batch
    return records


async def test_an_appended_record_is_read_as_it_was(log: EventLog) -> None:
    entry = Entry(CHARGING, b"\x00\xffkey", b"\x00value\xff\x00")
    [position] = await log.append([entry])
    [record] = await everything(log, everywhere(CHARGING))
    assert record == Record(CHARGING, position.partition, position.offset, b"\x00\xffkey", b"\x00value\xff\x00")


async def test_an_empty_key_and_an_empty_value_are_records(log: EventLog) -> None:
    await log.append([Entry(CHARGING, b"", b"")])
    assert [(record.key, record.value) for record in await everything(log, everywhere(CHARGING))] == [(b"", b"")]


async def test_positions_come_in_the_order_of_the_entries(log: EventLog) -> None:
    entries = [charging(f"k{i}") for i in range(50)]
    positions = await log.append(entries)
    records = {(r.topic, r.partition, r.offset): r.key for r in await everything(log, everywhere(CHARGING))}
    assert [records[position] for position in positions] == [entry.key for entry in entries]


async def test_the_partition_follows_from_the_key(log: EventLog) -> None:
    entries = [charging(f"DE*SLB|{i}") for i in range(100)]
    positions = await log.append(entries)
    assert [p.partition for p in positions] == [partition_of(entry.key, 4) for entry in entries]
    assert {p.partition for p in positions} == {0, 1, 2, 3}


async def test_a_topic_ordered_as_one_has_one_partition(log: EventLog) -> None:
    assert log.partitions(PARTNERS) == 1
    assert log.partitions(CHARGING) == 4
    positions = await log.append([Entry(PARTNERS, f"p{i}".encode(), b"") for i in range(9)])
    assert positions == [Position(PARTNERS, 0, i) for i in range(9)]


async def test_offsets_are_consecutive_from_nought(log: EventLog) -> None:
    for _ in range(3):
        await log.append([charging(f"k{i}") for i in range(40)])
    for partition in range(4):
        lane = TopicPartition(CHARGING, partition)
        records = await everything(log, {lane: 0})
        assert [record.offset for record in records] == list(range((await log.end(CHARGING))[partition]))
    assert sum((await log.end(CHARGING)).values()) == 120


async def test_topics_are_counted_apart(log: EventLog) -> None:
    await log.append([charging("k"), Entry(CRAWLS, b"k", b""), charging("k")])
    assert sum((await log.end(CHARGING)).values()) == 2
    assert sum((await log.end(CRAWLS)).values()) == 1
    assert [record.topic for record in await everything(log, everywhere(CRAWLS))] == [CRAWLS]


async def test_entries_of_one_key_keep_their_order_within_a_call(log: EventLog) -> None:
    await log.append([charging(key, str(i)) for i in range(100) for key in ("a", "b", "c")])
    records = await everything(log, everywhere(CHARGING))
    for key in (b"a", b"b", b"c"):
        assert [int(record.value) for record in records if record.key == key] == list(range(100))


async def test_appends_of_one_key_keep_the_order_of_the_calls(log: EventLog) -> None:
    await asyncio.gather(*(log.append([charging("k", str(i))]) for i in range(200)))
    assert [int(record.value) for record in await everything(log, everywhere(CHARGING))] == list(range(200))


async def test_concurrent_appends_lose_and_repeat_nothing(log: EventLog) -> None:
    async def writer(name: int) -> list[Position]:
        calls = [[charging(f"{name}-{i}-{j}") for j in range(name % 4 + 1)] for i in range(25)]
        return [position for call in calls for position in await log.append(call)]

    positions = [position for batch in await asyncio.gather(*map(writer, range(16))) for position in batch]
    records = await everything(log, everywhere(CHARGING))
    assert len(set(positions)) == len(positions) == len(records) == 16 * 25 * 2.5
    assert {(r.topic, r.partition, r.offset) for r in records} == set(positions)


async def test_the_end_is_above_every_acknowledged_record(log: EventLog) -> None:
    async def writer(name: int) -> None:
        for i in range(20):
            [position] = await log.append([charging(f"{name}-{i}")])
            assert (await log.end(CHARGING))[position.partition] > position.offset

    assert await log.end(CHARGING) == {0: 0, 1: 0, 2: 0, 3: 0}
    await asyncio.gather(*map(writer, range(8)))


async def test_no_entries_take_no_positions(log: EventLog) -> None:
    assert await log.append([]) == []
    assert sum((await log.end(CHARGING)).values()) == 0


@pytest.mark.parametrize("max_records", [1, 2, 3, 7, 1000])
async def test_a_reader_may_start_at_any_offset_and_take_any_number(log: EventLog, max_records: int) -> None:
    # Some in one call and some alone, so that stored batches of many shapes are entered in their middle.
    await log.append([Entry(PARTNERS, b"k", str(i).encode()) for i in range(10)])
    for i in range(10, 15):
        await log.append([Entry(PARTNERS, b"k", str(i).encode())])
    await log.append([Entry(PARTNERS, b"k", str(i).encode()) for i in range(15, 20)])
    for start in range(20):
        records = await everything(log, {TopicPartition(PARTNERS, 0): start}, max_records)
        assert [int(record.value) for record in records] == list(range(start, 20))


async def test_a_reader_at_or_beyond_the_end_gets_nothing(log: EventLog) -> None:
    await log.append([Entry(PARTNERS, b"k", b"")])
    assert await log.fetch({TopicPartition(PARTNERS, 0): 1}, max_records=10, wait_s=0) == {}
    assert await log.fetch({TopicPartition(PARTNERS, 0): 99}, max_records=10, wait_s=0.01) == {}
    assert await log.fetch({}, max_records=10, wait_s=0) == {}


async def test_a_waiting_reader_is_woken_by_an_append(log: EventLog) -> None:
    reader = asyncio.create_task(log.fetch(everywhere(CHARGING), max_records=10, wait_s=60))
    await asyncio.sleep(0)
    await log.append([Entry(CRAWLS, b"k", b"another topic does not concern it")])
    await log.append([charging("k", "v")])
    async with asyncio.timeout(5):
        found = await reader
    assert [record.value for records in found.values() for record in records] == [b"v"]


async def test_a_cancelled_reader_leaves_the_others_waiting(log: EventLog) -> None:
    readers = [asyncio.create_task(log.fetch(everywhere(CHARGING), max_records=10, wait_s=60)) for _ in range(3)]
    await asyncio.sleep(0)
    readers[1].cancel()
    await log.append([charging("k", "v")])
    async with asyncio.timeout(5):
        answers = await asyncio.gather(*readers, return_exceptions=True)
    assert isinstance(answers[1], asyncio.CancelledError)
    assert answers[0] == answers[2] != {}


async def test_a_lane_with_a_backlog_does_not_crowd_out_the_others(log: EventLog) -> None:
    of = {partition_of(f"k{i}".encode(), 4): f"k{i}" for i in range(50)}
    await log.append([charging(of[0], "backlog") for _ in range(500)])
    await log.append([charging(of[p], "new") for p in (1, 2, 3) for _ in range(5)])
    found = await log.fetch(everywhere(CHARGING), max_records=100, wait_s=0)
    assert {lane.partition: len(records) for lane, records in found.items()} == {0: 85, 1: 5, 2: 5, 3: 5}


async def test_lanes_take_turns_when_a_call_is_too_small_for_all(log: EventLog) -> None:
    await log.append([charging(f"k{i}") for i in range(100)])
    served = set()
    for _ in range(4):
        served |= set(await log.fetch(everywhere(CHARGING), max_records=1, wait_s=0))
    assert served == set(everywhere(CHARGING))


async def test_a_record_of_eleven_mebibytes_goes_through(log: EventLog) -> None:
    large = bytes(range(256)) * 4096 * 11
    await log.append([Entry(PARTNERS, b"k", large), Entry(PARTNERS, b"k", large), Entry(PARTNERS, b"k", b"small")])
    assert [len(r.value) for r in await everything(log, {TopicPartition(PARTNERS, 0): 0})] == [len(large), len(large), 5]


async def test_one_fetch_is_bounded_in_bytes(log: EventLog) -> None:
    for _ in range(10):
        await log.append([charging(f"{i}", "x" * 1024 * 1024) for i in range(10)])
    found = await log.fetch(everywhere(CHARGING), max_records=1000, wait_s=0)
    size = sum(len(record.value) for records in found.values() for record in records)
    assert 8 * 1024 * 1024 <= size <= 16 * 1024 * 1024
    assert len(await everything(log, everywhere(CHARGING))) == 100


async def test_a_record_beyond_the_topics_limit_takes_its_whole_call_with_it(log: EventLog) -> None:
    with pytest.raises(RecordTooLarge, match="12582913 bytes"):
        await log.append([charging("k", "fits"), charging("", "x" * (12 * 1024 * 1024 + 1))])
    assert sum((await log.end(CHARGING)).values()) == 0


async def test_an_undeclared_topic_is_a_mistake(log: EventLog) -> None:
    with pytest.raises(KeyError):
        await log.append([charging("k"), Entry("ocpi.nothing", b"k", b"")])
    with pytest.raises(KeyError):
        log.partitions("ocpi.nothing")
    assert sum((await log.end(CHARGING)).values()) == 0


async def test_readers_see_whole_appends_while_writers_write(log: EventLog) -> None:
    async def write() -> None:
        for i in range(60):
            await log.append([Entry(PARTNERS, b"k", f"{i}.{j}".encode()) for j in range(3)])

    writing = asyncio.create_task(write())
    seen: list[Record] = []
    async with asyncio.timeout(20):
        while len(seen) < 180:
            found = await log.fetch({TopicPartition(PARTNERS, 0): len(seen)}, max_records=50, wait_s=10)
            seen += found[TopicPartition(PARTNERS, 0)]
    await writing
    assert [record.value.decode() for record in seen] == [f"{i}.{j}" for i in range(60) for j in range(3)]
    assert all(after.offset == before.offset + 1 for before, after in pairwise(seen))


async def test_a_cancelled_append_does_not_break_the_others(log: EventLog) -> None:
    calls = [asyncio.create_task(log.append([charging("k", str(i))])) for i in range(10)]
    await asyncio.sleep(0)
    calls[4].cancel()
    answers = await asyncio.gather(*calls, return_exceptions=True)
    records = {(r.topic, r.partition, r.offset): r.value for r in await everything(log, everywhere(CHARGING))}
    for i, answer in enumerate(answers):
        if i == 4:
            assert isinstance(answer, asyncio.CancelledError)
        else:
            assert isinstance(answer, list)
            assert records[answer[0]] == str(i).encode()


async def test_a_closed_log_has_finished_what_was_begun_and_takes_no_more(log: EventLog) -> None:
    begun = [asyncio.create_task(log.append([charging(f"{i}")])) for i in range(5)]
    reader = asyncio.create_task(log.fetch({TopicPartition(PARTNERS, 0): 0}, max_records=1, wait_s=60))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await log.close()
    await log.close()
    assert len(await asyncio.gather(*begun)) == 5
    with pytest.raises(LogUnavailable, match="closed"):
        await reader
    with pytest.raises(LogUnavailable, match="closed"):
        await log.append([charging("late")])
    with pytest.raises(LogUnavailable, match="closed"):
        await log.fetch(everywhere(CHARGING), max_records=1, wait_s=0)
