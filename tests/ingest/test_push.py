"""What a partner may push, and what it is answered (OCPI 2.2.1 mod_sessions, mod_cdrs, status_codes; requirements 2)."""

import asyncio
import json
from typing import Any

import pytest
from receiver import NOW, Reply, World, cdr, session

from schemas.rejected import BODY_BYTES
from streams.clock import FixedClock
from streams.logs.memory import MemoryLog

S1 = "sessions/NL/TNM/S1"


class Tnm:
    """The world with one partner, NL*TNM, asking."""

    def __init__(self, world: World, token: str) -> None:
        self.world = world
        self.token = token

    async def __call__(self, method: str, path: str, body: object = b"", **options: Any) -> Reply:
        return await self.world.ask(method, path, body, token=self.token, **options)


@pytest.fixture
async def tnm() -> Tnm:
    world = World(MemoryLog(), FixedClock(NOW))
    issued = await world.partner()
    return Tnm(world, issued.token)


def patch(**fields: Any) -> dict[str, Any]:
    return {"last_updated": "2026-09-20T10:06:00Z"} | fields


# --- sessions -------------------------------------------------------------------------------------------------------


async def test_a_put_session_is_durable_when_it_is_answered(tnm: Tnm) -> None:
    reply = await tnm("PUT", S1, session())
    assert (reply.status, reply.ocpi) == (201, {"status_code": 1000, "timestamp": "2026-09-21T14:13:20Z"})
    (event,) = await tnm.world.envelopes()
    assert (event.type, event.module, event.origin, event.connection, event.party) == (
        "session.replaced", "sessions", "push", "tnm", "NL*TNM",
    )  # fmt: skip
    assert (event.key, event.version, event.received_at, event.addressed_to) == (("S1",), "2.2.1", NOW, "DE*MSP")
    assert json.loads(event.payload) == session()


async def test_a_put_of_a_known_session_is_200(tnm: Tnm) -> None:
    assert (await tnm("PUT", S1, session())).status == 201
    assert (await tnm("PUT", S1, session(kwh=2))).status == 200
    assert len(await tnm.world.envelopes()) == 2


async def test_a_retry_has_the_event_id_of_the_first_and_nothing_else_has(tnm: Tnm) -> None:
    await tnm("PUT", S1, session())
    tnm.world.clock.advance(1_000_000)
    await tnm("PUT", S1, session())
    await tnm("PUT", S1, session(kwh=2))
    await tnm("PATCH", S1, patch(kwh=2))
    await tnm("PUT", "sessions/NL/TNM/S2", session("S2"))
    events = sorted(await tnm.world.envelopes(), key=lambda event: event.received_at)
    ids = [event.event_id for event in events]
    assert (len(ids), len(set(ids)), ids.count(ids[0])) == (5, 4, 2)


async def test_a_patch_of_a_known_session_waits_for_nothing_but_the_log(tnm: Tnm) -> None:
    await tnm("PUT", S1, session())
    tnm.world.tables.away = True
    asked = list(tnm.world.tables.asked)
    reply = await tnm("PATCH", S1, patch(kwh=3))
    assert (reply.status, reply.code) == (200, 1000)
    assert tnm.world.tables.asked == asked
    assert [event.type for event in await tnm.world.envelopes()] == ["session.replaced", "session.patched"]


async def test_a_patch_after_a_restart_is_found_in_the_tables(tnm: Tnm) -> None:
    await tnm("PUT", S1, session())
    world = await tnm.world.restarted()
    reply = await world.ask("PATCH", S1, patch(kwh=3), token=tnm.token)
    assert (reply.status, reply.code) == (200, 1000)
    assert len(await world.envelopes()) == 2


async def test_a_patch_of_an_unknown_session_is_404_and_kept_as_rejected(tnm: Tnm) -> None:
    reply = await tnm("PATCH", "sessions/NL/TNM/S9", patch(kwh=3))
    assert (reply.status, reply.code) == (404, 2001)
    assert "PUT it first" in reply.ocpi["status_message"]
    assert await tnm.world.envelopes() == []
    (rejected,) = await tnm.world.rejected()
    assert json.loads(rejected.body) == patch(kwh=3)
    assert (rejected.http_status, rejected.status_code, rejected.party) == (404, 2001, "NL*TNM")


