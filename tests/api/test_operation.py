"""Health, readiness, metrics and the documentation of everything that answers."""

import base64
import re
from collections.abc import AsyncIterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from outlet import OPERATOR, SECOND, House, house
from receiver import session

from api.analytics import questions
from streams.ports import TableStore
from streams.stores.clickhouse import ClickHouseStore


@pytest.fixture
async def home(store: TableStore) -> AsyncIterator[House]:
    async with house(store) as opened:
        yield opened


async def test_health_says_which_release_lives(home: House) -> None:
    reply = await home.get("/health", None)
    assert reply.status == 200
    assert reply.json["alive"] is True
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", reply.json["version"])


async def test_ready_once_the_tables_are_near_the_log(home: House) -> None:
    await home.push(session("S1"))
    assert (await home.get("/ready", None)).json["ready"] is True
    await home.ask("PUT", "/ocpi/2.2.1/receiver/sessions/NL/TNM/S2", token="cpo", body=session("S2"))
    # A moment's lag is life.
    assert (await home.get("/ready", None)).status == 200
    home.clock.advance(61 * SECOND)
    behind = await home.get("/ready", None)
    assert (behind.status, behind.json["ready"], behind.headers["retry-after"]) == (503, False, "5")
    assert (behind.json["waiting_for"], behind.json["lagging"]) == (["sessions", "cdrs", "ledger"], ["ocpi.charging"])
    assert [lane["lag"] for lane in behind.json["lanes"] if lane["projection"] == "cdrs"].count(1) == 1
    await home.fold()
    assert (await home.get("/ready", None)).status == 200


async def test_a_quiet_house_stays_ready(home: House) -> None:
    home.clock.advance(3600 * SECOND)
    assert (await home.get("/ready", None)).status == 200


async def test_metrics_count_what_is_read(home: House) -> None:
    await home.push(session("S1"))
    await home.get("/ocpi/2.2.1/sender/sessions?date_from=2020-01-01T00:00:00Z")
    await home.get("/ocpi/2.2.1/sender/sessions")
    await home.get("/ocpi/versions", "nobody")
    reply = await home.get("/metrics", OPERATOR)
    assert reply.headers["content-type"].startswith("text/plain")
    text = reply.body.decode()
    assert 'roamlog_read_requests_total{interface="sender",outcome="served"} 1.0' in text
    assert 'roamlog_read_requests_total{interface="sender",outcome="refused"} 1.0' in text
    assert "roamlog_read_seconds_count 1.0" in text
    assert "roamlog_unauthenticated_total 1.0" in text


async def test_the_operator_token_may_come_as_a_browser_or_a_program_sends_it(home: House) -> None:
    encoded = base64.b64encode(OPERATOR.encode()).decode()
    basic = base64.b64encode(f"me:{OPERATOR}".encode()).decode()
    for header in (f"Token {OPERATOR}", f"Bearer {OPERATOR}", f"Token {encoded}", f"Basic {basic}", f"bearer  {OPERATOR} "):
        assert (await home.get("/metrics", None, {"Authorization": header})).status == 200, header
    for header in ("", "Token", f"Digest {OPERATOR}", "Basic !!!", "Basic /w==", f"Basic {encoded}", "Token \xff", "x" * 5000):
        assert (await home.get("/metrics", None, {"Authorization": header})).status == 401, header


