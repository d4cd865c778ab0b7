"""How do Sessions, CDRs and credits stand to each other between each CPO and each eMSP?"""

from typing import Final

from pydantic import BaseModel, Field

from api.queries.question import OWNER, Count, Exact, Question, Share, between, reads


class LedgerBalance(BaseModel):
    """The entries of a CPO-eMSP pair with one standing, in one currency."""

    party: str = Field(description="the owner (CPO), `NL*TNM`")
    addressed_to: str = Field(description="the party that pays (eMSP); empty where nobody can be told")
    currency: str = Field(description="ISO 4217; empty where there is no CDR, or where the CDRs of an entry differ")
    standing: str = Field(
        description="open, unbilled, billed, overbilled, credited, unmatched_credit, mixed_currencies, or orphan: a CDR names no "
        "Session, and none was found for it"
    )
    entries: Count = Field(description="numerator: entries of this standing and currency, each a Session with its CDRs and credits")
    entries_of_pair: Count = Field(description="denominator: entries of the pair")
    share: Share = Field(description="entries over entries_of_pair")
    linked_entries: Count = Field(description="entries with CDRs that do not name their Session, and were found to belong to it")
    confidence: Exact | None = Field(description="of these, the least sure, 0 to 1; null where every CDR names its Session")
    session_energy_kwh: Exact = Field(description="kwh of their Sessions, kWh; joined from the Sessions of the same key")
    billed_energy_kwh: Exact = Field(description="total_energy of their CDRs less that of their credits, kWh")
    billed_before_taxes: Exact = Field(description="total_cost of CDRs and credits, before taxes, in the currency")
    billed_taxes: Exact = Field(description="the taxes stated with them, in the currency")


# A row of which everything was linked to a Session is no entry of its own any more.
SQL: Final = f"""
SELECT
    party,
    addressed_to,
    currency,
    standing,
    count() AS entries,
    sum(count()) OVER (PARTITION BY party, addressed_to) AS entries_of_pair,
    entries / entries_of_pair AS share,
    countIf(l.confidence IS NOT NULL) AS linked_entries,
    min(l.confidence) AS confidence,
    sum(s.energy_kwh) AS session_energy_kwh,
    sum(ifNull(l.billed_energy_kwh, 0)) AS billed_energy_kwh,
    sum(ifNull(l.billed_before_taxes, 0)) AS billed_before_taxes,
    sum(ifNull(l.billed_taxes, 0)) AS billed_taxes
FROM ledger AS l
LEFT JOIN (SELECT party AS owner, session_id, energy_kwh FROM sessions WHERE served) AS s
    ON s.owner = l.party AND s.session_id = l.charging_key
WHERE standing != 'linked' AND {OWNER} AND {between("first_seen")}
GROUP BY party, addressed_to, currency, standing
ORDER BY party, addressed_to, currency, standing
"""

COVERAGE: Final = f"""
SELECT countIf(standing != 'mixed_currencies' AND addressed_to != ''), count()
FROM ledger
WHERE standing != 'linked' AND {OWNER} AND {between("first_seen")}
"""

QUESTION: Final = Question(
    path="ledger",
    title="What was charged against what was billed, per CPO-eMSP pair",
    grain="one row per CPO, eMSP, currency and standing; from and to choose by the arrival of an entry's first event",
    metric_version=2,
    sql=SQL,
    coverage=COVERAGE,
    counted="entries with a known eMSP whose CDRs can be added up",
    row=LedgerBalance,
    projections=reads("ledger"),
)
