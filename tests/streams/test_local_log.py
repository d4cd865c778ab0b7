"""What only a log on a disk can promise: it outlives its process, and says clearly why it cannot be opened or written."""

import asyncio
import os
import random
import resource
import signal
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from streams.logs import local
from streams.logs.lanes import LogMismatch
from streams.logs.local import LocalLog, LogDamaged, LogInUse
from streams.logs.memory import MemoryLog
from streams.ports import Entry, LogUnavailable, Position, TopicPartition
from streams.topics import CHARGING, PARTNERS, REJECTED

PARTNERS_LANE = TopicPartition(PARTNERS, 0)


def partner(value: str) -> Entry:
    return Entry(PARTNERS, b"k", value.encode())


async def values(log: LocalLog) -> list[str]:
    count = (await log.end(PARTNERS))[0]
    read: list[str] = []
    while len(read) < count:
        found = await log.fetch({PARTNERS_LANE: len(read)}, max_records=10_000, wait_s=0)
        read += [record.value.decode() for record in found[PARTNERS_LANE]]
    return read


@contextmanager
def files_end_at(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond `size` bytes: what a full disk looks like from inside."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_a_log_goes_on_where_it_was_closed(tmp_path: Path) -> None:
    log = LocalLog.open(tmp_path / "log")
    await log.append([partner("a"), partner("b")])
    name = log.log_id
    await log.close()
    log = LocalLog.open(tmp_path / "log")
    assert log.log_id == name
    assert await log.append([partner("c")]) == [Position(PARTNERS, 0, 2)]
    assert await values(log) == ["a", "b", "c"]
    await log.close()


async def test_the_epoch_is_the_one_of_its_creation(tmp_path: Path) -> None:
    await LocalLog.open(tmp_path / "log", epoch=7).close()
    log = LocalLog.open(tmp_path / "log")
    assert log.epoch == 7
    await log.close()


async def test_another_partition_count_is_refused(tmp_path: Path) -> None:
    await LocalLog.open(tmp_path / "log", partitions=4).close()
    with pytest.raises(LogMismatch, match=r"has 4 partitions of ocpi\..*, not 8; another count needs a new log"):
        LocalLog.open(tmp_path / "log", partitions=8)


async def test_a_topic_that_a_later_release_declares_is_added(tmp_path: Path) -> None:
    log = LocalLog.open(tmp_path / "log")
    await log.append([partner("a")])
    await log.close()
    with sqlite3.connect(tmp_path / "log") as file:
        file.execute("DELETE FROM topics WHERE name = ?", (REJECTED,))
    file.close()
    log = LocalLog.open(tmp_path / "log")
    assert log.partitions(REJECTED) == 4
    assert await values(log) == ["a"]
    await log.append([Entry(REJECTED, b"k", b"")])
    assert sum((await log.end(REJECTED)).values()) == 1
    await log.close()


async def test_a_format_of_the_future_is_refused(tmp_path: Path) -> None:
    await LocalLog.open(tmp_path / "log").close()
    with sqlite3.connect(tmp_path / "log") as file:
        file.execute("PRAGMA user_version=2")
    file.close()
    with pytest.raises(LogMismatch, match="has format 2; this release reads 1"):
        LocalLog.open(tmp_path / "log")


def test_a_database_of_someone_else_is_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "log") as file:
        file.execute("CREATE TABLE cats (name TEXT)")
    file.close()
    with pytest.raises(LogMismatch, match="not a log of roamlog"):
        LocalLog.open(tmp_path / "log")


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"meow " * 1000)
    with pytest.raises(LogDamaged, match="file is not a database"):
        LocalLog.open(tmp_path / "log")


