"""The Faust runtime: a worker of a group that folds the partitions it is given, one Faust event per record batch.

Most of Faust's cost is per message, so each fetched run of records of a partition is one message here (stock delivers 6,800
events a second to an agent that only decodes, this form 121,000). Faust acknowledges in a `finally`: SIGTERM lost the
batch in flight every time. So its acknowledgement does nothing, and only what the projector has stored is committed, through
`Batches.done`. What this relies on in Faust is written at each method, and tests/streams/test_worker.py shows each.

The projector sees a log (`Deliveries`) and does not know of groups. Where a projection stands is its own row in
`positions`; the group's commit is only a hint where to begin: what was delivered already is skipped, and what the hint left out
is fetched from the log.

This is the only module that imports faust.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import faust
import yarl
from aiokafka.errors import KafkaError
from faust.assignor.partition_assignor import PartitionAssignor
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer, Transport
from faust.types import TP
from msgspec import Struct

from streams.logs.kafka import Cluster, KafkaLog, unreachable
from streams.ports import Entry, LogUnavailable, Position, Record, TopicPartition
from streams.runtimes.counted import Counted

POLL_RECORDS: Final = 2_000
BUFFERED: Final = 32
"""Batches that wait in a stream of Faust: with its default of 4,096 a worker takes half a gigabyte.

Where so many wait, Faust pauses their partitions, and may look at them again a second later: only a backlog may reach that.
"""

WAITING_BYTES: Final = 16 * 1024 * 1024
"""What may wait for the next round beyond that: a round takes all that has come, so that nothing waits for two of them."""
READ_WAIT_S: Final = 2.0
"""How long the log is waited for where something is missing."""

RECORD_BYTES: Final = 400
"""About what a record takes beside its value."""

SESSION_S: Final = 6.0
HEARTBEAT_S: Final = 0.5
"""How long a dead worker's partitions stand still: its session, a heartbeat by which the others hear of it, and the first round
of whoever takes over. Brokers take no shorter session; with Faust's default of 60 s it is 55."""

REBALANCE_S: Final = 6.0
"""How long the others wait for a member that lives and does not join again, before it is left out; no process stops meanwhile."""

FETCH_WAIT_MS: Final = 100
"""How long brokers may hold back a fetch of partitions that have nothing new.

aiokafka has one fetch under way for each broker, of the partitions whose records were all taken: where those are the quiet ones,
the busy ones wait for its end. Faust says 1,500, and so long records lay in the log once every few seconds.
"""

COMMIT_S: Final = 1.0


class WrongFaust(RuntimeError):
    """Faust is another than this module was written for: a method that it replaces is not there any more."""


# What is replaced or called below, by the class that has it: an upgrade that takes one away must be told by its name.
RELIED_ON: Final[Mapping[type, tuple[str, ...]]] = {
    Consumer: (
        "_new_consumer_thread",
        *("_wait_next_records", "_to_message", "ack", "_add_gap", "_new_offset", "_filter_tps_with_pending_acks"),
        *("on_partitions_revoked", "on_partitions_assigned", "track_message", "commit", "stop_flow"),
    ),
    Transport: ("Consumer", "create_consumer"),
    AIOKafkaConsumerThread: ("_create_worker_consumer",),
    PartitionAssignor: ("assign", "_get_copartitioned_groups"),
}


