"""Credentials tokens: making them, and the texts under which a partner may present one.

Source: OCPI 2.2.1 transport_and_format, Authorization header; credentials object; requirements 4.1.
"""

import base64
import hashlib
import hmac
import secrets
from typing import Final

from ingest.errors import InvalidToken

FORMS: Final = ("raw", "base64", "base64 with a line feed")
"""How the token may stand in the header, in the order of `hashes`: itself (2.0, 2.1.1 and many others), its Base64
(2.2.1 and later), and the Base64 of the token with a line feed, as the specification's own samples print it."""

HEADER_BYTES: Final = 256
"""A longer Authorization header cannot hold a token (64 characters, 88 in Base64)."""

_PREFIX: Final = "rml-"


def new_token() -> str:
    """Return a token of 45 characters: printable, safe in a URL, and no Base64 text in any alphabet.

    The hyphen is outside Base64's standard alphabet, and no Base64 text, padded or not, has a length of 4n + 1: nobody
    can take it for the encoding of another token.
    """
    return _PREFIX + secrets.token_urlsafe(32)[:41]


def checked(token: str) -> str:
    """Return the token; raises InvalidToken unless it is 1 to 64 characters U+0021..U+007E."""
    if not token:
        raise InvalidToken("a token has at least one character")
    if len(token) > 64:
        raise InvalidToken(f"a token has at most 64 characters, this one has {len(token)}")
    if not all("\x21" <= character <= "\x7e" for character in token):
        raise InvalidToken("a token holds printable ASCII only, without spaces (U+0021 to U+007E)")
    return token


def presented(header: bytes) -> bytes | None:
    """Return what follows `Token` in an Authorization header; None when it is not of that scheme."""
    if len(header) > HEADER_BYTES:
        return None
    scheme, _, text = header.partition(b" ")
    text = text.strip()
    return text if scheme.lower() == b"token" and text and b" " not in text else None


def token_of(text: bytes, encoding: str) -> str:
    """Return the token that a presented text presents, where it is known to do so raw or in base64."""
    found = base64.b64decode(text).rstrip(b"\n") if encoding == "base64" else text
    return found.decode("latin-1")


def digest(pepper: bytes, text: bytes) -> str:
    """Return the HMAC-SHA256 of a presented text, in hex.

    Look-ups compare digests, so how long one takes says nothing about the token.
    """
    return hmac.digest(pepper, text, hashlib.sha256).hex()


def hashes(pepper: bytes, token: str) -> tuple[str, ...]:
    """Return the digests of every text that presents the token, in the order of `FORMS`.

    Two partners whose digests are disjoint cannot be taken for each other, however their tokens are encoded.
    """
    return tuple(digest(pepper, text) for text in forms(token))


def forms(token: str) -> tuple[bytes, ...]:
    """Return every text that presents a token of ASCII, in the order of `FORMS`."""
    raw = token.encode("ascii")
    return raw, base64.b64encode(raw), base64.b64encode(raw + b"\n")
