"""The command line on real folders: beside a running serve and without one, in sentences and exit codes."""

import asyncio
import gzip
import http.client
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from serving import Serve, as_json, command, wire_session
from versions import sample

pytestmark = pytest.mark.system

TOKEN = "cli-token-1"
STAMP = "2026-10-01T08:00:00Z"


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """One serve for the whole module, with partner tnm connected before it started."""
    serving = Serve(tmp_path_factory.mktemp("cli") / "data")
    added = roamlog(serving.data, "partner", "add", "tnm", "--party", "NL*TNM", "--role", "CPO", "--token", TOKEN)
    assert added["partner"]["roles"] == ["NL*TNM:CPO"]
    asyncio.run(serving.start())
    yield serving
    serving.kill()


def roamlog(data: Path, *arguments: str, code: int = 0) -> Any:
    """Run a command with --json and return what it printed."""
    done = command(*arguments, "--data", str(data), "--json")
    assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stdout + done.stderr
    return json.loads(done.stdout) if done.stdout else None


def sentence(done: subprocess.CompletedProcess[str], code: int) -> str:
    """Return the one sentence of a command that failed."""
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (code, "", 1), done.stdout + done.stderr
    return done.stderr.strip()


def request(serve: Serve, verb: str, path: str, body: bytes = b"", token: str = TOKEN) -> tuple[int, Any]:
    """Send a request and return the HTTP status and the envelope."""
    client = http.client.HTTPConnection("127.0.0.1", serve.port, timeout=10)
    client.request(verb, path, body or None, {"Authorization": f"Token {token}", "Content-Type": "application/json"})
    answer = client.getresponse()
    envelope = json.loads(answer.read())
    client.close()
    return answer.status, envelope


def put(serve: Serve, session_id: str, token: str = TOKEN, **fields: Any) -> tuple[int, Any]:
    """Push a Session of NL*TNM."""
    path = f"/ocpi/2.2.1/receiver/sessions/NL/TNM/{session_id}"
    return request(serve, "PUT", path, as_json(wire_session(session_id, 1, STAMP, **fields)), token)


def file_of(folder: Path, *session_ids: str) -> Path:
    """Write Sessions of NL*TNM as a JSON array, zipped."""
    path = folder / "sessions.json.gz"
    path.write_bytes(gzip.compress(as_json([wire_session(one, 1, STAMP) for one in session_ids]), mtime=0))  # type: ignore[arg-type]
    return path


def test_a_partner_added_before_serve_may_push(serve: Serve) -> None:
    assert put(serve, "before")[0] in {200, 201}


def test_a_partner_added_beside_serve_may_push_at_once_and_not_after_its_removal(serve: Serve) -> None:
    roamlog(
        serve.data, "partner", "add", "late", "--party", "DE*LAT", "--role", "CPO", "--allow", "NL*TNM", "--token", "late-token"
    )
    assert put(serve, "late", "late-token")[0] in {200, 201}
    assert [one["name"] for one in roamlog(serve.data, "partner", "list")] == ["late", "tnm"]
    roamlog(serve.data, "partner", "remove", "late")
    assert [one["name"] for one in roamlog(serve.data, "partner", "list")] == ["tnm"]
    assert put(serve, "later", "late-token")[0] == 401


def test_a_token_is_made_where_none_is_given_and_never_listed(tmp_path: Path) -> None:
    token = roamlog(tmp_path, "partner", "add", "one", "--party", "DE*ONE", "--role", "EMSP")["token"]
    assert len(token) == 45
    assert token not in json.dumps(roamlog(tmp_path, "partner", "list"))


def test_what_cannot_be_a_partner_is_a_sentence(serve: Serve) -> None:
    data = ("--data", str(serve.data))
    twice = sentence(command("partner", "add", "tnm", "--party", "NL*NEW", "--role", "CPO", *data), 1)
    assert twice == "roamlog: partner tnm exists already; remove it first"
    assert "is no role" in sentence(command("partner", "add", "x", "--party", "NL*NEW", "--role", "DRIVER", *data), 2)
    assert sentence(command("partner", "remove", "nobody", *data), 1) == "roamlog: no partner is called nobody"


