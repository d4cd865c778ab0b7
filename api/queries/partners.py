"""How well does each partner push, and how well can it be read?"""

from datetime import datetime
from typing import Final

from pydantic import BaseModel, Field

from api.filters import of_connection
from api.queries.cdr_lateness import Seconds
from api.queries.question import OF_CONNECTION, Count, Question, Share, between, reads


class Scorecard(BaseModel):
    """What one partner did in one module. Delay is received_at less the event's own last_updated, in seconds."""

    connection: str = Field(description="the partner's name")
    module: str = Field(description="the OCPI module")
    pushes: Count = Field(
        description="denominator of delays: Sessions and EVSE statuses that were pushed and say when they changed; null in others"
    )
    delay_p50_s: Seconds | None = Field(description="the median delay; null where nothing was pushed that tells")
    delay_p95_s: Seconds | None = Field(description="19 of 20 came sooner; between two values interpolated")
    ahead: Count = Field(description="numerator: pushes that came before their own last_updated: the partner's clock goes ahead")
    share_ahead: Share | None = Field(description="ahead over pushes")
    ahead_max_s: Seconds | None = Field(description="how far ahead the clock was at most; below zero where it never was")
    repeated: Count = Field(description="events that came more than once: retries, and objects that came by a second way")
    clock_ahead: Count = Field(description="events of all kinds that were more than five minutes ahead")
    rejected: Count = Field(description="requests and objects that were refused, replayed ones included")
    rejected_by_rule: dict[str, int] = Field(description="how many of them broke which rule; one may break several")
    drifted: Count = Field(description="objects that were another when they were pulled than when they were pushed")
    crawls: Count = Field(description="denominator: crawls that ended")
    crawls_complete: Count = Field(description="numerator: those that read their list to its end")
    crawls_unauthorized: Count = Field(description="crawls in which the partner refused our token (HTTP 401 or 403)")
    crawl_oddities: Count = Field(description="answers to crawls that were not as they should be")
    last_complete_at: datetime | None = Field(description="when the last complete crawl ended, UTC")


# Of what else is pushed only the newest state is kept, so nobody knows how late its events were.
_PUSHED: Final = f"""
    SELECT connection, 'sessions' AS module, toUnixTimestamp64Micro(received_at) - toUnixTimestamp64Micro(last_updated) AS late_us
    FROM session_history
    WHERE origin = 'push' AND last_updated IS NOT NULL AND {between("received_at")}
    UNION ALL
    SELECT connection, 'locations' AS module, toUnixTimestamp64Micro(received_at) - toUnixTimestamp64Micro(observed_at) AS late_us
    FROM evse_status
    WHERE origin = 'push' AND {between("received_at")}"""

SQL: Final = f"""
SELECT
    connection,
    module,
    sum(pushes) AS pushes,
    max(p50_s) AS delay_p50_s,
    max(p95_s) AS delay_p95_s,
    sum(early) AS ahead,
    if(pushes = 0, NULL, ahead / pushes) AS share_ahead,
    max(early_s) AS ahead_max_s,
    sum(again) AS repeated,
    sum(future) AS clock_ahead,
    sum(refused) AS rejected,
    sumMap(by_rule) AS rejected_by_rule,
    sum(drift) AS drifted,
    sum(ended) AS crawls,
    sum(complete) AS crawls_complete,
    sum(unauthorized) AS crawls_unauthorized,
    sum(odd) AS crawl_oddities,
    max(complete_at) AS last_complete_at
FROM
(
    SELECT
        connection,
        module,
        count() AS pushes,
        toNullable(quantileExactInclusive(0.5)(late_us) / 1000000) AS p50_s,
        toNullable(quantileExactInclusive(0.95)(late_us) / 1000000) AS p95_s,
        countIf(late_us < 0) AS early,
        toNullable(-min(late_us) / 1000000) AS early_s,
        0 AS again,
        0 AS future,
        0 AS refused,
        CAST(map() AS Map(String, UInt64)) AS by_rule,
        0 AS drift,
        0 AS ended,
        0 AS complete,
        0 AS unauthorized,
        0 AS odd,
        CAST(NULL AS Nullable(DateTime64(6, 'UTC'))) AS complete_at
    FROM ({_PUSHED})
    WHERE {OF_CONNECTION}
    GROUP BY connection, module
    UNION ALL
    SELECT
        connection, module, 0, NULL, NULL, 0, NULL,
        countIf(rule = 'repeated'), countIf(rule = 'clock_ahead'), 0, map(), uniqExactIf((party, lower(object_id)), rule = 'drift'),
        0, 0, 0, 0, NULL
    FROM findings
    WHERE rule IN ('repeated', 'clock_ahead', 'drift') AND {OF_CONNECTION} AND {between("received_at")}
    GROUP BY connection, module
    UNION ALL
    SELECT
        connection, module, 0, NULL, NULL, 0, NULL, 0, 0, count(),
        sumMap(mapFromArrays(arrayDistinct(rules), arrayMap(one -> toUInt64(1), arrayDistinct(rules)))), 0, 0, 0, 0, 0, NULL
    FROM rejected
    WHERE source IN ('push', 'pull') AND {OF_CONNECTION} AND {between("received_at")}
    GROUP BY connection, module
    UNION ALL
    SELECT
        connection, module, 0, NULL, NULL, 0, NULL, 0, 0, 0, map(), 0,
        countIf(status != 'running'), countIf(status = 'complete'), countIf(has(rules, 'unauthorized')), sum(odd),
        maxIf(ended_at, status = 'complete')
    FROM crawls
    WHERE {OF_CONNECTION} AND {between("started_at")}
    GROUP BY connection, module
)
GROUP BY connection, module
ORDER BY connection, module
"""

COVERAGE: Final = f"""
SELECT count(), count()
FROM ({_PUSHED})
WHERE {OF_CONNECTION}
"""

QUESTION: Final = Question(
    path="partners",
    title="How well each partner pushes, and how well it can be read",
    grain="one row per partner and module; from and to choose by arrival, and crawls by their beginning",
    metric_version=1,
    sql=SQL,
    coverage=COVERAGE,
    counted="pushes that say when their object changed: delays are of these",
    row=Scorecard,
    projections=reads("locations", "sessions", "cdrs", "tariffs", "tokens", "rejected", "crawls"),
    filters=of_connection,
)
