"""What every table store promises (streams/ports.py: TableStore), tried on ClickHouse itself, embedded (chDB) and over HTTP."""

import asyncio
import io
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from itertools import count
from pathlib import Path

import pyarrow.parquet
import pytest
from clickhouse_server import USER, ClickHouseServer, running
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.types import EARLIEST, LATEST
from streams.ports import RefusedRow, TableStore
from streams.stores.clickhouse import ClickHouseStore, Server

ALL_KINDS = """
CREATE TABLE kinds
(
    id UInt64,
    text String,
    word LowCardinality(String),
    maybe Nullable(String),
    at DateTime64(6, 'UTC'),
    maybe_at Nullable(DateTime64(6, 'UTC')),
    amount Decimal(38, 12),
    small Nullable(Decimal(18, 4)),
    items Array(String),
    flag Bool,
    share Float64
)
ENGINE = ReplacingMergeTree
ORDER BY id
SETTINGS index_granularity = 256, non_replicated_deduplication_window = 1000
"""
COLUMNS = ("id", "text", "word", "maybe", "at", "maybe_at", "amount", "small", "items", "flag", "share")
ROW: dict[str, object] = {
    "id": 2**64 - 1,
    "text": b"doc",
    "word": b"ACTIVE",
    "maybe": None,
    "at": 1_772_366_400_123_456,
    "maybe_at": None,
    "amount": Decimal("1.100000000000"),
    "small": None,
    "items": [],
    "flag": True,
    "share": 0.5,
}


_databases = count(1)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouseServer]:
    with running(tmp_path_factory.mktemp("clickhouse"), "secret") as started:
        yield started


@pytest.fixture(params=["embedded", "http"])
async def store(request: pytest.FixtureRequest, chdb_folder: Path) -> AsyncIterator[TableStore]:
    database = f"contract_{next(_databases)}"
    if request.param == "embedded":
        opened = ClickHouseStore.embedded(chdb_folder, database=database, readers=1)
    else:
        port = request.getfixturevalue("server").port
        server = Server(host="127.0.0.1", port=port, user=USER, password="secret", database=database)
        opened = ClickHouseStore.http(server, readers=2)
    yield opened
    await opened.command(f"DROP DATABASE {database} SYNC")
    await opened.close()


@pytest.fixture
async def kinds(store: TableStore) -> TableStore:
    await store.command(ALL_KINDS)
    return store


def row(**changed: object) -> tuple[object, ...]:
    return tuple((ROW | changed).values())


async def stored(store: TableStore, column: str) -> list[object]:
    return [value for (value,) in await store.query(f"SELECT {column} FROM kinds ORDER BY id")]


async def test_a_row_comes_back_with_exact_values_and_types(kinds: TableStore) -> None:
    full = row(
        maybe=b"x",
        maybe_at=0,
        amount=Decimal("-12345678901234567890123456.123456789012"),
        small=Decimal("99999999999999.9999"),
        items=[b"a", b"b"],
    )
    await kinds.insert("kinds", COLUMNS, [row(id=1), full])
    assert await kinds.query("SELECT * FROM kinds ORDER BY id") == [row(id=1), full]


@pytest.mark.parametrize(
    "text", [b"", b"\x00", b"\xff\xfe", b"it's", b'a"b', b"a\\b", b"a\nb\tc\r", "é€😀".encode(), b"{x:String}", b"\\N", b"NULL"]
)
async def test_any_bytes_are_a_string(kinds: TableStore, text: bytes) -> None:
    await kinds.insert("kinds", COLUMNS, [row(text=text, maybe=text)])
    assert await kinds.query("SELECT text, maybe FROM kinds") == [(text, text)]


async def test_text_may_be_given_as_str_or_bytes_in_one_column(kinds: TableStore) -> None:
    await kinds.insert("kinds", COLUMNS, [row(id=1, text="é", items=["é", b"b"]), row(id=2, text="é".encode(), word="w")])
    assert await stored(kinds, "text") == ["é".encode()] * 2
    assert await stored(kinds, "items") == [["é".encode(), b"b"], []]


