"""Crawls over real HTTP into a log and real tables: what is taken, what is not, what a bad Sender cannot do (requirements 3)."""

import copy
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from msgspec.structs import replace
from outlet import NOW, OPERATOR, SECOND, House, house
from receiver import cdr, session
from samples import LOCATION, TARIFF, TOKEN
from sender import Fault, Sender, serving
from versions import in_version

from api.lookup import DocumentLookup
from ingest.crawl import Crawler, Target, routing
from ingest.existence import Existence
from ingest.intake import Intake
from ingest.outbound import Outbound
from ingest.paging import Patience
from ingest.partners import party_roles
from schemas import crawl
from schemas import envelope as envelopes
from schemas import rejected as rejections
from schemas.crawl import CrawlEnded, CrawlPageRead, Oddity, Run
from schemas.events import Envelope
from schemas.ocpi.discovery import discover
from schemas.types import Instant, Module, instant
from streams.ports import TableStore, TopicPartition
from streams.projections.crawls import Crawls
from streams.standing import Standing
from streams.topics import CHARGING, CRAWLS, LOCATIONS, REJECTED, TARIFFS, TOKENS

HOUR = 3600 * SECOND
OLD = "2026-09-20T00:00:00Z"


def tariff(number: int, **fields: Any) -> dict[str, Any]:
    return copy.deepcopy(TARIFF) | {"id": f"T{number}", "last_updated": OLD} | fields


def location(number: int, **fields: Any) -> dict[str, Any]:
    return copy.deepcopy(LOCATION) | {"id": f"LOC{number}", "last_updated": OLD} | fields


class World:
    """A house that crawls a Sender as the partner `cpo` (NL*TNM)."""

    def __init__(self, home: House, sender: Sender, outbound: Outbound) -> None:
        self.home = home
        self.sender = sender
        self.outbound = outbound
        self.waited: list[float] = []
        self.standing = Standing(home.store)
        self.limit = 1000

    def intake(self) -> Intake:
        return Intake(
            log=self.home.log,
            dialects=discover(),
            standing=self.standing,
            positions=self.home.runtime.progress,
            lookup=DocumentLookup(self.home.store),
            existence=Existence(),
            clock=self.home.clock,
        )

    def crawler(self) -> Crawler:
        async def sleep(seconds: float) -> None:
            self.waited.append(seconds)

        return Crawler(
            log=self.home.log,
            caller=self.outbound,
            intake=self.intake(),
            standing=self.standing,
            clock=self.home.clock,
            patience=Patience(attempts=3, first_s=1.0, longest_s=60.0),
            limit=self.limit,
            sleep=sleep,
        )

    def target(self, module: Module, by: str = "cpo", version: str = "2.2.1") -> Target:
        connection = self.home.registry.get(by)
        assert connection is not None
        return Target(connection, module, version, self.sender.url(module.value), "partner-token", "raw")

    async def crawl(
        self,
        module: Module = Module.TARIFFS,
        *,
        full: bool = True,
        watermark: Instant | None = None,
        by: str = "cpo",
        version: str = "2.2.1",
    ) -> CrawlEnded:
        """Fold what there is, crawl, and fold what came."""
        await self.home.fold()
        crawler, target = self.crawler(), self.target(module, by, version)
        started = crawler.begun(target, full=full, watermark=watermark, reason="operator")
        ended = await crawler.run(target, started, parties=target.connection.parties)
        self.home.clock.advance(SECOND)
        await self.home.fold()
        return ended

    async def events(self, topic: str) -> list[Envelope]:
        """Return what stands in a topic."""
        start = {TopicPartition(topic, partition): 0 for partition in range(self.home.log.partitions(topic))}
        found = await self.home.log.fetch(start, max_records=100_000, wait_s=0)
        return [envelopes.decode(record.value) for records in found.values() for record in records]

    async def rejected(self) -> list[rejections.Rejected]:
        start = {TopicPartition(REJECTED, partition): 0 for partition in range(self.home.log.partitions(REJECTED))}
        found = await self.home.log.fetch(start, max_records=100_000, wait_s=0)
        return [rejections.decode(record.value) for records in found.values() for record in records]

    async def listed(self, module: str, by: str = "msp") -> list[Any]:
        """Return what a reader is served."""
        query = "?date_from=2000-01-01T00:00:00Z" if module == "sessions" else ""
        reply = await self.home.get(f"/ocpi/2.2.1/sender/{module}{query}", by)
        assert reply.code == 1000, reply
        return list(reply.data)

    async def ids(self, module: str, by: str = "msp") -> list[str]:
        return sorted(one.get("uid") or one["id"] for one in await self.listed(module, by))

    async def analytics(self, path: str) -> Any:
        reply = await self.home.get(f"/analytics/{path}", None, {"Authorization": f"Bearer {OPERATOR}"})
        assert reply.status == 200
        return reply.json["rows"]


