"""A log like a platform's: sessions that open, grow and end in a CDR, and late corrections, after mix.toml.

Bodies of each kind are lifted and enveloped once by the real code; every further event is that envelope with its own
ids and instants put in, because lifting millions of bodies would take longer than what is measured.
"""

import hashlib
import json
import random
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
from msgspec import Struct

from benchmarks.frame import Unavailable
from ingest.admission import Circumstances, admit
from schemas import envelope as envelopes
from schemas.events import Envelope
from schemas.ocpi.discovery import discover
from schemas.types import Module, Verb, date_time, instant
from streams.logs.local import LocalLog
from streams.ports import Entry
from streams.topics import CHARGING, record_key

VERSION: Final = "2.2.1"
BEGIN: Final = instant("2026-01-01T00:00:00Z")
STEP_US: Final = 10_000  # a hundred events a second
APPEND: Final = 2_000

_ID: Final = "@session-identifier@"
_CDR: Final = "@cdr@"
_UID: Final = "@token-uid@"
_PARTY: Final = "QQQ"
_START: Final = "2001-01-01T00:00:01Z"
_UPDATED: Final = "2001-01-01T00:00:02Z"
_PERIOD: Final = "2001-01-01T00:00:03Z"


class Mix(Struct, frozen=True):
    """mix.toml."""

    events: int
    keys: int
    parties: int
    open_sessions: int
    events_per_key: int
    puts_between: float
    late: float
    shares: dict[str, float]
    limits: dict[str, float]


class Happening(NamedTuple):
    """One event to be: its kind, the session's number, how many events the session had before."""

    kind: str
    number: int
    age: int
    cold: bool


def read() -> Mix:
    text = Path(__file__).with_name("mix.toml").read_text(encoding="utf-8")
    return msgspec.convert(tomllib.loads(text), Mix)


def happenings(mix: Mix, events: int) -> Iterator[Happening]:
    """Yield the events in their order; the same ones at each call."""
    chance = random.Random(20260101)
    opened = 0
    slots: list[tuple[int, int]] = []

    def fresh() -> tuple[int, int]:
        nonlocal opened
        opened += 1
        return opened * 611_953 % mix.keys, 0

    for _ in range(events):
        if chance.random() < mix.late:
            yield Happening("session.replaced", chance.randrange(mix.keys), mix.events_per_key - 2, True)
            continue
        if len(slots) < mix.open_sessions:
            slots.append(fresh())
            slot = len(slots) - 1
        else:
            slot = chance.randrange(mix.open_sessions)
        number, age = slots[slot]
        if age == mix.events_per_key - 1:
            slots[slot] = fresh()
            yield Happening("cdr.posted", number, age, False)
            continue
        slots[slot] = number, age + 1
        put = age == 0 or chance.random() < mix.puts_between
        yield Happening("session.replaced" if put else "session.patched", number, age, age == 0)


async def fill(log: LocalLog, mix: Mix, events: int) -> dict[str, float]:
    """Append the events to an empty log; returns the shares that they had. Raises Unavailable where they miss mix.toml."""
    forms = _Forms(mix)
    seen: Counter[str] = Counter()
    batch: list[Entry] = []
    for at, one in enumerate(happenings(mix, events)):
        seen[one.kind] += 1
        seen["cold"] += one.cold
        batch.append(forms.entry(one, at))
        if len(batch) == APPEND:
            await log.append(batch)
            batch = []
    if batch:
        await log.append(batch)
    shares = {kind: count / events for kind, count in seen.items()}
    # Sessions all begin young, so only a log much longer than that beginning has the steady shares.
    if events >= 50 * mix.open_sessions:
        for kind, wanted in mix.shares.items():
            if abs(shares[kind] - wanted) > 0.01:
                raise Unavailable(f"{shares[kind]:.3f} of the events are {kind}, mix.toml says {wanted}")
    if shares["cold"] < mix.limits["cold"]:
        raise Unavailable(f"{shares['cold']:.3f} of the events are cold, mix.toml wants {mix.limits['cold']}")
    return shares


async def fill_sessions(log: LocalLog, mix: Mix, count: int) -> None:
    """Append one PUT of each of `count` sessions to an empty log: three periods each, all addressed to DE*MSP."""
    forms = _Forms(mix)
    for first in range(0, count, APPEND):
        numbers = range(first, min(first + APPEND, count))
        await log.append([forms.entry(Happening("session.replaced", number, 3, True), number) for number in numbers])