@pytest.mark.parametrize("at", [EARLIEST, -1, 0, 1, LATEST])
async def test_every_instant_of_the_range_is_kept_to_the_microsecond(kinds: TableStore, at: int) -> None:
    await kinds.insert("kinds", COLUMNS, [row(at=at, maybe_at=at)])
    assert await kinds.query("SELECT at, maybe_at FROM kinds") == [(at, at)]


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("at", LATEST + 1),
        ("at", EARLIEST - 1),
        ("at", None),
        ("at", 2**70),
        ("amount", Decimal(10) ** 26),
        ("amount", Decimal("1e-13")),
        ("amount", Decimal("NaN")),
        ("amount", Decimal("Infinity")),
        ("amount", None),
        ("amount", 0.1),
        ("small", Decimal("100000000000000")),
        ("small", Decimal("0.00001")),
        ("id", -1),
        ("id", 2**64),
        ("text", None),
        ("text", 5),
        ("text", "\ud800"),
        ("items", None),
        ("items", [5]),
        ("share", "much"),
    ],
)
async def test_a_value_that_its_column_would_change_refuses_the_whole_block(kinds: TableStore, column: str, value: object) -> None:
    with pytest.raises(RefusedRow, match="kinds: "):
        await kinds.insert("kinds", COLUMNS, [row(id=1), row(**{"id": 2, column: value})])
    assert await stored(kinds, "id") == []
    await kinds.insert("kinds", COLUMNS, [row(id=1)])
    assert await stored(kinds, "id") == [1]


async def test_a_constraint_of_the_table_refuses_the_row(store: TableStore) -> None:
    await store.command("CREATE TABLE checked (id UInt8, CONSTRAINT small CHECK id < 10) ENGINE = MergeTree ORDER BY id")
    with pytest.raises(RefusedRow, match="small"):
        await store.insert("checked", ("id",), [(1,), (10,)])
    assert await store.query("SELECT id FROM checked") == []


async def test_the_same_token_is_taken_once(kinds: TableStore) -> None:
    for token in ("a", "a", "b", ""):
        await kinds.insert("kinds", COLUMNS, [row(id=1)], token)
    assert await kinds.query("SELECT count() FROM kinds") == [(3,)]


async def test_no_rows_are_no_insert(kinds: TableStore) -> None:
    await kinds.insert("kinds", COLUMNS, [])
    assert await stored(kinds, "id") == []


async def test_an_insert_of_many_rows_is_whole(kinds: TableStore) -> None:
    """A client sends more than some thousand rows in several pieces, each compressed by itself."""
    rows = [tuple((ROW | {"id": number, "text": b"%d" % number}).values()) for number in range(20_000)]
    await kinds.insert("kinds", COLUMNS, rows)
    assert await kinds.query("SELECT count(), uniqExact(id), uniqExact(text) FROM kinds") == [(20_000, 20_000, 20_000)]


async def test_an_insert_follows_a_table_that_was_made_anew(store: TableStore) -> None:
    await store.command("CREATE TABLE t (a UInt8) ENGINE = MergeTree ORDER BY a")
    await store.insert("t", ("a",), [(1,)])
    await store.command("CREATE OR REPLACE TABLE t (a String) ENGINE = MergeTree ORDER BY a")
    await store.insert("t", ("a",), [("x",)])
    assert await store.query("SELECT a FROM t") == [(b"x",)]


HARD = [
    "",
    "it's",
    'a"b',
    "a\\b",
    "a\nb",
    "a\tb",
    "a\rb",
    "a\x00b",
    "a\bb\fc",
    "é€😀",
    "{x:String}",
    "NULL",
    "\\N",
    "\\'",
    "--",
    "%s %(x)s",
    "$a$",
]


@pytest.mark.parametrize("text", HARD)
async def test_any_text_travels_as_a_parameter(store: TableStore, text: str) -> None:
    sql = "SELECT {one:String}, {maybe:Nullable(String)}, {many:Array(String)}, {pairs:Array(Tuple(String, String))}"
    parameters = {"one": text, "maybe": text, "many": [text, "z"], "pairs": [(text, "z"), ("q", text)]}
    value = text.encode()
    assert await store.query(sql, parameters) == [(value, value, [value, b"z"], [(value, b"z"), (b"q", value)])]