@pytest.fixture
async def world(store: TableStore) -> AsyncIterator[World]:
    async with house(store) as home, serving(Sender()) as sender:
        outbound = Outbound(home.clock, allow_private=True, timeout_s=30)
        try:
            yield World(home, sender, outbound)
        finally:
            await outbound.close()


def rules(ended: CrawlEnded) -> list[str]:
    return [odd.rule for odd in ended.oddities]


async def test_a_list_of_several_pages_is_read_to_its_end_and_served(world: World) -> None:
    world.sender.lists["tariffs"] = [tariff(number) for number in range(25)]
    world.limit = 10
    ended = await world.crawl()
    assert (ended.complete, ended.pages, ended.counts.objects, ended.counts.appended, ended.odd) == (True, 3, 25, 25, 0)
    assert (ended.first_total, ended.last_total, ended.reach, ended.watermark) == (25, 25, "full", NOW - 60 * SECOND)
    assert len(await world.listed("tariffs")) == 25
    first = world.sender.asked[0]
    assert (first.query, first.headers["authorization"]) == ({"offset": "0", "limit": "10"}, "Token partner-token")


async def test_what_is_pulled_says_which_run_and_page_it_came_from(world: World) -> None:
    world.sender.lists["tariffs"] = [tariff(number) for number in range(3)]
    world.limit = 2
    ended = await world.crawl()
    found = await world.events(TARIFFS)
    assert {(one.origin, one.connection, one.party) for one in found} == {("pull", "cpo", "NL*TNM")}
    assert sorted((one.key[0], one.crawl.page) for one in found if one.crawl and one.crawl.run == ended.run) == [
        ("T0", 1),
        ("T1", 1),
        ("T2", 2),
    ]


async def test_a_window_is_asked_for_from_the_watermark_to_a_minute_ago(world: World) -> None:
    world.sender.lists["tariffs"] = [tariff(1), tariff(2, last_updated="2026-09-21T14:00:00Z")]
    ended = await world.crawl(full=False, watermark=instant("2026-09-21T13:00:00Z"))
    assert world.sender.asked[0].query == {
        "date_from": "2026-09-21T13:00:00Z",
        "date_to": "2026-09-21T14:12:20Z",
        "offset": "0",
        "limit": "1000",
    }
    assert (ended.reach, ended.counts.objects, ended.watermark) == ("window", 1, ended.date_to)
    assert await world.ids("tariffs") == ["T2"]


async def test_sessions_are_always_asked_for_with_date_from(world: World) -> None:
    world.sender.lists["sessions"] = [session("S1")]
    ended = await world.crawl(Module.SESSIONS)
    assert world.sender.asked[0].query["date_from"] == "2000-01-01T00:00:00Z"
    assert (ended.reach, ended.complete, await world.ids("sessions")) == ("window", True, ["S1"])


@pytest.mark.parametrize(("version", "module", "date_from"), [
    ("2.2.1", Module.TARIFFS, "2026-09-21T13:00:00Z"),
    ("2.1.1", Module.TARIFFS, "2026-09-21T12:59:00Z"),
    ("2.0", Module.CDRS, "2026-08-22T13:00:00Z"),
    ("2.0", Module.TARIFFS, None),
])  # fmt: skip
async def test_windows_overlap_where_the_version_does_not_say_what_they_hold(
    world: World, version: str, module: Module, date_from: str | None
) -> None:
    """Before 2.2 date_from may be exclusive; in 2.0 it selects by the beginning of a charging, and Tariffs have no window."""
    started = world.crawler().begun(
        world.target(module, version=version), full=False, watermark=instant("2026-09-21T13:00:00Z"), reason="schedule"
    )
    assert started.date_from == (None if date_from is None else instant(date_from))
    assert started.reach == ("full" if date_from is None else "window")


