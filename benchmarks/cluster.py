"""A Kafka broker and a ClickHouse over HTTP for the benchmarks of the scale profile: those that the tests have, on loopback."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Final

import pytest
from msgspec import Struct

from benchmarks.frame import ROOT, Unavailable
from benchmarks.servers import roamlog, run_command
from streams.catalogue import projections
from streams.clock import SystemClock
from streams.following import Following
from streams.logs.kafka import Cluster, KafkaLog
from streams.stores.clickhouse import ClickHouseStore, Server

sys.path.insert(0, str(ROOT / "tests" / "support"))

from broker import Broker, free_pair, libraries
from clickhouse_server import USER, ClickHouseServer

PARTITIONS: Final = 4
SECRET: Final = "a secret of benchmarks that is long enough"
TOPICS: Final[Mapping[str, tuple[str, ...]]] = {one.name: one.topics for one in projections()}


class House(Struct, frozen=True):
    """One log and one database of the cluster; `environment` is that of its processes."""

    kafka: str
    prefix: str
    clickhouse: int
    environment: Mapping[str, str]

    @property
    def cluster(self) -> Cluster:
        return Cluster(servers=self.kafka, prefix=self.prefix)

    async def prepare(self) -> None:
        """Make the topics and tables that are missing. Raises Unavailable."""
        await run_command(*roamlog("prepare"), env=self.environment)

    def refilled(self, database: str) -> "House":
        """Return the same log with another, empty database and another group."""
        own = {"ROAMLOG_CLICKHOUSE_DATABASE": database, "ROAMLOG_KAFKA_GROUP": database}
        return House(self.kafka, self.prefix, self.clickhouse, {**self.environment, **own})

    @contextlib.asynccontextmanager
    async def following(self) -> AsyncIterator[tuple[KafkaLog, Following]]:
        """Look at the log, and at how far its projections have come."""
        log = await KafkaLog.open(self.cluster)
        try:
            database = self.environment["ROAMLOG_CLICKHOUSE_DATABASE"]
            server = Server(host="127.0.0.1", port=self.clickhouse, user=USER, database=database)
            store = await asyncio.to_thread(ClickHouseStore.http, server)
            try:
                yield log, Following(log, log.log_id, store, TOPICS, SystemClock())
            finally:
                await store.close()
        finally:
            await log.close()


class Servers(Struct, frozen=True):
    """The servers under all houses."""

    kafka: str
    clickhouse: int

    def house(self, name: str) -> House:
        """Return a house with topics and a database of its own; nothing is made yet."""
        environment = {
            "ROAMLOG_KAFKA": self.kafka,
            "ROAMLOG_KAFKA_PREFIX": f"{name}.",
            "ROAMLOG_KAFKA_GROUP": name,
            "ROAMLOG_PARTITIONS": str(PARTITIONS),
            "ROAMLOG_CLICKHOUSE": f"http://127.0.0.1:{self.clickhouse}",
            "ROAMLOG_CLICKHOUSE_USER": USER,
            "ROAMLOG_CLICKHOUSE_DATABASE": name,
            "ROAMLOG_PEPPER": SECRET,
            "ROAMLOG_OPERATOR_TOKEN": SECRET,
        }
        return House(self.kafka, f"{name}.", self.clickhouse, environment)


@contextlib.asynccontextmanager
async def servers(scratch: Path) -> AsyncIterator[Servers]:
    """Run both servers for the length of the block. Raises Unavailable where there is no Java, or no Kafka to be had."""
    try:
        await asyncio.to_thread(libraries)
    except (pytest.skip.Exception, pytest.fail.Exception) as missing:
        raise Unavailable(str(missing)) from missing
    broker = Broker(scratch / "kafka", free_pair())
    clickhouse = ClickHouseServer(scratch / "clickhouse")
    try:
        await asyncio.to_thread(broker.start)
        await asyncio.to_thread(clickhouse.start)
        yield Servers(broker.address, clickhouse.port)
    finally:
        await asyncio.to_thread(clickhouse.stop)
        await asyncio.to_thread(broker.kill)
