"""The OCPI response envelope as bytes, and the status codes."""

from enum import IntEnum
from typing import Final

import msgspec

from schemas.types import Instant, date_time


class Status(IntEnum):
    """OCPI's status codes and their meanings. Source: OCPI 2.2.1 status_codes (19xx, 29xx, 39xx and 49xx are custom)."""

    SUCCESS = 1000
    CLIENT_ERROR = 2000
    INVALID_PARAMETERS = 2001
    NOT_ENOUGH_INFORMATION = 2002
    UNKNOWN_LOCATION = 2003
    UNKNOWN_TOKEN = 2004
    SERVER_ERROR = 3000
    CLIENT_API_UNUSABLE = 3001
    UNSUPPORTED_VERSION = 3002
    NO_MATCHING_ENDPOINTS = 3003
    HUB_ERROR = 4000
    UNKNOWN_RECEIVER = 4001
    FORWARDING_TIMED_OUT = 4002
    RECEIVER_NOT_CONNECTED = 4003


MAX_MESSAGE: Final = 1000
"""Characters of a status_message; a longer one is cut."""

_encode: Final = msgspec.json.Encoder().encode


def success(data: bytes | None, now: Instant) -> bytes:
    """Return the envelope of status 1000 around JSON text; None leaves `data` out, as for PUT, PATCH and DELETE."""
    if data is None:
        return b'{"status_code":1000,"timestamp":"%b"}' % date_time(now).encode()
    return b'{"data":%b,"status_code":1000,"timestamp":"%b"}' % (data, date_time(now).encode())


def error(status_code: Status | int, message: str, now: Instant) -> bytes:
    """Return the envelope of a failure, without data; `message` may hold anything, also what a stranger sent."""
    text = message if len(message) <= MAX_MESSAGE else message[: MAX_MESSAGE - 1] + "…"
    readable = text.encode(errors="replace").decode()
    return b'{"status_code":%d,"status_message":%b,"timestamp":"%b"}' % (status_code, _encode(readable), date_time(now).encode())
