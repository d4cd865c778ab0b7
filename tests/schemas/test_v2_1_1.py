"""OCPI 2.1.1: what becomes of each field in the canonical form, and of each canonical field in 2.1.1 (and in 2.0, where alike)."""

from decimal import Decimal
from typing import Any, Final

import pytest
from older import DIALECTS, OWNER, canonical, down, lift, lower, patched, place, pointers, sample, up
from samples import CDR, SESSION, body

from schemas import codec
from schemas.ocpi import v2_2_1
from schemas.ocpi.dialect import Beside, Refused
from schemas.ocpi.v2_1_1 import selection
from schemas.types import Module, Verb, instant

both = pytest.mark.parametrize("version", DIALECTS)


def withheld(version: str, name: str, *without: str, beside: Beside | None = None, **changes: Any) -> str:
    """Return why a canonical sample is not given to the version."""
    lowered = lower(version, name, canonical(name, *without, **changes), beside or Beside())
    assert lowered.withheld is not None
    assert lowered.body == b""
    return lowered.withheld


def errors(version: str, name: str, of: dict[str, Any]) -> list[tuple[str, str]]:
    with pytest.raises(Refused) as refused:
        lift(version, name, of)
    return [(finding.pointer, finding.rule) for finding in refused.value.findings if finding.severity == "error"]


def rules(version: str, name: str, of: dict[str, Any] | bytes) -> list[tuple[str, str, str]]:
    return [(finding.pointer, finding.rule, finding.severity) for finding in lift(version, name, of).findings]


# Location (requirements 5.1)


@both
@pytest.mark.parametrize("name", ["Location", "Session", "CDR", "Tariff", "Token"])
def test_the_owner_comes_from_the_caller_and_goes_into_the_path(version: str, name: str) -> None:
    lifted = lift(version, name, sample(version, name))
    value: Any = codec.parse(lifted.payload)
    assert (lifted.party, value["country_code"], value["party_id"]) == (None, *OWNER.split("*"))
    back: Any = codec.parse(lower(version, name, lifted.payload).body)
    assert not {"country_code", "party_id"} & back.keys()


def test_an_owner_in_the_object_is_an_unknown_field_that_only_its_version_reads_again() -> None:
    of = sample("2.1.1", "Session", country_code="DE", party_id="XXX")
    lifted = lift("2.1.1", "Session", of)
    value: Any = codec.parse(lifted.payload)
    assert (lifted.party, value["country_code"], value["party_id"]) == (None, "NL", "TNM")
    assert codec.parse(lower("2.1.1", "Session", lifted.payload).body) == codec.parse(codec.encode(of))


def test_an_id_longer_than_later_versions_allow_is_kept_and_flagged() -> None:
    long = "L" * 39
    location = sample("2.1.1", "Location", id=long)
    location["evses"][0]["uid"] = long
    assert rules("2.1.1", "Location", location) == [("/id", "long_id", "info"), ("/evses/0/uid", "long_id", "info")]
    assert up("2.1.1", "Location", id=long)["id"] == long
    assert errors("2.1.1", "Location", sample("2.1.1", "Location", id=long + "X")) == [("/id", "too_long")]


@both
@pytest.mark.parametrize(
    ("sent", "parking_type"), [("ON_STREET", "ON_STREET"), ("PARKING_LOT", "PARKING_LOT"), ("OTHER", None), ("UNKNOWN", None)]
)
def test_type_becomes_parking_type_unless_it_says_nothing(version: str, sent: str, parking_type: str | None) -> None:
    of = sample(version, "Location", type=sent)
    lifted = lift(version, "Location", of)
    value: Any = codec.parse(lifted.payload)
    assert value.get("parking_type") == parking_type
    assert "type" not in value
    back: Any = codec.parse(lower(version, "Location", lifted.payload).body)
    assert back["type"] == sent


@both
@pytest.mark.parametrize(
    ("parking_type", "given", "lost"),
    [
        (None, "UNKNOWN", False),
        ("UNDERGROUND_GARAGE", "UNDERGROUND_GARAGE", False),
        ("ALONG_MOTORWAY", "OTHER", True),
        ("ON_DRIVEWAY", "OTHER", True),
    ],
)
def test_parking_type_becomes_type(version: str, parking_type: str | None, given: str, lost: bool) -> None:
    value, losses = down(version, "Location", parking_type=parking_type)
    assert value["type"] == given
    assert ("/parking_type" in losses) is lost


@both
def test_an_old_location_is_public_and_an_unpublished_one_is_withheld(version: str) -> None:
    lifted = lift(version, "Location", sample(version, "Location"))
    assert codec.parse(lifted.payload)["publish"] is True  # type: ignore[call-overload, index]
    assert "/publish" in pointers(lifted.losses)
    assert "not to be published" in withheld(version, "Location", publish=False)


@both
def test_fields_of_later_locations_are_lost(version: str) -> None:
    later: dict[str, Any] = {
        "publish_allowed_to": [{"uid": "04E1", "type": "RFID"}],
        "state": "Noord-Holland",
        "help_phone": "+31201234567",
        "parking_places": [
            {"id": "P1", "vehicle_types": ["SEMI_TRACTOR"], "restricted_to_type": True, "reservation_required": False}
        ],
    }
    value, losses = down(version, "Location", **later)
    assert not later.keys() & value.keys()
    assert {f"/{field}" for field in later} <= set(losses)
    assert not later.keys() & up(version, "Location").keys()


@both
def test_an_address_is_cut_at_45_characters(version: str) -> None:
    value, losses = down(version, "Location", address="K" * 50)
    assert value["address"] == "K" * 45
    assert "/address" in losses
    of = sample(version, "Location", address="K" * 50)
    assert codec.parse(lower(version, "Location", lift(version, "Location", of).payload).body) == of  # its own is whole


@both
@pytest.mark.parametrize("absent", [{}, {"postal_code": None}])
def test_an_absent_postal_code_is_an_empty_text(version: str, absent: dict[str, Any]) -> None:
    value, losses = down(version, "Location", **absent)
    assert value["postal_code"] == ""
    assert "/postal_code" in losses
    assert up(version, "Location")["postal_code"] == "1015 CC"