class Batches(Consumer):
    """Delivers each fetched run of records of a partition as one message, and commits only what was `done`.

    Offsets count what is stored: the offset after the last record of the last batch that the projector has let go.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._stored: dict[TP, int] = {}
        self.changed: Callable[[frozenset[TopicPartition] | None], None] = _nobody

    def _new_consumer_thread(self) -> "Thread":
        """Return the thread that fetches."""
        return Thread(self, loop=self.loop, beacon=self.beacon)

    async def _wait_next_records(self, timeout: float) -> tuple[Any, Any]:  # noqa: ASYNC109 (Faust's signature)
        """Fold a partition's records into one: Faust then walks over a list of one batch."""
        records, active = await super()._wait_next_records(timeout)
        return ({tp: [batch] for tp, batch in records.items() if batch} if records else records), active

    def _to_message(self, tp: TP, batch: Sequence[Any]) -> Any:
        """Make the message of the last record, so that its offset is where the batch ends, and let it carry all."""
        message: Any = super()._to_message(tp, batch[-1])
        message.value = batch
        return message

    def done(self, message: Any) -> None:
        """Report that every record of the batch is stored; one of an assignment that is over says nothing any more."""
        if message.generation_id == self.app.consumer_generation_id:
            self._stored[message.tp] = message.offset + 1

    def ack(self, message: Any) -> bool:
        """Do nothing for Faust's own acknowledgement, but forget the message: shutdown waits for those that are not."""
        self._unacked_messages.discard(message)
        return False

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Take no offsets inside a batch for gaps: Faust would keep an interval tree of every one."""

    def _new_offset(self, tp: TP) -> int | None:
        """Return what may be committed."""
        return self._stored.get(tp)

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterator[TP]:
        """Return the partitions of which something may be committed."""
        return iter([tp for tp in self._stored if topics is None or tp in topics or tp.topic in topics])

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Forget what was stored of partitions that are another worker's from now on."""
        await super().on_partitions_revoked(revoked)
        for tp in revoked:
            self._stored.pop(tp, None)
        self.changed(None)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Tell what is ours now: all of it, not only what is new."""
        await super().on_partitions_assigned(assigned, generation_id)
        self.changed(frozenset(TopicPartition(tp.topic, tp.partition) for tp in assigned))


class Thread(AIOKafkaConsumerThread):
    """The thread of a consumer whose fetches come back soon."""

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        if not hasattr(consumer, "_fetch_max_wait_ms"):
            raise WrongFaust("aiokafka's consumer has no _fetch_max_wait_ms any more")
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS
        return consumer


class BatchTransport(Transport):
    """The transport that makes such a consumer."""

    Consumer = Batches


def assignor_of(partitions: Mapping[str, int]) -> type[PartitionAssignor]:
    """Return an assignor that gives out all partitions of these topics, by their whole names: see streams/runtimes/counted.py."""

    class Whole(PartitionAssignor):
        def assign(self, cluster: Any, member_metadata: Any) -> Any:
            return super().assign(Counted(partitions, cluster), member_metadata)

    return Whole


class Delivered(Struct):
    """A batch on its way through the projector: Faust's message, and what of its records is still to be folded."""

    message: Any
    place: TopicPartition
    records: deque[Record]
    end: int
    size: int


