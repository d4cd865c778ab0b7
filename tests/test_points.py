"""Points that implementations of OCPI get wrong, each with its source, shown through the HTTP routes over a log and real tables."""

import ast
import base64
import json
import re
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
from outlet import OPERATOR, House, Reply, house
from receiver import cdr, session
from samples import CONNECTOR, EVSE, LOCATION, TARIFF, TOKEN
from versions import LATER, OLDER, VERSIONS, in_version, sample

from ingest.partners import party_roles
from streams.ports import TableStore

POINTS: Final = {*range(1, 33), 35, 38, 39, 40}
"""Those that concern registration, locations, sessions, cdrs, tariffs and tokens; each has a test that is marked with it."""

EVER: Final = "date_from=2020-01-01T00:00:00Z"
DATE_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT[^\"]*")


def versions(*named: str) -> pytest.MarkDecorator:
    """Run a test with a house whose partners speak each of these."""
    return pytest.mark.parametrize("home", named, indirect=True)


every = versions(*VERSIONS)
later = versions(*LATER)


@pytest.fixture
async def home(store: TableStore, request: pytest.FixtureRequest) -> AsyncIterator[House]:
    async with house(store) as opened:
        opened.version = request.param
        yield opened


def s1(home: House) -> str:
    return f"{home.receiver}/sessions/NL/TNM/S1"


def loc1(home: House) -> str:
    return f"{home.receiver}/locations/NL/TNM/LOC1"


def own(home: House, name: str, of: Mapping[str, Any]) -> dict[str, Any]:
    """Return an object of 2.2.1 as the house's version writes it."""
    return in_version(home.version, name, of)


def period(start: str, kwh: float = 1.5) -> dict[str, Any]:
    return {"start_date_time": start, "dimensions": [{"type": "ENERGY", "volume": kwh}]}


async def findings(home: House) -> list[str]:
    """Return the rules that the data quality report names."""
    reply = await home.get("/analytics/findings", None, {"Authorization": f"Bearer {OPERATOR}"})
    assert reply.status == 200
    return sorted(row["rule"] for row in reply.json["rows"])


@pytest.mark.point(1)
@versions("2.2.1", "2.3.0")
async def test_the_printed_sample_of_a_token_authenticates_only_because_its_line_feed_is_stripped(home: House) -> None:
    """`Authorization: Token ZXhhbXBsZS10b2tlbgo=`, the printed sample, authenticates the token example-token only if the trailing
    line feed is stripped. Source: OCPI 2.2.1 transport_and_format, Authorization header.
    """
    assert base64.b64decode("ZXhhbXBsZS10b2tlbgo=") == b"example-token\n"
    await home.connect("example-token", "SE*EXA", "CPO")
    for text in ("ZXhhbXBsZS10b2tlbgo=", "ZXhhbXBsZS10b2tlbg==", "example-token"):
        assert (await home.get("/ocpi/versions", text)).status == 200, text
        own = session(country_code="SE", party_id="EXA")
        assert (await home.ask("PUT", f"{home.receiver}/sessions/SE/EXA/S1", token=text, body=own)).code == 1000, text
    for text in ("ZXhhbXBsZS10b2tlbgoK", base64.b64encode(b"example-toke").decode(), "ZXhhbXBsZS10b2tlbgo=x"):
        assert (await home.get("/ocpi/versions", text)).status == 401, text


@pytest.mark.point(2)
@versions(*OLDER)
async def test_before_2_2_a_token_that_is_base64_text_is_compared_raw(home: House) -> None:
    """A token that happens to be valid Base64 text is compared raw, not decoded. Source: OCPI 2.1.1 transport_and_format."""
    text = base64.b64encode(b"plain").decode()
    await home.registry.add("se", party_roles(["SE*ONE"], ["CPO"]), token=text, version=home.version)
    url = f"{home.sender}/tokens"
    assert (await home.get(url, text)).status == 200
    assert (await home.get(url, "plain")).status == 401
    assert home.registry.encoding("se") == "raw"


