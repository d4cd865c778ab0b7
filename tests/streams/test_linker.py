"""The second stage over a real log and real tables: CDRs without session_id find their Session, credits their CDR, once."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import pytest
from charging import T0, at, cdr, entry, patch, posted, put
from samples import CDR, LOCATION, SESSION, body

from ingest.admission import Circumstances, admit
from schemas import envelope as envelopes
from schemas.events import Envelope
from schemas.link import decode_link
from schemas.ocpi.dialect import Beside
from schemas.ocpi.discovery import discover
from schemas.ocpi.interface import interface
from schemas.types import Module, Verb
from streams.catalogue import projections
from streams.clock import FixedClock
from streams.generations import Generations
from streams.lease import ALONE, Lease, LeaseLost
from streams.linker import Linker
from streams.logs.memory import MemoryLog
from streams.metrics import Metrics
from streams.ports import Entry, Position, TableStore, TopicPartition
from streams.runtimes.embedded import Embedded, running
from streams.topics import CHARGING

HOUR = 3600


def done(session_id: str = "S1", begins: float = 0, **fields: Any) -> Envelope:
    """A COMPLETED Session of one hour."""
    end = at(begins + HOUR)
    return put(begins + HOUR, id=session_id, status="COMPLETED", start_date_time=at(begins), end_date_time=end, **fields)


def nameless(cdr_id: str = "C1", cost: str = "10.00", **fields: Any) -> dict[str, Any]:
    """A CDR that names no Session."""
    told = cdr(cdr_id, cost, **fields)
    if "session_id" not in fields:
        del told["session_id"]
    return told


def credit(cdr_id: str = "C1-1", of: str = "C1", **fields: Any) -> Envelope:
    """A credit that names no Session."""
    return posted(nameless(cdr_id, "-10.00", credit=True, credit_reference_id=of, **fields), 3800)


class Plant:
    """Log, tables and runtime; `follow` folds and links until nothing is left to do."""

    def __init__(self, log: MemoryLog, store: TableStore, runtime: Embedded, metrics: Metrics) -> None:
        self.log, self.store, self.runtime, self.metrics = log, store, runtime, metrics

    async def takes(self, *events: Envelope) -> None:
        await self.log.append([entry(event) for event in events])
        await self.follow()

    async def follow(self) -> None:
        assert self.runtime.linker is not None
        while True:
            while (await self.runtime.turn(wait_s=0)).records:
                pass
            if not await self.runtime.linker.turn() and not any(
                lag for lanes in (await self.runtime.lag()).values() for lag in lanes.values()
            ):
                return

    async def ledger(self, key: str) -> dict[str, Any]:
        names = (
            "standing",
            "session_id",
            "cdr_ids",
            "credit_ids",
            "billed_before_taxes",
            "billed_energy_kwh",
            "confidence",
            "orphans",
        )
        rows = await self.store.query(f"SELECT {', '.join(names)} FROM ledger WHERE charging_key = {{key:String}}", {"key": key})
        assert len(rows) == 1, rows
        return dict(zip(names, map(_text, rows[0]), strict=True))

    async def links(self) -> list[Envelope]:
        found = []
        for partition, end in (await self.log.end(CHARGING)).items():
            if end:
                records = await self.log.fetch({TopicPartition(CHARGING, partition): 0}, max_records=10_000, wait_s=0)
                found += [envelopes.decode(record.value) for lane in records.values() for record in lane]
        return [one for one in found if one.type == "cdr.linked"]

    def counted(self, outcome: str) -> float:
        return self.metrics.registry.get_sample_value("roamlog_cdr_links_total", {"outcome": outcome}) or 0


def _text(value: object) -> object:
    if isinstance(value, list):
        return [_text(one) for one in value]
    return value.decode() if isinstance(value, bytes) else value


@asynccontextmanager
async def started(log: Any, store: TableStore) -> AsyncIterator[Plant]:
    metrics = Metrics()
    runtime = Embedded(log, "log-1", store, projections(), clock=FixedClock(T0), links=True, metrics=metrics)
    await runtime.start()
    try:
        yield Plant(log, store, runtime, metrics)
    finally:
        await runtime.close()


@pytest.fixture
async def plant(store: TableStore) -> AsyncIterator[Plant]:
    async with started(MemoryLog(), store) as made:
        yield made


async def balanced(plant: Plant) -> None:
    """C1 left its own row and counts with S1."""
    own = await plant.ledger("c1")
    assert (own["standing"], own["session_id"], own["billed_before_taxes"], own["orphans"]) == ("linked", "s1", None, 0)
    row = await plant.ledger("s1")
    assert (row["standing"], row["cdr_ids"], row["confidence"]) == ("billed", ["C1"], Decimal("1.00"))
    assert (row["billed_before_taxes"], row["billed_energy_kwh"]) == (Decimal("10.0"), Decimal("20.5"))


async def test_a_cdr_finds_the_session_that_came_before(plant: Plant) -> None:
    await plant.takes(done())
    await plant.takes(posted(nameless()))
    await balanced(plant)
    assert sorted((one.key, one.connection) for one in await plant.links()) == [(("C1", "c1"), "linker"), (("C1", "s1"), "linker")]
    assert plant.counted("session") == 1


async def test_a_cdr_finds_the_session_that_comes_later(plant: Plant) -> None:
    await plant.takes(posted(nameless()))
    own = await plant.ledger("c1")
    assert (own["standing"], own["orphans"], own["billed_before_taxes"]) == ("orphan", 1, Decimal("10.0"))
    await plant.takes(done())
    await balanced(plant)


async def test_a_patch_that_says_when_the_session_ended_is_news(plant: Plant) -> None:
    await plant.takes(put(0, start_date_time=at(0), end_date_time=at(60)), posted(nameless()))
    assert (await plant.ledger("c1"))["standing"] == "orphan"
    await plant.takes(patch(3601, kwh=20.5))
    assert (await plant.ledger("c1"))["standing"] == "orphan"
    await plant.takes(patch(3602, end_date_time=at(HOUR), status="COMPLETED"))
    await balanced(plant)


async def test_other_drivers_places_and_times_are_left_alone(plant: Plant) -> None:
    other = {"country_code": "DE", "party_id": "MSP", "uid": "V", "type": "RFID", "contract_id": "DE-MSP-C2"}
    await plant.takes(
        done("S2", cdr_token=other), done("S3", location_id="LOC2"), done("S4", evse_uid="E2"), done("S5", begins=2 * HOUR)
    )
    await plant.takes(posted(nameless()))
    assert (await plant.ledger("c1"))["standing"] == "orphan"
    assert await plant.links() == []


async def test_a_cdr_that_names_its_session_is_not_looked_at(plant: Plant) -> None:
    await plant.takes(done(), done("S2"), posted(cdr(session_id="S9")))
    assert await plant.links() == []
    assert (await plant.ledger("s9"))["standing"] == "billed"


async def test_two_equal_sessions_are_a_finding_and_said_once(plant: Plant) -> None:
    await plant.takes(done("S1"), done("S2"), posted(nameless()))
    assert await plant.links() == []
    finding = "SELECT object_id, severity, message FROM findings WHERE rule = 'cdr_link_ambiguous'"
    ((cdr_id, severity, message),) = await plant.store.query(finding)
    assert (cdr_id, severity) == (b"C1", b"warning")
    assert b"s1, s2" in bytes(message)  # type: ignore[call-overload]
    await plant.takes(done("S2", total_cost={"before_taxes": 1}))
    assert len(await plant.store.query(finding)) == 1
    assert plant.counted("ambiguous") == 1
    # What tells them apart later decides.
    await plant.takes(put(2 * HOUR, id="S2", status="COMPLETED", start_date_time=at(-HOUR), end_date_time=at(60)))
    await balanced(plant)


async def test_a_credit_follows_its_cdr_to_the_session(plant: Plant) -> None:
    await plant.takes(done(), posted(cdr()), credit())
    row = await plant.ledger("s1")
    assert (row["standing"], row["credit_ids"], row["billed_before_taxes"]) == ("credited", ["C1-1"], Decimal(0))
    own = await plant.ledger("c1")
    assert (own["standing"], own["session_id"]) == ("linked", "s1")
    assert plant.counted("credit") == 1


async def test_a_credit_waits_for_its_cdr(plant: Plant) -> None:
    await plant.takes(done(), credit())
    assert (await plant.ledger("c1"))["standing"] == "unmatched_credit"
    await plant.takes(posted(cdr()))
    assert (await plant.ledger("s1"))["standing"] == "credited"
    assert (await plant.ledger("c1"))["standing"] == "linked"


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)])
async def test_a_cdr_and_its_credit_without_a_session_go_together(plant: Plant, order: Sequence[int]) -> None:
    events = (done(), posted(nameless()), credit())
    for number in order:
        await plant.takes(events[number])
    row = await plant.ledger("s1")
    assert (row["standing"], row["cdr_ids"], row["credit_ids"], row["billed_before_taxes"]) == (
        "credited",
        ["C1"],
        ["C1-1"],
        Decimal(0),
    )
    assert (await plant.ledger("c1"))["standing"] == "linked"


@pytest.mark.parametrize("credit_first", [False, True])
async def test_a_credit_that_names_the_session_tells_whose_its_cdr_is(plant: Plant, credit_first: bool) -> None:
    events = [posted(nameless()), credit(session_id="S7")]
    for event in reversed(events) if credit_first else events:
        await plant.takes(event)
    row = await plant.ledger("s7")
    assert (row["standing"], row["cdr_ids"], row["confidence"]) == ("credited", ["C1"], Decimal("1.00"))


async def test_a_cdr_with_the_id_of_its_session_is_confirmed_where_it_stands(plant: Plant) -> None:
    await plant.takes(done("X1"), posted(nameless("X1")))
    row = await plant.ledger("x1")
    assert (row["standing"], row["cdr_ids"], row["orphans"]) == ("billed", ["X1"], 0)
    assert (row["confidence"], row["billed_before_taxes"]) == (Decimal("1.00"), Decimal("10.0"))
    assert len(await plant.links()) == 1


async def test_a_cdr_with_the_id_of_anothers_session_counts_for_its_own(plant: Plant) -> None:
    await plant.takes(done("X1", location_id="LOC2"), done("S1"), posted(nameless("X1")))
    assert (await plant.ledger("s1"))["cdr_ids"] == ["X1"]
    row = await plant.ledger("x1")
    assert (row["standing"], row["cdr_ids"], row["billed_before_taxes"]) == ("unbilled", [], None)


async def test_a_cdr_that_comes_again_with_its_session_counts_once(plant: Plant) -> None:
    await plant.takes(done(), posted(nameless()))
    await plant.takes(posted(cdr()))
    await balanced(plant)
    await plant.takes(posted(nameless("C2")), posted(cdr("C2")))
    assert (await plant.ledger("s1"))["cdr_ids"] == ["C1", "C2"]


async def test_verify_and_rebuild_find_the_links_in_the_log(plant: Plant) -> None:
    await plant.takes(done(), posted(nameless()), credit("C9-1", "C9"), done("S2", location_id="LOC2"), posted(cdr("C3")))
    before = sorted(await plant.store.query("SELECT * FROM ledger"), key=repr)
    assert await plant.runtime.verify() == []
    await plant.runtime.rebuild([one.name for one in plant.runtime.projections])
    await plant.follow()
    assert sorted(await plant.store.query("SELECT * FROM ledger"), key=repr) == before
    assert len(await plant.links()) == 2


async def test_a_restart_and_tables_made_anew_link_nothing_twice(two_stores: tuple[TableStore, TableStore]) -> None:
    log = MemoryLog()
    for store in two_stores:
        for _ in range(2):
            async with started(log, store) as plant:
                await plant.takes(done(), posted(nameless()), done("S2", begins=1200))
                await balanced(plant)
                assert len(await plant.links()) == 2


class Crash(Exception):
    """The process ends here."""


class TornLog(MemoryLog):
    """A log of which the process sees only the first of a call's records come to stand: it is killed between the two."""

    torn = False

    async def append(self, entries: Sequence[Entry]) -> list[Position]:
        if self.torn and len(entries) > 1:
            await super().append(entries[:1])
            raise Crash
        return await super().append(entries)


