"""`roamlog rebuild --relift` on a real folder, beside a running serve and without one."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from samples import SESSION, body
from serving import Serve, command

from ingest.admission import Circumstances, admit
from roamlog.folder import held
from roamlog.settings import Settings
from schemas import envelope as envelopes
from schemas.ocpi.discovery import discover
from schemas.types import Module, Verb
from streams.logs.local import LocalLog
from streams.ports import Entry

pytestmark = pytest.mark.system

DIALECT = discover()["2.2.1"]


def lifted_by_an_older_revision(session_id: str, spoilt: bytes) -> Entry:
    """Return a Session of 12.5 kWh as a revision before the present one lifted it."""
    circumstances = Circumstances(connection="tnm", origin="push", received_at=1_790_000_000_000_000)
    sent = body(SESSION, id=session_id)
    admitted = admit(
        DIALECT, Module.SESSIONS, Verb.PUT, sent, circumstances, party="NL*TNM", ids=(session_id,), owns=lambda _: True
    )
    assert b'"kwh":12.5' in admitted.envelope.payload
    wrong = admitted.envelope.payload.replace(b'"kwh":12.5', spoilt)
    old = replace(admitted.envelope, revision=DIALECT.revision - 1, payload=wrong, raw=sent)
    return admitted.entry._replace(value=envelopes.encode(old))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data folder whose log a release with a bug began."""
    data = tmp_path / "data"

    async def write(path: Path) -> None:
        log = LocalLog.open(path, partitions=Settings().partitions)
        await log.append([lifted_by_an_older_revision(f"s-{number}", b'"kwh":125') for number in range(3)])
        await log.close()

    with held(data, "test") as made:
        asyncio.run(write(made.log))
    return data


def roamlog(data: Path, *arguments: str) -> Any:
    done = command(*arguments, "--data", str(data), "--json")
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stdout + done.stderr
    return json.loads(done.stdout)


async def test_beside_serve_what_was_spoilt_is_mended_shown_and_verified(folder: Path) -> None:
    serve = Serve(folder)
    try:
        await serve.start()
        found = await asyncio.to_thread(roamlog, folder, "rebuild", "--relift", "--version", "2.2.1", "--module", "sessions")
        again = await asyncio.to_thread(roamlog, folder, "rebuild", "--relift")
        verified = await asyncio.to_thread(roamlog, folder, "verify")
    finally:
        serve.kill()
    assert found["relifted"] == [{"version": "2.2.1", "module": "sessions", "revision": DIALECT.revision, "records": 3}]
    (sessions,) = [one for one in found["moved"] if one["table"] == "sessions"]
    assert (sessions["changed"], sessions["added"], sessions["gone"]) == (3, 0, 0)
    first = sessions["examples"][0]
    assert first["key"] == ["NL*TNM", "s-0"]
    assert {"name": "energy_kwh", "old": "125", "new": "12.5"} in first["changes"]
    assert again == {"relifted": [], "moved": []}
    assert verified["differences"] == []


def test_without_serve_it_prints_what_moved(folder: Path) -> None:
    done = command("rebuild", "--relift", "--data", str(folder))
    assert done.returncode == 0, done.stderr
    assert f"OCPI 2.2.1 sessions: 3 records lifted again by revision {DIALECT.revision}" in done.stdout
    assert "what moved" in done.stdout
    row = next(line for line in done.stdout.splitlines() if "energy_kwh" in line)
    assert [cell.strip() for cell in row.strip("│ ").split("│")] == ["sessions", "NL*TNM s-0", "energy_kwh", "125", "12.5"]
    again = command("rebuild", "--relift", "--data", str(folder))
    assert again.stdout.strip() == "nothing to lift again: the present revisions of the dialects lifted every object"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--relift", "sessions"), "--relift chooses the projections itself"),
        (("--module", "sessions"), "--version and --module belong to --relift"),
        (("--relift", "--version", "9.9"), "OCPI 9.9 is not spoken here"),
        (("--relift", "--module", "chargers"), "there is no module chargers"),
    ],
)
def test_what_cannot_be_lifted_again_is_a_sentence(folder: Path, arguments: tuple[str, ...], sentence: str) -> None:
    done = command("rebuild", *arguments, "--data", str(folder))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert sentence in done.stderr
