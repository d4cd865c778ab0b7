"""The fold of Sessions, rule by rule (OCPI 2.2.1 mod_sessions; PUT replaces, PATCH appends periods)."""

import json
from itertools import permutations
from typing import Any

import msgspec
import pytest
from charging import at, envelope, folded, patch, period, put
from hypothesis import given
from hypothesis import strategies as st

from schemas.events import Envelope
from streams.errors import Poison
from streams.projections.sessions import PARKED, SESSION_FINDINGS, SESSION_HISTORY, SESSIONS, Sessions


def doc(*events: Envelope) -> dict[str, Any]:
    state, _ = folded(Sessions(), *events)
    assert state is not None
    return dict(json.loads(msgspec.json.encode(state.fields)))


def rules(*events: Envelope) -> list[str]:
    _, facts = folded(Sessions(), *events)
    at_rule = [column.name for column in SESSION_FINDINGS.columns].index("rule")
    return [str(fact.row[at_rule]) for fact in facts if fact.table is SESSION_FINDINGS]


def test_a_patch_appends_charging_periods() -> None:
    assert doc(put(0, charging_periods=[period(0)]), patch(5, period(5)), patch(9, period(9)))["charging_periods"] == [
        period(0),
        period(5),
        period(9),
    ]


def test_a_patch_without_periods_changes_no_period() -> None:
    assert doc(put(0, charging_periods=[period(0)]), patch(5, kwh=2))["charging_periods"] == [period(0)]


def test_a_put_without_periods_empties_the_list() -> None:
    assert "charging_periods" not in doc(put(0, charging_periods=[period(0)]), patch(3, period(3)), put(5))


def test_the_list_of_a_put_is_kept_verbatim_with_order_and_equal_starts() -> None:
    odd = [period(9), period(0), period(0, "2.0")]
    assert doc(put(0, charging_periods=odd))["charging_periods"] == odd


def test_a_restated_period_replaces_in_place_and_is_flagged() -> None:
    events = put(0, charging_periods=[period(0), period(5)]), patch(9, period(0, "7.0"))
    assert doc(*events)["charging_periods"] == [period(0, "7.0"), period(5)]
    assert rules(*events) == ["period_restated"]


def test_periods_of_a_patch_older_than_the_put_are_dropped() -> None:
    assert doc(put(5, charging_periods=[period(0)]), patch(3, period(3)))["charging_periods"] == [period(0)]


def test_a_newer_patch_survives_an_older_put() -> None:
    late = doc(patch(5, period(5), kwh=9), put(0, charging_periods=[period(0)]))
    assert late["kwh"] == 9
    assert late["charging_periods"] == [period(0), period(5)]


def test_a_null_clears_and_stays_a_null() -> None:
    assert doc(put(0, meter_id="M"), patch(5, meter_id=None))["meter_id"] is None


def test_a_repeated_put_does_not_revert_the_patch_of_the_same_second() -> None:
    assert doc(put(0), patch(0, status="COMPLETED"), put(0))["status"] == "COMPLETED"


def test_a_put_of_the_same_second_that_arrives_later_wins() -> None:
    assert doc(put(0, kwh=1), put(0, kwh=2))["kwh"] == 2


def test_unknown_fields_survive() -> None:
    assert doc(put(0, nltnm_meter="x"), patch(5, kwh=2))["nltnm_meter"] == "x"


def test_digits_survive() -> None:
    state, _ = folded(Sessions(), put(0, kwh=1.10), patch(3, status="COMPLETED"))
    assert state is not None
    assert bytes(state.fields["kwh"]) == b"1.1"


def test_a_patch_after_completed_is_applied_and_flagged() -> None:
    events = put(0, status="COMPLETED"), patch(5, kwh=7)
    assert doc(*events)["kwh"] == 7
    assert rules(*events) == ["patched_after_completed"]


def test_the_start_may_move_when_a_pending_session_becomes_active_and_is_flagged_afterwards() -> None:
    begun = put(0, status="PENDING"), put(5, status="ACTIVE", start_date_time=at(4))
    assert rules(*begun, patch(6, kwh=2), put(7, start_date_time=at(4))) == []
    moved = *begun, patch(6, start_date_time=at(3))
    assert (doc(*moved)["start_date_time"], rules(*moved)) == (at(3), ["start_moved"])


def test_a_clock_in_2099_cannot_freeze_a_session() -> None:
    events = put(0, kwh=1), put(0, kwh=2, last_updated="2099-01-01T00:00:00Z"), put(900, kwh=3)
    ahead = msgspec.structs.replace(events[1], last_updated=4_070_908_800_000_000)
    assert doc(events[0], ahead, events[2])["kwh"] == 3
    assert rules(events[0], ahead) == ["clock_ahead"]


def test_the_first_spelling_is_served() -> None:
    assert doc(put(0, id="s1"), msgspec.structs.replace(put(5, id="S1"), key=("S1",)))["id"] == "s1"


