"""Whose customer charged, where the object itself does not say: before OCPI 2.2 it names the contract alone.

Source: requirements 5.3 and 5.4 (auth_id).
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, Protocol

import msgspec
from msgspec import Struct

from ingest.admission import Admitted, addressed
from ingest.existence import Lookup as Documented
from schemas.types import Instant, Module, identity
from streams.ports import Clock, StoreUnavailable

REMEMBERED: Final = 100_000
"""How many contracts are remembered."""

KNOWN_US: Final = 600_000_000
UNKNOWN_US: Final = 10_000_000
"""For how long (microseconds) the owner of a contract counts as known, and as unknown: its Token may come any moment."""

UNSAID: Final = "#NA"
_CHARGED: Final = frozenset({Module.SESSIONS.value, Module.CDRS.value})


class ContractLookup(Protocol):
    """The Tokens by their contracts, as their projection has them."""

    async def contract_owners(self, contract_ids: Sequence[str]) -> Mapping[str, str]:
        """Return the party (`DE*MSP`) of each lowered contract_id that exactly one party's Tokens have.

        Raises StoreUnavailable.
        """
        ...


class Lookup(Documented, ContractLookup, Protocol):
    """The current documents, and the Tokens by their contracts."""


class _Known(NamedTuple):
    party: str | None
    until: Instant


class _CdrToken(Struct, frozen=True):
    contract_id: str = UNSAID


class _Charged(Struct, frozen=True):
    cdr_token: _CdrToken = _CdrToken()


_charged: Final = msgspec.json.Decoder(_Charged)


class Contracts:
    """Finds whom a Session or a CDR concerns by the Tokens that eMSPs have pushed."""

    def __init__(self, lookup: ContractLookup, clock: Clock) -> None:
        self._lookup = lookup
        self._clock = clock
        self._known: OrderedDict[str, _Known] = OrderedDict()

    async def addressed(self, admitted: Admitted) -> Admitted:
        """Return the object with whom it concerns, where it is one that concerns somebody and the tables can tell."""
        (found,) = await self.all_addressed([admitted])
        return found

    async def all_addressed(self, admitted: Sequence[Admitted]) -> list[Admitted]:
        """Return the objects, each with whom it concerns; one look-up serves all."""
        contracts = [_contract(one) for one in admitted]
        owners = await self._owners({contract for contract in contracts if contract})
        return [
            one if (party := owners.get(contract)) is None else addressed(one, party)
            for one, contract in zip(admitted, contracts, strict=True)
        ]

    async def _owners(self, wanted: set[str]) -> dict[str, str | None]:
        now = self._clock.now()
        owners: dict[str, str | None] = {}
        for contract in wanted:
            known = self._known.get(contract)
            if known is not None and known.until > now:
                owners[contract] = known.party
        missing = sorted(wanted - owners.keys())
        if missing:
            try:
                found = await self._lookup.contract_owners(missing)
            except StoreUnavailable:
                return owners
            for contract in missing:
                party = owners[contract] = found.get(contract)
                self._known[contract] = _Known(party, now + (UNKNOWN_US if party is None else KNOWN_US))
                self._known.move_to_end(contract)
            while len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        return owners


def _contract(admitted: Admitted) -> str:
    """Return the lowered contract_id of what was charged, "" where there is none to look for."""
    envelope = admitted.envelope
    if envelope.module not in _CHARGED or envelope.addressed_to is not None or envelope.type == "session.deleted":
        return ""
    if envelope.type == "session.patched":
        return ""
    contract = _charged.decode(envelope.payload).cdr_token.contract_id
    return "" if contract == UNSAID else identity(contract)
