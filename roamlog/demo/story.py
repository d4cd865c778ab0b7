"""What an operator's platform sends for one session, dirt included, and what it believes to be true at the end."""

import random
import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

import msgspec
from msgspec import Struct

from roamlog.demo import charging as told
from roamlog.demo.charging import Charging, Ending, Object, charged
from roamlog.demo.step import NOT_ALLOWED, NOT_JSON, NOT_THERE, REFUSED, TAKEN, UNKNOWN, Step, encode
from roamlog.demo.world import Operator, World

DAYS: Final = 3
"""Over so many days up to now the sessions are spread."""

APART: Final = timedelta(minutes=5)
"""So long stands an EVSE empty between two cars, twice."""

TRIES: Final = 8
"""So often another place is drawn where the first is taken."""


class Story(Struct, frozen=True):
    """A session's requests in their order, the Session as its operator believes it to be, and the CDRs that stand."""

    charging: Charging
    steps: tuple[Step, ...]
    session: Object
    cdrs: tuple[Object, ...]


def stories(world: World, operator: Operator, count: int, seed: int, now: datetime) -> Iterator[Story]:
    """Yield the sessions of an operator; the same seed tells the same story, counted back from `now`."""
    dice = random.Random(f"story {seed} {operator.party}")
    other = next(one for one in world.operators if one is not operator)
    calendar = _Calendar()
    for number in range(count):
        ending: Ending = dice.choices(("completed", "running", "failed", "waiting"), (91, 5, 3, 1))[0]
        latest = 50 if ending in ("running", "waiting") else DAYS * 24 * 60
        earliest = 20 if ending == "running" else 1 if ending == "waiting" else 9 * 60
        begin = now - timedelta(minutes=dice.randint(earliest, latest), seconds=dice.randint(0, 59))
        driver = dice.choice(world.drivers)
        name = f"{operator.party_id}-{begin:%y%m%d}-{number + 1:05}"
        for _ in range(TRIES):
            charging = charged(dice, name, operator=operator, driver=driver, begin=begin, ending=ending)
            if calendar.books(charging):
                break
        # A car that charges now has no reading yet of what is to come.
        readings = tuple(reading for reading in charging.readings if reading.end < now - timedelta(minutes=1))
        yield _story(dice, msgspec.structs.replace(charging, readings=readings), other)


def strays(operator: Operator) -> tuple[Step, ...]:
    """Return requests that no platform should send: a verb that Sessions do not have, a token that nobody has."""
    path = f"/ocpi/2.2.1/receiver/sessions/{operator.country_code}/{operator.party_id}/none"
    return (
        Step("DELETE", path, b"", NOT_ALLOWED, "verb that the module does not have"),
        Step("PUT", path, b"{}", UNKNOWN, "token that nobody has", token="guessed"),
    )


class _Calendar:
    """Which EVSE is taken when; one car after the other, as long as there are places."""

    def __init__(self) -> None:
        self._taken: dict[str, list[tuple[datetime, datetime]]] = {}

    def books(self, charging: Charging) -> bool:
        """Return whether the EVSE is free from five minutes before to five minutes after, and take it then."""
        taken = self._taken.setdefault(charging.evse.uid, [])
        visit = (charging.start - APART, charging.at(len(charging.readings)) + APART)
        at = bisect_left(taken, visit)
        if (at and taken[at - 1][1] > visit[0]) or (at < len(taken) and taken[at][0] < visit[1]):
            return False
        taken.insert(at, visit)
        return True


def _story(dice: random.Random, charging: Charging, other: Operator) -> Story:
    writer = _Writer(dice, charging)
    steps, session = writer.session()
    cdr_steps: list[Step] = []
    cdrs: list[Object] = []
    if charging.ending == "completed" and dice.random() > 0.02:
        cdr_steps, cdrs = writer.cdrs()
    # What is late comes after everything else; what comes first may come before the Session is known at all.
    late = [step for step in steps if step.dirt == "late"]
    ordered = [step for step in steps if step.dirt != "late"] + cdr_steps + late
    return Story(charging, tuple(_soiled(dice, charging, other, ordered)), session, tuple(cdrs))


