"""Utilisation against a reference on plain lists: late, repeated and reordered statuses, days of 23 and of 25 hours."""

import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final, NamedTuple
from urllib.parse import quote
from zoneinfo import ZoneInfo

import pytest
from charging import T0
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from outlet import OPERATOR, SECOND, House, house
from places import location, location_entry, said

from api.zones import periods_of
from schemas.types import date_time
from streams.ports import Entry, TableStore

HOUR: Final = 3600
DAY: Final = 24 * HOUR
SILENCE: Final = 24 * HOUR


class Told(NamedTuple):
    """A status of an EVSE: since when, as it says, and when it arrived (seconds since 1970)."""

    at: int
    arrived: int
    status: str


@pytest.fixture
async def home(store: TableStore) -> AsyncIterator[House]:
    async with house(store) as opened:
        opened.clock.advance(400 * DAY * SECOND)
        yield opened


def moment(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


def since_t0(at: int) -> float:
    return at - T0 // SECOND


def put_site(location_id: str, time_zone: str, **fields: Any) -> Entry:
    at = since_t0(moment("2026-01-01"))
    document = location(at, id=location_id, time_zone=time_zone, **fields)
    return location_entry(said("location.replaced", (location_id,), at, document))


def tell(location_id: str, evse_uid: str, told: Told) -> Entry:
    change = {"set": {"status": told.status, "last_updated": date_time(told.at * SECOND)}}
    envelope = said("evse.patched", (location_id, evse_uid), since_t0(told.at), change, arrived=since_t0(told.arrived) - 1)
    return location_entry(envelope)


async def utilisation(home: House, query: str) -> list[dict[str, Any]]:
    reply = await home.get(f"/analytics/utilisation?{query}", OPERATOR)
    assert reply.status == 200, reply
    rows: list[dict[str, Any]] = json.loads(reply.body, parse_float=Decimal)["rows"]
    return rows


async def after(home: House, time_zone: str, told: Iterable[Told], query: str = "") -> list[dict[str, Any]]:
    """Return the rows of EVSE E1 of a new site."""
    await home.log.append([put_site("L1", time_zone), *(tell("L1", "E1", one) for one in told)])
    await home.fold()
    return await utilisation(home, f"location=L1&{query}")


# The reference: one status after the other, cut at every second at which the local date changes.


def reference(time_zone: str, log: list[Told], as_of: int) -> dict[date, Counter[str]]:
    """Return the seconds of each status by local day, with the day's own length until as_of as `calendar`."""
    first: dict[tuple[int, str], tuple[int, Told]] = {}
    for place, told in enumerate(log):
        first.setdefault((told.at, told.status), (place, told))
    known = sorted((told.at, place, told) for place, told in first.values() if told.arrived <= as_of)
    local_date = local_dates(time_zone)
    days: dict[date, Counter[str]] = {}
    for number, (begins, _, told) in enumerate(known):
        following = known[number + 1][0] if number + 1 < len(known) else as_of
        at, ends = begins, min(following, begins + SILENCE, as_of)
        while at < ends:
            day = local_date(at)
            until = min(ends, first_second(lambda second, day=day: local_date(second) > day, at, at + 2 * DAY))  # type: ignore[misc]
            days.setdefault(day, Counter())[told.status] += until - at
            at = until
    for day, counted in days.items():
        middle = int(datetime(day.year, day.month, day.day, 12, tzinfo=UTC).timestamp())
        begins = first_second(lambda second, day=day: local_date(second) >= day, middle - 2 * DAY, middle + 2 * DAY)  # type: ignore[misc]
        ends = first_second(lambda second, day=day: local_date(second) > day, middle - 2 * DAY, middle + 2 * DAY)  # type: ignore[misc]
        counted["calendar"] = min(ends, as_of) - begins
    return days


def local_dates(time_zone: str) -> Callable[[int], date]:
    zone = ZoneInfo(time_zone) if time_zone not in {"", "Mars/Olympus", "../etc"} else ZoneInfo("UTC")
    return lambda second: datetime.fromtimestamp(second, zone).date()


def first_second(is_after: Callable[[int], bool], low: int, high: int) -> int:
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_after(middle) else (middle, high)
    return high


# Days in which the clock is set: at 02:00 and 03:00, at midnight forwards and backwards, by half an hour; and other clocks.
CHANGES = (
    *(("Europe/Amsterdam", "2026-03-28"), ("Europe/Amsterdam", "2026-10-24"), ("America/St_Johns", "2026-03-07")),
    *(("America/Havana", "2026-03-07"), ("America/Havana", "2026-10-31"), ("Africa/Cairo", "2026-04-22")),
    *(("Africa/Cairo", "2026-10-29"), ("Australia/Lord_Howe", "2026-04-03"), ("Australia/Lord_Howe", "2026-10-03")),
    *(("Asia/Kolkata", "2026-03-28"), ("", "2026-03-28"), ("Mars/Olympus", "2026-10-24"), ("../etc", "2026-03-28")),
)
ZONES = sorted({zone for zone, _ in CHANGES if "/" in zone} - {"Mars/Olympus", "../etc"})
STATUSES = ("AVAILABLE", "CHARGING", "CHARGING", "OUTOFORDER", "INOPERATIVE", "RESERVED", "UNKNOWN")
SECONDS = st.integers(0, 3 * DAY) | st.integers(0, 6).map(lambda halves: halves * 12 * HOUR)


@st.composite
def histories(draw: st.DrawFn) -> tuple[str, dict[str, list[Told]], int]:
    time_zone, day = draw(st.sampled_from(CHANGES))
    start = moment(day)
    logs = {}
    for uid in draw(st.sampled_from((["E1"], ["E1", "E2"]))):
        told = draw(
            st.lists(
                st.builds(
                    lambda at, late, status: Told(start + at, start + at + late, status),
                    SECONDS,
                    st.just(2) | st.integers(1, 3 * DAY),
                    st.sampled_from(STATUSES),
                ),
                min_size=1,
                max_size=5,
            )
        )
        repeated = draw(st.lists(st.sampled_from(told), max_size=3))
        logs[uid] = draw(st.permutations(told + repeated))
    return time_zone, logs, start + draw(st.just(10 * DAY) | st.integers(0, 6 * DAY))


async def test_every_history_gives_the_seconds_of_the_reference(home: House) -> None:
    histories = drawn()
    for number, (time_zone, logs, _) in enumerate(histories):
        entries = [tell(f"site-{number}", uid, told) for uid, log in logs.items() for told in log]
        await home.log.append([put_site(f"site-{number}", time_zone), *entries])
    await home.fold()
    for number, (time_zone, logs, as_of) in enumerate(histories):
        site = f"site-{number}"
        rows = await utilisation(home, f"location={site}&as_of={quote(date_time(as_of * SECOND))}")
        expected = {
            (uid.lower(), str(day)): seconds
            for uid, log in logs.items()
            for day, seconds in reference(time_zone, log, as_of).items()
        }
        assert {(row["evse_uid"], row["day"]) for row in rows} == set(expected)
        for row in rows:
            assert row["time_zone"] == time_zone
            compare(row, expected[row["evse_uid"], row["day"]])


def compare(row: dict[str, Any], seconds: Counter[str]) -> None:
    out = seconds["OUTOFORDER"] + seconds["INOPERATIVE"]
    assert row["calendar_s"] == seconds["calendar"]
    assert row["occupied_s"] == seconds["CHARGING"]
    assert row["available_s"] == seconds["AVAILABLE"]
    assert row["out_of_service_s"] == out
    assert row["other_s"] == seconds["RESERVED"] + seconds["UNKNOWN"]
    # Conservation: every second of the calendar is in one column, and none in two.
    parts = ("occupied_s", "available_s", "out_of_service_s", "other_s", "no_data_s")
    assert sum(row[part] for part in parts) == seconds["calendar"]
    assert row["no_data_s"] >= 0
    assert float(row["utilisation"]) == pytest.approx(seconds["CHARGING"] / seconds["calendar"])
    in_service = seconds["calendar"] - out
    assert (row["occupancy"] is None) is (in_service == 0)
    if in_service:
        assert float(row["occupancy"]) == pytest.approx(seconds["CHARGING"] / in_service)


def drawn() -> list[tuple[str, dict[str, list[Told]], int]]:
    """Return histories as hypothesis draws them."""
    found: list[tuple[str, dict[str, list[Told]], int]] = []

    @settings(max_examples=120, suppress_health_check=[HealthCheck.too_slow])
    @given(histories())
    def collect(history: tuple[str, dict[str, list[Told]], int]) -> None:
        found.append(history)

    collect()
    return found


@pytest.mark.parametrize(
    ("time_zone", "day", "hours"),
    [
        ("Europe/Amsterdam", "2026-03-29", 23),
        ("Europe/Amsterdam", "2026-10-25", 25),
        ("Europe/Amsterdam", "2026-07-01", 24),
        ("Africa/Cairo", "2026-04-24", 23),
        ("America/Havana", "2026-11-01", 25),
        ("Australia/Lord_Howe", "2026-04-05", 24.5),
        ("UTC", "2026-03-29", 24),
        ("no/zone", "2026-03-29", 24),
    ],
)
async def test_a_day_is_as_long_as_the_sites_calendar_says(home: House, time_zone: str, day: str, hours: float) -> None:
    noon = moment(f"{day}T12:00:00")
    told = [Told(noon + hour * HOUR, noon + hour * HOUR, "CHARGING") for hour in range(-48, 60, 12)]
    following = (date.fromisoformat(day) + timedelta(days=1)).isoformat()
    (row,) = await after(home, time_zone, told, f"from={day}&to={following}")
    assert (row["day"], row["calendar_s"], row["occupied_s"]) == (day, hours * HOUR, hours * HOUR)
    assert (row["utilisation"], row["coverage"], row["no_data_s"]) == (1, 1, 0)


async def test_silence_is_no_data_after_24_hours(home: House) -> None:
    begins = moment("2026-06-01T12:00:00")
    rows = await after(home, "UTC", [Told(begins, begins, "CHARGING"), Told(begins + 3 * DAY, begins + 3 * DAY, "AVAILABLE")])
    assert [(row["day"], row["occupied_s"], row["no_data_s"]) for row in rows] == [
        ("2026-06-01", 12 * HOUR, 12 * HOUR),
        ("2026-06-02", 12 * HOUR, 12 * HOUR),
        ("2026-06-04", 0, 12 * HOUR),
        ("2026-06-05", 0, 12 * HOUR),
    ]
    assert rows[0]["coverage"] == Decimal("0.5")


async def test_what_came_late_changes_history_but_not_what_was_known_before(home: House) -> None:
    nine = moment("2026-06-01T09:00:00")
    told = [Told(nine, nine, "AVAILABLE"), Told(nine + 2 * HOUR, nine + 2 * HOUR, "AVAILABLE")]
    late = Told(nine + HOUR, nine + 5 * DAY, "CHARGING")
    (then,) = await after(home, "UTC", [*told, late], "to=2026-06-02&as_of=2026-06-03")
    assert then["occupied_s"] == 0
    (now,) = await utilisation(home, "location=L1&to=2026-06-02")
    assert (now["occupied_s"], now["available_s"]) == (HOUR, HOUR + 13 * HOUR)


async def test_the_day_that_runs_is_as_long_as_it_has_run(home: House) -> None:
    nine = moment("2026-06-01T09:00:00")
    (row,) = await after(home, "UTC", [Told(nine, nine, "CHARGING")], "as_of=2026-06-01T12:00:00Z")
    assert (row["calendar_s"], row["occupied_s"], row["no_data_s"]) == (12 * HOUR, 3 * HOUR, 9 * HOUR)


async def test_statuses_from_1970_and_2099_stay_in_their_days(home: House) -> None:
    nine = moment("2026-06-01T09:00:00")
    wild = [Told(moment("1970-01-01"), nine + 1, "CHARGING"), Told(moment("2099-01-01"), nine + 2, "CHARGING")]
    rows = await after(home, "Europe/Amsterdam", [Told(nine, nine, "AVAILABLE"), *wild])
    assert [row["day"] for row in rows] == ["1970-01-01", "1970-01-02", "2026-06-01", "2026-06-02"]
    assert [row["occupied_s"] for row in rows[2:]] == [0, 0]


async def test_an_answer_says_as_of_when_it_speaks_and_of_how_many_evses(home: House) -> None:
    nine = moment("2026-06-01T09:00:00")
    await after(home, "UTC", [Told(nine, nine, "CHARGING")])
    await home.log.append([put_site("L2", "UTC"), tell("L2", "E1", Told(nine + 60 * DAY, nine + 60 * DAY, "CHARGING"))])
    await home.fold()
    answer = (await home.get("/analytics/utilisation?from=2026-06-01&to=2026-06-02&as_of=2026-06-15", OPERATOR)).json
    assert (answer["as_of"], len(answer["rows"])) == ("2026-06-15T00:00:00Z", 1)
    assert (answer["coverage"]["counted"], answer["coverage"]["known"]) == (1, 2)


async def test_a_country_and_a_party_narrow_it(home: House) -> None:
    nine = moment("2026-06-01T09:00:00")
    await after(home, "UTC", [Told(nine, nine, "CHARGING")])
    await home.log.append([put_site("L2", "UTC", country="DEU"), tell("L2", "E1", Told(nine, nine, "CHARGING"))])
    await home.fold()
    assert {row["location_id"] for row in await utilisation(home, "country=DEU")} == {"l2"}
    assert {row["location_id"] for row in await utilisation(home, "party=NL*TNM")} == {"l1", "l2"}
    assert await utilisation(home, "party=DE*ALL") == []


@pytest.mark.parametrize("time_zone", ZONES)
def test_the_periods_of_a_zone_are_those_of_its_clock(time_zone: str) -> None:
    periods = periods_of(time_zone, 2030)
    zone = ZoneInfo(time_zone)
    for hour in range(moment("2010-01-01") // HOUR, moment("2030-12-31") // HOUR, 5):
        at = hour * HOUR
        (period,) = [one for one in periods if one.since <= at * SECOND < one.until]
        assert period.offset == datetime.fromtimestamp(at, zone).utcoffset() // timedelta(microseconds=1)  # type: ignore[operator]


async def test_a_status_over_the_change_of_the_clock_ends_on_the_new_clock(home: House) -> None:
    begins = moment("2026-03-28T23:30:00")  # 00:30 on the 29th; 24 hours later it is 01:30 on the 30th
    rows = await after(home, "Europe/Amsterdam", [Told(begins, begins, "CHARGING")])
    assert [(row["day"], row["occupied_s"]) for row in rows] == [("2026-03-29", 22.5 * HOUR), ("2026-03-30", 1.5 * HOUR)]
