"""Points that implementations of OCPI get wrong, each with its source, shown through the HTTP routes over a log and real tables."""

import ast
import base64
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest
from outlet import OPERATOR, House, Reply, house
from receiver import cdr, session
from samples import CONNECTOR, EVSE, LOCATION, TARIFF, TOKEN

from streams.ports import TableStore

POINTS: Final = {1, 8, 9, 11, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 35, 40}
"""Those that concern locations, sessions, cdrs, tariffs and tokens; each has a test that is marked with it."""

RECEIVER: Final = "/ocpi/2.2.1/receiver"
SENDER: Final = "/ocpi/2.2.1/sender"
S1: Final = f"{RECEIVER}/sessions/NL/TNM/S1"
LOC1: Final = f"{RECEIVER}/locations/NL/TNM/LOC1"
EVER: Final = "date_from=2020-01-01T00:00:00Z"
DATE_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT[^\"]*")


@pytest.fixture
async def home(store: TableStore) -> AsyncIterator[House]:
    async with house(store) as opened:
        yield opened


def period(start: str, kwh: float = 1.5) -> dict[str, Any]:
    return {"start_date_time": start, "dimensions": [{"type": "ENERGY", "volume": kwh}]}


async def findings(home: House) -> list[str]:
    """Return the rules that the data quality report names."""
    reply = await home.get("/analytics/findings", None, {"Authorization": f"Bearer {OPERATOR}"})
    assert reply.status == 200
    return sorted(row["rule"] for row in reply.json["rows"])


@pytest.mark.point(1)
async def test_the_printed_sample_of_a_token_authenticates_only_because_its_line_feed_is_stripped(home: House) -> None:
    """`Authorization: Token ZXhhbXBsZS10b2tlbgo=`, the printed sample, authenticates the token example-token only if the trailing
    line feed is stripped. Source: OCPI 2.2.1 transport_and_format, Authorization header.
    """
    assert base64.b64decode("ZXhhbXBsZS10b2tlbgo=") == b"example-token\n"
    await home.connect("example-token", "SE*EXA", "CPO")
    for text in ("ZXhhbXBsZS10b2tlbgo=", "ZXhhbXBsZS10b2tlbg==", "example-token"):
        assert (await home.get("/ocpi/versions", text)).status == 200, text
        own = session(country_code="SE", party_id="EXA")
        assert (await home.ask("PUT", f"{RECEIVER}/sessions/SE/EXA/S1", token=text, body=own)).code == 1000, text
    for text in ("ZXhhbXBsZS10b2tlbgoK", base64.b64encode(b"example-toke").decode(), "ZXhhbXBsZS10b2tlbgo=x"):
        assert (await home.get("/ocpi/versions", text)).status == 401, text


@pytest.mark.point(8)
async def test_a_list_of_sessions_without_date_from_is_invalid_unlike_all_others(home: House) -> None:
    """GET sessions without date_from is invalid, unlike all other lists. Source: OCPI 2.2.1 mod_sessions, Sender GET."""
    refused = await home.get(f"{SENDER}/sessions")
    assert (refused.status, refused.code) == (200, 2001)
    assert (await home.get(f"{SENDER}/sessions?{EVER}")).code == 1000
    for module, by in (("cdrs", "msp"), ("locations", "msp"), ("tariffs", "msp"), ("tokens", "cpo")):
        assert (await home.get(f"{SENDER}/{module}", by)).code == 1000, module


@pytest.mark.point(9)
async def test_date_from_is_inclusive_and_date_to_is_exclusive(home: House) -> None:
    """An object with last_updated == date_from is returned; with last_updated == date_to it is not.

    Source: OCPI 2.2.1 transport_and_format, paginated request.
    """
    await home.push(session("S1", last_updated="2026-09-20T10:05:00Z"))
    for strict in ("0", "1"):
        sessions = f"{SENDER}/sessions?strict_windows={strict}&"
        assert (await home.get(f"{sessions}date_from=2026-09-20T10:05:00Z")).ids == ["S1"]
        assert (await home.get(f"{sessions}{EVER}&date_to=2026-09-20T10:05:00Z")).ids == []
        assert (await home.get(f"{sessions}{EVER}&date_to=2026-09-20T10:05:00.001Z")).ids == ["S1"]
    later = f"{SENDER}/sessions?date_from=2026-09-20T10:05:00.001Z"
    assert (await home.get(f"{later}&strict_windows=1")).ids == []
    # It arrived after that, so whoever crawls from there on must be given it: a duplicate is harmless, a miss is not.
    assert (await home.get(later)).ids == ["S1"]


