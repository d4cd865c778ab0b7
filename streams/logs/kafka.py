"""The log on Apache Kafka: acks=all, an idempotent producer, one batch at a time per partition.

What is appended while a partition's batch is under way goes into the next one, so batches grow with the load and the
order of a key is that of the calls. Records are read with consumers that belong to no group: where to read is the
caller's knowledge (its positions), never the broker's.

Beside the contract: an append that raises LogUnavailable may still come to stand when the broker is back, for nobody can
take back what is on its way. A retry carries the same event id, so the folds take it once.
"""

import asyncio
import contextlib
import logging
import ssl
import time
import uuid
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, cast

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord
from aiokafka import TopicPartition as KafkaPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import (
    IllegalSaslStateError,
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    OffsetOutOfRangeError,
    SaslAuthenticationFailed,
    TopicAlreadyExistsError,
    UnsupportedSaslMechanismError,
    for_code,
)
from msgspec import Struct

from schemas import envelope as envelopes
from schemas.begun import LogBegun, begun_of, is_begun
from schemas.types import Instant
from streams.logs.lanes import FETCH_BYTES, Lanes, LogMismatch, closed, shares
from streams.ports import Entry, LogUnavailable, Position, Record, TopicPartition
from streams.topics import TOPICS, Topic

QUEUE_BYTES: Final = 64 * 1024 * 1024
"""What may wait for the brokers; beyond it an append is refused, or an outage would become an endless queue."""
BATCH_BYTES: Final = 1024 * 1024
ANSWER_S: Final = 10.0
"""How long an append waits for the brokers before it is refused."""
HEADROOM: Final = 64 * 1024
"""What a topic takes beyond the largest record: a batch has a head of its own."""

BEGINNING: Final = Topic("ocpi.log", "nothing: it holds one record, which tells this log from any other", ordered_as_one=True)

DEPART_EVERY_S: Final = 0.01
"""How often batches leave at most: while many append, those of all partitions go together in one request to each broker.

Whoever appends to a log that is quiet does not wait; a busy one makes a tenth of the requests, and its readers as few fetches.
"""
ENOUGH: Final = 32
"""How many entries that wait end the gathering before its time."""

_FETCH_WAIT_S: Final = 0.5
_READ_S: Final = 30.0  # how long records that are known to be there may take to come
_IDLE_READERS: Final = 8
_say: Final = logging.getLogger("roamlog")


class LogRefused(LogUnavailable):
    """The brokers do not take the user, its password, or the way in which it is told; trying again is no use."""


class Cluster(Struct, frozen=True, kw_only=True):
    """How to reach the brokers. `prefix` stands before the names of the topics, for several logs in one cluster."""

    servers: str
    prefix: str = ""
    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str = "PLAIN"
    sasl_username: str | None = None
    sasl_password: str | None = None
    cafile: str | None = None

    def options(self) -> dict[str, Any]:
        """Return what every client of aiokafka takes."""
        secure = self.security_protocol in {"SSL", "SASL_SSL"}
        return {
            "bootstrap_servers": self.servers,
            "client_id": "roamlog",
            "security_protocol": self.security_protocol,
            "sasl_mechanism": self.sasl_mechanism,
            "sasl_plain_username": self.sasl_username,
            "sasl_plain_password": self.sasl_password,
            "ssl_context": ssl.create_default_context(cafile=self.cafile) if secure else None,
        }

    def __repr__(self) -> str:
        return f"Cluster({self.servers!r})"


class _Request:
    """An append whose records may stand in several partitions."""

    def __init__(self, entries: int, size: int) -> None:
        self.size = size
        self.left = entries
        self.positions: list[Position | None] = [None] * entries
        self.done: asyncio.Future[list[Position]] = asyncio.get_running_loop().create_future()

    def stands(self, index: int, position: Position) -> bool:
        """Note where a record stands; tell whether it was the last one."""
        self.positions[index] = position
        self.left -= 1
        if self.left == 0 and not self.done.done():
            self.done.set_result(cast(list[Position], self.positions))
        return self.left == 0

    def fails(self, reason: Exception) -> bool:
        """Note that a record could not be appended; tell whether it was the last one."""
        self.left -= 1
        if not self.done.done():
            self.done.set_exception(reason)
            self.done.exception()  # whoever was cancelled does not come to hear it
        return self.left == 0


