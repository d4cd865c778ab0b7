"""What OCPI 2.1.1 and 2.0 hold alike: lift and lower are inverse, nothing is invented, and what comes out fits the tables."""

import itertools
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any, Final

import msgspec
import pytest
from generated import objects, same, text_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from older import DIALECTS, OBJECTS, OWNER, RECEIVED_AT, canonical, lift, lower, sample

from schemas import cdr, codec, location, session, tariff, token
from schemas.events import Patch
from schemas.ocpi import v2_2, v2_2_1, v2_3_0
from schemas.ocpi.declared import Declared
from schemas.ocpi.dialect import Beside, Dialect, Lowered, NotJson, Refused
from schemas.ocpi.shelf import SHELVES
from schemas.ocpi.validation import Report, validator
from schemas.types import Json, Loss, Verb, instant

every_object = pytest.mark.parametrize(("version", "name"), list(itertools.product(DIALECTS, OBJECTS)))
unhurried = settings(deadline=None, max_examples=40, suppress_health_check=list(HealthCheck))
TYPED: Final[dict[str, Callable[[bytes], Any]]] = {
    "Session": session.decode,
    "CDR": cdr.decode,
    "Tariff": tariff.decode,
    "Token": token.decode,
    "Location": location.decode,
    "EVSE": location.decode_evse,
    "Connector": location.decode_connector,
}


def spec_of(dialect: Dialect) -> Any:
    assert isinstance(dialect, Declared)
    return dialect.spec


TARGETS: Final[dict[str, Dialect]] = {
    **DIALECTS,
    **{one.version: one for one in (v2_2.dialect(), v2_2_1.dialect(), v2_3_0.dialect())},
}


@every_object
def test_a_clean_sample_is_taken_without_a_remark(version: str, name: str) -> None:
    lifted = lift(version, name, sample(version, name))
    assert lifted.findings == ()
    assert lifted.raw == codec.encode(sample(version, name))


@every_object
@given(data=st.data())
@unhurried
def test_lower_is_the_inverse_of_lift_on_every_valid_object(version: str, name: str, data: st.DataObject) -> None:
    sent = data.draw(objects(spec_of(DIALECTS[version]), name))
    lifted = lift(version, name, text_of(sent))
    lowered = lower(version, name, lifted.payload)
    assert lowered.withheld is None
    assert same(codec.parse(lowered.body), sent), lifted.payload
    assert lowered.losses == ()


@every_object
@given(data=st.data())
@unhurried
def test_the_canonical_object_has_the_canonical_types_and_its_caller_as_owner(version: str, name: str, data: st.DataObject) -> None:
    lifted = lift(version, name, text_of(data.draw(objects(spec_of(DIALECTS[version]), name))))
    typed = TYPED[name](lifted.payload)
    own_id = (typed.uid, typed.type) if name == "Token" else (typed.uid,) if name == "EVSE" else (typed.id,)
    assert (lifted.party, lifted.ids) == (None, own_id)
    if hasattr(typed, "party_id"):
        assert f"{typed.country_code}*{typed.party_id}" == OWNER
    assert lifted.charging_key == (typed.id if name == "CDR" else None)
    assert (lifted.last_updated is None) == (version == "2.0")
    assert lifted.addressed_to is None


@every_object
@given(data=st.data())
@unhurried
def test_both_ways_of_reading_give_the_same(version: str, name: str, data: st.DataObject) -> None:
    text = text_of(data.draw(objects(spec_of(DIALECTS[version]), name, plain=True)))
    text = msgspec.json.format(text, indent=2) if data.draw(st.booleans()) else text
    escaped = text.replace(b'"id"', rb'"i\u0064"', 1).replace(b'"uid"', rb'"ui\u0064"', 1)
    assert escaped != text
    quick, slow = lift(version, name, text), lift(version, name, escaped)
    assert codec.parse(quick.payload) == codec.parse(slow.payload)
    assert msgspec.structs.replace(quick, payload=b"", raw=None) == msgspec.structs.replace(slow, payload=b"", raw=None)


