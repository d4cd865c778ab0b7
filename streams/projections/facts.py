"""The data quality findings that every projection keeps of the events it folds, and what their versions could not carry."""

from collections.abc import Iterable
from typing import Final

from schemas.events import Envelope
from schemas.types import Finding
from streams.projection import Column, Fact, Recorded, Table

REPEATED: Final = "repeated"
"""The rule of an event that came more than once."""

FINDING_COLUMNS: Final = (
    Column("party", "LowCardinality(String)"),
    Column("module", "LowCardinality(String)"),
    Column("object_id", "String"),
    Column("event_id", "FixedString(16)"),
    Column("pointer", "String"),
    Column("rule", "LowCardinality(String)"),
    Column("severity", "LowCardinality(String)"),
    Column("message", "String"),
    Column("connection", "LowCardinality(String)"),
    Column("ocpi_version", "LowCardinality(String)"),
    Column("received_at", "DateTime64(6, 'UTC')"),
)


def findings_table(name: str) -> Table:
    """Return the table of one projection's findings; the view `findings` is the union of all of them."""
    return Table(
        name=name, version=1, kind="fact", columns=FINDING_COLUMNS, order_by=("party", "object_id", "event_id", "pointer", "rule")
    )


def repeated(table: Table, recorded: Recorded, object_id: str) -> list[Fact]:
    """Return the fact that an event came again. The object stands as it stood; how often a partner retries is worth knowing."""
    again = Finding("", REPEATED, "info", "the same once more: a retry, or a second way")
    return [_fact(table, recorded.envelope, object_id, (again.pointer, again.rule, again.severity, again.message))]


def findings(table: Table, recorded: Recorded, object_id: str, seen: Iterable[Finding]) -> list[Fact]:
    """Return one fact per finding of the edge (kept in the envelope) and of the fold (`seen`), and one per loss of `lift`.

    A loss has its kind, lost or defaulted, as its rule and its severity.
    """
    envelope: Envelope = recorded.envelope
    remarks: list[tuple[str, ...]] = [(one.pointer, one.rule, one.severity, one.message) for one in (*envelope.findings, *seen)]
    if envelope.losses:
        remarks += [(loss.pointer, loss.kind, loss.kind, loss.reason) for loss in envelope.losses]
    return [_fact(table, envelope, object_id, remark) for remark in remarks]


def _fact(table: Table, envelope: Envelope, object_id: str, remark: tuple[str, ...]) -> Fact:
    return Fact(
        table,
        (
            envelope.party,
            envelope.module,
            object_id,
            envelope.event_id,
            *remark,
            envelope.connection,
            envelope.version,
            envelope.received_at,
        ),
    )
