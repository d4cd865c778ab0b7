"""What a crawler does next: from where it is and what a partner answered to the next request, a pause, or the end. Pure.

Source: requirements 3 (the crawler's rules), OCPI 2.2.1 transport_and_format, Pagination; requirements 10, points 11 and 12.
"""

import email.utils
import re
from collections.abc import Container, Mapping
from typing import Final, Literal
from urllib.parse import urljoin, urlsplit

from msgspec import Struct
from msgspec.structs import replace

from schemas.crawl import Oddity, Place
from schemas.types import Instant, date_time, from_datetime

PAGES: Final = 100_000
"""A list of more pages has no end."""

EMPTY_PAGES: Final = 10
"""So many pages in a row may be empty and have a Link all the same."""

AGAIN: Final = 1_000
"""So often a crawl goes back because the list shrank; a total that never settles would keep it for ever."""

BEHIND_US: Final = (10_000_000, 24 * 3600 * 1_000_000)
"""How far a clock may be behind (microseconds): less is within what a window leaves out at its end, more is no clock's Date."""

SUCCESS: Final = range(1000, 2000)
SERVER_FAULT: Final = range(3000, 4000)

_TOTAL: Final = re.compile(r"[0-9]{1,15}")
_LINK: Final = re.compile(r"<([^<>]*)>([^,<]*)")
_REL: Final = re.compile(r";\s*rel\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s;]*))", re.IGNORECASE)
"""What a Link leads to, one word or several (RFC 8288, 3.3)."""
_OFFSET: Final = re.compile(r"([?&]offset=)([0-9]{1,15})(?=&|$)")
_PORTS: Final = {"http": 80, "https": 443}


class Patience(Struct, frozen=True):
    """How often one page is asked for, and how long is waited in between (seconds), twice as long each time."""

    attempts: int = 6
    first_s: float = 1.0
    longest_s: float = 300.0


class Listing(Struct, frozen=True):
    """The list that is read, by the URL of its first page. `counts_all`: X-Total-Count counts what the filter leaves out (2.0)."""

    url: str
    counts_all: bool = False


class Page(Struct, frozen=True):
    """An answer. `objects` is how many it has, None where the body cannot be read, which `fault` says then.

    `code` is the OCPI status code, None where there is none; `digest` is of the objects. Names of headers are in lower case.
    """

    status: int
    headers: Mapping[str, str] = {}
    objects: int | None = None
    code: int | None = 1000
    fault: str = ""
    digest: bytes = b""


class Unanswered(Struct, frozen=True):
    """There was no answer: `kind` is that of `ingest.addresses.Unreachable`."""

    kind: str
    text: str


class Next(Struct, frozen=True):
    """What to do. `read`: fetch `place.url`; `wait`: fetch the same again after `wait_s`; `stop`: it ends, `complete` or not.

    `takes` says whether the objects of the answer are to be taken; `place` is where the crawl is then.
    """

    act: Literal["read", "wait", "stop"]
    place: Place
    takes: bool = False
    complete: bool = False
    wait_s: float = 0.0
    oddities: tuple[Oddity, ...] = ()


def decide(  # noqa: PLR0917
    listing: Listing,
    place: Place,
    visited: Container[str],
    answer: Page | Unanswered,
    attempt: int,
    patience: Patience,
    now: Instant,
) -> Next:
    """Return what to do after `answer` to the request for `place.url`, the `attempt`th one (from 1).

    `visited` has, of this reading of the list since the crawl last went back, every URL that was read, and every page's digest
    in hexadecimal digits.
    """
    number = place.page + 1
    fault = _fault(answer)
    if fault is not None:
        odd = Oddity(number, fault.rule, fault.message)
        if not fault.passes:
            return Next("stop", place, oddities=(odd,))
        if attempt >= patience.attempts:
            gave_up = Oddity(number, "gave_up", f"the page was asked for {attempt} times")
            return Next("stop", place, oddities=(odd, gave_up))
        wait_s = min(patience.first_s * 2 ** (attempt - 1), patience.longest_s)
        asked_s = _retry_after(answer, now)
        if asked_s is not None and asked_s > patience.longest_s:
            longer = Oddity(number, "gave_up", f"the partner asks to wait {asked_s:.0f} s, longer than a crawl does")
            return Next("stop", place, oddities=(odd, longer))
        return Next("wait", place, wait_s=wait_s if asked_s is None else asked_s, oddities=(odd,))
    assert isinstance(answer, Page)
    assert answer.objects is not None
    return _went_on(listing, place, visited, answer, answer.objects)


