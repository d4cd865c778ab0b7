"""What partners pushed and were answered, and whether the log, the tables and the api tell the same.

A push that was answered 1000 must stand. One that got another answer, or none, may stand or not: the log says which, and
from then on it counts like any other. A refusal as unknown (HTTP 404) of what was answered 1000 before is wrong.
"""

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, Literal, NamedTuple

import aiohttp
from charging import cdr
from msgspec import Struct
from places import evse, location
from serving import wire_session
from yarl import URL

from schemas import envelope as envelopes
from schemas.events import Envelope
from schemas.types import Instant, date_time
from streams.catalogue import projections
from streams.clock import SystemClock
from streams.generations import AnyProjection, tables_of
from streams.ports import EventLog, TableStore, TopicPartition
from streams.runtimes.embedded import Embedded
from streams.topics import CHARGING, LOCATIONS

TOKEN: Final = "chaos-token-1"
HEADERS: Final = {"Authorization": f"Token {TOKEN}", "Content-Type": "application/json"}
RECEIVER: Final = "/ocpi/2.2.1/receiver"
SENDER: Final = "/ocpi/2.2.1/sender"
ANSWERED_WITHIN_S: Final = 20.0
EVSES: Final = ("E1", "E2")
STATUSES: Final = ("AVAILABLE", "CHARGING", "BLOCKED", "OUTOFORDER")

Outcome = Literal["answered", "unknown", "refused"]


class Pushed(Struct):
    """One request. `name` is its object (`sessions/p1-4`, `locations/p1/E2`), `request_id` what the log knows it by."""

    request_id: str
    name: str
    stamp: str
    fields: Mapping[str, Any]
    whole: bool
    outcome: Outcome = "unknown"


class Request(NamedTuple):
    """What is to be pushed: of the object `name`, and what stands `below` it is written with it."""

    method: str
    path: str
    body: Mapping[str, Any]
    name: str
    below: tuple[str, ...] = ()


class Pusher:
    """A partner's system that pushes one thing after the other: its place, the EVSEs' statuses, sessions and their CDRs.

    As OCPI wants it, what was not answered 1000 is sent again where later pushes need it.
    """

    def __init__(self, name: str, urls: Sequence[str], begin: Instant, dice: random.Random) -> None:
        self.name = name
        self.pushed: list[Pushed] = []
        self.statuses: Counter[str] = Counter()
        self.wrong: list[str] = []
        self._urls = urls
        self._begin = begin
        self._dice = dice
        self._steps = 0
        self._session = 0

    async def run(self, client: aiohttp.ClientSession, stop: asyncio.Event) -> None:
        """Push until told to stop; a session that has begun is not ended then."""
        stamp = self._stamp()
        evses = [evse(uid, last_updated=stamp) for uid in EVSES]
        body = location(0, *evses, id=self.name, last_updated=stamp)
        below = tuple(f"locations/{self.name}/{uid}" for uid in EVSES)
        place = Request("PUT", f"locations/NL/TNM/{self.name}", body, f"locations/{self.name}", below)
        await self._until_answered(client, stop, place)
        while not stop.is_set():
            await self._charge(client, stop)

    async def _charge(self, client: aiohttp.ClientSession, stop: asyncio.Event) -> None:
        self._session += 1
        session_id = f"{self.name}-{self._session}"
        path, name = f"sessions/NL/TNM/{session_id}", f"sessions/{session_id}"
        body = wire_session(session_id, 0, self._stamp(), location_id=self.name, evse_uid=EVSES[0])
        await self._until_answered(client, stop, Request("PUT", path, body, name))
        for _ in range(self._dice.randint(2, 6)):
            if stop.is_set():
                return
            uid = self._dice.choice(EVSES)
            change: dict[str, Any] = {"status": self._dice.choice(STATUSES), "last_updated": self._stamp()}
            below = f"{self.name}/{uid}"
            await self._push(client, Request("PATCH", f"locations/NL/TNM/{below}", change, f"locations/{below}"))
            change = {"kwh": self._steps, "last_updated": self._stamp()}
            if self._dice.random() < 0.3:
                change["status"] = self._dice.choice(("ACTIVE", "PENDING"))
            await self._push(client, Request("PATCH", path, change, name))
        change = {"status": "COMPLETED", "last_updated": self._stamp()}
        await self._push(client, Request("PATCH", path, change, name))
        bill = cdr(
            f"c-{session_id}",
            session_id=session_id,
            total_cost={"excl_vat": self._steps},
            cdr_location=_CDR_LOCATION,
            last_updated=self._stamp(),
        )
        await self._until_answered(client, stop, Request("POST", "cdrs", bill, f"cdrs/c-{session_id}"))

    async def _until_answered(self, client: aiohttp.ClientSession, stop: asyncio.Event, request: Request) -> None:
        while await self._push(client, request) != "answered" and not stop.is_set():  # noqa: ASYNC110
            await asyncio.sleep(self._dice.uniform(0.1, 0.5))

    async def _push(self, client: aiohttp.ClientSession, request: Request) -> Outcome:
        request_id = f"{self.name}.{len(self.pushed)}"
        stamp = request.body["last_updated"]
        told = [Pushed(request_id, request.name, stamp, request.body, request.method != "PATCH")]
        # What stands below is written with it: the log knows both by the same request.
        put = {"status": "AVAILABLE", "last_updated": stamp}
        told += [Pushed(request_id, each, stamp, put, True) for each in request.below]
        self.pushed += told
        outcome: Outcome = "unknown"
        try:
            async with client.request(
                request.method,
                f"{self._dice.choice(self._urls)}{RECEIVER}/{request.path}",
                data=json.dumps(request.body).encode(),
                headers=HEADERS | {"X-Request-ID": request_id},
            ) as answer:
                said = await answer.read()
            outcome = self._outcome(answer.status, said, told[0])
        except (aiohttp.ClientError, OSError, TimeoutError) as fault:
            self.statuses[type(fault).__name__] += 1
        for one in told:
            one.outcome = outcome
        await asyncio.sleep(self._dice.uniform(0, 0.1))
        return outcome

    def _outcome(self, status: int, said: bytes, one: Pushed) -> Outcome:
        self.statuses[str(status)] += 1
        code = json.loads(said)["status_code"] if said.startswith(b"{") else None
        if code == 1000:
            return "answered"
        if status == 503 and code == 3000:
            return "unknown"
        # It only ever changes what it was told is taken, so nothing is to be refused, and all is answered in OCPI's envelope.
        self.wrong.append(f"{one.request_id} {one.name}: {status} {said[:200]!r}")
        return "refused"

    def _stamp(self) -> str:
        self._steps += 1
        return date_time(self._begin + self._steps * 1_000_000)


