"""What a crawler does with each answer (requirements 3, OCPI 2.2.1 transport_and_format, Pagination), and with lists that move."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.paging import (
    AGAIN,
    EMPTY_PAGES,
    PAGES,
    Listing,
    Next,
    Page,
    Patience,
    Unanswered,
    clock_behind,
    decide,
    first_page,
    once_more,
)
from schemas.crawl import Place
from schemas.types import instant

URL = "https://cpo.example/ocpi/sender/2.2.1/tariffs?date_from=2026-01-01T00:00:00Z&offset=0&limit=10"
NOW = instant("2026-02-01T00:00:00Z")
PATIENCE = Patience(attempts=3, first_s=1.0, longest_s=60.0)
LISTING = Listing(URL)


def at(offset: int, **fields: Any) -> Place:
    """Return the place before the page at an offset, the total being 30 so far."""
    base: dict[str, Any] = {
        "offset": offset,
        "page": offset // 10,
        "way": "link" if offset else "first",
        "total": 30 if offset else None,
    }
    return Place(URL.replace("offset=0", f"offset={offset}"), **(base | fields))


def page(objects: int | None = 10, *, link: str | None = None, total: object = 30, **fields: Any) -> Page:
    headers = {} if total is None else {"x-total-count": str(total)}
    if link is not None:
        headers["link"] = link
    return Page(fields.pop("status", 200), headers | fields.pop("headers", {}), objects, **fields)


def url(offset: int) -> str:
    return at(offset).url


def link(offset: int) -> str:
    return f'<{url(offset)}>; rel="next"'


def after(place: Place, answer: Page | Unanswered, *visited: str, attempt: int = 1, listing: Listing = LISTING) -> Next:
    return decide(listing, place, set(visited), answer, attempt, PATIENCE, NOW)


def rules(found: Next) -> list[str]:
    return [odd.rule for odd in found.oddities]


def test_the_first_page_is_asked_for_with_the_window_and_the_limit() -> None:
    since, until = instant("2026-01-01T00:00:00Z"), instant("2026-01-02T00:00:00Z")
    window = "date_from=2026-01-01T00:00:00Z&date_to=2026-01-02T00:00:00Z"
    asked = first_page("https://cpo.example/tariffs", limit=100, date_from=since, date_to=until)
    assert asked == f"https://cpo.example/tariffs?{window}&offset=0&limit=100"
    assert first_page("https://cpo.example/t?tenant=7", limit=5) == "https://cpo.example/t?tenant=7&offset=0&limit=5"


def test_a_link_is_followed_as_it_is() -> None:
    cursor = "https://cpo.example/other/path?x=%2F&cursor=abc=="
    for header in (
        f'<{cursor}>; rel="next"',
        f"<{cursor}>;rel=next",
        f'<{cursor}>; REL="Next"; title="a"',
        f"<{cursor}>; rel='next'",
        f'<{cursor}>; title="a"; rel="last next"',
    ):
        found = after(at(0), page(link=header))
        assert (found.act, found.place.url, found.place.offset, found.takes, rules(found)) == ("read", cursor, 10, True, [])


def test_the_next_one_of_several_links_is_followed() -> None:
    header = f'<{url(0)}>; rel="prev", <{url(20)}>; rel="next", <{url(20)}>; rel="last"'
    found = after(at(10), page(link=header), url(0))
    assert (found.place.url, rules(found)) == (url(20), [])


def test_the_last_page_has_no_link_and_ends_the_crawl_complete() -> None:
    found = after(at(20), page(), url(0), url(10))
    assert (found.act, found.complete, found.takes, found.oddities, found.place.steady) == ("stop", True, True, (), True)
    assert after(at(0), page(0, total=0)).complete
    only_back = after(at(20), page(link=f'<{url(10)}>; rel="prev"'))
    assert (only_back.complete, rules(only_back)) == (True, [])


def test_without_a_total_the_missing_link_alone_ends_it_and_nothing_can_be_said_to_be_steady() -> None:
    found = after(at(0), page(total=None))
    assert (found.act, found.complete, found.place.steady) == ("stop", True, False)
    assert rules(after(at(0), page(total="many"))) == ["broken_total"]


@pytest.mark.parametrize("header", [None, "", "next page please", '<>; rel="next"', "<https://cpo.example/x>; relation=next"])
def test_where_the_link_is_missing_or_broken_but_objects_are_left_it_goes_on_by_offset(header: str | None) -> None:
    found = after(at(10), page(link=header), url(0))
    assert (found.act, found.place.url, found.place.offset, found.place.way) == ("read", url(20), 20, "offset")
    assert rules(found)[-1] == "missing_link"
    assert (rules(found)[0] == "broken_link") is bool(header)


def test_a_broken_link_without_a_total_is_no_end() -> None:
    found = after(at(0), page(link="next please", total=None))
    assert (found.act, found.complete, rules(found)) == ("stop", False, ["broken_link"])


def test_going_on_by_offset_starts_from_the_list_where_the_page_names_no_offset() -> None:
    place = Place("https://cpo.example/t?cursor=x", offset=10, page=1, way="link", total=30)
    assert after(place, page()).place.url == url(20)


@pytest.mark.parametrize("elsewhere", [
    "https://evil.example/t?offset=10",
    "http://cpo.example/t?offset=10",
    "https://cpo.example:8443/t?offset=10",
    "https://cpo.example@evil.example/t",
    "https://user:secret@cpo.example/t",
    "//evil.example/t",
    "ftp://cpo.example/t",
    "https://[::1",
])  # fmt: skip
def test_a_link_to_another_host_is_not_followed(elsewhere: str) -> None:
    found = after(at(0), page(link=f'<{elsewhere}>; rel="next"'))
    assert (found.act, found.complete, found.takes) == ("stop", False, True)
    assert rules(found)[-1] == "foreign_link"


@pytest.mark.parametrize("same", ["https://CPO.example/t?offset=10", "https://cpo.example:443/t?offset=10", "/t?offset=10"])
def test_the_same_host_may_be_spelled_otherwise(same: str) -> None:
    assert after(at(0), page(link=f'<{same}>; rel="next"')).act == "read"


def test_a_link_to_itself_or_to_a_page_that_was_read_ends_the_crawl() -> None:
    for header in (link(10), link(0)):
        found = after(at(10), page(link=header), url(0))
        assert (found.act, found.complete, found.takes, rules(found)) == ("stop", False, True, ["circular_link"])


def test_a_new_link_to_the_objects_of_the_page_before_ends_the_crawl() -> None:
    found = after(at(10, digest=b"same"), page(link=link(20), digest=b"same"))
    assert (found.act, found.complete, rules(found)) == ("stop", False, ["repeated_page"])


def test_a_sender_that_gives_the_same_page_for_every_offset_has_no_complete_list() -> None:
    found = after(at(10, way="offset", digest=b"same"), page(digest=b"same"), url(0))
    assert (found.act, found.complete, rules(found)) == ("stop", False, ["repeated_page"])
    last = after(at(20, way="offset", digest=b"same"), page(digest=b"same"), url(0), url(10))
    assert (last.act, last.complete) == ("stop", False)


def test_pages_that_come_round_under_ever_new_links_end_the_crawl() -> None:
    found = after(at(20, digest=b"two"), page(link=link(30), digest=b"one"), url(0), url(10), b"one".hex(), b"two".hex())
    assert (found.act, found.complete, rules(found)) == ("stop", False, ["repeated_page"])


def test_a_list_that_grew_may_show_a_page_again() -> None:
    found = after(at(10, digest=b"same"), page(link=link(20), total=40, digest=b"same"))
    assert (found.act, rules(found)) == ("read", ["total_grew"])


def test_empty_pages_with_a_link_are_followed_for_a_while() -> None:
    cursor = '<https://cpo.example/t?cursor=c>; rel="next"'
    assert rules(after(at(10), page(0, link=cursor))) == ["empty_page"]
    found = after(at(10, empty=EMPTY_PAGES - 1), page(0, link=cursor))
    assert (found.act, found.complete) == ("stop", False)


def test_a_list_without_an_end_ends() -> None:
    found = after(at(10, page=PAGES - 1), page(link=link(20)))
    assert (found.act, found.complete, rules(found)) == ("stop", False, ["endless"])


@pytest.mark.point(12)
def test_when_the_total_falls_the_page_is_read_again_from_as_much_earlier() -> None:
    """[2.1.1+] When X-Total-Count falls during a crawl the client re-reads from offset-1. Source: transport_and_format, NOTE."""
    found = after(at(20), page(9, total=29), url(0), url(10))
    assert (found.act, found.takes, found.place.url, found.place.offset) == ("read", False, url(19), 19)
    assert (rules(found), found.place.total, found.place.steady) == (["total_shrank"], 29, False)
    on = after(found.place, page(10, total=29), url(0), url(10))
    assert (on.act, on.complete, on.takes) == ("stop", True, True)
    assert after(at(20), page(5, total=25)).place.url == url(15)
    assert after(at(20), page(0, total=3)).place.url == url(0)


def test_a_total_that_falls_on_the_first_page_needs_no_going_back() -> None:
    found = after(at(0, total=31, way="again"), page(link=link(10)))
    assert (found.place.url, rules(found)) == (url(10), [])


def test_a_list_that_shrinks_for_ever_ends_the_crawl() -> None:
    found = after(at(20, again=AGAIN), page(9, total=29))
    assert (found.act, found.complete, rules(found)) == ("stop", False, ["total_shrank", "unsettled"])


def test_when_the_total_rises_the_crawl_goes_on() -> None:
    found = after(at(10), page(link=link(20), total=31))
    assert (found.place.url, rules(found), found.place.total, found.place.steady) == (url(20), ["total_grew"], 31, False)


def test_a_list_that_ends_before_its_total_is_not_complete() -> None:
    found = after(at(20, way="offset"), page(0))
    assert (found.act, found.complete, rules(found)) == ("stop", False, ["short_list"])


def test_a_total_that_one_page_told_holds_where_another_one_tells_none() -> None:
    found = after(at(10), page(total=None), url(0))
    assert (found.act, found.place.offset, found.place.steady, rules(found)) == ("read", 20, False, ["missing_link"])
    assert after(at(20), page(total=None), url(0), url(10)).complete
    short = after(at(20), page(0, total=None), url(0), url(10))
    assert (short.act, short.complete, rules(short)) == ("stop", False, ["short_list"])


def test_the_last_page_that_is_read_once_more_after_its_process_ended_ends_the_crawl_complete() -> None:
    ended = after(at(20), page(digest=b"last"), url(0), url(10))
    again = after(ended.place, page(digest=b"last"), url(0), url(10), url(20), b"last".hex())
    assert (again.act, again.complete, rules(again)) == ("stop", True, [])


def test_in_2_0_the_total_counts_what_the_filter_leaves_out() -> None:
    every = Listing(URL, counts_all=True)
    assert after(at(0), page(), listing=every).place.way == "offset"
    assert after(at(10, way="offset"), page(), listing=every).act == "read"
    assert after(at(10, way="offset"), page(0), listing=every).complete
    assert after(at(10, way="link"), page(), listing=every).complete


def test_a_link_that_leaves_objects_out_is_followed_and_flagged() -> None:
    found = after(at(0), page(8, link=link(10)))
    assert (found.place.url, rules(found), found.place.steady) == (url(10), ["link_gap"], False)


@pytest.mark.parametrize(("answer", "rule"), [
    (Page(500), "http_500"),
    (Page(503), "http_503"),
    (Page(429), "rate_limited"),
    (Page(200, fault="the answer is cut off"), "unreadable"),
    (page(code=3000), "status_code"),
    (Unanswered("timeout", "cpo.example did not answer in time"), "timeout"),
    (Unanswered("connection", "it hung up"), "connection"),
])  # fmt: skip
def test_what_may_pass_is_asked_for_again_a_few_times(answer: Page | Unanswered, rule: str) -> None:
    for attempt, wait_s in ((1, 1.0), (2, 2.0)):
        found = after(at(10), answer, attempt=attempt)
        assert (found.act, found.wait_s, found.place, rules(found)) == ("wait", wait_s, at(10), [rule])
    found = after(at(10), answer, attempt=3)
    assert (found.act, found.complete, found.place, rules(found)) == ("stop", False, at(10), [rule, "gave_up"])


@pytest.mark.parametrize(("answer", "rule"), [
    (Page(401), "unauthorized"),
    (Page(403), "unauthorized"),
    (Page(404), "http_404"),
    (Page(405), "http_405"),
    (page(code=2001), "status_code"),
    (Unanswered("forbidden", "an address that is not public"), "forbidden"),
    (Unanswered("redirect", "it sends elsewhere"), "redirect"),
    (Unanswered("too_large", "more than 1 byte"), "too_large"),
])  # fmt: skip
def test_what_does_not_pass_ends_the_crawl_at_once(answer: Page | Unanswered, rule: str) -> None:
    found = after(at(10), answer)
    assert (found.act, found.complete, found.takes, rules(found)) == ("stop", False, False, [rule])


@pytest.mark.parametrize(("said", "wait_s"), [
    ("7", 7.0),
    ("Sun, 01 Feb 2026 00:00:30 GMT", 30.0),
    ("Sun, 01 Feb 2026 00:00:00 GMT", 0.0),
    ("Sat, 31 Jan 2026 00:00:00 GMT", 0.0),
    ("soon", 2.0),
    ("-5", 2.0),
])  # fmt: skip
def test_retry_after_is_waited_for(said: str, wait_s: float) -> None:
    for status in (429, 503):
        assert after(at(0), Page(status, {"retry-after": said}), attempt=2).wait_s == wait_s


@pytest.mark.parametrize("said", [
    "Sun, 01 Feb 99999999999999999999 00:00:00 GMT",
    "Sun, 01 Feb 2026 00:00:00 +99999999999999",
    "Sun, 01 Feb 2026 99999999999999:00:00 GMT",
    "Sun, 01 Feb 2026 00:00:00 -9999",
])  # fmt: skip
def test_a_date_that_no_calendar_has_says_nothing(said: str) -> None:
    assert after(at(0), Page(429, {"retry-after": said})).wait_s == 1.0
    assert clock_behind({"date": said}, NOW) == 0


@pytest.mark.parametrize(("date", "behind_s"), [
    ("Sat, 31 Jan 2026 23:50:00 GMT", 600),
    ("Sat, 31 Jan 2026 23:59:55 GMT", 0),
    ("Sun, 01 Feb 2026 00:10:00 GMT", 0),
    ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
    ("", 0),
])  # fmt: skip
def test_a_clock_is_behind_by_its_date(date: str, behind_s: int) -> None:
    """Little is as good as nothing, one that is ahead lists everything in time, and what is days old is no clock's."""
    assert clock_behind({"date": date}, NOW) == behind_s * 1_000_000


