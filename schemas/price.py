"""Amounts of money in the canonical form (OCPI 2.3.0 edition 2): before taxes, and the taxes one by one.

Unknown members are ignored here; the document keeps them. UNSET is absence, None is null.
"""

from decimal import Decimal

from msgspec import UNSET, Struct, UnsetType


class TaxAmount(Struct, frozen=True, kw_only=True):
    """One tax. `percentage` is 0 … 100, `amount` in the currency of the object around it."""

    name: str
    account_number: str | UnsetType | None = UNSET
    percentage: Decimal | UnsetType | None = UNSET
    amount: Decimal


class Price(Struct, frozen=True, kw_only=True):
    """A cost in the currency of the object around it. No `taxes`, `[]` and null all mean that nothing is known of taxes."""

    before_taxes: Decimal
    taxes: tuple[TaxAmount, ...] | UnsetType | None = UNSET


class PriceLimit(Struct, frozen=True, kw_only=True):
    """A bound on the cost of one session; both amounts are compared by themselves."""

    before_taxes: Decimal
    after_taxes: Decimal | UnsetType | None = UNSET