async def test_a_crash_between_the_two_appends_is_mended_as_it_was_begun(store: TableStore) -> None:
    log = TornLog()
    async with started(log, store) as plant:
        await plant.takes(done())
        log.torn = True
        with pytest.raises(Crash):
            await plant.takes(posted(nameless()))
    log.torn = False
    assert len(await plant.links()) == 1
    async with started(log, store) as plant:
        # By now another Session would be as good; what was begun decides.
        await plant.takes(done("S2"))
        await balanced(plant)
        assert sorted({one.event_id for one in await plant.links()}) == sorted(
            {one.event_id for one in await plant.links() if decode_link(one.payload).session_id == "s1"}
        )
        assert await plant.runtime.verify() == []


async def test_a_crash_after_the_appends_repeats_and_changes_nothing(store: TableStore) -> None:
    log = MemoryLog()
    async with started(log, store) as plant:
        await plant.takes(done(), posted(nameless()))
        # Positions that were not saved: the stage begins anew.
        await store.command("TRUNCATE TABLE positions_v1_g0")
    async with started(log, store) as plant:
        await plant.follow()
        await balanced(plant)
        assert len(await plant.links()) == 2


TOLD: Sequence[Sequence[Envelope]] = (
    (done("S1"), posted(nameless("C1")), credit("C1-1", "C1")),
    (posted(nameless("C2", location_id="LOC2")), done("S3", location_id="LOC3"), done("S4", location_id="LOC3")),
    (posted(nameless("C3", location_id="LOC3")), done("S2", location_id="LOC2"), credit("C9-1", "C9")),
    (posted(cdr("C9", session_id="S1")),),
)
"""CDRs before and after their Sessions, credits before and after their CDR, and a CDR that two Sessions fit."""


