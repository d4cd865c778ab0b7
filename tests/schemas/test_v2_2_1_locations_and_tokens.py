"""OCPI 2.2.1 Locations at their three levels, Tariffs and Tokens: identities, PATCHes as operations, what other versions add."""

from typing import Any, Final

import pytest
from samples import CONNECTOR, EVSE, LOCATION, TARIFF, TOKEN, body

from schemas import codec
from schemas.ocpi.dialect import Level, Lifted, Refused
from schemas.ocpi.discovery import discover
from schemas.types import Module, Verb

OCPI: Final = discover()["2.2.1"]
NOW: Final = "2026-01-31T11:00:01Z"


def put(text: bytes, level: Level = "location") -> Lifted:
    return OCPI.lift(Module.LOCATIONS, Verb.PUT, text, level=level)


def patch(level: Level, **changes: Any) -> Any:
    return codec.parse(OCPI.lift(Module.LOCATIONS, Verb.PATCH, codec.encode({"last_updated": NOW, **changes}), level=level).payload)


def rules(lifted: Lifted) -> list[tuple[str, str]]:
    return [(finding.pointer, finding.rule) for finding in lifted.findings]


def test_each_level_says_what_it_is() -> None:
    location, evse, connector = put(body(LOCATION)), put(body(EVSE), "evse"), put(body(CONNECTOR), "connector")
    assert (location.party, location.ids) == ("NL*TNM", ("LOC1",))
    assert (evse.party, evse.ids) == (None, ("3256",))
    assert (connector.party, connector.ids) == (None, ("1",))
    assert [lifted.raw for lifted in (location, evse, connector)] == [None, None, None]


def test_ids_of_evses_and_connectors_within_a_location_are_identities() -> None:
    evse = {**EVSE, "uid": "u" * 37, "connectors": [{**CONNECTOR, "id": ""}]}
    with pytest.raises(Refused) as refused:
        put(body(LOCATION, evses=[evse]))
    assert [(finding.pointer, finding.rule) for finding in refused.value.findings] == [
        ("/evses/0/uid", "too_long"),
        ("/evses/0/connectors/0/id", "empty_identity"),
    ]


def test_evses_of_a_location_patch_and_their_connectors_are_patches_themselves() -> None:
    evse = {"uid": "3256", "status": "CHARGING", "connectors": [{"id": "1", "max_amperage": 16, "tariff_ids": None}]}
    assert patch("location", evses=[evse], name=None) == {
        "set": {"last_updated": NOW, "name": None},
        "upsert": {
            "evses": [
                {
                    "set": {"uid": "3256", "status": "CHARGING"},
                    "upsert": {"connectors": [{"set": {"id": "1", "max_amperage": 16, "tariff_ids": None}}]},
                }
            ]
        },
    }


def test_an_evse_patch_upserts_its_connectors_and_replaces_other_lists() -> None:
    assert patch("evse", connectors=[{"id": "2"}], capabilities=[]) == {
        "set": {"last_updated": NOW, "capabilities": []},
        "upsert": {"connectors": [{"set": {"id": "2"}}]},
    }
    assert patch("location", evses=[]) == patch("location", evses=None) == {"set": {"last_updated": NOW}}


def test_a_member_of_a_patch_must_say_which_it_is() -> None:
    with pytest.raises(Refused) as refused:
        patch("location", evses=[{"status": "CHARGING"}])
    assert [(finding.pointer, finding.rule) for finding in refused.value.findings] == [("/evses/0/uid", "missing_field")]


def test_a_status_patch_needs_last_updated_and_a_listed_status() -> None:
    assert patch("evse", status="REMOVED") == {"set": {"last_updated": NOW, "status": "REMOVED"}}
    for text in (b'{"status":"REMOVED"}', b'{"status":"GONE","last_updated":"%b"}' % NOW.encode()):
        with pytest.raises(Refused):
            OCPI.lift(Module.LOCATIONS, Verb.PATCH, text, level="evse")


