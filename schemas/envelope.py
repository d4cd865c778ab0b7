"""The envelope as bytes: Avro, schemas/avro/envelope.1.avsc, behind the header of schemas/avro_codec.py.

Every push writes one and every projection reads it, so the schema is spelled out here: a general Avro library takes three
times as long. What is read in haste is the form in which envelopes are written; any other valid form goes to the library,
and so does whatever is not valid, for the sentence that refuses it.
"""

from functools import lru_cache
from typing import Any, Final, TypeAlias

from schemas.avro_codec import MAGIC, Codec
from schemas.events import Crawl, Envelope
from schemas.types import Finding, Instant, Loss


class BadEnvelope(ValueError):
    """The bytes are no envelope that this release can read; they never will be (the record is poison)."""


def encode(envelope: Envelope) -> bytes:
    """Return the envelope's bytes. Raises ValueError where a field does not fit the schema (event_id is 16 bytes)."""
    payload, raw, last_updated, crawl = envelope.payload, envelope.raw, envelope.last_updated, envelope.crawl
    if len(envelope.event_id) != _EVENT_ID:
        raise ValueError(f"an event_id has {_EVENT_ID} bytes, not {len(envelope.event_id)}")
    return b"".join(
        (
            _HEADER,
            envelope.event_id,
            _told_by(envelope.type, envelope.module, envelope.origin, envelope.connection, envelope.party),
            _ids(envelope.key),
            _lifted_by(envelope.version, envelope.edition, envelope.revision),
            _instant(envelope.received_at),
            _NULL if last_updated is None else _SOME + _instant(last_updated),
            _long(len(payload)),
            payload,
            _NULL if raw is None else _SOME + _long(len(raw)) + raw,
            _maybe_text(envelope.request_id),
            _maybe_text(envelope.correlation_id),
            _between(envelope.ocpi_from, envelope.ocpi_to, envelope.addressed_to),
            _NULL if crawl is None else _SOME + _text(crawl.run) + _long(crawl.page),
            _rows([(f.pointer, f.rule, f.severity, f.message) for f in envelope.findings]) if envelope.findings else _END,
            _rows([(loss.pointer, loss.kind, loss.reason) for loss in envelope.losses]) if envelope.losses else _END,
        )
    )


def decode(value: bytes) -> Envelope:
    """Return the envelope; raises BadEnvelope, and nothing else, for any other bytes."""
    try:
        return _decode(value)
    except (_Unusual, IndexError, UnicodeDecodeError):
        return _decode_any(value)


# Avro's binary encoding: a number is zigzag (2n, or -2n - 1 below zero) in groups of seven bits, the lowest first, each but
# the last with bit 7 set; text and bytes stand behind their length; an optional value stands behind which branch it takes
# (0 for null); an array is a block, its count first, and the empty block that ends it.

_HEADER: Final = MAGIC + (1).to_bytes(4, "big")
_EVENT_ID: Final = 16
_START: Final = len(_HEADER) + _EVENT_ID
_NULL: Final = b"\x00"
_SOME: Final = b"\x02"
_END: Final = b"\x00"
_codec: Final = Codec(1, BadEnvelope)


@lru_cache(8192)
def _long(number: int) -> bytes:
    if not -(1 << 63) <= number < 1 << 63:
        raise ValueError(f"{number} does not fit 64 bits")
    return _groups(number << 1 if number >= 0 else ~(number << 1))


@lru_cache(1024)
def _groups(zigzag: int) -> bytes:
    groups = bytearray()
    while zigzag > 0x7F:
        groups.append(zigzag & 0x7F | 0x80)
        zigzag >>= 7
    groups.append(zigzag)
    return bytes(groups)


def _instant(at: Instant) -> bytes:
    if not 1 << 28 <= at < 1 << 62:
        return _long(at)
    low = at << 1
    # What is above the lowest 28 bits stays the same for two minutes.
    return bytes((low & 0x7F | 0x80, low >> 7 & 0x7F | 0x80, low >> 14 & 0x7F | 0x80, low >> 21 & 0x7F | 0x80)) + _groups(at >> 27)


def _text(text: str) -> bytes:
    data = text.encode()
    return _long(len(data)) + data


def _maybe_text(text: str | None) -> bytes:
    if text is None:
        return _NULL
    data = text.encode()
    return _SOME + _long(len(data)) + data


