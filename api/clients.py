"""Hubs and the parties behind them, as they are asked for: hubclientinfo.

Source: OCPI 2.2.1 mod_hub_client_info; requirements 3 (lists) and 4.6.
"""

from collections.abc import Callable, Sequence
from typing import Final
from urllib.parse import quote

from api.errors import missing, no_such_path, not_allowed
from api.exchange import Answer, Asked
from api.parameters import list_query
from api.versions import Spoken, unknown_module
from schemas.ocpi import clientinfo
from schemas.ocpi.clientinfo import ClientInfo
from schemas.ocpi.declared import Withheld
from schemas.ocpi.dialect import Dialect
from schemas.ocpi.interface import HUBCLIENTINFO, Listing
from schemas.ocpi.spec import Spec
from schemas.party import Client
from schemas.types import party_of

KnownClients = Callable[[], Sequence[Client]]
"""Gives every client that is known, the one that came first in front."""

_LIST: Final = Listing("last_updated")


class ClientReads:
    """Gives ClientInfo objects. Only where we are a hub (`is_hub`) do we tell partners of each other."""

    def __init__(self, known: KnownClients, *, public_url: str, cap: int, is_hub: bool) -> None:
        self._known = known
        self._url = f"{public_url.rstrip('/')}/ocpi"
        self._cap = cap
        self._is_hub = is_hub

    def listed(self, speaks: Spoken, asked: Asked, below: Sequence[str]) -> Answer:
        """Return a page of our clients and those of the hubs that are connected to us; raises Refusal."""
        if not self._is_hub:
            raise unknown_module(speaks.dialect.version, "SENDER", HUBCLIENTINFO)
        if below:
            raise no_such_path(asked.path)
        if asked.method != "GET":
            raise not_allowed(asked.method, "GET")
        query = list_query(None, asked.query, self._cap, _LIST)
        window = query.window
        within = [client for client in self._known() if window.date_from <= client.last_updated < window.date_to]
        found = [document for client in within if (document := _document(speaks.dialect, client)) is not None]
        end = query.offset + query.limit
        headers = [(b"x-total-count", b"%d" % len(found)), (b"x-limit", b"%d" % self._cap)]
        if end < len(found):
            parts = [*query.given, ("offset", str(end)), ("limit", str(query.limit))]
            further = "&".join(f"{name}={quote(value, safe=':')}" for name, value in parts)
            url = f"{self._url}/{speaks.dialect.version}/sender/{HUBCLIENTINFO}?{further}"
            headers.append((b"link", f'<{url}>; rel="next"'.encode()))
        return Answer(b"[%b]" % b",".join(found[query.offset : end]), headers)

    def one(self, asked: Asked, below: Sequence[str]) -> Answer:
        """Return to a hub what it said of a party, its newest word where the party plays several roles; raises Refusal."""
        if len(below) != 2:
            raise missing("a ClientInfo is at hubclientinfo/{country_code}/{party_id}")
        party = party_of(*below)
        said = [one for one in self._known() if one.hub == asked.reader.name and one.party == party and one.document]
        if not said:
            raise missing(f"no client {party[:20]} of this connection is known")
        return Answer(max(said, key=lambda one: one.last_updated).document, [])


def _document(dialect: Dialect, client: Client) -> bytes | None:
    """Return a client as a version says it; None where it has no such role."""
    spec = getattr(dialect, "spec", None)
    if not isinstance(spec, Spec):
        return None
    info = ClientInfo(
        country_code=client.country_code,
        party_id=client.party_id,
        role=client.role,
        status=client.status,
        last_updated=client.last_updated,
    )
    try:
        return clientinfo.write(spec, info)
    except Withheld:
        return None
