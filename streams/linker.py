"""The second stage: finds the Session of each CDR that does not name one, and the CDR of each credit that stands elsewhere.

It reads the log behind the projections, finds candidates in their tables, and writes `cdr.linked` twice: under the CDR's own
key, whose row lets go of the CDR, and under the Session's, whose row takes it in. Its positions are saved after both, and
`rebuild` never resets them. What was linked once stays: whoever looks again reads the link and finds nothing to do, so a crash
anywhere repeats work and changes nothing.
"""

import asyncio
import hashlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Final, NamedTuple, NoReturn

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from schemas import envelope as envelopes
from schemas.events import Envelope
from schemas.link import Doubt, Link, encode
from schemas.types import Finding, Module, identity
from streams.claims import Claimed, Claims, Key, Original, Row, Told
from streams.generations import Generation, Generations, Reached
from streams.lease import ALONE, Lease, LeaseLost
from streams.links import link
from streams.logs.local import LogDamaged
from streams.metrics import Metrics
from streams.ports import Clock, Entry, EventLog, LogUnavailable, Record, StoreDamaged, StoreUnavailable, TableStore, TopicPartition
from streams.progress import Progress
from streams.projections.cdrs import charging_key
from streams.topics import CHARGING, record_key

CONNECTION: Final = "linker"
"""Who says a link, in its envelope."""

STAGE: Final = "links"
READS: Final = ("sessions", "cdrs", "ledger")
"""The projections whose tables are asked; what they have not folded yet is not looked at."""

RECORDS: Final = 10_000
CLAIMS: Final = 500
"""How many CDRs are looked at with one set of questions to the tables."""

EVERY_S: Final = 0.5
"""How long CDRs gather: the questions scan, and cost the same for one CDR as for hundreds."""

REST: Final = 3
"""How many times as long as it worked it rests: nobody waits for a link, and pushes and folds want the machine."""

AWAITED: Final = 100_000
"""Of how many credits without their CDR it is remembered that they wait."""

_say: Final = logging.getLogger("roamlog")


class _Posted(Struct):
    id: str = ""
    session_id: str | None = None
    credit: bool | None = None
    credit_reference_id: str | None = None


class _Replaced(Struct):
    location_id: str = ""


class _Changes(Struct, frozen=True):
    """The fields of a Session on which a link rests; a PATCH of others is no news here."""

    location_id: Raw | UnsetType = UNSET
    evse_uid: Raw | UnsetType = UNSET
    cdr_token: Raw | UnsetType = UNSET
    start_date_time: Raw | UnsetType = UNSET
    end_date_time: Raw | UnsetType = UNSET
    status: Raw | UnsetType = UNSET

    @property
    def news(self) -> bool:
        """Whether any of them is there."""
        return any(getattr(self, name) is not UNSET for name in self.__struct_fields__)


class _Patched(Struct):
    set: _Changes = _Changes()


class _News(NamedTuple):
    """What records bring: CDRs to look at, Sessions that may be somebody's, CDRs that a credit may wait for."""

    claims: list[Key]
    sessions: list[tuple[str, str]]
    cdrs: list[tuple[str, str]]


_posted: Final = msgspec.json.Decoder(_Posted)
_replaced: Final = msgspec.json.Decoder(_Replaced)
_patched: Final = msgspec.json.Decoder(_Patched)
_document: Final = msgspec.json.Decoder(dict[str, Raw])


