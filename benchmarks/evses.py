"""`evses`: a million EVSEs in the tables; what serving them takes in memory, and how soon it says which are in which status.

Forms of Locations are folded by the real projection; their rows are copied with ids of their own straight into the tables,
because pushing 286,000 Locations would take longer than what is measured.
"""

import random
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec
from msgspec import Struct

from benchmarks import mix, objects, sessions
from benchmarks.frame import Measure, Options, Ratio, Result, Unavailable, median_and_spread
from benchmarks.servers import Server, free_port, get, peak_rss_mib, roamlog, rss_mib, run_command, serving
from roamlog.folder import Folder, held
from schemas.events import event_of
from schemas.types import Module, Verb
from streams import tables
from streams.catalogue import projections
from streams.clock import SystemClock
from streams.logs.local import LocalLog
from streams.projection import Recorded, row_version
from streams.projections.locations import EVSES, LOCATIONS_TABLE, Locations
from streams.runtimes.embedded import Embedded
from streams.stores.clickhouse import ClickHouseStore

BLOCK: Final = 20_000
VARIANTS: Final = 16
COUNTRIES: Final = ("NLD", "DEU", "FRA", "BEL")
READER: Final = "DE*MSP"
REPEATS: Final = 9
MEMORY_GOAL_MIB: Final = 1024
TIME_GOAL_MS: Final = 100
EMPTY_BYTES: Final = 600
"""An answer without rows is shorter."""

ASKED: Final = {
    "of a party": "party=NL*P07&by=party",
    "of a party, each Location": "party=NL*P07&by=location",
    "of a country": "country=NLD&by=country",
    "in a status": "status=OUTOFORDER&by=country",
    "of a party and country in a status": "party=NL*P07&country=NLD&status=CHARGING&by=country",
    "of all": "by=country",
}
FIRST_PAGE: Final = "/ocpi/2.2.1/sender/locations?date_from=2020-01-01T00:00:00Z&limit=1000"

Row = tuple[object, ...]


async def run(options: Options) -> Result:
    """Serve a million EVSEs (quick: 50,000) and ask for their status by every filter. Raises Unavailable."""
    chosen = mix.read()
    wanted = options.pick(1_000_000, 50_000)
    data = options.scratch / "data"
    data.mkdir()
    await run_command(
        *roamlog("partner", "add", "reader", "--party", READER, "--role", "EMSP", "--token", sessions.TOKEN, "--data", str(data))
    )
    begun = time.perf_counter()
    with held(data, "benchmark") as folder:
        folder.begin_tables()
        locations = await _fill(folder, chosen, wanted)
        folder.tables_closed()
    filled_s = time.perf_counter() - begun
    port = free_port()
    async with serving("roamlog", roamlog("serve", "--data", str(data), "--port", str(port)), port, log=data / "said") as ours:
        idle = rss_mib(ours.pid)
        operator = msgspec.json.decode((data / "secrets.json").read_bytes(), type=_Secrets).operator_token
        times = {what: await _asked(ours, f"/analytics/evses/status?{query}", f"Token {operator}") for what, query in ASKED.items()}
        page_ms = await _asked(ours, FIRST_PAGE, sessions.AUTHORIZATION)
        memory = peak_rss_mib(ours.pid)
    narrowed = {what: took for what, took in times.items() if what != "of all"}
    return Result(
        ratios=[
            Ratio("memory of serve, MiB", memory, MEMORY_GOAL_MIB, "<="),
            *(Ratio(f"status now {what}, ms", took, TIME_GOAL_MS, "<=") for what, took in narrowed.items()),
            Ratio("status now of all, ms", times["of all"]),
        ],
        measures=[
            Measure("EVSEs", wanted, ""),
            Measure("Locations", locations, ""),
            Measure("first page of 1,000 Locations", page_ms, "ms"),
            Measure("memory of serve before it was asked anything", idle, "MiB"),
            Measure("filling the tables", filled_s, "s"),
            Measure("listening after", ours.started_s, "s"),
        ],
        remarks=[f"medians of {REPEATS} over HTTP, one at a time, coverage included; {len(COUNTRIES)} countries"],
    )


class _Secrets(Struct):
    operator_token: str