@pytest.mark.point(8)
@every
async def test_a_list_of_sessions_without_date_from_is_invalid_unlike_all_others(home: House) -> None:
    """GET sessions without date_from is invalid, unlike all other lists. Source: OCPI 2.2.1 mod_sessions, Sender GET."""
    refused = await home.get(f"{home.sender}/sessions")
    assert (refused.status, refused.code) == (200, 2001)
    assert (await home.get(f"{home.sender}/sessions?{EVER}")).code == 1000
    for module, by in (("cdrs", "msp"), ("locations", "msp"), ("tariffs", "msp"), ("tokens", "cpo")):
        assert (await home.get(f"{home.sender}/{module}", by)).code == 1000, module


@pytest.mark.point(9)
@later
async def test_date_from_is_inclusive_and_date_to_is_exclusive(home: House) -> None:
    """An object with last_updated == date_from is returned; with last_updated == date_to it is not.

    Source: OCPI 2.2.1 transport_and_format, paginated request.
    """
    await home.push(session("S1", last_updated="2026-09-20T10:05:00Z"))
    for strict in ("0", "1"):
        sessions = f"{home.sender}/sessions?strict_windows={strict}&"
        assert (await home.get(f"{sessions}date_from=2026-09-20T10:05:00Z")).ids == ["S1"]
        assert (await home.get(f"{sessions}{EVER}&date_to=2026-09-20T10:05:00Z")).ids == []
        assert (await home.get(f"{sessions}{EVER}&date_to=2026-09-20T10:05:00.001Z")).ids == ["S1"]
    later = f"{home.sender}/sessions?date_from=2026-09-20T10:05:00.001Z"
    assert (await home.get(f"{later}&strict_windows=1")).ids == []
    # It arrived after that, so whoever crawls from there on must be given it: a duplicate is harmless, a miss is not.
    assert (await home.get(later)).ids == ["S1"]


@pytest.mark.point(10)
@versions("2.0")
async def test_in_2_0_date_from_filters_on_the_start_and_other_lists_ignore_it(home: House) -> None:
    """[2.0] date_from on sessions and cdrs filters on session start, and locations, tariffs and tokens ignore it.

    Source: OCPI 2.0, 9.2.1 and 10.2.1.
    """
    await home.put("locations/NL/TNM/LOC1", sample("2.0", "Location"))
    await home.put("tariffs/NL/TNM/12", sample("2.0", "Tariff"))
    await home.put("tokens/DE/MSP/04E1", sample("2.0", "Token"), by="msp")
    await home.put("sessions/NL/TNM/s-1", sample("2.0", "Session"))
    await home.post(sample("2.0", "CDR"))
    for bounds, listed in (
        ("date_from=2026-01-31T10:00:00Z", 1),
        ("date_from=2026-01-31T10:00:01Z", 0),
        ("date_from=2026-01-31T09:00:00Z&date_to=2026-01-31T10:00:00Z", 0),
    ):
        for module in ("sessions", "cdrs"):
            assert len((await home.get(f"{home.sender}/{module}?{bounds}")).data) == listed, (module, bounds)
        for module, by in (("locations", "msp"), ("tariffs", "msp"), ("tokens", "cpo")):
            page = await home.get(f"{home.sender}/{module}?{bounds}", by)
            assert (len(page.data), page.headers["x-total-count"]) == (1, "1"), (module, bounds)


@pytest.mark.point(11)
@later
async def test_a_link_repeats_the_filters_and_the_last_page_has_none(home: House) -> None:
    """The next-page Link repeats date_from and date_to; the last page has no Link at all; X-Limit on a short last page still shows
    the cap. Source: OCPI 2.2.1 transport_and_format, paginated response.
    """
    await home.push(*[session(f"S{number}") for number in range(5)])
    window = "date_from=2026-01-01T00:00:00Z&date_to=2027-01-01T00:00:00Z"
    pages = await home.crawl(f"{home.sender}/sessions?{window}&limit=2")
    assert [page.ids for page in pages] == [["S0", "S1"], ["S2", "S3"], ["S4"]]
    assert [window in page.headers.get("link", "") for page in pages] == [True, True, False]
    assert "link" not in pages[-1].headers
    assert [page.headers["x-limit"] for page in pages] == ["1000"] * 3