@pytest.mark.parametrize(
    ("sent", "country", "zone"),
    [
        ("Europe/Paris", "NLD", "Europe/Paris"),
        (None, "NLD", "Europe/Amsterdam"),
        ("absent", "BEL", "Europe/Brussels"),
        (None, "XXX", "#NA"),
    ],
)
def test_an_absent_time_zone_is_the_main_one_of_the_country(sent: str | None, country: str, zone: str) -> None:
    of = sample("2.1.1", "Location", country=country, time_zone=sent)
    if sent == "absent":
        del of["time_zone"]
    lifted = lift("2.1.1", "Location", of)
    assert codec.parse(lifted.payload)["time_zone"] == zone  # type: ignore[call-overload, index]
    assert ("/time_zone" in pointers(lifted.losses)) is (sent in (None, "absent"))
    assert codec.parse(lower("2.1.1", "Location", lifted.payload).body) == of
    assert down("2.1.1", "Location")[0]["time_zone"] == "Europe/Amsterdam"


def test_a_patch_that_clears_the_time_zone_leaves_it() -> None:
    assert patched("2.1.1", "Location", time_zone=None, name="X") == {"set": {"name": "X"}}
    assert pointers(lift("2.1.1", "Location", {"time_zone": None}, verb=Verb.PATCH).losses) == ["/time_zone"]


def test_owner_and_facilities_and_energy_mix_are_copied() -> None:
    mix = {"is_green_energy": True, "energy_sources": [{"source": "WIND", "percentage": 100}]}
    fields: dict[str, Any] = {"owner": {"name": "O"}, "facilities": ["WIFI"], "energy_mix": mix}
    assert fields.items() <= up("2.1.1", "Location", **fields).items()
    assert fields.items() <= down("2.1.1", "Location", **fields)[0].items()


def test_later_facilities_are_lost() -> None:
    value, losses = down(
        "2.1.1", "Location", facilities=["WIFI", "BIKE_SHARING", "PARKING_LOT", "TRAM_STOP", "METRO_STATION", "CAFE"]
    )
    assert value["facilities"] == ["WIFI", "CAFE"]
    assert [pointer for pointer in losses if "facilities" in pointer] == [f"/facilities/{index}" for index in (1, 2, 3, 4)]


@pytest.mark.parametrize("name", ["Location", "Tariff"])
def test_the_source_of_an_environmental_impact_is_called_category(name: str) -> None:
    old = {"is_green_energy": False, "environ_impact": [{"source": "CARBON_DIOXIDE", "amount": 372}]}
    new = {"is_green_energy": False, "environ_impact": [{"category": "CARBON_DIOXIDE", "amount": 372}]}
    assert up("2.1.1", name, energy_mix=old)["energy_mix"] == new
    assert down("2.1.1", name, energy_mix=new)[0]["energy_mix"] == old


@both
def test_regular_hours_mean_not_round_the_clock_and_are_left_out_where_it_is(version: str) -> None:
    hours = [{"weekday": 1, "period_begin": "08:00", "period_end": "20:00"}]
    of = sample(version, "Location", opening_times={"regular_hours": hours})
    lifted = lift(version, "Location", of)
    assert codec.parse(lifted.payload)["opening_times"] == {"regular_hours": hours, "twentyfourseven": False}  # type: ignore[call-overload, index]
    assert codec.parse(lower(version, "Location", lifted.payload).body) == of
    value, losses = down(version, "Location", opening_times={"twentyfourseven": True, "regular_hours": hours})
    assert value["opening_times"] == {"twentyfourseven": True}
    assert "/opening_times/regular_hours" in losses


@both
@pytest.mark.parametrize(
    ("canonical_text", "given", "lost"),
    [
        ("4.89516", "4.895160", False),
        ("4.8951684", "4.895168", True),
        ("4.8951680", "4.895168", False),
        ("4.895168", "4.895168", False),
    ],
)
def test_coordinates_have_6_decimals(version: str, canonical_text: str, given: str, lost: bool) -> None:
    value, losses = down(version, "Location", coordinates={"latitude": "52.370216", "longitude": canonical_text})
    assert value["coordinates"] == {"latitude": "52.370216", "longitude": given}
    assert ("/coordinates" in losses) is lost


@both
def test_coordinates_with_other_decimals_are_kept_and_flagged(version: str) -> None:
    of = sample(version, "Location", coordinates={"latitude": "52.37021", "longitude": "4.8951680"})
    assert [rule for _, rule, _ in rules(version, "Location", of)] == ["coordinates", "coordinates"]
    assert codec.parse(lower(version, "Location", lift(version, "Location", of).payload).body) == of


def test_last_updated_is_copied() -> None:
    assert lift("2.1.1", "Location", sample("2.1.1", "Location")).last_updated == instant("2026-01-31T11:00:01Z")
    assert down("2.1.1", "Location")[0]["last_updated"] == "2026-01-31T11:00:01Z"


# EVSE and Connector (requirements 5.2)


@both
def test_what_later_evses_say_of_their_parking_is_lost(version: str) -> None:
    later: dict[str, Any] = {"parking": [{"parking_id": "P1"}], "accepted_service_providers": ["X"]}
    value, losses = down(version, "EVSE", parking_restrictions=["EV_ONLY", "EMPLOYEES", "TAXIS", "TENANTS"], **later)
    assert not later.keys() & value.keys()
    assert value["parking_restrictions"] == ["EV_ONLY"]
    assert {"/parking", "/accepted_service_providers", *(f"/parking_restrictions/{index}" for index in (1, 2, 3))} <= set(losses)


