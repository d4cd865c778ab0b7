"""Token in the canonical form (OCPI 2.3.0 edition 2), for readers that need typed values.

Unknown members are ignored here; the document keeps them. UNSET is absence, None is null.
"""

from datetime import datetime
from typing import Final, Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType

WhitelistType = Literal["ALWAYS", "ALLOWED", "ALLOWED_OFFLINE", "NEVER"]
ProfileType = Literal["CHEAP", "FAST", "GREEN", "REGULAR"]


class EnergyContract(Struct, frozen=True, kw_only=True):
    """The energy contract behind a token."""

    supplier_name: str
    contract_id: str | UnsetType | None = UNSET


class Token(Struct, frozen=True, kw_only=True):
    """What a driver authorises with."""

    country_code: str
    party_id: str
    uid: str
    type: str
    contract_id: str
    visual_number: str | UnsetType | None = UNSET
    issuer: str
    group_id: str | UnsetType | None = UNSET
    valid: bool
    whitelist: WhitelistType
    language: str | UnsetType | None = UNSET
    default_profile_type: ProfileType | UnsetType | None = UNSET
    energy_contract: EnergyContract | UnsetType | None = UNSET
    last_updated: datetime


def decode(document: bytes) -> Token:
    """Return the canonical document as values, numbers exactly. Raises msgspec.DecodeError."""
    return _token.decode(document)


_token: Final = msgspec.json.Decoder(Token)
