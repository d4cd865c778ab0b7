"""Every row of what versions have in another way in credentials, hub roles and commands (requirements 5.7, 5.8, 5.9)."""

from typing import Any

import pytest

from schemas.ocpi.clientinfo import ClientInfo
from schemas.ocpi.commands import (
    TIMEOUT_S,
    lift_command,
    lift_response,
    lift_result,
    lower_command,
    lower_response,
    lower_result,
)
from schemas.ocpi.credentials import lift_credentials, lower_credentials, role_of, status_of
from schemas.ocpi.v2_2_1 import SPEC as SPEC_2_2_1
from schemas.types import Loss

OLDER = pytest.mark.parametrize("version", ["2.0", "2.1.1"])
MIDDLE = pytest.mark.parametrize("version", ["2.2", "2.2.1"])
NEWER = pytest.mark.parametrize("version", ["2.2", "2.2.1", "2.3.0"])

OLD: dict[str, Any] = {
    "token": "t",
    "url": "https://example.com/versions",
    "business_details": {"name": "Example"},
    "party_id": "EXA",
    "country_code": "NL",
}
ROLE: dict[str, Any] = {"role": "CPO", "business_details": {"name": "Example"}, "party_id": "EXA", "country_code": "NL"}
OTHER: dict[str, Any] = {"role": "EMSP", "business_details": {"name": "Other"}, "party_id": "OTH", "country_code": "BE"}
NEW: dict[str, Any] = {"token": "t", "url": "https://example.com/versions", "roles": [ROLE, OTHER]}


def pointers(losses: tuple[Loss, ...]) -> list[tuple[str, str]]:
    return [(loss.pointer, loss.kind) for loss in losses]


def client(role: str = "EMSP", status: Any = "CONNECTED", party_id: str = "MSP") -> ClientInfo:
    return ClientInfo(country_code="DE", party_id=party_id, role=role, status=status, last_updated=None)


# 5.8 Credentials


@OLDER
def test_an_old_party_becomes_a_role_and_its_token_and_url_stay(version: str) -> None:
    given = lift_credentials(version, OLD, modules={"locations", "commands"})
    assert given.credentials == {"token": "t", "url": "https://example.com/versions", "roles": [ROLE]}
    assert pointers(given.losses) == [("/roles/0/role", "defaulted")]


def test_an_old_partys_role_is_told_by_its_endpoints() -> None:
    assert (role_of({"locations", "commands"}), role_of({"locations", "tokens"})) == ("CPO", "EMSP")


@OLDER
def test_of_several_roles_an_old_connection_has_one(version: str) -> None:
    given = lower_credentials(version, NEW, own=1)
    assert given.credentials == OLD | {"business_details": {"name": "Other"}, "party_id": "OTH", "country_code": "BE"}
    assert pointers(given.losses) == [("/roles/0", "lost")]
    assert lower_credentials(version, NEW | {"roles": [ROLE]}).credentials == OLD


@OLDER
@pytest.mark.parametrize("role", ["NSP", "NAP", "SCSP", "OTHER"])
def test_a_role_that_old_versions_do_not_know_is_connected_as_an_emsp(version: str, role: str) -> None:
    given = lower_credentials(version, NEW | {"roles": [ROLE | {"role": role}]})
    assert pointers(given.losses) == [("/roles/0/role", "lost")]


@OLDER
def test_an_old_version_has_no_hub(version: str) -> None:
    given = lower_credentials(version, NEW | {"roles": [ROLE], "hub_party_id": "NLHUB"})
    assert "hub_party_id" not in given.credentials
    assert pointers(given.losses) == [("/hub_party_id", "lost")]


@NEWER
def test_credentials_without_a_hub_are_the_same_since_2_2(version: str) -> None:
    assert lift_credentials(version, NEW, modules=()).credentials == NEW
    assert lower_credentials(version, NEW).credentials == NEW


# 5.9 Hubs


@OLDER
def test_an_old_peer_is_always_connected(version: str) -> None:
    assert status_of(version, None) == status_of(version, client(status="OFFLINE")) == "CONNECTED"
    assert status_of("2.2.1", client(status="OFFLINE")) == "OFFLINE"


@MIDDLE
def test_a_hub_of_2_2_becomes_a_hub_party_with_the_parties_behind_it(version: str) -> None:
    hub = {"role": "HUB", "business_details": {"name": "Hub"}, "party_id": "HUB", "country_code": "NL"}
    known = [client(), client("CPO", "SUSPENDED", "OFF"), client("CPO", "PLANNED", "CPO")]
    given = lift_credentials(version, NEW | {"roles": [hub]}, modules=(), clients=known)
    assert given.credentials["hub_party_id"] == "NLHUB"
    assert given.credentials["roles"] == [
        {"role": "EMSP", "business_details": {"name": "DEMSP"}, "party_id": "MSP", "country_code": "DE"},
        {"role": "CPO", "business_details": {"name": "DECPO"}, "party_id": "CPO", "country_code": "DE"},
    ]
    assert pointers(given.losses) == [("/roles/0/business_details", "defaulted"), ("/roles/1/business_details", "defaulted")]