@pytest.mark.point(13)
@later
async def test_a_patch_of_an_evse_or_a_connector_moves_the_last_updated_of_its_parents(home: House) -> None:
    """An EVSE PATCH moves Location.last_updated, so a Location list with a date_from between old and new returns that Location; a
    Connector PATCH moves both parents. Source: OCPI 2.2.1 mod_locations, PATCH.
    """
    await home.put("locations/NL/TNM/LOC1", LOCATION)
    listed = f"{home.sender}/locations?strict_windows=1&date_from="
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
@later
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
        reply = await home.ask("PATCH", f"{home.receiver}/{path}", token=by, body=body)
        assert (reply.status, reply.code) == (200, 2001), path
        assert "last_updated" in reply.json["status_message"], path
    await home.fold()
    assert (await home.get(s1(home), "cpo")).data == session()
    assert (await home.get(loc1(home), "cpo")).data == LOCATION


@pytest.mark.point(15)
@versions("2.1.1")
async def test_in_2_1_1_a_patch_without_last_updated_is_accepted(home: House) -> None:
    """[2.1.1] a PATCH without last_updated is accepted (the official examples have none). Source: 2.1.1 mod_locations 2.2.3."""
    await home.put("locations/NL/TNM/LOC1", sample("2.1.1", "Location"))
    for place, change in (("", {"name": "Gracht"}), ("/3256", {"status": "CHARGING"}), ("/3256/1", {"amperage": 16})):
        reply = await home.ask("PATCH", f"{loc1(home)}{place}", token="cpo", body=change)
        assert (reply.status, reply.code) == (200, 1000), place
        await home.fold()
        assert (await home.get(f"{loc1(home)}{place}", "cpo")).data.items() >= change.items(), place


@pytest.mark.point(16)
@later
async def test_patches_add_charging_periods_and_a_put_replaces_them(home: House) -> None:
    """Two PATCHes with one charging period each give two periods; PATCH with `[]` changes nothing; PUT without the field empties
    the list. Source: OCPI 2.2.1 mod_sessions, PUT and PATCH.
    """
    first, second = period("2026-09-20T10:00:00Z"), period("2026-09-20T10:30:00Z")
    await home.push(session())
    await home.put("sessions/NL/TNM/S1", {"charging_periods": [first], "last_updated": "2026-09-20T10:31:00Z"}, method="PATCH")
    await home.put("sessions/NL/TNM/S1", {"charging_periods": [second], "last_updated": "2026-09-20T10:32:00Z"}, method="PATCH")
    assert (await home.get(s1(home), "cpo")).data["charging_periods"] == [first, second]
    await home.put("sessions/NL/TNM/S1", {"charging_periods": [], "last_updated": "2026-09-20T10:33:00Z"}, method="PATCH")
    assert (await home.get(s1(home), "cpo")).data["charging_periods"] == [first, second]
    await home.push(session(last_updated="2026-09-20T10:34:00Z"))
    assert (await home.get(s1(home), "cpo")).data == session(last_updated="2026-09-20T10:34:00Z")


@pytest.mark.point(17)
@later
async def test_nothing_is_patched_inside_a_session(home: House) -> None:
    """PATCH on `…/sessions/NL/TNM/101/charging_periods` is refused. Source: OCPI 2.2.1 mod_sessions, PATCH."""
    await home.push(session())
    body = {"charging_periods": [period("2026-09-20T10:00:00Z")], "last_updated": "2026-09-20T10:31:00Z"}
    reply = await home.ask("PATCH", f"{home.receiver}/sessions/NL/TNM/S1/charging_periods", token="cpo", body=body)
    assert (reply.status, reply.code) == (404, 2001)
    await home.fold()
    assert (await home.get(s1(home), "cpo")).data == session()


@pytest.mark.point(18)
@later
async def test_a_put_location_without_name_clears_it_and_a_patch_without_name_keeps_it(home: House) -> None:
    """PUT Location without `name` clears name; PATCH without `name` keeps it.

    Source: OCPI 2.2.1 transport_and_format, PUT and PATCH.
    """
    await home.put("locations/NL/TNM/LOC1", LOCATION)
    await home.put("locations/NL/TNM/LOC1", {"city": "Amstelveen", "last_updated": "2026-01-31T12:00:00Z"}, method="PATCH")
    assert (await home.get(f"{home.sender}/locations/LOC1")).data["name"] == "Keizersgracht"
    nameless = {name: value for name, value in LOCATION.items() if name != "name"} | {"last_updated": "2026-01-31T13:00:00Z"}
    await home.put("locations/NL/TNM/LOC1", nameless)
    assert (await home.get(f"{home.sender}/locations/LOC1")).data == nameless


