"""Strategies that draw OCPI objects from a version's declared tables, so that every version is tested with its own."""

from decimal import Decimal
from typing import Final

from hypothesis import strategies as st

from schemas import codec
from schemas.ocpi.shelf import SHELVES
from schemas.ocpi.spec import Field, Spec
from schemas.types import Json, instant

ODD_NUMBERS: Final = (
    "0", "-0.0", "1E+2", "0.000000000001", "2.50", "1e-7", "999999999999999", "1000000000000000", "-12", "0.1",
    "123456789.123456789012",
)  # fmt: skip
DATE_TIMES: Final = (
    "2026-01-31T12:00:00Z",
    "2026-02-28T23:59:59.5Z",
    "2024-02-29T00:00:00Z",
    "1970-01-01T00:00:00",
    "2026-07-01T01:02:03.120",
)
COLLIDING: Final = (
    "before_taxes",
    "taxes",
    "after_taxes",
    "tax_included",
    "excl_vat_x",
    SHELVES + "2.2.1",
    SHELVES + "2.3.0",
    SHELVES + "9.9",
    "capabilities",
    "country_code",
    "home_charging_compensation",
    "x-vendor",
    "Ünbekannt",
)

numbers = st.sampled_from(ODD_NUMBERS).map(lambda text: Decimal(text) if not text.lstrip("-").isdigit() else int(text))
scalars: st.SearchStrategy[Json] = st.one_of(st.none(), st.booleans(), numbers, st.text(max_size=5))
anything: st.SearchStrategy[Json] = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(st.text(max_size=3), inner, max_size=2)),
    max_leaves=4,
)
printable = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=12)

# Escapes, and what may look like a number's exponent, make a reader look twice.
_AT_EASE: Final = str.maketrans({"\\": "/", '"': "'", "e": "f", "E": "F"})


def objects(spec: Spec, name: str, *, plain: bool = False) -> st.SearchStrategy[dict[str, Json]]:
    """Draw valid objects; `plain` ones have nothing that asks for a second look."""
    return _object(spec, name, plain)


@st.composite
def _object(draw: st.DrawFn, spec: Spec, name: str, plain: bool) -> dict[str, Json]:
    drawn: dict[str, Json] = {}
    for field, row in spec.objects[name].items():
        if not row.required:
            choice = draw(st.sampled_from(("absent", "null", "value")))
            if choice == "null":
                drawn[field] = None
            if choice != "value":
                continue
        drawn[field] = draw(_value(spec, row, field, plain))
    if not plain and draw(st.integers(0, 5)) == 0:
        colliding = [field for field in COLLIDING if field not in spec.objects[name]]
        for field in draw(st.lists(st.sampled_from(colliding), max_size=3, unique=True)):
            drawn[field] = draw(anything)
    return drawn


def _value(spec: Spec, row: Field, field: str, plain: bool) -> st.SearchStrategy[Json]:
    one = _one(spec, row, field, plain)
    return st.lists(one, min_size=1 if row.required else 0, max_size=2) if row.many else one


def _one(spec: Spec, row: Field, field: str, plain: bool) -> st.SearchStrategy[Json]:
    match row.type:
        case "number":
            return st.sampled_from((0, 1, Decimal("0.5"), Decimal("12.25"))) if plain else numbers
        case "decimal":
            return st.sampled_from(("0", "0.00", "2.50", "-12", "0.000000000001", "123456789.123456789012"))
        case "int":
            return st.integers(0, 9 if row.length == 1 else 300)
        case "boolean":
            return st.booleans()
        case "DateTime":
            return st.sampled_from(DATE_TIMES[:2] if plain else DATE_TIMES)
        case "string" | "CiString" | "URL":
            length = min(row.length or 12, 12)
            if field == "currency":
                return st.sampled_from(("EUR", "SEK"))
            if field in ("latitude", "longitude"):
                return st.sampled_from(("51.047599", "-3.729944"))
            texts = printable if plain or row.type == "CiString" else st.one_of(printable, st.just('Größe "7"'), st.just("#NA"))
            return texts.map(lambda text: (text.translate(_AT_EASE) if plain else text)[:length] or "A")

    if row.type in spec.enums:
        return st.sampled_from(spec.enums[row.type])
    return _object(spec, row.type, plain)


