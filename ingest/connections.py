"""The partners as they stand: a pure fold of the topic ocpi.partners, which decides every conflict."""

from collections.abc import Callable, Collection, Iterable
from typing import Final, Literal, NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from ingest.errors import PartnerConflict
from schemas.party import (
    Client,
    ClientReplaced,
    Encoding,
    Endpoint,
    PartnerAdded,
    PartnerEvent,
    PartnerInvited,
    PartnerOffered,
    PartnerPullSet,
    PartnerRegistered,
    PartnerRemoved,
    PartnerUnregistered,
    PartnerUpdated,
    PartnerWithdrawn,
    PartyRole,
    Role,
    Terms,
)
from schemas.types import Instant

GRACE_US: Final = 60_000_000
"""For how long (microseconds) a token that was replaced still opens: both may be under way when it is (requirements 4.2)."""

OVERTAKEN_US: Final = 3_600_000_000
"""For how long a token that was offered opens beside the one agreed on: both sides may have changed theirs at once."""

Use = Literal["partner", "replaced", "invited", "offered", "spent", "gone"]
"""What a token is good for. partner: everything. replaced: everything, for a while. invited: to register. offered: to look at our
versions while we register. spent: it was used to register. gone: its connection was closed."""


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
    token_hash: str = ""
    """The first digest of the token that it presents."""
    behind: tuple[PartyRole, ...] = ()
    """The parties that it listed as reachable through it, as a hub of 2.3.0 does."""

    @property
    def owner(self) -> str:
        """Whose the objects are that name no owner, as a CDR of 2.1.1: the party's in whose role a CPO speaks, else the first."""
        return next((role.party for role in self.roles if role.role == "CPO"), self.roles[0].party)

    @property
    def is_hub(self) -> bool:
        """Whether it speaks for others (role HUB; in 2.3.0 it says so by its hub_party_id)."""
        return any(role.role == "HUB" for role in self.roles)

    @property
    def is_registered(self) -> bool:
        """Whether it was made by credentials; else an operator added it."""
        return bool(self.versions_url)


class Invitation(Struct, frozen=True):
    """Who may register, or is being registered by us: by name, and as whom where that is known."""

    name: str
    token_hash: str
    expires_at: Instant
    parties: tuple[str, ...] = ()
    roles: tuple[Role, ...] = ()
    allowed: tuple[str, ...] = ()


class Meant(NamedTuple):
    """Whom a presented text means: in which of the forms it presents a token (`auth.FORMS`), and what that is good for until when.

    `token_hash` is the first digest of the token, whatever its form.
    """

    name: str
    form: int
    use: Use
    token_hash: str
    until: Instant | None = None

    def holds(self, at: Instant) -> bool:
        """Whether the token opens anything at that time."""
        return self.use not in {"spent", "gone"} and (self.until is None or at < self.until)


class Partners(Struct, frozen=True):
    """The state of the fold: connections and who is to be one, by name; whose a party is; whom presented texts mean (digests)."""

    connections: dict[str, Connection] = {}
    bound: dict[str, str] = {}
    texts: dict[str, Meant] = {}
    clients: dict[tuple[str, str, str], Client] = {}
    """By hub ('' for ourselves), party and role."""
    invitations: dict[str, Invitation] = {}
    offers: dict[str, Invitation] = {}
    pulls: dict[str, PartnerPullSet] = {}
    """What an operator said of crawls; who is not in it is crawled always."""
    own: frozenset[str] = frozenset()
    """Our own parties: a hub names us among its clients, and neither writes nor reads as us."""