async def test_a_patch_whose_session_the_projection_has_not_reached_is_taken(tnm: Tnm) -> None:
    await tnm("PUT", S1, session())
    world = await tnm.world.restarted()
    world.tables.stalled = True
    assert (await world.ask("PATCH", S1, patch(kwh=3), token=tnm.token)).code == 1000
    assert len(await world.envelopes()) == 2


async def test_a_patch_is_taken_while_the_tables_are_away(tnm: Tnm) -> None:
    tnm.world.tables.away = True
    assert (await tnm("PATCH", S1, patch(kwh=3))).code == 1000
    assert len(await tnm.world.envelopes()) == 1


async def test_a_put_is_answered_while_the_tables_are_away(tnm: Tnm) -> None:
    tnm.world.tables.away = True
    assert (await tnm("PUT", S1, session())).status == 201


async def test_patches_of_unknown_sessions_share_their_reads(tnm: Tnm) -> None:
    replies = await asyncio.gather(*(tnm("PATCH", f"sessions/NL/TNM/S{n}", patch()) for n in range(50)))
    assert {reply.status for reply in replies} == {404}
    assert len(tnm.world.tables.asked) <= 8


async def test_point_14_a_patch_without_last_updated_is_2001_and_no_http_error(tnm: Tnm) -> None:
    await tnm("PUT", S1, session())
    reply = await tnm("PATCH", S1, {"kwh": 3})
    assert (reply.status, reply.code) == (200, 2001)
    assert "last_updated" in reply.ocpi["status_message"]


async def test_point_17_a_path_below_a_session_is_refused(tnm: Tnm) -> None:
    await tnm("PUT", S1, session())
    reply = await tnm("PATCH", f"{S1}/charging_periods", patch())
    assert (reply.status, reply.code) == (404, 2001)
    assert "charging_periods are added by a PATCH of the Session" in reply.ocpi["status_message"]
    assert len(await tnm.world.envelopes()) == 1
    assert len(await tnm.world.rejected()) == 1


async def test_point_21_one_session_in_any_spelling(tnm: Tnm) -> None:
    assert (await tnm("PUT", "sessions/nl/tnm/s1", session())).status == 201
    assert (await tnm("PATCH", "sessions/Nl/tNm/S1", patch())).status == 200
    one, other = await tnm.world.envelopes()
    assert (one.party, other.party) == ("NL*TNM", "NL*TNM")


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"country_code": "DE"}, "the object says DE*TNM, its path NL*TNM"),
        ({"party_id": "ALL"}, "the object says NL*ALL, its path NL*TNM"),
        ({"id": "S2"}, "the object says 'S2', its path 'S1'"),
    ],
)
async def test_point_22_the_body_must_be_of_its_path(tnm: Tnm, fields: dict[str, Any], reason: str) -> None:
    for method, body in (("PUT", session(**fields)), ("PATCH", patch(country_code="NL", party_id="TNM", id="S1") | fields)):
        reply = await tnm(method, S1, body)
        assert (reply.status, reply.code) == (200, 2001)
        assert reason in reply.ocpi["status_message"]
    assert await tnm.world.envelopes() == []


@pytest.mark.parametrize("path", ["sessions/DE/SLB/S1", "sessions/NL/TN/S1", "sessions/NL*T/NM/S1", "sessions/%20NL/TNM/S1"])
async def test_the_path_of_another_owner_is_404_and_the_body_is_kept(tnm: Tnm, path: str) -> None:
    body = session(country_code="DE", party_id="SLB")
    reply = await tnm("PUT", path, body)
    assert (reply.status, reply.code) == (404, 2001)
    assert "is no party of this connection" in reply.ocpi["status_message"]
    assert await tnm.world.envelopes() == []
    (rejected,) = await tnm.world.rejected()
    assert (json.loads(rejected.body), rejected.connection) == (body, "tnm")


async def test_a_hub_writes_the_parties_that_it_was_allowed(tnm: Tnm) -> None:
    hub = await tnm.world.partner("hub", "SE*HUB", roles=["HUB"], allowed=["BE*ABC"])
    body = session(country_code="BE", party_id="ABC")
    named = {"OCPI-from-country-code": "SE", "OCPI-from-party-id": "HUB"}
    reply = await tnm.world.ask("PUT", "sessions/BE/ABC/S1", body, token=hub.token, headers=named)
    assert reply.code == 1000
    assert (await tnm.world.ask("PUT", S1, session(), token=hub.token)).status == 404


