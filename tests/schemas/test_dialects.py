"""What every dialect holds, whatever its version: lift and lower are inverse, and the two ways of reading agree."""

import itertools
from typing import Any, Final

import msgspec
import pytest
from generated import objects, same, text_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from samples import CDR, SESSION, body

from schemas import cdr, codec, session
from schemas.ocpi.checks import SENSE
from schemas.ocpi.declared import Declared
from schemas.ocpi.dialect import NotJson, Refused
from schemas.ocpi.discovery import discover
from schemas.ocpi.spec import CleanDecoder
from schemas.ocpi.validation import Report, validator
from schemas.types import Finding, Json, Module, Verb

DIALECTS: Final = {version: dialect for version, dialect in discover().items() if isinstance(dialect, Declared)}
OBJECTS: Final = {"Session": (Module.SESSIONS, Verb.PUT), "CDR": (Module.CDRS, Verb.POST)}
every_object = pytest.mark.parametrize(("version", "name"), list(itertools.product(DIALECTS, OBJECTS)))
unhurried = settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))

DECODERS: Final = {(v, n): CleanDecoder(d.spec, n, "whole") for v, d in DIALECTS.items() for n in OBJECTS}
VALIDATORS: Final = {(v, n): validator(d.spec, n, "whole") for v, d in DIALECTS.items() for n in OBJECTS}
TYPED: Final = {"Session": session.decode, "CDR": cdr.decode}


def remarks(version: str, name: str, value: Json) -> tuple[Finding, ...]:
    report = Report()
    kept = VALIDATORS[version, name](value, "", report)
    if not report.errors and isinstance(kept, dict):
        SENSE[name].remark(kept, "", report)
    return report.findings()


def accepts_at_once(version: str, name: str, text: bytes) -> bool:
    clean = DECODERS[version, name](text)
    return clean is not None and SENSE[name].plain(clean)


@every_object
@given(data=st.data())
@unhurried
def test_lower_is_the_inverse_of_lift_on_every_valid_object(version: str, name: str, data: st.DataObject) -> None:
    dialect = DIALECTS[version]
    module, verb = OBJECTS[name]
    sent = data.draw(objects(dialect.spec, name))
    lifted = dialect.lift(module, verb, text_of(sent))
    lowered = dialect.lower(module, lifted.payload)
    assert same(codec.parse(lowered.body), sent), lifted.payload
    assert lowered.losses == ()
    assert lifted.raw is None or lifted.raw == text_of(sent)


@every_object
@given(data=st.data())
@unhurried
def test_the_canonical_object_has_the_canonical_types(version: str, name: str, data: st.DataObject) -> None:
    dialect = DIALECTS[version]
    lifted = dialect.lift(*OBJECTS[name], text_of(data.draw(objects(dialect.spec, name))))
    typed: Any = TYPED[name](lifted.payload)
    assert (f"{typed.country_code}*{typed.party_id}".upper(), (typed.id,)) == (lifted.party, lifted.ids)


@every_object
@given(data=st.data())
@unhurried
def test_both_ways_of_reading_give_the_same(version: str, name: str, data: st.DataObject) -> None:
    dialect = DIALECTS[version]
    text = text_of(data.draw(objects(dialect.spec, name, plain=True)))
    text = msgspec.json.format(text, indent=2) if data.draw(st.booleans()) else text
    escaped = text.replace(b'"id"', rb'"\u0069d"', 1)
    assert DECODERS[version, name](text) is not None
    assert DECODERS[version, name](escaped) is None
    quick, slow = dialect.lift(*OBJECTS[name], text), dialect.lift(*OBJECTS[name], escaped)
    assert codec.parse(quick.payload) == codec.parse(slow.payload)
    quick, slow = (msgspec.structs.replace(lifted, payload=b"", raw=None) for lifted in (quick, slow))
    assert quick == slow


