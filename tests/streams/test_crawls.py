"""What crawls leave in the tables: the crawl itself page by page, and what a full one no longer found (requirements 3)."""

import json
from typing import Any

import msgspec
from charging import T0, folded
from places import evse, location, patch_evse, put_location, said

from schemas import crawl
from schemas.crawl import Counts, CrawlPageRead, CrawlStarted, Oddity, Place, Run
from schemas.events import Envelope, event_of
from schemas.types import Finding, Module
from streams.projection import Recorded, row_version
from streams.projections.crawls import CRAWLS_TABLE, Crawls, CrawlState
from streams.projections.locations import EVSES, LOCATION_FINDINGS, LOCATIONS_TABLE, Locations
from streams.projections.tariffs import TARIFFS_TABLE, Tariffs
from streams.projections.tokens import TOKENS_TABLE, Tokens

MINUTE = 60_000_000
STARTED = CrawlStarted(
    "r1", "cpo", Module.TARIFFS, "2.2.1", "window", "operator", "https://cpo.example/tariffs", T0, T0 - MINUTE, T0
)


def page(number: int, counts: Counts, *oddities: Oddity, total: int | None = None) -> CrawlPageRead:
    place = Place(f"https://cpo.example/tariffs?offset={number}", number, number, total=total)
    return CrawlPageRead("r1", STARTED.url, place, counts, total, oddities)


def row(*events: crawl.CrawlEvent) -> dict[str, Any]:
    """Return the row after the events, which stand at offsets 40, 41 …"""
    projection, state = Crawls(), None
    for number, event in enumerate(events):
        one = said(event.__struct_config__.tag, ("r1",), None, {})  # type: ignore[arg-type]
        envelope = msgspec.structs.replace(one, module="crawls", payload=crawl.encode(event))
        assert event_of(envelope) == event
        recorded = Recorded(envelope, event, 0, row_version(0, 40 + number))
        assert projection.key(recorded) == ("r1",)
        state, _ = projection.fold(state, recorded)
    assert isinstance(state, CrawlState)
    found = dict(zip((column.name for column in CRAWLS_TABLE.columns), projection.row(("r1",), state), strict=True))
    stored = found["state"]
    assert isinstance(stored, bytes)
    assert projection.decode(("r1",), b"", stored) == state
    return found


def test_a_crawl_under_way_has_the_sums_of_its_pages_and_no_watermark() -> None:
    odd = Oddity(2, "total_shrank", "X-Total-Count fell from 9 to 8")
    now = row(STARTED, page(1, Counts(5, 4, 1), total=9), page(2, Counts(3, 2, 0, 0, 1), odd, total=8))
    assert (now["status"], now["ended_at"], now["watermark"]) == ("running", None, None)
    assert (now["pages"], now["objects"], now["appended"], now["unchanged"], now["refused"]) == (2, 8, 6, 1, 1)
    assert (now["first_total"], now["last_total"], now["rules"], now["odd"]) == (9, 8, ["total_shrank"], 1)
    assert now["topic_offset"] == 40


def test_the_certificate_of_a_complete_crawl_has_the_watermark_from_which_the_next_window_begins() -> None:
    run: Run | None = None
    for event in (STARTED, page(1, Counts(5, 5))):
        run = crawl.fold(run, event)
    assert run is not None
    ended = crawl.certificate(run, T0 + MINUTE, True)
    assert (ended.pages, ended.counts, ended.watermark, ended.date_from) == (1, Counts(5, 5), STARTED.until, T0)
    assert crawl.certificate(run, T0 + MINUTE, False).watermark is None
    last = row(STARTED, page(1, Counts(5, 5)), ended)
    assert (last["status"], last["watermark"], last["ended_at"]) == ("complete", STARTED.until, T0 + MINUTE)
    assert json.loads(last["doc"])["counts"]["appended"] == 5


def test_a_page_without_its_beginning_and_one_behind_the_end_change_nothing() -> None:
    assert crawl.fold(None, page(1, Counts(5))) is None
    run = crawl.fold(None, STARTED)
    assert run is not None
    after = crawl.fold(run, crawl.certificate(run, T0, False))
    assert crawl.fold(after, page(1, Counts(5))) is after


def test_oddities_beyond_fifty_are_counted_and_not_kept() -> None:
    run = crawl.fold(None, STARTED)
    for number in range(1, 61):
        run = crawl.fold(run, page(number, Counts(), Oddity(number, "http_500", "an answer of HTTP 500")))
    assert run is not None
    assert (run.odd, len(run.oddities)) == (60, crawl.SHOWN_ODDITIES)


