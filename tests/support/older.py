"""A clean object of each kind of OCPI 2.1.1 and 2.0, and their dialects asked shortly."""

import copy
from typing import Any, Final

from samples import SAMPLES

from schemas import codec
from schemas.ocpi import v2_0, v2_1_1, v2_2_1
from schemas.ocpi.dialect import NOTHING_BESIDE, Beside, Level, Lifted, Lowered
from schemas.types import Finding, Instant, Loss, Module, Verb, instant

DIALECTS: Final = {"2.1.1": v2_1_1.dialect(), "2.0": v2_0.dialect()}
OBJECTS: Final[dict[str, tuple[Module, Verb, Level]]] = {
    "Session": (Module.SESSIONS, Verb.PUT, "location"),
    "CDR": (Module.CDRS, Verb.POST, "location"),
    "Tariff": (Module.TARIFFS, Verb.PUT, "location"),
    "Token": (Module.TOKENS, Verb.PUT, "location"),
    "Location": (Module.LOCATIONS, Verb.PUT, "location"),
    "EVSE": (Module.LOCATIONS, Verb.PUT, "evse"),
    "Connector": (Module.LOCATIONS, Verb.PUT, "connector"),
}
OWNER: Final = "NL*TNM"
RECEIVED_AT: Final[Instant] = instant("2026-02-01T00:00:00Z")
UPDATED: Final = "2026-01-31T11:00:01Z"

CONNECTOR: Final[dict[str, Any]] = {
    "id": "1",
    "standard": "IEC_62196_T2",
    "format": "CABLE",
    "power_type": "AC_3_PHASE",
    "voltage": 230,
    "amperage": 32,
    "tariff_id": "12",
    "last_updated": UPDATED,
}
EVSE: Final[dict[str, Any]] = {
    "uid": "3256",
    "evse_id": "NL*TNM*E1",
    "status": "AVAILABLE",
    "capabilities": ["RESERVABLE"],
    "connectors": [CONNECTOR],
    "last_updated": UPDATED,
}
LOCATION: Final[dict[str, Any]] = {
    "id": "LOC1",
    "type": "ON_STREET",
    "name": "Keizersgracht",
    "address": "Keizersgracht 1",
    "city": "Amsterdam",
    "postal_code": "1015 CC",
    "country": "NLD",
    "coordinates": {"latitude": "52.370216", "longitude": "4.895168"},
    "evses": [EVSE],
    "time_zone": "Europe/Amsterdam",
    "last_updated": UPDATED,
}
SESSION: Final[dict[str, Any]] = {
    "id": "s-1",
    "start_datetime": "2026-01-31T10:00:00Z",
    "end_datetime": "2026-01-31T11:00:00Z",
    "kwh": 12.5,
    "auth_id": "DE-MSP-C1-2",
    "auth_method": "WHITELIST",
    "location": LOCATION,
    "currency": "EUR",
    "charging_periods": [{"start_date_time": "2026-01-31T10:00:00Z", "dimensions": [{"type": "ENERGY", "volume": 12.5}]}],
    "total_cost": 4.5,
    "status": "COMPLETED",
    "last_updated": UPDATED,
}
TARIFF: Final[dict[str, Any]] = {
    "id": "12",
    "currency": "EUR",
    "elements": [{"price_components": [{"type": "ENERGY", "price": 0.25, "step_size": 1}]}],
    "last_updated": UPDATED,
}
CDR: Final[dict[str, Any]] = {
    "id": "c-1",
    "start_date_time": "2026-01-31T10:00:00Z",
    "stop_date_time": "2026-01-31T11:00:00Z",
    "auth_id": "DE-MSP-C1-2",
    "auth_method": "WHITELIST",
    "location": LOCATION,
    "currency": "EUR",
    "tariffs": [TARIFF],
    "charging_periods": SESSION["charging_periods"],
    "total_cost": 4.5,
    "total_energy": 12.5,
    "total_time": 1.0,
    "last_updated": UPDATED,
}
TOKEN: Final[dict[str, Any]] = {
    "uid": "04E1",
    "type": "RFID",
    "auth_id": "DE-MSP-C1-2",
    "visual_number": "DF000-2001-8999",
    "issuer": "MSP",
    "valid": True,
    "whitelist": "ALLOWED",
    "last_updated": UPDATED,
}
_2_1_1: Final[dict[str, dict[str, Any]]] = {
    "Session": SESSION,
    "CDR": CDR,
    "Tariff": TARIFF,
    "Token": TOKEN,
    "Location": LOCATION,
    "EVSE": EVSE,
    "Connector": CONNECTOR,
}


