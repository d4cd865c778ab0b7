"""OCPI 2.3.0 edition 2: its objects are canonical as they stand, and what earlier versions can say of them."""

from decimal import Decimal
from typing import Any, Final

import pytest
from samples import CDR, CONNECTOR, EVSE, LOCATION, SESSION, TARIFF, TOKEN, body

from schemas import codec, location, tariff
from schemas.ocpi import clientinfo
from schemas.ocpi.declared import Declared, Withheld
from schemas.ocpi.dialect import Level, Lifted, Lowered, Refused
from schemas.ocpi.discovery import discover
from schemas.types import Json, Module, Verb, instant

OCPI: Final = discover()["2.3.0"]
OLDER: Final = discover()["2.2.1"]

TAXES: Final[list[Json]] = [
    {"name": "GST", "account_number": "123", "percentage": 5, "amount": Decimal("0.20")},
    {"name": "QST", "amount": Decimal("0.40")},
]
COST: Final[dict[str, Json]] = {"before_taxes": Decimal("4.00"), "taxes": TAXES}
SESSION_OF_2_3_0: Final = {**SESSION, "total_cost": COST}
TARIFF_OF_2_3_0: Final = {**TARIFF, "min_price": {"before_taxes": 1, "after_taxes": 2}, "tax_included": "NO"}
CDR_OF_2_3_0: Final = {**CDR, "total_cost": COST, "tariffs": [TARIFF_OF_2_3_0]}
PARKING: Final[dict[str, Json]] = {
    "id": "P1",
    "vehicle_types": ["TRUCK_WITH_TRAILER", "HOVERCRAFT"],
    "max_vehicle_height": Decimal("4.20"),
    "restricted_to_type": False,
    "reservation_required": True,
    "direction": "ANGLE",
    "standards": ["DIN 18040-1"],
}


def value(text: bytes) -> Any:
    return codec.parse(text)


def lifted(module: Module, text: bytes, level: Level = "location") -> Lifted:
    return OCPI.lift(module, Verb.POST if module is Module.CDRS else Verb.PUT, text, level=level)


def to_older(module: Module, text: bytes, level: Level = "location") -> Lowered:
    """Return an object of 2.3.0 as a reader of 2.2.1 gets it."""
    return OLDER.lower(module, lifted(module, text, level).payload, level=level)


def told(of: Lifted | Lowered) -> list[tuple[str, str]]:
    return [(loss.pointer, loss.kind) for loss in of.losses]


def rules(of: Lifted) -> list[tuple[str, str, str]]:
    return [(finding.pointer, finding.rule, finding.severity) for finding in of.findings]


@pytest.mark.parametrize(
    ("module", "sample", "level"),
    [
        (Module.SESSIONS, SESSION_OF_2_3_0, "location"),
        (Module.CDRS, CDR_OF_2_3_0, "location"),
        (Module.TARIFFS, TARIFF_OF_2_3_0, "location"),
        (Module.TOKENS, TOKEN, "location"),
        (Module.LOCATIONS, LOCATION, "location"),
        (Module.LOCATIONS, EVSE, "evse"),
        (Module.LOCATIONS, CONNECTOR, "connector"),
    ],
)
def test_an_object_is_canonical_byte_for_byte(module: Module, sample: dict[str, Any], level: Level) -> None:
    text = codec.encode(sample).replace(b",", b" ,\n ")
    up = lifted(module, text, level)
    assert (up.payload, up.raw, up.findings, up.losses) == (text, None, (), ())
    assert OCPI.lower(module, up.payload, level=level) == Lowered(text)


def test_unknown_fields_are_kept_wherever_they_stand() -> None:
    text = body(
        LOCATION, excl_vat=1, type="ON_STREET", operator={"name": "O", "x": 1}, evses=[{**EVSE, "y": [{"z": None}], "status_x": {}}]
    )
    up = lifted(Module.LOCATIONS, text)
    assert (up.payload, up.raw) == (text, None)
    assert {finding.severity for finding in up.findings if finding.rule == "unknown_field"} == {"info"}
    assert OCPI.lower(Module.LOCATIONS, up.payload) == Lowered(text)


