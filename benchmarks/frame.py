"""What a benchmark is: options in, measures and ratios out; and the facts of the machine it ran on."""

import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from msgspec import Struct

ROOT: Final = Path(__file__).resolve().parents[1]
VERSIONS_OF: Final = (
    *("roamlog", "aiokafka", "chdb-core", "clickhouse-connect", "fastapi", "fastavro"),
    *("httptools", "msgspec", "starlette", "uvicorn", "uvloop"),
)


class Options(Struct, frozen=True):
    """How to run: `quick` trades precision for minutes, `scratch` is an empty folder on the disk that is measured."""

    quick: bool
    scratch: Path

    def pick(self, full: int, quick: int) -> int:
        return quick if self.quick else full


class Measure(Struct, frozen=True):
    """An absolute: colour, true of one machine only."""

    name: str
    value: float
    unit: str


class Ratio(Struct, frozen=True):
    """Two measures of one run against each other, with the goal they have (`>=` or `<=`); None: stated only."""

    name: str
    value: float
    goal: float | None = None
    bound: str = ">="

    @property
    def met(self) -> bool | None:
        if self.goal is None:
            return None
        return self.value >= self.goal if self.bound == ">=" else self.value <= self.goal


class Result(Struct, frozen=True):
    """What one benchmark found; `remarks` say what a reader must know to trust the figures."""

    measures: Sequence[Measure]
    ratios: Sequence[Ratio]
    remarks: Sequence[str] = ()


class Unavailable(Exception):
    """The benchmark cannot run here; the text says what is missing."""


def median_and_spread(values: Sequence[float]) -> tuple[float, float]:
    """Return the median and the distance of the farthest value from it, as a share of the median."""
    middle = statistics.median(values)
    return middle, max(abs(value - middle) for value in values) / middle if middle else 0.0


def machine(scratch: Path) -> dict[str, object]:
    """Return what the absolutes depend on."""
    packages: dict[str, str] = {}
    for name in VERSIONS_OF:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            packages[name] = "absent"
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "cores": os.cpu_count(),
        "cpu": _first("/proc/cpuinfo", "model name"),
        "memory": _first("/proc/meminfo", "MemTotal"),
        "kernel": platform.release(),
        "python": sys.version.split()[0],
        "load_average_before": round(os.getloadavg()[0], 2),
        "fsync_ms": round(_fsync_ms(scratch), 3),
        "packages": packages,
    }


def _commit() -> str:
    try:
        asked = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return asked.stdout.strip()


def _first(path: str, field: str) -> str:
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return "unknown"
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(field)), "unknown")


def _fsync_ms(scratch: Path) -> float:
    """Return the median time of a 4 KiB write made durable: what one group commit cannot be faster than."""
    taken = []
    file = scratch / "fsync"
    with file.open("wb") as out:
        for _ in range(50):
            start = time.perf_counter()
            out.write(b"\0" * 4096)
            out.flush()
            os.fsync(out.fileno())
            taken.append((time.perf_counter() - start) * 1000)
    file.unlink()
    return statistics.median(taken)
