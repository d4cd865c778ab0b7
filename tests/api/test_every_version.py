"""Every OCPI version in, every version out: what each has for itself on the HTTP side."""

import base64
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import pytest
from outlet import OPERATOR, SECOND, URL, House, Reply, house
from versions import LATER, MODULES, OLDER, VERSIONS, path, sample

from ingest.errors import InvalidPartner
from ingest.partners import party_roles
from schemas import envelope as envelopes
from schemas import rejected as rejections
from schemas.events import Envelope
from schemas.rejected import Rejected
from schemas.types import date_time
from streams.ports import TableStore, TopicPartition
from streams.topics import CHARGING, REJECTED, TARIFFS

EVER = "date_from=2020-01-01T00:00:00Z"
NAMES = ("Token", "Tariff", "Location", "Session", "CDR")

each = pytest.mark.parametrize("version", VERSIONS)
older = pytest.mark.parametrize("version", OLDER)
later = pytest.mark.parametrize("version", LATER)


@pytest.fixture
async def home(store: TableStore) -> AsyncIterator[House]:
    async with house(store) as opened:
        yield opened


def who(name: str) -> tuple[str, str]:
    """Return who writes an object, and where its owner stands in a path."""
    return ("msp", "DE/MSP") if name == "Token" else ("cpo", "NL/TNM")


async def push(home: House, version: str, name: str, of: dict[str, Any], method: str = "PUT") -> Reply:
    """Push an object in a version, and fold it."""
    by, owner = who(name)
    if name == "CDR":
        reply = await home.ask("POST", f"/ocpi/{version}/receiver/cdrs", token=by, body=of)
    else:
        reply = await home.ask(method, f"/ocpi/{version}/receiver/{path(name, of, owner)}", token=by, body=of)
    home.clock.advance(SECOND)
    await home.fold()
    return reply


async def listed(home: House, version: str, name: str, reader: str = "", query: str = EVER) -> Reply:
    by = reader or ("cpo" if name == "Token" else "msp")
    return await home.get(f"/ocpi/{version}/sender/{MODULES[name]}?{query}", by)


async def values(home: House, topic: str) -> Iterator[bytes]:
    places = {TopicPartition(topic, partition): 0 for partition in range(home.log.partitions(topic))}
    found = await home.log.fetch(places, max_records=1000, wait_s=0)
    return (record.value for records in found.values() for record in records)


async def said(home: House, topic: str) -> list[Envelope]:
    return sorted(map(envelopes.decode, await values(home, topic)), key=lambda one: one.received_at)


async def refused(home: House) -> list[Rejected]:
    return sorted(map(rejections.decode, await values(home, REJECTED)), key=lambda one: one.received_at)


@each
@pytest.mark.parametrize("name", NAMES)
async def test_an_owner_reads_back_its_own_form(home: House, version: str, name: str) -> None:
    of = sample(version, name)
    reply = await push(home, version, name, of)
    assert (reply.status, reply.code) == (201, 1000)
    by, owner = who(name)
    where = reply.headers.get("location") or f"/ocpi/{version}/receiver/{path(name, of, owner)}"
    back = await home.get(where, by)
    assert (back.status, back.data) == (200, of)


@each
async def test_a_reader_of_any_version_reads_what_another_delivered(home: House, version: str) -> None:
    for name in NAMES:
        assert (await push(home, version, name, sample(version, name))).code == 1000
    for other in VERSIONS:
        for name in NAMES:
            page = await listed(home, other, name)
            assert (page.status, page.headers["x-total-count"], len(page.data)) == (200, "1", 1), (other, name)
            one, own = page.data[0], sample(other, name)
            assert one.get("uid") or one["id"] == own.get("uid") or own["id"]
            assert ("country_code" in one) is (other in LATER), (other, name)
            if other == version:
                assert one == own, name
            elif name == "Session":
                assert str(one["kwh"]) == str(own["kwh"])
                assert [type(one["kwh"])] == [type(own["kwh"])]


@each
async def test_a_rival_reads_nothing_of_what_concerns_another(home: House, version: str) -> None:
    for name in NAMES:
        await push(home, version, name, sample(version, name))
    for other in VERSIONS:
        for name in ("Session", "CDR"):
            assert (await listed(home, other, name, "rival")).data == [], (other, name)


