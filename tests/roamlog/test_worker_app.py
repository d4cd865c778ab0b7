"""What a worker tells of itself: its own partitions, whether they are near the log, and nothing to strangers."""

import asyncio
import contextlib
from typing import Final

import pytest
from charging import entry, put
from fastapi import FastAPI
from starlette.types import Message

from roamlog.worker_app import OwnReady, worker_app
from streams.clock import FixedClock
from streams.generations import Reached
from streams.logs.memory import MemoryLog
from streams.metrics import Metrics
from streams.ports import LogUnavailable, TopicPartition
from streams.progress import Progress
from streams.topics import CHARGING, LOCATIONS

NOW: Final = 1_790_000_000_000_000
SECOND: Final = 1_000_000


class Folding:
    """A worker with these partitions."""

    at_work = True

    def __init__(self, *own: TopicPartition) -> None:
        self.positions = own


class Stage:
    """A log of two partitions with 40 Sessions, and a worker that folds some of it."""

    def __init__(self) -> None:
        self.log = MemoryLog(partitions=2)
        self.progress = Progress()
        self.clock = FixedClock(NOW)
        self.worker = Folding(TopicPartition(CHARGING, 0), TopicPartition(LOCATIONS, 0))
        projections = {"sessions": (CHARGING,), "cdrs": (CHARGING,), "locations": (LOCATIONS,)}
        self.ready = OwnReady(self.worker, self.log, self.progress, self.clock, projections)

    async def pushed(self) -> None:
        await self.log.append([entry(put(0, id=f"S{number}")) for number in range(40)])

    async def folded(self, projection: str, partition: int, records: int | None = None) -> None:
        """Say that a projection has come so far in a partition, by default to its end."""
        lane, ends = TopicPartition(CHARGING, partition), await self.log.end(CHARGING)
        self.progress.moved([projection], {lane: Reached(ends[partition] if records is None else records, NOW)})
        self.progress.at_end([projection], {lane: ends[partition]}, self.clock.now())


@pytest.fixture
async def stage() -> Stage:
    made = Stage()
    await made.pushed()
    return made


async def test_a_worker_answers_for_its_own_partitions(stage: Stage) -> None:
    for projection in ("sessions", "cdrs"):
        await stage.folded(projection, 0)
    stage.clock.advance(3600 * SECOND)  # nobody folds the other partition
    found = await stage.ready()
    assert (found.ready, found.waiting_for, found.lagging) == (True, [], [])
    assert {(lane.projection, lane.topic, lane.partition, lane.lag) for lane in found.lanes} == {
        ("sessions", CHARGING, 0, 0),
        ("cdrs", CHARGING, 0, 0),
        ("locations", LOCATIONS, 0, 0),
    }


async def test_who_lags_for_more_than_a_minute_is_told_with_the_topic(stage: Stage) -> None:
    await stage.folded("sessions", 0)
    await stage.folded("cdrs", 0, records=1)
    stage.clock.advance(50 * SECOND)
    assert (await stage.ready()).ready is True
    stage.clock.advance(20 * SECOND)
    found = await stage.ready()
    assert (found.ready, found.waiting_for, found.lagging) == (False, ["cdrs"], [CHARGING])


async def test_a_worker_without_partitions_waits_for_its_turn_and_is_ready(stage: Stage) -> None:
    stage.worker.positions = ()
    assert (await stage.ready()).ready is True
    stage.worker.at_work = False
    found = await stage.ready()
    assert (found.ready, found.waiting_for) == (False, ["group"])


async def test_the_lag_by_topic_is_that_of_the_projection_furthest_behind(stage: Stage) -> None:
    await stage.folded("sessions", 0)
    await stage.folded("cdrs", 0, records=1)
    metrics = Metrics()
    measuring = asyncio.create_task(stage.ready.measure(metrics))
    async with asyncio.timeout(10):
        while not metrics.values("roamlog_lag_records"):  # noqa: ASYNC110 (metrics wake nobody)
            await asyncio.sleep(0.01)
    measuring.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await measuring
    behind = (await stage.log.end(CHARGING))[0] - 1
    assert behind > 0
    assert metrics.values("roamlog_lag_records") == {(CHARGING,): behind, (LOCATIONS,): 0}


async def asked(app: FastAPI, path: str, token: str = "") -> tuple[int, bytes]:
    """Return status and body of a GET."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [(b"authorization", f"Token {token}".encode())] if token else []
    scope = {"type": "http", "method": "GET", "path": path, "query_string": b"", "headers": headers, "http_version": "1.1"}
    await app(scope, receive, send)
    return int(sent[0]["status"]), b"".join(message.get("body", b"") for message in sent[1:])


async def test_only_the_operator_sees_metrics(stage: Stage) -> None:
    app = worker_app(stage.ready, Metrics(), lambda token: token == "operator")
    assert (await asked(app, "/metrics"))[0] == 401
    assert (await asked(app, "/metrics", "partner"))[0] == 401
    status, text = await asked(app, "/metrics", "operator")
    assert status == 200
    assert b"roamlog_folded_records_total" in text
    assert (await asked(app, "/health"))[0] == 200


class NoLog(MemoryLog):
    """A log that is away."""

    async def end(self, topic: str) -> dict[int, int]:
        raise LogUnavailable("away")


async def test_a_log_that_is_away_is_told(stage: Stage) -> None:
    ready = OwnReady(stage.worker, NoLog(), stage.progress, stage.clock, {"sessions": (CHARGING,)})
    status, text = await asked(worker_app(ready, Metrics(), lambda _: False), "/ready")
    assert (status, b'"waiting_for":["log"]' in text) == (503, True)
