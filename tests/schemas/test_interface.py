"""What each version asks of its HTTP side, as data (requirements 1.2, 2.1, 2.8, 4.3, 4.5)."""

import pytest

from schemas.ocpi.discovery import discover
from schemas.ocpi.headers import FROM, TO, is_routed, routing_party, taken_over
from schemas.ocpi.interface import interface, side_of
from schemas.types import Module

ASKED = {
    b"x-request-id": b"r1",
    b"ocpi-from-country-code": b"NL",
    b"ocpi-from-party-id": b"TNM",
    b"ocpi-to-country-code": b"DE",
    b"ocpi-to-party-id": b"MSP",
}


def test_every_version_that_is_spoken_is_described() -> None:
    assert [interface(version).version for version in discover()] == ["2.0", "2.1.1", "2.2", "2.2.1", "2.3.0"]


def test_a_version_that_is_not_described_has_the_newest_interface() -> None:
    newest = interface("2.3.0")
    later = interface("2.4")
    assert later.version == "2.4"
    assert (later.lists, later.written, later.codes) == (newest.lists, newest.written, newest.codes)


@pytest.mark.parametrize(
    ("version", "known"),
    [
        ("2.0", {1000, 2000, 2001, 3000, 3001, 3002, 3003}),
        ("2.1.1", {1000, 2000, 2001, 2002, 2003, 3000, 3001, 3002, 3003}),
        ("2.2", {1000, 2000, 2001, 2002, 2003, 2004, 3000, 3001, 3002, 3003, 4001, 4002, 4003}),
        ("2.2.1", {1000, 2000, 2001, 2002, 2003, 2004, 3000, 3001, 3002, 3003, 4000, 4001, 4002, 4003}),
    ],
)
def test_a_code_that_a_version_does_not_know_is_said_in_general(version: str, known: set[int]) -> None:
    every = {1000, 2000, 2001, 2002, 2003, 2004, 3000, 3001, 3002, 3003, 4000, 4001, 4002, 4003}
    own = interface(version)
    assert {code for code in every if own.code(code) == code} >= known
    assert {own.code(code) for code in every - known if code < 3000} <= {2001}


def test_before_2_2_a_partner_gets_the_side_opposite_to_its_role() -> None:
    assert [side_of("CPO", module) for module in Module] == ["RECEIVER"] * 4 + ["SENDER"]
    for role in ("EMSP", "NSP", "HUB", "OTHER"):
        assert [side_of(role, module) for module in Module] == ["SENDER"] * 4 + ["RECEIVER"]


@pytest.mark.parametrize(
    ("path", "routed"),
    [
        ("/ocpi/2.2/receiver/sessions/NL/TNM/S1", True),
        ("/ocpi/2.3.0/sender/tokens", True),
        ("/ocpi/2.1.1/receiver/sessions/NL/TNM/S1", False),
        ("/ocpi/2.0/sender/tokens", False),
        ("/ocpi/2.2.1/receiver/hubclientinfo/NL/TNM", False),
        ("/ocpi/2.2.1", False),
        ("/ocpi/versions", False),
        ("/analytics/energy", False),
        ("", False),
    ],
)
def test_routing_headers_are_turned_round_where_there_are_some(path: str, routed: bool) -> None:
    turned = [
        (b"ocpi-to-country-code", b"NL"),
        (b"ocpi-to-party-id", b"TNM"),
        (b"ocpi-from-country-code", b"DE"),
        (b"ocpi-from-party-id", b"MSP"),
    ]
    assert is_routed(path) is routed
    assert taken_over(ASKED, path) == [(b"x-request-id", b"r1"), *(turned if routed else [])]
    assert (routing_party(ASKED, FROM, path), routing_party(ASKED, TO, path)) == (("NL*TNM", "DE*MSP") if routed else (None, None))


def test_what_could_stand_in_no_header_is_left_out() -> None:
    path = "/ocpi/2.2.1/sender/tokens"
    assert taken_over({b"x-request-id": b"a\nb", b"ocpi-from-party-id": b"T\x00M", b"ocpi-from-country-code": b"NL"}, path) == []
    assert taken_over({b"ocpi-from-party-id": b"TNM"}, path) == []
