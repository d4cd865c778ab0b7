"""A bug of a dialect, mended at its next revision: what was lifted before is lifted again, in every fold from then on."""

import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import pytest
from charging import T0
from msgspec.structs import replace
from samples import CDR, LOCATION, SESSION, body

from ingest.admission import Circumstances, admit
from ingest.requests import PushRequest, remarks
from schemas import codec
from schemas import envelope as envelopes
from schemas.ocpi.dialect import NOTHING_BESIDE, Beside, Level, Lifted, Lowered, Refused
from schemas.ocpi.v2_2_1 import dialect as of_2_2_1
from schemas.types import Finding, Instant, Module, Verb
from streams.catalogue import projections
from streams.clock import FixedClock
from streams.logs.memory import MemoryLog
from streams.moves import Change
from streams.ports import Entry, TableStore, TopicPartition
from streams.relift import OF_THE_REQUEST, lifted_again, read
from streams.runtimes.embedded import Embedded
from streams.topics import CHARGING, PARTNERS

REAL = of_2_2_1()
Slip = Callable[[Lifted], Lifted]


class Revised:
    """OCPI 2.2.1 as one revision of its dialect lifts it; `slip` is the bug that it has."""

    version, edition = "2.2.1", "d2"

    def __init__(self, revision: int, slip: Slip | None = None) -> None:
        self.revision = revision
        self.asked = 0
        self._slip = slip

    def lift(
        self,
        module: Module,
        verb: Verb,
        body: bytes,
        *,
        level: Level = "location",
        owner: str | None = None,
        received_at: Instant | None = None,
    ) -> Lifted:
        self.asked += 1
        lifted = REAL.lift(module, verb, body, level=level, owner=owner, received_at=received_at)
        return lifted if self._slip is None else replace(self._slip(lifted), raw=body)

    def lower(self, module: Module, document: bytes, *, level: Level = "location", beside: Beside = NOTHING_BESIDE) -> Lowered:
        return REAL.lower(module, document, level=level, beside=beside)


def tenfold(lifted: Lifted) -> Lifted:
    """A decimal point that slips: kWh and cost ten times what was sent."""
    text = lifted.payload.replace(b'"kwh":12.5', b'"kwh":125').replace(b'"before_taxes":4.0', b'"before_taxes":40')
    return replace(lifted, payload=text)


BUGGY, MENDED = Revised(1, tenfold), Revised(2)


def pushed(dialect: Revised, module: Module, verb: Verb, sent: bytes, *ids: str, at: int = 0) -> Entry:
    """Return what a push of a partner appends."""
    circumstances = Circumstances(connection="acme", origin="push", received_at=T0 + at * 1_000_000)
    party = "NL*TNM" if ids else None
    return admit(dialect, module, verb, sent, circumstances, party=party, ids=ids, owns=lambda _: True).entry


def session(dialect: Revised, at: int = 0, **fields: Any) -> Entry:
    return pushed(dialect, Module.SESSIONS, Verb.PUT, body(SESSION, **fields), fields.get("id", "s-1"), at=at)


def cdr(dialect: Revised, *without: str, at: int = 10, **fields: Any) -> Entry:
    return pushed(dialect, Module.CDRS, Verb.POST, body(CDR, *without, **fields), at=at)


@asynccontextmanager
async def started(log: MemoryLog, store: TableStore, dialect: Revised, *, links: bool = False) -> AsyncIterator[Embedded]:
    runtime = Embedded(
        log, "log-1", store, projections(), clock=FixedClock(T0), dialects={"2.2.1": dialect}, links=links, patience_s=5
    )
    await runtime.start()
    try:
        await runtime.catch_up()
        await drain(runtime)
        yield runtime
    finally:
        await runtime.close()


async def drain(runtime: Embedded) -> None:
    while (await runtime.turn(wait_s=0)).records:
        pass


async def energy(store: TableStore) -> dict[str, Decimal]:
    rows = await store.query("SELECT session_id, energy_kwh FROM sessions")
    return {bytes(session_id).decode(): kwh for session_id, kwh in rows}  # type: ignore[call-overload,misc]


async def records(log: MemoryLog, topic: str) -> list[bytes]:
    found = []
    for partition, end in (await log.end(topic)).items():
        if end:
            lane = TopicPartition(topic, partition)
            found += [record.value for record in (await log.fetch({lane: 0}, max_records=1000, wait_s=0))[lane]]
    return sorted(found)


