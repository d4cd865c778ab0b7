"""A clean object of each kind of OCPI 2.2.1, and how to change them."""

import copy
from typing import Any, Final

from schemas import codec

SESSION: Final[dict[str, Any]] = {
    "country_code": "NL",
    "party_id": "TNM",
    "id": "s-1",
    "start_date_time": "2026-01-31T10:00:00Z",
    "end_date_time": "2026-01-31T11:00:00Z",
    "kwh": 12.5,
    "cdr_token": {"country_code": "de", "party_id": "msp", "uid": "04E1", "type": "RFID", "contract_id": "DE-MSP-C1-2"},
    "auth_method": "WHITELIST",
    "location_id": "LOC1",
    "evse_uid": "3256",
    "connector_id": "1",
    "currency": "EUR",
    "charging_periods": [
        {"start_date_time": "2026-01-31T10:00:00Z", "dimensions": [{"type": "ENERGY", "volume": 12.5}], "tariff_id": "12"}
    ],
    "total_cost": {"excl_vat": 4.00, "incl_vat": 4.76},
    "status": "COMPLETED",
    "last_updated": "2026-01-31T11:00:01Z",
}

TARIFF: Final[dict[str, Any]] = {
    "country_code": "NL",
    "party_id": "TNM",
    "id": "12",
    "currency": "EUR",
    "min_price": {"excl_vat": 0.5, "incl_vat": 0.6},
    "elements": [{"price_components": [{"type": "ENERGY", "price": 0.32, "vat": 19.0, "step_size": 1}]}],
    "last_updated": "2026-01-01T00:00:00Z",
}

CDR: Final[dict[str, Any]] = {
    "country_code": "NL",
    "party_id": "TNM",
    "id": "c-1",
    "start_date_time": "2026-01-31T10:00:00Z",
    "end_date_time": "2026-01-31T11:00:00Z",
    "session_id": "s-1",
    "cdr_token": SESSION["cdr_token"],
    "auth_method": "WHITELIST",
    "cdr_location": {
        "id": "LOC1",
        "address": "Keizersgracht 1",
        "city": "Amsterdam",
        "country": "NLD",
        "coordinates": {"latitude": "52.370216", "longitude": "4.895168"},
        "evse_uid": "3256",
        "evse_id": "NL*TNM*E1",
        "connector_id": "1",
        "connector_standard": "IEC_62196_T2",
        "connector_format": "SOCKET",
        "connector_power_type": "AC_3_PHASE",
    },
    "currency": "EUR",
    "tariffs": [TARIFF],
    "charging_periods": SESSION["charging_periods"],
    "total_cost": {"excl_vat": 4.00, "incl_vat": 4.76},
    "total_energy": 12.5,
    "total_time": 1.0,
    "last_updated": "2026-01-31T11:00:01Z",
}


CONNECTOR: Final[dict[str, Any]] = {
    "id": "1",
    "standard": "IEC_62196_T2",
    "format": "CABLE",
    "power_type": "AC_3_PHASE",
    "max_voltage": 230,
    "max_amperage": 32,
    "tariff_ids": ["12"],
    "last_updated": "2026-01-31T11:00:01Z",
}

EVSE: Final[dict[str, Any]] = {
    "uid": "3256",
    "evse_id": "NL*TNM*E1",
    "status": "AVAILABLE",
    "capabilities": ["RESERVABLE", "RFID_READER"],
    "connectors": [CONNECTOR],
    "coordinates": {"latitude": "52.370216", "longitude": "4.895168"},
    "last_updated": "2026-01-31T11:00:01Z",
}

LOCATION: Final[dict[str, Any]] = {
    "country_code": "NL",
    "party_id": "TNM",
    "id": "LOC1",
    "publish": True,
    "name": "Keizersgracht",
    "address": "Keizersgracht 1",
    "city": "Amsterdam",
    "country": "NLD",
    "coordinates": {"latitude": "52.370216", "longitude": "4.895168"},
    "evses": [EVSE],
    "facilities": ["WIFI"],
    "time_zone": "Europe/Amsterdam",
    "opening_times": {"twentyfourseven": True},
    "last_updated": "2026-01-31T11:00:01Z",
}

TOKEN: Final[dict[str, Any]] = {
    "country_code": "DE",
    "party_id": "MSP",
    "uid": "04E1",
    "type": "RFID",
    "contract_id": "DE-MSP-C1-2",
    "issuer": "MSP",
    "valid": True,
    "whitelist": "ALLOWED",
    "last_updated": "2026-01-31T11:00:01Z",
}

SAMPLES: Final[dict[str, dict[str, Any]]] = {
    "Session": SESSION,
    "CDR": CDR,
    "Tariff": TARIFF,
    "Token": TOKEN,
    "Location": LOCATION,
    "EVSE": EVSE,
    "Connector": CONNECTOR,
}
"""By the names of OCPI's object tables."""


def body(sample: dict[str, Any], *without: str, **changes: Any) -> bytes:
    """Return the sample's JSON text without some fields and with others replaced or added."""
    changed = {**copy.deepcopy(sample), **changes}
    for field in without:
        del changed[field]
    return codec.encode(changed)