@pytest.mark.point(19)
@later
async def test_a_removed_evse_stays_and_a_location_is_never_deleted(home: House) -> None:
    """REMOVED keeps the EVSE retrievable by GET object; DELETE on a Location path gives 405.

    Source: OCPI 2.2.1 mod_locations, flow and lifecycle, Sender GET object; the 405 is our decision.
    """
    await home.put("locations/NL/TNM/LOC1", LOCATION)
    removed = {"status": "REMOVED", "last_updated": "2026-01-31T12:00:00Z"}
    await home.put("locations/NL/TNM/LOC1/3256", removed, method="PATCH")
    assert (await home.get(f"{home.sender}/locations/LOC1/3256")).data == EVSE | removed
    assert (await home.get(f"{home.receiver}/locations/NL/TNM/LOC1/3256", "cpo")).data == EVSE | removed
    for path in (loc1(home), f"{home.receiver}/locations/NL/TNM/LOC1/3256", f"{home.receiver}/locations/NL/TNM/LOC1/3256/1"):
        reply = await home.ask("DELETE", path, token="cpo")
        assert (reply.status, reply.headers["allow"]) == (405, "GET, PUT, PATCH"), path
    await home.fold()
    assert (await home.get(f"{home.sender}/locations/LOC1/3256/1")).data == CONNECTOR


@pytest.mark.point(20)
@later
async def test_an_evse_is_found_by_its_uid_and_evse_id_may_be_absent_or_used_again(home: House) -> None:
    """EVSE look-up is by uid; evse_id may be absent, and a REMOVED EVSE may have held the evse_id that a new one has.

    Source: OCPI 2.2.1 mod_locations, EVSE object.
    """
    old = EVSE | {"uid": "old", "status": "REMOVED"}
    nameless = {name: value for name, value in EVSE.items() if name != "evse_id"} | {"uid": "nameless"}
    location = LOCATION | {"evses": [old, EVSE | {"uid": "new"}, nameless]}
    await home.put("locations/NL/TNM/LOC1", location)
    assert (await home.get(f"{home.sender}/locations/LOC1")).data == location
    assert (await home.get(f"{home.sender}/locations/LOC1/old")).data == old
    assert (await home.get(f"{home.sender}/locations/LOC1/new")).data == EVSE | {"uid": "new"}
    assert (await home.get(f"{home.sender}/locations/LOC1/nameless")).data == nameless
    assert (await home.get(f"{home.sender}/locations/LOC1/NL*TNM*E1")).status == 404


@pytest.mark.point(21)
@later
async def test_an_object_is_one_however_its_path_is_spelled(home: House) -> None:
    """`/locations/nl/tnm/loc1` and `/locations/NL/TNM/LOC1` address one object. Source: OCPI 2.2.1 types, CiString."""
    await home.put("locations/NL/TNM/LOC1", LOCATION)
    patch = {"name": "Gracht", "last_updated": "2026-01-31T12:00:00Z"}
    await home.put("locations/nl/tnm/loc1", patch, method="PATCH")
    assert [one["name"] for one in (await home.get(f"{home.sender}/locations")).data] == ["Gracht"]
    assert (await home.get(f"{home.sender}/locations/loc1")).data["id"] == "LOC1"
    reply = await home.ask("PUT", f"{home.receiver}/sessions/nl/Tnm/s1", token="cpo", body=session("S1"))
    assert reply.status == 201
    later = session("s1", kwh=2, last_updated="2026-09-20T10:06:00Z")
    assert (await home.ask("PUT", s1(home), token="cpo", body=later)).status == 200
    await home.fold()
    assert (await home.get(f"{home.receiver}/sessions/Nl/tNM/S1", "cpo")).data == later | {"id": "S1"}


