"""Tariff in the canonical form (OCPI 2.3.0 edition 2), for readers that need typed values.

Unknown members are ignored here; the document keeps them. UNSET is absence, None is null.
"""

from datetime import datetime
from decimal import Decimal
from typing import Final, Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType

from schemas.location import DisplayText, EnergyMix
from schemas.price import PriceLimit

TariffType = Literal["AD_HOC_PAYMENT", "PROFILE_CHEAP", "PROFILE_FAST", "PROFILE_GREEN", "REGULAR"]
TariffDimensionType = Literal["ENERGY", "FLAT", "PARKING_TIME", "TIME"]
DayOfWeek = Literal["MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY"]
ReservationRestrictionType = Literal["RESERVATION", "RESERVATION_EXPIRES"]
TaxIncluded = Literal["YES", "NO", "N/A"]


class PriceComponent(Struct, frozen=True, kw_only=True):
    """A price per kWh, per hour or once; `step_size` in Wh or seconds, `vat` in percent."""

    type: TariffDimensionType
    price: Decimal
    vat: Decimal | UnsetType | None = UNSET
    step_size: int


class TariffRestrictions(Struct, frozen=True, kw_only=True):
    """When an element applies: local times, kWh, A, kW, seconds."""

    start_time: str | UnsetType | None = UNSET
    end_time: str | UnsetType | None = UNSET
    start_date: str | UnsetType | None = UNSET
    end_date: str | UnsetType | None = UNSET
    min_kwh: Decimal | UnsetType | None = UNSET
    max_kwh: Decimal | UnsetType | None = UNSET
    min_current: Decimal | UnsetType | None = UNSET
    max_current: Decimal | UnsetType | None = UNSET
    min_power: Decimal | UnsetType | None = UNSET
    max_power: Decimal | UnsetType | None = UNSET
    min_duration: int | UnsetType | None = UNSET
    max_duration: int | UnsetType | None = UNSET
    day_of_week: tuple[DayOfWeek, ...] | UnsetType | None = UNSET
    reservation: ReservationRestrictionType | UnsetType | None = UNSET


class TariffElement(Struct, frozen=True, kw_only=True):
    """Prices and when they apply."""

    price_components: tuple[PriceComponent, ...]
    restrictions: TariffRestrictions | UnsetType | None = UNSET


class Tariff(Struct, frozen=True, kw_only=True):
    """What charging costs; `tax_included` tells whether its prices hold the taxes, UNSET where that is not known."""

    country_code: str
    party_id: str
    id: str
    currency: str
    type: TariffType | UnsetType | None = UNSET
    tariff_alt_text: tuple[DisplayText, ...] | UnsetType | None = UNSET
    tariff_alt_url: str | UnsetType | None = UNSET
    min_price: PriceLimit | UnsetType | None = UNSET
    max_price: PriceLimit | UnsetType | None = UNSET
    elements: tuple[TariffElement, ...]
    tax_included: TaxIncluded | UnsetType = UNSET
    start_date_time: datetime | UnsetType | None = UNSET
    end_date_time: datetime | UnsetType | None = UNSET
    energy_mix: EnergyMix | UnsetType | None = UNSET
    last_updated: datetime


def decode(document: bytes) -> Tariff:
    """Return the canonical document as values, numbers exactly. Raises msgspec.DecodeError."""
    return _tariff.decode(document)


_tariff: Final = msgspec.json.Decoder(Tariff)
