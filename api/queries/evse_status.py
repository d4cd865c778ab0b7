"""In which status are the EVSEs now, by party, country and Location?"""

from datetime import datetime
from typing import Final

from pydantic import BaseModel, Field

from api.filters import of_status
from api.queries.question import OWNER, PLACE, Count, Question, Share, between, reads


class EvsesInStatus(BaseModel):
    """The EVSEs of a place in one status."""

    party: str = Field(description="the owner, `NL*TNM`")
    country: str = Field(description="the Location's country, ISO 3166-1 alpha-3; empty where by=party")
    location_id: str = Field(description="the lowered id of the Location; empty unless by=location")
    status: str = Field(description="Status as the owner last said it")
    evses: Count = Field(description="numerator: EVSEs of the place in this status")
    evses_of_place: Count = Field(description="denominator: EVSEs of the place, whatever their status")
    share: Share = Field(description="evses over evses_of_place")
    oldest: datetime = Field(description="the oldest last_updated among these EVSEs, UTC: how long one of them may be silent")


# The place's EVSEs of all statuses are counted before the status narrows: a share of what was filtered would always be 1.
SQL: Final = f"""
SELECT
    party,
    place_country AS country,
    place AS location_id,
    status,
    evses,
    evses_of_place,
    evses / evses_of_place AS share,
    oldest
FROM
(
    SELECT
        party,
        if({{by:String}} = 'party', '', country) AS place_country,
        if({{by:String}} = 'location', location_id, '') AS place,
        status,
        count() AS evses,
        sum(evses) OVER (PARTITION BY party, place_country, place) AS evses_of_place,
        min(last_updated) AS oldest
    FROM evses
    WHERE listed = 1 AND {OWNER} AND {PLACE} AND {between("last_updated")}
    GROUP BY party, place_country, place, status
)
WHERE {{status:String}} = '' OR status = {{status:String}}
ORDER BY party, country, location_id, status
"""

# Of Locations, because a second look at all EVSEs would take as long as the answer; how many are UNKNOWN, the rows say.
COVERAGE: Final = f"""
SELECT countIf(evses > 0), count()
FROM locations
WHERE served = 1 AND {OWNER} AND {PLACE}
"""

QUESTION: Final = Question(
    path="evses/status",
    title="EVSE status now by party, country and Location",
    grain="one row per party, country, Location and status, or of a higher level (by); from and to choose by last_updated",
    metric_version=1,
    sql=SQL,
    coverage=COVERAGE,
    counted="Locations that list EVSEs, of all Locations in the place",
    row=EvsesInStatus,
    projections=reads("locations"),
    filters=of_status,
)
