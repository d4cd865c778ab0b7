"""What every dialect holds, whatever its version: lift and lower are inverse, and the two ways of reading agree."""

import itertools
from collections.abc import Callable
from typing import Any, Final

import msgspec
import pytest
from generated import objects, same, text_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from samples import SAMPLES, body

from schemas import cdr, codec, location, session, tariff, token
from schemas.events import Patch
from schemas.ocpi.checks import SENSE
from schemas.ocpi.declared import Declared
from schemas.ocpi.dialect import Level, Lifted, NotJson, Refused
from schemas.ocpi.discovery import discover
from schemas.ocpi.older import Older
from schemas.ocpi.spec import CleanDecoder
from schemas.ocpi.validation import Report, validator
from schemas.types import Finding, Json, Module, Verb

# Those before 2.2 have their own ways: test_older.py.
DIALECTS: Final = {
    version: dialect for version, dialect in discover().items() if isinstance(dialect, Declared) and not isinstance(dialect, Older)
}
OBJECTS: Final[dict[str, tuple[Module, Verb, Level]]] = {
    "Session": (Module.SESSIONS, Verb.PUT, "location"),
    "CDR": (Module.CDRS, Verb.POST, "location"),
    "Tariff": (Module.TARIFFS, Verb.PUT, "location"),
    "Token": (Module.TOKENS, Verb.PUT, "location"),
    "Location": (Module.LOCATIONS, Verb.PUT, "location"),
    "EVSE": (Module.LOCATIONS, Verb.PUT, "evse"),
    "Connector": (Module.LOCATIONS, Verb.PUT, "connector"),
}
every_object = pytest.mark.parametrize(("version", "name"), list(itertools.product(DIALECTS, OBJECTS)))
unhurried = settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))

DECODERS: Final = {(v, n): CleanDecoder(d.spec, n, "whole") for v, d in DIALECTS.items() for n in OBJECTS}
VALIDATORS: Final = {(v, n): validator(d.spec, n, "whole") for v, d in DIALECTS.items() for n in OBJECTS}
TYPED: Final[dict[str, Callable[[bytes], Any]]] = {
    "Session": session.decode,
    "CDR": cdr.decode,
    "Tariff": tariff.decode,
    "Token": token.decode,
    "Location": location.decode,
    "EVSE": location.decode_evse,
    "Connector": location.decode_connector,
}
PATCHED: Final = [(version, name) for version, dialect in DIALECTS.items() for name in OBJECTS if name in dialect.patched]
OWN: Final = {"country_code", "party_id"}


def lift(version: str, name: str, text: bytes, verb: Verb | None = None) -> Lifted:
    module, usual, level = OBJECTS[name]
    return DIALECTS[version].lift(module, verb or usual, text, level=level)


def remarks(version: str, name: str, value: Json) -> tuple[Finding, ...]:
    report = Report()
    kept = VALIDATORS[version, name](value, "", report)  # a sample is too small for Enough
    if name in SENSE and not report.errors and isinstance(kept, dict):
        SENSE[name].remark(kept, "", report)
    return report.findings()


def accepts_at_once(version: str, name: str, text: bytes) -> bool:
    clean = DECODERS[version, name](text)
    return clean is not None and (name not in SENSE or SENSE[name].plain(clean))


@every_object
@given(data=st.data())
@unhurried
def test_lower_is_the_inverse_of_lift_on_every_valid_object(version: str, name: str, data: st.DataObject) -> None:
    dialect = DIALECTS[version]
    module, _, level = OBJECTS[name]
    sent = data.draw(objects(dialect.spec, name))
    lifted = lift(version, name, text_of(sent))
    lowered = dialect.lower(module, lifted.payload, level=level)
    assert same(codec.parse(lowered.body), sent), lifted.payload
    assert lowered.losses == ()
    assert lifted.raw is None or lifted.raw == text_of(sent)


@every_object
@given(data=st.data())
@unhurried
def test_the_canonical_object_has_the_canonical_types(version: str, name: str, data: st.DataObject) -> None:
    lifted = lift(version, name, text_of(data.draw(objects(DIALECTS[version].spec, name))))
    typed = TYPED[name](lifted.payload)
    owner = f"{typed.country_code}*{typed.party_id}".upper() if hasattr(typed, "party_id") else None
    own_id = (typed.uid, typed.type) if name == "Token" else (typed.uid,) if name == "EVSE" else (typed.id,)
    assert (owner, own_id) == (lifted.party, lifted.ids)


