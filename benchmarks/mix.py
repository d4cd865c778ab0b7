"""A log like a platform's: EVSEs that change, sessions that open, grow and end in a CDR, tokens, tariffs, after mix.toml.

Bodies of each kind are lifted and enveloped once by the real code; every further event is that envelope with its own
ids and instants put in, because lifting millions of bodies would take longer than what is measured.
"""

import hashlib
import json
import random
import tomllib
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
from msgspec import Struct

from benchmarks import objects
from benchmarks.frame import Unavailable
from ingest.admission import TOPIC, Circumstances, admit, token_record_key
from schemas import envelope as envelopes
from schemas.events import Envelope
from schemas.ocpi.discovery import discover
from schemas.types import Module, Verb, date_time, instant
from streams.ports import Entry, EventLog
from streams.topics import record_key

VERSION: Final = "2.2.1"
BEGIN: Final = instant("2026-01-01T00:00:00Z")
STEP_US: Final = 10_000  # a hundred events a second
APPEND: Final = 2_000
RECENT_TOKENS: Final = 10_000
_APART: Final = 611_953  # a prime that divides none of the numbers of keys


class Keys(Struct, frozen=True):
    locations: int
    sessions: int
    tokens: int
    tariffs: int


class Sessions(Struct, frozen=True):
    open: int
    events_per_key: int
    puts_between: float
    late: float


class Locations(Struct, frozen=True):
    evses: tuple[int, ...]
    opening: int
    busy: int
    changes: int
    elsewhere: float
    new: float
    statuses: dict[str, float]


class Mix(Struct, frozen=True):
    """mix.toml, which says what each number means."""

    events: int
    parties: int
    shares: dict[str, float]
    keys: Keys
    sessions: Sessions
    locations: Locations
    limits: dict[str, float]

    def evses(self, number: int) -> int:
        """Return how many EVSEs a Location has."""
        return self.locations.evses[number % len(self.locations.evses)]


class Happening(NamedTuple):
    """One event to be: its kind and the object's number; `age` counts the session's events before it, `evse` says which."""

    kind: str
    number: int
    age: int = 0
    evse: int = 0
    status: str = ""


def read() -> Mix:
    text = Path(__file__).with_name("mix.toml").read_text(encoding="utf-8")
    return msgspec.convert(tomllib.loads(text), Mix)


def happenings(mix: Mix, events: int) -> Iterator[Happening]:
    """Yield the events in their order; the same ones at each call."""
    chance = random.Random(20260101)
    locations, sessions = _Sites(mix, chance), _Charging(mix, chance)
    tokens: deque[int] = deque(maxlen=RECENT_TOKENS)
    kinds = list(mix.shares)
    drawn = chance.choices(kinds, [mix.shares[kind] for kind in kinds], k=events)
    for at, kind in enumerate(drawn):
        if at < mix.locations.opening:
            yield locations.put(new=True)
            continue
        match kind:
            case "evse.patched":
                yield locations.status()
            case "evse.replaced":
                number = locations.any()
                yield Happening(kind, number, evse=chance.randrange(mix.evses(number)))
            case "location.replaced":
                yield locations.put(new=chance.random() < mix.locations.new)
            case "token.patched" if tokens:
                yield Happening(kind, chance.choice(tokens))
            case "token.patched" | "token.replaced":
                tokens.append(chance.randrange(mix.keys.tokens))
                yield Happening("token.replaced", tokens[-1])
            case "tariff.replaced":
                yield Happening(kind, chance.randrange(mix.keys.tariffs))
            case _:  # which of a session's events it is, is its age's to say
                yield sessions.next()


class _Sites:
    """Locations that are known, and where cars come and go now."""

    def __init__(self, mix: Mix, chance: random.Random) -> None:
        self._mix, self._chance = mix, chance
        self._known = 0
        self._busy: list[tuple[int, int]] = []
        self._weights = list(mix.locations.statuses.values())
        self._statuses = list(mix.locations.statuses)

    def any(self) -> int:
        return self._number(self._chance.randrange(self._known))

    def put(self, *, new: bool) -> Happening:
        if new and self._known < self._mix.keys.locations:
            self._known += 1
            return Happening("location.replaced", self._number(self._known - 1))
        return Happening("location.replaced", self.any())

    def status(self) -> Happening:
        number = self.any() if self._chance.random() < self._mix.locations.elsewhere else self._at_a_busy_one()
        (status,) = self._chance.choices(self._statuses, self._weights)
        return Happening("evse.patched", number, evse=self._chance.randrange(self._mix.evses(number)), status=status)

    def _at_a_busy_one(self) -> int:
        at = self._chance.randrange(self._mix.locations.busy)
        if at >= len(self._busy):
            at = len(self._busy)
            self._busy.append((self.any(), 0))
        number, changes = self._busy[at]
        self._busy[at] = (number, changes + 1) if changes + 1 < self._mix.locations.changes else (self.any(), 0)
        return number

    def _number(self, nth: int) -> int:
        return nth * _APART % self._mix.keys.locations


