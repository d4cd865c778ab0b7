"""What the tables hold of an object, and what another account of it would change: told by the fold itself."""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, Literal, NamedTuple

import msgspec
from msgspec.structs import replace

from schemas.events import Document, Envelope, event_of
from schemas.types import Instant, Json, Module
from streams.errors import Poison
from streams.generations import AnyProjection
from streams.ports import TableStore
from streams.projection import Recorded
from streams.projections.cdrs import same_values
from streams.projections.locations import Locations
from streams.projections.sessions import Sessions
from streams.projections.tariffs import Tariffs
from streams.projections.tokens import Tokens
from streams.values import integer, octets, text

Key = tuple[str, ...]

KEYS: Final = 1000
"""How many keys one query asks for."""

_LAST: Final = (1 << 64) - 1
_UPDATED: Final = "last_updated"
_NAMES: Final = {"evses": "uid", "connectors": "id"}

_FOLDS: Final[Mapping[Module, AnyProjection]] = {
    Module.LOCATIONS: Locations(),
    Module.SESSIONS: Sessions(),
    Module.TARIFFS: Tariffs(),
    Module.TOKENS: Tokens(),
}
_KEYS: Final[Mapping[Module, tuple[str, ...]]] = {
    Module.LOCATIONS: ("party", "location_id"),
    Module.SESSIONS: ("party", "session_id"),
    Module.CDRS: ("party", "cdr_id"),
    Module.TARIFFS: ("party", "tariff_id"),
    Module.TOKENS: ("party", "token_uid", "type"),
}
_document: Final = msgspec.json.Decoder(Document)
_value: Final = msgspec.json.Decoder(float_hook=Decimal)


class Stood(NamedTuple):
    """An object as its row has it; `changed_at` is when its newest event arrived, `state` is empty for a CDR."""

    doc: bytes
    state: bytes
    served: bool
    changed_at: Instant


class Judged(NamedTuple):
    """What an account of an object would do.

    `new`: nobody would find it now. `same`: it says what stands. `older`: it says something else, but what stands is newer.
    `changed`: it would change `fields` (pointers, last_updated aside). `conflict`: a CDR of that id with other values stands.
    `pushed`: its partner has pushed it before. `skipped`: the fold takes its event for one that it has seen.
    """

    kind: Literal["new", "same", "older", "changed", "conflict"]
    fields: tuple[str, ...] = ()
    pushed: bool = False
    skipped: bool = False


NEW: Final = Judged("new")
SAME: Final = Judged("same")


class Standing:
    """Reads what stands."""

    def __init__(self, store: TableStore) -> None:
        self._store = store

    async def read(self, module: Module, keys: Sequence[Key]) -> dict[Key, Stood]:
        """Return the rows of those keys that there are, served or not; raises StoreUnavailable."""
        found: dict[Key, Stood] = {}
        width = len(_KEYS[module])
        unique = list(dict.fromkeys(keys))
        for start in range(0, len(unique), KEYS):
            for row in await self._store.query(_READ[module], {"keys": unique[start : start + KEYS]}):
                doc, state, served, changed_at = row[width:]
                key = tuple(map(text, row[:width]))
                found[key] = Stood(octets(doc), octets(state), bool(served), integer(changed_at))
        return found

    async def is_empty(self, module: Module, parties: Iterable[str]) -> bool:
        """Whether nothing of these parties stands at all; raises StoreUnavailable."""
        sql = f"SELECT 1 FROM {module.value} WHERE party IN {{parties:Array(String)}} LIMIT 1"
        return not await self._store.query(sql, {"parties": sorted(parties)})

    async def served(self, module: Module, parties: Iterable[str], before: Instant, after: Key | None, limit: int) -> list[Key]:
        """Return the next keys behind `after` of the parties' objects that are served and have not changed since `before`.

        A Token that is unconfirmed already is left out. Raises StoreUnavailable.
        """
        width = len(_KEYS[module])
        behind = [tuple(after or ("",) * width)]
        parameters = {"parties": sorted(parties), "before": before, "behind": behind, "limit": limit}
        rows = await self._store.query(_SERVED[module], parameters)
        return [tuple(map(text, row)) for row in rows]


