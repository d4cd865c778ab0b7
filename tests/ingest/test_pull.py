"""When lists are crawled, and that an object which was pushed in parts and is not known is asked for (requirements 3 and 10)."""

import asyncio
import base64
import copy
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest
from outlet import NOW, SECOND, House, house
from samples import LOCATION, TARIFF
from sender import Fault, Sender, serving

from api.lookup import DocumentLookup
from ingest.connections import fold
from ingest.crawl import Crawler
from ingest.errors import UnknownPartner
from ingest.existence import Existence
from ingest.intake import Intake, Taken
from ingest.neighbours import Neighbours
from ingest.outbound import Outbound
from ingest.paging import Patience
from ingest.partners import party_roles
from ingest.pull import Last, NotPulled, Pull, fraction, is_due, sender_url
from schemas import envelope as envelopes
from schemas.events import Envelope
from schemas.party import Endpoint, PartnerRegistered, PartnerUpdated, PartyRole, Terms
from schemas.types import Module
from streams.crawled import Crawled
from streams.ports import TableStore, TopicPartition
from streams.standing import Standing
from streams.topics import PARTNERS

HOUR: Final = 3600 * SECOND
OWN: Final = party_roles(["ZZ*RML"], ["CPO", "EMSP"])


def test_each_list_has_its_own_time_in_every_interval_and_keeps_it() -> None:
    times = {}
    for name in ("a", "b", "c"):
        for module in (Module.TARIFFS, Module.LOCATIONS):
            last = Last(started_at=NOW)
            due = [minute for minute in range(0, 130) if is_due(name, module, last, 0, NOW + minute * 60 * SECOND, HOUR)]
            assert due, "within two intervals it is due"
            times[name, module] = due[0]
            at = NOW + due[0] * 60 * SECOND
            known = Last(started_at=at)
            again = [minute for minute in range(1, 130) if is_due(name, module, known, 0, at + minute * 60 * SECOND, HOUR)]
            assert 59 <= again[0] <= 61, "an hour later again"
    assert len(set(times.values())) > 3, "not all at once"
    assert fraction("a", "tariffs") == fraction("a", "tariffs")
    assert 0 <= fraction("x") < 1


def test_a_list_that_was_never_read_is_due_within_a_minute() -> None:
    names = [f"p{number}" for number in range(50)]
    assert all(is_due(name, Module.TARIFFS, Last(), NOW, NOW + 60 * SECOND, 6 * HOUR) for name in names)
    early = sum(is_due(name, Module.TARIFFS, Last(), NOW, NOW + 30 * SECOND, 6 * HOUR) for name in names)
    assert 5 < early < 45, "and not all in the same second"


def endpoints(sender: Sender, *modules: str, role: Any = "SENDER") -> tuple[Endpoint, ...]:
    return tuple(Endpoint(module, role, sender.url(module)) for module in modules)


class World:
    """A house whose partner `tnm` (SE*TNM, a CPO) has registered and offers lists."""

    def __init__(self, home: House, sender: Sender, outbound: Outbound) -> None:
        self.home = home
        self.sender = sender
        standing = Standing(home.store)
        self.intake = intake = Intake(
            log=home.log,
            dialects=home.dialects,
            standing=standing,
            positions=home.runtime.progress,
            lookup=DocumentLookup(home.store),
            existence=Existence(),
            clock=home.clock,
            folded_within_s=0.05,
        )
        crawler = Crawler(
            log=home.log,
            caller=outbound,
            intake=intake,
            standing=standing,
            clock=home.clock,
            patience=Patience(attempts=1, first_s=0.01, longest_s=1.0),
        )
        self.heard: dict[tuple[str, Module], int] = {}
        self.pull = Pull(
            registry=home.registry,
            crawler=crawler,
            intake=intake,
            crawled=Crawled(home.store, home.log, home.runtime.progress),
            clock=home.clock,
            own=OWN,
            every_s=3600.0,
            at_once=4,
            heard=self.heard,
            metrics=home.metrics,
            neighbours=Neighbours(
                registry=home.registry,
                caller=outbound,
                dialects=home.dialects,
                clock=home.clock,
                patience=Patience(attempts=1, first_s=0.01, longest_s=1.0),
            ),
            look_s=0.01,
        )
        home.pusher.missed = self.pull.missed

    async def register(self, *modules: str, version: str = "2.2.1", role: str = "CPO") -> None:
        """Have `tnm` register with these lists."""
        registry = self.home.registry
        _, token = await registry.invite("tnm", HOUR)
        terms = Terms(
            roles=(PartyRole(role, "SE", "TNM"),),  # type: ignore[arg-type]
            version=version,
            token_hashes=registry.hashes("tnm-calls-us"),
            endpoints=endpoints(self.sender, *modules, role="SENDER" if version >= "2.2" else ""),
            versions_url=f"{self.sender.origin}/versions",
            outbound=registry.sealed("tnm", "partner-token"),
            encoding="base64",
        )
        await registry.say(PartnerRegistered("tnm", "them", registry.hashes(token)[0], terms), "SE*TNM")
        await self.home.fold()

    async def crawled(self, count: int) -> None:
        """Return once so many crawls have ended, folding meanwhile."""
        async with asyncio.timeout(60):
            while True:
                await self.home.fold()
                ((found,),) = await self.home.store.query("SELECT count() FROM crawls WHERE status != 'running'")
                if found == count:
                    return
                await asyncio.sleep(0.01)

    async def runs(self, columns: str) -> list[tuple[object, ...]]:
        return await self.home.store.query(f"SELECT {columns} FROM crawls ORDER BY started_at, module")


