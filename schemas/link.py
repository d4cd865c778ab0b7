"""Which Session a CDR belongs to that does not say so: what the second stage found, as the log keeps it."""

from decimal import Decimal
from typing import Final

import msgspec
from msgspec import Struct

from schemas.types import Instant


class Link(Struct, frozen=True, kw_only=True):
    """A CDR and the Session that it counts for, with how sure that is (0 … 1) and why.

    `cdr_id` is spelled as received; `own_key` is what keys the CDR in the log, `session_id` the Session's id, both lowered. They
    are equal where a CDR and a Session of one id proved to belong together. `credit_of` is the id of the CDR that a credit takes
    back. The amounts are those of the CDR, in its currency, the energy in kWh; `received_at` is when it arrived.
    """

    cdr_id: str
    own_key: str
    session_id: str
    confidence: Decimal
    reasons: tuple[str, ...]
    currency: str
    before_taxes: Decimal
    taxes: Decimal
    energy_kwh: Decimal
    received_at: Instant
    credit_of: str | None = None
    addressed_to: str = ""


class Doubt(Struct, frozen=True, kw_only=True):
    """A CDR that several Sessions fit equally well: their ids, lowered, the best first, and how well."""

    cdr_id: str
    own_key: str
    session_ids: tuple[str, ...]
    confidence: Decimal


def decode_link(payload: bytes) -> Link:
    """Return the payload of `cdr.linked`, numbers exactly. Raises msgspec.DecodeError."""
    return _link.decode(payload)


def decode_doubt(payload: bytes) -> Doubt:
    """Return the payload of `cdr.left_unlinked`. Raises msgspec.DecodeError."""
    return _doubt.decode(payload)


def encode(said: Link | Doubt) -> bytes:
    """Return the payload."""
    return _encoder.encode(said)


_link: Final = msgspec.json.Decoder(Link)
_doubt: Final = msgspec.json.Decoder(Doubt)
_encoder: Final = msgspec.json.Encoder(decimal_format="number")
