"""For how much of each local day was each EVSE occupied, and for how much of it is nothing known?"""

from datetime import date
from typing import Annotated, Final

from pydantic import BaseModel, Field

from api.filters import as_known
from api.queries.local_time import DAY, OFFSETS, WANTED, calendar, day_number, near
from api.queries.question import IN_COUNTRY, OWNER, Count, Exact, Question, Share, reads

SILENCE_H: Final = 24
"""For how long (hours) a status is taken to last when nothing more is heard; what follows is NO_DATA."""


class Utilisation(BaseModel):
    """An EVSE's day. The seconds in each kind of status and those without data add up to calendar_s."""

    day: date = Field(description="the local day of the site")
    party: str = Field(description="the owner, `NL*TNM`")
    location_id: str = Field(description="the lowered id of the Location")
    evse_uid: str = Field(description="the lowered uid of the EVSE")
    time_zone: str = Field(description="of the Location, as it says now; empty: UTC")
    calendar_s: Exact = Field(description="denominator: seconds of the day until as_of; 23 or 25 hours where the clock is set")
    occupied_s: Exact = Field(description="numerator: seconds in CHARGING")
    available_s: Exact = Field(description="seconds in AVAILABLE")
    out_of_service_s: Exact = Field(description="seconds in INOPERATIVE or OUTOFORDER")
    other_s: Exact = Field(description="seconds in any other status: BLOCKED, PLANNED, REMOVED, RESERVED, UNKNOWN")
    no_data_s: Exact = Field(description=f"seconds before the first status, and more than {SILENCE_H} h after the last one")
    statuses: Count = Field(description="how many statuses were in force on the day")
    utilisation: Share = Field(description="occupied_s over calendar_s")
    occupancy: Annotated[float, Field(ge=0, le=1)] | None = Field(
        description="occupied_s over calendar_s less out_of_service_s; null where the EVSE was out of service all day"
    )
    coverage: Share = Field(description="the share of calendar_s of which a status is known")


def _seconds(us: str) -> str:
    return f"toDecimal128({us}, 6) / 1000000"


# A status holds until the next one, or for as long as silence is believed. It is cut where the site's clock is set, and then
# at every local midnight; at most one change of the clock lies in a day.
SQL: Final = f"""
WITH
    offsets AS ({OFFSETS}),
    observed AS
    (
        SELECT
            party,
            location_id,
            evse_uid,
            status,
            toUnixTimestamp64Micro(observed_at) AS starts,
            least(
                leadInFrame(starts, 1, {{as_of:Int64}}) OVER
                (
                    PARTITION BY party, location_id, evse_uid
                    ORDER BY observed_at, version
                    ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING
                ),
                starts + {SILENCE_H} * 3600000000,
                {{as_of:Int64}}
            ) AS ends
        FROM evse_status
        WHERE {OWNER}
          AND ({{location:String}} = '' OR location_id = {{location:String}})
          AND toUnixTimestamp64Micro(received_at) <= {{as_of:Int64}}
          AND {near("toUnixTimestamp64Micro(observed_at)")}
    ),
    placed AS
    (
        SELECT o.party AS party, o.location_id AS location_id, evse_uid, status, starts, ends, l.time_zone AS time_zone
        FROM observed AS o
        LEFT JOIN (SELECT party, location_id, toString(time_zone) AS time_zone, country FROM locations) AS l
            ON l.party = o.party AND l.location_id = o.location_id
        WHERE ends > starts AND ({{country:String}} = '' OR l.country = {{country:String}})
    ),
    cut AS
    (
        SELECT
            party,
            location_id,
            evse_uid,
            status,
            p.time_zone AS time_zone,
            arrayJoin(
                [
                    (starts + c.offset, least(ends, c.until) + c.offset),
                    (c.until + c.next_offset, ends + c.next_offset)
                ]
            ) AS piece,
            tupleElement(piece, 1) AS local_starts,
            tupleElement(piece, 2) AS local_ends
        FROM placed AS p
        ASOF JOIN offsets AS c ON c.time_zone = p.time_zone AND p.starts >= c.since
    ),
    days AS
    (
        SELECT
            party,
            location_id,
            evse_uid,
            time_zone,
            arrayJoin(range({day_number("local_starts")}, {day_number("(local_ends - 1)")} + 1)) AS day_number,
            status,
            least(local_ends, (day_number + 1) * {DAY}) - greatest(local_starts, day_number * {DAY}) AS us
        FROM cut
        WHERE local_ends > local_starts
    ),
    evse_days AS
    (
        SELECT
            party,
            location_id,
            evse_uid,
            time_zone,
            day_number,
            sum(us) AS known,
            sumIf(us, status = 'CHARGING') AS occupied,
            sumIf(us, status = 'AVAILABLE') AS available,
            sumIf(us, status IN ('INOPERATIVE', 'OUTOFORDER')) AS out_of_service,
            count() AS statuses
        FROM days
        WHERE {WANTED}
        GROUP BY party, location_id, evse_uid, time_zone, day_number
    )
SELECT
    addDays(toDate32('1970-01-01'), day_number) AS day,
    party,
    location_id,
    evse_uid,
    d.time_zone AS time_zone,
    {_seconds("calendar")} AS calendar_s,
    {_seconds("occupied")} AS occupied_s,
    {_seconds("available")} AS available_s,
    {_seconds("out_of_service")} AS out_of_service_s,
    {_seconds("known - occupied - available - out_of_service")} AS other_s,
    {_seconds("calendar - known")} AS no_data_s,
    statuses,
    occupied / calendar AS utilisation,
    if(calendar > out_of_service, occupied / (calendar - out_of_service), NULL) AS occupancy,
    known / calendar AS coverage
FROM (SELECT d.*, {calendar("{as_of:Int64}")} AS calendar FROM evse_days AS d
    ASOF JOIN offsets AS c ON c.time_zone = d.time_zone AND d.day_number * {DAY} >= c.local_since) AS d
ORDER BY day, party, location_id, evse_uid
"""

COVERAGE: Final = f"""
SELECT
    uniqExactIf((party, location_id, evse_uid), counted),
    uniqExact((party, location_id, evse_uid))
FROM
(
    SELECT
        party,
        location_id,
        evse_uid,
        toUnixTimestamp64Micro(received_at) <= {{as_of:Int64}} AND {near("toUnixTimestamp64Micro(observed_at)")} AS counted
    FROM evse_status
    UNION ALL
    SELECT party, location_id, evse_uid, 0 AS counted
    FROM evses
)
WHERE {OWNER} AND ({{location:String}} = '' OR location_id = {{location:String}})
  AND {IN_COUNTRY}
"""

QUESTION: Final = Question(
    path="utilisation",
    title="Utilisation by EVSE and day",
    grain="one row per EVSE and local day of which anything is known; from and to choose whole local days by their date",
    metric_version=1,
    sql=SQL,
    coverage=COVERAGE,
    counted="EVSEs of which a status was known around the interval, of all that were ever told; of seconds see each row",
    row=Utilisation,
    projections=reads("locations"),
    filters=as_known,
)