class _Waiting(NamedTuple):
    key: bytes
    value: bytes
    request: _Request
    nth: int


class _Lane:
    """One partition on its way out: what waits, and whether a batch is under way (since when)."""

    def __init__(self, topic: str, partition: int) -> None:
        self.topic = topic
        self.partition = partition
        self.waiting: deque[_Waiting] = deque()
        self.flight: asyncio.Task[None] | None = None
        self.sent_at = 0.0


class KafkaLog:
    """An EventLog on Kafka. Use `KafkaLog.open`; the topics are made by `prepare`."""

    def __init__(  # noqa: PLR0917
        self,
        cluster: Cluster,
        lanes: Lanes,
        begun: LogBegun,
        producer: AIOKafkaProducer,
        asking: AIOKafkaConsumer,
        answer_s: float,
    ) -> None:
        """`asking` is the consumer that only asks how far the partitions go."""
        self.epoch = begun.epoch
        self.log_id = begun.log_id
        self._cluster = cluster
        self._lanes = lanes
        self._out = {lane: _Lane(*place) for lane, place in lanes.names.items()}
        self._producer = producer
        self._asking = asking
        self._answer_s = answer_s
        self._queued = 0
        self._turn = 0
        self._idle: list[_Reader] = []
        self._readers: set[_Reader] = set()
        self._closed = asyncio.Event()
        self._ended: asyncio.Future[None] | None = None
        self._renewing: asyncio.Task[None] | None = None
        self._departed_at = 0.0
        self._departing: asyncio.Future[None] | None = None
        self._waiting = 0

    @classmethod
    async def open(cls, cluster: Cluster, *, answer_s: float = ANSWER_S) -> "KafkaLog":
        """Connect to the log.

        Raises LogUnavailable where no broker answers, LogRefused where they do not take the user, LogMismatch where the topics
        are not as declared.
        """
        consumer = AIOKafkaConsumer(**_reading(cluster))
        try:
            async with asyncio.timeout(answer_s):
                lanes = await _lanes(cluster)
                await consumer.start()
            begun = await _first(consumer, cluster)
            _ask_only(consumer, [KafkaPartition(cluster.prefix + topic, p) for topic, p in lanes.names.values()])
            producer = await _started(cluster, answer_s)
        except (KafkaError, TimeoutError) as fault:
            await consumer.stop()
            raise await _told(cluster, fault) from fault
        except BaseException:
            await consumer.stop()
            raise
        return cls(cluster, lanes, begun, producer, consumer, answer_s)

    def partitions(self, topic: str) -> int:
        return self._lanes.partitions(topic)

    async def append(self, entries: Sequence[Entry]) -> list[Position]:
        if self._closed.is_set():
            raise closed()
        placed, size = self._lanes.place(entries)
        if not placed:
            return []
        if self._queued and self._queued + size > QUEUE_BYTES:
            raise LogUnavailable(f"{self._queued} bytes wait for the brokers at {self._cluster.servers}, which do not keep up")
        request = _Request(len(placed), size)
        now = time.monotonic()
        for lane, _, _ in placed:
            out = self._out[lane]
            if out.flight is not None and now - out.sent_at > self._answer_s:  # others wait already, and long enough
                raise LogUnavailable(f"no broker of {self._cluster.servers} has answered for {now - out.sent_at:.0f} s")
        self._queued += size
        for index, (lane, key, value) in enumerate(placed):
            out = self._out[lane]
            out.waiting.append(_Waiting(key, value, request, index))
            self._waiting += 1
            if out.flight is None:
                out.sent_at = now
                out.flight = asyncio.get_running_loop().create_task(self._fly(out), name=f"append {out.topic}/{out.partition}")
        if self._waiting >= ENOUGH:
            self._depart()
        try:
            async with asyncio.timeout(self._answer_s):
                return await asyncio.shield(request.done)
        except TimeoutError as fault:
            raise LogUnavailable(f"no broker of {self._cluster.servers} has answered within {self._answer_s:.0f} s") from fault

    async def fetch(
        self, start: Mapping[TopicPartition, int], *, max_records: int, wait_s: float
    ) -> dict[TopicPartition, list[Record]]:
        for topic, partition in start:
            self._lanes.lane(topic, partition)
        if not start:
            return {}
        if self._closed.is_set():
            raise closed()
        reader = await self._reader(frozenset(start))
        try:
            reader.seek(start)
            found = await reader.read(max_records, wait_s, self._closed, self._turn)
            self._turn += 1
        except BaseException as fault:
            self._readers.discard(reader)
            await reader.stop()
            if isinstance(fault, KafkaError) and self._closed.is_set():
                raise closed() from fault
            if isinstance(fault, KafkaError):
                raise LogUnavailable(unreachable(self._cluster, fault)) from fault
            raise
        self._idle.append(reader)
        if len(self._idle) > _IDLE_READERS:
            oldest = self._idle.pop(0)
            self._readers.discard(oldest)
            await oldest.stop()
        if self._closed.is_set() and not found:
            raise closed()
        return found

    async def end(self, topic: str) -> dict[int, int]:
        return await self._ask(topic, self._asking.end_offsets)

    async def beginning(self, topic: str) -> dict[int, int]:
        """Return the offset of the oldest record that each partition still holds. Raises LogUnavailable."""
        return await self._ask(topic, self._asking.beginning_offsets)

    async def _ask(self, topic: str, question: Callable[[list[Any]], Awaitable[Mapping[Any, int]]]) -> dict[int, int]:
        partitions = [KafkaPartition(self._cluster.prefix + topic, p) for p in range(self._lanes.partitions(topic))]
        if self._closed.is_set():
            raise closed()
        try:
            async with asyncio.timeout(self._answer_s):
                answer = await question(partitions)
        except (KafkaError, TimeoutError) as fault:
            raise LogUnavailable(unreachable(self._cluster, fault)) from fault
        return {at.partition: int(offset) for at, offset in answer.items()}

    async def close(self) -> None:
        if self._ended is None:
            self._ended = asyncio.get_running_loop().create_future()
            self._closed.set()
            flights = [lane.flight for lane in self._out.values() if lane.flight is not None]
            if flights:
                await asyncio.wait(flights, timeout=self._answer_s)
            for flight in flights:
                flight.cancel()
            await asyncio.gather(*flights, return_exceptions=True)
            if self._renewing is not None:
                self._renewing.cancel()
                await asyncio.gather(self._renewing, return_exceptions=True)
            await asyncio.gather(self._asking.stop(), *(reader.stop() for reader in tuple(self._readers)))
            await _stopped(self._producer)
            self._ended.set_result(None)
        await asyncio.shield(self._ended)

    async def _fly(self, lane: _Lane) -> None:
        """Send what waits, batch after batch, until nothing does."""
        try:
            while lane.waiting:
                await self._departure()
                lane.sent_at = time.monotonic()
                batch = await self._send(lane)
                for one in batch:
                    if one.request.left == 0:
                        self._queued -= one.request.size
                        one.request.left = -1  # counted
        finally:
            lane.flight = None
            reason = closed()
            while lane.waiting:
                waiting = lane.waiting.popleft()
                self._waiting -= 1
                if waiting.request.fails(reason):
                    self._queued -= waiting.request.size

    async def _departure(self) -> None:
        """Return when batches may leave, to all who wait at the same moment."""
        loop = asyncio.get_running_loop()
        if self._departing is None:
            self._departing = loop.create_future()
            wait_s = self._departed_at + DEPART_EVERY_S - loop.time()
            now = wait_s <= 0 or self._waiting >= ENOUGH or self._closed.is_set()
            loop.call_later(0.0 if now else wait_s, self._depart, self._departing)
        await asyncio.shield(self._departing)

    def _depart(self, due: asyncio.Future[None] | None = None) -> None:
        """Let those leave who wait; at the time of `due`, unless they have left."""
        departing = self._departing
        if departing is not None and due in {None, departing}:
            self._departed_at, self._departing = asyncio.get_running_loop().time(), None
            departing.set_result(None)

    async def _send(self, lane: _Lane) -> list[_Waiting]:
        """Send one batch and tell everybody in it; returns who was in it."""
        builder = self._producer.create_batch()
        batch: list[_Waiting] = []
        now = time.time_ns() // 1_000_000
        while lane.waiting and builder.append(timestamp=now, key=lane.waiting[0].key, value=lane.waiting[0].value) is not None:
            batch.append(lane.waiting.popleft())
        self._waiting -= len(batch)
        builder.close()
        try:
            topic = self._cluster.prefix + lane.topic
            stands = await (await self._producer.send_batch(builder, topic, partition=lane.partition))
        except KafkaError as fault:
            reason = LogUnavailable(unreachable(self._cluster, fault))
            for one in batch:
                one.request.fails(reason)
            self._renew()
            await asyncio.sleep(0.1)  # a broker that refuses at once must not be asked in a tight loop
        except asyncio.CancelledError:
            for one in batch:
                one.request.fails(closed())
            raise
        else:
            for place, one in enumerate(batch):
                one.request.stands(one.nth, Position(lane.topic, lane.partition, stands.offset + place))
        return batch

    def _renew(self) -> None:
        """Begin a new producer: one whose batch was lost for good takes no other (its sequence has a hole)."""
        if self._renewing is None or self._renewing.done():
            self._renewing = asyncio.get_running_loop().create_task(self._renewed(), name="new producer")

    async def _renewed(self) -> None:
        broken = self._producer
        try:
            self._producer = await _started(self._cluster, self._answer_s)
        except LogUnavailable as fault:
            _say.warning("%s", fault)
            return
        await _stopped(broken)

    async def _reader(self, places: frozenset[TopicPartition]) -> "_Reader":
        for reader in reversed(self._idle):
            if reader.places == places:
                self._idle.remove(reader)
                return reader
        reader = _Reader(self._cluster, places)
        try:
            async with asyncio.timeout(self._answer_s):
                await reader.consumer.start()
        except BaseException as fault:
            await reader.stop()
            if isinstance(fault, (KafkaError, TimeoutError)):
                raise LogUnavailable(unreachable(self._cluster, fault)) from fault
            raise
        self._readers.add(reader)
        return reader