@both
def test_later_capabilities_are_lost_and_all_cards_are_credit_cards(version: str) -> None:
    listed = ["RESERVABLE", "CONTACTLESS_CARD_SUPPORT", "PED_TERMINAL", "DEBIT_CARD_PAYABLE", "TOKEN_GROUP_CAPABLE"]
    value, losses = down(version, "EVSE", capabilities=listed)
    assert value["capabilities"] == ["RESERVABLE", "CREDIT_CARD_PAYABLE"]
    assert {f"/capabilities/{index}" for index in (1, 2, 3, 4)} <= set(losses)
    assert down("2.1.1", "EVSE", capabilities=["UNLOCK_CAPABLE"])[0]["capabilities"] == ["UNLOCK_CAPABLE"]
    assert down("2.0", "EVSE", capabilities=["UNLOCK_CAPABLE"])[0]["capabilities"] == []


@both
def test_voltage_and_amperage_are_maxima(version: str) -> None:
    value = up(version, "Connector")
    assert (value["max_voltage"], value["max_amperage"]) == (230, 32)
    assert not {"voltage", "amperage"} & value.keys()
    back, losses = down(version, "Connector", max_electric_power=22000, capabilities=["ISO_15118_2_PLUG_AND_CHARGE"])
    assert (back["voltage"], back["amperage"]) == (230, 32)
    assert not {"max_voltage", "max_amperage", "max_electric_power", "capabilities"} & back.keys()
    assert {"/max_electric_power", "/capabilities"} <= set(losses)


@both
def test_a_tariff_is_one_of_a_list(version: str) -> None:
    assert up(version, "Connector", tariff_id="15")["tariff_ids"] == ["15"]
    assert "tariff_ids" not in up(version, "Connector", "tariff_id")
    assert patched(version, "Connector", tariff_id=None)["set"]["tariff_ids"] is None
    assert patched(version, "Connector", tariff_id="15")["set"]["tariff_ids"] == ["15"]


@both
def test_of_several_tariffs_the_regular_one_that_is_valid_now_is_given_else_the_first(version: str) -> None:
    now = instant("2026-06-01T00:00:00Z")
    tariffs = {
        "green": codec.encode(canonical("Tariff", id="GREEN", type="PROFILE_GREEN")),
        "old": codec.encode(canonical("Tariff", id="OLD", end_date_time="2026-05-01T00:00:00Z")),
        "usual": codec.encode(canonical("Tariff", id="USUAL", type="REGULAR")),
    }
    ids = ["GREEN", "OLD", "USUAL"]
    value, losses = down(version, "Connector", tariff_ids=ids, beside=Beside(tariffs=tariffs, now=now))
    assert value["tariff_id"] == "USUAL"
    assert "/tariff_ids" in losses
    assert down(version, "Connector", tariff_ids=ids)[0]["tariff_id"] == "GREEN"
    location = codec.encode(canonical("Location", evses=[canonical("EVSE", connectors=[canonical("Connector", tariff_ids=ids)])]))
    for known, chosen in ((tariffs, "USUAL"), ({}, "GREEN")):
        session, _ = down(version, "Session", beside=Beside(location=location, tariffs=known, now=now))
        assert session["location"]["evses"][0]["connectors"][0]["tariff_id"] == chosen
    one, losses = down(version, "Connector", tariff_ids=["T"])
    assert (one["tariff_id"], "/tariff_ids" in losses) == ("T", False)
    assert "tariff_id" not in down(version, "Connector", tariff_ids=[])[0]


@both
def test_a_connector_without_a_name_is_left_out_and_an_evse_and_a_location_with_it(version: str) -> None:
    known, unknown = canonical("Connector"), canonical("Connector", id="2", standard="NEMA_5_20")
    assert "NEMA_5_20" in withheld(version, "Connector", standard="NEMA_5_20")
    value, losses = down(version, "EVSE", connectors=[known, unknown])
    assert [one["id"] for one in value["connectors"]] == ["1"]
    assert "/connectors/1" in losses
    assert "Connectors" in withheld(version, "EVSE", connectors=[unknown])
    whole, losses = down(version, "Location", evses=[canonical("EVSE", connectors=[unknown]), canonical("EVSE", uid="B")])
    assert [one["uid"] for one in whole["evses"]] == ["B"]
    assert "/evses/0" in losses


@both
@pytest.mark.parametrize("power_type", ["AC_2_PHASE", "AC_2_PHASE_SPLIT"])
def test_two_phases_are_given_as_one(version: str, power_type: str) -> None:
    value, losses = down(version, "Connector", power_type=power_type)
    assert value["power_type"] == "AC_1_PHASE"
    assert "/power_type" in losses


# Session (requirements 5.3)


@both
def test_the_datetimes_of_a_session_have_no_underscore_between_date_and_time(version: str) -> None:
    value = up(version, "Session")
    assert (value["start_date_time"], value["end_date_time"]) == ("2026-01-31T10:00:00Z", "2026-01-31T11:00:00Z")
    back, _ = down(version, "Session", beside=place())
    assert (back["start_datetime"], back["end_datetime"]) == ("2026-01-31T10:00:00Z", "2026-01-31T11:00:00Z")
    assert not {"start_date_time", "end_date_time"} & back.keys()


@both
@pytest.mark.parametrize("name", ["Session", "CDR"])
def test_auth_id_is_the_contract_of_a_token_that_is_not_named(version: str, name: str) -> None:
    lifted = lift(version, name, sample(version, name))
    value: Any = codec.parse(lifted.payload)
    token = {"country_code": "#NA", "party_id": "#NA", "uid": "#NA", "type": "OTHER", "contract_id": "DE-MSP-C1-2"}
    assert value["cdr_token"] == token
    assert "/cdr_token" in pointers(lifted.losses)
    assert lifted.addressed_to is None
    back, losses = down(version, name, beside=place())
    assert back["auth_id"] == "DE-MSP-C1-2"
    assert "/cdr_token" in losses