def linker(plant: Plant, lease: Lease = ALONE) -> Linker:
    """Another process's linker over the same log and tables."""
    generations = Generations(plant.store, "log-1", plant.log.epoch)
    return Linker(plant.log, plant.store, generations, plant.runtime.progress, clock=FixedClock(T0), lease=lease)


async def folded(plant: Plant, linkers: Sequence[Linker]) -> list[list[tuple[Any, ...]]]:
    """Let the linkers follow what is told, side by side, and return what the tables say in the end."""
    for events in TOLD:
        await plant.log.append([entry(event) for event in events])
        while True:
            while (await plant.runtime.turn(wait_s=0)).records:
                pass
            if not any(await asyncio.gather(*(one.turn() for one in linkers))):
                break
    columns = "* EXCEPT (partition, version, state)"
    return [
        sorted(await plant.store.query(f"SELECT {columns} FROM ledger"), key=repr),
        sorted(await plant.store.query("SELECT object_id, rule, message FROM cdr_findings"), key=repr),
    ]


async def test_two_at_once_say_everything_twice_and_change_nothing(two_stores: tuple[TableStore, TableStore]) -> None:
    async with started(MemoryLog(), two_stores[0]) as plant:
        assert plant.runtime.linker is not None
        expected = await folded(plant, [plant.runtime.linker])
        alone = await plant.links()
    async with started(MemoryLog(), two_stores[1]) as plant:
        assert plant.runtime.linker is not None
        other = linker(plant)
        await other.start()
        assert await folded(plant, [plant.runtime.linker, other]) == expected
        both = await plant.links()
        assert await plant.runtime.verify() == []
    assert {one.event_id for one in both} == {one.event_id for one in alone}
    assert len(alone) == len({one.event_id for one in alone}) < len(both)