@older
async def test_a_contract_tells_whom_a_session_and_a_cdr_concern(home: House, version: str) -> None:
    # Nobody has pushed the Token yet, so the Session is nobody's to read but its owner's.
    await push(home, version, "Session", sample(version, "Session"))
    assert (await listed(home, "2.2.1", "Session")).data == []
    await push(home, "2.2.1", "Token", sample("2.2.1", "Token"))
    home.clock.advance(60 * SECOND)
    await push(home, version, "Session", sample(version, "Session", kwh="13" if version == "2.0" else 13))
    await push(home, version, "CDR", sample(version, "CDR"))
    assert [one.addressed_to for one in await said(home, CHARGING)] == [None, "DE*MSP", "DE*MSP"]
    assert (await listed(home, "2.2.1", "Session")).ids == ["s-1"]
    assert (await listed(home, "2.2.1", "CDR")).ids == ["c-1"]


@older
async def test_a_contract_of_two_parties_concerns_nobody(home: House, version: str) -> None:
    await push(home, "2.2.1", "Token", sample("2.2.1", "Token"))
    twin = sample("2.2.1", "Token", country_code="FR", party_id="RIV")
    assert (await home.ask("PUT", "/ocpi/2.2.1/receiver/tokens/FR/RIV/04E1", token="rival", body=twin)).code == 1000
    await home.fold()
    await push(home, version, "CDR", sample(version, "CDR"))
    assert [one.addressed_to for one in await said(home, CHARGING)] == [None]


@each
async def test_versions_are_listed_to_all_and_details_name_no_role_before_2_2(home: House, version: str) -> None:
    everything = [{"version": one, "url": f"{URL}/ocpi/{one}"} for one in VERSIONS]
    assert (await home.get("/ocpi/versions", "cpo")).data == everything
    details = (await home.get(f"/ocpi/{version}", "cpo")).data
    assert details["version"] == version
    base = f"{URL}/ocpi/{version}"
    owned = [{"identifier": module, "url": f"{base}/receiver/{module}"} for module in ("locations", "sessions", "cdrs", "tariffs")]
    read = [{"identifier": "tokens", "url": f"{base}/sender/tokens"}]
    credentials = [{"identifier": "credentials", "url": f"{base}/credentials"}]
    if version in LATER:
        owned = [one | {"role": "RECEIVER"} for one in owned]
        read = [one | {"role": "SENDER"} for one in read]
        credentials = [one | {"role": "SENDER"} for one in credentials]
    assert details["endpoints"] == credentials + owned + read


@older
async def test_before_2_2_an_emsp_gets_the_senders_of_a_cpo(home: House, version: str) -> None:
    endpoints = (await home.get(f"/ocpi/{version}", "msp")).data["endpoints"]
    sides = {one["identifier"]: one["url"].split("/")[-2] for one in endpoints if one["identifier"] != "credentials"}
    assert sides == dict.fromkeys(("locations", "sessions", "cdrs", "tariffs"), "sender") | {"tokens": "receiver"}


async def test_before_2_2_a_connection_has_one_party_in_one_role(home: House) -> None:
    for roles in (party_roles(["SE*TWO"], ["CPO", "EMSP"]), party_roles(["SE*ONE", "SE*TWO"], ["CPO"])):
        with pytest.raises(InvalidPartner, match="one party in one role"):
            await home.registry.add("two", roles, version="2.1.1")
    issued = await home.registry.add("two", party_roles(["SE*TWO"], ["CPO"]), version="2.1.1")
    assert issued.connection.version == "2.1.1"


@each
@pytest.mark.parametrize("name", ["Location", "Session", "Tariff", "Token"])
async def test_verbs_are_those_of_the_version(home: House, version: str, name: str) -> None:
    verbs = {"Location": "GET, PUT, PATCH", "Session": "GET, PUT, PATCH", "Tariff": "GET, PUT, DELETE", "Token": "GET, PUT, PATCH"}
    if version in OLDER:
        verbs["Tariff"] = "GET, PUT, PATCH, DELETE"
    if version == "2.0":
        verbs["Session"] = "GET, PUT, PATCH, DELETE"
    by, owner = who(name)
    for method in ("POST", "PATCH", "DELETE"):
        url = f"/ocpi/{version}/receiver/{path(name, sample(version, name), owner)}"
        reply = await home.ask(method, url, token=by, body={"last_updated": "2026-01-31T12:00:00Z"})
        if method in verbs[name]:
            assert reply.status == 404, method  # it is allowed, but there is no such object yet
        else:
            assert (reply.status, reply.code, reply.headers["allow"]) == (405, 2000, verbs[name]), method