async def test_what_stands_already_leaves_no_event(world: World) -> None:
    world.sender.lists |= {"tariffs": [tariff(1), tariff(2)], "locations": [location(1)], "sessions": [session("S1")]}
    world.sender.lists |= {"cdrs": [cdr("C1")]}
    modules = (Module.TARIFFS, Module.LOCATIONS, Module.SESSIONS, Module.CDRS)
    for module in modules:
        assert (await world.crawl(module)).counts.appended == len(world.sender.lists[module.value])
    before = [len(await world.events(topic)) for topic in (TARIFFS, LOCATIONS, CHARGING)]
    for module in modules:
        ended = await world.crawl(module)
        assert (ended.counts.unchanged, ended.counts.appended) == (len(world.sender.lists[module.value]), 0), module
    assert [len(await world.events(topic)) for topic in (TARIFFS, LOCATIONS, CHARGING)] == before


async def test_a_pulled_object_that_a_partner_pushed_alike_leaves_no_event(world: World) -> None:
    await world.home.put("tariffs/NL/TNM/T1", tariff(1))
    await world.home.put("locations/NL/TNM/LOC1", location(1))
    other_order = dict(reversed(tariff(1).items()))
    world.sender.lists |= {"tariffs": [other_order], "locations": [location(1)]}
    for module in (Module.TARIFFS, Module.LOCATIONS):
        ended = await world.crawl(module)
        assert (ended.counts.unchanged, ended.counts.appended, ended.counts.drifted) == (1, 0, 0)


async def test_an_object_that_differs_from_what_was_pushed_has_drifted_and_is_healed(world: World) -> None:
    await world.home.push(session("S1", kwh=1.5))
    world.sender.lists["sessions"] = [session("S1", kwh=9.5, status="COMPLETED", last_updated="2026-09-20T11:00:00Z")]
    ended = await world.crawl(Module.SESSIONS)
    assert (ended.counts.drifted, ended.counts.appended) == (1, 1)
    event = next(one for one in await world.events(CHARGING) if one.origin == "pull")
    (finding,) = [one for one in event.findings if one.rule == "drift"]
    assert finding.message == "/kwh, /status"
    assert (await world.listed("sessions"))[0]["kwh"] == 9.5
    (row,) = await world.analytics("drift")
    assert (row["connection"], row["module"], row["object_id"], row["fields"]) == ("cpo", "sessions", "S1", ["/kwh, /status"])
    (run,) = await world.analytics("crawls")
    assert (run["drifted"], run["module"]) == (1, "sessions")
    again = await world.crawl(Module.SESSIONS)
    assert (again.counts.unchanged, again.counts.drifted) == (1, 0)


async def test_drift_of_an_evse_is_named_by_its_uid(world: World) -> None:
    await world.home.put("locations/NL/TNM/LOC1", location(1))
    await world.home.put(
        "locations/NL/TNM/LOC1/3256", {"status": "CHARGING", "last_updated": "2026-09-20T08:00:00Z"}, method="PATCH"
    )
    there = location(1, last_updated="2026-09-20T09:00:00Z")
    there["evses"][0] |= {"status": "OUTOFORDER", "last_updated": "2026-09-20T09:00:00Z"}
    world.sender.lists["locations"] = [there]
    ended = await world.crawl(Module.LOCATIONS)
    assert ended.counts.drifted == 1
    event = next(one for one in await world.events(LOCATIONS) if one.origin == "pull")
    assert [one.message for one in event.findings if one.rule == "drift"] == ["/evses/3256/status"]


async def test_what_is_only_ever_pulled_changes_without_drifting(world: World) -> None:
    world.sender.lists["tariffs"] = [tariff(1)]
    await world.crawl()
    world.sender.lists["tariffs"] = [tariff(1, currency="SEK", last_updated="2026-09-20T05:00:00Z")]
    ended = await world.crawl()
    assert (ended.counts.appended, ended.counts.drifted) == (1, 0)
    assert (await world.listed("tariffs"))[0]["currency"] == "SEK"


async def test_a_list_that_is_behind_what_was_pushed_changes_nothing(world: World) -> None:
    await world.home.push(session("S1", kwh=9.5, last_updated="2026-09-20T11:00:00Z"))
    world.sender.lists["sessions"] = [session("S1", kwh=1.5)]
    ended = await world.crawl(Module.SESSIONS)
    assert (ended.counts.older, ended.counts.appended, ended.counts.drifted) == (1, 0, 0)
    assert (await world.listed("sessions"))[0]["kwh"] == 9.5