def fold(partners: Partners, event: PartnerEvent, at: Instant) -> Partners:
    """Return the partners after the event. Raises PartnerConflict where it loses: then nothing changed.

    A party belongs to one connection, no two connections share a text that presents their token, and a token that opens the
    door to a registration does so once.
    """
    match event:
        case PartnerAdded(name, roles, version, token_hashes, allowed):
            _check_name(partners, name)
            _check_parties(partners, name, roles)
            _check_texts(partners, token_hashes, at)
            connection = Connection(name, roles, version, allowed, at, frozenset(), token_hash=token_hashes[0])
            return _with(partners, connection, _texts(name, token_hashes, "partner"), at)
        case PartnerRemoved(name):
            return _without(partners, name, at)
        case PartnerInvited(name, token_hashes, expires_at, parties, roles_named, allowed):
            if name in partners.connections:
                raise PartnerConflict(f"partner {name} exists already; remove it first", "name")
            cleared = _dropped(partners, name, {"invited"})
            _check_texts(cleared, token_hashes, at)
            invitation = Invitation(name, token_hashes[0], expires_at, parties, roles_named, allowed)
            return replace(
                cleared,
                texts=cleared.texts | _texts(name, token_hashes, "invited", expires_at),
                invitations=cleared.invitations | {name: invitation},
            )
        case PartnerOffered(name, token_hashes, expires_at, roles_named):
            # Of one who is connected nobody knows that it has not taken an earlier one, and pushes with it.
            cleared = _dropped(partners, name, {"offered"}, past=at if name in partners.connections else None)
            _check_texts(cleared, token_hashes, at)
            return replace(
                cleared,
                texts=cleared.texts | _texts(name, token_hashes, "offered", expires_at),
                offers=cleared.offers | {name: Invitation(name, token_hashes[0], expires_at, roles=roles_named)},
            )
        case PartnerWithdrawn(name, token_hash):
            found = partners.offers.get(name)
            if found is None or found.token_hash != token_hash:
                return partners
            texts = {
                text: meant for text, meant in partners.texts.items() if meant.use != "offered" or meant.token_hash != token_hash
            }
            return replace(partners, texts=texts, offers={known: one for known, one in partners.offers.items() if known != name})
        case PartnerRegistered(name, _, opened_with, terms, allowed):
            return _registered(partners, name, opened_with, terms, allowed, at)
        case PartnerUpdated(name, _, replaces, terms):
            before = partners.connections.get(name)
            if before is None or before.token_hash != replaces:
                raise PartnerConflict(f"the credentials of {name} were changed meanwhile", "spent")
            _check_same(before, terms)
            return _agreed(partners, before, terms, before.allowed, at)
        case PartnerUnregistered(name):
            if name not in partners.connections:
                return partners
            gone = {text: meant for text, meant in partners.texts.items() if meant.name == name}
            left = _without(partners, name, at)
            return replace(left, texts=left.texts | {text: meant._replace(use="gone", until=None) for text, meant in gone.items()})
        case PartnerPullSet(name):
            return replace(partners, pulls=partners.pulls | {name: event})
        case ClientReplaced(hub, country_code, party_id, role_name, status, last_updated, document):
            clients = dict(partners.clients)
            told = Client(country_code, party_id, role_name, status, last_updated, at, hub, bytes(document))
            _note(clients, told)
            return _behind_hubs(replace(partners, clients=clients))


def _registered(  # noqa: PLR0917
    partners: Partners, name: str, opened_with: str, terms: Terms, allowed: tuple[str, ...], at: Instant
) -> Partners:
    opened = partners.texts.get(opened_with)
    if opened is None or opened.name != name or not opened.holds(at):
        raise PartnerConflict(f"the token with which {name} registers was used, replaced or withdrawn, or has expired", "spent")
    before = partners.connections.get(name)
    if before is not None and before.is_registered:
        raise PartnerConflict(f"partner {name} is registered already", "name")
    if before is not None:
        _check_same(before, terms)
    elif opened.use == "invited":
        _check_invited(partners.invitations[name], terms)
    since = Connection(name, terms.roles, terms.version, allowed, at, frozenset()) if before is None else before
    agreed = _agreed(partners, since, terms, allowed if before is None else before.allowed, at)
    if opened.use != "invited":
        return agreed
    spent = {
        text: meant._replace(use="spent", until=None) for text, meant in agreed.texts.items() if meant.token_hash == opened_with
    }
    invitations = {known: invitation for known, invitation in agreed.invitations.items() if known != name}
    return replace(agreed, texts=agreed.texts | spent, invitations=invitations)


