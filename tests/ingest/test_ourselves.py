"""Our own Credentials in each version, as a plain platform and as a hub (requirements 5.8 and 5.9)."""

from collections.abc import Mapping
from typing import Any

import pytest
from receiver import NOW
from versions import LATER, OLDER

from ingest.errors import PartnerConflict
from ingest.ourselves import Ourselves
from ingest.partners import party_roles
from ingest.peers import InvalidCredentials, read_credentials
from schemas.party import Client, PartyRole

PLAIN = Ourselves(party_roles(["NL*TNM"], ["CPO", "EMSP"]), "", "TNM", "https://tnm.example/")
HUB = Ourselves(party_roles(["NL*TNM"], ["CPO"]), "NL*HUB", "Hub", "https://hub.example")
ONLY_HUB = Ourselves(party_roles(["NL*HUB"], ["HUB"]), "", "Hub", "https://hub.example")
CLIENTS = (
    Client("DE", "SLB", "CPO", "CONNECTED", NOW, NOW),
    Client("DE", "OFF", "CPO", "SUSPENDED", NOW, NOW),
    Client("FR", "FAR", "EMSP", "OFFLINE", NOW, NOW, "other-hub"),
    Client("FR", "HHH", "HUB", "CONNECTED", NOW, NOW),
)


def said(of: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    return [(one["role"], one["country_code"], one["party_id"]) for one in of["roles"]]


@pytest.mark.parametrize("version", LATER)
def test_we_say_all_our_roles(version: str) -> None:
    own = PLAIN.credentials(version, "T", "CPO", CLIENTS)
    assert (own["token"], own["url"]) == ("T", "https://tnm.example/ocpi/versions")
    assert said(own) == [("CPO", "NL", "TNM"), ("EMSP", "NL", "TNM")]


@pytest.mark.parametrize("version", OLDER)
def test_before_2_2_we_are_the_party_on_the_other_side(version: str) -> None:
    two = Ourselves((*party_roles(["NL*CPO"], ["CPO"]), *party_roles(["NL*MSP"], ["EMSP"])), "", "TNM", "https://tnm.example")
    assert two.credentials(version, "T", "CPO")["party_id"] == "MSP"
    assert two.credentials(version, "T", "EMSP")["party_id"] == "CPO"
    assert PLAIN.credentials(version, "T", "CPO") == {
        "token": "T",
        "url": "https://tnm.example/ocpi/versions",
        "business_details": {"name": "TNM"},
        "party_id": "TNM",
        "country_code": "NL",
    }
    assert ONLY_HUB.credentials(version, "T", "CPO")["party_id"] == "HUB"


@pytest.mark.parametrize("version", ["2.2", "2.2.1"])
@pytest.mark.parametrize("hub", [HUB, ONLY_HUB])
def test_a_hub_of_2_2_has_the_role_hub_alone(version: str, hub: Ourselves) -> None:
    own = hub.credentials(version, "T", "CPO", CLIENTS)
    assert said(own) == [("HUB", "NL", "HUB")]
    assert "hub_party_id" not in own


def test_a_hub_of_2_3_0_says_its_party_and_lists_who_is_reachable_through_it() -> None:
    own = HUB.credentials("2.3.0", "T", "CPO", CLIENTS)
    assert own["hub_party_id"] == "NLHUB"
    assert said(own) == [("CPO", "NL", "TNM"), ("CPO", "DE", "SLB"), ("EMSP", "FR", "FAR")]


def test_nobody_else_is_one_of_us() -> None:
    PLAIN.check(party_roles(["DE*SLB"], ["CPO"]))
    for roles in (party_roles(["DE*SLB", "NL*TNM"], ["EMSP"]), party_roles(["NL*HUB"], ["HUB"])):
        with pytest.raises(PartnerConflict, match="is ourselves"):
            HUB.check(roles)


def test_what_a_hub_says_is_read_as_its_own_role_and_the_parties_behind_it() -> None:
    slb = PartyRole("CPO", "DE", "SLB")
    mine = PartyRole("CPO", "NL", "HUB")
    base = {"token": "T", "url": "https://hub.example/v"}

    def read(version: str, **fields: object) -> tuple[tuple[PartyRole, ...], tuple[PartyRole, ...]]:
        found = read_credentials(version, base | fields, modules=(), role=None, checked=str)  # type: ignore[arg-type]
        return found.roles, found.behind

    def roles(*of: PartyRole) -> list[dict[str, str]]:
        return [{"role": one.role, "country_code": one.country_code, "party_id": one.party_id} for one in of]

    hub = PartyRole("HUB", "NL", "HUB")
    assert read("2.2.1", roles=roles(hub)) == ((hub,), ())
    assert read("2.2.1", roles=roles(hub, slb)) == ((hub, slb), ())
    assert read("2.3.0", roles=roles(slb, mine), hub_party_id="nlhub") == ((hub, mine), (slb,))
    assert read("2.3.0", roles=[], hub_party_id="NLHUB") == ((hub,), ())
    assert read("2.2.1", roles=[{"role": "PTP", "country_code": "nl", "party_id": "pay"}]) == (
        (PartyRole("OTHER", "NL", "PAY"),),
        (),
    )
    for wrong in ("NL", "N1HUB", "NLHUBB", 7):
        with pytest.raises(InvalidCredentials, match="/hub_party_id"):
            read("2.3.0", roles=roles(slb), hub_party_id=wrong)
