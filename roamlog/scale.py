"""The processes of a large house over one Kafka and one ClickHouse: `prepare`, then any number of `ingest`, `streams`, `api`.

Each is the same code as `serve` with a part of it: `ingest` takes pushes and answers about them, `api` gives lists and analytics,
`streams` folds. What they know of each other stands in the log and in the tables.
"""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeVar, cast

from msgspec import Struct

from api.lookup import DocumentLookup
from ingest.clients import Clients
from ingest.existence import Existence
from ingest.partners import PartnerRegistry
from ingest.pull import Pull
from ingest.push import Push
from ingest.secrets import Secrets
from roamlog.app import House, application, giving
from roamlog.errors import Failure, Unusable, first_of
from roamlog.handshakes import outbound_of, own_parties
from roamlog.listen import Server as HttpServer
from roamlog.listen import bound, expire, many_files, server_of, thrifty, unbound, url_of
from roamlog.operations import Operation, Told, failure_of
from roamlog.pulling import pages_of, pull_of
from roamlog.settings import Scale
from roamlog.worker_app import OwnReady, at_hand, worker_app
from schemas.ocpi.discovery import discover
from streams.catalogue import projections
from streams.clock import SystemClock
from streams.errors import StopTheLine
from streams.following import Following
from streams.generations import AnyProjection
from streams.lease import while_held
from streams.logs import kafka
from streams.logs.kafka import Cluster, KafkaLog, LogRefused
from streams.logs.lanes import LogMismatch
from streams.metrics import Metrics
from streams.ports import Clock, LogUnavailable, StoreUnavailable
from streams.runtimes import linking, worker
from streams.runtimes.group_lease import GroupLease
from streams.runtimes.linking import Linking
from streams.runtimes.worker import NotPrepared, Stuck, Worker
from streams.stores.clickhouse import NOT_MADE, ClickHouseStore, Server, StoreError

if TYPE_CHECKING:
    from roamlog.node import Node

AskedT = TypeVar("AskedT", bound=Struct)
FoundT = TypeVar("FoundT", bound=Struct)

STOPS_WITHIN_S: Final = 6.0
"""How long a worker's round may take once the process was asked to stop."""
ENDS_WITHIN_S: Final = 9.0
"""When a process that was asked to stop ends, whatever stands still that it would wait for: ten seconds in all."""

PULL_LEASE: Final = "pull"
"""What the lease of crawls is called, in the name of its group and in metrics."""

Part = Literal["ingest", "api"]

_say: Final = logging.getLogger("roamlog")


class Prepared(NamedTuple):
    """What `prepare` made: topics, and the projections with new tables."""

    topics: list[str]
    projections: list[str]


class Started(NamedTuple):
    """What a process says when it is there."""

    part: str
    url: str


class Shared:
    """The log, the tables and what hangs on them, in one of the processes."""

    def __init__(self, settings: Scale, log: KafkaLog, store: ClickHouseStore, clock: Clock) -> None:
        self.settings = settings
        self.log = log
        self.store = store
        self.clock = clock
        self.projections: Sequence[AnyProjection] = projections()
        self.topics = {projection.name: projection.topics for projection in self.projections}
        self.secrets = Secrets(settings.pepper.encode(), settings.operator_token, settings.partner_key.encode())
        self.registry = PartnerRegistry(log, self.secrets.pepper, clock, self.secrets.key, own_parties(settings))
        self.metrics = Metrics()
        self.dialects = discover()
        self.existence = Existence(settings.key_cache_bytes)
        self.lookup = DocumentLookup(store)
        self.following = Following(log, log.log_id, store, self.topics, clock)
        self.outbound = outbound_of(settings, clock)

    def house(self, public_url: str) -> House:
        """Return what answers HTTP."""
        push = Push(
            log=self.log,
            dialects=self.dialects,
            clock=self.clock,
            existence=self.existence,
            lookup=self.lookup,
            positions=self.following.progress,
            metrics=self.metrics,
            clients=Clients(self.registry, self.clock),
            public_url=public_url,
            patch_wait_s=self.settings.patch_wait_s,
        )
        return House(
            settings=self.settings,
            log=self.log,
            store=self.store,
            positions=self.following.progress,
            clock=self.clock,
            metrics=self.metrics,
            dialects=self.dialects,
            topics=self.topics,
            lookup=self.lookup,
            registry=self.registry,
            secrets=self.secrets,
            push=push,
            outbound=self.outbound,
        )

    @contextlib.asynccontextmanager
    async def pulling(self) -> AsyncIterator[Pull]:
        """Give what crawls partners' lists, for the length of the block. It knows nothing yet of what others crawled."""
        pages = pages_of(self.settings, self.clock)
        pull = pull_of(self, self.store, self.following.progress, self.lookup, pages, metrics=self.metrics)
        try:
            yield pull
        finally:
            await pull.close()
            await pages.close()


