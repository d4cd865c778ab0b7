"""Builders of location events: a Location L1 with EVSEs, each with Connectors."""

import hashlib
import json
from typing import Any

from charging import T0, at

from schemas import envelope as envelopes
from schemas.events import Envelope
from streams.ports import Entry
from streams.topics import LOCATIONS, record_key


def connector(connector_id: str = "1", seconds: float = 0, **fields: Any) -> dict[str, Any]:
    """Return a canonical Connector last updated then."""
    return {
        "id": connector_id,
        "standard": "IEC_62196_T2",
        "format": "SOCKET",
        "power_type": "AC_3_PHASE",
        "max_voltage": 230,
        "max_amperage": 16,
        "last_updated": at(seconds),
    } | fields


def evse(uid: str = "E1", seconds: float = 0, status: str = "AVAILABLE", **fields: Any) -> dict[str, Any]:
    """Return a canonical EVSE last updated then, with Connector 1."""
    base = {"uid": uid, "status": status, "connectors": [connector(seconds=seconds)], "last_updated": at(seconds)}
    return base | fields


def location(seconds: float = 0, *evses: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Return a canonical Location last updated then."""
    base: dict[str, Any] = {
        "country_code": "NL",
        "party_id": "TNM",
        "id": "L1",
        "publish": True,
        "address": "Stationsplein 1",
        "city": "Utrecht",
        "country": "NLD",
        "coordinates": {"latitude": "52.089444", "longitude": "5.110278"},
        "time_zone": "Europe/Amsterdam",
        "last_updated": at(seconds),
    }
    if evses:
        base["evses"] = list(evses)
    return base | fields


def said(kind: str, key: tuple[str, ...], seconds: float | None, payload: dict[str, Any], arrived: float | None = None) -> Envelope:
    """Return an envelope about `key`; it arrived one second after it was last updated, or `arrived` seconds after T0."""
    body = json.dumps(payload).encode()
    moment = seconds if arrived is None else arrived
    return Envelope(
        event_id=hashlib.blake2b(f"{kind}{key}{seconds}".encode() + body, digest_size=16).digest(),
        type=kind,
        module="locations",
        origin="push",
        connection="acme",
        party="NL*TNM",
        key=key,
        version="2.2.1",
        edition="d2",
        revision=1,
        received_at=T0 + round((moment or 0) * 1_000_000) + 1_000_000,
        last_updated=None if seconds is None else T0 + round(seconds * 1_000_000),
        payload=body,
    )


def put_location(seconds: float, *evses: dict[str, Any], **fields: Any) -> Envelope:
    """A PUT of L1."""
    return said("location.replaced", ("L1",), seconds, location(seconds, *evses, **fields))


def patch_location(seconds: float, *evses: dict[str, Any], **fields: Any) -> Envelope:
    """A PATCH of L1, `evses` being patches of EVSEs."""
    change: dict[str, Any] = {"set": fields | {"last_updated": at(seconds)}}
    if evses:
        change["upsert"] = {"evses": [{"set": one} for one in evses]}
    return said("location.patched", ("L1",), seconds, change)


def put_evse(seconds: float, uid: str = "E1", **fields: Any) -> Envelope:
    """A PUT of an EVSE."""
    return said("evse.replaced", ("L1", uid), seconds, evse(uid, seconds, **fields))


def patch_evse(seconds: float, uid: str = "E1", **fields: Any) -> Envelope:
    """A PATCH of an EVSE."""
    return said("evse.patched", ("L1", uid), seconds, {"set": fields | {"last_updated": at(seconds)}})


def put_connector(seconds: float, uid: str = "E1", connector_id: str = "1", **fields: Any) -> Envelope:
    """A PUT of a Connector."""
    return said("connector.replaced", ("L1", uid, connector_id), seconds, connector(connector_id, seconds, **fields))


def patch_connector(seconds: float, uid: str = "E1", connector_id: str = "1", **fields: Any) -> Envelope:
    """A PATCH of a Connector."""
    change = {"set": fields | {"last_updated": at(seconds)}}
    return said("connector.patched", ("L1", uid, connector_id), seconds, change)


def location_entry(one: Envelope) -> Entry:
    """Return the log entry of the event."""
    return Entry(LOCATIONS, record_key(one.party, one.key[0]), envelopes.encode(one))