class _Forms:
    """The envelopes to copy, by kind and age."""

    def __init__(self, mix: Mix) -> None:
        self._mix = mix
        self._put = [_form(Module.SESSIONS, Verb.PUT, _session(age)) for age in range(mix.events_per_key)]
        self._patch = [_form(Module.SESSIONS, Verb.PATCH, _patch(age)) for age in range(mix.events_per_key)]
        self._cdr = _form(Module.CDRS, Verb.POST, _cdr(mix.events_per_key))

    def entry(self, one: Happening, at: int) -> Entry:
        received_at = BEGIN + at * STEP_US
        updated = date_time(received_at // 1_000_000 * 1_000_000)
        session_id, cdr_id = f"S-{one.number:09d}", f"C-{one.number:09d}"
        party_id = f"P{one.number % self._mix.parties:02d}"
        party = f"NL*{party_id}"
        form = {"session.replaced": self._put, "session.patched": self._patch}.get(one.kind, [self._cdr] * (one.age + 1))[one.age]

        def own(text: bytes) -> bytes:
            return (
                text.replace(_ID.encode(), session_id.encode())
                .replace(_CDR.encode(), cdr_id.encode())
                .replace(_UID.encode(), f"04{one.number:010X}".encode())
                .replace(_PARTY.encode(), party_id.encode())
                .replace(_UPDATED.encode(), updated.encode())
                .replace(_PERIOD.encode(), updated.encode())
            )

        envelope = msgspec.structs.replace(
            form,
            event_id=hashlib.blake2b(at.to_bytes(8, "big"), digest_size=16).digest(),
            party=party,
            key=(cdr_id, session_id) if one.kind == "cdr.posted" else (session_id,),
            received_at=received_at,
            last_updated=received_at // 1_000_000 * 1_000_000,
            payload=own(form.payload),
            raw=None if form.raw is None else own(form.raw),
        )
        return Entry(CHARGING, record_key(party, session_id), envelopes.encode(envelope))


def _form(module: Module, verb: Verb, body: dict[str, object]) -> Envelope:
    circumstances = Circumstances(connection="bench", origin="push", received_at=BEGIN)
    path = (f"NL*{_PARTY}", (_ID,)) if module is Module.SESSIONS else (None, ())
    text = json.dumps(body, separators=(",", ":")).encode()
    return admit(discover()[VERSION], module, verb, text, circumstances, party=path[0], ids=path[1], owns=lambda _: True).envelope


def _period(number: int) -> dict[str, object]:
    return {
        "start_date_time": _PERIOD if number else _START,
        "dimensions": [{"type": "ENERGY", "volume": 1.25}, {"type": "TIME", "volume": 0.25}],
        "tariff_id": "T1",
    }


def _token() -> dict[str, object]:
    return {"country_code": "DE", "party_id": "MSP", "uid": _UID, "type": "RFID", "contract_id": f"DE-MSP-{_UID}"}


def _cost(age: int) -> dict[str, object]:
    return {"excl_vat": 0.5 + age, "incl_vat": 0.6 + age}


def _session(age: int) -> dict[str, object]:
    return {
        "country_code": "NL",
        "party_id": _PARTY,
        "id": _ID,
        "start_date_time": _START,
        "kwh": 1.25 * age,
        "cdr_token": _token(),
        "auth_method": "WHITELIST",
        "location_id": "LOC1",
        "evse_uid": "E1",
        "connector_id": "1",
        "currency": "EUR",
        "charging_periods": [_period(number) for number in range(age)],
        "total_cost": _cost(age),
        "status": "ACTIVE",
        "last_updated": _UPDATED,
    }


def _patch(age: int) -> dict[str, object]:
    return {"kwh": 1.25 * age, "charging_periods": [_period(1)], "total_cost": _cost(age), "last_updated": _UPDATED}


def _cdr(age: int) -> dict[str, object]:
    return {
        "country_code": "NL",
        "party_id": _PARTY,
        "id": _CDR,
        "start_date_time": _START,
        "end_date_time": _UPDATED,
        "session_id": _ID,
        "cdr_token": _token(),
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
        "last_updated": _UPDATED,
    }
