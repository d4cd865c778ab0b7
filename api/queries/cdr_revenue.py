"""What do the CDRs of each CPO bill to each eMSP, and what does a kWh cost?"""

from typing import Final

from pydantic import BaseModel, Field

from api.queries.question import NO_TWINS, OWNER, Count, Exact, Question, between, reads


class CdrRevenue(BaseModel):
    """The CDRs and credit CDRs of a pair in one currency."""

    party: str = Field(description="the owner (CPO), `NL*TNM`")
    addressed_to: str = Field(description="the party that pays (eMSP); empty where nobody can be told")
    currency: str = Field(description="ISO 4217; amounts of different currencies are never added")
    cdrs: Count = Field(description="CDRs, credit CDRs not among them")
    credits: Count = Field(description="credit CDRs")
    billed_before_taxes: Exact = Field(description="total_cost of the CDRs, before taxes, in the currency")
    credited_before_taxes: Exact = Field(description="total_cost of the credit CDRs, before taxes, in the currency: below zero")
    revenue_before_taxes: Exact = Field(description="numerator: billed and credited, before taxes, in the currency")
    taxes: Exact = Field(description="the taxes stated with them, in the currency")
    revenue: Exact = Field(description="revenue_before_taxes with taxes, in the currency")
    energy_kwh: Exact = Field(description="denominator: total_energy of the CDRs less that of the credit CDRs, kWh")
    price_per_kwh: float | None = Field(description="revenue_before_taxes over energy_kwh; null where there is no energy")


SQL: Final = f"""
SELECT
    party,
    addressed_to,
    currency,
    countIf(credit = 0) AS cdrs,
    countIf(credit = 1) AS credits,
    sumIf(c.cost_before_taxes, credit = 0) AS billed_before_taxes,
    sumIf(c.cost_before_taxes, credit = 1) AS credited_before_taxes,
    sum(c.cost_before_taxes) AS revenue_before_taxes,
    sum(c.taxes) AS taxes,
    revenue_before_taxes + taxes AS revenue,
    sum(if(credit = 1, -c.energy_kwh, c.energy_kwh)) AS energy_kwh,
    if(energy_kwh > 0, toFloat64(revenue_before_taxes) / toFloat64(energy_kwh), NULL) AS price_per_kwh
FROM cdrs AS c
WHERE {OWNER} AND {between("first_seen")} AND {NO_TWINS}
GROUP BY party, addressed_to, currency
ORDER BY party, addressed_to, currency
"""

COVERAGE: Final = f"""
SELECT countIf(addressed_to != ''), count()
FROM cdrs
WHERE {OWNER} AND {between("first_seen")} AND {NO_TWINS}
"""

QUESTION: Final = Question(
    path="cdrs/revenue",
    title="What CDRs bill, per CPO-eMSP pair",
    grain="one row per CPO, eMSP and currency; from and to choose by the CDR's arrival",
    metric_version=1,
    sql=SQL,
    coverage=COVERAGE,
    counted="CDRs and credit CDRs of which the eMSP is known",
    row=CdrRevenue,
    projections=reads("cdrs"),
)
