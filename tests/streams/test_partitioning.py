"""A key goes to the partition that Kafka's default partitioner gives it, for ever."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.topics import lane, murmur2, partition_of, record_key


# The vectors of Kafka's own UtilsTest.testMurmur2 (signed there, as Java's int).
@pytest.mark.parametrize(
    ("key", "signed"),
    [
        ("21", -973932308),
        ("foobar", -790332482),
        ("a-little-bit-long-string", -985981536),
        ("a-little-bit-longer-string", -1486304829),
        ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        ("abc", 479470107),
    ],
)
def test_murmur2_is_kafkas(key: str, signed: int) -> None:
    assert murmur2(key.encode()) == signed & 0xFFFFFFFF


@given(st.binary(max_size=600))
def test_murmur2_agrees_with_the_kafka_client(data: bytes) -> None:
    from aiokafka.partitioner import murmur2 as of_the_client

    assert murmur2(data) == of_the_client(data) & 0xFFFFFFFF


@given(st.binary(max_size=64), st.integers(1, 64))
def test_a_partition_is_one_of_those_there_are(key: bytes, partitions: int) -> None:
    assert 0 <= partition_of(key, partitions) < partitions


def test_an_id_has_one_lane_however_it_is_spelled() -> None:
    assert record_key("NL*TNM", "Sess-A") == record_key("NL*TNM", "SESS-a") == b"NL*TNM|sess-a"
    assert lane("ocpi.charging", b"NL*TNM|sess-a", 4) == ("ocpi.charging", partition_of(b"NL*TNM|sess-a", 4))
