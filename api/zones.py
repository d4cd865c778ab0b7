"""The clocks of the sites: which offset from UTC each time zone has, for questions that count in local days."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from schemas.types import Instant
from streams.ports import TableStore
from streams.values import text

FIRST_YEAR: Final = 2010
"""Before it a zone keeps the offset that it had when it began: no EVSE told its status over OCPI then."""

EVER_US: Final = 10**18
"""Microseconds that lie beyond every instant."""

_YEARS_AHEAD: Final = 2
_STEP: Final = timedelta(days=7)
_SECOND: Final = timedelta(seconds=1)


class Period(NamedTuple):
    """A span `[since, until)` in which a zone keeps one offset (all in microseconds), and the offset that follows.

    A local instant from `local_since` on, and before that of the next period, lies in this one; where a clock is set back,
    the hour that comes twice counts to the earlier period first.
    """

    time_zone: str
    since: int
    until: int
    offset: int
    next_offset: int
    local_since: int


class Zones:
    """The time zones that Locations name. A name that is none, and none at all, mean UTC."""

    def __init__(self, store: TableStore) -> None:
        self._store = store

    async def periods(self, now: Instant) -> list[Period]:
        """Return the periods of every zone in use until some years after `now`; raises StoreUnavailable."""
        names = {text(name) for (name,) in await self._store.query("SELECT DISTINCT time_zone FROM locations")}
        last = datetime.fromtimestamp(now // 1_000_000, UTC).year + _YEARS_AHEAD
        return [period for name in sorted(names | {""}) for period in periods_of(name, last)]


@lru_cache(maxsize=1024)
def periods_of(name: str, last_year: int) -> tuple[Period, ...]:
    """Return the periods of a zone from ever until ever; changes after `last_year` are not looked for."""
    changes = list(_changes(name, last_year))
    offsets = [_offset(name, datetime(FIRST_YEAR, 1, 1, tzinfo=UTC)), *(offset for _, offset in changes)]
    bounds = [-EVER_US, *(at for at, _ in changes), EVER_US]
    return tuple(
        Period(
            name,
            bounds[number],
            bounds[number + 1],
            offset,
            offsets[min(number + 1, len(changes))],
            bounds[number] + max(offset, offsets[max(number - 1, 0)]),
        )
        for number, offset in enumerate(offsets)
    )


def _changes(name: str, last_year: int) -> Iterator[tuple[int, int]]:
    """Yield when the offset changes, and to what; two changes within a week would go unseen (there are none)."""
    at, end = datetime(FIRST_YEAR, 1, 1, tzinfo=UTC), datetime(last_year + 1, 1, 1, tzinfo=UTC)
    while at < end:
        if _offset(name, at) != _offset(name, at + _STEP):
            before, after = at, at + _STEP
            while after - before > _SECOND:
                middle = before + (after - before) // 2
                middle -= timedelta(microseconds=middle.microsecond)
                before, after = (middle, after) if _offset(name, middle) == _offset(name, at) else (before, middle)
            yield int(after.timestamp()) * 1_000_000, _offset(name, after)
        at += _STEP


def _offset(name: str, at: datetime) -> int:
    offset = at.astimezone(_zone(name)).utcoffset() or timedelta()
    return round(offset.total_seconds()) * 1_000_000


@lru_cache(maxsize=1024)
def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # what a partner wrote may be a folder's name, or no name at all
        return ZoneInfo("UTC")
