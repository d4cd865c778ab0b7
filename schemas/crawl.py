"""A crawl of a partner's list: what was asked, how far it is, and the certificate of what came of it (topic ocpi.crawls).

`crawl.started`, then `crawl.page_read` once all objects of a page are durable, then `crawl.ended`. Whoever folds them knows what
the next request is, so that a crawl goes on behind the last page after whatever ended its process. Source: requirements 3.
"""

import hashlib
from typing import Final, Literal, TypeAlias

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from schemas.types import Instant, Module

Reach = Literal["full", "window"]
"""Whether a list is read without any filter, or what changed in a window of time."""

Reason = Literal["schedule", "operator", "recovery"]
"""Why a crawl runs: its time has come, somebody asked for it, or a push was refused for an object that is not known."""

Way = Literal["first", "link", "offset", "again"]
"""How the crawl came to a URL: it begins there, a Link named it, the Link was missing, or the list shrank behind us."""

SHOWN_ODDITIES: Final = 50
"""How many oddities a certificate lists; the others are counted."""

SHOWN_IDS: Final = 1000
"""How many ids of vanished objects a certificate lists."""

DIGEST_BYTES: Final = 8


class Oddity(Struct, frozen=True):
    """What an answer should not have been: on which page (from 1), by which rule, in a sentence."""

    page: int
    rule: str
    message: str


class Counts(Struct, frozen=True):
    """What came of the objects that were read.

    `appended` are events of the log. `unchanged` equal what stands, `older` say less than what stands and would change nothing,
    `refused` stand in ocpi.rejected. Of the appended ones, `drifted` differ from what the partner had pushed.
    """

    objects: int = 0
    appended: int = 0
    unchanged: int = 0
    older: int = 0
    refused: int = 0
    drifted: int = 0

    def plus(self, other: "Counts") -> "Counts":
        """Return the sums."""
        return Counts(*(getattr(self, name) + getattr(other, name) for name in self.__struct_fields__))


class Place(Struct, frozen=True, omit_defaults=True):
    """Where a crawl is: `url` is what to fetch next, `offset` the object of the list that it begins with, as far as is known.

    `page` counts the pages that were read. `total` is the last X-Total-Count of this reading of the list. A list in which objects
    seem to have vanished is read a second time (`reading` 2). `digest` is of the objects of the page before, `empty` counts the
    pages without any in a row, `again` how often it went back. `steady`: nothing has moved yet.
    """

    url: str
    offset: int = 0
    page: int = 0
    way: Way = "first"
    reading: int = 1
    total: int | None = None
    digest: bytes = b""
    empty: int = 0
    again: int = 0
    steady: bool = True


class CrawlStarted(Struct, frozen=True, tag="crawl.started"):
    """A crawl began. What changed before `until` is known once it is complete: the next one begins there."""

    run: str
    connection: str
    module: Module
    version: str
    reach: Reach
    reason: Reason
    url: str
    started_at: Instant
    until: Instant
    date_from: Instant | None = None
    date_to: Instant | None = None


class CrawlPageRead(Struct, frozen=True, tag="crawl.page_read"):
    """Every object of the page at `url` is durable; the crawl is at `place` now.

    `counts` and `oddities` are of this page. `seen` has, of a full crawl, the digests (8 bytes each) of the page's keys.
    `behind_us` is how far (microseconds) the partner's clock was behind ours.
    """

    run: str
    url: str
    place: Place
    counts: Counts
    total: int | None = None
    oddities: tuple[Oddity, ...] = ()
    seen: bytes = b""
    behind_us: int = 0


