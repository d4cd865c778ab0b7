"""The partners: a pure fold of the topic ocpi.partners, and the registry that follows it."""

import asyncio
import re
import secrets
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from ingest import auth
from ingest.errors import InvalidPartner, PartnerConflict, UnknownPartner
from ingest.secrets import Sealer
from schemas import envelope as envelopes
from schemas.events import Envelope
from schemas.ocpi.interface import interface
from schemas.party import (
    MODULE,
    ROLES,
    TYPES,
    Client,
    ClientReplaced,
    Encoding,
    Endpoint,
    PartnerAdded,
    PartnerEvent,
    PartnerRemoved,
    PartyRole,
    partner_event_of,
)
from schemas.types import Instant, party_of
from streams.ports import Clock, Entry, EventLog, LogUnavailable, Record, TopicPartition
from streams.topics import PARTNERS, record_key

RESERVED: Final = frozenset({"linker", "load", "operator"})
"""Names of connections that no partner may have, because envelopes use them for the operator's own acts, and for ours."""

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_PARTY: Final = re.compile(r"([A-Za-z]{2})\*([A-Za-z0-9]{1,3})")
_VERSION: Final = re.compile(r"[0-9]+(\.[0-9]+){1,2}")
_LANE: Final = TopicPartition(PARTNERS, 0)
_CACHED: Final = 4096


class Connection(Struct, frozen=True):
    """A partner as it now stands. `parties` are all owners that it may write, `NL*TNM` in upper case."""

    name: str
    roles: tuple[PartyRole, ...]
    version: str
    allowed: tuple[str, ...]
    added_at: Instant
    parties: frozenset[str]
    endpoints: tuple[Endpoint, ...] = ()
    """What the partner offers, as it said when it was registered; empty where an operator added it."""
    versions_url: str = ""
    outbound: bytes = b""
    """The token that it gave us, encrypted: see `PartnerRegistry.token_for`; b"" where it gave none."""
    encoding: Encoding = "raw"
    """How it wants that token."""

    @property
    def owner(self) -> str:
        """Whose the objects are that name no owner, as a CDR of 2.1.1: the party's in whose role a CPO speaks, else the first."""
        return next((role.party for role in self.roles if role.role == "CPO"), self.roles[0].party)

    @property
    def is_hub(self) -> bool:
        """Whether it speaks for others (role HUB)."""
        return any(role.role == "HUB" for role in self.roles)


class Partners(Struct, frozen=True):
    """The state of the fold: connections by name, whose a party is, and which presented texts (digests) mean whom."""

    connections: dict[str, Connection] = {}
    bound: dict[str, str] = {}
    texts: dict[str, tuple[str, int]] = {}
    clients: dict[tuple[str, str, str], Client] = {}
    """By hub ('' for ourselves), party and role."""


class Issued(NamedTuple):
    """A new connection and its token, which is shown this once."""

    connection: Connection
    token: str

    def __repr__(self) -> str:
        return f"Issued({self.connection.name!r}, …)"


def fold(partners: Partners, event: PartnerEvent, at: Instant) -> Partners:
    """Return the partners after the event. Raises PartnerConflict where it loses: then nothing changed.

    A party belongs to one connection, and no two connections share a text that presents their token.
    """
    match event:
        case PartnerAdded(name, roles, version, token_hashes, allowed):
            own = {role.party for role in roles}
            if name in partners.connections:
                raise PartnerConflict(f"partner {name} exists already; remove it first")
            for party in sorted(own):
                if party in partners.bound:
                    raise PartnerConflict(f"party {party} belongs to partner {partners.bound[party]}; remove that partner first")
            if any(text in partners.texts for text in token_hashes):
                raise PartnerConflict("the token, or an encoding of it, is another partner's; choose another")
            connection = Connection(name, roles, version, allowed, at, frozenset(own.union(allowed)))
            clients = dict(partners.clients)
            for role in roles:
                _note(clients, Client(role.country_code, role.party_id, role.role, "CONNECTED", at, at))
            return _behind_hubs(
                Partners(
                    {**partners.connections, name: connection},
                    {**partners.bound, **dict.fromkeys(own, name)},
                    {**partners.texts, **{text: (name, form) for form, text in enumerate(token_hashes)}},
                    clients,
                )
            )
        case PartnerRemoved(name):
            gone = partners.connections.get(name)
            own = set() if gone is None else {role.party for role in gone.roles}
            clients = {
                key: replace(client, status="SUSPENDED", last_updated=at)
                if client.hub == name or (not client.hub and client.party in own)
                else client
                for key, client in partners.clients.items()
            }
            return _behind_hubs(
                Partners(
                    {known: connection for known, connection in partners.connections.items() if known != name},
                    {party: owner for party, owner in partners.bound.items() if owner != name},
                    {text: owner for text, owner in partners.texts.items() if owner[0] != name},
                    clients,
                )
            )
        case ClientReplaced(hub, country_code, party_id, role_name, status, last_updated, document):
            clients = dict(partners.clients)
            told = Client(country_code, party_id, role_name, status, last_updated, at, hub, bytes(document))
            _note(clients, told)
            return _behind_hubs(replace(partners, clients=clients))


