"""The embedded store beside the contract: its lock, its errors, and what it says of a damaged folder."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from streams.ports import StoreUnavailable
from streams.stores.clickhouse import ClickHouseStore, StoreError, StoreLocked


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
    other = "import sys, pathlib; from streams.stores.clickhouse import ClickHouseStore; ClickHouseStore.embedded(pathlib.Path(sys.argv[1]))"
    outcome = subprocess.run([sys.executable, "-c", other, str(chdb_folder)], capture_output=True, text=True, check=False)  # noqa: ASYNC221
    assert outcome.returncode == 1
    assert outcome.stderr.endswith(f"StoreLocked: the store {os.path.realpath(chdb_folder)} is in use by process {os.getpid()}\n")
    assert StoreLocked.__name__ in outcome.stderr
    assert await store.query("SELECT 1") == [(1,)]


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreUnavailable, match="file/store cannot be opened for writing: Not a directory"):
        ClickHouseStore.embedded(tmp_path / "file" / "store")
