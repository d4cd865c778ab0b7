"""What changed between two generations of a projection's tables: how many rows, and the first of them with both values."""

import json
from collections.abc import Sequence
from typing import Any, Final

from msgspec import Struct

from streams import tables
from streams.generations import AnyProjection, Generation, tables_of
from streams.ports import TableStore
from streams.projection import Table
from streams.values import integer, shown

SHOWN: Final = 5
"""How many rows of each table are shown."""

LONGEST: Final = 200
"""How many characters of a value are shown."""

_UNSEEN: Final = frozenset({"state"})
"""Columns that only the fold reads."""


class Change(Struct, frozen=True):
    """A value before and after; None where the row, or the member of the document, was not there."""

    name: str
    old: str | None
    new: str | None


class Move(Struct, frozen=True):
    """A row that moved: `changed`, `added` or `gone`. A changed document is told by its members, as `doc.kwh`."""

    key: tuple[str, ...]
    kind: str
    changes: tuple[Change, ...]


class Moves(Struct, frozen=True):
    """What moved in a table, and the first rows by their key."""

    table: str
    changed: int
    added: int
    gone: int
    examples: tuple[Move, ...]


async def moves(store: TableStore, projection: AnyProjection, old: Generation, new: Generation) -> list[Moves]:
    """Return what moved between the generations, table by table; nothing for a table in which nothing did."""
    found = []
    for table in tables_of(projection):
        ((changed, added, gone),) = await store.query(_COUNTS.format(rows=_differing(table, old, new)))
        if changed or added or gone:
            examples = await _examples(store, table, old, new)
            found.append(Moves(table.name, integer(changed), integer(added), integer(gone), tuple(examples)))
    return found


_COUNTS: Final = "SELECT countIf(sides = 3), countIf(sides = 2), countIf(sides = 1) FROM ({rows})"
_KINDS: Final = {1: "gone", 2: "added", 3: "changed"}


def _differing(table: Table, old: Generation, new: Generation) -> str:
    keys = ", ".join(table.order_by)
    # As text, because a hash over a NULL is NULL, and two NULLs would look the same.
    content = f"cityHash64(toString(tuple({', '.join(_seen(table))})))"
    return f"""
SELECT {keys}, if(min(side) = max(side), min(side), 3) AS sides
FROM (
    SELECT {keys}, 1 AS side, {content} AS content FROM {tables.physical(table, old.suffix)} FINAL
    UNION ALL
    SELECT {keys}, 2 AS side, {content} AS content FROM {tables.physical(table, new.suffix)} FINAL
)
GROUP BY {keys}
HAVING sides != 3 OR min(content) != max(content)"""


async def _examples(store: TableStore, table: Table, old: Generation, new: Generation) -> list[Move]:
    keys, names = ", ".join(table.order_by), _seen(table)
    rows = await store.query(
        f"SELECT {keys}, sides, cityHash64({keys}) FROM ({_differing(table, old, new)}) ORDER BY {keys} LIMIT {SHOWN}"
    )
    places = [integer(row[-1]) for row in rows]
    texts = ", ".join(f"toString({name})" for name in names)
    both: list[dict[int, tuple[object, ...]]] = []
    for generation in (old, new):
        found = await store.query(
            f"SELECT cityHash64({keys}), {texts} FROM {tables.physical(table, generation.suffix)} FINAL"
            f" WHERE cityHash64({keys}) IN {{places:Array(UInt64)}}",
            {"places": places},
        )
        both.append({integer(row[0]): row[1:] for row in found})
    result = []
    for *key, sides, place in rows:
        before, after = (dict(zip(names, map(_text, side.get(integer(place), ())), strict=False)) for side in both)
        changes = [
            change for name in names if name not in table.order_by for change in _changes(name, before.get(name), after.get(name))
        ]
        result.append(Move(tuple(_text(part) or "" for part in key), _KINDS[integer(sides)], tuple(changes)))
    return result


def _seen(table: Table) -> list[str]:
    return [column.name for column in table.columns if column.name not in _UNSEEN]


def _changes(name: str, old: str | None, new: str | None) -> Sequence[Change]:
    if old == new:
        return ()
    before, after = _members(old), _members(new)
    if name != "doc" or before is None or after is None:
        return (Change(name, _short(old), _short(new)),)
    return [
        Change(f"{name}.{member}", _short(_json(before, member)), _short(_json(after, member)))
        for member in dict.fromkeys([*before, *after])
        if _json(before, member) != _json(after, member)
    ]


def _members(text: str | None) -> dict[str, Any] | None:
    try:
        # Numbers stay the texts that they are: 4.0 and 4.00 differ, and neither is a float.
        value = json.loads(text or "", parse_float=_Number, parse_int=_Number)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


class _Number(str):
    """A number as it is written."""

    __slots__ = ()


def _json(members: dict[str, Any], name: str) -> str | None:
    return _written(members[name]) if name in members else None


def _written(value: Any) -> str:
    match value:
        case _Number():
            return str(value)
        case dict():
            return "{" + ",".join(f"{json.dumps(name)}:{_written(one)}" for name, one in value.items()) + "}"
        case list():
            return "[" + ",".join(map(_written, value)) + "]"
        case _:
            return json.dumps(value, ensure_ascii=False)


def _short(text: str | None) -> str | None:
    return text if text is None or len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _text(value: object) -> str | None:
    return None if value is None else shown(value)
