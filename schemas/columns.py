"""Canonical numbers as table columns: how an exact decimal meets a fixed scale."""

from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Final

SCALE: Final = 12
DECIMAL: Final = f"Decimal(38, {SCALE})"
"""The ClickHouse type of every amount, energy and duration: 26 digits before the point, 12 behind."""

_UNIT: Final = Decimal(1).scaleb(-SCALE)
_CONTEXT: Final = Context(prec=60, rounding=ROUND_HALF_EVEN)


def column_decimal(value: Decimal) -> Decimal:
    """Return the value at the column's scale. The document keeps every digit; only the 13th and later are rounded here."""
    exponent = value.as_tuple().exponent
    if isinstance(exponent, int) and exponent >= -SCALE:
        return value
    return value.quantize(_UNIT, context=_CONTEXT)
