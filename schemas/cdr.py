"""CDR in the canonical form (OCPI 2.3.0 edition 2), for readers that need typed values.

Unknown members are ignored here; the document keeps them. UNSET is absence, None is null.
"""

from datetime import datetime
from decimal import Decimal
from typing import Final

import msgspec
from msgspec import UNSET, Struct, UnsetType

from schemas.location import ConnectorFormat, GeoLocation, PowerType
from schemas.price import Price
from schemas.session import AuthMethod, CdrToken, ChargingPeriod
from schemas.tariff import Tariff


class SignedValue(Struct, frozen=True, kw_only=True):
    """A meter reading with its signature."""

    nature: str
    plain_data: str
    signed_data: str


class SignedData(Struct, frozen=True, kw_only=True):
    """Signed meter readings, as the meter made them."""

    encoding_method: str
    encoding_method_version: int | UnsetType | None = UNSET
    public_key: str | UnsetType | None = UNSET
    signed_values: tuple[SignedValue, ...]
    url: str | UnsetType | None = UNSET


class CdrLocation(Struct, frozen=True, kw_only=True):
    """Where the session took place, as it was when it started."""

    id: str
    name: str | UnsetType | None = UNSET
    address: str
    city: str
    postal_code: str | UnsetType | None = UNSET
    state: str | UnsetType | None = UNSET
    country: str
    coordinates: GeoLocation
    evse_uid: str
    evse_id: str
    connector_id: str
    connector_standard: str
    connector_format: ConnectorFormat
    connector_power_type: PowerType


class CDR(Struct, frozen=True, kw_only=True):
    """A charge detail record: energy in kWh, times in hours."""

    country_code: str
    party_id: str
    id: str
    start_date_time: datetime
    end_date_time: datetime
    session_id: str | UnsetType | None = UNSET
    cdr_token: CdrToken
    auth_method: AuthMethod
    authorization_reference: str | UnsetType | None = UNSET
    cdr_location: CdrLocation
    meter_id: str | UnsetType | None = UNSET
    currency: str
    tariffs: tuple[Tariff, ...] | UnsetType | None = UNSET
    charging_periods: tuple[ChargingPeriod, ...]
    signed_data: SignedData | UnsetType | None = UNSET
    total_cost: Price
    total_fixed_cost: Price | UnsetType | None = UNSET
    total_energy: Decimal
    total_energy_cost: Price | UnsetType | None = UNSET
    total_time: Decimal
    total_time_cost: Price | UnsetType | None = UNSET
    total_parking_time: Decimal | UnsetType | None = UNSET
    total_parking_cost: Price | UnsetType | None = UNSET
    total_reservation_cost: Price | UnsetType | None = UNSET
    remark: str | UnsetType | None = UNSET
    invoice_reference_id: str | UnsetType | None = UNSET
    credit: bool | UnsetType | None = UNSET
    credit_reference_id: str | UnsetType | None = UNSET
    home_charging_compensation: bool | UnsetType | None = UNSET
    last_updated: datetime


def decode(document: bytes) -> CDR:
    """Return the canonical document as values, numbers exactly. Raises msgspec.DecodeError."""
    return _cdr.decode(document)


_cdr: Final = msgspec.json.Decoder(CDR)