def test_what_a_partner_calls_like_a_shelf_is_not_opened_by_another_version() -> None:
    spoof: dict[str, Json] = {"roamlog:2.2.1": {"status": "REMOVED"}, "roamlog:2.3.0": {"status": "REMOVED"}}
    text = body(LOCATION, operator={"name": "O", **spoof}, evses=[{**EVSE, **spoof}])
    up = lifted(Module.LOCATIONS, text)
    assert value(up.payload)["evses"][0] == {**EVSE, "roamlog:2.3.0": spoof}
    down = OCPI.lower(Module.LOCATIONS, up.payload)
    assert (value(down.body), down.losses) == (value(text), ())
    older = OLDER.lower(Module.LOCATIONS, up.payload)
    assert value(older.body) == value(body(LOCATION, operator={"name": "O"}))
    assert told(older) == [("/evses/0/roamlog:2.3.0", "lost"), ("/operator/roamlog:2.3.0", "lost")]


def test_a_shelf_is_known_however_its_name_is_written() -> None:
    text = body(EVSE, roamlog=1)[:-1] + rb', "ro\u0061mlog:2.2.1": {"status": "REMOVED"}}'
    up = lifted(Module.LOCATIONS, text, "evse")
    assert value(up.payload)["roamlog:2.3.0"] == {"roamlog:2.2.1": {"status": "REMOVED"}}
    assert value(OCPI.lower(Module.LOCATIONS, up.payload, level="evse").body) == value(text)


def test_what_another_version_shelved_does_not_reach_a_reader() -> None:
    up = OLDER.lift(Module.LOCATIONS, Verb.PUT, body(LOCATION, help_phone=112, evses=[{**EVSE, "parking": "there"}]))
    down = OCPI.lower(Module.LOCATIONS, up.payload)
    assert value(down.body) == value(body(LOCATION))
    assert told(down) == [("/evses/0/roamlog:2.2.1", "lost"), ("/roamlog:2.2.1", "lost")]


def test_parking_places_and_a_help_phone_are_lost_before_2_3_0() -> None:
    """5.1"""
    text = body(LOCATION, parking_places=[PARKING], help_phone="+31 20")
    up = lifted(Module.LOCATIONS, text)
    assert rules(up) == [("/parking_places/0/vehicle_types/1", "unknown_enum_value", "warning")]
    typed = location.decode(up.payload)
    assert isinstance(typed.parking_places, tuple)
    assert (typed.parking_places[0].max_vehicle_height, typed.help_phone) == (Decimal("4.20"), "+31 20")
    down = to_older(Module.LOCATIONS, text)
    assert (value(down.body), told(down)) == (value(body(LOCATION)), [("/parking_places", "lost"), ("/help_phone", "lost")])


@pytest.mark.parametrize("missing", ["id", "vehicle_types", "restricted_to_type", "reservation_required"])
def test_a_parking_place_has_required_fields(missing: str) -> None:
    parking = {field: said for field, said in PARKING.items() if field != missing}
    with pytest.raises(Refused, match=missing):
        lifted(Module.LOCATIONS, body(LOCATION, parking_places=[parking]))


def test_the_parking_and_the_providers_of_an_evse_and_a_connectors_capabilities_are_lost_before_2_3_0() -> None:
    """5.2"""
    connector = {**CONNECTOR, "capabilities": ["ISO_15118_2_PLUG_AND_CHARGE", "ISO_15118_99"]}
    text = body(
        EVSE, parking=[{"parking_id": "P1", "evse_position": "LEFT"}], accepted_service_providers=["X"], connectors=[connector]
    )
    up = lifted(Module.LOCATIONS, text, "evse")
    assert rules(up) == [("/connectors/0/capabilities/1", "unknown_enum_value", "warning")]
    typed = location.decode_evse(up.payload)
    assert isinstance(typed.parking, tuple)
    assert (typed.parking[0].evse_position, typed.accepted_service_providers) == ("LEFT", ("X",))
    down = to_older(Module.LOCATIONS, text, "evse")
    assert value(down.body) == EVSE
    assert told(down) == [("/parking", "lost"), ("/accepted_service_providers", "lost"), ("/connectors/0/capabilities", "lost")]


def test_parking_restrictions_of_2_3_0_are_dropped() -> None:
    """5.2: EMPLOYEES, TAXIS, TENANTS."""
    restrictions = ["EV_ONLY", "EMPLOYEES", "TAXIS", "TENANTS", "MOONLIT"]
    text = body(EVSE, parking_restrictions=restrictions)
    assert rules(lifted(Module.LOCATIONS, text, "evse")) == [("/parking_restrictions/4", "unknown_enum_value", "warning")]
    down = to_older(Module.LOCATIONS, text, "evse")
    assert value(down.body)["parking_restrictions"] == ["EV_ONLY", "MOONLIT"]
    assert told(down) == [(f"/parking_restrictions/{index}", "lost") for index in (1, 2, 3)]


