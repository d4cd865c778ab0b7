"""The second stage: finds the Session of each CDR that does not name one, and the CDR of each credit that stands elsewhere.

It reads the log behind the projections, finds candidates in their tables, and writes `cdr.linked` twice: under the CDR's own
key, whose row lets go of the CDR, and under the Session's, whose row takes it in. Its positions are saved after both, and
`rebuild` never resets them. What was linked once stays: whoever looks again reads the link and finds nothing to do, so a crash
anywhere repeats work and changes nothing.
"""

import asyncio
import contextlib
import hashlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, NamedTuple, cast

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from schemas import envelope as envelopes
from schemas.events import Envelope
from schemas.link import Doubt, Link, encode
from schemas.types import Finding, Instant, Module, identity
from streams.generations import Generation, Generations, Reached
from streams.links import Candidate, Claim, link
from streams.metrics import Metrics
from streams.ports import Clock, Entry, EventLog, LogUnavailable, Record, StoreDamaged, StoreUnavailable, TableStore, TopicPartition
from streams.progress import Progress
from streams.projections.cdrs import CdrColumns, charging_key
from streams.topics import CHARGING, record_key

CONNECTION: Final = "linker"
"""Who says a link, in its envelope."""

STAGE: Final = "links"
READS: Final = ("sessions", "cdrs", "ledger")
"""The projections whose tables are asked; what they have not folded yet is not looked at."""

RECORDS: Final = 2_000
CLAIMS: Final = 500
"""How many CDRs are looked at with one set of questions to the tables."""

EVERY_S: Final = 0.5
"""How long CDRs gather: the questions scan, and cost the same for one CDR as for hundreds."""

AWAITED: Final = 100_000
"""Of how many credits without their CDR it is remembered that they wait."""

Key = tuple[str, str, str]
"""The party, the CDR's id (lowered), its own key in the log."""

_KEYS: Final = "{keys:Array(Tuple(String, String, String))}"

_ROWS: Final = f"""
SELECT party, cdr_id, charging_key, session_id, credit, credit_reference_id, location_id, evse_uid,
    start_date_time, end_date_time, first_seen, addressed_to, doc
FROM cdrs
WHERE (party, cdr_id, charging_key) IN {_KEYS}
"""

_ORIGINALS: Final = """
SELECT party, cdr_id, charging_key, session_id, credit
FROM cdrs
WHERE (party, cdr_id) IN {originals:Array(Tuple(String, String))}
ORDER BY first_seen DESC
"""

_LEDGER: Final = """
SELECT party, charging_key, doc
FROM ledger
WHERE (party, charging_key) IN {keys:Array(Tuple(String, String))}
"""

_CANDIDATES: Final = """
SELECT DISTINCT
    s.party, s.session_id, s.contract_id, JSONExtractString(s.doc, 'cdr_token', 'uid'), s.location_id, s.evse_uid,
    s.start_date_time, s.end_date_time
FROM
(
    SELECT party, session_id, contract_id, location_id, evse_uid, start_date_time, end_date_time, doc
    FROM sessions
    WHERE served = 1 AND status != 'INVALID' AND (party, location_id) IN {places:Array(Tuple(String, String))}
) AS s
INNER JOIN
(
    SELECT claim.1 AS party, claim.2 AS location_id, claim.3 AS starts, claim.4 AS ends
    FROM (SELECT arrayJoin({claims:Array(Tuple(String, String, Int64, Int64))}) AS claim)
) AS c ON c.party = s.party AND c.location_id = s.location_id
WHERE toUnixTimestamp64Micro(s.start_date_time) <= c.ends
  AND ifNull(toUnixTimestamp64Micro(s.end_date_time), c.ends) >= c.starts
"""

_ORPHANS: Final = """(party, charging_key) IN (SELECT party, charging_key FROM ledger WHERE orphans > 0)"""

_TOUCHED: Final = f"""
SELECT DISTINCT c.party, c.cdr_id, c.charging_key
FROM
(
    SELECT party, cdr_id, charging_key, location_id, start_date_time, end_date_time
    FROM cdrs
    WHERE session_id = '' AND credit = 0 AND {_ORPHANS}
) AS c
INNER JOIN
(
    SELECT party, location_id, start_date_time, end_date_time
    FROM sessions
    WHERE served = 1 AND (party, session_id) IN {{keys:Array(Tuple(String, String))}}
) AS s ON s.party = c.party AND s.location_id = c.location_id
WHERE s.start_date_time <= c.end_date_time AND ifNull(s.end_date_time, c.end_date_time) >= c.start_date_time
"""