def first_page(url: str, *, limit: int, date_from: Instant | None = None, date_to: Instant | None = None) -> str:
    """Return the URL of the first page of a Sender's list."""
    query = [] if date_from is None else [f"date_from={date_time(date_from)}"]
    query += [] if date_to is None else [f"date_to={date_time(date_to)}"]
    query += ["offset=0", f"limit={limit}"]
    return f"{url}{'&' if '?' in url else '?'}{'&'.join(query)}"


def once_more(listing: Listing, place: Place) -> Place:
    """Return where a second reading of the list begins."""
    return Place(listing.url, page=place.page, reading=place.reading + 1, steady=place.steady)


def total_of(headers: Mapping[str, str]) -> int | None:
    """Return X-Total-Count, None where there is none that is a number."""
    text = headers.get("x-total-count", "").strip()
    return int(text) if _TOTAL.fullmatch(text) else None


def clock_behind(headers: Mapping[str, str], sent_at: Instant) -> int:
    """Return how far (microseconds) the partner's clock is behind ours by its Date, 0 where that is little or not known."""
    at = _http_date(headers.get("date", ""))
    behind = 0 if at is None else sent_at - at
    return behind if BEHIND_US[0] <= behind <= BEHIND_US[1] else 0


class _Fault(Struct, frozen=True):
    rule: str
    message: str
    passes: bool


def _fault(answer: Page | Unanswered) -> _Fault | None:
    """Return why the answer is no page, and whether another attempt may get one; None where it is a page."""
    if isinstance(answer, Unanswered):
        return _Fault(answer.kind, answer.text, answer.kind in {"timeout", "connection"})
    if answer.status == 429:
        return _Fault("rate_limited", "the partner asks for fewer requests (HTTP 429)", True)
    if answer.status in {408, 425} or answer.status >= 500:
        return _Fault(f"http_{answer.status}", f"the partner answers with HTTP {answer.status}", True)
    if answer.status in {401, 403}:
        return _Fault("unauthorized", f"the partner does not take our token (HTTP {answer.status})", False)
    if not 200 <= answer.status < 300:
        return _Fault(f"http_{answer.status}", f"the partner answers with HTTP {answer.status}", False)
    if answer.objects is None:
        return _Fault("unreadable", answer.fault, True)
    if answer.code is not None and answer.code not in SUCCESS:
        passes = answer.code in SERVER_FAULT
        return _Fault("status_code", f"the partner answers with OCPI status code {answer.code}", passes)
    return None