def cluster_of(settings: Scale) -> Cluster:
    """Return how the settings reach the brokers. Raises Unusable where they contradict each other."""
    if settings.kafka_security.startswith("SASL") and not (settings.kafka_user and settings.kafka_password):
        raise Unusable(
            f"ROAMLOG_KAFKA_SECURITY is {settings.kafka_security}, which needs ROAMLOG_KAFKA_USER and ROAMLOG_KAFKA_PASSWORD"
        )
    try:
        cluster = Cluster(
            servers=settings.kafka,
            prefix=settings.kafka_prefix,
            security_protocol=settings.kafka_security,
            sasl_mechanism=settings.kafka_sasl,
            sasl_username=settings.kafka_user or None,
            sasl_password=settings.kafka_password or None,
            cafile=settings.kafka_ca or None,
        )
        cluster.options()
    except OSError as fault:
        raise _unreadable("ROAMLOG_KAFKA_CA", settings.kafka_ca, fault) from fault
    return cluster


def server_at(settings: Scale) -> Server:
    """Return how the settings reach ClickHouse. Raises Unusable where the authorities of TLS cannot be read."""
    if settings.clickhouse_ca:
        try:
            ssl.create_default_context(cafile=settings.clickhouse_ca)
        except OSError as fault:
            raise _unreadable("ROAMLOG_CLICKHOUSE_CA", settings.clickhouse_ca, fault) from fault
    scheme, _, rest = settings.clickhouse.partition("://")
    host, _, port = rest.rpartition(":")
    return Server(
        host=host.strip("[]"),
        port=int(port),
        user=settings.clickhouse_user,
        password=settings.clickhouse_password,
        secure=scheme == "https",
        cafile=settings.clickhouse_ca or None,
        database=settings.clickhouse_database,
        cluster=settings.clickhouse_cluster,
    )


def _unreadable(variable: str, path: str, fault: OSError) -> Unusable:
    """Return the sentence for a file of authorities; an ssl.SSLError, which is an OSError, says that it holds none."""
    said = "it holds no certificate" if isinstance(fault, ssl.SSLError) else fault.strerror or fault
    return Unusable(f"{variable} is {path!r}, which cannot be read ({said})")


async def prepare(settings: Scale) -> Prepared:
    """Make topics, database and tables that are missing. Raises Failure in a sentence."""
    with _sentences():
        cluster = cluster_of(settings)
        at = SystemClock().now()
        topics = await kafka.prepare(cluster, partitions=settings.partitions, replication=settings.kafka_replication, at=at)
        async with _opened(settings, make=True) as shared:
            made = await worker.prepare(shared.log, shared.store, shared.projections, shared.dialects, settings.clickhouse_cluster)
            return Prepared(topics, made)


def perform(settings: Scale, operation: Operation[AskedT, FoundT], asked: AskedT) -> FoundT:
    """Return what an operation on the partners found. Raises Failure in a sentence."""

    async def run() -> FoundT:
        log, clock = await KafkaLog.open(cluster_of(settings)), SystemClock()
        outbound = outbound_of(settings, clock)
        try:
            registry = PartnerRegistry(log, settings.pepper.encode(), clock, settings.partner_key.encode(), own_parties(settings))
            await registry.catch_up()
            # Operations on partners need no more of a node than its registry, and what calls partners.
            node = SimpleNamespace(
                registry=registry,
                clock=clock,
                dialects=discover(),
                settings=settings,
                outbound=outbound,
                url=settings.public_url or settings.own_url,
            )
            return await operation.run(cast("Node", node), asked, lambda _: None)
        finally:
            await outbound.close()
            await log.close()

    return _performed(run())


def perform_pull(settings: Scale, operation: Operation[AskedT, FoundT], asked: AskedT, told: Told) -> FoundT:
    """Return what an operation on crawls found. Raises Failure in a sentence."""

    async def run() -> FoundT:
        async with _opened(settings) as shared, shared.pulling() as pull:
            await shared.registry.catch_up()
            await shared.following.look()
            following = asyncio.create_task(shared.following.run(), name="positions")
            runtime = SimpleNamespace(progress=shared.following.progress)
            tables = SimpleNamespace(pull=pull, store=shared.store, runtime=runtime, caught_up=_known)
            node = SimpleNamespace(registry=shared.registry, clock=shared.clock, log=shared.log, tables=tables)
            try:
                return await operation.run(cast("Node", node), asked, told)
            finally:
                following.cancel()

    return _performed(run())


