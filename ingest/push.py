"""The Receiver interfaces without HTTP: a request in, durable in the log, an answer out.

Source: OCPI 2.2.1 mod_sessions and mod_cdrs (Receiver Interface), status_codes, transport_and_format; requirements 2.
"""

import asyncio
import hashlib
from collections.abc import Mapping
from typing import Final, NamedTuple
from urllib.parse import quote, unquote_to_bytes

import msgspec
from msgspec import Struct

from ingest.admission import TOPIC, Admitted, Circumstances, Key, NotOwned, admit
from ingest.existence import Documents, Existence, Lookup
from ingest.partners import Connection
from schemas import rejected as rejections
from schemas.events import Document
from schemas.ocpi.dialect import Dialect, NotJson, Refused
from schemas.rejected import BODY_BYTES, Rejected
from schemas.types import Finding, Instant, Module, Verb, party_of
from streams.metrics import Metrics
from streams.ports import Clock, Entry, EventLog, LogUnavailable, Position, Positions, StoreUnavailable, TopicPartition
from streams.projections.cdrs import same_values
from streams.topics import REJECTED, lane

RETRY_AFTER_S: Final = 5
ID_CHARACTERS: Final = 255
"""A longer path segment can be no id in any version (the longest is 39 characters)."""

PUT_READS: Final = 0.2
"""The share of the time that reads for the mere 200 or 201 of a PUT may take."""


class PushRequest(Struct, frozen=True, kw_only=True):
    """An authenticated request below `/ocpi/{version}/receiver/`.

    `segments` is the percent-decoded path after the module, `path` the whole as received with its query.
    """

    connection: Connection
    method: str
    version: str
    module: str
    segments: tuple[str, ...]
    path: str
    body: bytes
    content_type: str | None = None
    request_id: str | None = None
    correlation_id: str | None = None
    ocpi_from: str | None = None
    ocpi_to: str | None = None


class Answer(NamedTuple):
    """An HTTP status, an OCPI status code, and what the headers need. `message` is None where all went well."""

    http: int
    code: int
    message: str | None = None
    location: str | None = None
    allow: str | None = None
    retry_after_s: int | None = None
    close: bool = False
    outcome: str = "refused"


class Refusal(Exception):
    """An answer that refuses, and why. `is_json` is None where nobody has looked yet."""

    def __init__(self, answer: Answer, *, party: str = "", findings: tuple[Finding, ...] = (), is_json: bool | None = None) -> None:
        self.answer = answer
        self.party = party
        self.findings = findings
        self.is_json = is_json
        super().__init__(answer.message)


CREATED: Final = Answer(201, 1000, outcome="created")
UPDATED: Final = Answer(200, 1000, outcome="updated")
UNAVAILABLE: Final = Answer(
    503, 3000, "the event log cannot take anything now; please try again", retry_after_s=RETRY_AFTER_S, outcome="unavailable"
)

