"""What a partner asks to be written, what it is answered, and the record of what was refused."""

import hashlib
from collections.abc import Mapping
from typing import Final, NamedTuple
from urllib.parse import parse_qsl

import msgspec
from msgspec import Struct

from ingest.partners import Connection
from schemas import rejected as rejections
from schemas.ocpi.dialect import Dialect
from schemas.ocpi.interface import ID_CHARACTERS, RFID, Interface, interface
from schemas.rejected import BODY_BYTES, Rejected
from schemas.types import Finding, Instant, Verb
from streams.ports import Clock, Entry, EventLog, LogUnavailable
from streams.topics import REJECTED

RETRY_AFTER_S: Final = 5
VERBS: Final = {verb.value: verb for verb in Verb}


class PushRequest(Struct, frozen=True, kw_only=True):
    """An authenticated request below `/ocpi/{version}/receiver/` or `/ocpi/{version}/sender/`.

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

    @property
    def query(self) -> str:
        """The query as received, without its question mark."""
        return self.path.partition("?")[2]


class Answer(NamedTuple):
    """An HTTP status, an OCPI status code, and what the headers need. `message` is None where all went well.

    `data` is the JSON text of what is given back, None where nothing is.
    """

    http: int
    code: int
    message: str | None = None
    location: str | None = None
    allow: str | None = None
    retry_after_s: int | None = None
    close: bool = False
    outcome: str = "refused"
    data: bytes | None = None


class Refusal(Exception):
    """An answer that refuses, and why. `is_json` is None where nobody has looked yet."""

    def __init__(self, answer: Answer, *, party: str = "", findings: tuple[Finding, ...] = (), is_json: bool | None = None) -> None:
        self.answer = answer
        self.party = party
        self.findings = findings
        self.is_json = is_json
        super().__init__(answer.message)


class Spoken(NamedTuple):
    """A version: what its objects look like, and what its requests do."""

    dialect: Dialect
    interface: Interface


def spoken(dialects: Mapping[str, Dialect]) -> dict[str, Spoken]:
    """Return the versions by their numbers."""
    return {version: Spoken(dialect, interface(version)) for version, dialect in dialects.items()}


def spoken_of(versions: Mapping[str, Spoken], request: PushRequest) -> Spoken:
    """Return the version that the request speaks; raises Refusal."""
    found = versions.get(request.version)
    if found is None:
        if not request.version:
            raise Refusal(Answer(404, 2001, "the path is no UTF-8"))
        raise Refusal(Answer(404, 3002, f"OCPI {request.version[:20]} is not spoken here; see /ocpi/versions"))
    return found


UNAVAILABLE: Final = Answer(
    503, 3000, "the event log cannot take anything now; please try again", retry_after_s=RETRY_AFTER_S, outcome="unavailable"
)
TOO_LARGE: Final = Answer(413, 2001, "the object is larger than one record of the event log may be")


async def refuse(request: PushRequest, refusal: Refusal, log: EventLog, clock: Clock) -> Answer:
    """Record what was refused and return its answer; mere readers are answered and leave no record."""
    answer = refusal.answer
    refusal.answer = answer._replace(code=interface(request.version).code(answer.code))
    if request.method in VERBS:
        rejected = rejection(request, refusal, clock.now())
        try:
            await log.append([Entry(REJECTED, rejected.rejected_id, rejections.encode(rejected))])
        except LogUnavailable:
            return UNAVAILABLE
    return refusal.answer


def rejection(request: PushRequest, refusal: Refusal, at: Instant) -> Rejected:
    """Return the record of a refused request: valid JSON whole, anything else cut."""
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


def is_id(text: str) -> bool:
    """Whether a path segment can be an id of any version."""
    return bool(text) and len(text) <= ID_CHARACTERS and text.isprintable()


def token_type(request: PushRequest, *names: str) -> str:
    """Return the TokenType that the query's parameters of these names say, RFID where they say none; raises Refusal.

    Source: OCPI 2.2.1 mod_tokens 2.1.1, 2.2.1 and 2.2.2 (request parameters).
    """
    if "?" not in request.path:
        return RFID
    said = {value for name, value in parse_qsl(request.query) if name in names}
    if len(said) > 1:
        raise Refusal(Answer(200, 2001, "the query names several token types; a Token has one"))
    kind = said.pop() if said else RFID
    if not is_id(kind):
        raise Refusal(Answer(200, 2001, "the query's type can be no TokenType"))
    return kind


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


def not_allowed(request: PushRequest, allow: str) -> Refusal:
    """Return the refusal of a verb that the path does not know."""
    return Refusal(Answer(405, 2000, f"{request.method} is not allowed here; {allow} is", allow=allow))


def misspelt(party: str, said: str, stands: str, is_json: bool | None = None) -> Refusal:
    """Return the refusal of what is there in another spelling only, in a version that tells them apart (2.1.1 and before)."""
    text = f"{said[:80]!r} addresses nothing, {stands[:80]!r} is known: before OCPI 2.2 upper and lower case differ"
    finding = Finding("", "case_conflict", "error", text)
    return Refusal(Answer(404, 2001, text), party=party, findings=(finding,), is_json=is_json)


def not_owned(party: str, is_json: bool | None = None) -> Refusal:
    """Return the refusal of another party's object (requirements 2.7: HTTP 404 is allowed for it)."""
    return Refusal(Answer(404, 2001, f"{party[:40]} is no party of this connection"), party=party[:40], is_json=is_json)


def _is_json(body: bytes) -> bool:
    try:
        msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return False
    return True


def _says_json(content_type: str) -> bool:
    essence = content_type.partition(";")[0].strip().lower()
    return essence == "application/json" or essence.endswith("+json")