@pytest.mark.parametrize("standard", ["MCS", "SAE_J3400"])
def test_a_connector_of_a_standard_of_2_3_0_has_no_form_before(standard: str) -> None:
    """5.2: no OTHER exists."""
    connector = {**CONNECTOR, "id": "2", "standard": standard}
    assert to_older(Module.LOCATIONS, codec.encode(connector), "connector").withheld == f"OCPI 2.2.1 has no {standard}"
    down = to_older(Module.LOCATIONS, body(EVSE, connectors=[CONNECTOR, connector]), "evse")
    assert (value(down.body), told(down)) == (EVSE, [("/connectors/1", "lost")])
    place = {**CDR["cdr_location"], "connector_standard": standard}
    assert to_older(Module.CDRS, codec.encode({**CDR_OF_2_3_0, "cdr_location": place})).withheld == f"OCPI 2.2.1 has no {standard}"


def test_taxes_are_summed_up() -> None:
    """5.3, 5.4: incl_vat = before_taxes + the amounts; without taxes it is left out, because unknown is not zero."""
    down = to_older(Module.SESSIONS, codec.encode(SESSION_OF_2_3_0))
    assert value(down.body)["total_cost"] == {"excl_vat": 4, "incl_vat": Decimal("4.60")}
    assert told(down) == [("/total_cost/taxes", "lost")]
    for nothing in ({"before_taxes": 4, "taxes": []}, {"before_taxes": 4}):
        down = to_older(Module.CDRS, codec.encode({**CDR_OF_2_3_0, "total_cost": nothing}))
        assert value(down.body)["total_cost"] == {"excl_vat": 4}


def test_a_tax_has_a_name_and_an_amount() -> None:
    with pytest.raises(Refused) as refused:
        lifted(Module.SESSIONS, codec.encode({**SESSION, "total_cost": {"before_taxes": 1, "taxes": [{"percentage": 5}]}}))
    assert [finding.pointer for finding in refused.value.findings] == ["/total_cost/taxes/0/name", "/total_cost/taxes/0/amount"]


def test_a_price_in_the_form_of_2_2_1_is_refused() -> None:
    with pytest.raises(Refused, match="before_taxes"):
        lifted(Module.SESSIONS, body(SESSION))


def test_bounds_of_a_price_change_their_names() -> None:
    """5.5: before_taxes to excl_vat, after_taxes to incl_vat."""
    down = to_older(Module.TARIFFS, codec.encode({**TARIFF_OF_2_3_0, "max_price": {"before_taxes": 9}}))
    assert (value(down.body)["min_price"], value(down.body)["max_price"]) == ({"excl_vat": 1, "incl_vat": 2}, {"excl_vat": 9})
    assert told(down) == []


def test_tax_included_yes_is_divided_out_or_withheld() -> None:
    """5.5: prices that include a known VAT are given without it; where it is not known they are not representable."""
    component = {"type": "ENERGY", "price": Decimal("1.19"), "vat": 19, "step_size": 1}
    text = codec.encode({**TARIFF_OF_2_3_0, "tax_included": "YES", "elements": [{"price_components": [component]}]})
    down = to_older(Module.TARIFFS, text)
    assert value(down.body)["elements"][0]["price_components"][0] == {**component, "price": 1}
    del component["vat"]
    text = codec.encode({**TARIFF_OF_2_3_0, "tax_included": "YES", "elements": [{"price_components": [component]}]})
    down = to_older(Module.TARIFFS, text)
    assert down.body == b""
    assert down.withheld is not None
    assert "the VAT is not known" in down.withheld