def test_fields_that_only_the_canonical_form_has_are_unknown_ones_and_come_back() -> None:
    connector = {**CONNECTOR, "capabilities": "x"}
    text = body(LOCATION, help_phone=112, evses=[{**EVSE, "parking": 1, "connectors": [connector]}])
    lifted = put(text)
    canonical: Any = codec.parse(lifted.payload)
    assert canonical["roamlog:2.2.1"] == {"help_phone": 112}
    assert canonical["evses"][0]["roamlog:2.2.1"] == {"parking": 1}
    assert canonical["evses"][0]["connectors"][0]["roamlog:2.2.1"] == {"capabilities": "x"}
    lowered = OCPI.lower(Module.LOCATIONS, lifted.payload)
    assert (codec.parse(lowered.body), lowered.losses) == (codec.parse(text), ())


def test_what_a_newer_version_knows_more_is_lost_and_told() -> None:
    newer = body(LOCATION, help_phone="+31", evses=[{**EVSE, "accepted_service_providers": ["X"]}])
    lowered = OCPI.lower(Module.LOCATIONS, newer)
    assert codec.parse(lowered.body) == codec.parse(body(LOCATION))
    assert [(loss.pointer, loss.kind) for loss in lowered.losses] == [
        ("/help_phone", "lost"),
        ("/evses/0/accepted_service_providers", "lost"),
    ]


def test_values_that_are_open_in_2_3_0_are_kept_in_lists_too() -> None:
    lifted = put(body(EVSE, capabilities=["RFID_READER", "TELEPORT"], parking_restrictions=["TAXIS"]), "evse")
    assert rules(lifted) == [("/capabilities/1", "unknown_enum_value"), ("/parking_restrictions/0", "unknown_enum_value")]


def test_places_beyond_the_globe_are_flagged_wherever_they_stand() -> None:
    beyond = {"latitude": "95.000000", "longitude": "5.000000"}
    lifted = put(body(LOCATION, coordinates=beyond, related_locations=[beyond], evses=[{**EVSE, "coordinates": beyond}]))
    assert rules(lifted) == [
        ("/coordinates/latitude", "coordinates_out_of_range"),
        ("/related_locations/0/latitude", "coordinates_out_of_range"),
        ("/evses/0/coordinates/latitude", "coordinates_out_of_range"),
    ]


def test_a_token_is_named_by_its_uid_and_type() -> None:
    lifted = OCPI.lift(Module.TOKENS, Verb.PUT, body(TOKEN))
    assert (lifted.party, lifted.ids, lifted.raw) == ("DE*MSP", ("04E1", "RFID"), None)


@pytest.mark.parametrize(
    ("own", "ids"),
    [({}, ()), ({"uid": "04E1"}, ("04E1", "")), ({"type": "RFID"}, ("", "RFID")), ({"uid": "1", "type": "OTHER"}, ("1", "OTHER"))],
)
def test_a_token_patch_says_which_part_of_its_name_it_holds(own: dict[str, str], ids: tuple[str, ...]) -> None:
    lifted = OCPI.lift(Module.TOKENS, Verb.PATCH, codec.encode({**own, "valid": False, "last_updated": NOW}))
    assert lifted.ids == ids
    assert codec.parse(lifted.payload) == {"set": {"valid": False, "last_updated": NOW}}


def test_a_tariff_becomes_canonical_and_comes_back() -> None:
    lifted = OCPI.lift(Module.TARIFFS, Verb.PUT, body(TARIFF))
    assert lifted.ids == ("12",)
    assert [(loss.pointer, loss.kind) for loss in lifted.losses] == [("/tax_included", "defaulted")]
    lowered = OCPI.lower(Module.TARIFFS, lifted.payload)
    assert (codec.parse(lowered.body), lowered.losses) == (codec.parse(body(TARIFF)), ())


@pytest.mark.parametrize("module", [Module.CDRS, Module.TARIFFS])
def test_what_cannot_be_patched_is_not_a_partners_fault(module: Module) -> None:
    with pytest.raises(ValueError, match="no PATCH"):
        OCPI.lift(module, Verb.PATCH, b"{}")