@older
async def test_a_tariff_can_be_patched(home: House, version: str) -> None:
    tariff = sample(version, "Tariff")
    await push(home, version, "Tariff", tariff)
    reply = await push(home, version, "Tariff", {"id": "12", "currency": "NOK"}, "PATCH")
    assert (reply.status, reply.code) == (200, 1000)
    back = (await home.get(f"/ocpi/{version}/receiver/tariffs/NL/TNM/12", "cpo")).data
    assert (back["currency"], back["elements"]) == ("NOK", tariff["elements"])
    assert [one.type for one in await said(home, TARIFFS)] == ["tariff.replaced", "tariff.patched"]
    assert (await home.get("/ocpi/2.2.1/sender/tariffs")).data[0]["currency"] == "NOK"


@older
async def test_a_patch_without_last_updated_moves_it_for_readers_of_every_version(home: House, version: str) -> None:
    # Point 13: so does a PATCH of an EVSE that of its Location, on the serving side.
    await push(home, version, "Session", sample(version, "Session"))
    await push(home, version, "Location", sample(version, "Location"))
    changed = date_time(home.clock.now())
    for place, change in (("sessions/NL/TNM/s-1", {"status": "INVALID"}), ("locations/NL/TNM/LOC1/3256", {"status": "CHARGING"})):
        reply = await home.ask("PATCH", f"/ocpi/{version}/receiver/{place}", token="cpo", body=change)
        assert (reply.status, reply.code) == (200, 1000), place
    await home.fold()
    for module, query in (
        ("sessions", f"date_from={changed}&strict_windows=1"),
        ("locations", f"date_from={changed}&strict_windows=1"),
    ):
        (one,) = (await home.get(f"/ocpi/2.2.1/sender/{module}?{query}", "cpo")).data
        assert one["last_updated"] == changed, module


async def test_a_session_of_2_0_can_be_deleted(home: House) -> None:
    session = sample("2.0", "Session")
    url = "/ocpi/2.0/receiver/sessions/NL/TNM/s-1"
    await push(home, "2.0", "Session", session)
    reply = await home.ask("DELETE", url, token="cpo")
    assert (reply.status, reply.code) == (200, 1000)
    await home.fold()
    assert (await home.get(url, "cpo")).status == 404
    assert (await listed(home, "2.2.1", "Session", "cpo")).data == []
    assert (await home.ask("DELETE", url, token="cpo")).status == 404
    assert (await push(home, "2.0", "Session", session)).status == 201
    assert (await home.get(url, "cpo")).data == session


@older
@pytest.mark.parametrize("name", ["Location", "Session", "Tariff", "Token"])
async def test_before_2_2_another_spelling_addresses_nothing(home: House, version: str, name: str) -> None:
    by, owner = who(name)
    of = sample(version, name, **({"uid": "Ab1"} if name == "Token" else {"id": "Ab1"}))
    await push(home, version, name, of)
    base = f"/ocpi/{version}/receiver/{MODULES[name]}"
    for place in (f"{owner}/aB1", f"{owner.lower()}/Ab1"):
        assert (await home.get(f"{base}/{place}", by)).status == 404, place
        reply = await home.ask("PUT", f"{base}/{place}", token=by, body=of | {"uid" if name == "Token" else "id": place[-3:]})
        assert (reply.status, reply.code) == (404, 2001), place
    assert [[finding.rule for finding in one.findings] for one in await refused(home)] == [["case_conflict"]] * 2
    assert (await home.get(f"{base}/{owner}/Ab1", by)).data == of
    # From 2.2 on an id is a CiString, and every spelling is the same one.
    assert (await home.get(f"/ocpi/2.2.1/receiver/{MODULES[name]}/{owner.lower()}/aB1", by)).status == 200