async def test_what_changed_a_moment_ago_may_have_its_push_under_way_and_is_no_drift(world: World) -> None:
    await world.home.push(session("S1"))
    world.sender.lists["sessions"] = [session("S1", kwh=7, last_updated="2026-09-21T14:13:10Z")]
    await world.home.fold()
    crawler, target = world.crawler(), world.target(Module.SESSIONS)
    started = crawler.begun(target, full=False, watermark=None, reason="operator")
    url = world.sender.url("sessions") + "?date_from=2000-01-01T00:00:00Z&offset=0&limit=10"
    ended = await crawler.run(target, crawl_of(started, url=url, date_to=None))
    assert (ended.counts.appended, ended.counts.drifted) == (1, 0)


def crawl_of(started: crawl.CrawlStarted, **fields: Any) -> crawl.CrawlStarted:
    return replace(started, **fields)


async def test_one_bad_object_goes_to_rejected_and_the_rest_goes_on(world: World) -> None:
    world.sender.lists["tariffs"] = [tariff(1), tariff(2, elements="none"), tariff(3), tariff(4) | {"currency": None}]
    ended = await world.crawl()
    assert (ended.complete, ended.counts.appended, ended.counts.refused) == (True, 2, 2)
    assert await world.ids("tariffs") == ["T1", "T3"]
    bad = await world.rejected()
    assert {(one.source, one.connection, one.party, one.module) for one in bad} == {("pull", "cpo", "NL*TNM", "tariffs")}
    assert sorted(json.loads(one.body)["id"] for one in bad) == ["T2", "T4"]
    assert all(one.findings for one in bad)


async def test_the_same_bad_object_is_not_rejected_anew_by_every_crawl(world: World) -> None:
    world.sender.lists["tariffs"] = [tariff(2, elements="none")]
    first, second = await world.crawl(), await world.crawl()
    assert (first.counts.refused, second.counts.refused) == (1, 1)
    assert len({one.rejected_id for one in await world.rejected()}) == 1


async def test_an_object_that_is_no_json_does_not_spoil_its_page(world: World) -> None:
    world.sender.lists["tariffs"] = [tariff(1), tariff(2), tariff(3)]
    world.sender.raw[1] = b'{"id":"T2","currency":"EUR",,}'
    ended = await world.crawl()
    assert (ended.complete, ended.counts.appended, ended.counts.refused, rules(ended)) == (True, 2, 1, ["broken_object"])
    assert await world.ids("tariffs") == ["T1", "T3"]


async def test_objects_of_parties_that_the_connection_may_not_write_are_rejected(world: World) -> None:
    world.sender.lists["tariffs"] = [tariff(1), tariff(2, country_code="BE", party_id="BEC")]
    ended = await world.crawl()
    assert (ended.counts.appended, ended.counts.refused) == (1, 1)
    (bad,) = await world.rejected()
    assert (bad.party, bad.reason) == ("BE*BEC", "BE*BEC is no party of this connection")


async def test_over_a_hub_each_object_belongs_to_the_party_that_it_names(world: World) -> None:
    await world.home.registry.add("hub", party_roles(["NL*HUB"], ["HUB"]), token="hub", allowed=["SE*ONE", "SE*TWO"])
    world.sender.lists["locations"] = [
        location(1, country_code="SE", party_id="ONE"),
        location(1, country_code="SE", party_id="TWO"),
        location(1, country_code="NL", party_id="TNM"),
    ]
    ended = await world.crawl(Module.LOCATIONS, by="hub")
    assert (ended.counts.appended, ended.counts.refused) == (2, 1)
    assert sorted(one.party for one in await world.events(LOCATIONS)) == ["SE*ONE", "SE*TWO"]


async def test_a_cdr_with_other_values_than_the_one_that_stands_is_refused(world: World) -> None:
    await world.home.post(cdr("C1"))
    world.sender.lists["cdrs"] = [cdr("C1", total_energy=99), cdr("C2"), cdr("C2", total_energy=98), cdr("C2")]
    ended = await world.crawl(Module.CDRS)
    assert (ended.counts.appended, ended.counts.refused, ended.counts.unchanged, ended.counts.drifted) == (1, 2, 1, 0)
    assert {one.findings[0].rule for one in await world.rejected()} == {"cdr_conflict"}


