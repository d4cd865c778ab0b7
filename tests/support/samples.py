"""A clean Session and a clean CDR of OCPI 2.2.1, and how to change them."""

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


def body(sample: dict[str, Any], *without: str, **changes: Any) -> bytes:
    """Return the sample's JSON text without some fields and with others replaced or added."""
    changed = {**copy.deepcopy(sample), **changes}
    for field in without:
        del changed[field]
    return codec.encode(changed)