@older
async def test_before_2_2_the_spelling_of_evses_and_connectors_counts_too(home: House, version: str) -> None:
    location = sample(version, "Location")
    location["evses"][0]["uid"] = "Evse"
    await push(home, version, "Location", location)
    base = f"/ocpi/{version}/receiver/locations/NL/TNM"
    assert (await home.get(f"{base}/LOC1/Evse/1", "cpo")).status == 200
    for place in ("LOC1/eVSE", "LOC1/eVSE/1", "Loc1/Evse", "Loc1/Evse/1"):
        assert (await home.get(f"{base}/{place}", "cpo")).status == 404, place
        reply = await home.ask("PATCH", f"{base}/{place}", token="cpo", body={"last_updated": "2026-02-01T00:00:00Z"})
        assert reply.status == 404, place
    assert {finding.rule for one in await refused(home) for finding in one.findings} == {"case_conflict"}


@older
async def test_a_cdr_id_is_the_same_in_any_spelling(home: House, version: str) -> None:
    # Requirements 2.7: CDR.id is a CiString in 2.0 and 2.1.1 too.
    first = await push(home, version, "CDR", sample(version, "CDR", id="Ab1"))
    assert first.status == 201
    assert (await home.get(first.headers["location"].replace("Ab1", "aB1"), "cpo")).status == 200


@older
async def test_a_cdr_that_names_no_owner_is_the_credentials(home: House, version: str) -> None:
    reply = await push(home, version, "CDR", sample(version, "CDR"))
    assert reply.headers["location"] == f"{URL}/ocpi/{version}/receiver/cdrs/NL/TNM/c-1"
    assert [one.party for one in await said(home, CHARGING)] == ["NL*TNM"]
    own = (await home.get("/ocpi/2.2.1/receiver/cdrs/NL/TNM/c-1", "cpo")).data
    assert (own["country_code"], own["party_id"]) == ("NL", "TNM")


@older
async def test_a_path_of_a_party_that_the_connection_does_not_write_is_refused(home: House, version: str) -> None:
    url = f"/ocpi/{version}/receiver/locations/BE/BEC/LOC1"
    assert (await home.ask("PUT", url, token="cpo", body=sample(version, "Location"))).status == 404
    await home.registry.add("brands", party_roles(["SE*ONE"], ["CPO"]), token="brands", version=version, allowed=["SE*TWO"])
    for party in ("SE/ONE", "SE/TWO"):
        url = f"/ocpi/{version}/receiver/locations/{party}/LOC1"
        assert (await home.ask("PUT", url, token="brands", body=sample(version, "Location"))).status == 201, party
    await home.fold()
    assert {one["party_id"] for one in (await home.get("/ocpi/2.2.1/sender/locations")).data} == {"ONE", "TWO"}


@older
async def test_before_2_2_a_token_is_found_whatever_its_type(home: House, version: str) -> None:
    for uid, kind in (("U1", "RFID"), ("U2", "OTHER")):
        token = sample(version, "Token", uid=uid, type=kind)
        await push(home, version, "Token", token)
        url = f"/ocpi/{version}/receiver/tokens/DE/MSP/{uid}"
        assert (await home.get(url, "msp")).data == token
        reply = await home.ask("PATCH", url, token="msp", body={"valid": False})
        assert (reply.status, reply.code) == (200, 1000), reply
        await home.fold()
        back = (await home.get(url, "msp")).data
        assert (back["type"], back["valid"]) == (kind, False)


@each
async def test_the_sender_gives_single_locations_from_2_1_1_on(home: House, version: str) -> None:
    await push(home, version, "Location", sample(version, "Location"))
    for place in ("LOC1", "LOC1/3256", "LOC1/3256/1"):
        reply = await home.get(f"/ocpi/{version}/sender/locations/{place}")
        assert reply.status == (404 if version == "2.0" else 200), place
    if version != "2.0":
        assert (await home.get(f"/ocpi/{version}/sender/locations/loc1")).status == (404 if version in OLDER else 200)


