"""Canonical documents in a reader's version: with what stands beside them, without what it cannot say, and every loss counted."""

import asyncio
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec
from msgspec import Struct

from api.access import Reader
from api.errors import missing
from api.lookup import DocumentLookup, Key
from api.versions import Spoken
from schemas.ocpi.dialect import NOTHING_BESIDE, Beside, Level, Lowered
from schemas.ocpi.interface import Interface
from schemas.ocpi.response import Status
from schemas.types import Instant, Module, identity, party_of
from streams.metrics import Metrics

LOWERED_AT_ONCE: Final = 100
"""After so many documents of a page others get their turn: a whole page in one go would hold up every push."""

LOSSES: Final = "roamlog_lowering_losses_total"
"""The counter of what was lost on the way out, by partner, module, version and kind (lost, defaulted, withheld)."""

CODES: Final = {Module.LOCATIONS: Status.UNKNOWN_LOCATION, Module.TOKENS: Status.UNKNOWN_TOKEN}
"""The status code of what is not there, where it is not 2001."""

_AT: Final = "fromUnixTimestamp64Micro({at:Int64}, 'UTC')"
_PUBLIC: Final = "publish = 1"
_NO_CREDITS: Final = "credit = 0"
_VALID_NOW: Final = f"""type IN ('', 'REGULAR')
  AND (start_date_time IS NULL OR start_date_time <= {_AT}) AND (end_date_time IS NULL OR end_date_time > {_AT})"""
_LISTED: Final = "whitelist != 'NEVER'"


def representable(interface: Interface, module: Module) -> str:
    """Return the condition, in SQL, of what a version can say of a module's objects, as far as their columns tell.

    It keeps lists and their totals free of what `lower` would withhold for its kind: requirements 5.1, 5.4, 5.5 and 5.6. What
    only the whole object tells, as a Session whose Location nobody knows, is left out of its page, and of the total where the
    list has no other page.
    """
    if not interface.holds_others:
        return "1"
    match module:
        case Module.LOCATIONS:
            return _PUBLIC
        case Module.CDRS:
            return _NO_CREDITS
        case Module.TARIFFS:
            return _VALID_NOW
        case Module.TOKENS:
            return "1" if interface.authorizes else _LISTED
        case Module.SESSIONS:
            return "1"


