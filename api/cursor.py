"""Where the next page of a list begins, as an opaque text in the `Link` header."""

import base64
import binascii
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from schemas.types import EARLIEST, LATEST, Instant, Module

CHARACTERS: Final = 4096
"""A longer text is no cursor of ours: ids are 255 characters at most."""

KEY_PARTS: Final = {Module.LOCATIONS: 2, Module.SESSIONS: 2, Module.CDRS: 3, Module.TARIFFS: 2, Module.TOKENS: 3}
"""What identifies a row: its owner and id, a CDR's charging key too, a Token's type too."""

_Instant = Annotated[Instant, Meta(ge=EARLIEST, le=LATEST)]
_Count = Annotated[int, Meta(ge=0, le=10**18)]
_Id = Annotated[str, Meta(max_length=1024)]


class Window(Struct, frozen=True, array_like=True):
    """Which changes a list is asked for: `[date_from, date_to)`; `strict` is the letter of the specification.

    `by_start`: the interval is that of their start_date_time instead (OCPI 2.0).
    """

    date_from: _Instant = EARLIEST
    date_to: _Instant = LATEST
    strict: bool = False
    by_start: bool = False


class Cursor(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The place behind the last object of a page.

    `complete_until` (W) and `total` are page one's: the list ends where it ended for page one, however much arrives
    meanwhile. `offset` counts the objects before the page; `after` is (first_seen, key parts …) of the last of them.
    """

    module: Module
    window: Window
    complete_until: _Instant
    total: _Count
    offset: _Count
    first_seen: _Instant
    key: Annotated[tuple[_Id, ...], Meta(min_length=2, max_length=3)]


class BadCursor(ValueError):
    """The text is no cursor that this release made."""


def encode(cursor: Cursor) -> str:
    """Return the cursor as text that needs no escaping in a URL."""
    return base64.urlsafe_b64encode(_encoder.encode(cursor)).rstrip(b"=").decode()


def decode(text: str) -> Cursor:
    """Return the cursor; raises BadCursor, and nothing else, for any other text."""
    if len(text) > CHARACTERS or not text.isascii():
        raise BadCursor("the cursor is not one of ours")
    try:
        cursor = _decoder.decode(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))
    except (binascii.Error, msgspec.DecodeError, UnicodeDecodeError) as fault:
        raise BadCursor("the cursor is not one of ours") from fault
    if len(cursor.key) != KEY_PARTS.get(cursor.module):
        raise BadCursor("the cursor's key is not one of its module")
    return cursor


_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(Cursor)
