"""The envelope as bytes: Avro, schemas/avro/envelope.1.avsc, behind the header of schemas/avro_codec.py."""

from typing import Final

from msgspec.structs import asdict

from schemas.avro_codec import Codec
from schemas.events import Crawl, Envelope
from schemas.types import Finding, Loss


class BadEnvelope(ValueError):
    """The bytes are no envelope that this release can read; they never will be (the record is poison)."""


_codec: Final = Codec(1, BadEnvelope)


def encode(envelope: Envelope) -> bytes:
    """Return the envelope's bytes. Raises ValueError where a field does not fit the schema (event_id is 16 bytes)."""
    fields = asdict(envelope)
    if envelope.crawl is not None:
        fields["crawl"] = asdict(envelope.crawl)
    if envelope.findings:
        fields["findings"] = [asdict(finding) for finding in envelope.findings]
    if envelope.losses:
        fields["losses"] = [asdict(loss) for loss in envelope.losses]
    return _codec.encode(fields)


def decode(value: bytes) -> Envelope:
    """Return the envelope; raises BadEnvelope, and nothing else, for any other bytes."""
    fields = _codec.decode(value)
    fields["key"] = tuple(fields["key"])
    fields["findings"] = tuple([Finding(**finding) for finding in fields["findings"]]) if fields["findings"] else ()
    fields["losses"] = tuple([Loss(**loss) for loss in fields["losses"]]) if fields["losses"] else ()
    if fields["crawl"] is not None:
        fields["crawl"] = Crawl(**fields["crawl"])
    return Envelope(**fields)
