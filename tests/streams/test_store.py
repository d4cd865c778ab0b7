"""The embedded store beside the contract: its lock, its errors, and what it says of a damaged folder."""

import asyncio
import os
import shutil
import sys
from pathlib import Path

import pytest

from streams.ports import ResultTooLarge, StoreUnavailable
from streams.stores.clickhouse import ClickHouseStore, StoreError, StoreLocked

PROGRAM = """
import asyncio, os, sys
from pathlib import Path
from streams.stores.clickhouse import ClickHouseStore

async def main() -> None:
    store = ClickHouseStore.embedded(Path(sys.argv[1]), readers=1)
    WORK
    await store.close()

asyncio.run(main())
"""
FILL = """
    await store.command("CREATE TABLE t (a UInt32, b String) ENGINE = MergeTree ORDER BY a SETTINGS old_parts_lifetime = 1000")
    for i in range(3):
        await store.insert("t", ("a", "b"), [(j, os.urandom(50)) for j in range(500)])
"""
COUNT = """
    sys.stderr.write(repr(await store.query("SELECT count() FROM t")))
"""
CHECK = """
    await store.check()
"""


async def elsewhere(folder: Path, work: str = "") -> tuple[int | None, str]:
    """Open the folder in another process and do the work; return its exit code and what it said on stderr."""
    program = PROGRAM.replace("    WORK\n", work)
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", program, str(folder), stderr=asyncio.subprocess.PIPE)
    _, error = await child.communicate()
    return child.returncode, error.decode()


def files(folder: Path, pattern: str) -> list[Path]:
    found = list(folder.glob(pattern))
    assert found
    return found


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
    code, error = await elsewhere(chdb_folder)
    assert code == 1
    assert f"{StoreLocked.__name__}: the store {chdb_folder} is in use by process {os.getpid()}\n" in error
    assert await store.query("SELECT 1") == [(1,)]


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreUnavailable, match="file/store cannot be opened for writing: Not a directory"):
        ClickHouseStore.embedded(tmp_path / "file" / "store")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that another process filled and closed."""
    folder = tmp_path_factory.mktemp("template") / "store"
    assert asyncio.run(elsewhere(folder, FILL)) == (0, "")
    return folder


@pytest.fixture
def filled(template: Path, tmp_path: Path) -> Path:
    """A copy of it, to be damaged."""
    return shutil.copytree(template, tmp_path / "store", symlinks=True)


async def test_a_closed_store_is_opened_again_with_its_rows(filled: Path) -> None:
    assert await elsewhere(filled, COUNT) == (0, "[(1500,)]")
    assert await elsewhere(filled, CHECK) == (0, "")


async def test_parts_that_cannot_be_loaded_are_said_at_opening(filled: Path) -> None:
    for file in files(filled, "store/*/*/all_*/count.txt"):
        file.write_bytes(b"")
    code, error = await elsewhere(filled)
    assert code == 1
    assert "StoreDamaged: the store" in error
    assert "parts that it could not read, some of table t\n" in error


async def test_metadata_that_cannot_be_read_are_said_at_opening(filled: Path) -> None:
    for metadata in files(filled, "store/*/*/t.sql"):
        metadata.write_text("ATTACH TABLE (")
    code, error = await elsewhere(filled)
    assert code == 1
    assert f"StoreDamaged: the store {filled} cannot be opened, its metadata is not readable (" in error


async def test_bytes_that_changed_within_a_part_are_found_by_a_check(filled: Path) -> None:
    for data in files(filled, "store/*/*/all_*/data.bin"):
        content = bytearray(data.read_bytes())
        content[len(content) // 2] ^= 0xFF
        data.write_bytes(content)
    code, error = await elsewhere(filled, CHECK)
    assert code == 1
    assert "StoreDamaged: part all_" in error


async def test_a_folder_that_was_emptied_is_a_new_store(filled: Path) -> None:
    shutil.rmtree(filled)
    code, error = await elsewhere(filled, COUNT)
    assert code == 1
    assert "StoreError: Code: 60." in error


DAMAGE = """
    told = asyncio.create_task(store.damage())
    try:
        await store.query("SELECT * FROM t")
    except Exception as fault:
        sys.stderr.write(f"{type(fault).__name__} {await told is fault}")
"""


async def test_whoever_waits_for_damage_is_told_when_a_read_meets_it(filled: Path) -> None:
    for data in files(filled, "store/*/*/all_*/data.bin"):
        content = bytearray(data.read_bytes())
        content[len(content) // 2] ^= 0xFF
        data.write_bytes(content)
    assert await elsewhere(filled, DAMAGE) == (0, "StoreDamaged True")


async def test_an_answer_with_too_many_rows_is_told_from_a_defect(store: ClickHouseStore) -> None:
    limited = "SELECT number FROM numbers(100) SETTINGS max_result_rows = 10, max_block_size = 10, result_overflow_mode = 'throw'"
    with pytest.raises(ResultTooLarge):
        await store.query(limited)
