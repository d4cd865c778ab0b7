"""What the analytics must say: sums over what the operators believe, made without a database."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Final, TypeAlias
from zoneinfo import ZoneInfo

from msgspec import Struct

from roamlog.demo.charging import Object
from roamlog.demo.checker import differing, total
from roamlog.demo.checks import Check
from roamlog.demo.place import Change, Place
from roamlog.demo.platforms import OperatorPlatform

SILENCE: Final = timedelta(hours=24)
"""For so long is an EVSE taken to be in the status that was heard last."""

Wanted: TypeAlias = dict[tuple[str, ...], Object]
"""Rows by the values of their key."""


class Times(Struct, frozen=True):
    """When the stories end, and when they were pushed."""

    now: datetime
    began: datetime
    ended: datetime


def figures(operators: Sequence[OperatorPlatform], analytics: Mapping[str, list[Object]], times: Times) -> list[Check]:
    """Compare the analytics with the operators' books."""
    # Where the tables could not tell in time that there is no such EVSE, its status was kept.
    utilised = [row for row in analytics["utilisation"] if not row["evse_uid"].endswith("-none")]
    today = {zone: times.now.astimezone(ZoneInfo(zone)).date().isoformat() for zone in {row["time_zone"] for row in utilised}}
    whole_days = [row for row in utilised if row["day"] < today[row["time_zone"]]]
    days = ("day", "party", "location_id")
    pairs = ("party", "addressed_to")
    return [
        *_sessions_and_bills(operators, analytics),
        Check(
            "EVSEs by status and country agree with the operators' books",
            compared(_status(operators), analytics["evses/status"], ("party", "country", "status")),
        ),
        Check(
            f"{len(whole_days):,} local days of EVSEs are used as the operators saw it, to the second",
            compared(_utilisation(operators, times.now), whole_days, (*days, "evse_uid")),
        ),
        Check(
            "Sessions and energy by Location and local day agree with the operators' books",
            compared(_charging(operators), analytics["charging"], days),
        ),
        Check(
            "what CDRs bill to each eMSP agrees with the operators' books, to the last digit",
            compared(_revenue(operators), analytics["cdrs/revenue"], (*pairs, "currency")),
        ),
        Check("how late CDRs came agrees with when they were sent", _lateness(operators, analytics["cdrs/lateness"], times)),
    ]


def compared(wanted: Wanted, rows: Iterable[Object], key: Sequence[str]) -> list[str]:
    """Return one line per row that is missing, surplus, doubled or has other values than wanted."""
    found: dict[tuple[str, ...], Object] = {}
    wrong = []
    for row in rows:
        name = tuple(str(row[column]) for column in key)
        if name in found:
            wrong.append(f"{' '.join(name)} has two rows")
        found[name] = row
    wrong += [f"{' '.join(name)} has no row" for name in wanted.keys() - found.keys()]
    wrong += [f"{' '.join(name)} should have no row" for name in found.keys() - wanted.keys()]
    for name in wanted.keys() & found.keys():
        given = {column: found[name].get(column) for column in wanted[name]}
        wrong += [f"{' '.join(name)}: {one}" for one in differing(wanted[name], given)]
    return wrong


def _status(operators: Iterable[OperatorPlatform]) -> Wanted:
    evses: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    of_place: Counter[tuple[str, str]] = Counter()
    for operator in operators:
        for place in operator.script.places:
            country = place.location["country"]
            for evse in place.location["evses"]:
                evses[operator.operator.party, country, evse["status"]].append(evse["last_updated"])
                of_place[operator.operator.party, country] += 1
    return {
        (party, country, status): {"evses": len(told), "evses_of_place": of_place[party, country], "oldest": min(told)}
        for (party, country, status), told in evses.items()
    }