@pytest.fixture
async def log() -> MemoryLog:
    made = MemoryLog()
    patch = codec.encode({"kwh": Decimal("12.5"), "last_updated": "2026-01-31T11:00:02Z"})
    await made.append(
        [
            session(BUGGY),
            session(BUGGY, id="s-2", kwh=3),
            pushed(BUGGY, Module.SESSIONS, Verb.PATCH, patch, "s-2", at=5),
            cdr(BUGGY),
            pushed(BUGGY, Module.LOCATIONS, Verb.PUT, body(LOCATION), "LOC1"),
        ]
    )
    return made


async def test_what_a_bug_spoilt_is_mended_and_verified(log: MemoryLog, store: TableStore) -> None:
    async with started(log, store, MENDED) as runtime:
        assert await energy(store) == {"s-1": 125, "s-2": 125}
        said = await records(log, CHARGING)
        relifted, moved = await runtime.relift()
        assert await energy(store) == {"s-1": Decimal("12.5"), "s-2": Decimal("12.5")}
        assert [(one.version, one.module, one.revision, one.records) for one in relifted] == [
            ("2.2.1", "cdrs", 2, 1),
            ("2.2.1", "locations", 2, 1),
            ("2.2.1", "sessions", 2, 3),
        ]
        assert await store.query("SELECT cost_before_taxes FROM cdrs") == [(Decimal("4"),)]
        assert await store.query("SELECT billed_before_taxes FROM ledger WHERE charging_key = 's-1'") == [(Decimal("4"),)]
        assert await runtime.verify() == []
        assert await records(log, CHARGING) == said  # a log is not rewritten
        assert {one.table: (one.changed, one.added, one.gone) for one in moved} == {
            "sessions": (2, 0, 0),
            "session_history": (3, 0, 0),
            "cdrs": (1, 0, 0),
            "ledger": (1, 0, 0),
        }
        first = next(one for one in moved if one.table == "sessions").examples[0]
        assert (first.key, first.kind) == (("NL*TNM", "s-1"), "changed")
        assert Change("energy_kwh", "125", "12.5") in first.changes
        assert Change("doc.kwh", "125", "12.5") in first.changes
        await runtime.rebuild([one.name for one in runtime.projections])
        assert await energy(store) == {"s-1": Decimal("12.5"), "s-2": Decimal("12.5")}
        assert await runtime.relift() == ([], [])


async def test_what_comes_after_is_left_as_it_was_lifted(log: MemoryLog, store: TableStore) -> None:
    async with started(log, store, MENDED) as runtime:
        await runtime.relift()
        await log.append([session(BUGGY, id="s-3", at=20), session(MENDED, id="s-4", at=20)])
        asked = MENDED.asked
        await drain(runtime)
        assert MENDED.asked == asked
        # An old process wrote s-3 behind the end that the relift names: another relift is for that.
        assert await energy(store) == {"s-1": Decimal("12.5"), "s-2": Decimal("12.5"), "s-3": 125, "s-4": Decimal("12.5")}
        relifted, moved = await runtime.relift()
        assert [(one.module, one.records) for one in relifted] == [("sessions", 1)]
        assert sum(one.changed for one in moved if one.table == "sessions") == 1
        assert await runtime.verify() == []


async def test_one_version_and_module_may_be_chosen(log: MemoryLog, store: TableStore) -> None:
    async with started(log, store, MENDED) as runtime:
        assert await runtime.relift(version="2.1.1") == ([], [])
        relifted, _ = await runtime.relift(version="2.2.1", module=Module.CDRS)
        assert [one.module for one in relifted] == ["cdrs"]
        assert await store.query("SELECT cost_before_taxes FROM cdrs") == [(Decimal("4"),)]
        assert await energy(store) == {"s-1": 125, "s-2": 125}
        assert await runtime.verify() == []


async def test_nothing_is_lifted_where_nothing_was_relifted(log: MemoryLog, store: TableStore) -> None:
    fresh = Revised(2)
    async with started(log, store, fresh) as runtime:
        await runtime.rebuild(["sessions"])
        assert await runtime.verify() == []
    assert fresh.asked == 0


