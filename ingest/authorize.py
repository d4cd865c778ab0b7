"""What a CPO asks of us and waits for: may this Token charge here? Answered from the Tokens that eMSPs have pushed.

Source: OCPI 2.2.1 mod_tokens 2.2.2 (POST Method, real-time authorization); requirements 2.6.
"""

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, Protocol

import msgspec
from msgspec import Raw, Struct

from ingest.admission import spelled, token_record_key
from ingest.partners import Connection, PartnerRegistry
from ingest.requests import (
    RETRY_AFTER_S,
    TOO_LARGE,
    UNAVAILABLE,
    Answer,
    PushRequest,
    Refusal,
    Spoken,
    is_id,
    misspelt,
    not_allowed,
    refuse,
    remarks,
    spoken,
    spoken_of,
    token_type,
)
from schemas import codec
from schemas import envelope as envelopes
from schemas.events import Envelope
from schemas.ocpi.dialect import Dialect, NotJson
from schemas.types import Finding, Json, Module
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
from streams.topics import TOKENS, lane

ASKING: Final = frozenset({"CPO", "HUB"})
"""The roles that may ask about any eMSP's Token; every other partner may ask about its own alone."""

EVSES: Final = 10_000

BEHIND: Final = Answer(
    503,
    3000,
    "the tables cannot tell yet whether the token is known; please try again",
    retry_after_s=RETRY_AFTER_S,
    outcome="unavailable",
)


class Owned(NamedTuple):
    """A Token as its owner (`DE*MSP`) has it: canonical JSON."""

    party: str
    document: bytes


class TokenLookup(Protocol):
    """The Tokens, as their projection has them."""

    async def tokens(self, uid: str, kind: str) -> Sequence[tuple[str, bytes]]:
        """Return the owner and the canonical JSON of every Token of that uid and type, in any spelling.

        The one that came first stands first. Raises StoreUnavailable.
        """
        ...


