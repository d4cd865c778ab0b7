"""Crawls a partner's list: fetches pages, has their objects taken, and keeps in the log how far it is.

Every page is durable before `crawl.page_read` says so, and while one is taken the next is fetched. Source: requirements 3;
DESIGN: what is pulled is an event as what is pushed.
"""

import asyncio
import contextlib
import hashlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Final, Protocol

from msgspec import Raw, Struct
from msgspec.structs import replace

from ingest.addresses import Unreachable
from ingest.intake import Intake, Source
from ingest.listed import Listed, listed
from ingest.outbound import Fetched
from ingest.paging import Listing, Next, Page, Patience, Unanswered, clock_behind, decide, first_page, once_more, total_of
from ingest.partners import Connection
from schemas import crawl
from schemas import envelope as envelopes
from schemas.crawl import Counts, CrawlEnded, CrawlPageRead, CrawlStarted, Oddity, Place, Reason, Run, digests, key_digest
from schemas.events import Envelope
from schemas.ocpi.interface import OWNERS, interface
from schemas.party import PartyRole
from schemas.types import Instant, Module
from streams.ports import Clock, Entry, EventLog
from streams.standing import Key, Standing
from streams.topics import CRAWLS, lane

SAFETY_US: Final = 60_000_000
"""A window ends this long before the request: what is changed now may come into the list a little later."""

EARLIEST: Final[Instant] = 946_684_800_000_000
"""2000-01-01, where the first window of Sessions begins, which are never listed without date_from."""

STARTS_US: Final = 30 * 24 * 3600 * 1_000_000
"""In 2.0 windows choose by when charging began, so one reaches back as long as a charging may take until it is known whole."""

LONG_BYTES: Final = 1024 * 1024
"""A longer page is looked through in a thread."""

MODULE: Final = "crawls"

FETCHED_AHEAD: Final = 8
"""While no more crawls than these are under way, each fetches a page while the one before is taken."""

PAGES_AT_ONCE: Final = 16
"""How many pages are asked for or being taken; further crawls wait, so that a hundred of them fit into memory."""

KNOWN_AT_ONCE: Final = 50_000

PATIENCE: Final = Patience()

FULL: Final = frozenset({Module.LOCATIONS, Module.TARIFFS, Module.TOKENS})
"""The modules of which a list can be read whole, and tells what there is no more. A CDR and a Session never vanish."""


class Caller(Protocol):
    """Calls partners; `ingest.outbound.Outbound` is one."""

    async def call(
        self,
        method: str,
        url: str,
        *,
        token: str,
        encoding: str,
        headers: Mapping[str, str] = {},
        body: bytes | None = None,
    ) -> Fetched:
        """Return the answer; raises Unreachable."""
        ...


class Target(Struct, frozen=True):
    """A partner's Sender interface of one module, and how it is asked: the token, its form, the routing headers."""

    connection: Connection
    module: Module
    version: str
    url: str
    token: str
    encoding: str
    headers: Mapping[str, str] = {}

    def __repr__(self) -> str:
        return f"Target({self.connection.name!r}, {self.module.value!r})"


class Told(Struct, frozen=True):
    """How far a crawl is; `total` is what the partner says, None where it does not."""

    connection: str
    module: Module
    objects: int
    total: int | None


def routing(module: Module, version: str, partner: Sequence[PartyRole], own: Sequence[PartyRole]) -> dict[str, str]:
    """Return the routing headers of a GET (OCPI 2.2.1 transport_and_format, Message Routing Headers); {} before 2.2.

    To the party that owns such objects, to a hub for all behind it; from us in the role that reads them.
    """
    if not interface(version).routed or not partner or not own:
        return {}
    owner = OWNERS[module]
    hub = next((role for role in partner if role.role == "HUB"), None)
    to = hub or next((role for role in partner if role.role == owner), partner[0])
    reader = next((role for role in own if (role.role == "CPO") is (owner == "EMSP")), own[0])
    return {
        "ocpi-to-country-code": to.country_code,
        "ocpi-to-party-id": to.party_id,
        "ocpi-from-country-code": reader.country_code,
        "ocpi-from-party-id": reader.party_id,
    }


