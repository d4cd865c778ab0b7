"""What OCPI says beside a body: the parts of a path, the ids of a message, the routing headers."""

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote_to_bytes

from schemas.ocpi.interface import HUBCLIENTINFO, interface
from schemas.types import party_of

Headers = list[tuple[bytes, bytes]]

FROM: Final = b"from"
TO: Final = b"to"

_ECHOED: Final = re.compile(rb"[\x20-\x7e]{1,128}")
_COUNTRY: Final = re.compile(rb"[A-Za-z]{2}")
_PARTY: Final = re.compile(rb"[A-Za-z0-9]{1,3}")
_PARTY_ID: Final = {FROM: b"ocpi-from-party-id", TO: b"ocpi-to-party-id"}
_COUNTRY_CODE: Final = {FROM: b"ocpi-from-country-code", TO: b"ocpi-to-country-code"}


def taken_over(asked: Mapping[bytes, bytes], path: str) -> Headers:
    """Return the ids of the message as they came, and, where the path has routing headers, those turned round.

    `asked` has lower-case names. What could not stand in a header of OCPI is left out. Source: OCPI 2.2.1
    transport_and_format, unique message ids and message routing headers: in an answer TO is who asked, FROM is who was asked.
    """
    headers = []
    for name in (b"x-request-id", b"x-correlation-id"):
        value = asked.get(name)
        if value is not None and _ECHOED.fullmatch(value):
            headers.append((name, value))
    if (b"ocpi-from-party-id" in asked or b"ocpi-to-party-id" in asked) and is_routed(path):
        headers += _turned(asked, FROM, TO)
        headers += _turned(asked, TO, FROM)
    return headers


def is_routed(path: str) -> bool:
    """Return whether requests to the path carry routing headers: none before 2.2, and none of versions and hubclientinfo."""
    parts = path.split("/", 5)  # '', 'ocpi', version, side, module, …
    return len(parts) > 4 and parts[4] != HUBCLIENTINFO and interface(parts[2]).routed


def routing_party(asked: Mapping[bytes, bytes], side: bytes, path: str) -> str | None:
    """Return the party (`NL*TNM`) that the routing headers of a side (`FROM`, `TO`) name; None where they name none."""
    halves = _halves(asked, side) if is_routed(path) else None
    return None if halves is None else party_of(halves[0].decode(), halves[1].decode())


def segments_of(raw_path: bytes) -> tuple[str, ...] | None:
    """Return the percent-decoded segments of a path, one trailing slash ignored; None where it is no UTF-8.

    Split before decoding: `%2F` inside an id separates nothing.
    """
    try:
        parts = raw_path.decode().split("/")[1:]
        if parts and not parts[-1]:
            parts.pop()
        if b"%" in raw_path:
            return tuple([unquote_to_bytes(part).decode() for part in parts])
        return tuple(parts)
    except UnicodeDecodeError:
        return None


def _halves(asked: Mapping[bytes, bytes], side: bytes) -> tuple[bytes, bytes] | None:
    country_code, party_id = asked.get(_COUNTRY_CODE[side], b""), asked.get(_PARTY_ID[side], b"")
    return (country_code, party_id) if _COUNTRY.fullmatch(country_code) and _PARTY.fullmatch(party_id) else None


def _turned(asked: Mapping[bytes, bytes], side: bytes, other: bytes) -> Headers:
    halves = _halves(asked, side)
    return [] if halves is None else [(_COUNTRY_CODE[other], halves[0]), (_PARTY_ID[other], halves[1])]
