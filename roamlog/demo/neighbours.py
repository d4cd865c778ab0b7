"""Neighbours that speak other versions: an operator on 2.1.1, one on 2.0, and an eMSP on 2.3.0 who reads what all of them say.

What they send is written as their version writes it, and what others should read of it as theirs does, by hand: roamlog's own
conversions would agree with themselves.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from msgspec import Struct

from roamlog.demo.charging import STEP_S, Charging, Object, charged, cost, date_time, hours, kwh
from roamlog.demo.checker import differing, named, undated
from roamlog.demo.checks import Check
from roamlog.demo.platforms import Platform
from roamlog.demo.step import NOT_ALLOWED, REFUSED, Step, encode
from roamlog.demo.world import Connector, Country, Driver, Evse, Operator, Provider, Site, operator_of

SESSIONS: Final = 30
NEWCOMER: Final = Provider("Novolt", "SE", "NOV")
"""The eMSP that speaks 2.3.0."""

_DRIVERS: Final = Provider("Roulez", "FR", "ROU")
"""Whose drivers charge there: nobody who is connected."""

_LUXEMBOURG: Final = Country(
    *("LUX", "Europe/Luxembourg", "17.0"),
    (("Luxembourg", "1009", 49.611, 6.131), ("Esch", "4001", 49.496, 5.981)),
    ("Gare", "Centre", "Parking", "Stade", "Campus"),
)
_ESTONIA: Final = Country(
    *("EST", "Europe/Tallinn", "22.0"),
    (("Tallinn", "10111", 59.437, 24.754), ("Tartu", "50090", 58.378, 26.729)),
    ("Sadam", "Jaam", "Turg", "Park", "Keskus"),
)


class Neighbour(Struct, frozen=True):
    """An operator and the version that it speaks."""

    operator: Operator
    version: str


class Told(Struct, frozen=True):
    """All that a neighbour sends, its objects as it believes them to be by module, and its Locations as 2.3.0 says them."""

    neighbour: Neighbour
    places: tuple[Step, ...]
    lines: tuple[tuple[Step, ...], ...]
    objects: Mapping[str, Sequence[Object]]
    gone: tuple[str, ...]
    locations: Sequence[Object]
    tariffs: Sequence[Object]


def neighbours(seed: int) -> tuple[Neighbour, Neighbour]:
    """Return the operators that speak older versions."""
    dice = random.Random(f"neighbours {seed}")
    younger = operator_of(
        *(dice, "Altnetz", "LU", "ALT", (_LUXEMBOURG,)),
        encodes_token=False,
        completes_by_put=0,
        slow=("0.3300", "0"),
        fast=("0.5500", "0"),
    )
    older = operator_of(
        *(dice, "Urvool", "EE", "URV", (_ESTONIA,)),
        encodes_token=False,
        completes_by_put=0,
        slow=("0.2900", "0"),
        fast=("0.4900", "0"),
    )
    return Neighbour(younger, "2.1.1"), Neighbour(older, "2.0")


def told(neighbour: Neighbour, seed: int, now: datetime) -> Told:
    """Return what a neighbour tells of the last two days."""
    dice = random.Random(f"told {seed} {neighbour.operator.party}")
    writer = _Writer(neighbour, now - timedelta(days=2))
    sites = neighbour.operator.sites
    visits = [_visit(dice, neighbour.operator, number, now) for number in range(SESSIONS)]
    sessions = [writer.session(visit) for visit in visits]
    lines = [
        (*writer.session_steps(visit, session), writer.cdr_step(visit)) for visit, session in zip(visits, sessions, strict=True)
    ]
    gone: tuple[str, ...] = ()
    if neighbour.version == "2.0":  # it alone can take a Session back
        mistaken = sessions.pop()
        lines[-1] = (lines[-1][0], Step("DELETE", writer.path("sessions", mistaken["id"]), b""))
        gone = (mistaken["id"],)
        visits.pop()
    else:
        lines.append((Step("DELETE", writer.path("sessions", "none"), b"", NOT_ALLOWED, "verb of another version"),))
    newer = encode(_canonical_location(neighbour.operator, sites[0], writer.at))
    lines.append((Step("PUT", writer.path("locations", sites[0].id), newer, REFUSED, "object of another version"),))
    return Told(
        neighbour=neighbour,
        places=(
            *(Step("PUT", writer.path("tariffs", tariff["id"]), encode(tariff)) for tariff in writer.tariffs),
            *(Step("PUT", writer.path("locations", site.id), encode(writer.location(site))) for site in sites),
        ),
        lines=tuple(lines),
        objects={
            "locations": [writer.location(site) for site in sites],
            "tariffs": writer.tariffs,
            "sessions": sessions,
            "cdrs": [writer.cdr(visit) for visit in visits],
        },
        gone=gone,
        locations=[_canonical_location(neighbour.operator, site, writer.at) for site in sites],
        tariffs=[writer.canonical_tariff(tariff) for tariff in writer.tariffs],
    )


class NeighbourPlatform(Platform):
    """Pushes what a neighbour tells, in its version."""

    def __init__(self, token: str, url: str, script: Told) -> None:
        super().__init__(token, url, encodes_token=False, version=script.neighbour.version)
        self.script = script

    @property
    def requests(self) -> int:
        """How many requests there are."""
        return len(self.script.places) + sum(map(len, self.script.lines))

    async def run(self, pushed: Callable[[], None]) -> None:
        """Push everything; `pushed` is called after each answer."""
        await self.push(self.script.places, self.script.lines, pushed)

    async def read_back(self) -> list[str]:
        """Return what the Receiver interfaces give back otherwise than it was sent."""
        operator = self.script.neighbour.operator
        owner = f"{operator.country_code}/{operator.party_id}"
        wanted = [(module, one) for module, objects in self.script.objects.items() for one in objects]
        found = await self.read(f"receiver/{module}/{owner}/{one['id']}" for module, one in wanted)
        wrong = [
            f"{operator.party} {module} {one['id']}: {difference}"
            for (module, one), given in zip(wanted, found, strict=True)
            for difference in differing(undated(one), undated(given or {}))
        ]
        taken_back = await self.read(f"receiver/sessions/{owner}/{name}" for name in self.script.gone)
        wrong += [f"{name} is still there" for name, given in zip(self.script.gone, taken_back, strict=True) if given]
        return wrong


async def read_by_all(platforms: Sequence[NeighbourPlatform]) -> Check:
    """Every neighbour reads back what it sent, in its own version."""
    wrong = [one for platform in platforms for one in await platform.read_back()]
    count = sum(len(objects) for platform in platforms for objects in platform.script.objects.values())
    versions = " and ".join(platform.script.neighbour.version for platform in platforms)
    return Check(f"{count} objects that neighbours on {versions} read back are what they sent", wrong)


def read_in_2_3_0(scripts: Sequence[Told], served: Sequence[Object], others: int) -> Check:
    """The eMSP on 2.3.0 finds the neighbours' Locations as its own version says them, and all others."""
    found = {named(one): one for one in served}
    believed = {named(one): one for script in scripts for one in script.locations}
    wrong = [
        f"{name}: {one}" for name, wanted in believed.items() for one in differing(undated(wanted), undated(found.get(name, {})))
    ]
    if len(served) != len(believed) + others:
        wrong.append(f"{len(served)} Locations are served, not {len(believed) + others}")
    return Check(
        f"{len(served)} Locations from operators on three versions are read in 2.3.0, the neighbours' field by field", wrong
    )


