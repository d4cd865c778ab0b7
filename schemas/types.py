"""The scalars of OCPI as values: instants, parties, identities, findings."""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Final, Literal, TypeAlias

from msgspec import Struct

Instant: TypeAlias = int
"""Microseconds since 1970-01-01T00:00:00Z: totally ordered, always UTC, what DateTime64(6) stores."""

Json: TypeAlias = "bool | int | str | Decimal | list[Json] | dict[str, Json] | None"
"""A decoded JSON value; every fraction is read as `Decimal`, exactly."""

EARLIEST: Final[Instant] = -2_208_988_800_000_000  # 1900-01-01, the first instant of ClickHouse's DateTime64
LATEST: Final[Instant] = 9_214_646_399_999_999  # 2261-12-31T23:59:59.999999, beyond it DateTime64(6) wraps in silence
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_LOOSE: Final = re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2})[Tt ](\d{1,2}):(\d{2}):(\d{2})(?:\.(\d+))?\s*(Z|z|[+-]\d{2}:?\d{2})?")


class Module(StrEnum):
    """The functional modules that carry data, by their OCPI ModuleID."""

    LOCATIONS = "locations"
    SESSIONS = "sessions"
    CDRS = "cdrs"
    TARIFFS = "tariffs"
    TOKENS = "tokens"

    __hash__ = str.__hash__  # Enum's own is Python's, and every look-up by a member would pay for it


class Verb(StrEnum):
    """What a partner asked for; `POST` is the CDR's only one."""

    PUT = "PUT"
    PATCH = "PATCH"
    POST = "POST"
    DELETE = "DELETE"

    __hash__ = str.__hash__


Severity = Literal["info", "warning", "error"]


class Finding(Struct, frozen=True):
    """One remark of the validation report.

    `pointer` is a JSON pointer (RFC 6901) into the object as received, `rule` a stable snake_case name.
    `error` findings refuse the object, `warning` ones break the specification but are taken, `info` ones are legal.
    """

    pointer: str
    rule: str
    severity: Severity
    message: str


class Loss(Struct, frozen=True):
    """A value that a conversion could not carry (`lost`) or had to make up (`defaulted`), and why."""

    pointer: str
    kind: Literal["lost", "defaulted"]
    reason: str


def party_of(country_code: str, party_id: str) -> str:
    """Return the owner as `NL*TNM`: upper case, because both halves are CiStrings (OCPI 2.2.1 types 16.1)."""
    return f"{country_code}*{party_id}".upper()


def identity(object_id: str) -> str:
    """Return the id as it is compared: ASCII letters lowered, everything else kept (CiString)."""
    return object_id.lower() if object_id.isascii() else object_id.encode().lower().decode()


def instant(text: str) -> Instant:
    """Parse an OCPI DateTime in any form seen in the wild; raises ValueError.

    No designator means UTC; offsets are converted; unpadded fields (`1970-1-1T00:00:00Z`, the specification's own
    sentinel) are read; digits beyond microseconds are cut. Source: OCPI 2.2.1 types 16.2, requirements 2.9.
    """
    if len(text) == 20 and text[19] == "Z" and text[10] == "T" and text[7] == "-":  # not a week date of ISO 8601
        try:
            micros = (datetime.fromisoformat(text) - _EPOCH) // _MICROSECOND
        except ValueError:
            pass
        else:
            if EARLIEST <= micros <= LATEST:
                return micros
    match = _LOOSE.fullmatch(text)
    if match is None or not text.isascii():
        raise ValueError(f"{text[:40]!r} is not a DateTime")
    year, month, day, hour, minute, second, fraction, zone = match.groups()
    moment = datetime(int(year), int(month), int(day), int(hour), int(minute), int(second), tzinfo=UTC)
    micros = (moment - _EPOCH) // _MICROSECOND + int((fraction or "0")[:6].ljust(6, "0"))
    if zone and zone not in "Zz":
        sign = 1 if zone[0] == "+" else -1
        micros -= sign * (int(zone[1:3]) * 3600 + int(zone[-2:]) * 60) * 1_000_000
    if not EARLIEST <= micros <= LATEST:
        raise ValueError(f"{text!r} is outside 1900 to 2261")
    return micros


def date_time(at: Instant) -> str:
    """Render an instant as OCPI emits it: UTC with `Z`, milliseconds only where they are not zero, <= 24 characters.

    Source: OCPI 2.2.1 types 16.2 (string(25), so microseconds with `Z` do not fit).
    """
    text = (_EPOCH + timedelta(microseconds=at)).isoformat()[:-6]
    if len(text) == 19:
        return text + "Z"
    milliseconds = text[20:23]
    return f"{text[:19]}Z" if milliseconds == "000" else f"{text[:19]}.{milliseconds}Z"


def from_datetime(at: datetime) -> Instant:
    """Return an aware datetime as an instant."""
    return (at - _EPOCH) // _MICROSECOND
