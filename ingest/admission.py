"""From an object as received to the log entry that says so: what pushes, loads and replays have in common."""

import hashlib
from collections.abc import Callable
from typing import Final

import msgspec
from msgspec import Struct

from schemas import envelope as envelopes
from schemas.events import EVENT_TYPE, Crawl, Envelope, Origin
from schemas.ocpi.dialect import Dialect, Lifted, Refused
from schemas.types import Finding, Instant, Module, Verb, identity
from streams.ports import Entry
from streams.topics import CHARGING, record_key

TOPIC: Final[dict[Module, str]] = {Module.SESSIONS: CHARGING, Module.CDRS: CHARGING}
"""Where a module's events stand."""

_TYPE: Final = {(module.value, verb): tag for (module, verb), tag in EVENT_TYPE.items()}
_TOPIC: Final = {module.value: topic for module, topic in TOPIC.items()}
_json: Final = msgspec.json.Encoder().encode

Key = tuple[str, ...]
"""What an object is found by in the tables: the owner as `NL*TNM`, then its ids lowered."""


class Circumstances(Struct, frozen=True, kw_only=True):
    """What an envelope says beside the object: over which connection it came, when, under which message ids."""

    connection: str
    origin: Origin
    received_at: Instant
    request_id: str | None = None
    correlation_id: str | None = None
    ocpi_from: str | None = None
    ocpi_to: str | None = None
    crawl: Crawl | None = None
    findings: tuple[Finding, ...] = ()


class Admitted(Struct, frozen=True):
    """An object that may be appended: its key in the tables, its envelope, its entry for the log."""

    key: Key
    envelope: Envelope
    entry: Entry


class NotOwned(Exception):
    """The connection may not write the owner's objects."""

    def __init__(self, party: str) -> None:
        self.party = party
        super().__init__(f"{party} is no party of this connection")


def admit(
    dialect: Dialect,
    module: Module,
    verb: Verb,
    body: bytes,
    circumstances: Circumstances,
    *,
    party: str | None,
    ids: tuple[str, ...],
    owns: Callable[[str], bool],
) -> Admitted:
    """Return the object lifted, checked against its path and enveloped.

    `party` and `ids` are what the path says, None and () where only the body tells (a POST). Where both speak they must
    agree, without regard to case. Raises NotJson, Refused, or NotOwned when the body names a party that `owns` denies.
    Source: OCPI 2.2.1 transport_and_format, client owned object push; requirements 2.7.
    """
    name = module.value  # an enum's own hash is Python's and would cost more than the look-ups that need it
    lifted = dialect.lift(module, verb, body)
    owner = _owner(lifted, party)
    if party is None and not owns(owner):
        raise NotOwned(owner)
    said = _ids(lifted, ids)
    # A CDR stands in the lane of its session, so that one fold sees both.
    record = record_key(owner, lifted.charging_key or said[0]) if module is Module.CDRS else record_key(owner, *said)
    lowered = (owner, *map(identity, said))
    envelope = Envelope(
        event_id=event_id(circumstances, lowered, lifted, body),
        type=_TYPE[name, verb.value],
        module=name,
        origin=circumstances.origin,
        connection=circumstances.connection,
        party=owner,
        key=said,
        version=dialect.version,
        edition=dialect.edition,
        revision=dialect.revision,
        received_at=circumstances.received_at,
        last_updated=lifted.last_updated,
        payload=lifted.payload,
        raw=lifted.raw,
        request_id=circumstances.request_id,
        correlation_id=circumstances.correlation_id,
        ocpi_from=circumstances.ocpi_from,
        ocpi_to=circumstances.ocpi_to,
        addressed_to=lifted.addressed_to or circumstances.ocpi_to,
        crawl=circumstances.crawl,
        findings=circumstances.findings + lifted.findings if circumstances.findings else lifted.findings,
        losses=lifted.losses,
    )
    return Admitted(lowered, envelope, Entry(_TOPIC[name], record, envelopes.encode(envelope)))


def event_id(circumstances: Circumstances, key: Key, lifted: Lifted, body: bytes) -> bytes:
    """Return 16 bytes that are equal for a retry of the same request and for nothing else.

    An object without last_updated hashes its receipt: a repeat then counts as another event, which folds to the same.
    """
    at = (circumstances.received_at,) if lifted.last_updated is None else lifted.last_updated
    # As JSON text nothing of one part can be taken for another's, whatever an id holds.
    head = hashlib.blake2b(_json((circumstances.connection, lifted.module, key, lifted.verb, at)), digest_size=16)
    head.update(body)
    return head.digest()


def _owner(lifted: Lifted, party: str | None) -> str:
    if lifted.party is None:
        if party is None:
            raise _refused("", "owner_missing", "neither the path nor the object names its owner")
        return party
    owner = lifted.party.upper()
    if party is not None and owner != party:
        raise _refused("/party_id", "owner_mismatch", f"the object says {owner}, its path {party}")
    return owner


def _ids(lifted: Lifted, ids: tuple[str, ...]) -> tuple[str, ...]:
    if not lifted.ids:
        if not ids:
            raise _refused("/id", "id_missing", "neither the path nor the object names its id")
        return ids
    # Compared as sent first: lowering both costs more than most requests need.
    if ids and lifted.ids != ids and tuple(map(identity, lifted.ids)) != tuple(map(identity, ids)):
        raise _refused("/id", "id_mismatch", f"the object says {lifted.ids[-1]!r}, its path {ids[-1]!r}")
    return lifted.ids


def _refused(pointer: str, rule: str, message: str) -> Refused:
    return Refused((Finding(pointer, rule, "error", message),))