def _agreed(partners: Partners, before: Connection, terms: Terms, allowed: tuple[str, ...], at: Instant) -> Partners:
    """Return the partners with a connection on these terms; the token that it presented so far opens for a while."""
    name, hashes = before.name, terms.token_hashes
    _check_parties(partners, name, terms.roles)
    cleared = _dropped(partners, name, {"replaced"}, past=at)
    _check_texts(cleared, hashes, at, but=hashes[0] if _is_offered(cleared, name, hashes[0]) else "")
    connection = Connection(
        name=name,
        roles=terms.roles,
        version=terms.version,
        allowed=allowed,
        added_at=before.added_at,
        parties=frozenset(),
        endpoints=terms.endpoints,
        versions_url=terms.versions_url,
        outbound=terms.outbound,
        encoding=terms.encoding,
        token_hash=hashes[0],
        behind=terms.behind,
    )
    replaced = {
        text: meant._replace(use="replaced", until=at + GRACE_US)
        for text, meant in cleared.texts.items()
        if meant.name == name and meant.use == "partner"
    }
    overtaken = {
        text: meant._replace(until=min(meant.until or at, at + OVERTAKEN_US))
        for text, meant in cleared.texts.items()
        if meant.name == name and meant.use == "offered"
    }
    offers = {known: offer for known, offer in cleared.offers.items() if known != name}
    return _with(replace(cleared, offers=offers), connection, overtaken | replaced | _texts(name, hashes, "partner"), at)


def _check_name(partners: Partners, name: str) -> None:
    if name in partners.connections or name in partners.invitations:
        raise PartnerConflict(f"partner {name} exists already; remove it first", "name")


def _check_parties(partners: Partners, name: str, roles: Iterable[PartyRole]) -> None:
    for party in sorted({role.party for role in roles}):
        owner = partners.bound.get(party, name)
        if owner != name:
            raise PartnerConflict(f"party {party} belongs to partner {owner}; remove that partner first", "party")


def _check_texts(partners: Partners, hashes: Iterable[str], at: Instant, but: str = "") -> None:
    for text in hashes:
        meant = partners.texts.get(text)
        if meant is not None and meant.holds(at) and meant.token_hash != but:
            raise PartnerConflict("the token, or an encoding of it, is another partner's; choose another", "token")


def _check_invited(invitation: Invitation, terms: Terms) -> None:
    """Raise PartnerConflict where somebody else registers than was invited."""
    may = {*invitation.parties, *invitation.allowed}
    for role in terms.roles:
        if invitation.parties and role.party not in may:
            raise PartnerConflict(
                f"{invitation.name} was invited as {', '.join(invitation.parties)}, not as {role.party}", "identity"
            )
        if invitation.roles and role.role not in invitation.roles:
            text = f"{invitation.name} was invited as {', '.join(invitation.roles)}, not as {role.role}"
            raise PartnerConflict(text, "identity")


def _check_same(before: Connection, terms: Terms) -> None:
    """Raise PartnerConflict where a connection turns into somebody else's."""
    may = {*(role.party for role in before.roles), *before.allowed}
    for role in terms.roles:
        if role.party not in may:
            who = ", ".join(dict.fromkeys(one.party for one in before.roles))
            raise PartnerConflict(
                f"{before.name} is {who}, not {role.party}; remove it, and add or invite it with both", "identity"
            )
        if role.role == "HUB" and not before.is_hub:
            raise PartnerConflict(f"{before.name} was no hub; remove it, and add or invite it as one", "identity")


def _is_offered(partners: Partners, name: str, token_hash: str) -> bool:
    offer = partners.offers.get(name)
    return offer is not None and offer.token_hash == token_hash


def _texts(name: str, hashes: tuple[str, ...], use: Use, until: Instant | None = None) -> dict[str, Meant]:
    return {text: Meant(name, form, use, hashes[0], until) for form, text in enumerate(hashes)}


