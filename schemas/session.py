"""Session in the canonical form (OCPI 2.3.0 edition 2), for readers that need typed values.

Unknown members are ignored here; the document keeps them. UNSET is absence, None is null.
"""

from datetime import datetime
from decimal import Decimal
from typing import Final, Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType

from schemas.price import Price

SessionStatus = Literal["ACTIVE", "COMPLETED", "INVALID", "PENDING", "RESERVATION"]
AuthMethod = Literal["AUTH_REQUEST", "COMMAND", "WHITELIST"]
CdrDimensionType = Literal[
    "CURRENT",
    "ENERGY",
    "ENERGY_EXPORT",
    "ENERGY_IMPORT",
    "MAX_CURRENT",
    "MIN_CURRENT",
    "MAX_POWER",
    "MIN_POWER",
    "PARKING_TIME",
    "POWER",
    "RESERVATION_TIME",
    "STATE_OF_CHARGE",
    "TIME",
]


class CdrToken(Struct, frozen=True, kw_only=True):
    """Who charged; country_code and party_id are those of the eMSP."""

    country_code: str
    party_id: str
    uid: str
    type: str
    contract_id: str


class CdrDimension(Struct, frozen=True, kw_only=True):
    """A volume: kWh, hours, A, W or %, by its type."""

    type: CdrDimensionType
    volume: Decimal


class ChargingPeriod(Struct, frozen=True, kw_only=True):
    """What holds from `start_date_time` to the next period or the end."""

    start_date_time: datetime
    dimensions: tuple[CdrDimension, ...]
    tariff_id: str | UnsetType | None = UNSET


class Session(Struct, frozen=True, kw_only=True):
    """A charging session as it stands; `kwh` in kWh."""

    country_code: str
    party_id: str
    id: str
    start_date_time: datetime
    end_date_time: datetime | UnsetType | None = UNSET
    kwh: Decimal
    cdr_token: CdrToken
    auth_method: AuthMethod
    authorization_reference: str | UnsetType | None = UNSET
    location_id: str
    evse_uid: str
    connector_id: str
    meter_id: str | UnsetType | None = UNSET
    currency: str
    charging_periods: tuple[ChargingPeriod, ...] | UnsetType | None = UNSET
    total_cost: Price | UnsetType | None = UNSET
    status: SessionStatus
    last_updated: datetime


def decode(document: bytes) -> Session:
    """Return the canonical document as values, numbers exactly. Raises msgspec.DecodeError."""
    return _session.decode(document)


_session: Final = msgspec.json.Decoder(Session)