@both
def test_a_session_holds_the_place_that_later_ones_name(version: str) -> None:
    value = up(version, "Session")
    assert (value["location_id"], value["evse_uid"], value["connector_id"]) == ("LOC1", "3256", "1")
    assert "location" not in value
    others = [canonical("Connector"), canonical("Connector", id="2")]
    evses = [canonical("EVSE", uid="X"), canonical("EVSE", connectors=others)]
    beside = Beside(location=codec.encode(canonical("Location", evses=evses)))
    back, _ = down(version, "Session", beside=beside)
    assert back["location"]["id"] == "LOC1"
    assert [(evse["uid"], [one["id"] for one in evse["connectors"]]) for evse in back["location"]["evses"]] == [("3256", ["1"])]


@both
def test_a_session_whose_place_is_not_known_is_withheld(version: str) -> None:
    assert "Location" in withheld(version, "Session")
    assert "Connector" in withheld(version, "Session", beside=place(), connector_id="7")
    assert "Connector" in withheld(version, "Session", beside=place(), location_id="LOC2")


@both
def test_a_session_at_an_unpublished_place_is_told_to_whom_it_concerns(version: str) -> None:
    beside = Beside(location=codec.encode(canonical("Location", publish=False)))
    assert down(version, "Session", beside=beside)[0]["location"]["id"] == "LOC1"


def test_a_place_that_a_patch_changed_is_given_back_as_it_is_now() -> None:
    elsewhere = sample("2.1.1", "Location", id="LOC2")
    changed = up("2.1.1", "Session") | patched("2.1.1", "Session", location=elsewhere)["set"]
    assert changed["location_id"] == "LOC2"
    assert codec.parse(lower("2.1.1", "Session", changed).body)["location"] == elsewhere  # type: ignore[call-overload, index]
    stale = up("2.1.1", "Session") | {"location_id": "LOC3"}
    assert lower("2.1.1", "Session", stale).withheld is not None


def test_a_session_without_an_evse_names_none() -> None:
    of = sample("2.1.1", "Session", location=sample("2.1.1", "Location", "evses"))
    lifted = lift("2.1.1", "Session", of)
    value: Any = codec.parse(lifted.payload)
    assert (value["evse_uid"], value["connector_id"]) == ("#NA", "#NA")
    assert "/evse_uid" in pointers(lifted.losses)
    assert codec.parse(lower("2.1.1", "Session", lifted.payload).body) == codec.parse(codec.encode(of))


def test_a_cost_is_before_taxes_and_nothing_is_said_of_those() -> None:
    assert up("2.1.1", "Session")["total_cost"] == {"before_taxes": Decimal("4.5"), "taxes": []}
    assert up("2.1.1", "Session", total_cost=None)["total_cost"] is None
    assert "total_cost" not in up("2.1.1", "Session", "total_cost")
    value, losses = down("2.1.1", "Session", beside=place())
    assert value["total_cost"] == Decimal("4.0")
    assert "/total_cost/taxes" in losses
    untaxed: Any = {"before_taxes": 4, "taxes": []}
    assert "/total_cost/taxes" not in down("2.1.1", "Session", beside=place(), total_cost=untaxed)[1]
    assert "total_cost" not in down("2.1.1", "Session", "total_cost", beside=place())[0]


@both
def test_a_reservation_is_pending_and_an_authorization_reference_is_lost(version: str) -> None:
    value, losses = down(
        version, "Session", beside=place(), status="RESERVATION", authorization_reference="R1", auth_method="COMMAND"
    )
    assert (value["status"], value["auth_method"]) == ("PENDING", "AUTH_REQUEST")
    assert "authorization_reference" not in value
    assert {"/status", "/authorization_reference", "/auth_method"} <= set(losses)


@both
def test_periods_lose_their_tariff_and_later_volumes(version: str) -> None:
    periods = [
        {
            "start_date_time": "2026-01-31T10:00:00Z",
            "dimensions": [{"type": "ENERGY", "volume": 1}, {"type": "STATE_OF_CHARGE", "volume": 50}],
        },
        {"start_date_time": "2026-01-31T10:10:00Z", "dimensions": [{"type": "POWER", "volume": 11}]},
        {"start_date_time": "2026-01-31T10:20:00Z", "dimensions": [{"type": "TIME", "volume": 0.5}], "tariff_id": "12"},
    ]
    value, losses = down(version, "Session", beside=place(), charging_periods=periods)
    kinds = [
        (one["start_date_time"][11:16], [dimension["type"] for dimension in one["dimensions"]]) for one in value["charging_periods"]
    ]
    assert kinds == [("10:00", ["ENERGY"]), ("10:20", ["TIME"])]
    assert all("tariff_id" not in one for one in value["charging_periods"])
    assert {
        "/charging_periods/0/dimensions/1",
        "/charging_periods/1/dimensions/0",
        "/charging_periods/1",
        "/charging_periods",
    } <= set(losses)


@pytest.mark.parametrize("name", ["Session", "CDR"])
def test_flat_is_no_volume_and_comes_back_to_its_own_version(name: str) -> None:
    start = "2026-01-31T10:00:00Z"
    periods = [
        {"start_date_time": start, "dimensions": [{"type": "FLAT", "volume": 1}, {"type": "ENERGY", "volume": 2}]},
        {"start_date_time": start, "dimensions": [{"type": "FLAT", "volume": 1}]},
    ]
    of = sample("2.1.1", name, charging_periods=periods)
    lifted = lift("2.1.1", name, of)
    value: Any = codec.parse(lifted.payload)
    assert value["charging_periods"] == [{"start_date_time": start, "dimensions": [{"type": "ENERGY", "volume": 2}]}]
    assert {"/charging_periods/0/dimensions/0", "/charging_periods/1/dimensions/0"} <= set(pointers(lifted.losses))
    assert codec.parse(lower("2.1.1", name, lifted.payload).body)["charging_periods"] == periods  # type: ignore[call-overload, index]
    changed = value | patched("2.1.1", "Session", charging_periods=periods[:1] * 2)["set"]
    del changed["roamlog:2.1.1/charging_periods"]
    assert len(codec.parse(lower("2.1.1", name, changed).body)["charging_periods"]) == 2  # type: ignore[call-overload, index, arg-type]