class Withdrawn:
    """A lease that another has by now."""

    held = False

    async def taken(self) -> None: ...

    async def lost(self) -> None: ...

    def give_back(self) -> None: ...


async def test_nothing_is_written_once_the_lease_is_lost(store: TableStore) -> None:
    log = MemoryLog()
    async with started(log, store) as plant:
        late = linker(plant, Withdrawn())
        await late.start()
        await log.append([entry(event) for event in (done(), posted(nameless()))])
        while (await plant.runtime.turn(wait_s=0)).records:
            pass
        with pytest.raises(LeaseLost):
            await late.turn()
        assert await plant.links() == []
        # Nor did it note that it had looked: the next holder does.
        await plant.follow()
        await balanced(plant)


async def test_a_running_runtime_links_by_itself(store: TableStore) -> None:
    log = MemoryLog()
    runtime = Embedded(log, "log-1", store, projections(), clock=FixedClock(T0), links=True)
    async with running(runtime):
        await log.append([entry(done()), entry(posted(nameless()))])
        places = {TopicPartition(CHARGING, partition): end for partition, end in (await log.end(CHARGING)).items()}
        said: list[str] = []
        while len(said) < 2:
            found = await log.fetch(places, max_records=10, wait_s=60)
            assert found, "nothing was linked"
            for lane, records in found.items():
                places[lane] = records[-1].offset + 1
                said += [envelopes.decode(record.value).type for record in records]
        assert said == ["cdr.linked", "cdr.linked"]
        for lane, end in places.items():
            if end:
                assert await runtime.progress.reached("ledger", Position(*lane, end - 1), 60)
        assert await store.query("SELECT standing FROM ledger ORDER BY charging_key") == [(b"linked",), (b"billed",)]
        assert await runtime.verify() == []


