"""OCPI 2.2: what becomes of its objects in the canonical form, and what it cannot say that later versions do."""

from typing import Any, Final

import pytest
from samples import CDR, CONNECTOR, EVSE, LOCATION, SESSION, TARIFF, TOKEN, body

from schemas import codec
from schemas.ocpi.declared import Declared
from schemas.ocpi.dialect import Level, Lifted, Lowered, Refused
from schemas.ocpi.discovery import discover
from schemas.types import Json, Module, Verb

OCPI: Final = discover()["2.2"]
NEWER: Final = discover()["2.2.1"]

TOKEN_OF_2_2: Final = {"uid": "04E1", "type": "RFID", "contract_id": "DE-MSP-C1-2"}
PLACE_OF_2_2: Final = {**CDR["cdr_location"], "postal_code": "1015 CJ"}


def value(text: bytes) -> Any:
    return codec.parse(text)


def session(**changes: Any) -> bytes:
    return body(SESSION, **{"cdr_token": TOKEN_OF_2_2, **changes})


def cdr(*without: str, **changes: Any) -> bytes:
    return body(CDR, *without, **{"cdr_token": TOKEN_OF_2_2, "cdr_location": PLACE_OF_2_2, **changes})


def lifted(module: Module, text: bytes, level: Level = "location") -> Lifted:
    return OCPI.lift(module, Verb.POST if module is Module.CDRS else Verb.PUT, text, level=level)


def from_newer(module: Module, text: bytes, level: Level = "location") -> Lowered:
    """Return an object of 2.2.1 as a reader of 2.2 gets it."""
    canonical = NEWER.lift(module, Verb.POST if module is Module.CDRS else Verb.PUT, text, level=level).payload
    return OCPI.lower(module, canonical, level=level)


def told(of: Lifted | Lowered) -> list[tuple[str, str]]:
    return [(loss.pointer, loss.kind) for loss in of.losses]


def test_a_token_does_not_say_whose_it_is() -> None:
    """5.3: cdr_token has three fields; country_code and party_id are the receiving eMSP's, which the headers name."""
    for module, text in ((Module.SESSIONS, session()), (Module.CDRS, cdr())):
        up = lifted(module, text)
        assert value(up.payload)["cdr_token"] == {**TOKEN_OF_2_2, "country_code": "#NA", "party_id": "#NA"}
        assert (up.addressed_to, up.party) == (None, "NL*TNM")
        assert told(up)[:2] == [("/cdr_token/country_code", "defaulted"), ("/cdr_token/party_id", "defaulted")]
        down = OCPI.lower(module, up.payload)
        assert (value(down.body), down.losses) == (value(text), ())


def test_a_token_that_says_whose_it_is_all_the_same_is_believed() -> None:
    """What 2.2.1 added is often sent on 2.2 already."""
    text = session(cdr_token={**TOKEN_OF_2_2, "country_code": "DE", "party_id": "MSP"})
    up = lifted(Module.SESSIONS, text)
    assert (up.addressed_to, told(up)) == ("DE*MSP", [])
    assert [finding.rule for finding in up.findings] == ["unknown_field", "unknown_field"]
    assert {**value(up.payload)["cdr_token"], "roamlog:2.2": None} == {**SESSION["cdr_token"], "country_code": "DE",
                                                                       "party_id": "MSP", "roamlog:2.2": None}  # fmt: skip
    down = OCPI.lower(Module.SESSIONS, up.payload)
    assert (value(down.body), down.losses) == (value(text), ())
    assert NEWER.lower(Module.SESSIONS, up.payload).losses[0].pointer == "/cdr_token/roamlog:2.2"


@pytest.mark.parametrize("stray", [5, None, "", "DEU", {"a": 1}])
def test_an_unknown_field_that_is_no_country_is_not_believed(stray: Json) -> None:
    text = session(cdr_token={**TOKEN_OF_2_2, "country_code": stray, "party_id": "MSP"})
    up = lifted(Module.SESSIONS, text)
    assert value(up.payload)["cdr_token"]["country_code"] == "#NA"
    down = OCPI.lower(Module.SESSIONS, up.payload)
    assert (value(down.body), down.losses) == (value(text), ())