class Lowering:
    """Gives documents to a reader in its version."""

    def __init__(self, lookup: DocumentLookup, metrics: Metrics) -> None:
        self._lookup = lookup
        self._metrics = metrics

    async def page(self, spoken: Spoken, module: Module, documents: Sequence[bytes], reader: Reader, at: Instant) -> list[bytes]:
        """Return the objects of a page, what is withheld left out; raises StoreUnavailable.

        Nothing is decoded that the version says as the canonical form does.
        """
        besides = await self._besides(spoken, module, documents, at)
        bodies: list[bytes] = []
        kinds: Counter[str] = Counter()
        for number, document in enumerate(documents, 1):
            lowered = spoken.dialect.lower(module, document, beside=besides[number - 1] if besides else NOTHING_BESIDE)
            kinds.update(_lost(lowered))
            if lowered.withheld is None:
                bodies.append(lowered.body)
            if number % LOWERED_AT_ONCE == 0:
                await asyncio.sleep(0)
        self._count(kinds, spoken, module, reader)
        return bodies

    async def one(
        self, spoken: Spoken, module: Module, document: bytes, reader: Reader, at: Instant, *, party: str, level: Level = "location"
    ) -> bytes:
        """Return one document of the party; raises Refusal (HTTP 404 and why) where it is withheld, or StoreUnavailable."""
        besides = await self._besides(spoken, module, [document], at, party)
        beside = besides[0] if besides else NOTHING_BESIDE
        lowered = spoken.dialect.lower(module, document, level=level, beside=beside)
        self._count(Counter(_lost(lowered)), spoken, module, reader)
        if lowered.withheld is not None:
            raise missing(lowered.withheld, CODES.get(module, Status.INVALID_PARAMETERS))
        return lowered.body

    def _count(self, kinds: Mapping[str, int], spoken: Spoken, module: Module, reader: Reader) -> None:
        for kind, times in kinds.items():
            self._metrics.count(LOSSES, reader.name, module.value, spoken.dialect.version, kind, by=times)

    async def _besides(
        self, spoken: Spoken, module: Module, documents: Sequence[bytes], at: Instant, party: str = ""
    ) -> list[Beside]:
        """Return what each document needs beside it; nothing where the version's objects hold no others."""
        if not spoken.interface.holds_others:
            return []
        match module:
            case Module.SESSIONS | Module.CDRS:
                return await self._places(module, documents, at)
            case Module.LOCATIONS:
                tariffs = await self._tariffs([(party, document) for document in documents])
                return [Beside(tariffs=known, now=at) for known in tariffs]
            case Module.TARIFFS | Module.TOKENS:
                return [Beside(now=at)] * len(documents)

    async def _places(self, module: Module, documents: Sequence[bytes], at: Instant) -> list[Beside]:
        keys = [_place(module, document) for document in documents]
        found = await self._lookup.documents(Module.LOCATIONS, list(dict.fromkeys(keys)))
        offered = await self._tariffs([(party, place) for (party, _), place in found.items()])
        tariffs = dict(zip(found, offered, strict=True))
        return [Beside(location=found.get(key), tariffs=tariffs.get(key, {}), now=at) for key in keys]

    async def _tariffs(self, documents: Sequence[tuple[str, bytes]]) -> list[Mapping[str, bytes]]:
        """Return the Tariffs among which a Connector of each Location, EVSE or Connector may choose, by their lowered ids."""
        named = [_named(party, document) for party, document in documents]
        keys = list(dict.fromkeys(key for keys in named for key in keys))
        found = await self._lookup.documents(Module.TARIFFS, keys) if keys else {}
        return [{key[1]: found[key] for key in keys if key in found} for keys in named]


def _lost(lowered: Lowered) -> list[str]:
    """Return the kind of each loss; what is withheld is lost as one."""
    return [loss.kind for loss in lowered.losses] if lowered.withheld is None else ["withheld"]


class _Owned(Struct, frozen=True):
    country_code: str = ""
    party_id: str = ""


class _Session(_Owned, frozen=True):
    location_id: str = ""


class _CdrLocation(Struct, frozen=True):
    id: str = ""


class _Cdr(_Owned, frozen=True):
    cdr_location: _CdrLocation = _CdrLocation()


class _Connector(Struct, frozen=True):
    tariff_ids: list[str] | None = None


class _Evse(Struct, frozen=True):
    connectors: list[_Connector] | None = None


class _Location(_Owned, frozen=True):
    evses: list[_Evse] | None = None
    connectors: list[_Connector] | None = None
    tariff_ids: list[str] | None = None


_session: Final = msgspec.json.Decoder(_Session)
_cdr: Final = msgspec.json.Decoder(_Cdr)
_location: Final = msgspec.json.Decoder(_Location)


def _place(module: Module, document: bytes) -> Key:
    if module is Module.SESSIONS:
        session = _session.decode(document)
        return party_of(session.country_code, session.party_id), identity(session.location_id)
    cdr = _cdr.decode(document)
    return party_of(cdr.country_code, cdr.party_id), identity(cdr.cdr_location.id)


# Most Connectors have one Tariff, and it is the one that is given; the texts between the brackets are ids, without any.
_SEVERAL: Final = re.compile(rb'"tariff_ids"\s*:\s*\[[^\]]*,')


def _named(party: str, document: bytes) -> list[Key]:
    if _SEVERAL.search(document) is None:
        return []
    place = _location.decode(document)
    owner = party_of(place.country_code, place.party_id) if place.country_code else party
    connectors: Iterable[_Connector] = (
        *(one for evse in place.evses or () for one in evse.connectors or ()),
        *(place.connectors or ()),
        _Connector(place.tariff_ids),
    )
    return list({(owner, identity(tariff_id)): None for one in connectors for tariff_id in one.tariff_ids or ()})