@pytest.mark.point(21)
@versions("2.1.1")
async def test_in_2_1_1_another_spelling_of_a_path_is_another_object(home: House) -> None:
    """`/locations/nl/tnm/loc1` and `/locations/NL/TNM/LOC1` do not address one object [2.1.1]. Source: OCPI 2.1.1 types, string."""
    await home.put("locations/NL/TNM/LOC1", sample("2.1.1", "Location"))
    for place in ("nl/tnm/LOC1", "NL/TNM/loc1"):
        reply = await home.ask("PATCH", f"{home.receiver}/locations/{place}", token="cpo", body={"name": "Gracht"})
        assert reply.status == 404, place
        assert (await home.get(f"{home.receiver}/locations/{place}", "cpo")).status == 404, place
    await home.fold()
    assert (await home.get(loc1(home), "cpo")).data == sample("2.1.1", "Location")


@pytest.mark.point(22)
@later
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
        reply = await home.ask("PUT", f"{home.receiver}/{path}", token=by, body=body)
        assert (reply.status, reply.code) == (200, 2001), (path, body)
    await home.fold()
    assert (await home.get(f"{home.sender}/sessions?{EVER}")).data == []
    assert (await home.get(f"{home.sender}/locations")).data == []
    assert (await home.get(f"{home.sender}/tariffs")).data == []
    assert (await home.get(f"{home.sender}/tokens", "cpo")).data == []


@pytest.mark.point(23)
@every
async def test_a_posted_cdr_is_given_at_its_location_header_and_never_changes(home: House) -> None:
    """POST CDR answers 201 with a `Location` header that GETs the identical CDR; PUT, PATCH, DELETE on it give 405.

    Source: OCPI 2.2.1 mod_cdrs, POST and Receiver Interface; the 405 is our decision.
    """
    reply = await home.ask("POST", f"{home.receiver}/cdrs", token="cpo", body=own(home, "CDR", cdr()))
    assert (reply.status, reply.code) == (201, 1000)
    url = reply.headers["location"]
    await home.fold()
    assert (await home.get(url, "cpo")).data == own(home, "CDR", cdr())
    for method in ("PUT", "PATCH", "DELETE"):
        refused = await home.ask(method, url.removeprefix("https://hub.example"), token="cpo", body=cdr(total_energy=1))
        assert (refused.status, refused.code, refused.headers["allow"]) == (405, 2000, "GET"), method
    await home.fold()
    assert (await home.get(url, "cpo")).data == own(home, "CDR", cdr())


@pytest.mark.point(24)
@later
async def test_a_credit_cdr_takes_back_the_total_cost_and_nothing_else(home: House) -> None:
    """A Credit CDR has a negative total_cost, unchanged and positive total_energy and component costs, and an own id of up to 39
    characters. Source: OCPI 2.2.1 mod_cdrs, Credit CDRs.
    """
    token = own(home, "Token", TOKEN | {"contract_id": "DE-MSP-C1"})  # 2.2 names the contract alone
    await home.put("tokens/DE/MSP/04E1", token, by="msp")
    cost = {"total_energy_cost": {"excl_vat": 10.0, "incl_vat": 12.1}}
    await home.post(own(home, "CDR", cdr("C1", **cost)))
    back = cdr("C" * 39, credit=True, credit_reference_id="C1", total_cost={"excl_vat": -10.0, "incl_vat": -12.1}, **cost)
    credit = own(home, "CDR", back)
    reply = await home.ask("POST", f"{home.receiver}/cdrs", token="cpo", body=credit)
    assert (reply.status, reply.code) == (201, 1000)
    await home.fold()
    given = (await home.get(reply.headers["location"], "cpo")).data
    assert given == credit
    net = "before_taxes" if home.version == "2.3.0" else "excl_vat"
    assert (given["total_energy"], given["total_energy_cost"][net], given["total_cost"][net]) == (20.5, 10.0, -10.0)
    assert (await home.get(f"{home.sender}/cdrs")).ids == ["C1", "C" * 39]
    too_long = await home.ask("POST", f"{home.receiver}/cdrs", token="cpo", body=credit | {"id": "C" * 40})
    assert (too_long.status, too_long.code) == (200, 2001)