@pytest.mark.parametrize("method", ["DELETE", "POST"])
async def test_other_verbs_on_a_session_are_405_with_allow(tnm: Tnm, method: str) -> None:
    reply = await tnm(method, S1, session())
    assert (reply.status, reply.code, reply.headers["allow"]) == (405, 2000, "GET, PUT, PATCH")


@pytest.mark.parametrize("path", ["sessions", "sessions/NL", "sessions/NL/TNM", "sessions/NL/TNM/", "sessions/NL/TNM//", ""])
async def test_a_path_that_is_no_session_is_404(tnm: Tnm, path: str) -> None:
    assert (await tnm("PUT", path, session())).status == 404


async def test_unknown_fields_are_kept_and_flagged(tnm: Tnm) -> None:
    body = session(nltnm_colour="green")
    assert (await tnm("PUT", S1, body)).code == 1000
    (event,) = await tnm.world.envelopes()
    assert json.loads(event.payload) == body
    assert [(finding.pointer, finding.rule) for finding in event.findings] == [("/nltnm_colour", "unknown_field")]


# --- cdrs -----------------------------------------------------------------------------------------------------------


async def test_point_23_a_posted_cdr_is_201_with_the_location_to_get_it(tnm: Tnm) -> None:
    reply = await tnm("POST", "cdrs", cdr())
    assert (reply.status, reply.code) == (201, 1000)
    assert reply.headers["location"] == "https://hub.example/ocpi/2.2.1/receiver/cdrs/NL/TNM/C1"
    for method in ("PUT", "PATCH", "DELETE"):
        refused = await tnm(method, "cdrs/NL/TNM/C1", cdr())
        assert (refused.status, refused.code, refused.headers["allow"]) == (405, 2000, "GET")
    (event,) = await tnm.world.envelopes()
    assert (event.type, event.key, event.party) == ("cdr.posted", ("C1",), "NL*TNM")


async def test_a_cdr_stands_in_the_lane_of_its_session(tnm: Tnm) -> None:
    await tnm("PUT", S1, session())
    await tnm("POST", "cdrs", cdr("C1", session_id="s1"))
    await tnm("POST", "cdrs", cdr("C2", session_id=None, credit=True, credit_reference_id="C1"))
    await tnm("POST", "cdrs", cdr("C3", session_id=None))
    found = [record.key async for record in tnm.world._records("ocpi.charging")]
    assert sorted(found) == [b"NL*TNM|c1", b"NL*TNM|c3", b"NL*TNM|s1", b"NL*TNM|s1"]


async def test_the_location_is_percent_encoded(tnm: Tnm) -> None:
    reply = await tnm("POST", "cdrs", cdr("a/b c?#ü"))
    assert reply.headers["location"].endswith("/cdrs/NL/TNM/a%2Fb%20c%3F%23%C3%BC")


@pytest.mark.parametrize("restart", [False, True])
async def test_the_same_cdr_again_is_200_with_the_same_location_and_nothing_appended(tnm: Tnm, restart: bool) -> None:
    first = await tnm("POST", "cdrs", cdr())
    world = await tnm.world.restarted() if restart else tnm.world
    text = json.dumps(dict(reversed(cdr(total_time=1.00).items())), indent=2).encode().replace(b"20.5", b"20.50")
    for body in (cdr(), text):
        again = await world.ask("POST", "cdrs", body, token=tnm.token)
        assert (again.status, again.code) == (200, 1000)
        assert again.headers["location"] == first.headers["location"]
    assert len(await world.envelopes()) == 1


@pytest.mark.parametrize("restart", [False, True])
async def test_another_cdr_of_the_same_id_is_a_conflict_and_kept_as_rejected(tnm: Tnm, restart: bool) -> None:
    await tnm("POST", "cdrs", cdr())
    world = await tnm.world.restarted() if restart else tnm.world
    other = cdr("c1", total_energy=21, session_id="S2")
    reply = await world.ask("POST", "cdrs", other, token=tnm.token)
    assert (reply.status, reply.code) == (200, 2001)
    assert "location" not in reply.headers
    assert len(await world.envelopes()) == 1
    (rejected,) = await world.rejected()
    assert [finding.rule for finding in rejected.findings] == ["cdr_conflict"]
    assert json.loads(rejected.body) == other


