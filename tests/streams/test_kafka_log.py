"""The log on Kafka beside what every log promises: its topics, its beginning, and brokers that go away."""

import asyncio
import os
from pathlib import Path

import broker
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete
from broker import Broker, new_log

from schemas.types import Instant, instant
from streams.logs import kafka
from streams.logs.kafka import BEGINNING, QUEUE_BYTES, Cluster, KafkaLog
from streams.logs.lanes import LogMismatch
from streams.ports import Entry, LogUnavailable, TopicPartition
from streams.topics import CHARGING, CRAWLS, PARTNERS, REJECTED, TOPICS

AT: Instant = instant("2026-10-01T08:00:00Z")


async def prepare(cluster: Cluster, partitions: int = 4, epoch: int = 0) -> list[str]:
    return await kafka.prepare(cluster, partitions=partitions, replication=1, at=AT, epoch=epoch)


async def values(log: KafkaLog, topic: str) -> list[bytes]:
    at = {TopicPartition(topic, partition): 0 for partition in range(log.partitions(topic))}
    found: list[bytes] = []
    while records := await log.fetch(at, max_records=1000, wait_s=0):
        for lane, batch in records.items():
            at[lane] = batch[-1].offset + 1
            found += [record.value for record in batch]
    return found


async def test_prepare_makes_every_topic_once_and_begins_the_log_once(cluster: Cluster) -> None:
    made = await prepare(cluster, epoch=7)
    assert made == sorted(cluster.prefix + name for name in (*TOPICS, BEGINNING.name))
    assert await prepare(cluster) == []
    one, other = await KafkaLog.open(cluster), await KafkaLog.open(cluster)
    try:
        assert one.epoch == other.epoch == 7
        assert one.log_id == other.log_id
        assert (one.partitions(CHARGING), one.partitions(PARTNERS)) == (4, 1)
    finally:
        await one.close()
        await other.close()


async def test_two_that_prepare_at_once_make_one_log(cluster: Cluster) -> None:
    await asyncio.gather(prepare(cluster), prepare(cluster))
    one, other = await KafkaLog.open(cluster), await KafkaLog.open(cluster)
    try:
        assert one.log_id == other.log_id
    finally:
        await one.close()
        await other.close()


async def test_logs_of_one_cluster_are_told_apart_by_their_prefix(cluster: Cluster) -> None:
    beside = Cluster(servers=cluster.servers, prefix=f"{cluster.prefix}b.")
    one, other = await new_log(cluster), await new_log(beside)
    try:
        assert one.log_id != other.log_id
        await one.append([Entry(CRAWLS, b"k", b"mine")])
        assert (await values(one, CRAWLS), await values(other, CRAWLS)) == ([b"mine"], [])
    finally:
        await one.close()
        await other.close()


async def test_another_partition_count_is_refused_in_a_sentence(cluster: Cluster) -> None:
    await prepare(cluster)
    with pytest.raises(LogMismatch, match=r"ocpi\.locations has 4 partitions, not 8; another count needs a new log"):
        await prepare(cluster, partitions=8)


async def test_a_topic_that_would_lose_records_is_refused_in_a_sentence(cluster: Cluster) -> None:
    admin = AIOKafkaAdminClient(**cluster.options())
    await admin.start()
    try:
        await admin.create_topics([NewTopic(cluster.prefix + CRAWLS, 4, 1, topic_configs={"cleanup.policy": "compact"})])
    finally:
        await admin.close()
    with pytest.raises(LogMismatch, match=r"ocpi\.crawls has cleanup\.policy=compact, not delete; set it with kafka-configs\.sh"):
        await prepare(cluster)


async def test_a_cluster_that_was_not_prepared_is_said_to_be(cluster: Cluster) -> None:
    with pytest.raises(LogMismatch, match=r"have no topic .*ocpi\.locations; run roamlog prepare"):
        await KafkaLog.open(cluster)


