"""The objects of a partner's pages into the log: only what says something new, what drifted with a finding, the bad ones aside.

Source: requirements 2.5 (a CDR never changes), 2.7 (whose object it is), 3 (a page's objects).
"""

import asyncio
import contextlib
import hashlib
import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from ingest.admission import TOPIC, Admitted, Circumstances, NotOwned, admit, amended, below, spelled
from ingest.contracts import ContractLookup, Contracts
from ingest.existence import Existence
from ingest.load import VERB
from ingest.partners import Connection
from ingest.splitter import OBJECT_BYTES
from schemas import envelope as envelopes
from schemas import rejected as rejections
from schemas.crawl import Counts, Reach, key_digest
from schemas.events import Crawl, Envelope
from schemas.ocpi.dialect import Dialect, NotJson, Refused
from schemas.ocpi.interface import interface
from schemas.rejected import BODY_BYTES, Rejected
from schemas.types import Finding, Instant, Module, identity, party_of
from streams.ports import Clock, Entry, EventLog, Position, Positions, RecordTooLarge
from streams.relift import DRIFT
from streams.standing import NEW, Judged, Key, Standing, Stood, judge
from streams.topics import REJECTED, record_key

BATCH_OBJECTS: Final = 500
BATCH_BYTES: Final = 4 * 1024 * 1024
"""What is lifted and appended in one go, so that 300,000 objects on one page take no more memory than 500."""

AT_ONCE: Final = 3
"""How many batches are under way at the same time; what waits is a page, which takes less memory than what is made of it."""

LIFTED_AT_ONCE: Final = 2
"""How many of these are lifted: the interpreter runs one, and what is pushed comes in between."""

SETTLED_US: Final = 60_000_000
"""What changed less than this ago may have its push under way: it is no drift."""

FOLDED_WITHIN_S: Final = 5.0
"""How long is waited until the tables have what was pushed before a page came; without that nothing can be said to have drifted."""

SETTLED_FOR_S: Final = 30.0
"""For how long that answer holds: shorter than what is called old, so that a push that is not folded yet is no drift."""

RECENT: Final = 20_000
"""How many objects are known to have been appended last: what comes twice before it is folded leaves one event."""

REFUSED_REMEMBERED: Final = 100_000

VANISHED: Final[Mapping[Module, tuple[str, str, str]]] = {
    Module.LOCATIONS: ("location.vanished", "vanished", "the complete list of its owner no longer has the Location"),
    Module.TARIFFS: ("tariff.deleted", "vanished", "the complete list of its owner no longer has the Tariff"),
    Module.TOKENS: (
        "token.unconfirmed",
        "unconfirmed",
        "the complete list of its owner no longer has the Token; it stays as it was",
    ),
}
"""What an object that a full crawl does not find becomes: its event, the rule of the finding, the sentence."""


class Source(Struct, frozen=True):
    """What objects come from: a list of a module, or one object where `run` is empty. `is_first`: nothing of it stands yet."""

    connection: Connection
    module: Module
    version: str
    run: str = ""
    reach: Reach = "window"
    is_first: bool = False


class Taken(Struct, frozen=True):
    """What came of some objects; `seen` has the digests of their keys where the crawl is a full one, refused ones included.

    `unnamed` counts those refused that do not even say which object they are.
    """

    counts: Counts
    seen: bytes = b""
    unnamed: int = 0


class _Bad(Struct, frozen=True):
    index: int
    body: bytes
    fault: Exception


class _Lifted(Struct):
    admitted: list[Admitted]
    bodies: list[tuple[int, bytes]]
    bad: list[_Bad]


