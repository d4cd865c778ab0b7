"""Objects of OCPI 2.2.1 as partners send them, with places for what differs from one to the next.

Places are texts as long as what will stand there, so that a body is lifted once and copied a million times.
"""

from typing import Final

Body = dict[str, object]

ID: Final = "@session-identifier@"
CDR: Final = "@cdr@"
UID: Final = "@token-uid@"
PARTY: Final = "QQQ"
LOCATION: Final = "QLOCATIONQ"
START: Final = "2001-01-01T00:00:01Z"
UPDATED: Final = "2001-01-01T00:00:02Z"
PERIOD: Final = "2001-01-01T00:00:03Z"


def evse_uid(number: int, location_id: str = LOCATION) -> str:
    return f"{location_id}-{number}"


def location(evses: int) -> Body:
    return {
        "country_code": "NL",
        "party_id": PARTY,
        "id": LOCATION,
        "publish": True,
        "name": "Parkeergarage Vaartsche Rijn",
        "address": "Vondellaan 208",
        "city": "Utrecht",
        "postal_code": "3521 GZ",
        "country": "NLD",
        "coordinates": {"latitude": "52.081250", "longitude": "5.119722"},
        "parking_type": "PARKING_GARAGE",
        "evses": [evse(number) for number in range(evses)],
        "directions": [{"language": "nl", "text": "Niveau -1, rechts van de inrit"}],
        "operator": {"name": "Example Charging", "website": "https://charging.example"},
        "facilities": ["PARKING_LOT", "TRAIN_STATION"],
        "time_zone": "Europe/Amsterdam",
        "opening_times": {"twentyfourseven": True},
        "charging_when_closed": True,
        "energy_mix": {
            "is_green_energy": True,
            "energy_sources": [{"source": "WIND", "percentage": 100}],
            "supplier_name": "Example Energy",
            "energy_product_name": "Wind",
        },
        "last_updated": UPDATED,
    }


def evse(number: int) -> Body:
    return {
        "uid": evse_uid(number),
        "evse_id": f"NL*{PARTY}*E{LOCATION}*{number}",
        "status": "AVAILABLE",
        "capabilities": ["RFID_READER", "REMOTE_START_STOP_CAPABLE", "UNLOCK_CAPABLE"],
        "connectors": [
            {
                "id": "1",
                "standard": "IEC_62196_T2",
                "format": "SOCKET",
                "power_type": "AC_3_PHASE",
                "max_voltage": 230,
                "max_amperage": 32,
                "max_electric_power": 22000,
                "tariff_ids": ["T1"],
                "last_updated": START,
            }
        ],
        "physical_reference": str(number),
        "last_updated": UPDATED,
    }


def evse_status(status: str) -> Body:
    return {"status": status, "last_updated": UPDATED}


def session(age: int) -> Body:
    return {
        "country_code": "NL",
        "party_id": PARTY,
        "id": ID,
        "start_date_time": START,
        "kwh": 1.25 * age,
        "cdr_token": _cdr_token(),
        "auth_method": "WHITELIST",
        "location_id": "LOC1",
        "evse_uid": "E1",
        "connector_id": "1",
        "currency": "EUR",
        "charging_periods": [_period(number) for number in range(age)],
        "total_cost": _cost(age),
        "status": "ACTIVE",
        "last_updated": UPDATED,
    }


def session_change(age: int) -> Body:
    return {"kwh": 1.25 * age, "charging_periods": [_period(1)], "total_cost": _cost(age), "last_updated": UPDATED}


def cdr(age: int) -> Body:
    return {
        "country_code": "NL",
        "party_id": PARTY,
        "id": CDR,
        "start_date_time": START,
        "end_date_time": UPDATED,
        "session_id": ID,
        "cdr_token": _cdr_token(),
        "auth_method": "WHITELIST",
        "cdr_location": {
            "id": "LOC1",
            "address": "Stationsplein 1",
            "city": "Utrecht",
            "postal_code": "3511 ED",
            "country": "NLD",
            "coordinates": {"latitude": "52.089444", "longitude": "5.110278"},
            "evse_uid": "E1",
            "evse_id": "NL*TNM*E1",
            "connector_id": "1",
            "connector_standard": "IEC_62196_T2",
            "connector_format": "SOCKET",
            "connector_power_type": "AC_3_PHASE",
        },
        "currency": "EUR",
        "charging_periods": [_period(number) for number in range(age)],
        "total_cost": _cost(age),
        "total_energy": 1.25 * age,
        "total_time": 0.25 * age,
        "last_updated": UPDATED,
    }


def token() -> Body:
    return {
        "country_code": "NL",
        "party_id": PARTY,
        "uid": UID,
        "type": "RFID",
        "contract_id": f"NL-{PARTY}-{UID}",
        "visual_number": UID,
        "issuer": "Example Mobility",
        "group_id": "FLEET-1",
        "valid": True,
        "whitelist": "ALLOWED",
        "language": "nl",
        "last_updated": UPDATED,
    }


def token_change() -> Body:
    return {"valid": False, "last_updated": UPDATED}


def tariff() -> Body:
    def element(component: str, price: float) -> Body:
        return {"price_components": [{"type": component, "price": price, "vat": 21, "step_size": 1}]}

    night = {"restrictions": {"start_time": "23:00", "end_time": "06:00"}}
    return {
        "country_code": "NL",
        "party_id": PARTY,
        "id": ID,
        "currency": "EUR",
        "type": "REGULAR",
        "tariff_alt_text": [{"language": "nl", "text": "0,29 per kWh, 's nachts 0,21"}],
        "elements": [element("ENERGY", 0.21) | night, element("ENERGY", 0.29), element("TIME", 1.5)],
        "last_updated": UPDATED,
    }


def _period(number: int) -> Body:
    return {
        "start_date_time": PERIOD if number else START,
        "dimensions": [{"type": "ENERGY", "volume": 1.25}, {"type": "TIME", "volume": 0.25}],
        "tariff_id": "T1",
    }


def _cdr_token() -> Body:
    return {"country_code": "DE", "party_id": "MSP", "uid": UID, "type": "RFID", "contract_id": f"DE-MSP-{UID}"}


def _cost(age: int) -> Body:
    return {"excl_vat": 0.5 + age, "incl_vat": 0.6 + age}