class Deliveries:
    """The log as the projector of a worker sees it: what the group delivers, in place of what it would fetch.

    Everything else is the Kafka log's own. `done` lets go of the batches that are stored. `waiting_bytes` is how much may wait.
    """

    def __init__(self, log: KafkaLog, prefix: str, *, waiting_bytes: int = WAITING_BYTES) -> None:
        self.epoch = log.epoch
        self._log = log
        self._prefix = prefix
        self._most = waiting_bytes
        self._ours: frozenset[TopicPartition] = frozenset()
        self._coming: dict[TopicPartition, deque[Delivered]] = {}
        self._folding: dict[TopicPartition, deque[Delivered]] = {}
        self._bytes = 0
        self._arrived = asyncio.Event()
        self._room = asyncio.Event()
        self._held: dict[TopicPartition, range] | None = {}
        self._again_at = 0.0

    async def deliver(self, message: Any) -> None:
        """Take a message of Faust's; waits while enough others do."""
        while self._bytes >= self._most:
            self._room.clear()
            await self._room.wait()
        self._unpack(message)
        self._arrived.set()

    def assign(self, places: frozenset[TopicPartition]) -> None:
        """Let go of all that was delivered: the partitions were given out anew.

        The group begins where it committed, and some of that may have been delivered before this was called: what the log holds
        by now is read from there, unless it is delivered first.
        """
        self._ours = places
        self._coming.clear()
        self._folding.clear()
        self._bytes = 0
        self._room.set()
        self._held = None
        self._again_at = 0.0

    def done(self, reached: Mapping[TopicPartition, int], let_go: Callable[[Any], None]) -> None:
        """Let go of every batch that ends at or before these offsets."""
        for place, offset in reached.items():
            folding = self._folding.get(place, deque())
            while folding and folding[0].end <= offset:
                let_go(folding.popleft().message)

    def partitions(self, topic: str) -> int:
        return self._log.partitions(topic)

    async def append(self, entries: Sequence[Entry]) -> list[Position]:
        return await self._log.append(entries)

    async def end(self, topic: str) -> dict[int, int]:
        return await self._log.end(topic)

    async def close(self) -> None:
        """Do nothing: the log is its opener's."""

    async def fetch(
        self, start: Mapping[TopicPartition, int], *, max_records: int, wait_s: float
    ) -> dict[TopicPartition, list[Record]]:
        found = await self._take(start, max_records)
        if not found and wait_s > 0:
            self._arrived.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._arrived.wait()
            found = await self._take(start, max_records)
        return found

    def _unpack(self, message: Any) -> None:
        topic = message.topic.removeprefix(self._prefix)
        place = TopicPartition(topic, message.partition)
        if place not in self._ours:
            return
        records = deque(Record(topic, message.partition, one.offset, one.key or b"", one.value or b"") for one in message.value)
        size = sum([len(record.value) + RECORD_BYTES for record in records])
        self._coming.setdefault(place, deque()).append(Delivered(message, place, records, message.offset + 1, size))
        self._bytes += size

    async def _take(self, start: Mapping[TopicPartition, int], most: int) -> dict[TopicPartition, list[Record]]:
        if self._held is None:
            await self._look(start)
        missing = self._missing(start)
        found = await self._read(missing, most) if missing else {}
        most -= sum(map(len, found.values()))
        for place, offset in start.items():
            if most <= 0:
                break
            # Looked at again: more may have been delivered while the log was read.
            coming = self._coming.get(place, deque())
            self._skip(place, coming, offset)
            if coming and place not in found and coming[0].records[0].offset <= max(offset, self._first(place)):
                found[place] = self._next(place, coming, most)
                most -= len(found[place])
        return found

    def _missing(self, start: Mapping[TopicPartition, int]) -> dict[TopicPartition, range]:
        """Return, where something comes before what is delivered next, the offsets at which it stands."""
        missing: dict[TopicPartition, range] = {}
        for place, offset in start.items():
            coming = self._coming.get(place, deque())
            self._skip(place, coming, offset)
            # The group's commit may be ahead of our own position, as behind a new fold.
            stop = coming[0].records[0].offset if coming else (self._held or {}).get(place, range(0)).stop
            before = range(max(offset, self._first(place)), stop)
            if before:
                missing[place] = before
        return missing

    def _first(self, place: TopicPartition) -> int:
        """Return the offset of the oldest record that the log holds, as far as is known."""
        return (self._held or {}).get(place, range(0)).start

    async def _read(self, missing: dict[TopicPartition, range], most: int) -> dict[TopicPartition, list[Record]]:
        """Read from the log what is missing; where nothing comes, the others go on for a while before it is tried again."""
        start = {place: before.start for place, before in missing.items()}
        read: dict[TopicPartition, list[Record]] = {}
        if (loop := asyncio.get_running_loop()).time() >= self._again_at:
            with contextlib.suppress(LogUnavailable, TimeoutError):
                async with asyncio.timeout(2 * READ_WAIT_S):
                    read = await self._log.fetch(start, max_records=most, wait_s=READ_WAIT_S)
            if not read:
                self._again_at = loop.time() + READ_WAIT_S
        found: dict[TopicPartition, list[Record]] = {}
        for place, records in read.items():
            if inside := [record for record in records if record.offset in missing[place]]:
                found[place] = inside
            elif self._held is not None and records:  # forgotten since the log was looked at
                first = records[0].offset
                self._held[place] = range(first, max(first, self._held.get(place, range(0)).stop))
        return found

    async def _look(self, start: Mapping[TopicPartition, int]) -> None:
        """Note which offsets the log holds in our partitions; left open for a while where no broker answers."""
        if (loop := asyncio.get_running_loop()).time() < self._again_at:
            return
        held: dict[TopicPartition, range] = {}
        try:
            async with asyncio.timeout(2 * READ_WAIT_S):
                for topic in {place.topic for place in start}:
                    ends = await self._log.end(topic)
                    for partition, first in (await self._log.beginning(topic)).items():
                        held[TopicPartition(topic, partition)] = range(first, ends[partition])
        except (LogUnavailable, TimeoutError):
            self._again_at = loop.time() + READ_WAIT_S
        else:
            self._held = held

    def _skip(self, place: TopicPartition, coming: deque[Delivered], offset: int) -> None:
        """Pass over what is folded already."""
        while coming:
            records = coming[0].records
            while records and records[0].offset < offset:
                records.popleft()
            if records:
                return
            self._begin(place, coming)

    def _next(self, place: TopicPartition, coming: deque[Delivered], most: int) -> list[Record]:
        records: list[Record] = []
        while coming and len(records) < most:
            batch = coming[0].records
            if batch and records and batch[0].offset != records[-1].offset + 1:
                break  # around a rebalance: delivered twice, or with something between that the log has
            while batch and len(records) < most:
                records.append(batch.popleft())
            if not batch:
                self._begin(place, coming)
        return records

    def _begin(self, place: TopicPartition, coming: deque[Delivered]) -> None:
        """Have the first batch among those that are being folded."""
        batch = coming.popleft()
        self._folding.setdefault(place, deque()).append(batch)
        self._bytes -= batch.size
        if self._bytes < self._most:
            self._room.set()


