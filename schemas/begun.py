"""What a log on Kafka begins with: the record that tells it from every other log (topic ocpi.log)."""

import secrets
import uuid
from typing import Final

import msgspec
from msgspec import Struct

from schemas.events import Envelope
from schemas.types import Instant

TYPE: Final = "log.begun"


class LogBegun(Struct, frozen=True):
    """The log's own name, and its epoch (0 … 65535): offsets of different epochs cannot be compared."""

    log_id: str
    epoch: int

    @classmethod
    def new(cls, epoch: int) -> "LogBegun":
        """Return the beginning of a new log."""
        if not 0 <= epoch < 1 << 16:
            raise ValueError(f"epoch {epoch} is not in 0 … 65535")
        return cls(str(uuid.uuid4()), epoch)

    def envelope(self, at: Instant) -> Envelope:
        """Return the event as the log keeps it."""
        return Envelope(
            event_id=secrets.token_bytes(16),
            type=TYPE,
            module="partners",
            origin="load",
            connection="operator",
            party="",
            key=("log",),
            version="",
            edition="",
            revision=0,
            received_at=at,
            last_updated=None,
            payload=msgspec.json.encode(self),
        )


def is_begun(envelope: Envelope) -> bool:
    """Tell whether the event is the beginning of a log."""
    return envelope.type == TYPE


def begun_of(envelope: Envelope) -> LogBegun:
    """Decode the payload; raises msgspec.DecodeError."""
    return _decoder.decode(envelope.payload)


_decoder: Final = msgspec.json.Decoder(LogBegun)
