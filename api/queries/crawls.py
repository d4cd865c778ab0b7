"""What did each crawl of a partner's list read, and what came of it?"""

from datetime import datetime
from typing import Final

from pydantic import BaseModel, Field

from api.filters import of_connection
from api.queries.question import OF_CONNECTION, Count, Question, between, reads


class CrawlRow(BaseModel):
    """A crawl: of a partner's list of one module, from its first page to its certificate."""

    run: str = Field(description="the crawl's id, as in the events that it appended")
    connection: str = Field(description="the partner's name")
    module: str = Field(description="the OCPI module")
    ocpi_version: str = Field(description="the OCPI version in which it was read")
    reach: str = Field(description="full: the whole list; window: what changed in a window of time")
    reason: str = Field(description="schedule, operator or recovery (a push was refused for an object that is not known)")
    status: str = Field(description="running, complete, or incomplete: its window is read again by the next crawl")
    started_at: datetime = Field(description="UTC")
    ended_at: datetime | None = Field(description="UTC; null while it is running")
    date_from: datetime | None = Field(description="where the window began, inclusive; null: it had no beginning")
    date_to: datetime | None = Field(description="where the window ended, exclusive; null: it had no end")
    watermark: datetime | None = Field(description="what changed before that is known; null unless complete")
    pages: Count = Field(description="pages that were read")
    objects: Count = Field(description="denominator: objects on them, one that came twice twice")
    appended: Count = Field(description="numerator: events of the log that came of them")
    unchanged: Count = Field(description="objects that equal what stands; they leave no event")
    older: Count = Field(description="objects that are older than what stands, and would have changed nothing")
    refused: Count = Field(description="objects that stand in rejected")
    drifted: Count = Field(description="of the appended: objects that differ from what the partner had pushed, see drift")
    vanished: Count = Field(description="objects that a full crawl no longer found; Tokens are unconfirmed thereby, and stay valid")
    first_total: Count | None = Field(description="X-Total-Count of the first page; null where it said none")
    last_total: Count | None = Field(description="X-Total-Count of the last page; null where it said none")
    odd: Count = Field(description="answers that were not as they should be")
    rules: list[str] = Field(description="which rules they broke; the certificate has their sentences")
    certificate: str = Field(description="the certificate, as JSON")


_WHERE: Final = f"{OF_CONNECTION} AND {between('started_at')}"

SQL: Final = f"""
SELECT
    run,
    connection,
    module,
    ocpi_version,
    reach,
    reason,
    status,
    started_at,
    ended_at,
    date_from,
    date_to,
    watermark,
    pages,
    objects,
    appended,
    unchanged,
    older,
    refused,
    drifted,
    vanished,
    first_total,
    last_total,
    odd,
    rules,
    doc AS certificate
FROM crawls
WHERE {_WHERE}
ORDER BY started_at DESC, run
"""

COVERAGE: Final = f"""
SELECT countIf(status = 'complete'), count()
FROM crawls
WHERE {_WHERE}
"""

QUESTION: Final = Question(
    path="crawls",
    title="Crawls of partners' lists, and their certificates",
    grain="one row per crawl, the newest first; from and to choose by its beginning",
    metric_version=1,
    sql=SQL,
    coverage=COVERAGE,
    counted="crawls that are complete; of the others nothing is said but what they read",
    row=CrawlRow,
    projections=reads("crawls"),
    filters=of_connection,
)
