"""The table store: ClickHouse through clickhouse-connect, embedded as chDB or a server over HTTP.

Calls block, so they run in threads of the store's own: one writer, whose inserts come in their order, and some readers, as many as
questions may be under way at a time. Of chDB each has its own handle, which serves one call at a time; over HTTP the readers share
a client and a pool of connections. clickhouse-connect's async client parses in threads as well: it asks for one row with less
work, but for a page of a thousand with more, and pages are what a house is asked for. chDB must not be forked after it was opened.
"""

import asyncio
import fcntl
import logging
import os
import re
import ssl
import struct
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from decimal import Context, Decimal, Inexact, InvalidOperation, localcontext
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final, TypeVar, cast

import clickhouse_connect
import clickhouse_connect.driver.httputil
import msgspec
from clickhouse_connect.datatypes.registry import get_from_name
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError, DataError, OperationalError
from msgspec import Struct

from schemas.types import EARLIEST, LATEST
from streams import tables
from streams.ports import RefusedRow, ResultTooLarge, StoreDamaged, StoreUnavailable

ENGINE_OPTIONS: Final = {
    # The defaults are those of a server with the machine to itself; here the caches share a process that serves.
    "mark_cache_size": str(32 * 1024 * 1024),
    "primary_index_cache_size": str(32 * 1024 * 1024),
    "index_mark_cache_size": str(8 * 1024 * 1024),
    "query_condition_cache_size": str(8 * 1024 * 1024),
}
SETTINGS: Final = {
    "async_insert": 0,  # on by default, and would answer before the rows are in their table
    "max_threads": 2,
    # One heavy question must not push the process beyond its share: it spills to disk first, and is refused at last.
    "max_bytes_before_external_group_by": 64_000_000,
    "max_bytes_before_external_sort": 64_000_000,
    "max_memory_usage": 300_000_000,
    "date_time_output_format": "iso",
}
SERVER_SETTINGS: Final = {
    # A server has limits of its own; only what an answer means is said here.
    "async_insert": 0,
    "date_time_output_format": "iso",
    "select_sequential_consistency": 1,  # a replica that has not taken an insert yet must not answer for its state
}
CLUSTER_SETTINGS: Final = {
    # What was read must be what was written, whichever replica answers and whichever fails: an insert waits for a majority, and
    # a read for a replica that has them all. ClickHouse promises that of inserts that follow one another only, which the
    # processes try again when they meet (286).
    "insert_quorum": "auto",
    "insert_quorum_parallel": 0,
    "insert_quorum_timeout": 60_000,
    "distributed_ddl_task_timeout": 60,
}
READ_FORMATS: Final = {"String": "bytes", "FixedString": "bytes", "DateTime64": "int"}

_T = TypeVar("_T")
_EXACT: Final = Context(prec=100)  # clickhouse-connect multiplies in the thread's context, whose 28 digits would round
_NAME: Final = re.compile(r"[a-z_][a-z0-9_]*")
_FORMAT: Final = re.compile(r"[A-Za-z0-9]+")
_TEXTS: Final = frozenset({str, bytes, type(None)})
_DECIMAL: Final = re.compile(r"(?:Nullable\()?Decimal\((\d+), (\d+)\)")
_LOW_CARDINALITY: Final = re.compile(r"^LowCardinality\((String|Nullable\(String\))\)$")
_STRING: Final = re.compile(r"(?:Nullable\()?String")
_DATE_TIME: Final = re.compile(r"(?:Nullable\()?DateTime64\(6")
_ROW_ENCODING: Final = (TypeError, ValueError, AttributeError, ArithmeticError, struct.error, DataError)

# ClickHouse's ErrorCodes by what they decide. An insert so refused will never be taken:
_REFUSED: Final = {6, 26, 27, 38, 41, 53, 69, 70, 72, 117, 131, 190, 321, 349, 407, 469, 691}
# The same call may succeed later: limits of time and memory, disks, networks.
_TRANSIENT: Final = {
    *(74, 75, 76, 159, 160, 164, 172, 173, 201, 202, 204, 209, 210, 214, 236, 241, 242, 243, 252, 279, 294, 319),
    *(225, 285, 286, 289, 394, 425, 439, 586, 734, 777, 778, 999, 1000, 1001, 1002, 1020),
}
_NO_DATABASE: Final = 81
_TOO_MANY_ROWS: Final = 396
# The files are not as they were written:
_DAMAGED: Final = {3, 33, 40, 79, 87, 91, 107, 226, 227, 228, 233, 238, 246, 271, 287, 432, 740}