def test_a_partner_may_speak_any_version(serve: Serve, tmp_path: Path) -> None:
    asked = ("partner", "add", "old", "--party", "SE*OLD", "--role", "CPO", "--token", "cli-token-old", "--version", "2.1.1")
    assert roamlog(serve.data, *asked)["partner"]["version"] == "2.1.1"
    tariff = sample("2.1.1", "Tariff")
    url = "/ocpi/2.1.1/receiver/tariffs/SE/OLD/12"
    assert request(serve, "PUT", url, as_json(tariff), "cli-token-old")[0] == 201
    assert request(serve, "GET", url, token="cli-token-old")[1]["data"] == tariff
    file = tmp_path / "tariffs.json"
    file.write_bytes(as_json(sample("2.0", "Tariff", id="13")))
    (loaded,) = roamlog(serve.data, "load", "--version", "2.0", "--module", "tariffs", "--party", "SE*OLD", str(file))
    assert (loaded["appended"], loaded["refused"]) == (1, 0)
    given = request(serve, "GET", "/ocpi/2.0/receiver/tariffs/SE/OLD/13", token="cli-token-old")[1]["data"]
    assert given == sample("2.0", "Tariff", id="13")
    at = ("--data", str(serve.data))
    unknown = command("partner", "add", "new", "--party", "SE*NEW", "--role", "CPO", "--version", "1.9", *at)
    assert "2.1.1" in sentence(unknown, 2)
    both = ("--party", "SE*NEW", "--role", "CPO", "--role", "EMSP", "--version", "2.1.1")
    assert "one party in one role" in sentence(command("partner", "add", "new", *both, *at), 2)
    roamlog(serve.data, "partner", "remove", "old")


def test_a_load_beside_serve_can_be_read_at_once_and_repeated_without_harm(serve: Serve, tmp_path: Path) -> None:
    load = ("load", "--version", "2.2.1", "--module", "sessions", "--party", "NL*TNM", str(file_of(tmp_path, "l1", "l2")))
    assert [(file["objects"], file["refused"]) for file in roamlog(serve.data, *load)] == [(2, 0)]
    assert [(file["objects"], file["refused"]) for file in roamlog(serve.data, *load)] == [(2, 0)]
    assert request(serve, "GET", "/ocpi/2.2.1/receiver/sessions/NL/TNM/l2")[1]["data"]["id"] == "l2"


def test_a_file_that_breaks_off_is_loaded_as_far_as_it_goes(serve: Serve, tmp_path: Path) -> None:
    whole = as_json([wire_session("b1", 1, STAMP), wire_session("b2", 1, STAMP)])  # type: ignore[arg-type]
    (tmp_path / "cut.json").write_bytes(whole[:-40])
    done = command(
        "load", "--module", "sessions", "--party", "NL*TNM", str(tmp_path / "cut.json"), "--data", str(serve.data), "--json"
    )
    assert done.returncode == 1
    assert done.stderr.startswith("roamlog: cut.json: ")
    assert json.loads(done.stdout)[0]["appended"] == 1


def test_an_interrupted_load_goes_on_where_it_was(tmp_path: Path) -> None:
    data, count = tmp_path / "data", 8_000
    file = tmp_path / "many.jsonl"
    file.write_bytes(b"\n".join([as_json(wire_session(f"s{number}", 1, STAMP)) for number in range(count)]))
    load = ["load", "--module", "sessions", "--party", "NL*TNM", str(file)]
    interrupted = subprocess.Popen([sys.executable, "-m", "roamlog.cli", *load, "--data", str(data)], stdout=subprocess.DEVNULL)
    until = time.monotonic() + 30
    while not list(data.glob("loads/*.json")) and time.monotonic() < until:
        time.sleep(0.005)
    interrupted.kill()
    interrupted.wait()
    (resumed,) = roamlog(data, *load)
    assert 0 < resumed["resumed_at"] < count
    assert (resumed["objects"], resumed["appended"], resumed["refused"]) == (count, count, 0)