@pytest.mark.point(11)
async def test_a_link_repeats_the_filters_and_the_last_page_has_none(home: House) -> None:
    """The next-page Link repeats date_from and date_to; the last page has no Link at all; X-Limit on a short last page still shows
    the cap. Source: OCPI 2.2.1 transport_and_format, paginated response.
    """
    await home.push(*[session(f"S{number}") for number in range(5)])
    window = "date_from=2026-01-01T00:00:00Z&date_to=2027-01-01T00:00:00Z"
    pages = await home.crawl(f"{SENDER}/sessions?{window}&limit=2")
    assert [page.ids for page in pages] == [["S0", "S1"], ["S2", "S3"], ["S4"]]
    assert [window in page.headers.get("link", "") for page in pages] == [True, True, False]
    assert "link" not in pages[-1].headers
    assert [page.headers["x-limit"] for page in pages] == ["1000"] * 3


@pytest.mark.point(13)
async def test_a_patch_of_an_evse_or_a_connector_moves_the_last_updated_of_its_parents(home: House) -> None:
    """An EVSE PATCH moves Location.last_updated, so a Location list with a date_from between old and new returns that Location; a
    Connector PATCH moves both parents. Source: OCPI 2.2.1 mod_locations, PATCH.
    """
    await home.put("locations/NL/TNM/LOC1", LOCATION)
    listed = f"{SENDER}/locations?strict_windows=1&date_from="
    assert (await home.get(f"{listed}2026-01-31T11:30:00Z")).data == []
    patch: dict[str, Any] = {"status": "CHARGING", "last_updated": "2026-01-31T12:00:00Z"}
    await home.put("locations/NL/TNM/LOC1/3256", patch, method="PATCH")
    (location,) = (await home.get(f"{listed}2026-01-31T11:30:00Z")).data
    assert (location["last_updated"], location["evses"][0]["last_updated"]) == ("2026-01-31T12:00:00Z",) * 2
    patch = {"max_amperage": 16, "last_updated": "2026-01-31T13:00:00Z"}
    await home.put("locations/NL/TNM/LOC1/3256/1", patch, method="PATCH")
    (location,) = (await home.get(f"{listed}2026-01-31T12:30:00Z")).data
    evse = location["evses"][0]
    assert {location["last_updated"], evse["last_updated"], evse["connectors"][0]["last_updated"]} == {"2026-01-31T13:00:00Z"}


@pytest.mark.point(14)
async def test_a_patch_without_last_updated_is_2001_within_http_200(home: House) -> None:
    """PATCH without last_updated is refused with HTTP 2xx and OCPI 2001, not with HTTP 400.

    Source: OCPI 2.2.1 status_codes; mod_locations, mod_sessions and mod_tokens, PATCH.
    """
    await home.push(session())
    await home.put("locations/NL/TNM/LOC1", LOCATION)
    await home.put("tokens/DE/MSP/04E1", TOKEN, by="msp")
    patches: tuple[tuple[str, str, dict[str, Any]], ...] = (
        ("sessions/NL/TNM/S1", "cpo", {"kwh": 9}),
        ("locations/NL/TNM/LOC1", "cpo", {"name": "x"}),
        ("locations/NL/TNM/LOC1/3256", "cpo", {"status": "CHARGING"}),
        ("locations/NL/TNM/LOC1/3256/1", "cpo", {"max_amperage": 1}),
        ("tokens/DE/MSP/04E1", "msp", {"valid": False}),
    )
    for path, by, body in patches:
        reply = await home.ask("PATCH", f"{RECEIVER}/{path}", token=by, body=body)
        assert (reply.status, reply.code) == (200, 2001), path
        assert "last_updated" in reply.json["status_message"], path
    await home.fold()
    assert (await home.get(S1, "cpo")).data == session()
    assert (await home.get(LOC1, "cpo")).data == LOCATION