def linked(scripts: Sequence[Told], ledger: Sequence[Object]) -> Check:
    """Compare the ledger with what the neighbours billed: their CDRs cannot name a Session, and were linked by what they say."""
    wrong = []
    count = 0
    for script in scripts:
        party = script.neighbour.operator.party
        billed = sum(row["linked_entries"] for row in ledger if row["party"] == party and row["standing"] == "billed")
        count += billed
        if billed != len(script.objects["cdrs"]):
            wrong.append(f"{party}: {billed} CDRs were linked with their Session, not {len(script.objects['cdrs'])}")
    return Check(f"{count} CDRs that name no Session were linked with theirs", wrong)


class _Writer:
    """Writes objects as a version has them."""

    def __init__(self, neighbour: Neighbour, at: datetime) -> None:
        self._operator, self._is_2_0 = neighbour.operator, neighbour.version == "2.0"
        self._base = f"/ocpi/{neighbour.version}/receiver"
        self.at = date_time(at)
        market = neighbour.operator.markets[0]
        self.tariffs = [
            self._dated(
                {
                    "id": tariff.id,
                    "currency": "EUR",
                    "elements": [
                        {"price_components": [{"type": "ENERGY", "price": self._number(tariff.per_kwh), "step_size": 1}]},
                    ],
                }
            )
            for tariff in (market.slow, market.fast)
        ]

    def path(self, module: str, name: str) -> str:
        """Return where an object is written."""
        return f"{self._base}/{module}/{self._operator.country_code}/{self._operator.party_id}/{name}"

    def canonical_tariff(self, tariff: Object) -> Object:
        """Return a Tariff as 2.2.1 says it."""
        owner = {"country_code": self._operator.country_code, "party_id": self._operator.party_id}
        elements = [
            {"price_components": [one | {"price": Decimal(one["price"])} for one in element["price_components"]]}
            for element in tariff["elements"]
        ]
        return tariff | owner | {"elements": elements}

    def location(self, site: Site, only: Evse | None = None) -> Object:
        """Return a Location, or what a Session holds of it: one EVSE."""
        made = {
            "id": site.id,
            "type": "PARKING_LOT",
            "name": site.name,
            "address": site.address,
            "city": site.city,
            "postal_code": site.postal_code,
            "country": site.market.country,
            "coordinates": {"latitude": site.latitude, "longitude": site.longitude},
            "evses": [self._evse(site, evse) for evse in site.evses if only is None or evse is only],
        }
        return self._dated(made if self._is_2_0 else made | {"time_zone": site.market.time_zone})

    def session(self, visit: Charging) -> Object:
        """Return a Session that is over."""
        count = len(visit.readings)
        return self._dated(
            {
                "id": visit.id,
                "start_datetime": date_time(visit.start),
                "end_datetime": date_time(visit.at(count)),
                "kwh": self._number(kwh(visit.energy_wh(count))),
                "auth_id": visit.driver.contract_id,
                "auth_method": visit.auth_method if visit.auth_method != "COMMAND" else "AUTH_REQUEST",
                "location": self.location(visit.site, visit.evse),
                "currency": "EUR",
                "charging_periods": self._periods(visit),
                "total_cost": self._number(cost(visit, visit.energy_wh(count))),
                "status": "COMPLETED",
            },
            visit.at(count),
        )

    def session_steps(self, visit: Charging, over: Object) -> Iterator[Step]:
        """Yield a PUT when charging began and a PATCH when it was over; every other one says not when it was changed."""
        path = self.path("sessions", visit.id)
        nothing = self._number(Decimal(0))
        begun = {name: value for name, value in over.items() if name != "end_datetime"}
        begun |= {"kwh": nothing, "total_cost": nothing, "charging_periods": [], "status": "ACTIVE"}
        if "last_updated" in begun:
            begun["last_updated"] = begun["start_datetime"]
        yield Step("PUT", path, encode(begun))
        changed = {name: over[name] for name in ("end_datetime", "kwh", "charging_periods", "total_cost", "status")}
        if "last_updated" in over and len(visit.readings) % 2:
            changed["last_updated"] = over["last_updated"]
        yield Step("PATCH", path, encode(changed))

    def cdr(self, visit: Charging) -> Object:
        """Return the CDR; it cannot name its Session."""
        over = self.session(visit)
        energy, time = kwh(visit.energy_wh(len(visit.readings))), hours(sum(one.steps for one in visit.readings))
        totals: Object = {"total_energy": energy, "total_time": time}
        if self._is_2_0:
            totals = {
                "total_usage": [{"type": "ENERGY", "volume": str(energy)}, {"type": "TIME", "volume": str(time)}],
            }
        shared = ("auth_id", "auth_method", "location", "currency", "charging_periods", "total_cost")
        return self._dated(
            {
                "id": f"CDR-{visit.id}",
                "start_date_time": over["start_datetime"],
                "stop_date_time": over["end_datetime"],
                **{name: over[name] for name in shared},
                **totals,
            },
            visit.at(len(visit.readings)),
        )

    def cdr_step(self, visit: Charging) -> Step:
        """Return the POST of the CDR."""
        return Step("POST", f"{self._base}/cdrs", encode(self.cdr(visit)))

    def _evse(self, site: Site, evse: Evse) -> Object:
        kind = evse.connector
        connector = self._dated(
            {
                "id": "1",
                "standard": kind.standard,
                "format": kind.format,
                "power_type": kind.power_type,
                "voltage": kind.max_voltage,
                "amperage": kind.max_amperage,
                "tariff_id": site.tariff(kind).id,
            }
        )
        return self._dated(
            {
                "uid": evse.uid,
                "evse_id": evse.evse_id,
                "status": "AVAILABLE",
                "connectors": [connector | {"status": "AVAILABLE"} if self._is_2_0 else connector],
            }
        )

    def _periods(self, visit: Charging) -> list[Object]:
        return [
            {
                "start_date_time": date_time(reading.start),
                "dimensions": [
                    {"type": "ENERGY", "volume": self._number(kwh(reading.energy_wh))},
                    {"type": "TIME", "volume": self._number(hours(reading.steps))},
                ],
            }
            for reading in visit.readings
        ]

    def _number(self, value: Decimal) -> Any:
        return str(value) if self._is_2_0 else value

    def _dated(self, made: Object, at: datetime | None = None) -> Object:
        return made if self._is_2_0 else made | {"last_updated": self.at if at is None else date_time(at)}


