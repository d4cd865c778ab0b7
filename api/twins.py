"""CDRs that share an id with an earlier one: stored under another charging key, never served."""

from typing import Final

from streams.ports import Clock, TableStore

FRESH_US: Final = 60_000_000
"""For how long (microseconds) the answer is used: looking through all ids costs more than a page of CDRs."""

# Without FINAL: versions of one row share their charging key, and cannot make a twin.
TWINS: Final = """
SELECT party, cdr_id, charging_key
FROM cdrs
WHERE (party, cdr_id) IN
(
    SELECT party, cdr_id
    FROM cdrs
    GROUP BY party, cdr_id
    HAVING count() > 1
    SETTINGS optimize_aggregation_in_order = 1
)
ORDER BY first_seen, charging_key
LIMIT 100000
"""

MOST: Final = 10_000
"""How many are hidden at most: they travel with every query. So many are a broken source, not a slip."""

Twin = tuple[str, str, str]


class Twins:
    """The rows of `cdrs` that lists and sums leave out: an id is one CDR, the first that came (DESIGN: CDRs)."""

    def __init__(self, store: TableStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._hidden: list[Twin] = []
        self._read_at: int | None = None

    async def hidden(self, *, refresh: bool = True) -> list[Twin]:
        """Return (party, CDR id, charging key) of every later twin, at most a minute old where `refresh` asks for it."""
        now = self._clock.now()
        if self._read_at is None or (refresh and now - self._read_at > FRESH_US):
            self._read_at = now  # before the read: those who come meanwhile use what is there
            try:
                self._hidden = await self._read()
            except BaseException:
                self._read_at = None
                raise
        return self._hidden

    async def _read(self) -> list[Twin]:
        first: set[tuple[str, str]] = set()
        later: list[Twin] = []
        for row in await self._store.query(TWINS):
            party, cdr_id, charging_key = (value.decode() if isinstance(value, bytes) else str(value) for value in row)
            if (party, cdr_id) in first:
                later.append((party, cdr_id, charging_key))
            first.add((party, cdr_id))
        return later[:MOST]