async def test_a_location_that_the_whole_list_no_longer_has_is_served_no_more_until_it_comes_again(world: World) -> None:
    world.sender.lists["locations"] = [location(1), location(2)]
    await world.crawl(Module.LOCATIONS)
    world.home.clock.advance(HOUR)
    world.sender.lists["locations"] = [location(1)]
    ended = await world.crawl(Module.LOCATIONS)
    assert (ended.vanished, ended.vanished_ids, ended.complete) == (1, ("loc2",), True)
    assert len(world.sender.asked) == 3, "what seems to have vanished is looked for once more"
    assert await world.ids("locations") == ["LOC1"]
    assert "vanished" in {row["rule"] for row in await world.analytics("findings")}
    world.sender.lists["locations"] = [location(1), location(2)]
    world.home.clock.advance(HOUR)
    again = await world.crawl(Module.LOCATIONS)
    assert (again.counts.unchanged, again.counts.appended, again.vanished) == (1, 1, 0)
    assert await world.ids("locations") == ["LOC1", "LOC2"]


async def test_a_tariff_that_the_whole_list_no_longer_has_is_deleted_until_it_comes_again(world: World) -> None:
    await world.home.put("tariffs/NL/TNM/T2", tariff(2))
    world.sender.lists["tariffs"] = [tariff(1)]
    ended = await world.crawl()
    assert (ended.vanished, ended.vanished_ids, await world.ids("tariffs")) == (1, ("t2",), ["T1"])
    event = next(one for one in await world.events(TARIFFS) if one.type == "tariff.deleted")
    assert (event.origin, event.key, event.crawl is not None and event.crawl.run) == ("pull", ("t2",), ended.run)
    world.sender.lists["tariffs"] = [tariff(1), tariff(2)]
    assert (await world.crawl()).counts.appended == 1
    assert await world.ids("tariffs") == ["T1", "T2"]


async def test_a_token_that_the_whole_list_no_longer_has_is_unconfirmed_once_and_stays_valid(world: World) -> None:
    mine = {"country_code": "DE", "party_id": "MSP", "last_updated": OLD}
    tokens: list[Mapping[str, Any]] = [TOKEN | mine | {"uid": uid} for uid in ("U1", "U2")]
    world.sender.lists["tokens"] = tokens
    await world.crawl(Module.TOKENS, by="msp")
    world.home.clock.advance(HOUR)
    world.sender.lists["tokens"] = tokens[:1]
    ended = await world.crawl(Module.TOKENS, by="msp")
    assert (ended.vanished, ended.vanished_ids) == (1, ("u2|rfid",))
    assert sorted(one.type for one in await world.events(TOKENS)) == ["token.replaced", "token.replaced", "token.unconfirmed"]
    assert [(one["uid"], one["valid"]) for one in await world.listed("tokens", "cpo")] == [("U1", True), ("U2", True)]
    world.home.clock.advance(HOUR)
    assert (await world.crawl(Module.TOKENS, by="msp")).vanished == 0


async def test_a_window_says_nothing_of_what_it_does_not_hold(world: World) -> None:
    await world.home.put("tariffs/NL/TNM/T1", tariff(1))
    world.sender.lists["tariffs"] = [tariff(2, last_updated="2026-09-21T14:00:00Z")]
    ended = await world.crawl(full=False, watermark=instant("2026-09-21T13:00:00Z"))
    assert (ended.vanished, await world.ids("tariffs")) == (0, ["T1", "T2"])


@pytest.mark.parametrize("module", [Module.SESSIONS, Module.CDRS])
async def test_sessions_and_cdrs_never_vanish(world: World, module: Module) -> None:
    await world.home.push(session("S1"))
    await world.home.post(cdr("C1"))
    world.sender.lists[module.value] = []
    ended = await world.crawl(module)
    assert (ended.complete, ended.vanished) == (True, 0)
    assert await world.ids(module.value) == ["S1" if module is Module.SESSIONS else "C1"]


