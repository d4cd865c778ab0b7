"""The Receiver interfaces without HTTP: a request in, durable in the log, an answer out.

Source: OCPI 2.2.1 mod_locations, mod_sessions, mod_cdrs, mod_tariffs and mod_tokens (Receiver Interface), status_codes,
transport_and_format; requirements 2.
"""

import asyncio
import contextlib
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Final
from urllib.parse import quote

import msgspec
from msgspec import Struct

from ingest.admission import LONG_BYTES, Admitted, Circumstances, Key, NotOwned, admit, below, spelled
from ingest.clients import Clients
from ingest.contracts import Contracts, Lookup
from ingest.existence import Documents, Existence
from ingest.requests import (
    TOO_LARGE,
    UNAVAILABLE,
    VERBS,
    Answer,
    PushRequest,
    Refusal,
    Spoken,
    is_id,
    misspelt,
    not_allowed,
    not_owned,
    refuse,
    remarks,
    spoken,
    spoken_of,
    token_type,
)
from schemas.events import Document
from schemas.ocpi.dialect import Dialect, NotJson, Refused
from schemas.ocpi.interface import HUBCLIENTINFO, RFID, TOKEN_TYPES, Interface
from schemas.types import Finding, Instant, Module, Verb, identity, instant, party_of
from streams.metrics import Metrics
from streams.ports import (
    Clock,
    Entry,
    EventLog,
    LogUnavailable,
    Position,
    Positions,
    RecordTooLarge,
    StoreUnavailable,
    TopicPartition,
)
from streams.projections.cdrs import same_values
from streams.topics import lane

PUT_READS: Final = 0.05
"""The share of the time that reads for the mere 200 or 201 of a PUT may take."""

REMEMBERED_AT_ONCE: Final = 1000

CREATED: Final = Answer(201, 1000, outcome="created")
UPDATED: Final = Answer(200, 1000, outcome="updated")
DELETED: Final = Answer(200, 1000, outcome="deleted")

# Every attribute of an enum's class costs as much as a call.
_PUT: Final = Verb.PUT
_PATCH: Final = Verb.PATCH
_DELETE: Final = Verb.DELETE
_CDRS: Final = Module.CDRS
_TOKENS: Final = Module.TOKENS
_LOCATIONS: Final = Module.LOCATIONS.value
_BY_NAME: Final = {module.value: module for module in Module}
_MODULES: Final = frozenset({*_BY_NAME, HUBCLIENTINFO})
_MOST_SEGMENTS: Final = {module: 5 if module is Module.LOCATIONS else 3 for module in Module}
_FORMS: Final = {
    Module.LOCATIONS: "a Location is at locations/{country_code}/{party_id}/{location_id}, below it /{evse_uid}/{connector_id}",
    Module.SESSIONS: "a Session is at sessions/{country_code}/{party_id}/{session_id}",
    Module.TARIFFS: "a Tariff is at tariffs/{country_code}/{party_id}/{tariff_id}",
    Module.TOKENS: "a Token is at tokens/{country_code}/{party_id}/{token_uid}?type={type}",
}
_LEVELS: Final = ("location", "evse", "connector")
_UNKNOWN: Final = {_LOCATIONS: 2003, Module.TOKENS.value: 2004}
"""The OCPI code for a PATCH of what nobody has PUT, where it is not 2001 (requirements 2.3)."""
_document: Final = msgspec.json.Decoder(Document)