class _Reader:
    """A consumer that goes on where it stopped as long as its caller does, and is sought elsewhere otherwise.

    `held` has what came and was not wanted yet: a fetch may bring more of one partition than its share.
    """

    def __init__(self, cluster: Cluster, places: frozenset[TopicPartition]) -> None:
        self.places = places
        self.consumer = AIOKafkaConsumer(**_reading(cluster))
        self._prefix = cluster.prefix
        self._of = {KafkaPartition(cluster.prefix + at.topic, at.partition): at for at in places}
        self._names = {at: name for name, at in self._of.items()}
        self._held: dict[TopicPartition, deque[Record]] = {at: deque() for at in places}
        self._next: dict[TopicPartition, int] = {}
        self._wanted: dict[TopicPartition, int] = {}
        self._begun = False

    def seek(self, start: Mapping[TopicPartition, int]) -> None:
        """Set where to read. What is held of there is kept."""
        self._wanted = dict(start)
        if not self._begun:
            self.consumer.assign(list(self._of))
            self._begun = True
        for at, offset in start.items():
            held = self._held[at]
            while held and held[0].offset < offset:
                held.popleft()
            if (held and held[0].offset != offset) or (not held and self._next.get(at) != offset):
                held.clear()
                self.consumer.seek(self._names[at], offset)
                self._next[at] = offset

    async def read(self, most: int, wait_s: float, closed: asyncio.Event, turn: int) -> dict[TopicPartition, list[Record]]:
        """Return the next records, fairly shared; {} where there are none after `wait_s`. Raises KafkaError."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait_s
        overdue = deadline + _READ_S
        while True:
            if found := self._take(most, turn):
                return found
            left = deadline - loop.time()
            try:
                await self._poll(min(max(left, 0.0), _FETCH_WAIT_S))
            except OffsetOutOfRangeError:
                await self._back_in_range()
            if not any(self._held.values()) and (left <= 0 or closed.is_set()):
                if closed.is_set() or not await self._behind():
                    return {}
                if loop.time() > overdue:
                    raise KafkaConnectionError("records that are there do not come")

    async def stop(self) -> None:
        """Let go of the connections."""
        with contextlib.suppress(KafkaError):  # the broker that should hear of it may be away
            await self.consumer.stop()

    async def _poll(self, wait_s: float) -> None:
        found: dict[KafkaPartition, list[ConsumerRecord[bytes, bytes]]]
        found = await self.consumer.getmany(timeout_ms=int(wait_s * 1000))
        for name, records in found.items():
            at = self._of[name]
            held = self._held[at]
            held.extend(
                Record(at.topic, at.partition, one.offset, one.key or b"", one.value or b"")
                for one in records
                if one.offset >= self._wanted[at]
            )
            self._next[at] = records[-1].offset + 1

    async def _behind(self) -> bool:
        """Tell whether the log has records that were asked for."""
        ends = await self.consumer.end_offsets(list(self._of))
        return any(ends[name] > self._wanted[at] for name, at in self._of.items())

    async def _back_in_range(self) -> None:
        """Go to where the log begins now, of partitions whose oldest records are gone; wait where it has not come so far."""
        first = await self.consumer.beginning_offsets(list(self._of))
        last = await self.consumer.end_offsets(list(self._of))
        beyond = False
        for name, at in self._of.items():
            if self._next[at] < first[name]:
                self._held[at].clear()
                self.consumer.seek(name, first[name])
                self._next[at] = first[name]
            elif self._next[at] > last[name]:
                beyond = True
                self.consumer.seek(name, self._next[at])
        if beyond:
            await asyncio.sleep(0.05)

    def _take(self, most: int, turn: int) -> dict[TopicPartition, list[Record]]:
        there = [at for at, held in self._held.items() if held]
        if not there:
            return {}
        turned = turn % len(there)
        there = (there[turned:] + there[:turned])[:most]
        wanted = shares([len(self._held[at]) for at in there], most)
        found: dict[TopicPartition, list[Record]] = {}
        budget = FETCH_BYTES
        for place, (at, count) in enumerate(zip(there, wanted, strict=True)):
            if budget <= 0:
                break
            allowed = budget // (len(there) - place)
            held = self._held[at]
            records: list[Record] = []
            while held and len(records) < count:
                size = len(held[0].key) + len(held[0].value)
                if records and size > allowed:
                    break
                allowed -= size
                budget -= size
                records.append(held.popleft())
            found[at] = records
        return found


async def prepare(cluster: Cluster, *, partitions: int, replication: int, at: Instant, epoch: int = 0) -> list[str]:
    """Make the topics that are missing and begin the log; return the names of those that were made.

    Raises LogMismatch where a topic exists in another shape, LogUnavailable where no broker answers, LogRefused where they do not
    take the user.
    """
    admin = AIOKafkaAdminClient(**cluster.options())
    try:
        async with asyncio.timeout(ANSWER_S):
            await admin.start()
        there = {str(topic["topic"]): len(topic["partitions"]) for topic in await admin.describe_topics()}
        wanted = {
            cluster.prefix + topic.name: (topic, 1 if topic.ordered_as_one else partitions)
            for topic in (*TOPICS.values(), BEGINNING)
        }
        for name, (_, count) in wanted.items():
            if there.get(name, count) != count:
                raise LogMismatch(f"topic {name} has {there[name]} partitions, not {count}; another count needs a new log")
        missing = {name: shape for name, shape in wanted.items() if name not in there}
        if missing:
            made = [NewTopic(name, count, replication, topic_configs=_configs(topic)) for name, (topic, count) in missing.items()]
            answer = (await admin.create_topics(made, timeout_ms=30_000)).to_object()
            for told in answer["topic_errors"]:
                error = for_code(told["error_code"])
                if told["error_code"] and error is not TopicAlreadyExistsError:
                    raise LogMismatch(f"topic {told['topic']} cannot be made: {told.get('error_message') or error.__name__}")
        await _check_configs(admin, {name: topic for name, (topic, _) in wanted.items()})
    except (KafkaError, TimeoutError) as fault:
        raise await _told(cluster, fault) from fault
    finally:
        await admin.close()
    await _begin(cluster, epoch, at)
    return sorted(missing)


class Survey(Struct, frozen=True):
    """How the brokers and the topics of a log are found: `amiss` says what is not as `prepare` makes it, in a sentence each.

    `remedy` mends the first of these.
    """

    brokers: int
    topics: int
    partitions: int
    amiss: tuple[str, ...] = ()
    remedy: str = ""


async def survey(cluster: Cluster) -> Survey:
    """Look at the brokers and the topics, changing nothing. Raises LogUnavailable where no broker answers."""
    admin = AIOKafkaAdminClient(**cluster.options())
    try:
        async with asyncio.timeout(ANSWER_S):
            await admin.start()
            brokers = len((await admin.describe_cluster())["brokers"])
            there = {str(topic["topic"]): topic["partitions"] for topic in await admin.describe_topics()}
            wanted = {cluster.prefix + topic.name: topic for topic in (*TOPICS.values(), BEGINNING)}
            found = {name: there[name] for name in wanted if there.get(name)}
            count = sum(len(partitions) for partitions in found.values())
            if missing := sorted(set(wanted) - set(found)):
                return Survey(brokers, len(found), count, (f"no topic {', '.join(missing)}",), "run roamlog prepare")
            try:
                await _check_configs(admin, wanted)
            except LogMismatch as mismatch:
                said, _, remedy = str(mismatch).rpartition("; ")
                return Survey(brokers, len(found), count, (said,), remedy)
    except (KafkaError, TimeoutError) as fault:
        raise LogUnavailable(unreachable(cluster, fault)) from fault
    finally:
        await admin.close()
    amiss = []
    for name, partitions in sorted(found.items()):
        headless = sum(partition["leader"] < 0 for partition in partitions)
        lagging = sum(len(partition["isr"]) < len(partition["replicas"]) for partition in partitions)
        if headless:
            amiss.append(f"{headless} partitions of {name} have no leader")
        elif lagging:
            amiss.append(f"{lagging} partitions of {name} have replicas that are not in sync")
    return Survey(brokers, len(found), count, tuple(amiss), "start the brokers that are missing" if amiss else "")


def unreachable(cluster: Cluster, fault: BaseException) -> str:
    """Return the sentence for a broker that does not answer as it should."""
    said = str(fault) or type(fault).__name__
    return f"the brokers at {cluster.servers} cannot be used now: {said}"


async def _told(cluster: Cluster, fault: BaseException) -> LogUnavailable:
    """Return what to raise where nobody could be reached: why a broker refuses us, its clients only log."""
    if not cluster.security_protocol.startswith("SASL"):
        return LogUnavailable(unreachable(cluster, fault))
    host, _, port = cluster.servers.partition(",")[0].rpartition(":")
    options = {name: value for name, value in cluster.options().items() if name != "bootstrap_servers"}
    connection = AIOKafkaConnection(host.strip("[]"), int(port), request_timeout_ms=5_000, **options)
    try:
        await connection.connect()
    except SaslAuthenticationFailed as refused:
        text = f"the brokers at {cluster.servers} do not take user {cluster.sasl_username!r} with this password"
        raise LogRefused(text) from refused
    except (IllegalSaslStateError, UnsupportedSaslMechanismError) as refused:
        text = f"the brokers at {cluster.servers} do not speak {cluster.security_protocol} with {cluster.sasl_mechanism} there"
        raise LogRefused(text) from refused
    except (KafkaError, OSError, TimeoutError):
        return LogUnavailable(unreachable(cluster, fault))
    finally:
        connection.close()
    return LogUnavailable(unreachable(cluster, fault))


def _configs(topic: Topic) -> dict[str, str]:
    """Return a topic's configuration: nothing is compacted or trimmed but what may be."""
    return {
        "cleanup.policy": "delete",
        "retention.ms": str(topic.retention_ms),
        "retention.bytes": "-1",
        "max.message.bytes": str(topic.max_message_bytes + HEADROOM),
        "message.timestamp.type": "CreateTime",
    }