def _ids(ids: tuple[str, ...]) -> bytes:
    return _long(len(ids)) + b"".join(map(_text, ids)) + _END if ids else _END


def _rows(rows: list[tuple[str, ...]]) -> bytes:
    return _long(len(rows)) + b"".join([_text(text) for row in rows for text in row]) + _END


# Few partners speak few versions: what their envelopes have in common is written, and read, once.


@lru_cache(4096)
def _told_by(*texts: str) -> bytes:
    return b"".join(map(_text, texts))


@lru_cache(1024)
def _lifted_by(version: str, edition: str, revision: int) -> bytes:
    if not -(1 << 31) <= revision < 1 << 31:
        raise ValueError(f"revision {revision} does not fit 32 bits")
    return _text(version) + _text(edition) + _long(revision)


@lru_cache(4096)
def _between(*parties: str | None) -> bytes:
    return b"".join(map(_maybe_text, parties))


class _Unusual(Exception):
    """The bytes are not as `encode` writes them, or no envelope."""


def _decode(value: bytes) -> Envelope:
    """Raises _Unusual, IndexError or UnicodeDecodeError; a cut value runs into its end at the next byte that is wanted."""
    if not value.startswith(_HEADER):
        raise _Unusual
    # A length below 64 is one even byte.
    at = _START
    at += 1 + ((a := value[at]) >> 1)
    at += 1 + ((b := value[at]) >> 1)
    at += 1 + ((c := value[at]) >> 1)
    at += 1 + ((d := value[at]) >> 1)
    at += 1 + ((e := value[at]) >> 1)
    if (a | b | c | d | e) & 0x81:
        raise _Unusual
    kind, module, origin, connection, party = _read_told_by(value[_START:at])
    if value[at] == 2 and not (a := value[at + 1]) & 0x81 and not value[end := at + 2 + (a >> 1)]:
        key: tuple[str, ...] = (value[at + 2 : end].decode(),)
        at = end + 1
    else:
        key, at = _read_ids(value, at)
    start = at
    at += 1 + ((a := value[at]) >> 1)
    at += 1 + ((b := value[at]) >> 1)
    if (a | b) & 0x81 or value[at] & 0x80:
        raise _Unusual
    at += 1
    version, edition, revision = _read_lifted_by(value[start:at])
    received_at, at = _read_instant(value, at)
    last_updated = None
    at += 1
    if _is_some(value[at - 1]):
        last_updated, at = _read_instant(value, at)
    end, at = _read_length(value, at)
    payload = value[at:end]
    at = end + 1
    raw = None
    if _is_some(value[end]):
        end, at = _read_length(value, at)
        raw = value[at:end]
        at = end
    request_id, at = _read_maybe_text(value, at)
    correlation_id, at = _read_maybe_text(value, at)
    read = _read_known_ending if len(value) - at <= _KNOWN_ENDING else _read_ending
    ocpi_from, ocpi_to, addressed_to, crawl, findings, losses = read(value[at:])
    return Envelope(
        event_id=value[len(_HEADER) : _START],
        type=kind,
        module=module,
        origin=origin,
        connection=connection,
        party=party,
        key=key,
        version=version,
        edition=edition,
        revision=revision,
        received_at=received_at,
        last_updated=last_updated,
        payload=payload,
        raw=raw,
        request_id=request_id,
        correlation_id=correlation_id,
        ocpi_from=ocpi_from,
        ocpi_to=ocpi_to,
        addressed_to=addressed_to,
        crawl=crawl,
        findings=findings,
        losses=losses,
    )


def _decode_any(value: bytes) -> Envelope:
    fields = _codec.decode(value)
    fields["key"] = tuple(fields["key"])
    fields["findings"] = tuple([Finding(**finding) for finding in fields["findings"]])
    fields["losses"] = tuple([Loss(**loss) for loss in fields["losses"]])
    if fields["crawl"] is not None:
        fields["crawl"] = Crawl(**fields["crawl"])
    return Envelope(**fields)


def _is_some(branch: int) -> bool:
    if branch == 2:
        return True
    if branch:
        raise _Unusual
    return False


