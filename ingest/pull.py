"""When which list of which partner is crawled: by schedule, when somebody asks, and when a push was refused as unknown.

Times are spread by the names of partner and module, so that no two houses and no two partners begin at once, and a restart changes
nothing. What the last crawls reached stands in the tables. Source: requirements 3; OCPI 2.2.1 transport_and_format, Pull and Push.
"""

import asyncio
import hashlib
import logging
import math
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from typing import Final, NamedTuple, NoReturn
from urllib.parse import quote

from msgspec import Struct
from msgspec.structs import replace

from ingest.addresses import Unreachable
from ingest.crawl import FULL, SAFETY_US, Crawler, Target, Told, routing
from ingest.errors import IngestError, UnknownPartner, UnsafeSecrets
from ingest.intake import Intake, Source
from ingest.listed import listed
from ingest.neighbours import Neighbours, clients_url
from ingest.partners import Connection, PartnerRegistry
from schemas.crawl import CrawlEnded, Reason
from schemas.ocpi.interface import interface, side_of
from schemas.party import PartyRole
from schemas.types import Instant, Module
from streams.crawled import Crawled, Unfinished
from streams.metrics import Metrics
from streams.ports import Clock, LogUnavailable, StoreUnavailable

WEEK_US: Final = 7 * 24 * 3600 * 1_000_000
FIRST_US: Final = 60_000_000
"""Within this time a list that was never read is crawled."""

RECOVERED_US: Final = SAFETY_US + 30_000_000
"""How long after a push that was refused as unknown its list is crawled, where it is not asked for by itself: its window ends a
minute before it begins, and must hold what was pushed."""

LOOK_S: Final = 5.0
"""How often it is looked what is due."""

HEARD_EVERY_S: Final = 60.0
"""How old what the tables say of the last pushes may be."""

HUB_EVERY_S: Final = 600.0
"""How often a hub is asked whom it has behind it while its lists are crawled."""

AGAIN_S: Final = 30.0
"""How long after the log or the tables were away a crawl that this broke off goes on."""

FOLDED_WITHIN_S: Final = 60.0
"""How long is waited until the tables know all earlier crawls; without them a list is read whole again."""

SINGLES: Final = 1000
SINGLES_AT_ONCE: Final = 4
SINGLE_EVERY_US: Final = 300_000_000
"""How many single Locations are remembered as asked for, how many are asked for at once, and how soon the same one again."""

_say: Final = logging.getLogger("roamlog")


class NotPulled(IngestError):
    """The partner's list cannot be crawled: it offers none, or gave us no token."""


class Last(Struct, frozen=True):
    """What crawls of a list reached: from where the next window begins, when the whole list was read, when one began (0: never)."""

    watermark: Instant | None = None
    full_at: Instant = 0
    started_at: Instant = 0


class _List(NamedTuple):
    name: str
    module: Module


def sender_url(connection: Connection, module: Module) -> str | None:
    """Return where the partner lists a module, None where it does not.

    Since 2.2 it says in which role it offers an endpoint; before, its own role tells (requirements 4.3).
    """
    has_roles = interface(connection.version).has_roles
    if not has_roles and side_of(connection.roles[0].role, module) != "RECEIVER":
        return None
    wanted = "SENDER" if has_roles else ""
    return next((one.url for one in connection.endpoints if one.identifier == module.value and one.role == wanted), None)


def fraction(*names: str) -> float:
    """Return a number from 0 to 1 that hangs on the names alone."""
    return int.from_bytes(hashlib.blake2b("\n".join(names).encode(), digest_size=8).digest()) / (1 << 64)


def is_due(  # noqa: PLR0917
    name: str, module: Module, last: Last, since: Instant, now: Instant, every_us: int
) -> bool:
    """Whether a list is to be crawled: once in every interval, each at its own time; one that never was, soon after `since`."""
    part = fraction(name, module.value)
    if not last.started_at:
        return now >= since + round(part * min(every_us, FIRST_US))
    phase = round(part * every_us)
    return (now - phase) // every_us > (last.started_at - phase) // every_us


