"""What the leader of a consumer group goes by when it gives out partitions: how the log was made, not who was asked last.

A broker that has just come up names no partitions of topics whose leaders are not elected. Assignors ignore such topics, and what
they gave out stands until the metadata is renewed, by default after five minutes: until then nobody reads.
"""

from collections.abc import Mapping
from typing import Any


class Counted:
    """Stands in for the brokers' metadata before an assignor. `partitions`: how many each topic has, by its whole name.

    Of other topics, such as those of a later release beside this one in the group, the metadata is asked.
    """

    def __init__(self, partitions: Mapping[str, int], metadata: Any) -> None:
        self._partitions = partitions
        self._metadata = metadata

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        """Return the numbers of the topic's partitions, None where nobody knows them."""
        if topic in self._partitions:
            return set(range(self._partitions[topic]))
        known: set[int] | None = self._metadata.partitions_for_topic(topic)
        return known