class Served(NamedTuple):
    """What the api lists, by the names of `Pushed`."""

    objects: dict[str, Mapping[str, Any]]
    twice: list[str]


class Verdict(Struct):
    """What was found. `lost` and `wrong` hold a sentence each; they are to be empty."""

    pushed: int
    answered: int
    unknown: int
    unknown_that_stand: int
    records: int
    repeated_records: int
    lost: list[str]
    wrong: list[str]


_CDR_LOCATION: Final = {
    "id": "LOC1",
    "address": "Stationsplein 1",
    "city": "Utrecht",
    "country": "NLD",
    "coordinates": {"latitude": "52.089444", "longitude": "5.110278"},
    "evse_uid": "E1",
    "evse_id": "NL*TNM*E1",
    "connector_id": "1",
    "connector_standard": "IEC_62196_T2",
    "connector_format": "SOCKET",
    "connector_power_type": "AC_3_PHASE",
}
_LOOKED_AT: Final = {
    "sessions": ("kwh", "status", "last_updated"),
    "cdrs": ("total_cost", "last_updated"),
    "evses": ("status", "last_updated"),
    "locations": (),
}


def expected(pushed: Sequence[Pushed], standing: frozenset[str]) -> dict[str, dict[str, Any]]:
    """Return the state of every object after those of its pushes that stand: the newest PUT, and what newer PATCHes named."""
    states: dict[str, dict[str, Any]] = {}
    for one in sorted((one for one in pushed if one.request_id in standing), key=lambda one: (one.stamp, not one.whole)):
        known = {} if one.whole else states.get(one.name)
        if known is not None:
            states[one.name] = {**known, **one.fields}
    return states


async def events_of(log: EventLog) -> list[Envelope]:
    """Return every event of the pushes, in the order of each partition."""
    at = {TopicPartition(topic, number): 0 for topic in (CHARGING, LOCATIONS) for number in range(log.partitions(topic))}
    found: list[Envelope] = []
    while batches := await log.fetch(at, max_records=10_000, wait_s=0):
        for place, records in batches.items():
            assert [one.offset for one in records] == list(range(at[place], at[place] + len(records))), f"a gap in {place}"
            at[place] += len(records)
            found += [envelopes.decode(one.value) for one in records]
    return found