@both
def test_a_patch_of_charging_periods_replaces_them(version: str) -> None:
    periods = sample(version, "Session")["charging_periods"]
    patch = patched(version, "Session", charging_periods=periods)
    assert patch.keys() == {"set"}
    assert [one["dimensions"][0]["volume"] for one in patch["set"]["charging_periods"]] == [Decimal("12.5")]


@pytest.mark.point(15)
@both
@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("EVSE", {"status": "CHARGING"}),
        ("Location", {"name": "Interparking Gent Zuid"}),
        ("Connector", {"amperage": 16}),
        ("Session", {"status": "COMPLETED"}),
        ("Tariff", {"currency": "SEK"}),
        ("Token", {"valid": False}),
    ],
)
def test_a_patch_without_last_updated_is_accepted(version: str, name: str, changes: dict[str, Any]) -> None:
    """2.1.1: a PATCH without last_updated is accepted (the official examples have none). Source: mod_locations 2.2.3."""
    lifted = lift(version, name, changes, verb=Verb.PATCH)
    assert (lifted.findings, lifted.last_updated, lifted.ids) == ((), None, ())
    assert len(codec.parse(lifted.payload)["set"]) == 1  # type: ignore[call-overload, index, arg-type]


def test_a_patch_says_its_last_updated_where_it_has_one() -> None:
    stamp = "2026-02-02T00:00:00Z"
    lifted = lift("2.1.1", "EVSE", {"status": "CHARGING", "last_updated": stamp}, verb=Verb.PATCH)
    assert lifted.last_updated == instant(stamp)
    connector = {"id": "1", "amperage": 16}
    patch: Any = patched("2.1.1", "Location", evses=[{"uid": "3256", "connectors": [connector]}])
    (evse,) = patch["upsert"]["evses"]
    assert evse == {"set": {"uid": "3256"}, "upsert": {"connectors": [{"set": {"id": "1", "max_amperage": 16}}]}}


# CDR (requirements 5.4)


def test_a_cdr_stops_when_later_ones_end() -> None:
    assert up("2.1.1", "CDR")["end_date_time"] == "2026-01-31T11:00:00Z"
    value, _ = down("2.1.1", "CDR")
    assert value["stop_date_time"] == "2026-01-31T11:00:00Z"
    assert "end_date_time" not in value


def test_the_place_of_a_cdr_is_flattened_and_spread_out_again() -> None:
    flat = {
        "id": "LOC1",
        "name": "Keizersgracht",
        "address": "Keizersgracht 1",
        "city": "Amsterdam",
        "postal_code": "1015 CC",
        "country": "NLD",
        "coordinates": {"latitude": "52.370216", "longitude": "4.895168"},
        "evse_uid": "3256",
        "evse_id": "NL*TNM*E1",
        "connector_id": "1",
        "connector_standard": "IEC_62196_T2",
        "connector_format": "CABLE",
        "connector_power_type": "AC_3_PHASE",
    }
    assert up("2.1.1", "CDR")["cdr_location"] == flat
    value, losses = down("2.1.1", "CDR", cdr_location=flat)
    start = "2026-01-31T10:00:00Z"
    connector = {"id": "1", "standard": "IEC_62196_T2", "format": "CABLE", "power_type": "AC_3_PHASE"}
    assert value["location"] == {
        **{field: flat[field] for field in ("id", "name", "address", "city", "postal_code", "country", "coordinates")},
        "type": "UNKNOWN",
        "evses": [
            {
                "uid": "3256",
                "evse_id": "NL*TNM*E1",
                "status": "UNKNOWN",
                "connectors": [{**connector, "voltage": 0, "amperage": 0, "last_updated": start}],
                "last_updated": start,
            }
        ],
        "last_updated": start,
    }
    assert "/location/evses/0/connectors/0" in losses


@both
def test_voltage_and_amperage_of_a_cdr_come_from_its_location(version: str) -> None:
    value, losses = down(version, "CDR", beside=place())
    connector = value["location"]["evses"][0]["connectors"][0]
    assert (connector["voltage"], connector["amperage"]) == (230, 32)
    assert "/location/evses/0/connectors/0" not in losses


@both
def test_what_a_cdrs_place_does_not_say_is_na(version: str) -> None:
    location = sample(version, "Location")
    del location["evses"][0]["evse_id"]
    lifted = lift(version, "CDR", sample(version, "CDR", location=location))
    assert codec.parse(lifted.payload)["cdr_location"]["evse_id"] == "#NA"  # type: ignore[call-overload, index]
    assert "/cdr_location/evse_id" in pointers(lifted.losses)
    nowhere = lift(version, "CDR", sample(version, "CDR", location=sample(version, "Location", "evses")))
    flat: Any = codec.parse(nowhere.payload)["cdr_location"]  # type: ignore[call-overload, index]
    assert (flat["evse_uid"], flat["evse_id"], flat["connector_id"]) == ("#NA",) * 3
    assert "/cdr_location/connector_standard" in pointers(nowhere.losses)


@both
def test_a_reservation_that_was_never_used_has_no_evse(version: str) -> None:
    flat = {**canonical("CDR")["cdr_location"], "evse_uid": "#NA", "evse_id": "#NA", "connector_id": "#NA"}
    value, _ = down(version, "CDR", cdr_location=flat)
    assert "evses" not in value["location"]


def test_the_totals_of_a_cdr_are_copied_and_its_cost_is_before_taxes() -> None:
    value = up("2.1.1", "CDR", total_parking_time=0.25)
    assert (value["total_energy"], value["total_time"], value["total_parking_time"]) == (
        Decimal("12.5"),
        Decimal("1.0"),
        Decimal("0.25"),
    )
    assert value["total_cost"] == {"before_taxes": Decimal("4.5"), "taxes": []}
    back, losses = down("2.1.1", "CDR", total_parking_time=0.25)
    assert (back["total_energy"], back["total_time"], back["total_parking_time"]) == (
        Decimal("12.5"),
        Decimal("1.0"),
        Decimal("0.25"),
    )
    assert back["total_cost"] == Decimal("4.0")
    assert "/total_cost/taxes" in losses


