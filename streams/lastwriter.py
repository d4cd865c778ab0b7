"""The own last-writer record: one base stamp (the newest PUT) and the stamps of fields that newer PATCHes named.

Any order of the same stamped events gives the same record. The base's value of an overwritten field is not kept,
because no later event can ask for it: a newer PUT brings its own, an older one changes nothing.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Final, TypeVar

import msgspec
from msgspec import Raw, Struct

from schemas.types import Instant, instant

AHEAD_US: Final = 5 * 60 * 1_000_000
"""How far ahead of its arrival an event may order itself; beyond it a clock in 2099 would freeze the object."""


class Stamp(Struct, frozen=True, order=True, array_like=True, gc=False):
    """What orders two writers: the object's own last_updated, the event's last_updated, the row version."""

    own: Instant
    event: Instant
    version: int


def stamp(last_updated: Instant, received_at: Instant, version: int, own: Instant | None = None) -> Stamp:
    """Return the stamp of an event, clamped to 5 minutes after its arrival."""
    latest = received_at + AHEAD_US
    event = min(last_updated, latest)
    return Stamp(event if own is None else min(own, latest), event, version)


TextT = TypeVar("TextT", Raw, bytes)
"""The JSON text of a field."""


class LastWriter(Struct, frozen=True, array_like=True, gc=False):  # a tree: no cycles to collect
    """The fields of one object with who wrote them last. `base` None: only PATCHes came so far, nothing can be served."""

    base: Stamp | None = None
    newer: dict[str, Stamp] = {}


def replaced(
    writer: LastWriter, fields: dict[str, TextT], document: Mapping[str, TextT], at: Stamp
) -> tuple[LastWriter, dict[str, TextT]]:
    """Apply a PUT of `document`: it wins where no newer PUT or PATCH stands. Returns the same objects when it is older."""
    if writer.base is not None and at <= writer.base:
        return writer, fields
    merged = dict(document)
    newer = {name: written for name, written in writer.newer.items() if written > at}
    for name in newer:
        if name in fields:
            merged[name] = fields[name]
        else:
            merged.pop(name, None)
    return LastWriter(at, newer), merged


def patched(
    writer: LastWriter, fields: dict[str, TextT], changes: Mapping[str, TextT], at: Stamp
) -> tuple[LastWriter, dict[str, TextT]]:
    """Apply a PATCH of `changes`, field by field. Returns the same objects when every field has a newer writer."""
    if writer.base is not None and at <= writer.base:
        return writer, fields
    won = {name: value for name, value in changes.items() if name not in writer.newer or at > writer.newer[name]}
    if not won:
        return writer, fields
    return LastWriter(writer.base, writer.newer | dict.fromkeys(won, at)), fields | won


class _PeriodStart(Struct):
    start_date_time: str


class Periods(Struct, frozen=True, array_like=True, gc=False):
    """Who wrote a Session's charging_periods: the list's stamp, its length, and the periods that newer PATCHes added.

    The list itself lives in the document: the newest PUT's periods verbatim (an equal start replaced in place), then
    the added ones by start_date_time. `added` maps start_date_time to the stamp of its writer.
    """

    base: Stamp | None = None
    count: int = 0
    added: dict[Instant, Stamp] = {}


_list: Final = msgspec.json.Decoder(list[Raw])
_start: Final = msgspec.json.Decoder(_PeriodStart)
_start_list: Final = msgspec.json.Decoder(list[_PeriodStart])

instant_of: Final = lru_cache(16_384)(instant)
"""`instant` for texts that come again and again: many objects change in the same second."""


def _starts(periods: list[Raw]) -> list[Instant]:
    return [instant_of(_start.decode(period).start_date_time) for period in periods]


def _starts_of(text: Raw | None) -> list[Instant]:
    if text is None or bytes(text) == b"null":
        return []
    return [instant_of(period.start_date_time) for period in _start_list.decode(text)]


def _listed(text: Raw | None) -> list[Raw]:
    return [] if text is None or bytes(text) == b"null" else _list.decode(text)


def _joined(periods: list[Raw]) -> Raw:
    return Raw(b"[" + b",".join(map(bytes, periods)) + b"]")


def _placed(base: list[Raw], starts: list[Instant], extra: Mapping[Instant, Raw]) -> list[Raw]:
    """Return `base` with the extra periods: in place of the last equal start, else behind, by start."""
    merged = list(base)
    position = {start: index for index, start in enumerate(starts)}
    for start, period in extra.items():
        if start in position:
            merged[position[start]] = period
    return merged + [extra[start] for start in sorted(extra) if start not in position]


def periods_replaced(periods: Periods, text: Raw | None, document: Raw | None, at: Stamp) -> tuple[Periods, Raw | None]:
    """Apply a PUT whose charging_periods are `document`; `text` is the present list. None stands for an absent field."""
    if periods.base is not None and at <= periods.base:
        return periods, text
    surviving = {start: written for start, written in periods.added.items() if written > at}
    if not surviving:
        return Periods(at, -1, {}), document
    by_start = dict(zip(_starts_of(text), _listed(text), strict=True))
    base = _listed(document)
    placed = _placed(base, _starts_of(document), {start: by_start[start] for start in surviving})
    return Periods(at, len(base), surviving), _joined(placed)


def periods_appended(periods: Periods, text: Raw | None, new: list[Raw], at: Stamp) -> tuple[Periods, Raw | None, list[Instant]]:
    """Apply a PATCH that adds periods. Returns the starts that it restated as well; older than the list: dropped."""
    if periods.base is not None and at <= periods.base:
        return periods, text, []
    starts, added = _starts_of(text), periods.added
    count = 0 if periods.base is None else periods.count if periods.count >= 0 else len(starts)
    fresh = _starts(new)
    if len(fresh) == 1 and fresh[0] not in starts and fresh[0] > max(added, default=0) and starts and text is not None:
        # Nearly always: one period more, which began after the others.
        after = Raw(bytes(text).rstrip()[:-1] + b"," + bytes(new[0]) + b"]")
        return Periods(periods.base, count, added | {fresh[0]: at}), after, []
    present, added = _listed(text), dict(added)
    known = dict(zip(starts, present, strict=True))
    extra = {start: known[start] for start in added}
    restated: list[Instant] = []
    for start, period in zip(fresh, new, strict=True):
        if start in known and known[start] != period:
            restated.append(start)
        if start not in added or at >= added[start]:
            added[start], extra[start] = at, period
        known[start] = extra[start]
    return Periods(periods.base, count, added), _joined(_placed(present[:count], starts[:count], extra)), restated