class _Writer:
    """Writes the requests of one session."""

    def __init__(self, dice: random.Random, charging: Charging) -> None:
        self._dice = dice
        self._charging = charging
        owner = f"{charging.operator.country_code}/{charging.operator.party_id}"
        self._path = f"/ocpi/2.2.1/receiver/sessions/{owner}/{charging.id}"
        self._extra: Object = {"x_parking_spot": f"P{dice.randint(1, 60)}"} if dice.random() < 0.05 else {}
        self._zoneless = dice.random() < 0.03

    def session(self) -> tuple[list[Step], Object]:
        """Return the requests of the Session, and what it is at their end."""
        charging, dice = self._charging, self._dice
        count = len(charging.readings)
        if charging.ending == "waiting":
            waiting = self._object(0, "PENDING")
            return [self._put(waiting)], waiting
        if charging.ending == "failed":
            after = charging.start + timedelta(seconds=40)
            fields = {"status": "INVALID", "end_date_time": told.date_time(charging.start), "last_updated": told.date_time(after)}
            started = self._object(0, "ACTIVE")
            return [self._put(started), self._patch(fields)], started | fields
        running = charging.ending == "running"
        known = count if running else count - 1
        patches = [self._patch(self._progress(at)) for at in range(1, known + 1)]
        steps = [self._put(self._object(0, "ACTIVE")), *patches]
        chance = dice.random()
        if len(patches) >= 2 and chance < 0.04:
            at = dice.randrange(1, len(steps) - 1)
            steps[at], steps[at + 1] = steps[at + 1].soiled("reordered"), steps[at].soiled("reordered")
        elif len(patches) >= 2 and chance < 0.08 and not running:
            at = dice.randrange(1, len(steps))
            steps[at] = steps[at].soiled("late")
        elif patches and chance < 0.12:
            # Refused, because nobody knows the Session (or kept, where the tables cannot tell in time): the platform then
            # sends the Session whole.
            first = msgspec.structs.replace(patches[0], wants=(*NOT_THERE, *TAKEN), dirt="PATCH before PUT")
            steps = [first, self._put(self._object(1, "ACTIVE")), *patches[1:]]
        if running:
            return steps, self._object(count, "ACTIVE")
        final = self._object(count, "COMPLETED")
        if dice.random() < charging.operator.completes_by_put:
            return [*steps, self._put(final)], final
        last = {name: final[name] for name in ("status", "end_date_time", "kwh", "total_cost", "last_updated")}
        return [*steps, self._patch(last | {"charging_periods": final["charging_periods"][-1:]})], final

    def cdrs(self) -> tuple[list[Step], list[Object]]:
        """Return the POSTs of the CDR and of what follows it, and the CDRs that stand at their end."""
        charging, dice = self._charging, self._dice
        at = charging.at(len(charging.readings)) + timedelta(minutes=dice.randint(1, 20))
        billed = told.cdr(charging, at) | self._extra
        chance = dice.random()
        if chance < 0.015:
            unnamed = {name: value for name, value in billed.items() if name != "session_id"}
            return [self._post(unnamed, "CDR without session_id")], [unnamed]
        steps, cdrs = [self._post(billed)], [billed]
        if chance < 0.03:
            credit = told.credit(billed, at + timedelta(hours=1))
            steps.append(self._post(credit, "credit CDR"))
            cdrs.append(credit)
            if chance < 0.025:
                corrected = told.corrected(billed, Decimal("1.50"), charging.tariff, at + timedelta(hours=1, minutes=1))
                steps.append(self._post(corrected, "corrected CDR"))
                cdrs.append(corrected)
        elif chance < 0.036:
            other = billed | {"total_energy": billed["total_energy"] + 1, "last_updated": told.date_time(at + timedelta(hours=2))}
            steps.append(msgspec.structs.replace(self._post(other, "CDR changed afterwards"), wants=(*REFUSED, *TAKEN)))
        return steps, cdrs

    def _object(self, readings: int, status: str) -> Object:
        ended = status == "COMPLETED"
        updated = told.date_time(self._updated(readings) + timedelta(seconds=3 if ended else 0))
        made = told.session(self._charging, readings, status, self._charging.start) | self._extra
        return made | {"last_updated": updated.removesuffix("Z") if self._zoneless else updated}

    def _progress(self, readings: int) -> Object:
        """Return the fields of the PATCH that tells of a reading."""
        whole = self._object(readings, "ACTIVE")
        return {name: whole[name] for name in ("kwh", "total_cost", "last_updated")} | {
            "charging_periods": whole["charging_periods"][-1:]
        }

    def _updated(self, readings: int) -> datetime:
        return self._charging.at(readings) + timedelta(seconds=2)

    def _put(self, whole: Object) -> Step:
        return Step("PUT", self._path, encode(whole), dirt=self._flaw)

    def _patch(self, fields: Object) -> Step:
        return Step("PATCH", self._path, encode(fields))

    def _post(self, cdr: Object, dirt: str = "") -> Step:
        return Step("POST", "/ocpi/2.2.1/receiver/cdrs", encode(cdr), dirt=dirt)

    @property
    def _flaw(self) -> str:
        return "unknown field" if self._extra else "time without a zone" if self._zoneless else ""


def _soiled(dice: random.Random, charging: Charging, other: Operator, steps: Sequence[Step]) -> Iterator[Step]:
    """Yield the steps with what goes wrong between platforms: each flaw is mended by the right request after it."""
    for step in steps:
        chance = dice.random()
        if step.dirt:
            yield step
        elif chance < 0.006:
            yield Step(step.verb, step.path, step.body[: len(step.body) * 2 // 3], NOT_JSON, "broken JSON")
            yield step
        elif chance < 0.010 and step.verb == "PUT":
            unknown = re.sub(rb'"status":"[A-Z]+"', b'"status":"CHARGING"', step.body)
            yield Step("PUT", step.path, unknown, REFUSED, "value that OCPI does not know")
            yield step
        elif chance < 0.014 and step.verb == "PUT":
            yield Step("PUT", step.path, step.body.replace(b'"currency":"EUR",', b""), REFUSED, "mandatory field missing")
            yield step
        elif chance < 0.018 and step.verb == "PUT":
            foreign = f"/ocpi/2.2.1/receiver/sessions/{other.country_code}/{other.party_id}/{charging.id}"
            yield Step("PUT", foreign, step.body, NOT_THERE, "another party's Session")
            yield step
        elif chance < 0.030:
            yield msgspec.structs.replace(step, dirt="answer lost, sent again", hang_up=True)
        elif chance < 0.060:
            yield step
            yield step.soiled("duplicate")
        else:
            yield step