@both
def test_fields_of_later_cdrs_are_lost(version: str) -> None:
    later: dict[str, Any] = {
        "session_id": "s-1",
        "authorization_reference": "R1",
        "invoice_reference_id": "I1",
        "signed_data": {"encoding_method": "OCMF", "signed_values": [{"nature": "Start", "plain_data": "a", "signed_data": "b"}]},
        "total_energy_cost": {"before_taxes": 4, "taxes": []},
        "home_charging_compensation": True,
    }
    value, losses = down(version, "CDR", credit=False, **later)
    assert not {*later, "credit"} & value.keys()
    assert {f"/{field}" for field in later} <= set(losses)


@both
def test_a_credit_cdr_is_withheld(version: str) -> None:
    reason = withheld(version, "CDR", credit=True, credit_reference_id="c-0", total_cost={"before_taxes": -4, "taxes": []})
    assert "Credit CDR" in reason


def test_the_id_of_a_cdr_is_never_cut() -> None:
    value, losses = down("2.1.1", "CDR", id="c" * 39)
    assert value["id"] == "c" * 39
    assert "/id" in losses


@both
def test_the_tariffs_of_a_cdr_are_converted_each(version: str) -> None:
    (tariff,) = up(version, "CDR")["tariffs"]
    assert (tariff["country_code"], tariff["party_id"], tariff["tax_included"]) == ("NL", "TNM", "NO")
    tariffs = [canonical("Tariff"), canonical("Tariff", id="13", type="AD_HOC_PAYMENT")]
    value, losses = down(version, "CDR", tariffs=tariffs)
    assert [one["id"] for one in value["tariffs"]] == ["12"]
    assert "/tariffs/1" in losses
    assert not {"country_code", "party_id", "tax_included", "min_price"} & value["tariffs"][0].keys()


@both
def test_a_command_is_given_as_a_request(version: str) -> None:
    value, losses = down(version, "CDR", auth_method="COMMAND")
    assert value["auth_method"] == "AUTH_REQUEST"
    assert "/auth_method" in losses


@both
def test_a_cdr_of_which_no_period_can_be_said_is_withheld(version: str) -> None:
    periods = [{"start_date_time": "2026-01-31T10:00:00Z", "dimensions": [{"type": "RESERVATION_TIME", "volume": 1}]}]
    assert "charging_periods" in withheld(version, "CDR", charging_periods=periods)


# Tariff (requirements 5.5)


@both
@pytest.mark.parametrize("kind", ["AD_HOC_PAYMENT", "PROFILE_CHEAP", "PROFILE_FAST", "PROFILE_GREEN"])
def test_a_tariff_that_is_not_for_everybody_is_withheld(version: str, kind: str) -> None:
    assert kind in withheld(version, "Tariff", type=kind)
    assert "type" not in down(version, "Tariff", type="REGULAR")[0]
    assert "type" not in up(version, "Tariff")


@both
def test_bounds_of_the_price_and_the_vat_are_lost(version: str) -> None:
    value, losses = down(version, "Tariff", max_price={"before_taxes": 5})
    assert not {"min_price", "max_price"} & value.keys()
    assert "vat" not in value["elements"][0]["price_components"][0]
    assert {"/min_price", "/max_price", "/elements/0/price_components/0/vat"} <= set(losses)


@both
def test_old_prices_are_without_taxes(version: str) -> None:
    assert up(version, "Tariff")["tax_included"] == "NO"
    assert up(version, "Tariff")["elements"][0]["price_components"][0]["price"] == Decimal("0.25")
    value, losses = down(version, "Tariff", tax_included="YES")  # 0.32 with 19 %
    assert Decimal(value["elements"][0]["price_components"][0]["price"]) == Decimal("0.268908")
    assert "/elements/0/price_components/0/price" in losses
    untold = [{"price_components": [{"type": "ENERGY", "price": 0.32, "step_size": 1}]}]
    assert "taxes" in withheld(version, "Tariff", tax_included="YES", elements=untold)
    value, losses = down(version, "Tariff", tax_included="N/A", elements=untold)
    assert Decimal(value["elements"][0]["price_components"][0]["price"]) == Decimal("0.32")
    assert "/tax_included" in losses


@both
@pytest.mark.parametrize(
    ("now", "given"),
    [(None, False), ("2026-01-01T00:00:00Z", False), ("2026-03-01T00:00:00Z", True), ("2026-05-01T00:00:00Z", False)],
)
def test_a_tariff_with_a_validity_is_given_while_it_is_valid(version: str, now: str | None, given: bool) -> None:
    span: dict[str, Any] = {"start_date_time": "2026-02-01T00:00:00Z", "end_date_time": "2026-05-01T00:00:00Z"}
    beside = Beside(now=None if now is None else instant(now))
    if given:
        value, losses = down(version, "Tariff", beside=beside, **span)
        assert not span.keys() & value.keys()
        assert {"/start_date_time", "/end_date_time"} <= set(losses)
    else:
        assert "valid" in withheld(version, "Tariff", beside=beside, **span)


@both
def test_elements_that_depend_on_what_old_versions_do_not_know_are_left_out(version: str) -> None:
    component = {"type": "ENERGY", "price": 0.3, "step_size": 1}
    elements = [
        {"price_components": [component], "restrictions": {foreign: value}}
        for foreign, value in (("reservation", "RESERVATION"), ("min_current", 16), ("max_current", 32), ("booking", "BOOKING"))
    ]
    last: dict[str, Any] = {"price_components": [component], "restrictions": {"max_power": 32}}
    value, losses = down(version, "Tariff", elements=[*elements, last])
    assert len(value["elements"]) == 1
    assert Decimal(value["elements"][0]["restrictions"]["max_power"]) == 32
    assert {f"/elements/{index}" for index in range(4)} <= set(losses)
    assert "text" in withheld(version, "Tariff", elements=elements)
    told, _ = down(version, "Tariff", elements=elements, tariff_alt_url="https://tariffs.example/12")
    assert (told["id"], told["elements"]) == ("12", [])


