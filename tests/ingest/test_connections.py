"""The fold of the partners: who wins, and what a token opens when."""

from itertools import permutations
from typing import Any

import pytest
from receiver import NOW

from ingest.connections import GRACE_US, Meant, Partners, fold
from ingest.errors import PartnerConflict
from ingest.partners import party_roles
from schemas.party import (
    ClientReplaced,
    Endpoint,
    PartnerAdded,
    PartnerEvent,
    PartnerInvited,
    PartnerOffered,
    PartnerRegistered,
    PartnerRemoved,
    PartnerUnregistered,
    PartnerUpdated,
    PartnerWithdrawn,
    PartyRole,
    Terms,
)

HOUR = 3_600_000_000
TNM = PartyRole("CPO", "NL", "TNM")
HUB = PartyRole("HUB", "NL", "HUB")


def hashes(token: str) -> tuple[str, ...]:
    return token, f"{token}-64", f"{token}-lf"


def terms(token: str, *roles: PartyRole, **changes: Any) -> Terms:
    given: dict[str, Any] = {
        "roles": roles or (TNM,),
        "version": "2.2.1",
        "token_hashes": hashes(token),
        "endpoints": (Endpoint("credentials", "", "https://tnm.example/credentials"),),
        "versions_url": "https://tnm.example/versions",
        "outbound": b"sealed",
        "encoding": "base64",
    }
    return Terms(**(given | changes))


def invited(token: str = "A", name: str = "tnm", **options: Any) -> PartnerInvited:
    return PartnerInvited(name, hashes(token), NOW + HOUR, **options)


def registered(
    token: str = "C", by: Any = "them", *, opened_with: str = "A", name: str = "tnm", **changes: Any
) -> PartnerRegistered:
    return PartnerRegistered(name, by, opened_with, changes.pop("of", None) or terms(token), **changes)


def after(*events: PartnerEvent | tuple[PartnerEvent, int]) -> Partners:
    partners = Partners()
    for event in events:
        what, at = event if isinstance(event, tuple) else (event, NOW)
        partners = fold(partners, what, at)
    return partners


def lost(partners: Partners, event: PartnerEvent, at: int = NOW) -> str:
    with pytest.raises(PartnerConflict) as conflict:
        fold(partners, event, at)
    return conflict.value.reason


def uses(partners: Partners, at: int = NOW) -> dict[str, str]:
    """Return what each token is good for, by its first digest."""
    return {text: meant.use if meant.holds(at) else f"({meant.use})" for text, meant in partners.texts.items() if meant.form == 0}


def test_an_invitation_becomes_a_connection_once() -> None:
    partners = after(invited(allowed=("NL*SUB",)), registered(allowed=("NL*SUB",)))
    connection = partners.connections["tnm"]
    assert connection.parties == {"NL*TNM", "NL*SUB"}
    assert (connection.is_registered, connection.token_hash) == (True, "C")
    assert (connection.outbound, connection.encoding, connection.endpoints) == (b"sealed", "base64", terms("C").endpoints)
    assert uses(partners) == {"A": "(spent)", "C": "partner"}
    assert (partners.invitations, partners.bound) == ({}, {"NL*TNM": "tnm"})
    assert lost(partners, registered("D")) == "spent"
    assert {text: meant.form for text, meant in partners.texts.items() if meant.token_hash == "C"} == {"C": 0, "C-64": 1, "C-lf": 2}


def test_who_unregisters_twice_is_gone_and_may_be_invited_meanwhile() -> None:
    twice = after(invited(), registered(), PartnerUnregistered("tnm", "them"), PartnerUnregistered("tnm", "them"))
    assert uses(twice) == {"A": "(gone)", "C": "(gone)"}
    again = after(invited(), registered(), PartnerUnregistered("tnm", "them"), invited("B"), PartnerUnregistered("tnm", "them"))
    assert uses(again)["B"] == "invited"


def test_a_hub_that_names_us_among_its_clients_is_not_us() -> None:
    ours, msp = PartyRole("CPO", "NL", "RML"), PartyRole("EMSP", "DE", "MSP")
    partners = Partners(own=frozenset({"NL*RML"}))
    said: list[PartnerEvent] = [
        invited(name="tnm"),
        PartnerRemoved("tnm"),
        invited(name="hub"),
        registered(name="hub", of=terms("C", HUB, version="2.3.0", behind=(ours, msp))),
        ClientReplaced("hub", "NL", "RML", "EMSP", "CONNECTED", NOW + 2, b"{}"),  # type: ignore[arg-type]
    ]
    for event in said:
        partners = fold(partners, event, NOW)
    assert partners.connections["hub"].parties == {"NL*HUB", "DE*MSP"}


