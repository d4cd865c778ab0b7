"""The life of `roamlog serve`: one a folder, stopped in order, healed after everything else."""

import asyncio
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from serving import Serve, add_partner, as_json, command, wire_session

pytestmark = pytest.mark.system

TOKEN = {"Authorization": "Token serve-token", "Content-Type": "application/json"}
STAMP = "2026-10-01T08:00:00Z"


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    serving = Serve(tmp_path / "data")
    yield serving
    serving.kill()


@pytest.fixture(scope="module")
def pattern(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a serve that took a Session, folded it and was stopped in order."""

    async def make() -> None:
        await serving.start()
        assert (await asked(serving, "PUT", as_json(wire_session("kept", 7, STAMP))))["status_code"] == 1000
        await session(serving)
        assert await serving.end(signal.SIGTERM) == 0

    serving = Serve(tmp_path_factory.mktemp("pattern") / "data")
    add_partner(serving.data, "tnm", "NL*TNM", "CPO", "serve-token")
    try:
        asyncio.run(make())
    finally:
        serving.kill()
    return serving.data


@pytest.fixture
def loaded(serve: Serve, pattern: Path) -> Serve:
    """A serve, not started yet, on a copy of that folder."""
    shutil.copytree(pattern, serve.data, symlinks=True)
    return serve


async def asked(serve: Serve, verb: str, body: bytes | None = None) -> Any:
    url = f"{serve.url}/ocpi/2.2.1/receiver/sessions/NL/TNM/kept"
    async with aiohttp.ClientSession(headers=TOKEN) as client, client.request(verb, url, data=body) as answer:
        return await answer.json()


async def session(serve: Serve) -> Any:
    """Return the Session as the tables have it, once they have it."""
    for _ in range(100):
        envelope = await asked(serve, "GET")
        if envelope["status_code"] == 1000:
            return envelope["data"]
        await asyncio.sleep(0.05)
    raise AssertionError(f"the Session is not served: {envelope}")


def operator_token(serve: Serve) -> str:
    token: str = json.loads((serve.data / "secrets.json").read_text())["operator_token"]
    return token


def run(serve: Serve) -> dict[str, Any]:
    """Return what the folder says of its process."""
    said: dict[str, Any] = json.loads((serve.data / "run.json").read_text())
    return said


async def test_a_second_serve_is_told_who_serves(serve: Serve) -> None:
    await serve.start()
    assert operator_token(serve) in serve.output()
    assert serve.process is not None
    second = await asyncio.to_thread(command, "serve", "--data", str(serve.data), "--port", "0")
    pid = serve.process.pid
    expected = f"roamlog: {serve.data} is in use by process {pid} (serve); stop it first, or name another folder with --data\n"
    assert (second.returncode, second.stdout, second.stderr) == (2, "", expected)
    assert await serve.end(signal.SIGINT) == 0


def test_a_port_that_is_taken_is_a_sentence(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = command("serve", "--data", str(tmp_path), "--port", str(port))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"roamlog: port {port} of 127.0.0.1 is taken; choose another with --port, or stop who uses it\n"


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    folder = tmp_path / "read-only"
    folder.mkdir(mode=0o500)
    # To root every folder of a disk can be written; those of the kernel cannot.
    data = Path("/sys/kernel/roamlog") if os.geteuid() == 0 else folder
    done = command("serve", "--data", str(data), "--port", "0")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert re.fullmatch(rf"roamlog: {data} cannot be a data folder \(.+\); .*name another folder with --data\n", done.stderr)


def test_a_wrong_setting_ends_the_start_with_a_sentence(tmp_path: Path) -> None:
    done = command("serve", "--data", str(tmp_path / "data"), environment={"ROAMLOG_PAGE_LIMIT": "many"})
    sentence = "roamlog: ROAMLOG_PAGE_LIMIT is 'many', but takes a whole number from 1 to 10000\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", sentence)
    assert not (tmp_path / "data").exists()


async def test_requests_under_way_are_answered_before_the_end(loaded: Serve) -> None:
    serve = loaded
    await serve.start()
    assert operator_token(serve) not in serve.output(), "it is shown at the first start only"
    body = as_json(wire_session("kept", 7, STAMP))
    reader, writer = await asyncio.open_connection("127.0.0.1", serve.port)
    headers = f"Host: x\r\nAuthorization: Token serve-token\r\nContent-Length: {len(body)}"
    head = f"PUT /ocpi/2.2.1/receiver/sessions/NL/TNM/kept HTTP/1.1\r\n{headers}\r\n\r\n"
    writer.write(head.encode() + body[:20])
    await writer.drain()
    await asyncio.sleep(0.2)  # the server has read the head by now, and waits for the rest
    ending = asyncio.create_task(serve.end(signal.SIGTERM))
    await asyncio.sleep(0.3)
    writer.write(body[20:])
    answer = await reader.read()
    assert b'"status_code":1000' in answer
    assert await ending == 0
    writer.close()
    assert run(serve)["clean"] is True


async def test_deleted_tables_are_made_again_from_the_log(loaded: Serve) -> None:
    shutil.rmtree(loaded.data / "clickhouse")
    await loaded.start()
    assert (await session(loaded))["kwh"] == 7


async def test_commands_work_after_serve_was_killed(loaded: Serve) -> None:
    await loaded.start()
    await loaded.end(signal.SIGKILL)
    assert run(loaded)["socket"] == str(loaded.data / "serve.sock")
    listed = await asyncio.to_thread(command, "partner", "list", "--data", str(loaded.data), "--json")
    assert [one["name"] for one in json.loads(listed.stdout)] == ["tnm"]


FULL_DISK = """
set -e
mount -t tmpfs -o size=24m tmpfs "$1"
"$2" -m roamlog.cli partner add tnm --party NL*TNM --role CPO --token serve-token --data "$1/data" >/dev/null
"$2" -m roamlog.cli serve --data "$1/data" --port "$3" >/dev/null 2>&1 &
echo $!
code=0
wait $! || code=$?
echo $code
"$2" -m roamlog.cli serve --data "$1/data" --port "$3" 2>&1 || echo $?
mount -o remount,size=200m "$1"
exec "$2" -m roamlog.cli verify --data "$1/data" --json
"""
"""A disk of our own, full and then grown, in a mount namespace that needs no rights; it ends with the shell."""


@pytest.mark.skipif(
    subprocess.run(["unshare", "-Urm", "true"], check=False, capture_output=True).returncode != 0,
    reason="this system lets no user mount a small disk of his own (unshare -Urm)",
)
async def test_a_full_disk_is_said_in_ocpi_and_loses_nothing_that_was_answered(serve: Serve) -> None:
    disk = serve.data.parent
    shell = await asyncio.create_subprocess_exec(
        *("unshare", "-Urm", "sh", "-c", FULL_DISK, "sh", str(disk), sys.executable, str(serve.port)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert shell.stdout is not None
    pid = int(await shell.stdout.readline())
    answers = await filled(serve)
    assert answers.keys() == {(201, 1000), (503, 3000)}
    os.kill(pid, signal.SIGTERM)
    code, again, refused, *verified = (await shell.stdout.read()).decode().splitlines()
    assert (code, refused) == ("0", "2")
    assert re.fullmatch(rf"roamlog: {serve.data} has only \d+ KiB of free space; free at least 16 MiB on its disk", again)
    said = json.loads("\n".join(verified))
    # One record more connected the partner, but that is no topic of a projection.
    assert (said["records"], said["differences"]) == (answers[201, 1000], [])
    assert await shell.wait() == 0


async def listening(client: aiohttp.ClientSession, serve: Serve) -> None:
    """Wait until the server answers."""
    for _ in range(400):
        try:
            async with client.get(f"{serve.url}/health"):
                return
        except aiohttp.ClientError:
            await asyncio.sleep(0.05)
    raise AssertionError("serve does not answer")


async def filled(serve: Serve) -> Counter[tuple[int, int]]:
    """Push Sessions of 50 kB until one is not taken any more, and return how often each answer came."""
    answers: Counter[tuple[int, int]] = Counter()

    async def push(client: aiohttp.ClientSession, number: int) -> None:
        body = as_json(wire_session(f"s{number}", 1, STAMP, x_noise="x" * 50_000))
        async with client.put(f"{serve.url}/ocpi/2.2.1/receiver/sessions/NL/TNM/s{number}", data=body) as answer:
            answers[answer.status, (await answer.json())["status_code"]] += 1

    async with aiohttp.ClientSession(headers=TOKEN) as client:
        await listening(client, serve)
        for number in range(0, 2000, 20):
            await asyncio.gather(*(push(client, number + one) for one in range(20)))
            if (503, 3000) in answers:
                break
    return answers
