"""OCPI 2.2.1: its object tables, and how they differ from the canonical form."""

from collections.abc import Mapping
from typing import Any, Final

from msgspec import Raw

from schemas.events import Document
from schemas.ocpi.declared import Conversion, Declared
from schemas.ocpi.dialect import Dialect
from schemas.ocpi.prices import lift_price, lift_tariff, lower_price, lower_tariff, prices_in_text
from schemas.ocpi.shelf import Shelf, each
from schemas.ocpi.spec import Spec, declare
from schemas.types import Loss


def dialect() -> Dialect:
    """Return the version as documented by revision d2 with the repairs of the release-2.2.1-bugfixes branch."""
    return Declared(version="2.2.1", edition="d2", revision=1, spec=SPEC, conversions=conversions("2.2.1"), patched=PATCHED)


def conversions(version: str) -> Mapping[str, Conversion]:
    """Return how the objects of 2.2 and 2.2.1 become canonical: what is about money differs, else only fields were added."""
    shelf = Shelf(version)

    def lift(document: Document, at: str, losses: list[Loss]) -> bool:
        return lift_tariff(document, at, losses, shelf)

    def lower(document: Document, at: str, losses: list[Loss]) -> bool:
        return lower_tariff(document, at, losses, shelf)

    def priced(name: str) -> Conversion:
        fields = tuple(field for field in COSTS if field in SPEC.objects[name])
        in_text = prices_in_text(fields)

        def lift_costs(document: Document, at: str, losses: list[Loss]) -> bool:
            given = [field for field in fields if document.get(field, _NULL) != _NULL]
            for field in given:
                document[field] = lift_price(document[field], shelf)
            return each(document, "tariffs", at, losses, lift) or bool(given)

        def lower_costs(document: Document, at: str, losses: list[Loss]) -> bool:
            given = [field for field in fields if document.get(field, _NULL) != _NULL]
            for field in given:
                document[field] = lower_price(document[field], shelf, f"{at}/{field}", losses)
            return each(document, "tariffs", at, losses, lower) or bool(given)

        def lift_text(clean: Any, body: bytes) -> bytes | None:
            return None if getattr(clean, "tariffs", None) else in_text(clean, body)

        return Conversion(lift_costs, lower_costs, "total_cost", lift_text)

    def place(name: str) -> Conversion:
        reserved = CANONICAL_ONLY[name]
        field, inner = _WITHIN.get(name, ("", None))
        members = place(inner) if inner else None

        def lift_place(document: Document, at: str, losses: list[Loss]) -> bool:
            shelved = shelf.put(document, reserved)
            return (members is not None and each(document, field, at, losses, members.lift)) or shelved

        def lower_place(document: Document, at: str, losses: list[Loss]) -> bool:
            taken = shelf.take(document, reserved, at, losses)
            return (members is not None and each(document, field, at, losses, members.lower)) or taken

        return Conversion(lift_place, lower_place, "")

    return {
        "Session": priced("Session"),
        "CDR": priced("CDR"),
        "Tariff": Conversion(lift, lower, "id"),
        **{name: place(name) for name in CANONICAL_ONLY},
    }


CANONICAL_ONLY: Final[Mapping[str, tuple[str, ...]]] = {
    "Location": ("parking_places", "help_phone"),
    "EVSE": ("parking", "accepted_service_providers"),
    "Connector": ("capabilities",),
}
"""Fields of 2.3.0 that 2.2.1 does not have; where a 2.2.1 partner uses such a name, it is an unknown field."""

_WITHIN: Final = {"Location": ("evses", "EVSE"), "EVSE": ("connectors", "Connector")}

PATCHED: Final = frozenset({"Session", "Location", "EVSE", "Connector", "Token"})
"""The objects that can be PATCHed."""

COSTS: Final = (
    "total_cost",
    "total_fixed_cost",
    "total_energy_cost",
    "total_time_cost",
    "total_parking_cost",
    "total_reservation_cost",
)
"""The fields of type Price, of a Session and of a CDR."""

_NULL: Final = Raw(b"null")

# Enums that are open in 2.3.0 take unlisted values in every version, so that a newer partner is not refused.
OPEN_ENUMS: Final = (
    "Capability",
    "ConnectorType",
    "EnvironmentalImpactCategory",
    "Facility",
    "ImageCategory",
    "ParkingRestriction",
    "ParkingType",
    "TokenType",
)

