"""What was refused, for people to look at and for `replay`."""

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from schemas.events import RequestRejected
from streams.projection import Column, Fact, Key, Recorded, Table
from streams.topics import REJECTED

REJECTED_TABLE: Final = Table(
    name="rejected",
    version=1,
    kind="current",
    columns=(
        Column("rejected_id", "String"),
        Column("received_at", "DateTime64(6, 'UTC')"),
        Column("connection", "LowCardinality(String)"),
        Column("party", "LowCardinality(String)"),
        Column("module", "LowCardinality(String)"),
        Column("ocpi_version", "LowCardinality(String)"),
        Column("method", "LowCardinality(String)"),
        Column("path", "String"),
        Column("http_status", "UInt16"),
        Column("status_code", "UInt16"),
        Column("source", "LowCardinality(String)"),
        Column("reason", "String"),
        Column("rules", "Array(LowCardinality(String))"),
        Column("body_length", "UInt64"),
        Column("topic_offset", "UInt64"),
        Column("replayed", "LowCardinality(String)"),
        Column("doc", "String"),
        Column("state", "String"),
    ),
    order_by=("rejected_id",),
)
