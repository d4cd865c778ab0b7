"""Registrations that we start: POST, PUT and DELETE of a partner's credentials.

Source: OCPI 2.2.1 credentials; requirements 4.2 (the handshake, its Sender).
"""

import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import msgspec

from ingest.addresses import Unreachable
from ingest.connections import Connection
from ingest.errors import IngestError, InvalidPartner, NotRegistered, PartnerConflict, UnknownPartner
from ingest.ourselves import Ourselves
from ingest.partners import PartnerRegistry, checked_name, parties_of, roles_of
from ingest.peers import (
    Credentials,
    InvalidCredentials,
    Peer,
    PeerFault,
    Peers,
    read_credentials,
)
from schemas.ocpi.credentials import OLDER, role_of
from schemas.party import (
    Encoding,
    PartnerRegistered,
    PartnerUnregistered,
    PartnerUpdated,
    PartnerWithdrawn,
    Role,
    Terms,
)
from schemas.types import Json

_say: Final = logging.getLogger("roamlog")
_encode: Final = msgspec.json.Encoder().encode


class Registration:
    """Makes, changes and ends connections by calling partners. What fails leaves the register of partners as it was."""

    def __init__(self, registry: PartnerRegistry, peers: Peers, ourselves: Ourselves) -> None:
        self._registry = registry
        self._peers = peers
        self._ourselves = ourselves

    async def register(
        self,
        name: str,
        url: str,
        token: str,
        *,
        version: str | None = None,
        role: str | None = None,
        allowed: Sequence[str] = (),
    ) -> Connection:
        """Return the new connection: `token` (A) and `url`, where the partner's versions are, came from it by other ways.

        `role` is the partner's where its version is 2.1.1 or before and its endpoints do not tell.
        Raises NotRegistered, InvalidPartner, PartnerConflict or LogUnavailable.
        """
        checked_name(name)
        may = parties_of(allowed)
        given = roles_of([role])[0] if role is not None else None
        if not token or len(token) > 200 or not all("\x21" <= character <= "\x7e" for character in token):
            raise InvalidPartner("a token holds printable ASCII only, without spaces")
        try:
            self._peers.checked(url)
        except Unreachable as fault:
            raise InvalidPartner(f"the versions cannot be asked for: {fault}") from None
        await self._registry.catch_up()
        known = self._registry.get(name)
        if known is not None and known.is_registered:
            raise PartnerConflict(f"partner {name} is registered already; see roamlog partner rotate", "name")
        peer = await self._discovered(url, token, None, version)
        as_role = given or (known.roles[0].role if known is not None else role_of(peer.modules))
        # Since 2.2 its credentials tell, and until then it is shown all that anybody is offered.
        shown = () if given is None and peer.version not in OLDER else (as_role,)
        ours, hashes = await self._registry.offer(name, shown)
        try:
            theirs = await self._exchange("POST", peer, token, ours, as_role)
            event = PartnerRegistered(name, "us", hashes[0], self._terms(name, peer, theirs, hashes), may)
            await self._agree(event, peer, theirs)
        except IngestError:
            await self._registry.say(PartnerWithdrawn(name, hashes[0]), "")
            raise
        return self._connection(name)

    async def rotate(self, name: str, *, version: str | None = None) -> Connection:
        """Return the connection with new tokens on both sides, and with the version and endpoints that the partner has now.

        The tokens that held so far open for a minute more. Raises as `register` does, and UnknownPartner.
        """
        before, token = await self._registered(name)
        peer = await self._discovered(before.versions_url, token, before.encoding, version or before.version)
        ours, hashes = await self._registry.offer(name)
        try:
            theirs = await self._exchange("PUT", peer, token, ours, before.roles[0].role)
            terms = self._terms(name, peer, theirs, hashes)
            await self._agree(PartnerUpdated(name, "us", before.token_hash, terms), peer, theirs)
        except NotRegistered as fault:
            # Only where the partner refused it is sure that it has not taken the new token and pushes with it.
            if fault.is_refused:
                await self._registry.say(PartnerWithdrawn(name, hashes[0]), "")
            raise
        return self._connection(name)

    async def unregister(self, name: str) -> Connection:
        """Return the connection that was closed on both sides. Raises as `rotate` does; then it still stands."""
        before, token = await self._registered(name)
        url = next((endpoint.url for endpoint in before.endpoints if endpoint.identifier == "credentials"), "")
        try:
            await self._peers.call("DELETE", url, token, before.encoding)
        except PeerFault as fault:
            if fault.http not in {401, 404, 405}:  # else it knows us no more, which is what was wanted
                raise NotRegistered(f"{name} was not told ({fault}); roamlog partner remove closes our side alone") from None
        await self._registry.say(PartnerUnregistered(name, "us"), before.owner)
        _say.info("we are no longer registered with partner %s", name)
        return before

    async def _registered(self, name: str) -> tuple[Connection, str]:
        await self._registry.catch_up()
        connection = self._registry.get(name)
        if connection is None:
            raise UnknownPartner(f"no partner is called {name}")
        token = self._registry.token_for(name)
        if not connection.is_registered or token is None:
            raise NotRegistered(f"{name} was added by an operator, not registered; there are no credentials to change")
        return connection, token

    async def _discovered(self, url: str, token: str, encoding: Encoding | None, version: str | None) -> Peer:
        try:
            return await self._peers.discover(url, token, encoding, version)
        except PeerFault as fault:
            raise NotRegistered(f"the partner cannot be worked with: {fault} (OCPI {int(fault.code)})") from None

    async def _exchange(self, method: str, peer: Peer, token: str, ours: str, role: Role) -> Credentials:
        """Return the partner's Credentials for ours; raises NotRegistered."""
        own = self._ourselves.credentials(peer.version, ours, role, self._registry.clients())
        try:
            said = await self._peers.call(method, peer.credentials_url, token, peer.encoding, _encode(own), hides=(ours,))
            return self._read(peer, said, role)
        except PeerFault as fault:
            meant = {405: "; it has registered us already, or knows no registration", 401: "; the token is not, or no longer, good"}
            hint = meant.get(fault.http, f"; can it reach {self._ourselves.versions_url} now? roamlog serve must run")
            text = f"the partner did not take our credentials: {fault}{hint}"
            # What fails on its way back (502, 504), or after it was kept, may have been taken.
            raise NotRegistered(text, is_refused=0 < fault.http < 500) from None
        except InvalidCredentials as fault:
            text = f"the partner answers with credentials that cannot be used ({fault})"
            raise NotRegistered(text, is_refused=False) from None

    def _read(self, peer: Peer, said: Json, role: Role) -> Credentials:
        as_role = role if peer.version in OLDER else None
        return read_credentials(peer.version, said, modules=peer.modules, role=as_role, checked=self._peers.checked)

    def _terms(self, name: str, peer: Peer, theirs: Credentials, hashes: tuple[str, ...]) -> Terms:
        return Terms(
            roles=theirs.roles,
            version=peer.version,
            token_hashes=hashes,
            endpoints=peer.endpoints,
            versions_url=theirs.url,
            outbound=self._registry.sealed(name, theirs.token),
            encoding=peer.encoding,
            behind=theirs.behind,
        )

    async def _agree(self, event: PartnerRegistered | PartnerUpdated, peer: Peer, theirs: Credentials) -> None:
        """Return once it stands; where we cannot take what the partner took already, it is told. Raises PartnerConflict."""
        try:
            self._ourselves.check(event.terms.roles)
            await self._registry.say(event, event.terms.roles[0].party)
        except PartnerConflict:
            if isinstance(event, PartnerRegistered):
                with suppress(PeerFault):  # else it stays registered there, with a token that opens nothing here
                    await self._peers.call("DELETE", peer.credentials_url, theirs.token, peer.encoding)
            raise

    def _connection(self, name: str) -> Connection:
        connection = self._registry.get(name)
        if connection is None:
            raise UnknownPartner(f"{name} was removed meanwhile")
        _say.info("we are registered with partner %s in OCPI %s, with new tokens", name, connection.version)
        return connection
