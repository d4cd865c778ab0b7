"""Tariffs and Tokens as they are given back (OCPI 2.2.1 mod_tariffs, mod_tokens, Sender and Receiver Interface)."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from outlet import House, house
from samples import TARIFF, TOKEN

from streams.ports import TableStore

TARIFFS = "/ocpi/2.2.1/sender/tariffs"
TARIFF_12 = "/ocpi/2.2.1/receiver/tariffs/NL/TNM/12"
TOKENS = "/ocpi/2.2.1/sender/tokens"
CARD = "/ocpi/2.2.1/receiver/tokens/DE/MSP/04E1"
APP = TOKEN | {"type": "APP_USER", "contract_id": "DE-MSP-APP"}


@pytest.fixture
async def home(store: TableStore) -> AsyncIterator[House]:
    async with house(store) as opened:
        yield opened


def tariff(tariff_id: str, **fields: Any) -> dict[str, Any]:
    return TARIFF | {"id": tariff_id} | fields


async def test_a_tariff_is_given_as_it_was_pushed(home: House) -> None:
    await home.put("tariffs/NL/TNM/12", TARIFF)
    assert (await home.get(TARIFFS)).data == [TARIFF]
    assert (await home.get(TARIFF_12, "cpo")).data == TARIFF
    assert (await home.get("/ocpi/2.2.1/receiver/tariffs/nl/tnm/12", "cpo")).data == TARIFF


async def test_a_deleted_tariff_is_gone_and_may_come_again(home: House) -> None:
    await home.put("tariffs/NL/TNM/12", TARIFF)
    await home.put("tariffs/NL/TNM/13", tariff("13"))
    assert (await home.ask("DELETE", TARIFF_12, token="cpo")).code == 1000
    await home.fold()
    assert (await home.get(TARIFFS)).ids == ["13"]
    reply = await home.get(TARIFF_12, "cpo")
    assert (reply.status, reply.code, "data" in reply.json) == (404, 2001, False)
    again = TARIFF | {"currency": "SEK", "last_updated": "2026-09-21T14:13:25Z"}
    await home.put("tariffs/NL/TNM/12", again)
    assert (await home.get(TARIFF_12, "cpo")).data == again


async def test_a_list_of_tariffs_pages_and_takes_windows(home: House) -> None:
    for number in range(5):
        await home.put(f"tariffs/NL/TNM/T{number}", tariff(f"T{number}", last_updated=f"2026-09-20T10:0{number}:00Z"))
    assert [page.ids for page in await home.crawl(f"{TARIFFS}?limit=2")] == [["T0", "T1"], ["T2", "T3"], ["T4"]]
    window = "date_from=2026-09-20T10:01:00Z&date_to=2026-09-20T10:03:00Z&strict_windows=1"
    assert (await home.get(f"{TARIFFS}?{window}")).ids == ["T1", "T2"]


async def test_tariffs_are_for_all_but_other_cpos(home: House) -> None:
    await home.put("tariffs/NL/TNM/12", TARIFF)
    for token, ids in (("msp", ["12"]), ("rival", ["12"]), ("cpo", ["12"]), ("other", [])):
        page = await home.get(TARIFFS, token)
        assert (page.ids, page.headers["x-total-count"]) == (ids, str(len(ids)))
    for token in ("msp", "other"):
        reply = await home.get(TARIFF_12, token)
        assert (reply.status, reply.code) == (404, 2001)


async def test_the_sender_has_no_single_tariffs_and_tokens(home: House) -> None:
    await home.put("tariffs/NL/TNM/12", TARIFF)
    for path in (f"{TARIFFS}/12", f"{TOKENS}/04E1"):
        reply = await home.get(path, "cpo")
        assert (reply.status, reply.code) == (404, 2000)


async def test_a_token_is_given_as_it_was_pushed(home: House) -> None:
    await home.put("tokens/DE/MSP/04E1", TOKEN, by="msp")
    assert (await home.get(TOKENS, "cpo")).data == [TOKEN]
    assert (await home.get(CARD, "msp")).data == TOKEN
    assert (await home.get("/ocpi/2.2.1/receiver/tokens/de/msp/04e1?type=rfid", "msp")).data == TOKEN


async def test_a_path_without_a_type_means_the_rfid_token(home: House) -> None:
    # Requirements 10, point 27.
    await home.put("tokens/DE/MSP/04E1?type=APP_USER", APP, by="msp")
    reply = await home.get(CARD, "msp")
    assert (reply.status, reply.code, "data" in reply.json) == (404, 2004, False)
    await home.put("tokens/DE/MSP/04E1", TOKEN, by="msp")
    assert (await home.get(CARD, "msp")).data == TOKEN
    assert (await home.get(f"{CARD}?type=RFID", "msp")).data == TOKEN
    assert (await home.get(f"{CARD}?type=APP_USER", "msp")).data == APP
    assert (await home.get(f"{CARD}?type=OTHER", "msp")).code == 2004
    pages = await home.crawl(f"{TOKENS}?limit=1", "cpo")
    assert [page.data for page in pages] == [[APP], [TOKEN]]


async def test_a_type_that_can_be_none_is_refused(home: House) -> None:
    for query in ("type=", "type=RFID&type=RFID", "type=" + "x" * 300):
        reply = await home.get(f"{CARD}?{query}", "msp")
        assert (reply.status, reply.code) == (200, 2001), query


async def test_tokens_are_for_their_owner_and_for_cpos_alone(home: House) -> None:
    await home.connect("hub", "SE*HUB", "HUB")
    await home.connect("map", "IT*NAV", "NSP", "NAP", "SCSP", "OTHER")
    await home.put("tokens/DE/MSP/04E1", TOKEN, by="msp")
    for token, count in (("msp", 1), ("cpo", 1), ("other", 1), ("rival", 0), ("hub", 0), ("map", 0)):
        page = await home.get(TOKENS, token)
        assert (len(page.data), page.headers["x-total-count"]) == (count, str(count)), token
    for token in ("cpo", "rival", "hub", "map"):
        reply = await home.get(CARD, token)
        assert (reply.status, reply.code) == (404, 2001), token


async def test_reads_wait_for_what_was_written_before_them(store: TableStore) -> None:
    async with house(store, read_wait_s=10) as home:
        assert (await home.ask("PUT", f"{CARD}?type=APP_USER", token="msp", body=APP)).code == 1000
        assert (await home.ask("PUT", TARIFF_12, token="cpo", body=TARIFF)).code == 1000
        asked = (f"{CARD}?type=APP_USER", "msp"), (TOKENS, "cpo"), (TARIFF_12, "cpo"), (TARIFFS, "msp")
        async with asyncio.TaskGroup() as tasks:
            replies = [tasks.create_task(home.get(path, token)) for path, token in asked]
            while not all(one.done() for one in replies):
                await home.runtime.turn(wait_s=0)
        assert [one.result().data for one in replies] == [APP, [APP], TARIFF, [TARIFF]]
