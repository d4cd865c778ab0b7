"""A dialect was mended: what it lifted before is lifted anew from what was received (topic ocpi.partners)."""

import hashlib
from typing import Final

import msgspec
from msgspec import Struct

from schemas.events import Envelope
from schemas.types import Instant, Module

TYPE: Final = "dialect.relifted"


class DialectRelifted(Struct, frozen=True, kw_only=True):
    """Records of this version and module that an older revision lifted, below these offsets, count as lifted anew.

    `ends` has (topic, partition, offset), of the log's `epoch`.
    """

    version: str
    module: Module
    revision: int
    epoch: int
    ends: tuple[tuple[str, int, int], ...]

    def envelope(self, at: Instant) -> Envelope:
        """Return the event as the log keeps it."""
        payload = msgspec.json.encode(self)
        return Envelope(
            event_id=hashlib.blake2b(payload, digest_size=16).digest(),
            type=TYPE,
            module=self.module.value,
            origin="load",
            connection="operator",
            party="",
            key=(self.version, self.module.value),
            version=self.version,
            edition="",
            revision=self.revision,
            received_at=at,
            last_updated=None,
            payload=payload,
        )


def relifted_of(envelope: Envelope) -> DialectRelifted | None:
    """Return the event, None for any other; raises msgspec.DecodeError."""
    return _decoder.decode(envelope.payload) if envelope.type == TYPE else None


_decoder: Final = msgspec.json.Decoder(DialectRelifted)
