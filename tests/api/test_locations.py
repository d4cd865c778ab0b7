"""Locations, EVSEs and Connectors as they are given back (OCPI 2.2.1 mod_locations, Sender and Receiver Interface)."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from outlet import SECOND, House, house, next_of
from places import evse, location_entry, patch_evse, put_evse, put_location
from samples import CONNECTOR, EVSE, LOCATION

from streams.ports import TableStore

LIST = "/ocpi/2.2.1/sender/locations"
SENDER = f"{LIST}/LOC1"
RECEIVER = "/ocpi/2.2.1/receiver/locations/NL/TNM/LOC1"
WRITE = "locations/NL/TNM"
LATER = "2026-01-31T12:00:00Z"


@pytest.fixture
async def home(store: TableStore) -> AsyncIterator[House]:
    async with house(store) as opened:
        yield opened


def site(location_id: str, **fields: Any) -> dict[str, Any]:
    return LOCATION | {"id": location_id} | fields


async def test_a_location_is_given_as_it_was_pushed(home: House) -> None:
    await home.put(f"{WRITE}/LOC1", LOCATION)
    assert (await home.get(LIST)).data == [LOCATION]
    assert (await home.get(SENDER)).data == LOCATION
    assert (await home.get(RECEIVER, "cpo")).data == LOCATION


async def test_an_evse_and_a_connector_have_paths_of_their_own(home: House) -> None:
    await home.put(f"{WRITE}/LOC1", LOCATION)
    for base, token in ((SENDER, "msp"), (RECEIVER, "cpo")):
        assert (await home.get(f"{base}/3256", token)).data == EVSE
        assert (await home.get(f"{base}/3256/1", token)).data == CONNECTOR
        assert (await home.get(f"{base}/3256/1/", token)).data == CONNECTOR


async def test_a_list_pages_in_the_order_of_arrival_and_needs_no_date_from(home: House) -> None:
    for location_id in ("b", "a", "C"):
        await home.put(f"{WRITE}/{location_id}", site(location_id))
    pages = await home.crawl(f"{LIST}?limit=2")
    assert [page.ids for page in pages] == [["b", "a"], ["C"]]
    assert [page.headers["x-total-count"] for page in pages] == ["3", "3"]
    assert next_of(pages[0]).startswith("https://hub.example/ocpi/2.2.1/sender/locations?")


async def test_a_cursor_of_one_module_is_none_of_another(home: House) -> None:
    for location_id in ("a", "b"):
        await home.put(f"{WRITE}/{location_id}", site(location_id))
    link = next_of(await home.get(f"{LIST}?limit=1"))
    assert (await home.get(link.replace("/locations", "/tariffs"))).code == 2001


async def test_an_evse_patch_moves_its_location_into_the_window(home: House) -> None:
    # Requirements 10, point 13.
    await home.put(f"{WRITE}/LOC1", LOCATION)
    window = f"{LIST}?strict_windows=1&date_from=2026-01-31T11:30:00Z"
    assert (await home.get(window)).data == []
    await home.put(f"{WRITE}/LOC1/3256", {"status": "CHARGING", "last_updated": LATER}, method="PATCH")
    (listed,) = (await home.get(window)).data
    assert listed["last_updated"] == LATER
    assert (listed["evses"][0]["status"], listed["evses"][0]["last_updated"]) == ("CHARGING", LATER)


async def test_a_connector_patch_moves_both_its_parents(home: House) -> None:
    # Requirements 10, point 13.
    await home.put(f"{WRITE}/LOC1", LOCATION)
    await home.put(f"{WRITE}/LOC1/3256/1", {"max_amperage": 16, "last_updated": LATER}, method="PATCH")
    (listed,) = (await home.get(f"{LIST}?strict_windows=1&date_from=2026-01-31T11:30:00Z")).data
    assert (listed["last_updated"], listed["evses"][0]["last_updated"]) == (LATER, LATER)
    assert listed["evses"][0]["connectors"][0] == CONNECTOR | {"max_amperage": 16, "last_updated": LATER}
    assert (await home.get(f"{SENDER}/3256")).data["last_updated"] == LATER


async def test_a_put_without_name_clears_it_and_a_patch_without_name_keeps_it(home: House) -> None:
    # Requirements 10, point 18.
    await home.put(f"{WRITE}/LOC1", LOCATION)
    await home.put(f"{WRITE}/LOC1", {"city": "Amstelveen", "last_updated": LATER}, method="PATCH")
    kept = (await home.get(SENDER)).data
    assert (kept["name"], kept["city"]) == ("Keizersgracht", "Amstelveen")
    nameless = {name: value for name, value in LOCATION.items() if name != "name"} | {"last_updated": "2026-01-31T13:00:00Z"}
    await home.put(f"{WRITE}/LOC1", nameless)
    assert (await home.get(SENDER)).data == nameless


async def test_a_removed_evse_is_given_by_its_uid(home: House) -> None:
    # Requirements 10, point 19.
    await home.put(f"{WRITE}/LOC1", LOCATION)
    await home.put(f"{WRITE}/LOC1/3256", {"status": "REMOVED", "last_updated": LATER}, method="PATCH")
    for base, token in ((SENDER, "msp"), (RECEIVER, "cpo")):
        assert (await home.get(f"{base}/3256", token)).data["status"] == "REMOVED"


async def test_an_evse_that_its_location_no_longer_names_is_given_by_its_uid(home: House) -> None:
    # Requirements 10, point 19.
    await home.put(f"{WRITE}/LOC1", LOCATION)
    await home.put(f"{WRITE}/LOC1", LOCATION | {"evses": [EVSE | {"uid": "new"}], "last_updated": LATER})
    for base, token in ((SENDER, "msp"), (RECEIVER, "cpo")):
        assert [one["uid"] for one in (await home.get(base, token)).data["evses"]] == ["new"]
        assert (await home.get(f"{base}/3256", token)).data == EVSE
        assert (await home.get(f"{base}/3256/1", token)).data == CONNECTOR


async def test_a_location_is_never_deleted(home: House) -> None:
    # Requirements 10, point 19.
    await home.put(f"{WRITE}/LOC1", LOCATION)
    for path in (RECEIVER, f"{RECEIVER}/3256", f"{RECEIVER}/3256/1"):
        reply = await home.ask("DELETE", path, token="cpo")
        assert (reply.status, reply.code, reply.headers["allow"]) == (405, 2000, "GET, PUT, PATCH")
    assert (await home.get(SENDER)).data == LOCATION


async def test_an_evse_is_found_by_its_uid_and_never_by_its_evse_id(home: House) -> None:
    # Requirements 10, point 20: a REMOVED one and its successor share an evse_id, a third has none.
    shared = EVSE | {"uid": "new", "last_updated": LATER}
    bare = {name: value for name, value in EVSE.items() if name != "evse_id"} | {"uid": "bare"}
    removed = EVSE | {"status": "REMOVED"}
    await home.put(f"{WRITE}/LOC1", LOCATION | {"evses": [removed, shared, bare], "last_updated": LATER})
    for base, token in ((SENDER, "msp"), (RECEIVER, "cpo")):
        for uid, expected in (("3256", removed), ("new", shared), ("bare", bare)):
            assert (await home.get(f"{base}/{uid}", token)).data == expected
        by_evse_id = await home.get(f"{base}/NL*TNM*E1", token)
        assert (by_evse_id.status, by_evse_id.code) == (404, 2003)


async def test_what_is_not_there_is_404_with_2003(home: House) -> None:
    await home.put(f"{WRITE}/LOC1", LOCATION)
    for base, token in ((LIST, "msp"), ("/ocpi/2.2.1/receiver/locations/NL/TNM", "cpo")):
        for below in ("none", "none/3256", "LOC1/none", "LOC1/none/1", "LOC1/3256/none"):
            reply = await home.get(f"{base}/{below}", token)
            assert (reply.status, reply.code, "data" in reply.json) == (404, 2003, False), below
    assert (await home.get(f"{SENDER}/none")).json["status_message"] == "no evse 'none' of location 'LOC1' is known"


async def test_ids_are_compared_without_case(home: House) -> None:
    # Requirements 10, point 21.
    await home.put(f"{WRITE}/LOC1", LOCATION)
    assert (await home.get("/ocpi/2.2.1/receiver/locations/nl/tnm/loc1", "cpo")).data == LOCATION
    assert (await home.get(f"{LIST}/loc1")).data == LOCATION


async def test_locations_are_for_all_but_other_cpos(home: House) -> None:
    await home.put(f"{WRITE}/LOC1", LOCATION)
    for token, ids in (("msp", ["LOC1"]), ("rival", ["LOC1"]), ("cpo", ["LOC1"]), ("other", [])):
        page = await home.get(LIST, token)
        assert (page.ids, page.headers["x-total-count"]) == (ids, str(len(ids)))
        assert (await home.get(SENDER, token)).status == (200 if ids else 404)
    for token in ("msp", "other"):
        reply = await home.get(RECEIVER, token)
        assert (reply.status, reply.code) == (404, 2001)


async def test_a_location_that_is_not_to_be_published_is_for_its_owner_alone(home: House) -> None:
    private = LOCATION | {"publish": False, "publish_allowed_to": [{"uid": "04E1", "type": "RFID", "issuer": "MSP"}]}
    await home.put(f"{WRITE}/LOC1", private)
    assert (await home.get(LIST, "cpo")).data == [private]
    assert (await home.get(f"{SENDER}/3256", "cpo")).data == EVSE
    for token in ("msp", "rival", "other"):
        assert (await home.get(LIST, token)).data == []
        for below in ("", "/3256", "/3256/1"):
            reply = await home.get(f"{SENDER}{below}", token)
            assert (reply.status, reply.code) == (404, 2003)
    await home.put(f"{WRITE}/LOC1", {"publish": True, "last_updated": LATER}, method="PATCH")
    assert (await home.get(LIST, "msp")).ids == ["LOC1"]


async def test_of_several_parties_with_one_id_the_reader_gets_the_first_that_it_may_see(home: House) -> None:
    await home.connect("third", "SE*TRE", "CPO")
    await home.put(f"{WRITE}/LOC1", LOCATION | {"publish": False})
    belgian = LOCATION | {"country_code": "BE", "party_id": "BEC"}
    await home.put("locations/BE/BEC/LOC1", belgian, by="other")
    swedish = LOCATION | {"country_code": "SE", "party_id": "TRE", "evses": [EVSE | {"uid": "S"}]}
    await home.put("locations/SE/TRE/LOC1", swedish, by="third")
    assert (await home.get(SENDER, "msp")).data == belgian
    assert (await home.get(f"{SENDER}/3256", "msp")).data == EVSE
    # Where the first has no such EVSE, the next is asked.
    assert (await home.get(f"{SENDER}/S", "msp")).data == EVSE | {"uid": "S"}
    assert (await home.get(SENDER, "cpo")).data["publish"] is False
    assert (await home.get(SENDER, "third")).data == swedish


async def test_what_waits_for_its_location_is_not_given_to_others(home: House) -> None:
    # A Location that is unknown may be one that is not to be published.
    await home.log.append([location_entry(put_evse(5)), location_entry(patch_evse(6, "E2", status="CHARGING"))])
    await home.fold()
    assert (await home.get(LIST)).data == []
    for uid in ("E1", "E2"):
        reply = await home.get(f"{LIST}/L1/{uid}")
        assert (reply.status, reply.code) == (404, 2003)
    await home.log.append([location_entry(put_location(1, evse("E9")))])
    await home.fold()
    assert (await home.get(f"{LIST}/L1/E1")).data["uid"] == "E1"


async def test_a_read_waits_for_what_was_written_before_it(store: TableStore) -> None:
    import asyncio

    async with house(store, read_wait_s=10) as home:
        assert (await home.ask("PUT", RECEIVER, token="cpo", body=LOCATION)).code == 1000
        async with asyncio.TaskGroup() as tasks:
            asked = [
                tasks.create_task(home.get(path, token))
                for path, token in ((RECEIVER, "cpo"), (f"{RECEIVER}/3256", "cpo"), (SENDER, "msp"), (LIST, "msp"))
            ]
            while not all(one.done() for one in asked):
                await home.runtime.turn(wait_s=0)
        assert [one.result().status for one in asked] == [200] * 4
        assert asked[-1].result().data == [LOCATION]


async def test_paths_and_verbs_that_there_are_not(home: House) -> None:
    for path, token, status, code in (
        (f"{SENDER}/3256/1/x", "msp", 404, 2000),
        (f"{LIST}/{'x' * 256}", "msp", 404, 2001),
        (f"{RECEIVER}/3256/1/x", "cpo", 404, 2001),
        ("/ocpi/2.2.1/receiver/locations/NL/TNM", "cpo", 404, 2001),
        ("/ocpi/2.2.1/receiver/locations", "cpo", 404, 2001),
    ):
        reply = await home.get(path, token)
        assert (reply.status, reply.code) == (status, code), path
    for method in ("PUT", "PATCH", "POST", "DELETE", "HEAD"):
        reply = await home.ask(method, SENDER, token="msp")
        assert (reply.status, reply.headers["allow"]) == (405, "GET"), method


async def test_a_change_that_comes_late_stands_in_the_window_of_its_arrival(home: House) -> None:
    home.clock.advance(3600 * SECOND)
    await home.put(f"{WRITE}/LOC1", LOCATION)
    assert (await home.get(f"{LIST}?date_from=2026-09-21T15:00:00Z")).ids == ["LOC1"]
    assert (await home.get(f"{LIST}?date_from=2026-09-21T15:00:00Z&strict_windows=1")).ids == []
