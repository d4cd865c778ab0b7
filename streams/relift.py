"""Lifting again: what an older revision of a dialect made of an object is made anew, when folded, from what was received.

The log is never rewritten. `dialect.relifted` says which records are meant, so that every later fold, rebuild and verify reads
them alike.
"""

import hashlib
import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from schemas import envelope as envelopes
from schemas.events import EVENT_TYPE, LEVEL_EVENT_TYPE, Envelope
from schemas.ocpi.dialect import Dialect, Level, Lifted, NotJson, Refused
from schemas.relift import DialectRelifted, relifted_of
from schemas.types import Finding, Module, Verb, identity
from streams.ports import EventLog, Record, TopicPartition
from streams.topics import CHARGING, LOCATIONS, PARTNERS, TARIFFS, TOKENS, record_key

TOPIC_OF: Final[Mapping[Module, str]] = {
    Module.LOCATIONS: LOCATIONS,
    Module.SESSIONS: CHARGING,
    Module.CDRS: CHARGING,
    Module.TARIFFS: TARIFFS,
    Module.TOKENS: TOKENS,
}
"""Where the objects of a module stand."""

OF_THE_REQUEST: Final = frozenset({"content_type", "foreign_from"})
"""The rules whose findings speak of the request and not of the object: they stay as they were found."""

DRIFT: Final = "drift"
"""The rule of a finding that compares a pulled object with what stood before; it stays, too."""

_LEVELS: Final[Mapping[int, Level]] = {1: "location", 2: "evse", 3: "connector"}
_LIFTED: Final[Mapping[str, tuple[Module, Verb, Level]]] = {
    **{tag: (module, Verb(verb), "location") for (module, verb), tag in EVENT_TYPE.items() if verb != "DELETE"},
    **{tag: (Module.LOCATIONS, Verb(verb), _LEVELS[depth]) for (depth, verb), tag in LEVEL_EVENT_TYPE.items()},
}
"""The events whose payload a dialect lifted, and how."""

_SCANNED: Final = 5_000

_say: Final = logging.getLogger("roamlog")


class Relifted(Struct, frozen=True):
    """How many records of a version and module were lifted again, by which revision of the dialect."""

    version: str
    module: Module
    revision: int
    records: int


class Relifts:
    """Which records are lifted anew: a function of record and envelope that gives the envelope as it is to be folded."""

    def __init__(self, events: Sequence[DialectRelifted], dialects: Mapping[str, Dialect], epoch: int) -> None:
        """Offsets of another epoch speak of another log. A dialect older than an event cannot lift what the event asks for."""
        self.events = tuple(one for one in events if one.epoch == epoch)
        self._dialects = dialects
        self._below: dict[tuple[str, str], dict[tuple[str, int], list[tuple[int, int]]]] = {}
        for one in self.events:
            dialect = dialects.get(one.version)
            if dialect is None or dialect.revision < one.revision:
                text = "what OCPI %s sent as %s was lifted anew by revision %d of its dialect, which this release does not have"
                _say.warning(text, one.version, one.module, one.revision)
                continue
            below = self._below.setdefault((one.version, one.module.value), {})
            for topic, partition, end in one.ends:
                below.setdefault((topic, partition), []).append((one.revision, end))

    def __bool__(self) -> bool:
        return bool(self._below)

    def __call__(self, record: Record, envelope: Envelope) -> Envelope:
        """Return the envelope lifted anew, the same one where none is meant or it would change its key."""
        below = self._below.get((envelope.version, envelope.module))
        if below is None or envelope.type not in _LIFTED or not self._is_meant(below, record, envelope.revision):
            return envelope
        return lifted_again(record, envelope, self._dialects[envelope.version])

    def covers(self, record: Record, envelope: Envelope, revision: int) -> bool:
        """Whether an event says already that this record is lifted by that revision."""
        return any(
            one.version == envelope.version
            and one.module.value == envelope.module
            and one.revision >= revision
            and any((topic, partition) == record[:2] and record.offset < end for topic, partition, end in one.ends)
            for one in self.events
        )

    def name(self, topics: Iterable[str]) -> str:
        """Return what tells tables filled from these topics apart by what was lifted anew in them; '' where nothing was."""
        of = sorted(
            f"{version} {module} {self._dialects[version].revision} {sorted(below.items())}"
            for (version, module), below in self._below.items()
            if TOPIC_OF[Module(module)] in topics
        )
        return hashlib.blake2b("\n".join(of).encode(), digest_size=8).hexdigest() if of else ""

    def _is_meant(self, below: Mapping[tuple[str, int], Sequence[tuple[int, int]]], record: Record, revision: int) -> bool:
        events = below.get((record.topic, record.partition), ())
        return any(revision < of and record.offset < end for of, end in events)