NOT_MADE: Final = frozenset({60, _NO_DATABASE})
"""A table or a database is not there, which `roamlog prepare` makes."""


class StoreLocked(Exception):
    """Another process has this store open."""


class StoreError(Exception):
    """The store refuses the statement itself: the SQL or the schema is wrong, and trying again will not mend it."""

    def __init__(self, message: str, code: int | None) -> None:
        self.code = code
        super().__init__(message)


class Server(Struct, frozen=True, kw_only=True):
    """How to reach a ClickHouse server.

    `cafile` names the authorities that are trusted (with `secure`), `cluster` the cluster that it belongs to, if any.
    """

    host: str
    port: int = 8123
    user: str = "default"
    password: str = ""
    secure: bool = False
    cafile: str | None = None
    database: str = "roamlog"
    cluster: str = ""

    @property
    def url(self) -> str:
        """Where it is, without who asks."""
        return f"{'https' if self.secure else 'http'}://{self.host}:{self.port}"

    def __repr__(self) -> str:
        return f"Server({self.user}@{self.host}:{self.port}/{self.database})"


class ClickHouseStore:
    """A TableStore on one database. Beyond the contract's errors a call raises StoreError or StoreDamaged."""

    def __init__(self, connect: Callable[[], Client], readers: int, let_go: Callable[[], None], *, share: bool = False) -> None:
        """Use `ClickHouseStore.embedded` or `ClickHouseStore.http`. `share`: one client serves all readers at a time."""
        self._let_go = let_go
        self._types: dict[tuple[str, tuple[str, ...]], list[Any]] = {}
        self._closed: asyncio.Future[None] | None = None
        self._damage: StoreDamaged | None = None
        self._damaged = asyncio.Event()
        self._clients = [connect() for _ in range(2 if share else 1 + readers)]
        self._idle: SimpleQueue[Client] = SimpleQueue()
        for client in self._clients[1:] * (readers if share else 1):
            self._idle.put(client)
        self._writing = ThreadPoolExecutor(1, thread_name_prefix="store-writer")
        self._reading = ThreadPoolExecutor(readers, thread_name_prefix="store-reader")

    @classmethod
    def embedded(
        cls, path: Path, *, database: str = "roamlog", readers: int = 2, engine_options: Mapping[str, str] = ENGINE_OPTIONS
    ) -> "ClickHouseStore":
        """Open chDB on a folder, creating folder and database where they are missing.

        A process may open one folder only, as often as it likes; a folder belongs to one process. Raises StoreLocked,
        StoreDamaged, or StoreUnavailable where the folder cannot be written. A folder that was damaged may end the
        process instead: see `probe`.
        """
        if not _NAME.fullmatch(database):
            raise ValueError(f"{database!r} is no name of a database")
        folder = Path(os.path.realpath(path))
        _locks.take(folder)

        def connect(database: str | None = database) -> Client:
            return clickhouse_connect.get_client(
                interface="chdb", path=str(folder), database=database, settings=dict(SETTINGS), chdb_options=dict(engine_options)
            )

        try:
            first = connect(None)
            broken = first.query("SELECT count(), any(table) FROM system.detached_parts WHERE reason LIKE 'broken%'")
            for count, table in broken.result_rows:
                if count:
                    raise StoreDamaged(f"the store {folder} has lost {count} parts that it could not read, some of table {table}")
            first.command(f"CREATE DATABASE IF NOT EXISTS {database}")
            store = cls(connect, readers, lambda: _locks.give(folder))
            first.close()
            return store
        except (ClickHouseError, OSError) as fault:
            _locks.give(folder)
            raise _opening(folder, fault) from fault
        except BaseException:
            _locks.give(folder)
            raise

    @classmethod
    def http(cls, server: Server, *, readers: int = 4, make: bool = True) -> "ClickHouseStore":
        """Connect to a server; `make` the database where it is missing and the user may.

        Raises StoreUnavailable where it does not answer, StoreError where it refuses user, password or database.
        """
        if not _NAME.fullmatch(server.database):
            raise ValueError(f"{server.database!r} is no name of a database")
        settings = SERVER_SETTINGS | (CLUSTER_SETTINGS if server.cluster else {})
        pool = clickhouse_connect.driver.httputil.get_pool_manager(maxsize=readers + 1, ca_cert=server.cafile)

        def connect(database: str | None = server.database) -> Client:
            return clickhouse_connect.get_client(
                host=server.host,
                port=server.port,
                username=server.user,
                password=server.password,
                secure=server.secure,
                database=database or "default",
                settings=dict(settings),
                autogenerate_session_id=False,  # calls of several threads share what one session would serialise
                connect_timeout=5,
                send_receive_timeout=120,
                pool_mgr=pool,
            )

        try:
            first = connect(None)
            there = first.query("SELECT count() FROM system.databases WHERE name = {name:String}", {"name": server.database})
            if there.result_rows[0][0] == 0 and not make:
                raise StoreError(f"ClickHouse at {server.url} has no database {server.database}", _NO_DATABASE)
            if there.result_rows[0][0] == 0:
                first.command(tables.database(server.database, server.cluster))
            store = cls(connect, readers, pool.clear, share=True)
            first.close()
        except ClickHouseError as fault:
            raise _connecting(server, fault) from fault
        return store

    async def command(self, sql: str, parameters: Mapping[str, object] | None = None) -> None:
        self._types.clear()
        await self._run(self._writing, lambda: self._clients[0].command(sql, parameters=_bound(parameters)))

    async def insert(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[object]], token: str = "") -> None:
        if rows:
            await self._run(self._writing, lambda: self._insert(table, tuple(columns), rows, token))

    async def query(self, sql: str, parameters: Mapping[str, object] | None = None) -> list[tuple[object, ...]]:
        def read(client: Client) -> list[tuple[object, ...]]:
            result = client.query(sql, parameters=_bound(parameters), query_formats=READ_FORMATS)
            return result.result_rows  # type: ignore[return-value]  # tuples, though declared as any sequence

        return await self._run(self._reading, lambda: self._read(read))

    async def query_bytes(self, sql: str, fmt: str, parameters: Mapping[str, object] | None = None) -> bytes:
        if not _FORMAT.fullmatch(fmt):
            raise ValueError(f"{fmt!r} is no name of a format")

        def read(client: Client) -> bytes:
            return client.raw_query(sql, parameters=_bound(parameters), fmt=fmt)

        return await self._run(self._reading, lambda: self._read(read))

    async def check(self) -> None:
        """Read every part of every table; raises StoreDamaged naming the first that is not as it was written.

        It reads all there is: seconds a gigabyte.
        """
        found = await self.query("SELECT name FROM system.tables WHERE database = currentDatabase() AND engine LIKE '%MergeTree'")
        for (name,) in found:
            sql = f"CHECK TABLE `{_shown(name)}` SETTINGS check_query_single_value_result = 0"
            report = await self.query_bytes(sql, "JSONEachRow")
            for part in map(msgspec.json.decode, report.splitlines()):
                if not part["is_passed"]:
                    raise StoreDamaged(f"part {part['part_path']} of table {_shown(name)} cannot be read: {part['message']}")

    async def damage(self) -> StoreDamaged:
        """Wait until any call meets files that cannot be read as they were written, and return what it said."""
        await self._damaged.wait()
        if self._damage is None:
            raise RuntimeError("damaged by nothing")
        return self._damage

    async def close(self) -> None:
        if self._closed is None:
            loop = asyncio.get_running_loop()
            self._closed = loop.create_future()
            await loop.run_in_executor(None, self._end)
            self._closed.set_result(None)
        await asyncio.shield(self._closed)

    async def _run(self, where: ThreadPoolExecutor, call: Callable[[], _T]) -> _T:
        if self._closed is not None:
            raise StoreUnavailable("the store is closed")
        try:
            return await asyncio.get_running_loop().run_in_executor(where, call)
        except StoreDamaged as fault:
            self._is_damaged(fault)
            raise
        except ClickHouseError as fault:
            meaning = _sorted(fault, inserting=False)
            if isinstance(meaning, StoreDamaged):
                self._is_damaged(meaning)
            raise meaning from fault
        except OSError as fault:  # clickhouse-connect hands blocks to chDB through a file
            raise StoreUnavailable(f"the store cannot take a block: {fault}") from fault

    def _is_damaged(self, fault: StoreDamaged) -> None:
        self._damage = self._damage or fault
        self._damaged.set()

    def _read(self, call: Callable[[Client], _T]) -> _T:
        client = self._idle.get()
        try:
            return call(client)
        finally:
            self._idle.put(client)

    def _insert(self, table: str, columns: tuple[str, ...], rows: Sequence[Sequence[object]], token: str) -> None:
        client = self._clients[0]
        types = self._types.get((table, columns))
        if types is None:
            declared = {str(row[0]): str(row[1]) for row in client.query(f"DESCRIBE TABLE {table}").result_rows}
            try:
                # ClickHouse makes a LowCardinality of plain texts itself, beside Python's work.
                types = [get_from_name(_LOW_CARDINALITY.sub(r"\1", declared[column])) for column in columns]
            except KeyError as missing:
                raise StoreError(f"{table} has no column {missing}", 16) from None
            self._types[table, columns] = types
        try:
            block = [
                _column(name, str(kind.name), values)
                for name, kind, values in zip(columns, types, zip(*rows, strict=True), strict=True)
            ]
        except ValueError as fault:
            raise RefusedRow(f"{table}: {fault}") from fault
        with localcontext(_EXACT):
            try:
                client.insert(
                    table,
                    block,
                    column_names=columns,
                    column_types=types,
                    column_oriented=True,
                    settings={"insert_deduplication_token": token} if token else None,
                )
            except _ROW_ENCODING as fault:
                raise RefusedRow(f"{table}: {fault}") from fault
            except ClickHouseError as fault:
                raise _sorted(fault, inserting=True) from fault

    def _end(self) -> None:
        self._writing.shutdown()
        self._reading.shutdown()
        for client in self._clients:
            client.close()
        self._let_go()