async def test_a_cdr_posted_twice_at_once_is_appended_once(tnm: Tnm) -> None:
    replies = await asyncio.gather(*(tnm("POST", "cdrs", cdr()) for _ in range(10)))
    assert sorted(reply.status for reply in replies) == [200] * 9 + [201]
    assert len(await tnm.world.envelopes()) == 1


async def test_a_cdr_waits_for_what_stood_in_the_log_before_this_process(tnm: Tnm) -> None:
    """While the tables lag nobody can tell, so it is taken: the fold keeps the first."""
    await tnm("POST", "cdrs", cdr())
    world = await tnm.world.restarted()
    world.tables.stalled = True
    assert (await world.ask("POST", "cdrs", cdr(), token=tnm.token)).status == 201
    world = await tnm.world.restarted()
    assert (await world.ask("POST", "cdrs", cdr(), token=tnm.token)).status == 200
    assert len(await world.envelopes()) == 2


async def test_a_different_cdr_that_cannot_be_compared_is_left_to_the_fold(tnm: Tnm) -> None:
    await tnm("POST", "cdrs", cdr())
    tnm.world.tables.away = True
    reply = await tnm("POST", "cdrs", cdr(total_energy=21))
    assert (reply.status, reply.code) == (200, 1000)
    assert len(await tnm.world.envelopes()) == 2


async def test_the_owner_of_a_cdr_is_in_its_body(tnm: Tnm) -> None:
    reply = await tnm("POST", "cdrs", cdr(country_code="DE", party_id="SLB"))
    assert (reply.status, reply.code) == (404, 2001)
    (rejected,) = await tnm.world.rejected()
    assert (rejected.party, rejected.module) == ("DE*SLB", "cdrs")
    assert (await tnm("POST", "cdrs", cdr(country_code="nl", party_id="tnm"))).status == 201


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
async def test_a_cdr_is_only_posted(tnm: Tnm, method: str) -> None:
    reply = await tnm(method, "cdrs", cdr())
    assert (reply.status, reply.headers["allow"]) == (405, "POST")


async def test_point_24_a_credit_cdr_has_its_own_id_of_up_to_39_characters(tnm: Tnm) -> None:
    await tnm("POST", "cdrs", cdr())
    credit = cdr("C" * 39, credit=True, credit_reference_id="C1", total_cost={"excl_vat": -10.0, "incl_vat": -12.1})
    assert (await tnm("POST", "cdrs", credit)).status == 201
    assert len(await tnm.world.envelopes()) == 2


# --- who asks, and how ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [{}, {"Authorization": "Token nobody"}, {"Authorization": "Bearer x"}, {"Authorization": "Token " + "x" * 5000}],
)
async def test_a_stranger_gets_401_and_leaves_no_record(tnm: Tnm, headers: dict[str, str]) -> None:
    for method, path in (("PUT", S1), ("GET", "sessions"), ("PUT", "/ocpi/9.9/receiver/sessions/NL/TNM/S1"), ("POST", "cdrs")):
        reply = await tnm.world.ask(method, path, session(), token=None, headers=headers)
        assert (reply.status, reply.code, reply.headers["www-authenticate"]) == (401, 2000, "Token")
    assert await tnm.world.rejected() == []
    assert tnm.world.metrics.registry.get_sample_value("roamlog_unauthenticated_total") == 4


async def test_an_unknown_version_is_404_with_3002(tnm: Tnm) -> None:
    reply = await tnm("PUT", "/ocpi/2.9/receiver/sessions/NL/TNM/S1", session())
    assert (reply.status, reply.code) == (404, 3002)
    assert "OCPI 2.9 is not spoken here" in reply.ocpi["status_message"]


async def test_an_unknown_module_is_404(tnm: Tnm) -> None:
    reply = await tnm("PUT", "chargers/NL/TNM/S1", session())
    assert (reply.status, reply.code) == (404, 2000)


async def test_a_reader_on_a_path_without_one_gets_an_envelope_and_no_record(tnm: Tnm) -> None:
    assert (await tnm("GET", "cdrs")).headers["allow"] == "POST"
    assert (await tnm("GET", "chargers")).status == 404
    assert (await tnm("OPTIONS", S1)).status == 405
    assert await tnm.world.rejected() == []