NAMES: Final = ("start_datetime", "end_datetime", "location", "auth_id", "total_cost", "FLAT", 'a "location"')


@given(data=st.data())
@unhurried
def test_a_session_whose_texts_are_called_like_its_members_is_lifted_alike(data: st.DataObject) -> None:
    """A clean Session is lifted in its text, where a value could be taken for a name."""
    changes: dict[str, Any] = {field: data.draw(st.sampled_from(NAMES)) for field in ("id", "auth_id", "meter_id", "currency")}
    changes["location"] = {**sample("2.1.1", "Location"), "id": data.draw(st.sampled_from(NAMES))}
    changes["total_cost"] = data.draw(st.sampled_from((0, 4.5, None, -1)))
    of = sample("2.1.1", "Session", *data.draw(st.sampled_from(((), ("end_datetime",)))), **changes)
    text = codec.encode(of)
    quick, slow = lift("2.1.1", "Session", text), lift("2.1.1", "Session", text.replace(b'"kwh"', rb'"kw\u0068"'))
    assert codec.parse(quick.payload) == codec.parse(slow.payload)
    assert same(codec.parse(lower("2.1.1", "Session", quick.payload).body), codec.parse(text))


UPSERTED: Final[dict[str, dict[str, set[str]]]] = {
    "2.1.1": {"Location": {"evses"}, "EVSE": {"connectors"}},
    "2.0": {"Location": {"evses"}},
}
PATCHES: Final = [(version, name) for version, name in itertools.product(DIALECTS, OBJECTS) if name != "CDR"]


@pytest.mark.parametrize(("version", "name"), PATCHES)
@given(data=st.data())
@unhurried
def test_a_patch_sets_what_a_put_would_and_demands_nothing(version: str, name: str, data: st.DataObject) -> None:
    sent = data.draw(objects(spec_of(DIALECTS[version]), name))
    # Whose absence is told, for the canonical form cannot be without them.
    kept = {"time_zone", "allow_whitelist"}
    named = data.draw(st.sets(st.sampled_from(sorted(sent)))) - kept
    lifted = lift(version, name, text_of({field: sent[field] for field in named}), verb=Verb.PATCH)
    whole = codec.fields(lift(version, name, text_of(sent)).payload)
    patch = msgspec.json.decode(lifted.payload, type=Patch)
    assert patch.append == {}
    assert {*patch.upsert} <= UPSERTED[version].get(name, set())
    for field, value in patch.set.items():
        if field == "parking_type" and field not in whole:
            assert value == msgspec.Raw(b"null")  # OTHER or UNKNOWN: a PUT says nothing, a PATCH clears
        elif field == f"{SHELVES}{version}":
            continue  # what is called like a shelf, of all that is sent
        elif version == "2.0" and field == "status" and "connectors" not in named:
            assert codec.parse(bytes(value)) == sent["status"]
        elif version == "2.0" and field == "connectors":
            assert codec.parse(bytes(value)) == codec.parse(bytes(whole["connectors"]))
        else:
            assert codec.parse(bytes(value)) == codec.parse(bytes(whole[field])), field


def test_a_cdr_has_no_patch() -> None:
    for dialect in DIALECTS.values():
        with pytest.raises(ValueError, match="no PATCH of a CDR"):
            dialect.lift(OBJECTS["CDR"][0], Verb.PATCH, b"{}")


# Nothing is invented.

TIMES: Final = frozenset(
    {
        *("start_date_time", "end_date_time", "start_datetime", "end_datetime", "stop_date_time"),
        *("last_updated", "period_begin", "period_end"),
    }
)
FIGURES: Final = frozenset(
    {
        *("kwh", "volume", "price", "total_energy", "total_time", "total_parking_time"),
        *("before_taxes", "after_taxes", "excl_vat", "incl_vat", "amount"),
    }
)
IDS: Final = frozenset(
    {"id", "uid", "location_id", "evse_uid", "connector_id", "auth_id", "contract_id", "tariff_id", "evse_id"},
)
UNSAID: Final = frozenset({"#NA", ""})