@pytest.mark.point(25)
@later
async def test_an_unknown_token_is_http_404_and_2004_without_data(home: House) -> None:
    """An unknown Token at authorize is HTTP 404 and a body with status_code 2004 and no data. Source: mod_tokens, POST."""
    reply = await home.ask("POST", f"{home.sender}/tokens/04E1/authorize", token="cpo", body={"location_id": "LOC1"})
    assert (reply.status, reply.code, "data" in reply.json) == (404, 2004, False)


@pytest.mark.point(26)
@versions("2.1.1", *LATER)
async def test_a_blocked_token_is_http_200_and_1000_and_is_asked_for_whatever_its_whitelist(home: House) -> None:
    """A BLOCKED Token is HTTP 200, OCPI 1000 and allowed=BLOCKED; `valid=false` with the whitelist NEVER still needs a real-time
    request. Source: OCPI 2.2.1 mod_tokens, AllowedType and WhitelistType.
    """
    for uid, whitelist in (("04E1", "ALLOWED"), ("04E2", "NEVER")):
        token = own(home, "Token", TOKEN | {"uid": uid, "valid": False, "whitelist": whitelist})
        await home.put(f"tokens/DE/MSP/{uid}", token, by="msp")
        reply = await home.ask("POST", f"{home.sender}/tokens/{uid}/authorize", token="cpo", body={"location_id": "LOC1"})
        assert (reply.status, reply.code, reply.data["allowed"]) == (200, 1000, "BLOCKED"), whitelist


@pytest.mark.point(27)
@later
async def test_a_path_without_type_addresses_the_rfid_token(home: House) -> None:
    """PUT of an APP_USER Token without `?type=APP_USER` addresses the RFID Token with that uid.

    Source: OCPI 2.2.1 mod_tokens, Receiver Interface.
    """
    app = TOKEN | {"type": "APP_USER"}
    card = f"{home.receiver}/tokens/DE/MSP/04E1"
    refused = await home.ask("PUT", card, token="msp", body=app)
    assert (refused.status, refused.code) == (200, 2001)
    await home.put("tokens/DE/MSP/04E1", TOKEN, by="msp")
    await home.put("tokens/DE/MSP/04E1?type=APP_USER", app, by="msp")
    patch = {"valid": False, "last_updated": "2026-01-31T12:00:00Z"}
    await home.put("tokens/DE/MSP/04E1", patch, by="msp", method="PATCH")
    assert (await home.get(card, "msp")).data == TOKEN | patch
    assert (await home.get(f"{card}?type=APP_USER", "msp")).data == app


@pytest.mark.point(28)
@later
async def test_date_times_are_read_in_many_forms_and_given_in_one(home: House) -> None:
    """A DateTime without Z is UTC in body and query; fractional seconds are accepted; output never uses +00:00 and never exceeds
    25 characters. Source: OCPI 2.2.1 types, DateTime.
    """
    for number, text in enumerate(
        ("2026-09-20T10:05:00", "2026-09-20T10:05:00.5", "2026-09-20T10:05:00.123456Z", "2026-09-20T12:05:00+02:00")
    ):
        await home.push(session(f"S{number}", last_updated=text, start_date_time=text))
    page = await home.get(f"{home.sender}/sessions?strict_windows=1&date_from=2026-09-20T10:05:00&date_to=2026-09-20T10:05:00.6")
    assert [one["last_updated"] for one in page.data] == [
        "2026-09-20T10:05:00Z", "2026-09-20T10:05:00.500Z", "2026-09-20T10:05:00.123Z", "2026-09-20T10:05:00Z"
    ]  # fmt: skip
    texts = DATE_TIME.findall(page.body.decode())
    assert len(texts) == 2 * 4 + 1  # the answer's own timestamp
    assert all(len(text) <= 25 and text.endswith("Z") for text in texts)


@pytest.mark.point(30)
@later
async def test_energy_that_was_sent_in_wh_is_flagged_and_not_rescaled(home: House) -> None:
    """ENERGY volumes are kWh; the published Session examples contain Wh (41000 where kwh says 41.00): a plausibility check must
    flag, not rescale silently. Source: OCPI 2.2.1 mod_sessions, example 2.
    """
    wrong = session("S1", kwh=41.0, charging_periods=[period("2026-09-20T10:00:00Z", 41000)])
    wrong = own(home, "Session", wrong)
    await home.push(wrong, own(home, "Session", session("S2", kwh=1.5, charging_periods=[period("2026-09-20T10:00:00Z")])))
    assert (await home.get(s1(home), "cpo")).data == wrong
    assert await findings(home) == ["energy_in_wh"]


