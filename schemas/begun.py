"""What a log on Kafka begins with: the record that tells it from every other log (topic ocpi.log)."""

import hashlib
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

    def __post_init__(self) -> None:
        if not 0 <= self.epoch < 1 << 16:
            raise ValueError(f"epoch {self.epoch} is not in 0 … 65535")

    def envelope(self, at: Instant) -> Envelope:
        """Return the event as the log keeps it."""
        return Envelope(
            event_id=hashlib.blake2b(self.log_id.encode(), digest_size=16).digest(),
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