def _performed(operation: Coroutine[Any, Any, FoundT]) -> FoundT:
    """Return what an operation found; raises Failure in a sentence."""
    try:
        with _sentences():
            return asyncio.run(operation)
    except (Exception, BaseExceptionGroup) as faults:
        fault = first_of(faults)
        raise failure_of(fault) or fault from faults


async def _known(projection: str, timeout_s: float) -> bool:
    """Say that the tables are as far as they are: workers fold them, and nobody here can tell them to hurry."""
    return True


def run_http(settings: Scale, part: Part, started: Callable[[Started], None]) -> None:
    """Answer HTTP as one of the parts until SIGTERM or SIGINT. Raises Failure in a sentence."""
    with bound(settings.host, settings.port) as listener:
        many_files()
        _run(_http(settings, part, listener, started))


def run_streams(settings: Scale, started: Callable[[Started], None]) -> None:
    """Fold as a worker of the group until SIGTERM or SIGINT. Raises Failure in a sentence."""
    with bound(settings.host, settings.health_port) as listener:
        _run(_streams(settings, listener, started))


def run_pull(settings: Scale, started: Callable[[Started], None]) -> None:
    """Crawl by schedule, as the one of all such processes that has the lease, until SIGTERM or SIGINT. Raises Failure."""
    with bound(settings.host, settings.health_port) as listener:
        _run(_pull(settings, listener, started))


async def _pull(settings: Scale, listener: socket.socket, started: Callable[[Started], None]) -> None:
    stop = _stopped_by_signals()
    async with _opened(settings) as shared:
        await shared.registry.catch_up()
        await shared.following.look()
        metrics = shared.metrics
        metrics.set("roamlog_lease_held", 0, PULL_LEASE)
        lease = GroupLease(cluster_of(settings), f"{settings.kafka_prefix}{settings.kafka_group}-{PULL_LEASE}")

        async def crawl() -> None:
            metrics.set("roamlog_lease_held", 1, PULL_LEASE)
            _say.info("this process crawls partners' lists from now on")
            try:
                # Begun anew with each lease: what others crawled meanwhile is read from the tables.
                async with shared.pulling() as pull:
                    await pull.run()
            finally:
                metrics.set("roamlog_lease_held", 0, PULL_LEASE)

        front = server_of(worker_app(at_hand, metrics, shared.secrets.is_operator), settings)
        await _listening(front, listener, settings.host, settings.health_port)
        thrifty()
        started(Started("pull", url_of(listener)))
        works = {
            "partners": shared.registry.follow(),
            "positions": shared.following.run(),
            "lease": lease.run(),
            "pull": while_held(lease, crawl),
        }
        await _work(stop, front, settings, works)


async def _http(settings: Scale, part: Part, listener: socket.socket, started: Callable[[Started], None]) -> None:
    stop = _stopped_by_signals()
    url = settings.public_url or url_of(listener)
    async with _opened(settings) as shared, shared.pulling() as pull:
        await shared.registry.catch_up()
        await shared.following.look()
        house = shared.house(url)
        house.push.missed = pull.missed
        front = server_of(application(house, url) if part == "ingest" else giving(house, url), settings)
        await _listening(front, listener, settings.host, settings.port)
        thrifty()
        started(Started(part, url))
        await _work(stop, front, settings, {"partners": shared.registry.follow(), "positions": shared.following.run()})


async def _streams(settings: Scale, listener: socket.socket, started: Callable[[Started], None]) -> None:
    stop = _stopped_by_signals()
    async with _opened(settings) as shared:
        metrics, dialects, group = shared.metrics, shared.dialects, settings.kafka_prefix + settings.kafka_group
        one = Worker(
            cluster_of(settings),
            group,
            shared.log,
            shared.store,
            shared.projections,
            clock=shared.clock,
            dialects=dialects,
            cache_bytes=settings.state_cache_bytes,
            metrics=metrics,
            on_cluster=settings.clickhouse_cluster,
        )
        await one.start()
        progress = shared.following.progress
        lease = GroupLease(cluster_of(settings), f"{group}-{linking.LEASE}")
        links = Linking(shared.log, shared.store, progress, lease, clock=shared.clock, metrics=metrics, dialects=dialects)
        ready = OwnReady(one, shared.log, progress, shared.clock, shared.topics)
        front = server_of(worker_app(ready, metrics, shared.secrets.is_operator), settings)
        await _listening(front, listener, settings.host, settings.health_port)
        thrifty()
        started(Started("streams", url_of(listener)))
        works = {
            "positions": shared.following.run(),
            "lease": lease.run(),
            "links": while_held(lease, links),
            "lag": ready.measure(metrics),
        }
        await _work(stop, front, settings, works, one.run(stop))


