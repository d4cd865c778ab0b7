"""Whatever a partner says of itself, it is either understood or refused in one sentence."""

from collections.abc import Callable
from functools import partial
from typing import TypeVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from receiver import NOW

from ingest.addresses import checked_url
from ingest.outbound import Fetched, Outbound
from ingest.peers import InvalidCredentials, PeerFault, Peers, data_of, read_credentials, redacted
from schemas.types import Json
from streams.clock import FixedClock

T = TypeVar("T")

TEXTS = st.one_of(
    st.text(max_size=12),
    st.sampled_from(
        ["token", "url", "roles", "role", "CPO", "HUB", "NL", "TNM", "NLHUB", "2.2.1", "SENDER", "credentials", "locations"]
    ),
    st.sampled_from(
        ["https://tnm.example/versions", "https://127.0.0.1/", "nonsense", "\ud800".encode("utf-8", "replace").decode()]
    ),
)
NAMES = st.sampled_from(
    [
        "token",
        "url",
        "roles",
        "role",
        "country_code",
        "party_id",
        "hub_party_id",
        "business_details",
        "version",
        "endpoints",
        "identifier",
        "data",
        "status_code",
    ]
)
VALUES: st.SearchStrategy[Json] = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-1, 3000), TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.one_of(NAMES, TEXTS), inner, max_size=5)),
    max_leaves=12,
)
VERSIONS = st.sampled_from(["2.0", "2.1.1", "2.2", "2.2.1", "2.3.0"])
PEERS = Peers(Outbound(FixedClock(NOW), allow_private=False), ["2.2.1"], allow_private=False)


def public(url: str) -> str:
    return checked_url(url, False)


def outcome(of: Callable[[], T]) -> T | PeerFault | InvalidCredentials:
    """Return what a reader gives, or how it refuses; anything else is raised."""
    try:
        return of()
    except (PeerFault, InvalidCredentials) as fault:
        return fault


@given(VERSIONS, VALUES)
def test_credentials_are_read_or_refused(version: str, said: Json) -> None:
    base: dict[str, Json] = {"token": "t", "url": "https://tnm.example/v", "country_code": "NL", "party_id": "TNM"}
    for one in (said, base | said if isinstance(said, dict) else said, base | {"roles": said}):
        found = outcome(partial(read_credentials, version, one, modules=(), role=None, checked=public))
        assert str(found) if isinstance(found, Exception) else found.roles


@given(VERSIONS, VALUES)
def test_version_details_are_read_or_refused(version: str, said: Json) -> None:
    listed: list[Json] = [said, {"version": version, "endpoints": said}, {"version": version, "endpoints": [said]}]
    for one in listed:
        found = outcome(partial(PEERS.endpoints, version, one))
        if isinstance(found, tuple):
            assert {endpoint.identifier for endpoint in found} > {"credentials"}
        else:
            assert isinstance(found, PeerFault)
            assert found.code in {3001, 3003}


@given(st.sampled_from([200, 201, 204, 400, 401, 500]), st.one_of(st.binary(max_size=40), VALUES.map(msgspec.json.encode)))
def test_an_answer_has_data_or_is_refused(status: int, body: bytes) -> None:
    found = outcome(partial(data_of, Fetched(status=status, headers={}, body=body, url="https://tnm.example/v", sent_at=NOW)))
    assert str(found).isprintable() if isinstance(found, PeerFault) else 200 <= status < 300


@given(VALUES, st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=4, max_size=64))
def test_no_token_is_left_in_what_is_kept(said: Json, token: str) -> None:
    body = msgspec.json.encode({"token": token, "said": said, "again": [f"x{token}y", {token: token}]})
    kept = msgspec.json.decode(redacted(body))
    assert token not in kept["again"][0].replace("(a token)", "")
    assert kept["token"] == "(a token)"


def test_what_hides_a_port_scan_is_not_told() -> None:
    """Where partners must be public, an address inside is refused before anything is known of it."""
    for url in ("https://10.0.0.1:22/", "https://169.254.169.254/"):
        with pytest.raises(InvalidCredentials, match="not public"):
            read_credentials("2.2.1", {"token": "t", "url": url}, modules=(), role=None, checked=public)