async def test_a_log_without_its_beginning_is_said_to_be(cluster: Cluster) -> None:
    await prepare(cluster)
    admin = AIOKafkaAdminClient(**cluster.options())
    await admin.start()
    try:
        name = cluster.prefix + BEGINNING.name
        await admin.delete_topics([name])
        while name in await admin.list_topics():  # noqa: ASYNC110 (the broker tells nobody)
            await asyncio.sleep(0.02)
        await admin.create_topics([NewTopic(name, 1, 1)])
        while name not in await admin.list_topics():  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    finally:
        await admin.close()
    with pytest.raises(LogMismatch, match=r"ocpi\.log does not begin as a log does; run roamlog prepare"):
        await KafkaLog.open(cluster)


async def test_a_broker_that_nobody_runs_is_a_sentence() -> None:
    nowhere = Cluster(servers="127.0.0.1:9")
    with pytest.raises(LogUnavailable, match=r"the brokers at 127\.0\.0\.1:9 cannot be used now"):
        await KafkaLog.open(nowhere, answer_s=2)
    with pytest.raises(LogUnavailable, match=r"the brokers at 127\.0\.0\.1:9 cannot be used now"):
        await prepare(nowhere)


async def test_a_reader_goes_on_where_a_trimmed_partition_begins_now(cluster: Cluster) -> None:
    log = await new_log(cluster)
    try:
        (first, *_) = await log.append([Entry(REJECTED, b"k", str(number).encode()) for number in range(10)])
        admin = AIOKafkaAdminClient(**cluster.options())
        await admin.start()
        try:
            place = TopicPartition(cluster.prefix + REJECTED, first.partition)
            await admin.delete_records({place: RecordsToDelete(6)})  # what retention does in time
        finally:
            await admin.close()
        assert await values(log, REJECTED) == [b"6", b"7", b"8", b"9"]
    finally:
        await log.close()


async def test_an_outage_refuses_within_its_bound_loses_nothing_and_heals(kafka_address: str, tmp_path: Path) -> None:
    if os.environ.get("ROAMLOG_TEST_KAFKA"):
        pytest.skip("the broker that ROAMLOG_TEST_KAFKA names is not to be killed")
    own = Broker(tmp_path / "broker", broker.free_pair())
    own.start()
    cluster = Cluster(servers=own.address)
    await prepare(cluster)
    log = await KafkaLog.open(cluster, answer_s=3)
    answered: list[bytes] = []

    async def append(value: bytes) -> None:
        await log.append([Entry(CHARGING, b"k", value)])
        answered.append(value)

    try:
        for number in range(20):
            await append(b"before %d" % number)
        own.kill()
        refused = await asyncio.gather(*(append(b"away %d" % number) for number in range(50)), return_exceptions=True)
        assert all(isinstance(one, LogUnavailable) for one in refused)
        with pytest.raises(LogUnavailable):  # at once: others have waited in vain already
            async with asyncio.timeout(1):
                await append(b"late")
        own.start()
        async with asyncio.timeout(60):
            while True:
                try:
                    await append(b"back")
                    break
                except LogUnavailable:
                    await asyncio.sleep(0.1)
        for number in range(20):
            await append(b"after %d" % number)
        read = await values(log, CHARGING)
        once = list(dict.fromkeys(read))
        assert [value for value in once if value in answered] == answered  # all that was answered, in its order
        assert set(once) <= {*answered, *(b"away %d" % number for number in range(50)), b"late", b"back"}
    finally:
        await log.close()
        own.kill()


async def test_what_waits_for_the_brokers_is_bounded(cluster: Cluster) -> None:
    log = await new_log(cluster)
    try:
        large = bytes(8 * 1024 * 1024)
        calls = [asyncio.create_task(log.append([Entry(CHARGING, b"k", large)])) for _ in range(12)]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        refused = [one for one in answers if isinstance(one, LogUnavailable)]
        assert len(refused) == 12 - QUEUE_BYTES // len(large) + 1  # a record is a little more than its value
        assert all("do not keep up" in str(one) for one in refused)
        await log.append([Entry(CHARGING, b"k", b"and it goes on")])
    finally:
        await log.close()
