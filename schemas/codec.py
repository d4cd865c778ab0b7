"""Strict JSON, exactly: every digit is kept, and nothing is read that another parser would read differently."""

import json
import re
from decimal import Decimal, InvalidOperation
from typing import Final, NoReturn

import msgspec
from msgspec import Raw

from schemas.ocpi.dialect import NotJson
from schemas.types import Json

MAX_DEPTH: Final = 64
"""Objects and lists within each other; OCPI itself needs nine."""

MAX_MAGNITUDE: Final = 10**15
MAX_DIGITS: Final = 40
"""Bounds of a number that is kept: what a ClickHouse Decimal(38, …) and exact sums can hold with room to spare."""

_generic: Final = msgspec.json.Decoder(float_hook=Decimal)
_fields: Final = msgspec.json.Decoder(dict[str, Raw])
_encoder: Final = msgspec.json.Encoder(decimal_format="number")
_BLANKS: Final = b" \t\n\r"
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")


def parse(body: bytes) -> Json:
    """Return the one JSON value that `body` is, fractions as `Decimal` with their own digits. Raises NotJson.

    Refused as not JSON: bad syntax or UTF-8, a byte order mark, NaN and Infinity, lone surrogates, control characters,
    text after the value, a key twice in one object, more than MAX_DEPTH levels. A number of any size is JSON: whether it
    is kept is asked with `in_range`. One whose exponent not even Decimal holds is read as Decimal's Infinity.
    """
    try:
        value: Json = _generic.decode(body)
    except RecursionError:
        raise _too_deep() from None
    except UnicodeDecodeError as error:
        raise NotJson(f"not UTF-8: {error.reason} at byte {error.start} of a string") from None
    except (msgspec.ValidationError, InvalidOperation):  # numbers beyond CPython's 4,300 digits, exponents beyond Decimal's
        return _parse_slowly(body)
    except msgspec.DecodeError as error:
        hint = "; a byte order mark is not allowed" if body.startswith(b"\xef\xbb\xbf") else ""
        raise NotJson(f"{error}{hint}") from None
    keys = _count_keys(value)
    # Every key contributes one `":` (blanks removed), other text can only add: equal counts prove that no key was overwritten.
    if keys and body.translate(None, _BLANKS).count(b'":') != keys:
        _parse_slowly(body)
    return value


def fields(text: bytes | Raw) -> dict[str, Raw]:
    """Return an object's members with their values as JSON text; for text that is known to be valid."""
    return _fields.decode(text)


def encode(value: object) -> bytes:
    """Return JSON text, compact, Decimals as numbers with their own digits, `Raw` members as they are."""
    return _encoder.encode(value)


def number(text: str) -> Decimal | None:
    """Return the number that a JSON number's text spells, None where it is something else."""
    return _decimal(text) if _NUMBER.fullmatch(text) else None


def in_range(value: int | Decimal) -> bool:
    """Tell whether a number is kept: at most 10^15 either way, 40 digits, and nothing smaller than the 40th decimal."""
    if isinstance(value, int):
        return -MAX_MAGNITUDE <= value <= MAX_MAGNITUDE
    if not value.is_finite():
        return False
    _, digits, exponent = value.as_tuple()
    return (
        isinstance(exponent, int)
        and -MAX_DIGITS <= exponent <= 15
        and len(digits) <= MAX_DIGITS
        and -MAX_MAGNITUDE <= value <= MAX_MAGNITUDE
    )


def _too_deep() -> NotJson:
    return NotJson(f"nested deeper than {MAX_DEPTH} levels")


def _count_keys(value: Json) -> int:
    keys = 0
    level: list[Json] = [value]
    for _ in range(MAX_DEPTH):
        inner: list[Json] = []
        for item in level:
            if isinstance(item, dict):
                keys += len(item)
                inner += [member for member in item.values() if isinstance(member, dict | list)]
            elif isinstance(item, list):
                inner += [member for member in item if isinstance(member, dict | list)]
        if not inner:
            return keys
        level = inner
    raise _too_deep()


def _parse_slowly(body: bytes) -> Json:
    try:
        value: Json = json.loads(
            body.decode(), object_pairs_hook=_once, parse_constant=_no_constant, parse_float=_decimal, parse_int=_integer
        )
        _count_keys(value)
        json.dumps(value, ensure_ascii=False, default=str).encode()
    except RecursionError:
        raise _too_deep() from None
    except UnicodeDecodeError as error:
        raise NotJson(f"not UTF-8: {error.reason} at byte {error.start}") from None
    except UnicodeEncodeError:
        raise NotJson("a lone surrogate in a string") from None
    except json.JSONDecodeError as error:
        raise NotJson(str(error)) from None
    return value


def _once(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    seen: dict[str, Json] = {}
    for key, value in pairs:
        if key in seen:
            raise NotJson(f"the key {key[:40]!r} stands twice in one object")
        seen[key] = value
    return seen


def _no_constant(text: str) -> NoReturn:
    raise NotJson(f"{text} is not a JSON number")


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        return Decimal("-Infinity" if text.startswith("-") else "Infinity")


def _integer(text: str) -> int | Decimal:
    return int(text) if len(text) <= MAX_DIGITS else _decimal(text)
