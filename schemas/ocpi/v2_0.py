"""OCPI 2.0: its object tables as differences to those of 2.1.1, and what of its objects differs on the way.

Numbers are strings, nothing has a last_updated, Connectors have a status of their own, and the printed examples break the tables
in ways that partners have copied. Source: OCPI 2.0-d2; requirements 5.1 to 5.6 and 9.
"""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Final

from msgspec import Raw

from schemas import codec
from schemas.events import Document
from schemas.ocpi import v2_1_1
from schemas.ocpi.checks import OLDER_SENSE
from schemas.ocpi.declared import Mend, Withheld
from schemas.ocpi.dialect import Dialect
from schemas.ocpi.older import Down, Fields, Lowering, Older, Up
from schemas.ocpi.spec import Spec
from schemas.ocpi.v2_1_1 import Objects211
from schemas.ocpi.validation import Report, shown
from schemas.types import LATEST, Json, date_time, instant


def dialect() -> Dialect:
    """Return the version as documented by its edition d2; what the first edition printed in another way is mended."""
    return Older(
        version="2.0",
        edition="d2",
        revision=1,
        objects=Objects20("2.0", SPEC),
        patched=v2_1_1.PATCHED,
        upserted={"Location": {"evses": "EVSE"}},
        sense=OLDER_SENSE,
        mend=MENDS,
    )