def test_tax_included_is_not_made_up() -> None:
    """The first edition's CDR example has a Tariff without it: it is taken, remarked on, and given back without it."""
    without = {field: said for field, said in TARIFF_OF_2_3_0.items() if field != "tax_included"}
    up = lifted(Module.CDRS, codec.encode({**CDR_OF_2_3_0, "tariffs": [without]}))
    assert rules(up) == [("/tariffs/0/tax_included", "missing_field", "warning")]
    assert OCPI.lower(Module.CDRS, up.payload).body == up.payload
    alone = lifted(Module.TARIFFS, codec.encode(without))
    assert "tax_included" not in value(alone.payload)
    assert not tariff.decode(alone.payload).tax_included
    older = OLDER.lower(Module.TARIFFS, alone.payload)
    assert told(older) == [("/tax_included", "defaulted")]
    with pytest.raises(Refused, match="null"):
        lifted(Module.TARIFFS, codec.encode({**TARIFF_OF_2_3_0, "tax_included": None}))


def test_no_vat_and_a_vat_of_zero_stay_two_things() -> None:
    """5.5: an omitted vat says that none applies, 0.0 that it is zero."""
    for vat in ({}, {"vat": Decimal("0.0")}):
        elements = [{"price_components": [{"type": "ENERGY", "price": 1, "step_size": 1, **vat}]}]
        text = codec.encode({**TARIFF_OF_2_3_0, "elements": elements})
        assert value(to_older(Module.TARIFFS, text).body)["elements"] == elements


def test_an_amount_to_preauthorize_is_kept_and_lost_before_2_3_0() -> None:
    """5.5: the first edition and the payments branch have it."""
    up = lifted(Module.TARIFFS, codec.encode({**TARIFF_OF_2_3_0, "preauthorize_amount": 50}))
    assert (up.findings, value(up.payload)["preauthorize_amount"]) == ((), 50)
    assert told(OLDER.lower(Module.TARIFFS, up.payload)) == [("/preauthorize_amount", "lost")]


def test_an_element_for_bookings_is_left_out_before_2_3_0() -> None:
    """5.5: restrictions.booking. An older reader would overlook it and apply the element's prices always."""
    booked, free = {**TARIFF["elements"][0], "restrictions": {"booking": "BOOKING"}}, TARIFF["elements"][0]
    text = codec.encode({**TARIFF_OF_2_3_0, "elements": [booked, free]})
    assert (lifted(Module.TARIFFS, text).payload, rules(lifted(Module.TARIFFS, text))) == (text, [])
    for reader in (OLDER, discover()["2.2"]):
        down = reader.lower(Module.TARIFFS, text)
        assert value(down.body)["elements"] == value(codec.encode([free]))
        assert told(down) == [("/elements/0", "lost")]
        assert reader.lower(Module.TARIFFS, codec.encode({**TARIFF_OF_2_3_0, "elements": [booked]})).withheld is not None


def test_an_emaid_is_an_other_token_before_2_3_0() -> None:
    """5.6: TokenType; its uid may be that of another OTHER Token, so that the loss is told."""
    up = lifted(Module.TOKENS, body(TOKEN, type="EMAID"))
    assert (up.ids, up.findings) == (("04E1", "EMAID"), ())
    down = OLDER.lower(Module.TOKENS, up.payload)
    assert (value(down.body)["type"], told(down)) == ("OTHER", [("/type", "lost")])
    text = codec.encode({**SESSION_OF_2_3_0, "cdr_token": {**SESSION["cdr_token"], "type": "EMAID"}})
    assert value(to_older(Module.SESSIONS, text).body)["cdr_token"]["type"] == "OTHER"
    text = body(LOCATION, publish_allowed_to=[{"type": "EMAID"}])
    assert value(to_older(Module.LOCATIONS, text).body)["publish_allowed_to"] == [{"type": "OTHER"}]


def test_what_2_2_1_sent_of_2_3_0_comes_back_to_it() -> None:
    token, evse = body(TOKEN, type="EMAID"), body(EVSE, parking_restrictions=["TAXIS", "EV_ONLY"])
    up = OLDER.lift(Module.TOKENS, Verb.PUT, token)
    assert (up.ids, [finding.rule for finding in up.findings]) == (("04E1", "EMAID"), ["unknown_enum_value"])
    assert value(OLDER.lower(Module.TOKENS, up.payload).body) == value(token)
    up = OLDER.lift(Module.LOCATIONS, Verb.PUT, evse, level="evse")
    assert value(OLDER.lower(Module.LOCATIONS, up.payload, level="evse").body) == value(evse)
    assert value(OCPI.lower(Module.LOCATIONS, up.payload, level="evse").body) == value(evse)