class CrawlEnded(Struct, frozen=True, tag="crawl.ended"):
    """The certificate of a crawl.

    `complete`: the last page was read and nothing is known to be missing; only then is there a `watermark`, from which the next
    window begins. `first_total` and `last_total` are X-Total-Count. `vanished` counts what a full crawl no longer found, the ids
    of the first ones are in `vanished_ids`. `oddities` are the first ones of `odd`.
    """

    run: str
    connection: str
    module: Module
    version: str
    reach: Reach
    reason: Reason
    started_at: Instant
    ended_at: Instant
    complete: bool
    pages: int = 0
    counts: Counts = Counts()
    date_from: Instant | None = None
    date_to: Instant | None = None
    watermark: Instant | None = None
    first_total: int | None = None
    last_total: int | None = None
    vanished: int = 0
    vanished_ids: tuple[str, ...] = ()
    odd: int = 0
    oddities: tuple[Oddity, ...] = ()


CrawlEvent: TypeAlias = CrawlStarted | CrawlPageRead | CrawlEnded

TYPES: Final = frozenset({"crawl.started", "crawl.page_read", "crawl.ended"})


class Run(Struct, frozen=True):
    """A crawl as its events tell it; `ended` is None while it goes on."""

    started: CrawlStarted
    place: Place
    counts: Counts = Counts()
    first_total: int | None = None
    last_total: int | None = None
    odd: int = 0
    oddities: tuple[Oddity, ...] = ()
    ended: CrawlEnded | None = None
    behind_us: int = 0


def fold(run: Run | None, event: CrawlEvent) -> Run | None:
    """Return the crawl after the event; a page of a crawl whose beginning is not known says nothing, nor one after its end."""
    match event:
        case CrawlStarted():
            return Run(event, Place(event.url)) if run is None else run
        case CrawlPageRead():
            if run is None or run.ended is not None:
                return run
            return replace(
                run,
                place=event.place,
                counts=run.counts.plus(event.counts),
                first_total=event.total if run.first_total is None else run.first_total,
                last_total=run.last_total if event.total is None else event.total,
                odd=run.odd + len(event.oddities),
                oddities=(*run.oddities, *event.oddities)[:SHOWN_ODDITIES],
                behind_us=max(run.behind_us, event.behind_us),
            )
        case CrawlEnded():
            if run is None or run.ended is not None:
                return run
            return replace(run, ended=event)


def certificate(  # noqa: PLR0917
    run: Run, at: Instant, complete: bool, oddities: tuple[Oddity, ...] = (), vanished: int = 0, ids: tuple[str, ...] = ()
) -> CrawlEnded:
    """Return what ends the crawl at `at`; `oddities` are those of no page that was read."""
    of = run.started
    return CrawlEnded(
        run=of.run,
        connection=of.connection,
        module=of.module,
        version=of.version,
        reach=of.reach,
        reason=of.reason,
        started_at=of.started_at,
        ended_at=at,
        complete=complete,
        pages=run.place.page,
        counts=run.counts,
        date_from=of.date_from,
        date_to=of.date_to,
        # What changes now is dated by the partner's clock: where that is behind, it is dated before the window's end.
        watermark=of.until - run.behind_us if complete else None,
        first_total=run.first_total,
        last_total=run.last_total,
        vanished=vanished,
        vanished_ids=ids[:SHOWN_IDS],
        odd=run.odd + len(oddities),
        oddities=(*run.oddities, *oddities)[:SHOWN_ODDITIES],
    )


def key_digest(key: tuple[str, ...]) -> bytes:
    """Return the digest by which a full crawl remembers that it saw an object."""
    return hashlib.blake2b("\n".join(key).encode(errors="surrogateescape"), digest_size=DIGEST_BYTES).digest()


def digests(seen: bytes) -> list[bytes]:
    """Return the digests of a page apart."""
    return [seen[at : at + DIGEST_BYTES] for at in range(0, len(seen), DIGEST_BYTES)]


def encode(event: CrawlEvent) -> bytes:
    """Return the event's payload."""
    return msgspec.json.encode(event)


def decode(payload: bytes) -> CrawlEvent:
    """Return the event of a payload; raises msgspec.DecodeError."""
    return _decoder.decode(payload)


_decoder: Final[msgspec.json.Decoder[CrawlEvent]] = msgspec.json.Decoder(CrawlStarted | CrawlPageRead | CrawlEnded)
