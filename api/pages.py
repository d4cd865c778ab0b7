"""Pages of objects in the order in which they came, read by key and not by number: page 3,000 costs what page 1 costs."""

from collections.abc import Mapping
from typing import Final, NamedTuple

import msgspec
from msgspec import Struct

from api.access import Reader
from api.cursor import Cursor, Window
from api.parameters import ListQuery
from api.twins import Twins
from schemas.types import EARLIEST, LATEST, Instant, Module
from streams.ports import TableStore
from streams.topics import CHARGING, LOCATIONS, TARIFFS, TOKENS

BEHIND_US: Final = 60_000_000
"""How far behind the present a list may end (microseconds); so much earlier does a window begin to look for late changes."""

ADDRESSED: Final = "(party IN {owners:Array(String)} OR addressed_to IN {addressees:Array(String)})"

# A Location that is not to be published is for its owner alone. Those for whose Tokens it is meant (publish_allowed_to) may
# show it too, but which Tokens a reader has is no question for a list: it is held back from them rather than shown to others.
PUBLISHED: Final = "(party IN {owners:Array(String)} OR {sees_offers:UInt8} = 1 AND publish = 1)"

OFFERED: Final = "(party IN {owners:Array(String)} OR {sees_offers:UInt8} = 1)"
TAKEN: Final = "(party IN {owners:Array(String)} OR {sees_tokens:UInt8} = 1)"

# last_updated decides, as the specification says. A change that came inside the window with an older last_updated belongs
# to it too: its reader has crawled past that last_updated, and would never see it. `arrived_from` lies before date_from
# because the crawl before may have ended so much before its own end.
CHANGED: Final = """last_updated < fromUnixTimestamp64Micro({date_to:Int64}, 'UTC')
  AND (last_updated >= fromUnixTimestamp64Micro({date_from:Int64}, 'UTC')
    OR changed_at >= fromUnixTimestamp64Micro({arrived_from:Int64}, 'UTC')
   AND changed_at < fromUnixTimestamp64Micro({date_to:Int64}, 'UTC'))"""

# Before OCPI 2.1.1 objects do not say when they changed, so a window is one of starts, which do not move.
STARTED: Final = """start_date_time >= fromUnixTimestamp64Micro({date_from:Int64}, 'UTC')
  AND start_date_time < fromUnixTimestamp64Micro({date_to:Int64}, 'UTC')"""

# ClickHouse sorts the keys of all rows that match and then reads the documents of one page only ("lazy materialisation");
# unless told otherwise it does so for small pages alone, and for others reads every document of the table. While it sorts
# it counts, too, what a query of its own would have to find out.
ONCE: Final = """query_plan_optimize_lazy_materialization = 1,
    query_plan_max_limit_for_lazy_materialization = 0,
    exact_rows_before_limit = 1"""

# The documents are JSON already: within JSON they would be escaped here and unescaped there, a third of the time of a page.
# JSON text holds neither of the two separators, not even within a string (RFC 8259 section 7).
_FIELD: Final = b"\x1f"
_ROW: Final = b"\x1e"
AS_THEY_ARE: Final = r"""format_template_row_format = '${seen:Raw}\x1f${key:JSON}\x1f${doc:Raw}',
    format_template_rows_between_delimiter = '\x1e',
    format_template_resultset_format = '${data}\x1e${rows_before_limit:Raw}'"""

NO_TWINS: Final = "(party, cdr_id, charging_key) NOT IN {twins:Array(Tuple(String, String, String))}"


class Statements(NamedTuple):
    """A list's page, and how many objects the whole list has."""

    page: str
    total: str


class Source(Struct, frozen=True):
    """Where a module's list is read: its projection, the topic that the projection folds, and what a reader may see.

    `key` maps the columns of the key to their parameters, in the order of the list.
    """

    projection: str
    topic: str
    where: str
    key: Mapping[str, str]

    @property
    def page(self) -> str:
        """The statement of a page of what changed in a window."""
        return statements(self, Window()).page


def statements(source: Source, window: Window, representable: str = "1") -> Statements:
    """Return the statements for a window; what is not `representable`, a condition of ours, is in neither."""
    within = STARTED if window.by_start else CHANGED
    where = source.where if representable == "1" else f"{source.where} AND {representable}"
    columns = ", ".join(source.key)
    place = ", ".join(f"{{{parameter}:String}}" for parameter in source.key.values())
    page = f"""
SELECT toUnixTimestamp64Micro(first_seen) AS seen, doc, [{", ".join(f"toString({column})" for column in source.key)}] AS key
FROM {source.projection}
WHERE {where}
  AND {within}
  AND first_seen >= fromUnixTimestamp64Micro({{after:Int64}}, 'UTC')
  AND (first_seen, {columns}) > (fromUnixTimestamp64Micro({{after:Int64}}, 'UTC'), {place})
ORDER BY first_seen, {columns}
LIMIT {{limit:UInt64}} OFFSET {{offset:UInt64}}
SETTINGS {ONCE},
    {AS_THEY_ARE}
"""
    count = f"""
SELECT count()
FROM {source.projection}
WHERE {where}
  AND {within}
"""
    return Statements(page, count)


