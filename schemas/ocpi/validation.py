"""The lenient reading of an object: taken wherever its meaning is plain, with a report of everything that breaks the tables."""

import re
import unicodedata
from collections.abc import Callable
from decimal import Decimal
from typing import Final, TypeAlias

from schemas import codec
from schemas.ocpi.spec import Extent, Field, Spec
from schemas.types import EARLIEST, LATEST, Finding, Json, Severity, date_time, instant

Check: TypeAlias = "Callable[[Json, str, Report], Json]"
"""Reports on a value that stands at a pointer, and returns it as it is to be kept: the same object where it stays."""

MAX_FINDINGS: Final = 100

NOT_AVAILABLE: Final = "#NA"
"""What a required text may say that cannot be filled, whatever its length (OCPI 2.2 transport_and_format, No data available)."""

_CANONICAL: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,3})?Z")
_LOOSE: Final = re.compile(
    r"(?P<date>[0-9]{4}-[0-9]{1,2}-[0-9]{1,2})(?P<t>[Tt ])(?P<time>[0-9]{1,2}:[0-9]{2}:[0-9]{2})"
    r"(?:\.[0-9]+)?\s*(?:(?P<zone>[Zz])|(?P<offset>[+-][0-9]{2}:?[0-9]{2}))?"
)


class Enough(Exception):
    """An object is refused and its report is full: reading on would only cost time."""


class Report:
    """Findings in the order of the object's table. After MAX_FINDINGS they are only counted, but for the first error.

    Then, with an error among them, `add` raises Enough.
    """

    def __init__(self) -> None:
        self.errors = 0
        self._findings: list[Finding] = []
        self._more = 0

    def add(self, pointer: str, rule: str, severity: Severity, message: str) -> None:
        """Note one remark."""
        first_error = severity == "error" and self.errors == 0
        self.errors += severity == "error"
        if len(self._findings) < MAX_FINDINGS or first_error:
            self._findings.append(Finding(pointer, rule, severity, message))
        else:
            self._more += 1
            if self.errors:
                raise Enough

    def error(self, pointer: str, rule: str, message: str) -> None:
        """Note what refuses the object."""
        self.add(pointer, rule, "error", message)

    def warning(self, pointer: str, rule: str, message: str) -> None:
        """Note what breaks the specification and is taken."""
        self.add(pointer, rule, "warning", message)

    def findings(self) -> tuple[Finding, ...]:
        """Return the remarks."""
        if self._more:
            return *self._findings, Finding(
                "",
                "more_findings",
                "info",
                f"{self._more} more remarks are left out" if not self.errors else "the rest is left out",
            )
        return tuple(self._findings)


def validator(spec: Spec, name: str, extent: Extent) -> Check:
    """Return the check of one of the version's objects as a whole body."""
    return _Compiler(spec).object(name, True, extent)


def shown(value: Json) -> str:
    """Return a value as a message shows it: short."""
    match value:
        case None:
            return "null"
        case dict():
            return "an object"
        case list():
            return "a list"
        case str():
            return repr(value if len(value) <= 40 else value[:40] + "…")
        case bool():
            return str(value).lower()
        case _:
            text = str(value) if isinstance(value, Decimal) or codec.in_range(value) else "a number beyond 10^15"
            return text if len(text) <= 40 else text[:40] + "…"


def pointer(at: str, key: str) -> str:
    """Return the pointer to a member (RFC 6901)."""
    return f"{at}/{key.replace('~', '~0').replace('/', '~1')[:80]}"


class _Compiler:
    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.made: dict[tuple[str, bool, Extent], Check] = {}

    def object(self, name: str, keyed: bool, extent: Extent) -> Check:
        made = self.made.get((name, keyed, extent))
        if made is None:
            table = {
                field: (self.value(row, keyed, extent), row.required, _missed(row, row.demanded(field, extent)), f"/{field}")
                for field, row in self.spec.objects[name].items()
            }
            self.made[name, keyed, extent] = made = _object(name, table)
        return made

    def value(self, row: Field, keyed: bool, extent: Extent) -> Check:
        one = self.one(row, keyed, extent)
        return _list(one, row.required) if row.many else one

    def one(self, row: Field, keyed: bool, extent: Extent) -> Check:
        match row.type:
            case "string" | "URL":
                return _text(row.length, False, row.key and keyed)
            case "CiString":
                return _text(row.length, True, row.key and keyed)
            case "number":
                return _number
            case "decimal":
                return _decimal
            case "int":
                return _int(row.length)
            case "boolean":
                return _boolean
            case "DateTime":
                return _local_date_time if self.spec.offsets else _date_time
        if row.type in self.spec.enums:
            return _enum(row.type, self.spec.enums[row.type], row.type in self.spec.open_enums)
        return self.object(row.type, keyed and row.key, row.inner(extent))