def judge(module: Module, key: Key, stood: Stood | None, envelope: Envelope, *, dated: bool, sent_at: Instant) -> Judged:
    """Return what the event of an object (the whole of it) would do to what stands; pure.

    `dated`: the version's objects say when they were changed. Where they do not, the object is as it was at `sent_at`, and
    whatever came later is newer.
    """
    if stood is None:
        return NEW
    if module is Module.CDRS:
        return SAME if same_values(_document.decode(stood.doc), _document.decode(envelope.payload)) else Judged("conflict")
    if stood.served and (stood.doc == envelope.payload or not _differing(stood.doc, envelope.payload, dated=dated)):
        return SAME
    projection = _FOLDS[module]
    state = projection.decode(key, stood.doc, stood.state)
    skipped, pushed = envelope.event_id in state.header.event_ids, state.header.pushed
    if not stood.served:
        return Judged("new", skipped=skipped)
    if skipped or (not dated and stood.changed_at > sent_at):
        return Judged("older", pushed=pushed)
    unseen = replace(envelope, event_id=bytes(16))
    try:
        after, _ = projection.fold(state, Recorded(unseen, event_of(unseen), 0, _LAST))
    except (Poison, ValueError):
        return NEW
    names = [] if projection.current is None else [column.name for column in projection.current.columns]
    fields = _differing(stood.doc, octets(projection.row(key, after)[names.index("doc")]), dated=dated)
    if not fields:
        return Judged("older", pushed=pushed)
    told = tuple(field for field in fields if not field.endswith(f"/{_UPDATED}"))
    return Judged("changed", told, pushed)


def _differing(before: bytes, after: bytes, *, dated: bool) -> list[str]:
    """Return pointers to what differs between two documents; null, absent and [] are the same."""
    one, other = _document.decode(before), _document.decode(after)
    found: list[str] = []
    for name in (*one, *(name for name in other if name not in one)):
        if name == _UPDATED and not dated:
            continue
        was, became = one.get(name), other.get(name)
        if was is not None and became is not None and bytes(was) == bytes(became):
            continue
        _compare(name, _read(was), _read(became), f"/{name}", found, dated=dated)
    return found


def _read(raw: msgspec.Raw | None) -> Json:
    return None if raw is None else _value.decode(raw)


def _compare(name: str, was: Json, became: Json, pointer: str, found: list[str], *, dated: bool) -> None:
    """Add where two values differ; EVSEs and Connectors are compared by their ids."""
    if was == became or (not was and not became and not _says(was) and not _says(became)):
        return
    if isinstance(was, dict) and isinstance(became, dict):
        for inner in (*was, *(one for one in became if one not in was)):
            if inner != _UPDATED or dated:
                _compare(inner, was.get(inner), became.get(inner), f"{pointer}/{inner}", found, dated=dated)
        return
    by = _NAMES.get(name)
    if by is not None and isinstance(was, list | None) and isinstance(became, list | None):
        ones, others = _named(was, by), _named(became, by)
        if ones is not None and others is not None:
            for inner in (*ones, *(one for one in others if one not in ones)):
                _compare(inner, ones.get(inner), others.get(inner), f"{pointer}/{inner}", found, dated=dated)
            return
    if isinstance(was, list) and isinstance(became, list) and len(was) == len(became) and not dated:
        before = len(found)
        for number, (one, other) in enumerate(zip(was, became, strict=True)):
            _compare("", one, other, f"{pointer}/{number}", found, dated=dated)
        del found[before + 1 :]
        return
    found.append(pointer)


def _says(value: Json) -> bool:
    """Whether a value that is false says something: 0, false and '' do, null and [] do not."""
    return value is not None and value != []


def _named(members: Json, by: str) -> dict[str, Any] | None:
    found: dict[str, Any] = {}
    for member in members if isinstance(members, list) else ():
        name = member.get(by) if isinstance(member, dict) else None
        if not isinstance(name, str):
            return None
        found[name.lower()] = member
    return found


def _reading(module: Module) -> str:
    names = _KEYS[module]
    columns, shape = ", ".join(names), ", ".join(["String"] * len(names))
    where = f"FROM {module.value} WHERE ({columns}) IN {{keys:Array(Tuple({shape}))}}"
    if module is Module.CDRS:  # the same CDR id under two charging keys is two rows; the one that came first is the CDR
        return (
            f"SELECT {columns}, doc, '', 1, first_seen {where} ORDER BY first_seen, charging_key LIMIT 1 BY {columns} LIMIT {KEYS}"
        )
    return f"SELECT {columns}, doc, state, served, changed_at {where} ORDER BY {columns} LIMIT {KEYS}"


def _serving(module: Module) -> str:
    names = _KEYS[module]
    columns, shape = ", ".join(names), ", ".join(["String"] * len(names))
    known = " AND (party, token_uid) NOT IN (SELECT party, lower(object_id) FROM token_findings WHERE rule = 'unconfirmed')"
    return (
        f"SELECT {columns} FROM {module.value} WHERE served = 1 AND party IN {{parties:Array(String)}}"
        " AND changed_at < fromUnixTimestamp64Micro({before:Int64}, 'UTC')"
        f" AND ({columns}) > ({{behind:Array(Tuple({shape}))}}[1]){known if module is Module.TOKENS else ''}"
        f" ORDER BY {columns} LIMIT {{limit:UInt64}}"
    )


_READ: Final = {module: _reading(module) for module in Module}
_SERVED: Final = {module: _serving(module) for module in _FOLDS}
