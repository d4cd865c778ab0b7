"""The fold of CDRs: a CDR never changes (OCPI 2.2.1 mod_cdrs)."""

from decimal import Decimal
from typing import Any

import pytest
from charging import cdr, folded, posted, put, recorded

from streams.projection import Fact
from streams.projections.cdrs import CDR_FINDINGS, CDRS, Cdrs


def rules(facts: list[Fact]) -> list[object]:
    at = [column.name for column in CDR_FINDINGS.columns].index("rule")
    return [fact.row[at] for fact in facts]


def test_the_first_wins_and_a_different_one_is_a_conflict() -> None:
    first, _ = folded(Cdrs(), posted(cdr(cost="10.00")))
    state, facts = folded(Cdrs(), posted(cdr(cost="10.00")), posted(cdr(cost="11.00")))
    assert state == first
    assert rules(facts) == ["cdr_conflict"]


def test_an_equal_value_is_a_repeat_whatever_its_text() -> None:
    one, other = cdr(), dict(reversed(cdr().items())) | {"total_energy": 20.50}
    first, _ = folded(Cdrs(), posted(one))
    state, facts = folded(Cdrs(), posted(one), posted(other))
    assert state == first
    assert rules(facts) == ["repeated"]


@pytest.mark.parametrize(
    ("fields", "key"),
    [
        ({"session_id": "S9"}, "s9"),
        ({"session_id": None, "credit_reference_id": "C0"}, "c0"),
        ({"session_id": None}, "c1"),
    ],
)
def test_a_cdr_is_keyed_by_its_session_else_the_credited_cdr_else_itself(fields: dict[str, Any], key: str) -> None:
    assert Cdrs().key(recorded([posted(cdr(**fields))])[0]) == ("NL*TNM", "c1", key)


def test_sessions_do_not_concern_it() -> None:
    assert Cdrs().key(recorded([put(0)])[0]) is None


def test_the_row_carries_exact_amounts() -> None:
    state, _ = folded(Cdrs(), posted(cdr(cost="10.01", credit=False)))
    assert state is not None
    row = dict(zip((c.name for c in CDRS.columns), Cdrs().row(("NL*TNM", "c1", "s1"), state), strict=True))
    assert (row["cost_before_taxes"], row["taxes"], row["energy_kwh"]) == (Decimal("10.01"), Decimal("2.1"), Decimal("20.5"))
    assert row["parking_time_h"] is None
