"""The doctor over a real broker and ClickHouse: what is amiss is told with its remedy, and nothing is changed by looking."""

import asyncio
from collections.abc import Iterator
from itertools import count
from typing import Final

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from clickhouse_server import USER, ClickHouseServer, running
from msgspec.structs import replace

from roamlog import scale
from roamlog.doctor import Finding, examine
from roamlog.settings import Scale
from streams.logs.kafka import Cluster
from streams.projections.cdrs import CDRS
from streams.stores.clickhouse import ClickHouseStore
from streams.tables import drop
from streams.topics import TOKENS, TOPICS

_databases = count(1)
SECRET: Final = "a secret of tests that is long enough"


@pytest.fixture(scope="module")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouseServer]:
    with running(tmp_path_factory.mktemp("clickhouse"), "secret") as started:
        yield started


@pytest.fixture
def settings(cluster: Cluster, clickhouse: ClickHouseServer) -> Scale:
    return Scale(
        kafka=cluster.servers,
        kafka_prefix=cluster.prefix,
        clickhouse=f"http://127.0.0.1:{clickhouse.port}",
        clickhouse_user=USER,
        clickhouse_password="secret",
        clickhouse_database=f"doctor_{next(_databases)}",
        pepper=SECRET,
        operator_token=SECRET,
    )


async def told(settings: Scale) -> dict[str, Finding]:
    """Return the findings by what was looked at; of several disks the one that is not well."""
    found = await examine(settings)
    return {one.what: one for one in sorted(found, key=lambda one: not one.well)}


def remedies(found: dict[str, Finding]) -> dict[str, str]:
    """Return what is to be done about what is not well."""
    return {one.what: one.remedy for one in found.values() if not one.well}


async def topics(cluster: Cluster) -> set[str]:
    admin = AIOKafkaAdminClient(**cluster.options())
    await admin.start()
    try:
        return {name for name in await admin.list_topics() if name.startswith(cluster.prefix)}
    finally:
        await admin.close()


async def tables(settings: Scale) -> list[tuple[object, ...]]:
    """Return everything that is in the database, with how it was made."""
    server = scale.server_at(settings)
    store = ClickHouseStore.http(replace(server, database="default"), readers=1)
    try:
        return await store.query(
            "SELECT name, create_table_query FROM system.tables WHERE database = {name:String} ORDER BY name",
            {"name": server.database},
        )
    finally:
        await store.close()


async def test_before_prepare_it_says_so_and_makes_nothing(settings: Scale, cluster: Cluster) -> None:
    found = await told(settings)
    assert remedies(found) == {
        "topics": "run roamlog prepare",
        "ClickHouse": "run roamlog prepare",
    }
    assert found["brokers"].said.startswith(f"1 at {cluster.servers}")
    assert "has no database" in found["ClickHouse"].said
    assert await topics(cluster) == set()
    assert await tables(settings) == []


async def test_after_prepare_all_is_well(settings: Scale) -> None:
    await scale.prepare(settings)
    before = await tables(settings)
    found = await told(settings)
    assert remedies(found) == {}
    assert set(found) == {"versions", "brokers", "topics", "log", "ClickHouse", "clock", "tables", "disk"}
    assert found["topics"].said == f"{len(TOPICS) + 1} topics with {4 * (len(TOPICS) - 1) + 2} partitions"
    assert found["log"].said.endswith("epoch 0, 0 records")
    assert await tables(settings) == before


async def test_a_view_that_is_gone_is_left_to_those_who_need_it(settings: Scale) -> None:
    await scale.prepare(settings)
    store = ClickHouseStore.http(scale.server_at(settings), readers=1)
    await store.command("DROP VIEW sessions")
    before = await tables(settings)
    assert remedies(await told(settings)) == {}
    assert await tables(settings) == before
    await store.command(drop(CDRS, "g1"))
    await store.close()
    found = await told(settings)
    assert remedies(found) == {"tables": "run roamlog prepare"}
    assert found["tables"].said == "none of this release and log for cdrs"


async def test_a_topic_that_forgets_is_told_with_what_it_should_be(settings: Scale, cluster: Cluster) -> None:
    await scale.prepare(settings)
    admin = AIOKafkaAdminClient(**cluster.options())
    await admin.start()
    try:
        changed = {"retention.ms": "86400000", "max.message.bytes": str(TOPICS[TOKENS].max_message_bytes * 2)}
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, cluster.prefix + TOKENS, configs=changed)])
        async with asyncio.timeout(60):
            while "topics" not in remedies(found := await told(settings)):  # noqa: ASYNC110 (it answers before all of it knows)
                await asyncio.sleep(0.1)
    finally:
        await admin.close()
    assert remedies(found) == {"topics": "set it with kafka-configs.sh", "tables": "mend what stands above first"}
    assert found["topics"].said.startswith(f"topic {cluster.prefix}{TOKENS} has retention.ms=86400000, not -1; ")


async def test_what_is_away_is_told_and_the_rest_is_looked_at(settings: Scale) -> None:
    away = settings.model_copy(update={"kafka": "127.0.0.1:9", "clickhouse": "http://127.0.0.1:9"})
    found = await told(away)
    assert {what: one.well for what, one in found.items()} == {
        "versions": True,
        "disk": True,
        "brokers": False,
        "ClickHouse": False,
    }
    assert found["brokers"].remedy.startswith("start the brokers")
    assert found["ClickHouse"].remedy.startswith("start the server")
    assert found["ClickHouse"].said == "ClickHouse at http://127.0.0.1:9 cannot be used now: [Errno 111] Connection refused"