class Pull:
    """Crawls partners' lists. The runtime keeps `run` going; `now` crawls at once, with or without that."""

    def __init__(
        self,
        *,
        registry: PartnerRegistry,
        crawler: Crawler,
        intake: Intake,
        crawled: Crawled,
        clock: Clock,
        own: Sequence[PartyRole],
        every_s: float,
        at_once: int,
        heard: Mapping[tuple[str, Module], Instant] | None,
        neighbours: Neighbours,
        metrics: Metrics | None = None,
        look_s: float = LOOK_S,
    ) -> None:
        """`heard` says when each partner pushed last, None sends to the tables; `neighbours` reads whom hubs have behind them.

        `every_s` is how often a list is crawled, `at_once` how many are; `look_s` is how often `run` looks what is due.
        """
        self._registry = registry
        self._crawler = crawler
        self._intake = intake
        self._crawled = crawled
        self._clock = clock
        self._own = own
        self._every_us = round(every_s * 1_000_000)
        self._slots = asyncio.Semaphore(at_once)
        self._singles = asyncio.Semaphore(SINGLES_AT_ONCE)
        self._heard: Mapping[tuple[str, Module], Instant] = {} if heard is None else heard
        self._from_tables = heard is None
        self._listened = -math.inf
        self._neighbours = neighbours
        self._hubs_read: dict[str, float] = {}
        self._look_s = look_s
        self._metrics = metrics or Metrics()
        self._began = clock.now()
        self._last: dict[_List, Last] = {}
        self._unfinished: dict[_List, Unfinished] = {}
        self._locks: dict[_List, asyncio.Lock] = {}
        self._urgent: dict[_List, Instant] = {}
        self._held: dict[_List, float] = {}
        self._asked: dict[tuple[str, str], Instant] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._busy: set[_List] = set()
        self._known = False
        self._turn = asyncio.Lock()
        crawler.renewed = self._renewed

    async def run(self) -> NoReturn:
        """Crawl what is due, for ever. The owner ends it by cancelling; what is under way goes on with the next start."""
        try:
            while True:
                try:
                    await self._learn()
                    await self._listen()
                    for place, target in self._due():
                        self._begin(place, target)
                except (LogUnavailable, StoreUnavailable):
                    pass  # whoever fills the tables says so
                except Exception:  # pushes go on, whatever is wrong with pulling
                    _say.exception("looking for lists to be crawled met a defect")
                    await asyncio.sleep(AGAIN_S)
                await asyncio.sleep(self._look_s)
        finally:
            await self.close()

    async def close(self) -> None:
        """End what is under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def now(
        self, name: str, modules: Sequence[Module] = (), *, full: bool = False, told: Callable[[Told], None] = lambda _: None
    ) -> list[CrawlEnded]:
        """Return the certificates of crawls of a partner's lists, one after another: of all that it offers, or of these modules.

        One that is under way is waited for. Raises UnknownPartner, NotPulled, LogUnavailable or StoreUnavailable.
        """
        await self._registry.catch_up()
        connection = self._registry.get(name)
        if connection is None:
            raise UnknownPartner(f"no partner is called {name}")
        if connection.is_hub:
            connection = await self._introduced(connection, 0.0)
        wanted = list(modules) or [module for module in Module if sender_url(connection, module) is not None]
        if not wanted:
            raise NotPulled(f"{name} offers no list that could be crawled; it has to register, so that its endpoints are known")
        targets = [self._target(connection, module) for module in wanted]
        await self._learn()
        return [await self._crawl(_List(name, target.module), target, full, "operator", told) for target in targets]

    def missed(self, name: str, module: Module, object_id: str) -> None:
        """See to it that an object which was pushed in parts, and is not known here, is asked for (requirements 10, point 40)."""
        connection = self._registry.get(name)
        if connection is None or self._registry.pull(name).policy == "never" or sender_url(connection, module) is None:
            return
        now = self._clock.now()
        # A GET of one object behind a hub is routed to its owner (OCPI 2.2.1 transport_and_format), who is not known here.
        if module is not Module.LOCATIONS or not interface(connection.version).single_locations or connection.is_hub:
            place = _List(name, module)
            self._urgent.setdefault(place, now + RECOVERED_US)
            return
        key = (name, object_id)
        if now - self._asked.get(key, -SINGLE_EVERY_US) < SINGLE_EVERY_US or len(self._asked) >= SINGLES:
            self._asked = {one: at for one, at in self._asked.items() if now - at < SINGLE_EVERY_US}
            if key in self._asked or len(self._asked) >= SINGLES:
                return
        self._asked[key] = now
        self._spawn(self._single(connection, object_id))

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work, name="pull")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _single(self, connection: Connection, object_id: str) -> None:
        """Ask for one Location. What does not come now comes with the next crawl."""
        try:
            target = self._target(connection, Module.LOCATIONS)
            async with self._singles:
                found = await self._crawler.fetch(target, f"{target.url.rstrip('/')}/{quote(object_id, safe='')}")
                held = listed(found.body)
                if found.status == 200 and held.objects:
                    source = Source(connection, Module.LOCATIONS, connection.version)
                    await self._intake.take(source, 0, found.url, held.objects[:1], found.sent_at)
        except (Unreachable, IngestError, LogUnavailable, StoreUnavailable) as fault:
            _say.info("a Location of %s, which it had pushed in parts, could not be asked for: %s", connection.name, fault)
        except Exception:
            _say.exception("asking for a Location of %s met a defect", connection.name)

    def _target(self, connection: Connection, module: Module) -> Target:
        url = sender_url(connection, module)
        if url is None:
            raise NotPulled(f"{connection.name} offers no list of {module.value}")
        token = self._registry.token_for(connection.name)
        if token is None:
            raise NotPulled(f"{connection.name} gave us no token, so its lists cannot be asked for; it has to register")
        headers = routing(module, connection.version, connection.roles, self._own)
        return Target(connection, module, connection.version, url, token, connection.encoding, headers)

    def _renewed(self, target: Target) -> Target:
        """Return the list with the token that holds now, as long as it is where it was."""
        connection = self._registry.get(target.connection.name)
        if connection is None or sender_url(connection, target.module) != target.url:
            return target
        token = self._registry.token_for(connection.name)
        return target if token is None else replace(target, token=token, encoding=connection.encoding)

    async def _learn(self) -> None:
        """Read from the tables, once, what earlier crawls reached, and which were broken off."""
        async with self._turn:
            if self._known:
                return
            await self._crawled.wait(FOLDED_WITHIN_S)
            for (name, module), (watermark, full_at, started_at) in (await self._crawled.last()).items():
                self._last[_List(name, Module(module))] = Last(watermark, full_at, started_at)
            for one in await self._crawled.unfinished():
                place = _List(one.run.started.connection, one.run.started.module)
                if self._registry.get(place.name) is None:
                    await self._crawler.give_up(one.run, "gone", "the partner is connected no more")
                elif not self._locks.setdefault(place, asyncio.Lock()).locked():  # else it is under way here
                    self._unfinished[place] = one
            self._known = True

    async def _listen(self) -> None:
        """Read from the tables when each partner pushed last, where others take the pushes and some are pulled by that."""
        if self._from_tables and any(self._registry.pull(one.name).policy == "silent" for one in self._registry.list()):
            now = asyncio.get_running_loop().time()
            if now - self._listened >= HEARD_EVERY_S:
                self._listened = now
                self._heard = {(name, Module(module)): at for (name, module), at in (await self._crawled.heard()).items()}

    def _due(self) -> Iterator[tuple[_List, Target]]:
        """Yield what is to be crawled now."""
        now, clock = self._clock.now(), asyncio.get_running_loop().time()
        for connection in self._registry.list():
            pull = self._registry.pull(connection.name)
            for module in Module if connection.endpoints else ():
                place = _List(connection.name, module)
                if place in self._busy or self._held.get(place, 0.0) > clock or sender_url(connection, module) is None:
                    continue
                last, broken = self._reached(place, connection), place in self._unfinished
                wanted = is_due(connection.name, module, last, connection.added_at, now, self._every_us)
                if pull.policy == "silent" and wanted and last.started_at:
                    heard = max(self._heard.get((connection.name, module), 0), self._began)
                    wanted = now - heard >= pull.silent_s * 1_000_000
                wanted = wanted or broken or self._urgent.get(place, now + 1) <= now
                if wanted and pull.policy != "never":
                    try:
                        yield place, self._target(connection, module)
                    except (NotPulled, UnsafeSecrets) as fault:
                        _say.warning("%s", fault)
                        self._held[place] = clock + self._every_us / 1_000_000

    def _reached(self, place: _List, connection: Connection) -> Last:
        """Return what crawls of this connection reached: one of that name that was removed before may have been somebody else."""
        last, since = self._last.get(place, Last()), connection.added_at - SAFETY_US
        return Last(
            last.watermark if last.watermark is not None and last.watermark >= since else None,
            last.full_at if last.full_at >= since else 0,
            last.started_at if last.started_at >= since else 0,
        )

    def _begin(self, place: _List, target: Target) -> None:
        self._busy.add(place)
        reason: Reason = "recovery" if place in self._urgent else "schedule"
        last = self._reached(place, target.connection)
        jitter = round(fraction(place.name, place.module.value, "full") * self._every_us)
        full = place.module in FULL and self._clock.now() - last.full_at >= WEEK_US - jitter
        self._spawn(self._scheduled(place, target, full, reason))

    async def _scheduled(self, place: _List, target: Target, full: bool, reason: Reason) -> None:
        try:
            async with self._slots:
                if target.connection.is_hub:
                    connection = await self._introduced(target.connection, HUB_EVERY_S)
                    target = replace(target, connection=connection)
                ended = await self._crawl(place, target, full, reason, lambda _: None)
            if not ended.complete:
                odd = ended.oddities[-1].message if ended.oddities else "no reason is known"
                _say.warning("the crawl of %s of %s is incomplete: %s", place.module.value, place.name, odd)
        except (LogUnavailable, StoreUnavailable) as fault:
            _say.warning("the crawl of %s of %s goes on later: %s", place.module.value, place.name, fault)
        except Exception:
            _say.exception("the crawl of %s of %s met a defect", place.module.value, place.name)
            self._held[place] = asyncio.get_running_loop().time() + self._every_us / 1_000_000
        finally:
            self._busy.discard(place)

    async def _introduced(self, connection: Connection, every_s: float) -> Connection:
        """Return a hub once it is known whom it has behind it: whose objects its lists may hold hangs on that."""
        name, clock = connection.name, asyncio.get_running_loop().time()
        if clients_url(connection) is not None and clock - self._hubs_read.get(name, -math.inf) >= every_s:
            if not await self._neighbours.read(connection):
                _say.warning("not all that %s tells of its clients could be read; what was said before holds", name)
            self._hubs_read[name] = clock
        return self._registry.get(name) or connection

    async def _crawl(self, place: _List, target: Target, full: bool, reason: Reason, told: Callable[[Told], None]) -> CrawlEnded:
        """Return the certificate of a crawl; one that was broken off goes on first."""
        async with self._locks.setdefault(place, asyncio.Lock()):
            parties = self._registry.exclusive(place.name) - {role.party for role in self._own}
            try:
                if (broken := self._unfinished.get(place)) is not None:
                    ended = await self._again(target, broken, parties, told)
                    self._note(place, ended)
                    del self._unfinished[place]
                    if reason != "operator":
                        return ended
                self._urgent.pop(place, None)
                last = self._reached(place, target.connection)
                started = self._crawler.begun(target, full=full, watermark=last.watermark, reason=reason)
                ended = await self._crawler.run(target, started, parties=parties, told=told)
            except BaseException:
                # How far it came stands in the log, whatever ended it; the tables tell, and it goes on.
                self._known = False
                self._held[place] = asyncio.get_running_loop().time() + AGAIN_S
                raise
            self._note(place, ended)
            return ended

    async def _again(self, target: Target, broken: Unfinished, parties: frozenset[str], told: Callable[[Told], None]) -> CrawlEnded:
        of = broken.run.started
        is_other = of.started_at < target.connection.added_at - SAFETY_US
        if of.version != target.version or not of.url.startswith(target.url) or is_other:
            return await self._crawler.give_up(broken.run, "moved", "the partner lists the module elsewhere now")
        try:
            return await self._crawler.resume(target, broken.run, broken.offset, parties=parties, told=told)
        except (LogUnavailable, StoreUnavailable):
            raise
        except Exception:
            # Going on would meet the same defect again, for ever; the next crawl begins anew.
            await self._crawler.give_up(broken.run, "defect", "the crawl met a defect of this release, and met it again")
            raise

    def _note(self, place: _List, ended: CrawlEnded) -> None:
        module = place.module.value
        self._metrics.count("roamlog_crawls_total", module, "complete" if ended.complete else "incomplete")
        for outcome in ("appended", "unchanged", "older", "refused", "drifted"):
            self._metrics.count("roamlog_pulled_objects_total", module, outcome, by=getattr(ended.counts, outcome))
        self._metrics.count("roamlog_pulled_objects_total", module, "vanished", by=ended.vanished)
        before = self._last.get(place, Last())
        watermark = before.watermark if ended.watermark is None else max(before.watermark or 0, ended.watermark)
        whole = ended.complete and ended.reach == "full"
        self._last[place] = Last(watermark, max(before.full_at, ended.started_at if whole else 0), ended.started_at)