DIALECTS = discover()


@pytest.mark.parametrize("version", DIALECTS)
async def test_every_version_finds_the_session_of_a_cdr_that_does_not_name_it(plant: Plant, version: str) -> None:
    """What 2.0 and 2.1.1 never say, and later versions need not."""
    dialect = DIALECTS[version]
    lifted = {
        module: DIALECTS["2.2.1"].lift(module, verb, body(sample, *without)).payload
        for module, verb, sample, without in (
            (Module.LOCATIONS, Verb.PUT, LOCATION, ()),
            (Module.SESSIONS, Verb.PUT, SESSION, ()),
            (Module.CDRS, Verb.POST, CDR, ("session_id",)),
        )
    }
    beside = Beside(location=lifted[Module.LOCATIONS], now=T0)
    circumstances = Circumstances(connection="acme", origin="push", received_at=T0)
    entries = []
    for module, verb, ids in ((Module.SESSIONS, Verb.PUT, ("s-1",)), (Module.CDRS, Verb.POST, ())):
        sent = dialect.lower(module, lifted[module], beside=beside)
        assert sent.withheld is None
        # A CDR's owner is told by its body from 2.2 on, by the connection before.
        party = "NL*TNM" if ids or not interface(version).names_owner else None
        admitted = admit(dialect, module, verb, sent.body, circumstances, party=party, ids=ids, owns=lambda _: True)
        entries.append(admitted.entry)
    await plant.log.append(entries)
    await plant.follow()
    row = await plant.ledger("s-1")
    assert (row["standing"], row["cdr_ids"], row["billed_energy_kwh"]) == ("billed", ["c-1"], Decimal("12.5"))
    assert (await plant.ledger("c-1"))["standing"] == "linked"
    assert await plant.runtime.verify() == []