@pytest.mark.parametrize("order", list(permutations(["C", "D", "E"])))
def test_of_several_that_show_one_token_a_the_first_in_the_log_wins(order: tuple[str, ...]) -> None:
    partners = after(invited())
    for token in order:
        if token == order[0]:
            partners = fold(partners, registered(token), NOW)
        else:
            assert lost(partners, registered(token)) == "spent"
    assert partners.connections["tnm"].token_hash == order[0]


def test_an_invitation_ends_is_replaced_or_withdrawn() -> None:
    assert lost(after(invited()), registered(), NOW + HOUR) == "spent"
    assert lost(after(invited("A"), invited("B")), registered()) == "spent"
    assert lost(after(invited(), PartnerRemoved("tnm")), registered()) == "spent"
    assert lost(after(), registered()) == "spent"
    assert lost(after(invited()), registered(name="other")) == "spent"
    assert lost(after(invited(), registered()), invited("B")) == "name"
    assert lost(after(invited()), PartnerAdded("tnm", (TNM,), "2.2.1", hashes("X"))) == "name"


def test_who_registers_is_who_was_invited() -> None:
    other = PartyRole("CPO", "DE", "OTH")
    assert lost(after(invited(parties=("NL*TNM",))), registered(of=terms("C", TNM, other))) == "identity"
    assert lost(after(invited(roles=("EMSP",))), registered()) == "identity"
    assert after(invited(parties=("NL*TNM",), allowed=("DE*OTH",)), registered(of=terms("C", TNM, other))).bound.keys() == {
        "NL*TNM",
        "DE*OTH",
    }
    assert lost(after(PartnerAdded("x", (TNM,), "2.2.1", hashes("X")), invited()), registered()) == "party"


def test_a_token_of_another_in_any_encoding_is_refused() -> None:
    before = after(PartnerAdded("x", party_roles(["DE*SLB"], ["CPO"]), "2.2.1", hashes("X")), invited())
    assert lost(before, registered("X-64")) == "token"
    assert lost(before, PartnerInvited("y", hashes("X-lf"), NOW + HOUR)) == "token"
    assert lost(before, PartnerOffered("y", ("A-64", "q"), NOW + HOUR)) == "token"
    assert lost(before, PartnerAdded("y", party_roles(["DE*YYY"], ["CPO"]), "2.2.1", ("q", "A-64"))) == "token"


def test_what_we_offer_opens_before_it_is_taken_and_is_the_partners_afterwards() -> None:
    partners = after(PartnerOffered("tnm", hashes("B"), NOW + HOUR, ("CPO",)))
    assert uses(partners) == {"B": "offered"}
    assert partners.offers["tnm"].roles == ("CPO",)
    partners = fold(partners, registered("B", "us", opened_with="B"), NOW)
    assert (uses(partners), partners.offers) == ({"B": "partner"}, {})
    failed = after(PartnerOffered("tnm", hashes("B"), NOW + HOUR), PartnerWithdrawn("tnm", "B"))
    assert (uses(failed), failed.offers) == ({}, {})
    assert lost(failed, registered("B", "us", opened_with="B")) == "spent"
    newer = after(
        PartnerOffered("tnm", hashes("B"), NOW + HOUR), PartnerOffered("tnm", hashes("D"), NOW + HOUR), PartnerWithdrawn("tnm", "B")
    )
    assert uses(newer) == {"D": "offered"}


def test_a_replaced_token_holds_for_a_minute_and_is_forgotten_by_the_next_change() -> None:
    partners = after(invited(), registered(), PartnerUpdated("tnm", "them", "C", terms("D")))
    assert uses(partners, NOW + GRACE_US - 1) == {"A": "(spent)", "C": "replaced", "D": "partner"}
    assert uses(partners, NOW + GRACE_US) == {"A": "(spent)", "C": "(replaced)", "D": "partner"}
    at = NOW + GRACE_US
    later = fold(partners, PartnerUpdated("tnm", "them", "D", terms("E")), at)
    assert uses(later, at) == {"A": "(spent)", "D": "replaced", "E": "partner"}


def test_of_two_changes_at_once_one_wins() -> None:
    partners = after(invited(), registered(), PartnerUpdated("tnm", "us", "C", terms("D")))
    assert lost(partners, PartnerUpdated("tnm", "them", "C", terms("E"))) == "spent"
    assert lost(partners, PartnerUpdated("nobody", "them", "C", terms("E"))) == "spent"


def test_a_rotation_of_ours_makes_the_offered_token_the_partners() -> None:
    offer = PartnerOffered("tnm", hashes("D"), NOW + HOUR)
    partners = after(invited(), registered(), offer, PartnerUpdated("tnm", "us", "C", terms("D")))
    assert uses(partners) == {"A": "(spent)", "C": "replaced", "D": "partner"}


