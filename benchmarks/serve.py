"""`serve`: list pages of 1,000 over HTTP, of Sessions the first and the last of 1,000, of Locations with their EVSEs the first.

ClickHouse is asked for the same documents with the statement that the list itself uses, without a page's HTTP, JSON
envelope or version around them.
"""

import asyncio
import contextlib
import re
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final, TypeVar

import msgspec
from msgspec import Struct

from api.pages import SESSIONS_PAGE, SOURCES
from benchmarks import mix, sessions
from benchmarks.environments import APPS, PY_OCPI, python_of
from benchmarks.frame import ROOT, Measure, Options, Ratio, Result, Unavailable, median_and_spread
from benchmarks.http_load import Load, load
from benchmarks.servers import Server, drained_s, free_port, get, peak_rss_mib, roamlog, run_command, serving, uvicorn
from schemas.types import EARLIEST, LATEST, Module
from streams.logs.local import LocalLog
from streams.stores.clickhouse import ClickHouseStore

PAGE: Final = 1_000
READER: Final = "DE*MSP"
FIRST: Final = f"/ocpi/2.2.1/sender/sessions?date_from=2020-01-01T00:00:00Z&limit={PAGE}"
FIRST_OF_LOCATIONS: Final = f"/ocpi/2.2.1/sender/locations?date_from=2020-01-01T00:00:00Z&limit={PAGE}"
REPEATS: Final = 9
_NEXT: Final = re.compile(rb"link: <http://[^/]+(/[^>]*)>", re.IGNORECASE)

T = TypeVar("T")


async def run(options: Options) -> Result:
    """List 1,000 pages of 1,000 sessions (quick: 30), and 1,000 of 50,000 Locations (quick: 5,000). Raises Unavailable."""
    pages, locations = options.pick(1_000, 30), options.pick(50_000, 5_000)
    data = options.scratch / "data"
    data.mkdir()
    log = LocalLog.open(data / "log.sqlite")
    await mix.fill_sessions(log, mix.read(), pages * PAGE)
    await mix.fill_locations(log, mix.read(), locations)
    await log.close()
    await run_command(
        *roamlog("partner", "add", "reader", "--party", READER, "--role", "EMSP", "--token", sessions.TOKEN, "--data", str(data))
    )
    port = free_port()
    command = roamlog("serve", "--data", str(data), "--port", str(port))
    async with serving("roamlog", command, port, log=options.scratch / "log") as ours:
        folded_s = await drained_s(ours)
        first, last, crawl_s = await _crawl(ours, pages)
        first_ms = await _timed(lambda: _page(ours, first))
        last_ms = await _timed(lambda: _page(ours, last))
        locations_ms = await _timed(lambda: _page(ours, FIRST_OF_LOCATIONS))
        memory = peak_rss_mib(ours.pid)
    bare = await _bare(data / "clickhouse", pages)
    theirs_ms, theirs_of_locations_ms = await _py_ocpi(options.scratch)
    return Result(
        ratios=[
            Ratio("first page / ClickHouse, time", first_ms / bare.first_ms, 2, "<="),
            Ratio(f"page {pages:,} / ClickHouse, time", last_ms / bare.last_ms, 2, "<="),
            Ratio(f"page {pages:,} / page 1, time", last_ms / first_ms, 1.2, "<="),
            Ratio("py-ocpi / first page, time", theirs_ms / first_ms, 20),
            Ratio("1,000 Locations / ClickHouse, time", locations_ms / bare.locations_ms, 2, "<="),
            Ratio("py-ocpi / 1,000 Locations, time", theirs_of_locations_ms / locations_ms, 20),
        ],
        measures=[
            Measure("first page", first_ms, "ms"),
            Measure(f"page {pages:,}", last_ms, "ms"),
            Measure("ClickHouse, first page", bare.first_ms, "ms"),
            Measure(f"ClickHouse, page {pages:,}", bare.last_ms, "ms"),
            Measure("py-ocpi, 1,000 sessions", theirs_ms, "ms"),
            Measure("1,000 Locations", locations_ms, "ms"),
            Measure("ClickHouse, 1,000 Locations", bare.locations_ms, "ms"),
            Measure("py-ocpi, 1,000 Locations", theirs_of_locations_ms, "ms"),
            Measure("crawl of all pages", crawl_s, "s"),
            Measure("from an empty store to folded", folded_s, "s"),
            Measure("serve: peak memory, folding included", memory, "MiB"),
        ],
        remarks=[
            f"{pages * PAGE:,} sessions of three periods; medians of {REPEATS}; py-ocpi holds 1,000 in a dict",
            f"{locations:,} Locations of 1 to 8 EVSEs, 3.5 on the average; py-ocpi's have 4",
        ],
    )


async def _timed(ask: Callable[[], Awaitable[T]]) -> float:
    """Return the median time in milliseconds."""
    taken = []
    for _ in range(REPEATS):
        begun = time.perf_counter()
        await ask()
        taken.append((time.perf_counter() - begun) * 1000)
    return median_and_spread(taken)[0]