@pytest.fixture
async def world(store: TableStore) -> AsyncIterator[World]:
    async with house(store) as home, serving(Sender()) as sender:
        outbound = Outbound(home.clock, allow_private=True)
        made = World(home, sender, outbound)
        try:
            yield made
        finally:
            await made.pull.close()
            await outbound.close()


def tariff(number: int) -> dict[str, Any]:
    mine = {"id": f"T{number}", "country_code": "SE", "party_id": "TNM", "last_updated": "2026-09-20T00:00:00Z"}
    return copy.deepcopy(TARIFF) | mine


def location(number: int) -> dict[str, Any]:
    mine = {"id": f"LOC{number}", "country_code": "SE", "party_id": "TNM", "last_updated": "2026-09-20T00:00:00Z"}
    return copy.deepcopy(LOCATION) | mine


class Defective(Intake):
    """Takes nothing: it meets a defect."""

    async def take(self, *_: object, **__: object) -> Taken:
        raise ZeroDivisionError


async def test_a_crawl_that_meets_a_defect_again_ends_and_the_next_begins_anew(world: World) -> None:
    world.sender.lists["tariffs"] = [tariff(1)]
    await world.register("tariffs")
    world.intake.__class__ = Defective
    with pytest.raises(ZeroDivisionError):
        await world.pull.now("tnm")
    await world.home.fold()
    assert await world.runs("status") == [(b"running",)]
    with pytest.raises(ZeroDivisionError):
        await world.pull.now("tnm")
    await world.home.fold()
    assert await world.runs("status, rules") == [(b"incomplete", [b"defect"])]
    world.intake.__class__ = Intake
    (ended,) = await world.pull.now("tnm")
    assert (ended.complete, ended.counts.appended) == (True, 1)


async def test_what_a_partner_offers_as_a_sender_is_crawled_and_nothing_else(world: World) -> None:
    world.sender.lists |= {"tariffs": [tariff(1)], "locations": [location(1)]}
    await world.register("tariffs", "locations")
    ended = await world.pull.now("tnm")
    assert [(one.module, one.complete, one.counts.appended) for one in ended] == [
        (Module.LOCATIONS, True, 1),
        (Module.TARIFFS, True, 1),
    ]
    counted = world.home.metrics.values("roamlog_pulled_objects_total")
    assert (counted["tariffs", "appended"], counted["tariffs", "drifted"]) == (1, 0)
    assert world.home.metrics.values("roamlog_crawls_total") == {
        ("locations", "complete"): 1,
        ("tariffs", "complete"): 1,
    }
    first = world.sender.asked[0].headers
    assert (first["ocpi-to-country-code"], first["ocpi-to-party-id"]) == ("SE", "TNM")
    assert (first["ocpi-from-party-id"], len(first["x-request-id"]), len(first["x-correlation-id"])) == ("RML", 36, 36)
    with pytest.raises(NotPulled, match="tnm offers no list of sessions"):
        await world.pull.now("tnm", [Module.SESSIONS])
    with pytest.raises(UnknownPartner):
        await world.pull.now("nobody")
    with pytest.raises(NotPulled, match="cpo offers no list"):
        await world.pull.now("cpo")


