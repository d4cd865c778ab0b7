"""Which objects were not what their partner had pushed when they were pulled?"""

from datetime import datetime
from typing import Final

from pydantic import BaseModel, Field

from api.filters import of_connection
from api.queries.question import OF_CONNECTION, Count, Question, Share, between, reads


class Drifted(BaseModel):
    """An object that was pushed, and was another when its partner's list was read: a push was lost, or never sent."""

    connection: str = Field(description="the partner's name")
    party: str = Field(description="the owner, `NL*TNM`")
    module: str = Field(description="the OCPI module")
    object_id: str = Field(description="the object's id")
    times: Count = Field(description="how often it had drifted when it was read")
    fields: list[str] = Field(description="what differed each time, the oldest first; the event that says so healed it")
    first_at: datetime = Field(description="when that was found first, UTC")
    last_at: datetime = Field(description="when that was found last, UTC")
    drifted_of_module: Count = Field(description="numerator: objects of the partner's module that drifted, of the filters' time")
    objects_read: Count = Field(description="denominator: objects that crawls of the partner's module read in that time")
    share: Share = Field(description="drifted_of_module over objects_read")


SQL: Final = f"""
SELECT
    f.connection AS connection,
    f.party AS party,
    f.module AS module,
    f.id AS object_id,
    f.times AS times,
    f.fields AS fields,
    f.first_at AS first_at,
    f.last_at AS last_at,
    count() OVER (PARTITION BY connection, module) AS drifted_of_module,
    greatest(c.objects, drifted_of_module) AS objects_read,
    drifted_of_module / objects_read AS share
FROM
(
    SELECT
        connection,
        party,
        module,
        min(object_id) AS id,
        count() AS times,
        arrayMap(one -> one.2, arraySort(groupArray((received_at, message)))) AS fields,
        min(received_at) AS first_at,
        max(received_at) AS last_at
    FROM findings
    WHERE rule = 'drift' AND {OF_CONNECTION} AND {between("received_at")}
    GROUP BY connection, party, module, lower(object_id)
) AS f
LEFT JOIN
(
    SELECT connection, module, sum(objects) AS objects
    FROM crawls
    WHERE {OF_CONNECTION} AND {between("started_at")}
    GROUP BY connection, module
) AS c ON c.connection = f.connection AND c.module = f.module
ORDER BY connection, module, party, object_id
"""

COVERAGE: Final = f"""
SELECT sumIf(objects, status = 'complete'), sum(objects)
FROM crawls
WHERE {OF_CONNECTION} AND {between("started_at")}
"""

QUESTION: Final = Question(
    path="drift",
    title="Objects that differ from what was pushed",
    grain="one row per object; from and to choose by when that was found",
    metric_version=1,
    sql=SQL,
    coverage=COVERAGE,
    counted="objects that complete crawls read; what no crawl reads cannot be seen to drift",
    row=Drifted,
    projections=reads("locations", "sessions", "tariffs", "tokens", "crawls"),
    filters=of_connection,
)
