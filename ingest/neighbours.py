"""Whom a hub has behind it, read from its list: the Sender interface of hubclientinfo.

It is read before the hub's other lists, because it says whose objects these may hold. Source: OCPI 2.2.1 mod_hub_client_info;
requirements 4.6.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from msgspec.structs import replace

from ingest.addresses import Unreachable
from ingest.clients import circumstances_of, replaced, spec_of
from ingest.crawl import PATIENCE, Caller, answer_of, remember
from ingest.paging import Listing, Page, Patience, Unanswered, decide, first_page
from ingest.partners import Connection, PartnerRegistry
from schemas.crawl import Place
from schemas.ocpi import clientinfo
from schemas.ocpi.dialect import Dialect, NotJson, Refused
from schemas.ocpi.interface import HUBCLIENTINFO, interface
from streams.ports import Clock

LIMIT: Final = 1000

_say: Final = logging.getLogger("roamlog")


def clients_url(connection: Connection) -> str | None:
    """Return where a hub lists whom it has behind it, None where it does not, or where the partner is no hub."""
    if not connection.is_hub or not interface(connection.version).tells_clients:
        return None
    return next((one.url for one in connection.endpoints if one.identifier == HUBCLIENTINFO and one.role == "SENDER"), None)


class Neighbours:
    """Reads hubs' lists of clients into the topic ocpi.partners."""

    def __init__(
        self,
        *,
        registry: PartnerRegistry,
        caller: Caller,
        dialects: Mapping[str, Dialect],
        clock: Clock,
        patience: Patience = PATIENCE,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._registry = registry
        self._caller = caller
        self._dialects = dialects
        self._clock = clock
        self._patience = patience
        self._sleep = sleep

    async def read(self, connection: Connection) -> bool:
        """Return whether the list was read to its end, once all that is new in it holds; True where the partner has none.

        Who is not listed any more stays as it was said: a hub tells that a party left by its status. Raises LogUnavailable.
        """
        url, token = clients_url(connection), self._registry.token_for(connection.name)
        if url is None or token is None:
            return True
        # Without a window: what was said before we came is as true as what is said now, and there are few parties.
        listing = Listing(first_page(url, limit=LIMIT))
        place, visited, attempt = Place(listing.url), set[str](), 1
        while True:
            answer, objects = await self._got(connection, place.url, token)
            following = decide(listing, place, visited, answer, attempt, self._patience, self._clock.now())
            for odd in following.oddities:
                _say.info("hubclientinfo of %s, page %d: %s", connection.name, odd.page, odd.message)
            if following.act == "wait":
                attempt += 1
                await self._sleep(following.wait_s)
                continue
            attempt = 1
            for body in objects if following.takes else ():
                await self._take(connection, body)
            if following.act == "stop":
                return following.complete
            remember(visited, place.url, following.place)
            place = following.place

    async def _got(self, connection: Connection, url: str, token: str) -> tuple[Page | Unanswered, list[bytes]]:
        try:
            found = await self._caller.call("GET", url, token=token, encoding=connection.encoding)
        except Unreachable as fault:
            return Unanswered(fault.kind, str(fault)), []
        page, held = await answer_of(found)
        return page, [bytes(one) for one in held.objects or ()]

    async def _take(self, connection: Connection, body: bytes) -> None:
        """Note what a hub says of a party, where it is news; one that cannot be read leaves the others as they are."""
        dialect, now = self._dialects[connection.version], self._clock.now()
        try:
            info, findings = clientinfo.read(spec_of(dialect), body)
        except (NotJson, Refused) as fault:
            _say.warning("a client of %s cannot be read: %s", connection.name, fault)
            return
        said = replaced(connection, info, body, now)
        known = self._registry.client(connection.name, info.party, info.role)
        if known is not None and not known.withdrawn:
            is_same = known.status == said.status and info.last_updated in {None, known.last_updated}
            if is_same or said.last_updated < known.last_updated:
                return
        circumstances = replace(circumstances_of(said, body, dialect, now, "pull"), findings=findings)
        await self._registry.tell(said, circumstances)