def client(party_id: str, **fields: Any) -> dict[str, Any]:
    told = {"role": "CPO", "status": "CONNECTED", "last_updated": "2026-09-20T00:00:00Z"}
    return {"country_code": "FR", "party_id": party_id} | told | fields


@pytest.mark.parametrize("version", ["2.2", "2.2.1"])
async def test_a_hub_is_asked_whom_it_has_behind_it_before_its_lists_are_read(world: World, version: str) -> None:
    behind, stranger = (
        location(1) | {"country_code": "FR", "party_id": "ONE"},
        location(2) | {"country_code": "FR", "party_id": "TWO"},
    )
    world.sender.cap = 2
    world.sender.lists |= {
        "hubclientinfo": [client("ONE"), client("OLD", status="SUSPENDED"), {"party_id": "BAD"}, client("END")],
        "locations": [behind, stranger],
    }
    await world.register("hubclientinfo", "locations", version=version, role="HUB")
    (ended,) = await world.pull.now("tnm")
    assert (ended.module, ended.complete, ended.counts.appended, ended.counts.refused) == (Module.LOCATIONS, True, 1, 1)
    hub = world.home.registry.get("tnm")
    assert hub is not None
    assert hub.parties == {"SE*TNM", "FR*ONE", "FR*END"}
    asked = [(one.path.partition("?")[0].rpartition("/")[2], one.headers) for one in world.sender.asked]
    assert [module for module, _ in asked] == ["hubclientinfo", "hubclientinfo", "locations"]
    assert not any(name.startswith("ocpi-") for name in asked[0][1]), "hubclientinfo is not routed"
    # GET all: to the hub itself, whosever objects they are.
    assert (asked[2][1]["ocpi-to-country-code"], asked[2][1]["ocpi-to-party-id"]) == ("SE", "TNM")
    events = sum((await world.home.log.end("ocpi.partners")).values())
    world.sender.lists["hubclientinfo"][0] = client("ONE", status="OFFLINE", last_updated="2026-09-21T00:00:00Z")
    await world.pull.now("tnm")
    assert sum((await world.home.log.end("ocpi.partners")).values()) == events + 1, "what is no news is not said again"
    known = world.home.registry.client("tnm", "FR*ONE", "CPO")
    assert known is not None
    assert known.status == "OFFLINE"
    world.sender.always = Fault(status=500)
    await world.pull.now("tnm")
    assert world.home.registry.get("tnm") == hub, "a list that cannot be read takes nobody away"


async def test_before_2_2_a_partners_role_says_which_lists_are_its_own(world: World) -> None:
    await world.register("tariffs", "tokens", version="2.1.1")
    connection = world.home.registry.get("tnm")
    assert connection is not None
    assert sender_url(connection, Module.TARIFFS) == world.sender.url("tariffs")
    assert sender_url(connection, Module.TOKENS) is None, "tokens of a CPO are its Receiver interface"


async def test_the_next_window_begins_where_the_last_complete_crawl_ended(world: World) -> None:
    world.sender.lists["tariffs"] = [tariff(1)]
    await world.register("tariffs")
    (first,) = await world.pull.now("tnm")
    world.home.clock.advance(HOUR)
    world.sender.always = Fault(500)
    (broken,) = await world.pull.now("tnm")
    world.home.clock.advance(HOUR)
    world.sender.always = None
    (third,) = await world.pull.now("tnm")
    assert (first.reach, broken.complete, third.reach) == ("full", False, "window")
    assert broken.date_from == third.date_from == first.watermark
    (whole,) = await world.pull.now("tnm", full=True)
    assert (whole.reach, whole.date_from) == ("full", None)


async def test_what_another_partner_of_that_name_was_crawled_for_says_nothing_of_the_new_one(world: World) -> None:
    world.sender.lists["tariffs"] = [tariff(1)]
    await world.register("tariffs")
    (first,) = await world.pull.now("tnm")
    world.home.clock.advance(HOUR)
    await world.home.registry.remove("tnm")
    world.home.clock.advance(HOUR)
    await world.register("tariffs")
    (again,) = await world.pull.now("tnm")
    assert (first.reach, again.reach, again.date_from) == ("full", "full", None)
    world.home.clock.advance(HOUR)
    (third,) = await world.pull.now("tnm")
    assert (third.reach, third.date_from) == ("window", again.watermark)