class Authorize:
    """Answers what partners write to our Sender interfaces: `tokens/{uid}/authorize` and, never with success until there are
    commands, `sessions/{id}/charging_preferences`.

    An authorization is durable in the log before it is answered. `wait_s` is how long it waits for what was pushed before it.
    """

    def __init__(
        self,
        *,
        log: EventLog,
        dialects: Mapping[str, Dialect],
        clock: Clock,
        tokens: TokenLookup,
        positions: Positions,
        registry: PartnerRegistry,
        metrics: Metrics,
        wait_s: float = 2.0,
    ) -> None:
        self._log = log
        self._spoken = spoken(dialects)
        self._clock = clock
        self._tokens = tokens
        self._positions = positions
        self._registry = registry
        self._metrics = metrics
        self._wait_s = wait_s

    async def receive(self, request: PushRequest) -> Answer:
        """Return the answer; what is refused is recorded in `ocpi.rejected` first. Raises nothing."""
        try:
            answer = await self.take(request)
        except Refusal as refusal:
            return await self.refuse(request, refusal)
        except RecordTooLarge:
            return await self.refuse(request, Refusal(TOO_LARGE, is_json=True))
        except LogUnavailable:
            answer = UNAVAILABLE
        return self._counted(request, answer)

    async def refuse(self, request: PushRequest, refusal: Refusal) -> Answer:
        """Record what was refused and return its answer."""
        return self._counted(request, await refuse(request, refusal, self._log, self._clock))

    async def take(self, request: PushRequest) -> Answer:
        """Return the answer of what could be answered; raises Refusal or LogUnavailable."""
        spoken = spoken_of(self._spoken, request)
        match request.module, *request.segments:
            case "tokens", uid, "authorize" if spoken.interface.authorizes:
                if request.method != "POST":
                    raise not_allowed(request, "POST")
                return await self._authorize(request, spoken, uid)
            case "sessions", _, "charging_preferences" if spoken.interface.prefers:
                if request.method != "PUT":
                    raise not_allowed(request, "PUT")
                # OCPI 2.2.1 mod_sessions, ChargingPreferencesResponse: HTTP 404 and 2001 where the EVSE cannot do it.
                raise Refusal(Answer(404, 2001, "charging preferences cannot be given for this session"))
        raise Refusal(Answer(404, 2000, f"nothing of OCPI {request.version} is written at this path"))

    async def _authorize(self, request: PushRequest, spoken: Spoken, uid: str) -> Answer:
        dialect, interface = spoken
        if not is_id(uid):
            raise Refusal(Answer(404, 2001, "the path holds what can be no id"))
        kind = token_type(request, "type", "token_type")
        asked = _references(request.body, interface.reference_characters)
        try:
            found, current = await self._visible(request, uid, kind)
        except StoreUnavailable:
            return BEHIND
        if not found:
            if not current:
                return BEHIND
            raise Refusal(Answer(404, 2004, f"no token {uid!r} of type {kind} is known", outcome="unknown"))
        token = found[0]
        if not interface.folds_case and (stands := spelled(token.document)) != uid:
            raise misspelt(token.party, uid, stands)
        lowered = dialect.lower(Module.TOKENS, token.document)
        if lowered.withheld is not None:
            raise Refusal(Answer(404, 2004, f"token {uid!r} cannot be told in OCPI {dialect.version}: {lowered.withheld}"))
        event_id = secrets.token_bytes(16)
        allowed = _is_valid(token)
        # Never 2002 (not enough information): whether a Token may charge depends here on nothing but the Token. Nor is the
        # place looked at: an eMSP shall not refuse because of opening hours or an EVSE's status, and may not know the Location.
        info: dict[str, object] = {"allowed": "ALLOWED" if allowed else "BLOCKED"}
        if interface.answers_with_token:
            info["token"] = Raw(lowered.body)
        if allowed:
            info |= {"location": asked} if asked is not None else {}
            if interface.answers_with_token:
                # The reference comes back in the Session and the CDR, and finds this very event.
                info["authorization_reference"] = event_id.hex()
        answer = codec.encode(info)
        findings = remarks(request)
        if len(found) > 1:
            text = f"{len(found)} parties have a token {uid!r} of type {kind}; {token.party}'s was taken"
            findings += (Finding("", "ambiguous_token", "warning", text),)
        envelope = Envelope(
            event_id=event_id,
            type="token.authorized",
            module=Module.TOKENS.value,
            origin="push",
            connection=request.connection.name,
            party=token.party,
            key=(uid, kind),
            version=dialect.version,
            edition=dialect.edition,
            revision=dialect.revision,
            received_at=self._clock.now(),
            last_updated=None,
            payload=codec.encode({"location": asked, "answer": Raw(answer)}),
            request_id=request.request_id,
            correlation_id=request.correlation_id,
            ocpi_from=request.ocpi_from,
            ocpi_to=request.ocpi_to,
            findings=findings,
        )
        await self._log.append([Entry(TOKENS, token_record_key(token.party, uid, kind), envelopes.encode(envelope))])
        return Answer(200, 1000, data=answer, outcome="allowed" if allowed else "blocked")

    async def _visible(self, request: PushRequest, uid: str, kind: str) -> tuple[list[Owned], bool]:
        """Return the Tokens that may be meant, the best first, and whether nothing newer can stand in the log.

        Several eMSPs may have one uid: it is the card's. The one that OCPI-to names is meant; else a valid one rather than
        another, else the one that came first, so that nobody takes over a Token by pushing it too.
        """
        partitions = self._log.partitions(TOKENS)
        found = self._meant(request, await self._tokens.tokens(uid, kind))
        lanes = {lane(TOKENS, token_record_key(one.party, uid, kind), partitions) for one in found}
        behind = await self._behind(lanes or {TopicPartition(TOKENS, partition) for partition in range(partitions)})
        if not behind:
            return found, True
        current = all(await asyncio.gather(*(self._positions.reached("tokens", one, self._wait_s) for one in behind)))
        return self._meant(request, await self._tokens.tokens(uid, kind)), current

    async def _behind(self, lanes: set[TopicPartition]) -> list[Position]:
        """Return the last position of each lane that is not folded to its end."""
        ends = await self._log.end(TOKENS)
        return [
            Position(*one, ends[one.partition] - 1)
            for one in lanes
            if self._positions.folded("tokens", one) < ends.get(one.partition, 0)
        ]

    def _meant(self, request: PushRequest, tokens: Sequence[tuple[str, bytes]]) -> list[Owned]:
        to = request.ocpi_to
        meant = [
            one
            for one in map(Owned._make, tokens)
            if _may_ask(request.connection, one.party) and (to is None or to == one.party or not self._is_partner(to))
        ]
        return sorted(meant, key=lambda one: (one.party != to, not _is_valid(one)))

    def _is_partner(self, party: str) -> bool:
        """Whether the party is one that pushes for itself: who addresses it means none but it."""
        return any(party in connection.parties and not connection.is_hub for connection in self._registry.list())

    def _counted(self, request: PushRequest, answer: Answer) -> Answer:
        if request.module == Module.TOKENS.value:
            self._metrics.count("roamlog_authorizations_total", answer.outcome)
        return answer


class _Validity(Struct):
    valid: bool = False


_validity: Final = msgspec.json.Decoder(_Validity)


def _is_valid(token: Owned) -> bool:
    return _validity.decode(token.document).valid


def _may_ask(connection: Connection, owner: str) -> bool:
    return owner in connection.parties or any(role.role in ASKING for role in connection.roles)


def _references(body: bytes, most: int) -> dict[str, Json] | None:
    """Return the LocationReferences of a body, None where it has none; raises Refusal. An id has `most` characters.

    Which Connectors are meant, 2.1.1 says too; a Token's answer depends on none.
    """
    if not body.strip():
        return None
    try:
        value = codec.parse(body)
    except NotJson as fault:
        raise Refusal(Answer(400, 2001, f"the body is no JSON that can be read: {fault}"), is_json=False) from fault
    if value is None:
        return None
    if not isinstance(value, dict):
        raise _unreadable("", "LocationReferences is an object")
    location_id, evse_uids = value.get("location_id"), value.get("evse_uids")
    if not _is_reference(location_id, most):
        raise _unreadable("/location_id", f"the id of a Location is text of 1 to {most} characters")
    if evse_uids is None:
        return {"location_id": location_id}
    if not isinstance(evse_uids, list) or len(evse_uids) > EVSES or not all(_is_reference(uid, most) for uid in evse_uids):
        raise _unreadable("/evse_uids", f"it lists EVSE uids, each text of 1 to {most} characters")
    return {"location_id": location_id, "evse_uids": evse_uids}


def _is_reference(value: Json, most: int) -> bool:
    return isinstance(value, str) and 0 < len(value) <= most


def _unreadable(pointer: str, message: str) -> Refusal:
    finding = Finding(pointer, "location_references", "error", message)
    return Refusal(Answer(200, 2001, f"{pointer or '/'}: {message}"), findings=(finding,), is_json=True)
