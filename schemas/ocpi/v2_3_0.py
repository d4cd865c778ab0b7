"""OCPI 2.3.0 edition 2: its object tables, which are those of the canonical form."""

from typing import Final

from schemas.ocpi.declared import Declared
from schemas.ocpi.dialect import Dialect
from schemas.ocpi.spec import Spec, declare

VERSION: Final = "2.3.0"
EDITION: Final = "ed2"


def dialect() -> Dialect:
    """Return the version as documented by its edition 2.

    Objects are kept as they came. The first edition had shorter texts and a Tariff's preauthorize_amount, and printed a CDR
    whose Tariff lacks tax_included: all three are taken. Of the bookings branch the restriction of Tariffs is known.
    """
    return Declared(version=VERSION, edition=EDITION, revision=1, spec=SPEC, conversions={}, patched=PATCHED)


OBJECTS: Final = ("Session", "CDR", "Tariff", "Token", "Location", "EVSE", "Connector")
"""The objects that are pushed and pulled."""

PATCHED: Final = frozenset({"Session", "Location", "EVSE", "Connector", "Token"})
"""The objects that can be PATCHed."""

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
            "before_taxes": "number 1",
            "taxes": "TaxAmount *",
        },
        "TaxAmount": {
            "name": "string 1",
            "account_number": "string ?",
            "percentage": "number ?",
            "amount": "number 1",
        },
        "PriceLimit": {
            "before_taxes": "number 1",
            "after_taxes": "number ?",
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
            "min_price": "PriceLimit ?",
            "max_price": "PriceLimit ?",
            "preauthorize_amount": "number ?",
            "elements": "TariffElement +",
            "tax_included": "TaxIncluded 1 lax",
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
            "booking": "BookingRestrictionType ?",
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
            "parking_places": "Parking *",
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
            "help_phone": "CiString(25) ?",
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
            "parking": "EVSEParking *",
            "images": "Image *",
            "accepted_service_providers": "string(50) *",
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
            "capabilities": "ConnectorCapability *",
            "last_updated": "DateTime 1",
        },
        "Parking": {
            "id": "CiString(36) 1",
            "physical_reference": "string(12) ?",
            "vehicle_types": "VehicleType +",
            "max_vehicle_weight": "number ?",
            "max_vehicle_height": "number ?",
            "max_vehicle_length": "number ?",
            "max_vehicle_width": "number ?",
            "parking_space_length": "number ?",
            "parking_space_width": "number ?",
            "dangerous_goods_allowed": "boolean ?",
            "direction": "ParkingDirection ?",
            "drive_through": "boolean ?",
            "restricted_to_type": "boolean 1",
            "reservation_required": "boolean 1",
            "time_limit": "number ?",
            "roofed": "boolean ?",
            "images": "Image *",
            "lighting": "boolean ?",
            "refrigeration_outlet": "boolean ?",
            "standards": "CiString(36) *",
            "apds_reference": "CiString ?",
        },
        "EVSEParking": {
            "parking_id": "CiString(36) 1",
            "evse_position": "EVSEPosition ?",
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
        "ClientInfo": {
            "party_id": "CiString(3) 1 key",
            "country_code": "CiString(2) 1 key",
            "role": "Role 1",
            "status": "ConnectionStatus 1",
            "last_updated": "DateTime 1 lax",
        },
    },
    enums={
        "AuthMethod": "AUTH_REQUEST COMMAND WHITELIST",
        "BookingRestrictionType": "BOOKING BOOKING_CANCELLATION_FEES BOOKING_EXPIRES BOOKING_OVERTIME",
        "CdrDimensionType": (
            "CURRENT ENERGY ENERGY_EXPORT ENERGY_IMPORT MAX_CURRENT MIN_CURRENT MAX_POWER MIN_POWER PARKING_TIME POWER "
            "RESERVATION_TIME STATE_OF_CHARGE TIME"
        ),
        "Capability": (
            "CHARGING_PROFILE_CAPABLE CHARGING_PREFERENCES_CAPABLE CHIP_CARD_SUPPORT CONTACTLESS_CARD_SUPPORT "
            "CREDIT_CARD_PAYABLE DEBIT_CARD_PAYABLE PED_TERMINAL REMOTE_START_STOP_CAPABLE RESERVABLE RFID_READER "
            "START_SESSION_CONNECTOR_REQUIRED TOKEN_GROUP_CAPABLE UNLOCK_CAPABLE"
        ),
        "ConnectionStatus": "CONNECTED OFFLINE PLANNED SUSPENDED",
        "ConnectorCapability": "ISO_15118_2_PLUG_AND_CHARGE ISO_15118_20_PLUG_AND_CHARGE",
        "ConnectorFormat": "SOCKET CABLE",
        "ConnectorType": (
            "CHADEMO CHAOJI DOMESTIC_A DOMESTIC_B DOMESTIC_C DOMESTIC_D DOMESTIC_E DOMESTIC_F DOMESTIC_G DOMESTIC_H "
            "DOMESTIC_I DOMESTIC_J DOMESTIC_K DOMESTIC_L DOMESTIC_M DOMESTIC_N DOMESTIC_O GBT_AC GBT_DC "
            "IEC_60309_2_single_16 IEC_60309_2_three_16 IEC_60309_2_three_32 IEC_60309_2_three_64 IEC_62196_T1 "
            "IEC_62196_T1_COMBO IEC_62196_T2 IEC_62196_T2_COMBO IEC_62196_T3A IEC_62196_T3C MCS NEMA_5_20 "
            "NEMA_6_30 NEMA_6_50 NEMA_10_30 NEMA_10_50 NEMA_14_30 NEMA_14_50 PANTOGRAPH_BOTTOM_UP PANTOGRAPH_TOP_DOWN "
            "SAE_J3400 TESLA_R TESLA_S"
        ),
        "EnergySourceCategory": "NUCLEAR GENERAL_FOSSIL COAL GAS GENERAL_GREEN SOLAR WIND WATER",
        "EnvironmentalImpactCategory": "NUCLEAR_WASTE CARBON_DIOXIDE",
        "EVSEPosition": "LEFT RIGHT CENTER",
        "Facility": (
            "HOTEL RESTAURANT CAFE MALL SUPERMARKET SPORT RECREATION_AREA NATURE MUSEUM BIKE_SHARING BUS_STOP "
            "TAXI_STAND TRAM_STOP METRO_STATION TRAIN_STATION AIRPORT PARKING_LOT CARPOOL_PARKING FUEL_STATION WIFI"
        ),
        "ImageCategory": "CHARGER ENTRANCE LOCATION NETWORK OPERATOR OTHER OWNER",
        "ParkingDirection": "PARALLEL PERPENDICULAR ANGLE",
        "ParkingRestriction": "EV_ONLY PLUGGED DISABLED CUSTOMERS MOTORCYCLES EMPLOYEES TAXIS TENANTS",
        "ParkingType": "ALONG_MOTORWAY PARKING_GARAGE PARKING_LOT ON_DRIVEWAY ON_STREET UNDERGROUND_GARAGE",
        "PowerType": "AC_1_PHASE AC_2_PHASE AC_2_PHASE_SPLIT AC_3_PHASE DC",
        "Role": "CPO EMSP NAP NSP OTHER SCSP",
        "Status": "AVAILABLE BLOCKED CHARGING INOPERATIVE OUTOFORDER PLANNED REMOVED RESERVED UNKNOWN",
        "ProfileType": "CHEAP FAST GREEN REGULAR",
        "SessionStatus": "ACTIVE COMPLETED INVALID PENDING RESERVATION",
        "DayOfWeek": "MONDAY TUESDAY WEDNESDAY THURSDAY FRIDAY SATURDAY SUNDAY",
        "ReservationRestrictionType": "RESERVATION RESERVATION_EXPIRES",
        "TariffDimensionType": "ENERGY FLAT PARKING_TIME TIME",
        "TariffType": "AD_HOC_PAYMENT PROFILE_CHEAP PROFILE_FAST PROFILE_GREEN REGULAR",
        "TaxIncluded": "YES NO N/A",
        "TokenType": "AD_HOC_USER APP_USER EMAID OTHER RFID",
        "VehicleType": (
            "MOTORCYCLE PERSONAL_VEHICLE PERSONAL_VEHICLE_WITH_TRAILER VAN SEMI_TRACTOR RIGID TRUCK_WITH_TRAILER BUS DISABLED"
        ),
        "WhitelistType": "ALWAYS ALLOWED ALLOWED_OFFLINE NEVER",
    },
    # The specification's OpenEnums: unlisted values are kept and remarked on, never a reason to refuse.
    open_enums=(
        "BookingRestrictionType",
        "Capability",
        "ConnectorCapability",
        "ConnectorType",
        "EnvironmentalImpactCategory",
        "Facility",
        "ImageCategory",
        "ParkingRestriction",
        "ParkingType",
        "TokenType",
        "VehicleType",
    ),
)
"""The first edition's oddities are `lax`, and so is what the specification's own examples lack."""
