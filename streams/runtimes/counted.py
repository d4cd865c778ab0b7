"""What the leader of a consumer group goes by when it gives out partitions: how the log was made, not who was asked last.

A broker that has just come up names no partitions of topics whose leaders are not elected. Assignors ignore such topics, and what
they gave out stands until the metadata is renewed, by default after five minutes: until then nobody reads.
"""

from collections.abc import Mapping


class Counted:
    """Stands in for the brokers' metadata before an assignor. `partitions`: how many each topic has, by its whole name."""

    def __init__(self, partitions: Mapping[str, int]) -> None:
        self._partitions = partitions

    def partitions_for_topic(self, topic: str) -> set[int]:
        """Return the numbers of the topic's partitions."""
        return set(range(self._partitions[topic]))
