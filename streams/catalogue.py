"""All projections, in one place; found by a call, never by an import's side effect."""

from streams.generations import AnyProjection, tables_of
from streams.projection import Table
from streams.projections.cdrs import Cdrs
from streams.projections.crawls import Crawls
from streams.projections.ledger import Ledger
from streams.projections.locations import Locations
from streams.projections.rejected import Rejections
from streams.projections.sessions import Sessions
from streams.projections.tariffs import Tariffs
from streams.projections.tokens import Tokens
from streams.tables import SYSTEM_TABLES


def projections() -> tuple[AnyProjection, ...]:
    """Return every projection of this release."""
    return (Locations(), Sessions(), Cdrs(), Ledger(), Tariffs(), Tokens(), Rejections(), Crawls())


def declared_tables() -> dict[str, Table]:
    """Return every table by name, the bookkeeping ones included."""
    return {table.name: table for table in (*SYSTEM_TABLES, *(t for p in projections() for t in tables_of(p)))}
