"""Does what is served equal what the platforms believe? To the last value, without roamlog's own code."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from roamlog.demo.charging import Object

SHOWN = 5


def named(one: Object) -> str:
    """Return an object's name: its owner and its id, of a Token its uid and type."""
    return f"{one['country_code']}*{one['party_id']} {one['id'] if 'id' in one else one['uid'] + ' ' + one['type']}"


def differences(believed: Mapping[str, Object], served: Iterable[Object]) -> list[str]:
    """Return one line per object that is missing, surplus, doubled or different."""
    found: dict[str, Object] = {}
    wrong = []
    for one in served:
        name = named(one)
        if name in found:
            wrong.append(f"{name} is served twice")
        found[name] = one
    wrong += [f"{name} is not served" for name in believed.keys() - found.keys()]
    wrong += [f"{name} is served to somebody whom it does not concern" for name in found.keys() - believed.keys()]
    wrong += [
        f"{name}: {difference}"
        for name, wanted in believed.items()
        if name in found
        for difference in differing(wanted, found[name])
    ]
    return wrong


def differing(wanted: Any, given: Any, at: str = "") -> list[str]:
    """Return where two JSON values differ, as values: numbers exactly, instants as instants."""
    if isinstance(wanted, dict) and isinstance(given, dict):
        lost = [f"{at}/{name} is gone" for name in wanted.keys() - given.keys()]
        made = [f"{at}/{name} was made up" for name in given.keys() - wanted.keys()]
        deeper = [one for name in wanted.keys() & given.keys() for one in differing(wanted[name], given[name], f"{at}/{name}")]
        return [*lost, *made, *deeper]
    if isinstance(wanted, list) and isinstance(given, list) and len(wanted) == len(given):
        return [one for number, pair in enumerate(zip(wanted, given, strict=True)) for one in differing(*pair, f"{at}/{number}")]
    same = wanted == given and isinstance(wanted, bool) == isinstance(given, bool)
    return [] if same or _same_instant(wanted, given) else [f"{at} is {given!r}, not {wanted!r}"]


def _same_instant(wanted: Any, given: Any) -> bool:
    if not (isinstance(wanted, str) and isinstance(given, str)):
        return False
    try:
        return _instant(wanted) == _instant(given)
    except ValueError:
        return False


def _instant(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)


def total(amounts: Iterable[Decimal]) -> Decimal:
    """Return the exact sum."""
    return sum(amounts, Decimal(0))


def undated(one: Object) -> Object:
    """Return an object without any last_updated: OCPI 2.0 does not say it, its arrival does."""
    return {name: _undated(value) for name, value in one.items() if name != "last_updated"}


def _undated(value: Any) -> Any:
    if isinstance(value, dict):
        return undated(value)
    return [_undated(inner) for inner in value] if isinstance(value, list) else value