@each
async def test_status_codes_are_those_of_the_version(home: House, version: str) -> None:
    unknown = {"locations": 2001 if version == "2.0" else 2003, "tokens": 2004 if version in LATER else 2001, "tariffs": 2001}
    for module, by, owner in (("locations", "cpo", "NL/TNM"), ("tokens", "msp", "DE/MSP"), ("tariffs", "cpo", "NL/TNM")):
        reply = await home.get(f"/ocpi/{version}/receiver/{module}/{owner}/X", by)
        assert (reply.status, reply.code) == (404, unknown[module]), module
    body = {"last_updated": "2026-02-01T00:00:00Z"}
    reply = await home.ask("PATCH", f"/ocpi/{version}/receiver/locations/NL/TNM/X", token="cpo", body=body)
    assert (reply.status, reply.code) == (404, unknown["locations"])
    assert [one.status_code for one in await refused(home)] == [unknown["locations"]]


@each
async def test_an_unknown_module_is_answered_in_ocpi(home: House, version: str) -> None:
    modules = ["chargingprofiles", "nothing"] + (["hubclientinfo"] if version in OLDER else [])
    for module in modules:
        for side, method in (("receiver", "PUT"), ("receiver", "GET"), ("sender", "GET")):
            reply = await home.ask(method, f"/ocpi/{version}/{side}/{module}/NL/TNM", token="cpo", body={})
            assert (reply.status, reply.code) == (404, 2000), (module, side, method)


@each
async def test_routing_headers_are_of_2_2_and_later(home: House, version: str) -> None:
    asked = {"OCPI-from-country-code": "NL", "OCPI-from-party-id": "TNM", "OCPI-to-country-code": "DE", "OCPI-to-party-id": "MSP"}
    url = f"/ocpi/{version}/receiver/tariffs/NL/TNM/12"
    named = asked | {"X-Request-ID": "r1"}
    put = await home.ask("PUT", url, token="cpo", body=sample(version, "Tariff"), headers=named)
    await home.fold()
    for reply in (put, await home.get(url, "cpo", named)):
        assert reply.headers["x-request-id"] == "r1"
        assert (reply.headers.get("ocpi-to-party-id"), reply.headers.get("ocpi-from-party-id")) == (
            ("TNM", "MSP") if version in LATER else (None, None)
        )
    envelope = (await said(home, TARIFFS))[0]
    assert (envelope.ocpi_from, envelope.ocpi_to) == (("NL*TNM", "DE*MSP") if version in LATER else (None, None))


async def test_versions_and_hubclientinfo_carry_no_routing_headers(home: House) -> None:
    asked = {"OCPI-from-country-code": "DE", "OCPI-from-party-id": "MSP"}
    for url in ("/ocpi/versions", "/ocpi/2.2.1", "/ocpi/2.2.1/receiver/hubclientinfo/NL/TNM"):
        assert not [name for name in (await home.get(url, "msp", asked)).headers if name.startswith("ocpi-")], url


async def test_a_list_of_2_0_is_a_window_of_starts(home: House) -> None:
    for number in range(3):
        start = f"2026-01-31T1{number}:00:00Z"
        await push(home, "2.0", "Session", sample("2.0", "Session", id=f"s{number}", start_datetime=start))
    for query, expected in (
        ("date_from=2026-01-31T11:00:00Z", ["s1", "s2"]),
        ("date_from=2026-01-31T10:00:00Z&date_to=2026-01-31T11:00:00Z", ["s0"]),
        ("date_from=2026-02-01T00:00:00Z", []),
    ):
        page = await listed(home, "2.0", "Session", "cpo", query)
        assert (page.ids, page.headers["x-total-count"]) == (expected, str(len(expected))), query
    pages = await home.crawl("/ocpi/2.0/sender/sessions?date_from=2026-01-31T10:00:00Z&limit=1", "cpo")
    assert [page.ids for page in pages] == [["s0"], ["s1"], ["s2"]]
    # A cursor of one window does not open another.
    link = pages[0].headers["link"].partition(">")[0].removeprefix("<").replace("/2.0/", "/2.2.1/")
    assert (await home.get(link, "cpo")).code == 2001