@MIDDLE
def test_a_hub_of_2_3_0_becomes_a_role_and_offers_its_parties_as_client_info(version: str) -> None:
    given = lower_credentials(version, NEW | {"hub_party_id": "NLHUB"})
    assert [(role["role"], role["country_code"], role["party_id"]) for role in given.credentials["roles"]] == [  # type: ignore[union-attr,call-overload,index]
        ("HUB", "NL", "HUB")
    ]
    assert "hub_party_id" not in given.credentials
    assert [(one.party, one.role, one.status) for one in given.clients] == [
        ("NL*EXA", "CPO", "CONNECTED"),
        ("BE*OTH", "EMSP", "CONNECTED"),
    ]
    assert {one.role for one in given.clients} <= set(SPEC_2_2_1.enums["Role"])


# 5.7 Commands


@OLDER
def test_the_number_of_a_reservation_becomes_its_text_and_comes_back_by_a_table(version: str) -> None:
    lifted = lift_command(version, "RESERVE_NOW", {"reservation_id": 7, "location_id": "L"})
    assert lifted.body == {"reservation_id": "7", "location_id": "L"}
    lowered = lower_command(version, "RESERVE_NOW", {"reservation_id": "R-7"}, reservations={"R-7": 7})
    assert (lowered.body, lowered.refusal) == ({"reservation_id": 7}, None)
    assert lower_command(version, "RESERVE_NOW", {"reservation_id": "R-8"}, reservations={}).refusal == "NOT_SUPPORTED"


@OLDER
def test_an_immediate_answer_gets_and_loses_its_timeout(version: str) -> None:
    lifted = lift_response(version, {"result": "ACCEPTED"})
    assert lifted.body == {"result": "ACCEPTED", "timeout": TIMEOUT_S}
    assert pointers(lifted.losses) == [("/timeout", "defaulted")]
    lowered = lower_response(version, {"result": "ACCEPTED", "timeout": 9, "message": []})
    assert (lowered.body, pointers(lowered.losses)) == ({"result": "ACCEPTED"}, [("/timeout", "lost"), ("/message", "lost")])


@OLDER
def test_an_immediate_timeout_is_a_rejection_since_2_2(version: str) -> None:
    assert lift_response(version, {"result": "TIMEOUT"}).body["result"] == "REJECTED"


@OLDER
@pytest.mark.parametrize(
    ("result", "older"),
    [
        ("ACCEPTED", "ACCEPTED"),
        ("CANCELED_RESERVATION", "ACCEPTED"),
        ("EVSE_OCCUPIED", "REJECTED"),
        ("EVSE_INOPERATIVE", "REJECTED"),
        ("FAILED", "REJECTED"),
        ("NOT_SUPPORTED", "NOT_SUPPORTED"),
        ("REJECTED", "REJECTED"),
        ("TIMEOUT", "TIMEOUT"),
        ("UNKNOWN_RESERVATION", "REJECTED"),
    ],
)
def test_the_nine_results_are_four_in_an_old_version(version: str, result: str, older: str) -> None:
    lowered = lower_result(version, {"result": result})
    assert lowered.body == {"result": older}
    assert bool(lowered.losses) is (result != older)


@OLDER
def test_a_result_of_an_old_version_keeps_its_timeout(version: str) -> None:
    assert lift_result(version, {"result": "TIMEOUT"}).body == {"result": "TIMEOUT"}
    assert lift_result(version, {"result": "UNKNOWN_SESSION"}).body == {"result": "REJECTED"}


@OLDER
def test_the_connector_of_a_start_is_lost_and_no_reservation_is_cancelled(version: str) -> None:
    lowered = lower_command(version, "START_SESSION", {"location_id": "L", "connector_id": "1"}, reservations={})
    assert (lowered.body, pointers(lowered.losses)) == ({"location_id": "L"}, [("/connector_id", "lost")])
    assert lower_command(version, "CANCEL_RESERVATION", {"reservation_id": "R"}, reservations={}).refusal == "NOT_SUPPORTED"


@NEWER
def test_commands_are_the_same_since_2_2(version: str) -> None:
    body: dict[str, Any] = {"reservation_id": "R", "connector_id": "1"}
    response: dict[str, Any] = {"result": "ACCEPTED", "timeout": 9}
    assert lift_command(version, "RESERVE_NOW", body).body == body
    assert lower_command(version, "START_SESSION", body, reservations={}).body == body
    assert lift_response(version, response).body == lower_response(version, response).body == response
    assert (
        lift_result(version, {"result": "FAILED"}).body == lower_result(version, {"result": "FAILED"}).body == {"result": "FAILED"}
    )
