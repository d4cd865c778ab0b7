"""Objects from files into the log: an operator's act, streamed, resumable, harmless when repeated.

Source: requirements 2.5 (a CDR never changes), 2.7 (whose object it is).
"""

import asyncio
import contextlib
import gzip
import hashlib
import itertools
import os
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final, cast

import msgspec
from msgspec import Struct

from ingest.admission import LONG_BYTES, Admitted, Circumstances, NotOwned, admit, below
from ingest.contracts import Contracts, Lookup
from ingest.errors import BrokenFile
from ingest.existence import Existence
from ingest.splitter import Member, members
from schemas import rejected as rejections
from schemas.events import Document
from schemas.ocpi.dialect import Dialect, NotJson, Refused
from schemas.ocpi.interface import interface
from schemas.rejected import BODY_BYTES, Rejected
from schemas.types import Finding, Module, Verb
from streams.ports import Clock, Entry, EventLog, StoreUnavailable
from streams.projections.cdrs import same_values
from streams.topics import REJECTED

CONNECTION: Final = "load"
VERB: Final[dict[Module, Verb]] = {
    Module.LOCATIONS: Verb.PUT,
    Module.SESSIONS: Verb.PUT,
    Module.CDRS: Verb.POST,
    Module.TARIFFS: Verb.PUT,
    Module.TOKENS: Verb.PUT,
}
"""What a loaded object counts as."""

BATCH_OBJECTS: Final = 500
BATCH_BYTES: Final = 4 * 1024 * 1024
SHOWN: Final = 20
_CHUNK_BYTES: Final = 1024 * 1024
_HEAD_BYTES: Final = 64 * 1024
_TURN: Final = 20

_document: Final = msgspec.json.Decoder(Document)


class Refusal(Struct, frozen=True):
    """An object that was refused: its number in the file (from 0), its byte offset after decompression, and why."""

    index: int
    offset: int
    reason: str


class FileReport(Struct):
    """What came of one file. `resumed_at` objects were loaded by an earlier, interrupted run and are counted in the others."""

    path: str
    objects: int = 0
    appended: int = 0
    duplicates: int = 0
    refused: int = 0
    resumed_at: int = 0
    first_refusals: list[Refusal] = []
    error: str | None = None


class LoadReport(Struct):
    """What came of all files."""

    files: list[FileReport] = []

    @property
    def complete(self) -> bool:
        """Whether every file was read to its end."""
        return all(file.error is None for file in self.files)


class Progress(Struct, frozen=True):
    """How far a file is, in bytes of the file as it lies on the disk."""

    path: str
    bytes_read: int
    bytes_total: int
    objects: int


class _Mark(Struct, frozen=True):
    """What is durable of a file, and by what the file is known again."""

    path: str
    size: int
    mtime_ns: int
    head: str
    module: str
    version: str
    party: str
    objects: int = 0
    appended: int = 0
    duplicates: int = 0
    refused: int = 0


