"""Remarks on what an object says, beyond its tables: units, order in time, credits, places. They never refuse, but for an id."""

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Final, TypeAlias

from msgspec import UNSET, Struct

from schemas import codec
from schemas.ocpi.validation import Report, shown
from schemas.types import Instant, Json, instant

Fields: TypeAlias = Mapping[str, Json]


class Sense(Struct, frozen=True):
    """What is looked at in one object: `plain` tells in little time, of a clean one, that `remark` would say nothing.

    `plain` takes the decoded object (attributes, UNSET where absent) and errs on the side of False.
    """

    plain: Callable[[Any], bool]
    remark: Callable[[Fields, str, Report], None]


def _plain_session(session: Any) -> bool:
    return (
        _plain_span(session)
        and _plain_currency(session)
        and (not session.charging_periods or _plain_energy(session.charging_periods, getattr(session, "kwh", 0.0)))
    )


def _session(session: Fields, at: str, report: Report) -> None:
    _span(session, at, report)
    _currency(session, at, report)
    _energy(session, "kwh", at, report)


def _plain_cdr(cdr: Any) -> bool:
    return (
        _plain_span(cdr)
        and _plain_currency(cdr)
        and not cdr.credit
        and len(cdr.id) <= 36
        and _plain_energy(cdr.charging_periods, cdr.total_energy)
        and _plain_place(cdr.cdr_location.coordinates)
        and (not cdr.tariffs or all(map(_plain_tariff, cdr.tariffs)))
    )


def _cdr(cdr: Fields, at: str, report: Report) -> None:
    _span(cdr, at, report)
    _currency(cdr, at, report)
    _energy(cdr, "total_energy", at, report)
    own_id, cost = cdr.get("id"), cdr.get("total_cost")
    if cdr.get("credit") is True:
        excl = cost.get("excl_vat", cost.get("before_taxes")) if isinstance(cost, dict) else cost
        if isinstance(excl, int | Decimal) and excl >= 0:
            report.warning(f"{at}/total_cost", "credit_not_negative", f"a Credit CDR takes back a cost, {shown(excl)} does not")
        if cdr.get("credit_reference_id") is None:
            report.warning(f"{at}/credit_reference_id", "credit_without_reference", "a Credit CDR names the CDR that it credits")
    elif isinstance(own_id, str) and len(own_id) > 36:
        report.warning(f"{at}/id", "too_long", f"{len(own_id)} characters; only the id of a Credit CDR may pass 36")
    location = cdr.get("cdr_location")
    if isinstance(location, dict):
        _coordinates(location, f"{at}/cdr_location", report)
    tariffs = cdr.get("tariffs")
    if isinstance(tariffs, list):
        for index, tariff in enumerate(tariffs):
            if isinstance(tariff, dict):
                _tariff(tariff, f"{at}/tariffs/{index}", report)


def _plain_tariff(tariff: Any) -> bool:
    return _plain_currency(tariff) and not (tariff.start_date_time and tariff.end_date_time)


def _plain_location(location: Any) -> bool:
    return (
        _plain_place(location.coordinates)
        and (not location.related_locations or all(map(_plain_place, location.related_locations)))
        and (not location.evses or all(map(_plain_evse, location.evses)))
    )


def _location(location: Fields, at: str, report: Report) -> None:
    _coordinates(location, at, report)
    related = location.get("related_locations")
    for index, place in enumerate(related if isinstance(related, list) else ()):
        _place(place, f"{at}/related_locations/{index}", report)
    evses = location.get("evses")
    for index, evse in enumerate(evses if isinstance(evses, list) else ()):
        if isinstance(evse, dict):
            _evse(evse, f"{at}/evses/{index}", report)


def _plain_evse(evse: Any) -> bool:
    return _plain_place(evse.coordinates)


def _evse(evse: Fields, at: str, report: Report) -> None:
    _coordinates(evse, at, report)


def _tariff(tariff: Fields, at: str, report: Report) -> None:
    _currency(tariff, at, report)
    _order(tariff, ("start_date_time", "end_date_time"), "end_before_start", at, report)


def _plain_older_session(session: Any) -> bool:
    return (
        _plain_older_span(session, session.start_datetime, session.end_datetime)
        and _plain_currency(session)
        and (not session.charging_periods or _plain_older_energy(session.charging_periods, getattr(session, "kwh", UNSET)))
        and (session.location is UNSET or _plain_older_location(session.location))
    )


def _older_session(session: Fields, at: str, report: Report) -> None:
    _order(session, ("start_datetime", "end_datetime"), "end_before_start", at, report)
    _order(session, ("end_datetime", "last_updated"), "updated_before_end", at, report)
    _currency(session, at, report)
    _energy(session, "kwh", at, report)
    _within(session, "location", _older_location, at, report)