def test_whose_a_token_is_is_lost_in_a_session_and_a_cdr() -> None:
    """5.3, 5.4: cdr_token without country_code and party_id."""
    for module, text in ((Module.SESSIONS, body(SESSION)), (Module.CDRS, body(CDR))):
        down = from_newer(module, text)
        assert value(down.body)["cdr_token"] == TOKEN_OF_2_2
        assert told(down)[:2] == [("/cdr_token/country_code", "lost"), ("/cdr_token/party_id", "lost")]


def test_a_patch_of_a_token_is_canonical_too() -> None:
    changes = {"cdr_token": TOKEN_OF_2_2, "last_updated": "2026-01-31T11:00:01Z"}
    patch = OCPI.lift(Module.SESSIONS, Verb.PATCH, codec.encode(changes))
    assert value(patch.payload)["set"]["cdr_token"] == {**TOKEN_OF_2_2, "country_code": "#NA", "party_id": "#NA"}


def test_a_cost_is_a_price_with_the_vat_in_it() -> None:
    """5.3, 5.4: excl_vat and incl_vat become before_taxes and one tax, the exact difference."""
    up = value(lifted(Module.SESSIONS, session()).payload)
    assert up["total_cost"] == {"before_taxes": 4, "taxes": [{"name": "VAT", "amount": codec.number("0.76")}]}


@pytest.mark.parametrize("field", ["location_id", "evse_uid", "connector_id", "auth_method", "authorization_reference", "status"])
def test_what_a_session_says_in_both_versions_stays(field: str) -> None:
    """5.3: the three ids, AuthMethod COMMAND, SessionStatus RESERVATION and authorization_reference are as in 2.2.1."""
    changes = {"auth_method": "COMMAND", "authorization_reference": "A1", "status": "RESERVATION"}
    sent = value(session(**changes))
    up = lifted(Module.SESSIONS, session(**changes))
    assert value(up.payload)[field] == value(OCPI.lower(Module.SESSIONS, up.payload).body)[field] == sent[field]
    assert value(up.payload)["charging_periods"] == sent["charging_periods"]


def test_a_place_without_a_postal_code_gets_the_word_for_nothing() -> None:
    """5.4: CdrLocation.postal_code is required in 2.2."""
    for without in (CDR["cdr_location"], {**CDR["cdr_location"], "postal_code": None}):
        down = from_newer(Module.CDRS, body(CDR, cdr_location=without))
        assert value(down.body)["cdr_location"]["postal_code"] == "#NA"
        assert ("/cdr_location/postal_code", "defaulted") in told(down)
    assert lifted(Module.CDRS, down.body).findings == ()
    with pytest.raises(Refused):
        lifted(Module.CDRS, cdr(cdr_location=CDR["cdr_location"]))


def test_a_state_and_the_compensation_of_home_charging_are_lost_in_a_cdr() -> None:
    """5.4: both came with 2.2.1."""
    place = {**PLACE_OF_2_2, "state": "NH"}
    down = from_newer(Module.CDRS, body(CDR, cdr_location=place, home_charging_compensation=True))
    assert value(down.body)["cdr_location"] == PLACE_OF_2_2
    assert "home_charging_compensation" not in value(down.body)
    assert {("/cdr_location/state", "lost"), ("/home_charging_compensation", "lost")} <= set(told(down))


def test_unknown_fields_that_a_later_version_has_come_back_as_they_were() -> None:
    text = cdr(home_charging_compensation="maybe", cdr_location={**PLACE_OF_2_2, "state": 7})
    up = lifted(Module.CDRS, text)
    assert value(up.payload)["roamlog:2.2"] == {"home_charging_compensation": "maybe"}
    assert value(up.payload)["cdr_location"]["roamlog:2.2"] == {"state": 7}
    down = OCPI.lower(Module.CDRS, up.payload)
    assert (value(down.body), down.losses) == (value(text), ())


