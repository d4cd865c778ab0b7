"""The projector: gather records, load states, fold, insert, save positions; at-least-once in, exactly-once effect.

The order of writes makes a crash anywhere repeat work and lose none: derived rows are keyed deterministically, a state
row says how far its key has come, positions are saved last.
"""

import asyncio
import hashlib
import logging
import math
import operator
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

import msgspec
from msgspec import Struct

from schemas import envelope as envelopes
from schemas import rejected as rejections
from schemas.events import Envelope, RequestRejected, UnknownEvent, event_of
from schemas.rejected import BODY_BYTES, LogPosition, Rejected
from schemas.types import Instant
from streams import tables
from streams.cache import ByteCache
from streams.errors import Poison, StopTheLine
from streams.generations import AnyProjection, Generation, Generations, Reached
from streams.ports import (
    Clock,
    Entry,
    EventLog,
    Record,
    RefusedRow,
    StoreDamaged,
    StoreUnavailable,
    TableStore,
    TopicPartition,
)
from streams.projection import Key, Recorded, Table, row_version
from streams.topics import REJECTED
from streams.values import octets, text

ROUND_RECORDS: Final = 10_000
ROUND_WAIT_S: Final = 0.2
"""How long records may gather: a round costs an insert a table, however few its rows."""

LOAD_KEYS: Final = 2_000
POISON_IN_A_ROW: Final = 1_000
POISON_WINDOW: Final = 100_000
RETRY_FIRST_S: Final = 0.1
RETRY_LONGEST_S: Final = 10.0

T = TypeVar("T")

Mend: TypeAlias = Callable[[Record, Envelope], Envelope]
"""Gives the envelope as a mended dialect lifts it: the same one where nothing is to be mended. Plain and pure."""

_say: Final = logging.getLogger("roamlog")


class _Kept(Struct, frozen=True, gc=False):
    """A state with the version of the event that it stands after."""

    state: Any
    version: int


class _Stored(Struct, frozen=True, gc=False):
    """A state as its row keeps it; the cache has it so, because the bytes of a state are a fraction of what its objects take."""

    doc: bytes
    state: bytes
    version: int

    @property
    def size(self) -> int:
        return len(self.doc) + len(self.state)


class Work:
    """One generation of one projection being filled: its tables, its cache of states."""

    def __init__(self, projection: AnyProjection, generation: Generation, cache_bytes: int) -> None:
        self.projection = projection
        self.generation = generation
        self.cache: ByteCache[Key, _Stored] = ByteCache(cache_bytes)
        current = projection.current
        if current is None:
            raise ValueError(f"projection {projection.name} declares no current table")
        self.current = current
        names = [column.name for column in current.columns]
        self.doc_at, self.state_at = names.index("doc"), names.index("state")
        self.source = tables.physical(current, generation.suffix)
        keys = ", ".join(current.order_by)
        shape = ", ".join("String" for _ in current.order_by)
        key = f"({keys})" if len(current.order_by) > 1 else keys
        array = f"Array(Tuple({shape}))" if len(current.order_by) > 1 else "Array(String)"
        # Of the rows of a key the newest, as FINAL would have it, in half the time.
        self.load = (
            f"SELECT {keys}, doc, state, version FROM {self.source} PREWHERE {key} IN {{keys:{array}}}"
            f" ORDER BY version DESC LIMIT 1 BY {keys}"
        )


class Round(NamedTuple):
    """What one round did."""

    records: int
    poisoned: int
    reached: Mapping[TopicPartition, Reached]


class _Block(NamedTuple):
    """Rows for one physical table, each with the record that it came from."""

    table: Table
    name: str
    rows: list[tuple[object, ...]]
    sources: list[Record]
    projection: str
    state: bool = False


class _Bad(NamedTuple):
    """A record that will never succeed; `projection` is None where it cannot even be read, else whose fold refuses it."""

    record: Record
    reason: str
    projection: str | None = None


