"""What can go wrong with a data folder heals, or ends in one sentence; what was answered is never lost."""

import asyncio
import base64
import hashlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import aiohttp
import pytest
from serving import Serve, add_partner, as_json, command, wire_session

pytestmark = pytest.mark.system

TOKEN: Final = {"Authorization": "Token faults-token", "Content-Type": "application/json"}
SESSIONS: Final = "/ocpi/2.2.1/receiver/sessions/NL/TNM"
STAMP: Final = "2026-10-01T08:00:00Z"
LATER: Final = "2026-10-01T09:00:00Z"
MB: Final = 1024 * 1024
LOAD_S: Final = float(os.environ.get("ROAMLOG_LOAD_S", "10"))
OBJECTS: Final = 40


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    serving = Serve(tmp_path / "data")
    yield serving
    serving.kill()


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that took Sessions s0, s1 …, folded them in several parts, and was closed in order."""
    made = Serve(tmp_path_factory.mktemp("template") / "data")

    async def fill() -> None:
        add_partner(made.data, "tnm", "NL*TNM", "CPO", "faults-token")
        await made.start()
        async with aiohttp.ClientSession(made.url, headers=TOKEN) as client:
            for number in range(OBJECTS):
                assert await pushed(client, number) == 201
                if number % 10 == 9:
                    assert await _status(client, number) == 200  # it waits until that is folded
        assert await made.end(signal.SIGTERM) == 0

    try:
        asyncio.run(fill())
    finally:
        made.kill()
    return made.data


@pytest.fixture
def used(template: Path, serve: Serve) -> Serve:
    """A serve that is not running, on a copy of that folder."""
    shutil.copytree(template, serve.data, symlinks=True)
    return serve


async def pushed(client: aiohttp.ClientSession, number: int, **fields: Any) -> int:
    body = as_json(wire_session(f"s{number}", number, STAMP, **fields))
    async with client.put(f"{SESSIONS}/s{number}", data=body) as answer:
        said = await answer.json()
        assert (answer.status, said["status_code"]) in {(201, 1000), (200, 1000), (503, 3000)}
        assert (answer.headers.get("Retry-After") == "5") is (answer.status == 503)
        return answer.status


async def served(serve: Serve, count: int = OBJECTS) -> list[int]:
    """Return the kwh of the Sessions s0, s1 … as they are served."""
    await serve.folded()
    async with aiohttp.ClientSession(serve.url, headers=TOKEN) as client:
        return [await _kwh(client, number) for number in range(count)]


async def _kwh(client: aiohttp.ClientSession, number: int) -> int:
    async with client.get(f"{SESSIONS}/s{number}") as answer:
        return int((await answer.json())["data"]["kwh"])


async def _status(client: aiohttp.ClientSession, number: int) -> int:
    async with client.get(f"{SESSIONS}/s{number}") as answer:
        await answer.read()
        return answer.status


def sentence(done: subprocess.CompletedProcess[str], code: int) -> str:
    """Return the one line of a command that failed."""
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (code, "", 1), done
    return done.stderr.removesuffix("\n")


def healings(serve: Serve) -> list[str]:
    """Return what serve said of tables that are made again."""
    return [line for line in serve.output().splitlines() if "WARNING roamlog: " in line]


def verified(serve: Serve) -> None:
    done = command("verify", "--data", str(serve.data))
    assert done.returncode == 0, done.stdout + done.stderr


def contents(folder: Path) -> dict[str, str]:
    """Return what the folder's files hold, apart from who has it open."""
    beside = {"lock", "log.sqlite.lock", "log.sqlite-shm", "run.json"}
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.name not in beside
    }


@contextmanager
def mounted(path: Path, options: str) -> Iterator[Path]:
    """Mount a small file system there while the block runs."""
    path.mkdir(exist_ok=True)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"this user may mount no file system: {done.stderr.strip()}")
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


# --- the folder -----------------------------------------------------------------------------------------------------


def test_a_folder_on_a_read_only_file_system_is_a_sentence(template: Path, tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "size=16m") as disk:
        shutil.copytree(template, disk / "data", symlinks=True)
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        for data, *asked in ((disk / "data", "serve", "--port", "0"), (disk / "data", "verify"), (disk / "new", "serve")):
            said = sentence(command(*map(str, asked), "--data", str(data)), 2)
            assert said.startswith(f"roamlog: {data} cannot be a data folder")
            assert said.endswith("its file system is mounted read-only; name another folder with --data")


@pytest.mark.parametrize("part", ["run.json", "log.sqlite"])
def test_a_folder_of_a_newer_release_is_left_alone(used: Serve, part: str) -> None:
    if part == "run.json":
        (used.data / part).write_text(json.dumps(json.loads((used.data / part).read_text()) | {"format": 99}))
    else:
        with sqlite3.connect(used.data / part) as log:
            log.execute("PRAGMA user_version = 99")
        log.close()
    before = contents(used.data)
    said = sentence(command("serve", "--data", str(used.data), "--port", "0"), 2)
    assert "format 99" in said
    assert contents(used.data) == before


