"""What a read model is: a pure fold, the rows it derives, and the table that keeps them."""

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple, Protocol, TypeVar

from msgspec import Struct

from schemas.events import Envelope, Event

VERSION_BITS: Final = 48
OFFSET_MASK: Final = (1 << VERSION_BITS) - 1


def row_version(epoch: int, offset: int) -> int:
    """Return the version of a row: later epochs win, then later offsets (UInt64, because ReplacingMergeTree takes no tuple)."""
    return epoch << VERSION_BITS | offset


class Column(NamedTuple):
    """A column and its ClickHouse type, codec included."""

    name: str
    type: str


class Table(Struct, frozen=True):
    """A ClickHouse table, declared once beside its fold. A change of columns is a new `version`, filled by replay.

    `current` keeps the newest row of a sort key, `fact` the first delivered one. Every table also carries
    `partition UInt16` and `version UInt64`, which the projector fills.
    """

    name: str
    version: int
    kind: Literal["current", "fact"]
    columns: tuple[Column, ...]
    order_by: tuple[str, ...]
    partition_by: str = ""
    indexes: tuple[str, ...] = ()


class Fact(Struct, frozen=True, gc=False):  # none of these takes part in a cycle, and the collector has enough to look at
    """A derived row for `table` (its own columns, in their order): appended, or replacing where the table is `current`."""

    table: Table
    row: tuple[object, ...]


class Recorded(Struct, frozen=True, gc=False):
    """An event with its envelope and its row version."""

    envelope: Envelope
    event: Event
    partition: int
    version: int


StateT = TypeVar("StateT")
Key = tuple[str, ...]


class Projection(Protocol[StateT]):
    """A read model: one file in streams/projections. It does no I/O and reads no clock.

    The projector keeps one state per key. A state is stored in the `current` table as two columns, `doc` (String, the
    served document) and `state` (String, whatever else the fold needs), and comes back through `decode`.
    """

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> int:
        """The fold's version: a higher one starts a new generation that is filled from the log's start."""
        ...

    @property
    def topics(self) -> tuple[str, ...]: ...
    @property
    def current(self) -> Table | None:
        """The table of states, sorted by the key's parts; None where the projection only derives facts."""
        ...

    @property
    def facts(self) -> tuple[Table, ...]: ...

    def key(self, recorded: Recorded) -> Key | None:
        """Return the state's key, the values of `current.order_by`; None when the event does not concern it."""
        ...

    def fold(self, state: StateT | None, recorded: Recorded) -> tuple[StateT | None, Sequence[Fact]]:
        """Return the state after the event and the facts derived. The same object back means: nothing changed."""
        ...

    def decode(self, key: Key, doc: bytes, state: bytes) -> StateT:
        """Read a state back from its row."""
        ...

    def row(self, key: Key, state: StateT) -> tuple[object, ...]:
        """Return the current row (the table's own columns, in their order; `doc` and `state` among them)."""
        ...
