"""Partners that register themselves: GET, POST, PUT and DELETE of `/ocpi/{version}/credentials`.

Source: OCPI 2.2.1 credentials; requirements 4.2 (the handshake, its Receiver) and 10 (points 3 to 7).
"""

import hashlib
import logging
from collections.abc import Collection
from typing import Final

import msgspec
from msgspec import Struct

from ingest import auth
from ingest.connections import Connection
from ingest.errors import PartnerConflict
from ingest.ourselves import Ourselves
from ingest.partners import Bearer, PartnerRegistry
from ingest.peers import Credentials as Theirs
from ingest.peers import InvalidCredentials, PeerFault, Peers, hidden, read_credentials, redacted
from ingest.requests import UNAVAILABLE, Answer, Refusal
from schemas import rejected as rejections
from schemas.events import Envelope
from schemas.ocpi.interface import CREDENTIALS, interface
from schemas.party import MODULE, PartnerRegistered, PartnerUnregistered, PartnerUpdated, Role, Terms
from schemas.rejected import Rejected
from schemas.types import Json
from streams.ports import Clock, Entry, EventLog, LogUnavailable
from streams.topics import REJECTED

BODY_BYTES: Final = 256 * 1024
"""The longest Credentials that are read: a hub's list of all parties behind it fits."""

ALLOWED: Final = "GET, POST, PUT, DELETE"
_say: Final = logging.getLogger("roamlog")
_encode: Final = msgspec.json.Encoder().encode


class CredentialsRequest(Struct, frozen=True, kw_only=True):
    """An authenticated request to the credentials of a version. `presented` is what its Authorization header holds.

    `path` is as received, without its query.
    """

    bearer: Bearer
    presented: bytes
    method: str
    version: str
    path: str
    body: bytes
    request_id: str | None = None
    correlation_id: str | None = None