@pytest.mark.point(16)
async def test_patches_add_charging_periods_and_a_put_replaces_them(home: House) -> None:
    """Two PATCHes with one charging period each give two periods; PATCH with `[]` changes nothing; PUT without the field empties
    the list. Source: OCPI 2.2.1 mod_sessions, PUT and PATCH.
    """
    first, second = period("2026-09-20T10:00:00Z"), period("2026-09-20T10:30:00Z")
    await home.push(session())
    await home.put("sessions/NL/TNM/S1", {"charging_periods": [first], "last_updated": "2026-09-20T10:31:00Z"}, method="PATCH")
    await home.put("sessions/NL/TNM/S1", {"charging_periods": [second], "last_updated": "2026-09-20T10:32:00Z"}, method="PATCH")
    assert (await home.get(S1, "cpo")).data["charging_periods"] == [first, second]
    await home.put("sessions/NL/TNM/S1", {"charging_periods": [], "last_updated": "2026-09-20T10:33:00Z"}, method="PATCH")
    assert (await home.get(S1, "cpo")).data["charging_periods"] == [first, second]
    await home.push(session(last_updated="2026-09-20T10:34:00Z"))
    assert (await home.get(S1, "cpo")).data == session(last_updated="2026-09-20T10:34:00Z")


@pytest.mark.point(17)
async def test_nothing_is_patched_inside_a_session(home: House) -> None:
    """PATCH on `…/sessions/NL/TNM/101/charging_periods` is refused. Source: OCPI 2.2.1 mod_sessions, PATCH."""
    await home.push(session())
    body = {"charging_periods": [period("2026-09-20T10:00:00Z")], "last_updated": "2026-09-20T10:31:00Z"}
    reply = await home.ask("PATCH", f"{S1}/charging_periods", token="cpo", body=body)
    assert (reply.status, reply.code) == (404, 2001)
    await home.fold()
    assert (await home.get(S1, "cpo")).data == session()


@pytest.mark.point(18)
async def test_a_put_location_without_name_clears_it_and_a_patch_without_name_keeps_it(home: House) -> None:
    """PUT Location without `name` clears name; PATCH without `name` keeps it.

    Source: OCPI 2.2.1 transport_and_format, PUT and PATCH.
    """
    await home.put("locations/NL/TNM/LOC1", LOCATION)
    await home.put("locations/NL/TNM/LOC1", {"city": "Amstelveen", "last_updated": "2026-01-31T12:00:00Z"}, method="PATCH")
    assert (await home.get(f"{SENDER}/locations/LOC1")).data["name"] == "Keizersgracht"
    nameless = {name: value for name, value in LOCATION.items() if name != "name"} | {"last_updated": "2026-01-31T13:00:00Z"}
    await home.put("locations/NL/TNM/LOC1", nameless)
    assert (await home.get(f"{SENDER}/locations/LOC1")).data == nameless


@pytest.mark.point(19)
async def test_a_removed_evse_stays_and_a_location_is_never_deleted(home: House) -> None:
    """REMOVED keeps the EVSE retrievable by GET object; DELETE on a Location path gives 405.

    Source: OCPI 2.2.1 mod_locations, flow and lifecycle, Sender GET object; the 405 is our decision.
    """
    await home.put("locations/NL/TNM/LOC1", LOCATION)
    removed = {"status": "REMOVED", "last_updated": "2026-01-31T12:00:00Z"}
    await home.put("locations/NL/TNM/LOC1/3256", removed, method="PATCH")
    assert (await home.get(f"{SENDER}/locations/LOC1/3256")).data == EVSE | removed
    assert (await home.get(f"{LOC1}/3256", "cpo")).data == EVSE | removed
    for path in (LOC1, f"{LOC1}/3256", f"{LOC1}/3256/1"):
        reply = await home.ask("DELETE", path, token="cpo")
        assert (reply.status, reply.headers["allow"]) == (405, "GET, PUT, PATCH"), path
    await home.fold()
    assert (await home.get(f"{SENDER}/locations/LOC1/3256/1")).data == CONNECTOR


@pytest.mark.point(20)
async def test_an_evse_is_found_by_its_uid_and_evse_id_may_be_absent_or_used_again(home: House) -> None:
    """EVSE look-up is by uid; evse_id may be absent, and a REMOVED EVSE may have held the evse_id that a new one has.

    Source: OCPI 2.2.1 mod_locations, EVSE object.
    """
    old = EVSE | {"uid": "old", "status": "REMOVED"}
    nameless = {name: value for name, value in EVSE.items() if name != "evse_id"} | {"uid": "nameless"}
    location = LOCATION | {"evses": [old, EVSE | {"uid": "new"}, nameless]}
    await home.put("locations/NL/TNM/LOC1", location)
    assert (await home.get(f"{SENDER}/locations/LOC1")).data == location
    assert (await home.get(f"{SENDER}/locations/LOC1/old")).data == old
    assert (await home.get(f"{SENDER}/locations/LOC1/new")).data == EVSE | {"uid": "new"}
    assert (await home.get(f"{SENDER}/locations/LOC1/nameless")).data == nameless
    assert (await home.get(f"{SENDER}/locations/LOC1/NL*TNM*E1")).status == 404


