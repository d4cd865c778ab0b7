"""The embedded log: one SQLite file, one writer, group commit.

Layout. Table `batch` has one row per lane and commit: `id` = lane << 48 | offset of its first record, `records` = the
records end to end behind their lengths. A whole group commit, whatever its lanes, is therefore ONE statement that
commits itself: all or none, one fsync, and one release of the interpreter lock instead of one per record. The integer
key makes reading a lane from any offset a range scan without a second index.

The writer thread alone touches the writing connection; readers have their own, read-only. Everything else (ends,
waiters, futures) belongs to the event loop.
"""

import asyncio
import fcntl
import logging
import os
import queue
import sqlite3
import struct
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias
from urllib.parse import quote

from streams.logs.lanes import FETCH_BYTES, Lanes, LogMismatch, Placed, closed, shares
from streams.ports import Entry, LogUnavailable, Position, Record, TopicPartition

APPLICATION_ID: Final = 0x524C4F47  # "RLOG", SQLite's own mark of what a file is
FORMAT: Final = 1
QUEUE_BYTES: Final = 64 * 1024 * 1024
"""What may wait for the writer; beyond it an append is refused, or a slow disk would become an endless queue."""
BATCH_BYTES: Final = 1024 * 1024
"""A row is closed at this size, so that a reader in its middle does not load more than this to find its record."""

_LANE_SHIFT: Final = 48
_OFFSETS: Final = (1 << _LANE_SHIFT) - 1
_BUSY_S: Final = 0.5  # another writer is a mistake of an operator; pushes must be answered, not wait for it
_CHECKPOINT_PAGES: Final = 4096  # at 8 KiB a page: the file is written every 32 MiB of log, not every 4
_FETCH_ROWS: Final = 20_000  # what one query walks over, whatever `max_records` says
_say: Final = logging.getLogger("roamlog")
_COUNT: Final = struct.Struct("<I")


class LogDamaged(Exception):
    """The file cannot be read as it was written."""


class LogInUse(Exception):
    """Another process writes to this log."""


_Request: TypeAlias = "tuple[list[Placed], asyncio.Future[list[Position]]]"
"""What to append, and whom to tell where it stands."""


class _Handed(NamedTuple):
    """What is handed to the writer at once, and its bytes."""

    requests: list[_Request]
    size: int


class _Range(NamedTuple):
    lane: int
    offset: int
    wanted: int


