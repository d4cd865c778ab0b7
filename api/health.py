"""Whether this process lives, whether it may serve, and how it fares."""

from collections.abc import Awaitable, Callable, Mapping
from importlib.metadata import version

from fastapi import APIRouter, Depends, Request, Response
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from pydantic import BaseModel, Field

from api.pages import BEHIND_US
from streams.ports import Clock, EventLog, LogUnavailable, Positions, TopicPartition


class Health(BaseModel):
    """The process answers."""

    alive: bool
    version: str = Field(description="the release of roamlog")


class Lane(BaseModel):
    """How far one projection has come in one partition of the log."""

    projection: str
    topic: str
    partition: int
    folded: int = Field(description="the offset after the last record folded")
    end: int = Field(description="the offset that the next record of the log will get")
    lag: int = Field(description="records that are not folded yet")


class Readiness(BaseModel):
    """Whether the tables are near enough to the log to be served."""

    ready: bool
    waiting_for: list[str] = Field(
        description="the projections that are more than a minute behind; log where it cannot be read, group where a worker has "
        "not taken over its partitions yet"
    )
    lagging: list[str] = Field(default_factory=list, description="the topics of which those projections lack records")
    lanes: list[Lane]


class Ready:
    """Compares the projections (name to topics) with the log."""

    def __init__(self, log: EventLog, positions: Positions, clock: Clock, projections: Mapping[str, tuple[str, ...]]) -> None:
        self._log = log
        self._positions = positions
        self._clock = clock
        self._projections = projections

    async def __call__(self) -> Readiness:
        """Return where every projection stands. It is ready when it lacks nothing, or nothing older than a minute.

        Raises LogUnavailable.
        """
        ends = {topic: await self._log.end(topic) for topics in self._projections.values() for topic in topics}
        lanes: list[Lane] = []
        waiting: list[str] = []
        lagging: list[str] = []
        for name, topics in self._projections.items():
            for topic in topics:
                own = [self._lane(name, topic, partition, end) for partition, end in sorted(ends[topic].items())]
                lanes += own
                behind = self._clock.now() - self._positions.complete_until(name, topic)
                if behind > BEHIND_US and any(lane.lag for lane in own):
                    waiting += [name] if name not in waiting else []
                    lagging += [topic] if topic not in lagging else []
        return Readiness(ready=not waiting, waiting_for=waiting, lagging=lagging, lanes=lanes)

    def _lane(self, projection: str, topic: str, partition: int, end: int) -> Lane:
        folded = self._positions.folded(projection, TopicPartition(topic, partition))
        return Lane(projection=projection, topic=topic, partition=partition, folded=folded, end=end, lag=max(end - folded, 0))


def router(
    ready: Callable[[], Awaitable[Readiness]], metrics: CollectorRegistry, operator: Callable[[Request], Awaitable[None]]
) -> APIRouter:
    """Return /health and /ready, open to all, and /metrics, for whom `operator` lets pass."""
    router = APIRouter(tags=["operation"])

    @router.get("/health", summary="Whether the process lives")
    async def health() -> Health:
        return Health(alive=True, version=version("roamlog"))

    @router.get(
        "/ready",
        summary="Whether the projections have caught up with the log",
        responses={503: {"model": Readiness, "description": "a projection is still catching up, or the log cannot be read"}},
    )
    async def readiness(response: Response) -> Readiness:
        try:
            found = await ready()
        except LogUnavailable:
            found = Readiness(ready=False, waiting_for=["log"], lanes=[])
        if not found.ready:
            response.status_code = 503
            response.headers["retry-after"] = "5"
        return found

    @router.get(
        "/metrics",
        summary="The metrics of this process, in Prometheus' text format",
        dependencies=[Depends(operator)],
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    )
    async def exposition() -> Response:
        return Response(generate_latest(metrics), media_type=CONTENT_TYPE_LATEST)

    return router
