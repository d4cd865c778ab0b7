"""A lease on Kafka: a consumer group of its own, whose only partition is given to one member.

Who is given the partition holds the lease. The brokers say so again with every commit, which they refuse to a member of an
older generation: the lease is held for as long after a commit was sent as the brokers wait for a member that says nothing. So
a process that was frozen knows that it is late without asking anybody, and one that is cut off stops before another begins.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterable
from typing import Any, Final, NoReturn

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener
from aiokafka import TopicPartition as KafkaPartition
from aiokafka.coordinator.assignors.abstract import AbstractPartitionAssignor
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata

from streams.logs.kafka import BEGINNING, Cluster, unreachable
from streams.runtimes.counted import Counted

TERM_S: Final = 6.0
"""How long the brokers wait for a member that says nothing, at least (by default); so long a dead holder's lease lies still."""

RENEW_S: Final = 2.0
HEARTBEAT_S: Final = 2.0
HAND_OVER_S: Final = 4.0
"""How long a new holder waits for the work of the old one to end, where that is asked for it; less than `TERM_S`."""

RETRY_S: Final = 1.0
_POLL_S: Final = 0.2
_NEVER_MS: Final = 2**31 - 1
_AT_START: Final = OffsetAndMetadata(0, "")

_say: Final = logging.getLogger("roamlog")


class GroupLease:
    """A Lease among all processes that name the same group. Keep `run` running; cancelled, it lets another have the lease."""

    def __init__(self, cluster: Cluster, group: str) -> None:
        self._cluster = cluster
        self._group = group
        self._place = KafkaPartition(cluster.prefix + BEGINNING.name, 0)  # a topic with one partition that every log has
        self._assigned = False
        self._until = 0.0
        self._renewed = 0.0
        self._granted = asyncio.Event()
        self._withdrawn = asyncio.Event()
        self._free = asyncio.Event()
        self._free.set()

    @property
    def held(self) -> bool:
        return self._assigned and time.monotonic() < self._until

    async def taken(self) -> None:
        while not self.held:
            self._granted.clear()
            await self._granted.wait()
        self._free.clear()

    async def lost(self) -> None:
        while self.held:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._until - time.monotonic()):
                    await self._withdrawn.wait()

    def give_back(self) -> None:
        self._free.set()

    async def run(self) -> NoReturn:
        """Seek the lease and keep it, through outages, until cancelled."""
        away = False
        while True:
            consumer = self._consumer()
            try:
                await consumer.start()
                away = False
                await self._keep(consumer)
            except (KafkaError, TimeoutError) as fault:
                if not away:
                    _say.warning("%s; group %s", unreachable(self._cluster, fault), self._group)
                away = True
            finally:
                await self._withdraw()
                with contextlib.suppress(KafkaError, TimeoutError):  # the brokers that should hear of it may be away
                    async with asyncio.timeout(HAND_OVER_S):
                        await consumer.stop()
            await asyncio.sleep(RETRY_S)

    async def _keep(self, consumer: AIOKafkaConsumer) -> NoReturn:
        while True:
            if self._assigned and time.monotonic() - self._renewed >= RENEW_S:
                await self._renew(consumer)
            await consumer.getmany(timeout_ms=int(_POLL_S * 1000))  # there is nothing; it raises what ended the membership

    async def _renew(self, consumer: AIOKafkaConsumer) -> None:
        asked = time.monotonic()
        try:
            async with asyncio.timeout(TERM_S):
                await consumer.commit({self._place: _AT_START})
        except (KafkaError, TimeoutError):
            return  # given to another, or nobody answers: what is held ends with its term
        self._renewed = asked
        if self._assigned:
            self._until = asked + TERM_S
            self._withdrawn.clear()
            self._granted.set()

    async def _withdraw(self) -> None:
        """Let go, and wait a while until the work under the lease has ended."""
        self._assigned, self._until, self._renewed = False, 0.0, 0.0
        self._withdrawn.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(HAND_OVER_S):
                await self._free.wait()

    def _consumer(self) -> AIOKafkaConsumer:
        consumer = AIOKafkaConsumer(
            **self._cluster.options(),
            group_id=self._group,
            enable_auto_commit=False,
            auto_offset_reset="latest",
            session_timeout_ms=int(TERM_S * 1000),
            heartbeat_interval_ms=int(HEARTBEAT_S * 1000),
            max_poll_interval_ms=_NEVER_MS,
            partition_assignment_strategy=(assignor_of(self._place.topic),),
        )
        consumer.subscribe([self._place.topic], listener=_Turns(self))
        return consumer

    def _assign(self, assigned: Iterable[Any]) -> None:
        self._assigned = self._place in set(assigned)


def assignor_of(topic: str) -> type[AbstractPartitionAssignor]:
    """Return an assignor that gives out the one partition of this topic, also while no broker names it."""

    class One(RoundRobinPartitionAssignor):  # type: ignore[misc]  # aiokafka has no types
        @classmethod
        def assign(cls, cluster: Any, members: Any) -> Any:
            return super().assign(Counted({topic: 1}, cluster), members)

    return One


class _Turns(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """Tells a lease of its turns."""

    def __init__(self, lease: GroupLease) -> None:
        self._lease = lease

    async def on_partitions_revoked(self, revoked: Iterable[Any]) -> None:
        """Let go; the group waits for the return of this."""
        await self._lease._withdraw()

    async def on_partitions_assigned(self, assigned: Iterable[Any]) -> None:
        """Take what was given; the first commit proves it."""
        self._lease._assign(assigned)
