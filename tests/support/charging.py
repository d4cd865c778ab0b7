"""Builders of session and CDR events: they hide what does not matter to a test."""

import hashlib
import json
from collections.abc import Iterable
from typing import Any

from schemas import envelope as envelopes
from schemas.events import CdrPosted, Envelope, event_of
from schemas.types import Instant, date_time
from streams.ports import Entry, Record
from streams.projection import Fact, Projection, Recorded, row_version
from streams.projections.cdrs import charging_key
from streams.topics import CHARGING, record_key

T0: Instant = 1_790_000_000_000_000
"""Some instant in September 2026; builders count seconds from it."""


def at(seconds: float) -> str:
    """Return the OCPI DateTime that many seconds after T0."""
    return date_time(T0 + round(seconds * 1_000_000))


def period(seconds: float, kwh: str = "1.0", **fields: Any) -> dict[str, Any]:
    """Return a charging period that starts then."""
    return {"start_date_time": at(seconds), "dimensions": [{"type": "ENERGY", "volume": float(kwh)}], **fields}


def session(seconds: float, **fields: Any) -> dict[str, Any]:
    """Return a canonical Session last updated then."""
    return {
        "country_code": "NL",
        "party_id": "TNM",
        "id": "S1",
        "start_date_time": at(0),
        "kwh": 1.5,
        "cdr_token": {"country_code": "DE", "party_id": "MSP", "uid": "U", "type": "RFID", "contract_id": "DE-MSP-C1"},
        "auth_method": "WHITELIST",
        "location_id": "LOC1",
        "evse_uid": "E1",
        "connector_id": "1",
        "currency": "EUR",
        "status": "ACTIVE",
        "last_updated": at(seconds),
    } | fields


def cdr(cdr_id: str = "C1", cost: str = "10.00", **fields: Any) -> dict[str, Any]:
    """Return a canonical CDR of session S1."""
    return {
        "country_code": "NL",
        "party_id": "TNM",
        "id": cdr_id,
        "start_date_time": at(0),
        "end_date_time": at(3600),
        "session_id": "S1",
        "cdr_token": {"country_code": "DE", "party_id": "MSP", "uid": "U", "type": "RFID", "contract_id": "DE-MSP-C1"},
        "auth_method": "WHITELIST",
        "cdr_location": {"id": "LOC1", "evse_uid": "E1", "connector_id": "1", "country": "NLD"},
        "currency": "EUR",
        "charging_periods": [period(0)],
        "total_cost": {"before_taxes": float(cost), "taxes": [{"name": "VAT", "amount": 2.1}]},
        "total_energy": 20.5,
        "total_time": 1.0,
        "last_updated": at(3700),
    } | fields


def envelope(kind: str, seconds: float, payload: dict[str, Any], **fields: Any) -> Envelope:
    """Return an envelope that arrived one second after `seconds`; the same content has the same event_id."""
    body = json.dumps(payload).encode()
    key = fields.pop("key", "S1")
    base: dict[str, Any] = {
        "event_id": hashlib.blake2b(f"{kind}{seconds}{key}".encode() + body, digest_size=16).digest(),
        "type": kind,
        "module": "cdrs" if kind.startswith("cdr") else "sessions",
        "origin": "push",
        "connection": "acme",
        "party": "NL*TNM",
        "key": (key,),
        "version": "2.2.1",
        "edition": "d2",
        "revision": 1,
        "received_at": T0 + round(seconds * 1_000_000) + 1_000_000,
        "last_updated": T0 + round(seconds * 1_000_000),
        "payload": body,
    }
    return Envelope(**(base | fields))


def put(seconds: float, **fields: Any) -> Envelope:
    """A PUT of the Session last updated then."""
    return envelope("session.replaced", seconds, session(seconds, **fields), key=fields.get("id", "S1"), addressed_to="DE*MSP")


def patch(seconds: float, *periods: dict[str, Any], **fields: Any) -> Envelope:
    """A PATCH made then, of these fields, appending these periods."""
    operations: dict[str, Any] = {"set": fields | {"last_updated": at(seconds)}}
    if periods:
        operations["append"] = {"charging_periods": list(periods)}
    return envelope("session.patched", seconds, operations)


def posted(document: dict[str, Any], seconds: float = 3700) -> Envelope:
    """A POST of a CDR that arrived one second after `seconds`."""
    return envelope("cdr.posted", seconds, document, key=document["id"], addressed_to="DE*MSP")


def recorded(envelopes_: Iterable[Envelope]) -> list[Recorded]:
    """Return the events as records 0, 1, … of one partition."""
    return [Recorded(one, event_of(one), 0, row_version(0, offset)) for offset, one in enumerate(envelopes_)]


def folded(projection: Projection[Any], *events: Envelope) -> tuple[Any, list[Fact]]:
    """Return state and facts after the events, all of one key."""
    state = None
    facts: list[Fact] = []
    for one in recorded(events):
        state, derived = projection.fold(state, one)
        facts += derived
    return state, facts


def entry(one: Envelope) -> Entry:
    """Return the log entry of an event, keyed as the log keys it."""
    key = one.key[0]
    if one.type == "cdr.posted":
        event = event_of(one)
        assert isinstance(event, CdrPosted)
        key = charging_key(event.cdr)
    return Entry(CHARGING, record_key(one.party, key), envelopes.encode(one))


def record(one: Envelope, offset: int, partition: int = 0) -> Record:
    """Return the event as a record at that place."""
    _, key, value = entry(one)
    return Record(CHARGING, partition, offset, key, value)
