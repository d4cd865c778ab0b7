"""Which Session a CDR without session_id belongs to: the rules, and what holds for any Sessions there may be."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from schemas.link import Doubt, Link, decode_doubt, decode_link, encode
from streams.links import APART, LEAST, Candidate, Claim, link

MINUTE = 60_000_000
START = 1_790_000_000_000_000

CDR = Claim(
    party="NL*TNM",
    cdr_id="C1",
    own_key="c1",
    contract_id="DE-MSP-C1",
    token_uid="#NA",
    location_id="loc1",
    evse_uid="e1",
    start=START,
    end=START + 60 * MINUTE,
    currency="EUR",
    before_taxes=Decimal("10.00"),
    taxes=Decimal("2.10"),
    energy_kwh=Decimal("20.5"),
    received_at=START + 70 * MINUTE,
)
SAME = Candidate(
    session_id="s1",
    contract_id="DE-MSP-C1",
    token_uid="U",
    location_id="loc1",
    evse_uid="e1",
    start=START,
    end=START + 60 * MINUTE,
)


def shifted(minutes: int, session_id: str = "s1") -> Candidate:
    """Return a Session of the same length that began so many minutes later."""
    return replace(SAME, session_id=session_id, start=START + minutes * MINUTE, end=START + (60 + minutes) * MINUTE)


def confidence(cdr: Claim, session: Candidate) -> Decimal | None:
    found = link(cdr, [session])
    return found.confidence if isinstance(found, Link) else None


def test_the_same_token_place_and_time_are_certain() -> None:
    found = link(CDR, [SAME])
    assert isinstance(found, Link)
    assert (found.session_id, found.confidence, found.reasons) == ("s1", Decimal("1.00"), ("contract_id", "evse_uid", "overlap"))
    assert (found.cdr_id, found.own_key, found.energy_kwh, found.before_taxes) == ("C1", "c1", Decimal("20.5"), Decimal("10.00"))


@pytest.mark.parametrize(
    ("cdr", "session", "sure"),
    [
        (CDR, replace(SAME, contract_id="demspc1"), "1.00"),  # with or without hyphens, in any case
        (replace(CDR, token_uid="u"), SAME, "1.00"),
        (replace(CDR, token_uid="OTHER"), SAME, "0.90"),  # another card of the contract
        (replace(CDR, token_uid="U", contract_id="DE-MSP-C9"), SAME, "0.80"),
        (replace(CDR, evse_uid=""), SAME, "0.80"),
        (replace(CDR, evse_uid="#NA"), SAME, "0.80"),
        (CDR, replace(SAME, end=None), "0.90"),  # it runs, as far as is known
        (CDR, shifted(20), "0.67"),  # 40 of 60 minutes
        (CDR, replace(SAME, end=START + 30 * MINUTE), "0.75"),  # the whole Session, half of the CDR
        (replace(CDR, contract_id="", own_key="s1"), replace(SAME, contract_id="", token_uid=""), "0.90"),  # one id
        (replace(CDR, end=START), replace(SAME, end=START), "1.00"),
    ],
)
def test_the_confidence_says_how_much_agrees(cdr: Claim, session: Candidate, sure: str) -> None:
    assert confidence(cdr, session) == Decimal(sure)


@pytest.mark.parametrize(
    ("cdr", "session"),
    [
        (CDR, replace(SAME, contract_id="DE-MSP-C2")),
        (CDR, replace(SAME, contract_id="")),
        (replace(CDR, contract_id="#NA"), SAME),
        (CDR, replace(SAME, location_id="loc2")),
        (replace(CDR, location_id=""), replace(SAME, location_id="")),
        (CDR, replace(SAME, evse_uid="e2")),
        (CDR, shifted(60)),
        (CDR, shifted(61)),
        (CDR, shifted(25)),  # 35 of 60 minutes
        (CDR, replace(SAME, end=START + MINUTE)),  # another stop, a minute long
        (CDR, replace(SAME, start=0, end=None)),  # nobody knows when
        (replace(CDR, start=0), SAME),
        (replace(CDR, end=START - 1), SAME),
    ],
)
def test_what_disagrees_is_not_linked(cdr: Claim, session: Candidate) -> None:
    assert link(cdr, [session]) is None


def test_the_better_of_two_sessions_is_linked() -> None:
    found = link(CDR, [shifted(20, "s2"), SAME])
    assert isinstance(found, Link)
    assert found.session_id == "s1"


def test_two_that_fit_alike_are_left_for_a_person() -> None:
    found = link(CDR, [replace(SAME, session_id="s2"), SAME, shifted(20, "s3")])
    assert found == Doubt(cdr_id="C1", own_key="c1", session_ids=("s1", "s2"), confidence=Decimal("1.00"))


def test_what_the_log_keeps_comes_back() -> None:
    found = link(CDR, [SAME])
    assert isinstance(found, Link)
    assert decode_link(encode(found)) == found
    doubt = link(CDR, [SAME, replace(SAME, session_id="s2")])
    assert isinstance(doubt, Doubt)
    assert decode_doubt(encode(doubt)) == doubt


sessions = st.lists(
    st.builds(
        Candidate,
        session_id=st.sampled_from(["c1", "s1", "s2", "s3"]),
        contract_id=st.sampled_from(["DE-MSP-C1", "DE-MSP-C2", "", "#NA"]),
        token_uid=st.sampled_from(["U", "V", "", "#NA"]),
        location_id=st.sampled_from(["loc1", "loc2"]),
        evse_uid=st.sampled_from(["e1", "e2", ""]),
        start=st.integers(-30, 90).map(lambda minutes: START + minutes * MINUTE),
        end=st.none() | st.integers(0, 150).map(lambda minutes: START + minutes * MINUTE),
    ),
    max_size=5,
    unique_by=lambda one: one.session_id,
)
cdrs = st.builds(
    lambda uid, evse, minutes: replace(CDR, token_uid=uid, evse_uid=evse, end=START + minutes * MINUTE),
    st.sampled_from(["U", "", "#NA"]),
    st.sampled_from(["e1", ""]),
    st.integers(0, 120),
)


@given(cdrs, sessions, st.randoms(use_true_random=False))
def test_the_order_of_the_sessions_does_not_matter(cdr: Claim, found: list[Candidate], chance: object) -> None:
    other = list(found)
    chance.shuffle(other)  # type: ignore[attr-defined]
    assert link(cdr, found) == link(cdr, other)


@given(cdrs, sessions)
def test_what_is_linked_is_sure_enough_at_the_same_place_in_the_same_time(cdr: Claim, found: list[Candidate]) -> None:
    result = link(cdr, found)
    if not isinstance(result, Link):
        return
    (session,) = [one for one in found if one.session_id == result.session_id]
    assert LEAST <= result.confidence <= 1
    assert session.location_id == cdr.location_id
    assert session.start <= cdr.end
    assert session.end is None or session.end >= cdr.start
    # Money and energy are the CDR's, whatever the Session says.
    assert (result.before_taxes, result.taxes, result.energy_kwh) == (cdr.before_taxes, cdr.taxes, cdr.energy_kwh)


@given(cdrs, sessions)
def test_a_session_that_does_not_fit_changes_nothing(cdr: Claim, found: list[Candidate]) -> None:
    assert link(cdr, [*found, replace(SAME, session_id="far", location_id="elsewhere")]) == link(cdr, found)


@given(cdrs, sessions)
def test_a_second_session_just_like_the_linked_one_makes_it_a_doubt(cdr: Claim, found: list[Candidate]) -> None:
    result = link(cdr, found)
    if not isinstance(result, Link) or "id" in result.reasons:
        return
    (session,) = [one for one in found if one.session_id == result.session_id]
    doubt = link(cdr, [*found, replace(session, session_id="twin")])
    assert isinstance(doubt, Doubt)
    assert {"twin", result.session_id} <= set(doubt.session_ids)


@given(cdrs, sessions)
def test_the_linked_session_is_surer_than_every_other_by_a_margin(cdr: Claim, found: list[Candidate]) -> None:
    result = link(cdr, found)
    if isinstance(result, Link):
        others = [confidence(cdr, one) for one in found if one.session_id != result.session_id]
        assert all(other is None or result.confidence - other >= APART for other in others)