@pytest.mark.point(21)
async def test_an_object_is_one_however_its_path_is_spelled(home: House) -> None:
    """`/locations/nl/tnm/loc1` and `/locations/NL/TNM/LOC1` address one object. Source: OCPI 2.2.1 types, CiString."""
    await home.put("locations/NL/TNM/LOC1", LOCATION)
    patch = {"name": "Gracht", "last_updated": "2026-01-31T12:00:00Z"}
    await home.put("locations/nl/tnm/loc1", patch, method="PATCH")
    assert [one["name"] for one in (await home.get(f"{SENDER}/locations")).data] == ["Gracht"]
    assert (await home.get(f"{SENDER}/locations/loc1")).data["id"] == "LOC1"
    reply = await home.ask("PUT", f"{RECEIVER}/sessions/nl/Tnm/s1", token="cpo", body=session("S1"))
    assert reply.status == 201
    later = session("s1", kwh=2, last_updated="2026-09-20T10:06:00Z")
    assert (await home.ask("PUT", S1, token="cpo", body=later)).status == 200
    await home.fold()
    assert (await home.get(f"{RECEIVER}/sessions/Nl/tNM/S1", "cpo")).data == later | {"id": "S1"}


@pytest.mark.point(22)
async def test_a_body_of_another_owner_than_its_path_is_refused(home: House) -> None:
    """A body whose country_code or party_id differs from the path is refused; the published PUT of a Tariff (path NL/TNM, body
    DE/ALL, no last_updated) is such a one. Source: OCPI 2.2.1 mod_tariffs, PUT; likewise the other modules.
    """
    tariff = {name: value for name, value in TARIFF.items() if name != "last_updated"} | {"country_code": "DE", "party_id": "ALL"}
    for path, by, body in (
        ("sessions/NL/TNM/S1", "cpo", session(country_code="DE")),
        ("sessions/NL/TNM/S1", "cpo", session(party_id="ALL")),
        ("locations/NL/TNM/LOC1", "cpo", LOCATION | {"country_code": "DE"}),
        ("tariffs/NL/TNM/12", "cpo", TARIFF | {"country_code": "DE", "party_id": "ALL"}),
        ("tariffs/NL/TNM/12", "cpo", tariff),
        ("tokens/DE/MSP/04E1", "msp", TOKEN | {"country_code": "NL"}),
    ):
        reply = await home.ask("PUT", f"{RECEIVER}/{path}", token=by, body=body)
        assert (reply.status, reply.code) == (200, 2001), (path, body)
    await home.fold()
    assert (await home.get(f"{SENDER}/sessions?{EVER}")).data == []
    assert (await home.get(f"{SENDER}/locations")).data == []
    assert (await home.get(f"{SENDER}/tariffs")).data == []
    assert (await home.get(f"{SENDER}/tokens", "cpo")).data == []


@pytest.mark.point(23)
async def test_a_posted_cdr_is_given_at_its_location_header_and_never_changes(home: House) -> None:
    """POST CDR answers 201 with a `Location` header that GETs the identical CDR; PUT, PATCH, DELETE on it give 405.

    Source: OCPI 2.2.1 mod_cdrs, POST and Receiver Interface; the 405 is our decision.
    """
    reply = await home.ask("POST", f"{RECEIVER}/cdrs", token="cpo", body=cdr())
    assert (reply.status, reply.code) == (201, 1000)
    url = reply.headers["location"]
    await home.fold()
    assert (await home.get(url, "cpo")).data == cdr()
    for method in ("PUT", "PATCH", "DELETE"):
        refused = await home.ask(method, url.removeprefix("https://hub.example"), token="cpo", body=cdr(total_energy=1))
        assert (refused.status, refused.code, refused.headers["allow"]) == (405, 2000, "GET"), method
    await home.fold()
    assert (await home.get(url, "cpo")).data == cdr()