async def test_a_crawl_goes_on_with_the_token_that_holds_now(world: World) -> None:
    world.sender.lists |= {"sessions": [], "tariffs": [tariff(1), tariff(2)]}
    world.sender.cap = 1
    await world.register("sessions", "tariffs")
    registry = world.home.registry
    before = registry.get("tnm")
    assert before is not None

    def rotates(number: int) -> None:
        if number == 2:  # the first page of two, when another list was read already
            outbound = registry.sealed("tnm", "fresh")
            terms = Terms(before.roles, "2.2.1", ("x",), before.endpoints, before.versions_url, outbound, "base64")
            changed = PartnerUpdated("tnm", "us", before.token_hash, terms)
            registry._partners = fold(registry._partners, changed, world.home.clock.now())
            world.sender.token = f"Token {base64.b64encode(b'fresh').decode()}"

    world.sender.on_page = rotates
    assert [ended.complete for ended in await world.pull.now("tnm")] == [True, True]
    assert len(world.sender.asked) == 3


async def test_lists_are_crawled_by_themselves_and_whole_once_a_week(world: World) -> None:
    world.sender.lists["tariffs"] = [tariff(1)]
    await world.register("tariffs")
    world.home.clock.advance(60 * SECOND)
    running = asyncio.ensure_future(world.pull.run())
    await world.crawled(1)
    world.home.clock.advance(HOUR)
    await world.crawled(2)
    world.home.clock.advance(8 * 24 * HOUR)
    await world.crawled(3)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert await world.runs("reach, reason, status") == [
        (b"full", b"schedule", b"complete"),
        (b"window", b"schedule", b"complete"),
        (b"full", b"schedule", b"complete"),
    ]


async def test_a_new_process_knows_from_the_tables_what_was_crawled_and_goes_on_with_what_was_not_ended(world: World) -> None:
    world.sender.lists["tariffs"] = [tariff(number) for number in range(5)]
    world.sender.cap = 2
    await world.register("tariffs")
    stuck = asyncio.Event()
    world.sender.on_page = lambda number: stuck.set() if number == 2 else None
    world.sender.faults = {3: Fault(silent=True)}
    first = asyncio.ensure_future(world.pull.now("tnm"))
    async with asyncio.timeout(60):
        while not await world.runs("run"):
            await stuck.wait()
            await world.home.fold()
            await asyncio.sleep(0.01)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    await world.home.fold()
    before = len(world.sender.asked)
    outbound = Outbound(world.home.clock, allow_private=True)
    other = World(world.home, world.sender, outbound)
    try:
        running = asyncio.ensure_future(other.pull.run())
        await other.crawled(1)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    finally:
        await other.pull.close()
        await outbound.close()
    assert await world.runs("status") == [(b"complete",)]
    assert world.sender.asked[before].query["offset"] in {"2", "4"}, "not from the beginning"
    ((count,),) = await world.home.store.query("SELECT count() FROM tariffs WHERE party = 'SE*TNM'")
    assert count == 5


async def test_a_crawl_whose_asker_hangs_up_goes_on_by_itself(world: World) -> None:
    world.sender.lists["tariffs"] = [tariff(number) for number in range(3)]
    world.sender.cap = 2
    await world.register("tariffs")
    world.sender.faults = {2: Fault(silent=True)}
    asking = asyncio.ensure_future(world.pull.now("tnm"))
    async with asyncio.timeout(60):
        while not await world.runs("run"):
            await world.home.fold()
            await asyncio.sleep(0.01)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    world.home.clock.advance(SECOND)
    (ended,) = await world.pull.now("tnm")
    await world.home.fold()
    assert ended.complete
    assert await world.runs("status") == [(b"complete",), (b"complete",)], "the one that was broken off, and the new one"


async def test_a_policy_is_an_operators_word_and_an_event(world: World) -> None:
    world.sender.lists["tariffs"] = [tariff(1)]
    await world.register("tariffs")
    assert world.home.registry.pull("tnm").policy == "always"
    await world.home.registry.set_pull("tnm", "never")
    world.home.clock.advance(2 * HOUR)
    assert [place.module for place, _ in world.pull._due()] == []
    await world.home.registry.set_pull("tnm", "always")
    assert [place.module for place, _ in world.pull._due()] == [Module.TARIFFS]
    with pytest.raises(UnknownPartner):
        await world.home.registry.set_pull("nobody", "never")