async def test_a_list_that_moves_while_it_is_read_says_nothing_of_what_vanished(world: World) -> None:
    await world.home.put("tariffs/NL/TNM/T99", tariff(99))
    world.sender.lists["tariffs"] = [tariff(number) for number in range(6)]
    world.limit = 2

    def add(number: int) -> None:
        if number == 1:
            world.sender.lists["tariffs"].append(tariff(7))

    world.sender.on_page = add
    ended = await world.crawl()
    assert (ended.complete, ended.vanished, rules(ended)) == (True, 0, ["total_grew"])
    assert "T99" in await world.ids("tariffs")


async def test_an_empty_list_is_taken_for_a_fault(world: World) -> None:
    await world.home.put("tariffs/NL/TNM/T1", tariff(1))
    world.sender.lists["tariffs"] = []
    ended = await world.crawl()
    assert (ended.complete, ended.vanished, rules(ended)) == (True, 0, ["empty_list"])
    assert await world.ids("tariffs") == ["T1"]


async def test_what_was_pushed_while_the_list_was_read_has_not_vanished(world: World) -> None:
    world.sender.lists["tariffs"] = [tariff(1)]
    await world.home.fold()
    crawler, target = world.crawler(), world.target(Module.TARIFFS)
    started = crawler.begun(target, full=True, watermark=None, reason="operator")
    world.home.clock.advance(SECOND)
    await world.home.put("tariffs/NL/TNM/T2", tariff(2))
    ended = await crawler.run(target, started, parties=target.connection.parties)
    assert (ended.complete, ended.vanished) == (True, 0)


async def test_when_the_total_falls_what_moved_ahead_is_read_all_the_same(world: World) -> None:
    world.sender.lists["tariffs"] = [tariff(number) for number in range(30)]
    world.limit = 10

    def shrink(number: int) -> None:
        if number == 1:
            del world.sender.lists["tariffs"][3]

    world.sender.on_page = shrink
    ended = await world.crawl()
    assert (ended.complete, rules(ended)) == (True, ["total_shrank"])
    assert (ended.first_total, ended.last_total) == (30, 29)
    assert len(await world.ids("tariffs")) == 30


LINKS: Mapping[str, Any] = {
    "none": (lambda url, here: None, True, "missing_link"),
    "broken": (lambda url, here: "next page please", True, "broken_link"),
    "relative": (lambda url, here: f"<{url[url.index('/ocpi') :]}>; rel=next", True, "relative_link"),
    "self": (lambda url, here: f'<{here}>; rel="next"', False, "circular_link"),
    "foreign": (lambda url, here: '<http://127.0.0.1:9/steal?offset=2>; rel="next"', False, "foreign_link"),
    "scheme": (lambda url, here: f'<{url.replace("http:", "https:")}>; rel="next"', False, "foreign_link"),
}


@pytest.mark.parametrize("name", LINKS)
async def test_links_of_every_sort(world: World, name: str) -> None:
    links, complete, rule = LINKS[name]
    world.sender.lists["tariffs"] = [tariff(number) for number in range(6)]
    world.sender.links = links
    world.limit = 2
    ended = await world.crawl()
    assert (ended.complete, rules(ended)[0]) == (complete, rule)
    assert len(await world.ids("tariffs")) == (6 if complete else 2)
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
async def test_what_may_pass_is_asked_for_again_and_flagged(world: World, name: str) -> None:
    world.sender.lists["tariffs"] = [tariff(number) for number in range(4)]
    world.limit = 2
    # aiohttp itself asks once more where a connection ends.
    world.sender.faults = dict.fromkeys(range(2, 6) if name == "connection" else (2, 3), RETRIED[name])
    ended = await world.crawl()
    rule = {"html": "unreadable", "empty": "unreadable"}.get(name, name)
    assert (ended.complete, ended.pages, rules(ended)) == (True, 2, [rule, rule])
    assert [odd.page for odd in ended.oddities] == [2, 2]
    assert world.waited == [1.0, 2.0]
    assert len(await world.ids("tariffs")) == 4


@pytest.mark.parametrize("name", RETRIED)
async def test_what_does_not_pass_ends_the_crawl_incomplete_with_what_was_read(world: World, name: str) -> None:
    world.sender.lists["tariffs"] = [tariff(number) for number in range(4)]
    world.limit = 2
    world.sender.faults = dict.fromkeys(range(2, 9), RETRIED[name])
    ended = await world.crawl()
    assert (ended.complete, ended.watermark, ended.pages, rules(ended)[-1]) == (False, None, 1, "gave_up")
    assert len(world.sender.asked) == (7 if name == "connection" else 4)
    assert await world.ids("tariffs") == ["T0", "T1"]
    (row,) = await world.analytics("crawls")
    assert (row["status"], row["objects"]) == ("incomplete", 2)


