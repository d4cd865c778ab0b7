"""The query of a list: what a partner asks for, checked once.

Source: OCPI 2.2.1 transport_and_format, paginated request; requirements 3.
"""

import re
from typing import Final
from urllib.parse import quote, unquote

from msgspec import Struct

from api import cursor as cursors
from api.cursor import BadCursor, Cursor, Window
from api.errors import invalid
from schemas.ocpi.interface import Listing
from schemas.types import EARLIEST, LATEST, Instant, Module, instant

MOST: Final = 10**18
"""A larger limit or offset means the same as this one."""

_DATES: Final = ("date_from", "date_to", "strict_windows")
_KNOWN: Final = (*_DATES, "offset", "limit", "cursor")
_COUNT: Final = re.compile(r"[0-9]+")
_YEAR: Final = re.compile(r"(\d{4})(-.*)", re.DOTALL)
_SWITCH: Final = {"1": True, "true": True, "0": False, "false": False}


class ListQuery(Struct, frozen=True):
    """A page that is asked for: the window, how many objects at most, and where it begins.

    `cursor` is set where the page follows another by its `Link`; `given` are the filters as they came, which the next
    `Link` repeats.
    """

    window: Window
    limit: int
    offset: int
    cursor: Cursor | None
    given: tuple[tuple[str, str], ...]

    def next_page(self, cursor: Cursor) -> str:
        """Return the query of the page that begins at the cursor."""
        # The offset is there for clients that count; whoever changes it is answered by it, and not by the cursor's place.
        parts = [*self.given, ("offset", str(cursor.offset)), ("limit", str(self.limit)), ("cursor", cursors.encode(cursor))]
        return "&".join(f"{name}={quote(value, safe=':')}" for name, value in parts)


def list_query(module: Module | None, query: bytes, cap: int, listing: Listing) -> ListQuery:
    """Return the query of a list; raises Refusal (OCPI 2001).

    `listing` says what the version's dates mean; a list that takes none ignores them. Without a `module` it has no cursors.
    `cap` is the most objects on a page, and what a client without a `limit` gets. A limit of 0 is refused: its page would be
    empty and not the last one, so a client would follow its `Link` for ever.
    """
    given = _given(query)
    if listing.selects is None:
        given = {name: value for name, value in given.items() if name not in _DATES}
    window = Window(
        _bound("date_from", given, EARLIEST),
        _bound("date_to", given, LATEST),
        _switch(given.get("strict_windows", "0")),
        listing.selects == "start_date_time",
    )
    if listing.needs_date_from and "date_from" not in given:
        raise invalid(f"GET {module} needs date_from")
    limit = min(_count("limit", given, cap), cap)
    if limit == 0:
        raise invalid("limit must be 1 or more")
    cursor = _cursor(given["cursor"], module, window) if "cursor" in given else None
    offset = _count("offset", given, cursor.offset if cursor else 0)
    filters = tuple((name, given[name]) for name in _DATES if name in given)
    return ListQuery(window, limit, offset, cursor, filters)


def moment(text: str) -> Instant:
    """Return a DateTime of a query; raises ValueError. What lies outside 1900 to 2261 means the nearest instant inside.

    `0001-01-01T00:00:00Z` and `9999-12-31T23:59:59Z` are how many programs write "since ever" and "for ever".
    """
    try:
        return instant(text)
    except ValueError:
        match = _YEAR.fullmatch(text)
        if match is None or 1900 <= int(match[1]) <= 2261:
            raise
        instant("2000" + match[2])
        return EARLIEST if int(match[1]) < 1900 else LATEST


def _given(query: bytes) -> dict[str, str]:
    """Return the parameters that lists know; others are ignored. A plus sign stays one: it begins a UTC offset."""
    found: dict[str, str] = {}
    for part in query.decode("latin-1").split("&"):
        name, _, value = part.partition("=")
        if name in _KNOWN:
            if name in found:
                raise invalid(f"{name} is given twice")
            found[name] = unquote(value)
    return found


def _bound(name: str, given: dict[str, str], default: Instant) -> Instant:
    if name not in given:
        return default
    try:
        return moment(given[name])
    except ValueError as fault:
        raise invalid(f"{name}: {given[name][:40]!r} is not a DateTime such as 2026-10-28T12:00:00Z") from fault


def _count(name: str, given: dict[str, str], default: int) -> int:
    text = given.get(name)
    if text is None:
        return default
    if not _COUNT.fullmatch(text) or not text.isascii():
        raise invalid(f"{name}: {text[:40]!r} is not a whole number from 0")
    return min(int(text), MOST) if len(text) < 20 else MOST


def _switch(text: str) -> bool:
    if text not in _SWITCH:
        raise invalid(f"strict_windows: {text[:40]!r} is neither 1 nor 0")
    return _SWITCH[text]


def _cursor(text: str, module: Module | None, window: Window) -> Cursor:
    try:
        cursor = cursors.decode(text)
    except BadCursor as fault:
        raise invalid("the cursor is not one of ours; start at the first page again") from fault
    if cursor.module is not module or cursor.window != window:
        raise invalid("the cursor belongs to another list; follow the Link as it is, or start at the first page again")
    return cursor