def test_who_asks_to_wait_longer_than_a_crawl_does_ends_it() -> None:
    found = after(at(0), Page(429, {"retry-after": "86400"}))
    assert (found.act, found.complete, rules(found)) == ("stop", False, ["rate_limited", "gave_up"])


def test_an_answer_without_a_status_code_is_a_page() -> None:
    assert after(at(20), page(code=None)).complete


def test_a_second_reading_begins_where_the_first_did_and_remembers_nothing_of_totals() -> None:
    again = once_more(LISTING, after(at(20), page()).place)
    assert (again.url, again.offset, again.reading, again.total, again.page, again.way) == (URL, 0, 2, None, 3, "first")


class Sender:
    """A partner whose list changes between two answers, as `changes` say: what leaves it, and what is added at its end."""

    def __init__(self, size: int, cap: int, style: str, changes: list[tuple[set[int], int]]) -> None:
        self.ids = list(range(size))
        self.made = size
        self.cap = cap
        self.style = style
        self.changes = changes
        self.ever = set(self.ids)
        self.left: set[int] = set()

    def answer(self, asked: str) -> tuple[list[int], Page]:
        query = dict(part.split("=") for part in asked.partition("?")[2].split("&"))
        start = sum(one <= int(query["after"]) for one in self.ids) if "after" in query else int(query["offset"])
        found = self.ids[start : start + self.cap]
        headers = {"x-total-count": str(len(self.ids))}
        if start + self.cap < len(self.ids) and self.style != "none":
            base = asked.partition("?")[0]
            following = f"offset={start + self.cap}" if self.style == "offset" else f"after={found[-1] if found else -1}"
            headers["link"] = f'<{base}?limit=3&{following}>; rel="next"'
        self._change()
        return found, Page(200, headers, len(found), digest=repr(found).encode())

    def _change(self) -> None:
        if not self.changes:
            return
        gone, added = self.changes.pop(0)
        self.left |= gone & set(self.ids)
        self.ids = [one for one in self.ids if one not in gone]
        self.ids += range(self.made, self.made + added)
        self.made += added