def _went_on(listing: Listing, place: Place, visited: Container[str], page: Page, objects: int) -> Next:
    """Return what to do after a page that could be read."""
    number = place.page + 1
    odd: list[Oddity] = []

    def say(rule: str, message: str) -> None:
        odd.append(Oddity(number, rule, message))

    total, before = total_of(page.headers), place.total
    if total is None and "x-total-count" in page.headers:
        say("broken_total", f"X-Total-Count is {page.headers['x-total-count'][:40]!r}, which is no number")
    steady = place.steady and total is not None and before in {None, total}
    if total is not None and before is not None and total > before:
        say("total_grew", f"X-Total-Count rose from {before} to {total}")
    end = place.offset + objects
    after = replace(
        place,
        page=number,
        total=before if total is None else total,
        digest=page.digest,
        empty=0 if objects else place.empty + 1,
        steady=steady,
    )

    def stop(complete: bool) -> Next:
        return Next("stop", after, takes=True, complete=complete, oddities=tuple(odd))

    def read(url: str, offset: int, way: Literal["link", "offset"]) -> Next:
        if number >= PAGES:
            say("endless", f"the list goes on after {number} pages")
            return stop(False)
        return Next("read", replace(after, url=url, offset=offset, way=way), takes=True, oddities=tuple(odd))

    if total is not None and before is not None and total < before and place.offset > 0:
        say("total_shrank", f"X-Total-Count fell from {before} to {total}, so what stood here may have moved ahead")
        if place.again >= AGAIN:
            say("unsettled", f"the list shrank {place.again} times")
            return stop(False)
        # What left the list moved everything behind it forward: what had not been read yet may stand before this page now.
        back = max(place.offset - (before - total), 0)
        again = replace(
            after, url=_at(listing, place.url, back), offset=back, way="again", again=place.again + 1, digest=place.digest
        )
        return Next("read", again, oddities=tuple(odd))

    # Whose process ended behind its last page reads that one again: it is the same then, and nothing is wrong with it.
    is_known = place.url not in visited and (page.digest == place.digest or page.digest.hex() in visited)
    if objects and page.digest and is_known and place.way in {"link", "offset"} and (before is None or total in {None, before}):
        say("repeated_page", "the page has the objects of one that was read before")
        return stop(False)
    link, is_broken = _next_link(page.headers.get("link", ""))
    if is_broken:
        say("broken_link", f"the Link cannot be read: {page.headers['link'][:80]!r}")
    if link:
        url = _joined(place.url, link)
        if url != link:
            say("relative_link", "the Link names no host")
        if _origin(url) != _origin(listing.url):
            say("foreign_link", f"the Link leads to another host, {_host(url)[:80]!r}, which is not followed")
            return stop(False)
        if url == place.url or url in visited:
            say("circular_link", "the Link leads to a page that was read before")
            return stop(False)
        if not objects:
            say("empty_page", "the page has no objects, but a Link")
            if after.empty >= EMPTY_PAGES:
                return stop(False)
        offset = _offset(url)
        if offset is not None and offset > end:
            say("link_gap", f"the Link goes on at object {offset}, but the page ends before object {end}")
            after = replace(after, steady=False)
        return read(url, end if offset is None else offset, "link")
    said = after.total  # a page that tells no total takes back none
    if said is None:
        return stop(not is_broken)
    if end >= said:
        return stop(True)
    if not objects:
        if listing.counts_all:
            return stop(True)
        say("short_list", f"the list ends after {end} objects, but X-Total-Count is {said}")
        return stop(False)
    if listing.counts_all and place.way == "link" and not is_broken:
        return stop(True)
    say("missing_link", f"there is no Link, but {end} of {said} objects were read")
    url = _at(listing, place.url, end)
    if url == place.url or url in visited:
        say("circular_link", "the page at that offset was read before")
        return stop(False)
    return read(url, end, "offset")


def _next_link(header: str) -> tuple[str, bool]:
    """Return the URL of the next page, "" where there is none, and whether the header is none that can be read."""
    if not header.strip():
        return "", False
    found = _LINK.findall(header)
    rels = [_rels(parameters) for _, parameters in found]
    for (url, _), words in zip(found, rels, strict=True):
        if "next" in words and url.strip():
            return url.strip(), False
    is_other = bool(found) and all(words and "next" not in words for words in rels)
    return "", not is_other


def _rels(parameters: str) -> list[str]:
    found = _REL.search(parameters)
    return [] if found is None else "".join(word or "" for word in found.groups()).strip("\"'").lower().split()


def _joined(url: str, link: str) -> str:
    try:
        return urljoin(url, link)
    except ValueError:  # what is no URL at all has no host either
        return link


def _at(listing: Listing, url: str, offset: int) -> str:
    """Return the URL at another offset: that of a page which names its offset, else the list's own."""
    base = url if _OFFSET.search(url) else listing.url
    return _OFFSET.sub(rf"\g<1>{offset}", base, count=1)


def _offset(url: str) -> int | None:
    found = _OFFSET.search(url)
    return None if found is None else int(found[2])


def _host(url: str) -> str:
    try:
        return urlsplit(url).netloc
    except ValueError:
        return ""


def _origin(url: str) -> tuple[str, str, int | None]:
    """Return scheme, host and port: where two differ the token would go to somebody else."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "", "", None
    scheme = parts.scheme.lower()
    if parts.username is not None or parts.password is not None:
        return "", "", None
    return scheme, (parts.hostname or "").lower().rstrip("."), _PORTS.get(scheme) if port is None else port


def _retry_after(answer: Page | Unanswered, now: Instant) -> float | None:
    """Return for how many seconds the partner asks to be left alone (RFC 9110, Retry-After), None where it does not."""
    text = answer.headers.get("retry-after", "").strip() if isinstance(answer, Page) else ""
    if not text:
        return None
    if re.fullmatch(r"[0-9]{1,9}", text):
        return float(text)
    at = _http_date(text)
    return None if at is None else max((at - now) / 1_000_000, 0.0)


def _http_date(text: str) -> Instant | None:
    """Return the instant of an HTTP-date (RFC 9110, 5.6.7), None for what is none."""
    try:
        at = email.utils.parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return None if at.tzinfo is None else from_datetime(at)
