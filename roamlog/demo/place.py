"""What an operator's platform sends of one site: the Location, the status of its EVSEs, and what it believes at the end.

The status follows the sessions: CHARGING while a car charges, AVAILABLE after it. Some EVSEs break, some go for good.
"""

import random
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final

import msgspec
from msgspec import Struct

from roamlog.demo.charging import Charging, Object, date_time
from roamlog.demo.step import NO_LOCATION, NOT_JSON, NOT_THERE, REFUSED, TAKEN, Step, encode
from roamlog.demo.world import Evse, Operator, Site, World

DAYS: Final = 4
"""So long ago a site was described first: before the first session began."""

_RECEIVER: Final = "/ocpi/2.2.1/receiver/locations"
_TOGETHER: Final = timedelta(minutes=5)

# What happens at a site at last, by the rest of its number.
_EVERY: Final = 25
_LEAVES_OUT: Final = 3
_DERATES: Final = 7
_RENAMES: Final = 11
_GROWS: Final = 17
_UNPUBLISHED: Final = 19

_TROUBLE: Final = ((), ("OUTOFORDER", "AVAILABLE"), ("OUTOFORDER",), ("INOPERATIVE",), ("REMOVED",))
_TROUBLES: Final = (80, 8, 6, 4, 2)


class Change(Struct, frozen=True):
    """An EVSE got a status."""

    evse_uid: str
    at: datetime
    status: str


class Place(Struct, frozen=True):
    """A site's requests in their order, the Location as its operator believes it to be, and what it names no longer.

    `changes` has every status of every EVSE, in the order in which they happened.
    """

    site: Site
    steps: tuple[Step, ...]
    location: Object
    unlisted: tuple[Object, ...]
    changes: tuple[Change, ...]


def places(world: World, operator: Operator, chargings: Iterable[Charging], seed: int, now: datetime) -> Iterator[Place]:
    """Yield the sites of an operator; the same seed and sessions tell the same story, counted back from `now`."""
    dice = random.Random(f"places {seed} {operator.party}")
    other = next(one for one in world.operators if one is not operator)
    visits: dict[str, list[Charging]] = defaultdict(list)
    for charging in chargings:
        if charging.ending in {"completed", "running"}:
            visits[charging.evse.uid].append(charging)
    for site in operator.sites:
        writer = _Writer(operator, site, now - timedelta(days=DAYS, minutes=dice.randint(0, 600)))
        statuses = [one for evse in site.evses for one in _statuses(dice, evse, visits[evse.uid], writer.opened, now)]
        for change in sorted(statuses, key=lambda one: (one.at, one.evse_uid)):
            writer.status(change)
        writer.ends(now)
        ordered = _disordered(dice, writer.steps)
        steps = tuple(_soiled(dice, other, site, ordered))
        yield Place(site, steps, writer.location, tuple(writer.unlisted), tuple(writer.changes))


