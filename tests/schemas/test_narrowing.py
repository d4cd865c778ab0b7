"""What every version holds whose conversions follow from its tables: it is quick where nothing changes, and never wrong."""

import itertools
from typing import Final

import pytest
from generated import objects, same, text_of
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from samples import CDR, EVSE, LOCATION, SAMPLES, SESSION, TARIFF, body

from schemas import codec
from schemas.ocpi import v2_2, v2_2_1, v2_3_0
from schemas.ocpi.declared import Conversion, Declared, Withheld
from schemas.ocpi.dialect import Level
from schemas.ocpi.discovery import discover
from schemas.ocpi.shelf import Shelf, has_no_shelf
from schemas.types import Json, Loss, Module, Verb

CONVERSIONS: Final = {"2.2": v2_2.conversions("2.2"), "2.2.1": v2_2_1.conversions("2.2.1")}
SPECS: Final = {"2.2": v2_2.SPEC, "2.2.1": v2_2_1.SPEC}
OBJECTS: Final[dict[str, tuple[Module, Verb, Level]]] = {
    "Location": (Module.LOCATIONS, Verb.PUT, "location"),
    "EVSE": (Module.LOCATIONS, Verb.PUT, "evse"),
    "Connector": (Module.LOCATIONS, Verb.PUT, "connector"),
    "Session": (Module.SESSIONS, Verb.PUT, "location"),
    "CDR": (Module.CDRS, Verb.POST, "location"),
    "Tariff": (Module.TARIFFS, Verb.PUT, "location"),
    "Token": (Module.TOKENS, Verb.PUT, "location"),
}
QUICK: Final = [(version, name) for version, of in CONVERSIONS.items() for name, one in of.items() if one.plain is not None]
unhurried = settings(deadline=None, max_examples=30, suppress_health_check=list(HealthCheck))


def quick(conversion: Conversion, text: bytes) -> bool:
    return conversion.plain is not None and conversion.plain(text)


def canonical(data: st.DataObject, origin: str, name: str) -> bytes:
    module, verb, level = OBJECTS[name]
    dialect = discover()[origin]
    assert isinstance(dialect, Declared)
    return dialect.lift(module, verb, text_of(data.draw(objects(dialect.spec, name))), level=level).payload


def test_the_quick_look_is_there_for_what_seldom_changes() -> None:
    assert {name for _, name in QUICK} == {"Location", "EVSE", "Connector", "Token"}
    for version, name in QUICK:
        assert quick(CONVERSIONS[version][name], body(SAMPLES[name])), (version, name)


@pytest.mark.parametrize(("version", "name"), QUICK)
@given(data=st.data())
@unhurried
def test_what_the_quick_look_passes_would_not_be_changed(version: str, name: str, data: st.DataObject) -> None:
    """Canonical objects with and without what is more than the version has; lowered with a look at every member."""
    text = canonical(data, data.draw(st.sampled_from((version, "2.3.0"))), name)
    conversion = CONVERSIONS[version][name]
    passes = quick(conversion, text)
    event(f"passes: {passes}")
    if passes:
        losses: list[Loss] = []
        assert not conversion.lower(codec.fields(text), "", losses)
        assert losses == []


@given(data=st.data())
@unhurried
def test_a_text_without_the_mark_of_a_shelf_has_none(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(list(OBJECTS)))
    text = text_of(data.draw(objects(v2_3_0.SPEC, name)))
    if data.draw(st.booleans()):
        text = text.replace(b'"roamlog', rb'"ro\u0061mlog')
    unsealed = codec.fields(text)
    event(f"has none: {has_no_shelf(text)}")
    assert not (has_no_shelf(text) and (Shelf("2.3.0").unseal(unsealed, []) or Shelf("2.3.0").seal(codec.fields(text))))


@pytest.mark.parametrize(("version", "name"), list(itertools.product(CONVERSIONS, OBJECTS)))
@given(data=st.data())
@unhurried
def test_values_of_later_versions_come_back_to_the_version_that_sent_them(version: str, name: str, data: st.DataObject) -> None:
    """What is an open enum in 2.3.0 takes its values in every version, with a remark."""
    later = {enum: " ".join(values) for enum, values in v2_3_0.SPEC.enums.items() if enum in SPECS[version].open_enums}
    sent: Json = data.draw(objects(SPECS[version].differing(enums=later), name))
    dialect = discover()[version]
    module, verb, level = OBJECTS[name]
    lowered = dialect.lower(module, dialect.lift(module, verb, text_of(sent), level=level).payload, level=level)
    assert lowered.withheld is None
    assert same(codec.parse(lowered.body), sent)
    assert lowered.losses == ()


@pytest.mark.parametrize("version", CONVERSIONS)
@pytest.mark.parametrize("name", OBJECTS)
@given(data=st.data())
@unhurried
def test_a_canonical_object_is_lowered_or_withheld_and_its_text_is_never_touched(
    version: str, name: str, data: st.DataObject
) -> None:
    text = canonical(data, "2.3.0", name)
    conversion = CONVERSIONS[version].get(name)
    assert conversion is not None
    fields, losses = codec.fields(text), list[Loss]()
    try:
        changed = conversion.lower(fields, "", losses)
    except Withheld as reason:
        assert str(reason).startswith(("OCPI 2.2", "taxes are in the prices"))  # noqa: PT017
        return
    assert changed or not losses
    assert changed or fields == codec.fields(text)


@pytest.mark.parametrize(
    ("name", "sample"), [("Location", LOCATION), ("EVSE", EVSE), ("Session", SESSION), ("CDR", CDR), ("Tariff", TARIFF)]
)
def test_an_object_is_lowered_alike_with_blanks_in_it(name: str, sample: dict[str, Json]) -> None:
    module, verb, level = OBJECTS[name]
    dialect = discover()["2.2.1"]
    text = dialect.lift(module, verb, body(sample), level=level).payload
    lowered, spread_lowered = (dialect.lower(module, one, level=level) for one in (text, text.replace(b",", b" ,\n ")))
    assert codec.parse(lowered.body) == codec.parse(spread_lowered.body) == codec.parse(body(sample))
    assert lowered.losses == spread_lowered.losses == ()
