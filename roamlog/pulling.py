"""What crawls need of an open node: who calls partners for pages, and what becomes of these."""

from collections.abc import Mapping
from typing import Protocol

from api.lookup import DocumentLookup
from ingest.crawl import Crawler
from ingest.existence import Existence
from ingest.intake import Intake
from ingest.neighbours import Neighbours
from ingest.outbound import Outbound
from ingest.partners import PartnerRegistry
from ingest.pull import Pull
from roamlog.settings import Settings
from schemas.ocpi.dialect import Dialect
from schemas.types import Instant, Module
from streams.crawled import Crawled
from streams.metrics import Metrics
from streams.ports import Clock, EventLog, Positions, TableStore
from streams.standing import Standing


class House(Protocol):
    """What of a node crawls need."""

    @property
    def settings(self) -> Settings: ...
    @property
    def log(self) -> EventLog: ...
    @property
    def clock(self) -> Clock: ...
    @property
    def registry(self) -> PartnerRegistry: ...
    @property
    def dialects(self) -> Mapping[str, Dialect]: ...
    @property
    def existence(self) -> Existence: ...


def pages_of(settings: Settings, clock: Clock) -> Outbound:
    """Return what asks partners for pages; whoever asks closes it."""
    return Outbound(
        clock,
        allow_private=settings.allow_private_partners,
        timeout_s=settings.partner_timeout_s,
        body_bytes=settings.pull_page_bytes,
    )


def pull_of(  # noqa: PLR0917
    house: House,
    store: TableStore,
    positions: Positions,
    lookup: DocumentLookup,
    pages: Outbound,
    heard: Mapping[tuple[str, Module], Instant] | None = None,
    metrics: Metrics | None = None,
) -> Pull:
    """Return what crawls. `heard` says when each partner pushed last; without it the tables are asked."""
    standing = Standing(store)
    intake = Intake(
        log=house.log,
        dialects=house.dialects,
        standing=standing,
        positions=positions,
        lookup=lookup,
        existence=house.existence,
        clock=house.clock,
    )
    crawler = Crawler(
        log=house.log, caller=pages, intake=intake, standing=standing, clock=house.clock, limit=house.settings.pull_page
    )
    return Pull(
        registry=house.registry,
        crawler=crawler,
        intake=intake,
        crawled=Crawled(store, house.log, positions),
        clock=house.clock,
        own=house.settings.roles,
        every_s=house.settings.pull_every_s,
        at_once=house.settings.pull_at_once,
        heard=heard,
        metrics=metrics,
        neighbours=Neighbours(registry=house.registry, caller=pages, dialects=house.dialects, clock=house.clock),
    )
