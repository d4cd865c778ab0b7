"""How long after the end of charging do CDRs arrive, per CPO-eMSP pair?"""

from typing import Annotated, Final, TypeAlias

from pydantic import BaseModel, Field

from api.queries.question import NO_TWINS, OWNER, Count, Question, Share, between, reads

Seconds: TypeAlias = Annotated[float, Field()]


class CdrLateness(BaseModel):
    """The CDRs of a pair; credit CDRs are not among them. Lateness is received_at less end_date_time, in seconds."""

    party: str = Field(description="the owner (CPO), `NL*TNM`")
    addressed_to: str = Field(description="the party that pays (eMSP); empty where nobody can be told")
    cdrs: Count = Field(description="denominator: CDRs that arrived")
    p50_s: Seconds = Field(description="the median; below zero where CDRs came before their stated end")
    p95_s: Seconds = Field(description="19 of 20 came sooner; between two values interpolated")
    within_15_min: Count = Field(description="CDRs that came at most 15 minutes after the end")
    within_24_h: Count = Field(description="at most 24 hours after the end")
    within_72_h: Count = Field(description="at most 72 hours after the end")
    after_90_days: Count = Field(description="more than 90 days after the end: most eMSPs do not pay them")
    share_within_15_min: Share = Field(description="within_15_min over cdrs")
    share_within_24_h: Share = Field(description="within_24_h over cdrs")
    share_within_72_h: Share = Field(description="within_72_h over cdrs")
    share_after_90_days: Share = Field(description="after_90_days over cdrs")


# 1970-01-01 stands for an end that nobody knows (OCPI 2.2.1 mod_cdrs, note on start_date_time and end_date_time).
KNOWN_END: Final = "end_date_time > toDateTime64('1970-01-02 00:00:00', 6, 'UTC')"

SQL: Final = f"""
SELECT
    party,
    addressed_to,
    count() AS cdrs,
    quantileExactInclusive(0.5)(late_us) / 1000000 AS p50_s,
    quantileExactInclusive(0.95)(late_us) / 1000000 AS p95_s,
    countIf(late_us <= 15 * 60000000) AS within_15_min,
    countIf(late_us <= 24 * 3600000000) AS within_24_h,
    countIf(late_us <= 72 * 3600000000) AS within_72_h,
    countIf(late_us > 90 * 24 * 3600000000) AS after_90_days,
    within_15_min / cdrs AS share_within_15_min,
    within_24_h / cdrs AS share_within_24_h,
    within_72_h / cdrs AS share_within_72_h,
    after_90_days / cdrs AS share_after_90_days
FROM
(
    SELECT
        party,
        addressed_to,
        toUnixTimestamp64Micro(first_seen) - toUnixTimestamp64Micro(end_date_time) AS late_us
    FROM cdrs
    WHERE credit = 0 AND {KNOWN_END} AND {OWNER} AND {between("first_seen")} AND {NO_TWINS}
)
GROUP BY party, addressed_to
ORDER BY party, addressed_to
"""

COVERAGE: Final = f"""
SELECT countIf({KNOWN_END}), count()
FROM cdrs
WHERE credit = 0 AND {OWNER} AND {between("first_seen")} AND {NO_TWINS}
"""

QUESTION: Final = Question(
    path="cdrs/lateness",
    title="How late CDRs come, per CPO-eMSP pair",
    grain="one row per CPO and eMSP; from and to choose by the CDR's arrival",
    metric_version=1,
    sql=SQL,
    coverage=COVERAGE,
    counted="CDRs that state when charging ended",
    row=CdrLateness,
    projections=reads("cdrs"),
)