@each
async def test_authorization_is_answered_as_the_version_has_it(home: House, version: str) -> None:
    await push(home, "2.2.1", "Token", sample("2.2.1", "Token"))
    url = f"/ocpi/{version}/sender/tokens/04E1/authorize"
    location = {"location_id": "L" * (39 if version == "2.1.1" else 36), "connector_ids": ["1"]}
    reply = await home.ask("POST", url, token="cpo", body=location)
    if version == "2.0":
        assert (reply.status, reply.code) == (404, 2000)
        return
    assert (reply.status, reply.data["allowed"]) == (200, "ALLOWED")
    assert reply.data["location"] == {"location_id": location["location_id"]}
    assert ({"token", "authorization_reference"} <= reply.data.keys()) is (version in LATER)
    await home.fold()
    unknown = await home.ask("POST", f"/ocpi/{version}/sender/tokens/none/authorize?token_type=RFID", token="cpo")
    assert (unknown.status, unknown.code) == (404, 2004 if version in LATER else 2001)


@each
async def test_charging_preferences_are_of_2_2_and_later(home: House, version: str) -> None:
    reply = await home.ask("PUT", f"/ocpi/{version}/sender/sessions/s-1/charging_preferences", token="msp", body={})
    assert (reply.status, reply.code) == (404, 2001 if version in LATER else 2000)


async def test_what_a_version_cannot_say_is_left_out_with_its_reason(home: House) -> None:
    await push(home, "2.2.1", "Token", sample("2.2.1", "Token"))
    credit = sample("2.2.1", "CDR", id="C2", credit=True, credit_reference_id="c-1", total_cost={"excl_vat": -4.0})
    for cdr in (sample("2.2.1", "CDR"), credit):
        assert (await push(home, "2.2.1", "CDR", cdr)).code == 1000
    for tariff_id, kind in (("T1", "REGULAR"), ("T2", "AD_HOC_PAYMENT")):
        await push(home, "2.2.1", "Tariff", sample("2.2.1", "Tariff", id=tariff_id, type=kind))
    private = sample("2.2.1", "Location", id="HOME", publish=False)
    for location in (sample("2.2.1", "Location"), private):
        await push(home, "2.2.1", "Location", location)
    for version in OLDER:
        for name, expected in (("CDR", ["c-1"]), ("Tariff", ["T1"]), ("Location", ["LOC1"])):
            reader = "cpo" if name == "Location" else "msp"
            page = await listed(home, version, name, reader)
            assert (page.ids, page.headers["x-total-count"]) == (expected, "1"), (version, name)
        for gone in ("cdrs/NL/TNM/C2", "tariffs/NL/TNM/T2", "locations/NL/TNM/HOME"):
            reply = await home.get(f"/ocpi/{version}/receiver/{gone}", "cpo")
            assert reply.status == 404, gone
            assert version in reply.json["status_message"], gone
    assert sorted((await listed(home, "2.3.0", "CDR")).ids) == ["C2", "c-1"]


async def test_a_session_whose_location_nobody_knows_is_left_out_of_its_page(home: House) -> None:
    await push(home, "2.2.1", "Session", sample("2.2.1", "Session"))
    for version in OLDER:
        page = await listed(home, version, "Session")
        assert (page.data, page.headers["x-total-count"]) == ([], "0")
        reply = await home.get(f"/ocpi/{version}/receiver/sessions/NL/TNM/s-1", "cpo")
        assert (reply.status, reply.code) == (404, 2001)
        assert "Location" in reply.json["status_message"]
    await push(home, "2.2.1", "Location", sample("2.2.1", "Location"))
    for version in OLDER:
        (session,) = (await listed(home, version, "Session")).data
        assert session["location"]["evses"][0]["connectors"][0]["id"] == "1"


async def test_tariffs_that_stand_beside_are_named_by_the_connectors_of_old_versions(home: House) -> None:
    await push(home, "2.2.1", "Tariff", sample("2.2.1", "Tariff", id="AD", type="AD_HOC_PAYMENT"))
    await push(home, "2.2.1", "Tariff", sample("2.2.1", "Tariff", id="REG", type="REGULAR"))
    location = sample("2.2.1", "Location")
    location["evses"][0]["connectors"][0]["tariff_ids"] = ["AD", "REG"]
    await push(home, "2.2.1", "Location", location)
    for version in OLDER:
        (one,) = (await listed(home, version, "Location")).data
        assert one["evses"][0]["connectors"][0]["tariff_id"] == "REG"
    assert (await home.get("/ocpi/2.1.1/sender/locations/LOC1/3256/1")).data["tariff_id"] == "REG"