class _Locks:
    """The folders that this process holds, and how often; the lock is a file beside the folder."""

    def __init__(self) -> None:
        self._held: dict[Path, tuple[int, int]] = {}
        self._guard = threading.Lock()

    def take(self, folder: Path) -> None:
        with self._guard:
            if folder in self._held:
                lock, times = self._held[folder]
                self._held[folder] = lock, times + 1
                return
            beside = folder.with_name(folder.name + ".lock")
            try:
                folder.mkdir(parents=True, exist_ok=True)
                lock = os.open(beside, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
            except OSError as fault:
                raise StoreUnavailable(f"the store {folder} cannot be opened for writing: {fault.strerror}") from fault
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                holder = os.pread(lock, 32, 0).decode(errors="replace").strip()
                os.close(lock)
                raise StoreLocked(f"the store {folder} is in use by process {holder or '(unknown)'}") from None
            try:
                os.truncate(lock, 0)
                os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
            except OSError:
                pass  # a full disk: the number is only said for the reader's comfort
            self._held[folder] = lock, 1

    def give(self, folder: Path) -> None:
        with self._guard:
            lock, times = self._held.pop(folder)
            if times > 1:
                self._held[folder] = lock, times - 1
            else:
                os.close(lock)


_locks: Final = _Locks()

# It logs the traceback of every row that does not fit its column, which the raised RefusedRow says already.
logging.getLogger("clickhouse_connect.driver.transform").setLevel(logging.CRITICAL)


class _Literal:
    """A bound parameter in ClickHouse's own escaping: clickhouse-connect passes on what it does not know as its `str`."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    def __str__(self) -> str:
        return self.text


def _bound(parameters: Mapping[str, object] | None) -> dict[str, Any] | None:
    if parameters is None:
        return None
    return {name: _Literal(_text(value)) for name, value in parameters.items()}


def _text(value: object) -> str:
    match value:
        case None:
            return r"\N"
        case str():
            return _escaped(value)
        case bytes():
            return _escaped_bytes(value)
        case list() | tuple():
            return f"[{','.join(map(_element, value))}]"
        case _:
            return _element(value)


def _element(value: object) -> str:
    match value:
        case str():
            return f"'{_escaped(value)}'"
        case bytes():
            return f"'{_escaped_bytes(value)}'"
        case None:
            return "NULL"
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case Decimal():
            return format(value, "f")
        case tuple():
            return f"({','.join(map(_element, value))})"
        case list():
            return f"[{','.join(map(_element, value))}]"
        case _:
            raise TypeError(f"a {type(value).__name__} cannot be a parameter")


def _escaped(value: str) -> str:
    return value.translate(_ESCAPES) if _SPECIAL.search(value) else value


def _escaped_bytes(value: bytes) -> str:
    try:
        return _escaped(value.decode())
    except UnicodeDecodeError:
        return "".join(f"\\x{byte:02x}" for byte in value)


_ESCAPES: Final = str.maketrans(
    {"\\": r"\\", "'": r"\'", "\n": r"\n", "\t": r"\t", "\r": r"\r", "\0": r"\0", "\b": r"\b", "\f": r"\f"}
)
_SPECIAL: Final = re.compile(r"[\\'\n\t\r\0\x08\f]")


def _column(name: str, kind: str, values: tuple[object, ...]) -> Sequence[object]:
    """Return the values as clickhouse-connect takes them; raises ValueError where ClickHouse would change one in silence."""
    if _STRING.match(kind):
        kinds = set(map(type, values))
        if not kinds <= _TEXTS:
            raise ValueError(f"{name}: what is neither text nor bytes is no String")
        if str in kinds and bytes in kinds:
            return [value.encode() if isinstance(value, str) else value for value in values]
    elif kind == "Array(String)":
        return [[_item(name, item) for item in _list(name, value)] for value in values]
    elif _DATE_TIME.match(kind):
        for value in () if _are_instants(_stated(kind, values)) else _stated(kind, values):
            if not isinstance(value, int) or not EARLIEST <= value <= LATEST:
                raise ValueError(f"{name}: {value!r} is no instant from 1900 to 2261")
    elif match := _DECIMAL.match(kind):
        precision, scale = map(int, match.groups())
        exact, unit = Context(prec=precision, traps=[Inexact, InvalidOperation]), Decimal(1).scaleb(-scale)
        for value in _stated(kind, values):
            if not isinstance(value, Decimal | int) or not _fits(Decimal(value), unit, exact):
                raise ValueError(f"{name}: {value!r} does not fit Decimal({precision}, {scale}) exactly")
    return values


def _stated(kind: str, values: tuple[object, ...]) -> Sequence[object]:
    return [value for value in values if value is not None] if kind.startswith("Nullable") else values


def _are_instants(values: Sequence[object]) -> bool:
    """Whether all are, by a look at the least and the greatest; False says nothing."""
    if set(map(type, values)) != {int}:
        return not values
    instants = cast("Sequence[int]", values)
    return EARLIEST <= min(instants) <= max(instants) <= LATEST


def _item(name: str, item: object) -> str:
    if isinstance(item, bytes):
        return item.decode()
    if not isinstance(item, str):
        raise ValueError(f"{name}: {item!r} is no String")  # noqa: TRY004 (a value of a row, not a mistake in the code)
    return item


def _fits(value: Decimal, unit: Decimal, exact: Context) -> bool:
    try:
        return not value.quantize(unit, context=exact).is_nan()
    except (Inexact, InvalidOperation):
        return False


def _list(name: str, value: object) -> Sequence[object]:
    if not isinstance(value, list | tuple):
        raise ValueError(f"{name}: {value!r} is no list")  # noqa: TRY004 (a value of a row, not a mistake in the code)
    return value


def _sorted(fault: ClickHouseError, *, inserting: bool) -> Exception:
    """Return the error that says what to do next."""
    code = getattr(fault, "code", None)
    message = str(fault).strip()
    if inserting and code in _REFUSED:
        return RefusedRow(message)
    if code in _TRANSIENT or (code is None and isinstance(fault, OperationalError)):
        return StoreUnavailable(message)
    if code in _DAMAGED:
        return StoreDamaged(message)
    if code == _TOO_MANY_ROWS:
        return ResultTooLarge(message)
    return StoreError(message, code)


def _connecting(server: Server, fault: ClickHouseError) -> Exception:
    """Return a sentence about the server in place of a report about an HTTP request."""
    meaning = _sorted(fault, inserting=False)
    if isinstance(meaning, StoreUnavailable) and getattr(fault, "code", None) is None:
        cause = fault.__cause__ or fault.__context__
        reason = getattr(cause, "reason", cause)  # urllib3's, within "Max retries exceeded"
        within = reason.args[0] if isinstance(reason, BaseException) and reason.args else None
        said = f"TLS fails, {within}" if isinstance(within, ssl.SSLError) else str(reason).rpartition(": ")[2]
        return StoreUnavailable(f"ClickHouse at {server.url} cannot be used now: {said}")
    if isinstance(meaning, StoreError) and meaning.code is None:
        return StoreError(f"what answers at {server.url} is no ClickHouse", None)
    return meaning


def _opening(folder: Path, fault: Exception) -> Exception:
    if isinstance(fault, OSError):
        return StoreUnavailable(f"the store {folder} cannot be opened for writing: {fault.strerror}")
    if getattr(fault, "code", None) in _TRANSIENT:
        return StoreUnavailable(f"the store {folder} cannot be opened: {fault}")
    # chDB says no more than "Error initializing EmbeddedServer" where its metadata cannot be read.
    said = str(fault).rpartition("DB::Exception: ")[2].strip()
    return StoreDamaged(f"the store {folder} cannot be opened, its metadata is not readable ({said})")


def _shown(text: object) -> str:
    return text.decode(errors="replace") if isinstance(text, bytes) else str(text)