def _note(clients: dict[tuple[str, str, str], Client], client: Client) -> None:
    """Take what is said of a client, where nothing newer has been said."""
    key = (client.hub, client.party, client.role)
    before = clients.get(key)
    if before is None:
        clients[key] = client
    elif client.last_updated >= before.last_updated:
        clients[key] = replace(client, first_seen=before.first_seen)


def _behind_hubs(partners: Partners) -> Partners:
    """Return the partners with each hub writing for whom it has told of; who is connected directly speaks for itself."""
    connections = dict(partners.connections)
    for name, connection in connections.items():
        if connection.is_hub:
            told = {one.party for one in partners.clients.values() if one.hub == name and one.status != "SUSPENDED"}
            behind = {party for party in told if partners.bound.get(party, name) == name}
            own = {role.party for role in connection.roles}
            connections[name] = replace(connection, parties=frozenset(own.union(connection.allowed, behind)))
    return replace(partners, connections=connections)


def party_roles(parties: Iterable[str], roles: Iterable[str]) -> tuple[PartyRole, ...]:
    """Return every role for every party; raises InvalidPartner for what is no `NL*TNM` or no role of OCPI."""
    found = []
    for party in parties:
        country_code, party_id = _party(party)
        for role in roles:
            if role.upper() not in ROLES:
                raise InvalidPartner(f"{role!r} is no role; OCPI knows {', '.join(ROLES)}")
            found.append(PartyRole(role.upper(), country_code, party_id))  # type: ignore[arg-type]
    if not found:
        raise InvalidPartner("a partner has at least one party and one role")
    return tuple(dict.fromkeys(found))


class PartnerRegistry:
    """The partners of a log. `catch_up` before serving; the runtime keeps `follow` running.

    Whatever was added or removed here, or by another process on the same log, holds for the next request.
    """

    def __init__(self, log: EventLog, pepper: bytes, clock: Clock, key: bytes = b"") -> None:
        """`key` encrypts what partners give us; without one it hangs on the pepper."""
        self._log = log
        self._pepper = pepper
        self._sealer = Sealer(pepper, key)
        self._clock = clock
        self._partners = Partners()
        self._next = 0
        self._lost: dict[bytes, PartnerConflict | None] = {}
        self._learned: dict[str, str] = {}
        self._cache: dict[bytes, Connection] = {}
        self.known: Final[Callable[[bytes], Connection | None]] = self._cache.get
        """Whom this very Authorization header meant before, without any hashing; None sends to `authenticate`."""

    def list(self) -> list[Connection]:
        """Return the connections, by name."""
        return [connection for _, connection in sorted(self._partners.connections.items())]

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
        """Return the connection of an Authorization header, None when nobody's.

        An unknown token triggers one read to the topic's end, so that a partner added elsewhere is never turned away.
        Raises LogUnavailable when that read fails.
        """
        if cached := self._cache.get(header):
            return cached
        text = auth.presented(header)
        if text is None:
            return None
        digest = auth.digest(self._pepper, text)
        if digest not in self._partners.texts:
            await self.catch_up()
        found = self._partners.texts.get(digest)
        if found is None:
            return None
        name, form = found
        self._learned[name] = auth.FORMS[form]
        if len(self._cache) >= _CACHED:
            self._cache.clear()
        connection = self._cache[header] = self._partners.connections[name]
        return connection

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
        if not _NAME.fullmatch(name) or name in RESERVED:
            rule = f"1 to 64 letters, digits, dots, hyphens and underscores, and none of {', '.join(sorted(RESERVED))}"
            raise InvalidPartner(f"{name[:80]!r} cannot name a partner: {rule}")
        if not _VERSION.fullmatch(version):
            raise InvalidPartner(f"{version!r} is no OCPI version")
        if not interface(version).has_roles and len(roles) > 1:
            raise InvalidPartner(f"a connection of OCPI {version} has one party in one role; add another partner for each other")
        given = auth.new_token() if token is None else auth.checked(token)
        extra = tuple(dict.fromkeys("*".join(_party(party)) for party in allowed))
        event = PartnerAdded(name, tuple(roles), version, auth.hashes(self._pepper, given), extra)
        await self.catch_up()
        fold(self._partners, event, 0)  # a conflict that is known beforehand need not be in the log
        await self._said(event, roles[0].party)
        return Issued(self._partners.connections[name], given)

    async def remove(self, name: str) -> Connection:
        """Return the connection that was closed, once that is folded; raises UnknownPartner or LogUnavailable."""
        await self.catch_up()
        connection = self._partners.connections.get(name)
        if connection is None:
            raise UnknownPartner(f"no partner is called {name}")
        await self._said(PartnerRemoved(name), connection.roles[0].party)
        return connection

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

    async def _said(self, event: PartnerAdded | PartnerRemoved, party: str) -> None:
        """Append what an operator said of a partner."""
        envelope = Envelope(
            event_id=secrets.token_bytes(16),
            type="partner.added" if isinstance(event, PartnerAdded) else "partner.removed",
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
            payload=msgspec.json.encode(event),
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


def _party(text: str) -> tuple[str, str]:
    match = _PARTY.fullmatch(text)
    if match is None:
        raise InvalidPartner(f"{text!r} is no party; write the country code and the party id like NL*TNM")
    return match[1].upper(), match[2].upper()