def test_a_credit_cdr_is_one() -> None:
    """5.4: credit, credit_reference_id, session_id, invoice_reference_id and ids of 39 characters are as in 2.2.1."""
    text = cdr(
        id="C" * 39, credit=True, credit_reference_id="c-1", invoice_reference_id="i-1", total_cost={"excl_vat": -4, "incl_vat": -5}
    )
    up = lifted(Module.CDRS, text)
    assert (up.charging_key, up.findings) == ("s-1", ())
    assert value(up.payload)["total_cost"]["before_taxes"] == -4
    assert value(OCPI.lower(Module.CDRS, up.payload).body) == value(text)


def test_signed_data_stays_whole_however_long() -> None:
    """5.4: 2.2 has room for 512 characters; a cut text would no longer be what was signed."""
    signed = {"encoding_method": "OCMF", "signed_values": [{"nature": "Start", "plain_data": "x" * 5000, "signed_data": "y" * 600}]}
    down = from_newer(Module.CDRS, body(CDR, signed_data=signed))
    assert value(down.body)["signed_data"] == signed


def test_an_address_and_a_state_are_cut_to_their_room() -> None:
    """5.1: 45 and 20 characters; 2.2.1 has 255 and 45."""
    long = body(LOCATION, address="K" * 46, state="S" * 45)
    down = from_newer(Module.LOCATIONS, long)
    assert (value(down.body)["address"], value(down.body)["state"]) == ("K" * 45, "S" * 20)
    assert told(down) == [("/address", "lost"), ("/state", "lost")]
    fits = body(LOCATION, address="K" * 45, state="S" * 20)
    assert from_newer(Module.LOCATIONS, fits) == Lowered(fits)


def test_an_unpublished_location_is_given_with_its_publish_flag() -> None:
    """5.1: publish and publish_allowed_to came with 2.2."""
    text = body(LOCATION, publish=False, publish_allowed_to=[{"uid": "1", "type": "APP_USER"}])
    assert from_newer(Module.LOCATIONS, text) == Lowered(text)


@pytest.mark.parametrize("power_type", ["AC_2_PHASE", "AC_2_PHASE_SPLIT"])
def test_two_phases_are_told_as_one(power_type: str) -> None:
    """5.2: PowerType has three values."""
    down = from_newer(Module.LOCATIONS, body(CONNECTOR, power_type=power_type), "connector")
    assert value(down.body) == {**CONNECTOR, "power_type": "AC_1_PHASE"}
    assert told(down) == [("/power_type", "lost")]
    place = {**PLACE_OF_2_2, "connector_power_type": power_type}
    down = from_newer(Module.CDRS, body(CDR, cdr_location=place))
    assert value(down.body)["cdr_location"]["connector_power_type"] == "AC_1_PHASE"
    with pytest.raises(Refused):
        lifted(Module.LOCATIONS, body(CONNECTOR, power_type=power_type), "connector")


def test_a_capability_that_came_later_is_dropped() -> None:
    """5.2: START_SESSION_CONNECTOR_REQUIRED."""
    text = body(EVSE, capabilities=["RFID_READER", "START_SESSION_CONNECTOR_REQUIRED"])
    down = from_newer(Module.LOCATIONS, text, "evse")
    assert value(down.body)["capabilities"] == ["RFID_READER"]
    assert told(down) == [("/capabilities/1", "lost")]