async def _check_configs(admin: AIOKafkaAdminClient, topics: Mapping[str, Topic]) -> None:
    """Raise LogMismatch for a topic that would lose records or refuse them; a new one may take a moment to be known."""
    unread = set(topics)
    for attempt in range(100):
        resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in sorted(unread)]
        for answer in await admin.describe_configs(resources):
            for told in answer.to_object()["resources"]:
                if told["error_code"]:
                    continue
                name = told["resource_name"]
                said = {entry["config_names"]: entry["config_value"] for entry in told["config_entries"]}
                unread.discard(name)
                for setting, value in _configs(topics[name]).items():
                    if said.get(setting) != value:
                        text = f"topic {name} has {setting}={said.get(setting)}, not {value}; set it with kafka-configs.sh"
                        raise LogMismatch(text)
        if not unread:
            return
        await asyncio.sleep(0.1 if attempt else 0.01)
    raise KafkaTimeoutError(f"the brokers do not tell how {', '.join(sorted(unread))} are configured")


async def _begin(cluster: Cluster, epoch: int, at: Instant) -> None:
    """Write the record that the log begins with, where there is none: what tells this log from any other."""
    consumer = AIOKafkaConsumer(**_reading(cluster))
    try:
        await consumer.start()
        place = KafkaPartition(cluster.prefix + BEGINNING.name, 0)
        if (await consumer.end_offsets([place]))[place]:
            await _first(consumer, cluster)
            return
    except KafkaError as fault:
        raise LogUnavailable(unreachable(cluster, fault)) from fault
    finally:
        await consumer.stop()
    producer = await _started(cluster, ANSWER_S)
    try:
        value = envelopes.encode(LogBegun(str(uuid.uuid4()), epoch).envelope(at))
        await producer.send_and_wait(cluster.prefix + BEGINNING.name, value, key=b"log", partition=0)
    except KafkaError as fault:
        raise LogUnavailable(unreachable(cluster, fault)) from fault
    finally:
        await _stopped(producer)


