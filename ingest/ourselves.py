"""Who we are to partners: our Credentials, in each version and with each token.

Source: OCPI 2.2.1 credentials, Credentials object; requirements 5.8 and 5.9.
"""

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from ingest.errors import PartnerConflict
from schemas.ocpi.credentials import OLDER, Object, lower_credentials
from schemas.party import Client, PartyRole, Role
from schemas.types import Json


class Ourselves(Struct, frozen=True):
    """Our parties and roles, the party as which we are a hub (`NL*HUB`, '' for none), our name, and where partners reach us."""

    roles: tuple[PartyRole, ...]
    hub_party: str
    name: str
    public_url: str

    @property
    def versions_url(self) -> str:
        """Where our versions are."""
        return f"{self.public_url.rstrip('/')}/ocpi/versions"

    @property
    def parties(self) -> frozenset[str]:
        """What we are called; nobody else is."""
        return frozenset({role.party for role in self.roles} | ({self.hub_party} if self.hub_party else set()))

    def credentials(self, version: str, token: str, partner: Role, clients: Sequence[Client] = ()) -> Object:
        """Return our Credentials as a version says them, with the token that the partner presents.

        `partner` is the role to which we are the other side, before 2.2 where a connection has but one. As a hub we list the
        `clients` that are reachable through us, from 2.3.0 on.
        """
        own = [role for role in self.roles if role.role != "HUB"]
        hub = self.hub_party or next((role.party for role in self.roles if role.role == "HUB"), "")
        roles: list[Json] = [self._role(role) for role in own]
        said: set[tuple[str, str]] = {(role.role, role.party) for role in own}
        canonical: Object = {"token": token, "url": self.versions_url, "roles": roles}
        if hub:
            canonical["hub_party_id"] = hub.replace("*", "")
            for client in clients:
                if client.status != "SUSPENDED" and client.role != "HUB" and (client.role, client.party) not in said:
                    said.add((client.role, client.party))
                    name = f"{client.country_code}{client.party_id}"
                    roles.append(_role(client.role, client.country_code, client.party_id, name))
            if version in OLDER and not roles:  # it knows no hubs, and every connection has a party
                roles.append(_role("EMSP", hub[:2], hub[3:], self.name))
        wanted = "EMSP" if partner == "CPO" else "CPO"
        place = next((number for number, role in enumerate(own) if role.role == wanted), 0)
        return lower_credentials(version, canonical, own=place).credentials

    def check(self, roles: Sequence[PartyRole]) -> None:
        """Raise PartnerConflict where somebody says that it is one of us."""
        for role in roles:
            if role.party in self.parties:
                raise PartnerConflict(f"{role.party} is ourselves (ROAMLOG_ROLES)", "party")

    def _role(self, role: PartyRole) -> Object:
        return _role(role.role, role.country_code, role.party_id, self.name)


def _role(role: str, country_code: str, party_id: str, name: str) -> Object:
    return {"role": role, "business_details": {"name": name}, "party_id": party_id, "country_code": country_code}


NAME_CHARACTERS: Final = 100
"""The longest name of BusinessDetails (OCPI 2.2.1 mod_locations 1.4.2)."""