async def test_with_the_policy_silent_a_list_is_crawled_only_where_nothing_was_pushed_for_a_while(world: World) -> None:
    world.sender.lists["tariffs"] = [tariff(1)]
    await world.register("tariffs")
    await world.home.registry.set_pull("tnm", "silent", 5400)
    assert (await world.pull.now("tnm"))[0].complete, "the first time nothing is known of it"
    world.home.clock.advance(HOUR + 60 * SECOND)
    world.heard["tnm", Module.TARIFFS] = world.home.clock.now() - HOUR
    assert list(world.pull._due()) == []
    world.home.clock.advance(HOUR)
    assert [place.module for place, _ in world.pull._due()] == [Module.TARIFFS]


async def test_a_crawl_of_a_partner_that_is_gone_ends(world: World) -> None:
    world.sender.lists["tariffs"] = [tariff(1)]
    await world.register("tariffs")
    world.sender.faults = {1: Fault(silent=True)}
    first = asyncio.ensure_future(world.pull.now("tnm"))
    async with asyncio.timeout(60):
        while not await world.runs("run"):
            await world.home.fold()
            await asyncio.sleep(0.01)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    await world.home.registry.remove("tnm")
    outbound = Outbound(world.home.clock, allow_private=True)
    other = World(world.home, world.sender, outbound)
    await other.pull._learn()
    await world.home.fold()
    assert await world.runs("status, rules") == [(b"incomplete", [b"gone"])]
    await outbound.close()


async def test_what_a_hub_lists_no_more_vanishes_only_where_its_owner_is_connected_and_has_other_objects(world: World) -> None:
    names = ("ONE", "TWO", "OFF", "EMP")

    def of(name: str, *numbers: int) -> list[dict[str, Any]]:
        return [tariff(number) | {"country_code": "FR", "party_id": name} for number in numbers]

    world.sender.lists |= {
        "hubclientinfo": [client(name) for name in names],
        "tariffs": [one for name in names for one in of(name, 1, 2)],
    }
    await world.register("hubclientinfo", "tariffs", role="HUB")
    (whole,) = await world.pull.now("tnm")
    assert (whole.complete, whole.counts.appended) == (True, 8)
    world.home.clock.advance(HOUR)
    await world.home.fold()
    world.sender.lists |= {
        "hubclientinfo": [client("OFF", status="OFFLINE", last_updated="2026-09-21T00:00:00Z")],
        "tariffs": [*of("ONE", 1, 2), *of("TWO", 1), *of("OFF", 1)],
    }
    (ended,) = await world.pull.now("tnm", full=True)
    assert (ended.complete, ended.vanished_ids) == (True, ("t2",))
    assert [odd.rule for odd in ended.oddities] == ["empty_list"]
    await world.home.fold()
    gone = await world.home.store.query("SELECT party, tariff_id FROM tariffs WHERE served = 0")
    assert gone == [(b"FR*TWO", b"t2")]


async def test_of_a_hubs_clients_all_are_read_though_one_leaves_meanwhile(world: World) -> None:
    world.sender.cap = 1
    world.sender.lists |= {"hubclientinfo": [client(name) for name in ("ONE", "TWO", "OFF", "END")], "tariffs": []}

    def leaves(number: int) -> None:
        if number == 2:
            del world.sender.lists["hubclientinfo"][0]

    world.sender.on_page = leaves
    await world.register("hubclientinfo", "tariffs", role="HUB")
    await world.pull.now("tnm")
    hub = world.home.registry.get("tnm")
    assert hub is not None
    assert hub.parties == {"SE*TNM", "FR*ONE", "FR*TWO", "FR*OFF", "FR*END"}


async def test_a_hub_that_comes_again_has_its_clients_again(world: World) -> None:
    world.sender.lists |= {"hubclientinfo": [client("ONE")], "tariffs": []}
    await world.register("hubclientinfo", "tariffs", role="HUB")
    await world.pull.now("tnm")
    world.home.clock.advance(HOUR)
    await world.home.registry.remove("tnm")
    world.home.clock.advance(HOUR)
    await world.register("hubclientinfo", "tariffs", role="HUB")
    for _ in range(2):
        await world.pull.now("tnm")
        hub = world.home.registry.get("tnm")
        assert hub is not None
        assert hub.parties == {"SE*TNM", "FR*ONE"}
    told = [one for one in await said(world) if one.type == "clientinfo.replaced"]
    assert len(told) == 2, "what is no news is not said again"