# --- the log --------------------------------------------------------------------------------------------------------


def _halved(log: Path) -> None:
    os.truncate(log, log.stat().st_size // 2)


def _overwritten(log: Path) -> None:
    with log.open("r+b") as file:
        file.write(b"no database " * 10)


DAMAGES: Final[dict[str, Callable[[Path], None]]] = {
    "halved": _halved,
    "overwritten": _overwritten,
    "emptied": lambda log: os.truncate(log, 0),
    "deleted": Path.unlink,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_log_that_cannot_be_read_is_a_sentence_and_nothing_is_changed(used: Serve, damage: Callable[[Path], None]) -> None:
    damage(used.data / "log.sqlite")
    before = contents(used.data)
    said = sentence(command("serve", "--data", str(used.data), "--port", "0"), 2)
    assert said.startswith(f"roamlog: the log {used.data}/log.sqlite ")
    assert ("cannot be read" in said) or ("put it back from a backup" in said)
    assert contents(used.data) == before


async def test_a_log_that_is_damaged_in_its_middle_serves_what_was_folded_and_fails_verify(used: Serve) -> None:
    log = used.data / "log.sqlite"
    with sqlite3.connect(log) as writer:
        first = "SELECT min(id) FROM batch WHERE instr(records, CAST('cdr_token' AS BLOB))"
        writer.execute(f"UPDATE batch SET records = zeroblob(length(records)) WHERE id = ({first})")
    writer.close()
    await used.start()
    assert await served(used) == list(range(OBJECTS))
    said = sentence(await asyncio.to_thread(command, "verify", "--data", str(used.data)), 1)
    assert said.startswith(f"roamlog: the log {log} cannot be read at ocpi.charging/")
    assert await used.end(signal.SIGTERM) == 0
    # Without tables there is nothing to serve from, and nothing to make them from.
    shutil.rmtree(used.data / "clickhouse")
    ended = await asyncio.to_thread(command, "serve", "--data", str(used.data), "--port", "0")
    assert (ended.returncode, ended.stderr.count("\n")) == (1, 1)
    assert ended.stderr.startswith(f"roamlog: the log {log} cannot be read at ocpi.charging/")


async def test_a_log_restored_from_a_backup_is_the_truth(used: Serve) -> None:
    with sqlite3.connect(used.data / "log.sqlite") as log, sqlite3.connect(used.data.parent / "backup.sqlite") as backup:
        log.backup(backup)
    backup.close()
    log.close()
    await used.start()
    async with aiohttp.ClientSession(used.url, headers=TOKEN) as client:
        for number in range(OBJECTS, OBJECTS + 5):
            assert await pushed(client, number) == 201
    assert (await served(used, OBJECTS + 5))[-1] == OBJECTS + 4
    assert await used.end(signal.SIGTERM) == 0
    shutil.copy(used.data.parent / "backup.sqlite", used.data / "log.sqlite")
    await used.start()
    async with aiohttp.ClientSession(used.url, headers=TOKEN) as client:
        assert await _status(client, OBJECTS + 4) == 404
        assert await pushed(client, OBJECTS) == 201
    assert await served(used, OBJECTS + 1) == list(range(OBJECTS + 1))
    verified(used)
    assert await used.end(signal.SIGTERM) == 0


# --- the tables -----------------------------------------------------------------------------------------------------


def _tables(serve: Serve, pattern: str, name: str) -> list[Path]:
    """Return the files of that pattern; those of the parts of one table where `name` is its metadata's."""
    if not name:
        found = list((serve.data / "clickhouse").glob(pattern))
    else:
        (metadata,) = (serve.data / "clickhouse").glob(f"store/*/*/{name}.sql")
        uuid = metadata.read_text().split("UUID '")[1].split("'")[0]
        found = list((serve.data / f"clickhouse/store/{uuid[:3]}/{uuid}").glob(pattern))
    assert found, (pattern, name)
    return found


class Broken(NamedTuple):
    """Files, what becomes of them, and whether the process before had closed its tables."""

    pattern: str
    table: str
    damage: Callable[[Path], Any]
    clean: bool


BROKEN: Final = {
    "a part without its columns": Broken("all_*/columns.txt", "sessions_v*_g*", lambda file: os.truncate(file, 0), True),
    "a part cut short": Broken("all_*/data.bin", "sessions_v*_g*", lambda file: os.truncate(file, file.stat().st_size // 2), False),
    "a part whose bytes changed": Broken(
        "all_*/data.bin", "sessions_v*_g*", lambda file: file.write_bytes(bytes(file.stat().st_size)), False
    ),
    "metadata that are no SQL": Broken("store/*/*/positions_v*.sql", "", lambda file: file.write_bytes(os.urandom(200)), True),
    "a database without its SQL": Broken("metadata/roamlog.sql", "", lambda file: os.truncate(file, 0), False),
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN.keys())
async def test_broken_tables_are_set_aside_and_made_again(used: Serve, broken: Broken) -> None:
    for file in _tables(used, broken.pattern, broken.table):
        broken.damage(file)
    run = json.loads((used.data / "run.json").read_text())
    (used.data / "run.json").write_text(json.dumps(run | {"clean": broken.clean}))
    await used.start()
    assert await _healed(used) == list(range(OBJECTS))
    (healing,) = healings(used)
    assert healing.endswith("the log makes them again")
    assert (used.data / "clickhouse.broken-1").is_dir()
    assert await used.end(signal.SIGTERM) == 0


async def _healed(serve: Serve) -> list[int]:
    """Return what is served, where damage that only a reader finds has serve begin anew meanwhile."""
    until = time.monotonic() + 30
    while True:
        try:
            return await served(serve)
        except (aiohttp.ClientError, KeyError):
            assert time.monotonic() < until
            await asyncio.sleep(0.05)


async def test_a_machine_that_went_down_under_load_loses_nothing_that_was_answered(used: Serve) -> None:
    await used.start()
    async with aiohttp.ClientSession(used.url, headers=TOKEN) as client:
        assert await pushed(client, OBJECTS) == 201
        await used.end(signal.SIGKILL)
    run = json.loads((used.data / "run.json").read_text())
    assert run["clean"] is False
    # What the machine had not written yet is missing from the tables, but not from the log.
    for file in _tables(used, "all_*", "sessions_v*_g*")[:2]:
        shutil.rmtree(file)
    (used.data / "run.json").write_text(json.dumps(run | {"boot_id": "before the power failed"}))
    await used.start()
    assert await served(used, OBJECTS + 1) == list(range(OBJECTS + 1))
    assert [healing.partition("roamlog: ")[2] for healing in healings(used)] == [
        "the machine went down with the tables open, so they were thrown away; the log makes them again"
    ]
    verified(used)
    assert await used.end(signal.SIGTERM) == 0


# --- the disk -------------------------------------------------------------------------------------------------------


async def test_a_full_disk_refuses_pushes_until_there_is_room_and_loses_nothing(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "size=128m") as disk:
        serve = Serve(disk / "data", log=tmp_path / "serve.log")
        try:
            add_partner(serve.data, "tnm", "NL*TNM", "CPO", "faults-token")
            await serve.start()
            taken = await _filled(serve, disk, 0)
            (disk / "ballast").unlink()
            assert await _takes_again(serve, 10_000)
            assert await _lost(serve, taken) == []
            # Full again, killed, and started while it is still full.
            taken |= await _filled(serve, disk, 20_000)
            await serve.end(signal.SIGKILL)
            said = sentence(await asyncio.to_thread(command, "serve", "--data", str(serve.data), "--port", "0"), 2)
            assert "free space" in said
            (disk / "ballast").unlink()
            await serve.start()
            assert await _takes_again(serve, 30_000)
            assert await _lost(serve, taken) == []
            verified(serve)
            assert await serve.end(signal.SIGTERM) == 0
        finally:
            serve.kill()
    told = healings(serve)
    # A short record may find room where a long one did not, so it may be full more than once.
    assert 2 <= sum("cannot be written, so pushes are refused until it can: database or disk is full" in line for line in told) < 9
    assert any("is written again" in line for line in told)


async def _filled(serve: Serve, disk: Path, first: int) -> set[int]:
    """Fill the disk but for a little, push that full and on for a while; return the numbers of the Sessions that were taken."""
    leave = 6 * MB
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    with (disk / "ballast").open("wb", buffering=0) as ballast:
        for _ in range((free - leave) // MB):
            ballast.write(bytes(MB))
    taken: set[int] = set()
    refused_at = 0.0
    async with aiohttp.ClientSession(serve.url, headers=TOKEN) as client:
        for number in range(first, first + 1_000_000, 8):
            note = base64.b64encode(os.urandom(15_000)).decode()
            numbers = range(number, number + 8)
            statuses = await asyncio.gather(*(pushed(client, one, note=note) for one in numbers))
            taken.update(one for one, status in zip(numbers, statuses, strict=True) if status != 503)
            if 503 in statuses:
                refused_at = refused_at or time.monotonic()
            if refused_at and time.monotonic() - refused_at > 0.5:
                break
    assert len(taken) > 50
    return taken


async def _takes_again(serve: Serve, number: int) -> bool:
    async with aiohttp.ClientSession(serve.url, headers=TOKEN) as client:
        for _ in range(400):
            if await pushed(client, number) == 201:
                return True
            await asyncio.sleep(0.05)
    return False


async def _lost(serve: Serve, taken: set[int]) -> list[int]:
    """Return the Sessions that were taken and are not served, once all is folded."""
    async with aiohttp.ClientSession(serve.url, headers=TOKEN) as client:
        for _ in range(60):  # the projector tries again after up to ten seconds
            if await _status(client, max(taken)) == 200:
                break
        return [number for number in taken if await _status(client, number) != 200]


# --- memory and time ------------------------------------------------------------------------------------------------


async def test_under_load_serve_stays_small_and_takes_its_first_push_soon(serve: Serve) -> None:
    add_partner(serve.data, "tnm", "NL*TNM", "CPO", "faults-token")
    began = time.monotonic()
    await serve.start()
    async with aiohttp.ClientSession(serve.url, headers=TOKEN, connector=aiohttp.TCPConnector(limit=0)) as client:
        assert await pushed(client, 0) == 201
        first_s = time.monotonic() - began
        assert first_s < 60  # 4 s on a machine with nothing else to do
        until = time.monotonic() + LOAD_S
        done = asyncio.Event()
        watching = asyncio.create_task(_largest(serve, done))
        counts = await asyncio.gather(*(_pushing(client, f"p{number}", until) for number in range(32)), _listing(client, until))
        done.set()
        rss_mb = await watching
    assert rss_mb <= 700
    assert await serve.end(signal.SIGTERM) == 0
    print(f"first push {first_s:.1f} s after the start; {sum(counts):,} requests in {LOAD_S:.0f} s, RSS {rss_mb:.0f} MB")  # noqa: T201


async def _largest(serve: Serve, done: asyncio.Event) -> float:
    largest = 0.0
    while not done.is_set():
        largest = max(largest, serve.rss_mb())
        await asyncio.sleep(0.1)
    return largest


async def _pushing(client: aiohttp.ClientSession, name: str, until: float) -> int:
    """PUT Sessions, PATCH each three times and POST its CDR; return how many requests that were."""
    count = 0
    while time.monotonic() < until:
        session = f"{name}-{count}"
        one = wire_session(session, 1, STAMP)
        cdr = {
            "country_code": "NL",
            "party_id": "TNM",
            "id": f"C-{session}",
            "start_date_time": STAMP,
            "end_date_time": LATER,
            "session_id": session,
            "cdr_token": one["cdr_token"],
            "auth_method": "WHITELIST",
            "cdr_location": CDR_LOCATION,
            "currency": "EUR",
            "charging_periods": [{"start_date_time": STAMP, "dimensions": [{"type": "ENERGY", "volume": 3}]}],
            "total_cost": {"excl_vat": 4.0, "incl_vat": 4.84},
            "total_energy": 3,
            "total_time": 1,
            "last_updated": LATER,
        }
        writes: list[tuple[str, str, dict[str, Any]]] = [("PUT", f"{SESSIONS}/{session}", one)]
        for minute in (10, 20, 30):
            stamp = f"2026-10-01T08:{minute}:00Z"
            period = {"start_date_time": stamp, "dimensions": [{"type": "ENERGY", "volume": 1}]}
            change = {"kwh": minute / 10, "charging_periods": [period], "last_updated": stamp}
            writes.append(("PATCH", f"{SESSIONS}/{session}", change))
        writes.append(("POST", "/ocpi/2.2.1/receiver/cdrs", cdr))
        for method, path, body in writes:
            async with client.request(method, path, data=as_json(body)) as answer:
                assert (await answer.json())["status_code"] == 1000
        count += len(writes)
    return count


async def _listing(client: aiohttp.ClientSession, until: float) -> int:
    """Read what was pushed, page by page, again and again; return how many pages that were."""
    count = 0
    while time.monotonic() < until:
        url: str | None = "/ocpi/2.2.1/sender/sessions?date_from=2026-01-01T00:00:00Z"
        while url is not None and time.monotonic() < until:
            async with client.get(url) as answer:
                assert answer.status == 200
                await answer.read()
                url = str(answer.links["next"]["url"]) if "next" in answer.links else None
            count += 1
    return count


CDR_LOCATION: Final = {
    "id": "LOC1",
    "address": "Keizersgracht 1",
    "city": "Amsterdam",
    "country": "NLD",
    "coordinates": {"latitude": "52.37022", "longitude": "4.89517"},
    "evse_uid": "E1",
    "evse_id": "NL*TNM*E1",
    "connector_id": "1",
    "connector_standard": "IEC_62196_T2",
    "connector_format": "SOCKET",
    "connector_power_type": "AC_3_PHASE",
}