class Load:
    """Loads files. `folder` (DIR/loads) keeps how far each unfinished file is."""

    def __init__(
        self, *, log: EventLog, dialects: Mapping[str, Dialect], lookup: Lookup, clock: Clock, existence: Existence, folder: Path
    ) -> None:
        self._log = log
        self._dialects = dialects
        self._lookup = lookup
        self._contracts = Contracts(lookup, clock)
        self._clock = clock
        self._existence = existence
        self._folder = folder

    async def files(
        self,
        paths: Sequence[Path],
        *,
        module: Module,
        version: str,
        party: str,
        progress: Callable[[Progress], None] = lambda _: None,
    ) -> LoadReport:
        """Return what came of the files: every object is in the log, a duplicate, or in `ocpi.rejected`.

        A file that breaks off is loaded as far as it can be read and its report says where; the others are loaded all
        the same. Raises LogUnavailable: the same call later goes on after the last durable batch. KeyError for a
        version that no dialect speaks.
        """
        dialect = self._dialects[version]
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        report = LoadReport()
        for path in paths:
            file = FileReport(str(path))
            report.files.append(file)
            try:
                await self._file(path, file, dialect, module, party, progress)
            except BrokenFile as fault:
                file.error = str(fault)
            except OSError as fault:
                file.error = f"the file cannot be read: {fault.strerror or fault}"
        return report

    async def _file(  # noqa: PLR0917
        self,
        path: Path,
        report: FileReport,
        dialect: Dialect,
        module: Module,
        party: str,
        progress: Callable[[Progress], None],
    ) -> None:
        mark, place = self._mark(path, dialect.version, module, party)
        report.resumed_at = report.objects = mark.objects
        report.appended, report.duplicates, report.refused = mark.appended, mark.duplicates, mark.refused
        with path.open("rb") as file:
            found = itertools.islice(_members(file, path), mark.objects, None)
            while batch := await asyncio.to_thread(_batch, found):
                await self._append(batch.members, report, dialect, module, party)
                mark = msgspec.structs.replace(
                    mark,
                    objects=report.objects,
                    appended=report.appended,
                    duplicates=report.duplicates,
                    refused=report.refused,
                )
                _save(place, mark)
                progress(Progress(str(path), file.tell(), mark.size, report.objects))
                if batch.fault is not None:
                    raise batch.fault
        place.unlink(missing_ok=True)

    async def _append(self, batch: Sequence[Member], report: FileReport, dialect: Dialect, module: Module, party: str) -> None:
        admitted: list[Admitted] = []
        entries: list[Entry] = []

        def refuse(index: int, member: Member, fault: Exception) -> None:
            refusal = Refusal(index, member.offset, str(fault))
            report.refused += 1
            if len(report.first_refusals) < SHOWN:
                report.first_refusals.append(refusal)
            rejected = self._rejection(report.path, member, refusal, fault, dialect, module, party)
            entries.append(Entry(REJECTED, rejected.rejected_id, rejections.encode(rejected)))

        circumstances = Circumstances(connection=CONNECTION, origin="load", received_at=self._clock.now())
        places: list[tuple[int, Member]] = []
        version = interface(dialect.version)
        named = None if version.names_owner else party
        for number, member in enumerate(batch):
            index = report.objects + number
            try:
                admitting = partial(
                    admit, dialect, module, VERB[module], member.body, circumstances, party=named, ids=(), owns=party.__eq__
                )
                admitted.append(admitting() if len(member.body) <= LONG_BYTES else await asyncio.to_thread(admitting))
                places.append((index, member))
            except (NotJson, Refused) as fault:
                refuse(index, member, fault)
            except NotOwned as fault:
                message = f"it is an object of {fault.party}, not of {party}"
                refuse(index, member, Refused((Finding("", "foreign_party", "error", message),)))
            if number % _TURN == _TURN - 1:
                await asyncio.sleep(0)  # a server that loads goes on answering
        if not version.names_customer:
            admitted = await self._contracts.all_addressed(admitted)
        new = admitted
        if module is Module.CDRS:
            new, standing = [], await self._standing(admitted)
            for cdr, (index, member), known in zip(admitted, places, standing, strict=True):
                if known is None:
                    new.append(cdr)
                elif known:
                    report.duplicates += 1
                else:
                    message = "a CDR of this id with other values stands already, and a CDR never changes"
                    refuse(index, member, Refused((Finding("", "cdr_conflict", "error", message),)))
        await self._log.append([*(one.entry for one in new), *entries])
        for number, one in enumerate(new, 1):
            self._existence.add(module.value, one.key, _digest(one) if module is Module.CDRS else b"")
            for key in below(one):
                self._existence.add(module.value, key)
            if number % _TURN == 0:
                await asyncio.sleep(0)
        report.appended += len(new)
        report.objects += len(batch)

    async def _standing(self, admitted: Sequence[Admitted]) -> list[bool | None]:
        """Tell of each CDR whether one of its id stands: None for no, else whether it is equal."""
        equal = [self._existence.get(Module.CDRS.value, cdr.key) == _digest(cdr) for cdr in admitted]
        unknown = [cdr.key for cdr, same in zip(admitted, equal, strict=True) if not same]
        stored: dict[tuple[str, ...], bytes] = {}
        if unknown:
            # What the tables cannot say now, the fold decides.
            with contextlib.suppress(StoreUnavailable):
                stored.update(await self._lookup.documents(Module.CDRS, unknown))
        found: list[bool | None] = []
        for cdr, same in zip(admitted, equal, strict=True):
            document = stored.get(cdr.key)
            if same:
                found.append(True)
            elif document is None:
                found.append(None)
                stored[cdr.key] = cdr.envelope.payload  # the next one of this id in the batch meets it
            else:
                found.append(same_values(_document.decode(document), _document.decode(cdr.envelope.payload)))
        return found

    def _rejection(  # noqa: PLR0917
        self, path: str, member: Member, refusal: Refusal, fault: Exception, dialect: Dialect, module: Module, party: str
    ) -> Rejected:
        sha256 = hashlib.sha256(member.body).digest()
        # The same object of the same file is the same rejection, so that a resumed load repeats none.
        head = "\n".join((path, module, party, str(refusal.index)))
        return Rejected(
            rejected_id=hashlib.blake2b(head.encode(errors="surrogateescape") + sha256, digest_size=16).digest(),
            received_at=self._clock.now(),
            source="load",
            connection=CONNECTION,
            party=party,
            module=module,
            version=dialect.version,
            method=VERB[module],
            path=f"{Path(path).name}#{refusal.index}"[:2000].encode(errors="replace").decode(),
            reason=f"object {refusal.index} at byte {refusal.offset}: {refusal.reason}",
            status_code=2001,
            findings=fault.findings if isinstance(fault, Refused) else (),
            body=member.body[:BODY_BYTES] if isinstance(fault, NotJson) else member.body,
            body_length=len(member.body),
            body_sha256=sha256,
        )

    def _mark(self, path: Path, version: str, module: Module, party: str) -> tuple[_Mark, Path]:
        """Return what is durable of the very same file, nothing where it is another by now, and where that is kept."""
        status = path.stat()
        with path.open("rb") as file:
            head = hashlib.sha256(file.read(_HEAD_BYTES)).hexdigest()
        whole = str(path.resolve())
        fresh = _Mark(whole, status.st_size, status.st_mtime_ns, head, module, version, party)
        name = hashlib.sha256("\n".join((whole, module, version, party)).encode(errors="surrogateescape")).hexdigest()[:32]
        place = self._folder / f"{name}.json"
        try:
            kept = msgspec.json.decode(place.read_bytes(), type=_Mark)
        except (OSError, ValueError):
            return fresh, place
        counts = {"objects": 0, "appended": 0, "duplicates": 0, "refused": 0}
        return (kept if msgspec.structs.replace(kept, **counts) == fresh else fresh), place


