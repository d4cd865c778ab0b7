"""How a worker fares, over HTTP: whether it lives, how far its own partitions are folded, its metrics."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Final, NoReturn, Protocol

from fastapi import FastAPI, HTTPException, Request

from api import health
from api.access import Gate, IsOperator
from api.errors import Refusal
from api.health import Lane, Readiness
from api.pages import BEHIND_US
from streams.metrics import Metrics
from streams.ports import Clock, EventLog, LogUnavailable, TopicPartition
from streams.progress import Progress

LAG_EVERY_S: Final = 5.0
"""How often the lag is measured for the metrics."""


class Folding(Protocol):
    """What is asked of a worker."""

    @property
    def at_work(self) -> bool:
        """Whether it folds what its group gave it last."""
        ...

    @property
    def positions(self) -> Collection[TopicPartition]:
        """The partitions that are its own now."""
        ...


class OwnReady:
    """Compares the worker's own partitions with the log; those of others are theirs to answer for."""

    def __init__(
        self, worker: Folding, log: EventLog, progress: Progress, clock: Clock, projections: Mapping[str, tuple[str, ...]]
    ) -> None:
        """`progress` is what the tables say."""
        self._worker = worker
        self._log = log
        self._progress = progress
        self._clock = clock
        self._projections = projections

    async def __call__(self) -> Readiness:
        """Return how far the worker's partitions are folded; ready when it lacks nothing, or nothing older than a minute.

        Raises LogUnavailable.
        """
        if not self._worker.at_work:
            return Readiness(ready=False, waiting_for=["group"], lanes=[])
        own = sorted(self._worker.positions)
        ends: dict[TopicPartition, int] = {}
        for topic in {lane.topic for lane in own}:
            ends |= {TopicPartition(topic, partition): end for partition, end in (await self._log.end(topic)).items()}
        now = self._clock.now()
        lanes: list[Lane] = []
        waiting: dict[str, None] = {}
        lagging: dict[str, None] = {}
        for name, topics in self._projections.items():
            for lane in [lane for lane in own if lane.topic in topics]:
                topic, partition = lane
                end, folded = ends[lane], self._progress.folded(name, lane)
                lag = max(end - folded, 0)
                lanes.append(Lane(projection=name, topic=topic, partition=partition, folded=folded, end=end, lag=lag))
                if lag and now - self._progress.complete_in(name, lane) > BEHIND_US:
                    waiting[name], lagging[topic] = None, None
        return Readiness(ready=not waiting, waiting_for=list(waiting), lagging=list(lagging), lanes=lanes)

    async def measure(self, metrics: Metrics) -> NoReturn:
        """Keep the lag by topic in the metrics, until cancelled."""
        while True:
            try:
                found = await self()
            except LogUnavailable:  # as much as nobody knows it
                await asyncio.sleep(LAG_EVERY_S)
                continue
            lags: dict[str, dict[str, int]] = {topic: {} for topics in self._projections.values() for topic in topics}
            for lane in found.lanes:
                lags[lane.topic][lane.projection] = lags[lane.topic].get(lane.projection, 0) + lane.lag
            for topic, lag in lags.items():
                metrics.set("roamlog_lag_records", max(lag.values(), default=0), topic)
            await asyncio.sleep(LAG_EVERY_S)


def worker_app(ready: Callable[[], Awaitable[Readiness]], metrics: Metrics, is_operator: IsOperator) -> FastAPI:
    """Return the application that answers /health, /ready and, to the operator, /metrics."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    gate = Gate(_nobody, is_operator)

    async def operator(request: Request) -> None:
        try:
            await gate.operator(request.headers.get("authorization", "").encode("latin-1", "replace"))
        except Refusal as refusal:
            headers = {name.decode(): value.decode() for name, value in refusal.headers}
            raise HTTPException(refusal.http, refusal.message, headers) from refusal

    app.include_router(health.router(ready, metrics.registry, operator))
    return app


async def at_hand() -> Readiness:
    """Return that a process which folds nothing is ready as soon as it answers."""
    return Readiness(ready=True, waiting_for=[], lanes=[])


async def _nobody(authorization: bytes) -> None:
    """Partners have nothing to ask here."""