@pytest.mark.point(24)
async def test_a_credit_cdr_takes_back_the_total_cost_and_nothing_else(home: House) -> None:
    """A Credit CDR has a negative total_cost, unchanged and positive total_energy and component costs, and an own id of up to 39
    characters. Source: OCPI 2.2.1 mod_cdrs, Credit CDRs.
    """
    cost = {"total_energy_cost": {"excl_vat": 10.0, "incl_vat": 12.1}}
    await home.post(cdr("C1", **cost))
    credit = cdr("C" * 39, credit=True, credit_reference_id="C1", total_cost={"excl_vat": -10.0, "incl_vat": -12.1}, **cost)
    reply = await home.ask("POST", f"{RECEIVER}/cdrs", token="cpo", body=credit)
    assert (reply.status, reply.code) == (201, 1000)
    await home.fold()
    given = (await home.get(reply.headers["location"], "cpo")).data
    assert given == credit
    assert (given["total_energy"], given["total_energy_cost"]["excl_vat"], given["total_cost"]["excl_vat"]) == (20.5, 10.0, -10.0)
    assert (await home.get(f"{SENDER}/cdrs")).ids == ["C1", "C" * 39]
    too_long = await home.ask("POST", f"{RECEIVER}/cdrs", token="cpo", body=credit | {"id": "C" * 40})
    assert (too_long.status, too_long.code) == (200, 2001)


@pytest.mark.point(25)
async def test_an_unknown_token_is_http_404_and_2004_without_data(home: House) -> None:
    """An unknown Token at authorize is HTTP 404 and a body with status_code 2004 and no data. Source: mod_tokens, POST."""
    reply = await home.ask("POST", f"{SENDER}/tokens/04E1/authorize", token="cpo", body={"location_id": "LOC1"})
    assert (reply.status, reply.code, "data" in reply.json) == (404, 2004, False)


@pytest.mark.point(26)
async def test_a_blocked_token_is_http_200_and_1000_and_is_asked_for_whatever_its_whitelist(home: House) -> None:
    """A BLOCKED Token is HTTP 200, OCPI 1000 and allowed=BLOCKED; `valid=false` with the whitelist NEVER still needs a real-time
    request. Source: OCPI 2.2.1 mod_tokens, AllowedType and WhitelistType.
    """
    for uid, whitelist in (("04E1", "ALLOWED"), ("04E2", "NEVER")):
        await home.put(f"tokens/DE/MSP/{uid}", TOKEN | {"uid": uid, "valid": False, "whitelist": whitelist}, by="msp")
        reply = await home.ask("POST", f"{SENDER}/tokens/{uid}/authorize", token="cpo", body={"location_id": "LOC1"})
        assert (reply.status, reply.code, reply.data["allowed"]) == (200, 1000, "BLOCKED"), whitelist


@pytest.mark.point(27)
async def test_a_path_without_type_addresses_the_rfid_token(home: House) -> None:
    """PUT of an APP_USER Token without `?type=APP_USER` addresses the RFID Token with that uid.

    Source: OCPI 2.2.1 mod_tokens, Receiver Interface.
    """
    app = TOKEN | {"type": "APP_USER"}
    card = f"{RECEIVER}/tokens/DE/MSP/04E1"
    refused = await home.ask("PUT", card, token="msp", body=app)
    assert (refused.status, refused.code) == (200, 2001)
    await home.put("tokens/DE/MSP/04E1", TOKEN, by="msp")
    await home.put("tokens/DE/MSP/04E1?type=APP_USER", app, by="msp")
    patch = {"valid": False, "last_updated": "2026-01-31T12:00:00Z"}
    await home.put("tokens/DE/MSP/04E1", patch, by="msp", method="PATCH")
    assert (await home.get(card, "msp")).data == TOKEN | patch
    assert (await home.get(f"{card}?type=APP_USER", "msp")).data == app


