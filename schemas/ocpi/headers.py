"""The headers that OCPI's answers take over from their requests, and the segments of a path."""

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote_to_bytes

Headers = list[tuple[bytes, bytes]]

_ECHOED: Final = re.compile(rb"[\x20-\x7e]{1,128}")
_COUNTRY: Final = re.compile(rb"[A-Za-z]{2}")
_PARTY: Final = re.compile(rb"[A-Za-z0-9]{1,3}")


def taken_over(asked: Mapping[bytes, bytes]) -> Headers:
    """Return the ids of the message as they came, and the routing headers turned round; `asked` has lower-case names.

    What could not stand in a header of OCPI is left out. Source: OCPI 2.2.1 transport_and_format, unique message ids and
    message routing headers: in an answer TO is who asked, FROM is who was asked.
    """
    headers = []
    for name in (b"x-request-id", b"x-correlation-id"):
        value = asked.get(name)
        if value is not None and _ECHOED.fullmatch(value):
            headers.append((name, value))
    if b"ocpi-from-party-id" in asked:
        headers += _turned(asked, b"from", b"to")
    if b"ocpi-to-party-id" in asked:
        headers += _turned(asked, b"to", b"from")
    return headers


def segments_of(raw_path: bytes) -> tuple[str, ...] | None:
    """Return the percent-decoded segments of a path, one trailing slash ignored; None where it is no UTF-8.

    It is split before it is decoded: `%2F` inside an id separates nothing.
    """
    parts = raw_path.split(b"/")[1:]
    if parts and not parts[-1]:
        parts.pop()
    try:
        return tuple([unquote_to_bytes(part).decode() for part in parts])
    except UnicodeDecodeError:
        return None


def _turned(asked: Mapping[bytes, bytes], side: bytes, other: bytes) -> Headers:
    country_code, party_id = asked.get(b"ocpi-%b-country-code" % side, b""), asked[b"ocpi-%b-party-id" % side]
    if not _COUNTRY.fullmatch(country_code) or not _PARTY.fullmatch(party_id):
        return []
    return [(b"ocpi-%b-country-code" % other, country_code), (b"ocpi-%b-party-id" % other, party_id)]