_PLACES: Final = f"SELECT DISTINCT party, location_id FROM cdrs WHERE session_id = '' AND credit = 0 AND {_ORPHANS}"

_WAITING: Final = """
SELECT party, credit_reference_id, cdr_id, charging_key
FROM cdrs
WHERE credit = 1 AND credit_reference_id != ''
  AND (party, charging_key) IN (SELECT party, charging_key FROM ledger WHERE standing = 'unmatched_credit')
ORDER BY first_seen DESC
LIMIT {limit:UInt32}
"""

_EVERY: Final = """
SELECT party, cdr_id, charging_key
FROM cdrs
WHERE (session_id = '' OR credit = 1) AND (party, cdr_id, charging_key) > ({party:String}, {cdr_id:String}, {key:String})
ORDER BY party, cdr_id, charging_key
LIMIT {limit:UInt32}
"""

_DOUBTED: Final = """
SELECT hex(event_id)
FROM cdr_findings
WHERE rule = 'cdr_link_ambiguous' AND (party, object_id) IN {keys:Array(Tuple(String, String))}
"""

_say: Final = logging.getLogger("roamlog")


class _Token(Struct):
    uid: str = ""
    contract_id: str = ""


class _Billed(CdrColumns):
    cdr_token: _Token | None = None  # type: ignore[assignment]


class _Told(Struct):
    """A CDR in the ledger's document."""

    id: str
    credit_of: str | None
    currency: str
    before_taxes: Decimal
    taxes: Decimal
    energy_kwh: Decimal
    confidence: Decimal | None = None
    reasons: tuple[str, ...] = ()


class _Row(Struct, frozen=True):
    """What the linker reads of a ledger row: the CDRs that count there, and where those went that left, how surely and why."""

    cdrs: list[_Told] = []
    moved: dict[str, tuple[str, Decimal, tuple[str, ...]]] = {}

    def entry(self, cdr_id: str) -> _Told | None:
        """Return the CDR of that lowered id."""
        return next((one for one in self.cdrs if identity(one.id) == cdr_id), None)


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


class _Claimed(NamedTuple):
    """A CDR as the tables have it."""

    claim: Claim
    session_id: str
    credit: bool
    reference: str

    @property
    def key(self) -> Key:
        return self.claim.party, identity(self.claim.cdr_id), self.claim.own_key


class _News(NamedTuple):
    """What records bring: CDRs to look at, Sessions that may be somebody's, CDRs that a credit may wait for."""

    claims: list[Key]
    sessions: list[tuple[str, str]]
    cdrs: list[tuple[str, str]]