@pytest.mark.point(28)
async def test_date_times_are_read_in_many_forms_and_given_in_one(home: House) -> None:
    """A DateTime without Z is UTC in body and query; fractional seconds are accepted; output never uses +00:00 and never exceeds
    25 characters. Source: OCPI 2.2.1 types, DateTime.
    """
    for number, text in enumerate(
        ("2026-09-20T10:05:00", "2026-09-20T10:05:00.5", "2026-09-20T10:05:00.123456Z", "2026-09-20T12:05:00+02:00")
    ):
        await home.push(session(f"S{number}", last_updated=text, start_date_time=text))
    page = await home.get(f"{SENDER}/sessions?strict_windows=1&date_from=2026-09-20T10:05:00&date_to=2026-09-20T10:05:00.6")
    assert [one["last_updated"] for one in page.data] == [
        "2026-09-20T10:05:00Z", "2026-09-20T10:05:00.500Z", "2026-09-20T10:05:00.123Z", "2026-09-20T10:05:00Z"
    ]  # fmt: skip
    texts = DATE_TIME.findall(page.body.decode())
    assert len(texts) == 2 * 4 + 1  # the answer's own timestamp
    assert all(len(text) <= 25 and text.endswith("Z") for text in texts)


@pytest.mark.point(30)
async def test_energy_that_was_sent_in_wh_is_flagged_and_not_rescaled(home: House) -> None:
    """ENERGY volumes are kWh; the published Session examples contain Wh (41000 where kwh says 41.00): a plausibility check must
    flag, not rescale silently. Source: OCPI 2.2.1 mod_sessions, example 2.
    """
    wrong = session("S1", kwh=41.0, charging_periods=[period("2026-09-20T10:00:00Z", 41000)])
    await home.push(wrong, session("S2", kwh=1.5, charging_periods=[period("2026-09-20T10:00:00Z")]))
    assert (await home.get(S1, "cpo")).data == wrong
    assert await findings(home) == ["energy_in_wh"]


@pytest.mark.point(31)
async def test_a_reservation_has_the_status_reservation(home: House) -> None:
    """Reservation Sessions use the status RESERVATION; the prose of the same chapter says RESERVED.

    Source: OCPI 2.2.1 mod_sessions, Reservation and SessionStatus.
    """
    await home.push(session("S1", status="RESERVATION"))
    assert (await home.get(S1, "cpo")).data["status"] == "RESERVATION"
    reply = await home.ask("PUT", f"{RECEIVER}/sessions/NL/TNM/S2", token="cpo", body=session("S2", status="RESERVED"))
    assert (reply.status, reply.code) == (200, 2001)
    assert "/status" in reply.json["status_message"]


@pytest.mark.point(32)
async def test_the_start_moves_once_and_a_session_without_cost_is_not_free(home: House) -> None:
    """Session.start_date_time may change once, at PENDING to ACTIVE; an absent total_cost does not mean free, 0.00 does.

    Source: OCPI 2.2.1 mod_sessions, Session object.
    """
    pending = session("S1", status="PENDING", start_date_time="2026-09-20T10:00:00Z", last_updated="2026-09-20T10:00:00Z")
    active = session("S1", start_date_time="2026-09-20T10:02:00Z", last_updated="2026-09-20T10:02:00Z")
    await home.push(pending, active)
    assert (await home.get(S1, "cpo")).data == active
    assert await findings(home) == []
    moved = session("S1", start_date_time="2026-09-20T10:01:00Z", last_updated="2026-09-20T10:03:00Z")
    await home.push(moved)
    assert (await home.get(S1, "cpo")).data == moved
    assert await findings(home) == ["start_moved"]

    free = json.dumps(session("S2", total_cost={"excl_vat": 7777})).replace("7777", "0.00").encode()
    assert (await home.ask("PUT", f"{RECEIVER}/sessions/NL/TNM/S2", token="cpo", body=free)).code == 1000
    await home.fold()
    unknown, nothing = await home.get(S1, "cpo"), await home.get(f"{RECEIVER}/sessions/NL/TNM/S2", "cpo")
    assert "total_cost" not in unknown.data
    assert re.search(rb'"total_cost": ?{"excl_vat": ?0\.00}', nothing.body)
    assert await with_cost(home) == 1


async def with_cost(home: House) -> int:
    reply: Reply = await home.get("/analytics/energy", None, {"Authorization": f"Bearer {OPERATOR}"})
    return sum(int(row["sessions_with_cost"]) for row in reply.json["rows"])


def test_every_point_has_a_test() -> None:
    marked: set[int] = set()
    for file in Path(__file__).parent.rglob("test_*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            match node:
                case ast.Call(func=ast.Attribute(attr="point"), args=[ast.Constant(value=int(number))]):
                    marked.add(number)
    assert marked == POINTS