def sample(version: str, name: str, /, *without: str, **changes: Any) -> dict[str, Any]:
    """Return a clean object of a version, without some fields and with others replaced or added."""
    of = copy.deepcopy(_2_1_1[name])
    if version == "2.0":
        of = _as_2_0(name, of)
    of.update(changes)
    for field in without:
        del of[field]
    return of


def _as_2_0(name: str, of: dict[str, Any]) -> dict[str, Any]:
    of.pop("last_updated", None)
    match name:
        case "Connector":
            of["status"] = "AVAILABLE"
        case "EVSE":
            of["connectors"] = [_as_2_0("Connector", one) for one in of["connectors"]]
        case "Location":
            del of["time_zone"]
            of["evses"] = [_as_2_0("EVSE", one) for one in of["evses"]]
        case "Token":
            del of["whitelist"]
            of["allow_whitelist"] = True
        case "Tariff":
            of["elements"][0]["price_components"][0]["price"] = "0.25"
        case "Session" | "CDR":
            of["location"] = _as_2_0("Location", of["location"])
            of["charging_periods"][0]["dimensions"][0]["volume"] = "12.5"
            of["total_cost"] = "4.50"
            if name == "Session":
                of["kwh"] = "12.5"
            else:
                of["tariffs"] = [_as_2_0("Tariff", one) for one in of["tariffs"]]
                del of["total_energy"], of["total_time"]
                of["total_usage"] = [{"type": "ENERGY", "volume": "12.5"}, {"type": "TIME", "volume": "1.0"}]
    return of


def lift(version: str, name: str, of: dict[str, Any] | bytes, *, verb: Verb | None = None) -> Lifted:
    """Return an object lifted, whose owner is NL*TNM."""
    module, usual, level = OBJECTS[name]
    text = of if isinstance(of, bytes) else codec.encode(of)
    return DIALECTS[version].lift(module, verb or usual, text, level=level, owner=OWNER, received_at=RECEIVED_AT)


def up(version: str, name: str, /, *without: str, **changes: Any) -> Any:
    """Return the canonical form of a sample, as values."""
    return codec.parse(lift(version, name, sample(version, name, *without, **changes)).payload)


def patched(version: str, name: str, /, **changes: Any) -> Any:
    """Return the canonical form of a PATCH, as values."""
    return codec.parse(lift(version, name, changes, verb=Verb.PATCH).payload)


def canonical(name: str, /, *without: str, **changes: Any) -> dict[str, Any]:
    """Return a canonical object that came in OCPI 2.2.1."""
    module, verb, level = OBJECTS[name]
    value: Any = codec.parse(v2_2_1.dialect().lift(module, verb, codec.encode(SAMPLES[name]), level=level).payload)
    value.update(changes)
    for field in without:
        del value[field]
    return dict(value)


def lower(version: str, name: str, of: dict[str, Any] | bytes, beside: Beside = NOTHING_BESIDE) -> Lowered:
    """Return a canonical object in a version."""
    module, _, level = OBJECTS[name]
    return DIALECTS[version].lower(module, of if isinstance(of, bytes) else codec.encode(of), level=level, beside=beside)


def down(version: str, name: str, /, *without: str, beside: Beside = NOTHING_BESIDE, **changes: Any) -> tuple[Any, list[str]]:
    """Return a canonical sample in a version, as values, and the pointers of what was lost."""
    lowered = lower(version, name, canonical(name, *without, **changes), beside)
    assert lowered.withheld is None
    return codec.parse(lowered.body), pointers(lowered.losses)


def pointers(remarks: tuple[Loss, ...] | tuple[Finding, ...]) -> list[str]:
    """Return where the remarks point."""
    return [remark.pointer for remark in remarks]


def place() -> Beside:
    """Return the Location of the canonical samples, as it stands beside a Session or a CDR."""
    return Beside(location=codec.encode(canonical("Location")))
