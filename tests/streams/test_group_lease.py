"""What a lease on Kafka adds to what every lease promises: see tests/streams/test_lease.py."""

from aiokafka.cluster import ClusterMetadata
from aiokafka.coordinator.protocol import ConsumerProtocolMemberMetadata

from streams.runtimes.group_lease import assignor_of


def test_the_lease_is_given_to_one_also_while_no_broker_names_its_topic() -> None:
    members = {name: ConsumerProtocolMemberMetadata(0, ["ocpi.log"], b"") for name in ("one", "other")}
    given = assignor_of("ocpi.log").assign(ClusterMetadata(), members)
    assert [given[name].assignment for name in members] == [[("ocpi.log", [0])], []]