class Objects20(Objects211):
    """The objects of 2.0."""

    def __init__(self, version: str, spec: Spec) -> None:
        super().__init__(version, spec)
        self.lift_clean = {}

    def number(self, value: Json) -> Json:
        """Return the number that a decimal, which is a string, holds."""
        return Decimal(value) if isinstance(value, str) else value

    def figure(self, value: Json) -> Json:
        """Return a number in a string, without an exponent."""
        return format(Decimal(value), "f") if isinstance(value, int | Decimal) else value

    def figure_text(self, text: Raw) -> Raw:
        """Return the JSON text of a number as that of a string."""
        number = bytes(text)
        if b"e" in number or b"E" in number:
            return Raw(codec.encode(format(Decimal(number.decode()), "f")))
        return Raw(b'"%b"' % number)

    def stamp(self, of: Fields, up: Up) -> None:
        """Add when the object was received as its last_updated."""
        if up.whole:
            of[f"{self.absent}last_updated"] = True
            if up.received_at is not None:
                of.setdefault("last_updated", date_time(up.received_at))

    def lower_session(self, of: Document, down: Down, at: str) -> None:
        """Make the fields this version's. Raises Withheld where a cost, which is required, is not known."""
        if of.get("total_cost", _NULL) == _NULL:
            raise Withheld("OCPI 2.0 has no Session without total_cost, and 0.00 would say that it is free")
        super().lower_session(of, down, at)

    # CDRs say their whole in total_usage, and need not say when they ended.

    def _lift_totals(self, of: Fields, up: Up) -> None:
        usage = of.pop("total_usage", _ABSENT)
        if usage is _ABSENT:
            of[f"{self.absent}total_usage"] = True
        else:
            self.keep(of, "total_usage", usage)
        totals = self._totals(None if usage is _ABSENT else usage, of["charging_periods"])
        of |= totals
        for field, missing in (("total_energy", not _has(of, usage, "ENERGY")), ("total_time", not _has(of, usage, *_TIMES))):
            if missing:
                up.defaulted(f"/{field}", "neither total_usage nor charging_periods say it")
        if of.get("stop_date_time") is None:
            if "stop_date_time" in of:
                self.keep(of, "stop_date_time", None)
            else:
                of[f"{self.absent}stop_date_time"] = True
            of["stop_date_time"] = _end(of)
            up.defaulted("/end_date_time", "it is not said; start_date_time and total_time give it")
        of["last_updated"] = of["stop_date_time"]

    def _lower_totals(self, of: Fields, low: Lowering) -> None:
        said: Fields = {field: of.get(field) for field in _TOTALS}
        given, periods = low.shelf.get("total_usage", _ABSENT), of["charging_periods"]
        if given is not _ABSENT and self._totals(given, periods) == _present(said):
            of["total_usage"] = given
        elif "absent/total_usage" not in low.shelf or self._totals(None, periods) != _present(said):
            time, parked = said["total_time"], said["total_parking_time"]
            usage = {
                "ENERGY": said["total_energy"],
                "TIME": time - parked if parked and parked <= time else time,
                "PARKING_TIME": parked,
            }
            of["total_usage"] = [
                {"type": name, "volume": self.figure(volume)} for name, volume in usage.items() if volume is not None
            ]
        unsaid = low.shelf.get("stop_date_time", _ABSENT) is None or "absent/stop_date_time" in low.shelf
        if unsaid and of["end_date_time"] == _end(of):
            del of["end_date_time"]
            if "stop_date_time" in low.shelf:
                of["stop_date_time"] = None
        for field in _TOTALS:
            of.pop(field, None)

    def _totals(self, usage: list[Fields] | None, periods: list[Fields]) -> Fields:
        """Return what later versions have as total_energy, total_time and total_parking_time."""
        sums: dict[str, Decimal] = {}
        dimensions = usage or [dimension for period in periods for dimension in period["dimensions"]]
        for dimension in dimensions:
            volume = Decimal(dimension["volume"])
            sums[dimension["type"]] = sums.get(dimension["type"], Decimal(0)) + volume
        totals: Fields = {
            "total_energy": sums.get("ENERGY", Decimal(0)),
            "total_time": sums.get("TIME", Decimal(0)) + sums.get("PARKING_TIME", Decimal(0)),
        }
        if "PARKING_TIME" in sums:
            totals["total_parking_time"] = sums["PARKING_TIME"]
        return totals

    # Connectors have a status.

    def lift_evse(self, of: Fields, up: Up, at: str) -> None:
        """Make the fields canonical: of Connectors that differ, the status that says most to a driver is the EVSE's."""
        own = of.get("status")
        super().lift_evse(of, up, at)
        if own is not None:
            field = f"{self.prefix}status"
            told = _combined(own, [connector[field] for connector in of.get("connectors") or []])
            if told != own:
                up.lost(f"{at}/status", f"{own}, where its Connectors say otherwise; it says {told}")
                of["status"], of[field] = told, own

    def lower_evse(self, of: Fields, down: Down, at: str) -> None:
        """Make the fields this version's. Raises Withheld where none of its Connectors can be said."""
        field = f"{self.prefix}status"
        own, told = of.pop(field, of["status"]), of["status"]
        statuses = [connector.setdefault(field, told) for connector in of["connectors"]]
        super().lower_evse(of, down, at)
        if _combined(own, statuses) == told:
            of["status"] = own

    def lift_connector(self, of: Fields, up: Up, at: str) -> None:
        """Make the fields canonical."""
        status = of.pop("status", None)
        super().lift_connector(of, up, at)
        if status is not None:
            self.keep(of, "status", status)
            if not at:
                up.lost("/status", "the status of one Connector; its EVSE says its own")

    def lower_connector(self, of: Fields, down: Down, at: str) -> None:
        """Make the fields this version's. Raises Withheld where it has no name for the standard."""
        status = of.get(f"{self.prefix}status")
        super().lower_connector(of, down, at)
        if status is None:
            down.defaulted(f"{at}/status", "its EVSE says it")
        of["status"] = status or "UNKNOWN"

    # Tokens

    def lift_token(self, of: Fields, up: Up, at: str) -> None:
        """Make the fields canonical."""
        said = of.pop("allow_whitelist", _ABSENT)
        super().lift_token(of, up, at)
        if said is _ABSENT and not up.whole:
            return
        of["whitelist"] = "ALLOWED" if said is True else "NEVER"
        if said is _ABSENT:
            of[f"{self.absent}allow_whitelist"] = True
            up.defaulted("/whitelist", "allow_whitelist is false where it is not said")
        elif said is not True:
            self.keep(of, "allow_whitelist", said)

    def lower_token(self, of: Fields, down: Down, at: str) -> None:
        """Make the fields this version's. Raises Withheld where nobody may charge without asking first."""
        whitelist = of.pop("whitelist")
        said = of.get(f"{self.prefix}allow_whitelist", _ABSENT)
        absent = f"{self.absent}allow_whitelist" in of
        if whitelist != "NEVER":
            of["allow_whitelist"] = True
            if whitelist != "ALLOWED":
                down.lost("/whitelist", f"{whitelist}; it is allowed")
        elif said is not _ABSENT:
            of["allow_whitelist"] = said
        elif not absent:
            raise Withheld("OCPI 2.0 has no real-time authorization, without which this Token is not to be taken")
        given = of.pop("allow_whitelist", _ABSENT)
        super().lower_token(of, down, at)
        if given is not _ABSENT:
            of["allow_whitelist"] = given
        if of.get("visual_number") is None:
            of["visual_number"] = of["auth_id"]
            down.defaulted("/visual_number", "its contract")
        if len(of["auth_id"]) > 32:
            down.lost("/auth_id", "the contract beyond its 32 characters")
            of["auth_id"] = of["auth_id"][:32]


_ABSENT: Final[Any] = object()
_NULL: Final = Raw(b"null")
_TIMES: Final = ("TIME", "PARKING_TIME")
_TOTALS: Final = ("total_energy", "total_time", "total_parking_time")
_RESTRICTIVE: Final = ("REMOVED", "INOPERATIVE", "OUTOFORDER", "PLANNED", "BLOCKED", "RESERVED", "UNKNOWN")


