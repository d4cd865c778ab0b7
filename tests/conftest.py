"""What all tests share: properties that are the same on every run, and a chDB folder with a database for each test."""

import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path

import broker
import pytest
from hypothesis import settings

from streams.logs.kafka import Cluster
from streams.stores.clickhouse import ClickHouseStore

# A slow machine is no fault of the code, and a test that fails now and then is none at all.
settings.register_profile("roamlog", deadline=None, derandomize=True, database=None)
settings.load_profile("roamlog")

_databases = count(1)
_prefixes = count(1)
_RUN = "ROAMLOG_TEST_RUN"


def pytest_configure(config: pytest.Config) -> None:
    """Make the folder that all processes of this run share."""
    if not hasattr(config, "workerinput"):
        os.environ[_RUN] = tempfile.mkdtemp(prefix="roamlog-tests-")


def pytest_unconfigure(config: pytest.Config) -> None:
    """End what the processes of this run shared."""
    if not hasattr(config, "workerinput"):
        folder = Path(os.environ.pop(_RUN))
        broker.end_of_run(folder)
        shutil.rmtree(folder, ignore_errors=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Spread the files that start processes or wait for brokers among the others.

    At the end they would be one process's alone while the others have nothing left, and at once they would wait for each other.
    """
    files: dict[Path, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    long = [path for path, of in files.items() if any(map(_waits, of))]
    short = [path for path in files if path not in set(long)]
    place = {path: (index + 0.5) / len(some) for some in (long, short) for index, path in enumerate(some)}
    items[:] = [item for path in sorted(files, key=place.__getitem__) for item in files[path]]


def _waits(item: pytest.Item) -> bool:
    return item.get_closest_marker("system") is not None or "kafka_address" in getattr(item, "fixturenames", ())


@pytest.fixture(scope="session")
def kafka_address() -> str:
    """The broker of this run as host:port; skips where there can be none."""
    return broker.of_this_run(Path(os.environ[_RUN]))


@pytest.fixture
def cluster(kafka_address: str) -> Cluster:
    """A cluster in which nobody else has a log: the topics' prefix is the test's own."""
    return Cluster(servers=kafka_address, prefix=f"t{os.getpid()}-{next(_prefixes)}.")


@pytest.fixture(scope="session")
def chdb_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The one folder that this process may open."""
    return tmp_path_factory.mktemp("chdb") / "store"


@pytest.fixture
async def store(chdb_folder: Path) -> AsyncIterator[ClickHouseStore]:
    """A store on a database of the test's own."""
    database = f"test_{next(_databases)}"
    opened = ClickHouseStore.embedded(chdb_folder, database=database, readers=1)
    yield opened
    await opened.command(f"DROP DATABASE {database} SYNC")
    await opened.close()


@pytest.fixture
async def two_stores(store: ClickHouseStore, chdb_folder: Path) -> AsyncIterator[tuple[ClickHouseStore, ClickHouseStore]]:
    """Two stores that share nothing but the folder."""
    database = f"test_{next(_databases)}"
    other = ClickHouseStore.embedded(chdb_folder, database=database, readers=1)
    yield store, other
    await other.command(f"DROP DATABASE {database} SYNC")
    await other.close()