def _statuses(dice: random.Random, evse: Evse, chargings: Sequence[Charging], opened: datetime, now: datetime) -> list[Change]:
    """Return what happens to an EVSE, in its order."""
    visits: list[tuple[datetime, datetime | None]] = []
    for one in sorted(chargings, key=lambda one: one.start):
        end = None if one.ending == "running" else one.at(len(one.readings))
        before = visits[-1][1] if visits else opened
        if before is None or (visits and one.start < before + _TOGETHER):
            visits[-1] = (visits[-1][0], None if before is None or end is None else max(before, end))
        else:
            visits.append((one.start, end))
    changes: list[Change] = []
    for start, ended in visits:
        changes.append(Change(evse.uid, start + timedelta(seconds=2), "CHARGING"))
        if ended is not None:
            changes.append(Change(evse.uid, ended + timedelta(seconds=7), "AVAILABLE"))
    trouble = dice.choices(_TROUBLE, _TROUBLES)[0]
    free_since = changes[-1].at if changes else opened
    idle_s = int((now - free_since).total_seconds()) - 600
    if idle_s > 3600 and not (changes and changes[-1].status == "CHARGING"):
        for number, status in enumerate(trouble, 1):
            changes.append(Change(evse.uid, free_since + timedelta(seconds=idle_s * number // 3), status))
    return changes


class _Writer:
    """Writes the requests of one site, and keeps the Location as they make it."""

    def __init__(self, operator: Operator, site: Site, opened: datetime) -> None:
        self.opened = opened
        self.steps: list[Step] = []
        self.unlisted: list[Object] = []
        self.changes: list[Change] = []
        self.location = _location(operator, site, opened)
        self._site = site
        self._path = f"{_RECEIVER}/{operator.country_code}/{operator.party_id}/{site.id}"
        self._put()
        self.changes += [Change(one["uid"], opened, one["status"]) for one in self.location["evses"]]

    def status(self, change: Change) -> None:
        """An EVSE gets another status."""
        fields = {"status": change.status, "last_updated": date_time(change.at)}
        evse = next(one for one in self.location["evses"] if one["uid"] == change.evse_uid)
        self._patch(f"/{change.evse_uid}", fields)
        evse.update(fields)
        self._moved(change.at)
        self.changes.append(change)

    def ends(self, now: datetime) -> None:
        """Let happen what the site's number says; nothing for most."""
        last = datetime.fromisoformat(self.location["last_updated"])
        at = _halfway(last, now)
        then = _halfway(at, now)
        evses = self.location["evses"]
        free = next((one for one in evses if one["status"] == "AVAILABLE"), None)
        match self._site.number % _EVERY:
            case rest if rest == _LEAVES_OUT and free is not None and len(evses) > 1:
                # The EVSE goes for good, and then its Location does not name it any more.
                self.status(Change(free["uid"], at, "REMOVED"))
                evses.remove(free)
                self.unlisted.append(free)
                self._moved(then)
                self._put()
            case rest if rest == _DERATES:
                evse = evses[-1]
                connector = evse["connectors"][0]
                fields = {"max_electric_power": connector["max_electric_power"] // 2, "last_updated": date_time(at)}
                self._patch(f"/{evse['uid']}/{connector['id']}", fields)
                connector.update(fields)
                evse["last_updated"] = date_time(at)
                self._moved(at)
            case rest if rest == _RENAMES:
                fields = {"name": f"{self._site.name} (P+R)", "facilities": ["PARKING_LOT"], "last_updated": date_time(at)}
                self._patch("", fields)
                self.location.update(fields)
            case rest if rest == _GROWS:
                evse = _evse(self._site, self._site.evses[-1], at)
                evse |= {"uid": f"{evse['uid']}-NEW", "evse_id": f"{evse['evse_id']}9"}
                self.steps.append(Step("PUT", f"{self._path}/{evse['uid']}", encode(evse)))
                evses.append(evse)
                self._moved(at)
                self.changes.append(Change(evse["uid"], at, evse["status"]))

    def _moved(self, at: datetime) -> None:
        self.location["last_updated"] = date_time(at)

    def _put(self) -> None:
        self.steps.append(Step("PUT", self._path, encode(self.location)))

    def _patch(self, below: str, fields: Object) -> None:
        self.steps.append(Step("PATCH", self._path + below, encode(fields)))


def _halfway(since: datetime, until: datetime) -> datetime:
    """Return a whole second, because OCPI's DateTime is written in seconds here."""
    return since + timedelta(seconds=int((until - since).total_seconds()) // 2)


def _location(operator: Operator, site: Site, at: datetime) -> Object:
    return {
        "country_code": operator.country_code,
        "party_id": operator.party_id,
        "id": site.id,
        "publish": site.number % _EVERY != _UNPUBLISHED,
        "name": site.name,
        "address": site.address,
        "city": site.city,
        "postal_code": site.postal_code,
        "country": site.market.country,
        "coordinates": {"latitude": site.latitude, "longitude": site.longitude},
        "evses": [_evse(site, evse, at) for evse in site.evses],
        "operator": {"name": operator.name},
        "time_zone": site.market.time_zone,
        "opening_times": {"twentyfourseven": True},
        "last_updated": date_time(at),
    }


def _evse(site: Site, evse: Evse, at: datetime) -> Object:
    connector = {
        "id": "1",
        "standard": evse.connector.standard,
        "format": evse.connector.format,
        "power_type": evse.connector.power_type,
        "max_voltage": evse.connector.max_voltage,
        "max_amperage": evse.connector.max_amperage,
        "max_electric_power": evse.connector.max_power_w,
        "tariff_ids": [site.tariff(evse.connector).id],
        "last_updated": date_time(at),
    }
    return {
        "uid": evse.uid,
        "evse_id": evse.evse_id,
        "status": "AVAILABLE",
        "capabilities": ["RFID_READER", "REMOTE_START_STOP_CAPABLE"],
        "connectors": [connector],
        "last_updated": date_time(at),
    }


def _disordered(dice: random.Random, steps: Sequence[Step]) -> list[Step]:
    """Return the steps with some status late, after everything else, and some in another order than they happened."""
    ordered = list(steps)
    for at, step in enumerate(ordered):
        if step.dirt or not _is_status(step):
            continue
        chance = dice.random()
        if chance < 0.02:
            ordered[at] = step.soiled("late status")
        elif chance < 0.04:
            after = next((place for place in range(at + 1, len(ordered)) if ordered[place].path == step.path), None)
            if after is not None and not ordered[after].dirt:
                ordered[at], ordered[after] = ordered[after].soiled("reordered status"), step.soiled("reordered status")
    late = [step for step in ordered if step.dirt == "late status"]
    return [step for step in ordered if step.dirt != "late status"] + late


def _soiled(dice: random.Random, other: Operator, site: Site, steps: Iterable[Step]) -> Iterator[Step]:
    """Yield the steps with what goes wrong between platforms: each flaw is mended by the right request after it."""
    for step in steps:
        chance = dice.random()
        is_location = step.verb == "PUT" and step.path.endswith(site.id)
        if is_location and chance < 0.03:
            unplaced = re.sub(rb'"latitude":"[-0-9.]+"', b'"latitude":null', step.body)
            yield Step("PUT", step.path, unplaced, REFUSED, "Location without its latitude")
        elif is_location and chance < 0.06:
            foreign = f"{_RECEIVER}/{other.country_code}/{other.party_id}/{site.id}"
            yield Step("PUT", foreign, step.body, NOT_THERE, "another party's Location")
        elif _is_status(step) and not step.dirt and chance < 0.004:
            yield Step("PATCH", step.path, step.body[:-1], NOT_JSON, "broken JSON")
        elif _is_status(step) and not step.dirt and chance < 0.008:
            unknown = re.sub(rb'"status":"[A-Z]+"', b'"status":"BUSY"', step.body)
            yield Step("PATCH", step.path, unknown, REFUSED, "value that OCPI does not know")
        elif _is_status(step) and not step.dirt and chance < 0.012:
            # Kept where the tables cannot tell in time that there is none; nobody is shown it.
            unknown_evse = f"{step.path}-NONE"
            yield Step("PATCH", unknown_evse, step.body, (*NO_LOCATION, *TAKEN), "status of an EVSE that nobody knows")
        elif not step.dirt and chance > 0.99:
            yield msgspec.structs.replace(step, dirt="answer lost, sent again", hang_up=True)
            continue
        elif not step.dirt and chance > 0.97:
            yield step
            yield step.soiled("duplicate")
            continue
        yield step


def _is_status(step: Step) -> bool:
    return step.verb == "PATCH" and b'"status"' in step.body