def _source(projection: str, topic: str, where: str, **key: str) -> Source:
    return Source(projection, topic, where, key)


SOURCES: Final = {
    Module.LOCATIONS: _source("locations", LOCATIONS, f"served = 1 AND {PUBLISHED}", party="after_party", location_id="after_id"),
    Module.SESSIONS: _source("sessions", CHARGING, f"served = 1 AND {ADDRESSED}", party="after_party", session_id="after_id"),
    Module.CDRS: _source(
        *("cdrs", CHARGING, f"{ADDRESSED} AND {NO_TWINS}"),
        **{"party": "after_party", "cdr_id": "after_id", "charging_key": "after_charging_key"},
    ),
    Module.TARIFFS: _source("tariffs", TARIFFS, f"served = 1 AND {OFFERED}", party="after_party", tariff_id="after_id"),
    Module.TOKENS: _source(
        *("tokens", TOKENS, f"served = 1 AND {TAKEN}"),
        **{"party": "after_party", "token_uid": "after_id", "type": "after_type"},
    ),
}

SESSIONS_PAGE: Final = SOURCES[Module.SESSIONS].page


class Page(Struct, frozen=True):
    """Canonical documents, how many the whole list has, and where the next page begins (None: this is the last one)."""

    documents: list[bytes]
    total: int
    next: Cursor | None


class Pages:
    """Reads pages of the objects that a reader may see."""

    def __init__(self, store: TableStore, twins: Twins) -> None:
        self._store = store
        self._twins = twins

    async def read(self, module: Module, reader: Reader, query: ListQuery, until: Instant, representable: str = "1") -> Page:
        """Return a page of the list that ends at `until` (W): the first page's, which the cursor carries.

        What is not `representable`, a condition of ours, is neither listed nor counted.
        Up to W nothing can come to stand before an object that was listed. What came after W is counted, and stands on the
        last page as far as it fits there; for the rest the next crawl looks. Raises StoreUnavailable.
        """
        source, cursor = SOURCES[module], query.cursor
        sql = statements(source, query.window, representable)
        common = _window(module, reader, query.window)
        if "{at:" in representable:
            common["at"] = until
        if module is Module.CDRS:
            common["twins"] = await self._twins.hidden(refresh=cursor is None)
        follows = cursor is not None and cursor.offset == query.offset
        total: int | None = None if cursor is None else cursor.total
        if not follows and query.offset:
            # By number: the list must be counted first, lest a far offset sorts the table for nothing.
            total = await self._count(sql.total, common) if total is None else total
            if query.offset >= total:
                return Page([], total, None)
        place = cursor if follows else None
        parameters = ("after", *source.key.values())
        after = (EARLIEST, *("" for _ in source.key)) if place is None else (place.first_seen, *place.key)
        answer = await self._store.query_bytes(
            sql.page,
            "Template",
            common
            | dict(zip(parameters, after, strict=True))
            | {"limit": query.limit + 1, "offset": 0 if follows else query.offset},
        )
        *rows, before_limit = answer.split(_ROW)
        found = [_Row(*row.split(_FIELD)) for row in rows if row]
        kept = found[: query.limit]
        end = query.offset + len(kept)
        total = max(end, int(before_limit) if total is None else total)
        following = None
        if len(found) > query.limit and found[query.limit].first_seen <= until:
            following = Cursor(module, query.window, until, total, end, kept[-1].first_seen, kept[-1].place)
        return Page([row.document for row in kept], total, following)

    async def _count(self, sql: str, common: dict[str, object]) -> int:
        ((count,),) = await self._store.query(sql, common)
        if not isinstance(count, int):
            raise TypeError(f"ClickHouse gave {count!r} where it counts")
        return count


class _Row(NamedTuple):
    """A row as ClickHouse writes it."""

    seen: bytes
    key: bytes
    document: bytes

    @property
    def first_seen(self) -> Instant:
        return int(self.seen)

    @property
    def place(self) -> tuple[str, ...]:
        return _key(self.key)


def _window(module: Module, reader: Reader, window: Window) -> dict[str, object]:
    widened = max(window.date_from - BEHIND_US, EARLIEST)
    common: dict[str, object] = {
        "owners": list(reader.owners),
        "date_from": window.date_from,
        "date_to": window.date_to,
    }
    if not window.by_start:
        common["arrived_from"] = LATEST if window.strict else widened
    match module:
        case Module.SESSIONS | Module.CDRS:
            return common | {"addressees": list(reader.addressees)}
        case Module.LOCATIONS | Module.TARIFFS:
            return common | {"sees_offers": int(reader.sees_offers)}
        case Module.TOKENS:
            return common | {"sees_tokens": int(reader.sees_tokens)}


_key: Final = msgspec.json.Decoder(tuple[str, ...]).decode