def _utilisation(operators: Iterable[OperatorPlatform], now: datetime) -> Wanted:
    wanted: Wanted = {}
    for operator in operators:
        for place in operator.script.places:
            zone = ZoneInfo(place.site.market.time_zone)
            for evse_uid, changes in _by_evse(place).items():
                for day, seconds in seconds_by_day(changes, zone).items():
                    if day >= now.astimezone(zone).date():
                        continue
                    midnight, next_midnight = (_midnight(one, zone) for one in (day, day + timedelta(days=1)))
                    calendar = int((next_midnight - midnight).total_seconds())
                    broken = seconds["OUTOFORDER"] + seconds["INOPERATIVE"]
                    wanted[day.isoformat(), operator.operator.party, place.site.id.lower(), evse_uid.lower()] = {
                        "time_zone": zone.key,
                        "calendar_s": calendar,
                        "occupied_s": seconds["CHARGING"],
                        "available_s": seconds["AVAILABLE"],
                        "out_of_service_s": broken,
                        "other_s": seconds["REMOVED"],
                        "no_data_s": calendar - seconds.total(),
                    }
    return wanted


def _by_evse(place: Place) -> dict[str, list[Change]]:
    changes: dict[str, list[Change]] = defaultdict(list)
    for change in place.changes:
        changes[change.evse_uid].append(change)
    return changes


def seconds_by_day(changes: Sequence[Change], zone: ZoneInfo) -> dict[date, Counter[str]]:
    """Return for how many seconds of each local day an EVSE was in each status."""
    days: dict[date, Counter[str]] = defaultdict(Counter)
    ends = [after.at for _, after in pairwise(changes)] + [changes[-1].at + SILENCE]
    for change, end in zip(changes, ends, strict=True):
        for starts, until in _pieces(change.at, min(end, change.at + SILENCE), zone):
            days[starts.astimezone(zone).date()][change.status] += int((until - starts).total_seconds())
    return days


def _pieces(starts: datetime, end: datetime, zone: ZoneInfo) -> Iterator[tuple[datetime, datetime]]:
    """Yield the span, cut at every local midnight."""
    while starts < end:
        until = min(end, _midnight(starts.astimezone(zone).date() + timedelta(days=1), zone))
        yield starts, until
        starts = until


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    # In UTC, because Python subtracts the clocks of one zone and not its instants.
    return datetime.combine(day, time(), zone).astimezone(UTC)


def _charging(operators: Iterable[OperatorPlatform]) -> Wanted:
    begun: dict[tuple[str, str, str], list[Object]] = defaultdict(list)
    markets = {}
    for operator in operators:
        for story in operator.script.stories:
            site = story.charging.site
            day = story.charging.start.astimezone(ZoneInfo(site.market.time_zone)).date().isoformat()
            begun[day, operator.operator.party, site.id.lower()].append(story.session)
            markets[site.id.lower()] = site.market
    return {
        (day, party, location_id): {
            "country": markets[location_id].country,
            "time_zone": markets[location_id].time_zone,
            "sessions": len(sessions),
            "completed": sum(one["status"] == "COMPLETED" for one in sessions),
            "energy_kwh": total(one["kwh"] for one in sessions),
            "evses": len({one["evse_uid"] for one in sessions}),
        }
        for (day, party, location_id), sessions in begun.items()
    }


def _billed(operators: Iterable[OperatorPlatform]) -> dict[tuple[str, str], list[Object]]:
    """Return the CDRs of each CPO-eMSP pair, credit CDRs among them."""
    cdrs: dict[tuple[str, str], list[Object]] = defaultdict(list)
    for operator in operators:
        for story in operator.script.stories:
            if story.cdrs:
                cdrs[operator.operator.party, story.charging.driver.provider.party] += story.cdrs
    return cdrs


def _revenue(operators: Iterable[OperatorPlatform]) -> Wanted:
    wanted: Wanted = {}
    for pair, cdrs in _billed(operators).items():
        billed = [one for one in cdrs if "credit" not in one]
        credited = [one for one in cdrs if "credit" in one]
        before_taxes = total(one["total_cost"]["excl_vat"] for one in cdrs)
        with_taxes = total(one["total_cost"]["incl_vat"] for one in cdrs)
        wanted[*pair, "EUR"] = {
            "cdrs": len(billed),
            "credits": len(credited),
            "billed_before_taxes": total(one["total_cost"]["excl_vat"] for one in billed),
            "credited_before_taxes": total(one["total_cost"]["excl_vat"] for one in credited),
            "revenue_before_taxes": before_taxes,
            "taxes": with_taxes - before_taxes,
            "revenue": with_taxes,
            "energy_kwh": total(one["total_energy"] for one in billed) - total(one["total_energy"] for one in credited),
        }
    return wanted


