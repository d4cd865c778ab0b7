"""The embedded store beside the contract: its lock, its errors, and what it says of a damaged folder."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from streams.ports import StoreUnavailable
from streams.stores.clickhouse import ClickHouseStore, StoreError, StoreLocked


OPEN = "import sys, pathlib; from streams.stores.clickhouse import ClickHouseStore; ClickHouseStore.embedded(pathlib.Path(sys.argv[1]))"


async def elsewhere(program: str, *arguments: object) -> tuple[int | None, str]:
    """Run a program in another process; return its exit code and what it said on stderr."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, *map(str, arguments), stderr=asyncio.subprocess.PIPE
    )
    _, error = await child.communicate()
    return child.returncode, error.decode()


async def test_the_sql_of_a_mistake_is_no_fault_of_the_data(store: ClickHouseStore) -> None:
    for sql, code in (("SELECT nothing", 47), ("SELECT * FROM nowhere", 60), ("SELEKT", 62)):
        with pytest.raises(StoreError) as mistake:
            await store.query(sql)
        assert mistake.value.code == code
    with pytest.raises(StoreError, match="nowhere"):
        await store.insert("nowhere", ("a",), [(1,)])
    await store.command("CREATE TABLE t (a UInt8) ENGINE = MergeTree ORDER BY a")
    with pytest.raises(StoreError, match="t has no column 'b'"):
        await store.insert("t", ("a", "b"), [(1, 2)])


async def test_a_limit_that_was_reached_may_be_tried_again(store: ClickHouseStore) -> None:
    with pytest.raises(StoreUnavailable, match="memory limit"):
        await store.query("SELECT groupArray(number) FROM numbers(10000000) SETTINGS max_memory_usage = 1000000")
    with pytest.raises(StoreUnavailable, match="Timeout"):
        await store.query("SELECT sleepEachRow(0.05) FROM numbers(9) SETTINGS max_execution_time = 0.1, max_block_size = 1")


async def test_a_closed_store_is_unavailable(chdb_folder: Path) -> None:
    store = ClickHouseStore.embedded(chdb_folder, database="closed")
    await store.command("DROP DATABASE closed SYNC")
    await asyncio.gather(store.close(), store.close())
    with pytest.raises(StoreUnavailable, match="closed"):
        await store.query("SELECT 1")


async def test_a_folder_belongs_to_one_process(store: ClickHouseStore, chdb_folder: Path) -> None:
    code, error = await elsewhere(OPEN, chdb_folder)
    assert code == 1
    assert f"{StoreLocked.__name__}: the store {chdb_folder} is in use by process {os.getpid()}\n" in error
    assert await store.query("SELECT 1") == [(1,)]


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreUnavailable, match="file/store cannot be opened for writing: Not a directory"):
        ClickHouseStore.embedded(tmp_path / "file" / "store")
