"""Hubs and the parties behind them (OCPI 2.2.1 mod_hub_client_info): what a hub tells, and what we tell as one."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from outlet import SECOND, URL, House, house
from receiver import session
from versions import LATER

from ingest.partners import PartnerRegistry
from streams.ports import TableStore

PLACE = "hubclientinfo/SE/NEW"

later = pytest.mark.parametrize("version", LATER)


def client(**fields: Any) -> dict[str, Any]:
    """Return a ClientInfo of SE*NEW."""
    return {
        "party_id": "NEW",
        "country_code": "SE",
        "role": "CPO",
        "status": "CONNECTED",
        "last_updated": "2026-09-20T10:00:00Z",
    } | fields


@pytest.fixture
async def home(store: TableStore) -> AsyncIterator[House]:
    async with house(store, is_hub=True) as opened:
        await opened.connect("hub", "DE*HUB", "HUB")
        yield opened


async def tell(home: House, version: str = "2.2.1", place: str = PLACE, by: str = "hub", **fields: Any) -> tuple[int, int]:
    reply = await home.ask("PUT", f"/ocpi/{version}/receiver/{place}", token=by, body=client(**fields))
    home.clock.advance(SECOND)
    return reply.status, reply.code


async def may_write(home: House) -> bool:
    own = session("S1", country_code="SE", party_id="NEW")
    reply = await home.ask("PUT", "/ocpi/2.2.1/receiver/sessions/SE/NEW/S1", token="hub", body=own)
    return reply.status in {200, 201}


@later
async def test_a_hub_reads_back_what_it_told(home: House, version: str) -> None:
    url = f"/ocpi/{version}/receiver/{PLACE}"
    assert (await home.get(url, "hub")).status == 404
    assert await tell(home, version, novelty=[1]) == (201, 1000)
    assert (await home.get(url, "hub")).data == client(novelty=[1])
    assert await tell(home, version, status="OFFLINE", last_updated="2026-09-20T11:00:00Z") == (200, 1000)
    assert (await home.get(url, "hub")).data["status"] == "OFFLINE"
    # What is older than what stands is taken, and changes nothing.
    assert await tell(home, version, status="PLANNED") == (200, 1000)
    assert (await home.get(url, "hub")).data["status"] == "OFFLINE"


async def test_a_hub_writes_for_whom_it_has_told_of_until_they_are_suspended(home: House) -> None:
    assert not await may_write(home)
    await tell(home)
    assert await may_write(home)
    await tell(home, status="SUSPENDED", last_updated="2026-09-20T11:00:00Z")
    assert not await may_write(home)


async def test_who_is_connected_directly_speaks_for_itself(home: House) -> None:
    await tell(home)
    await home.connect("new", "SE*NEW", "CPO")
    assert not await may_write(home)
    assert await tell(home, last_updated="2026-09-20T12:00:00Z") == (200, 1000)
    assert not await may_write(home)
    await home.registry.remove("new")
    assert await may_write(home)


async def test_only_a_hub_tells_and_only_of_the_party_of_the_path(home: House) -> None:
    assert await tell(home, by="cpo") == (404, 2001)
    assert await tell(home, party_id="XXX") == (200, 2001)
    assert await tell(home, place="hubclientinfo/SE") == (404, 2001)
    assert await tell(home, status="DEAD") == (200, 2001)
    assert (await home.ask("PATCH", f"/ocpi/2.2.1/receiver/{PLACE}", token="hub", body={})).headers["allow"] == "GET, PUT"
    assert (await home.ask("PUT", f"/ocpi/2.2.1/receiver/{PLACE}", token="hub", body=b"{")).status == 400
    assert (await home.get(f"/ocpi/2.2.1/receiver/{PLACE}", "hub")).status == 404


async def test_what_was_told_outlives_the_process(home: House) -> None:
    await tell(home)
    again = PartnerRegistry(home.log, b"pepper", home.clock)
    await again.catch_up()
    assert again.clients() == home.registry.clients()
    hub = again.get("hub")
    assert hub is not None
    assert hub.parties == {"DE*HUB", "SE*NEW"}


@later
async def test_a_hub_lists_its_clients(home: House, version: str) -> None:
    await tell(home, status="OFFLINE")
    await home.registry.remove("rival")
    page = await home.get(f"/ocpi/{version}/sender/hubclientinfo", "msp")
    found = [(one["country_code"], one["party_id"], one["role"], one["status"]) for one in page.data]
    expected = [
        ("BE", "BEC", "CPO", "CONNECTED"),
        ("DE", "MSP", "EMSP", "CONNECTED"),
        ("FR", "RIV", "EMSP", "SUSPENDED"),
        ("NL", "TNM", "CPO", "CONNECTED"),
        ("DE", "HUB", "HUB", "CONNECTED"),
        ("SE", "NEW", "CPO", "OFFLINE"),
    ]
    if version == "2.3.0":  # whose Role knows no HUB
        expected.remove(("DE", "HUB", "HUB", "CONNECTED"))
    assert sorted(found) == sorted(expected)
    assert page.headers["x-total-count"] == str(len(expected))


async def test_a_list_of_clients_has_pages_and_windows(home: House) -> None:
    await tell(home)
    pages = await home.crawl("/ocpi/2.2.1/sender/hubclientinfo?limit=2", "msp")
    everybody = [one["party_id"] for page in pages for one in page.data]
    assert [len(page.data) for page in pages] == [2, 2, 2]
    assert sorted(everybody) == ["BEC", "HUB", "MSP", "NEW", "RIV", "TNM"]
    assert everybody[-1] == "NEW"  # the one that came last
    window = await home.get("/ocpi/2.2.1/sender/hubclientinfo?date_from=2026-09-20T10:00:00Z&date_to=2026-09-20T10:00:01Z", "msp")
    assert [one["party_id"] for one in window.data] == ["NEW"]
    assert (await home.get("/ocpi/2.2.1/sender/hubclientinfo?cursor=x", "msp")).code == 2001


async def test_the_module_is_offered_to_whom_it_concerns(home: House) -> None:
    def of(details: Any) -> list[dict[str, str]]:
        return [one for one in details["endpoints"] if one["identifier"] == "hubclientinfo"]

    base = f"{URL}/ocpi/2.2.1"
    sender = {"identifier": "hubclientinfo", "role": "SENDER", "url": f"{base}/sender/hubclientinfo"}
    receiver = {"identifier": "hubclientinfo", "role": "RECEIVER", "url": f"{base}/receiver/hubclientinfo"}
    assert of((await home.get("/ocpi/2.2.1", "hub")).data) == [receiver, sender]
    assert of((await home.get("/ocpi/2.2.1", "cpo")).data) == [sender]
    assert of((await home.get("/ocpi/2.1.1", "hub")).data) == []


async def test_who_is_no_hub_tells_nobody_of_anybody(store: TableStore) -> None:
    async with house(store) as home:
        reply = await home.get("/ocpi/2.2.1/sender/hubclientinfo", "msp")
        assert (reply.status, reply.code) == (404, 2000)
