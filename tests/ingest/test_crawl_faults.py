"""What a bad Sender answers, and what a crawler makes of it, over real HTTP (requirements 3, and Bad input of every sort).

All tests share one house; each crawls a partner of its own.
"""

import itertools
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from crawling import World, rules, tariff
from outlet import House, house
from sender import Fault, Sender, serving

from ingest.outbound import Outbound
from ingest.partners import party_roles
from schemas.crawl import CrawlEnded, Oddity
from schemas.types import Module
from streams.stores.clickhouse import ClickHouseStore

pytestmark = pytest.mark.asyncio(loop_scope="module")
_numbers = itertools.count(100)


class Own(World):
    """A world that crawls a partner of its own."""

    def __init__(self, home: House, sender: Sender, outbound: Outbound, number: int) -> None:
        super().__init__(home, sender, outbound)
        self.name = f"partner{number}"
        self.party = f"{number}"

    def tariff(self, number: int) -> dict[str, Any]:
        """Return a Tariff of the partner."""
        return tariff(number, country_code="SE", party_id=self.party)

    async def own(self) -> CrawlEnded:
        """Crawl the partner's Tariffs."""
        return await self.crawl(by=self.name)

    async def taken(self) -> list[str]:
        """Return the ids of the partner's Tariffs that are served."""
        sql = "SELECT tariff_id FROM tariffs WHERE served AND party = {party:String} ORDER BY tariff_id"
        rows = await self.home.store.query(sql, {"party": f"SE*{self.party}"})
        return [str(row[0], "utf-8").upper() for row in rows if isinstance(row[0], bytes)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def home(chdb_folder: Path) -> AsyncIterator[House]:
    store = ClickHouseStore.embedded(chdb_folder, database="faults", readers=1)
    async with house(store) as opened:
        yield opened
    await store.command("DROP DATABASE faults SYNC")
    await store.close()


@pytest_asyncio.fixture(loop_scope="module")
async def world(home: House) -> AsyncIterator[Own]:
    number = next(_numbers)
    async with serving(Sender()) as sender:
        outbound = Outbound(home.clock, allow_private=True)
        made = Own(home, sender, outbound, number)
        await home.registry.add(made.name, party_roles([f"SE*{made.party}"], ["CPO"]), token=made.name)
        try:
            yield made
        finally:
            await outbound.close()


LINKS: Mapping[str, Any] = {
    "none": (lambda url, here: None, True, "missing_link"),
    "broken": (lambda url, here: "next page please", True, "broken_link"),
    "relative": (lambda url, here: f"<{url[url.index('/ocpi') :]}>; rel=next", True, "relative_link"),
    "self": (lambda url, here: f'<{here}>; rel="next"', False, "circular_link"),
    "foreign": (lambda url, here: '<http://127.0.0.1:9/steal?offset=2>; rel="next"', False, "foreign_link"),
    "scheme": (lambda url, here: f'<{url.replace("http:", "https:")}>; rel="next"', False, "foreign_link"),
}


@pytest.mark.parametrize("name", LINKS)
async def test_links_of_every_sort(world: Own, name: str) -> None:
    links, complete, rule = LINKS[name]
    world.sender.lists["tariffs"] = [world.tariff(number) for number in range(6)]
    world.sender.links = links
    world.limit = 2
    ended = await world.own()
    assert (ended.complete, rules(ended)[0]) == (complete, rule)
    assert len(await world.taken()) == (6 if complete else 2)
    assert (ended.watermark is None) is not complete


RETRIED: Mapping[str, Fault] = {
    "http_500": Fault(500, b"<html>oops</html>"),
    "http_502": Fault(502),
    "unreadable": Fault(200, b'{"data":[{"id":"T1","currency":"EU'),
    "html": Fault(200, b"<!doctype html><title>Login</title>"),
    "empty": Fault(200, b""),
    "status_code": Fault(200, b'{"status_code":3000,"status_message":"later","timestamp":"2026-09-21T14:13:20Z"}'),
    "connection": Fault(hangs_up=True),
}


@pytest.mark.parametrize("name", RETRIED)
async def test_what_may_pass_is_asked_for_again_and_flagged(world: Own, name: str) -> None:
    world.sender.lists["tariffs"] = [world.tariff(number) for number in range(4)]
    world.limit = 2
    # aiohttp itself asks once more where a connection ends.
    world.sender.faults = dict.fromkeys(range(2, 6) if name == "connection" else (2, 3), RETRIED[name])
    ended = await world.own()
    rule = {"html": "unreadable", "empty": "unreadable"}.get(name, name)
    assert (ended.complete, ended.pages, rules(ended)) == (True, 2, [rule, rule])
    assert [odd.page for odd in ended.oddities] == [2, 2]
    assert world.waited == [1.0, 2.0]
    assert len(await world.taken()) == 4


@pytest.mark.parametrize("name", RETRIED)
async def test_what_does_not_pass_ends_the_crawl_incomplete_with_what_was_read(world: Own, name: str) -> None:
    world.sender.lists["tariffs"] = [world.tariff(number) for number in range(4)]
    world.limit = 2
    world.sender.faults = dict.fromkeys(range(2, 9), RETRIED[name])
    ended = await world.own()
    assert (ended.complete, ended.watermark, ended.pages, rules(ended)[-1]) == (False, None, 1, "gave_up")
    assert len(world.sender.asked) == (7 if name == "connection" else 4)
    assert await world.taken() == ["T0", "T1"]
    (row,) = await world.analytics(f"crawls?connection={world.name}")
    assert (row["status"], row["objects"]) == ("incomplete", 2)


async def test_a_sender_that_ignores_offset_has_no_complete_list_and_takes_nothing_away(world: Own) -> None:
    world.sender.lists["tariffs"] = [world.tariff(number) for number in range(4)]
    assert (await world.own()).complete
    world.sender.always = Fault(200, page_of(world.tariff(0), world.tariff(1)), {"x-total-count": "4"})
    ended = await world.own()
    assert (ended.complete, ended.vanished, rules(ended)) == (False, 0, ["missing_link", "repeated_page"])
    assert await world.taken() == ["T0", "T1", "T2", "T3"]


async def test_a_list_in_which_one_object_stands_for_another_takes_nothing_away(world: Own) -> None:
    world.sender.lists["tariffs"] = [world.tariff(number) for number in range(3)]
    assert (await world.own()).complete
    world.sender.lists["tariffs"] = [world.tariff(0), world.tariff(1), world.tariff(1)]
    ended = await world.own()
    assert (ended.complete, ended.vanished) == (True, 0)
    assert await world.taken() == ["T0", "T1", "T2"]


def page_of(*objects: Mapping[str, Any]) -> bytes:
    return json.dumps({"data": objects, "status_code": 1000, "timestamp": "2026-09-21T14:13:20Z"}).encode()


async def test_429_is_waited_out_as_long_as_the_partner_asks(world: Own) -> None:
    world.sender.lists["tariffs"] = [world.tariff(1)]
    world.sender.faults = {1: Fault(429, headers={"retry-after": "7"}), 2: Fault(503, headers={"retry-after": "11"})}
    ended = await world.own()
    assert (ended.complete, world.waited, rules(ended)) == (True, [7.0, 11.0], ["rate_limited", "http_503"])


async def test_a_partner_that_asks_to_wait_for_a_day_is_left_alone(world: Own) -> None:
    world.sender.lists["tariffs"] = [world.tariff(1)]
    world.sender.faults = {1: Fault(429, headers={"retry-after": "86400"})}
    ended = await world.own()
    assert (ended.complete, world.waited, rules(ended), len(world.sender.asked)) == (False, [], ["rate_limited", "gave_up"], 1)


@pytest.mark.parametrize(("fault", "rule"), [
    (Fault(401), "unauthorized"),
    (Fault(404), "http_404"),
    (Fault(200, b'{"status_code":2001,"timestamp":"2026-09-21T14:13:20Z"}'), "status_code"),
    (Fault(302, headers={"location": "http://127.0.0.1:9/"}), "redirect"),
])  # fmt: skip
async def test_what_will_not_pass_ends_the_crawl_at_once(world: Own, fault: Fault, rule: str) -> None:
    world.sender.always = fault
    ended = await world.own()
    assert (ended.complete, ended.pages, rules(ended), len(world.sender.asked)) == (False, 0, [rule], 1)


async def test_a_partner_that_says_nothing_is_given_up(world: Own) -> None:
    world.outbound = Outbound(world.home.clock, allow_private=True, timeout_s=0.05)
    try:
        world.sender.always = Fault(silent=True)
        ended = await world.own()
        assert (ended.complete, rules(ended)) == (False, ["timeout", "timeout", "timeout", "gave_up"])
    finally:
        await world.outbound.close()


async def test_a_partner_that_says_too_much_is_not_heard_out(world: Own) -> None:
    world.outbound = Outbound(world.home.clock, allow_private=True, body_bytes=10_000)
    try:
        world.sender.always = Fault(200, b"[" + b"1," * 10_000)
        ended = await world.own()
        assert (ended.complete, rules(ended)) == (False, ["too_large"])
    finally:
        await world.outbound.close()


@pytest.mark.parametrize(("body", "rule"), [
    (b'[%b]', "no_envelope"),
    (b'{"data":{"tariffs":[%b]},"status_code":1000}', "list_in_object"),
    (b'{"data":%b,"status_code":1000}', "single_object"),
    (b'{"data":[%b],"status_code":"1000"}', "status_code_text"),
    (b'{"data":[%b]}', "no_status_code"),
])  # fmt: skip
async def test_a_page_of_another_shape_is_read_and_flagged(world: Own, body: bytes, rule: str) -> None:
    world.sender.always = Fault(200, body % json.dumps(world.tariff(1)).encode())
    ended = await world.own()
    assert (ended.complete, ended.counts.appended, rules(ended)) == (True, 1, [rule])


@pytest.mark.parametrize("body", [
    b'{"message":"not found"}',
    b'{"data":"none","status_code":1000}',
    b'{"data":[{"id":"T1",}],"next":',
    b"null",
    b"[1, 2",
    b"\xff\xfe",
])  # fmt: skip
async def test_what_is_no_page_at_all_is_not_taken_for_the_end_of_a_list(world: Own, body: bytes) -> None:
    world.sender.always = Fault(200, body)
    ended = await world.own()
    assert (ended.complete, rules(ended)) == (False, ["unreadable", "unreadable", "unreadable", "gave_up"])


async def test_oddities_name_the_page_and_say_a_sentence(world: Own) -> None:
    world.sender.lists["tariffs"] = [world.tariff(1), world.tariff(2)]
    world.limit = 1
    world.sender.links = lambda url, here: None
    ended = await world.own()
    assert ended.oddities == (Oddity(1, "missing_link", "there is no Link, but 1 of 2 objects were read"),)
    assert "partner-token" not in repr(ended) + repr(world.target(Module.TARIFFS, world.name))
