"""Which rules do the objects of each party break, how often, and since when?"""

from datetime import datetime
from typing import Final

from pydantic import BaseModel, Field

from api.queries.question import NO_TWINS, OWNER, Count, Question, Share, between, reads


class RuleBroken(BaseModel):
    """What one rule found in the objects of one party and module."""

    party: str = Field(description="the owner, `NL*TNM`")
    module: str = Field(description="the OCPI module")
    rule: str = Field(description="the rule's stable name")
    severity: str = Field(description="info, warning or error")
    findings: Count = Field(description="how often the rule spoke")
    objects: Count = Field(description="numerator: objects of which it spoke")
    objects_of_party: Count = Field(
        description="denominator: objects of the party in this module; of locations, they and their EVSEs"
    )
    share: Share = Field(description="objects over objects_of_party")
    first_at: datetime = Field(description="when the first of them arrived, UTC")
    last_at: datetime = Field(description="when the last of them arrived, UTC")


SQL: Final = f"""
SELECT
    f.party AS party,
    f.module AS module,
    f.rule AS rule,
    f.severity AS severity,
    f.findings AS findings,
    f.objects AS objects,
    greatest(o.objects, f.objects) AS objects_of_party,
    objects / objects_of_party AS share,
    f.first_at AS first_at,
    f.last_at AS last_at
FROM
(
    SELECT
        party,
        module,
        rule,
        severity,
        count() AS findings,
        uniqExact(lower(object_id)) AS objects,
        min(received_at) AS first_at,
        max(received_at) AS last_at
    FROM findings
    WHERE severity NOT IN ('lost', 'defaulted') AND {OWNER} AND {between("received_at")}
    GROUP BY party, module, rule, severity
) AS f
LEFT JOIN
(
    SELECT party, 'sessions' AS module, count() AS objects FROM sessions WHERE {OWNER} GROUP BY party
    UNION ALL
    SELECT party, 'cdrs' AS module, count() AS objects FROM cdrs WHERE {OWNER} AND {NO_TWINS} GROUP BY party
    UNION ALL
    SELECT party, 'locations' AS module, sum(1 + evses) AS objects FROM locations WHERE {OWNER} GROUP BY party
    UNION ALL
    SELECT party, 'tariffs' AS module, count() AS objects FROM tariffs WHERE {OWNER} GROUP BY party
    UNION ALL
    SELECT party, 'tokens' AS module, count() AS objects FROM tokens WHERE {OWNER} GROUP BY party
) AS o ON o.party = f.party AND o.module = f.module
ORDER BY party, module, rule, severity
"""

COVERAGE: Final = f"""
SELECT count(), count()
FROM findings
WHERE severity NOT IN ('lost', 'defaulted') AND {OWNER} AND {between("received_at")}
"""

QUESTION: Final = Question(
    path="findings",
    title="Findings by rule and party",
    grain="one row per party, module, rule and severity; from and to choose by the arrival of the event",
    metric_version=2,
    sql=SQL,
    coverage=COVERAGE,
    counted="findings; each event's are kept, also those of events that changed nothing",
    row=RuleBroken,
    projections=reads("locations", "sessions", "cdrs", "tariffs", "tokens"),
)