@pytest.mark.point(35)
@both
def test_the_rule_by_which_elements_are_selected_stays_with_the_tariff(version: str) -> None:
    """Elements are selected for each dimension since 2.2, and as a whole before, read by the letter.

    Source: OCPI 2.2 mod_tariffs, Tariff elements; 2.1.1 mod_tariffs, TariffElement.
    """
    flat = {
        "price_components": [
            {"type": "FLAT", "price": sample(version, "Tariff")["elements"][0]["price_components"][0]["price"], "step_size": 1}
        ]
    }
    elements = [flat, *sample(version, "Tariff")["elements"]]
    value = up(version, "Tariff", elements=elements)
    assert selection(value) == "element"
    assert selection(patched(version, "Tariff", elements=elements)["set"]) == "element"
    assert selection(up(version, "CDR")["tariffs"][0]) == "element"
    newer = v2_2_1.dialect().lower(Module.TARIFFS, codec.encode(value))
    assert any("selection" in loss.pointer for loss in newer.losses)
    assert selection(canonical("Tariff")) == "dimension"
    component = {"type": "ENERGY", "price": 0.3, "step_size": 1}
    _, losses = down(version, "Tariff", elements=[{"price_components": [component]}, {"price_components": [component]}])
    assert "/elements" in losses
    assert lower(version, "Tariff", value).losses == ()


@both
def test_the_texts_of_a_tariff_are_copied(version: str) -> None:
    texts: dict[str, Any] = {
        "tariff_alt_text": [{"language": "en", "text": "2 euro"}],
        "tariff_alt_url": "https://tariffs.example/12",
    }
    assert texts.items() <= up(version, "Tariff", **texts).items()
    assert texts.items() <= down(version, "Tariff", **texts)[0].items()


@both
def test_a_tariff_can_be_patched(version: str) -> None:
    elements = sample(version, "Tariff")["elements"]
    changes = patched(version, "Tariff", elements=elements)["set"]
    assert changes["elements"][0]["price_components"][0]["price"] == Decimal("0.25")
    assert "tax_included" not in changes


# Token (requirements 5.6)


@both
def test_the_contract_of_a_token_is_called_auth_id(version: str) -> None:
    value = up(version, "Token")
    assert value["contract_id"] == "DE-MSP-C1-2"
    back, _ = down(version, "Token")
    assert back["auth_id"] == "DE-MSP-C1-2"
    assert not {"auth_id", "contract_id"} <= back.keys()


@both
@pytest.mark.parametrize("kind", ["APP_USER", "AD_HOC_USER", "EMAID"])
def test_later_types_of_tokens_are_other(version: str, kind: str) -> None:
    value, losses = down(version, "Token", type=kind)
    assert value["type"] == "OTHER"
    assert "/type" in losses
    assert down(version, "Token")[0]["type"] == "RFID"


@both
def test_fields_of_later_tokens_are_lost(version: str) -> None:
    later: dict[str, Any] = {
        "group_id": "G",
        "default_profile_type": "CHEAP",
        "energy_contract": {"supplier_name": "S"},
    }
    value, losses = down(version, "Token", **later)
    assert not later.keys() & value.keys()
    assert {f"/{field}" for field in later} <= set(losses)


@pytest.mark.parametrize("whitelist", ["ALWAYS", "ALLOWED", "ALLOWED_OFFLINE", "NEVER"])
def test_whitelist_and_language_and_visual_number_are_copied(whitelist: str) -> None:
    fields: dict[str, Any] = {"whitelist": whitelist, "language": "nl", "visual_number": "V"}
    assert fields.items() <= up("2.1.1", "Token", **fields).items()
    assert fields.items() <= down("2.1.1", "Token", **fields)[0].items()
    assert "visual_number" not in down("2.1.1", "Token")[0]


@both
def test_a_token_that_an_old_partner_types_anew_comes_back(version: str) -> None:
    of = sample(version, "Token", type="APP_USER")
    lifted = lift(version, "Token", of)
    assert [(finding.pointer, finding.rule) for finding in lifted.findings] == [("/type", "unknown_enum_value")]
    assert codec.parse(lower(version, "Token", lifted.payload).body) == of


# What is wrong with an object, by version.


def test_an_object_of_another_version_is_refused_and_recognised() -> None:
    newer: Any = codec.parse(body(SESSION))
    with pytest.raises(Refused) as refused:
        lift("2.1.1", "Session", newer)
    findings = {(finding.pointer, finding.rule) for finding in refused.value.findings}
    assert {
        ("/start_datetime", "missing_field"),
        ("/cdr_token", "other_version"),
        ("/start_date_time", "other_version"),
    } <= findings
    with pytest.raises(Refused) as refused:
        v2_2_1.dialect().lift(Module.SESSIONS, Verb.PUT, codec.encode(sample("2.1.1", "Session")))
    findings = {(finding.pointer, finding.rule) for finding in refused.value.findings}
    assert {("/start_date_time", "missing_field"), ("/auth_id", "other_version"), ("/location", "other_version")} <= findings


def test_a_mixed_spelling_is_flagged_and_kept() -> None:
    lifted = v2_2_1.dialect().lift(Module.CDRS, Verb.POST, body(CDR, stop_date_time="2026-01-31T11:00:00Z"))
    assert {(finding.pointer, finding.rule, finding.severity) for finding in lifted.findings} == {
        ("/stop_date_time", "unknown_field", "info"),
        ("/stop_date_time", "other_version", "warning"),
    }
    of = sample("2.1.1", "Session", start_date_time="2020-01-01T00:00:00Z")
    lifted = lift("2.1.1", "Session", of)
    assert ("/start_date_time", "other_version") in {(finding.pointer, finding.rule) for finding in lifted.findings}
    value: Any = codec.parse(lifted.payload)
    assert value["start_date_time"] == "2026-01-31T10:00:00Z"
    assert codec.parse(lower("2.1.1", "Session", lifted.payload).body) == codec.parse(codec.encode(of))


