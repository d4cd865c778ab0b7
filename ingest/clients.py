"""What hubs tell of the parties behind them: the Receiver interface of hubclientinfo.

Source: OCPI 2.2.1 mod_hub_client_info; requirements 4.6.
"""

import hashlib
from typing import Final

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from ingest.partners import Connection, PartnerRegistry
from ingest.requests import UNAVAILABLE, Answer, PushRequest, Refusal, Spoken, not_allowed, remarks
from schemas.events import Envelope, Origin
from schemas.ocpi import clientinfo
from schemas.ocpi.clientinfo import ClientInfo
from schemas.ocpi.dialect import Dialect, NotJson, Refused
from schemas.ocpi.interface import HUBCLIENTINFO
from schemas.ocpi.spec import Spec
from schemas.party import ClientReplaced
from schemas.types import Finding, Instant, party_of
from streams.ports import Clock, LogUnavailable

_json: Final = msgspec.json.Encoder().encode


class Clients:
    """Takes the ClientInfo objects of hubs into the topic ocpi.partners: from then on a hub writes for whom it has told of."""

    def __init__(self, registry: PartnerRegistry, clock: Clock) -> None:
        self._registry = registry
        self._clock = clock

    async def put(self, request: PushRequest, spoken: Spoken) -> Answer:
        """Return the answer once what was said holds; raises Refusal."""
        if len(request.segments) != 2:
            raise Refusal(Answer(404, 2001, "a ClientInfo is at hubclientinfo/{country_code}/{party_id}"))
        if request.method != "PUT":
            raise not_allowed(request, "GET, PUT")
        connection, party = request.connection, party_of(*request.segments)
        if not connection.is_hub:
            raise Refusal(Answer(404, 2001, "this connection is no hub's, and only a hub tells of its clients"), party=party[:40])
        now = self._clock.now()
        client, findings = _read(request, spec_of(spoken.dialect), party, now)
        circumstances = replace(
            circumstances_of(client, request.body, spoken.dialect, now, "push"),
            request_id=request.request_id,
            correlation_id=request.correlation_id,
            findings=(*remarks(request), *findings),
        )
        try:
            is_new = await self._registry.tell(client, circumstances)
        except LogUnavailable:
            return UNAVAILABLE
        return Answer(201, 1000, outcome="created") if is_new else Answer(200, 1000, outcome="updated")


def _read(request: PushRequest, spec: Spec, party: str, now: Instant) -> tuple[ClientReplaced, tuple[Finding, ...]]:
    """Return what the body says, and the remarks on it; raises Refusal. Without last_updated it was so when it came."""
    try:
        info, findings = clientinfo.read(spec, request.body)
    except NotJson as fault:
        text = f"the body is no JSON that can be read: {fault}"
        raise Refusal(Answer(400, 2001, text), party=party[:40], is_json=False) from fault
    except Refused as fault:
        raise Refusal(Answer(200, 2001, str(fault)), party=party[:40], findings=fault.findings, is_json=True) from fault
    if info.party != party:
        finding = Finding("/party_id", "owner_mismatch", "error", f"the object says {info.party}, its path {party}")
        answer = Answer(200, 2001, f"{finding.pointer}: {finding.message}")
        raise Refusal(answer, party=party[:40], findings=(finding,), is_json=True)
    return replaced(request.connection, info, request.body, now), findings


def spec_of(dialect: Dialect) -> Spec:
    """Return the tables of a version that has hubs; raises TypeError for any other."""
    spec = getattr(dialect, "spec", None)
    if not isinstance(spec, Spec):
        raise TypeError(f"OCPI {dialect.version} has no table of a ClientInfo")
    return spec


def circumstances_of(client: ClientReplaced, body: bytes, dialect: Dialect, now: Instant, origin: Origin) -> Envelope:
    """Return the envelope of what a hub said of a party, with all but the event; `body` is the ClientInfo as it came."""
    party = party_of(client.country_code, client.party_id)
    # As JSON text nothing of one part can be taken for another's.
    head = _json((client.hub, HUBCLIENTINFO, party, client.role, client.last_updated))
    return Envelope(
        event_id=hashlib.blake2b(head + body, digest_size=16).digest(),
        type="clientinfo.replaced",
        module=HUBCLIENTINFO,
        origin=origin,
        connection=client.hub,
        party=party,
        key=(client.role,),
        version=dialect.version,
        edition=dialect.edition,
        revision=dialect.revision,
        received_at=now,
        last_updated=client.last_updated,
        payload=b"",
    )


def replaced(connection: Connection, info: ClientInfo, body: bytes, now: Instant) -> ClientReplaced:
    """Return what a hub said of a party. Without last_updated it was so when it came."""
    return ClientReplaced(
        hub=connection.name,
        country_code=info.country_code.upper(),
        party_id=info.party_id.upper(),
        role=info.role,
        status=info.status,
        last_updated=now if info.last_updated is None else info.last_updated,
        document=Raw(body),
    )
