"""The envelope and the rejection as bytes: golden for ever, lossless, and nothing but one refusal for garbage."""

from io import BytesIO
from pathlib import Path
from typing import Any

import fastavro
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import envelope as envelopes
from schemas import rejected as rejections
from schemas.envelope import BadEnvelope, decode, encode
from schemas.events import Crawl, Envelope
from schemas.rejected import BadRejected, LogPosition, Rejected
from schemas.types import Finding, Loss

GOLDEN = Path(__file__).parent / "golden"
SCHEMA = fastavro.parse_schema(msgspec.json.decode((Path(envelopes.__file__).parent / "avro" / "envelope.1.avsc").read_bytes()))
HEADER = b"\x00\x00\x00\x00\x01"

SMALL = Envelope(
    event_id=bytes(range(16)),
    type="session.replaced",
    module="sessions",
    origin="push",
    connection="acme",
    party="DE*SLB",
    key=("Sess-1",),
    version="2.2.1",
    edition="d2",
    revision=1,
    received_at=1_772_366_400_123_456,
    last_updated=None,
    payload=b'{"id":"Sess-1"}',
)
FULL = Envelope(
    event_id=b"\xff" * 16,
    type="session.patched",
    module="sessions",
    origin="pull",
    connection="hub",
    party="NL*TNM",
    key=("LOC1", "EVSE-é", "1"),
    version="2.3.0",
    edition="2",
    revision=7,
    received_at=-1,
    last_updated=1_772_366_400_000_000,
    payload=b'{"set":{"kwh":1.10}}',
    raw=b"\x00\xff not text",
    request_id="req",
    correlation_id="corr",
    ocpi_from="NL*TNM",
    ocpi_to="DE*MSP",
    addressed_to="DE*MSP",
    crawl=Crawl("run-1", 3),
    findings=(Finding("/kwh", "number_as_string", "warning", "a string is no number"),),
    losses=(Loss("/tariff_id", "lost", "2.1.1 has no field for it"), Loss("/currency", "defaulted", "EUR")),
)
REJECTED = Rejected(
    rejected_id=b"\x01" * 16,
    received_at=1_772_366_400_123_456,
    source="poison",
    connection="acme",
    reason="kwh is missing.",
    body=b'{"id":"1"}',
    body_length=10,
    body_sha256=b"\x02" * 32,
    party="DE*SLB",
    module="sessions",
    version="2.2.1",
    method="PUT",
    path="/ocpi/2.2.1/receiver/sessions/DE/SLB/1?a=b",
    request_id="req",
    correlation_id="corr",
    ocpi_from="DE*SLB",
    ocpi_to="NL*MSP",
    content_type="application/json",
    http_status=200,
    status_code=2001,
    findings=(Finding("/kwh", "required", "error", "is missing"),),
    record=LogPosition("ocpi.charging", 3, 42),
    replay_of=b"\x03" * 16,
    outcome="accepted",
)

text = st.text(max_size=20) | st.text(min_size=60, max_size=70)
maybe_text = st.none() | text
long = st.integers(-(2**63), 2**63 - 1) | st.integers(1_700_000_000_000_000, 1_800_000_000_000_000)
severity = st.sampled_from(["info", "warning", "error"])
envelope_values = st.builds(
    Envelope,
    event_id=st.binary(min_size=16, max_size=16),
    type=text,
    module=text,
    origin=st.sampled_from(["push", "pull", "load", "ocpp"]),
    connection=text,
    party=text,
    key=st.lists(text, max_size=3).map(tuple),
    version=text,
    edition=text,
    revision=st.integers(-(2**31), 2**31 - 1),
    received_at=long,
    last_updated=st.none() | long,
    payload=st.binary(max_size=200) | st.integers(8180, 8200).map(bytes) | st.just(bytes(1 << 20)),
    raw=st.none() | st.binary(max_size=200),
    request_id=maybe_text,
    correlation_id=maybe_text,
    ocpi_from=maybe_text,
    ocpi_to=maybe_text,
    addressed_to=maybe_text,
    crawl=st.none() | st.builds(Crawl, text, long),
    findings=st.lists(st.builds(Finding, text, text, severity, text), max_size=2).map(tuple),
    losses=st.lists(st.builds(Loss, text, st.sampled_from(["lost", "defaulted"]), text), max_size=2).map(tuple),
)


@pytest.mark.parametrize(
    ("name", "value"),
    [("envelope.1.small", encode(SMALL)), ("envelope.1.full", encode(FULL)), ("rejected.1", rejections.encode(REJECTED))],
)
def test_the_bytes_are_those_of_the_first_release(name: str, value: bytes) -> None:
    assert value.hex() == (GOLDEN / f"{name}.hex").read_text().strip()


def test_the_bytes_of_the_first_release_are_read() -> None:
    assert decode(bytes.fromhex((GOLDEN / "envelope.1.small.hex").read_text())) == SMALL
    assert decode(bytes.fromhex((GOLDEN / "envelope.1.full.hex").read_text())) == FULL
    assert rejections.decode(bytes.fromhex((GOLDEN / "rejected.1.hex").read_text())) == REJECTED