def _dropped(partners: Partners, name: str, uses: Collection[Use], past: Instant | None = None) -> Partners:
    """Return the partners without what these tokens of a partner open; with `past`, only without those whose time is over."""

    def stays(meant: Meant) -> bool:
        return meant.name != name or meant.use not in uses or (past is not None and meant.holds(past))

    found = replace(partners, texts={text: meant for text, meant in partners.texts.items() if stays(meant)})
    if "invited" in uses:
        found = replace(found, invitations={known: one for known, one in found.invitations.items() if known != name})
    if "offered" in uses:
        found = replace(found, offers={known: one for known, one in found.offers.items() if known != name})
    return found


def _with(partners: Partners, connection: Connection, texts: dict[str, Meant], at: Instant) -> Partners:
    """Return the partners with a connection, in place of the one of that name."""
    name, own = connection.name, {role.party for role in connection.roles}
    before = partners.connections.get(name)
    clients = dict(partners.clients)
    if before is not None:
        left = {role.party for role in before.roles} - own
        unlisted = {role.party for role in before.behind} - {role.party for role in connection.behind}
        _suspend(clients, lambda one: one.party in (unlisted if one.hub == name else () if one.hub else left), at)
    for role in connection.roles:
        _note(clients, Client(role.country_code, role.party_id, role.role, "CONNECTED", at, at))
    for role in connection.behind:
        _note(clients, Client(role.country_code, role.party_id, role.role, "CONNECTED", at, at, name))
    return _behind_hubs(
        replace(
            partners,
            connections=partners.connections | {name: replace(connection, parties=own.union(connection.allowed))},
            bound={party: owner for party, owner in partners.bound.items() if owner != name} | dict.fromkeys(own, name),
            texts=partners.texts | texts,
            clients=clients,
        )
    )


def _without(partners: Partners, name: str, at: Instant) -> Partners:
    """Return the partners without one, and without what it was invited to."""
    gone = partners.connections.get(name)
    own = set() if gone is None else {role.party for role in gone.roles}
    clients = dict(partners.clients)
    _suspend(clients, lambda one: one.hub == name or (not one.hub and one.party in own), at)
    return _behind_hubs(
        Partners(
            {known: connection for known, connection in partners.connections.items() if known != name},
            {party: owner for party, owner in partners.bound.items() if owner != name},
            {text: meant for text, meant in partners.texts.items() if meant.name != name},
            clients,
            {known: invitation for known, invitation in partners.invitations.items() if known != name},
            {known: offer for known, offer in partners.offers.items() if known != name},
            {known: pull for known, pull in partners.pulls.items() if known != name},
            partners.own,
        )
    )


def _suspend(clients: dict[tuple[str, str, str], Client], gone: Callable[[Client], bool], at: Instant) -> None:
    for key, client in clients.items():
        if gone(client):
            clients[key] = replace(client, status="SUSPENDED", last_updated=at, withdrawn=True)


def _note(clients: dict[tuple[str, str, str], Client], client: Client) -> None:
    """Take what is said of a client, where nothing newer has been said."""
    key = (client.hub, client.party, client.role)
    before = clients.get(key)
    if before is None:
        clients[key] = client
    elif before.withdrawn or client.last_updated >= before.last_updated:
        # Who reads our list by date learns of it, however old the word of the hub is.
        last_updated = max(client.last_updated, before.last_updated)
        clients[key] = replace(client, first_seen=before.first_seen, last_updated=last_updated)


def _behind_hubs(partners: Partners) -> Partners:
    """Return the partners with each hub writing for whom it has told of; who is connected directly speaks for itself."""
    connections = dict(partners.connections)
    for name, connection in connections.items():
        if connection.is_hub:
            told = {one.party for one in partners.clients.values() if one.hub == name and one.status != "SUSPENDED"}
            behind = {party for party in told - partners.own if partners.bound.get(party, name) == name}
            own = {role.party for role in connection.roles}
            connections[name] = replace(connection, parties=frozenset(own.union(connection.allowed, behind)))
    return replace(partners, connections=connections)