def _read_long(value: bytes, at: int) -> tuple[int, int]:
    zigzag = shift = 0
    while (group := value[at]) > 0x7F:
        zigzag |= (group & 0x7F) << shift
        shift += 7
        at += 1
        if shift > 56:  # the library says what becomes of more than 63 bits
            raise _Unusual
    zigzag |= group << shift
    return zigzag >> 1 ^ -(zigzag & 1), at + 1


def _read_instant(value: bytes, at: int) -> tuple[Instant, int]:
    word = int.from_bytes(value[at : at + 8], "little")
    # Eight groups reach from 1978 to 3111; a set lowest bit would be the sign.
    if word & 0x80808080_80808081 != 0x00808080_80808080:
        return _read_long(value, at)
    word = word & 0x007F007F_007F007F | (word & 0x7F007F00_7F007F00) >> 1
    word = word & 0x00003FFF_00003FFF | (word & 0x3FFF0000_3FFF0000) >> 2
    return (word & 0x0FFFFFFF | (word & 0x0FFFFFFF_00000000) >> 4) >> 1, at + 8


def _read_length(value: bytes, at: int) -> tuple[int, int]:
    """Return where the bytes end and where they start."""
    if (low := value[at]) > 0x7F and (high := value[at + 1]) <= 0x7F and not low & 1:
        at += 2
        return at + ((low & 0x7F | high << 7) >> 1), at
    length, at = _read_long(value, at)
    if length < 0:
        raise _Unusual
    return at + length, at


def _read_text(value: bytes, at: int) -> tuple[str, int]:
    end, at = _read_length(value, at)
    return value[at:end].decode(), end


def _read_maybe_text(value: bytes, at: int) -> tuple[str | None, int]:
    if not _is_some(value[at]):
        return None, at + 1
    if not (length := value[at + 1]) & 0x81:
        end = at + 2 + (length >> 1)
        return value[at + 2 : end].decode(), end
    return _read_text(value, at + 1)


def _read_ids(value: bytes, at: int) -> tuple[tuple[str, ...], int]:
    rows, at = _read_rows(value, at, 1)
    return tuple([text for (text,) in rows]), at


def _read_rows(value: bytes, at: int, width: int) -> tuple[list[list[str]], int]:
    count, at = _read_long(value, at)
    if count == 0:
        return [], at
    if count < 0:
        raise _Unusual
    rows = []
    for _ in range(count):
        row = []
        for _ in range(width):
            text, at = _read_text(value, at)
            row.append(text)
        rows.append(row)
    if value[at]:  # another block
        raise _Unusual
    return rows, at + 1


@lru_cache(4096)
def _read_told_by(value: bytes) -> tuple[str, str, Any, str, str]:
    kind, at = _read_text(value, 0)
    module, at = _read_text(value, at)
    origin, at = _read_text(value, at)
    connection, at = _read_text(value, at)
    party, at = _read_text(value, at)
    return kind, module, origin, connection, party


@lru_cache(1024)
def _read_lifted_by(value: bytes) -> tuple[str, str, int]:
    version, at = _read_text(value, 0)
    edition, at = _read_text(value, at)
    revision, at = _read_long(value, at)
    return version, edition, revision


_Ending: TypeAlias = tuple[str | None, str | None, str | None, Crawl | None, tuple[Finding, ...], tuple[Loss, ...]]
_KNOWN_ENDING: Final = 96
"""Bytes. Longer endings carry remarks, which differ from object to object."""


def _read_ending(value: bytes) -> _Ending:
    ocpi_from, at = _read_maybe_text(value, 0)
    ocpi_to, at = _read_maybe_text(value, at)
    addressed_to, at = _read_maybe_text(value, at)
    crawl = None
    if _is_some(value[at]):
        run, at = _read_text(value, at + 1)
        page, at = _read_long(value, at)
        crawl = Crawl(run, page)
    else:
        at += 1
    findings, at = _read_rows(value, at, 4)
    losses, at = _read_rows(value, at, 3)
    if at != len(value):
        raise _Unusual
    return (
        ocpi_from,
        ocpi_to,
        addressed_to,
        crawl,
        tuple([Finding(*finding) for finding in findings]),  # type: ignore[arg-type]
        tuple([Loss(*loss) for loss in losses]),  # type: ignore[arg-type]
    )


_read_known_ending: Final = lru_cache(4096)(_read_ending)
