"""The registry of partners: it follows the topic ocpi.partners, and writes to it what is said of them."""

import asyncio
import re
import secrets
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from ingest import auth
from ingest.connections import Connection, Invitation, Meant, Partners, Use, fold
from ingest.errors import InvalidPartner, PartnerConflict, UnknownPartner
from ingest.secrets import Sealer
from schemas import envelope as envelopes
from schemas.events import Envelope
from schemas.ocpi.interface import interface
from schemas.party import (
    MODULE,
    ROLES,
    TAGS,
    TYPES,
    Client,
    ClientReplaced,
    Encoding,
    PartnerAdded,
    PartnerEvent,
    PartnerInvited,
    PartnerOffered,
    PartnerPullSet,
    PartnerRemoved,
    PartyRole,
    PullPolicy,
    Role,
    Said,
    partner_event_of,
)
from schemas.types import party_of
from streams.ports import Clock, Entry, EventLog, LogUnavailable, Record, TopicPartition
from streams.topics import PARTNERS, record_key

__all__ = ["Bearer", "Connection", "Issued", "PartnerRegistry", "checked_name", "parties_of", "party_roles", "roles_of"]

OFFER_US: Final = 3_600_000_000
"""For how long (microseconds) a partner may look at our versions with a token that we gave it and it has not taken."""

ROTATED_US: Final = 30 * 24 * 3_600_000_000
"""For how long a token opens that a partner who is connected was given and whose answer was lost: it may push with no other."""

SETTLED_S: Final = 2.0

RESERVED: Final = frozenset({"linker", "load", "operator"})
"""Names of connections that no partner may have, because envelopes use them for the operator's own acts, and for ours."""

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_PARTY: Final = re.compile(r"([A-Za-z]{2})\*([A-Za-z0-9]{1,3})")
_VERSION: Final = re.compile(r"[0-9]+(\.[0-9]+){1,2}")
_LANE: Final = TopicPartition(PARTNERS, 0)
_CACHED: Final = 4096


class Bearer(Struct, frozen=True):
    """Who presents a token, and what it is good for. There is no `connection` yet while somebody registers."""

    name: str
    use: Use
    token_hash: str
    encoding: Encoding
    connection: Connection | None
    invitation: Invitation | None

    @property
    def is_partner(self) -> bool:
        """Whether the token opens the functional modules."""
        return self.connection is not None and self.use in {"partner", "replaced", "offered"}


class Issued(NamedTuple):
    """A new connection and its token, which is shown this once."""

    connection: Connection
    token: str

    def __repr__(self) -> str:
        return f"Issued({self.connection.name!r}, …)"


def party_roles(parties: Iterable[str], roles: Iterable[str]) -> tuple[PartyRole, ...]:
    """Return every role for every party; raises InvalidPartner for what is no `NL*TNM` or no role of OCPI."""
    found = []
    for party in parties:
        country_code, party_id = _party(party)
        found += [PartyRole(role, country_code, party_id) for role in roles_of(roles)]
    if not found:
        raise InvalidPartner("a partner has at least one party and one role")
    return tuple(dict.fromkeys(found))


def roles_of(texts: Iterable[str]) -> tuple[Role, ...]:
    """Return roles, each once; raises InvalidPartner for what is none of OCPI's."""
    found: list[Role] = []
    for text in texts:
        known = next((role for role in ROLES if role == text.upper()), None)
        if known is None:
            raise InvalidPartner(f"{text!r} is no role; OCPI knows {', '.join(ROLES)}")
        found.append(known)
    return tuple(dict.fromkeys(found))


