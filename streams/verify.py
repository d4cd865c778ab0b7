"""Does what is served equal what the log says? The comparison of two generations, made by ClickHouse."""

from collections.abc import Mapping, Sequence
from typing import Final

from msgspec import Struct

from streams import tables
from streams.generations import AnyProjection, Generation, tables_of
from streams.ports import EventLog, TableStore, TopicPartition
from streams.projection import OFFSET_MASK, Table
from streams.values import shown

SHOWN: Final = 20


class Difference(Struct, frozen=True):
    """A row that the served table and the refolded one do not share."""

    table: str
    key: tuple[str, ...]
    kind: str  # "missing" (only the log has it), "surplus" (only the table has it), "different"


async def ends_of(log: EventLog, topics: Sequence[str]) -> dict[TopicPartition, int]:
    """Return the end offset of every partition of the topics."""
    return {TopicPartition(topic, partition): end for topic in topics for partition, end in (await log.end(topic)).items()}


async def compare(
    store: TableStore, projection: AnyProjection, served: Generation, shadow: Generation, upto: Mapping[TopicPartition, int]
) -> list[Difference]:
    """Return the first differences of each table between the served generation and the refolded one.

    The refolded one ends at `upto`; rows that the served one got from later records are left out of account.
    """
    ends: dict[int, int] = {}
    for lane, end in upto.items():
        ends[lane.partition] = max(ends.get(lane.partition, 0), end)
    differences: list[Difference] = []
    for table in tables_of(projection):
        rows = await store.query(
            _sql(table, served, shadow),
            {"partitions": list(ends), "ends": list(ends.values()), "shown": SHOWN},
        )
        for row in rows:
            *key, sides = row
            kind = {1: "missing", 2: "surplus"}.get(int(str(sides)), "different")
            differences.append(Difference(table.name, tuple(shown(part) for part in key), kind))
    return differences


def _sql(table: Table, served: Generation, shadow: Generation) -> str:
    # As text, because a hash over a NULL is NULL, and two NULLs would look the same.
    keys = ", ".join(table.order_by)
    offset = f"bitAnd(version, {OFFSET_MASK})"
    return f"""
SELECT {keys}, if(min(side) = max(side), min(side), 3) AS sides
FROM (
    SELECT {keys}, 1 AS side, cityHash64(toString(tuple(*))) AS content, 0 AS later
    FROM {tables.physical(table, shadow.suffix)} FINAL
    UNION ALL
    SELECT {keys}, 2 AS side, cityHash64(toString(tuple(*))) AS content,
        {offset} >= transform(
            partition, {{partitions:Array(UInt16)}}, {{ends:Array(UInt64)}}, toUInt64(0)
        ) AS later
    FROM {tables.physical(table, served.suffix)} FINAL
)
GROUP BY {keys}
HAVING max(later) = 0 AND (sides != 3 OR min(content) != max(content))
ORDER BY {keys}
LIMIT {{shown:UInt32}}"""