async def test_what_a_hub_says_that_is_older_than_what_is_known_is_not_kept(world: World) -> None:
    world.sender.lists |= {"hubclientinfo": [client("ONE", last_updated="2026-09-21T00:00:00Z")], "tariffs": []}
    await world.register("hubclientinfo", "tariffs", role="HUB")
    await world.pull.now("tnm")
    world.sender.lists["hubclientinfo"] = [client("ONE", status="PLANNED")]
    await world.pull.now("tnm")
    assert len([one for one in await said(world) if one.type == "clientinfo.replaced"]) == 1


async def said(world: World) -> list[Envelope]:
    """Return what stands in ocpi.partners."""
    place = TopicPartition(PARTNERS, 0)
    found = await world.home.log.fetch({place: 0}, max_records=1000, wait_s=0)
    return [envelopes.decode(record.value) for record in found[place]]


async def test_what_is_ours_never_vanishes_from_a_partners_list(world: World) -> None:
    own = OWN[0]
    world.sender.lists |= {
        "hubclientinfo": [client("ONE"), client(own.party_id, country_code=own.country_code)],
        "tariffs": [
            tariff(number) | {"country_code": country, "party_id": party}
            for number in (1, 2)
            for country, party in (("FR", "ONE"), (own.country_code, own.party_id))
        ],
    }
    await world.register("hubclientinfo", "tariffs", role="HUB")
    await world.pull.now("tnm")
    world.home.clock.advance(HOUR)
    await world.home.fold()
    del world.sender.lists["tariffs"][2:]
    (ended,) = await world.pull.now("tnm", full=True)
    assert (ended.complete, ended.vanished) == (True, 1), "that of FR*ONE alone"


async def test_a_location_behind_a_hub_comes_with_a_crawl_soon(world: World) -> None:
    """A GET of one object names its owner, whom nobody knows here; a GET of all names the hub."""
    await world.register("locations", role="HUB")
    world.pull.missed("tnm", Module.LOCATIONS, "LOC7")
    assert not world.pull._tasks
    assert list(world.pull._urgent) == [("tnm", Module.LOCATIONS)]


@pytest.mark.point(40)
async def test_a_location_whose_patch_was_refused_as_unknown_is_asked_for(world: World) -> None:
    """A failed push is not retried, the receiver recovers by GET. Source: OCPI 2.2.1 transport_and_format, offline behaviour."""
    world.sender.lists["locations"] = [location(7)]
    await world.register("locations")
    path = f"{world.home.receiver}/locations/SE/TNM/LOC7/3256"
    patch = {"status": "CHARGING", "last_updated": "2026-09-21T14:13:00Z"}
    refused = await world.home.ask("PATCH", path, token="tnm-calls-us", body=patch)
    assert (refused.status, refused.code) == (404, 2003)
    for _ in range(3):
        await world.home.ask("PATCH", path, token="tnm-calls-us", body=patch)
    await asyncio.gather(*world.pull._tasks)
    assert [one.path for one in world.sender.asked] == ["/ocpi/sender/locations/LOC7"], "once, however often it is pushed"
    await world.home.fold()
    taken = await world.home.ask("PATCH", path, token="tnm-calls-us", body=patch)
    assert (taken.status, taken.code) == (200, 1000)


async def test_what_has_no_get_of_its_own_comes_with_a_crawl_soon(world: World) -> None:
    world.sender.lists["sessions"] = []
    await world.register("sessions")
    await world.pull.now("tnm")
    path = f"{world.home.receiver}/sessions/SE/TNM/S9"
    refused = await world.home.ask("PATCH", path, token="tnm-calls-us", body={"kwh": 3, "last_updated": "2026-09-21T14:13:10Z"})
    assert refused.status == 404
    world.home.clock.advance(60 * SECOND)
    assert list(world.pull._due()) == []
    world.home.clock.advance(31 * SECOND)
    assert [place.module for place, _ in world.pull._due()] == [Module.SESSIONS]


async def test_nobody_is_asked_who_offers_nothing(world: World) -> None:
    path = f"{world.home.receiver}/locations/NL/TNM/LOC7/3256"
    assert (await world.home.ask("PATCH", path, token="cpo", body={"last_updated": "2026-09-21T14:13:00Z"})).status == 404
    assert (world.sender.asked, world.pull._tasks) == ([], set())
