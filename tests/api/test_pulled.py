"""Crawls and drift as an operator asks for them (requirements 3)."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from outlet import NOW, OPERATOR, SECOND, House, house
from receiver import session

from schemas import crawl
from schemas import envelope as envelopes
from schemas.crawl import Counts, CrawlPageRead, CrawlStarted, Oddity, Place
from schemas.events import Envelope
from schemas.types import Finding, Module, date_time
from streams.ports import Entry, TableStore
from streams.topics import CHARGING, CRAWLS, record_key


@pytest.fixture
async def home(store: TableStore) -> AsyncIterator[House]:
    async with house(store) as opened:
        yield opened


async def asked(home: House, path: str) -> dict[str, Any]:
    reply = await home.get(f"/analytics/{path}", None, {"Authorization": f"Bearer {OPERATOR}"})
    assert reply.status == 200, reply
    return dict(reply.json)


def envelope(kind: str, key: tuple[str, ...], payload: bytes, **fields: Any) -> Envelope:
    base: dict[str, Any] = {
        "event_id": (kind + key[0]).encode().ljust(16)[:16],
        "type": kind,
        "module": "crawls",
        "origin": "pull",
        "connection": "cpo",
        "party": "",
        "key": key,
        "version": "2.2.1",
        "edition": "",
        "revision": 0,
        "received_at": NOW,
        "last_updated": None,
        "payload": payload,
    }
    return Envelope(**(base | fields))


async def crawled(home: House, run: str, module: Module, objects: int, *oddities: Oddity, complete: bool = True) -> None:
    started = CrawlStarted(run, "cpo", module, "2.2.1", "full", "schedule", "https://cpo.example/s", NOW, NOW - 60 * SECOND)
    read = CrawlPageRead(run, started.url, Place("", page=1), Counts(objects, objects, drifted=1), objects, oddities)
    known = crawl.fold(crawl.fold(None, started), read)
    assert known is not None
    events: tuple[crawl.CrawlEvent, ...] = (started, read, crawl.certificate(known, NOW + SECOND, complete))
    tags = ("crawl.started", "crawl.page_read", "crawl.ended")
    entries = [envelope(tag, (run, str(n)), crawl.encode(one)) for n, (tag, one) in enumerate(zip(tags, events, strict=True))]
    await home.log.append([Entry(CRAWLS, run.encode(), envelopes.encode(one)) for one in entries])
    await home.fold()


async def test_a_certificate_stands_with_what_was_odd_and_what_came_of_the_objects(home: House) -> None:
    await crawled(home, "r1", Module.TARIFFS, 5, Oddity(1, "missing_link", "no Link"))
    await crawled(home, "r2", Module.SESSIONS, 7, complete=False)
    answer = await asked(home, "crawls")
    rows = {row["run"]: row for row in answer["rows"]}
    assert (rows["r1"]["status"], rows["r1"]["objects"], rows["r1"]["rules"]) == ("complete", 5, ["missing_link"])
    assert rows["r1"]["watermark"][:19] == date_time(NOW - 60 * SECOND)[:19]
    assert json.loads(rows["r1"]["certificate"])["oddities"] == [{"page": 1, "rule": "missing_link", "message": "no Link"}]
    assert (rows["r2"]["status"], rows["r2"]["watermark"]) == ("incomplete", None)
    assert (answer["coverage"]["counted"], answer["coverage"]["known"]) == (1, 2)


async def test_crawls_are_narrowed_to_a_partner_and_a_module(home: House) -> None:
    await crawled(home, "r1", Module.TARIFFS, 5)
    await crawled(home, "r2", Module.SESSIONS, 7)
    assert [row["run"] for row in (await asked(home, "crawls?module=sessions"))["rows"]] == ["r2"]
    assert (await asked(home, "crawls?connection=nobody"))["rows"] == []
    assert (await asked(home, "crawls?connection=cpo&module=tariffs"))["filters"]["connection"] == "cpo"
    reply = await home.get("/analytics/crawls?module=chargers", None, {"Authorization": f"Bearer {OPERATOR}"})
    assert (reply.status, reply.code) == (400, 2001)


async def test_drift_lists_the_objects_with_what_differed(home: House) -> None:
    await crawled(home, "r1", Module.SESSIONS, 40)
    finding = Finding("", "drift", "warning", "/kwh, /status")
    body = json.dumps(session("S1")).encode()
    pulled = envelope("session.replaced", ("S1",), body, module="sessions", party="NL*TNM", findings=(finding,), last_updated=NOW)
    await home.log.append([Entry(CHARGING, record_key("NL*TNM", "S1"), envelopes.encode(pulled))])
    await home.fold()
    (row,) = (await asked(home, "drift"))["rows"]
    assert (row["connection"], row["party"], row["module"], row["object_id"]) == ("cpo", "NL*TNM", "sessions", "S1")
    assert (row["fields"], row["times"], row["drifted_of_module"], row["objects_read"]) == (["/kwh, /status"], 1, 1, 40)
    assert row["share"] == 1 / 40
    assert (await asked(home, "drift?module=tariffs"))["rows"] == []