class Push:
    """Takes what partners push. An answer with OCPI 1000 means: durable in the log.

    `public_url` is where partners reach this house (scheme and host, for `Location`); `patch_wait_s` is how long the PATCH of
    an unknown object waits for its projection.
    """

    def __init__(
        self,
        *,
        log: EventLog,
        dialects: Mapping[str, Dialect],
        clock: Clock,
        existence: Existence,
        lookup: Lookup,
        positions: Positions,
        metrics: Metrics,
        clients: Clients,
        public_url: str,
        patch_wait_s: float = 2.0,
    ) -> None:
        self._log = log
        self._clients = clients
        self._spoken = spoken(dialects)
        self._contracts = Contracts(lookup, clock)
        self._clock = clock
        self._existence = existence
        self._documents = Documents(lookup)
        self._positions = positions
        self._metrics = metrics
        self._public_url = public_url.rstrip("/")
        self._patch_wait_s = patch_wait_s
        self._posting: dict[Key, asyncio.Event] = {}
        self._put_reads_from = 0.0
        self._unsettled: dict[TopicPartition, int] | None = None
        self.heard: dict[tuple[str, Module], Instant] = {}
        """When each partner pushed last, by its name and the module; of this process alone."""
        self.missed: Callable[[str, Module, str], None] = lambda *_: None
        """Told the partner, the module and the id of an object that was pushed in parts, and is not known here."""

    async def receive(self, request: PushRequest) -> Answer:
        """Return the answer; a refused object is recorded in `ocpi.rejected` before it is answered. Raises nothing."""
        try:
            answer = await self.take(request)
        except Refusal as refusal:
            if refusal.answer.outcome == "unknown" and request.method != "DELETE":
                self.missed(request.connection.name, Module(request.module), request.segments[2])
            return await self.refuse(request, refusal)
        except RecordTooLarge:
            return await self.refuse(request, Refusal(TOO_LARGE, is_json=True))
        except LogUnavailable:
            answer = UNAVAILABLE
        return self._counted(request, answer)

    async def refuse(self, request: PushRequest, refusal: Refusal) -> Answer:
        """Record what was refused and return its answer; mere readers are answered and leave no record."""
        return self._counted(request, await refuse(request, refusal, self._log, self._clock))

    def take(self, request: PushRequest) -> Awaitable[Answer]:
        """Return the answer of an object that was taken; raises Refusal or LogUnavailable, at once or later, appending nothing."""
        spoken = spoken_of(self._spoken, request)
        module = _BY_NAME.get(request.module)
        if module is _CDRS:
            return self._cdr(request, spoken)
        if module is not None:
            return self._object(request, spoken, module)
        if request.module == HUBCLIENTINFO and spoken.interface.tells_clients:
            return self._clients.put(request, spoken)
        raise Refusal(Answer(404, 2000, f"OCPI {request.version} has no Receiver interface {request.module[:40]!r} here"))

    async def addressed(self, admitted: Admitted) -> Admitted:
        """Return the object with whom it concerns, where its version names the contract alone and the tables know whose it is."""
        if self._spoken[admitted.envelope.version].interface.names_customer:
            return admitted
        return await self._contracts.addressed(admitted)

    def append(self, admitted: Admitted) -> Awaitable[Answer]:
        """Append an object that is whole (PUT, POST).

        Raises Refusal for a CDR that contradicts the one that stands, and for what lies below an unknown Location or EVSE.
        """
        if admitted.envelope.module == _CDRS.value:
            return self._post_cdr(admitted)
        if len(admitted.envelope.key) > 1 and admitted.envelope.module == _LOCATIONS:
            return self._put_below(admitted)
        return self._put(admitted)

    async def _object(self, request: PushRequest, spoken: Spoken, module: Module) -> Answer:
        """Write an object at its own path: PUT, PATCH or DELETE, as far as the version has them."""
        segments, verb, interface = request.segments, VERBS.get(request.method), spoken.interface
        if not 3 <= len(segments) <= _MOST_SEGMENTS[module]:
            raise Refusal(Answer(404, 2001, _no_object(module, segments)))
        if verb is None or verb not in interface.written[module]:
            raise not_allowed(request, interface.allowed(module))
        party = self._owner(request, interface)
        ids = segments[2:]
        if module is _TOKENS:
            ids = (ids[0], token_type(request, "type") if interface.types_tokens else await self._kind(request, party, verb))
        admitted = await self._admit(request, spoken, module, verb, party=party, ids=ids)
        compared = not interface.folds_case  # a CDR, whose id has no case, never comes here
        if compared:
            await self._check_spelling(admitted)
        if verb is _PATCH:
            answer = await self._patch(admitted)
        elif verb is _DELETE:
            answer = await self._delete(admitted)
        else:
            answer = await self.append(admitted)
        if compared and verb is not _DELETE:
            self._existence.add(module.value, admitted.key, _own_id(admitted).encode())
        return answer

    async def _kind(self, request: PushRequest, party: str, verb: Verb) -> str:
        """Return the type of the Token that a path without one means, "" where the object itself says it."""
        if verb is not _PATCH or b'"type"' in request.body:
            return ""
        keys = [(party, identity(request.segments[2]), identity(kind)) for kind in TOKEN_TYPES]
        try:
            documents = await asyncio.gather(*(self._read(_TOKENS, key) for key in keys))
        except StoreUnavailable:
            documents = [None for _ in keys]
        found = [_token.decode(document) for document in documents if document is not None]
        if found:
            return max(found, key=lambda token: instant(token.last_updated) if token.last_updated else 0).type
        known = (kind for kind, key in zip(TOKEN_TYPES, keys, strict=True) if self._existence.get(_TOKENS.value, key) is not None)
        return next(known, RFID)

    async def _check_spelling(self, admitted: Admitted) -> None:
        """Raise Refusal where the object, or one that it is in, is there in another spelling alone."""
        envelope, module = admitted.envelope, Module(admitted.envelope.module)
        depths = (1,) if module is _TOKENS else range(1, len(envelope.key) + 1)
        for depth in depths:
            own = envelope.key[depth - 1]
            if own.lower() == own.upper():
                continue
            key = admitted.key if module is _TOKENS else admitted.key[: depth + 1]
            stands = (self._existence.get(module.value, key) or b"").decode()
            if not stands:
                with contextlib.suppress(StoreUnavailable):  # what the tables cannot say now is not in another spelling
                    document = await self._read(module, key)
                    stands = "" if document is None else spelled(document)
            if stands and stands != own:
                raise misspelt(envelope.party, own, stands, is_json=True)

    async def _put_below(self, admitted: Admitted) -> Answer:
        await self._expect(admitted, admitted.key[:-1])
        return await self._put(admitted)

    async def _put(self, admitted: Admitted) -> Answer:
        name = admitted.envelope.module
        if self._existence.get(name, admitted.key) is not None:
            await self._log.append([admitted.entry])
            if name == _LOCATIONS:
                await self._remember(admitted)
            return UPDATED
        # 201 against 200 is best knowledge and delays no PUT: the read may run beside the append, and only a part of the time,
        # because under a load of new objects these reads would take the machine from everything else.
        now = asyncio.get_running_loop().time()
        read: asyncio.Task[bytes | None] | None = None
        if self._documents.idle and now >= self._put_reads_from:
            read = asyncio.ensure_future(self._read(Module(name), admitted.key))
        known = False
        try:
            await self._log.append([admitted.entry])
        finally:
            if read is not None:
                spent = asyncio.get_running_loop().time() - now
                self._put_reads_from = now + spent / PUT_READS
                known = _found(read)
                read.cancel()
        known = known or self._existence.get(name, admitted.key) is not None
        self._existence.add(name, admitted.key)
        if name == _LOCATIONS:
            await self._remember(admitted)
        return UPDATED if known else CREATED

    async def _patch(self, admitted: Admitted) -> Answer:
        if self._existence.get(admitted.envelope.module, admitted.key) is None:
            await self._expect(admitted, admitted.key)
        await self._log.append([admitted.entry])
        return UPDATED

    async def _delete(self, admitted: Admitted) -> Answer:
        name = admitted.envelope.module
        if self._existence.get(name, admitted.key) is None and await self._known(admitted, admitted.key) is False:
            raise _unknown(admitted, admitted.key)
        await self._log.append([admitted.entry])
        self._existence.forget(name, admitted.key)
        return DELETED

    async def _remember(self, admitted: Admitted) -> None:
        """Note what came with an object whose append has returned."""
        for number, key in enumerate(below(admitted), 1):
            self._existence.add(admitted.envelope.module, key)
            if number % REMEMBERED_AT_ONCE == 0:
                await asyncio.sleep(0)

    async def _expect(self, admitted: Admitted, key: Key) -> None:
        """Return where the object of `key`, which stands in the lane of `admitted`, is there or cannot be told in time.

        Raises Refusal where it is unknown.
        """
        name = admitted.envelope.module
        if self._existence.get(name, key) is not None:
            return
        known = await self._known(admitted, key)
        if known is False:
            raise _unknown(admitted, key)
        if known:
            self._existence.add(name, key)

    async def _known(self, admitted: Admitted, key: Key) -> bool | None:
        """Whether the object of `key` is there; None where the tables cannot tell in time.

        What is never taken away is looked for before everything is folded, too.
        """
        module = Module(admitted.envelope.module)
        stays = _DELETE not in self._spoken[admitted.envelope.version].interface.written[module]
        try:
            if stays and await self._read(module, key) is not None:
                return True
            if not await self._caught_up(admitted):
                return None
            return await self._read(module, key) is not None
        except StoreUnavailable:
            return None

    async def _caught_up(self, admitted: Admitted) -> bool:
        """Wait until all that the object's lane holds by now is folded; False when that takes too long."""
        place = self._lane(admitted.entry)
        end = (await self._log.end(place.topic)).get(place.partition, 0)
        if end == 0:
            return True
        # The projection of a module's objects has the module's name.
        return await self._positions.reached(admitted.envelope.module, Position(*place, end - 1), self._patch_wait_s)

    async def _cdr(self, request: PushRequest, spoken: Spoken) -> Answer:
        if len(request.segments) == 3:
            raise not_allowed(request, "GET")
        if request.segments:
            raise Refusal(Answer(404, 2001, "a CDR is POSTed to cdrs, and read at the Location of the answer"))
        if request.method != "POST":
            raise not_allowed(request, "POST")
        # Before 2.2 a CDR does not say whose it is, and neither does its path: it is the credentials' party's.
        party = None if spoken.interface.names_owner else request.connection.owner
        return await self.append(await self._admit(request, spoken, _CDRS, Verb.POST, party=party, ids=()))

    async def _post_cdr(self, admitted: Admitted) -> Answer:
        """Append a CDR that is new; answer a repeat without appending; raises Refusal for another CDR of the same id."""
        key = admitted.key
        # Whoever comes while the same id is under way waits, so that one of them appends and the others compare.
        while (under_way := self._posting.get(key)) is not None:
            await under_way.wait()
        gate = self._posting[key] = asyncio.Event()
        try:
            return await self._post(admitted)
        finally:
            del self._posting[key]
            gate.set()

    async def _post(self, admitted: Admitted) -> Answer:
        location = self._location(admitted)
        digest = hashlib.blake2b(admitted.envelope.payload, digest_size=16).digest()
        known = self._existence.get(_CDRS.value, admitted.key)
        if known == digest:
            return Answer(200, 1000, location=location, outcome="duplicate")
        document = await self._stored_cdr(admitted, wait=known is not None)
        if document is not None:
            if not same_values(_document.decode(document), _document.decode(admitted.envelope.payload)):
                text = "a CDR of this id with other values stands already, and a CDR never changes; send a Credit CDR"
                conflict = Finding("", "cdr_conflict", "error", text)
                answer = Answer(200, 2001, text)
                raise Refusal(answer, party=admitted.envelope.party, findings=(conflict,), is_json=True)
            self._existence.add(_CDRS.value, admitted.key, digest)
            return Answer(200, 1000, location=location, outcome="duplicate")
        await self._log.append([admitted.entry])
        if known is not None:  # it is there, but cannot be read in time: the fold compares the two, and keeps the first
            return Answer(200, 1000, location=location, outcome="updated")
        self._existence.add(_CDRS.value, admitted.key, digest)
        return Answer(201, 1000, location=location, outcome="created")

    async def _stored_cdr(self, admitted: Admitted, *, wait: bool) -> bytes | None:
        """Return the CDR as the tables have it, None where it is new or cannot be read in time.

        What this process appended it knows itself; so only what stood in the log before must be folded first.
        """
        try:
            if not wait:
                await self._settle(admitted.entry)
            document = await self._read(Module.CDRS, admitted.key)
            if document is None and wait and await self._caught_up(admitted):
                document = await self._read(Module.CDRS, admitted.key)
        except StoreUnavailable:
            return None
        return document

    async def _settle(self, entry: Entry) -> None:
        """Wait, once a lane, until what the log held at the first CDR is folded; `patch_wait_s` at most."""
        if self._unsettled is None:
            ends = await self._log.end(entry.topic)
            self._unsettled = {TopicPartition(entry.topic, partition): end for partition, end in ends.items() if end}
        place = self._lane(entry)
        end = self._unsettled.get(place)
        if end is None:
            return
        if self._positions.folded("cdrs", place) >= end or await self._positions.reached(
            "cdrs", Position(*place, end - 1), self._patch_wait_s
        ):
            self._unsettled.pop(place, None)

    def _counted(self, request: PushRequest, answer: Answer) -> Answer:
        module = request.module if request.module in _MODULES else "other"
        verb = request.method if request.method in VERBS else "other"
        self._metrics.count("roamlog_push_requests_total", module, verb, answer.outcome)
        return answer

    async def _read(self, module: Module, key: Key) -> bytes | None:
        self._metrics.count("roamlog_push_lookups_total", module)
        return await self._documents.get(module, key)

    def _owner(self, request: PushRequest, interface: Interface) -> str:
        party = party_of(*request.segments[:2])
        if party not in request.connection.parties:
            raise not_owned(party)
        if not interface.folds_case and "*".join(request.segments[:2]) != party:
            raise misspelt(party, "*".join(request.segments[:2]), party)
        for object_id in request.segments[2:]:
            if not is_id(object_id):
                raise Refusal(Answer(404, 2001, "the path holds what can be no id"), party=party)
        return party

    async def _admit(
        self, request: PushRequest, spoken: Spoken, module: Module, verb: Verb, *, party: str | None, ids: tuple[str, ...]
    ) -> Admitted:
        connection, owns, dialect = request.connection, request.connection.parties.__contains__, spoken.dialect
        circumstances = Circumstances(
            connection=connection.name,
            origin="push",
            received_at=self._clock.now(),
            request_id=request.request_id,
            correlation_id=request.correlation_id,
            ocpi_from=request.ocpi_from,
            ocpi_to=request.ocpi_to,
            findings=remarks(request),
        )
        self.heard[connection.name, module] = circumstances.received_at
        try:
            if len(request.body) > LONG_BYTES:
                long = partial(admit, dialect, module, verb, request.body, circumstances, party=party, ids=ids, owns=owns)
                admitted = await asyncio.to_thread(long)
            else:
                admitted = admit(dialect, module, verb, request.body, circumstances, party=party, ids=ids, owns=owns)
        except NotJson as fault:
            text = f"the body is no JSON that can be read: {fault}"
            raise Refusal(Answer(400, 2001, text), party=party or "", is_json=False) from fault
        except Refused as fault:
            raise Refusal(Answer(200, 2001, str(fault)), party=party or "", findings=fault.findings, is_json=True) from fault
        except NotOwned as fault:
            raise not_owned(fault.party, is_json=True) from fault
        return admitted if spoken.interface.names_customer else await self.addressed(admitted)

    def _lane(self, entry: Entry) -> TopicPartition:
        return lane(entry.topic, entry.key, self._log.partitions(entry.topic))

    def _location(self, admitted: Admitted) -> str:
        envelope = admitted.envelope
        owner = "/".join(quote(part, safe="") for part in envelope.party.split("*", 1))
        return f"{self._public_url}/ocpi/{envelope.version}/receiver/cdrs/{owner}/{quote(envelope.key[0], safe='')}"