def test_a_change_keeps_the_identity_and_what_the_operator_allowed() -> None:
    sub, other = PartyRole("CPO", "NL", "SUB"), PartyRole("EMSP", "NL", "TNM")
    before = after(invited(allowed=("NL*SUB",)), registered(allowed=("NL*SUB",)))
    assert lost(before, PartnerUpdated("tnm", "them", "C", terms("D", PartyRole("CPO", "NL", "OTH")))) == "identity"
    assert lost(before, PartnerUpdated("tnm", "them", "C", terms("D", TNM, PartyRole("HUB", "NL", "TNM")))) == "identity"
    changed = fold(before, PartnerUpdated("tnm", "them", "C", terms("D", sub, other)), NOW)
    assert changed.bound == {"NL*TNM": "tnm", "NL*SUB": "tnm"}
    fewer = fold(changed, PartnerUpdated("tnm", "them", "D", terms("E", sub)), NOW + 1)
    assert fewer.bound == {"NL*SUB": "tnm"}
    assert fewer.connections["tnm"].allowed == ("NL*SUB",)
    assert {one.party: one.status for one in fewer.clients.values()} == {"NL*TNM": "SUSPENDED", "NL*SUB": "CONNECTED"}


def test_after_the_end_a_token_is_known_to_be_dead_and_the_name_is_free() -> None:
    partners = after(invited(), registered(), PartnerUnregistered("tnm", "them"))
    assert uses(partners) == {"A": "(gone)", "C": "(gone)"}
    assert (partners.connections, partners.bound) == ({}, {})
    again = fold(fold(partners, invited("B"), NOW), registered("C", opened_with="B"), NOW)
    assert uses(again) == {"A": "(gone)", "B": "(spent)", "C": "partner"}
    assert fold(partners, PartnerUnregistered("nobody", "us"), NOW) == partners


def test_a_partner_that_was_added_registers_with_its_token_and_may_be_registered_by_us() -> None:
    added = PartnerAdded("tnm", (TNM,), "2.1.1", hashes("X"), ("NL*SUB",))
    partners = after(added, registered(opened_with="X"))
    assert uses(partners) == {"X": "replaced", "C": "partner"}
    assert (partners.connections["tnm"].version, partners.connections["tnm"].allowed) == ("2.2.1", ("NL*SUB",))
    ours = after(added, PartnerOffered("tnm", hashes("B"), NOW + HOUR), registered("B", "us", opened_with="B"))
    assert uses(ours) == {"X": "replaced", "B": "partner"}
    assert lost(after(added), registered(of=terms("C", PartyRole("CPO", "NL", "OTH")), opened_with="X")) == "identity"
    assert lost(partners, registered("D", opened_with="C")) == "name"


def test_a_hub_of_2_3_0_writes_for_whom_it_lists_unless_they_are_connected_themselves() -> None:
    slb, msp = PartyRole("CPO", "DE", "SLB"), PartyRole("EMSP", "DE", "MSP")
    direct = PartnerAdded("slb", (slb,), "2.2.1", hashes("X"))
    listed = registered(name="hub", of=terms("C", HUB, version="2.3.0", behind=(slb, msp)))
    partners = after(direct, invited(name="hub"), listed)
    hub = partners.connections["hub"]
    assert hub.is_hub
    assert hub.parties == {"NL*HUB", "DE*MSP"}
    assert partners.bound == {"DE*SLB": "slb", "NL*HUB": "hub"}
    fewer = fold(partners, PartnerUpdated("hub", "them", "C", terms("D", HUB, behind=(slb,))), NOW + 1)
    assert fewer.connections["hub"].parties == {"NL*HUB"}
    assert fewer.clients["hub", "DE*MSP", "EMSP"].status == "SUSPENDED"
    told = ClientReplaced("hub", "DE", "MSP", "EMSP", "CONNECTED", NOW + 2, b"{}")  # type: ignore[arg-type]
    assert fold(fewer, told, NOW + 2).connections["hub"].parties == {"NL*HUB", "DE*MSP"}


def test_a_conflict_changes_nothing_and_neither_does_the_fold_what_it_was_given() -> None:
    before = after(invited())
    copy = dict(before.texts)
    lost(before, registered("A-64"))
    fold(before, registered(), NOW)
    assert before.texts == copy
    assert before.texts["A"] == Meant("tnm", 0, "invited", "A", NOW + HOUR)


def test_no_event_shows_a_digest() -> None:
    for event in (
        invited("s3cret"),
        registered("s3cret"),
        PartnerOffered("a", hashes("s3cret"), 0),
        PartnerWithdrawn("a", "s3cret"),
    ):
        shown = repr(event).replace("opened_with='A'", "")
        assert "s3cret" not in shown