async def test_the_documentation_names_everything_that_answers(home: House) -> None:
    paths = (await home.get("/openapi.json", OPERATOR)).json["paths"]
    asked = {f"{method.upper()} {path}" for path, operations in paths.items() for method in operations}
    receiver = "/ocpi/2.2.1/receiver"
    assert asked >= {
        *("GET /health", "GET /ready", "GET /metrics", "GET /ocpi/versions", "GET /ocpi/2.2.1"),
        *("GET /ocpi/2.2.1/sender/sessions", "GET /ocpi/2.2.1/sender/cdrs", f"POST {receiver}/cdrs"),
        *(f"GET /ocpi/2.2.1/sender/{module}" for module in ("locations", "tariffs", "tokens")),
        "GET /ocpi/2.2.1/sender/locations/{location_id}/{evse_uid}/{connector_id}",
        "POST /ocpi/2.2.1/sender/tokens/{token_uid}/authorize",
        f"PATCH {receiver}/locations/{{country_code}}/{{party_id}}/{{location_id}}/{{evse_uid}}",
        *(f"{verb} {receiver}/tariffs/{{country_code}}/{{party_id}}/{{tariff_id}}" for verb in ("GET", "PUT", "DELETE")),
        *(f"{verb} {receiver}/tokens/{{country_code}}/{{party_id}}/{{token_uid}}" for verb in ("GET", "PUT", "PATCH")),
        *(f"{verb} {receiver}/sessions/{{country_code}}/{{party_id}}/{{session_id}}" for verb in ("GET", "PUT", "PATCH")),
        f"GET {receiver}/cdrs/{{country_code}}/{{party_id}}/{{cdr_id}}",
        *(f"GET /analytics/{question.path}" for question in questions()),
    }


async def test_the_documentation_has_no_loose_ends(home: House) -> None:
    reply = await home.get("/openapi.json", OPERATOR)
    schemas = reply.json["components"]["schemas"]
    assert set(re.findall(r'"#/components/schemas/([^"]+)"', reply.body.decode())) <= set(schemas)
    for path, operations in reply.json["paths"].items():
        for operation in operations.values():
            # What cannot be is refused with 400 or in OCPI's way, never with FastAPI's 422.
            assert "422" not in operation["responses"], path
            assert ("security" in operation) is (path not in {"/health", "/ready"}), path
    declared = schemas["Session_2.2.1"]
    assert declared["properties"]["id"] == {"type": "string", "maxLength": 36}
    assert "last_updated" in declared["required"]
    assert "end_date_time" not in declared["required"]
    assert declared["properties"]["status"]["enum"] == ["ACTIVE", "COMPLETED", "INVALID", "PENDING", "RESERVATION"]
    assert schemas["SessionPatch_2.2.1"]["required"] == ["last_updated"]


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.ids: set[str] = set()
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.add(value or "")
            elif name in {"href", "src"}:
                self.targets.append(value or "")


async def test_the_page_for_people_needs_nothing_from_elsewhere(home: House) -> None:
    reply = await home.get("/docs", OPERATOR)
    page = _Page()
    page.feed(reply.body.decode())
    assert "default-src 'none'" in reply.headers["content-security-policy"]
    assert not page.tags & {"script", "img", "link", "iframe"}
    assert {target for target in page.targets if not target.startswith("#")} == {"openapi.json"}
    assert {target[1:] for target in page.targets if target.startswith("#")} <= page.ids
    assert b"/ocpi/2.2.1/sender/sessions" in reply.body


async def test_what_nobody_foresaw_is_answered_in_the_envelope(home: House) -> None:
    await home.store.command("DROP VIEW sessions")
    reply = await home.get("/ocpi/2.2.1/sender/sessions?date_from=2020-01-01T00:00:00Z")
    assert (reply.status, reply.code) == (500, 3000)
    assert "sessions" not in reply.json["status_message"]


async def test_a_store_that_is_away_is_503_with_3000(chdb_folder: Path) -> None:
    store = ClickHouseStore.embedded(chdb_folder, database="away", readers=1)
    async with house(store) as home:
        await store.close()
        for path, token in (
            ("/ocpi/2.2.1/sender/cdrs", "msp"),
            ("/ocpi/2.2.1/receiver/cdrs/NL/TNM/C1", "cpo"),
            ("/analytics/energy", OPERATOR),
        ):
            reply = await home.get(path, token)
            assert (reply.status, reply.code, "retry-after" in reply.headers) == (503, 3000, True), path
