"""One recorded log through both runtimes: OCPI and analytics answer the same, byte by byte, in every version."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, cast

import pytest
from broker import new_log
from clickhouse_server import USER, running
from msgspec.structs import replace
from outlet import URL, Reply, asked
from recorded import BEGIN, STEP_US, entries
from versions import VERSIONS

from api.analytics import questions
from ingest.partners import party_roles
from roamlog.app import reading
from roamlog.scale import Shared
from roamlog.settings import Scale
from schemas.ocpi.discovery import discover
from schemas.types import Instant
from streams.catalogue import projections
from streams.clock import FixedClock
from streams.following import Following
from streams.logs.kafka import Cluster, KafkaLog
from streams.logs.local import LocalLog
from streams.ports import Entry, EventLog, Position, Positions, TopicPartition
from streams.runtimes.embedded import Embedded
from streams.runtimes.worker import Worker, prepare
from streams.stores.clickhouse import ClickHouseStore, Server
from streams.topics import TOPICS

EVENTS: Final = 50_000
AT_ONCE: Final = 2_000
SOON_S: Final = 240
NOW: Final = (BEGIN + EVENTS * STEP_US) // 1_000_000 * 1_000_000 + 3600 * 1_000_000
READERS: Final = {"cpo": ("NL*TNM", "CPO"), "msp": ("DE*MSP", "EMSP")}
MODULES: Final = ("locations", "sessions", "cdrs", "tariffs", "tokens")
OPERATOR: Final = "an operator's token of tests, long enough"
EVERY: Final = 150
"""Of so many objects of a list one is asked for alone."""

TOPICS_OF: Final = {one.name: one.topics for one in projections()}


class Runtime:
    """What answers from one runtime's tables, as the process `api` does."""

    def __init__(self, shared: Shared, positions: Positions) -> None:
        self._app = reading(replace(shared.house(URL), positions=positions), URL)

    async def get(self, path: str, token: str) -> Reply:
        return await asked(self._app, "GET", path, b"", {"authorization": f"Token {token}"})


def shared(log: LocalLog | KafkaLog, store: ClickHouseStore, at: Instant = NOW) -> Shared:
    """Return what a process has of log and tables; it does not matter to it which log that is."""
    settings = Scale(pepper="a pepper of tests that is long enough", operator_token=OPERATOR)
    return Shared(settings, cast(KafkaLog, log), store, FixedClock(at))


async def recorded(log: EventLog) -> dict[TopicPartition, list[Entry]]:
    """Return all that the log holds."""
    found: dict[TopicPartition, list[Entry]] = {
        TopicPartition(topic, number): [] for topic in TOPICS for number in range(log.partitions(topic))
    }
    while batches := await log.fetch({place: len(known) for place, known in found.items()}, max_records=10_000, wait_s=0):
        for place, records in batches.items():
            found[place] += [Entry(one.topic, one.key, one.value) for one in records]
    return found


@asynccontextmanager
async def embedded(log: LocalLog, store: ClickHouseStore) -> AsyncIterator[Runtime]:
    """The log written, folded and linked in one process."""
    begun = shared(log, store, BEGIN)
    for name, (party, role) in READERS.items():
        await begun.registry.add(name, party_roles([party], [role]), token=name)
    batch: list[Entry] = []
    for entry in entries(EVENTS):
        batch.append(entry)
        if len(batch) == AT_ONCE:
            await log.append(batch)
            batch = []
    await log.append(batch)
    runtime = Embedded(log, log.log_id, store, projections(), clock=FixedClock(NOW), links=True, dialects=discover())
    await runtime.start()
    try:
        assert runtime.linker is not None
        folded = linked = 1
        while folded or linked:
            folded = (await runtime.turn(wait_s=0)).records
            linked = await runtime.linker.turn()
        own = shared(log, store)
        await own.registry.catch_up()
        yield Runtime(own, runtime.progress)
    finally:
        await runtime.close()