def _plain_older_cdr(cdr: Any) -> bool:
    return (
        _plain_older_span(cdr, cdr.start_date_time, cdr.stop_date_time)
        and _plain_currency(cdr)
        and _plain_older_energy(cdr.charging_periods, getattr(cdr, "total_energy", UNSET))
        and _plain_older_location(cdr.location)
        and not getattr(cdr, "total_usage", None)
    )


def _older_cdr(cdr: Fields, at: str, report: Report) -> None:
    _order(cdr, ("start_date_time", "stop_date_time"), "end_before_start", at, report)
    _order(cdr, ("stop_date_time", "last_updated"), "updated_before_end", at, report)
    _currency(cdr, at, report)
    usage = cdr.get("total_usage")
    for dimension in usage if isinstance(usage, list) else ():
        if isinstance(dimension, dict) and dimension.get("type") == "ENERGY":
            cdr = {**cdr, "total_energy": dimension.get("volume")}
    _energy(cdr, "total_energy", at, report)
    _within(cdr, "location", _older_location, at, report)
    tariffs = cdr.get("tariffs")
    for index, tariff in enumerate(tariffs if isinstance(tariffs, list) else ()):
        if isinstance(tariff, dict):
            _older_tariff(tariff, f"{at}/tariffs/{index}", report)


def _plain_older_tariff(tariff: Any) -> bool:
    return _plain_currency(tariff)


def _older_tariff(tariff: Fields, at: str, report: Report) -> None:
    _currency(tariff, at, report)


def _plain_older_location(location: Any) -> bool:
    if not _plain_older_place(location.coordinates):
        return False
    for evse in location.evses or ():
        if evse.coordinates and not _plain_older_place(evse.coordinates):
            return False
    return not location.related_locations or all(map(_plain_older_place, location.related_locations))


def _older_location(location: Fields, at: str, report: Report) -> None:
    _location(location, at, report)
    _digits(location.get("coordinates"), f"{at}/coordinates", report)
    related = location.get("related_locations")
    for index, place in enumerate(related if isinstance(related, list) else ()):
        _digits(place, f"{at}/related_locations/{index}", report)
    evses = location.get("evses")
    for index, evse in enumerate(evses if isinstance(evses, list) else ()):
        if isinstance(evse, dict):
            _digits(evse.get("coordinates"), f"{at}/evses/{index}/coordinates", report)


def _plain_older_evse(evse: Any) -> bool:
    return not evse.coordinates or _plain_older_place(evse.coordinates)


def _older_evse(evse: Fields, at: str, report: Report) -> None:
    _evse(evse, at, report)
    _digits(evse.get("coordinates"), f"{at}/coordinates", report)


SENSE: Final[Mapping[str, Sense]] = {
    "Session": Sense(_plain_session, _session),
    "CDR": Sense(_plain_cdr, _cdr),
    "Tariff": Sense(_plain_tariff, _tariff),
    "Location": Sense(_plain_location, _location),
    "EVSE": Sense(_plain_evse, _evse),
}
"""What is looked at, by object type."""

OLDER_SENSE: Final[Mapping[str, Sense]] = {
    "Session": Sense(_plain_older_session, _older_session),
    "CDR": Sense(_plain_older_cdr, _older_cdr),
    "Tariff": Sense(_plain_older_tariff, _older_tariff),
    "Location": Sense(_plain_older_location, _older_location),
    "EVSE": Sense(_plain_older_evse, _older_evse),
}
"""The same before OCPI 2.2, where a Session's and a CDR's place is a Location, and degrees have 6 decimals."""

_LATITUDE: Final = re.compile(r"-?(?:[0-8]?[0-9]\.[0-9]{5,7}|90\.0{5,7})")
_LONGITUDE: Final = re.compile(r"-?(?:(?:1[0-7][0-9]|[0-9]?[0-9])\.[0-9]{5,7}|180\.0{5,7})")
_OLDER_PLACE: Final = re.compile(r"-?(?:[0-8]?[0-9]\.[0-9]{6}|90\.0{6}),-?(?:(?:1[0-7][0-9]|[0-9]?[0-9])\.[0-9]{6}|180\.0{6})")
_DEGREES: Final = re.compile(r"-?[0-9]{1,3}\.[0-9]{5,7}")


def _plain_span(of: Any) -> bool:
    # Seconds alone are compared, as text: a tie goes to the exact comparison.
    start, end, updated = of.start_date_time, of.end_date_time, of.last_updated
    if not end:
        return True
    return (start is UNSET or bool(start[:19] < end[:19])) and bool(end[:19] < updated[:19])


def _plain_older_span(of: Any, start: Any, end: Any) -> bool:
    updated = getattr(of, "last_updated", UNSET)
    if not end:
        return True
    return (start is UNSET or bool(start[:19] < end[:19])) and (not updated or bool(end[:19] < updated[:19]))


