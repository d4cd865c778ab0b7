"""The fold of the Location tree, rule by rule (OCPI 2.2.1 mod_locations; requirements 2.4)."""

import json
from typing import Any

import pytest
from charging import at, folded
from hypothesis import given
from hypothesis import strategies as st
from places import (
    connector,
    evse,
    patch_connector,
    patch_evse,
    patch_location,
    put_connector,
    put_evse,
    put_location,
)

from schemas.events import Envelope
from streams.errors import Poison
from streams.projection import Table
from streams.projections.locations import (
    EVSE_STATUS,
    EVSES,
    LOCATION_FINDINGS,
    LOCATIONS_TABLE,
    PARKED,
    Locations,
    LocationState,
)

KEY = ("NL*TNM", "l1")


def doc(*events: Envelope) -> dict[str, Any]:
    state, _ = folded(Locations(), *events)
    row = dict(zip((c.name for c in LOCATIONS_TABLE.columns), Locations().row(KEY, state), strict=True))
    assert isinstance(row["doc"], bytes)
    assert isinstance(row["state"], bytes)
    assert Locations().decode(KEY, row["doc"], row["state"]) == state
    return dict(json.loads(row["doc"]))


def rows(table: Table, *events: Envelope) -> list[dict[str, Any]]:
    _, facts = folded(Locations(), *events)
    return [dict(zip((c.name for c in table.columns), fact.row, strict=True)) for fact in facts if fact.table is table]


def uids(document: dict[str, Any]) -> list[str]:
    return [one["uid"] for one in document.get("evses", [])]


def test_an_evse_patch_moves_the_locations_last_updated() -> None:
    after = doc(put_location(0, evse("E1")), patch_evse(5, status="CHARGING"))
    assert (after["last_updated"], after["evses"][0]["last_updated"]) == (at(5), at(5))
    assert after["evses"][0]["status"] == "CHARGING"


def test_a_connector_patch_moves_both_parents() -> None:
    after = doc(put_location(0, evse("E1")), patch_connector(7, max_amperage=32))
    assert (after["last_updated"], after["evses"][0]["last_updated"]) == (at(7), at(7))
    assert after["evses"][0]["connectors"][0]["max_amperage"] == 32


def test_a_put_without_name_clears_it_and_a_patch_without_it_keeps_it() -> None:
    assert "name" not in doc(put_location(0, name="A"), put_location(5))
    assert doc(put_location(0, name="A"), patch_location(5, city="Zeist"))["name"] == "A"


def test_an_evse_that_a_put_does_not_name_is_unlisted_but_kept() -> None:
    events = put_location(0, evse("E1"), evse("E2")), put_location(5, evse("E1", 5))
    assert uids(doc(*events)) == ["E1"]
    last = {row["evse_uid"]: row["listed"] for row in rows(EVSES, *events)}
    assert last == {"e1": 1, "e2": 0}


@pytest.mark.parametrize("nothing", [[], None])
def test_an_empty_list_of_evses_comes_back_as_it_was_said(nothing: list[object] | None) -> None:
    assert doc(put_location(0, evses=nothing))["evses"] == nothing
    assert uids(doc(put_location(0, evses=nothing), put_evse(5))) == ["E1"]
    assert doc(put_location(0, evse("E1")), put_location(5, evses=nothing))["evses"] == nothing


def test_a_put_without_evses_unlists_all() -> None:
    assert uids(doc(put_location(0, evse("E1")), put_location(5))) == []


def test_any_newer_event_lists_an_evse_again() -> None:
    gone = put_location(0, evse("E1")), put_location(5)
    assert uids(doc(*gone, patch_evse(9, status="CHARGING"))) == ["E1"]
    assert uids(doc(*gone, put_evse(9))) == ["E1"]


def test_an_older_event_that_arrives_late_does_not_list_it() -> None:
    assert uids(doc(put_location(5), put_evse(3))) == []


def test_removed_is_a_status_and_stays_in_the_document() -> None:
    assert doc(put_location(0, evse("E1")), patch_evse(5, status="REMOVED"))["evses"][0]["status"] == "REMOVED"


def test_a_stale_evse_in_a_newer_location_does_not_undo_the_evses_own_patch() -> None:
    events = put_location(0, evse("E1", 0)), patch_evse(5, status="CHARGING"), put_location(9, evse("E1", 0, "AVAILABLE"))
    assert doc(*events)["evses"][0]["status"] == "CHARGING"
    assert [row["rule"] for row in rows(LOCATION_FINDINGS, *events)] == ["stale_nested"]


def test_an_unbumped_location_does_not_hide_a_newer_evse() -> None:
    after = doc(put_location(0, evse("E1", 0)), put_location(0, evse("E1", 5, "CHARGING")))
    assert after["evses"][0]["status"] == "CHARGING"
    assert after["last_updated"] == at(5)


def test_patching_a_location_upserts_evses_by_uid() -> None:
    after = doc(put_location(0, evse("E1"), evse("E2")), patch_location(5, {"uid": "E2", "status": "BLOCKED"}))
    assert [one["status"] for one in after["evses"]] == ["AVAILABLE", "BLOCKED"]


def test_a_status_inside_a_location_patch_is_observed() -> None:
    events = put_location(0, evse("E1")), patch_location(5, {"uid": "E1", "status": "BLOCKED"})
    assert [(row["status"], row["type"]) for row in rows(EVSE_STATUS, *events)][1:] == [("BLOCKED", "location.patched")]