class Credentials:
    """The Receiver of registrations. Nothing is changed by one that fails, and its token A stays good."""

    def __init__(  # noqa: PLR0917
        self,
        registry: PartnerRegistry,
        peers: Peers,
        ourselves: Ourselves,
        versions: Collection[str],
        log: EventLog,
        clock: Clock,
    ) -> None:
        self._registry = registry
        self._peers = peers
        self._ourselves = ourselves
        self._versions = versions
        self._log = log
        self._clock = clock

    async def receive(self, request: CredentialsRequest) -> Answer:
        """Return the answer, once what was asked stands in the log."""
        try:
            return await self._answer(request)
        except Refusal as refusal:
            answer = refusal.answer
            answer = answer._replace(code=interface(request.version).code(answer.code))
            _say.warning("%s credentials of %s refused: %s", request.method[:20], request.bearer.name, answer.message)
            if request.method in {"POST", "PUT"}:
                try:
                    await self._record(request, answer)
                except LogUnavailable:
                    return UNAVAILABLE
            return answer
        except LogUnavailable:
            return UNAVAILABLE

    async def _answer(self, request: CredentialsRequest) -> Answer:
        if request.version not in self._versions:
            raise Refusal(Answer(404, 3002, f"OCPI {request.version[:20]} is not spoken here; see /ocpi/versions"))
        bearer, connection = request.bearer, request.bearer.connection
        is_registered = bearer.is_partner and connection is not None and connection.is_registered
        _check_use(bearer, request.method)
        match request.method:
            case "GET":
                return self._own(request, auth.token_of(request.presented, bearer.encoding))
            case "POST" if is_registered or bearer.use == "offered":
                raise _not_now("already registered; change it with PUT", "GET, PUT, DELETE")
            case "POST":
                return await self._register(request)
            case "PUT" | "DELETE" if not is_registered:
                raise _not_now("not registered yet; register with POST", "GET, POST")
            case "PUT" if connection is not None:
                return await self._update(request, connection)
            case "DELETE" if connection is not None:
                await self._registry.say(PartnerUnregistered(bearer.name, "them"), connection.owner, self._circumstances(request))
                _say.info("partner %s unregistered itself", bearer.name)
                return Answer(200, 1000, data=b"null" if request.version == "2.0" else None)
            case _:
                raise Refusal(Answer(405, 2000, f"{request.method[:20]} is not allowed here; {ALLOWED} are", allow=ALLOWED))

    async def _register(self, request: CredentialsRequest) -> Answer:
        bearer = request.bearer
        terms, token = await self._agree(request, None)
        allowed = bearer.invitation.allowed if bearer.invitation is not None else ()
        event = PartnerRegistered(bearer.name, "them", bearer.token_hash, terms, allowed)
        try:
            await self._registry.say(event, terms.roles[0].party, self._circumstances(request))
        except PartnerConflict as conflict:
            if conflict.reason in {"spent", "name"}:  # another request with the same token was faster
                raise _not_now("already registered; change it with PUT", "GET, PUT, DELETE") from conflict
            raise _refused(conflict) from conflict
        _say.info("partner %s registered itself in OCPI %s", bearer.name, terms.version)
        return self._own(request, token)

    async def _update(self, request: CredentialsRequest, connection: Connection) -> Answer:
        terms, token = await self._agree(request, connection)
        event = PartnerUpdated(connection.name, "them", connection.token_hash, terms)
        try:
            await self._registry.say(event, terms.roles[0].party, self._circumstances(request))
        except PartnerConflict as conflict:
            raise _refused(conflict) from conflict
        _say.info("partner %s changed its credentials, in OCPI %s now", connection.name, terms.version)
        return self._own(request, token)

    async def _agree(self, request: CredentialsRequest, connection: Connection | None) -> tuple[Terms, str]:
        """Return the terms with whoever sent the body, and the new token to present to us; raises Refusal."""
        bearer, version = request.bearer, request.version
        try:
            said: Json = msgspec.json.decode(request.body)
        except (ValueError, RecursionError):
            raise Refusal(Answer(400, 2001, "the body is no JSON that can be read")) from None
        before = connection or bearer.connection
        role = self._role(bearer, before)
        theirs = self._read(said, version, frozenset(), role)
        encoding = before.encoding if before is not None and before.is_registered else bearer.encoding
        try:
            peer = await self._peers.discover(theirs.url, theirs.token, encoding, version)
        except PeerFault as fault:
            text = hidden(str(fault), theirs.token, auth.token_of(request.presented, bearer.encoding))
            raise Refusal(Answer(200, fault.code, text)) from None
        theirs = self._read(said, version, peer.modules, role)
        token = auth.new_token()
        terms = Terms(
            roles=theirs.roles,
            version=version,
            token_hashes=self._registry.hashes(token),
            endpoints=peer.endpoints,
            versions_url=theirs.url,
            outbound=self._registry.sealed(bearer.name, theirs.token),
            encoding=peer.encoding,
            behind=theirs.behind,
        )
        return terms, token

    def _read(self, said: Json, version: str, modules: Collection[str], role: Role | None) -> Theirs:
        try:
            theirs = read_credentials(version, said, modules=modules, role=role, checked=self._peers.checked)
            self._ourselves.check(theirs.roles)
        except InvalidCredentials as fault:
            raise Refusal(Answer(200, 2001, str(fault))) from None
        except PartnerConflict as conflict:
            raise _refused(conflict) from conflict
        return theirs

    def _role(self, bearer: Bearer, before: Connection | None) -> Role | None:
        """Return the role that a partner of 2.1.1 or before has, where more is known than its endpoints tell."""
        if before is not None:
            return before.roles[0].role
        named = bearer.invitation.roles if bearer.invitation is not None else ()
        return named[0] if len(named) == 1 else None

    def _own(self, request: CredentialsRequest, token: str) -> Answer:
        connection = self._registry.get(request.bearer.name)
        role = self._role(request.bearer, connection) or "CPO"
        own = {one.party for one in connection.roles} if connection is not None else set()
        clients = [one for one in self._registry.clients() if one.party not in own]
        return Answer(200, 1000, data=_encode(self._ourselves.credentials(request.version, token, role, clients)))

    def _circumstances(self, request: CredentialsRequest) -> Envelope:
        presented = auth.token_of(request.presented, request.bearer.encoding)
        return Envelope(
            event_id=b"",
            type="",
            module=MODULE,
            origin="push",
            connection=request.bearer.name,
            party="",
            key=(request.bearer.name,),
            version=request.version,
            edition="",
            revision=0,
            received_at=self._clock.now(),
            last_updated=None,
            payload=b"",
            raw=redacted(request.body, presented) or None,
            request_id=request.request_id,
            correlation_id=request.correlation_id,
        )

    async def _record(self, request: CredentialsRequest, answer: Answer) -> None:
        """Keep what was refused, with its tokens replaced; it is never replayed, because whoever asked waits no longer."""
        now = self._clock.now()
        body = redacted(request.body, auth.token_of(request.presented, request.bearer.encoding))
        kept = body or request.body  # what is no JSON could hold a token anywhere, so only its length and hash are kept
        sha256 = hashlib.sha256(kept).digest()
        head = "\n".join((request.bearer.name, request.method, request.path, request.request_id or "", str(now)))
        rejected = Rejected(
            rejected_id=hashlib.blake2b(head.encode() + sha256, digest_size=16).digest(),
            received_at=now,
            source="push",
            connection=request.bearer.name,
            module=CREDENTIALS,
            version=request.version[:20],
            method=request.method,
            path=request.path[:2000],
            request_id=request.request_id,
            correlation_id=request.correlation_id,
            http_status=answer.http,
            status_code=answer.code,
            reason=answer.message or "",
            body=body,
            body_length=len(kept),
            body_sha256=sha256,
        )
        await self._log.append([Entry(REJECTED, rejected.rejected_id, rejections.encode(rejected))])


def _check_use(bearer: Bearer, method: str) -> None:
    """Raise Refusal where the token opens nothing any more: 405 where the verb belongs to a registration that is over."""
    if bearer.use == "spent" and method == "POST":
        raise _not_now("already registered; this token was used for it", "")
    if bearer.use == "gone" and method in {"PUT", "DELETE"}:
        raise _not_now("not registered any more; ask for a new invitation", "")
    if bearer.use in {"spent", "gone"}:
        raise Refusal(Answer(401, 2000, "the Authorization header holds a token that opens nothing any more"))


def _not_now(text: str, allow: str) -> Refusal:
    return Refusal(Answer(405, 2000, text, allow=allow))


def _refused(conflict: PartnerConflict) -> Refusal:
    """Return what a partner is told of a conflict: nothing of other partners."""
    said = {
        "party": "a party of these credentials belongs to another connection, or is ourselves",
        "identity": "these credentials are not those of who was invited or registered; ask the operator to allow it",
        "spent": "the credentials were changed meanwhile; use the newest token",
    }
    _say.warning("credentials in conflict: %s", conflict)
    return Refusal(Answer(200, 2001, said.get(conflict.reason, "these credentials cannot be taken")))