@every_object
@given(data=st.data())
@unhurried
def test_both_ways_of_reading_give_the_same(version: str, name: str, data: st.DataObject) -> None:
    text = text_of(data.draw(objects(DIALECTS[version].spec, name, plain=True)))
    text = msgspec.json.format(text, indent=2) if data.draw(st.booleans()) else text
    escaped = text.replace(b'"last_updated"', rb'"last_updat\u0065d"', 1)
    assert DECODERS[version, name](text) is not None
    assert DECODERS[version, name](escaped) is None
    quick, slow = lift(version, name, text), lift(version, name, escaped)
    assert codec.parse(quick.payload) == codec.parse(slow.payload)
    assert without_texts(quick) == without_texts(slow)


@pytest.mark.parametrize(("version", "name"), PATCHED)
@given(data=st.data())
@unhurried
def test_a_patch_says_of_each_field_what_a_put_would(version: str, name: str, data: st.DataObject) -> None:
    sent = data.draw(objects(DIALECTS[version].spec, name, plain=True))
    named = data.draw(st.sets(st.sampled_from(sorted(sent)))) | {"last_updated"}
    named = named if len(named & OWN) != 1 else named - OWN
    text = text_of({field: sent[field] for field in named})
    patched = lift(version, name, text, Verb.PATCH)
    whole = codec.fields(lift(version, name, text_of(sent)).payload)
    patch = msgspec.json.decode(patched.payload, type=Patch)
    grown = patch.append.keys() | patch.upsert.keys()
    empty = {field for field in named & {"charging_periods", "evses", "connectors"} if not sent[field]}
    assert patch.set.keys() | grown == named - identity(name) - empty
    assert {field: codec.parse(bytes(value)) for field, value in patch.set.items()} == {
        field: codec.parse(bytes(whole[field])) for field in patch.set
    }
    assert patched.raw == text
    slow = lift(version, name, text.replace(b'"last_updated"', rb'"last_updat\u0065d"', 1), Verb.PATCH)
    assert codec.parse(slow.payload) == codec.parse(patched.payload)
    assert without_texts(slow) == without_texts(patched)


def identity(name: str) -> set[str]:
    return {"EVSE": {"uid"}, "Connector": {"id"}, "Token": OWN | {"uid", "type"}}.get(name, OWN | {"id"})


def without_texts(lifted: Lifted) -> Lifted:
    return msgspec.structs.replace(lifted, payload=b"", raw=None)


@every_object
@given(data=st.data())
@settings(deadline=None, max_examples=200, suppress_health_check=list(HealthCheck))
def test_what_is_accepted_at_once_needs_no_remark(version: str, name: str, data: st.DataObject) -> None:
    value = codec.parse(body(SAMPLES[name]))
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
@settings(deadline=None, max_examples=200, suppress_health_check=list(HealthCheck))
def test_any_damage_to_the_text_is_taken_or_refused_in_order(version: str, name: str, data: st.DataObject) -> None:
    text = bytearray(body(SAMPLES[name]))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text) - 1))
        text[at : at + data.draw(st.integers(0, 2))] = data.draw(
            st.sampled_from((b"", b'"', b"}", b",", b"1", b"e", b"\xff", b"\\", b":", b" "))
        )
    try:
        lift(version, name, bytes(text))
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
    text = body(SAMPLES[name])
    key = data.draw(st.sampled_from([row for row in DIALECTS[version].spec.objects[name] if b'"%b":' % row.encode() in text]))
    start = text.index(b'"%b":' % key.encode())
    blank = data.draw(st.sampled_from((b"", b" ", b"\n")))
    doubled = (
        text[:start] + b'"%b"%b:%b,' % (key.encode(), blank, data.draw(st.sampled_from((b"1", b'":"', b'"a:b"')))) + text[start:]
    )
    with pytest.raises(NotJson, match="twice"):
        lift(version, name, doubled)