async def _page(server: Server, path: str) -> tuple[int, str]:
    """Return how many objects the page has, and the path of the next one ('' after the last)."""
    head, body = await get(server.port, path, {"Authorization": sessions.AUTHORIZATION})
    following = _NEXT.search(head)
    try:
        return len(msgspec.json.decode(body, type=_Answer).data), following[1].decode() if following else ""
    except msgspec.DecodeError as fault:
        raise Unavailable(f"{path} answers {body[:300]!r}") from fault


async def _crawl(server: Server, pages: int) -> tuple[str, str, float]:
    """Follow every Link; return the paths of the first and the last page, and the time of the whole."""
    begun = time.perf_counter()
    path, last, seen, ids = FIRST, FIRST, 0, 0
    while path:
        last = path
        listed, path = await _page(server, path)
        ids += listed
        seen += 1
    if (seen, ids) != (pages, pages * PAGE):
        raise Unavailable(f"the crawl gave {ids} sessions on {seen} pages, not {pages * PAGE} on {pages}")
    return FIRST, last, time.perf_counter() - begun


class _Answer(Struct):
    data: list[msgspec.Raw]


class _Bare(Struct):
    first_ms: float
    last_ms: float
    locations_ms: float


async def _bare(store: Path, pages: int) -> _Bare:
    """Ask ClickHouse itself, in a process of its own: one process opens one folder."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.serve", str(store), str(pages)), stdout=asyncio.subprocess.PIPE, cwd=ROOT
    )
    output, _ = await process.communicate()
    if process.returncode:
        raise Unavailable(f"asking ClickHouse itself ended with {process.returncode}")
    return msgspec.json.decode(output, type=_Bare)


async def _ask_clickhouse(folder: Path, pages: int) -> _Bare:
    store = ClickHouseStore.embedded(folder)
    keys = await store.query(
        "SELECT toUnixTimestamp64Micro(first_seen), party, session_id FROM sessions ORDER BY first_seen, party, session_id"
        " LIMIT 1 OFFSET {offset:UInt64}",
        {"offset": (pages - 1) * PAGE - 1},
    )
    parameters: dict[str, object] = {
        "owners": [],
        "addressees": [READER],
        "sees_offers": 1,
        "date_from": 1_577_836_800_000_000,
        "date_to": LATEST,
        "arrived_from": 1_577_836_800_000_000,
        "limit": PAGE,
        "offset": 0,
    }

    async def page(statement: str, after: object, party: object, object_id: object) -> Sequence[tuple[object, ...]]:
        rows = await store.query(
            statement, parameters | {"after": after, "after_party": _text(party), "after_id": _text(object_id)}
        )
        if len(rows) != PAGE:
            raise Unavailable(f"ClickHouse gave {len(rows)} rows for a page")
        return rows

    try:
        return _Bare(
            first_ms=await _timed(lambda: page(SESSIONS_PAGE, EARLIEST, "", "")),
            last_ms=await _timed(lambda: page(SESSIONS_PAGE, *keys[0])),
            locations_ms=await _timed(lambda: page(SOURCES[Module.LOCATIONS].page, EARLIEST, "", "")),
        )
    finally:
        await store.close()


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


async def _py_ocpi(scratch: Path) -> tuple[float, float]:
    """Return the times of py-ocpi's lists of 1,000 sessions and of 1,000 Locations, in milliseconds."""
    port = free_port()
    command = uvicorn(await python_of(PY_OCPI), PY_OCPI.app, APPS, port)
    async with serving("py-ocpi", command, port, log=scratch / "py-ocpi.log", env={"OCPI_HOST": f"127.0.0.1:{port}"}):
        for number in range(PAGE):
            await _put(port, number)

        async def ask(path: str) -> None:
            _, body = await get(port, f"/ocpi/cpo/2.2.1/{path}", {"Authorization": sessions.AUTHORIZATION})
            if len(msgspec.json.decode(body, type=_Answer).data) != PAGE:
                raise Unavailable(f"py-ocpi does not give {PAGE} at {path}")

        of_sessions = await _timed(lambda: ask(f"sessions/?limit={PAGE}"))
        known = f"/ocpi/emsp/2.2.1/locations/{'/'.join(sessions.PARTY)}"
        await load(Load(port=port, path=known, seconds=0, turn=0, content="location", once=True))
        # One dict holds both: the Locations stand behind the sessions.
        return of_sessions, await _timed(lambda: ask(f"locations/?limit={PAGE}&offset={PAGE}"))


async def _put(port: int, number: int) -> None:
    body = sessions.session(number, 1)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with contextlib.closing(writer):
        writer.write(
            (
                f"PUT /ocpi/emsp/2.2.1/sessions/{'/'.join(sessions.PARTY)}/{sessions.session_id(number)} HTTP/1.1\r\n"
                f"Host: 127.0.0.1\r\nAuthorization: {sessions.AUTHORIZATION}\r\nConnection: close\r\n"
                f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            ).encode()
            + body
        )
        answer = await reader.read(-1)
    if not answer.startswith(b"HTTP/1.1 200"):
        raise Unavailable(f"py-ocpi refuses a session: {answer[:200]!r}")


if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.json.encode(asyncio.run(_ask_clickhouse(Path(sys.argv[1]), int(sys.argv[2])))))