async def test_429_is_waited_out_as_long_as_the_partner_asks(world: World) -> None:
    world.sender.lists["tariffs"] = [tariff(1)]
    world.sender.faults = {1: Fault(429, headers={"retry-after": "7"}), 2: Fault(503, headers={"retry-after": "11"})}
    ended = await world.crawl()
    assert (ended.complete, world.waited, rules(ended)) == (True, [7.0, 11.0], ["rate_limited", "http_503"])


async def test_a_partner_that_asks_to_wait_for_a_day_is_left_alone(world: World) -> None:
    world.sender.lists["tariffs"] = [tariff(1)]
    world.sender.faults = {1: Fault(429, headers={"retry-after": "86400"})}
    ended = await world.crawl()
    assert (ended.complete, world.waited, rules(ended), len(world.sender.asked)) == (False, [], ["rate_limited", "gave_up"], 1)


@pytest.mark.parametrize(("fault", "rule"), [
    (Fault(401), "unauthorized"),
    (Fault(404), "http_404"),
    (Fault(200, b'{"status_code":2001,"timestamp":"2026-09-21T14:13:20Z"}'), "status_code"),
    (Fault(302, headers={"location": "http://127.0.0.1:9/"}), "redirect"),
])  # fmt: skip
async def test_what_will_not_pass_ends_the_crawl_at_once(world: World, fault: Fault, rule: str) -> None:
    world.sender.always = fault
    ended = await world.crawl()
    assert (ended.complete, ended.pages, rules(ended), len(world.sender.asked)) == (False, 0, [rule], 1)


async def test_a_partner_that_says_nothing_or_too_much_is_given_up(world: World) -> None:
    world.outbound = Outbound(world.home.clock, allow_private=True, timeout_s=0.05, body_bytes=10_000)
    try:
        world.sender.always = Fault(silent=True)
        ended = await world.crawl()
        assert (ended.complete, rules(ended)) == (False, ["timeout", "timeout", "timeout", "gave_up"])
        world.sender.always = Fault(200, b"[" + b"1," * 10_000)
        ended = await world.crawl()
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
async def test_a_page_of_another_shape_is_read_and_flagged(world: World, body: bytes, rule: str) -> None:
    world.sender.always = Fault(200, body % json.dumps(tariff(1)).encode())
    ended = await world.crawl()
    assert (ended.complete, ended.counts.appended, rules(ended)) == (True, 1, [rule])


@pytest.mark.parametrize("body", [
    b'{"message":"not found"}',
    b'{"data":"none","status_code":1000}',
    b'{"data":[{"id":"T1",}],"next":',
    b"null",
    b"[1, 2",
    b"\xff\xfe",
])  # fmt: skip
async def test_what_is_no_page_at_all_is_not_taken_for_the_end_of_a_list(world: World, body: bytes) -> None:
    world.sender.always = Fault(200, body)
    ended = await world.crawl()
    assert (ended.complete, rules(ended)) == (False, ["unreadable", "unreadable", "unreadable", "gave_up"])


async def test_a_crawl_goes_on_behind_its_last_page_after_its_process_ended(world: World) -> None:
    world.sender.lists["tariffs"] = [tariff(number) for number in range(7)]
    await world.home.put("tariffs/NL/TNM/T99", tariff(99))
    world.limit = 2
    await world.home.fold()

    class Ended(Exception):
        pass

    crawler, target = world.crawler(), world.target(Module.TARIFFS)
    started = crawler.begun(target, full=True, watermark=None, reason="operator")

    def told(at: Any) -> None:
        if at.objects == 4:
            raise Ended

    with pytest.raises(Ended):
        await crawler.run(target, started, parties=target.connection.parties, told=told)
    await world.home.fold()
    asked = len(world.sender.asked)
    run, offset = await unfinished(world)
    assert (run.place.page, run.counts.objects) == (2, 4)
    resumed = world.crawler()
    ended = await resumed.resume(target, run, offset, parties=target.connection.parties)
    assert (ended.run, ended.complete, ended.counts.objects) == (started.run, True, 14)
    assert (ended.vanished, ended.vanished_ids) == (1, ("t99",)), "what was seen before the end counts as seen"
    assert [one.query["offset"] for one in world.sender.asked[asked:]][:2] == ["4", "6"]
    await world.home.fold()
    assert await world.ids("tariffs") == [f"T{number}" for number in range(7)]
    assert await resumed.resume(target, run, offset) == ended, "what has ended is not read again"