class _Read(Recorded, frozen=True, gc=False):
    """An event with the record that it was read from."""

    record: Record


class _Batch:
    """Records on their way: folded into rows, then inserted.

    `kept` has the states by the work's table, as they are for the next batch, `stored` as they are for the cache.
    """

    def __init__(self, records: Sequence[Record], bad: list[_Bad], reached: dict[TopicPartition, Reached]) -> None:
        self.records = records
        self.bad = bad
        self.reached = reached
        self.blocks: list[_Block] = []
        self.kept: dict[str, dict[Key, _Kept]] = {}
        self.stored: dict[str, dict[Key, _Stored]] = {}


class Projector:
    """Folds records into the tables of several projections, all at the same positions.

    One instance is driven by one task; `executor` runs what is pure Python work, so that the loop stays responsive.
    """

    def __init__(
        self,
        log: EventLog,
        store: TableStore,
        generations: Generations,
        works: Sequence[Work],
        *,
        clock: Clock,
        executor: Executor | None = None,
        dead_letter: bool = True,
        save_positions: bool = True,
        patience_s: float = math.inf,
        mend: Mend | None = None,
    ) -> None:
        """`patience_s` is how long one thing is tried again while the store is away; then StoreUnavailable is raised.

        `mend` sees every envelope before it is decoded; None where no dialect was ever mended.
        """
        self.works = list(works)
        self.positions: dict[TopicPartition, Reached] = {}
        self.mend = mend
        self._log = log
        self._store = store
        self._generations = generations
        self._clock = clock
        self._executor = executor
        self._dead_letter = dead_letter
        self._save_positions = save_positions
        self._patience_s = patience_s
        self._poison_in_a_row = 0
        self._recent: list[tuple[int, int]] = []
        self._folded: _Batch | None = None

    def topics(self) -> tuple[str, ...]:
        """Return the topics that the projections read."""
        return tuple(dict.fromkeys(topic for work in self.works for topic in work.projection.topics))

    def start_at(self, positions: Mapping[TopicPartition, Reached]) -> None:
        """Set where to go on; partitions that are not named start at 0."""
        self._folded = None
        self.positions = {
            TopicPartition(topic, partition): positions.get(TopicPartition(topic, partition), Reached(0, 0))
            for topic in self.topics()
            for partition in range(self._log.partitions(topic))
        }

    async def round(
        self, *, wait_s: float = ROUND_WAIT_S, max_records: int = ROUND_RECORDS, upto: Mapping[TopicPartition, int] | None = None
    ) -> Round:
        """Insert the records folded last and, behind a backlog, fold the next meanwhile; returns what was inserted.

        Folds at most `max_records`, not beyond the offsets of `upto`; waits `wait_s` when there is nothing at all to do.
        Retries while the store is away. Raises StoreUnavailable once the patience is at its end, StoreDamaged, StopTheLine,
        LogUnavailable and whatever is a defect.
        """
        batch = self._folded or await self._next(self.positions, wait_s, max_records, upto)
        self._folded = None
        if batch is None:
            return Round(0, 0, {})
        inserting = asyncio.ensure_future(self._insert_all(batch))
        following: _Batch | None = None
        try:
            if len(batch.records) * 2 >= max_records:  # there is a backlog; else the next records had better gather first
                following = await self._next(batch.reached, 0, max_records, upto, behind=batch)
        finally:
            await asyncio.wait([inserting])
            refused = inserting.result()
        if refused and following is not None:
            following = await self._fold(following.records)  # it was folded upon states that did not come to stand
        self._folded = following
        return await self._settle(batch)

    async def flush(self) -> Round:
        """Insert what is folded already and fold nothing more: the projections may be exchanged afterwards."""
        batch, self._folded = self._folded, None
        if batch is None:
            return Round(0, 0, {})
        await self._insert_all(batch)
        return await self._settle(batch)

    async def _next(
        self,
        positions: Mapping[TopicPartition, Reached],
        wait_s: float,
        max_records: int,
        upto: Mapping[TopicPartition, int] | None,
        *,
        behind: "_Batch | None" = None,
    ) -> "_Batch | None":
        """Fetch and fold the records at `positions`, upon the states of the batch that is being inserted."""
        start = {tp: at.next_offset for tp, at in positions.items() if upto is None or at.next_offset < upto.get(tp, 0)}
        if not start:
            return None
        batches = await self._log.fetch(start, max_records=max_records, wait_s=wait_s)
        records: list[Record] = []
        for tp, batch in batches.items():
            records += batch if upto is None else [record for record in batch if record.offset < upto.get(tp, 0)]
        return await self._fold(records, behind) if records else None

    async def _fold(self, records: Sequence[Record], behind: "_Batch | None" = None) -> "_Batch":
        """Decode and fold records (in offset order per partition) into rows."""
        read: _Decoded = await self._run(_decode_all, records, self._log.epoch, self.mend)
        before = self.positions if behind is None else behind.reached
        reached = dict(before)
        for (topic, partition), (offset, received_at) in read.last.items():
            lane = TopicPartition(topic, partition)
            known = before.get(lane, Reached(0, 0))
            reached[lane] = Reached(offset + 1, max(known.received_at, received_at))
        batch = _Batch(records, read.bad, reached)
        await self._fold_into(batch, read.events, behind)
        return batch

    async def _fold_into(self, batch: "_Batch", recorded: Sequence[_Read], behind: "_Batch | None") -> None:
        ahead = {} if behind is None else behind.kept
        wanted: list[_Wanted] = await self._run(_wanted, self.works, recorded, batch.bad, ahead)
        batch.blocks, batch.kept, batch.stored = [], {}, {}
        loading = [asyncio.ensure_future(self._load(one)) for one in wanted]
        try:
            # What needs the store least is folded while it answers for the rest.
            for one, load in sorted(zip(wanted, loading, strict=True), key=lambda pair: len(pair[0].missing)):
                folded = await self._run(_fold_all, one, await load)
                batch.bad.extend(folded.bad)
                batch.blocks += [*folded.facts, folded.current]
                batch.kept[one.work.source], batch.stored[one.work.source] = folded.kept, folded.stored
        finally:
            for load in loading:
                load.cancel()
            await asyncio.gather(*loading, return_exceptions=True)
        batch.blocks.sort(key=lambda block: block.state)  # derived rows before the states that vouch for them

    async def _load(self, wanted: "_Wanted") -> dict[Key, _Stored]:
        if not wanted.missing:
            return {}
        return await self._patiently(partial(self._stored, wanted.work, wanted.missing))

    async def _insert_all(self, batch: "_Batch") -> bool:
        """Insert the batch's rows; rows that the store refuses make their records poison, and the rest is folded anew.

        Returns whether that happened.
        """
        refused = False
        while True:
            try:
                for block in batch.blocks:
                    await self._patiently(partial(self._insert, block))
            except _RefusedRecord as refusal:
                refused = True
                batch.bad.append(_Bad(refusal.record, refusal.reason, refusal.projection))
                await self._run(_forget, self.works, batch)
                read: _Decoded = await self._run(_decode_all, batch.records, self._log.epoch, self.mend)
                await self._fold_into(batch, read.events, None)
                continue
            await self._run(_remember, self.works, batch)
            return refused

    async def _settle(self, batch: "_Batch") -> Round:
        """Put the poison aside and save how far that is."""
        if batch.bad and self._dead_letter:
            once = {_place(b.record): b for b in reversed(batch.bad)}
            await self._log.append([_dead_letter(b, self._clock) for b in once.values()])
        self._judge(batch.records, batch.bad)
        moved = {tp: at for tp, at in batch.reached.items() if at != self.positions.get(tp)}
        if self._save_positions:
            serving = [work.generation for work in self.works]
            await self._patiently(lambda: self._generations.save(serving, moved))
        self.positions = batch.reached
        return Round(len(batch.records), len(batch.bad), moved)

    async def _stored(self, work: Work, missing: Sequence[Key]) -> dict[Key, _Stored]:
        """Return the states of these keys that the table has, by IN queries."""
        width = len(work.current.order_by)
        states: dict[Key, _Stored] = {}
        for first in range(0, len(missing), LOAD_KEYS):
            some = missing[first : first + LOAD_KEYS]
            wanted: list[object] = list(some) if width > 1 else [key[0] for key in some]
            for row in await self._store.query(work.load, {"keys": wanted}):
                states[tuple([text(part) for part in row[:width]])] = _Stored(
                    octets(row[width]), octets(row[width + 1]), int(str(row[width + 2]))
                )
        return states

    async def _insert(self, block: _Block) -> None:
        """Insert a block; when its data is refused, halve it until the row is found, and raise _RefusedRecord for that."""
        if not block.rows:
            return
        names = [column.name for column in tables.columns(block.table)]
        try:
            # No token: a repeat of the same rows is told by their hash, which ClickHouse makes itself and beside Python's work.
            await self._store.insert(block.name, names, block.rows)
        except RefusedRow as refused:
            if len(block.rows) == 1:
                raise _RefusedRecord(block, f"{block.table.name} refuses the row: {refused}") from refused
            middle = len(block.rows) // 2
            await self._insert(block._replace(rows=block.rows[:middle], sources=block.sources[:middle]))
            await self._insert(block._replace(rows=block.rows[middle:], sources=block.sources[middle:]))

    def _judge(self, records: Sequence[Record], bad: Sequence[_Bad]) -> None:
        """Stop the line at 1,000 poisonous records in a row, or above 1 % of the last 100,000 and at least 1,000."""
        poisonous = {_place(b.record) for b in bad}
        self._recent.append((len(records), len(poisonous)))
        while len(self._recent) > 1 and sum(n for n, _ in self._recent[1:]) >= POISON_WINDOW:
            self._recent.pop(0)
        if not poisonous:
            self._poison_in_a_row = 0
            return
        longest = 0
        for record in records:
            self._poison_in_a_row = self._poison_in_a_row + 1 if _place(record) in poisonous else 0
            longest = max(longest, self._poison_in_a_row)
        seen, refused = sum(n for n, _ in self._recent), sum(n for _, n in self._recent)
        if longest >= POISON_IN_A_ROW or (refused >= POISON_IN_A_ROW and refused > seen // 100):
            raise StopTheLine(f"{refused} of the last {seen} records could not be folded; the last: {bad[-1].reason}")

    async def _patiently(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Return what the attempt gives, waiting for a store that is away; says so when it goes and when it is back."""
        waited, backoff = 0.0, RETRY_FIRST_S
        while True:
            try:
                result = await attempt()
            except StoreDamaged:
                raise
            except StoreUnavailable as fault:
                if not waited:
                    _say.warning("the tables cannot be filled now, which is tried again: %s", fault)
                if waited >= self._patience_s:
                    raise
                await asyncio.sleep(backoff)
                waited += backoff
                backoff = min(backoff * 2, RETRY_LONGEST_S)
            else:
                if waited:
                    _say.warning("the tables are filled again")
                return result

    async def _run(self, work: Any, *arguments: object) -> Any:
        if self._executor is None:
            return work(*arguments)
        return await asyncio.get_running_loop().run_in_executor(self._executor, work, *arguments)


def _place(record: Record) -> tuple[str, int, int]:
    return record.topic, record.partition, record.offset


class _RefusedRecord(Exception):
    def __init__(self, block: _Block, reason: str) -> None:
        super().__init__(reason)
        self.record = block.sources[0]
        self.projection = block.projection
        self.reason = reason


class _Folded(NamedTuple):
    facts: list[_Block]
    current: _Block
    kept: dict[Key, _Kept]
    stored: dict[Key, _Stored]
    bad: list[_Bad]


class _Decoded(NamedTuple):
    """The events of a batch, what could not be read, and per lane the last offset and the newest received_at."""

    events: list[_Read]
    bad: list[_Bad]
    last: dict[tuple[str, int], tuple[int, Instant]]


def _decode_all(records: Sequence[Record], epoch: int, mend: Mend | None = None) -> _Decoded:
    """Decode records to events; what cannot be decoded is poison."""
    events: list[_Read] = []
    bad: list[_Bad] = []
    last: dict[tuple[str, int], tuple[int, Instant]] = {}
    for record in records:
        lane = record.topic, record.partition
        newest = last[lane][1] if lane in last else 0
        try:
            one = decode(record, epoch, mend)
        except Poison as poison:
            bad.append(_Bad(record, str(poison)))
        else:
            newest = max(newest, one.envelope.received_at)
            events.append(_Read(one.envelope, one.event, one.partition, one.version, record))
        last[lane] = record.offset, newest
    return _Decoded(events, bad, last)


def decode(record: Record, epoch: int, mend: Mend | None = None) -> Recorded:
    """Return the event of a record with its row version. Raises Poison."""
    version = row_version(epoch, record.offset)
    try:
        if record.topic == REJECTED:
            rejected = rejections.decode(record.value)
            return Recorded(_envelope_of(rejected), RequestRejected(rejected), record.partition, version)
        envelope = envelopes.decode(record.value)
        if mend is not None:
            envelope = mend(record, envelope)
        return Recorded(envelope, event_of(envelope), record.partition, version)
    except (envelopes.BadEnvelope, rejections.BadRejected, UnknownEvent, msgspec.DecodeError, ValueError) as fault:
        raise Poison(f"the record cannot be read: {fault}") from fault


def _envelope_of(rejected: Rejected) -> Envelope:
    return Envelope(
        event_id=rejected.rejected_id,
        type="request.rejected",
        module=rejected.module,
        origin="push",
        connection=rejected.connection,
        party=rejected.party,
        key=(rejected.rejected_id.hex(),),
        version=rejected.version,
        edition="",
        revision=0,
        received_at=rejected.received_at,
        last_updated=None,
        payload=b"",
    )


class _Wanted(NamedTuple):
    """The events that concern a projection by key, in offset order, and their states: alive, in the cache, not at hand."""

    work: Work
    events: dict[Key, list[_Read]]
    alive: dict[Key, _Kept]
    cached: dict[Key, _Stored]
    missing: list[Key]


def _wanted(
    works: Sequence[Work], recorded: Sequence[_Read], bad: Sequence[_Bad], ahead: Mapping[str, Mapping[Key, _Kept]]
) -> list[_Wanted]:
    """Return what each projection needs; `ahead` has the states of the batch that is being inserted, by the work's table."""
    topics: dict[str, list[_Read]] = {}
    for read in recorded:
        topics.setdefault(read.record.topic, []).append(read)
    wanted = []
    for work in works:
        refused = {_place(b.record) for b in bad if b.projection == work.projection.name}
        key_of = work.projection.key
        events: dict[Key, list[_Read]] = {}
        for topic in work.projection.topics:
            for read in topics.get(topic, ()):
                if (key := key_of(read)) is not None and not (refused and _place(read.record) in refused):
                    if (known := events.get(key)) is None:
                        events[key] = [read]
                    else:
                        known.append(read)
        one = _Wanted(work, events, {}, {}, [])
        _find(one, ahead.get(work.source, {}))
        wanted.append(one)
    return wanted


def _find(wanted: _Wanted, ahead: Mapping[Key, _Kept]) -> None:
    """Look for the states of the keys."""
    work, events, alive, cached, missing = wanted
    for key in events:
        if (kept := ahead.get(key)) is not None:
            alive[key] = kept
        elif (stored := work.cache.get(key)) is not None:
            cached[key] = stored
        else:
            missing.append(key)


# Both in the thread that folds, which looks into the caches meanwhile.


def _remember(works: Sequence[Work], batch: _Batch) -> None:
    for work in works:
        for key, stored in batch.stored[work.source].items():
            work.cache.put(key, stored)


def _forget(works: Sequence[Work], batch: _Batch) -> None:
    for work in works:
        for key in batch.stored[work.source]:
            work.cache.discard(key)


def _fold_all(wanted: _Wanted, loaded: Mapping[Key, _Stored]) -> _Folded:
    """Fold the events upon the states at hand and those that were loaded.

    Key by key, from its state to its row, while the processor has all that belongs to it near.
    """
    work, events_of, alive, cached, _ = wanted
    projection = work.projection
    fold, row_of, doc_at, state_at = projection.fold, projection.row, work.doc_at, work.state_at
    facts = {table.name: _Rows(table) for table in projection.facts}
    current = _Rows(work.current)
    kept: dict[Key, _Kept] = {}
    stored: dict[Key, _Stored] = {}
    bad: list[_Bad] = []
    for key, events in events_of.items():
        state, newest, source = None, -1, None
        if (at_hand := alive.get(key)) is not None:
            state, newest = at_hand.state, at_hand.version
        elif (row := cached.get(key) or loaded.get(key)) is not None:
            state, newest = projection.decode(key, row.doc, row.state), row.version
        for event in events:
            version = event.version
            if version <= newest:
                continue
            try:
                after, derived = fold(state, event)
            except (Poison, msgspec.DecodeError, ValueError) as fault:
                bad.append(_Bad(event.record, str(fault), projection.name))
                continue
            for fact in derived:
                facts[fact.table.name].add(fact.row, event.record, version)
            if after is not state:
                state, newest, source = after, version, event.record
        if source is not None:
            values = row_of(key, state)
            current.add(values, source, newest)
            kept[key] = _Kept(state, newest)
            stored[key] = _Stored(octets(values[doc_at]), octets(values[state_at]), newest)
    blocks = [rows.block(tables.physical(rows.table, work.generation.suffix), projection.name) for rows in facts.values()]
    return _Folded(blocks, current.block(work.source, projection.name)._replace(state=True), kept, stored, bad)


class _Rows:
    """The rows of a batch for one table; of a table that keeps the newest row of a key, that row alone."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self._rows: list[tuple[object, ...]] = []
        self._sources: list[Record] = []
        self._is_fact = table.kind == "fact"
        names = [column.name for column in table.columns]
        self._key_of = operator.itemgetter(*(names.index(name) for name in table.order_by))
        self._place: dict[object, int] = {}

    def add(self, row: tuple[object, ...], source: Record, version: int) -> None:
        """Take a row, which is newer than those before it."""
        if self._is_fact:
            self._rows.append((*row, source.partition, version, tables.MAX_UINT64 - version))
            self._sources.append(source)
            return
        row = (*row, source.partition, version)
        place = self._place.setdefault(self._key_of(row), len(self._rows))
        if place < len(self._rows):
            self._rows[place], self._sources[place] = row, source
        else:
            self._rows.append(row)
            self._sources.append(source)

    def block(self, name: str, projection: str) -> _Block:
        """Return the rows as a block for that physical table."""
        return _Block(self.table, name, self._rows, self._sources, projection)


def _dead_letter(bad: _Bad, clock: Clock) -> Entry:
    record = bad.record
    rejected_id = hashlib.blake2b(f"{record.topic}|{record.partition}|{record.offset}".encode(), digest_size=16).digest()
    rejected = Rejected(
        rejected_id=rejected_id,
        received_at=clock.now(),
        source="poison",
        connection="",
        reason=bad.reason if bad.projection is None else f"{bad.projection}: {bad.reason}",
        body=record.value[:BODY_BYTES],  # the whole would not fit into a record if it is as large as one may be
        body_length=len(record.value),
        body_sha256=hashlib.sha256(record.value).digest(),
        record=LogPosition(record.topic, record.partition, record.offset),
    )
    return Entry(REJECTED, rejected_id, rejections.encode(rejected))