class Linker:
    """Links the CDRs of one log. One instance is driven by one task; `start` first."""

    def __init__(
        self,
        log: EventLog,
        store: TableStore,
        generations: Generations,
        progress: Progress,
        *,
        clock: Clock,
        metrics: Metrics | None = None,
        lease: Lease = ALONE,
    ) -> None:
        """`lease` is what this process holds while it links; nothing is written once it is lost."""
        self._log = log
        self._lease = lease
        self._claims = Claims(store)
        self._generations = generations
        self._progress = progress
        self._clock = clock
        self._metrics = metrics
        self._stage = Generation(STAGE, 0)
        self._of = ""
        self._again = ""
        self._positions: dict[TopicPartition, Reached] = {}
        self._floor: dict[TopicPartition, int] = {}
        self._places: dict[str, set[str]] | None = None
        self._awaited: dict[tuple[str, str], set[Key]] = {}
        self._fresh: dict[Key, Link] = {}
        self._turn = asyncio.Lock()

    async def start(self, of: str = "") -> None:
        """Find where it stands. `of` names how CDRs are lifted: where that is another than before, all are looked at again."""
        self._stage, self._of = await self._generations.stage(STAGE, of)
        self._again = of
        self._positions = await self._generations.positions(self._stage)
        ends = {TopicPartition(CHARGING, partition): end for partition, end in (await self._log.end(CHARGING)).items()}
        if any(at.next_offset > ends.get(lane, 0) for lane, at in self._positions.items()):
            # A log that was restored from a backup has another future than the one that these positions speak of.
            self._stage, self._positions = Generation(STAGE, self._stage.number + 1), {}
            await self._generations.note(self._stage, self._of)
        # What was linked before stands in the log; to decide without knowing it could link a CDR twice.
        self._floor = ends

    def look_again(self, of: str) -> None:
        """Look at every CDR again with the next turn, because CDRs are lifted anew."""
        self._again = of

    async def run(self) -> NoReturn:
        """Link what comes, until it is cancelled; tries again while log or store cannot answer.

        Raises StoreDamaged, LeaseLost and defects.

        A log that is damaged where the projections read it long ago stops nothing but the links.
        """
        away = False
        clock = asyncio.get_running_loop().time
        while True:
            began = clock()
            try:
                done = await self.turn()
                away = False
            except StoreDamaged:
                raise
            except (StoreUnavailable, LogUnavailable, LogDamaged) as fault:
                if not away:
                    _say.warning("CDRs cannot be linked now, which is tried again: %s", fault)
                done, away = 0, True
            await asyncio.sleep((clock() - began) * REST if done else EVERY_S)

    async def turn(self) -> int:
        """Look at the next records that the projections have folded; returns how many. 0: there are none, or not yet."""
        async with self._turn:
            folded = {lane: min(self._progress.folded(name, lane) for name in READS) for lane in self._floor}
            if any(folded[lane] < offset for lane, offset in self._floor.items()):
                return 0
            try:
                self._fresh.clear()
                if self._places is None:
                    await self._remember()
                if self._again != self._of:
                    return await self._look_at_all()
                return await self._look(folded)
            except BaseException:
                self._places = None  # what was remembered may be half used
                raise

    async def _look(self, folded: Mapping[TopicPartition, int]) -> int:
        start = {lane: self._next(lane) for lane in folded if self._next(lane) < folded[lane]}
        if not start:
            return 0
        found = await self._log.fetch(start, max_records=RECORDS, wait_s=0)
        records = [record for lane, some in found.items() for record in some if record.offset < folded[lane]]
        if not records:
            return 0
        news = await asyncio.to_thread(self._news, records)
        await self._examine([*news.claims, *await self._claims.touched(news.sessions), *self._waiting(news.cdrs)])
        reached = dict(self._positions)
        for record in records:
            lane = TopicPartition(record.topic, record.partition)
            reached[lane] = Reached(max(record.offset + 1, self._next(lane)), 0)
        await self._generations.save([self._stage], reached)
        self._positions = reached
        return len(records)

    async def _look_at_all(self) -> int:
        after: Key = ("", "", "")
        seen, of = 0, self._again
        while keys := await self._claims.every(after, CLAIMS):
            await self._examine(keys)
            seen, after = seen + len(keys), keys[-1]
        await self._generations.note(self._stage, of)
        self._of = of
        return seen

    def _next(self, lane: TopicPartition) -> int:
        at = self._positions.get(lane)
        return 0 if at is None else at.next_offset

    async def _remember(self) -> None:
        """Learn from the tables for which CDRs a later Session, and for which credits a later CDR, would be news."""
        self._awaited.clear()
        for key, of in await self._claims.waiting(AWAITED):
            self._awaited.setdefault((key[0], of), set()).add(key)
        self._places = {}
        for party, place in await self._claims.places():
            self._places.setdefault(party, set()).add(place)

    def _news(self, records: Sequence[Record]) -> _News:
        claims: list[Key] = []
        cdrs: list[tuple[str, str]] = []
        sessions: dict[tuple[str, str], None] = {}
        places = self._places or {}
        for record in records:
            try:
                envelope = envelopes.decode(record.value)
                party, object_id = envelope.party, identity(envelope.key[0])
                match envelope.type:
                    case "cdr.posted":
                        cdr = _posted.decode(envelope.payload)
                        if not cdr.session_id or cdr.credit:
                            claims.append((party, object_id, charging_key(_document.decode(envelope.payload))))
                        cdrs.append((party, object_id))
                    case "session.replaced":
                        # A CDR and its Session may come in either order, within one batch as well.
                        if party in places and identity(_replaced.decode(envelope.payload).location_id) in places[party]:
                            sessions[party, object_id] = None
                    case "session.patched":
                        if party in places and _patched.decode(envelope.payload).set.news:
                            sessions[party, object_id] = None
            except (envelopes.BadEnvelope, msgspec.DecodeError, ValueError):
                continue  # the projections put it aside
        return _News(claims, list(sessions), cdrs)

    def _waiting(self, cdrs: Iterable[tuple[str, str]]) -> list[Key]:
        return [key for cdr in cdrs for key in self._awaited.pop(cdr, ())] if self._awaited else []

    async def _examine(self, keys: Sequence[Key]) -> None:
        """Link these CDRs, as far as that can be told, and write down what is not written yet."""
        todo = list(dict.fromkeys(keys))
        while todo:
            some, todo = todo[:CLAIMS], todo[CLAIMS:]
            todo += await self._examine_some(some)

    async def _examine_some(self, keys: Sequence[Key]) -> list[Key]:
        """Do that for a few; returns the credits that follow what was linked."""
        claimed = await self._claims.claimed(keys)
        taken_back = [one for one in claimed if one.credit and one.reference]
        originals = await self._claims.originals(taken_back)
        # A credit copies its CDR: where it names a Session and the CDR does not, it says whose the CDR is.
        named: dict[Key, str] = {}
        for one in taken_back:
            original = originals.get((one.claim.party, one.reference))
            if one.session_id and original is not None and original.is_orphan:
                named[original.key] = one.session_id
        known = {one.key for one in claimed}
        claimed += await self._claims.claimed([key for key in named if key not in known])
        orphans = [one for one in claimed if not one.session_id and not one.credit]
        of_originals = [original.key for original in originals.values()]
        rows = await self._claims.ledger([(party, own_key) for party, _, own_key in [one.key for one in claimed] + of_originals])
        links: dict[Key, Link] = {}
        before: set[Key] = set()
        doubts: dict[Key, Doubt] = {}
        open_ones: list[Claimed] = []
        for one in orphans:
            if one.key in self._fresh:
                continue
            if (stands := _linked_before(one, rows)) is not None:
                links[one.key] = stands
                before.add(one.key)
            elif one.key in named:
                links[one.key] = one.claim.linked(named[one.key], Decimal(1), ("credit",))
            else:
                open_ones.append(one)
        candidates = await self._claims.candidates(open_ones)
        for one in open_ones:
            claim = one.claim
            match link(claim, candidates.get((claim.party, claim.location_id), ())):
                case Link() as found:
                    links[one.key] = found
                case Doubt() as doubt:
                    doubts[one.key] = doubt
                case None:
                    pass
            if one.key not in links and self._places is not None:
                self._places.setdefault(claim.party, set()).add(claim.location_id)
        for one in taken_back:
            if one.key in self._fresh:
                continue
            if (stands := _linked_before(one, rows)) is not None:
                links[one.key] = stands
                before.add(one.key)
                continue
            original = originals.get((one.claim.party, one.reference))
            if original is None:
                self._await(one)
                continue
            place, confidence = self._counts_at(original, links, rows)
            if place != one.claim.own_key:
                links[one.key] = one.claim.linked(place, confidence, ("credit_reference_id",))
        await self._write(links, before, doubts)
        return [
            (key[0], identity(entry.id), key[2])
            for key in links
            if links[key].credit_of is None and key[2] != links[key].session_id
            for entry in rows.get((key[0], key[2]), Row()).cdrs
            if entry.credit_of == key[1]
        ]

    def _counts_at(self, original: Original, links: Mapping[Key, Link], rows: Mapping[tuple[str, str], Row]) -> tuple[str, Decimal]:
        """Return the key under which a CDR counts, and how sure that is."""
        found = links.get(original.key) or self._fresh.get(original.key)
        if found is not None:
            return found.session_id, found.confidence
        party, cdr_id, own_key = original.key
        moved = rows.get((party, own_key), Row()).moved.get(cdr_id)
        return (own_key, Decimal(1)) if moved is None else moved[:2]

    def _await(self, one: Claimed) -> None:
        place = (one.claim.party, one.reference)
        self._awaited.setdefault(place, set()).add(one.key)
        while len(self._awaited) > AWAITED:
            self._awaited.pop(next(iter(self._awaited)))

    async def _write(self, links: Mapping[Key, Link], before: set[Key], doubts: Mapping[Key, Doubt]) -> None:
        targets = await self._claims.ledger((key[0], found.session_id) for key, found in links.items())
        entries: list[Entry] = []
        outcomes: list[str] = []
        for key, found in links.items():
            party, cdr_id, own_key = key
            self._fresh[key] = found
            there = targets.get((party, found.session_id), Row()).entry(cdr_id)
            if key in before:
                by_itself = there is not None and there.confidence is None and own_key != found.session_id
                if by_itself or (there is not None and _says(there, found)):
                    continue
            # First where the decision is looked up again, should the process end between the two.
            entries += [self._said(party, found, under) for under in dict.fromkeys((own_key, found.session_id))]
            outcomes.append("restated" if key in before else "session" if found.credit_of is None else "credit")
        said = await self._claims.doubted(doubts)
        for key, doubt in doubts.items():
            entry, event_id = self._doubt(key[0], doubt)
            if event_id not in said:
                entries.append(entry)
                outcomes.append("ambiguous")
        if not entries:
            return
        if not self._lease.held:
            raise LeaseLost("another process may link CDRs by now")
        for position in await self._log.append(entries):
            lane = TopicPartition(position.topic, position.partition)
            self._floor[lane] = max(self._floor.get(lane, 0), position.offset + 1)
        if self._metrics is not None:
            for outcome in outcomes:
                self._metrics.count("roamlog_cdr_links_total", outcome)

    def _said(self, party: str, found: Link, under: str) -> Entry:
        payload = encode(found)
        envelope = self._envelope("cdr.linked", party, (found.cdr_id, under), payload)
        return Entry(CHARGING, record_key(party, under), envelopes.encode(envelope))

    def _doubt(self, party: str, doubt: Doubt) -> tuple[Entry, bytes]:
        sessions = ", ".join(doubt.session_ids[:5])
        text = f"it names no Session, and {len(doubt.session_ids)} fit equally well ({doubt.confidence}): {sessions}"
        finding = Finding("/session_id", "cdr_link_ambiguous", "warning", text)
        envelope = self._envelope("cdr.left_unlinked", party, (doubt.cdr_id, doubt.own_key), encode(doubt), (finding,))
        return Entry(CHARGING, record_key(party, doubt.own_key), envelopes.encode(envelope)), envelope.event_id

    def _envelope(
        self, kind: str, party: str, key: tuple[str, str], payload: bytes, findings: tuple[Finding, ...] = ()
    ) -> Envelope:
        # Amounts that were mended twice may be what they were at first, and yet are no repeat.
        head = msgspec.json.encode((kind, party, key, self._again))
        return Envelope(
            event_id=hashlib.blake2b(head + payload, digest_size=16).digest(),
            type=kind,
            module=Module.CDRS.value,
            origin="load",
            connection=CONNECTION,
            party=party,
            key=key,
            version="",
            edition="",
            revision=0,
            received_at=self._clock.now(),
            last_updated=None,
            payload=payload,
            findings=findings,
        )


def _linked_before(one: Claimed, rows: Mapping[tuple[str, str], Row]) -> Link | None:
    """Return the link that the ledger knows, with the amounts that the CDR has now."""
    party, cdr_id, own_key = one.key
    row = rows.get((party, own_key), Row())
    moved = row.moved.get(cdr_id)
    if moved is not None:
        return one.claim.linked(*moved)
    entry = row.entry(cdr_id)
    if entry is not None and entry.confidence is not None:
        return one.claim.linked(own_key, entry.confidence, entry.reasons)
    return None


def _says(there: Told, found: Link) -> bool:
    """Whether the Session's row has the amounts of the link."""
    return (there.currency, there.before_taxes, there.taxes, there.energy_kwh) == (
        found.currency,
        found.before_taxes,
        found.taxes,
        found.energy_kwh,
    )