async def test_message_ids_are_echoed_and_recorded(tnm: Tnm) -> None:
    reply = await tnm("PUT", S1, session(), headers={"X-Request-ID": "r-1", "X-Correlation-ID": "c-1"})
    assert (reply.headers["x-request-id"], reply.headers["x-correlation-id"]) == ("r-1", "c-1")
    (event,) = await tnm.world.envelopes()
    assert (event.request_id, event.correlation_id) == ("r-1", "c-1")


async def test_no_message_id_is_invented_and_none_is_echoed_that_is_not_printable_and_short(tnm: Tnm) -> None:
    reply = await tnm("PUT", S1, session())
    assert not {"x-request-id", "x-correlation-id"} & set(reply.headers)
    reply = await tnm("PUT", S1, session(), headers={"X-Request-ID": "x" * 129, "X-Correlation-ID": "a\x07b"})
    assert not {"x-request-id", "x-correlation-id"} & set(reply.headers)
    _, event = await tnm.world.envelopes()
    assert (event.request_id, event.correlation_id) == ("x" * 128, "ab")


async def test_routing_headers_come_back_swapped(tnm: Tnm) -> None:
    asked = {
        "OCPI-from-country-code": "NL", "OCPI-from-party-id": "TNM", "OCPI-to-country-code": "DE", "OCPI-to-party-id": "ALL",
    }  # fmt: skip
    reply = await tnm("PUT", S1, session(cdr_token=session()["cdr_token"] | {"party_id": "MSP"}), headers=asked)
    assert {name: value for name, value in reply.headers.items() if name.startswith("ocpi-")} == {
        "ocpi-to-country-code": "NL", "ocpi-to-party-id": "TNM", "ocpi-from-country-code": "DE", "ocpi-from-party-id": "ALL",
    }  # fmt: skip
    (event,) = await tnm.world.envelopes()
    assert (event.ocpi_from, event.ocpi_to, event.addressed_to) == ("NL*TNM", "DE*ALL", "DE*MSP")


async def test_an_answer_names_no_party_that_was_not_named_whole(tnm: Tnm) -> None:
    for headers in ({}, {"OCPI-from-party-id": "TNM"}, {"OCPI-to-country-code": "DE", "OCPI-to-party-id": "AL L"}):
        reply = await tnm("PUT", S1, session(), headers=headers)
        assert [name for name in reply.headers if name.startswith("ocpi-")] == []


async def test_the_receiver_of_a_patch_is_the_one_of_its_header_or_nobody(tnm: Tnm) -> None:
    await tnm("PUT", S1, session())
    await tnm("PATCH", S1, patch())
    await tnm("PATCH", S1, patch(kwh=2), headers={"OCPI-to-country-code": "de", "OCPI-to-party-id": "all"})
    assert [event.addressed_to for event in await tnm.world.envelopes()] == ["DE*MSP", None, "DE*ALL"]


async def test_a_foreign_sender_in_the_header_is_flagged(tnm: Tnm) -> None:
    await tnm("PUT", S1, session(), headers={"OCPI-from-country-code": "DE", "OCPI-from-party-id": "SLB"})
    (event,) = await tnm.world.envelopes()
    assert [finding.rule for finding in event.findings] == ["foreign_from"]


@pytest.mark.parametrize("content_type", ["application/json;charset=UTF-8", "Application/JSON", "application/vnd.ocpi+json"])
async def test_json_may_say_so_in_many_ways(tnm: Tnm, content_type: str) -> None:
    await tnm("PUT", S1, session(), headers={"Content-Type": content_type})
    (event,) = await tnm.world.envelopes()
    assert event.findings == ()


async def test_a_wrong_content_type_is_flagged_because_valid_json_gets_no_http_error(tnm: Tnm) -> None:
    """OCPI 2.2.1 status_codes: with valid JSON on an existing resource an HTTP error MUST NOT be returned."""
    reply = await tnm("PUT", S1, session(), headers={"Content-Type": "text/xml"})
    assert (reply.status, reply.code) == (201, 1000)
    (event,) = await tnm.world.envelopes()
    assert [(finding.rule, finding.severity) for finding in event.findings] == [("content_type", "warning")]
    assert (await tnm("PUT", S1, b"<session/>", headers={"Content-Type": "text/xml"})).status == 400


