"""What was refused, kept whole enough to look at and to replay; Avro, schemas/avro/rejected.1.avsc."""

from typing import Final, Literal

from msgspec import Struct
from msgspec.structs import asdict

from schemas.avro_codec import Codec
from schemas.types import Finding, Instant

BODY_BYTES: Final = 64 * 1024
"""What is kept of a body that is not valid JSON; valid JSON is kept whole, because only the whole can be replayed."""

Source = Literal["push", "load", "pull", "poison", "replay"]


class LogPosition(Struct, frozen=True):
    """The record of the log that a projection could not fold."""

    topic: str
    partition: int
    offset: int


class Rejected(Struct, frozen=True, kw_only=True):
    """One refusal: the request as received, what it was answered and why.

    `party` is the owner as addressed in the path, `path` is as received with its query. `body` is cut to its first
    `BODY_BYTES` where it is not valid JSON; `body_length` (bytes) and `body_sha256` are always of the whole.
    `record` is set where `source` is `poison`; `replay_of` and `outcome` where it is `replay`: the entry then says that
    an earlier refusal was replayed and what came of it.
    """

    rejected_id: bytes
    received_at: Instant
    source: Source
    connection: str
    reason: str
    body: bytes
    body_length: int
    body_sha256: bytes
    party: str = ""
    module: str = ""
    version: str = ""
    method: str = ""
    path: str = ""
    request_id: str | None = None
    correlation_id: str | None = None
    ocpi_from: str | None = None
    ocpi_to: str | None = None
    content_type: str | None = None
    http_status: int | None = None
    status_code: int | None = None
    findings: tuple[Finding, ...] = ()
    record: LogPosition | None = None
    replay_of: bytes | None = None
    outcome: str | None = None


class BadRejected(ValueError):
    """The bytes are no rejection that this release can read."""


_codec: Final = Codec(2, BadRejected)


def encode(rejected: Rejected) -> bytes:
    """Return the rejection's bytes. Raises ValueError where a field does not fit the schema (ids are 16 bytes)."""
    fields = asdict(rejected)
    fields["findings"] = [asdict(finding) for finding in rejected.findings]
    if rejected.record is not None:
        fields["record"] = asdict(rejected.record)
    return _codec.encode(fields)


def decode(value: bytes) -> Rejected:
    """Return the rejection; raises BadRejected, and nothing else, for any other bytes."""
    fields = _codec.decode(value)
    fields["findings"] = tuple([Finding(**finding) for finding in fields["findings"]])
    if fields["record"] is not None:
        fields["record"] = LogPosition(**fields["record"])
    return Rejected(**fields)