class PartnerRegistry:
    """The partners of a log. `catch_up` before serving; the runtime keeps `follow` running.

    Whatever was added or removed here, or by another process on the same log, holds for the next request.
    """

    def __init__(
        self,
        log: EventLog,
        pepper: bytes,
        clock: Clock,
        key: bytes = b"",
        own: Iterable[str] = (),
        *,
        settled_s: float = SETTLED_S,
    ) -> None:
        """`key` encrypts what partners give us; without one it hangs on the pepper. `own` are our own parties (`NL*TNM`).

        `settled_s` is how long whoever presents a token that we have just given away waits for its registration to be folded.
        """
        self._settled_s = settled_s
        self._log = log
        self._pepper = pepper
        self._sealer = Sealer(pepper, key)
        self._clock = clock
        self._partners = Partners(own=frozenset(own))
        self._next = 0
        self._lost: dict[bytes, PartnerConflict | None] = {}
        self._learned: dict[str, str] = {}
        self._cache: dict[bytes, Connection] = {}
        self.known: Final[Callable[[bytes], Connection | None]] = self._cache.get
        """Whom this very Authorization header meant before, without any hashing; None sends to `authenticate`."""

    def list(self) -> list[Connection]:
        """Return the connections, by name."""
        return [connection for _, connection in sorted(self._partners.connections.items())]

    def invitations(self) -> Sequence[Invitation]:
        """Return who may register now, by name."""
        now = self._clock.now()
        return [invited for _, invited in sorted(self._partners.invitations.items()) if now < invited.expires_at]

    def get(self, name: str) -> Connection | None:
        """Return the connection of that name."""
        return self._partners.connections.get(name)

    def token_for(self, name: str) -> str | None:
        """Return the token to present to the partner, None where it gave none; raises UnsafeSecrets where the key is another."""
        connection = self._partners.connections.get(name)
        return self._sealer.open(name, connection.outbound) if connection is not None and connection.outbound else None

    def clients(self) -> Sequence[Client]:
        """Return every party that is a client of ours or of a hub, as it now is, the one that came first in front."""
        return sorted(self._partners.clients.values(), key=lambda one: (one.first_seen, one.hub, one.party, one.role))

    def client(self, hub: str, party: str, role: str) -> Client | None:
        """Return what is known of a hub's client."""
        return self._partners.clients.get((hub, party, role))

    async def tell(self, client: ClientReplaced, circumstances: Envelope) -> bool:
        """Return whether it is new, once what a hub said of a client is folded; raises LogUnavailable.

        `circumstances` is an envelope with all but the event.
        """
        await self.catch_up()
        party = party_of(client.country_code, client.party_id)
        is_new = (client.hub, party, client.role) not in self._partners.clients
        await self._append(replace(circumstances, payload=msgspec.json.encode(client)), record_key(party, client.role))
        return is_new

    def encoding(self, name: str) -> str | None:
        """Return the form (`auth.FORMS`) in which the partner last presented its token to this process.

        Before it called, that of its version; None for a partner that is not known.
        """
        connection = self._partners.connections.get(name)
        if connection is None:
            return None
        return self._learned.get(name) or auth.FORMS[interface(connection.version).encodes_token]

    async def authenticate(self, header: bytes) -> Connection | None:
        """Return the connection of an Authorization header, None when nobody's, or of somebody who is not connected yet.

        An unknown token triggers one read to the topic's end, so that a partner added elsewhere is never turned away. One that
        we have offered is waited for: a partner may push before we have read its answer. Raises LogUnavailable when a read fails.
        """
        if cached := self._cache.get(header):
            return cached
        found = await self._meant(header)
        if found is not None and found.use == "offered" and found.name not in self._partners.connections:
            found = await self._settled(header)
        if found is None or not found.holds(self._clock.now()) or found.use == "invited":
            return None
        connection = self._partners.connections.get(found.name)
        if connection is not None and found.until is None:  # what ends some time is looked up each time
            self._learned[found.name] = auth.FORMS[found.form]
            if len(self._cache) >= _CACHED:
                self._cache.clear()
            self._cache[header] = connection
        return connection

    async def _settled(self, header: bytes) -> Meant | None:
        """Return what an offered token means once that is no offer any more, or has been one for a while longer."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._settled_s
        found = await self._meant(header)
        while found is not None and found.use == "offered" and (left := until - loop.time()) > 0:
            await self._read(wait_s=left)
            found = await self._meant(header)
        return found

    async def bearer(self, header: bytes) -> Bearer | None:
        """Return who presents a token, also one that registers or is not connected any more; None for nobody.

        Raises LogUnavailable.
        """
        found = await self._meant(header)
        if found is None or not (found.holds(self._clock.now()) or found.use in {"spent", "gone"}):
            return None
        pending = self._partners.offers if found.use == "offered" else self._partners.invitations
        return Bearer(
            name=found.name,
            use=found.use,
            token_hash=found.token_hash,
            encoding="raw" if found.form == 0 else "base64",
            connection=self._partners.connections.get(found.name),
            invitation=pending.get(found.name) if found.use in {"invited", "offered"} else None,
        )

    async def _meant(self, header: bytes) -> Meant | None:
        text = auth.presented(header)
        if text is None:
            return None
        digest = auth.digest(self._pepper, text)
        if digest not in self._partners.texts:
            await self.catch_up()
        return self._partners.texts.get(digest)

    async def add(
        self,
        name: str,
        roles: Sequence[PartyRole],
        *,
        version: str = "2.2.1",
        token: str | None = None,
        allowed: Sequence[str] = (),
    ) -> Issued:
        """Return the new connection and its token once the partner stands in the log and won there.

        Raises InvalidPartner, InvalidToken, PartnerConflict (nothing changed) or LogUnavailable.
        """
        checked_name(name)
        if not _VERSION.fullmatch(version):
            raise InvalidPartner(f"{version!r} is no OCPI version")
        if not interface(version).has_roles and len(roles) > 1:
            raise InvalidPartner(f"a connection of OCPI {version} has one party in one role; add another partner for each other")
        given = auth.new_token() if token is None else auth.checked(token)
        event = PartnerAdded(name, tuple(roles), version, self.hashes(given), parties_of(allowed))
        await self.say(event, roles[0].party)
        return Issued(self._partners.connections[name], given)

    async def remove(self, name: str) -> Connection | None:
        """Return the connection that was closed, once that is folded, None where there was but an invitation.

        Raises UnknownPartner or LogUnavailable.
        """
        await self.catch_up()
        connection = self._partners.connections.get(name)
        if connection is None and name not in self._partners.invitations:
            raise UnknownPartner(f"no partner is called {name}")
        await self.say(PartnerRemoved(name), connection.roles[0].party if connection is not None else "")
        return connection

    async def invite(
        self,
        name: str,
        lasts_us: int,
        *,
        parties: Sequence[str] = (),
        roles: Sequence[Role] = (),
        allowed: Sequence[str] = (),
    ) -> tuple[Invitation, str]:
        """Return an invitation and its token A, which is shown this once; raises as `add` does.

        `lasts_us` is how long it may be used (microseconds). Another one of that name takes its place.
        """
        checked_name(name)
        token = auth.new_token()
        bound = parties_of(parties)
        expires_at = self._clock.now() + lasts_us
        event = PartnerInvited(name, self.hashes(token), expires_at, bound, tuple(dict.fromkeys(roles)), parties_of(allowed))
        await self.say(event, bound[0] if bound else "")
        return self._partners.invitations[name], token

    async def offer(self, name: str, roles: Sequence[Role] = ()) -> tuple[str, tuple[str, ...]]:
        """Return a new token for a partner and its digests; with it the partner may look at our versions at once.

        Whoever is connected already may do everything with it. Raises as `add` does.
        """
        checked_name(name)
        token = auth.new_token()
        hashes = self.hashes(token)
        lasts_us = ROTATED_US if name in self._partners.connections else OFFER_US
        await self.say(PartnerOffered(name, hashes, self._clock.now() + lasts_us, tuple(roles)), "")
        return token, hashes

    def pull(self, name: str) -> PartnerPullSet:
        """Return when the partner's lists are crawled."""
        return self._partners.pulls.get(name) or PartnerPullSet(name)

    async def set_pull(self, name: str, policy: PullPolicy, silent_s: int = 3600) -> PartnerPullSet:
        """Return when the partner's lists are crawled from now on; raises UnknownPartner or LogUnavailable."""
        await self.catch_up()
        connection = self._partners.connections.get(name)
        if connection is None:
            raise UnknownPartner(f"no partner is called {name}")
        await self.say(PartnerPullSet(name, policy, silent_s), connection.roles[0].party)
        return self.pull(name)

    def exclusive(self, name: str) -> frozenset[str]:
        """Return the parties whose objects the partner lists and nobody else does.

        Not those behind a hub that are away: a hub need not list what it cannot ask for.
        """
        connection = self._partners.connections.get(name)
        if connection is None:
            return frozenset()
        others = {party for other in self._partners.connections.values() if other.name != name for party in other.parties}
        away = {one.party for one in self._partners.clients.values() if one.hub == name and one.status != "CONNECTED"}
        return connection.parties - others - away

    def hashes(self, token: str) -> tuple[str, ...]:
        """Return the digests under which a token is known."""
        return auth.hashes(self._pepper, token)

    def sealed(self, name: str, token: str) -> bytes:
        """Return a token that a partner gave us, encrypted."""
        return self._sealer.seal(name, token)

    def check(self, event: PartnerEvent) -> None:
        """Raise PartnerConflict where the event would lose now; whoever says it later may lose nevertheless."""
        fold(self._partners, event, self._clock.now())

    async def catch_up(self) -> None:
        """Return when everything that the topic held at the call is folded; raises LogUnavailable."""
        end = (await self._log.end(PARTNERS)).get(0, 0)
        while self._next < end:
            await self._read(wait_s=0.0)

    async def follow(self) -> None:
        """Fold what comes, for ever. The runtime owns the task and ends it by cancelling."""
        while True:
            try:
                await self._read(wait_s=5.0)
            except LogUnavailable:
                await asyncio.sleep(1.0)

    async def say(self, event: Said, party: str, circumstances: Envelope | None = None) -> None:
        """Return once what was said of a partner is folded. Raises PartnerConflict (nothing changed) or LogUnavailable.

        `circumstances` is an envelope with all but the event, where it was the partner who said it.
        """
        await self.catch_up()
        self.check(event)  # a conflict that is known beforehand need not be in the log
        base = circumstances or Envelope(
            event_id=b"",
            type="",
            module=MODULE,
            origin="load",
            connection="operator",
            party=party,
            key=(event.name,),
            version="",
            edition="",
            revision=0,
            received_at=self._clock.now(),
            last_updated=None,
            payload=b"",
        )
        envelope = replace(
            base, event_id=secrets.token_bytes(16), type=TAGS[type(event)], party=party, payload=msgspec.json.encode(event)
        )
        await self._append(envelope, event.name.encode())

    async def _append(self, envelope: Envelope, key: bytes) -> None:
        """Return once the event is folded; raises PartnerConflict where it lost, or LogUnavailable."""
        self._lost[envelope.event_id] = None
        try:
            (position,) = await self._log.append([Entry(PARTNERS, key, envelopes.encode(envelope))])
            while self._next <= position.offset:
                await self._read(wait_s=1.0)
            if conflict := self._lost[envelope.event_id]:
                raise conflict
        finally:
            del self._lost[envelope.event_id]

    async def _read(self, wait_s: float) -> None:
        found = await self._log.fetch({_LANE: self._next}, max_records=1000, wait_s=wait_s)
        for record in found.get(_LANE, ()):
            # `follow` and a request may read the same records at once; whoever comes second skips them.
            if record.offset >= self._next:
                self._fold(record)
                self._next = record.offset + 1

    def _fold(self, record: Record) -> None:
        envelope = envelopes.decode(record.value)
        if envelope.type not in TYPES:  # the topic carries more than connections
            return
        try:
            self._partners = fold(self._partners, partner_event_of(envelope), envelope.received_at)
        except PartnerConflict as conflict:
            if envelope.event_id in self._lost:
                self._lost[envelope.event_id] = conflict
            return
        self._cache.clear()


def checked_name(name: str) -> str:
    """Return the name of a partner; raises InvalidPartner."""
    if not _NAME.fullmatch(name) or name in RESERVED:
        rule = f"1 to 64 letters, digits, dots, hyphens and underscores, and none of {', '.join(sorted(RESERVED))}"
        raise InvalidPartner(f"{name[:80]!r} cannot name a partner: {rule}")
    return name


def parties_of(texts: Iterable[str]) -> tuple[str, ...]:
    """Return parties in upper case, each once; raises InvalidPartner."""
    return tuple(dict.fromkeys("*".join(_party(text)) for text in texts))


def _party(text: str) -> tuple[str, str]:
    match = _PARTY.fullmatch(text)
    if match is None:
        raise InvalidPartner(f"{text!r} is no party; write the country code and the party id like NL*TNM")
    return match[1].upper(), match[2].upper()
