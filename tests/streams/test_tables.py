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
from streams.generations import Generations, tables_of
from streams.projection import Column, Table
from streams.stores import clickhouse
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


def on_a_cluster() -> dict[str, str]:
    """Return every statement of DDL as it is said to a cluster."""
    declared = {**declared_tables(), "positions": tables.POSITIONS, "generations": tables.GENERATIONS}
    said = {"database": tables.database("roamlog", "three"), "findings": tables.union_view("findings", [tables.POSITIONS], "three")}
    for name, table in declared.items():
        said[f"create {name}"] = tables.create(table, "g2", "three")
        said[f"view {name}"] = tables.view(table, "g2", "three")
        said[f"drop {name}"] = tables.drop(table, "g2", "three")
    return said


async def test_clickhouse_can_read_every_statement_to_a_cluster(store: ClickHouseStore) -> None:
    for name, sql in on_a_cluster().items():
        ((read,),) = await store.query("SELECT formatQuerySingleLine({sql:String})", {"sql": sql})
        assert b" ON CLUSTER three" in bytes(read), name  # type: ignore[call-overload]


def test_on_a_cluster_only_engine_place_and_window_differ() -> None:
    for table in declared_tables().values():
        alone, replicated = tables.create(table, "g2"), tables.create(table, "g2", "three")
        assert f"ENGINE = ReplicatedReplacingMergeTree({'rank' if table.kind == 'fact' else 'version'})" in replicated
        undone = replicated.replace(" ON CLUSTER three", "").replace("= ReplicatedReplacing", "= Replacing")
        assert undone.replace(" replicated_dedup", " non_replicated_dedup") == alone
        assert tables.view(table, "g2", "three").replace(" ON CLUSTER three", "") == tables.view(table, "g2")
        assert tables.drop(table, "g2", "three") == f"DROP TABLE IF EXISTS {table.name}_v{table.version}_g2 ON CLUSTER three SYNC"


class Listening:
    """A store that keeps what it is told, over a real one."""

    def __init__(self, store: ClickHouseStore) -> None:
        self._store = store
        self.said: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def command(self, sql: str, parameters: Any = None) -> None:
        self.said.append(sql)
        alone = sql.replace(" ON CLUSTER three", "").replace("ReplicatedReplacing", "Replacing")
        await self._store.command(alone.replace(" replicated_dedup", " non_replicated_dedup"), parameters)


async def test_nothing_is_said_to_one_replica_alone(store: ClickHouseStore) -> None:
    listening = Listening(store)
    generations = Generations(listening, "log-1", 0, "three")
    await generations.prepare()
    for projection in projections():
        for _ in range(2):  # the second takes over from the first
            await generations.serve(projection, await generations.create(projection))
        await generations.abandon(projection, await generations.create(projection))
    await generations.views(projections())
    for table in tables_of(projections()[0]):
        await store.command(f"DROP VIEW {table.name}")
    assert await generations.serving(projections()[0]) is not None
    assert {sql.split()[0] for sql in listening.said} == {"CREATE", "DROP"}
    assert [sql for sql in listening.said if " ON CLUSTER three" not in sql] == []


async def test_what_a_cluster_may_answer_for_a_while_is_tried_again(store: ClickHouseStore) -> None:
    waits = {
        b"NO_ZOOKEEPER",
        b"TOO_FEW_LIVE_REPLICAS",
        b"UNSATISFIED_QUORUM_FOR_PREVIOUS_WRITE",
        b"REPLICA_IS_NOT_IN_QUORUM",
        b"UNKNOWN_STATUS_OF_INSERT",
        b"TABLE_IS_READ_ONLY",
        b"KEEPER_EXCEPTION",
    }
    rows = await store.query(
        "SELECT errorCodeToName(toInt32(number)) FROM numbers(1100) WHERE number IN {codes:Array(UInt32)}",
        {"codes": sorted(clickhouse._TRANSIENT)},
    )
    assert waits <= {name for (name,) in rows}


def test_on_a_cluster_what_is_written_is_what_is_read() -> None:
    told = clickhouse.SERVER_SETTINGS | clickhouse.CLUSTER_SETTINGS
    # Sequential consistency holds for inserts with a quorum that follow one another; asynchronous ones are acknowledged too early.
    assert (told["insert_quorum"], told["insert_quorum_parallel"], told["select_sequential_consistency"]) == ("auto", 0, 1)
    assert told["async_insert"] == 0


async def test_clickhouse_knows_every_setting_that_it_is_told(store: ClickHouseStore) -> None:
    for name, value in (clickhouse.SERVER_SETTINGS | clickhouse.CLUSTER_SETTINGS).items():
        ((kind,),) = await store.query("SELECT type FROM system.settings WHERE name = {name:String}", {"name": name})
        assert kind, name
        await store.query(f"SELECT 1 SETTINGS {name} = '{value}'")


if __name__ == "__main__":
    LOCK.write_text(json.dumps(present(), indent=2) + "\n")