async def losses(home: House, query: str = "") -> list[dict[str, Any]]:
    reply = await home.get(f"/analytics/losses{query}", OPERATOR)
    assert reply.status == 200, reply
    return list(reply.json["rows"])


async def test_losses_are_told_for_both_ways(home: House) -> None:
    await push(home, "2.1.1", "Session", sample("2.1.1", "Session"))
    came = [
        (row["partner"], row["party"], row["module"], row["version"], row["kind"], row["pointer"]) for row in await losses(home)
    ]
    assert ("cpo", "NL*TNM", "sessions", "2.1.1", "defaulted", "/cdr_token") in came
    assert {row["direction"] for row in await losses(home)} == {"in"}
    await push(home, "2.2.1", "Token", sample("2.2.1", "Token"))
    await listed(home, "2.0", "Token")
    out = [row for row in await losses(home) if row["direction"] == "out"]
    assert {(row["partner"], row["module"], row["version"]) for row in out} == {("cpo", "tokens", "2.0")}
    assert all(row["losses"] > 0 and row["objects"] is None for row in out)
    assert {row["direction"] for row in await losses(home, "?party=NL*TNM")} == {"in"}
    assert await losses(home, "?party=BE*BEC") == []
    metrics = (await home.get("/metrics", OPERATOR)).body.decode()
    assert 'roamlog_lowering_losses_total{kind="lost",module="tokens",partner="cpo",version="2.0"}' in metrics


async def test_what_is_withheld_is_counted(home: House) -> None:
    await push(home, "2.2.1", "Session", sample("2.2.1", "Session"))
    await listed(home, "2.1.1", "Session")
    assert [(row["kind"], row["losses"]) for row in await losses(home) if row["direction"] == "out"] == [("withheld", 1)]


async def test_losses_are_told_in_order(home: House) -> None:
    for name in ("Session", "Location", "CDR"):
        for version in ("2.1.1", "2.0"):
            await push(home, version, name, sample(version, name, id=f"{name}-{version}"))
    told = [(row["module"], row["version"], row["kind"], row["pointer"]) for row in await losses(home)]
    assert {row[0] for row in told} == {"cdrs", "locations", "sessions"}
    assert told == sorted(told)


async def test_losses_are_no_findings(home: House) -> None:
    await push(home, "2.1.1", "Tariff", sample("2.1.1", "Tariff"))
    assert await losses(home) != []
    assert (await home.get("/analytics/findings", OPERATOR)).json["rows"] == []


@each
async def test_the_documentation_shows_what_the_version_has(home: House, version: str) -> None:
    paths: Mapping[str, Any] = (await home.get("/openapi.json", OPERATOR)).json["paths"]
    base = f"/ocpi/{version}"
    assert ("patch" in paths[f"{base}/receiver/tariffs/{{country_code}}/{{party_id}}/{{tariff_id}}"]) is (version in OLDER)
    assert ("delete" in paths[f"{base}/receiver/sessions/{{country_code}}/{{party_id}}/{{session_id}}"]) is (version == "2.0")
    assert (f"{base}/sender/locations/{{location_id}}" in paths) is (version != "2.0")
    assert (f"{base}/sender/tokens/{{token_uid}}/authorize" in paths) is (version != "2.0")
    assert (f"{base}/sender/hubclientinfo" in paths) is (version in LATER)
    named = [one["name"] for one in paths[f"{base}/sender/locations"]["get"]["parameters"]]
    assert ("date_from" in named) is (version != "2.0")


@each
async def test_a_token_may_come_raw_or_in_base64(home: House, version: str) -> None:
    await home.registry.add("se", party_roles(["SE*ONE"], ["CPO"]), token="plain-token", version=version)
    for text in ("plain-token", base64.b64encode(b"plain-token").decode()):
        assert (await home.get(f"/ocpi/{version}/sender/tokens", text)).status == 200, text


@each
async def test_the_envelope_is_the_same_in_all_versions(home: House, version: str) -> None:
    reply = await home.get(f"/ocpi/{version}/sender/tokens", "cpo")
    assert reply.json == {"data": [], "status_code": 1000, "timestamp": date_time(home.clock.now())}
    assert json.loads((await home.get(f"/ocpi/{version}/sender/none", "cpo")).body).keys() == {
        "status_code", "status_message", "timestamp"
    }  # fmt: skip