@pytest.mark.point(31)
@later
async def test_a_reservation_has_the_status_reservation(home: House) -> None:
    """Reservation Sessions use the status RESERVATION; the prose of the same chapter says RESERVED.

    Source: OCPI 2.2.1 mod_sessions, Reservation and SessionStatus.
    """
    await home.push(session("S1", status="RESERVATION"))
    assert (await home.get(s1(home), "cpo")).data["status"] == "RESERVATION"
    reply = await home.ask("PUT", f"{home.receiver}/sessions/NL/TNM/S2", token="cpo", body=session("S2", status="RESERVED"))
    assert (reply.status, reply.code) == (200, 2001)
    assert "/status" in reply.json["status_message"]


@pytest.mark.point(32)
@later
async def test_the_start_moves_once_and_a_session_without_cost_is_not_free(home: House) -> None:
    """Session.start_date_time may change once, at PENDING to ACTIVE; an absent total_cost does not mean free, 0.00 does.

    Source: OCPI 2.2.1 mod_sessions, Session object.
    """
    created = {"start_date_time": "2026-09-20T10:00:00Z", "last_updated": "2026-09-20T10:00:00Z"}
    pending = own(home, "Session", session("S1", status="PENDING", **created))
    begun = {"start_date_time": "2026-09-20T10:02:00Z", "last_updated": "2026-09-20T10:02:00Z"}
    active = own(home, "Session", session("S1", **begun))
    await home.push(pending, active)
    assert (await home.get(s1(home), "cpo")).data == active
    assert await findings(home) == []
    moved = active | {"start_date_time": "2026-09-20T10:01:00Z", "last_updated": "2026-09-20T10:03:00Z"}
    await home.push(moved)
    assert (await home.get(s1(home), "cpo")).data == moved
    assert await findings(home) == ["start_moved"]

    net = "before_taxes" if home.version == "2.3.0" else "excl_vat"
    cost: dict[str, Any] = {net: 7777} | ({"taxes": []} if home.version == "2.3.0" else {})
    free = json.dumps(session("S2", total_cost=cost)).replace("7777", "0.00").encode()
    assert (await home.ask("PUT", f"{home.receiver}/sessions/NL/TNM/S2", token="cpo", body=free)).code == 1000
    await home.fold()
    unknown, nothing = await home.get(s1(home), "cpo"), await home.get(f"{home.receiver}/sessions/NL/TNM/S2", "cpo")
    assert "total_cost" not in unknown.data
    assert re.search(rb'"total_cost": ?{"%b": ?0\.00[,}]' % net.encode(), nothing.body)
    assert await with_cost(home) == 1


@pytest.mark.point(38)
@later
async def test_a_broadcast_is_the_owners_by_its_path_and_answered_to_the_hub(home: House) -> None:
    """Broadcast receive: FROM is the hub, the path names the original CPO; the ownership check passes on the path, and the answer's
    TO is the hub. Source: OCPI 2.2.1 transport_and_format, Broadcast Push and message routing headers.
    """
    await home.connect("hub", "DE*HUB", "HUB")
    broadcast = {**routing("from", "DE", "HUB"), **routing("to", "ZZ", "RML")}
    body = own(home, "Location", LOCATION | {"country_code": "SE", "party_id": "NEW", "id": "L1"})
    url = f"{home.receiver}/locations/SE/NEW/L1"
    refused = await home.ask("PUT", url, token="hub", body=body, headers=broadcast)
    assert refused.code != 1000  # a hub writes for whom it has told of
    client = {"party_id": "NEW", "country_code": "SE", "role": "CPO", "status": "CONNECTED", "last_updated": "2026-09-20T10:00:00Z"}
    assert (await home.ask("PUT", f"{home.receiver}/hubclientinfo/SE/NEW", token="hub", body=client)).code == 1000
    taken = await home.ask("PUT", url, token="hub", body=body, headers=broadcast)
    assert taken.code == 1000
    for answer in (refused, taken):
        assert routed(answer) == {**routing("to", "DE", "HUB"), **routing("from", "ZZ", "RML")}
    await home.fold()
    read = await home.get(url, "hub", broadcast)
    assert (read.data, routed(read)) == (body, routed(taken))
    # The hub is not the owner: what says so in its body is refused, and a path of the hub's own is another object.
    mine = body | {"country_code": "DE", "party_id": "HUB"}
    assert (await home.ask("PUT", url, token="hub", body=mine, headers=broadcast)).code == 2001