class Group:
    """This process as a member of the group: what is delivered goes to `deliveries`, until `stop`."""

    def __init__(self, cluster: Cluster, name: str, topics: Sequence[str], deliveries: Deliveries, concurrency: int = 1) -> None:
        """`concurrency` is there to be refused: with more, Faust commits past a message in flight (its issue 606)."""
        if concurrency != 1:
            raise ValueError("a worker folds with concurrency 1; run more workers instead")
        check_faust()
        self._deliveries = deliveries
        self._changes = 0
        self._assigned: frozenset[TopicPartition] = frozenset()
        self._joined = False
        self._waits_since = 0.0
        self._prefix = cluster.prefix
        self._cluster = cluster
        self._app = _app(cluster, name, {cluster.prefix + topic: deliveries.partitions(topic) for topic in topics})
        for topic in topics:
            self._listen(cluster.prefix + topic)

    @property
    def assigned(self) -> frozenset[TopicPartition]:
        """The partitions that are this worker's now."""
        return self._assigned

    @property
    def joined(self) -> bool:
        """Whether the group gave this worker its share, be that nothing; False while the partitions are given out."""
        return self._joined

    @property
    def waits_since(self) -> float:
        """By the loop's clock, since when it waits for its share, if it does."""
        return self._waits_since

    async def start(self) -> None:
        """Join the group; returns once the consumer runs. Raises LogUnavailable."""
        self._waits_since = asyncio.get_running_loop().time()
        self._app.finalize()
        self._consumer.changed = self._on_change
        try:
            await self._app.start()
        except (KafkaError, TimeoutError) as fault:
            raise LogUnavailable(unreachable(self._cluster, fault)) from fault

    async def stop(self) -> None:
        """Commit what is stored and leave the group."""
        await self._app.stop()

    @property
    def changes(self) -> int:
        """How often the partitions were given out."""
        return self._changes

    def let_go(self, message: Any) -> None:
        """Report that a batch is stored."""
        self._consumer.done(message)

    @property
    def failed(self) -> BaseException | None:
        """What ended Faust's own services, LogUnavailable where that was the brokers; None while they run."""
        reason: BaseException | None = self._app.crash_reason
        return LogUnavailable(unreachable(self._cluster, reason)) if isinstance(reason, KafkaError) else reason

    @property
    def _consumer(self) -> Batches:
        consumer = self._app.consumer
        if not isinstance(consumer, Batches):
            raise WrongFaust(f"Faust made a {type(consumer).__name__}, not the consumer of this module")
        return consumer

    def _listen(self, name: str) -> None:
        topic = self._app.topic(name, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw")

        async def take(stream: Any) -> None:
            async for event in stream.events():
                await self._deliveries.deliver(event.message)

        self._app.agent(topic, name=f"take-{name}", concurrency=1)(take)

    def _on_change(self, assigned: frozenset[TopicPartition] | None) -> None:
        if assigned is None and self._joined:
            self._waits_since = asyncio.get_running_loop().time()
        self._joined = assigned is not None
        self._assigned = frozenset(TopicPartition(at.topic.removeprefix(self._prefix), at.partition) for at in assigned or ())
        self._changes += 1


def check_faust(relied_on: Mapping[type, tuple[str, ...]] = RELIED_ON) -> None:
    """Raise WrongFaust naming the method that an upgrade took away."""
    for kind, names in relied_on.items():
        for name in names:
            if not hasattr(kind, name):
                raise WrongFaust(f"faust-streaming {faust.__version__} has no {kind.__module__}.{kind.__name__}.{name} any more")


def _app(cluster: Cluster, name: str, partitions: Mapping[str, int]) -> Any:
    app = faust.App(
        name,
        broker=[yarl.URL(f"kafka://{server}") for server in cluster.servers.split(",")],
        broker_credentials=_credentials(cluster),
        store="memory://",
        datadir="/nonexistent",  # nothing is kept on a disk
        topic_allow_declare=False,
        topic_disable_leader=True,
        consumer_auto_offset_reset="earliest",
        broker_max_poll_records=POLL_RECORDS,
        broker_session_timeout=SESSION_S,
        broker_rebalance_timeout=REBALANCE_S,
        broker_heartbeat_interval=HEARTBEAT_S,
        broker_commit_interval=COMMIT_S,
        stream_buffer_maxsize=BUFFERED,  # it counts batches now
        stream_wait_empty=False,
        web_enabled=False,
        PartitionAssignor=assignor_of(partitions),
        loop=asyncio.get_running_loop(),
    )
    app.transport = BatchTransport([yarl.URL(f"aiokafka://{server}") for server in cluster.servers.split(",")], app)
    return app


def _credentials(cluster: Cluster) -> Any:
    options = cluster.options()
    if cluster.security_protocol == "PLAINTEXT":
        return None
    if cluster.security_protocol == "SSL":
        return faust.SSLCredentials(context=options["ssl_context"])
    return faust.SASLCredentials(
        mechanism=cluster.sasl_mechanism,
        username=cluster.sasl_username,
        password=cluster.sasl_password,
        ssl_context=options["ssl_context"],
    )


def _nobody(_: frozenset[TopicPartition] | None) -> None:
    """Before anybody listens."""
