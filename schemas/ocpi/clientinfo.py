"""ClientInfo: what a hub says of the parties behind it (OCPI 2.2 and later, module hubclientinfo)."""

from typing import Literal

import msgspec
from msgspec import Struct

from schemas import codec
from schemas.ocpi.declared import Reader, Withheld
from schemas.ocpi.spec import Spec
from schemas.types import Finding, Instant, date_time, instant, party_of

ConnectionStatus = Literal["CONNECTED", "OFFLINE", "PLANNED", "SUSPENDED"]


class ClientInfo(Struct, frozen=True, kw_only=True):
    """A party in one of its roles; one party can have several, so that the role is part of its identity.

    `last_updated` is None where the hub left it out, as the specification's own example does.
    """

    country_code: str
    party_id: str
    role: str
    status: ConnectionStatus
    last_updated: Instant | None

    @property
    def party(self) -> str:
        """The party as `NL*TNM`."""
        return party_of(self.country_code, self.party_id)


def read(spec: Spec, body: bytes) -> tuple[ClientInfo, tuple[Finding, ...]]:
    """Return what a hub sent, and the remarks on it. Raises NotJson or Refused; `spec` is that of the hub's version."""
    _, text, findings = Reader(spec, "ClientInfo", "whole").read(body)
    said = msgspec.json.decode(text, type=_Said)
    moment = instant(said.last_updated) if said.last_updated is not None else None
    info = ClientInfo(
        country_code=said.country_code, party_id=said.party_id, role=said.role, status=said.status, last_updated=moment
    )
    return info, findings


def write(spec: Spec, info: ClientInfo) -> bytes:
    """Return it as a version says it. Raises Withheld where the version does not know the role: 2.3.0 has no HUB."""
    if info.role not in spec.enums["Role"]:
        raise Withheld(f"this version has no role {info.role}")
    said = {
        "party_id": info.party_id,
        "country_code": info.country_code,
        "role": info.role,
        "status": info.status,
    }
    moment = {} if info.last_updated is None else {"last_updated": date_time(info.last_updated)}
    return codec.encode(said | moment)


class _Said(Struct):
    country_code: str
    party_id: str
    role: str
    status: ConnectionStatus
    last_updated: str | None = None
