"""All projections, in one place; found by a call, never by an import's side effect."""

from streams.generations import AnyProjection
from streams.projections.cdrs import Cdrs
from streams.projections.ledger import Ledger
from streams.projections.rejected import Rejections
from streams.projections.sessions import Sessions


def projections() -> tuple[AnyProjection, ...]:
    """Return every projection of this release."""
    return (Sessions(), Cdrs(), Ledger(), Rejections())
