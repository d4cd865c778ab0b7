"""In which status are the Sessions of each party, and how much energy have they taken?"""

from typing import Final

from pydantic import BaseModel, Field

from api.queries.question import OWNER, Count, Exact, Question, Share, between, reads


class SessionsByStatus(BaseModel):
    """The Sessions of a party in one status."""

    party: str = Field(description="the owner, `NL*TNM`")
    status: str = Field(description="SessionStatus as the owner last said it")
    sessions: Count = Field(description="numerator: Sessions in this status")
    sessions_of_party: Count = Field(description="denominator: Sessions of the party")
    share: Share = Field(description="sessions over sessions_of_party")
    energy_kwh: Exact = Field(description="kwh of these Sessions, kWh")


SQL: Final = f"""
SELECT
    party,
    status,
    count() AS sessions,
    sum(count()) OVER (PARTITION BY party) AS sessions_of_party,
    sessions / sessions_of_party AS share,
    sum(energy_kwh) AS energy_kwh
FROM sessions
WHERE served = 1 AND {OWNER} AND {between("start_date_time")}
GROUP BY party, status
ORDER BY party, status
"""

COVERAGE: Final = f"""
SELECT countIf(served = 1), count()
FROM sessions
WHERE {OWNER} AND (served = 0 OR {between("start_date_time")})
"""

QUESTION: Final = Question(
    path="sessions/by-status",
    title="Sessions by status and party",
    grain="one row per party and status; from and to choose by start_date_time",
    metric_version=1,
    sql=SQL,
    coverage=COVERAGE,
    counted="Sessions; those known only by a PATCH, whose PUT has not come, are not counted",
    row=SessionsByStatus,
    projections=reads("sessions"),
)