async def test_a_restart_knows_what_was_relifted(log: MemoryLog, store: TableStore) -> None:
    async with started(log, store, MENDED) as runtime:
        await runtime.relift()
    async with started(log, store, Revised(2)) as runtime:
        names = await store.query("SELECT DISTINCT generation FROM generations WHERE projection_name = 'sessions'")
        assert names == [(2,)]  # the tables that were mended, not others
        assert await runtime.verify() == []
    # A later revision lifts those records differently again, so the tables are filled with it.
    third = Revised(3, lambda lifted: replace(lifted, payload=lifted.payload.replace(b'"kwh":12.5', b'"kwh":12')))
    async with started(log, store, third) as runtime:
        assert await energy(store) == {"s-1": 12, "s-2": 12}
        assert await runtime.verify() == []


async def test_a_release_that_is_older_than_the_relift_says_so(
    log: MemoryLog, store: TableStore, caplog: pytest.LogCaptureFixture
) -> None:
    async with started(log, store, MENDED) as runtime:
        await runtime.relift()
    async with started(log, store, Revised(1, tenfold)) as runtime:
        assert "which this release does not have" in caplog.text
        assert await energy(store) == {"s-1": 125, "s-2": 125}
        assert await runtime.verify() == []


class Crash(Exception):
    """The process ends here."""


class DyingStore:
    """A store that dies when a table of these is filled a second time."""

    def __init__(self, store: TableStore, table: str) -> None:
        self._store, self._table = store, table
        self.command, self.query, self.query_bytes, self.close = store.command, store.query, store.query_bytes, store.close

    async def insert(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[object]], token: str = "") -> None:
        if table.startswith(f"{self._table}_v") and table.endswith("_g2"):
            raise Crash
        await self._store.insert(table, columns, rows, token)


@pytest.mark.parametrize("table", ["locations", "sessions", "cdrs", "ledger"])
async def test_a_crash_between_the_event_and_the_tables_is_mended_at_the_next_start(
    log: MemoryLog, store: TableStore, table: str
) -> None:
    async with started(log, DyingStore(store, table), MENDED) as runtime:
        with pytest.raises(Crash):
            await runtime.relift()
    assert len(await read(log)) == 3
    async with started(log, store, MENDED) as runtime:
        assert await energy(store) == {"s-1": Decimal("12.5"), "s-2": Decimal("12.5")}
        assert await store.query("SELECT cost_before_taxes FROM cdrs") == [(Decimal("4"),)]
        assert await runtime.verify() == []
        assert await runtime.relift() == ([], [])


async def test_a_call_that_failed_is_finished_by_the_next(log: MemoryLog, store: TableStore) -> None:
    dying = DyingStore(store, "cdrs")
    async with started(log, dying, MENDED) as runtime:
        with pytest.raises(Crash):
            await runtime.relift()
        dying.insert = store.insert  # type: ignore[method-assign]
        relifted, moved = await runtime.relift()
        assert (relifted, [one.table for one in moved]) == ([], ["cdrs", "ledger"])
        assert len(await read(log)) == 3
        assert await runtime.verify() == []


def moved_to(fields: Mapping[str, Any]) -> Slip:
    """Return a slip that changes what a CDR or Session says of its identity."""
    return lambda lifted: replace(lifted, **fields)


@pytest.mark.parametrize(
    ("slip", "what"),
    [
        (moved_to({"ids": ("c-2",)}), "the id 'c-2'"),
        (moved_to({"party": "DE*SLB"}), "the owner DE*SLB"),
        (moved_to({"charging_key": "s-9"}), "the Session 's-9'"),
    ],
)
async def test_a_key_never_changes_and_what_would_change_it_is_a_finding(
    log: MemoryLog, store: TableStore, slip: Slip, what: str
) -> None:
    async with started(log, store, Revised(2, slip)) as runtime:
        _, moved = await runtime.relift(module=Module.CDRS)
        assert await store.query("SELECT cdr_id, charging_key, cost_before_taxes FROM cdrs") == [(b"c-1", b"s-1", Decimal(40))]
        ((severity, message),) = await store.query("SELECT severity, message FROM findings WHERE rule = 'relift_key'")
        assert severity == b"warning"
        assert what in bytes(message).decode()  # type: ignore[call-overload]
        assert [(one.table, one.added) for one in moved] == [("cdr_findings", 1)]
        assert await runtime.verify() == []


