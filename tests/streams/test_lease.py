"""One process at a time: how work begins and ends with a lease, and who holds one over a real broker."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count

import pytest
from broker import new_log

from streams.lease import ALONE, LeaseLost, while_held
from streams.logs.kafka import Cluster, KafkaLog
from streams.runtimes.group_lease import TERM_S, GroupLease

SOON_S = 60
_groups = count(1)


class Granted:
    """A lease that the test grants and withdraws."""

    def __init__(self) -> None:
        self._given = asyncio.Event()
        self._gone = asyncio.Event()
        self.given_back = 0

    @property
    def held(self) -> bool:
        return self._given.is_set()

    def grant(self) -> None:
        self._gone.clear()
        self._given.set()

    def withdraw(self) -> None:
        self._given.clear()
        self._gone.set()

    async def taken(self) -> None:
        await self._given.wait()

    async def lost(self) -> None:
        await self._gone.wait()

    def give_back(self) -> None:
        self.given_back += 1


class Work:
    """Work that tells when it begins and ends."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.ended = asyncio.Event()
        self.times = 0

    async def __call__(self) -> None:
        self.times += 1
        self.ended.clear()
        self.begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.begun.clear()
            self.ended.set()


async def ended(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_work_begins_and_ends_with_the_lease() -> None:
    lease, work = Granted(), Work()
    task: asyncio.Task[None] = asyncio.create_task(while_held(lease, work))
    for turn in (1, 2):
        lease.grant()
        await work.begun.wait()
        assert (work.times, lease.given_back) == (turn, turn - 1)
        lease.withdraw()
        await work.ended.wait()
    await ended(task)
    assert lease.given_back == 2


async def test_work_that_is_cut_short_gives_the_lease_back() -> None:
    lease, work = Granted(), Work()
    lease.grant()
    task: asyncio.Task[None] = asyncio.create_task(while_held(lease, work))
    await work.begun.wait()
    await ended(task)
    assert work.ended.is_set()
    assert lease.given_back == 1


async def test_a_defect_of_the_work_is_told_and_a_lost_lease_is_not() -> None:
    faults: list[Exception] = [LeaseLost("late"), ValueError("the defect")]

    async def fails() -> None:
        raise faults.pop(0)

    with pytest.raises(ValueError, match="the defect"):
        await while_held(ALONE, fails)
    assert faults == []


# --- over a broker ---------------------------------------------------------------------------------------------------


@pytest.fixture
async def log(cluster: Cluster) -> AsyncIterator[KafkaLog]:
    opened = await new_log(cluster)
    yield opened
    await opened.close()


class Member:
    """A process that seeks the lease."""

    def __init__(self, cluster: Cluster, group: str) -> None:
        self.lease = GroupLease(cluster, group)
        self.work = Work()
        self.seeking: asyncio.Task[None] = asyncio.create_task(self.lease.run())
        self.working: asyncio.Task[None] = asyncio.create_task(while_held(self.lease, self.work))

    async def leave(self) -> None:
        await ended(self.working, self.seeking)


@asynccontextmanager
async def members(cluster: Cluster, number: int) -> AsyncIterator[list[Member]]:
    group = f"{cluster.prefix}l{next(_groups)}"
    seeking = [Member(cluster, group) for _ in range(number)]
    try:
        yield seeking
    finally:
        await asyncio.gather(*(one.leave() for one in seeking))


async def holder(of: list[Member]) -> Member:
    """Return who holds the lease, once one does."""
    async with asyncio.timeout(SOON_S):
        while True:
            holding = [one for one in of if one.lease.held and one.work.begun.is_set()]
            assert len(holding) <= 1
            if holding:
                return holding[0]
            await asyncio.sleep(0.02)


@pytest.mark.usefixtures("log")
async def test_one_of_several_works_and_another_when_it_leaves(cluster: Cluster) -> None:
    async with members(cluster, 3) as seeking:
        left = list(seeking)
        while left:
            first = await holder(left)
            await first.leave()
            assert not first.lease.held
            assert first.work.ended.is_set()
            left.remove(first)


@pytest.mark.usefixtures("log")
async def test_who_comes_later_takes_nothing_that_is_still_worked_on(cluster: Cluster) -> None:
    async with members(cluster, 1) as seeking:
        first = await holder(seeking)
        group = first.lease._group
        second = Member(cluster, group)
        try:
            async with asyncio.timeout(SOON_S):
                for _ in range(50):  # while the group gives the partition out anew
                    assert not (first.work.begun.is_set() and second.work.begun.is_set())
                    await asyncio.sleep(0.02)
            assert await holder([first, second]) in {first, second}
        finally:
            await second.leave()


@pytest.mark.usefixtures("log")
async def test_who_was_frozen_knows_that_the_lease_is_over(cluster: Cluster) -> None:
    async with members(cluster, 1) as seeking:
        one = await holder(seeking)
        time.sleep(TERM_S)  # noqa: ASYNC251 (the whole process stands still)
        assert not one.lease.held
        assert await holder(seeking) is one


async def test_a_lease_of_brokers_that_are_away_is_held_by_nobody() -> None:
    nowhere = Cluster(servers="127.0.0.1:9")
    one = Member(nowhere, "g")
    taken = asyncio.create_task(one.lease.taken())
    _, waiting = await asyncio.wait({taken}, timeout=0.5)
    assert waiting
    assert not one.lease.held
    await ended(taken)
    await one.leave()