@pytest.mark.point(29)
def test_a_number_in_a_string_is_taken_flagged_and_emitted_as_a_number() -> None:
    """2.1.1 has numbers, though its CDR example prints "price": "2.00". Source: OCPI 2.1.1 types, mod_cdrs example."""
    tariff = sample("2.1.1", "Tariff")
    tariff["elements"][0]["price_components"][0]["price"] = "2.00"
    assert rules("2.1.1", "CDR", sample("2.1.1", "CDR", tariffs=[tariff])) == [
        ("/tariffs/0/elements/0/price_components/0/price", "number_as_string", "warning")
    ]
    lifted = lift("2.1.1", "Tariff", tariff)
    back = lower("2.1.1", "Tariff", lifted.payload).body
    assert b'"price":2.00' in lifted.payload
    assert b'"price":2.00' in back


def test_a_string_as_a_number_is_taken_as_its_text() -> None:
    of = sample("2.1.1", "EVSE", physical_reference=3, floor_level=-1)
    assert [rule for _, rule, _ in rules("2.1.1", "EVSE", of)] == ["string_as_number", "string_as_number"]
    assert (up("2.1.1", "EVSE", physical_reference=3)["physical_reference"]) == "3"


@pytest.mark.parametrize("comma", ["4,00", "1,000", "1.000,50"])
def test_a_decimal_comma_is_no_number(comma: str) -> None:
    assert errors("2.1.1", "Session", sample("2.1.1", "Session", total_cost=comma)) == [("/total_cost", "wrong_type")]


def test_na_is_a_text_like_any_other() -> None:
    assert rules("2.1.1", "Session", sample("2.1.1", "Session", auth_id="#NA")) == []
    assert errors("2.1.1", "Session", sample("2.1.1", "Session", kwh="#NA")) == [("/kwh", "wrong_type")]


def test_an_offset_is_taken_as_utc_and_flagged() -> None:
    of = sample("2.1.1", "Session", start_datetime="2026-01-31T12:00:00+02:00")
    assert rules("2.1.1", "Session", of) == [("/start_datetime", "offset_date_time", "warning")]
    assert up("2.1.1", "Session", start_datetime="2026-01-31T12:00:00+02:00")["start_date_time"] == "2026-01-31T10:00:00Z"


@pytest.mark.point(40)
@both
def test_unknown_fields_and_values_of_open_enums_are_no_reason_to_refuse_and_closed_ones_are(version: str) -> None:
    """Unknown fields and values of enums that 2.3.0 opens are taken in every version, those of closed ones refuse.

    Source: OCPI 2.3.0 types, OpenEnum; transport_and_format, non-specified fields.
    """
    of = sample(version, "Location", type="ON_DRIVEWAY", solar_roof={"kWp": 12})
    of["evses"][0]["capabilities"] = ["RESERVABLE", "TELEPORT"]
    of["evses"][0]["connectors"][0]["standard"] = "MCS"
    lifted = lift(version, "Location", of)
    assert {(finding.pointer, finding.rule) for finding in lifted.findings} == {
        ("/type", "unknown_enum_value"),
        ("/solar_roof", "unknown_field"),
        ("/evses/0/capabilities/1", "unknown_enum_value"),
        ("/evses/0/connectors/0/standard", "unknown_enum_value"),
    }
    assert codec.parse(lower(version, "Location", lifted.payload).body) == of
    newest: Any = codec.parse(lifted.payload)
    assert (newest["parking_type"], newest["evses"][0]["connectors"][0]["standard"]) == ("ON_DRIVEWAY", "MCS")
    assert errors(version, "EVSE", sample(version, "EVSE", status="BROKEN")) == [("/status", "enum_value")]
    assert errors(version, "Connector", sample(version, "Connector", power_type="AC_9_PHASE")) == [("/power_type", "enum_value")]
    assert errors(version, "Session", sample(version, "Session", status="RESERVATION")) == [("/status", "enum_value")]


@pytest.mark.point(30)
@both
@pytest.mark.parametrize("name", ["Session", "CDR"])
def test_energy_that_was_sent_in_wh_is_flagged_and_not_rescaled(version: str, name: str) -> None:
    """ENERGY volumes are kWh; the published Session examples hold Wh. Source: OCPI 2.1.1 mod_sessions, example 2."""
    of = sample(version, name)
    of["charging_periods"][0]["dimensions"][0]["volume"] = "12500" if version == "2.0" else 12500
    assert rules(version, name, of) == [("/charging_periods", "energy_in_wh", "warning")]
    value: Any = codec.parse(lift(version, name, of).payload)
    assert value["charging_periods"][0]["dimensions"][0]["volume"] == 12500


def test_a_session_that_was_updated_before_it_ended_is_flagged() -> None:
    of = sample("2.1.1", "Session", last_updated="2026-01-31T10:59:00Z")
    assert rules("2.1.1", "Session", of) == [("/last_updated", "updated_before_end", "warning")]
    of = sample("2.1.1", "CDR", stop_date_time="2026-01-31T09:00:00Z")
    assert rules("2.1.1", "CDR", of) == [("/stop_date_time", "end_before_start", "warning")]


UNKNOWN: Final = {
    "x-vendor": {"a": [1, None]},
    "publish": "yes",
    "max_voltage": "many",
    "roamlog:2.1.1": 1,
    "roamlog:2.1.1/location": 2,
}


@pytest.mark.parametrize("name", ["Session", "CDR", "Tariff", "Token", "Location", "EVSE", "Connector"])
def test_unknown_fields_come_back_whatever_they_are_called(name: str) -> None:
    of = sample("2.1.1", name, **UNKNOWN)
    lowered = lower("2.1.1", name, lift("2.1.1", name, of).payload)
    assert codec.parse(lowered.body) == codec.parse(codec.encode(of))


def test_what_a_newer_partner_calls_like_an_old_field_is_lost() -> None:
    value, losses = down("2.1.1", "Connector", voltage="high")
    assert value["voltage"] == 230
    assert "/voltage" in losses