async def answer_of(found: Fetched) -> tuple[Page, Listed]:
    """Return an answer as `decide` takes it, and what its body holds; a long one is looked through in a thread."""
    if not 200 <= found.status < 300:
        return Page(found.status, found.headers), Listed(())
    held = listed(found.body) if len(found.body) <= LONG_BYTES else await asyncio.to_thread(listed, found.body)
    objects = held.objects
    page = Page(found.status, found.headers, None if objects is None else len(objects), held.code, held.fault, held.digest)
    return page, held


class Crawler:
    """Crawls. One crawl of a partner's module at a time is the caller's business."""

    def __init__(
        self,
        *,
        log: EventLog,
        caller: Caller,
        intake: Intake,
        standing: Standing,
        clock: Clock,
        patience: Patience = PATIENCE,
        limit: int = 1000,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._log = log
        self._caller = caller
        self._intake = intake
        self._standing = standing
        self._clock = clock
        self._patience = patience
        self._limit = limit
        self._sleep = sleep
        self._under_way = 0
        self._pages = asyncio.Semaphore(PAGES_AT_ONCE)
        self.renewed: Callable[[Target], Target] = lambda target: target
        """Gives a list as it is to be asked for now: tokens may have been changed since the crawl began."""

    def begun(self, target: Target, *, full: bool, watermark: Instant | None, reason: Reason) -> CrawlStarted:
        """Return what a new crawl asks for: what changed since the watermark, the whole list where there is none or `full`.

        A list that knows no window (2.0) is always whole; that of Sessions always has a beginning.
        """
        listing = interface(target.version).lists[target.module]
        now = self._clock.now()
        until = now - SAFETY_US
        whole = listing.selects is None or (target.module in FULL and (full or watermark is None))
        date_from = date_to = None
        if not whole:
            if watermark is not None and not full:
                # Whether date_from is inclusive is not said before 2.2, so windows overlap there.
                back = (
                    STARTS_US if listing.selects == "start_date_time" else 0 if interface(target.version).folds_case else SAFETY_US
                )
                date_from = max(watermark - back, EARLIEST)
            elif listing.needs_date_from:
                date_from = EARLIEST
            date_to = until
        return CrawlStarted(
            run=secrets.token_hex(8),
            connection=target.connection.name,
            module=target.module,
            version=target.version,
            reach="full" if whole and target.module in FULL else "window",
            reason=reason,
            url=first_page(target.url, limit=self._limit, date_from=date_from, date_to=date_to),
            started_at=now,
            until=until,
            date_from=date_from,
            date_to=date_to,
        )

    async def run(
        self,
        target: Target,
        started: CrawlStarted,
        *,
        parties: frozenset[str] = frozenset(),
        told: Callable[[Told], None] = lambda _: None,
    ) -> CrawlEnded:
        """Return the certificate of a new crawl; `parties` are whose objects nobody else writes, and so may vanish.

        Raises LogUnavailable or StoreUnavailable: the crawl is not ended then, and `resume` goes on.
        """
        run = crawl.fold(None, started)
        assert run is not None
        await self._say(started, started)
        return await self._go_on(target, run, set(), set(), parties, told)

    async def resume(
        self,
        target: Target,
        run: Run,
        offset: int,
        *,
        parties: frozenset[str] = frozenset(),
        told: Callable[[Told], None] = lambda _: None,
    ) -> CrawlEnded:
        """Return the certificate of a crawl that did not end, going on behind its last page.

        `offset` is where it began in its partition. Raises as `run`.
        """
        visited, seen = set[str](), set[bytes]()
        found: Run | None = None
        async for event in self._events(run.started.run, offset):
            found = crawl.fold(found, event)
            if isinstance(event, CrawlPageRead):
                remember(visited, event.url, event.place)
                seen.update(digests(event.seen))
        found = found or run
        if found.ended is not None:
            return found.ended
        return await self._go_on(target, found, visited, seen, parties, told)

    async def give_up(self, run: Run, rule: str, message: str) -> CrawlEnded:
        """End a crawl that cannot go on, incomplete; raises LogUnavailable."""
        ended = crawl.certificate(run, self._clock.now(), False, (Oddity(run.place.page + 1, rule, message),))
        await self._say(ended, run.started)
        return ended

    async def fetch(self, target: Target, url: str) -> Fetched:
        """Return one answer, as the partner's token opens it; raises Unreachable."""
        now = self.renewed(target)
        return await self._caller.call("GET", url, token=now.token, encoding=now.encoding, headers=now.headers)

    async def _go_on(  # noqa: PLR0917
        self, target: Target, run: Run, visited: set[str], seen: set[bytes], parties: frozenset[str], told: Callable[[Told], None]
    ) -> CrawlEnded:
        of = run.started
        selects = interface(of.version).lists[of.module].selects
        listing = Listing(of.url, counts_all=selects == "start_date_time")
        await self._intake.settle(of.module)
        is_first = await self._standing.is_empty(of.module, target.connection.parties)
        source = Source(target.connection, of.module, of.version, of.run, of.reach, is_first)
        ahead: asyncio.Task[_Got] | None = None
        pending: list[Oddity] = []
        attempt, complete, missing = 1, False, list[Key]()
        self._under_way += 1
        try:
            while True:
                place = run.place
                told(Told(of.connection, of.module, run.counts.objects, place.total))
                if ahead is None:
                    ahead = asyncio.create_task(self._got(target, place.url))
                got = await ahead
                ahead = None
                with self._let_go_of(got):
                    now = self._clock.now()
                    following = decide(listing, place, visited, got.answer, attempt, self._patience, now)
                    odd = (*(Oddity(place.page + 1, rule, message) for rule, message in got.odd), *following.oddities)
                    pending += odd
                    if following.act == "wait":
                        attempt += 1
                        await self._sleep(following.wait_s)
                        continue
                    attempt = 1
                    if following.act == "read" and self._under_way <= FETCHED_AHEAD:
                        ahead = asyncio.create_task(self._got(target, following.place.url))
                    if not (following.takes or following.act == "read"):
                        break
                    counts, digested = Counts(), b""
                    if following.takes:
                        taken = await self._intake.take(source, following.place.page, place.url, got.objects, got.sent_at)
                        counts, digested = taken.counts, taken.seen
                        seen.update(digests(digested))
                        if taken.unnamed:  # what could not be read may be what seems to have vanished
                            following = replace(following, place=replace(following.place, steady=False))
                    if following.act == "stop":
                        complete = following.complete
                        is_hub = target.connection.is_hub
                        missing = await self._missing(run, following, counts, seen, parties, is_hub, pending) if complete else []
                        if missing and following.place.reading == 1:
                            # One that came in while another left can have moved past us unseen; hardly twice.
                            following = replace(following, act="read", place=once_more(listing, following.place))
                    behind_us = 0 if isinstance(got.answer, Unanswered) else clock_behind(got.answer.headers, got.sent_at)
                    if behind_us > SAFETY_US and run.behind_us <= SAFETY_US:
                        late = f"the partner's clock is {behind_us // 1_000_000} s behind ours; the next window begins earlier"
                        pending.append(Oddity(following.place.page, "clock_behind", late))
                    read = CrawlPageRead(
                        of.run,
                        place.url,
                        following.place,
                        counts,
                        None if isinstance(got.answer, Unanswered) else total_of(got.answer.headers),
                        tuple(pending),
                        digested,
                        behind_us,
                    )
                    pending.clear()
                    await self._say(read, of)
                    remember(visited, place.url, following.place)
                    after = crawl.fold(run, read)
                    assert after is not None
                    run = after
                    if following.act == "stop":
                        break
                del got  # a page is much to keep while another one is waited for
        finally:
            self._under_way -= 1
            if ahead is not None:
                ahead.cancel()
                with contextlib.suppress(asyncio.CancelledError), self._let_go_of(await ahead):
                    pass
        if missing:
            await self._intake.vanished(source, run.place.page, missing)
        names = tuple("|".join(key[1:]) for key in missing[: crawl.SHOWN_IDS])
        ended = crawl.certificate(run, self._clock.now(), complete, tuple(pending), len(missing), names)
        await self._say(ended, of)
        told(Told(of.connection, of.module, run.counts.objects, run.counts.objects))
        return ended

    async def _got(self, target: Target, url: str) -> "_Got":
        """Return what came of one request, once there is room for a page; raises nothing of the partner's."""
        await self._pages.acquire()
        holds = False
        try:
            got = await self._asked(target, url)
            holds = bool(got.objects)
            return got
        finally:
            if not holds:
                self._pages.release()

    @contextlib.contextmanager
    def _let_go_of(self, got: "_Got") -> Iterator[None]:
        """Give back the room of a page at the end of the block."""
        try:
            yield
        finally:
            if got.objects:
                self._pages.release()

    async def _asked(self, target: Target, url: str) -> "_Got":
        sent_at = self._clock.now()
        try:
            found = await self.fetch(target, url)
        except Unreachable as fault:
            return _Got(Unanswered(fault.kind, str(fault)), (), sent_at)
        page, held = await answer_of(found)
        return _Got(page, held.objects or (), found.sent_at, held.odd)

    async def _missing(  # noqa: PLR0917
        self, run: Run, end: Next, counts: Counts, seen: set[bytes], parties: frozenset[str], is_hub: bool, odd: list[Oddity]
    ) -> list[Key]:
        """Return what stands but was not in the whole list; nothing where the list may not have been whole."""
        of, found = run.started, list[Key]()
        if of.reach != "full" or not end.place.steady or not parties or len(seen) < (end.place.total or 0):
            return found
        behind: Key | None = None
        listed_of: set[str] = set()
        while keys := await self._standing.served(of.module, parties, of.started_at, behind, KNOWN_AT_ONCE):
            missing = {key for key in keys if key_digest(key) not in seen}
            found += [key for key in keys if key in missing]
            listed_of.update(key[0] for key in keys if key not in missing)
            behind = keys[-1]
        if found and not run.counts.objects + counts.objects:
            odd.append(Oddity(end.place.page, "empty_list", "the list is empty, which is taken for a fault and not for the truth"))
            return []
        # Behind a hub one party may be out of reach while the others are listed.
        silent = sorted({key[0] for key in found} - listed_of) if is_hub else []
        gone = [key for key in found if key[0] not in silent]
        if silent and (not gone or end.place.reading > 1):
            named = ", ".join(silent[:10])
            odd.append(Oddity(end.place.page, "empty_list", f"nothing of {named} is listed any more, which is taken for a fault"))
        return gone

    async def _events(self, name: str, offset: int) -> AsyncIterator[crawl.CrawlEvent]:
        """Yield what the log has of a crawl; other crawls stand in its lane, too."""
        place = lane(CRAWLS, name.encode(), self._log.partitions(CRAWLS))
        end = (await self._log.end(CRAWLS)).get(place.partition, 0)
        while offset < end:
            records = (await self._log.fetch({place: offset}, max_records=1000, wait_s=0)).get(place, [])
            if not records:
                return
            for record in records:
                if record.key == name.encode():
                    yield crawl.decode(envelopes.decode(record.value).payload)
            offset = records[-1].offset + 1

    async def _say(self, event: crawl.CrawlEvent, of: CrawlStarted) -> None:
        payload = crawl.encode(event)
        envelope = Envelope(
            event_id=hashlib.blake2b(payload, digest_size=16).digest(),
            type=str(event.__struct_config__.tag),
            module=MODULE,
            origin="pull",
            connection=of.connection,
            party="",
            key=(event.run,),
            version=of.version,
            edition="",
            revision=0,
            received_at=self._clock.now(),
            last_updated=None,
            payload=payload,
        )
        await self._log.append([Entry(CRAWLS, event.run.encode(), envelopes.encode(envelope))])


class _Got(Struct, frozen=True):
    answer: Page | Unanswered
    objects: Sequence[bytes | Raw]
    sent_at: Instant
    odd: tuple[tuple[str, str], ...] = ()


def remember(visited: set[str], url: str, place: Place) -> None:
    """Note a page that was read. Who goes back, or begins anew, may read every page again."""
    if place.way in {"again", "first"}:
        visited.clear()
    else:
        visited.update((url, place.digest.hex()) if place.digest else (url,))
