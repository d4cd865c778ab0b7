"""The GET of the Receiver interfaces: an owner reads back what it sent (OCPI 2.2.1 mod_sessions, mod_cdrs)."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import quote

import aiohttp
import pytest
import uvicorn
from charging import entry, patch
from outlet import House, house
from receiver import cdr, session
from yarl import URL

from streams.ports import TableStore

SESSION = "/ocpi/2.2.1/receiver/sessions/NL/TNM/S1"
CDR = "/ocpi/2.2.1/receiver/cdrs/NL/TNM/C1"


@pytest.fixture
async def home(store: TableStore) -> AsyncIterator[House]:
    async with house(store) as opened:
        yield opened


async def test_an_owner_reads_back_its_session_and_its_cdr(home: House) -> None:
    await home.push(session("S1", kwh=2.50))
    await home.post(cdr("C1"))
    assert (await home.get(SESSION, "cpo")).data == session("S1", kwh=2.50)
    assert (await home.get(CDR, "cpo")).data == cdr("C1")


async def test_the_location_of_a_posted_cdr_gets_the_cdr(home: House) -> None:
    # Requirements 10, point 23.
    odd = "a/b c'%ü"
    answer = await home.ask("POST", "/ocpi/2.2.1/receiver/cdrs", token="cpo", body=cdr(odd))
    await home.fold()
    assert (await home.get(answer.headers["location"], "cpo")).data == cdr(odd)


async def test_ids_are_compared_without_case_and_served_as_first_spelled(home: House) -> None:
    # Requirements 10, point 21.
    await home.push(session("Abc"))
    reply = await home.get("/ocpi/2.2.1/receiver/sessions/nl/tnm/aBC", "cpo")
    assert reply.data["id"] == "Abc"


async def test_ids_hold_anything(home: House) -> None:
    for odd in ("a/b", "a b", "a'b\\c", "a%2Fb", '"', "x;y=z", "ü", "{k:String}"):
        path = f"/ocpi/2.2.1/receiver/sessions/NL/TNM/{quote(odd, safe='')}"
        assert (await home.ask("PUT", path, token="cpo", body=session(odd))).code == 1000, odd
        await home.fold()
        assert (await home.get(path, "cpo")).data == session(odd)
    for odd in ("a\nb", "a\tb\0", "\x7f", "x" * 256, ""):
        path = f"/ocpi/2.2.1/receiver/sessions/NL/TNM/{quote(odd, safe='')}"
        reply = await home.get(path, "cpo")
        assert (reply.status, reply.code) == (404, 2001), odd


async def test_ids_and_links_survive_a_real_server(home: House) -> None:
    odd = session("a/b%2Fc?d#e ü")
    await home.push(session("S1"))
    async with serving(home) as url, aiohttp.ClientSession(url, headers={"Authorization": "Token cpo"}) as client:
        path = URL(f"/ocpi/2.2.1/receiver/sessions/NL/TNM/{quote(odd['id'], safe='')}", encoded=True)
        async with client.put(path, json=odd) as put:
            assert put.status == 201
        await home.fold()
        async with client.get(path) as got:
            assert (await got.json())["data"] == odd
        async with client.head(path) as head:
            assert (head.status, head.headers["Allow"], await head.read()) == (405, "GET, PUT, PATCH", b"")
        query = {"date_from": "2020-01-01T00:00:00Z", "limit": "1"}
        async with client.get("/ocpi/2.2.1/sender/sessions", params=query) as first:
            assert [one["id"] for one in (await first.json())["data"]] == ["S1"]
            following = URL(str(first.links["next"]["url"]))
        async with client.get(following.relative()) as second:
            assert (await second.json())["data"] == [odd]


@asynccontextmanager
async def serving(home: House) -> AsyncIterator[str]:
    """Serve the house over a socket and yield its URL."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        server = uvicorn.Server(uvicorn.Config(home.app, lifespan="off", log_level="warning"))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(server.serve(sockets=[listener]))
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
            server.should_exit = True


async def test_nobody_but_the_owner_reads(home: House) -> None:
    await home.push(session("S1"))
    await home.post(cdr("C1"))
    for token in ("msp", "rival", "other"):
        for path in (SESSION, CDR):
            reply = await home.get(path, token)
            assert (reply.status, reply.code, "data" in reply.json) == (404, 2001, False)


async def test_what_is_not_there_is_404_with_2001(home: House) -> None:
    for path in (SESSION, CDR):
        reply = await home.get(path, "cpo")
        assert (reply.status, reply.code) == (404, 2001)
    assert "'S1' of NL*TNM" in (await home.get(SESSION, "cpo")).json["status_message"]


async def test_a_session_known_by_a_patch_alone_is_not_there(home: House) -> None:
    await home.log.append([entry(patch(5, kwh=3))])
    await home.fold()
    assert (await home.get(SESSION, "cpo")).status == 404


async def test_a_read_waits_for_what_was_written_before_it(store: TableStore) -> None:
    async with house(store, read_wait_s=10) as home:
        assert (await home.ask("PUT", SESSION, token="cpo", body=session("S1"))).code == 1000
        assert (await home.ask("POST", "/ocpi/2.2.1/receiver/cdrs", token="cpo", body=cdr("C1"))).code == 1000
        async with asyncio.TaskGroup() as tasks:
            asked = [tasks.create_task(home.get(path, "cpo")) for path in (SESSION, CDR)]
            while not all(one.done() for one in asked):
                await home.runtime.turn(wait_s=0)
        assert [one.result().status for one in asked] == [200, 200]


async def test_a_read_that_waited_long_enough_says_what_is_known(home: House) -> None:
    await home.push(session("S1", kwh=1))
    await home.ask("PUT", SESSION, token="cpo", body=session("S1", kwh=2, last_updated="2026-09-20T10:06:00Z"))
    assert (await home.get(SESSION, "cpo")).data["kwh"] == 1


async def test_paths_and_verbs_that_receivers_do_not_have(home: House) -> None:
    for path, status, code in (
        ("/ocpi/2.2.1/receiver", 404, 2000),
        ("/ocpi/2.2.1/receiver/commands/NL/TNM/T1", 404, 2000),
        ("/ocpi/2.2.1/receiver/sessions", 404, 2001),
        ("/ocpi/2.2.1/receiver/sessions/NL/TNM", 404, 2001),
        ("/ocpi/2.2.1/receiver/sessions/NL/TNM/S1/charging_periods", 404, 2001),
        ("/ocpi/2.2.1/receiver/cdrs", 405, 2000),
        ("/ocpi/3.0/receiver/sessions/NL/TNM/S1", 404, 3002),
        ("/ocpi/2.2.1/receiver/sessions/NL/TNM/%FF", 404, 2001),
    ):
        reply = await home.get(path, "cpo")
        assert (reply.status, reply.code) == (status, code), path
    for method in ("HEAD", "OPTIONS", "POST", "DELETE"):
        reply = await home.ask(method, SESSION, token="cpo")
        assert (reply.status, reply.headers["allow"]) == (405, "GET, PUT, PATCH"), method