_posted: Final = msgspec.json.Decoder(_Posted)
_replaced: Final = msgspec.json.Decoder(_Replaced)
_patched: Final = msgspec.json.Decoder(_Patched)
_billed: Final = msgspec.json.Decoder(_Billed)
_row: Final = msgspec.json.Decoder(_Row)
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
    ) -> None:
        self._log = log
        self._store = store
        self._generations = generations
        self._progress = progress
        self._clock = clock
        self._metrics = metrics
        self._stage = Generation(STAGE, 0)
        self._of = ""
        self._again = ""
        self._positions: dict[TopicPartition, Reached] = {}
        self._floor: dict[TopicPartition, int] = {}
        self._places: set[tuple[str, str]] | None = None
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

    async def run(self, stop: asyncio.Event) -> None:
        """Link what comes, until `stop` is set; tries again while log or store are away. Raises StoreDamaged and defects."""
        away = False
        while not stop.is_set():
            try:
                done = await self.turn()
                away = False
            except StoreDamaged:
                raise
            except (StoreUnavailable, LogUnavailable) as fault:
                if not away:
                    _say.warning("CDRs cannot be linked now, which is tried again: %s", fault)
                done, away = 0, True
            if not done:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(EVERY_S):
                        await stop.wait()

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
        await self._examine([*news.claims, *await self._touched(news.sessions), *self._waiting(news.cdrs)])
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
        while True:
            parameters = {"party": after[0], "cdr_id": after[1], "key": after[2], "limit": CLAIMS}
            keys = [_key(row) for row in await self._store.query(_EVERY, parameters)]
            if not keys:
                break
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
        for party, original, cdr_id, own_key in await self._store.query(_WAITING, {"limit": AWAITED}):
            key = (_text(party), _text(cdr_id), _text(own_key))
            self._awaited.setdefault((key[0], _text(original)), set()).add(key)
        self._places = {(_text(party), _text(place)) for party, place in await self._store.query(_PLACES)}

    def _news(self, records: Sequence[Record]) -> _News:
        claims: list[Key] = []
        cdrs: list[tuple[str, str]] = []
        sessions: dict[tuple[str, str], None] = {}
        places = self._places or set()
        parties = {party for party, _ in places}
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
                        if party in parties:
                            place = identity(_replaced.decode(envelope.payload).location_id)
                            if (party, place) in places:
                                sessions[party, object_id] = None
                    case "session.patched":
                        if party in parties and _patched.decode(envelope.payload).set.news:
                            sessions[party, object_id] = None
            except (envelopes.BadEnvelope, msgspec.DecodeError, ValueError):
                continue  # the projections put it aside
        return _News(claims, list(sessions), cdrs)

    async def _touched(self, sessions: Sequence[tuple[str, str]]) -> list[Key]:
        """Return the CDRs without a Session that were charged where and when one of these Sessions was."""
        if not sessions:
            return []
        return [_key(row) for row in await self._store.query(_TOUCHED, {"keys": list(sessions)})]

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
        claimed = await self._claimed(keys)
        taken_back = [one for one in claimed if one.credit and one.reference]
        originals = await self._originals(taken_back)
        # A credit copies its CDR: where it names a Session and the CDR does not, it says whose the CDR is.
        named: dict[Key, str] = {}
        for one in taken_back:
            original = originals.get((one.claim.party, one.reference))
            if one.session_id and original is not None and original.is_orphan:
                named[original.key] = one.session_id
        known = {one.key for one in claimed}
        claimed += await self._claimed([key for key in named if key not in known])
        orphans = [one for one in claimed if not one.session_id and not one.credit]
        of_originals = [original.key for original in originals.values()]
        rows = await self._ledger([(party, own_key) for party, _, own_key in [one.key for one in claimed] + of_originals])
        links: dict[Key, Link] = {}
        before: set[Key] = set()
        doubts: dict[Key, Doubt] = {}
        open_ones: list[_Claimed] = []
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
        candidates = await self._candidates(open_ones)
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
                self._places.add((claim.party, claim.location_id))
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
            for entry in rows.get((key[0], key[2]), _Row()).cdrs
            if entry.credit_of == key[1]
        ]

    def _counts_at(
        self, original: "_Original", links: Mapping[Key, Link], rows: Mapping[tuple[str, str], _Row]
    ) -> tuple[str, Decimal]:
        """Return the key under which a CDR counts, and how sure that is."""
        found = links.get(original.key) or self._fresh.get(original.key)
        if found is not None:
            return found.session_id, found.confidence
        party, cdr_id, own_key = original.key
        moved = rows.get((party, own_key), _Row()).moved.get(cdr_id)
        return (own_key, Decimal(1)) if moved is None else moved[:2]

    def _await(self, one: _Claimed) -> None:
        place = (one.claim.party, one.reference)
        self._awaited.setdefault(place, set()).add(one.key)
        while len(self._awaited) > AWAITED:
            self._awaited.pop(next(iter(self._awaited)))

    async def _claimed(self, keys: Sequence[Key]) -> list[_Claimed]:
        if not keys:
            return []
        return [_claim(row) for row in await self._store.query(_ROWS, {"keys": list(keys)})]

    async def _originals(self, taken_back: Sequence[_Claimed]) -> dict[tuple[str, str], "_Original"]:
        """Return the CDRs that the credits take back; of several with one id, that which came first."""
        wanted = list({(one.claim.party, one.reference): None for one in taken_back})
        if not wanted:
            return {}
        found: dict[tuple[str, str], _Original] = {}
        for row in await self._store.query(_ORIGINALS, {"originals": wanted}):
            *_, session_id, credit = row
            key = _key(row)
            found[key[:2]] = _Original(key, not _text(session_id) and not credit)
        return found

    async def _ledger(self, keys: Iterable[tuple[str, str]]) -> dict[tuple[str, str], _Row]:
        wanted = list(dict.fromkeys(keys))
        if not wanted:
            return {}
        rows = await self._store.query(_LEDGER, {"keys": wanted})
        return {(_text(party), _text(own_key)): _row.decode(cast("bytes", doc)) for party, own_key, doc in rows}

    async def _candidates(self, orphans: Sequence[_Claimed]) -> dict[tuple[str, str], list[Candidate]]:
        """Return the Sessions at the places of the CDRs that overlap one of them, by party and Location."""
        claims = [
            (one.claim.party, one.claim.location_id, one.claim.start, one.claim.end) for one in orphans if one.claim.location_id
        ]
        if not claims:
            return {}
        places = list({claim[:2]: None for claim in claims})
        found: dict[tuple[str, str], list[Candidate]] = {}
        for row in await self._store.query(_CANDIDATES, {"claims": claims, "places": places}):
            party, session_id, contract_id, token_uid, location_id, evse_uid = map(_text, row[:6])
            start, end = row[6:]
            candidate = Candidate(
                session_id=session_id,
                contract_id=contract_id,
                token_uid=token_uid,
                location_id=location_id,
                evse_uid=evse_uid,
                start=cast("Instant", start),
                end=cast("Instant | None", end),
            )
            found.setdefault((party, location_id), []).append(candidate)
        return found

    async def _write(self, links: Mapping[Key, Link], before: set[Key], doubts: Mapping[Key, Doubt]) -> None:
        targets = await self._ledger((key[0], found.session_id) for key, found in links.items())
        entries: list[Entry] = []
        outcomes: list[str] = []
        for key, found in links.items():
            party, cdr_id, own_key = key
            self._fresh[key] = found
            there = targets.get((party, found.session_id), _Row()).entry(cdr_id)
            if key in before:
                by_itself = there is not None and there.confidence is None and own_key != found.session_id
                if by_itself or (there is not None and _says(there, found)):
                    continue
            # First where the decision is looked up again, should the process end between the two.
            entries += [self._said(party, found, under) for under in dict.fromkeys((own_key, found.session_id))]
            outcomes.append("restated" if key in before else "session" if found.credit_of is None else "credit")
        said = await self._doubted(doubts)
        for key, doubt in doubts.items():
            entry, event_id = self._doubt(key[0], doubt)
            if event_id not in said:
                entries.append(entry)
                outcomes.append("ambiguous")
        if not entries:
            return
        for position in await self._log.append(entries):
            lane = TopicPartition(position.topic, position.partition)
            self._floor[lane] = max(self._floor.get(lane, 0), position.offset + 1)
        if self._metrics is not None:
            for outcome in outcomes:
                self._metrics.count("roamlog_cdr_links_total", outcome)

    async def _doubted(self, doubts: Mapping[Key, Doubt]) -> set[bytes]:
        """Return the ids of the doubts that were said already: a log is endless, and need not hear them again."""
        if not doubts:
            return set()
        keys = [(key[0], doubt.cdr_id) for key, doubt in doubts.items()]
        return {bytes.fromhex(_text(event_id)) for (event_id,) in await self._store.query(_DOUBTED, {"keys": keys})}

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
        head = msgspec.json.encode((kind, party, key))
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