def leaves(value: Json, key: str = "") -> Iterator[tuple[str, Json]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from leaves(inner, name)
    elif isinstance(value, list):
        for inner in value:
            yield from leaves(inner, key)
    elif value is not None:
        yield key, value


def figure(value: Json) -> Decimal | None:
    if isinstance(value, str):
        return codec.number(value)
    return Decimal(value) if isinstance(value, int | Decimal) and not isinstance(value, bool) else None


def moment(value: Json) -> int | None:
    try:
        return instant(value) if isinstance(value, str) else None
    except ValueError:
        return None


def sums(of: Any) -> Iterator[Decimal]:
    """Yield what a CDR of 2.0 says of its whole."""
    for listed in (of.get("total_usage") or [], [d for p in of.get("charging_periods") or [] for d in p["dimensions"]]):
        by_type = {
            kind: sum((figure(d["volume"]) or Decimal(0) for d in listed if d["type"] == kind), Decimal(0))
            for kind in ("ENERGY", "TIME", "PARKING_TIME")
        }
        yield from by_type.values()
        yield by_type["TIME"] + by_type["PARKING_TIME"]
    yield (figure(of.get("total_time")) or Decimal(0)) - (figure(of.get("total_parking_time")) or Decimal(0))


def assert_nothing_is_new(told: Json, source: Json, *, made_up: set[str]) -> None:
    known = list(leaves(source))
    moments = {moment(value) for _, value in known} | {RECEIVED_AT}
    figures = {figure(value) for _, value in known} | (set(sums(source)) if isinstance(source, dict) else set())
    texts = {value for _, value in known} | UNSAID
    for key, value in leaves(told):
        if key in made_up:
            continue
        if key in TIMES and moment(value) is not None:
            assert moment(value) in moments, (key, value)
        elif key in FIGURES:
            assert figure(value) in figures, (key, value)
        elif key in IDS:
            assert value in texts, (key, value)


def assert_fits(dialect: Dialect, name: str, lowered: Lowered, *losses: Loss) -> Json:
    """Where all of a list was lost, nothing is put in its place."""
    report = Report()
    value = codec.parse(lowered.body)
    validator(spec_of(dialect), name, "whole")(value, "", report)
    for finding in report.findings():
        if finding.rule == "empty_list":
            assert any(loss.pointer.startswith(f"{finding.pointer}/") for loss in (*losses, *lowered.losses)), finding
        else:
            assert finding.severity != "error", finding
    return value


@pytest.mark.parametrize("target", TARGETS)
@every_object
@given(data=st.data())
@settings(deadline=None, max_examples=12, suppress_health_check=list(HealthCheck))
def test_an_old_object_in_any_other_version_has_no_money_time_or_identity_of_its_own(
    version: str, name: str, target: str, data: st.DataObject
) -> None:
    sent = data.draw(objects(spec_of(DIALECTS[version]), name, plain=True))
    lifted = lift(version, name, text_of(sent))
    beside = Beside()
    if name == "Session":
        beside = Beside(location=lift(version, "Location", text_of(sent["location"])).payload)
    module, _, level = OBJECTS[name]
    lowered = TARGETS[target].lower(module, lifted.payload, level=level, beside=beside)
    if lowered.withheld is None:
        told = assert_fits(TARGETS[target], name, lowered, *lifted.losses)
        made_up = {"end_date_time", "stop_date_time", "last_updated"} if "/end_date_time" in str(lifted.losses) else set()
        # An old contract that is too long for 2.0 is cut there, and said to be.
        made_up |= {"auth_id"} if any(loss.pointer == "/auth_id" for loss in lowered.losses) else set()
        assert_nothing_is_new(told, sent, made_up=made_up)


@every_object
@given(data=st.data())
@unhurried
def test_any_canonical_object_fits_the_tables_or_is_withheld(version: str, name: str, data: st.DataObject) -> None:
    sent = data.draw(objects(v2_3_0.SPEC, name, plain=True))
    beside = Beside()
    if name == "Session":
        connector = {**canonical("Connector"), "id": sent["connector_id"]}
        evse = {**canonical("EVSE"), "uid": sent["evse_uid"], "connectors": [connector]}
        beside = Beside(location=codec.encode(canonical("Location", id=sent["location_id"], evses=[evse])))
    lowered = lower(version, name, text_of(sent), beside)
    if lowered.withheld is None:
        told = assert_fits(DIALECTS[version], name, lowered)
        made_up = (
            {"price", "auth_id", "volume"} if name in ("CDR", "Tariff", "Token") else set()
        )  # without taxes; cut; by difference
        assert_nothing_is_new(told, [sent, canonical("Location")], made_up=made_up)
    else:
        assert lowered.body == b""


@every_object
@given(data=st.data())
@settings(deadline=None, max_examples=100, suppress_health_check=list(HealthCheck))
def test_any_damage_to_the_text_is_taken_or_refused_in_order(version: str, name: str, data: st.DataObject) -> None:
    text = bytearray(codec.encode(sample(version, name)))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text) - 1))
        text[at : at + data.draw(st.integers(0, 2))] = data.draw(
            st.sampled_from((b"", b'"', b"}", b",", b"1", b"e", b"\xff", b"\\", b":", b" ", b"null", b"[]", b"{}"))
        )
    try:
        lifted = lift(version, name, bytes(text))
    except (NotJson, Refused):
        return
    assert lower(version, name, lifted.payload).withheld is None