class _Charging:
    """Sessions that are open, and corrections of those that are long over."""

    def __init__(self, mix: Mix, chance: random.Random) -> None:
        self._keys, self._how, self._chance = mix.keys.sessions, mix.sessions, chance
        kinds = ("session.replaced", "session.patched", "cdr.posted")
        self._late = mix.sessions.late / sum(mix.shares[kind] for kind in kinds)
        self._opened = 0
        self._open: list[tuple[int, int]] = []

    def next(self) -> Happening:
        last = self._how.events_per_key - 1
        if self._chance.random() < self._late:
            return Happening("session.replaced", self._chance.randrange(self._keys), last - 1)
        slot = self._chance.randrange(self._how.open)
        if slot >= len(self._open):
            slot = len(self._open)
            self._open.append(self._fresh())
        number, age = self._open[slot]
        if age == last:
            self._open[slot] = self._fresh()
            return Happening("cdr.posted", number, age)
        self._open[slot] = number, age + 1
        put = age == 0 or self._chance.random() < self._how.puts_between
        return Happening("session.replaced" if put else "session.patched", number, age)

    def _fresh(self) -> tuple[int, int]:
        self._opened += 1
        return self._opened * _APART % self._keys, 0


async def fill(log: EventLog, mix: Mix, events: int) -> dict[str, float]:
    """Append the events to an empty log; returns the shares that they had. Raises Unavailable where they miss mix.toml."""
    seen: Counter[str] = Counter()

    def counted() -> Iterator[Happening]:
        for one in happenings(mix, events):
            seen[one.kind] += 1
            yield one

    await _append(log, mix, counted())
    shares = {kind: seen[kind] / events for kind in mix.shares}
    # Sessions all begin young and Locations are put first, so only a log much longer than that has the steady shares.
    if events >= 100 * mix.sessions.open:
        for kind, wanted in mix.shares.items():
            if abs(shares[kind] - wanted) > 0.01:
                raise Unavailable(f"{shares[kind]:.3f} of the events are {kind}, mix.toml says {wanted}")
    return shares


async def fill_sessions(log: EventLog, mix: Mix, count: int) -> None:
    """Append one PUT of each of `count` sessions to an empty log: three periods each, all addressed to DE*MSP."""
    await _append(log, mix, (Happening("session.replaced", number, 3) for number in range(count)))


async def fill_locations(log: EventLog, mix: Mix, count: int) -> None:
    """Append one PUT of each of `count` Locations, with their EVSEs."""
    await _append(log, mix, (Happening("location.replaced", number) for number in range(count)))


async def _append(log: EventLog, mix: Mix, happening: Iterable[Happening]) -> None:
    forms = Forms(mix)
    batch: list[Entry] = []
    for at, one in enumerate(happening):
        batch.append(forms.entry(one, at))
        if len(batch) == APPEND:
            await log.append(batch)
            batch = []
    if batch:
        await log.append(batch)


