"""The processes of the scale profile over a real broker and ClickHouse: what was answered is folded once, whoever dies."""

import asyncio
import copy
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
from clickhouse_server import USER, ClickHouseServer, running
from samples import CDR, SESSION, TARIFF
from sender import Sender
from sender import serving as offering
from serving import as_json, free_port, wire_session
from yarl import URL

from streams.catalogue import projections
from streams.logs.kafka import Cluster

pytestmark = pytest.mark.system

SECRET: Final = "a secret of tests that is long enough"
OPERATOR: Final = "an operator's token for tests, long"
TOKEN: Final = {"Authorization": "Token scale-token", "Content-Type": "application/json"}
RECEIVER: Final = "/ocpi/2.2.1/receiver/sessions/NL/TNM"
SENDER: Final = "/ocpi/2.2.1/sender/sessions?date_from=2026-01-01T00:00:00Z&limit=1000"
STAMP: Final = "2026-10-01T08:00:00Z"
SOON_S: Final = 150
TOPICS_FOLDED: Final = {topic for projection in projections() for topic in projection.topics}


@pytest.fixture(scope="module")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouseServer]:
    with running(tmp_path_factory.mktemp("clickhouse"), "secret") as started:
        yield started


@pytest.fixture
def environment(cluster: Cluster, clickhouse: ClickHouseServer) -> dict[str, str]:
    """The settings of all processes of one house."""
    return {
        "ROAMLOG_KAFKA": cluster.servers,
        "ROAMLOG_KAFKA_PREFIX": cluster.prefix,
        "ROAMLOG_CLICKHOUSE": f"http://127.0.0.1:{clickhouse.port}",
        "ROAMLOG_CLICKHOUSE_USER": USER,
        "ROAMLOG_CLICKHOUSE_PASSWORD": "secret",
        "ROAMLOG_CLICKHOUSE_DATABASE": "scale_" + cluster.prefix.replace("-", "_").rstrip("."),
        "ROAMLOG_PEPPER": SECRET,
        "ROAMLOG_OPERATOR_TOKEN": OPERATOR,
    }