async def read(log: EventLog) -> list[DialectRelifted]:
    """Return what was lifted anew so far, in the order in which it was. Raises LogUnavailable."""
    found: list[DialectRelifted] = []
    lane, offset = TopicPartition(PARTNERS, 0), 0
    end = (await log.end(PARTNERS)).get(0, 0)
    while offset < end:
        records = (await log.fetch({lane: offset}, max_records=_SCANNED, wait_s=0)).get(lane, [])
        if not records:
            break
        found += [one for record in records if (one := relifted_of(envelopes.decode(record.value))) is not None]
        offset = records[-1].offset + 1
    return found


def count_older(records: Iterable[Record], dialects: Mapping[str, Dialect], relifts: Relifts) -> Counter[tuple[str, Module]]:
    """Return how many of the records a dialect's present revision has not lifted, by version and module."""
    older: Counter[tuple[str, Module]] = Counter()
    for record in records:
        try:
            envelope = envelopes.decode(record.value)
        except envelopes.BadEnvelope:
            continue  # the projections put it aside
        dialect = dialects.get(envelope.version)
        if dialect is None or envelope.revision >= dialect.revision or envelope.type not in _LIFTED:
            continue
        if not relifts.covers(record, envelope, dialect.revision):
            older[envelope.version, Module(envelope.module)] += 1
    return older


def lifted_again(record: Record, envelope: Envelope, dialect: Dialect) -> Envelope:
    """Return the envelope as the dialect lifts it now. Who said it, when, and its event_id stay.

    Its key stays, because every table and the log's own order rest on it: where the object would get another one, or is refused
    now, the old lift stays, with the finding `relift_key` or `relift_refused`.
    """
    module, verb, level = _LIFTED[envelope.type]
    body = envelope.payload if envelope.raw is None else envelope.raw
    try:
        lifted = dialect.lift(module, verb, body, level=level, owner=envelope.party, received_at=envelope.received_at)
    except (NotJson, Refused, ValueError) as fault:
        return _kept(envelope, "relift_refused", f"revision {dialect.revision} of the dialect would refuse it: {fault}")
    moved = _moved(record, envelope, lifted)
    if moved:
        return _kept(envelope, "relift_key", f"revision {dialect.revision} of the dialect would give it {moved}")
    return replace(
        envelope,
        edition=dialect.edition,
        revision=dialect.revision,
        last_updated=lifted.last_updated,
        payload=lifted.payload,
        raw=lifted.raw,
        addressed_to=lifted.addressed_to or envelope.addressed_to,
        findings=tuple(one for one in envelope.findings if one.rule in OF_THE_REQUEST or one.rule == DRIFT) + lifted.findings,
        losses=lifted.losses,
    )


def _kept(envelope: Envelope, rule: str, message: str) -> Envelope:
    finding = Finding("", rule, "warning", f"{message}; it stays as revision {envelope.revision} lifted it")
    return replace(envelope, findings=(*envelope.findings, finding))


def _moved(record: Record, envelope: Envelope, lifted: Lifted) -> str:
    """Return what of the key would be another, '' where nothing would."""
    if lifted.party is not None and lifted.party.upper() != envelope.party:
        return f"the owner {lifted.party}"
    if lifted.ids:
        for one, other in zip(lifted.ids, envelope.key[-len(lifted.ids) :], strict=False):
            if one and identity(one) != identity(other):
                return f"the id {one!r}"
    if lifted.module is Module.CDRS and record_key(envelope.party, lifted.charging_key or envelope.key[0]) != record.key:
        return f"the Session {lifted.charging_key!r}"
    return ""