def _missed(row: Field, demanded: bool) -> Severity | None:
    return None if not demanded else "warning" if row.lax else "error"


def _object(name: str, table: dict[str, tuple[Check, bool, Severity | None, str]]) -> Check:
    def check(value: Json, at: str, report: Report) -> Json:
        if not isinstance(value, dict):
            report.error(at, "wrong_type", f"{name} is an object, not {shown(value)}")
            return value
        kept = value
        known = 0
        for field, (check_field, required, missed, step) in table.items():
            if field not in value:
                if missed is not None:
                    report.add(at + step, "missing_field", missed, f"{name}.{field} is required")
                continue
            known += 1
            old = value[field]
            if old is None:
                if required:
                    report.error(at + step, "null_field", f"{name}.{field} is required, so it cannot be null")
                continue
            new = check_field(old, at + step, report)
            if new is not old:
                kept = dict(value) if kept is value else kept
                kept[field] = new
        if len(value) > known:
            for field in [field for field in value if field not in table]:
                report.add(pointer(at, field), "unknown_field", "info", f"{name} has no such field; it is kept")
                _check_numbers(value[field], pointer(at, field), report)
        return kept

    return check


def _check_numbers(value: Json, at: str, report: Report) -> None:
    # Pointers to scalars are made for the culprits alone: an unknown field may hold a million numbers.
    if isinstance(value, list | dict):
        for key, item in enumerate(value) if isinstance(value, list) else value.items():
            if isinstance(item, list | dict):
                _check_numbers(item, pointer(at, str(key)), report)
            elif isinstance(item, int | Decimal) and not codec.in_range(item):
                _check_range(item, pointer(at, str(key)), report)
    elif isinstance(value, int | Decimal):
        _check_range(value, at, report)


def _check_range(value: int | Decimal, at: str, report: Report) -> None:
    if not codec.in_range(value):
        report.error(at, "number_out_of_range", "numbers are kept up to 10^15, with 40 digits and 40 decimals at most")


def _list(check_member: Check, required: bool) -> Check:
    def check(value: Json, at: str, report: Report) -> Json:
        if not isinstance(value, list):
            report.error(at, "wrong_type", f"a list is expected, not {shown(value)}")
            return value
        if required and not value:
            report.error(at, "empty_list", "at least one is required")
        kept = value
        for index, old in enumerate(value):
            new = check_member(old, f"{at}/{index}", report)
            if new is not old:
                kept = list(value) if kept is value else kept
                kept[index] = new
        return kept

    return check


def _text(length: int | None, ci: bool, key: bool) -> Check:
    def check(value: Json, at: str, report: Report) -> Json:
        text = value
        if isinstance(value, int | Decimal) and not isinstance(value, bool):
            _check_range(value, at, report)
            if not codec.in_range(value):
                return value
            text = codec.encode(value).decode()
            report.warning(at, "string_as_number", f"{shown(value)} is a number where a string is expected; taken as its text")
        if not isinstance(text, str):
            report.error(at, "wrong_type", f"a string is expected, not {shown(value)}")
            return value
        severity: Severity = "error" if key else "warning"
        if length is not None and len(text) > length and (key or text != NOT_AVAILABLE):
            report.add(at, "too_long", severity, f"{len(text)} characters, {length} are allowed")
        if key and not text:
            report.error(at, "empty_identity", "an object cannot be told by an empty text")
        if not (text.isascii() and text.isprintable()):
            if any(unicodedata.category(c) == "Cc" for c in text):
                report.add(at, "control_character", severity, f"{shown(text)} has control characters")
            if ci and not text.isascii():
                report.warning(at, "not_ascii", f"{shown(text)} is a CiString, which is printable ASCII")
        return text

    return check


def _number(value: Json, at: str, report: Report) -> Json:
    if isinstance(value, str) and (read := codec.number(value)) is not None:
        report.warning(at, "number_as_string", f"{shown(value)} is a string where a number is expected; taken as that number")
        value = read
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        report.error(at, "wrong_type", f"a number is expected, not {shown(value)}")
        return value
    _check_range(value, at, report)
    return value


