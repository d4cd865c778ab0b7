"""Local days in SQL: instants put on the clocks of their sites. All times are Int64 microseconds."""

from typing import Final

DAY: Final = "86400000000"

# Bound as one array, read as a table: one row per zone and span of one offset (api.zones.Period).
OFFSETS: Final = """
SELECT
    tupleElement(period, 1) AS time_zone,
    tupleElement(period, 2) AS since,
    tupleElement(period, 3) AS until,
    tupleElement(period, 4) AS offset,
    tupleElement(period, 5) AS next_offset,
    tupleElement(period, 6) AS local_since
FROM (SELECT arrayJoin({offsets:Array(Tuple(String, Int64, Int64, Int64, Int64, Int64))}) AS period)
"""

MARGIN: Final = f"3 * {DAY}"
"""More than any clock is away from UTC, and than a status is held, together."""

WANTED: Final = f"day_number * {DAY} >= {{since:Int64}} AND day_number * {DAY} < {{until:Int64}}"
"""The local days whose date, as midnight in UTC, lies in the interval asked for: days are wanted whole."""


def near(instant: str) -> str:
    """Return the condition that an instant may lie in, or last into, a wanted day; bounds far away must not overflow."""
    return f"{instant} >= {{since:Int64}} - {MARGIN} AND {instant} < {{until:Int64}} + {MARGIN}"


def day_number(local: str) -> str:
    """Return the days since 1970 of a local instant, also before 1970."""
    return f"intDiv({local} - positiveModulo({local}, {DAY}), {DAY})"


def calendar(until: str) -> str:
    """Return the microseconds of the day `day_number` before the instant `until`: 23 or 25 hours where the clock is set.

    It needs the row of OFFSETS in which the day begins (ASOF on local_since), as `c`.
    """
    ends = f"(day_number + 1) * {DAY}"
    first = f"least({ends}, least(c.until, {until}) + c.offset) - day_number * {DAY}"
    second = f"least({ends}, {until} + c.next_offset) - greatest(day_number * {DAY}, c.until + c.next_offset)"
    return f"(greatest({first}, 0) + greatest({second}, 0))"