async def unfinished(world: World) -> tuple[Run, int]:
    ((state, offset),) = await world.home.store.query("SELECT state, topic_offset FROM crawls WHERE status = 'running'")
    assert isinstance(state, bytes)
    assert isinstance(offset, int)
    return Crawls().decode(("",), b"", state).run, offset


async def test_every_page_is_durable_before_its_progress_is(world: World) -> None:
    world.sender.lists["tariffs"] = [tariff(number) for number in range(6)]
    world.limit = 2
    order: list[str] = []
    append = world.home.log.append

    async def noted(entries: Any) -> Any:
        order.extend(dict.fromkeys(entry.topic for entry in entries))
        return await append(entries)

    world.home.log.append = noted  # type: ignore[method-assign]
    await world.crawl()
    assert order == [CRAWLS, *[TARIFFS, CRAWLS] * 3, CRAWLS]
    pages = [crawl.decode(one.payload) for one in await world.events(CRAWLS) if one.type == "crawl.page_read"]
    assert [page.counts.appended for page in pages if isinstance(page, CrawlPageRead)] == [2, 2, 2]


async def test_a_page_of_very_many_objects_is_taken_in_batches(world: World) -> None:
    world.sender.cap = 3000
    world.limit = 3000
    world.sender.lists["tariffs"] = [tariff(number) for number in range(1201)]
    ended = await world.crawl()
    assert (ended.pages, ended.counts.appended, len(await world.events(TARIFFS))) == (1, 1201, 1201)


async def test_what_2_0_lists_is_as_old_as_the_request_and_says_nothing_new_twice(world: World) -> None:
    await world.home.registry.add("old", party_roles(["NO*OLD"], ["CPO"]), token="old", version="2.0")
    world.sender.lists["tariffs"] = [in_version("2.0", "Tariff", TARIFF)]
    ended = await world.crawl(by="old", version="2.0")
    assert (ended.reach, ended.counts.appended, ended.complete) == ("full", 1, True)
    (event,) = await world.events(TARIFFS)
    assert (event.party, event.received_at, event.last_updated) == ("NO*OLD", NOW, None)
    world.home.clock.advance(HOUR)
    assert (await world.crawl(by="old", version="2.0")).counts.unchanged == 1
    world.sender.lists["tariffs"][0] = dict(world.sender.lists["tariffs"][0]) | {"currency": "SEK"}
    assert (await world.crawl(by="old", version="2.0")).counts.appended == 1
    assert (await world.listed("tariffs"))[0]["currency"] == "SEK"


def test_a_get_is_routed_to_the_owner_and_to_a_hub_for_all_behind_it() -> None:
    own = party_roles(["ZZ*RML"], ["CPO", "EMSP"])
    partner = party_roles(["NL*TNM"], ["EMSP"]) + party_roles(["NL*CPO"], ["CPO"])
    headers = routing(Module.TARIFFS, "2.2.1", partner, own)
    assert headers == {
        "ocpi-to-country-code": "NL",
        "ocpi-to-party-id": "CPO",
        "ocpi-from-country-code": "ZZ",
        "ocpi-from-party-id": "RML",
    }
    assert routing(Module.TOKENS, "2.2.1", partner, own)["ocpi-to-party-id"] == "TNM"
    assert routing(Module.TOKENS, "2.2.1", party_roles(["NL*HUB"], ["HUB"]), own)["ocpi-to-party-id"] == "HUB"
    assert routing(Module.TARIFFS, "2.1.1", partner, own) == {}


async def test_oddities_name_the_page_and_say_a_sentence(world: World) -> None:
    world.sender.lists["tariffs"] = [tariff(1), tariff(2)]
    world.limit = 1
    world.sender.links = lambda url, here: None
    ended = await world.crawl()
    assert ended.oddities == (Oddity(1, "missing_link", "there is no Link, but 1 of 2 objects were read"),)
    assert "partner-token" not in repr(ended) + repr(world.target(Module.TARIFFS))