SPEC: Final[Spec] = declare(
    objects={
        "Session": {
            "country_code": "CiString(2) 1 key",
            "party_id": "CiString(3) 1 key",
            "id": "CiString(36) 1 key",
            "start_date_time": "DateTime 1",
            "end_date_time": "DateTime ?",
            "kwh": "number 1",
            "cdr_token": "CdrToken 1",
            "auth_method": "AuthMethod 1",
            "authorization_reference": "CiString(36) ?",
            "location_id": "CiString(36) 1",
            "evse_uid": "CiString(36) 1",
            "connector_id": "CiString(36) 1",
            "meter_id": "string(255) ?",
            "currency": "string(3) 1",
            "charging_periods": "ChargingPeriod *",
            "total_cost": "Price ?",
            "status": "SessionStatus 1",
            "last_updated": "DateTime 1",
        },
        "CDR": {
            "country_code": "CiString(2) 1 key",
            "party_id": "CiString(3) 1 key",
            "id": "CiString(39) 1 key",
            "start_date_time": "DateTime 1",
            "end_date_time": "DateTime 1",
            "session_id": "CiString(36) ? key",
            "cdr_token": "CdrToken 1",
            "auth_method": "AuthMethod 1",
            "authorization_reference": "CiString(36) ?",
            "cdr_location": "CdrLocation 1",
            "meter_id": "string(255) ?",
            "currency": "string(3) 1",
            "tariffs": "Tariff *",
            "charging_periods": "ChargingPeriod +",
            "signed_data": "SignedData ?",
            "total_cost": "Price 1",
            "total_fixed_cost": "Price ?",
            "total_energy": "number 1",
            "total_energy_cost": "Price ?",
            "total_time": "number 1",
            "total_time_cost": "Price ?",
            "total_parking_time": "number ?",
            "total_parking_cost": "Price ?",
            "total_reservation_cost": "Price ?",
            "remark": "string(255) ?",
            "invoice_reference_id": "CiString(39) ?",
            "credit": "boolean ?",
            "credit_reference_id": "CiString(39) ? key",
            "home_charging_compensation": "boolean ?",
            "last_updated": "DateTime 1",
        },
        "CdrToken": {
            "country_code": "CiString(2) 1",
            "party_id": "CiString(3) 1",
            "uid": "CiString(36) 1",
            "type": "TokenType 1",
            "contract_id": "CiString(36) 1",
        },
        "ChargingPeriod": {
            "start_date_time": "DateTime 1",
            "dimensions": "CdrDimension +",
            "tariff_id": "CiString(36) ?",
        },
        "CdrDimension": {
            "type": "CdrDimensionType 1",
            "volume": "number 1",
        },
        "Price": {
            "excl_vat": "number 1",
            "incl_vat": "number ?",
        },
        "CdrLocation": {
            "id": "CiString(36) 1",
            "name": "string(255) ?",
            "address": "string(45) 1",
            "city": "string(45) 1",
            "postal_code": "string(10) ?",
            "state": "string(20) ?",
            "country": "string(3) 1",
            "coordinates": "GeoLocation 1",
            "evse_uid": "CiString(36) 1",
            "evse_id": "CiString(48) 1",
            "connector_id": "CiString(36) 1",
            "connector_standard": "ConnectorType 1",
            "connector_format": "ConnectorFormat 1",
            "connector_power_type": "PowerType 1",
        },
        "GeoLocation": {
            "latitude": "string(10) 1",
            "longitude": "string(11) 1",
        },
        "SignedData": {
            "encoding_method": "CiString(36) 1",
            "encoding_method_version": "int ?",
            "public_key": "string(512) ?",
            "signed_values": "SignedValue +",
            "url": "string(512) ?",
        },
        "SignedValue": {
            "nature": "CiString(32) 1",
            "plain_data": "string(5000) 1",
            "signed_data": "string(5000) 1",
        },
        "Tariff": {
            "country_code": "CiString(2) 1 key",
            "party_id": "CiString(3) 1 key",
            "id": "CiString(36) 1 key",
            "currency": "string(3) 1",
            "type": "TariffType ?",
            "tariff_alt_text": "DisplayText *",
            "tariff_alt_url": "URL(255) ?",
            "min_price": "Price ?",
            "max_price": "Price ?",
            "elements": "TariffElement +",
            "start_date_time": "DateTime ?",
            "end_date_time": "DateTime ?",
            "energy_mix": "EnergyMix ?",
            "last_updated": "DateTime 1",
        },
        "TariffElement": {
            "price_components": "PriceComponent +",
            "restrictions": "TariffRestrictions ?",
        },
        "PriceComponent": {
            "type": "TariffDimensionType 1",
            "price": "number 1",
            "vat": "number ?",
            "step_size": "int 1",
        },
        "TariffRestrictions": {
            "start_time": "string(5) ?",
            "end_time": "string(5) ?",
            "start_date": "string(10) ?",
            "end_date": "string(10) ?",
            "min_kwh": "number ?",
            "max_kwh": "number ?",
            "min_current": "number ?",
            "max_current": "number ?",
            "min_power": "number ?",
            "max_power": "number ?",
            "min_duration": "int ?",
            "max_duration": "int ?",
            "day_of_week": "DayOfWeek *",
            "reservation": "ReservationRestrictionType ?",
        },
        "DisplayText": {
            "language": "string(2) 1",
            "text": "string(512) 1",
        },
        "EnergyMix": {
            "is_green_energy": "boolean 1",
            "energy_sources": "EnergySource *",
            "environ_impact": "EnvironmentalImpact *",
            "supplier_name": "string(64) ?",
            "energy_product_name": "string(64) ?",
        },
        "EnergySource": {
            "source": "EnergySourceCategory 1",
            "percentage": "number 1",
        },
        "EnvironmentalImpact": {
            "category": "EnvironmentalImpactCategory 1",
            "amount": "number 1",
        },
        "Location": {
            "country_code": "CiString(2) 1 key",
            "party_id": "CiString(3) 1 key",
            "id": "CiString(36) 1 key",
            "publish": "boolean 1",
            "publish_allowed_to": "PublishTokenType *",
            "name": "string(255) ?",
            "address": "string(255) 1",
            "city": "string(45) 1",
            "postal_code": "string(10) ?",
            "state": "string(45) ?",
            "country": "string(3) 1",
            "coordinates": "GeoLocation 1",
            "related_locations": "AdditionalGeoLocation *",
            "parking_type": "ParkingType ?",
            "evses": "EVSE * key",
            "directions": "DisplayText *",
            "operator": "BusinessDetails ?",
            "suboperator": "BusinessDetails ?",
            "owner": "BusinessDetails ?",
            "facilities": "Facility *",
            "time_zone": "string(255) 1",
            "opening_times": "Hours ?",
            "charging_when_closed": "boolean ?",
            "images": "Image *",
            "energy_mix": "EnergyMix ?",
            "last_updated": "DateTime 1",
        },
        "EVSE": {
            "uid": "CiString(36) 1 key",
            "evse_id": "CiString(48) ?",
            "status": "Status 1",
            "status_schedule": "StatusSchedule *",
            "capabilities": "Capability *",
            "connectors": "Connector + key",
            "floor_level": "string(4) ?",
            "coordinates": "GeoLocation ?",
            "physical_reference": "string(16) ?",
            "directions": "DisplayText *",
            "parking_restrictions": "ParkingRestriction *",
            "images": "Image *",
            "last_updated": "DateTime 1",
        },
        "Connector": {
            "id": "CiString(36) 1 key",
            "standard": "ConnectorType 1",
            "format": "ConnectorFormat 1",
            "power_type": "PowerType 1",
            "max_voltage": "int 1",
            "max_amperage": "int 1",
            "max_electric_power": "int ?",
            "tariff_ids": "CiString(36) *",
            "terms_and_conditions": "URL(255) ?",
            "last_updated": "DateTime 1",
        },
        "StatusSchedule": {
            "period_begin": "DateTime 1",
            "period_end": "DateTime ?",
            "status": "Status 1",
        },
        "PublishTokenType": {
            "uid": "CiString(36) ?",
            "type": "TokenType ?",
            "visual_number": "string(64) ?",
            "issuer": "string(64) ?",
            "group_id": "CiString(36) ?",
        },
        "AdditionalGeoLocation": {
            "latitude": "string(10) 1",
            "longitude": "string(11) 1",
            "name": "DisplayText ?",
        },
        "BusinessDetails": {
            "name": "string(100) 1",
            "website": "URL(255) ?",
            "logo": "Image ?",
        },
        "Image": {
            "url": "URL(255) 1",
            "thumbnail": "URL(255) ?",
            "category": "ImageCategory 1",
            "type": "CiString(4) 1",
            "width": "int(5) ?",
            "height": "int(5) ?",
        },
        "Hours": {
            "twentyfourseven": "boolean 1",
            "regular_hours": "RegularHours *",
            "exceptional_openings": "ExceptionalPeriod *",
            "exceptional_closings": "ExceptionalPeriod *",
        },
        "RegularHours": {
            "weekday": "int(1) 1",
            "period_begin": "string(5) 1",
            "period_end": "string(5) 1",
        },
        "ExceptionalPeriod": {
            "period_begin": "DateTime 1",
            "period_end": "DateTime 1",
        },
        "Token": {
            "country_code": "CiString(2) 1 key",
            "party_id": "CiString(3) 1 key",
            "uid": "CiString(36) 1 key",
            "type": "TokenType 1",
            "contract_id": "CiString(36) 1",
            "visual_number": "string(64) ?",
            "issuer": "string(64) 1",
            "group_id": "CiString(36) ?",
            "valid": "boolean 1",
            "whitelist": "WhitelistType 1",
            "language": "string(2) ?",
            "default_profile_type": "ProfileType ?",
            "energy_contract": "EnergyContract ?",
            "last_updated": "DateTime 1",
        },
        "EnergyContract": {
            "supplier_name": "string(64) 1",
            "contract_id": "string(64) ?",
        },
    },
    enums={
        "AuthMethod": "AUTH_REQUEST COMMAND WHITELIST",
        "CdrDimensionType": (
            "CURRENT ENERGY ENERGY_EXPORT ENERGY_IMPORT MAX_CURRENT MIN_CURRENT MAX_POWER MIN_POWER PARKING_TIME POWER "
            "RESERVATION_TIME STATE_OF_CHARGE TIME"
        ),
        "Capability": (
            "CHARGING_PROFILE_CAPABLE CHARGING_PREFERENCES_CAPABLE CHIP_CARD_SUPPORT CONTACTLESS_CARD_SUPPORT "
            "CREDIT_CARD_PAYABLE DEBIT_CARD_PAYABLE PED_TERMINAL REMOTE_START_STOP_CAPABLE RESERVABLE RFID_READER "
            "START_SESSION_CONNECTOR_REQUIRED TOKEN_GROUP_CAPABLE UNLOCK_CAPABLE"
        ),
        "ConnectorFormat": "SOCKET CABLE",
        "ConnectorType": (
            "CHADEMO CHAOJI DOMESTIC_A DOMESTIC_B DOMESTIC_C DOMESTIC_D DOMESTIC_E DOMESTIC_F DOMESTIC_G DOMESTIC_H "
            "DOMESTIC_I DOMESTIC_J DOMESTIC_K DOMESTIC_L DOMESTIC_M DOMESTIC_N DOMESTIC_O GBT_AC GBT_DC "
            "IEC_60309_2_single_16 IEC_60309_2_three_16 IEC_60309_2_three_32 IEC_60309_2_three_64 IEC_62196_T1 "
            "IEC_62196_T1_COMBO IEC_62196_T2 IEC_62196_T2_COMBO IEC_62196_T3A IEC_62196_T3C NEMA_5_20 NEMA_6_30 "
            "NEMA_6_50 NEMA_10_30 NEMA_10_50 NEMA_14_30 NEMA_14_50 PANTOGRAPH_BOTTOM_UP PANTOGRAPH_TOP_DOWN TESLA_R "
            "TESLA_S"
        ),
        "EnergySourceCategory": "NUCLEAR GENERAL_FOSSIL COAL GAS GENERAL_GREEN SOLAR WIND WATER",
        "EnvironmentalImpactCategory": "NUCLEAR_WASTE CARBON_DIOXIDE",
        "Facility": (
            "HOTEL RESTAURANT CAFE MALL SUPERMARKET SPORT RECREATION_AREA NATURE MUSEUM BIKE_SHARING BUS_STOP "
            "TAXI_STAND TRAM_STOP METRO_STATION TRAIN_STATION AIRPORT PARKING_LOT CARPOOL_PARKING FUEL_STATION WIFI"
        ),
        "ImageCategory": "CHARGER ENTRANCE LOCATION NETWORK OPERATOR OTHER OWNER",
        "ParkingRestriction": "EV_ONLY PLUGGED DISABLED CUSTOMERS MOTORCYCLES",
        "ParkingType": "ALONG_MOTORWAY PARKING_GARAGE PARKING_LOT ON_DRIVEWAY ON_STREET UNDERGROUND_GARAGE",
        "PowerType": "AC_1_PHASE AC_2_PHASE AC_2_PHASE_SPLIT AC_3_PHASE DC",
        "Status": "AVAILABLE BLOCKED CHARGING INOPERATIVE OUTOFORDER PLANNED REMOVED RESERVED UNKNOWN",
        "ProfileType": "CHEAP FAST GREEN REGULAR",
        "SessionStatus": "ACTIVE COMPLETED INVALID PENDING RESERVATION",
        "DayOfWeek": "MONDAY TUESDAY WEDNESDAY THURSDAY FRIDAY SATURDAY SUNDAY",
        "ReservationRestrictionType": "RESERVATION RESERVATION_EXPIRES",
        "TariffDimensionType": "ENERGY FLAT PARKING_TIME TIME",
        "TariffType": "AD_HOC_PAYMENT PROFILE_CHEAP PROFILE_FAST PROFILE_GREEN REGULAR",
        "TokenType": "AD_HOC_USER APP_USER OTHER RFID",
        "WhitelistType": "ALWAYS ALLOWED ALLOWED_OFFLINE NEVER",
    },
    open_enums=OPEN_ENUMS,
)