class Intake:
    """Takes objects. An object that was counted is durable in the log, or stands there already, or is refused."""

    def __init__(
        self,
        *,
        log: EventLog,
        dialects: Mapping[str, Dialect],
        standing: Standing,
        positions: Positions,
        lookup: ContractLookup,
        existence: Existence,
        clock: Clock,
        folded_within_s: float = FOLDED_WITHIN_S,
    ) -> None:
        """`folded_within_s` is how long the tables are waited for before a list is compared with them."""
        self._folded_within_s = folded_within_s
        self._log = log
        self._dialects = dialects
        self._standing = standing
        self._positions = positions
        self._contracts = Contracts(lookup, clock)
        self._existence = existence
        self._clock = clock
        self._batches = asyncio.Semaphore(AT_ONCE)
        self._lifting = asyncio.Semaphore(LIFTED_AT_ONCE)
        self._recent: OrderedDict[tuple[Module, Key], bytes] = OrderedDict()
        self._settled: dict[Module, tuple[float, bool]] = {}
        self._refused: OrderedDict[bytes, None] = OrderedDict()

    async def take(self, source: Source, page: int, url: str, objects: Sequence[bytes | Raw], sent_at: Instant) -> Taken:
        """Return what came of a page's objects, once all of it is durable; `sent_at` is when the page was asked for.

        Raises LogUnavailable or StoreUnavailable: some may be durable by then, and taking them again changes nothing.
        """
        settled = await self.settle(source.module, SETTLED_FOR_S)
        counts, seen, unnamed = Counts(), bytearray(), 0
        start = 0
        while start < len(objects):
            end, size = start, 0
            while end < len(objects) and end - start < BATCH_OBJECTS and size < BATCH_BYTES:
                size += len(objects[end])
                end += 1
            batch = objects[start:end]
            async with self._batches:
                taken = await self._batch(source, page, url, start, batch, sent_at, settled)
            counts = counts.plus(taken.counts)
            seen += taken.seen
            unnamed += taken.unnamed
            start = end
        return Taken(counts, bytes(seen), unnamed)

    async def vanished(self, source: Source, page: int, keys: Sequence[Key]) -> None:
        """Append that the list no longer has these objects; raises LogUnavailable."""
        tag, rule, message = VANISHED[source.module]
        dialect, now = self._dialects[source.version], self._clock.now()
        entries = []
        for key in keys:
            envelope = Envelope(
                event_id=hashlib.blake2b("\n".join((source.run, *key)).encode(), digest_size=16).digest(),
                type=tag,
                module=source.module.value,
                origin="pull",
                connection=source.connection.name,
                party=key[0],
                key=key[1:],
                version=dialect.version,
                edition=dialect.edition,
                revision=dialect.revision,
                received_at=now,
                last_updated=None,
                payload=b"{}",
                crawl=Crawl(source.run, page),
                findings=(Finding("", rule, "warning", message),),
            )
            ids = (key[2], key[1]) if source.module is Module.TOKENS else key[1:2]
            entries.append(Entry(TOPIC[source.module], record_key(key[0], *ids), envelopes.encode(envelope)))
        for start in range(0, len(entries), BATCH_OBJECTS):
            await self._log.append(entries[start : start + BATCH_OBJECTS])
        if source.module is Module.TARIFFS:
            for key in keys:
                self._existence.forget(source.module.value, key)

    async def settle(self, module: Module, within_s: float = 0.0) -> bool:
        """Whether the tables have all that the log held at the call, after a short wait; an answer not older than that will do."""
        at, settled = self._settled.get(module, (-math.inf, False))
        now = asyncio.get_running_loop().time()
        if at + within_s >= now:
            return settled
        waits = [
            self._positions.reached(module.value, Position(TOPIC[module], partition, end - 1), self._folded_within_s)
            for partition, end in (await self._log.end(TOPIC[module])).items()
            if end
        ]
        settled = all(await asyncio.gather(*waits))
        self._settled[module] = now, settled
        return settled

    async def _batch(  # noqa: PLR0917
        self, source: Source, page: int, url: str, first: int, batch: Sequence[bytes | Raw], sent_at: Instant, settled: bool
    ) -> Taken:
        version = interface(source.version)
        dated = version.lists[Module.LOCATIONS].selects is not None  # 2.0 dates no object, and filters none by its change
        circumstances = Circumstances(
            connection=source.connection.name,
            origin="pull",
            received_at=self._clock.now() if dated else sent_at,
            crawl=Crawl(source.run, page) if source.run else None,
        )
        async with self._lifting:
            lifted = await asyncio.to_thread(_lift, self._dialects[source.version], source, first, batch, circumstances)
        admitted = lifted.admitted
        if not version.names_customer:
            admitted = await self._contracts.all_addressed(admitted)
        stood = {} if source.is_first else await self._standing.read(source.module, [one.key for one in admitted])
        async with self._lifting:
            judged = await asyncio.to_thread(
                _judge_all, source, admitted, lifted.bodies, stood, dated, sent_at, version.compares(source.module)
            )
        new, counts = [], Counts(objects=len(batch))
        latest = self._clock.now() - SETTLED_US
        for one, verdict in zip(admitted, judged.verdicts, strict=True):
            match verdict.kind:
                case "same":
                    counts = replace(counts, unchanged=counts.unchanged + 1)
                case "older":
                    counts = replace(counts, older=counts.older + 1)
                case "new" | "changed" if self._recent.get((source.module, one.key)) == one.envelope.event_id:
                    counts = replace(counts, unchanged=counts.unchanged + 1)  # it is in the log, and not in the tables yet
                case "new":
                    # The fold would take it for a repeat of what it was before it vanished.
                    new.append(amended(one, event_id=_again(one, source.run)) if verdict.skipped else one)
                case "changed":
                    is_old = one.envelope.last_updated is None or one.envelope.last_updated <= latest
                    if verdict.pushed and verdict.fields and settled and is_old:
                        counts = replace(counts, drifted=counts.drifted + 1)
                        new.append(amended(one, findings=(*one.envelope.findings, _drift(verdict.fields))))
                    else:
                        new.append(one)
                case "conflict":
                    pass  # it is among judged.bad
        bad = [*lifted.bad, *judged.bad]
        refusals = [self._rejection(source, url, one) for one in bad]
        late = await self._append(source, url, new, [one for one in refusals if one.rejected_id not in self._refused])
        for refusal in refusals:
            self._refused[refusal.rejected_id] = None
        while len(self._refused) > REFUSED_REMEMBERED:
            self._refused.popitem(last=False)
        counts = replace(counts, appended=len(new) - late, refused=len(bad) + late)
        if source.reach != "full":
            return Taken(counts)
        named = [_named(source, one.body) for one in bad]
        seen = b"".join([key_digest(key) for key in (*(one.key for one in admitted), *named) if key is not None])
        return Taken(counts, seen, named.count(None))

    async def _append(self, source: Source, url: str, new: Sequence[Admitted], refused: Sequence[Rejected]) -> int:
        """Append events and rejections; return how many of the events are too long for the log, and are rejected instead."""
        rejected = [Entry(REJECTED, one.rejected_id, rejections.encode(one)) for one in refused]
        late = 0
        try:
            if new or rejected:
                await self._log.append([*(one.entry for one in new), *rejected])
            kept = list(new)
        except RecordTooLarge:
            kept = []
            for number, one in enumerate(new):
                try:
                    await self._log.append([one.entry])
                    kept.append(one)
                except RecordTooLarge as fault:
                    late += 1
                    bad = _Bad(number, one.envelope.raw or one.envelope.payload, fault)
                    refusal = self._rejection(source, url, bad)
                    await self._log.append([Entry(REJECTED, refusal.rejected_id, rejections.encode(refusal))])
            with contextlib.suppress(RecordTooLarge):
                await self._log.append(rejected)
        name = source.module.value
        compared = interface(source.version).compares(source.module)
        for one in kept:
            self._recent[source.module, one.key] = one.envelope.event_id
        while len(self._recent) > RECENT:
            self._recent.popitem(last=False)
        for number, one in enumerate(kept, 1):
            if source.module is Module.CDRS:
                self._existence.add(name, one.key, hashlib.blake2b(one.envelope.payload, digest_size=16).digest())
            else:
                ids = one.envelope.key
                self._existence.add(
                    name, one.key, (ids[0] if source.module is Module.TOKENS else ids[-1]).encode() if compared else b""
                )
            for key in below(one):
                self._existence.add(name, key)
            if number % 100 == 0:
                await asyncio.sleep(0)
        return late

    def _rejection(self, source: Source, url: str, bad: _Bad) -> Rejected:
        sha256 = hashlib.sha256(bad.body).digest()
        fault = bad.fault
        # The same object refused by the next crawl is the same rejection, so that a faulty list fills nothing.
        head = "\n".join((source.connection.name, source.module.value, source.version, str(fault)))
        is_whole = not isinstance(fault, NotJson) and len(bad.body) <= OBJECT_BYTES
        return Rejected(
            rejected_id=hashlib.blake2b(head.encode(errors="surrogateescape") + sha256, digest_size=16).digest(),
            received_at=self._clock.now(),
            source="pull",
            connection=source.connection.name,
            party=fault.party if isinstance(fault, NotOwned) else source.connection.owner,
            module=source.module.value,
            version=source.version,
            method="GET",
            path=f"{url}#{bad.index}"[:2000],
            reason=str(fault)[:2000],
            status_code=2001,
            findings=fault.findings if isinstance(fault, Refused) else (),
            body=bad.body if is_whole else bad.body[:BODY_BYTES],
            body_length=len(bad.body),
            body_sha256=sha256,
        )