def test_digests_come_apart_as_they_were_put_together() -> None:
    keys = [("NL*TNM", "1"), ("NL*TNM", "2")]
    assert crawl.digests(b"".join(map(crawl.key_digest, keys))) == [crawl.key_digest(key) for key in keys]


def vanished(seconds: float) -> Envelope:
    return said("location.vanished", ("L1",), None, {}, seconds)


def table(*events: Envelope) -> dict[str, Any]:
    state, _ = folded(Locations(), *events)
    return dict(zip((c.name for c in LOCATIONS_TABLE.columns), Locations().row(("NL*TNM", "l1"), state), strict=True))


def listed(*events: Envelope) -> dict[str, int]:
    _, facts = folded(Locations(), *events)
    names = [column.name for column in EVSES.columns]
    rows: list[dict[str, Any]] = [dict(zip(names, fact.row, strict=True)) for fact in facts if fact.table is EVSES]
    return {one["evse_uid"]: one["listed"] for one in rows}


def test_a_location_that_vanished_is_not_served_and_lists_no_evse() -> None:
    put = put_location(0, evse("E1"), evse("E2"))
    assert table(put)["served"] == 1
    assert table(put, vanished(5))["served"] == 0
    assert listed(put, vanished(5)) == {"e1": 0, "e2": 0}
    assert json.loads(table(put, vanished(5))["doc"])["id"] == "L1"


def test_whatever_is_said_of_it_later_lists_the_location_again() -> None:
    put = put_location(0, evse("E1"), evse("E2"))
    for later in (patch_evse(9, status="CHARGING"), put_location(9, evse("E1"), evse("E2"))):
        assert table(put, vanished(5), later)["served"] == 1
        assert listed(put, vanished(5), later) == {"e1": 1, "e2": 1}
    again = said("location.replaced", ("L1",), 0, location(0, evse("E1")) | {"name": "the list has it again as it was"}, 9)
    assert table(put, vanished(5), again)["served"] == 1


def test_a_location_that_nobody_knows_cannot_vanish() -> None:
    state, facts = folded(Locations(), vanished(5))
    assert (state, list(facts)) == (None, [])


def test_what_vanished_is_a_finding() -> None:
    finding = {"pointer": "", "rule": "vanished", "severity": "warning", "message": "the list no longer has it"}
    gone = msgspec.structs.replace(vanished(5), findings=msgspec.convert([finding], tuple[Finding, ...]))
    _, facts = folded(Locations(), put_location(0), gone)
    assert [fact.row[5] for fact in facts if fact.table is LOCATION_FINDINGS] == ["vanished"]


def test_a_token_that_a_list_leaves_out_stays_what_it_was() -> None:
    token = {
        "uid": "U1",
        "type": "RFID",
        "valid": True,
        "whitelist": "ALLOWED",
        "contract_id": "C",
        "last_updated": "2026-01-01T00:00:00Z",
    }
    put = msgspec.structs.replace(said("token.replaced", ("U1", "RFID"), 0, token), module="tokens")
    left_out = msgspec.structs.replace(said("token.unconfirmed", ("U1", "RFID"), None, {}, 9), module="tokens")
    before, _ = folded(Tokens(), put)
    after, _ = folded(Tokens(), put, left_out)
    assert after == before
    assert (
        dict(zip((c.name for c in TOKENS_TABLE.columns), Tokens().row(("NL*TNM", "u1", "rfid"), after), strict=True))["served"] == 1
    )


def test_a_tariff_that_a_list_leaves_out_is_deleted_until_it_comes_again() -> None:
    tariff = {"id": "T1", "currency": "EUR", "elements": [], "tax_included": "NO", "last_updated": "2026-01-01T00:00:00Z"}
    put = msgspec.structs.replace(said("tariff.replaced", ("T1",), 0, tariff), module="tariffs")
    gone = msgspec.structs.replace(said("tariff.deleted", ("T1",), None, {}, 5), module="tariffs", origin="pull")
    again = msgspec.structs.replace(put, event_id=b"another event id", origin="pull")
    served = []
    for events in ((put,), (put, gone), (put, gone, again)):
        state, _ = folded(Tariffs(), *events)
        row_of = dict(zip((c.name for c in TARIFFS_TABLE.columns), Tariffs().row(("NL*TNM", "t1"), state), strict=True))
        served.append(row_of["served"])
    assert served == [1, 0, 1]


def test_a_state_remembers_whether_its_partner_ever_pushed_the_object() -> None:
    put = put_location(0)
    pulled = msgspec.structs.replace(put, origin="pull")
    known = [folded(Locations(), one)[0].header.pushed for one in (put, pulled)]
    assert known == [True, False]
    later = msgspec.structs.replace(put_location(5), origin="pull")
    assert folded(Locations(), put, later)[0].header.pushed