_CDRS: Final = Module.CDRS.value
_MODULES: Final = frozenset(map(str, TOPIC))
_VERBS: Final = {verb.value: verb for verb in Verb}
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
        public_url: str,
        patch_wait_s: float = 2.0,
    ) -> None:
        self._log = log
        self._dialects = dialects
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

    async def receive(self, request: PushRequest) -> Answer:
        """Return the answer; a refused object is recorded in `ocpi.rejected` before it is answered. Raises nothing."""
        try:
            answer = await self.take(request)
        except Refusal as refusal:
            return await self.refuse(request, refusal)
        except LogUnavailable:
            answer = UNAVAILABLE
        return self._counted(request, answer)

    async def refuse(self, request: PushRequest, refusal: Refusal) -> Answer:
        """Record what was refused and return its answer; mere readers are answered and leave no record."""
        answer = refusal.answer
        if request.method in _VERBS:
            try:
                await self.reject(request, refusal)
            except LogUnavailable:
                answer = UNAVAILABLE
        return self._counted(request, answer)

    async def take(self, request: PushRequest) -> Answer:
        """Return the answer of an object that was taken; raises Refusal or LogUnavailable, appending nothing."""
        if not request.version:
            raise Refusal(Answer(404, 2001, "the path is no UTF-8"))
        dialect = self._dialects.get(request.version)
        if dialect is None:
            raise Refusal(Answer(404, 3002, f"OCPI {request.version[:20]} is not spoken here; see /ocpi/versions"))
        if request.module == "sessions":
            return await self._session(request, dialect)
        if request.module == "cdrs":
            return await self._cdr(request, dialect)
        raise Refusal(Answer(404, 2000, f"OCPI {request.version} has no Receiver interface {request.module[:40]!r} here"))

    async def reject(self, request: PushRequest, refusal: Refusal) -> None:
        """Record a refusal; raises LogUnavailable."""
        at = self._clock.now()
        rejected = rejection(request, refusal, at)
        await self._log.append([Entry(REJECTED, rejected.rejected_id, rejections.encode(rejected))])

    async def append(self, admitted: Admitted) -> Answer:
        """Append an object that is whole (PUT, POST); raises Refusal for a CDR that contradicts the one that stands."""
        if admitted.envelope.module == _CDRS:
            return await self._post_cdr(admitted)
        return await self._put(admitted)

    async def _session(self, request: PushRequest, dialect: Dialect) -> Answer:
        segments, verb = request.segments, _VERBS.get(request.method)
        if len(segments) != 3:
            detail = "; charging_periods are added by a PATCH of the Session" if "charging_periods" in segments[3:] else ""
            raise Refusal(Answer(404, 2001, f"a Session is at sessions/{{country_code}}/{{party_id}}/{{session_id}}{detail}"))
        if verb is not Verb.PUT and verb is not Verb.PATCH:
            raise _not_allowed(request, "GET, PUT, PATCH")
        party = self._owner(request)
        admitted = self._admit(request, dialect, Module.SESSIONS, verb, party=party, ids=segments[2:])
        if verb is Verb.PATCH:
            return await self._patch(admitted, "sessions")
        return await self.append(admitted)

    async def _put(self, admitted: Admitted) -> Answer:
        name = admitted.envelope.module
        if self._existence.get(name, admitted.key) is not None:
            await self._log.append([admitted.entry])
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
        return UPDATED if known else CREATED

    async def _patch(self, admitted: Admitted, projection: str) -> Answer:
        name = admitted.envelope.module
        if self._existence.get(name, admitted.key) is None:
            known = await self._known(Module(name), admitted, projection)
            if known is False:
                text = f"no {name[:-1]} {admitted.envelope.key[0]!r} of {admitted.envelope.party} is known; PUT it first"
                raise Refusal(Answer(404, 2001, text, outcome="unknown"), party=admitted.envelope.party, is_json=True)
            await self._log.append([admitted.entry])
            if known:
                self._existence.add(name, admitted.key)
            return UPDATED
        await self._log.append([admitted.entry])
        return UPDATED

    async def _known(self, module: Module, admitted: Admitted, projection: str) -> bool | None:
        """Whether the object is there; None where the tables cannot tell in time."""
        try:
            if await self._read(module, admitted.key) is not None:
                return True
            if not await self._caught_up(admitted, projection):
                return None
            return await self._read(module, admitted.key) is not None
        except StoreUnavailable:
            return None

    async def _caught_up(self, admitted: Admitted, projection: str) -> bool:
        """Wait until all that the object's lane holds by now is folded; False when that takes too long."""
        place = self._lane(admitted.entry)
        end = (await self._log.end(place.topic)).get(place.partition, 0)
        if end == 0:
            return True
        return await self._positions.reached(projection, Position(*place, end - 1), self._patch_wait_s)

    async def _cdr(self, request: PushRequest, dialect: Dialect) -> Answer:
        if len(request.segments) == 3:
            raise _not_allowed(request, "GET")
        if request.segments:
            raise Refusal(Answer(404, 2001, "a CDR is POSTed to cdrs, and read at the Location of the answer"))
        if request.method != "POST":
            raise _not_allowed(request, "POST")
        admitted = self._admit(request, dialect, Module.CDRS, Verb.POST, party=None, ids=())
        return await self.append(admitted)

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
        known = self._existence.get(_CDRS, admitted.key)
        if known == digest:
            return Answer(200, 1000, location=location, outcome="duplicate")
        document = await self._stored_cdr(admitted, wait=known is not None)
        if document is not None:
            if not same_values(_document.decode(document), _document.decode(admitted.envelope.payload)):
                text = "a CDR of this id with other values stands already, and a CDR never changes; send a Credit CDR"
                conflict = Finding("", "cdr_conflict", "error", text)
                answer = Answer(200, 2001, text)
                raise Refusal(answer, party=admitted.envelope.party, findings=(conflict,), is_json=True)
            self._existence.add(_CDRS, admitted.key, digest)
            return Answer(200, 1000, location=location, outcome="duplicate")
        await self._log.append([admitted.entry])
        if known is not None:  # it is there, but cannot be read in time: the fold compares the two, and keeps the first
            return Answer(200, 1000, location=location, outcome="updated")
        self._existence.add(_CDRS, admitted.key, digest)
        return Answer(201, 1000, location=location, outcome="created")

    async def _stored_cdr(self, admitted: Admitted, *, wait: bool) -> bytes | None:
        """Return the CDR as the tables have it, None where it is new or cannot be read in time.

        What this process appended it knows itself; so only what stood in the log before must be folded first.
        """
        try:
            if not wait:
                await self._settle(admitted.entry)
            document = await self._read(Module.CDRS, admitted.key)
            if document is None and wait and await self._caught_up(admitted, "cdrs"):
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
        verb = request.method if request.method in _VERBS else "other"
        self._metrics.count("roamlog_push_requests_total", module, verb, answer.outcome)
        return answer

    async def _read(self, module: Module, key: Key) -> bytes | None:
        self._metrics.count("roamlog_push_lookups_total", module)
        return await self._documents.get(module, key)

    def _owner(self, request: PushRequest) -> str:
        party = party_of(*request.segments[:2])
        if party not in request.connection.parties:
            raise _not_owned(party)
        object_id = request.segments[2]
        if not object_id or len(object_id) > ID_CHARACTERS or not object_id.isprintable():
            raise Refusal(Answer(404, 2001, "the path holds what can be no id"), party=party)
        return party

    def _admit(
        self, request: PushRequest, dialect: Dialect, module: Module, verb: Verb, *, party: str | None, ids: tuple[str, ...]
    ) -> Admitted:
        connection = request.connection
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
        try:
            return admit(
                dialect, module, verb, request.body, circumstances, party=party, ids=ids, owns=connection.parties.__contains__
            )
        except NotJson as fault:
            text = f"the body is no JSON that can be read: {fault}"
            raise Refusal(Answer(400, 2001, text), party=party or "", is_json=False) from fault
        except Refused as fault:
            raise Refusal(Answer(200, 2001, str(fault)), party=party or "", findings=fault.findings, is_json=True) from fault
        except NotOwned as fault:
            raise _not_owned(fault.party, is_json=True) from fault

    def _lane(self, entry: Entry) -> TopicPartition:
        return lane(entry.topic, entry.key, self._log.partitions(entry.topic))

    def _location(self, admitted: Admitted) -> str:
        envelope = admitted.envelope
        owner = "/".join(quote(part, safe="") for part in envelope.party.split("*", 1))
        return f"{self._public_url}/ocpi/{envelope.version}/receiver/cdrs/{owner}/{quote(envelope.key[0], safe='')}"


