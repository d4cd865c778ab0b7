"""The topics, declared once, and which record goes where."""

import struct
from functools import lru_cache
from typing import Final

from msgspec import Struct

from schemas.types import identity
from streams.ports import TopicPartition


class Topic(Struct, frozen=True):
    """A topic's shape. `retention_ms` -1 keeps for ever; nothing is compacted, because a PATCH is not a whole object."""

    name: str
    keyed_by: str
    ordered_as_one: bool = False
    retention_ms: int = -1
    max_message_bytes: int = 12 * 1024 * 1024


LOCATIONS: Final = "ocpi.locations"
CHARGING: Final = "ocpi.charging"
TARIFFS: Final = "ocpi.tariffs"
TOKENS: Final = "ocpi.tokens"
PARTNERS: Final = "ocpi.partners"
CRAWLS: Final = "ocpi.crawls"
REJECTED: Final = "ocpi.rejected"

_M: Final = 0x5BD1E995
_SEED: Final = 0x9747B28C
_MASK: Final = 0xFFFFFFFF
_WORDS: Final = [struct.Struct(f"<{words}I").unpack_from for words in range(64)]

TOPICS: Final[dict[str, Topic]] = {
    topic.name: topic
    for topic in (
        Topic(LOCATIONS, "location id"),
        Topic(CHARGING, "session id, else the credited CDR's id, else the CDR's own id: a session meets its CDRs in order"),
        Topic(TARIFFS, "tariff id"),
        Topic(TOKENS, "token uid and type"),
        Topic(PARTNERS, "partner name", ordered_as_one=True),
        Topic(CRAWLS, "crawl run"),
        Topic(REJECTED, "rejection id", retention_ms=90 * 24 * 3600 * 1000),
    )
}


def record_key(party: str, *ids: str) -> bytes:
    """Return the key bytes of an object: `NL*TNM|id`, ids lowered (DESIGN: identity), parts joined with `|`."""
    return "|".join((party, *map(identity, ids))).encode()


@lru_cache(1 << 16)  # objects that live are written again and again; about 10 MiB when full
def murmur2(data: bytes) -> int:
    """Return Kafka's 32-bit murmur2 of the key, as the Java client computes it (unsigned)."""
    length = len(data)
    words = length >> 2
    h = _SEED ^ length
    for k in _WORDS[words](data) if words < len(_WORDS) else struct.unpack_from(f"<{words}I", data):
        k = k * _M & _MASK  # noqa: PLW2901 (once per four bytes of every key that is appended)
        h = (h * _M ^ (k ^ (k >> 24)) * _M) & _MASK
    if length & 3:
        h = (h ^ int.from_bytes(data[words << 2 :], "little")) * _M & _MASK
    h = (h ^ (h >> 13)) * _M & _MASK
    return h ^ (h >> 15)


def partition_of(key: bytes, partitions: int) -> int:
    """Return the partition that Kafka's default partitioner gives the key."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions


def lane(topic: str, key: bytes, partitions: int) -> TopicPartition:
    """Return the ordered lane of a key."""
    return TopicPartition(topic, partition_of(key, partitions))