class _Token(Struct):
    type: str
    last_updated: str | None = None


_token: Final = msgspec.json.Decoder(_Token)


def _own_id(admitted: Admitted) -> str:
    ids = admitted.envelope.key
    return ids[0] if admitted.envelope.module == _TOKENS.value else ids[-1]


def _no_object(module: Module, segments: tuple[str, ...]) -> str:
    inside = module is Module.SESSIONS and "charging_periods" in segments[3:]
    return _FORMS[module] + ("; charging_periods are added by a PATCH of the Session" if inside else "")


def _unknown(admitted: Admitted, key: Key) -> Refusal:
    """Return the refusal of a request that needs the object of `key` to be there."""
    envelope = admitted.envelope
    module = envelope.module
    ids = envelope.key[: len(key) - 1]
    what = _LEVELS[len(ids) - 1] if module == _LOCATIONS else module[:-1]
    if module == Module.TOKENS.value:
        named = f"token {ids[0]!r} of type {ids[1]}"
    else:
        named = f"{what} {ids[-1]!r}" + "".join(f" in {at} {one!r}" for at, one in zip(_LEVELS, ids[:-1], strict=False))
    then = "" if envelope.type.endswith(".deleted") else "; PUT it first"
    answer = Answer(404, _UNKNOWN.get(module, 2001), f"no {named} of {envelope.party} is known{then}", outcome="unknown")
    return Refusal(answer, party=envelope.party, is_json=True)


def _found(read: asyncio.Task[bytes | None]) -> bool:
    return read.done() and not read.cancelled() and read.exception() is None and read.result() is not None