def crawl(sender: Sender, on_page: Callable[[Next], None] = lambda _: None) -> tuple[set[int], Next]:
    listing = Listing("https://cpo.example/t?offset=0&limit=3")
    place, visited, seen = Place(listing.url), set[str](), set[int]()
    for _ in range(10_000):
        objects, answer = sender.answer(place.url)
        found = decide(listing, place, visited, answer, 1, PATIENCE, NOW)
        on_page(found)
        if found.takes:
            seen.update(objects)
            visited |= {place.url, found.place.digest.hex()}
        if found.act == "stop":
            return seen, found
        if found.place.way == "again":
            visited.clear()
        place = found.place
    raise AssertionError("the crawl does not end")


changes = st.lists(st.tuples(st.sets(st.integers(0, 40), max_size=6), st.just(0)), max_size=25)


@given(st.integers(0, 40), st.integers(1, 7), st.sampled_from(["offset", "after", "none"]), changes)
@settings(max_examples=400, deadline=None)
def test_nothing_that_stays_in_a_shrinking_list_is_missed(
    size: int, cap: int, style: str, moves: list[tuple[set[int], int]]
) -> None:
    sender = Sender(size, cap, style, list(moves))
    seen, end = crawl(sender)
    assert end.complete, end
    assert sender.ever - sender.left <= seen


