"""A house that crawls a Sender over real HTTP."""

import copy
from typing import Any

from outlet import OPERATOR, SECOND, House
from samples import LOCATION, TARIFF
from sender import Sender

from api.lookup import DocumentLookup
from ingest.crawl import Crawler, Target
from ingest.existence import Existence
from ingest.intake import Intake
from ingest.outbound import Outbound
from ingest.paging import Patience
from schemas import envelope as envelopes
from schemas import rejected as rejections
from schemas.crawl import CrawlEnded
from schemas.events import Envelope
from schemas.ocpi.discovery import discover
from schemas.types import Instant, Module
from streams.ports import TopicPartition
from streams.standing import Standing
from streams.topics import REJECTED

OLD = "2026-09-20T00:00:00Z"


def tariff(number: int, **fields: Any) -> dict[str, Any]:
    """Return a Tariff of NL*TNM."""
    return copy.deepcopy(TARIFF) | {"id": f"T{number}", "last_updated": OLD} | fields


def location(number: int, **fields: Any) -> dict[str, Any]:
    """Return a Location of NL*TNM."""
    return copy.deepcopy(LOCATION) | {"id": f"LOC{number}", "last_updated": OLD} | fields


def rules(ended: CrawlEnded) -> list[str]:
    """Return the rules that were broken, one after another."""
    return [odd.rule for odd in ended.oddities]


class World:
    """A house that crawls a Sender, by default as its partner `cpo` (NL*TNM)."""

    def __init__(self, home: House, sender: Sender, outbound: Outbound) -> None:
        self.home = home
        self.sender = sender
        self.outbound = outbound
        self.waited: list[float] = []
        self.standing = Standing(home.store)
        self.limit = 1000

    def intake(self) -> Intake:
        """Return what takes objects, as a new process has it."""
        return Intake(
            log=self.home.log,
            dialects=discover(),
            standing=self.standing,
            positions=self.home.runtime.progress,
            lookup=DocumentLookup(self.home.store),
            existence=Existence(),
            clock=self.home.clock,
            folded_within_s=0.05,
        )

    def crawler(self) -> Crawler:
        """Return a crawler, as a new process has it; it waits for nothing, and `waited` says how long it would have."""

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
        """Return a partner's list."""
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
        """Return what stands in ocpi.rejected."""
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
        """Return the ids of what a reader is served."""
        return sorted(one.get("uid") or one["id"] for one in await self.listed(module, by))

    async def analytics(self, path: str) -> Any:
        """Return the rows of an answer."""
        reply = await self.home.get(f"/analytics/{path}", None, {"Authorization": f"Bearer {OPERATOR}"})
        assert reply.status == 200
        return reply.json["rows"]
