"""What crawls of partners' lists reached, as the tables have it, and which of them did not end."""

from typing import Final, NamedTuple

from schemas.crawl import Run
from schemas.types import Instant
from streams.ports import EventLog, Position, Positions, TableStore
from streams.projections.crawls import Crawls
from streams.topics import CRAWLS
from streams.values import integer, octets, text

LAST: Final = """
SELECT
    connection,
    module,
    max(watermark),
    maxIf(started_at, reach = 'full' AND status = 'complete'),
    max(started_at)
FROM crawls
GROUP BY connection, module
"""

# Of two that were broken off the later one counts: what the other one lacks is in its window.
UNFINISHED: Final = """
SELECT run, state, topic_offset
FROM crawls
WHERE status = 'running'
ORDER BY started_at
"""

# Of CDRs, Tariffs and Tokens no table says who pushed them: their lists are read as if nothing had been.
HEARD: Final = """
SELECT connection, 'sessions', max(received_at) FROM session_history WHERE origin = 'push' GROUP BY connection
UNION ALL
SELECT connection, 'locations', max(received_at) FROM evse_status WHERE origin = 'push' GROUP BY connection
"""

BY_NAME: Final = """
SELECT doc, status
FROM crawls
WHERE connection = {connection:String} OR {connection:String} = ''
ORDER BY started_at DESC, run
LIMIT {limit:UInt32}
"""


class Unfinished(NamedTuple):
    """A crawl that did not end, and the offset in its partition at which it began."""

    run: Run
    offset: int


class Crawled:
    """Reads the table of crawls."""

    def __init__(self, store: TableStore, log: EventLog, positions: Positions) -> None:
        self._store = store
        self._log = log
        self._positions = positions

    async def wait(self, timeout_s: float | None = None) -> None:
        """Return once the table has all that the log held at the call, or after a while; raises LogUnavailable."""
        for partition, end in (await self._log.end(CRAWLS)).items():
            if end:
                await self._positions.reached(Crawls.name, Position(CRAWLS, partition, end - 1), timeout_s)

    async def last(self) -> dict[tuple[str, str], tuple[Instant | None, Instant, Instant]]:
        """Return, by partner and module, the watermark, when a whole list that was complete was last begun (0: never), and any.

        Raises StoreUnavailable.
        """
        found: dict[tuple[str, str], tuple[Instant | None, Instant, Instant]] = {}
        for connection, module, watermark, full_at, started_at in await self._store.query(LAST):
            reached = None if watermark is None else integer(watermark)
            found[text(connection), text(module)] = reached, max(integer(full_at), 0), integer(started_at)
        return found

    async def unfinished(self) -> list[Unfinished]:
        """Return the crawls that did not end, the earliest first; raises StoreUnavailable."""
        projection = Crawls()
        rows = await self._store.query(UNFINISHED)
        return [Unfinished(projection.decode((text(run),), b"", octets(state)).run, integer(at)) for run, state, at in rows]

    async def certificates(self, connection: str = "", limit: int = 50) -> list[tuple[bytes, str]]:
        """Return the newest certificates as JSON with their status (running, complete, incomplete); raises StoreUnavailable."""
        rows = await self._store.query(BY_NAME, {"connection": connection, "limit": limit})
        return [(octets(doc), text(status)) for doc, status in rows]

    async def heard(self) -> dict[tuple[str, str], Instant]:
        """Return when each partner pushed last, by its name and the module, as far as tables tell; raises StoreUnavailable."""
        return {(text(name), text(module)): integer(at) for name, module, at in await self._store.query(HEARD)}
