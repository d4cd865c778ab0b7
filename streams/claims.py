"""What the tables say of CDRs that name no Session, of credits, and of the Sessions that they may belong to."""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, NamedTuple, cast

import msgspec
from msgspec import Struct

from schemas.link import Doubt
from schemas.types import Instant, identity
from streams.links import Candidate, Claim
from streams.ports import TableStore
from streams.projections.cdrs import CdrColumns
from streams.values import text

Key = tuple[str, str, str]
"""The party, the CDR's id (lowered), its own key in the log."""


class Claimed(NamedTuple):
    """A CDR as the tables have it."""

    claim: Claim
    session_id: str
    credit: bool
    reference: str

    @property
    def key(self) -> Key:
        return self.claim.party, identity(self.claim.cdr_id), self.claim.own_key


class Original(NamedTuple):
    """The CDR that a credit takes back."""

    key: Key
    is_orphan: bool


class _Token(Struct):
    uid: str = ""
    contract_id: str = ""


class _Billed(CdrColumns):
    cdr_token: _Token | None = None  # type: ignore[assignment]


class Told(Struct):
    """A CDR in the ledger's document."""

    id: str
    credit_of: str | None
    currency: str
    before_taxes: Decimal
    taxes: Decimal
    energy_kwh: Decimal
    confidence: Decimal | None = None
    reasons: tuple[str, ...] = ()


class Row(Struct, frozen=True):
    """What the linker reads of a ledger row: the CDRs that count there, and where those went that left, how surely and why."""

    cdrs: list[Told] = []
    moved: dict[str, tuple[str, Decimal, tuple[str, ...]]] = {}

    def entry(self, cdr_id: str) -> Told | None:
        """Return the CDR of that lowered id."""
        return next((one for one in self.cdrs if identity(one.id) == cdr_id), None)


class Claims:
    """Asks the tables. Every method raises StoreUnavailable."""

    def __init__(self, store: TableStore) -> None:
        self._store = store

    async def claimed(self, keys: Sequence[Key]) -> list[Claimed]:
        """Return the CDRs of these keys, as far as the tables have them."""
        if not keys:
            return []
        return [_claim(row) for row in await self._store.query(_ROWS, {"keys": list(keys)})]

    async def originals(self, taken_back: Sequence[Claimed]) -> dict[tuple[str, str], Original]:
        """Return the CDRs that the credits take back; of several with one id, that which came first."""
        wanted = list({(one.claim.party, one.reference): None for one in taken_back})
        if not wanted:
            return {}
        found: dict[tuple[str, str], Original] = {}
        for row in await self._store.query(_ORIGINALS, {"originals": wanted}):
            *_, session_id, credit = row
            key = _key(row)
            found[key[:2]] = Original(key, not text(session_id) and not credit)
        return found

    async def ledger(self, keys: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Row]:
        """Return the ledger's rows of these parties and charging keys."""
        wanted = list(dict.fromkeys(keys))
        if not wanted:
            return {}
        rows = await self._store.query(_LEDGER, {"keys": wanted})
        return {(text(party), text(own_key)): _row.decode(cast("bytes", doc)) for party, own_key, doc in rows}

    async def candidates(self, orphans: Sequence[Claimed]) -> dict[tuple[str, str], list[Candidate]]:
        """Return the Sessions at the places of the CDRs that overlap one of them, by party and Location."""
        claims = [
            (one.claim.party, one.claim.location_id, one.claim.start, one.claim.end) for one in orphans if one.claim.location_id
        ]
        if not claims:
            return {}
        places = list({claim[:2]: None for claim in claims})
        found: dict[tuple[str, str], list[Candidate]] = {}
        for row in await self._store.query(_CANDIDATES, {"claims": claims, "places": places}):
            party, session_id, contract_id, token_uid, location_id, evse_uid = map(text, row[:6])
            start, end = row[6:]
            candidate = Candidate(
                session_id=session_id,
                contract_id=contract_id,
                token_uid=token_uid,
                location_id=location_id,
                evse_uid=evse_uid,
                start=cast("Instant", start),
                end=cast("Instant | None", end),
            )
            found.setdefault((party, location_id), []).append(candidate)
        return found

    async def touched(self, sessions: Sequence[tuple[str, str]]) -> list[Key]:
        """Return the CDRs without a Session that were charged where and when one of these Sessions was."""
        if not sessions:
            return []
        return [_key(row) for row in await self._store.query(_TOUCHED, {"keys": list(sessions)})]

    async def every(self, after: Key, limit: int) -> list[Key]:
        """Return the next keys of CDRs without session_id, and of credits, in their order."""
        parameters = {"party": after[0], "cdr_id": after[1], "key": after[2], "limit": limit}
        return [_key(row) for row in await self._store.query(_EVERY, parameters)]

    async def waiting(self, limit: int) -> list[tuple[Key, str]]:
        """Return the newest credits whose CDR is not here, with its id."""
        rows = await self._store.query(_WAITING, {"limit": limit})
        return [((text(party), text(cdr_id), text(own_key)), text(of)) for party, of, cdr_id, own_key in rows]

    async def places(self) -> list[tuple[str, str]]:
        """Return party and Location of every CDR that has no Session yet."""
        return [(text(party), text(place)) for party, place in await self._store.query(_PLACES)]

    async def doubted(self, doubts: Mapping[Key, Doubt]) -> set[bytes]:
        """Return the ids of the doubts that were said already: a log is endless, and need not hear them again."""
        if not doubts:
            return set()
        keys = [(key[0], doubt.cdr_id) for key, doubt in doubts.items()]
        return {bytes.fromhex(text(event_id)) for (event_id,) in await self._store.query(_DOUBTED, {"keys": keys})}


