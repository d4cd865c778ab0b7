"""Crawls over real HTTP into a log and real tables: what is taken, and what is not (requirements 3)."""

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from crawling import OLD, World, location, rules, tariff
from msgspec.structs import replace
from outlet import NOW, SECOND, house
from receiver import cdr, session
from samples import TARIFF, TOKEN
from sender import Sender, serving
from versions import in_version

from ingest.crawl import routing
from ingest.errors import NotReplayable
from ingest.outbound import Outbound
from ingest.partners import party_roles
from ingest.replay import Replay
from schemas import crawl
from schemas.crawl import CrawlPageRead, Run
from schemas.types import Module, instant
from streams.ports import TableStore
from streams.projections.crawls import Crawls
from streams.topics import CHARGING, CRAWLS, LOCATIONS, TARIFFS, TOKENS

HOUR = 3600 * SECOND


@pytest.fixture
async def world(store: TableStore) -> AsyncIterator[World]:
    async with house(store) as home, serving(Sender()) as sender:
        outbound = Outbound(home.clock, allow_private=True, timeout_s=30)
        try:
            yield World(home, sender, outbound)
        finally:
            await outbound.close()


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


async def test_where_the_partners_clock_is_behind_the_next_window_begins_earlier(world: World) -> None:
    """What it changes a moment later is dated by its clock, before our window's end."""
    world.sender.lists["tariffs"] = [tariff(1)]
    world.sender.date = "Mon, 21 Sep 2026 14:03:20 GMT"
    ended = await world.crawl(full=False, watermark=instant("2026-09-21T13:00:00Z"))
    assert (ended.date_to, ended.watermark) == (NOW - 60 * SECOND, NOW - 660 * SECOND)
    assert (ended.complete, rules(ended)) == (True, ["clock_behind"])
    world.sender.date = "Mon, 21 Sep 2026 14:13:18 GMT"
    soon = await world.crawl()
    assert (soon.watermark, rules(soon)) == (soon.started_at - 60 * SECOND, []), "a few seconds are within the minute"


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


async def test_what_is_listed_but_refused_has_not_vanished(world: World) -> None:
    await world.home.put("tariffs/NL/TNM/T2", tariff(2))
    world.sender.lists["tariffs"] = [tariff(1), tariff(2, elements="none")]
    ended = await world.crawl()
    assert (ended.complete, ended.counts.refused, ended.vanished) == (True, 1, 0)
    assert await world.ids("tariffs") == ["T1", "T2"]
    world.sender.raw[1] = b'{"id":"T2",,}'
    ended = await world.crawl()
    assert (ended.complete, ended.counts.refused, ended.vanished) == (True, 1, 0), "nobody can say which one that was"


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


async def test_what_was_refused_can_be_replayed_as_its_partners(world: World) -> None:
    world.sender.lists["tariffs"] = [tariff(2, country_code="BE", party_id="NEW")]
    assert (await world.crawl()).counts.refused == 1
    (bad,) = await world.rejected()
    home = world.home
    replay = Replay(log=home.log, push=home.pusher, registry=home.registry, dialects=home.dialects, clock=home.clock)
    assert (await replay.replay(bad)).outcome == "refused"
    await home.registry.remove("cpo")
    with pytest.raises(NotReplayable, match="partner cpo is gone"):
        await replay.replay(bad)
    await home.registry.add("cpo", party_roles(["NL*TNM"], ["CPO"]), token="cpo", allowed=["BE*NEW"])
    assert (await replay.replay(bad)).outcome == "created"
    (event,) = await world.events(TARIFFS)
    assert (event.origin, event.connection, event.party) == ("pull", "cpo", "BE*NEW")


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