@pytest.mark.point(40)
@pytest.mark.parametrize(
    ("module", "text", "level"),
    [
        (Module.TOKENS, body(TOKEN, type="PALM"), "location"),
        (Module.LOCATIONS, body(CONNECTOR, standard="WARP", capabilities=["X"]), "connector"),
        (Module.LOCATIONS, body(LOCATION, parking_type="ROOF", facilities=["SPA"]), "location"),
        (Module.SESSIONS, codec.encode({**SESSION_OF_2_3_0, "from_the_future": {"a": [1]}}), "location"),
    ],
)
def test_unknown_fields_and_open_values_never_refuse(module: Module, text: bytes, level: Level) -> None:
    """Unknown JSON fields and unknown OpenEnum values never cause a rejection. Source: OCPI 2.3.0 types, OpenEnum."""
    up = lifted(module, text, level)
    assert {finding.severity for finding in up.findings} <= {"warning", "info"}
    assert up.payload == text


@pytest.mark.point(40)
@pytest.mark.parametrize(
    ("module", "text", "level"),
    [
        (Module.LOCATIONS, body(EVSE, status="LEVITATING"), "evse"),
        (Module.LOCATIONS, body(CONNECTOR, power_type="AC_9_PHASE"), "connector"),
        (Module.LOCATIONS, body(EVSE, parking=[{"parking_id": "P", "evse_position": "ABOVE"}]), "evse"),
        (Module.SESSIONS, codec.encode({**SESSION_OF_2_3_0, "status": "RESERVED"}), "location"),
        (Module.TARIFFS, codec.encode({**TARIFF_OF_2_3_0, "tax_included": "MAYBE"}), "location"),
    ],
)
def test_unknown_values_of_closed_enums_refuse(module: Module, text: bytes, level: Level) -> None:
    """Unknown values of closed enums (Status, PowerType, SessionStatus) do refuse the object."""
    with pytest.raises(Refused) as refused:
        lifted(module, text, level)
    assert [finding.rule for finding in refused.value.findings if finding.severity == "error"] == ["enum_value"]


def test_a_patch_is_canonical_but_for_what_is_called_like_a_shelf() -> None:
    changes = {"total_cost": COST, "vendor": {"roamlog:2.2.1": 1}, "last_updated": "2026-01-31T11:00:01Z"}
    up = OCPI.lift(Module.SESSIONS, Verb.PATCH, codec.encode(changes))
    assert value(up.payload) == {"set": {**changes, "vendor": {"roamlog:2.3.0": {"roamlog:2.2.1": 1}}}}


@pytest.mark.parametrize("version", ["2.2", "2.2.1", "2.3.0"])
def test_a_hubs_client_info_is_read_and_written(version: str) -> None:
    """5.9: 2.3.0 has no role HUB, so that a hub has no ClientInfo of itself there."""
    dialect = discover()[version]
    assert isinstance(dialect, Declared)
    said = {"party_id": "tnm", "country_code": "NL", "role": "CPO", "status": "CONNECTED", "last_updated": "2026-01-31T11:00:01Z"}
    info, findings = clientinfo.read(dialect.spec, codec.encode(said))
    assert (info.party, info.last_updated, findings) == ("NL*TNM", instant("2026-01-31T11:00:01Z"), ())
    assert value(clientinfo.write(dialect.spec, info)) == said
    hub = codec.encode({**said, "role": "HUB"})
    if version != "2.3.0":
        assert value(clientinfo.write(dialect.spec, clientinfo.read(dialect.spec, hub)[0]))["role"] == "HUB"
        return
    with pytest.raises(Refused, match="HUB"):
        clientinfo.read(dialect.spec, hub)
    assert isinstance(OLDER, Declared)
    with pytest.raises(Withheld, match="HUB"):
        clientinfo.write(dialect.spec, clientinfo.read(OLDER.spec, hub)[0])


@pytest.mark.parametrize("wrong", [{"status": "ASLEEP"}, {"role": "CAT"}, {"party_id": ""}, {"country_code": "NLD"}])
def test_a_client_info_that_names_nobody_is_refused(wrong: dict[str, str]) -> None:
    assert isinstance(OCPI, Declared)
    said = {"party_id": "TNM", "country_code": "NL", "role": "CPO", "status": "CONNECTED", "last_updated": "2026-01-31T11:00:01Z"}
    with pytest.raises(Refused):
        clientinfo.read(OCPI.spec, codec.encode({**said, **wrong}))