def test_patches_wait_for_their_put_and_the_101st_is_refused() -> None:
    waiting = [patch(second, kwh=second) for second in range(1, PARKED + 1)]
    state, _ = folded(Sessions(), *waiting)
    assert state is not None
    assert not state.served
    with pytest.raises(Poison, match="waiting for its PUT"):
        folded(Sessions(), *waiting, patch(PARKED + 1, kwh=0))


def test_history_holds_the_document_after_each_event() -> None:
    _, facts = folded(Sessions(), put(0, kwh=1), patch(5, kwh=2), patch(3, kwh=9))
    names = [column.name for column in SESSION_HISTORY.columns]
    history = [dict(zip(names, fact.row, strict=True)) for fact in facts]
    assert [json.loads(row["doc"])["kwh"] for row in history if isinstance(row["doc"], bytes)] == [1, 2, 2]
    assert [row["changed"] for row in history] == [1, 1, 0]


def test_a_state_read_back_from_its_row_goes_on_equally() -> None:
    events = put(0, charging_periods=[period(0)]), patch(5, period(5), kwh=2)
    state, _ = folded(Sessions(), *events)
    assert state is not None
    row = dict(zip((c.name for c in SESSIONS.columns), Sessions().row(("NL*TNM", "s1"), state), strict=True))
    assert isinstance(row["doc"], bytes)
    assert isinstance(row["state"], bytes)
    again = Sessions().decode(("NL*TNM", "s1"), row["doc"], row["state"])
    assert again == state
    assert row["energy_kwh"] == 2
    assert row["addressed_to"] == "DE*MSP"


HISTORY = [
    put(0, charging_periods=[period(0)]),
    patch(3, period(3), kwh=3),
    put(5, charging_periods=[period(0), period(3, "3.5")], kwh=5),
    patch(7, period(3, "4.0"), status="COMPLETED"),
    patch(9, period(9), kwh=9, end_date_time=at(9)),
]


@pytest.mark.parametrize("order", list(permutations(range(len(HISTORY)))))
def test_stamped_events_converge_whatever_order_they_arrive_in(order: tuple[int, ...]) -> None:
    assert doc(*(HISTORY[index] for index in order)) == doc(*HISTORY)


fields = st.fixed_dictionaries(
    {},
    optional={
        "kwh": st.integers(0, 9),
        "meter_id": st.sampled_from(["a", "b", None]),
        "status": st.sampled_from(["ACTIVE", "COMPLETED"]),
    },
)
periods = st.lists(st.builds(period, st.integers(0, 4), st.sampled_from(["1.0", "2.0"])), max_size=3)


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[Envelope], list[Envelope]]:
    stamps = draw(st.lists(st.integers(0, 200), min_size=1, max_size=6, unique=True))
    events = []
    for index, stamp in enumerate(stamps):
        changes, listed = draw(fields), draw(periods)
        if index == 0 or draw(st.booleans()):
            events.append(put(stamp, **changes, **({"charging_periods": listed} if listed else {})))
        else:
            events.append(patch(stamp, *{one["start_date_time"]: one for one in listed}.values(), **changes))
    return events, draw(st.permutations(events))


@given(histories())
def test_any_permutation_of_stamped_events_gives_one_state(pair: tuple[list[Envelope], list[Envelope]]) -> None:
    one, other = pair
    assert doc(*one) == doc(*other)


@given(histories(), st.data())
def test_repeats_change_nothing(pair: tuple[list[Envelope], list[Envelope]], data: st.DataObject) -> None:
    events = pair[1]
    again = data.draw(st.lists(st.sampled_from(events), max_size=4))
    assert doc(*events, *again) == doc(*events)


def delete(seconds: float) -> Envelope:
    return envelope("session.deleted", seconds, {}, last_updated=None)


def test_a_deleted_session_is_served_no_more_and_keeps_what_it_was() -> None:
    # OCPI 2.0 knows DELETE of a Session.
    state, facts = folded(Sessions(), put(0), delete(5))
    assert state is not None
    assert not state.served
    assert json.loads(state.doc)["id"] == "S1"
    kinds = [fact.row[3] for fact in facts if fact.table is SESSION_HISTORY]
    assert kinds == ["session.replaced", "session.deleted"]
    assert Sessions().decode(("NL*TNM", "s1"), state.doc, bytes(Sessions().row(("NL*TNM", "s1"), state)[-1])) == state  # type: ignore[call-overload]


def test_a_put_brings_a_deleted_session_back_and_a_patch_does_not() -> None:
    patched, _ = folded(Sessions(), put(0), delete(5), patch(6, kwh=2))
    assert patched is not None
    assert not patched.served
    again, _ = folded(Sessions(), put(0), delete(5), put(6))
    assert again is not None
    assert again.served