class Forms:
    """The envelopes to copy, by kind and what makes bodies of a kind differ in shape."""

    def __init__(self, mix: Mix) -> None:
        self._mix = mix

    def entry(self, one: Happening, at: int) -> Entry:
        """Return the log's entry for what happens `at` so many steps from the beginning."""
        received_at = BEGIN + at * STEP_US
        updated_at = received_at // 1_000_000 * 1_000_000
        updated = date_time(updated_at).encode()
        party_id = f"P{one.number % self._mix.parties:02d}"
        party = f"NL*{party_id}"
        form, key = self._form(one)
        own = {
            objects.ID: f"S-{one.number:09d}",
            objects.CDR: f"C-{one.number:09d}",
            objects.UID: f"04{one.number:010X}",
            objects.LOCATION: f"L{one.number:09d}",
            objects.PARTY: party_id,
        }
        key = tuple(_filled(part.encode(), own).decode() for part in key)
        envelope = msgspec.structs.replace(
            form,
            event_id=hashlib.blake2b(at.to_bytes(8, "big"), digest_size=16).digest(),
            party=party,
            key=key,
            received_at=received_at,
            last_updated=updated_at,
            payload=_dated(_filled(form.payload, own), updated),
            raw=None if form.raw is None else _dated(_filled(form.raw, own), updated),
        )
        match form.module:
            case "tokens":
                record = token_record_key(party, *key)
            case "cdrs":
                record = record_key(party, own[objects.ID])
            case _:
                record = record_key(party, key[0])
        return Entry(TOPIC[Module(form.module)], record, envelopes.encode(envelope))

    def _form(self, one: Happening) -> tuple[Envelope, tuple[str, ...]]:
        """Return the envelope to copy and the ids of the path, with their places."""
        evse = objects.LOCATION, objects.evse_uid(one.evse)
        match one.kind:
            case "evse.patched":
                return self._statuses[one.status], evse
            case "evse.replaced":
                return self._evses[one.evse], evse
            case "location.replaced":
                return self._locations[self._mix.evses(one.number)], (objects.LOCATION,)
            case "session.replaced":
                return self._session_puts[one.age], (objects.ID,)
            case "session.patched":
                return self._session_patches[one.age], (objects.ID,)
            case "cdr.posted":
                return self._cdr, self._cdr.key
            case "token.replaced":
                return self._token, (objects.UID, "RFID")
            case "token.patched":
                return self._token_patch, (objects.UID, "RFID")
            case "tariff.replaced":
                return self._tariff, (objects.ID,)
            case other:
                raise Unavailable(f"mix.toml has a share of {other}, of which there is no form")

    @cached_property
    def _statuses(self) -> Mapping[str, Envelope]:
        path = objects.LOCATION, objects.evse_uid(0)
        return {
            status: lifted(Module.LOCATIONS, Verb.PATCH, objects.evse_status(status), *path)
            for status in self._mix.locations.statuses
        }

    @cached_property
    def _evses(self) -> Mapping[int, Envelope]:
        return {
            number: lifted(Module.LOCATIONS, Verb.PUT, objects.evse(number), objects.LOCATION, objects.evse_uid(number))
            for number in range(max(self._mix.locations.evses))
        }

    @cached_property
    def _locations(self) -> Mapping[int, Envelope]:
        return {
            evses: lifted(Module.LOCATIONS, Verb.PUT, objects.location(evses), objects.LOCATION)
            for evses in set(self._mix.locations.evses)
        }

    @cached_property
    def _session_puts(self) -> list[Envelope]:
        ages = range(self._mix.sessions.events_per_key)
        return [lifted(Module.SESSIONS, Verb.PUT, objects.session(age), objects.ID) for age in ages]

    @cached_property
    def _session_patches(self) -> list[Envelope]:
        ages = range(self._mix.sessions.events_per_key)
        return [lifted(Module.SESSIONS, Verb.PATCH, objects.session_change(age), objects.ID) for age in ages]

    @cached_property
    def _cdr(self) -> Envelope:
        return lifted(Module.CDRS, Verb.POST, objects.cdr(self._mix.sessions.events_per_key))

    @cached_property
    def _token(self) -> Envelope:
        return lifted(Module.TOKENS, Verb.PUT, objects.token(), objects.UID, "RFID")

    @cached_property
    def _token_patch(self) -> Envelope:
        return lifted(Module.TOKENS, Verb.PATCH, objects.token_change(), objects.UID, "RFID")

    @cached_property
    def _tariff(self) -> Envelope:
        return lifted(Module.TARIFFS, Verb.PUT, objects.tariff(), objects.ID)


def lifted(module: Module, verb: Verb, body: objects.Body, *ids: str) -> Envelope:
    """Return the envelope of a body with its places, as the edge makes it; without `ids` the body alone tells them."""
    circumstances = Circumstances(connection="bench", origin="push", received_at=BEGIN)
    party = f"NL*{objects.PARTY}" if ids else None
    text = json.dumps(body, separators=(",", ":")).encode()
    return admit(discover()[VERSION], module, verb, text, circumstances, party=party, ids=ids, owns=lambda _: True).envelope


def _filled(text: bytes, own: Mapping[str, str]) -> bytes:
    for place, value in own.items():
        text = text.replace(place.encode(), value.encode())
    return text


def _dated(text: bytes, updated: bytes) -> bytes:
    return text.replace(objects.UPDATED.encode(), updated).replace(objects.PERIOD.encode(), updated)
