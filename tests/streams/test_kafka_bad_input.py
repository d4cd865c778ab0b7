"""What should not be on a broker, or of one: a sentence or a row of `rejected`, and the rest goes on."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import broker
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions
from broker import Broker, new_log
from charging import T0, entry, patch, put

from schemas.types import instant
from streams.clock import FixedClock
from streams.logs import kafka
from streams.logs.kafka import Cluster, KafkaLog, LogRefused
from streams.logs.lanes import LogMismatch
from streams.ports import Entry, LogUnavailable, TableStore, TopicPartition
from streams.projections.rejected import Rejections
from streams.projections.sessions import Sessions
from streams.runtimes.deliveries import Deliveries
from streams.runtimes.faust_app import Group
from streams.runtimes.worker import Worker, prepare
from streams.topics import CHARGING, LOCATIONS, PARTNERS

SOON_S = 120
MIB = 1024 * 1024
AT = instant("2026-10-01T08:00:00Z")


@pytest.fixture
async def log(cluster: Cluster) -> AsyncIterator[KafkaLog]:
    opened = await new_log(cluster)
    yield opened
    await opened.close()


@asynccontextmanager
async def stranger(cluster: Cluster) -> AsyncIterator[AIOKafkaProducer]:
    """A producer of another program, which keeps to no limit of ours."""
    producer = AIOKafkaProducer(**cluster.options(), max_request_size=64 * MIB, compression_type="zstd")
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


async def fold(cluster: Cluster, log: KafkaLog, store: TableStore) -> None:
    """Let a worker fold all that the log holds of sessions, and what it rejects meanwhile."""
    projections = (Sessions(), Rejections())
    await prepare(log, store, projections)
    worker = Worker(cluster, f"{cluster.prefix}g", log, store, projections, clock=FixedClock(T0))
    await worker.start()
    stop = asyncio.Event()
    task = asyncio.create_task(worker.run(stop))
    try:
        async with asyncio.timeout(SOON_S):
            while True:
                if task.done():
                    task.result()
                ends = {place: (await log.end(place.topic))[place.partition] for place in worker.positions}
                if ends and all(worker.positions[place].next_offset >= end for place, end in ends.items()):
                    return
                await asyncio.sleep(0.05)
    finally:
        stop.set()
        await task


async def test_what_cannot_be_read_is_rejected_by_a_worker_and_the_rest_goes_on(
    cluster: Cluster, log: KafkaLog, store: TableStore
) -> None:
    good = [entry(put(0)), entry(patch(5, kwh=2)), entry(patch(9, kwh=3))]
    of_tomorrow = b"\x00\x00\x00\x00\x63" + good[1].value[5:]
    largest = os.urandom(16) * (12 * MIB // 16)
    await log.append([good[0], Entry(CHARGING, good[0].key, b"no envelope"), good[1], Entry(CHARGING, good[0].key, of_tomorrow)])
    async with stranger(cluster) as producer:
        ((_, partition, _),) = await log.append([good[1]])
        for value in (largest, bytes(40 * MIB), None):  # compressed the second is a small one; the third is a tombstone
            await producer.send_and_wait(cluster.prefix + CHARGING, value, key=good[0].key, partition=partition)
    await log.append([good[2]])
    await fold(cluster, log, store)
    ((kwh,),) = await store.query("SELECT JSONExtractFloat(doc, 'kwh') FROM sessions")
    assert kwh == 3
    rows = await store.query("SELECT reason, body_length FROM rejected ORDER BY body_length")
    assert [length for _, length in rows] == [0, 11, len(of_tomorrow), len(largest), 40 * MIB]
    assert b"schema 99 is not known to this release; is the record written by a newer roamlog?" in bytes(rows[2][0])  # type: ignore[call-overload]
    assert all(b"the record cannot be read: " in bytes(reason) for reason, _ in rows)  # type: ignore[call-overload]


async def test_a_record_as_large_as_the_topic_takes_is_read_whoever_wrote_it(cluster: Cluster, log: KafkaLog) -> None:
    noise = os.urandom(12 * MIB - 1)
    ((topic, partition, offset),) = await log.append([Entry(PARTNERS, b"k", noise)])
    async with stranger(cluster) as producer:
        await producer.send_and_wait(cluster.prefix + topic, noise, key=b"k", partition=partition)
    found = await log.fetch({TopicPartition(topic, partition): offset}, max_records=10, wait_s=0)
    more = await log.fetch({TopicPartition(topic, partition): offset + 1}, max_records=10, wait_s=0)
    assert [record.value == noise for records in (*found.values(), *more.values()) for record in records[:1]] == [True, True]


@pytest.mark.parametrize("topic", [LOCATIONS, PARTNERS])
async def test_a_topic_that_was_given_more_partitions_is_refused_in_a_sentence(cluster: Cluster, topic: str) -> None:
    await (await new_log(cluster)).close()
    admin = AIOKafkaAdminClient(**cluster.options())
    await admin.start()
    try:
        await admin.create_partitions({cluster.prefix + topic: NewPartitions(8)})
        while len((await admin.describe_topics([cluster.prefix + topic]))[0]["partitions"]) < 8:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    finally:
        await admin.close()
    with pytest.raises(LogMismatch, match=rf"{topic} has 8 partitions, not {1 if topic == PARTNERS else 4}; another count needs"):
        await KafkaLog.open(cluster)
    with pytest.raises(LogMismatch, match="another count needs a new log"):
        await kafka.prepare(cluster, partitions=4, replication=1, at=AT)


# --- brokers of their own ----------------------------------------------------------------------------------------------


@pytest.fixture
def guarded(kafka_address: str, tmp_path: Path) -> Iterator[Cluster]:
    """A broker that wants a user and a password."""
    port, sasl = broker.free_pair(), broker.free_pair()
    own = Broker(
        tmp_path / "broker",
        port,
        {
            "listeners": f"PLAINTEXT://127.0.0.1:{port},SASL_PLAINTEXT://127.0.0.1:{sasl},CONTROLLER://127.0.0.1:{port + 1}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port},SASL_PLAINTEXT://127.0.0.1:{sasl}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT",
            "sasl.enabled.mechanisms": "PLAIN",
            "listener.name.sasl_plaintext.plain.sasl.jaas.config": (
                'org.apache.kafka.common.security.plain.PlainLoginModule required user_roamlog="the right one";'
            ),
        },
    )
    own.start()
    try:
        yield Cluster(
            servers=f"127.0.0.1:{sasl}",
            security_protocol="SASL_PLAINTEXT",
            sasl_username="roamlog",
            sasl_password="the right one",
        )
    finally:
        own.kill()


async def test_a_password_opens_the_log_to_all_and_a_wrong_one_is_a_sentence(guarded: Cluster) -> None:
    wrong: dict[str, Any] = {"security_protocol": "SASL_PLAINTEXT", "sasl_username": "roamlog", "sasl_password": "a guess"}
    guess = Cluster(servers=guarded.servers, **wrong)
    for call in (kafka.prepare(guess, partitions=4, replication=1, at=AT), KafkaLog.open(guess)):
        with pytest.raises(LogRefused, match=r"^the brokers at \S+ do not take user 'roamlog' with this password$"):
            await call
    odd = Cluster(servers=guarded.servers, **wrong | {"sasl_mechanism": "SCRAM-SHA-256"})
    with pytest.raises(LogRefused, match=r"^the brokers at \S+ do not speak SASL_PLAINTEXT with SCRAM-SHA-256 there$"):
        await KafkaLog.open(odd)
    log = await new_log(guarded)
    try:
        await log.append([entry(put(0))])
        deliveries = Deliveries(log, "")
        group = Group(guarded, "g", (CHARGING,), deliveries)
        await group.start()
        try:
            async with asyncio.timeout(SOON_S):
                while not group.assigned:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
        finally:
            await group.stop()
    finally:
        await log.close()


async def test_a_full_disk_of_the_broker_is_a_sentence_and_loses_nothing(kafka_address: str, tmp_path: Path) -> None:
    own = Broker(tmp_path / "broker", broker.free_pair(), file_bytes=16 * MIB)  # an index of its own metadata claims ten
    own.start()
    cluster = Cluster(servers=own.address)
    await (await new_log(cluster)).close()
    log = await KafkaLog.open(cluster, answer_s=5)
    answered: list[bytes] = []
    try:
        said = ""
        while not said:
            value = b"%d " % len(answered) + os.urandom(MIB)
            try:
                await log.append([Entry(CHARGING, b"k", value)])
                answered.append(value)
            except LogUnavailable as fault:
                said = str(fault)
        assert own.address in said
        assert "\n" not in said
        assert 10 < len(answered) < 20
        own.kill()
        own.file_bytes = None
        own.start()
        async with asyncio.timeout(SOON_S):
            while True:
                try:
                    ((_, partition, end),) = await log.append([Entry(CHARGING, b"k", b"room again")])
                    break
                except LogUnavailable:
                    await asyncio.sleep(0.1)
        found: list[bytes] = []
        while len(found) <= end:
            place = TopicPartition(CHARGING, partition)
            found += [one.value for one in (await log.fetch({place: len(found)}, max_records=100, wait_s=1))[place]]
        assert found[: len(answered)] == answered
        assert found[end] == b"room again"
    finally:
        await log.close()
        own.kill()