def _span(of: Fields, at: str, report: Report) -> None:
    _order(of, ("start_date_time", "end_date_time"), "end_before_start", at, report)
    _order(of, ("end_date_time", "last_updated"), "updated_before_end", at, report)


def _order(of: Fields, fields: tuple[str, str], rule: str, at: str, report: Report) -> None:
    first, second = fields
    earlier, later = _instant(of.get(first)), _instant(of.get(second))
    if earlier is not None and later is not None and later < earlier:
        report.warning(f"{at}/{second}", rule, f"{second} {of[second]} is before {first} {of[first]}")


def _instant(value: Json) -> Instant | None:
    try:
        return instant(value) if isinstance(value, str) else None
    except ValueError:
        return None


def _plain_currency(of: Any) -> bool:
    text = of.currency
    return text is UNSET or (len(text) == 3 and bool(text.isalpha()) and bool(text.isupper()))


def _currency(of: Fields, at: str, report: Report) -> None:
    text = of.get("currency")
    if isinstance(text, str) and not (len(text) == 3 and text.isascii() and text.isalpha() and text.isupper()):
        report.warning(f"{at}/currency", "currency", f"{shown(text)} is no ISO 4217 code, e.g. EUR")


def _plain_energy(periods: Any, kwh: Any) -> bool:
    if kwh is UNSET or kwh <= 0:
        return True
    volume = 0.0
    for period in periods:
        for dimension in period.dimensions:
            if dimension.type == "ENERGY":
                volume += dimension.volume
    return volume < 90.0 * float(kwh)


def _plain_older_energy(periods: Any, kwh: Any) -> bool:
    if kwh is UNSET or not periods:
        return True
    volume = 0.0
    for period in periods:
        for dimension in period.dimensions:
            if dimension.type == "ENERGY":
                volume += float(dimension.volume)
    return volume < 90.0 * float(kwh) or volume == 0.0


def _amount(value: Json) -> int | Decimal | None:
    """Return a number, which is a string in OCPI 2.0."""
    if isinstance(value, str):
        return codec.number(value)
    return value if isinstance(value, int | Decimal) and not isinstance(value, bool) else None


def _energy(of: Fields, total_field: str, at: str, report: Report) -> None:
    total, periods = _amount(of.get(total_field)), of.get("charging_periods")
    if total is None or total <= 0 or not isinstance(periods, list):
        return
    volume = Decimal(0)
    for period in periods:
        dimensions = period.get("dimensions") if isinstance(period, dict) else None
        for dimension in dimensions if isinstance(dimensions, list) else ():
            if isinstance(dimension, dict) and dimension.get("type") == "ENERGY":
                volume += _amount(dimension.get("volume")) or 0
    if volume >= 100 * total:
        message = f"ENERGY volumes sum to {volume} where {total_field} is {total} kWh: they look like Wh, and are kept as sent"
        report.warning(f"{at}/charging_periods", "energy_in_wh", message)


def _plain_place(place: Any) -> bool:
    if not place:
        return True
    return _LATITUDE.fullmatch(place.latitude) is not None and _LONGITUDE.fullmatch(place.longitude) is not None


def _coordinates(of: Fields, at: str, report: Report) -> None:
    _place(of.get("coordinates"), f"{at}/coordinates", report)


def _place(place: Json, at: str, report: Report) -> None:
    if not isinstance(place, dict):
        return
    for field, limit in (("latitude", 90), ("longitude", 180)):
        text = place.get(field)
        if not isinstance(text, str):
            continue
        if _DEGREES.fullmatch(text) is None:
            message = f"{shown(text)} is not degrees with a point and 5 to 7 decimals"
            report.warning(f"{at}/{field}", "coordinates", message)
        elif abs(Decimal(text)) > limit:
            message = f"{text} is beyond {limit} degrees; are latitude and longitude swapped?"
            report.warning(f"{at}/{field}", "coordinates_out_of_range", message)


def _plain_older_place(place: Any) -> bool:
    return place is UNSET or _OLDER_PLACE.fullmatch(f"{place.latitude},{place.longitude}") is not None


def _digits(place: Json, at: str, report: Report) -> None:
    if not isinstance(place, dict):
        return
    for field in ("latitude", "longitude"):
        text = place.get(field)
        if isinstance(text, str) and _DEGREES.fullmatch(text) and text[-7:-6] != ".":
            report.warning(f"{at}/{field}", "coordinates", f"{shown(text)} has not the 6 decimals of this version")


def _within(of: Fields, field: str, remark: Callable[[Fields, str, Report], None], at: str, report: Report) -> None:
    inner = of.get(field)
    if isinstance(inner, dict):
        remark(inner, f"{at}/{field}", report)