@pytest.mark.point(39)
@later
async def test_message_ids_and_routing_headers_come_back_where_there_are_any(home: House) -> None:
    """A leg through a hub has an X-Request-ID of its own and the X-Correlation-ID of the whole way, and last_updated is unchanged;
    versions, credentials and hubclientinfo carry no OCPI-to and OCPI-from headers. Source: OCPI 2.2.1 transport_and_format, unique
    message ids, Timestamps and Objects send via Hubs, message routing headers.
    """
    await home.connect("hub", "DE*HUB", "HUB")
    client = {"party_id": "NEW", "country_code": "SE", "role": "CPO", "status": "CONNECTED", "last_updated": "2026-09-20T10:00:00Z"}
    sides = {**routing("from", "DE", "HUB"), **routing("to", "ZZ", "RML")}

    async def ask(method: str, url: str, leg: str, body: Any = None) -> Reply:
        ids = {"x-request-id": leg, "x-correlation-id": "whole-way"}
        reply = await home.ask(method, url, token="hub", body=body, headers={**sides, **ids})
        assert (reply.headers["x-request-id"], reply.headers["x-correlation-id"]) == (leg, "whole-way")
        return reply

    told = await ask("PUT", f"{home.receiver}/hubclientinfo/SE/NEW", "leg-0", client)
    assert (told.code, routed(told)) == (1000, {})
    for unrouted in ("/ocpi/versions", f"/ocpi/{home.version}", f"{home.receiver}/hubclientinfo/SE/NEW"):
        assert routed(await ask("GET", unrouted, "leg-1")) == {}, unrouted
    old = own(home, "Session", session("S1", country_code="SE", party_id="NEW", last_updated="2026-01-02T03:04:05Z"))
    url = f"{home.receiver}/sessions/SE/NEW/S1"
    assert routed(await ask("PUT", url, "leg-2", old)) == {**routing("to", "DE", "HUB"), **routing("from", "ZZ", "RML")}
    await home.fold()
    assert (await ask("GET", url, "leg-3")).data["last_updated"] == "2026-01-02T03:04:05Z"


def routing(side: str, country_code: str, party_id: str) -> dict[str, str]:
    return {f"ocpi-{side}-country-code": country_code, f"ocpi-{side}-party-id": party_id}


def routed(reply: Reply) -> dict[str, str]:
    """Return the routing headers of an answer."""
    return {name: value for name, value in reply.headers.items() if name.startswith("ocpi-")}


@pytest.mark.point(40)
@versions("2.3.0")
async def test_unknown_fields_and_open_values_are_taken_and_closed_values_are_not(home: House) -> None:
    """Unknown JSON fields and unknown OpenEnum values never cause a rejection; unknown values of closed enums (Status, PowerType,
    SessionStatus) do. Source: OCPI 2.3.0 types, OpenEnum, and transport_and_format.
    """
    connector = CONNECTOR | {"standard": "FUTURE_PLUG", "novelty": {"a": [1]}}
    location = LOCATION | {"novelty": "x", "facilities": ["SPACEPORT"], "evses": [EVSE | {"connectors": [connector]}]}
    await home.put("locations/NL/TNM/LOC1", location)
    assert (await home.get(loc1(home), "cpo")).data == location
    for evse in (EVSE | {"status": "FLYING"}, EVSE | {"connectors": [CONNECTOR | {"power_type": "FUSION"}]}):
        reply = await home.ask("PUT", f"{loc1(home)}/3256", token="cpo", body=evse)
        assert (reply.status, reply.code) == (200, 2001)
    assert (await home.ask("PUT", s1(home), token="cpo", body=session("S1", status="DREAMING"))).code == 2001


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