def test_what_was_refused_can_be_listed_shown_and_replayed(serve: Serve) -> None:
    assert put(serve, "bad", status="CHARGING")[1]["status_code"] == 2001
    path = "/ocpi/2.2.1/receiver/sessions/DE/OTH/foreign"
    foreign = as_json(wire_session("foreign", 1, STAMP, country_code="DE", party_id="OTH"))
    assert request(serve, "PUT", path, foreign)[0] == 404
    listed = roamlog(serve.data, "rejected", "list")["refusals"]
    newest, bad = listed[0], listed[1]
    assert (newest["party"], newest["http_status"], bad["rules"]) == ("DE*OTH", 404, ["enum_value"])
    shown = roamlog(serve.data, "rejected", "show", bad["id"][:10])
    assert json.loads(shown["body"])["status"] == "CHARGING"
    assert any(rule == "enum_value" for _, rule, _, _ in shown["findings"])

    # The foreign object is ours once its partner may write for DE*OTH; the bad one stays bad.
    roamlog(serve.data, "partner", "remove", "tnm")
    again = ("partner", "add", "tnm", "--party", "NL*TNM", "--role", "CPO", "--allow", "DE*OTH", "--token", TOKEN)
    roamlog(serve.data, *again)
    assert [one["outcome"] for one in roamlog(serve.data, "rejected", "replay", newest["id"])] == ["created"]
    assert [one["outcome"] for one in roamlog(serve.data, "rejected", "replay", bad["id"], code=1)] == ["refused"]
    assert request(serve, "GET", path)[1]["data"]["id"] == "foreign"
    replayed = {one["id"]: one["replayed"] for one in roamlog(serve.data, "rejected", "list")["refusals"]}
    assert (replayed[newest["id"]], replayed[bad["id"]]) == ("created", "refused")


def test_a_refusal_that_is_not_there_is_a_sentence(serve: Serve) -> None:
    assert "there is no refusal 'ffff'" in sentence(command("rejected", "show", "ffff", "--data", str(serve.data)), 1)
    assert "give --all" in sentence(command("rejected", "replay", "--data", str(serve.data)), 2)


def test_tables_are_rebuilt_and_verified_beside_serve(serve: Serve) -> None:
    put(serve, "kept")
    assert roamlog(serve.data, "rebuild", "sessions") == {"projections": ["sessions"]}
    assert request(serve, "GET", "/ocpi/2.2.1/receiver/sessions/NL/TNM/kept")[1]["data"]["id"] == "kept"
    verified = roamlog(serve.data, "verify")
    assert verified["differences"] == []
    assert verified["records"] > 0


def test_a_projection_that_does_not_exist_is_a_sentence(serve: Serve) -> None:
    said = sentence(command("rebuild", "session", "--data", str(serve.data)), 2)
    assert said.startswith("roamlog: there is no projection session; there are ")


TAMPER = """
import asyncio, sys
from pathlib import Path
from streams.stores.clickhouse import ClickHouseStore

async def tamper():
    store = ClickHouseStore.embedded(Path(sys.argv[1]))
    ((table,),) = await store.query("SELECT name FROM system.tables WHERE name LIKE 'sessions\\\\_v%' AND database = 'roamlog'")
    await store.command(f"ALTER TABLE {table.decode()} UPDATE energy_kwh = 99 WHERE session_id = 't2' SETTINGS mutations_sync = 2")
    await store.close()

asyncio.run(tamper())
"""


def test_verify_finds_a_row_that_was_tampered_with_and_rebuild_mends_it(tmp_path: Path) -> None:
    data = tmp_path / "data"
    roamlog(data, "load", "--module", "sessions", "--party", "NL*TNM", str(file_of(tmp_path, "t1", "t2", "t3")))
    subprocess.run([sys.executable, "-c", TAMPER, str(data / "clickhouse")], check=True)
    differences = roamlog(data, "verify", code=1)["differences"]
    assert [(one["table"], one["key"], one["kind"]) for one in differences] == [("sessions", ["NL*TNM", "t2"], "different")]
    roamlog(data, "rebuild", "sessions")
    assert roamlog(data, "verify")["differences"] == []


def test_mistakes_on_the_command_line_are_sentences(tmp_path: Path) -> None:
    assert sentence(command("serv"), 2) == "roamlog: No such command 'serv'. Did you mean 'serve'?; see roamlog --help"
    nowhere = sentence(command("verify", "--data", str(tmp_path / "nowhere")), 2)
    assert nowhere == f"roamlog: {tmp_path / 'nowhere'} is no data folder; name one with --data"
    assert not (tmp_path / "nowhere").exists()


def test_the_version_is_that_of_the_distribution() -> None:
    from importlib.metadata import version

    assert command("--version").stdout == f"roamlog {version('roamlog')}\n"