def _decimal(value: Json, at: str, report: Report) -> Json:
    """Check a number that is a string (OCPI 2.0 types 1.3)."""
    if isinstance(value, str):
        read = codec.number(value)
        if read is None and _DECIMAL_COMMA.fullmatch(value):
            report.warning(at, "decimal_comma", f"{shown(value)} has a comma for its point; taken as {value.replace(',', '.')}")
            value = value.replace(",", ".")
            read = codec.number(value)
        if read is None:
            report.error(at, "wrong_type", f"{shown(value)} is no number")
            return value
        _check_range(read, at, report)
        return value
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        report.error(at, "wrong_type", f"a number in a string is expected, not {shown(value)}")
        return value
    _check_range(value, at, report)
    if not codec.in_range(value):
        return value
    report.warning(at, "decimal_as_number", f"{shown(value)} is a number where OCPI 2.0 has it in a string; taken as its text")
    return codec.encode(value).decode()


# With three digits behind it a comma may as well set off thousands.
_DECIMAL_COMMA: Final = re.compile(r"-?(?:0|[1-9][0-9]*),(?:[0-9]{1,2}|[0-9]{4,})")


def _int(digits: int | None) -> Check:
    def check(value: Json, at: str, report: Report) -> Json:
        before = report.errors
        value = _number(value, at, report)
        if report.errors > before or not isinstance(value, int | Decimal):
            return value
        if isinstance(value, Decimal):
            if value != int(value):
                report.error(at, "wrong_type", f"an int is expected, not {shown(value)}")
                return value
            if value.as_tuple().exponent != 0:
                report.warning(at, "fraction_for_int", f"{shown(value)} is written as a fraction where an int is expected")
            value = int(value)
        if digits is not None and abs(value) >= 10**digits:
            report.warning(at, "too_long", f"{value} has more than {digits} digits")
        return value

    return check


def _boolean(value: Json, at: str, report: Report) -> Json:
    if not isinstance(value, bool):
        report.error(at, "wrong_type", f"true or false is expected, not {shown(value)}")
    return value


def _enum(name: str, values: tuple[str, ...], is_open: bool) -> Check:
    known = frozenset(values)
    listed = ", ".join(values) if len(values) <= 13 else ", ".join(values[:13]) + ", …"
    by_lower = {value.lower(): value for value in values}

    def check(value: Json, at: str, report: Report) -> Json:
        if not isinstance(value, str):
            report.error(at, "wrong_type", f"{name} is a string, not {shown(value)}")
        elif value not in known:
            meant = by_lower.get(value.lower())
            hint = f"did you mean {meant}? Enum values are case-sensitive" if meant else f"known are {listed}"
            if is_open:
                report.warning(at, "unknown_enum_value", f"{shown(value)} is no listed {name}; {hint}")
            else:
                report.error(at, "enum_value", f"{shown(value)} is no {name}; {hint}")
        return value

    return check


def _local_date_time(value: Json, at: str, report: Report) -> Json:
    return _date_time(value, at, report, offset="info")


def _date_time(value: Json, at: str, report: Report, offset: Severity = "warning") -> Json:
    if not isinstance(value, str):
        report.error(at, "wrong_type", f"a DateTime is a string, not {shown(value)}")
        return value
    shape = _LOOSE.fullmatch(value)
    try:
        if shape is None:
            raise ValueError
        moment = instant(value)
    except ValueError:
        report.error(at, "date_time", f"{shown(value)} is no DateTime between 1900 and 2261, e.g. 2026-01-31T12:00:00Z")
        return value
    if not EARLIEST <= moment <= LATEST:
        report.error(at, "date_time", f"{shown(value)} is outside 1900 to 2261")
        return value
    if _CANONICAL.fullmatch(value):
        return value
    if shape["offset"]:
        report.add(at, "offset_date_time", offset, f"{shown(value)} has an offset, OCPI is UTC; taken as {date_time(moment)}")
    if len(shape["date"]) < 10 or len(shape["time"]) < 8:
        report.warning(at, "unpadded_date_time", f"{shown(value)} lacks leading zeros; taken as {date_time(moment)}")
    if shape["t"] != "T" or shape["zone"] == "z" or len(value.split()) > 1:
        report.warning(at, "loose_date_time", f"{shown(value)} is not written as RFC 3339; taken as {date_time(moment)}")
    return date_time(moment)