async def test_bytes_that_are_no_text_travel_as_a_parameter(store: TableStore) -> None:
    every = bytes(range(256))
    [(one, many)] = await store.query(
        "SELECT {one:String} AS one, {many:Array(String)} AS many", {"one": every, "many": (every, b"it's")}
    )
    assert (one, many) == (every, [every, b"it's"])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.text(max_size=30), st.lists(st.binary(max_size=10), max_size=3))
async def test_parameters_come_back_as_they_were(store: TableStore, text: str, many: list[bytes]) -> None:
    assert await store.query("SELECT {text:String} AS text, {many:Array(String)} AS many", {"text": text, "many": many}) == [
        (text.encode(), many)
    ]


async def test_numbers_instants_and_nothing_travel_as_parameters(store: TableStore) -> None:
    sql = """
        SELECT {a:UInt64}, {b:Decimal(38, 12)}, {c:DateTime64(6, 'UTC')}, {d:Nullable(String)},
            {e:Bool}, {f:Array(UInt64)}, {g:Array(String)}
    """
    parameters = {"a": 2**64 - 1, "b": Decimal("1E-12"), "c": 1_772_366_400_123_456, "d": None, "e": True, "f": (1, 2), "g": []}
    assert await store.query(sql, parameters) == [(2**64 - 1, Decimal("1E-12"), 1_772_366_400_123_456, None, True, [1, 2], [])]


async def test_a_parameter_is_a_value_and_never_sql(kinds: TableStore) -> None:
    await kinds.insert("kinds", COLUMNS, [row(id=1, text="a")])
    assert await kinds.query("SELECT id FROM kinds WHERE text = {x:String}", {"x": "' OR 1 = 1 --"}) == []


async def test_results_come_in_the_formats_that_clickhouse_writes(kinds: TableStore) -> None:
    await kinds.insert("kinds", COLUMNS, [row(id=1, text="it's", at=1_772_366_400_000_000)])
    sql = "SELECT id, text, at, amount FROM kinds WHERE id = {id:UInt64}"
    assert await kinds.query_bytes(sql, "JSONEachRow", {"id": 1}) == (
        b'{"id":1,"text":"it\'s","at":"2026-03-01T12:00:00.000000Z","amount":1.1}\n'
    )
    assert await kinds.query_bytes(sql, "CSVWithNames", {"id": 1}) == (
        b'"id","text","at","amount"\n1,"it\'s","2026-03-01T12:00:00.000000Z",1.1\n'
    )
    table = pyarrow.parquet.read_table(io.BytesIO(await kinds.query_bytes(sql, "Parquet", {"id": 1})))
    assert (table.column_names, table.num_rows) == (["id", "text", "at", "amount"], 1)
    arrow = pyarrow.ipc.open_file(io.BytesIO(await kinds.query_bytes(sql, "Arrow", {"id": 1}))).read_all()
    assert arrow.column("amount").to_pylist() == [Decimal("1.100000000000")]


async def test_a_format_is_a_name(store: TableStore) -> None:
    with pytest.raises(ValueError, match="no name of a format"):
        await store.query_bytes("SELECT 1", "JSON; DROP")


async def test_reads_see_every_insert_that_has_returned(kinds: TableStore) -> None:
    async def write_and_read(number: int) -> None:
        await kinds.insert("kinds", COLUMNS, [row(id=number)])
        assert await kinds.query("SELECT count() FROM kinds WHERE id = {id:UInt64}", {"id": number}) == [(1,)]

    await asyncio.gather(*map(write_and_read, range(10)))
    assert await stored(kinds, "id") == list(range(10))


async def test_a_cancelled_call_leaves_the_store_in_order(kinds: TableStore) -> None:
    call = asyncio.create_task(kinds.query("SELECT count() FROM numbers(10000000) WHERE NOT ignore(sipHash64(number))"))
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert await kinds.query("SELECT 1") == [(1,)]
