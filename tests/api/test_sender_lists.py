"""The Sender's lists: what a partner is given, page by page (OCPI 2.2.1 transport_and_format, mod_sessions, mod_cdrs)."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from charging import entry, patch
from outlet import NOW, SECOND, House, house, next_of
from receiver import cdr, session

from schemas.types import date_time
from streams.ports import Entry, TableStore
from streams.topics import CHARGING

SESSIONS = "/ocpi/2.2.1/sender/sessions?date_from=2020-01-01T00:00:00Z"
CDRS = "/ocpi/2.2.1/sender/cdrs"


@pytest.fixture
async def home(store: TableStore) -> AsyncIterator[House]:
    async with house(store) as opened:
        yield opened


def numbered(count: int, **fields: Any) -> list[dict[str, Any]]:
    return [session(f"S{number}", **fields) for number in range(1, count + 1)]


def ids(count: int) -> list[str]:
    return [f"S{number}" for number in range(1, count + 1)]


def until(seconds: float) -> str:
    """Return the DateTime that many seconds after the house opened, as a query takes it."""
    return date_time(NOW + round(seconds * SECOND))


async def test_a_list_gives_the_sessions_as_they_were_pushed_in_the_order_of_their_arrival(home: House) -> None:
    pushed = [session("b", kwh=1.50), session("a", status="PENDING"), session("C")]
    await home.push(*pushed)
    page = await home.get(SESSIONS)
    assert (page.status, page.code, page.data) == (200, 1000, pushed)


async def test_a_page_says_the_total_and_the_cap_and_the_last_one_has_no_link(home: House) -> None:
    await home.push(*numbered(5))
    pages = await home.crawl(f"{SESSIONS}&limit=2")
    assert [page.ids for page in pages] == [["S1", "S2"], ["S3", "S4"], ["S5"]]
    assert [page.headers["x-total-count"] for page in pages] == ["5", "5", "5"]
    # X-Limit is the server's cap, on a short last page too.
    assert [page.headers["x-limit"] for page in pages] == ["1000", "1000", "1000"]
    assert ["link" in page.headers for page in pages] == [True, True, False]


async def test_the_link_repeats_the_filters(home: House) -> None:
    await home.push(*numbered(3))
    page = await home.get(f"{SESSIONS}&date_to=2027-01-01T00:00:00%2B02:00&limit=1")
    link = next_of(page)
    assert link.startswith("https://hub.example/ocpi/2.2.1/sender/sessions?")
    assert "date_from=2020-01-01T00:00:00Z" in link
    assert "date_to=2027-01-01T00:00:00%2B02:00" in link
    assert "limit=1" in link
    assert "offset=1" in link
    assert (await home.get(link)).ids == ["S2"]


async def test_without_a_limit_a_page_is_as_long_as_the_server_allows(store: TableStore) -> None:
    async with house(store, page_limit=3) as home:
        await home.push(*numbered(4))
        page = await home.get(SESSIONS)
        assert (page.ids, page.headers["x-limit"]) == (ids(3), "3")


async def test_a_limit_beyond_the_cap_means_the_cap(store: TableStore) -> None:
    async with house(store, page_limit=3) as home:
        await home.push(*numbered(4))
        for limit in ("1000000000", "4", "99999999999999999999999999"):
            pages = await home.crawl(f"{SESSIONS}&limit={limit}")
            assert [page.ids for page in pages] == [["S1", "S2", "S3"], ["S4"]]


async def test_offset_leaves_out_what_stands_before(home: House) -> None:
    await home.push(*numbered(5))
    page = await home.get(f"{SESSIONS}&offset=2&limit=2")
    assert (page.ids, page.headers["x-total-count"]) == (["S3", "S4"], "5")
    assert (await home.get(next_of(page))).ids == ["S5"]


async def test_an_offset_behind_the_end_gives_an_empty_last_page(home: House) -> None:
    await home.push(*numbered(5))
    for offset in ("5", "6", "1000000000", "99999999999999999999999999"):
        page = await home.get(f"{SESSIONS}&offset={offset}")
        assert (page.status, page.code, page.data) == (200, 1000, [])
        assert page.headers["x-total-count"] == "5"
        assert "link" not in page.headers


async def test_a_client_that_steps_back_in_a_link_is_answered_by_its_offset(home: House) -> None:
    # Requirements 10, point 12: one that sees the total shrink asks for the page before, less one.
    await home.push(*numbered(5))
    link = next_of(await home.get(f"{SESSIONS}&limit=2"))
    assert (await home.get(link.replace("offset=2", "offset=1"))).ids == ["S2", "S3"]


async def test_an_empty_list_is_an_answer(home: House) -> None:
    page = await home.get(SESSIONS)
    assert (page.code, page.data, page.headers["x-total-count"]) == (1000, [], "0")
    assert "link" not in page.headers


async def test_a_list_of_sessions_needs_date_from_and_one_of_cdrs_does_not(home: House) -> None:
    # Requirements 10, point 8.
    refused = await home.get("/ocpi/2.2.1/sender/sessions")
    assert (refused.status, refused.code) == (200, 2001)
    assert "date_from" in refused.json["status_message"]
    assert (await home.get(CDRS)).code == 1000


IMPOSSIBLE = (
    *("limit=0", "limit=-1", "limit=ten", "limit=", "limit=1.5", "limit=%D9%A1", "limit=1&limit=2"),
    *("offset=-1", "offset=x", "offset=%FF", "offset=1&offset=1"),
    *("date_from=yesterday", "date_from=", "date_from=2026-02-30T00:00:00Z", "date_from=2026-01-01", "date_from=%00"),
    *("date_to=2026-01-01T00:00:00+99:00x", "date_to=99999-01-01T00:00:00Z", "date_to=2026-01-01T25:00:00Z"),
    *("date_to=2026-01-01T00:00:00Z&date_to=2026-01-01T00:00:00Z",),
    *("strict_windows=maybe", "cursor=", "cursor=x", "cursor=%F0%9F%94%8C", "cursor=AAAA", "cursor=" + "A" * 5000),
)


@pytest.mark.parametrize("module", ["locations", "sessions", "cdrs", "tariffs", "tokens"])
async def test_parameters_that_cannot_be_are_refused_with_2001(home: House, module: str) -> None:
    for query in IMPOSSIBLE:
        first = "" if "date_from" in query else "date_from=2020-01-01T00:00:00Z&"
        reply = await home.get(f"/ocpi/2.2.1/sender/{module}?{first}{query}")
        assert (reply.status, reply.code, "data" in reply.json) == (200, 2001, False), query


async def test_parameters_that_no_list_knows_are_ignored(home: House) -> None:
    await home.push(*numbered(1))
    assert (await home.get(f"{SESSIONS}&foo=1&foo=2&&=&limit=5")).ids == ["S1"]


def forged(link: str, **changes: Any) -> str:
    """Return the link with other values in its cursor: the fields of api.cursor.Cursor, by place."""
    places = ("module", "window", "complete_until", "total", "offset", "first_seen", "key")
    head, _, text = link.partition("cursor=")
    values = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    for name, value in changes.items():
        values[places.index(name)] = value
    return head + "cursor=" + base64.urlsafe_b64encode(json.dumps(values).encode()).rstrip(b"=").decode()


FORGERIES: tuple[dict[str, Any], ...] = (
    {"module": "cdrs"},
    {"module": "trains"},
    {"window": [0, 1, False]},
    {"total": -1},
    {"total": 10**30},
    {"offset": "1"},
    {"complete_until": 2**63},
    {"first_seen": None},
    {"key": []},
    {"key": ["NL*TNM"]},
    {"key": ["NL*TNM", 7]},
    {"key": ["a", "b", "c"]},
    {"key": ["NL*TNM", "x" * 2000]},
)


async def test_a_forged_cursor_is_refused(home: House) -> None:
    await home.push(*numbered(2))
    link = next_of(await home.get(f"{SESSIONS}&limit=1"))
    assert (await home.get(forged(link))).ids == ["S2"]
    for changes in FORGERIES:
        reply = await home.get(forged(link, **changes))
        assert (reply.status, reply.code) == (200, 2001), changes


async def test_a_cursor_shows_its_bearer_nothing_that_is_not_his(home: House) -> None:
    await home.push(*numbered(3))
    link = next_of(await home.get(f"{SESSIONS}&limit=1"))
    assert (await home.get(link, token="rival")).data == []


async def test_a_cursor_with_quotes_and_backslashes_in_its_key_is_data(home: House) -> None:
    await home.push(*numbered(2))
    link = next_of(await home.get(f"{SESSIONS}&limit=1"))
    evil = forged(link, key=["NL*TNM", "\\' OR 1=1 --\u0000\n{x:String}"])
    assert (await home.get(evil)).code == 1000


async def test_a_list_takes_the_window_from_date_from_inclusive_to_date_to_exclusive(home: House) -> None:
    # Requirements 10, point 9.
    for number in range(3):
        await home.push(session(f"S{number}", last_updated=f"2026-09-20T10:0{number}:00Z"))
    base = "/ocpi/2.2.1/sender/sessions?strict_windows=1"
    window = "&date_from=2026-09-20T10:01:00Z&date_to=2026-09-20T10:02:00Z"
    assert (await home.get(base + window)).ids == ["S1"]
    assert (await home.get(f"{base}&date_from=2026-09-20T10:01:00Z")).ids == ["S1", "S2"]
    assert (await home.get(f"{base}&date_from=2026-09-20T10:01:00.001Z")).ids == ["S2"]
    empty = await home.get(f"{base}&date_from=2026-09-20T10:02:00Z&date_to=2026-09-20T10:02:00Z")
    assert (empty.code, empty.data) == (1000, [])
    turned = await home.get(f"{base}&date_from=2026-09-21T00:00:00Z&date_to=2026-09-20T00:00:00Z")
    assert (turned.code, turned.data) == (1000, [])


async def test_a_date_without_z_is_utc_and_an_offset_is_counted(home: House) -> None:
    # Requirements 10, point 28.
    await home.push(session("S1", last_updated="2026-09-20T10:00:59Z"), session("S2", last_updated="2026-09-20T10:01:00Z"))
    z = ("2026-09-20T10:01:00", "2026-09-20T10:01:00Z", "2026-09-20T10:01:00.000Z")
    for same in (*z, "2026-09-20T12:01:00%2B02:00", "2026-09-20T12:01:00+02:00"):
        assert (await home.get(f"/ocpi/2.2.1/sender/sessions?strict_windows=1&date_from={same}")).ids == ["S2"], same


async def test_dates_that_mean_since_ever_and_for_ever_are_taken(home: House) -> None:
    await home.push(*numbered(1))
    window = "date_from=0001-01-01T00:00:00Z&date_to=9999-12-31T23:59:59.9999999Z"
    assert (await home.get(f"/ocpi/2.2.1/sender/sessions?{window}")).ids == ["S1"]


async def test_a_change_that_comes_late_stands_in_the_window_of_its_arrival(home: House) -> None:
    home.clock.advance(3600 * SECOND)
    await home.push(session("S1", last_updated="2026-09-20T10:05:00Z"))
    window = f"date_from={until(3500)}&date_to={until(3700)}"
    assert (await home.get(f"/ocpi/2.2.1/sender/sessions?{window}")).ids == ["S1"]
    assert (await home.get(f"/ocpi/2.2.1/sender/sessions?{window}&strict_windows=1")).ids == []
    # Only the side of date_from is widened.
    assert (await home.get(f"/ocpi/2.2.1/sender/sessions?date_from={until(0)}&date_to={until(3500)}")).ids == []
    assert (await home.get(f"/ocpi/2.2.1/sender/sessions?date_from={until(3700)}")).ids == []


async def test_windows_that_follow_each_other_miss_nothing_that_was_not_folded_yet(home: House) -> None:
    await home.push(session("S1", last_updated=until(0)))
    # S2 has arrived, but the first crawl cannot see it; its own last_updated and its arrival both lie in that crawl's window.
    await unfolded(home, "S2", last_updated=until(2))
    home.clock.advance(4 * SECOND)
    first = await home.get(f"/ocpi/2.2.1/sender/sessions?date_from={until(-10)}&date_to={until(5)}")
    await home.fold()
    second = await home.get(f"/ocpi/2.2.1/sender/sessions?date_from={until(5)}")
    assert (first.ids, "S2" in second.ids) == (["S1"], True)


async def test_objects_that_come_while_a_list_is_read_do_not_move_its_pages(home: House) -> None:
    await home.push(*numbered(4))
    home.clock.advance(60 * SECOND)
    await home.fold()
    first = await home.get(f"{SESSIONS}&limit=2")
    home.clock.advance(1)
    await home.push(session("A"), session("Z"))
    await home.push(session("S1", last_updated="2026-09-20T11:00:00Z"))
    second = await home.get(next_of(first))
    # The last page may hold what came since, and ends the list all the same.
    assert (second.ids[:2], "link" in second.headers) == (["S3", "S4"], False)


async def test_a_crawl_ends_where_its_first_page_saw_the_end(home: House) -> None:
    await home.push(*numbered(4))
    home.clock.advance(60 * SECOND)
    await home.fold()
    page, seen = await home.get(f"{SESSIONS}&limit=1"), 1
    while "link" in page.headers:
        home.clock.advance(1)
        await home.push(session(f"new-{seen}"))
        page, seen = await home.get(next_of(page)), seen + 1
    assert (seen, page.headers["x-total-count"]) == (4, "4")


async def unfolded(home: House, session_id: str, **fields: Any) -> None:
    """Push a Session that stays in the log."""
    path = f"/ocpi/2.2.1/receiver/sessions/NL/TNM/{session_id}"
    assert (await home.ask("PUT", path, token="cpo", body=session(session_id, **fields))).code == 1000


async def test_a_list_shows_all_that_was_answered_before_it_was_asked_for(store: TableStore) -> None:
    async with house(store, read_wait_s=10) as home:
        await unfolded(home, "S1")
        async with asyncio.TaskGroup() as tasks:
            asked = tasks.create_task(home.get(SESSIONS))
            while not asked.done():
                await home.runtime.turn(wait_s=0)
        assert asked.result().ids == ["S1"]


async def test_a_list_that_may_lack_more_than_a_minute_is_not_given(home: House) -> None:
    await home.push(*numbered(1))
    await unfolded(home, "S2")
    assert (await home.get(SESSIONS)).ids == ["S1"]
    home.clock.advance(61 * SECOND)
    open_window = await home.get(SESSIONS)
    assert (open_window.status, open_window.code, open_window.headers["retry-after"]) == (503, 3000, "30")
    # A window that was closed before is whole.
    closed = await home.get(f"{SESSIONS}&date_to={until(-30)}")
    assert (closed.code, closed.ids) == (1000, ["S1"])
    await home.fold()
    assert (await home.get(SESSIONS)).ids == ["S1", "S2"]


async def test_what_came_after_the_tables_end_stands_on_the_last_page_alone(home: House) -> None:
    await home.push(*numbered(3))
    await home.fold()
    await unfolded(home, "lagging")
    # Complete until some seconds ago, as far as is known: S2 and S3 came later, and what lags may have come between them.
    page = await home.get(f"{SESSIONS}&limit=2")
    assert (page.ids, "link" in page.headers) == (["S1", "S2"], False)


async def test_a_reader_sees_what_is_addressed_to_it_and_what_is_its_own(home: House) -> None:
    rivals = {"cdr_token": session()["cdr_token"] | {"country_code": "FR", "party_id": "RIV"}}
    await home.push(session("S1"), session("S2", **rivals))
    await home.push(session("S3", country_code="BE", party_id="BEC", **rivals), by="other")
    assert (await home.get(SESSIONS, "msp")).ids == ["S1"]
    assert (await home.get(SESSIONS, "rival")).ids == ["S2", "S3"]
    assert (await home.get(SESSIONS, "cpo")).ids == ["S1", "S2"]
    assert (await home.get(SESSIONS, "other")).ids == ["S3"]
    # The total counts what the reader may see and the window holds, whatever the page holds.
    assert (await home.get(f"{SESSIONS}&limit=1", "rival")).headers["x-total-count"] == "2"
    assert (await home.get(f"{SESSIONS}&limit=1", "cpo")).headers["x-total-count"] == "2"
    assert (await home.get(f"{SESSIONS}&limit=1&date_to=2026-09-20T10:05:00Z", "cpo")).headers["x-total-count"] == "0"


async def test_a_cpo_is_not_given_what_is_addressed_to_its_party(home: House) -> None:
    to_a_cpo = {"cdr_token": session()["cdr_token"] | {"country_code": "BE", "party_id": "BEC"}}
    await home.push(session("S1", **to_a_cpo))
    assert (await home.get(SESSIONS, "other")).ids == []


async def test_a_session_without_a_put_is_not_listed(home: House) -> None:
    await home.push(session("S2"))
    await home.log.append([entry(patch(5, kwh=3))])
    await home.fold()
    assert len(await home.store.query("SELECT 1 FROM sessions")) == 2
    assert (await home.get(SESSIONS, "cpo")).ids == ["S2"]


async def test_a_list_of_cdrs_pages_like_one_of_sessions(home: House) -> None:
    posted = [cdr(f"C{number}", session_id=f"S{number}") for number in range(5)]
    await home.post(*posted)
    pages = await home.crawl(f"{CDRS}?limit=2")
    assert [one for page in pages for one in page.data] == posted
    assert [page.headers["x-total-count"] for page in pages] == ["5", "5", "5"]
    assert (await home.get(CDRS, "rival")).data == []


async def test_of_two_cdrs_with_one_id_the_first_is_the_cdr(home: House) -> None:
    await home.post(cdr("C1", session_id="S1"), cdr("C2", session_id="S2"))
    # A twin under another key reaches the log past the Receiver, as two sources that are loaded at once could do it.
    await home.post(cdr("C3", session_id="S3"))
    topic = [record for lane in (await _all(home)).values() for record in lane]
    twin = next(record for record in topic if b'"C3"' in record.value)
    forged = twin.value.replace(b'"C3"', b'"C1"').replace(b'"S3"', b'"T3"').replace(b"\x04C3", b"\x04C1")
    await home.log.append([Entry(CHARGING, b"NL*TNM|t3", forged)])
    home.clock.advance(120 * SECOND)
    await home.fold()
    assert len(await home.store.query("SELECT 1 FROM cdrs WHERE cdr_id = 'c1'")) == 2
    page = await home.get(CDRS)
    assert (page.ids, page.headers["x-total-count"]) == (["C1", "C2", "C3"], "3")
    assert page.data[0]["session_id"] == "S1"
    assert (await home.get("/ocpi/2.2.1/receiver/cdrs/NL/TNM/C1", "cpo")).data["session_id"] == "S1"


async def _all(home: House) -> Any:
    from streams.ports import TopicPartition

    start = {TopicPartition(CHARGING, partition): 0 for partition in range(home.log.partitions(CHARGING))}
    return await home.log.fetch(start, max_records=1000, wait_s=0)


async def test_the_sender_offers_get_alone(home: House) -> None:
    for method in ("POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"):
        reply = await home.ask(method, SESSIONS, token="msp")
        assert (reply.status, reply.headers["allow"], reply.code) == (405, "GET", 2000), method


async def test_what_the_sender_does_not_offer_is_not_found(home: House) -> None:
    for path, code in (
        ("/ocpi/2.2.1/sender", 2000),
        ("/ocpi/2.2.1/sender/commands", 2000),
        ("/ocpi/2.2.1/sender/sessions/S1", 2000),
        ("/ocpi/2.2.1/sender/%FF", 2001),
        ("/ocpi/3.0/sender/sessions", 3002),
    ):
        reply = await home.get(path)
        assert (reply.status, reply.code) == (404, code), path


async def test_a_trailing_slash_changes_nothing(home: House) -> None:
    await home.push(*numbered(1))
    assert (await home.get(SESSIONS.replace("sessions?", "sessions/?"))).ids == ["S1"]


async def test_the_ids_of_the_message_come_back_and_its_parties_are_turned_round(home: House) -> None:
    asked = {
        "X-Request-ID": "r-1",
        "X-Correlation-ID": "c-1",
        "OCPI-from-country-code": "DE",
        "OCPI-from-party-id": "MSP",
        "OCPI-to-country-code": "ZZ",
        "OCPI-to-party-id": "RML",
    }
    for path in (SESSIONS, "/ocpi/2.2.1/sender/sessions", "/ocpi/2.2.1/receiver/sessions/NL/TNM/none"):
        headers = (await home.get(path, headers=asked)).headers
        assert headers["x-request-id"] == "r-1"
        assert headers["x-correlation-id"] == "c-1"
        assert (headers["ocpi-to-country-code"], headers["ocpi-to-party-id"]) == ("DE", "MSP")
        assert (headers["ocpi-from-country-code"], headers["ocpi-from-party-id"]) == ("ZZ", "RML")