@every_object
@given(data=st.data())
@settings(deadline=None, max_examples=300, suppress_health_check=list(HealthCheck))
def test_what_is_accepted_at_once_needs_no_remark(version: str, name: str, data: st.DataObject) -> None:
    sample = {"Session": SESSION, "CDR": CDR}[name]
    value = codec.parse(body(sample))
    nodes = list(places(value))
    for _ in range(data.draw(st.integers(1, 2))):
        holder, key = data.draw(st.sampled_from(nodes))
        change(holder, key, data)
    text = text_of(value)
    if accepts_at_once(version, name, text):
        assert remarks(version, name, codec.parse(text)) == ()


ODD: Final[tuple[Json, ...]] = (
    *(None, True, 0, -1, 3, 10**15, 10**16, 1500, "", "1", "EUR", "eur", "x" * 37, "x" * 300, "a\x7f", "é", "RFID", "rfid", [], {}),
    *("2026-01-31T10:00:00", "2026-01-31T10:00:00.123456Z", "2026-1-31T10:00:00Z", "2026-01-31T10:00:00+01:00"),
    *("1899-12-31T23:59:59Z", "2262-01-01T00:00:00Z", "2026-02-29T00:00:00Z", "2028-02-29T00:00:00Z", "2026-01-31T12:00:00.5Z"),
    "91.000001", "180.1234567",
    *map(codec.parse, (b"1e-41", b"1.0", b"1E+2", b"0.1111111111111111111111111111111111111111111", b"1e999", b"0e-99", b"1.5e3")),
)  # fmt: skip


def places(value: Json) -> list[tuple[dict[str, Json] | list[Json], str | int]]:
    found: list[tuple[dict[str, Json] | list[Json], str | int]] = []
    members: list[tuple[str | int, Json]] = (
        list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    )
    for key, member in members:
        assert isinstance(value, dict | list)
        found += [(value, key), *places(member)]
    return found


def change(holder: dict[str, Json] | list[Json], key: str | int, data: st.DataObject) -> None:
    how = data.draw(st.sampled_from(("odd", "odd", "odd", "gone", "more")))
    if isinstance(holder, list):
        assert isinstance(key, int)
        if key < len(holder):
            holder[key] = data.draw(st.sampled_from(ODD))
        return
    assert isinstance(key, str)
    if how == "gone":
        holder.pop(key, None)
    else:
        holder[key if how == "odd" else "more"] = data.draw(st.sampled_from(ODD))


@every_object
@given(data=st.data())
@settings(deadline=None, max_examples=300, suppress_health_check=list(HealthCheck))
def test_any_damage_to_the_text_is_taken_or_refused_in_order(version: str, name: str, data: st.DataObject) -> None:
    text = bytearray(body({"Session": SESSION, "CDR": CDR}[name]))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text) - 1))
        text[at : at + data.draw(st.integers(0, 2))] = data.draw(
            st.sampled_from((b"", b'"', b"}", b",", b"1", b"e", b"\xff", b"\\", b":", b" "))
        )
    try:
        DIALECTS[version].lift(*OBJECTS[name], bytes(text))
    except NotJson:
        assert not accepts_at_once(version, name, bytes(text))
    except Refused:
        assert not accepts_at_once(version, name, bytes(text))
    else:
        if accepts_at_once(version, name, bytes(text)):
            assert remarks(version, name, codec.parse(bytes(text))) == ()


@every_object
@given(data=st.data())
@unhurried
def test_a_second_key_is_never_overlooked(version: str, name: str, data: st.DataObject) -> None:
    text = body({"Session": SESSION, "CDR": CDR}[name])
    key = data.draw(st.sampled_from([row for row in DIALECTS[version].spec.objects[name] if b'"%b":' % row.encode() in text]))
    start = text.index(b'"%b":' % key.encode())
    blank = data.draw(st.sampled_from((b"", b" ", b"\n")))
    doubled = (
        text[:start] + b'"%b"%b:%b,' % (key.encode(), blank, data.draw(st.sampled_from((b"1", b'":"', b'"a:b"')))) + text[start:]
    )
    with pytest.raises(NotJson, match="twice"):
        DIALECTS[version].lift(*OBJECTS[name], doubled)