def test_a_connector_left_out_of_an_evse_put_is_unlisted() -> None:
    two = evse("E1", connectors=[connector("1"), connector("2")])
    after = doc(put_location(0, two), put_evse(5))
    assert [one["id"] for one in after["evses"][0]["connectors"]] == ["1"]


def test_a_put_connector_adds_it() -> None:
    after = doc(put_location(0, evse("E1")), put_connector(5, connector_id="2"))
    assert [one["id"] for one in after["evses"][0]["connectors"]] == ["1", "2"]


def test_a_patch_with_all_connectors_unlists_the_others() -> None:
    """2.0: what a PATCH says of `connectors` is the whole list. Source: OCPI 2.0 mod_locations, EVSE (no Connector objects)."""
    two = evse("E1", connectors=[connector("1"), connector("2")])
    after = doc(put_location(0, two), patch_evse(5, connectors=[connector("3"), connector("2")]))
    assert [one["id"] for one in after["evses"][0]["connectors"]] == ["3", "2"]
    later = doc(put_location(0, two), patch_evse(5, connectors=[connector("3")]), put_connector(9, connector_id="1"))
    assert [one["id"] for one in later["evses"][0]["connectors"]] == ["3", "1"]
    late = doc(put_location(0, evse("E1")), patch_evse(5, connectors=[connector("3")]), put_evse(3))
    assert [one["id"] for one in late["evses"][0]["connectors"]] == ["3"]
    assert doc(put_location(0, two), patch_evse(5, connectors=[]))["evses"][0]["connectors"] == []


def test_ids_are_case_insensitive_and_the_first_spelling_is_served() -> None:
    after = doc(put_location(0, evse("E1")), patch_evse(5, uid="e1", status="CHARGING"), put_evse(9, uid="e1"))
    assert uids(after) == ["E1"]


def test_every_observed_status_is_a_fact_even_when_it_came_late() -> None:
    events = put_location(5, evse("E1", 5, "CHARGING")), patch_evse(3, status="BLOCKED")
    assert doc(*events)["evses"][0]["status"] == "CHARGING"
    assert [(row["status"], row["type"]) for row in rows(EVSE_STATUS, *events)] == [
        ("CHARGING", "location.replaced"),
        ("BLOCKED", "evse.patched"),
    ]


def test_a_change_of_country_reaches_the_evse_rows() -> None:
    changed = rows(EVSES, put_location(0, evse("E1"), evse("E2")), patch_location(5, country="BEL"))
    assert [row["country"] for row in changed] == ["NLD", "NLD", "BEL", "BEL"]


def test_only_the_evse_that_changed_gives_a_row() -> None:
    changed = rows(EVSES, put_location(0, evse("E1"), evse("E2")), patch_evse(5, uid="E2", status="CHARGING"))
    assert [row["evse_uid"] for row in changed] == ["e1", "e2", "e2"]


def test_changes_below_an_unknown_location_wait_and_the_101st_is_refused() -> None:
    early = [patch_evse(second, status="CHARGING") for second in range(1, PARKED + 1)]
    state, _ = folded(Locations(), *early)
    assert isinstance(state, LocationState)
    assert not state.node.served
    assert doc(*early[:3], put_location(0, evse("E1")))["evses"][0]["status"] == "CHARGING"
    with pytest.raises(Poison, match="waiting for its PUT"):
        folded(Locations(), *early, patch_evse(PARKED + 1, status="CHARGING"))


uid = st.sampled_from(["E1", "E2"])
status = st.sampled_from(["AVAILABLE", "CHARGING", "REMOVED"])


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[Envelope], list[Envelope]]:
    """Stamped histories, EVSE and Connector stamps nested in PUTs included, and the same in another order."""
    stamps = draw(st.lists(st.integers(0, 250), min_size=1, max_size=7, unique=True))
    events = [put_location(stamps[0], evse("E1", stamps[0]))]
    for stamp in stamps[1:]:
        match draw(st.integers(0, 7)):
            case 0 | 1:
                nested = [
                    evse(one, draw(st.integers(0, stamp)), draw(status), connectors=draw(st.sampled_from([[], [connector("1")]])))
                    for one in draw(st.lists(uid, unique=True))
                ]
                events.append(put_location(stamp, *nested))
            case 2:
                events.append(put_evse(stamp, draw(uid), status=draw(status)))
            case 3:
                events.append(patch_evse(stamp, draw(uid), status=draw(status)))
            case 4:
                events.append(put_connector(stamp, draw(uid), draw(st.sampled_from(["1", "2"]))))
            case 5:
                events.append(patch_connector(stamp, draw(uid), max_amperage=draw(st.integers(1, 9))))
            case 6:
                said = draw(st.lists(st.sampled_from(["1", "2", "3"]), unique=True))
                events.append(patch_evse(stamp, draw(uid), connectors=[connector(one) for one in said]))
            case _:
                events.append(patch_location(stamp, {"uid": draw(uid), "status": draw(status)}, city=draw(st.sampled_from("AB"))))
    return events, draw(st.permutations(events))


@given(histories())
def test_any_permutation_of_stamped_events_gives_one_tree(pair: tuple[list[Envelope], list[Envelope]]) -> None:
    one, other = pair
    assert doc(*one) == doc(*other)