class _Batch(Struct):
    members: list[Member]
    fault: BrokenFile | None = None

    def __bool__(self) -> bool:
        return bool(self.members) or self.fault is not None


def _batch(found: Iterator[Member]) -> _Batch:
    """Return the next objects, with the fault that ended them, if one did: what could be read is loaded first."""
    batch, size = _Batch([]), 0
    try:
        for member in found:
            batch.members.append(member)
            size += len(member.body)
            if len(batch.members) == BATCH_OBJECTS or size >= BATCH_BYTES:
                break
    except BrokenFile as fault:
        batch.fault = fault
    return batch


def _members(file: BinaryIO, path: Path) -> Iterator[Member]:
    zipped = file.read(2) == b"\x1f\x8b"
    file.seek(0)
    source = cast("BinaryIO", gzip.GzipFile(fileobj=file)) if zipped else file
    names = path.suffixes[-2:]
    done = 0

    def read() -> bytes:
        nonlocal done
        try:
            chunk = source.read(_CHUNK_BYTES)
        except (EOFError, zlib.error, gzip.BadGzipFile) as fault:
            raise BrokenFile(f"the compressed file is damaged or cut off ({fault})", done) from fault
        done += len(chunk)
        return chunk

    return members(read, lines=bool({".jsonl", ".ndjson"}.intersection(names)))


def _digest(cdr: Admitted) -> bytes:
    return hashlib.blake2b(cdr.envelope.payload, digest_size=16).digest()


def _save(place: Path, mark: _Mark) -> None:
    draft = place.with_suffix(f".{os.getpid()}.draft")
    draft.write_bytes(msgspec.json.encode(mark))
    draft.replace(place)