async def test_a_trailing_slash_is_no_other_path(tnm: Tnm) -> None:
    assert (await tnm("PUT", f"{S1}/", session())).status == 201
    assert (await tnm("POST", "cdrs/", cdr())).status == 201
    assert (await tnm("PUT", S1, session())).status == 200


@pytest.mark.parametrize("odd", ["a/b", "a b", 'a"b', "a'b", "100%", "a?b#c", "é", "..", "a\\b", "%2F"])
async def test_an_id_may_hold_what_a_path_may_not(tnm: Tnm, odd: str) -> None:
    from urllib.parse import quote

    path = f"sessions/NL/TNM/{quote(odd, safe='')}"
    assert (await tnm("PUT", path, session(odd))).status == 201
    assert (await tnm("PATCH", path, patch())).status == 200
    assert {event.key for event in await tnm.world.envelopes()} == {(odd,)}


@pytest.mark.parametrize("odd", ["a%00b", "a%0Ab", "%7F", "x" * 256, "%FF", "%E2%82", "%"])
async def test_what_can_be_no_id_is_404(tnm: Tnm, odd: str) -> None:
    for method in ("PUT", "PATCH"):
        reply = await tnm(method, f"sessions/NL/TNM/{odd}", session() if method == "PUT" else patch())
        assert reply.status == 404 or (odd == "%" and reply.code == 2001)
    assert await tnm.world.envelopes() == []


async def test_an_id_that_is_too_long_is_2001(tnm: Tnm) -> None:
    reply = await tnm("PUT", "sessions/NL/TNM/" + "x" * 37, session("x" * 37))
    assert (reply.status, reply.code) == (200, 2001)


# --- bad input ------------------------------------------------------------------------------------------------------

NOT_JSON = {
    "empty": b"",
    "truncated": json.dumps(session()).encode()[:-20],
    "not UTF-8": json.dumps(session()).encode().replace(b"LOC1", b"LOC\xff"),
    "UTF-16": json.dumps(session()).encode("utf-16"),
    "NaN": json.dumps(session(kwh=float("nan"))).encode(),
    "Infinity": json.dumps(session(kwh=float("inf"))).encode(),
    "duplicate keys": json.dumps(session()).encode()[:-1] + b', "id": "S1"}',
    "nesting": b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "unclosed nesting": b"[" * 100_000,
    "two values": b"{} {}",
    "single quotes": b"{'id': 1}",
    "trailing comma": b'{"id": "S1",}',
    "zeros": b"\x00" * 1000,
    "form": b"id=S1&kwh=1",
}


@pytest.mark.parametrize("body", NOT_JSON.values(), ids=NOT_JSON.keys())
@pytest.mark.parametrize(("method", "path"), [("PUT", S1), ("PATCH", S1), ("POST", "cdrs")])
async def test_what_is_no_json_is_http_400(tnm: Tnm, method: str, path: str, body: bytes) -> None:
    reply = await tnm(method, path, body)
    assert (reply.status, reply.code) == (400, 2001)
    (rejected,) = await tnm.world.rejected()
    assert rejected.body == body[:BODY_BYTES]
    assert rejected.body_length == len(body)
    assert (rejected.method, rejected.path) == (method, f"/ocpi/2.2.1/receiver/{path}")


@pytest.mark.parametrize("number", [b"1e999", b"-1e400", b"1" + b"0" * 400])
async def test_a_number_beyond_reason_is_refused(tnm: Tnm, number: bytes) -> None:
    reply = await tnm("PUT", S1, json.dumps(session(kwh=77)).encode().replace(b"77", number))
    assert reply.status in {200, 400}
    assert reply.code == 2001
    assert await tnm.world.envelopes() == []


