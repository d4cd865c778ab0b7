"""A real Apache Kafka (KRaft, one node) on loopback for the tests, from Maven artifacts and without a container.

One broker serves a whole test run, whichever process of it asks first; `ROAMLOG_TEST_KAFKA=host:port` names one that runs
already. Each test has topics of its own, told apart by a prefix. Where Java or Maven are missing a test is skipped and says so,
but not under `ROAMLOG_REQUIRE_KAFKA=1`.
"""

import contextlib
import fcntl
import os
import random
import shlex
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Final

import pytest

from schemas.types import instant
from streams.logs import kafka
from streams.logs.kafka import Cluster, KafkaLog

VERSION: Final = "4.3.1"
LISTENS_WITHIN_S: Final = 120
LIBRARIES: Final = Path(__file__).parents[2] / ".venv" / f"kafka-{VERSION}"
"""Beside what the tests are run with, so that the artifacts come over the network once."""

_POM: Final = f"""<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>local</groupId><artifactId>kafka</artifactId><version>1</version>
<dependencies><dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{VERSION}</version></dependency>
</dependencies></project>
"""


class Broker:
    """A broker in a folder; it keeps its port and its data over restarts.

    `settings` go over those of server.properties, and `file_bytes` is how long it may make a file, for a disk that is full.
    """

    def __init__(
        self, folder: Path, port: int, settings: Mapping[str, str] = MappingProxyType({}), file_bytes: int | None = None
    ) -> None:
        self.folder = folder
        self.port = port
        self.settings = settings
        self.file_bytes = file_bytes
        self.address = f"127.0.0.1:{port}"

    @property
    def pid(self) -> int:
        """The process, 0 where none was started."""
        written = self.folder / "pid"
        return int(written.read_text()) if written.exists() else 0

    def start(self) -> None:
        """Start it and return once it listens."""
        self._prepare()
        # By a shell that ends at once: the broker outlives the process of the test that asked for it first.
        command = shlex.join([*self._java("-Xms192m", "-Xmx384m"), "kafka.Kafka", str(self._properties)])
        limit = "" if self.file_bytes is None else f"ulimit -f {self.file_bytes // 512}; "  # in blocks of 512 bytes (POSIX)
        started = subprocess.run(
            ["sh", "-c", f"{limit}{command} >> broker.log 2>&1 < /dev/null & echo $!"],
            cwd=self.folder,
            start_new_session=True,
            stdout=subprocess.PIPE,
            check=True,
        )
        pid = int(started.stdout)
        (self.folder / "pid").write_text(str(pid))
        until = time.monotonic() + LISTENS_WITHIN_S
        while not _listens(self.port):
            if not _lives(pid) or time.monotonic() > until:
                raise AssertionError(f"the broker did not come up: {(self.folder / 'broker.log').read_text()[-2000:]}")
            time.sleep(0.1)

    def kill(self, how: signal.Signals = signal.SIGKILL) -> None:
        """End it at once."""
        if pid := self.pid:
            (self.folder / "pid").unlink()
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, how)
            until = time.monotonic() + 30
            while _lives(pid) and time.monotonic() < until:
                time.sleep(0.05)

    @property
    def _properties(self) -> Path:
        return self.folder / "server.properties"

    def _java(self, *options: str) -> list[str]:
        return ["java", *options, "-cp", f"{LIBRARIES}/*"]

    def _prepare(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        if (self.folder / "data" / "meta.properties").exists():
            return
        listening = f"PLAINTEXT://127.0.0.1:{self.port}"
        settings = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@127.0.0.1:{self.port + 1}",
            "listeners": f"{listening},CONTROLLER://127.0.0.1:{self.port + 1}",
            "advertised.listeners": listening,
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "PLAINTEXT",
            "log.dirs": f"{self.folder}/data",
            "auto.create.topics.enable": "false",
            "offsets.topic.num.partitions": "4",
            "offsets.topic.replication.factor": "1",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "share.coordinator.state.topic.replication.factor": "1",
            "group.initial.rebalance.delay.ms": "0",
            "log.index.size.max.bytes": "65536",  # else thousands of small logs claim ten MiB each
        }
        self._properties.write_text("".join(f"{name}={value}\n" for name, value in (settings | dict(self.settings)).items()))
        told = subprocess.run(
            [*self._java(), "kafka.tools.StorageTool", "random-uuid"], capture_output=True, text=True, check=True, timeout=120
        )
        subprocess.run(
            [
                *self._java(),
                "kafka.tools.StorageTool",
                *("format", "-t", told.stdout.split()[-1], "-c", str(self._properties)),
            ],
            capture_output=True,
            check=True,
            timeout=120,
        )


async def new_log(cluster: Cluster) -> KafkaLog:
    """Make the topics of a new log, four partitions each, and open it."""
    await kafka.prepare(cluster, partitions=4, replication=1, at=instant("2026-10-01T08:00:00Z"))
    return await KafkaLog.open(cluster)


def of_this_run(folder: Path) -> str:
    """Return the address of the broker of this test run, started by whoever comes first. `folder` is shared by the run."""
    if given := os.environ.get("ROAMLOG_TEST_KAFKA"):
        return given
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder / "broker.lock"):
        if (there := _running(folder)) is not None:
            return there.address
        libraries()
        for last in (False, False, True):
            port = free_pair()
            broker = Broker(folder / f"broker-{port}", port)
            try:
                broker.start()
            except AssertionError:  # somebody was faster with the port
                if last:
                    raise
                continue
            (folder / "port").write_text(str(port))
            return broker.address
        raise AssertionError("unreachable")


def end_of_run(folder: Path) -> None:
    """End the broker of this test run, if one was started."""
    if (there := _running(folder)) is not None:
        there.kill()


def missing(reason: str) -> None:
    """Skip the test where there can be no broker; fail where there has to be one."""
    if os.environ.get("ROAMLOG_REQUIRE_KAFKA") == "1":
        pytest.fail(f"ROAMLOG_REQUIRE_KAFKA=1, but {reason}")
    pytest.skip(f"needs a Kafka broker: {reason}")


def libraries() -> None:
    for program in ("java", "mvn"):
        if LIBRARIES.exists() and program == "mvn":
            continue
        if shutil.which(program) is None:
            missing(f"{program} is not installed (or name a broker with ROAMLOG_TEST_KAFKA=host:port)")
    if LIBRARIES.exists():
        return
    part = LIBRARIES.with_name(f"{LIBRARIES.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    (part / "pom.xml").write_text(_POM)
    command = ["mvn", "-q", "-B", "dependency:copy-dependencies", f"-DoutputDirectory={part}"]
    done = subprocess.run(command, cwd=part, capture_output=True, text=True, check=False, timeout=300)
    if done.returncode:
        missing(f"Maven could not fetch Kafka {VERSION}: {done.stdout[-500:]}")
    part.rename(LIBRARIES)


def free_pair() -> int:
    """Return a port that nobody listens on, like the one above it: a broker's and its controller's.

    Below the ports that the system gives to outgoing connections, one of which could take the second meanwhile.
    """
    chance = random.SystemRandom()
    return next(
        port for port in iter(lambda: chance.randrange(20_000, 32_000, 2), 0) if not _listens(port) and not _listens(port + 1)
    )


def _running(folder: Path) -> Broker | None:
    """Return the broker of this run, None where nobody has started one."""
    written = folder / "port"
    return Broker(folder / f"broker-{written.read_text()}", int(written.read_text())) if written.exists() else None


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