async def test_what_a_mended_dialect_refuses_stays_with_a_finding(log: MemoryLog, store: TableStore) -> None:
    def refuse(lifted: Lifted) -> Lifted:
        raise Refused((Finding("/kwh", "range", "error", "too much"),))

    async with started(log, store, Revised(2, refuse)) as runtime:
        await runtime.relift(module=Module.SESSIONS)
        assert await energy(store) == {"s-1": 125, "s-2": 125}
        rows = await store.query("SELECT severity, message FROM findings WHERE rule = 'relift_refused'")
        assert {bytes(severity) for severity, _ in rows} == {b"warning"}  # type: ignore[call-overload]
        assert len(rows) == 3  # each PUT, and the PATCH
        assert all(b"too much" in bytes(message) for _, message in rows)  # type: ignore[call-overload]
        assert await runtime.verify() == []


async def test_a_link_takes_the_amounts_that_were_mended(store: TableStore) -> None:
    log = MemoryLog()
    await log.append([session(BUGGY), cdr(BUGGY, "session_id")])

    async def linked(runtime: Embedded) -> None:
        assert runtime.linker is not None
        for _ in range(10):
            await drain(runtime)
            if not await runtime.linker.turn():
                await drain(runtime)

    billed = "SELECT billed_before_taxes, cdr_ids FROM ledger WHERE charging_key = 's-1'"
    async with started(log, store, MENDED, links=True) as runtime:
        await linked(runtime)
        assert await store.query(billed) == [(Decimal(40), [b"c-1"])]
        await runtime.relift(module=Module.CDRS)
        await linked(runtime)
        assert await store.query(billed) == [(Decimal(4), [b"c-1"])]
        assert await runtime.verify() == []
        said = len(await records(log, CHARGING))
    async with started(log, store, MENDED, links=True) as runtime:
        await linked(runtime)
        assert len(await records(log, CHARGING)) == said == 6  # two objects, a link, a link restated
        assert await store.query(billed) == [(Decimal(4), [b"c-1"])]
    async with started(log, store, Revised(3, tenfold), links=True) as runtime:  # it was no bug after all
        await linked(runtime)
        assert await store.query(billed) == [(Decimal(40), [b"c-1"])]
        assert len(await records(log, CHARGING)) == 8


async def test_the_partners_are_not_disturbed(log: MemoryLog, store: TableStore) -> None:
    from ingest.partners import PartnerRegistry, party_roles

    registry = PartnerRegistry(log, b"pepper", FixedClock(T0))
    await registry.add("tnm", party_roles(["NL*TNM"], ["CPO"]), token="tnm")
    async with started(log, store, MENDED) as runtime:
        await runtime.relift()
    again = PartnerRegistry(log, b"pepper", FixedClock(T0))
    await again.catch_up()
    assert [one.name for one in again.list()] == ["tnm"]
    assert sum((await log.end(PARTNERS)).values()) == 4


async def test_who_said_it_and_when_stay_and_so_does_what_was_wrong_with_the_request(log: MemoryLog) -> None:
    lanes = {TopicPartition(CHARGING, partition): 0 for partition, end in (await log.end(CHARGING)).items() if end}
    found = await log.fetch(lanes, max_records=100, wait_s=0)
    for record in (record for some in found.values() for record in some):
        before = envelopes.decode(record.value)
        noted = replace(before, findings=(Finding("", "content_type", "warning", "text/plain"), Finding("/x", "old", "info", "")))
        after = lifted_again(record, noted, MENDED)
        assert (after.event_id, after.received_at, after.connection, after.key) == (
            before.event_id,
            before.received_at,
            before.connection,
            before.key,
        )
        assert (after.revision, [one.rule for one in after.findings if one.rule in {"content_type", "old"}]) == (
            2,
            ["content_type"],
        )
        assert b"125" not in after.payload
        assert json.loads(after.payload)


def test_the_findings_of_a_request_are_known_as_such() -> None:
    from ingest.partners import Connection

    connection = Connection("acme", (), "2.2.1", (), 0, frozenset({"NL*TNM"}))
    request = PushRequest(
        connection=connection,
        method="PUT",
        version="2.2.1",
        module="sessions",
        segments=(),
        path="",
        body=b"",
        content_type="text/plain",
        ocpi_from="DE*SLB",
    )
    assert {one.rule for one in remarks(request)} == OF_THE_REQUEST