@pytest.mark.parametrize("body", [b"null", b"[]", b'"S1"', b"7", b"{}", b"[{}]", b'{"id": null}', b'{"id": {"id": []}}'])
async def test_json_that_is_no_object_of_the_module_is_2001_within_http_200(tnm: Tnm, body: bytes) -> None:
    for method, path in (("PUT", S1), ("PATCH", S1), ("POST", "cdrs")):
        reply = await tnm(method, path, body)
        assert (reply.status, reply.code) == (200, 2001)
    assert [rejected.body for rejected in await tnm.world.rejected()] == [body] * 3


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("last_updated", "yesterday"), ("last_updated", "2026-13-01T00:00:00Z"), ("last_updated", 5), ("status", "active"),
        ("kwh", "many"), ("start_date_time", "9999-12-31T23:59:59Z"), ("currency", None), ("cdr_token", "U1"), ("id", ""),
    ],
)  # fmt: skip
async def test_a_wrong_field_is_named_in_the_answer(tnm: Tnm, field: str, value: object) -> None:
    reply = await tnm("PUT", S1, session() | {field: value})
    assert (reply.status, reply.code) == (200, 2001)
    assert f"/{field}" in reply.ocpi["status_message"]


@pytest.mark.parametrize(
    "text", ["2026-09-20T10:05:00", "2026-09-20T10:05:00.123456Z", "2026-09-20T12:05:00+02:00", "1970-1-1T00:00:00Z"]
)
async def test_an_odd_timestamp_is_taken(tnm: Tnm, text: str) -> None:
    assert (await tnm("PUT", S1, session(last_updated=text))).code == 1000


async def test_a_large_refused_object_is_kept_whole_and_large_garbage_is_cut(tnm: Tnm) -> None:
    large = json.dumps(session(status="UNHEARD", note="x" * 300_000)).encode()
    await tnm("PUT", S1, large)
    await tnm("PUT", S1, b"x" * 300_000)
    whole, cut = sorted(await tnm.world.rejected(), key=lambda rejected: -len(rejected.body))
    assert whole.body == large
    assert (len(cut.body), cut.body_length) == (BODY_BYTES, 300_000)


@pytest.mark.parametrize("chunks", [1, 64])
async def test_a_body_over_the_limit_is_413_whether_or_not_it_was_announced(chunks: int) -> None:
    world = World(MemoryLog(), FixedClock(NOW), body_bytes=10_000)
    token = (await world.partner()).token
    reply = await world.ask("PUT", S1, session(note="x" * 10_000), token=token, chunks=chunks)
    assert (reply.status, reply.code, reply.headers["connection"]) == (413, 2001, "close")
    assert await world.envelopes() == []
    (rejected,) = await world.rejected()
    assert (rejected.http_status, rejected.path) == (413, f"/ocpi/2.2.1/receiver/{S1}")
    exact = json.dumps(session(note="")).encode()
    filled = exact.replace(b'"note": ""', b'"note": "%b"' % (b"x" * (10_000 - len(exact))))
    assert (await world.ask("PUT", S1, filled, token=token, chunks=chunks)).status == 201


# --- the log away ---------------------------------------------------------------------------------------------------


async def test_without_the_log_everything_is_503_with_retry_after_and_nothing_is_remembered(tnm: Tnm) -> None:
    tnm.world.log.unavailable = "the disk is full"
    for method, path, body in (("PUT", S1, session()), ("POST", "cdrs", cdr()), ("PUT", S1, {}), ("DELETE", S1, {})):
        reply = await tnm(method, path, body)
        assert (reply.status, reply.code, reply.headers["retry-after"]) == (503, 3000, "5")
    tnm.world.log.unavailable = ""
    assert (await tnm("PUT", S1, session())).status == 201
    assert (await tnm("POST", "cdrs", cdr())).status == 201
    assert await tnm.world.rejected() == []


async def test_outcomes_are_counted(tnm: Tnm) -> None:
    await tnm("PUT", S1, session())
    await tnm("PUT", S1, session())
    await tnm("PATCH", "sessions/NL/TNM/S2", patch())
    await tnm("POST", "cdrs", cdr())
    await tnm("POST", "cdrs", cdr())
    await tnm("PUT", S1, {})
    counted = {
        (sample.labels["module"], sample.labels["verb"], sample.labels["outcome"]): sample.value
        for metric in tnm.world.metrics.registry.collect()
        for sample in metric.samples
        if sample.name == "roamlog_push_requests_total"
    }
    assert counted == {
        ("sessions", "PUT", "created"): 1, ("sessions", "PUT", "updated"): 1, ("sessions", "PATCH", "unknown"): 1,
        ("cdrs", "POST", "created"): 1, ("cdrs", "POST", "duplicate"): 1, ("sessions", "PUT", "refused"): 1,
    }  # fmt: skip
