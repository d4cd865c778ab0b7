"""The Session that every contender is sent: OCPI 2.2.1, three charging periods, about a kilobyte."""

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Final

IDS: Final = 20_000
PARTY: Final = ("NL", "TNM")
TOKEN: Final = "benchmark-token"
AUTHORIZATION: Final = f"Token {base64.b64encode(TOKEN.encode()).decode()}"

_EPOCH: Final = datetime(2025, 1, 1, tzinfo=UTC)
_SLOT: Final = '"@changing@"'


def session_id(number: int) -> str:
    return f"bench-{number:07d}"


def changing(turn: int) -> str:
    """Return the JSON members that differ from turn to turn, always of one length: more energy, a newer last_updated."""
    return f'"kwh":{10 + turn % 90}.{turn % 1000:03d},"last_updated":"{updated(turn)}"'


def updated(turn: int) -> str:
    """Return the last_updated of a turn."""
    return (_EPOCH + timedelta(seconds=turn)).strftime("%Y-%m-%dT%H:%M:%SZ")


def frame(number: int) -> tuple[str, str]:
    """Return the Session's text before and after its `changing` members."""
    start = "2025-01-01T00:00:00Z"
    period = {
        "start_date_time": start,
        "dimensions": [{"type": "ENERGY", "volume": 1.2}, {"type": "TIME", "volume": 0.25}],
        "tariff_id": "T1",
    }
    session: dict[str, object] = {
        "country_code": PARTY[0],
        "party_id": PARTY[1],
        "id": session_id(number),
        "start_date_time": start,
        "cdr_token": {
            "country_code": "DE",
            "party_id": "MSP",
            "uid": f"04{number:010X}",
            "type": "RFID",
            "contract_id": f"DE-MSP-C{number:08d}-X",
        },
        "auth_method": "WHITELIST",
        "location_id": f"LOC{number % 5000}",
        "evse_uid": f"E{number % 10000}",
        "connector_id": "1",
        "currency": "EUR",
        "charging_periods": [period] * 3,
        "total_cost": {"excl_vat": 8.5, "incl_vat": 10.2},
        "status": "ACTIVE",
        _SLOT[1:-1]: None,
    }
    text = json.dumps(session, separators=(",", ":"))
    before, _, after = text.partition(f"{_SLOT}:null")
    return before, after


def session(number: int, turn: int) -> bytes:
    """Return a Session as it stands after `turn` changes."""
    before, after = frame(number)
    return f"{before}{changing(turn)}{after}".encode()