def test_a_connector_whose_standard_has_no_name_here_is_left_out_and_an_evse_with_its_last_one() -> None:
    """5.2: ConnectorType has 27 values and no OTHER."""
    nema = {**CONNECTOR, "standard": "NEMA_14_50"}
    lone, mixed = {**EVSE, "uid": "1", "connectors": [nema]}, {**EVSE, "uid": "2", "connectors": [nema, {**CONNECTOR, "id": "2"}]}
    down = from_newer(Module.LOCATIONS, body(LOCATION, evses=[lone, mixed]))
    assert value(down.body)["evses"] == [{**EVSE, "uid": "2", "connectors": [{**CONNECTOR, "id": "2"}]}]
    assert [(loss.pointer, loss.reason) for loss in down.losses] == [
        ("/evses/0", "OCPI 2.2 has no NEMA_14_50"),
        ("/evses/1/connectors/0", "OCPI 2.2 has no NEMA_14_50"),
    ]
    for alone, level in ((lone, "evse"), (nema, "connector")):
        down = from_newer(Module.LOCATIONS, codec.encode(alone), level)  # type: ignore[arg-type]
        assert (down.body, down.withheld) == (b"", "OCPI 2.2 has no NEMA_14_50")
    down = from_newer(Module.CDRS, body(CDR, cdr_location={**PLACE_OF_2_2, "connector_standard": "NEMA_14_50"}))
    assert (down.body, down.withheld) == (b"", "OCPI 2.2 has no NEMA_14_50")


def test_values_of_later_versions_come_back_to_their_own_version() -> None:
    """A 2.2 partner that already says NEMA_14_50 is remarked on, and reads it again."""
    nema = {**CONNECTOR, "standard": "NEMA_14_50"}
    text = body(LOCATION, evses=[{**EVSE, "capabilities": ["START_SESSION_CONNECTOR_REQUIRED"], "connectors": [nema]}])
    up = lifted(Module.LOCATIONS, text)
    assert [finding.rule for finding in up.findings] == ["unknown_enum_value", "unknown_enum_value"]
    assert value(up.payload)["evses"][0]["connectors"][0]["standard"] == "NEMA_14_50"
    down = OCPI.lower(Module.LOCATIONS, up.payload)
    assert (value(down.body), down.losses, down.withheld) == (value(text), (), None)


def test_what_was_noted_of_a_value_counts_no_more_once_the_value_is_another() -> None:
    text = body(EVSE, capabilities=["RFID_READER", "START_SESSION_CONNECTOR_REQUIRED"])
    canonical = value(lifted(Module.LOCATIONS, text, "evse").payload)
    for later in (["START_SESSION_CONNECTOR_REQUIRED"], ["RESERVABLE"]):
        down = OCPI.lower(Module.LOCATIONS, codec.encode({**canonical, "capabilities": later}), level="evse")
        assert value(down.body) == {**EVSE, "capabilities": [one for one in later if one == "RESERVABLE"]}


def test_a_tariff_and_a_token_are_as_in_2_2_1() -> None:
    """5.5, 5.6: 2.2 and 2.2.1 share a column."""
    up = lifted(Module.TARIFFS, body(TARIFF, type="AD_HOC_PAYMENT", end_date_time="2027-01-01T00:00:00Z"))
    assert value(up.payload)["min_price"] == {"before_taxes": codec.number("0.5"), "after_taxes": codec.number("0.6")}
    assert (value(up.payload)["tax_included"], told(up)) == ("NO", [("/tax_included", "defaulted")])
    text = body(TOKEN, type="AD_HOC_USER", group_id="G", default_profile_type="GREEN", energy_contract={"supplier_name": "E"})
    up = lifted(Module.TOKENS, text)
    assert (up.payload, up.ids, OCPI.lower(Module.TOKENS, up.payload)) == (text, ("04E1", "AD_HOC_USER"), Lowered(text))


def test_the_tables_are_those_of_the_version() -> None:
    assert isinstance(OCPI, Declared)
    assert (OCPI.version, OCPI.edition, list(OCPI.spec.objects["CdrToken"])) == ("2.2", "d2", ["uid", "type", "contract_id"])
    assert [len(OCPI.spec.enums[name]) for name in ("ConnectorType", "PowerType", "Capability")] == [27, 3, 12]
    assert OCPI.spec.enums["Role"] == ("CPO", "EMSP", "HUB", "NAP", "NSP", "OTHER", "SCSP")
