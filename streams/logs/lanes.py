"""What every log shares: the topics' lanes, what an entry may weigh, and how one fetch is divided fairly."""

from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

from streams.ports import Entry, LogUnavailable, RecordTooLarge
from streams.topics import TOPICS, Topic, partition_of

FETCH_BYTES: Final = 16 * 1024 * 1024
"""About what one fetch returns at most; a lone larger record still comes, or its lane would stand for ever."""


class LogMismatch(Exception):
    """The log is not the one that was asked for: another format, other partition counts, or no log at all."""


Placed: TypeAlias = tuple[int, bytes, bytes]
"""The lane that an entry's key belongs to (an index over all partitions of all topics), its key and its value."""


class Lanes:
    """The partitions of all topics, numbered through."""

    def __init__(self, counts: Mapping[str, int], first: Mapping[str, int]) -> None:
        self._counts = dict(counts)
        self._first = dict(first)
        self._shapes = {topic: (first[topic], count, _most(topic)) for topic, count in counts.items()}
        self.names = {first[topic] + p: (topic, p) for topic, count in counts.items() for p in range(count)}

    @classmethod
    def declared(cls, partitions: int, topics: Mapping[str, Topic] = TOPICS) -> "Lanes":
        """Return the lanes of a new log whose topics have `partitions` each (one where a topic is ordered as one)."""
        counts = {name: 1 if topic.ordered_as_one else partitions for name, topic in topics.items()}
        first: dict[str, int] = {}
        for name, count in counts.items():
            first[name] = sum(counts[earlier] for earlier in first)
            assert count > 0
        return cls(counts, first)

    def partitions(self, topic: str) -> int:
        """Return the topic's partition count; raises KeyError for an undeclared one."""
        return self._counts[topic]

    def lane(self, topic: str, partition: int) -> int:
        """Return the lane's number; raises KeyError for one that does not exist."""
        if not 0 <= partition < self._counts[topic]:
            raise KeyError(f"{topic} has no partition {partition}")
        return self._first[topic] + partition

    def place(self, entries: Sequence[Entry]) -> tuple[list[Placed], int]:
        """Return where each entry goes and what all weigh in bytes. Raises KeyError, RecordTooLarge."""
        placed = []
        total = 0
        for topic, key, value in entries:
            first, partitions, most = self._shapes[topic]
            size = len(key) + len(value)
            if size > most:
                raise RecordTooLarge(f"a record of {size} bytes is more than the {most} that {topic} takes")
            total += size
            placed.append((first + partition_of(key, partitions), key, value))
        return placed, total


def shares(available: Sequence[int], total: int) -> list[int]:
    """Divide `total` records over lanes that have so many: equal shares, and what the small ones leave to the large."""
    given = [0] * len(available)
    left = total
    for place, (have, index) in enumerate(sorted((have, index) for index, have in enumerate(available))):
        given[index] = min(have, left // (len(available) - place))
        left -= given[index]
    return given


def closed() -> LogUnavailable:
    """Return what a closed log raises."""
    return LogUnavailable("the log is closed")


def _most(topic: str) -> int:
    declared = TOPICS.get(topic)
    return declared.max_message_bytes if declared else Topic.max_message_bytes
