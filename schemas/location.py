"""Location, EVSE and Connector in the canonical form (OCPI 2.3.0 edition 2), for readers that need typed values.

Unknown members are ignored here; the document keeps them. UNSET is absence, None is null.
"""

from datetime import datetime
from decimal import Decimal
from typing import Final, Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType

Status = Literal["AVAILABLE", "BLOCKED", "CHARGING", "INOPERATIVE", "OUTOFORDER", "PLANNED", "REMOVED", "RESERVED", "UNKNOWN"]
PowerType = Literal["AC_1_PHASE", "AC_2_PHASE", "AC_2_PHASE_SPLIT", "AC_3_PHASE", "DC"]
ConnectorFormat = Literal["SOCKET", "CABLE"]
EnergySourceCategory = Literal["NUCLEAR", "GENERAL_FOSSIL", "COAL", "GAS", "GENERAL_GREEN", "SOLAR", "WIND", "WATER"]
EVSEPosition = Literal["LEFT", "RIGHT", "CENTER"]
ParkingDirection = Literal["PARALLEL", "PERPENDICULAR", "ANGLE"]


class DisplayText(Struct, frozen=True, kw_only=True):
    """A text for drivers in one language (ISO 639-1)."""

    language: str
    text: str


class GeoLocation(Struct, frozen=True, kw_only=True):
    """WGS 84 degrees as text, because their digits count."""

    latitude: str
    longitude: str


class AdditionalGeoLocation(Struct, frozen=True, kw_only=True):
    """A place that belongs to a Location, e.g. its entrance."""

    latitude: str
    longitude: str
    name: DisplayText | UnsetType | None = UNSET


class Image(Struct, frozen=True, kw_only=True):
    """A picture; `width` and `height` in pixels."""

    url: str
    thumbnail: str | UnsetType | None = UNSET
    category: str
    type: str
    width: int | UnsetType | None = UNSET
    height: int | UnsetType | None = UNSET


class BusinessDetails(Struct, frozen=True, kw_only=True):
    """A company as it is shown."""

    name: str
    website: str | UnsetType | None = UNSET
    logo: Image | UnsetType | None = UNSET


class EnergySource(Struct, frozen=True, kw_only=True):
    """A share of the energy; `percentage` 0 … 100."""

    source: EnergySourceCategory
    percentage: Decimal


class EnvironmentalImpact(Struct, frozen=True, kw_only=True):
    """What a kWh leaves behind; `amount` in g/kWh."""

    category: str
    amount: Decimal


class EnergyMix(Struct, frozen=True, kw_only=True):
    """Where the energy comes from."""

    is_green_energy: bool
    energy_sources: tuple[EnergySource, ...] | UnsetType | None = UNSET
    environ_impact: tuple[EnvironmentalImpact, ...] | UnsetType | None = UNSET
    supplier_name: str | UnsetType | None = UNSET
    energy_product_name: str | UnsetType | None = UNSET


class RegularHours(Struct, frozen=True, kw_only=True):
    """Weekly hours, local time `HH:MM`; `weekday` 1 is Monday."""

    weekday: int
    period_begin: str
    period_end: str


class ExceptionalPeriod(Struct, frozen=True, kw_only=True):
    """A span that differs from the regular hours."""

    period_begin: datetime
    period_end: datetime


class Hours(Struct, frozen=True, kw_only=True):
    """When a Location can be entered."""

    twentyfourseven: bool
    regular_hours: tuple[RegularHours, ...] | UnsetType | None = UNSET
    exceptional_openings: tuple[ExceptionalPeriod, ...] | UnsetType | None = UNSET
    exceptional_closings: tuple[ExceptionalPeriod, ...] | UnsetType | None = UNSET


class StatusSchedule(Struct, frozen=True, kw_only=True):
    """An announced status; informational only."""

    period_begin: datetime
    period_end: datetime | UnsetType | None = UNSET
    status: Status


class PublishTokenType(Struct, frozen=True, kw_only=True):
    """Whose drivers may see an unpublished Location."""

    uid: str | UnsetType | None = UNSET
    type: str | UnsetType | None = UNSET
    visual_number: str | UnsetType | None = UNSET
    issuer: str | UnsetType | None = UNSET
    group_id: str | UnsetType | None = UNSET


