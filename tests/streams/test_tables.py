"""Tables keep what their version promises: `streams/ddl.lock.json` has each table's version and the hash of its DDL.

A change of columns is a new version (and a line here), never an ALTER: `python tests/streams/test_tables.py` writes the file.
"""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from streams import tables
from streams.catalogue import declared_tables, projections
from streams.generations import tables_of
from streams.projection import Column, Table
from streams.stores.clickhouse import ClickHouseStore

LOCK = Path(__file__).parents[2] / "streams" / "ddl.lock.json"


def present() -> dict[str, dict[str, Any]]:
    return {name: {"version": t.version, "ddl": tables.ddl_hash(t)} for name, t in sorted(declared_tables().items())}


def test_a_table_that_changed_has_a_new_version() -> None:
    locked = json.loads(LOCK.read_text())
    now = present()
    changed = [name for name, at in now.items() if name in locked and at["ddl"] != locked[name]["ddl"]]
    unraised = [name for name in changed if now[name]["version"] <= locked[name]["version"]]
    assert unraised == [], "raise the version of these tables"
    assert now == locked, f"write the lock file anew: python {Path(__file__).relative_to(LOCK.parents[1])}"


def test_a_changed_column_changes_the_hash() -> None:
    one = declared_tables()["sessions"]
    other = msgspec.structs.replace(one, columns=(*one.columns[:-1], Column("state", "String")))
    assert tables.ddl_hash(one) != tables.ddl_hash(other)


def test_no_two_projections_share_a_table() -> None:
    names = [table.name for projection in projections() for table in tables_of(projection)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("table", declared_tables().values(), ids=lambda table: table.name)
def test_the_sort_key_is_made_of_columns(table: Table) -> None:
    assert set(table.order_by) <= {column.name for column in table.columns}


async def test_clickhouse_takes_every_declaration(store: ClickHouseStore) -> None:
    for table in declared_tables().values():
        await store.command(tables.create(table, "g1"))
        await store.command(tables.view(table, "g1"))
        assert await store.query(f"SELECT count() FROM {table.name}") == [(0,)]


if __name__ == "__main__":
    LOCK.write_text(json.dumps(present(), indent=2) + "\n")