def _has(of: Fields, usage: Any, *types: str) -> bool:
    dimensions = [dimension for period in of["charging_periods"] for dimension in period["dimensions"]]
    if usage is not _ABSENT and usage:
        dimensions = usage
    return any(dimension["type"] in types for dimension in dimensions)


def _present(fields: Fields) -> Fields:
    return {name: value for name, value in fields.items() if value is not None}


def _end(of: Fields) -> str:
    """Return when a CDR ended that does not say it: its start where that is all that can be said."""
    start = instant(of["start_date_time"])
    end = start + int(max(Decimal(of["total_time"]), Decimal(0)) * 3_600_000_000)
    return date_time(end if end <= LATEST else start)


def _combined(own: str, statuses: list[str]) -> str:
    """Return the status of an EVSE: its own, unless its Connectors differ."""
    if len(set(statuses)) < 2 or own == "REMOVED":
        return own
    for status in ("CHARGING", "AVAILABLE", *_RESTRICTIVE):
        if status in statuses:
            return status
    return own


# What the printed examples have in another shape.


def mended(name: str) -> Mend:
    """Return what gives an object the shape of its table where an example printed another one, with a remark each."""

    def mend(value: Json, report: Report) -> Json:
        return _mended(name, value, "", report)

    return mend


def _mended(name: str, value: Json, at: str, report: Report) -> Json:
    if not isinstance(value, dict):
        return value
    mend = _SHAPES.get(name)
    kept = value if mend is None else mend(value, at, report)
    for field, row in SPEC.objects[name].items():
        old = kept.get(field)
        if old is None:
            continue
        new: Json = old
        if row.type in SPEC.objects:
            if isinstance(old, list):
                members = [_mended(row.type, one, f"{at}/{field}/{index}", report) for index, one in enumerate(old)]
                new = members if any(one is not other for one, other in zip(members, old, strict=True)) else old
            else:
                new = _mended(row.type, old, f"{at}/{field}", report)
        elif row.type in SPEC.enums:
            if isinstance(old, list):
                listed = [_respelt(row.type, one, f"{at}/{field}/{index}", report) for index, one in enumerate(old)]
                new = listed if listed != old else old
            else:
                new = _respelt(row.type, old, f"{at}/{field}", report)
        if new is not old:
            kept = {**kept, field: new}
    return kept


def _respelt(enum: str, value: Json, at: str, report: Report) -> Json:
    if not isinstance(value, str) or value in SPEC.enums[enum]:
        return value
    meant = _SPELLINGS[enum].get(value.lower().replace("-", "_"))
    if meant is None:
        return value
    report.warning(at, "enum_spelling", f"{shown(value)} is spelled {meant}; taken as that")
    return meant


def _mended_place(of: dict[str, Json], at: str, report: Report) -> dict[str, Json]:
    if isinstance(of.get("evse"), dict) and not of.get("evses"):
        report.warning(f"{at}/evse", "single_evse", "a Location has evses, a list; taken as its only one")
        return {**{field: value for field, value in of.items() if field != "evse"}, "evses": [of["evse"]]}
    return of


def _mended_session(of: dict[str, Json], at: str, report: Report) -> dict[str, Json]:
    named, place = of.get("connector_id"), of.get("location")
    if not isinstance(named, str) or not isinstance(place, dict):
        return of
    place = _mended_place(place, f"{at}/location", report)
    evses = place.get("evses")
    if isinstance(evses, list) and len(evses) == 1 and isinstance(evses[0], dict) and isinstance(evses[0].get("connectors"), list):
        connectors: Any = evses[0]["connectors"]
        # The Connector that is named comes first: the Session is on it.
        ordered = sorted(connectors, key=lambda one: not (isinstance(one, dict) and one.get("id") == named))
        if any(one is not other for one, other in zip(ordered, connectors, strict=True)):
            place = {**place, "evses": [{**evses[0], "connectors": ordered}]}
    return of if place is of["location"] else {**of, "location": place}


def _mended_evse(of: dict[str, Json], at: str, report: Report) -> dict[str, Json]:
    if "STATUS" in of and "status" not in of:
        report.warning(f"{at}/STATUS", "field_spelling", "the field is called status")
        of = {("status" if field == "STATUS" else field): value for field, value in of.items()}
    status, connectors = of.get("status"), of.get("connectors")
    if isinstance(status, str) and isinstance(connectors, list):
        new: list[Json] = []
        for index, connector in enumerate(connectors):
            if isinstance(connector, dict) and "status" not in connector:
                report.warning(f"{at}/connectors/{index}/status", "missing_status", "the Connector has none; taken from its EVSE")
                new.append({**connector, "status": status})
            else:
                new.append(connector)
        if any(one is not other for one, other in zip(new, connectors, strict=True)):
            of = {**of, "connectors": new}
    return of