def segments_of(raw_path: bytes) -> tuple[str, ...] | None:
    """Return the percent-decoded segments of a path, one trailing slash ignored; None where it is no UTF-8.

    Split before decoding: `%2F` inside an id separates nothing.
    """
    try:
        parts = raw_path.decode().split("/")[1:]
        if parts and not parts[-1]:
            parts.pop()
        if b"%" in raw_path:
            return tuple([unquote_to_bytes(part).decode() for part in parts])
        return tuple(parts)
    except UnicodeDecodeError:
        return None


def remarks(request: PushRequest) -> tuple[Finding, ...]:
    """Return what breaks the specification outside the object and is taken nevertheless."""
    if request.content_type is None and request.ocpi_from is None:
        return ()
    found = []
    if request.content_type is not None and not _says_json(request.content_type):
        found.append(Finding("", "content_type", "warning", f"sent as {request.content_type[:80]!r}, not as application/json"))
    if request.ocpi_from and request.ocpi_from not in request.connection.parties and not request.connection.is_hub:
        found.append(Finding("", "foreign_from", "warning", f"OCPI-from says {request.ocpi_from}, no party of this connection"))
    return tuple(found)


def rejection(request: PushRequest, refusal: Refusal, at: Instant) -> Rejected:
    """Return the record of a refused push: valid JSON whole, anything else cut."""
    is_json = _is_json(request.body) if refusal.is_json is None else refusal.is_json
    sha256 = hashlib.sha256(request.body).digest()
    answer = refusal.answer
    head = "\n".join((request.connection.name, request.method, request.path, request.request_id or "", str(at)))
    return Rejected(
        rejected_id=hashlib.blake2b(head.encode() + sha256, digest_size=16).digest(),
        received_at=at,
        source="push",
        connection=request.connection.name,
        party=refusal.party,
        module=request.module[:80],
        version=request.version[:20],
        method=request.method[:20],
        path=request.path[:2000],
        request_id=request.request_id,
        correlation_id=request.correlation_id,
        ocpi_from=request.ocpi_from,
        ocpi_to=request.ocpi_to,
        content_type=request.content_type,
        http_status=answer.http,
        status_code=answer.code,
        reason=answer.message or "",
        findings=refusal.findings,
        body=request.body if is_json else request.body[:BODY_BYTES],
        body_length=len(request.body),
        body_sha256=sha256,
    )


def _is_json(body: bytes) -> bool:
    try:
        msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return False
    return True


def _says_json(content_type: str) -> bool:
    essence = content_type.partition(";")[0].strip().lower()
    return essence == "application/json" or essence.endswith("+json")


def _not_allowed(request: PushRequest, allow: str) -> Refusal:
    return Refusal(Answer(405, 2000, f"{request.method} is not allowed here; {allow} is", allow=allow))


def _not_owned(party: str, is_json: bool | None = None) -> Refusal:
    return Refusal(Answer(404, 2001, f"{party[:40]} is no party of this connection"), party=party[:40], is_json=is_json)


def _found(read: asyncio.Task[bytes | None]) -> bool:
    return read.done() and not read.cancelled() and read.exception() is None and read.result() is not None