grown = st.lists(st.tuples(st.just(set[int]()), st.integers(0, 5)), max_size=25)


@given(st.integers(0, 40), st.integers(1, 7), st.sampled_from(["offset", "after", "none"]), grown)
@settings(max_examples=200, deadline=None)
def test_nothing_that_is_in_a_growing_list_at_the_last_page_is_missed(
    size: int, cap: int, style: str, moves: list[tuple[set[int], int]]
) -> None:
    sender = Sender(size, cap, style, list(moves))
    seen, end = crawl(sender)
    assert end.complete
    assert set(range(size)) <= seen


@given(st.integers(1, 40), st.integers(1, 7), st.sampled_from(["offset", "after", "none"]))
def test_a_list_that_does_not_move_is_read_once_and_called_steady(size: int, cap: int, style: str) -> None:
    pages: list[Next] = []
    seen, end = crawl(Sender(size, cap, style, []), pages.append)
    assert (seen, end.complete, end.place.steady) == (set(range(size)), True, True)
    assert len(pages) == end.place.page == -(-size // cap)


headers = st.fixed_dictionaries(
    {},
    optional={
        "link": st.one_of(
            st.text(max_size=30),
            st.sampled_from(
                [link(0), link(10), link(20), link(40), '<https://evil.example>; rel="next"', "<>", '</x>; rel="next"']
            ),
        ),
        "x-total-count": st.one_of(st.integers(-5, 60).map(str), st.text(max_size=5)),
        "retry-after": st.one_of(st.integers(0, 10**9).map(str), st.text(max_size=30)),
    },
)
answers = st.one_of(
    st.builds(
        Page,
        st.sampled_from([200, 200, 200, 200, 201, 204, 301, 400, 401, 404, 429, 500, 503]),
        headers,
        st.one_of(st.none(), st.integers(0, 12)),
        st.sampled_from([1000, 1000, 1001, 2000, 3000, None]),
        st.text(max_size=10),
        st.binary(max_size=2),
    ),
    st.builds(Unanswered, st.sampled_from(["timeout", "connection", "redirect", "forbidden", "too_large"]), st.just("no")),
)


@given(st.lists(answers, min_size=1, max_size=40))
@settings(max_examples=400, deadline=None)
def test_whatever_a_partner_answers_the_token_goes_to_its_host_alone_and_the_crawl_ends(told: list[Page | Unanswered]) -> None:
    place, visited, attempt = Place(URL), set[str](), 1
    for number in range(2000):
        found = decide(LISTING, place, visited, told[number % len(told)], attempt, PATIENCE, NOW)
        assert 0 <= found.wait_s <= PATIENCE.longest_s
        assert found.place.url.startswith("https://cpo.example/")
        assert found.place.offset >= 0
        if found.act == "stop":
            assert not (found.complete and {"circular_link", "foreign_link", "short_list", "gave_up"} & set(rules(found)))
            return
        attempt = attempt + 1 if found.act == "wait" else 1
        if found.takes:
            visited.add(place.url)
        if found.place.way == "again" and found.act == "read":
            visited.clear()
        place = found.place
    assert place.again > 500, "it goes on only where the list shrinks again and again, and that is bounded, too"


def test_headers_are_a_mapping_with_names_in_lower_case() -> None:
    headers_of: Mapping[str, str] = page(link=link(10)).headers
    assert set(headers_of) == {"link", "x-total-count"}
