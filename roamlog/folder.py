"""A data folder: whose it is, how it was left, and what to do with its tables.

DIR/lock          held (flock) by the one process that uses the folder, with its pid
DIR/run.json      how that process stands, and how the last one ended
DIR/secrets.json  the pepper and the operator's token
DIR/log.sqlite    the log: the truth
DIR/clickhouse/   the tables: disposable, made again from the log
DIR/loads/        how far unfinished loads are
"""

import contextlib
import errno
import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal

import msgspec
from msgspec import Struct

from roamlog.errors import Unusable

FORMAT: Final = 1
"""Raised when an older release could no longer use the folder."""

FREE_BYTES: Final = 16 * 1024 * 1024
"""With less space than this a start could not even create its tables, and would fail somewhere without words."""

DEATHS: Final = 2
"""So many processes in a row that died while opening the tables show that the tables are what kills them."""

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


Doubt = Literal["none", "crash", "power", "fatal"]


class FolderInUse(Unusable):
    """Another process holds the folder."""

    def __init__(self, path: Path, run: "Run") -> None:
        holder = f"process {run.pid} ({run.command})" if run.pid else "another process"
        super().__init__(f"{path} is in use by {holder}; stop it first, or name another folder with --data")


class Run(Struct, kw_only=True):
    """What run.json says of the process that holds the folder, or held it last.

    `clean`: its tables were closed. `opening` counts processes in a row that began to open the tables and never came
    further. `has_log`: something was written to its log. `socket` is where a serving process takes commands, '' where none does.
    """

    format: int = FORMAT
    pid: int = 0
    command: str = ""
    boot_id: str = ""
    clean: bool = True
    opening: int = 0
    has_log: bool = False
    socket: str = ""
    url: str = ""


class Folder:
    """A data folder that this process holds alone; get one from `held`."""

    def __init__(self, path: Path, run: Run) -> None:
        self.path = path
        self.log = path / "log.sqlite"
        self.tables = path / "clickhouse"
        self.loads = path / "loads"
        self.run = run

    def begin_tables(self) -> Doubt:
        """Record that the tables are about to be opened; returns what became of them since they were closed.

        `crash`: their process was killed, look at them first. `power`: the machine went down, and ClickHouse does not wait
        for the disk as the log does, so they are thrown away. `fatal`: they killed who opened them, so they were set aside.
        """
        run = self.run
        doubt: Doubt = "none"
        if not run.clean:
            if run.opening >= DEATHS:
                self.set_aside()
                doubt = "fatal"
            elif run.boot_id != boot_id():
                shutil.rmtree(self.tables, ignore_errors=True)
                doubt = "power"
            else:
                doubt = "crash"
        run.clean = False
        run.opening += 1
        run.boot_id = boot_id()
        self.save()
        return doubt

    def tables_opened(self) -> None:
        """Record that the tables can be opened."""
        self.run.opening = 0
        self.save()

    def tables_closed(self) -> None:
        """Record that the tables were closed in order."""
        self.run.clean = True
        self.run.opening = 0
        self.save()

    def set_aside(self) -> Path:
        """Move tables that cannot be used to `clickhouse.broken-N`; returns where they are now."""
        number = 1
        while (aside := self.path / f"clickhouse.broken-{number}").exists():
            number += 1
        with contextlib.suppress(FileNotFoundError):
            self.tables.rename(aside)
        self.run.opening = 0
        self.save()
        return aside

    def save(self) -> None:
        """Write run.json, whole or not at all."""
        with _sentences(self.path):
            _write(self.path, self.run)


def boot_id() -> str:
    """Return what tells one boot of this machine from another; '' where the system does not say."""
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def last_run(path: Path) -> Run:
    """Return what the folder says of its last process, an empty Run where it says nothing that can be read."""
    try:
        return msgspec.json.decode((path / "run.json").read_bytes(), type=Run)
    except (OSError, ValueError):
        return Run(clean=False)


@contextlib.contextmanager
def held(path: Path, command: str, wait_s: float = 0.0) -> Iterator[Folder]:
    """Hold the folder while the block runs; makes it where there is none. Waits at most so long for its holder.

    Raises FolderInUse, or Unusable where the folder cannot be written, is full, or was written by a newer release. A holder
    that was killed holds nothing: the kernel let go of its lock.
    """
    path = path.absolute()
    with _sentences(path):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        until = time.monotonic() + wait_s
        while not _locked(lock):
            if time.monotonic() >= until:
                run = last_run(path)
                pid = os.pread(lock, 32, 0).decode(errors="replace").strip()
                raise FolderInUse(
                    path, run if str(run.pid) == pid else Run(pid=int(pid) if pid.isdigit() else 0, command="starting")
                )
            time.sleep(0.05)
        free = shutil.disk_usage(path).free
        if free < FREE_BYTES:
            raise Unusable(
                f"{path} has only {free // 1024} KiB of free space; free at least {FREE_BYTES // 1024 // 1024} MiB on its disk"
            )
        run = last_run(path)
        if run.format > FORMAT:
            raise Unusable(
                f"{path} was written by a newer roamlog (format {run.format}, this one reads {FORMAT}); install that release again"
            )
        with _sentences(path):
            os.truncate(lock, 0)
            os.pwrite(lock, b"%d\n" % os.getpid(), 0)
            run.pid, run.command, run.socket, run.url = os.getpid(), command, "", ""
            _write(path, run)
        folder = Folder(path, run)
        try:
            yield folder
        finally:
            run.pid, run.socket, run.url = 0, "", ""
            with contextlib.suppress(Unusable):
                folder.save()
    finally:
        os.close(lock)


@contextlib.contextmanager
def _sentences(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as fault:
        remedy = {
            errno.EACCES: "let this user write there, or name another folder with --data",
            errno.EPERM: "let this user write there, or name another folder with --data",
            errno.EROFS: "its file system is mounted read-only; name another folder with --data",
            errno.ENOSPC: "free some space on its disk",
            errno.EDQUOT: "free some space on its disk",
        }.get(fault.errno or 0, "name another folder with --data")
        raise Unusable(f"{path} cannot be a data folder ({fault.strerror}); {remedy}") from fault


def _locked(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _write(path: Path, run: Run) -> None:
    draft = path / "run.json.draft"
    with draft.open("wb") as file:
        file.write(msgspec.json.encode(run))
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path / "run.json")