async def _work(
    stop: asyncio.Event,
    front: HttpServer,
    settings: Scale,
    works: Mapping[str, Coroutine[Any, Any, None]],
    folding: Coroutine[Any, Any, None] | None = None,
) -> None:
    """Answer HTTP, and do what runs for ever beside it, until asked to stop; then nothing that was begun is left half done."""
    async with asyncio.TaskGroup() as tasks:
        last = [] if folding is None else [tasks.create_task(until_asked(stop, folding), name="worker")]
        beside = [tasks.create_task(work, name=name) for name, work in works.items()]
        beside.append(tasks.create_task(expire(front, settings.request_s), name="slow requests"))
        serving = tasks.create_task(front.main_loop(), name="server")
        try:
            await stop.wait()
        finally:
            await _shut(front, serving)
            for task in beside:
                task.cancel()
            for task in last:
                await asyncio.wait({task}, timeout=STOPS_WITHIN_S)
                task.cancel()  # it waits for a store that is away; what it had not finished another does again


async def until_asked(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> None:
    """Do the work; an outage that ends it after the process was asked to stop is said, and is no failure of the stop."""
    try:
        await work
    except (Exception, BaseExceptionGroup) as faults:
        fault = first_of(faults)
        if not stop.is_set() or not isinstance(fault, LogUnavailable | StoreUnavailable | Stuck):
            raise
        _say.warning("stopped during an outage, and what was not stored is done again: %s", fault)


@contextlib.asynccontextmanager
async def _opened(settings: Scale, *, make: bool = False) -> AsyncIterator[Shared]:
    """Open log and tables; `make` the database where it is missing."""
    log = await KafkaLog.open(cluster_of(settings))
    try:
        connections = settings.clickhouse_connections
        store = await asyncio.to_thread(ClickHouseStore.http, server_at(settings), readers=connections, make=make)
        shared = Shared(settings, log, store, SystemClock())
        try:
            yield shared
        finally:
            await shared.outbound.close()
            await store.close()
    finally:
        await log.close()


async def _listening(front: HttpServer, listener: socket.socket, host: str, port: int) -> None:
    try:
        await front.startup(sockets=[listener])
    except OSError as fault:
        raise unbound(host, port, fault) from fault


async def _shut(front: HttpServer, serving: Awaitable[None]) -> None:
    front.should_exit = True
    await asyncio.gather(front.shutdown(), serving, return_exceptions=True)


def _stopped_by_signals() -> asyncio.Event:
    stop = asyncio.Event()

    def ask() -> None:
        stop.set()
        last = threading.Timer(ENDS_WITHIN_S, _end)
        last.daemon = True
        last.start()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ask)
    return stop


def _end() -> None:
    """End now: whatever was not stored is done again, as after a kill."""
    _say.warning("what this process waits for does not answer; it ends without it")
    os._exit(0)


def _run(process: Coroutine[Any, Any, None]) -> None:
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner, _sentences():
        runner.run(process)


@contextlib.contextmanager
def _sentences() -> Iterator[None]:
    """Turn what an operator can mend into a Failure in a sentence."""
    try:
        yield
    except (Exception, BaseExceptionGroup) as faults:
        fault = first_of(faults)
        said = (str(fault).strip().splitlines() or [""])[0][:300]
        match fault:
            case Failure():
                raise fault from faults
            case LogMismatch() | NotPrepared():
                raise Unusable(said) from faults
            case LogRefused():
                raise Unusable(f"{said}; look at ROAMLOG_KAFKA_SECURITY, _SASL, _USER and _PASSWORD") from faults
            case StoreError(code=code) if code in NOT_MADE:
                raise Unusable(f"ClickHouse has not all tables of this release ({said}); run roamlog prepare") from faults
            case StoreError(code=None):
                raise Unusable(f"{said}; look at ROAMLOG_CLICKHOUSE") from faults
            case StoreError():
                remedy = "look at ROAMLOG_CLICKHOUSE_USER, its password and the database"
                raise Unusable(f"ClickHouse refuses what it is asked ({said}); {remedy}") from faults
            case StopTheLine() | LogUnavailable() | StoreUnavailable() | Stuck():
                raise Failure(said) from faults
        raise
