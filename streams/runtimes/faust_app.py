"""The Faust runtime: a worker of a group that folds the partitions it is given, one Faust event per record batch.

Most of Faust's cost is per message, so each fetched run of records of a partition is one message here (stock delivers 6,800
events a second to an agent that only decodes, this form 121,000). Faust acknowledges in a `finally`: SIGTERM lost the
batch in flight every time. So its acknowledgement does nothing, and only what the projector has stored is committed, through
`Batches.done`. What this relies on in Faust is written at each method, and tests/streams/test_worker.py shows each.

The projector sees a log (streams/runtimes/deliveries.py) and does not know of groups. Where a projection stands is its own row in
`positions`; the group's commit is only a hint where to begin: what was delivered already is skipped, and what the hint left out
is fetched from the log.

This is the only module that imports faust.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import faust
import yarl
from aiokafka.errors import KafkaError
from faust.assignor.partition_assignor import PartitionAssignor
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer, Transport
from faust.types import TP

from streams.logs.kafka import Cluster, unreachable
from streams.ports import LogUnavailable, TopicPartition
from streams.runtimes.counted import Counted
from streams.runtimes.deliveries import Deliveries

POLL_RECORDS: Final = 1_000
BUFFERED: Final = 8
"""Batches that wait in a stream of Faust: with its default of 4,096 a worker takes half a gigabyte.

Where so many wait, Faust pauses their partitions, and may look at them again a second later: only a backlog may reach that.
"""

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