def _claim(row: Sequence[object]) -> Claimed:
    party, _, own_key, session_id, credit, reference, location_id, evse_uid, start, end, first_seen, addressed_to, doc = row
    cdr = _billed.decode(cast("bytes", doc))
    token = cdr.cdr_token or _Token()
    claim = Claim(
        party=text(party),
        cdr_id=cdr.id,
        own_key=text(own_key),
        contract_id=token.contract_id,
        token_uid=token.uid,
        location_id=text(location_id),
        evse_uid=text(evse_uid),
        start=cast("Instant", start),
        end=cast("Instant", end),
        currency=cdr.currency,
        before_taxes=cdr.total_cost.before_taxes,
        taxes=cdr.taxes,
        energy_kwh=cdr.total_energy,
        received_at=cast("Instant", first_seen),
        addressed_to=text(addressed_to),
        credit_of=cdr.credit_reference_id if credit else None,
    )
    return Claimed(claim, text(session_id), bool(credit), text(reference))


def _key(row: Sequence[Any]) -> Key:
    return text(row[0]), text(row[1]), text(row[2])


_KEYS: Final = "{keys:Array(Tuple(String, String, String))}"

_ROWS: Final = f"""
SELECT party, cdr_id, charging_key, session_id, credit, credit_reference_id, location_id, evse_uid,
    start_date_time, end_date_time, first_seen, addressed_to, doc
FROM cdrs
WHERE (party, cdr_id, charging_key) IN {_KEYS}
"""

_ORIGINALS: Final = """
SELECT party, cdr_id, charging_key, session_id, credit
FROM cdrs
WHERE (party, cdr_id) IN {originals:Array(Tuple(String, String))}
ORDER BY first_seen DESC
"""

_LEDGER: Final = """
SELECT party, charging_key, doc
FROM ledger
WHERE (party, charging_key) IN {keys:Array(Tuple(String, String))}
"""

_CANDIDATES: Final = """
SELECT DISTINCT
    s.party, s.session_id, s.contract_id, JSONExtractString(s.doc, 'cdr_token', 'uid'), s.location_id, s.evse_uid,
    s.start_date_time, s.end_date_time
FROM
(
    SELECT party, session_id, contract_id, location_id, evse_uid, start_date_time, end_date_time, doc
    FROM sessions
    WHERE served = 1 AND status != 'INVALID' AND (party, location_id) IN {places:Array(Tuple(String, String))}
) AS s
INNER JOIN
(
    SELECT claim.1 AS party, claim.2 AS location_id, claim.3 AS starts, claim.4 AS ends
    FROM (SELECT arrayJoin({claims:Array(Tuple(String, String, Int64, Int64))}) AS claim)
) AS c ON c.party = s.party AND c.location_id = s.location_id
WHERE toUnixTimestamp64Micro(s.start_date_time) <= c.ends
  AND ifNull(toUnixTimestamp64Micro(s.end_date_time), c.ends) >= c.starts
"""

_ORPHANS: Final = """(party, charging_key) IN (SELECT party, charging_key FROM ledger WHERE orphans > 0)"""

_TOUCHED: Final = f"""
SELECT DISTINCT c.party, c.cdr_id, c.charging_key
FROM
(
    SELECT party, cdr_id, charging_key, location_id, start_date_time, end_date_time
    FROM cdrs
    WHERE session_id = '' AND credit = 0 AND {_ORPHANS}
) AS c
INNER JOIN
(
    SELECT party, location_id, start_date_time, end_date_time
    FROM sessions
    WHERE served = 1 AND (party, session_id) IN {{keys:Array(Tuple(String, String))}}
) AS s ON s.party = c.party AND s.location_id = c.location_id
WHERE s.start_date_time <= c.end_date_time AND ifNull(s.end_date_time, c.end_date_time) >= c.start_date_time
"""

_PLACES: Final = f"SELECT DISTINCT party, location_id FROM cdrs WHERE session_id = '' AND credit = 0 AND {_ORPHANS}"

_WAITING: Final = """
SELECT party, credit_reference_id, cdr_id, charging_key
FROM cdrs
WHERE credit = 1 AND credit_reference_id != ''
  AND (party, charging_key) IN (SELECT party, charging_key FROM ledger WHERE standing = 'unmatched_credit')
ORDER BY first_seen DESC
LIMIT {limit:UInt32}
"""

_EVERY: Final = """
SELECT party, cdr_id, charging_key
FROM cdrs
WHERE (session_id = '' OR credit = 1) AND (party, cdr_id, charging_key) > ({party:String}, {cdr_id:String}, {key:String})
ORDER BY party, cdr_id, charging_key
LIMIT {limit:UInt32}
"""

_DOUBTED: Final = """
SELECT hex(event_id)
FROM cdr_findings
WHERE rule = 'cdr_link_ambiguous' AND (party, object_id) IN {keys:Array(Tuple(String, String))}
"""

_billed: Final = msgspec.json.Decoder(_Billed)
_row: Final = msgspec.json.Decoder(Row)