class Parking(Struct, frozen=True, kw_only=True):
    """A parking place; lengths in metres, weight in kg, `time_limit` in minutes."""

    id: str
    physical_reference: str | UnsetType | None = UNSET
    vehicle_types: tuple[str, ...]
    max_vehicle_weight: Decimal | UnsetType | None = UNSET
    max_vehicle_height: Decimal | UnsetType | None = UNSET
    max_vehicle_length: Decimal | UnsetType | None = UNSET
    max_vehicle_width: Decimal | UnsetType | None = UNSET
    parking_space_length: Decimal | UnsetType | None = UNSET
    parking_space_width: Decimal | UnsetType | None = UNSET
    dangerous_goods_allowed: bool | UnsetType | None = UNSET
    direction: ParkingDirection | UnsetType | None = UNSET
    drive_through: bool | UnsetType | None = UNSET
    restricted_to_type: bool
    reservation_required: bool
    time_limit: Decimal | UnsetType | None = UNSET
    roofed: bool | UnsetType | None = UNSET
    images: tuple[Image, ...] | UnsetType | None = UNSET
    lighting: bool | UnsetType | None = UNSET
    refrigeration_outlet: bool | UnsetType | None = UNSET
    standards: tuple[str, ...] | UnsetType | None = UNSET
    apds_reference: str | UnsetType | None = UNSET


class EVSEParking(Struct, frozen=True, kw_only=True):
    """Which parking place an EVSE serves."""

    parking_id: str
    evse_position: EVSEPosition | UnsetType | None = UNSET


class Connector(Struct, frozen=True, kw_only=True):
    """A socket or cable; volts, amperes and watts."""

    id: str
    standard: str
    format: ConnectorFormat
    power_type: PowerType
    max_voltage: int
    max_amperage: int
    max_electric_power: int | UnsetType | None = UNSET
    tariff_ids: tuple[str, ...] | UnsetType | None = UNSET
    terms_and_conditions: str | UnsetType | None = UNSET
    capabilities: tuple[str, ...] | UnsetType | None = UNSET
    last_updated: datetime


class EVSE(Struct, frozen=True, kw_only=True):
    """What charges one vehicle at a time."""

    uid: str
    evse_id: str | UnsetType | None = UNSET
    status: Status
    status_schedule: tuple[StatusSchedule, ...] | UnsetType | None = UNSET
    capabilities: tuple[str, ...] | UnsetType | None = UNSET
    connectors: tuple[Connector, ...]
    floor_level: str | UnsetType | None = UNSET
    coordinates: GeoLocation | UnsetType | None = UNSET
    physical_reference: str | UnsetType | None = UNSET
    directions: tuple[DisplayText, ...] | UnsetType | None = UNSET
    parking_restrictions: tuple[str, ...] | UnsetType | None = UNSET
    parking: tuple[EVSEParking, ...] | UnsetType | None = UNSET
    images: tuple[Image, ...] | UnsetType | None = UNSET
    accepted_service_providers: tuple[str, ...] | UnsetType | None = UNSET
    last_updated: datetime


class Location(Struct, frozen=True, kw_only=True):
    """A site with its EVSEs."""

    country_code: str
    party_id: str
    id: str
    publish: bool
    publish_allowed_to: tuple[PublishTokenType, ...] | UnsetType | None = UNSET
    name: str | UnsetType | None = UNSET
    address: str
    city: str
    postal_code: str | UnsetType | None = UNSET
    state: str | UnsetType | None = UNSET
    country: str
    coordinates: GeoLocation
    related_locations: tuple[AdditionalGeoLocation, ...] | UnsetType | None = UNSET
    parking_type: str | UnsetType | None = UNSET
    evses: tuple[EVSE, ...] | UnsetType | None = UNSET
    parking_places: tuple[Parking, ...] | UnsetType | None = UNSET
    directions: tuple[DisplayText, ...] | UnsetType | None = UNSET
    operator: BusinessDetails | UnsetType | None = UNSET
    suboperator: BusinessDetails | UnsetType | None = UNSET
    owner: BusinessDetails | UnsetType | None = UNSET
    facilities: tuple[str, ...] | UnsetType | None = UNSET
    time_zone: str
    opening_times: Hours | UnsetType | None = UNSET
    charging_when_closed: bool | UnsetType | None = UNSET
    images: tuple[Image, ...] | UnsetType | None = UNSET
    energy_mix: EnergyMix | UnsetType | None = UNSET
    help_phone: str | UnsetType | None = UNSET
    last_updated: datetime


def decode(document: bytes) -> Location:
    """Return the canonical document as values, numbers exactly. Raises msgspec.DecodeError."""
    return _location.decode(document)


def decode_evse(document: bytes) -> EVSE:
    """Return the canonical document as values, numbers exactly. Raises msgspec.DecodeError."""
    return _evse.decode(document)


def decode_connector(document: bytes) -> Connector:
    """Return the canonical document as values, numbers exactly. Raises msgspec.DecodeError."""
    return _connector.decode(document)


_location: Final = msgspec.json.Decoder(Location)
_evse: Final = msgspec.json.Decoder(EVSE)
_connector: Final = msgspec.json.Decoder(Connector)