def _mended_element(of: dict[str, Json], at: str, report: Report) -> dict[str, Json]:
    listed = of.get("restrictions")
    if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
        return of
    where = f"{at}/restrictions"
    report.warning(where, "restrictions_list", "restrictions is an object, not a list; all of them must hold")
    merged: dict[str, Any] = {}
    for one in listed:
        for field, value in one.items() if isinstance(one, dict) else ():
            merged[field] = _both(field, merged[field], value, where, report) if merged.get(field) is not None else value
    return {**of, "restrictions": merged} if merged else {field: value for field, value in of.items() if field != "restrictions"}


def _both(field: str, one: Any, other: Any, at: str, report: Report) -> Json:
    """Return what holds where both restrictions do."""
    if other is None or one == other:
        return one  # type: ignore[no-any-return]
    if field == "day_of_week" and isinstance(one, list) and isinstance(other, list):
        if days := [day for day in one if day in other]:
            return list(days)
    elif field[:4] in _TIGHTER:
        numbers = [codec.number(value) if isinstance(value, str) else value for value in (one, other)]
        if all(isinstance(value, int | Decimal) for value in numbers):
            first = _TIGHTER[field[:4]](numbers) == numbers[0]
            return one if first else other  # type: ignore[no-any-return]
    report.error(f"{at}/{field}", "restrictions_conflict", f"{shown(one)} and {shown(other)} cannot both hold")
    return one  # type: ignore[no-any-return]


_TIGHTER: Final[Mapping[str, Callable[[Any], Any]]] = {"min_": max, "max_": min}
_SHAPES: Final[Mapping[str, Callable[[dict[str, Json], str, Report], dict[str, Json]]]] = {
    "Location": _mended_place,
    "Session": _mended_session,
    "EVSE": _mended_evse,
    "TariffElement": _mended_element,
}


SPEC: Final[Spec] = v2_1_1.SPEC.differing(
    objects={
        "Session": {
            "id": "string(15) 1 key",
            "kwh": "decimal 1",
            "auth_id": "string(15) 1",
            "total_cost": "decimal 1",
            "last_updated": None,
        },
        "CDR": {
            "id": "CiString(15) 1 key",
            "stop_date_time": "DateTime ?",
            "auth_id": "string(32) 1",
            "total_cost": "decimal 1",
            "total_usage": "CdrDimension *",
            "total_energy": None,
            "total_time": None,
            "total_parking_time": None,
            "last_updated": None,
        },
        "CdrDimension": {"volume": "decimal 1"},
        "Tariff": {"id": "string(15) 1 key", "energy_mix": None, "last_updated": None},
        "PriceComponent": {"price": "decimal 1"},
        "TariffRestrictions": {
            "min_kwh": "decimal ?",
            "max_kwh": "decimal ?",
            "min_power": "decimal ?",
            "max_power": "decimal ?",
        },
        "Location": {
            "id": "string(15) 1 key",
            "owner": None,
            "facilities": None,
            "time_zone": None,
            "energy_mix": None,
            "last_updated": None,
        },
        "EVSE": {"uid": "string(15) 1 key", "connectors": "Connector + key atomic", "last_updated": None},
        "Connector": {
            "id": "string(15) 1 key",
            "status": "Status 1",
            "tariff_id": "string(15) ?",
            "last_updated": None,
        },
        "Token": {
            "uid": "string(15) 1 key",
            "auth_id": "string(32) 1",
            "visual_number": "string(64) 1",
            "whitelist": None,
            "allow_whitelist": "boolean ?",
            "language": None,
            "last_updated": None,
        },
        **dict.fromkeys(("EnergyMix", "EnergySource", "EnvironmentalImpact")),
    },
    enums={
        "Capability": "CHARGING_PROFILE_CAPABLE CREDIT_CARD_PAYABLE RESERVABLE RFID_READER",
        "TariffDimensionType": "ENERGY FLAT MAX_CURRENT MIN_CURRENT PARKING_TIME TIME",
        **dict.fromkeys(("EnergySourceCategory", "EnvironmentalImpactCategory", "Facility", "WhitelistType")),
    },
    open_enums=v2_1_1.SPEC.open_enums - {"EnvironmentalImpactCategory", "Facility"},
    offsets=True,
)
_SPELLINGS: Final = {enum: {value.lower(): value for value in values} for enum, values in SPEC.enums.items()}
MENDS: Final = {name: mended(name) for name in ("Session", "CDR", "Tariff", "Token", "Location", "EVSE", "Connector")}
"""By object type."""