def command(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `roamlog …` to its end."""
    return subprocess.run(
        [sys.executable, "-m", "roamlog.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=os.environ | environment,
    )


class Process:
    """One of the processes."""

    def __init__(self, environment: dict[str, str], folder: Path, *arguments: str) -> None:
        self.log = folder / f"{arguments[0]}-{time.monotonic_ns()}.log"
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "roamlog.cli", *arguments], stdout=output, stderr=output, env=os.environ | environment
            )

    def send(self, how: signal.Signals) -> None:
        self.process.send_signal(how)

    async def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Send the signal and return the exit code."""
        self.process.send_signal(signal.SIGCONT)
        self.process.send_signal(how)
        try:
            return await asyncio.to_thread(self.process.wait, 30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"it did not stop: {self.log.read_text()[-2000:]}") from None


class Worker(Process):
    """A worker, asked how it fares."""

    url: str

    async def asked(self, client: aiohttp.ClientSession, path: str) -> tuple[int, str]:
        """Return the status and the text that it answers; 0 where it answers nothing (yet)."""
        try:
            async with client.get(self.url + path, headers={"Authorization": f"Token {OPERATOR}"}) as answer:
                return answer.status, await answer.text()
        except aiohttp.ClientError:
            return 0, ""

    async def links(self, client: aiohttp.ClientSession) -> bool:
        """Whether it is the one that links CDRs."""
        return 'roamlog_lease_held{lease="links"} 1.0' in (await self.asked(client, "/metrics"))[1]

    async def pulls(self, client: aiohttp.ClientSession) -> bool:
        """Whether it is the one that crawls."""
        return 'roamlog_lease_held{lease="pull"} 1.0' in (await self.asked(client, "/metrics"))[1]


class House:
    """All processes of one house."""

    def __init__(self, environment: dict[str, str], folder: Path) -> None:
        self.environment = environment
        self.folder = folder
        self.processes: list[Process] = []
        self.urls: dict[str, str] = {}

    def start(self, *arguments: str) -> Process:
        one = Process(self.environment, self.folder, *arguments)
        self.processes.append(one)
        return one

    def worker(self) -> "Worker":
        """Start a worker that tells how it fares."""
        port = free_port()
        one = Worker(self.environment | {"ROAMLOG_HEALTH_PORT": str(port)}, self.folder, "streams")
        one.url = f"http://127.0.0.1:{port}"
        self.processes.append(one)
        return one

    def pulling(self) -> "Worker":
        """Start a process that crawls partners' lists when it has the lease."""
        port = free_port()
        one = Worker(self.environment | {"ROAMLOG_HEALTH_PORT": str(port)}, self.folder, "pull")
        one.url = f"http://127.0.0.1:{port}"
        self.processes.append(one)
        return one

    def said(self) -> str:
        """Return what the processes printed last."""
        return "\n".join(f"{one.log.name}: {one.log.read_text()[-1500:]}" for one in self.processes)

    async def answering(self, part: str) -> Process:
        """Start a process that answers HTTP, and return once it does."""
        port = free_port()
        self.urls[part] = f"http://127.0.0.1:{port}"
        one = self.start(part, "--port", str(port))
        async with aiohttp.ClientSession() as client, asyncio.timeout(SOON_S):
            while True:
                assert one.process.poll() is None, one.log.read_text()
                try:
                    async with client.get(f"{self.urls[part]}/health") as answer:
                        if answer.status == 200:
                            return one
                except aiohttp.ClientError:
                    await asyncio.sleep(0.05)


@asynccontextmanager
async def house(environment: dict[str, str], folder: Path) -> AsyncIterator[House]:
    """A house with one ingest, one api and a connected partner; workers are the test's own."""
    one = House(environment, folder)
    try:
        prepared = command(environment, "prepare", "--json")
        assert prepared.returncode == 0, prepared.stderr
        added = command(
            environment,
            *("partner", "add", "tnm", "--party", "NL*TNM", "--role", "CPO", "--role", "EMSP", "--token", "scale-token", "--kafka"),
        )
        assert added.returncode == 0, added.stderr
        await asyncio.gather(one.answering("ingest"), one.answering("api"))
        yield one
    finally:
        for process in one.processes:
            process.process.kill()
            process.process.wait()


async def put(client: aiohttp.ClientSession, house: House, number: int) -> None:
    async with client.put(
        f"{house.urls['ingest']}{RECEIVER}/s{number}", data=as_json(wire_session(f"s{number}", 1, STAMP))
    ) as answer:
        said = await answer.json()
        assert said["status_code"] == 1000, said


async def listed(client: aiohttp.ClientSession, house: House) -> dict[str, Any]:
    """Return the Sessions that the api lists, by id."""
    found: dict[str, Any] = {}
    url: str | None = house.urls["api"] + SENDER
    while url is not None:
        async with client.get(url) as answer:
            assert answer.status in {200, 503}, await answer.text()
            said = await answer.json()
            found |= {one["id"]: one for one in said.get("data") or []}
            following = answer.links.get("next")
            # The public URL is the proxy's; here the api is asked itself.
            url = None if following is None else house.urls["api"] + URL(str(following["url"])).raw_path_qs
    return found


async def until_listed(client: aiohttp.ClientSession, house: House, number: int) -> dict[str, Any]:
    until = time.monotonic() + SOON_S
    while True:
        found = await listed(client, house)
        if len(found) >= number:
            return found
        assert time.monotonic() < until, f"{len(found)} of {number} are listed; {house.said()}"
        await asyncio.sleep(0.2)


async def fares_well(client: aiohttp.ClientSession, worker: Worker, sessions: int) -> None:
    """Ask a worker that has folded so many Sessions how it fares; what the tables say it hears once a second."""
    until = time.monotonic() + SOON_S
    while (answered := await worker.asked(client, "/ready"))[0] != 200:
        assert time.monotonic() < until, answered
        await asyncio.sleep(0.1)
    ready = json.loads(answered[1])
    assert (ready["ready"], ready["waiting_for"], ready["lagging"]) == (True, [], [])
    assert {lane["topic"] for lane in ready["lanes"]} == TOPICS_FOLDED
    assert (await worker.asked(client, "/health"))[0] == 200
    assert f'roamlog_folded_records_total{{topic="ocpi.charging"}} {sessions}.0' in (await worker.asked(client, "/metrics"))[1]
    async with client.get(f"{worker.url}/metrics") as answer:  # a partner's token is none of the operator's
        assert answer.status == 401
        await answer.read()


async def test_a_push_to_one_process_is_served_by_another(environment: dict[str, str], tmp_path: Path) -> None:
    async with house(environment, tmp_path) as one, aiohttp.ClientSession(headers=TOKEN) as client:
        worker = one.worker()
        for number in range(20):
            await put(client, one, number)
        assert set(await until_listed(client, one, 20)) == {f"s{number}" for number in range(20)}
        await fares_well(client, worker, 20)
        async with client.get(f"{one.urls['ingest']}{RECEIVER}/s3") as answer:
            assert (await answer.json())["data"]["id"] == "s3"
        async with client.put(f"{one.urls['api']}{RECEIVER}/s3", data=b"{}") as answer:
            assert answer.status in {404, 405}  # what is written is for ingest
            await answer.read()
        async with client.get(
            f"{one.urls['api']}/analytics/sessions/by-status", headers={"Authorization": f"Token {OPERATOR}"}
        ) as answer:
            assert answer.status == 200
            assert [row["sessions"] for row in (await answer.json())["rows"]] == [20]
        assert [await process.end() for process in one.processes] == [0, 0, 0]


async def test_workers_that_stop_die_and_freeze_lose_nothing(environment: dict[str, str], tmp_path: Path) -> None:
    async with house(environment, tmp_path) as one, aiohttp.ClientSession(headers=TOKEN) as client:
        workers = [one.start("streams"), one.start("streams")]
        number = 0

        async def push(count: int) -> None:
            nonlocal number
            for _ in range(count):
                await asyncio.gather(*(put(client, one, number + place) for place in range(10)))
                number += 10

        await push(10)
        await until_listed(client, one, 100)
        await push(10)
        assert await workers[0].end(signal.SIGTERM) == 0
        await push(5)
        workers.append(one.start("streams"))
        workers[1].send(signal.SIGSTOP)
        await push(10)
        await until_listed(client, one, number)  # another worker has taken over
        workers[1].send(signal.SIGCONT)
        await push(5)
        await workers[1].end(signal.SIGKILL)
        await push(5)
        found = await until_listed(client, one, number)
        assert set(found) == {f"s{each}" for each in range(number)}
        done = command(environment, "doctor", "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        assert all(finding["well"] for finding in json.loads(done.stdout))


async def linking(client: aiohttp.ClientSession, house: House, among: list[Worker]) -> Worker:
    """Return the worker that links CDRs, once one does."""
    until = time.monotonic() + SOON_S
    while True:
        for one in among:
            if await one.links(client):
                return one
        assert time.monotonic() < until, house.said()
        await asyncio.sleep(0.2)


async def billed(client: aiohttp.ClientSession, house: House, number: int) -> None:
    """Push a Session and a CDR that does not name it, and return once the ledger shows that one was found for the other."""
    begins = {"start_date_time": f"2026-01-{number:02}T10:00:00Z", "end_date_time": f"2026-01-{number:02}T11:00:00Z"}
    session = SESSION | begins | {"id": f"S{number}", "charging_periods": []}
    cdr = {name: value for name, value in CDR.items() if name != "session_id"} | begins | {"id": f"C{number}"}
    async with client.put(f"{house.urls['ingest']}{RECEIVER}/S{number}", data=as_json(session)) as answer:
        assert (await answer.json())["status_code"] == 1000, await answer.text()
    async with client.post(f"{house.urls['ingest']}/ocpi/2.2.1/receiver/cdrs", data=as_json(cdr)) as answer:
        assert (await answer.json())["status_code"] == 1000, await answer.text()
    url = f"{house.urls['api']}/analytics/ledger"
    until = time.monotonic() + SOON_S
    while True:
        async with client.get(url, headers={"Authorization": f"Token {OPERATOR}"}) as answer:
            said = await answer.text()
            rows = (await answer.json()).get("rows") or [] if answer.status == 200 else []
        if [(row["standing"], row["entries"], row["linked_entries"]) for row in rows] == [("billed", number, number)]:
            return
        assert time.monotonic() < until, f"{said}; {house.said()}"
        await asyncio.sleep(0.2)


async def test_a_worker_that_links_cdrs_dies_and_another_goes_on(environment: dict[str, str], tmp_path: Path) -> None:
    async with house(environment, tmp_path) as one, aiohttp.ClientSession(headers=TOKEN) as client:
        workers = [one.worker(), one.worker()]
        first = await linking(client, one, workers)
        await billed(client, one, 1)
        await first.end(signal.SIGKILL)
        (other,) = [worker for worker in workers if worker is not first]
        assert await linking(client, one, [other]) is other
        await billed(client, one, 2)


async def crawls(client: aiohttp.ClientSession, house: House) -> list[dict[str, Any]]:
    """Return the certificates of the crawls that are complete, the newest first."""
    async with client.get(f"{house.urls['api']}/analytics/crawls", headers={"Authorization": f"Token {OPERATOR}"}) as answer:
        said = json.loads(await answer.read())
    return [row for row in said.get("rows") or [] if row["status"] == "complete"]


async def test_of_two_processes_that_pull_one_crawls_and_the_other_goes_on(environment: dict[str, str], tmp_path: Path) -> None:
    own = {"ROAMLOG_ALLOW_PRIVATE_PARTNERS": "1", "ROAMLOG_PARTNER_KEY": SECRET, "ROAMLOG_PULL_EVERY_S": "3"}
    tariffs = [copy.deepcopy(TARIFF) | {"id": f"T{number}", "last_updated": STAMP} for number in range(3)]
    async with (
        house(environment | own, tmp_path) as one,
        aiohttp.ClientSession() as client,
        offering(Sender(tariffs=list(tariffs))) as sender,
    ):
        one.worker()
        assert command(one.environment, "partner", "remove", "tnm", "--kafka").returncode == 0  # its party is the Sender's
        offer = (f"{sender.origin}/versions", "--token", "partner-token")
        registered = await asyncio.to_thread(command, one.environment, "partner", "register", "tnm", *offer, "--kafka")
        assert registered.returncode == 0, registered.stderr
        first, other = one.pulling(), one.pulling()

        async def until(holds: Callable[[list[dict[str, Any]]], bool]) -> list[dict[str, Any]]:
            ends = time.monotonic() + SOON_S
            while not holds(found := await crawls(client, one)):
                assert time.monotonic() < ends, f"{found}; {one.said()}"
                await asyncio.sleep(0.2)
            return found

        found = await until(bool)
        assert [row["appended"] for row in found][-1] == 3
        holder = first if await first.pulls(client) else other
        await holder.end(signal.SIGKILL)
        sender.lists["tariffs"].append(copy.deepcopy(TARIFF) | {"id": "T9", "last_updated": STAMP})
        asked = await asyncio.to_thread(command, one.environment, "pull", "run", "tnm", "--full", "--kafka", "--json")
        assert asked.returncode == 0, asked.stderr
        (certificate,) = json.loads(asked.stdout)
        assert (certificate["objects"], certificate["status"]) == (4, "complete")
        found = await until(lambda rows: any(row["reason"] == "operator" for row in rows))
        known = {row["run"] for row in found}
        later = await until(lambda rows: any(row["reason"] == "schedule" and row["run"] not in known for row in rows))
        assert {row["refused"] for row in later} == {0}
        assert await (other if holder is first else first).pulls(client)


def test_a_house_without_its_neighbours_is_a_sentence(environment: dict[str, str]) -> None:
    nowhere = environment | {"ROAMLOG_KAFKA": "127.0.0.1:9"}
    for arguments in (("prepare",), ("streams",), ("pull",), ("api", "--port", "0"), ("ingest", "--port", "0")):
        done = command(nowhere, *arguments)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
        assert done.stderr.startswith("roamlog: the brokers at 127.0.0.1:9 cannot be used now")
    silent = environment | {"ROAMLOG_PEPPER": ""}
    done = command(silent, "streams")
    assert (done.returncode, done.stderr) == (
        2,
        "roamlog: ROAMLOG_PEPPER is not set, but takes at least 32 characters that nobody guesses\n",
    )
    unprepared = command(environment, "streams")
    assert unprepared.returncode == 2
    assert unprepared.stderr.rstrip().endswith("run roamlog prepare")


def test_a_clickhouse_that_cannot_be_reached_is_a_sentence(environment: dict[str, str], tmp_path: Path) -> None:
    done = command(environment | {"ROAMLOG_CLICKHOUSE": "http://127.0.0.1:9"}, "prepare")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert done.stderr.startswith("roamlog: ClickHouse at http://127.0.0.1:9 cannot be used now: ")
    (tmp_path / "empty.pem").touch()
    for file, reason in (("none.pem", "No such file or directory"), ("empty.pem", "it holds no certificate")):
        done = command(environment | {"ROAMLOG_CLICKHOUSE_CA": str(tmp_path / file)}, "prepare")
        said = f"roamlog: ROAMLOG_CLICKHOUSE_CA is '{tmp_path / file}', which cannot be read ({reason})\n"
        assert (done.returncode, done.stderr) == (2, said)


def test_a_wrong_password_of_clickhouse_is_a_sentence(environment: dict[str, str]) -> None:
    done = command(environment | {"ROAMLOG_CLICKHOUSE_PASSWORD": "guess"}, "prepare")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "ROAMLOG_CLICKHOUSE_USER" in done.stderr
    assert "guess" not in done.stderr
