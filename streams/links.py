"""Which of some Sessions a CDR belongs to that names none: the same token at the same place at the same time.

Pure: `streams/linker.py` finds the candidates and writes down what came of them.
"""

from collections.abc import Sequence
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Final

from msgspec import Struct

from schemas.link import Doubt, Link
from schemas.types import Instant, identity

LEAST: Final = Decimal("0.6")
"""Below it nothing is linked: a stop of a minute within the hour that was billed is no half of a proof."""

APART: Final = Decimal("0.05")
"""How much surer the best Session must be than the next; closer ones are equal, and a guess would be no better than a coin."""

KNOWN: Final[Instant] = 86_400_000_000
"""Earlier instants stand for times that nobody knows (1970-01-01: OCPI 2.2.1 mod_cdrs, note on start_date_time)."""

UNKNOWN: Final = frozenset({"", "#na"})
"""How an id says that it is not there."""


class Claim(Struct, frozen=True, kw_only=True):
    """A CDR that names no Session; ids are lowered but for `cdr_id`, energy is in kWh."""

    party: str
    cdr_id: str
    own_key: str
    contract_id: str
    token_uid: str
    location_id: str
    evse_uid: str
    start: Instant
    end: Instant
    currency: str
    before_taxes: Decimal
    taxes: Decimal
    energy_kwh: Decimal
    received_at: Instant
    addressed_to: str = ""
    credit_of: str | None = None

    def linked(self, session_id: str, confidence: Decimal, reasons: tuple[str, ...]) -> Link:
        """Return the link with that Session."""
        return Link(
            cdr_id=self.cdr_id,
            own_key=self.own_key,
            session_id=session_id,
            confidence=confidence,
            reasons=reasons,
            currency=self.currency,
            before_taxes=self.before_taxes,
            taxes=self.taxes,
            energy_kwh=self.energy_kwh,
            received_at=self.received_at,
            credit_of=self.credit_of,
            addressed_to=self.addressed_to,
        )


class Candidate(Struct, frozen=True, kw_only=True):
    """A Session of the CDR's party, ids lowered; `end` is None while it runs."""

    session_id: str
    contract_id: str
    token_uid: str
    location_id: str
    evse_uid: str
    start: Instant
    end: Instant | None = None


class Fit(Struct, frozen=True):
    """How well one Session fits: 0 … 1 in hundredths, and what speaks for it."""

    confidence: Decimal
    reasons: tuple[str, ...]


def link(cdr: Claim, candidates: Sequence[Candidate]) -> Link | Doubt | None:
    """Return the Session that fits the CDR best, a Doubt where others fit as well, None where none fits.

    The order of the candidates does not matter.
    """
    fits = {one.session_id: found for one in candidates if (found := fit(cdr, one)) is not None and found.confidence >= LEAST}
    if not fits:
        return None
    ranked = sorted(fits, key=lambda session_id: (-fits[session_id].confidence, session_id))
    best = fits[ranked[0]]
    equal = tuple(session_id for session_id in ranked if best.confidence - fits[session_id].confidence < APART)
    if len(equal) > 1:
        return Doubt(cdr_id=cdr.cdr_id, own_key=cdr.own_key, session_ids=equal, confidence=best.confidence)
    return cdr.linked(ranked[0], best.confidence, best.reasons)


def fit(cdr: Claim, session: Candidate) -> Fit | None:
    """Return how well a Session fits the CDR; None where token, place or time rule it out."""
    reasons: list[str] = []
    confidence = Decimal(1)
    for part in (_token(cdr, session), _place(cdr, session), _time(cdr, session)):
        if part is None:
            return None
        confidence *= part[0]
        reasons.append(part[1])
    return Fit(confidence.quantize(Decimal("0.01"), ROUND_HALF_EVEN), tuple(reasons))


_Part = tuple[Decimal, str]


def _token(cdr: Claim, session: Candidate) -> _Part | None:
    uid = _same(cdr.token_uid, session.token_uid)
    # A contract id is written with and without its hyphens (eMAID, ISO 15118).
    contract = _same(cdr.contract_id.replace("-", ""), session.contract_id.replace("-", ""))
    if uid is None and contract is None:
        # Before 2.2 many platforms give a Session and its CDR one id.
        return (Decimal("0.9"), "id") if cdr.own_key == session.session_id else None
    if uid is not False and contract is not False:
        return Decimal(1), "token_uid" if uid else "contract_id"
    if contract:
        return Decimal("0.9"), "contract_id"  # another card of the same driver
    return (Decimal("0.8"), "token_uid") if uid else None


def _place(cdr: Claim, session: Candidate) -> _Part | None:
    if not _same(cdr.location_id, session.location_id):
        return None
    evse = _same(cdr.evse_uid, session.evse_uid)
    if evse is False:
        return None
    return (Decimal(1), "evse_uid") if evse else (Decimal("0.8"), "location_id")


def _time(cdr: Claim, session: Candidate) -> _Part | None:
    if cdr.start < KNOWN or session.start < KNOWN or cdr.end < cdr.start:
        return None
    running = session.end is None or session.end < KNOWN
    end = max(session.start, cdr.end) if session.end is None or running else session.end
    shared = min(cdr.end, end) - max(cdr.start, session.start)
    if shared < 0 or end < session.start:
        return None
    shorter, longer = sorted((cdr.end - cdr.start, end - session.start))
    # Of both: a stop at the charger lies within a long one, and yet is not that one.
    within = Decimal(shared) / shorter if shorter else Decimal(1)
    of_all = Decimal(shared) / longer if longer else Decimal(1)
    share = (within + of_all) / 2
    return (share * Decimal("0.9"), "overlap_so_far") if running else (share, "overlap")


def _same(one: str, other: str) -> bool | None:
    """Tell whether two ids are equal; None where either is not known."""
    one, other = identity(one), identity(other)
    return None if one in UNKNOWN or other in UNKNOWN else one == other