class _Original(NamedTuple):
    """The CDR that a credit takes back."""

    key: Key
    is_orphan: bool


def _linked_before(one: _Claimed, rows: Mapping[tuple[str, str], _Row]) -> Link | None:
    """Return the link that the ledger knows, with the amounts that the CDR has now."""
    party, cdr_id, own_key = one.key
    row = rows.get((party, own_key), _Row())
    moved = row.moved.get(cdr_id)
    if moved is not None:
        return one.claim.linked(*moved)
    entry = row.entry(cdr_id)
    if entry is not None and entry.confidence is not None:
        return one.claim.linked(own_key, entry.confidence, entry.reasons)
    return None


def _says(there: _Told, found: Link) -> bool:
    """Whether the Session's row has the amounts of the link."""
    return (there.currency, there.before_taxes, there.taxes, there.energy_kwh) == (
        found.currency,
        found.before_taxes,
        found.taxes,
        found.energy_kwh,
    )


def _claim(row: Sequence[object]) -> _Claimed:
    party, _, own_key, session_id, credit, reference, location_id, evse_uid, start, end, first_seen, addressed_to, doc = row
    cdr = _billed.decode(cast("bytes", doc))
    token = cdr.cdr_token or _Token()
    claim = Claim(
        party=_text(party),
        cdr_id=cdr.id,
        own_key=_text(own_key),
        contract_id=token.contract_id,
        token_uid=token.uid,
        location_id=_text(location_id),
        evse_uid=_text(evse_uid),
        start=cast("Instant", start),
        end=cast("Instant", end),
        currency=cdr.currency,
        before_taxes=cdr.total_cost.before_taxes,
        taxes=cdr.taxes,
        energy_kwh=cdr.total_energy,
        received_at=cast("Instant", first_seen),
        addressed_to=_text(addressed_to),
        credit_of=cdr.credit_reference_id if credit else None,
    )
    return _Claimed(claim, _text(session_id), bool(credit), _text(reference))


def _key(row: Sequence[Any]) -> Key:
    return _text(row[0]), _text(row[1]), _text(row[2])


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