def same(one: Json, other: Json) -> bool:
    """Tell whether two values are equal, where the same instant may be written in two ways."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, str) and isinstance(other, str) and one != other:
        try:
            return instant(one) == instant(other)
        except ValueError:
            return False
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, int | Decimal) and isinstance(other, int | Decimal):
        return one == other
    return type(one) is type(other) and one == other


def text_of(value: Json) -> bytes:
    """Return the JSON text."""
    return codec.encode(value)


MEANT: Final[dict[str, Json]] = {
    "country_code": "NL",
    "party_id": "TNM",
    "currency": "EUR",
    "country": "NLD",
    "language": "en",
    "latitude": "52.370216",
    "longitude": "4.895168",
    "time_zone": "Europe/Amsterdam",
    "location_id": "LOC1",
    "evse_uid": "3256",
    "connector_id": "1",
    "uid": "3256",
    "evse_id": "NL*TNM*E1",
    "weekday": 1,
    "standard": "IEC_62196_T2",
    "connector_standard": "IEC_62196_T2",
    "status": "AVAILABLE",
    "type": "RFID",
    "tax_included": "NO",
    "publish": True,
    "credit": False,
    "twentyfourseven": False,
    "start_time": "08:00",
    "end_time": "20:00",
    "start_date": "2026-01-01",
    "end_date": "2026-12-31",
    "total_energy": Decimal("12.5"),
    "kwh": Decimal("12.5"),
    "volume": Decimal("12.5"),
    "vat": Decimal("19.0"),
}  # fmt: skip
"""What fields say by their name in objects with every field, and with as few as may be."""

MOMENTS: Final[dict[str, str]] = {
    "start_date_time": "2026-01-31T10:00:00Z",
    "start_datetime": "2026-01-31T10:00:00Z",
    "end_date_time": "2026-01-31T11:00:00Z",
    "end_datetime": "2026-01-31T11:00:00Z",
    "stop_date_time": "2026-01-31T11:00:00Z",
    "period_begin": "2026-03-01T00:00:00Z",
    "period_end": "2026-03-02T00:00:00Z",
    "last_updated": "2026-01-31T11:00:01Z",
}


HOLDING_BACK: Final = ("booking",)
"""What other versions cannot say at all, so that the rest would not be seen."""


def filled(spec: Spec, name: str, *, whole: bool) -> dict[str, Json]:
    """Return a valid object: with every field, all values of an enum in its lists, and long texts; or with as few as may be."""
    made: dict[str, Json] = {}
    for field, row in spec.objects[name].items():
        if row.required or (whole and field not in HOLDING_BACK):
            one = _meant(spec, name, field, row, whole)
            made[field] = one if not row.many or isinstance(one, list) else [one]
    return made


def _meant(spec: Spec, name: str, field: str, row: Field, whole: bool) -> Json:
    if row.type in spec.objects:
        return filled(spec, row.type, whole=whole)
    if row.type in spec.enums:
        values = spec.enums[row.type]
        if row.many:
            return list(values) if whole else [values[0]]
        return next((meant for meant in (MEANT.get(field), "ENERGY", "AC_3_PHASE", "REGULAR") if meant in values), values[0])
    if row.type == "DateTime":
        return MOMENTS[field]
    if field in MEANT:
        meant = MEANT[field]
        return str(meant) if row.type == "decimal" else meant
    match row.type:
        case "number":
            return Decimal("2.5")
        case "decimal":
            return "2.5"
        case "int":
            return 16
        case "boolean":
            return True
        case "URL":
            return "https://example.com/x"
    if name == "RegularHours":
        return "08:00" if field == "period_begin" else "20:00"
    if whole and field in ("address", "state"):
        return ("Keizersgracht " * 20)[: row.length]
    if field == "id" and name == "Location":
        return "LOC1"
    if field == "id" and name == "Connector":
        return "1"
    return f"{field[:8]}-1"[: row.length]
