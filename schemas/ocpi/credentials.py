"""Credentials and the roles in them, between versions: pure, for whoever registers a partner or is registered by one.

The canonical form is that of 2.3.0: roles, and a hub's own party apart. Source: OCPI credentials of each version; requirements
5.8 and 5.9.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Final, Literal

from msgspec import Struct

from schemas.ocpi.clientinfo import ClientInfo
from schemas.types import Json, Loss

Object = dict[str, Json]
OLDER: Final = frozenset({"2.0", "2.1.1"})
HUB_AS_ROLE: Final = frozenset({"2.2", "2.2.1"})
_TOP: Final = ("business_details", "party_id", "country_code")


class Given(Struct, frozen=True):
    """Credentials as a version says them, the parties that a hub then offers as ClientInfo, and what was lost or made up."""

    credentials: Object
    clients: tuple[ClientInfo, ...] = ()
    losses: tuple[Loss, ...] = ()


def role_of(modules: Collection[str]) -> Literal["CPO", "EMSP"]:
    """Return the role of a <= 2.1.1 party by the modules at whose endpoints it is reached.

    Only a CPO takes commands there; an eMSP has none, because the answers to its own go to a response_url.
    """
    return "CPO" if "commands" in modules else "EMSP"


def lift_credentials(
    version: str, said: Mapping[str, Json], *, modules: Collection[str], clients: Sequence[ClientInfo] = ()
) -> Given:
    """Return canonical credentials. `modules` are those of the endpoints (<= 2.1.1), `clients` a hub's known ClientInfo (2.2)."""
    if version in OLDER:
        role: Object = {"role": role_of(modules), **{name: said[name] for name in _TOP if name in said}}
        rest = {name: value for name, value in said.items() if name not in _TOP}
        return Given({**rest, "roles": [role]}, losses=(Loss("/roles/0/role", "defaulted", "told by the endpoints that it has"),))
    if version not in HUB_AS_ROLE:
        return Given(dict(said))
    roles = [dict(role) for role in _objects(said.get("roles"))]
    hubs = [role for role in roles if role.get("role") == "HUB"]
    if not hubs:
        return Given(dict(said))
    named = f"{hubs[0].get('country_code')}{hubs[0].get('party_id')}"
    behind: list[Object] = [
        {
            "role": client.role,
            "business_details": {"name": f"{client.country_code}{client.party_id}"},
            "party_id": client.party_id,
            "country_code": client.country_code,
        }
        for client in clients
        if client.status != "SUSPENDED" and client.role != "HUB"
    ]
    kept: list[Json] = [role for role in roles if role.get("role") != "HUB"]
    losses = tuple(
        Loss(f"/roles/{len(kept) + place}/business_details", "defaulted", "a hub does not tell who its parties are")
        for place in range(len(behind))
    )
    return Given({**said, "roles": [*kept, *behind], "hub_party_id": named}, losses=losses)


def lower_credentials(version: str, canonical: Mapping[str, Json], *, own: int = 0) -> Given:
    """Return canonical credentials as a version says them.

    <= 2.1.1 has one connection per role: `own` is the place of the one that is meant, the others are lost. 2.2 has a hub as a role
    and the parties behind it as ClientInfo, CONNECTED.
    """
    roles = [dict(role) for role in _objects(canonical.get("roles"))]
    if version in OLDER:
        role = roles[own]
        rest = {name: value for name, value in canonical.items() if name not in {"roles", "hub_party_id"}}
        losses = [Loss(f"/roles/{place}", "lost", "one connection has one role") for place in range(len(roles)) if place != own]
        if role.get("role") not in {"CPO", "EMSP"}:
            losses.append(Loss(f"/roles/{own}/role", "lost", "the version knows CPO and eMSP; it is connected as an eMSP"))
        if canonical.get("hub_party_id") is not None:
            losses.append(Loss("/hub_party_id", "lost", "the version has no hubs"))
        return Given({**rest, **{name: role[name] for name in _TOP if name in role}}, losses=tuple(losses))
    hub = canonical.get("hub_party_id")
    if version not in HUB_AS_ROLE or not isinstance(hub, str):
        return Given(dict(canonical))
    rest = {name: value for name, value in canonical.items() if name not in {"roles", "hub_party_id"}}
    entry: Object = {"role": "HUB", "business_details": {"name": hub}, "country_code": hub[:2], "party_id": hub[2:]}
    clients = tuple(
        ClientInfo(
            country_code=str(role.get("country_code")),
            party_id=str(role.get("party_id")),
            role=str(role.get("role")),
            status="CONNECTED",
            last_updated=None,
        )
        for role in roles
    )
    unnamed = Loss("/hub_party_id", "defaulted", "business_details: the party's own id")
    return Given({**rest, "roles": [entry]}, clients, (unnamed,))


def status_of(version: str, known: ClientInfo | None) -> str:
    """Return how a party is to be taken to be connected: a <= 2.1.1 peer always is, because nothing there says otherwise."""
    return "CONNECTED" if version in OLDER or known is None else known.status


def _objects(value: Json) -> list[Mapping[str, Json]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