async def test_a_damaged_file_is_refused_at_opening_or_where_it_is_read(tmp_path: Path) -> None:
    log = LocalLog.open(tmp_path / "log")
    for _ in range(50):
        await log.append([partner("x" * 4000)])
    await log.close()
    file = bytearray((tmp_path / "log").read_bytes())
    for page in range(3, len(file) // 8192):
        file[page * 8192 : page * 8192 + 64] = b"\xff" * 64
    (tmp_path / "log").write_bytes(file)

    async def use() -> None:
        log = LocalLog.open(tmp_path / "log")
        try:
            await values(log)
        finally:
            await log.close()

    with pytest.raises(LogDamaged):
        await use()


async def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    log = LocalLog.open(tmp_path / "log")
    await log.append([partner("x" * 100_000) for _ in range(10)])
    await log.close()
    os.truncate(tmp_path / "log", 16384)
    with pytest.raises(LogDamaged):
        LocalLog.open(tmp_path / "log")


async def test_a_second_writer_is_refused_and_told_who_has_it(tmp_path: Path) -> None:
    log = LocalLog.open(tmp_path / "log")
    with pytest.raises(LogInUse, match=f"in use by process {os.getpid()}"):
        LocalLog.open(tmp_path / "log")
    await log.close()
    await LocalLog.open(tmp_path / "log").close()


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(LogUnavailable, match="missing/log cannot be opened for writing: No such file"):
        LocalLog.open(tmp_path / "missing" / "log")


async def test_a_full_disk_refuses_whole_appends_until_there_is_room_and_says_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = LocalLog.open(tmp_path / "log")
    await log.append([partner("before")])
    size = max(os.stat(tmp_path / name).st_size for name in ("log", "log-wal"))
    with files_end_at(size + 100_000):
        with pytest.raises(LogUnavailable, match="cannot be written"):
            await log.append([partner("x" * 1_000_000), partner("with it")])
        with pytest.raises(LogUnavailable, match="cannot be written"):
            await log.append([partner("x" * 1_000_000)])
        assert await values(log) == ["before"]
    assert await log.append([partner("after")]) == [Position(PARTNERS, 0, 1)]
    refusing, again = caplog.messages
    assert "cannot be written, so pushes are refused until it can" in refusing
    assert again.endswith("is written again")
    await log.close()
    log = LocalLog.open(tmp_path / "log")
    assert await values(log) == ["before", "after"]
    await log.close()


async def test_a_lock_held_by_a_stranger_refuses_appends_until_it_is_gone(tmp_path: Path) -> None:
    log = LocalLog.open(tmp_path / "log")
    stranger = sqlite3.connect(tmp_path / "log", isolation_level=None)
    stranger.execute("BEGIN IMMEDIATE")
    with pytest.raises(LogUnavailable, match="locked"):
        await log.append([partner("during")])
    stranger.execute("ROLLBACK")
    stranger.close()
    await log.append([partner("after")])
    assert await values(log) == ["after"]
    await log.close()


async def test_a_queue_beyond_its_bound_is_refused_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "QUEUE_BYTES", 1000)
    log = LocalLog.open(tmp_path / "log")
    calls = [asyncio.create_task(log.append([partner(f"{i:400}")])) for i in range(5)]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert [isinstance(answer, LogUnavailable) for answer in answers] == [False, False, True, True, True]
    assert "does not keep up" in str(answers[2])
    assert await log.append([partner("x" * 5000)]) == [Position(PARTNERS, 0, 2)], "alone, even a larger one is taken"
    await log.close()


async def test_a_memory_log_that_is_told_to_be_away_appends_nothing() -> None:
    log = MemoryLog()
    log.unavailable = "the disk is full"
    with pytest.raises(LogUnavailable, match="the disk is full"):
        await log.append([Entry(CHARGING, b"k", b"")])
    log.unavailable = ""
    assert sum((await log.end(CHARGING)).values()) == 0
    [position] = await log.append([Entry(CHARGING, b"k", b"")])
    assert position.offset == 0


WRITER = """
import asyncio, sys
from pathlib import Path
from streams.logs.local import LocalLog
from streams.ports import Entry

async def main() -> None:
    log = LocalLog.open(Path(sys.argv[1]))
    async def task(name: int) -> None:
        i = 0
        while True:
            value = f"{sys.argv[2]}-{name}-{i}"
            [position] = await log.append([Entry("ocpi.charging", value.encode(), value.encode() * 20)])
            sys.stdout.write(f"{position.partition} {position.offset} {value}\\n")
            sys.stdout.flush()
            i += 1
    await asyncio.gather(*map(task, range(8)))

asyncio.run(main())
"""


@pytest.mark.system
async def test_kill_9_loses_no_acknowledged_record(tmp_path: Path) -> None:
    chance = random.Random(9)
    acknowledged: dict[tuple[int, int], bytes] = {}
    for round_ in range(3):
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", WRITER, str(tmp_path / "log"), str(round_), stdout=asyncio.subprocess.PIPE
        )
        assert child.stdout is not None
        lines = [await child.stdout.readline() for _ in range(chance.randrange(1, 2000))]
        child.send_signal(signal.SIGKILL)
        lines += (await child.stdout.read()).splitlines(keepends=True)
        await child.wait()
        for line in lines:
            if line.endswith(b"\n"):
                partition, offset, value = line.split()
                acknowledged[int(partition), int(offset)] = value
    assert len(acknowledged) > 100
    log = LocalLog.open(tmp_path / "log")
    at = {TopicPartition(CHARGING, partition): 0 for partition in range(4)}
    found: dict[tuple[int, int], bytes] = {}
    while batch := await log.fetch(at, max_records=5000, wait_s=0):
        for lane, records in batch.items():
            at[lane] += len(records)
            for record in records:
                assert record.value == record.key * 20
                found[record.partition, record.offset] = record.key
    await log.close()
    assert acknowledged.items() <= found.items()
    assert len(set(found.values())) == len(found), "a record stands twice"