def _lift(dialect: Dialect, source: Source, first: int, batch: Sequence[bytes | Raw], circumstances: Circumstances) -> _Lifted:
    """Return what of the objects may be appended, and what may not."""
    connection, module = source.connection, source.module
    party = None if interface(source.version).names_owner else connection.owner
    verb, owns = VERB[module], connection.parties.__contains__
    found = _Lifted([], [], [])
    take = partial(admit, dialect, module, verb, party=party, ids=(), owns=owns)
    for index, member in enumerate(batch, first):
        body = bytes(member)
        try:
            if len(body) > OBJECT_BYTES:
                raise _refused("too_long", f"an object of {len(body):,} bytes is longer than {OBJECT_BYTES:,}")
            found.admitted.append(take(body=body, circumstances=circumstances))
            found.bodies.append((index, body))
        except (NotJson, Refused, NotOwned) as fault:
            found.bad.append(_Bad(index, body, fault))
    return found


class _Verdicts(Struct):
    verdicts: list[Judged]
    bad: list[_Bad]


def _judge_all(  # noqa: PLR0917
    source: Source,
    admitted: Sequence[Admitted],
    bodies: Sequence[tuple[int, bytes]],
    stood: Mapping[Key, Stood],
    dated: bool,
    sent_at: Instant,
    compares: bool,
) -> _Verdicts:
    """Return what each object would do, the later of two with one key beside the earlier one."""
    found = _Verdicts([], [])
    before: dict[Key, Admitted] = {}
    module = source.module
    for one, (index, body) in zip(admitted, bodies, strict=True):
        there = stood.get(one.key)
        verdict = judge(module, one.key, there, one.envelope, dated=dated, sent_at=sent_at)
        document = there.doc if there is not None else None
        if (twin := before.get(one.key)) is not None:
            document = twin.envelope.payload
            if document == one.envelope.payload:
                verdict = Judged("same")
            elif module is Module.CDRS:
                verdict = Judged("conflict")
            elif verdict.kind == "same":
                verdict = NEW  # it says what stood before the one in front of it
        if compares and document is not None:
            own = one.envelope.key[0]
            stands = spelled(document)
            if stands and stands != own:
                verdict = Judged("conflict")
                fault = _refused(
                    "case_conflict", f"{own!r} is there as {stands!r}, and ids are compared with their case before 2.2"
                )
                found.bad.append(_Bad(index, body, fault))
        elif verdict.kind == "conflict":
            text = "a CDR of this id with other values stands already, and a CDR never changes"
            found.bad.append(_Bad(index, body, _refused("cdr_conflict", text)))
        if verdict.kind in {"new", "changed"}:
            before[one.key] = one
        found.verdicts.append(verdict)
    return found


class _Named(Struct, frozen=True):
    country_code: str | None = None
    party_id: str | None = None
    id: str | None = None
    uid: str | None = None
    type: str | None = None


_name: Final = msgspec.json.Decoder(_Named)


def _named(source: Source, body: bytes) -> Key | None:
    """Return which object a refused one is about: it is listed, however wrong it is. None where it does not say."""
    try:
        said = _name.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
    named = (said.uid, said.type) if source.module is Module.TOKENS else (said.id,)
    if None in named:
        return None
    owner = source.connection.owner
    if said.country_code is not None and said.party_id is not None and interface(source.version).names_owner:
        owner = party_of(said.country_code, said.party_id)
    return (owner, *(identity(one) for one in named if one is not None))


def _again(admitted: Admitted, run: str) -> bytes:
    return hashlib.blake2b(admitted.envelope.event_id + run.encode(), digest_size=16).digest()


def _drift(fields: Sequence[str]) -> Finding:
    more = f" and {len(fields) - 20} more" if len(fields) > 20 else ""
    return Finding("", DRIFT, "warning", ", ".join(fields[:20]) + more)


def _refused(rule: str, message: str) -> Refused:
    return Refused((Finding("", rule, "error", message),))