def _visit(dice: random.Random, operator: Operator, number: int, now: datetime) -> Charging:
    """Return a charging that is over; each has an EVSE of its own hour and a driver of its own."""
    driver = Driver(_DRIVERS, f"{number:014X}", "RFID", f"FR-ROU-C{number:08}-{number % 10}", 64_000, 11_000, 77_000)
    begin = (now - timedelta(hours=40 - number)).replace(microsecond=0)
    name = f"{operator.party_id}-{number + 1:04}"
    while True:
        visit = charged(dice, name, operator=operator, driver=driver, begin=begin, ending="completed")
        if visit.readings and visit.at(len(visit.readings)) + timedelta(seconds=STEP_S) < now:
            return visit


def _canonical_location(operator: Operator, site: Site, at: str) -> Object:
    """Return a Location as 2.3.0 says it."""

    def connector(kind: Connector) -> Object:
        return {
            "id": "1",
            "standard": kind.standard,
            "format": kind.format,
            "power_type": kind.power_type,
            "max_voltage": kind.max_voltage,
            "max_amperage": kind.max_amperage,
            "tariff_ids": [site.tariff(kind).id],
            "last_updated": at,
        }

    return {
        "country_code": operator.country_code,
        "party_id": operator.party_id,
        "id": site.id,
        "publish": True,
        "name": site.name,
        "address": site.address,
        "city": site.city,
        "postal_code": site.postal_code,
        "country": site.market.country,
        "coordinates": {"latitude": site.latitude, "longitude": site.longitude},
        "parking_type": "PARKING_LOT",
        "evses": [
            {
                "uid": evse.uid,
                "evse_id": evse.evse_id,
                "status": "AVAILABLE",
                "connectors": [connector(evse.connector)],
                "last_updated": at,
            }
            for evse in site.evses
        ],
        "time_zone": site.market.time_zone,
        "last_updated": at,
    }