@asynccontextmanager
async def workers(cluster: Cluster, store: ClickHouseStore, record: dict[TopicPartition, list[Entry]]) -> AsyncIterator[Runtime]:
    """The same log on Kafka, folded by two workers into a ClickHouse that another process has."""
    log = await new_log(cluster)
    stop = asyncio.Event()
    try:
        for place, known in record.items():
            for start in range(0, len(known), AT_ONCE):
                stands = await log.append(known[start : start + AT_ONCE])
                assert stands[0] == Position(*place, start)
        await prepare(log, store, projections(), discover())
        own = shared(log, store)
        async with asyncio.TaskGroup() as tasks:
            for _ in range(2):
                one = Worker(cluster, f"{cluster.prefix}g", log, store, projections(), clock=FixedClock(NOW), dialects=discover())
                await one.start()
                tasks.create_task(one.run(stop))
            try:
                await _all_folded(log, own.following)
            finally:
                stop.set()
        await own.registry.catch_up()
        yield Runtime(own, own.following.progress)
    finally:
        await log.close()


async def _all_folded(log: KafkaLog, following: Following) -> None:
    ends = {TopicPartition(topic, number): end for topic in TOPICS for number, end in (await log.end(topic)).items()}
    until = time.monotonic() + SOON_S
    while True:
        await following.look()
        folded = following.progress.folded
        behind = [
            (name, place)
            for name, topics in TOPICS_OF.items()
            for place, end in ends.items()
            if place.topic in topics and folded(name, place) < end
        ]
        if not behind:
            return
        assert time.monotonic() < until, behind
        await asyncio.sleep(0.1)


async def answers(one: Runtime, other: Runtime, path: str, token: str) -> Reply:
    """Return what both say, which must be the same."""
    first, second = await asyncio.gather(one.get(path, token), other.get(path, token))
    assert (first.status, first.headers.get("x-total-count")) == (second.status, second.headers.get("x-total-count")), path
    assert first.body == second.body, path  # the clock stands still, so that even the timestamps are the same
    return first


async def same_lists(one: Runtime, other: Runtime, version: str, module: str, token: str) -> list[dict[str, object]]:
    """Return the objects of a whole list."""
    objects: list[dict[str, object]] = []
    path = f"/ocpi/{version}/sender/{module}?date_from=2020-01-01T00:00:00Z"
    while path:
        reply = await answers(one, other, path, token)
        assert reply.status == 200, reply
        objects += reply.data
        link = reply.headers.get("link", "")
        path = link[1 : link.index(">")].removeprefix(URL) if link else ""
    return objects


def singles(version: str, module: str, objects: Sequence[dict[str, object]]) -> list[str]:
    """Return the paths of some of the objects, and of what is in them."""
    paths = []
    for of in objects[::EVERY]:
        owner = "DE/MSP" if module == "tokens" else "NL/TNM"
        own = f"/ocpi/{version}/receiver/{module}/{owner}/{of.get('uid') or of['id']}"
        paths.append(own)
        if module == "locations":
            sent = f"/ocpi/{version}/sender/locations/{of['id']}"
            paths.append(sent)
            evses = of.get("evses", [])
            assert isinstance(evses, list)
            for uid in (evse["uid"] for evse in evses):
                paths += [f"{own}/{uid}", f"{own}/{uid}/1", f"{sent}/{uid}"]
    return paths


@pytest.mark.system
@pytest.mark.slow
async def test_both_runtimes_give_the_same_answers_from_one_log(cluster: Cluster, store: ClickHouseStore, tmp_path: Path) -> None:
    log = LocalLog.open(tmp_path / "log")
    try:
        with running(tmp_path / "clickhouse", "secret") as server:
            at = Server(host="127.0.0.1", port=server.port, user=USER, password="secret", database="parity")
            remote = await asyncio.to_thread(ClickHouseStore.http, at)
            try:
                async with embedded(log, store) as one, workers(cluster, remote, await recorded(log)) as other:
                    seen: Counter[str] = Counter()
                    for version in VERSIONS:
                        for module in MODULES:
                            for reader in READERS:
                                if (module == "tokens") is not (reader == "cpo"):
                                    continue
                                objects = await same_lists(one, other, version, module, reader)
                                seen[module] += len(objects)
                                writer = "msp" if module == "tokens" else "cpo"
                                for path in singles(version, module, objects):
                                    seen["single"] += (await answers(one, other, path, writer)).status == 200
                    for question in questions():
                        reply = await answers(one, other, f"/analytics/{question.path}", OPERATOR)
                        assert reply.status == 200, (question.path, reply)
                        seen["rows"] += len(json.loads(reply.body)["rows"])
                    print(seen)  # noqa: T201
                    assert min(seen[name] for name in (*MODULES, "single", "rows")) > 0, seen
            finally:
                await remote.close()
    finally:
        await log.close()