def _lateness(operators: Iterable[OperatorPlatform], rows: Sequence[Object], times: Times) -> list[str]:
    """Compare how many CDRs came within a span: when each arrived is known but for the seconds of the pushing."""
    wanted: Wanted = {}
    wrong = []
    by_pair = {(row["party"], row["addressed_to"]): row for row in rows}
    for pair, cdrs in _billed(operators).items():
        ends = [datetime.fromisoformat(one["end_date_time"]) for one in cdrs if "credit" not in one]
        wanted[pair] = {"cdrs": len(ends), "after_90_days": 0}
        for column, hours in (("within_15_min", Decimal("0.25")), ("within_24_h", Decimal(24)), ("within_72_h", Decimal(72))):
            span = timedelta(minutes=int(hours * 60))
            least, most = (sum(arrived - end <= span for end in ends) for arrived in (times.ended, times.began))
            given = by_pair.get(pair, {}).get(column, -1)
            if not least <= given <= most:
                wrong.append(f"{' '.join(pair)}: /{column} is {given}, not {least} … {most}")
    return wrong + compared(wanted, rows, ("party", "addressed_to"))


def _sessions_and_bills(operators: Iterable[OperatorPlatform], analytics: Mapping[str, list[Object]]) -> list[Check]:
    wrong_status, wrong_energy = [], []
    for operator in operators:
        party = operator.operator.party
        sessions = [story.session for story in operator.script.stories]
        cdrs = [cdr for story in operator.script.stories for cdr in story.cdrs]
        for row in (row for row in analytics["sessions/by-status"] if row["party"] == party):
            own = [one for one in sessions if one["status"] == row["status"]]
            wanted = {"sessions": len(own), "energy_kwh": total(one["kwh"] for one in own)}
            wrong_status += [f"{party} {row['status']}: {one}" for one in differing(wanted, {name: row[name] for name in wanted})]
        for row in (row for row in analytics["energy"] if row["party"] == party):
            begun = [one for one in sessions if one["start_date_time"][:10] == row["day"]]
            billed = [one for one in cdrs if one["start_date_time"][:10] == row["day"]]
            wanted = {
                "sessions": len(begun),
                "energy_kwh": total(one["kwh"] for one in begun),
                "cost_before_taxes": total(one["total_cost"]["excl_vat"] for one in begun),
                "cdrs": sum("credit" not in one for one in billed),
                "credits": sum("credit" in one for one in billed),
                "billed_energy_kwh": total(-one["total_energy"] if "credit" in one else one["total_energy"] for one in billed),
                "billed_before_taxes": total(one["total_cost"]["excl_vat"] for one in billed),
                "billed_taxes": total(one["total_cost"]["incl_vat"] - one["total_cost"]["excl_vat"] for one in billed),
            }
            wrong_energy += [f"{party} {row['day']}: {one}" for one in differing(wanted, {name: row[name] for name in wanted})]
        counted = sum(row["sessions"] for row in analytics["sessions/by-status"] if row["party"] == party)
        if counted != len(sessions):
            wrong_status.append(f"{party} has {len(sessions)} Sessions, {counted} are counted")
        of_days = sum(row["sessions"] for row in analytics["energy"] if row["party"] == party)
        if of_days != len(sessions):
            wrong_energy.append(f"{party} has {len(sessions)} Sessions, the days hold {of_days}")
    return [
        Check("Sessions by status agree with the operators' books", wrong_status),
        Check("energy, cost and bills by day agree with the operators' books, to the last digit", wrong_energy),
    ]
