"""What could the versions of the partners not carry, on the way in and on the way out?"""

from datetime import datetime
from typing import Final

from pydantic import BaseModel, Field

from api.queries.question import OWNER, Count, Question, between, reads


class Lost(BaseModel):
    """One kind of loss between one partner's version and the canonical form."""

    direction: str = Field(description="in: what the partner sent; out: what it was given")
    partner: str = Field(description="the connection that sent it, or read it")
    party: str = Field(description="the owner, `NL*TNM`; empty on the way out, where objects of many owners are given")
    module: str = Field(description="the OCPI module")
    version: str = Field(description="the OCPI version of the partner's request")
    kind: str = Field(
        description="lost: a value that could not be said; defaulted: one that was made up; withheld: objects not given"
    )
    pointer: str = Field(description="where in the object, list positions as *; empty on the way out")
    reason: str = Field(description="why; empty on the way out")
    losses: Count = Field(description="how often; on the way out since this process began")
    objects: Count | None = Field(description="in how many objects; null on the way out")
    first_at: datetime | None = Field(description="when the first of them arrived, UTC; null on the way out")
    last_at: datetime | None = Field(description="when the last of them arrived, UTC; null on the way out")


# Behind a UNION ALL, ORDER BY would order its last part alone.
SQL: Final = f"""
SELECT * FROM (
SELECT
    'in' AS direction,
    connection AS partner,
    party AS party,
    module AS module,
    ocpi_version AS version,
    severity AS kind,
    replaceRegexpAll(pointer, '/[0-9]+(/|$)', '/*\\\\1') AS pointer,
    min(message) AS reason,
    count() AS losses,
    toNullable(uniqExact(lower(object_id))) AS objects,
    toNullable(min(received_at)) AS first_at,
    toNullable(max(received_at)) AS last_at
FROM findings
WHERE severity IN ('lost', 'defaulted') AND {OWNER} AND {between("received_at")}
GROUP BY partner, party, module, version, kind, pointer
UNION ALL
SELECT
    'out' AS direction,
    given.1 AS partner,
    '' AS party,
    given.2 AS module,
    given.3 AS version,
    given.4 AS kind,
    '' AS pointer,
    '' AS reason,
    given.5 AS losses,
    NULL AS objects,
    NULL AS first_at,
    NULL AS last_at
FROM (SELECT arrayJoin({{given:Array(Tuple(String, String, String, String, UInt64))}}) AS given)
WHERE {{party:String}} = ''
)
ORDER BY direction, partner, party, module, version, kind, pointer
"""

COVERAGE: Final = f"""
SELECT count(), count()
FROM findings
WHERE severity IN ('lost', 'defaulted') AND {OWNER} AND {between("received_at")}
"""

QUESTION: Final = Question(
    path="losses",
    title="Losses by partner and version",
    grain=(
        "one row per partner, owner, module, version, kind and place; from and to choose by the arrival of the event, what was "
        "given is counted since this process began"
    ),
    metric_version=1,
    sql=SQL,
    coverage=COVERAGE,
    counted="losses on the way in; each event's are kept",
    row=Lost,
    projections=reads("locations", "sessions", "cdrs", "tariffs", "tokens"),
)