async def _lanes(cluster: Cluster) -> Lanes:
    admin = AIOKafkaAdminClient(**cluster.options())
    try:
        await admin.start()
        there = {str(topic["topic"]): len(topic["partitions"]) for topic in await admin.describe_topics()}
    finally:
        await admin.close()
    for topic in (*TOPICS, BEGINNING.name):
        if not there.get(cluster.prefix + topic):
            raise LogMismatch(f"the brokers at {cluster.servers} have no topic {cluster.prefix + topic}; run roamlog prepare")
    counts = {topic: there[cluster.prefix + topic] for topic in TOPICS}
    made = min(count for topic, count in counts.items() if not TOPICS[topic].ordered_as_one)  # a count never falls
    for topic, count in counts.items():
        if count != (wanted := 1 if TOPICS[topic].ordered_as_one else made):
            text = f"topic {cluster.prefix + topic} has {count} partitions, not {wanted}; another count needs a new log"
            raise LogMismatch(text)
    first: dict[str, int] = {}
    for name in counts:
        first[name] = sum(counts[earlier] for earlier in first)
    return Lanes(counts, first)


def _ask_only(consumer: AIOKafkaConsumer, partitions: Sequence[KafkaPartition]) -> None:
    """Let the consumer follow who leads the partitions, and read nothing: it would ask that anew for every answer."""
    consumer.assign(partitions)
    for partition in partitions:
        consumer.seek(partition, 0)
    consumer.pause(*partitions)


