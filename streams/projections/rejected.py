"""What was refused, for people to look at and for `replay`."""

from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec import Struct

from schemas.events import RequestRejected
from schemas.rejected import Rejected
from schemas.types import Instant
from streams.projection import OFFSET_MASK, Column, Fact, Key, Recorded, Table
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


class RejectedSummary(Struct, frozen=True, array_like=True):
    """What the row shows of a refusal; `offset` is its place in the partition."""

    received_at: Instant = 0
    connection: str = ""
    party: str = ""
    module: str = ""
    version: str = ""
    method: str = ""
    path: str = ""
    http_status: int = 0
    status_code: int = 0
    source: str = ""
    reason: str = ""
    rules: tuple[str, ...] = ()
    body_length: int = 0
    offset: int = 0


class RejectedState(Struct, frozen=True, array_like=True):
    """A refusal and what its last replay gave ('' where none was tried)."""

    rejected: RejectedSummary | None
    replayed: str


class Rejections:
    """The projection of refusals; the bodies stay in the log, where `partition` and `topic_offset` find them."""

    name: Final = "rejected"
    version: Final = 1
    topics: Final = (REJECTED,)
    current: Final = REJECTED_TABLE
    facts: Final = ()

    def key(self, recorded: Recorded) -> Key | None:
        """Return the id (hex) of the refusal, for an outcome that of the refusal which was replayed."""
        match recorded.event:
            case RequestRejected(rejected):
                return ((rejected.replay_of or rejected.rejected_id).hex(),)
            case _:
                return None

    def fold(self, state: RejectedState | None, recorded: Recorded) -> tuple[RejectedState | None, Sequence[Fact]]:
        """Return the refusal, or the refusal with its outcome."""
        match recorded.event:
            case RequestRejected(rejected) if rejected.replay_of is None:
                return state or RejectedState(_summary(rejected, recorded), ""), ()
            case RequestRejected(rejected):
                return RejectedState(state.rejected if state else None, rejected.outcome or ""), ()
            case _:
                return state, ()

    def decode(self, key: Key, doc: bytes, state: bytes) -> RejectedState:
        """Read a state back from its row."""
        return _decoder.decode(state)

    def row(self, key: Key, state: RejectedState) -> tuple[object, ...]:
        """Return the current row."""
        of = state.rejected or RejectedSummary()
        return (
            *key,
            of.received_at,
            of.connection,
            of.party,
            of.module,
            of.version,
            of.method,
            of.path,
            of.http_status,
            of.status_code,
            of.source,
            of.reason,
            list(of.rules),
            of.body_length,
            of.offset,
            state.replayed,
            b"",
            _encoder.encode(state),
        )


_decoder: Final = msgspec.msgpack.Decoder(RejectedState)
_encoder: Final = msgspec.msgpack.Encoder()


def _summary(rejected: Rejected, recorded: Recorded) -> RejectedSummary:
    return RejectedSummary(
        received_at=rejected.received_at,
        connection=rejected.connection,
        party=rejected.party,
        module=rejected.module,
        version=rejected.version,
        method=rejected.method,
        path=rejected.path,
        http_status=rejected.http_status or 0,
        status_code=rejected.status_code or 0,
        source=rejected.source,
        reason=rejected.reason,
        rules=tuple(dict.fromkeys(finding.rule for finding in rejected.findings if finding.severity == "error")),
        body_length=rejected.body_length,
        offset=recorded.version & OFFSET_MASK,
    )
