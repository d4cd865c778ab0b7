"""How much energy was charged, what did it cost, and what of it was billed, by day and party?"""

from datetime import date
from typing import Final

from pydantic import BaseModel, Field

from api.queries.question import NO_TWINS, OWNER, Count, Exact, Question, between, reads


class Energy(BaseModel):
    """A party's day in one currency: what its Sessions say, and what its CDRs say of Sessions begun on that day."""

    day: date = Field(description="the UTC day on which the Session began (start_date_time)")
    party: str = Field(description="the owner, `NL*TNM`")
    currency: str = Field(description="ISO 4217; amounts of different currencies are never added")
    sessions: Count = Field(description="Sessions that began on the day")
    energy_kwh: Exact = Field(description="kwh of these Sessions, kWh")
    sessions_with_cost: Count = Field(description="of these, those that state a total_cost: without one the cost is unknown")
    cost_before_taxes: Exact = Field(description="total_cost of those, before taxes, in the currency")
    cdrs: Count = Field(description="CDRs, credit CDRs not among them")
    credits: Count = Field(description="credit CDRs")
    billed_energy_kwh: Exact = Field(description="total_energy of the CDRs less that of the credit CDRs, kWh")
    billed_before_taxes: Exact = Field(description="total_cost of CDRs and credit CDRs (negative), before taxes, in the currency")
    billed_taxes: Exact = Field(description="the taxes stated with them, in the currency")


SQL: Final = f"""
SELECT
    day,
    party,
    currency,
    sum(sessions) AS sessions,
    sum(energy_kwh) AS energy_kwh,
    sum(sessions_with_cost) AS sessions_with_cost,
    sum(cost_before_taxes) AS cost_before_taxes,
    sum(cdrs) AS cdrs,
    sum(credits) AS credits,
    sum(billed_energy_kwh) AS billed_energy_kwh,
    sum(billed_before_taxes) AS billed_before_taxes,
    sum(billed_taxes) AS billed_taxes
FROM
(
    SELECT
        toDate32(start_date_time, 'UTC') AS day,
        party,
        currency,
        count() AS sessions,
        sum(s.energy_kwh) AS energy_kwh,
        countIf(isNotNull(s.cost_before_taxes)) AS sessions_with_cost,
        sum(ifNull(s.cost_before_taxes, 0)) AS cost_before_taxes,
        0 AS cdrs,
        0 AS credits,
        toDecimal128(0, 12) AS billed_energy_kwh,
        toDecimal128(0, 12) AS billed_before_taxes,
        toDecimal128(0, 12) AS billed_taxes
    FROM sessions AS s
    WHERE served = 1 AND {OWNER} AND {between("start_date_time")}
    GROUP BY day, party, currency
    UNION ALL
    SELECT
        toDate32(start_date_time, 'UTC') AS day,
        party,
        currency,
        0 AS sessions,
        toDecimal128(0, 12) AS energy_kwh,
        0 AS sessions_with_cost,
        toDecimal128(0, 12) AS cost_before_taxes,
        countIf(credit = 0) AS cdrs,
        countIf(credit = 1) AS credits,
        sum(if(credit = 1, -c.energy_kwh, c.energy_kwh)) AS billed_energy_kwh,
        sum(c.cost_before_taxes) AS billed_before_taxes,
        sum(c.taxes) AS billed_taxes
    FROM cdrs AS c
    WHERE {OWNER} AND {between("start_date_time")} AND {NO_TWINS}
    GROUP BY day, party, currency
)
GROUP BY day, party, currency
ORDER BY day, party, currency
"""

COVERAGE: Final = f"""
SELECT countIf(isNotNull(cost_before_taxes)), count()
FROM sessions
WHERE served = 1 AND {OWNER} AND {between("start_date_time")}
"""

QUESTION: Final = Question(
    path="energy",
    title="Energy and cost by day and party",
    grain="one row per UTC day, party and currency; from and to choose by start_date_time",
    metric_version=1,
    sql=SQL,
    coverage=COVERAGE,
    counted="Sessions that state a total_cost, of all Sessions in scope",
    row=Energy,
    projections=reads("sessions", "cdrs"),
)