async def _first(consumer: AIOKafkaConsumer, cluster: Cluster) -> LogBegun:
    """Return what the log begins with; raises LogMismatch where that is missing, LogUnavailable where it does not come."""
    place = KafkaPartition(cluster.prefix + BEGINNING.name, 0)
    consumer.assign([place])
    consumer.seek(place, 0)
    deadline = time.monotonic() + ANSWER_S
    seen = 0
    while seen < (end := (await consumer.end_offsets([place]))[place]) and time.monotonic() < deadline:
        for record in (await consumer.getmany(timeout_ms=500)).get(place, ()):
            seen = record.offset + 1
            envelope = envelopes.decode(record.value)
            if is_begun(envelope):
                return begun_of(envelope)
    if seen < end:
        raise LogUnavailable(f"the brokers at {cluster.servers} did not give topic {place.topic} within {ANSWER_S:.0f} s")
    raise LogMismatch(f"topic {place.topic} does not begin as a log does; run roamlog prepare")


def _reading(cluster: Cluster) -> dict[str, Any]:
    return cluster.options() | {
        "group_id": None,
        "enable_auto_commit": False,
        "auto_offset_reset": "none",
        "max_partition_fetch_bytes": 2 * 1024 * 1024,
        "fetch_max_bytes": FETCH_BYTES,
        "fetch_max_wait_ms": 100,  # a reader that is sought elsewhere waits for this first
    }


async def _started(cluster: Cluster, within_s: float) -> AIOKafkaProducer:
    producer = AIOKafkaProducer(
        **cluster.options(),
        acks="all",
        enable_idempotence=True,
        compression_type="zstd",
        max_batch_size=BATCH_BYTES,
        max_request_size=16 * 1024 * 1024,
        request_timeout_ms=10_000,
    )
    try:
        async with asyncio.timeout(within_s):
            await producer.start()
    except (KafkaError, TimeoutError) as fault:
        await _stopped(producer)
        raise LogUnavailable(unreachable(cluster, fault)) from fault
    return producer


async def _stopped(producer: AIOKafkaProducer) -> None:
    """Stop a producer without waiting for what a broker that is away will not take."""
    with contextlib.suppress(KafkaError, TimeoutError):
        async with asyncio.timeout(5):
            await producer.stop()