ODD: Final[tuple[Json, ...]] = (
    None,
    True,
    0,
    -1,
    10**16,
    "",
    "1",
    "x" * 300,
    "é",
    "2026-01-31T12:00:00+01:00",
    [],
    {},
    [{}],
    "4,00",
)


@every_object
@given(data=st.data())
@settings(deadline=None, max_examples=100, suppress_health_check=list(HealthCheck))
def test_any_odd_value_is_taken_or_refused_in_order(version: str, name: str, data: st.DataObject) -> None:
    of = sample(version, name)
    holder: Any = of
    while True:
        key = data.draw(st.sampled_from(sorted(holder) if isinstance(holder, dict) else range(len(holder))))
        if isinstance(holder[key], dict | list) and holder[key] and data.draw(st.booleans()):
            holder = holder[key]
        else:
            break
    holder[key] = data.draw(st.sampled_from(ODD))
    for verb in (None, Verb.PATCH) if name != "CDR" else (None,):
        try:
            lifted = lift(version, name, of, verb=verb)
        except Refused:
            continue
        if verb is None:
            TYPED[name](lifted.payload)
            assert lower(version, name, lifted.payload).withheld is None


ACROSS: Final = [
    pair for pair in itertools.product(TARGETS, TARGETS) if pair[0] != pair[1] and not DIALECTS.keys().isdisjoint(pair)
]


@pytest.mark.parametrize("name", OBJECTS)
@pytest.mark.parametrize(("source", "target"), ACROSS)
@given(data=st.data())
@settings(deadline=None, max_examples=6, suppress_health_check=list(HealthCheck))
def test_nothing_of_one_versions_shelves_reaches_another(source: str, target: str, name: str, data: st.DataObject) -> None:
    """Whatever unknown fields an object has, and wherever."""
    module, verb, level = OBJECTS[name]
    sent = data.draw(objects(spec_of(TARGETS[source]), name))
    lifted = TARGETS[source].lift(module, verb, text_of(sent), level=level, owner=OWNER, received_at=RECEIVED_AT)
    beside = Beside()
    if name == "Session":
        value: Any = codec.parse(lifted.payload)
        connector = {**canonical("Connector"), "id": value["connector_id"]}
        evse = {**canonical("EVSE"), "uid": value["evse_uid"], "connectors": [connector]}
        beside = Beside(location=codec.encode(canonical("Location", id=value["location_id"], evses=[evse])))
    lowered = TARGETS[target].lower(module, lifted.payload, level=level, beside=beside)
    if lowered.withheld is None:
        assert SHELVES.encode() not in lowered.body
        assert_fits(TARGETS[target], name, lowered, *lifted.losses)
