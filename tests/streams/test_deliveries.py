"""What a worker reads is every record once and in order, however batches and rebalances come; test_worker.py has the real ones."""

from types import SimpleNamespace

import pytest

from streams.ports import Record, TopicPartition
from streams.runtimes.deliveries import Deliveries
from streams.topics import CHARGING


class Told:
    """A log of which a test says what it holds, and that delivers while it is read."""

    def __init__(self, held: range) -> None:
        self.epoch = 1
        self.held = held
        self.deliveries: Deliveries | None = None
        self.meanwhile: list[range] = []

    async def end(self, topic: str) -> dict[int, int]:
        return {0: self.held.stop, 1: self.held.stop}

    async def beginning(self, topic: str) -> dict[int, int]:
        return {0: self.held.start, 1: self.held.start}

    async def fetch(
        self, start: dict[TopicPartition, int], *, max_records: int, wait_s: float
    ) -> dict[TopicPartition, list[Record]]:
        for offsets in self.meanwhile:
            await self.deliver(0, offsets)
        self.meanwhile = []
        held = {place: range(max(first, self.held.start), self.held.stop)[:max_records] for place, first in start.items()}
        return {
            place: [Record(place.topic, place.partition, offset, b"", b"") for offset in offsets]
            for place, offsets in held.items()
            if offsets
        }

    async def deliver(self, partition: int, offsets: range) -> None:
        """Deliver a batch of these."""
        assert self.deliveries is not None
        records = [SimpleNamespace(offset=offset, key=b"", value=b"") for offset in offsets]
        await self.deliveries.deliver(SimpleNamespace(topic=CHARGING, partition=partition, offset=offsets[-1], value=records))


def told_by(log: Told) -> Deliveries:
    log.deliveries = Deliveries(log, "", silent_s=0)  # type: ignore[arg-type]  # of the log it is asked this much
    log.deliveries.assign(frozenset({TopicPartition(CHARGING, 0), TopicPartition(CHARGING, 1)}))
    return log.deliveries


async def read_to(deliveries: Deliveries, at: dict[TopicPartition, int], stop: int) -> list[int]:
    """Return the offsets of the first partition in the order in which they come, as the projector asks for them."""
    found: list[int] = []
    for _ in range(10):
        for place, records in (await deliveries.fetch(at, max_records=1_000, wait_s=0)).items():
            at[place] = records[-1].offset + 1
            found += [record.offset for record in records if place.partition == 0]
        if at[TopicPartition(CHARGING, 0)] >= stop:
            break
    return found


@pytest.mark.parametrize(
    "delivered",
    [
        pytest.param([range(600, 700)], id="later ones first"),
        pytest.param([range(400, 600), range(400, 700)], id="again from where the group committed"),
        pytest.param([range(500, 600), range(650, 700)], id="with something between"),
        pytest.param([], id="nothing"),
    ],
)
async def test_what_is_delivered_while_the_log_is_read_neither_skips_nor_repeats(delivered: list[range]) -> None:
    log = Told(range(700))
    deliveries = told_by(log)
    await log.deliver(1, range(690, 700))  # so that the log is read for the other partition
    log.meanwhile = delivered
    found = await read_to(deliveries, {TopicPartition(CHARGING, 0): 500, TopicPartition(CHARGING, 1): 600}, 700)
    assert found == list(range(500, 700))


async def test_what_is_forgotten_after_the_log_was_looked_at_is_missed_no_longer() -> None:
    log = Told(range(200))
    deliveries = told_by(log)
    at = {TopicPartition(CHARGING, 0): 200}
    assert await read_to(deliveries, at, 200) == []
    log.held = range(300, 400)
    await log.deliver(0, range(300, 400))
    assert await read_to(deliveries, at, 400) == list(range(300, 400))