class LocalLog:
    """An EventLog in one file (with its -wal, -shm and .lock beside it). Durable on return: WAL, synchronous=FULL."""

    def __init__(self, path: Path, writer: sqlite3.Connection, lock: int) -> None:
        """Use `LocalLog.open`."""
        self.path = path
        self._lock = lock
        self._writer = writer
        self._lanes = _read_lanes(writer)
        self.epoch, self.log_id = _read_meta(writer)
        self._ends = _read_ends(writer, self._lanes)
        self._next = dict(self._ends)  # the writer's own: ahead of `_ends` until the loop has heard of a commit
        self._refusing = False
        self._waiting: list[_Request] = []
        self._waiting_bytes = 0
        self._queued = 0
        self._grown: set[asyncio.Future[None]] = set()
        self._closing: asyncio.Future[None] | None = None
        self._turn = 0
        self._requests: queue.SimpleQueue[_Handed | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write, name="log-writer", daemon=True)
        self._thread.start()
        self._readers = ThreadPoolExecutor(2, thread_name_prefix="log-reader")
        self._reading = threading.local()
        self._connections: list[sqlite3.Connection] = []

    @classmethod
    def open(cls, path: Path, partitions: int = 4, epoch: int = 0) -> "LocalLog":
        """Open the log, or create it with so many partitions a topic (one where a topic is ordered as one).

        `epoch` (0 … 65535) is given to a new log only. Raises LogInUse, LogMismatch, LogDamaged, or LogUnavailable where
        the file cannot be written.
        """
        lock = _lock(path)
        try:
            writer = _connect(path, read_only=False)
            try:
                _prepare(writer, path, partitions, epoch)
                return cls(path, writer, lock)
            except BaseException:
                writer.close()
                raise
        except sqlite3.OperationalError as fault:
            os.close(lock)
            raise LogUnavailable(f"the log {path} cannot be opened for writing: {fault}") from fault
        except sqlite3.DatabaseError as fault:
            os.close(lock)
            raise LogDamaged(f"the log {path} cannot be read: {fault}") from fault
        except BaseException:
            os.close(lock)
            raise

    def partitions(self, topic: str) -> int:
        return self._lanes.partitions(topic)

    async def append(self, entries: Sequence[Entry]) -> list[Position]:
        if self._closing is not None:
            raise closed()
        placed, size = self._lanes.place(entries)
        if not placed:
            return []
        if self._queued and self._queued + size > QUEUE_BYTES:
            raise LogUnavailable(f"{self._queued} bytes wait to be written; the disk of {self.path} does not keep up")
        loop = asyncio.get_running_loop()
        positions: asyncio.Future[list[Position]] = loop.create_future()
        if not self._waiting:
            # At the end of this turn of the loop: whoever appends in it shares the commit.
            loop.call_soon(self._hand_over)
        self._waiting.append((placed, positions))
        self._waiting_bytes += size
        self._queued += size
        return await positions

    async def fetch(
        self, start: Mapping[TopicPartition, int], *, max_records: int, wait_s: float
    ) -> dict[TopicPartition, list[Record]]:
        offsets = {self._lanes.lane(*at): offset for at, offset in start.items()}
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait_s
        while not (lanes := [lane for lane, offset in offsets.items() if offset < self._ends[lane]]):
            if self._closing is not None:
                raise closed()
            grown: asyncio.Future[None] = loop.create_future()
            self._grown.add(grown)
            try:
                async with asyncio.timeout_at(deadline):
                    await grown
            except TimeoutError:
                return {}
            finally:
                self._grown.discard(grown)
        if self._closing is not None:
            raise closed()
        self._turn += 1
        turn = self._turn % len(lanes)
        lanes = (lanes[turn:] + lanes[:turn])[:max_records]
        wanted = shares([self._ends[lane] - offsets[lane] for lane in lanes], max_records)
        ranges = [_Range(lane, offsets[lane], count) for lane, count in zip(lanes, wanted, strict=True)]
        return await loop.run_in_executor(self._readers, self._read, ranges)

    async def end(self, topic: str) -> dict[int, int]:
        return {p: self._ends[self._lanes.lane(topic, p)] for p in range(self._lanes.partitions(topic))}

    async def close(self) -> None:
        if self._closing is None:
            loop = asyncio.get_running_loop()
            self._hand_over()
            self._closing = loop.create_future()
            self._wake()
            self._requests.put(None)
            await loop.run_in_executor(None, self._let_go)
            self._closing.set_result(None)
        await asyncio.shield(self._closing)

    # In the event loop.

    def _hand_over(self) -> None:
        if self._waiting:
            self._requests.put(_Handed(self._waiting, self._waiting_bytes))
            self._waiting = []
            self._waiting_bytes = 0

    def _settle(self, handed: _Handed, outcome: list[list[Position]] | LogUnavailable, ends: dict[int, int]) -> None:
        self._queued -= handed.size
        if isinstance(outcome, LogUnavailable):
            for _, future in handed.requests:
                if not future.done():
                    future.set_exception(LogUnavailable(*outcome.args))
            return
        self._ends.update(ends)
        for (_, future), positions in zip(handed.requests, outcome, strict=True):
            if not future.done():  # else its caller was cancelled; the record stands, as after a lost answer
                future.set_result(positions)
        self._wake()

    def _wake(self) -> None:
        for grown in self._grown:
            if not grown.done():
                grown.set_result(None)

    # In the writer's thread.

    def _write(self) -> None:
        while (handed := self._gather()) is not None:
            outcome, ends = self._commit(handed.requests)
            _, someone = handed.requests[0]
            try:
                someone.get_loop().call_soon_threadsafe(self._settle, handed, outcome, ends)
            except RuntimeError:
                continue  # the loop ended without `close`: nobody is left to be told

    def _gather(self) -> _Handed | None:
        handed = self._requests.get()
        while handed is not None and handed.size < QUEUE_BYTES:
            try:
                more = self._requests.get_nowait()
            except queue.Empty:
                break
            if more is None:
                self._requests.put(None)
                break
            handed = _Handed(handed.requests + more.requests, handed.size + more.size)
        return handed

    def _commit(self, requests: list[_Request]) -> tuple[list[list[Position]] | LogUnavailable, dict[int, int]]:
        following, names = self._next, self._lanes.names
        ends: dict[int, int] = {}
        batches: dict[int, list[bytes]] = {}
        outcome: list[list[Position]] = []
        for placed, _ in requests:
            positions = []
            for lane, key, value in placed:
                offset = ends.get(lane)
                if offset is None:
                    offset = following[lane]
                    batches[lane] = []
                ends[lane] = offset + 1
                batches[lane] += (key, value)
                positions.append(Position(*names[lane], offset))
            outcome.append(positions)
        values: list[int | bytes] = []
        for lane, parts in batches.items():
            values.extend(_rows(lane << _LANE_SHIFT | following[lane], parts))
        try:
            self._writer.execute(_insert(len(values) // 2), values)
        except sqlite3.Error as fault:
            if not self._refusing:
                _say.warning("the log %s cannot be written, so pushes are refused until it can: %s", self.path, fault)
            self._refusing = True
            return LogUnavailable(f"the log {self.path} cannot be written: {fault}"), {}
        if self._refusing:
            _say.warning("the log %s is written again", self.path)
            self._refusing = False
        following.update(ends)
        return outcome, ends

    # In a reader's thread.

    def _read(self, ranges: Sequence[_Range]) -> dict[TopicPartition, list[Record]]:
        try:
            connection: sqlite3.Connection = self._reading.connection
        except AttributeError:
            connection = self._reading.connection = _connect(self.path, read_only=True)
            self._connections.append(connection)
        found: dict[TopicPartition, list[Record]] = {}
        budget = FETCH_BYTES
        at: tuple[str, int] = ("", 0)
        try:
            row = connection.execute(_select(len(ranges)), _select_values(ranges)).fetchone()
            for place, asked in enumerate(ranges):
                if budget <= 0:
                    break
                at = self._lanes.names[asked.lane]
                base = asked.lane << _LANE_SHIFT
                records, size = _records(at, row[2 * place] - base, row[2 * place + 1], asked, budget // (len(ranges) - place))
                found[TopicPartition(*at)] = records
                budget -= size
        except (sqlite3.Error, struct.error, ValueError, TypeError) as fault:
            raise LogDamaged(f"the log {self.path} cannot be read{f' at {at[0]}/{at[1]}' if at[0] else ''}: {fault}") from fault
        return found

    def _let_go(self) -> None:
        self._thread.join()
        self._readers.shutdown()
        for connection in (*self._connections, self._writer):
            connection.close()
        os.close(self._lock)


def _rows(first: int, parts: list[bytes]) -> Iterator[int | bytes]:
    """Yield id, records, id, records …: keys and values in turn, in rows of about BATCH_BYTES."""
    lengths = list(map(len, parts))
    start = size = 0
    for end in range(2, len(parts) + 1, 2) if sum(lengths) > BATCH_BYTES else (len(parts),):
        size += lengths[end - 2] + lengths[end - 1]
        if size >= BATCH_BYTES or end == len(parts):
            yield first + start // 2
            yield b"".join((struct.pack(f"<{end - start + 1}I", (end - start) // 2, *lengths[start:end]), *parts[start:end]))
            start, size = end, 0


def _select(lanes: int) -> str:
    """Return a query whose one row holds, per lane, the first batch's id and the batches end to end.

    One row, because each step of a cursor hands the interpreter lock over, and beside a busy event loop takes
    milliseconds to get it back. The cast makes SQLite join bytes as they are (the database's text is UTF-8, unconverted);
    the sizes are summed apart from the bytes, or the window would copy every one of them.
    """
    first = "(SELECT max(id) FROM batch WHERE id BETWEEN ? AND ?)"
    batches = f"""(
        SELECT min(id), CAST(group_concat(CAST(records AS TEXT), '') AS BLOB)
        FROM batch
        WHERE id >= {first} AND id <= (
            SELECT max(id) FROM (
                SELECT id, sum(size) OVER (ORDER BY id ROWS UNBOUNDED PRECEDING) - size AS before
                FROM (SELECT id, length(records) AS size FROM batch WHERE id >= {first} AND id < ? ORDER BY id LIMIT ?)
            )
            WHERE before < ?
        ))"""
    return "SELECT * FROM " + ", ".join([batches] * lanes)


def _select_values(ranges: Sequence[_Range]) -> list[int]:
    values = []
    for lane, offset, count in ranges:
        base = lane << _LANE_SHIFT
        start, stop = base | offset, base | offset + count
        allowed = FETCH_BYTES // len(ranges) + BATCH_BYTES  # of the first batch perhaps only the end is wanted
        values += [base, start, base, start, stop, _FETCH_ROWS, allowed]
    return values


def _records(at: tuple[str, int], first: int, blob: bytes, asked: _Range, allowed: int) -> tuple[list[Record], int]:
    """Return the records asked for, as far as the batches read reach and `allowed` bytes go, and their size."""
    topic, partition = at
    start = asked.offset
    stop = start + asked.wanted
    records: list[Record] = []
    size = 0
    position = 0
    while position < len(blob):
        (held,) = _COUNT.unpack_from(blob, position)
        lengths = struct.unpack_from(f"<{2 * held}I", blob, position + 4)
        position += 4 + 8 * held
        if position + sum(lengths) > len(blob) or not held:
            raise ValueError(f"the batch at offset {first} is not whole")
        sizes = iter(lengths)
        for offset, (key_length, value_length) in enumerate(zip(sizes, sizes, strict=True), first):
            value_at = position + key_length
            end = value_at + value_length
            if start <= offset < stop:
                size += end - position
                if size > allowed and records:
                    return records, size
                records.append(Record(topic, partition, offset, blob[position:value_at], blob[value_at:end]))
            position = end
        first += held
    if not records:
        raise ValueError(f"no record at offset {start}, though {first} were written")
    return records, size


def _insert(rows: int) -> str:
    return "INSERT INTO batch (id, records) VALUES " + ",".join(["(?,?)"] * rows)


def _lock(path: Path) -> int:
    beside = path.with_name(path.name + ".lock")
    try:
        lock = os.open(beside, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
    except OSError as fault:
        raise LogUnavailable(f"the log {path} cannot be opened for writing: {fault.strerror}") from fault
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        holder = os.pread(lock, 32, 0).decode(errors="replace").strip()
        os.close(lock)
        raise LogInUse(f"the log {path} is in use by process {holder or '(unknown)'}") from None
    try:
        os.truncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    except OSError:
        pass  # a full disk: the number is only said for the reader's comfort
    return lock


def _connect(path: Path, *, read_only: bool) -> sqlite3.Connection:
    uri = f"file:{quote(str(path.absolute()))}?mode={'ro' if read_only else 'rwc'}"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=_BUSY_S, check_same_thread=False)
    if not read_only:
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute(f"PRAGMA wal_autocheckpoint={_CHECKPOINT_PAGES}")
    return connection


def _prepare(writer: sqlite3.Connection, path: Path, partitions: int, epoch: int) -> None:
    (application,) = writer.execute("PRAGMA application_id").fetchone()
    (version,) = writer.execute("PRAGMA user_version").fetchone()
    (tables,) = writer.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if not tables and not application:
        _create(writer, path, partitions, epoch)
        return
    if application != APPLICATION_ID:
        raise LogMismatch(f"{path} is an SQLite file, but not a log of roamlog")
    if version != FORMAT:
        raise LogMismatch(f"the log {path} has format {version}; this release reads {FORMAT}")
    writer.execute("PRAGMA journal_mode=WAL")
    held = _read_lanes(writer)
    declared = Lanes.declared(partitions)
    for topic in {topic for topic, _ in declared.names.values()}:
        wanted = declared.partitions(topic)
        try:
            count = held.partitions(topic)
        except KeyError:
            _declare(writer, topic, wanted, max(held.names) + 1)
            held = _read_lanes(writer)
            continue
        if count != wanted:
            raise LogMismatch(f"the log {path} has {count} partitions of {topic}, not {wanted}; another count needs a new log")


def _create(writer: sqlite3.Connection, path: Path, partitions: int, epoch: int) -> None:
    if not 0 <= epoch < 1 << 16:
        raise ValueError(f"epoch {epoch} is not in 0 … 65535")
    writer.execute("PRAGMA page_size=8192")
    writer.execute("PRAGMA journal_mode=WAL")
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("CREATE TABLE batch (id INTEGER PRIMARY KEY, records BLOB NOT NULL) STRICT")
    writer.execute("CREATE TABLE topics (name TEXT PRIMARY KEY, first_lane INTEGER NOT NULL, partitions INTEGER NOT NULL) STRICT")
    writer.execute("CREATE TABLE meta (epoch INTEGER NOT NULL, log_id TEXT NOT NULL) STRICT")
    writer.execute("INSERT INTO meta VALUES (?, ?)", (epoch, str(uuid.uuid4())))
    declared = Lanes.declared(partitions)
    for lane, (topic, partition) in declared.names.items():
        if partition == 0:
            _declare(writer, topic, declared.partitions(topic), lane)
    writer.execute(f"PRAGMA application_id={APPLICATION_ID}")
    writer.execute(f"PRAGMA user_version={FORMAT}")
    writer.execute("COMMIT")
    folder = os.open(path.absolute().parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the file's name must survive a loss of power as well
    finally:
        os.close(folder)


def _declare(writer: sqlite3.Connection, topic: str, partitions: int, first_lane: int) -> None:
    writer.execute("INSERT INTO topics VALUES (?, ?, ?)", (topic, first_lane, partitions))


def _read_lanes(connection: sqlite3.Connection) -> Lanes:
    rows = connection.execute("SELECT name, first_lane, partitions FROM topics").fetchall()
    return Lanes({name: count for name, _, count in rows}, {name: first for name, first, _ in rows})


def _read_meta(connection: sqlite3.Connection) -> tuple[int, str]:
    epoch, log_id = connection.execute("SELECT epoch, log_id FROM meta").fetchone()
    return epoch, log_id


def _read_ends(connection: sqlite3.Connection, lanes: Lanes) -> dict[int, int]:
    ends = {}
    for lane in lanes.names:
        base = lane << _LANE_SHIFT
        last = connection.execute(
            "SELECT id, substr(records, 1, 4) FROM batch WHERE id BETWEEN ? AND ? ORDER BY id DESC LIMIT 1", (base, base | _OFFSETS)
        ).fetchone()
        ends[lane] = (last[0] & _OFFSETS) + _COUNT.unpack(last[1])[0] if last else 0
    return ends