async def _asked(server: Server, path: str, authorization: str) -> float:
    """Return the median time of an answer in milliseconds. Raises Unavailable where it is not one, or empty."""
    taken = []
    for _ in range(REPEATS):
        begun = time.perf_counter()
        head, body = await get(server.port, path, {"Authorization": authorization})
        taken.append((time.perf_counter() - begun) * 1000)
        if not head.startswith(b"HTTP/1.1 200") or len(body) < EMPTY_BYTES:
            raise Unavailable(f"{path} answers {head[:40]!r} {body[:300]!r}")
    return median_and_spread(taken)[0]


async def _fill(folder: Folder, chosen: mix.Mix, wanted: int) -> int:
    """Write the rows of Locations with `wanted` EVSEs in all; returns how many Locations that are."""
    log = LocalLog.open(folder.log)
    store = ClickHouseStore.embedded(folder.tables)
    runtime = Embedded(log, log.log_id, store, projections(), clock=SystemClock())
    await runtime.start()
    generation = "g1"
    names = {table.name: [column.name for column in tables.columns(table)] for table in (LOCATIONS_TABLE, EVSES)}
    waiting: dict[str, list[Row]] = {name: [] for name in names}
    physical = {table.name: tables.physical(table, generation) for table in (LOCATIONS_TABLE, EVSES)}

    async def insert(name: str) -> None:
        await store.insert(physical[name], names[name], waiting[name])
        waiting[name] = []

    locations = 0
    try:
        for location, evses in _rows(chosen, wanted):
            locations += 1
            waiting[LOCATIONS_TABLE.name].append(location)
            waiting[EVSES.name] += evses
            for name, rows in waiting.items():
                if len(rows) >= BLOCK:
                    await insert(name)
        for name in waiting:
            await insert(name)
    finally:
        await runtime.close()
        await store.close()
        await log.close()
    return locations


class _Form(NamedTuple):
    location: Row
    evses: Sequence[Row]


def _rows(chosen: mix.Mix, wanted: int) -> Iterator[tuple[Row, list[Row]]]:
    """Yield the rows of one Location after the other until they have `wanted` EVSEs."""
    chance = random.Random(20260101)
    forms = {size: [_form(chosen, size, chance) for _ in range(VARIANTS)] for size in range(1, max(chosen.locations.evses) + 1)}
    given = number = 0
    while given < wanted:
        size = min(chosen.evses(number), wanted - given)
        form = forms[size][chance.randrange(VARIANTS)]
        location_id, party_id = f"L{number:09d}", f"P{number % chosen.parties:02d}"
        texts = {objects.LOCATION: location_id, objects.LOCATION.lower(): location_id.lower(), objects.PARTY: party_id}
        octets = {place.encode(): text.encode() for place, text in texts.items()}

        yield _own(form.location, texts, octets), [_own(row, texts, octets) for row in form.evses]
        given += size
        number += 1


def _own(row: Row, texts: Mapping[str, str], octets: Mapping[bytes, bytes]) -> Row:
    def own(value: object) -> object:
        if isinstance(value, str):
            for place, text in texts.items():
                value = value.replace(place, text)
        elif isinstance(value, bytes):
            for mark, octet in octets.items():
                value = value.replace(mark, octet)
        return value

    return tuple([own(value) for value in row])


def _form(chosen: mix.Mix, evses: int, chance: random.Random) -> _Form:
    """Return the rows of a Location of so many EVSEs in statuses after mix.toml, made by the projection."""
    statuses = chosen.locations.statuses
    drawn = chance.choices(list(statuses), list(statuses.values()), k=evses)
    body = objects.location(0) | {
        "country": chance.choice(COUNTRIES),
        "evses": [objects.evse(number) | {"status": status} for number, status in enumerate(drawn)],
    }
    text = msgspec.json.encode(body).replace(objects.UPDATED.encode(), b"2026-01-01T00:00:00Z")
    envelope = mix.lifted(Module.LOCATIONS, Verb.PUT, msgspec.json.decode(text), objects.LOCATION)
    version = row_version(1, 0)
    recorded = Recorded(envelope, event_of(envelope), 0, version)
    projection = Locations()
    key = projection.key(recorded)
    state, facts = projection.fold(None, recorded)
    assert key is not None
    assert state is not None
    location = (*projection.row(key, state), *tables.bookkeeping(LOCATIONS_TABLE, 0, version))
    rows = [(*fact.row, *tables.bookkeeping(EVSES, 0, version)) for fact in facts if fact.table is EVSES]
    return _Form(location, rows)
