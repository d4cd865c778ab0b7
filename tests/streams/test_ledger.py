"""The ledger: Session, CDRs and credits of one charging key."""

from decimal import Decimal
from itertools import permutations

import pytest
from charging import cdr, folded, patch, posted, put

from schemas.events import Envelope
from streams.projections.ledger import LEDGER, Ledger

DONE = put(0, status="COMPLETED")
CREDIT = posted(cdr("C1-credit", "-10.00", credit=True, credit_reference_id="C1"))
AGAIN = posted(cdr("C2", "12.00"))


def row(*events: Envelope) -> dict[str, object]:
    state, _ = folded(Ledger(), *events)
    assert state is not None
    read_back = Ledger().row(("NL*TNM", "s1"), state)
    again = dict(zip((c.name for c in LEDGER.columns), read_back, strict=True))
    assert isinstance(again["state"], bytes)
    assert Ledger().decode(("NL*TNM", "s1"), b"", again["state"]) == state
    return again


@pytest.mark.parametrize(
    ("events", "standing"),
    [
        ((put(0),), "open"),
        ((DONE,), "unbilled"),
        ((put(0), patch(5, status="COMPLETED")), "unbilled"),
        ((DONE, posted(cdr())), "billed"),
        ((posted(cdr()),), "billed"),
        ((DONE, posted(cdr()), CREDIT), "credited"),
        ((DONE, posted(cdr()), CREDIT, AGAIN), "billed"),
        ((DONE, posted(cdr()), AGAIN), "overbilled"),
        ((DONE, CREDIT), "unmatched_credit"),
        ((DONE, posted(cdr()), posted(cdr("C2", currency="CHF"))), "mixed_currencies"),
    ],
)
def test_standing(events: tuple[Envelope, ...], standing: str) -> None:
    assert row(*events)["standing"] == standing


def test_a_credit_takes_back_cost_and_energy() -> None:
    balance = row(DONE, posted(cdr()), CREDIT, AGAIN)
    assert (balance["billed_before_taxes"], balance["billed_energy_kwh"]) == (Decimal("12.0"), Decimal("20.5"))
    assert (balance["cdr_ids"], balance["credit_ids"]) == (["C1", "C2"], ["C1-credit"])


def test_amounts_of_two_currencies_are_not_added() -> None:
    assert row(posted(cdr()), posted(cdr("C2", currency="CHF")))["billed_before_taxes"] is None


def test_a_cdr_counts_once() -> None:
    assert row(posted(cdr()), posted(cdr(cost="99")))["billed_before_taxes"] == Decimal("10.0")


@pytest.mark.parametrize("order", list(permutations((DONE, posted(cdr()), CREDIT, AGAIN))))
def test_the_balance_does_not_depend_on_the_order_of_arrival(order: tuple[Envelope, ...]) -> None:
    expected = row(DONE, posted(cdr()), CREDIT, AGAIN)
    for name in ("standing", "billed_before_taxes", "billed_taxes", "billed_energy_kwh", "session_status"):
        assert row(*order)[name] == expected[name]