@given(envelope_values)
def test_an_envelope_comes_back_as_it_was(envelope: Envelope) -> None:
    assert decode(encode(envelope)) == envelope


def by_library(value: bytes) -> Envelope:
    """Read an envelope as any Avro library would; raises whatever it raises."""
    source = BytesIO(value.removeprefix(HEADER))
    fields: Any = fastavro.schemaless_reader(source, SCHEMA, None)
    assert not source.read(1)
    fields["key"] = tuple(fields["key"])
    fields["crawl"] = fields["crawl"] and Crawl(**fields["crawl"])
    fields["findings"] = tuple([Finding(**finding) for finding in fields["findings"]])
    fields["losses"] = tuple([Loss(**loss) for loss in fields["losses"]])
    return Envelope(**fields)


@given(envelope_values)
def test_the_bytes_are_those_that_an_avro_library_writes(envelope: Envelope) -> None:
    out = BytesIO()
    fastavro.schemaless_writer(out, SCHEMA, msgspec.to_builtins(envelope, builtin_types=(bytes,)))
    assert encode(envelope) == HEADER + out.getvalue()


@given(envelope_values, st.data())
def test_damaged_bytes_are_read_as_an_avro_library_reads_them_or_refused(envelope: Envelope, data: st.DataObject) -> None:
    value = bytearray(encode(envelope))
    for _ in range(data.draw(st.integers(1, 3))):
        value[data.draw(st.integers(len(HEADER), min(len(value) - 1, 200)))] = data.draw(st.integers(0, 255))
    try:
        expected = by_library(bytes(value))
    except Exception:
        with pytest.raises(BadEnvelope):
            decode(bytes(value))
    else:
        assert decode(bytes(value)) == expected


def test_an_array_in_several_blocks_with_their_sizes_is_read() -> None:
    bare = Envelope(**{f: getattr(SMALL, f) for f in SMALL.__struct_fields__} | {"key": ("a", "b")})
    value = encode(bare)
    assert value.count(b"\x04\x02a\x02b\x00") == 1
    blocks = b"\x01\x04\x02a" + b"\x02\x02b" + b"\x00"
    assert decode(value.replace(b"\x04\x02a\x02b\x00", blocks)) == bare


@pytest.mark.parametrize("field", ["received_at", "last_updated", "revision"])
def test_a_number_that_does_not_fit_is_not_written(field: str) -> None:
    with pytest.raises(ValueError, match="fit"):
        encode(Envelope(**{f: getattr(SMALL, f) for f in SMALL.__struct_fields__} | {field: 1 << 63}))


def test_a_rejection_with_nothing_optional_comes_back_as_it_was() -> None:
    bare = Rejected(
        rejected_id=bytes(16),
        received_at=0,
        source="push",
        connection="acme",
        reason="The body is not JSON.",
        body=b"\xff{",
        body_length=2,
        body_sha256=bytes(32),
    )
    assert rejections.decode(rejections.encode(bare)) == bare


@pytest.mark.parametrize("length", range(len(encode(FULL))))
def test_a_truncated_envelope_is_refused(length: int) -> None:
    with pytest.raises(BadEnvelope):
        decode(encode(FULL)[:length])


@given(st.binary(max_size=400))
def test_garbage_behind_a_right_header_is_refused_or_read_but_never_breaks(garbage: bytes) -> None:
    try:
        envelope = decode(b"\x00\x00\x00\x00\x01" + garbage)
    except BadEnvelope:
        return
    assert isinstance(envelope, Envelope)


@given(st.integers(5, len(encode(FULL)) - 1), st.integers(0, 255))
def test_one_damaged_byte_is_refused_or_read_but_never_breaks(at: int, byte: int) -> None:
    value = bytearray(encode(FULL))
    value[at] = byte
    try:
        envelope = decode(bytes(value))
    except BadEnvelope:
        return
    assert isinstance(envelope, Envelope)


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (b"", "0 bytes are too few for a record of the log"),
        (b'{"id":1}', "the record starts with byte 0x7b, so it was not written by roamlog"),
        (b"\x00\x00\x00\x00\x07rest", "schema 7 is not known to this release; is the record written by a newer roamlog?"),
        (rejections.encode(REJECTED), "the record is of schema 2 (rejected.1.avsc), not of the envelope's"),
        (encode(SMALL) + b"!!", "2 bytes follow the end of the envelope"),
    ],
)
def test_a_refusal_says_what_the_bytes_are(value: bytes, sentence: str) -> None:
    with pytest.raises(BadEnvelope) as refusal:
        decode(value)
    assert str(refusal.value) == sentence


def test_an_envelope_is_no_rejection() -> None:
    with pytest.raises(BadRejected):
        rejections.decode(encode(SMALL))


def test_an_event_id_has_sixteen_bytes() -> None:
    with pytest.raises(ValueError, match="16"):
        envelopes.encode(Envelope(**{f: getattr(SMALL, f) for f in SMALL.__struct_fields__} | {"event_id": b"short"}))
