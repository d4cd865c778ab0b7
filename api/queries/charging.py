"""How many Sessions were there and how much energy did they take, by day, Location and party?"""

from datetime import date
from typing import Annotated, Final

from pydantic import BaseModel, Field

from api.filters import of_place
from api.queries.local_time import OFFSETS, WANTED, day_number, near
from api.queries.question import IN_COUNTRY, OWNER, Count, Exact, Question, reads


class Charging(BaseModel):
    """A Location's day."""

    day: date = Field(description="the local day of the site on which the Sessions began")
    party: str = Field(description="the owner, `NL*TNM`")
    location_id: str = Field(description="the lowered id of the Location")
    country: str = Field(description="of the Location; empty where it was never pushed")
    time_zone: str = Field(description="of the Location, as it says now; empty: UTC")
    sessions: Count = Field(description="Sessions that began on the day")
    completed: Count = Field(description="of these, those that are COMPLETED")
    energy_kwh: Exact = Field(description="kwh of these Sessions, kWh")
    energy_per_session_kwh: Annotated[float, Field(ge=0)] = Field(description="energy_kwh over sessions")
    evses: Count = Field(description="EVSEs at which they charged")


SQL: Final = f"""
WITH
    offsets AS ({OFFSETS}),
    placed AS
    (
        SELECT
            s.party AS party,
            s.location_id AS location_id,
            evse_uid,
            status,
            energy_kwh,
            toUnixTimestamp64Micro(start_date_time) AS starts,
            l.time_zone AS time_zone,
            l.country AS country
        FROM sessions AS s
        LEFT JOIN (SELECT party, location_id, toString(time_zone) AS time_zone, country FROM locations WHERE served = 1) AS l
            ON l.party = s.party AND l.location_id = s.location_id
        WHERE served = 1
          AND ({{party:String}} = '' OR s.party = {{party:String}})
          AND ({{location:String}} = '' OR s.location_id = {{location:String}})
          AND ({{country:String}} = '' OR l.country = {{country:String}})
          AND {near("toUnixTimestamp64Micro(start_date_time)")}
    )
SELECT
    addDays(toDate32('1970-01-01'), day_number) AS day,
    party,
    location_id,
    country,
    time_zone,
    count() AS sessions,
    countIf(status = 'COMPLETED') AS completed,
    sum(p.energy_kwh) AS energy_kwh,
    toFloat64(energy_kwh) / sessions AS energy_per_session_kwh,
    uniqExact(evse_uid) AS evses
FROM
(
    SELECT p.*, {day_number("(starts + c.offset)")} AS day_number
    FROM placed AS p
    ASOF JOIN offsets AS c ON c.time_zone = p.time_zone AND p.starts >= c.since
) AS p
WHERE {WANTED}
GROUP BY day_number, party, location_id, country, time_zone
ORDER BY day, party, location_id
"""

COVERAGE: Final = f"""
SELECT countIf((party, location_id) IN (SELECT party, location_id FROM locations WHERE served = 1)), count()
FROM sessions
WHERE served = 1 AND {OWNER}
  AND ({{location:String}} = '' OR location_id = {{location:String}})
  AND {IN_COUNTRY}
  AND {near("toUnixTimestamp64Micro(start_date_time)")}
"""

QUESTION: Final = Question(
    path="charging",
    title="Sessions and energy by day, Location and party",
    grain="one row per local day, party and Location; from and to choose whole local days by their date",
    metric_version=1,
    sql=SQL,
    coverage=COVERAGE,
    counted="Sessions around the interval whose Location is known, so that their day is that of the site, of all of them",
    row=Charging,
    projections=reads("sessions", "locations"),
    filters=of_place,
)