async def served(client: aiohttp.ClientSession, url: str) -> Served:
    """Return what the api lists of Sessions, CDRs and EVSEs. Raises aiohttp.ClientError where it answers with an error."""
    objects: dict[str, Mapping[str, Any]] = {}
    twice: list[str] = []
    for module in ("sessions", "cdrs", "locations"):
        following: str | None = f"{url}{SENDER}/{module}?date_from=2020-01-01T00:00:00Z&limit=1000"
        while following is not None:
            async with client.get(following, headers=HEADERS) as answer:
                answer.raise_for_status()
                page = json.loads(await answer.read(), parse_float=Decimal)["data"]
                link = answer.links.get("next")
            # The public URL is the proxy's; here the api is asked itself.
            following = None if link is None else url + URL(str(link["url"])).raw_path_qs
            for one in page:
                twice += [one["id"]] * (f"{module}/{one['id']}" in objects)
                objects[f"{module}/{one['id']}"] = one
                for each in one.get("evses", ()):
                    objects[f"{module}/{one['id']}/{each['uid']}"] = each
    return Served(objects, twice)


def judged(pushers: Sequence[Pusher], events: Sequence[Envelope], found: Served) -> Verdict:
    """Compare what was answered with the log and with what is served."""
    pushed = [one for pusher in pushers for one in pusher.pushed]
    standing = frozenset(event.request_id for event in events if event.request_id is not None)
    # A CDR's repeat is answered 1000 without another record, and the first one is what stands.
    by_name = {one.name for one in pushed if one.request_id in standing}
    lost = [
        f"{one.request_id} {one.name} was answered 1000 and is not in the log"
        for one in pushed
        if one.outcome == "answered"
        and one.request_id not in standing
        and not (one.name.startswith("cdrs/") and one.name in by_name)
    ]
    wrong = [sentence for pusher in pushers for sentence in pusher.wrong]
    wrong += [f"{one} is listed twice" for one in found.twice]
    states = expected(pushed, standing)
    for name, state in states.items():
        one = found.objects.get(name)
        kind = "evses" if name.count("/") == 2 else name.partition("/")[0]
        if one is None:
            lost.append(f"{name} is not served")
            continue
        wrong += [
            f"{name}.{field} is {one.get(field)!r}, not {state[field]!r}"
            for field in _LOOKED_AT[kind]
            if one.get(field) != state[field]
        ]
    wrong += [f"{name} is served, and nobody pushed it" for name in found.objects if name not in states]
    unknown = [one for one in pushed if one.outcome == "unknown"]
    return Verdict(
        pushed=len(pushed),
        answered=sum(one.outcome == "answered" for one in pushed),
        unknown=len(unknown),
        unknown_that_stand=sum(one.request_id in standing for one in unknown),
        records=len(events),
        repeated_records=len(events) - len({event.event_id for event in events}),
        lost=lost,
        wrong=wrong,
    )


async def tables_judged(log: EventLog, store: TableStore, other: TableStore, events: Sequence[Envelope]) -> list[str]:
    """Return what in the tables is not as one process folds the log into `other`, and which facts are not there once."""
    wrong = []
    runtime = Embedded(log, "refolded", other, projections(), clock=SystemClock())
    await runtime.start()
    try:
        while (await runtime.turn(wait_s=0)).records:
            pass
        for projection in projections():
            wrong += await _compared(projection, store, other)
    finally:
        await runtime.close()
    told = {event.event_id for event in events if event.module == "sessions"}
    rows = await store.query("SELECT event_id FROM session_history")
    if len(rows) != len(told) or {row[0] for row in rows} != told:
        wrong.append(f"session_history has {len(rows)} rows, the log {len(told)} events of Sessions")
    return wrong


async def _compared(projection: AnyProjection, store: TableStore, other: TableStore) -> list[str]:
    wrong = []
    for table in tables_of(projection):
        sql = f"SELECT * EXCEPT (partition, version, state) FROM {table.name}"
        if table.kind == "fact":
            sql = f"SELECT * EXCEPT (partition, version, rank) FROM {table.name}"
        ours, theirs = Counter(map(repr, await store.query(sql))), Counter(map(repr, await other.query(sql)))
        wrong += [f"{table.name} has too much: {row[:300]}" for row in (ours - theirs)]
        wrong += [f"{table.name} has not: {row[:300]}" for row in (theirs - ours)]
    return wrong


def begin_of_run() -> Instant:
    """Return the whole second a day ago, from which the partners' clocks count: no stamp is ahead of any clock."""
    return (time.time_ns() // 1_000_000_000 - 86_400) * 1_000_000
