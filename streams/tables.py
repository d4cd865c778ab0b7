"""Tables as ClickHouse DDL: versioned, filled in generations, read through views.

`on_cluster` names a ClickHouse cluster whose replicas all keep the tables; without it one server does.
"""

import hashlib
from collections.abc import Iterable
from typing import Final

from streams.projection import Column, Table

BOOKKEEPING: Final = (Column("partition", "UInt16"), Column("version", "UInt64"))
RANK: Final = Column("rank", "UInt64")
"""In fact tables the engine keeps the highest `rank` = 2^64-1 - version: the first delivery stays."""

MAX_UINT64: Final = (1 << 64) - 1

POSITIONS: Final = Table(
    name="positions",
    version=1,
    kind="current",
    columns=(
        Column("projection_name", "LowCardinality(String)"),
        Column("generation", "UInt32"),
        Column("topic", "LowCardinality(String)"),
        Column("of_partition", "UInt16"),
        Column("epoch", "UInt16"),
        Column("next_offset", "UInt64"),
        Column("received_at", "DateTime64(6, 'UTC')"),
    ),
    order_by=("projection_name", "generation", "topic", "of_partition"),
)
"""How far each generation of each projection has come: the offset after its last folded record."""

GENERATIONS: Final = Table(
    name="generations",
    version=1,
    kind="current",
    columns=(
        Column("projection_name", "LowCardinality(String)"),
        Column("fold", "String"),
        Column("generation", "UInt32"),
        Column("log_id", "String"),
    ),
    order_by=("projection_name",),
)
"""The generation that serves, per projection; `fold` names the fold and table versions that filled it."""

SYSTEM_TABLES: Final = (POSITIONS, GENERATIONS)


# States are read by key, a thousand at a time, and lists by a few columns: small granules and blocks spare decompressing
# what is not asked for (IN of 1,000 keys of 200,000: 51 ms against 255). Facts are scanned, so they keep the defaults.
_SETTINGS: Final = {
    "current": "index_granularity = 64, min_compress_block_size = 16384, max_compress_block_size = 65536",
    "fact": "index_granularity = 8192",
}


def columns(table: Table) -> tuple[Column, ...]:
    """Return all columns as stored: the table's own, then partition and version, in fact tables also rank."""
    return (*table.columns, *BOOKKEEPING, *((RANK,) if table.kind == "fact" else ()))


def bookkeeping(table: Table, partition: int, version: int) -> tuple[int, ...]:
    """Return the values of the columns that follow the table's own."""
    return (partition, version, MAX_UINT64 - version) if table.kind == "fact" else (partition, version)


def physical(table: Table, generation: str) -> str:
    """Return the name of the table that a generation fills, e.g. `sessions_v1_g2`."""
    return f"{table.name}_v{table.version}_{generation}"


def create(table: Table, generation: str, on_cluster: str = "") -> str:
    """Return the CREATE TABLE of one generation."""
    lines = ",\n    ".join(f"{column.name} {column.type}" for column in columns(table))
    indexes = "".join(f",\n    {index}" for index in table.indexes)
    partition_by = f"\nPARTITION BY {table.partition_by}" if table.partition_by else ""
    # A replicated table takes its path and its replica's name from the servers' settings (default_replica_path: the table's UUID).
    engine, window = (
        ("ReplicatedReplacingMergeTree", "replicated_deduplication_window")
        if on_cluster
        else ("ReplacingMergeTree", "non_replicated_deduplication_window")
    )
    return (
        f"CREATE TABLE IF NOT EXISTS {physical(table, generation)}{_on(on_cluster)}\n(\n    {lines}{indexes}\n)\n"
        f"ENGINE = {engine}({'rank' if table.kind == 'fact' else 'version'}){partition_by}\n"
        f"ORDER BY ({', '.join(table.order_by)})\n"
        f"SETTINGS {_SETTINGS[table.kind]}, {window} = 1000"
    )


def view(table: Table, generation: str, on_cluster: str = "") -> str:
    """Return the view that readers use: one row per sort key."""
    return f"CREATE OR REPLACE VIEW {table.name}{_on(on_cluster)} AS SELECT * FROM {physical(table, generation)} FINAL"


def drop(table: Table, generation: str, on_cluster: str = "") -> str:
    """Return the statement that lets go of a generation."""
    return f"DROP TABLE IF EXISTS {physical(table, generation)}{_on(on_cluster)} SYNC"


def database(name: str, on_cluster: str = "") -> str:
    """Return the statement that makes the database where it is missing."""
    return f"CREATE DATABASE IF NOT EXISTS {name}{_on(on_cluster)}"


def union_view(name: str, tables: Iterable[Table], on_cluster: str = "") -> str:
    """Return a view over alike tables of several projections, read through their own views."""
    own = "\n    UNION ALL ".join(f"SELECT {', '.join(c.name for c in table.columns)} FROM {table.name}" for table in tables)
    return f"CREATE OR REPLACE VIEW {name}{_on(on_cluster)} AS\n    {own}"


def _on(cluster: str) -> str:
    return f" ON CLUSTER {cluster}" if cluster else ""


def ddl_hash(table: Table) -> str:
    """Return what the lock file keeps of a table: it must not change while the version stays."""
    return hashlib.sha256(create(table, "g").encode()).hexdigest()[:16]
