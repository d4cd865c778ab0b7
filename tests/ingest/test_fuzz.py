"""Whatever a partner sends is answered in OCPI, and never with a fault of ours."""

import asyncio
import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
from generated import objects, text_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from receiver import NOW, Reply, World, cdr, session
from samples import CONNECTOR, EVSE, LOCATION, TARIFF, TOKEN

from schemas.ocpi.v2_2_1 import SPEC
from streams.clock import FixedClock
from streams.logs.memory import MemoryLog


class Partner:
    """One world in one loop, for many examples."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self._runner = runner
        self.world = World(MemoryLog(), FixedClock(NOW), body_bytes=50_000)
        self.token = runner.run(self.world.partner()).token

    def ask(self, method: str, path: str, body: object, headers: dict[str, str] | None = None) -> Reply:
        return self._runner.run(self.world.ask(method, path, body, token=self.token, headers=headers))


@pytest.fixture(scope="module")
def partner() -> Iterator[Partner]:
    with asyncio.Runner() as runner:
        yield Partner(runner)


ANSWERS = {200, 201, 400, 404, 405, 413}
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["2026-09-20T10:05:00Z", "1970-1-1T00:00:00Z", "9999-12-31T23:59:59Z", "NL", "#NA", "x" * 300, -1, 0, 10**9])
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3), max_leaves=8
)
methods = st.sampled_from(["PUT", "PATCH", "POST", "DELETE", "GET"])
OWN_TOKEN = TOKEN | {"country_code": "NL", "party_id": "TNM"}
ASKED: dict[str, Any] = {"location_id": "LOC1", "evse_uids": ["3256"]}
OBJECTS: list[tuple[str, str, dict[str, Any]]] = [
    ("PUT", "sessions/NL/TNM/S1", session()),
    ("PATCH", "sessions/NL/TNM/S1", session()),
    ("POST", "cdrs", cdr()),
    ("PUT", "locations/NL/TNM/LOC1", LOCATION),
    ("PATCH", "locations/NL/TNM/LOC1", LOCATION),
    ("PUT", "locations/NL/TNM/LOC1/3256", EVSE),
    ("PATCH", "locations/NL/TNM/LOC1/3256", EVSE),
    ("PUT", "locations/NL/TNM/LOC1/3256/1", CONNECTOR),
    ("PATCH", "locations/NL/TNM/LOC1/3256/1", CONNECTOR),
    ("PUT", "tariffs/NL/TNM/12", TARIFF),
    ("DELETE", "tariffs/NL/TNM/12", TARIFF),
    ("PUT", "tokens/NL/TNM/04E1?type=RFID", OWN_TOKEN),
    ("PATCH", "tokens/NL/TNM/04E1", OWN_TOKEN),
    ("POST", "/ocpi/2.2.1/sender/tokens/04E1/authorize?type=RFID", ASKED),
    ("PUT", "/ocpi/2.2.1/sender/sessions/S1/charging_preferences", {"profile_type": "CHEAP"}),
]
paths = st.sampled_from(sorted({path for _, path, _ in OBJECTS} | {"sessions/NL/TNM/S2", "cdrs/NL/TNM/C1"}))
requests = st.tuples(methods, paths).filter(lambda drawn: drawn[0] != "GET" or "sender" not in drawn[1])
"""The GETs below /sender/ are answered by api."""
quick = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


BY_PATH = {
    "sessions/NL/TNM/S1": "Session",
    "locations/NL/TNM/LOC1": "Location",
    "locations/NL/TNM/LOC1/3256": "EVSE",
    "locations/NL/TNM/LOC1/3256/1": "Connector",
    "tariffs/NL/TNM/12": "Tariff",
    "tokens/NL/TNM/04E1": "Token",
}


def answered(reply: Reply) -> None:
    assert reply.status in ANSWERS
    assert (reply.code == 1000) == (reply.status in {200, 201} and "status_message" not in reply.ocpi)
    assert reply.ocpi["timestamp"].endswith("Z")


@quick
@given(requests, st.binary(max_size=200))
def test_any_bytes(partner: Partner, request_line: tuple[str, str], body: bytes) -> None:
    answered(partner.ask(*request_line, body))


@quick
@given(requests, values)
def test_any_json(partner: Partner, request_line: tuple[str, str], body: object) -> None:
    answered(partner.ask(*request_line, body))


@quick
@given(st.data())
def test_an_object_with_anything_in_one_of_its_fields(partner: Partner, data: st.DataObject) -> None:
    method, path, sample = data.draw(st.sampled_from(OBJECTS))
    whole = copy.deepcopy(sample)
    target: Any = whole
    field = data.draw(st.sampled_from(sorted(whole)))
    while isinstance(target[field], dict | list) and target[field] and data.draw(st.booleans()):
        target = target[field]
        field = data.draw(st.sampled_from(sorted(target) if isinstance(target, dict) else range(len(target))))
    target[field] = data.draw(values)
    answered(partner.ask(method, path, whole))


@quick
@given(st.data())
def test_any_object_that_the_tables_of_ocpi_allow(partner: Partner, data: st.DataObject) -> None:
    path, name = data.draw(st.sampled_from(sorted(BY_PATH.items())))
    whole = data.draw(objects(SPEC, name))
    named = {"country_code": "NL", "party_id": "TNM", "uid" if name in {"EVSE", "Token"} else "id": path.rpartition("/")[2]}
    reply = partner.ask("PUT", path, text_of(whole | {field: own for field, own in named.items() if field in whole}))
    answered(reply)


@quick
@given(st.data())
def test_an_object_cut_or_changed_at_any_byte(partner: Partner, data: st.DataObject) -> None:
    method, path, sample = data.draw(st.sampled_from(OBJECTS))
    whole = bytearray(json.dumps(sample).encode())
    at = data.draw(st.integers(0, len(whole) - 1))
    if data.draw(st.booleans()):
        del whole[at:]
    else:
        whole[at] = data.draw(st.integers(0, 255))
    answered(partner.ask(method, path, bytes(whole)))


pieces = st.text(alphabet=st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="?#/"), max_size=12)
segments = pieces | st.sampled_from(
    [
        "NL",
        "TNM",
        "sessions",
        "cdrs",
        "locations",
        "tariffs",
        "tokens",
        "LOC1",
        "3256",
        "S1",
        "..",
        "%2F",
        "%00",
        "%0A",
        "%",
        "%ZZ",
        "",
        "x" * 400,
    ]
)


@quick
@given(methods, st.lists(segments, max_size=7), st.booleans())
def test_any_path(partner: Partner, method: str, path: list[str], slash: bool) -> None:
    reply = partner.ask(method, "/ocpi/2.2.1/receiver/" + "/".join(path) + "/" * slash, session())
    answered(reply)


printable = st.text(alphabet=st.characters(max_codepoint=0xFF, exclude_characters="\r\n\x00"), max_size=40)


@quick
@given(st.tuples(*[printable] * 5))
def test_any_headers(partner: Partner, drawn: tuple[str, ...]) -> None:
    request_id, country, party, content_type, length = drawn
    headers = {
        "X-Request-ID": request_id,
        "X-Correlation-ID": request_id,
        "OCPI-from-country-code": country,
        "OCPI-from-party-id": party,
        "OCPI-to-country-code": country,
        "OCPI-to-party-id": party,
        "Content-Type": content_type,
        "Content-Length": length,
    }
    answered(partner.ask("PUT", "sessions/NL/TNM/S1", session(), headers))


@quick
@given(printable)
def test_any_authorization_is_answered_401(partner: Partner, header: str) -> None:
    reply = partner.ask("PUT", "sessions/NL/TNM/S1", session(), {"Authorization": header})
    assert (reply.status, reply.code) == (401, 2000)
