"""The parts of roamlog, wired for one process: the log and who writes it, the tables and what fills them."""

import asyncio
import contextlib
import logging
import os
import shutil
import sys
from collections.abc import AsyncIterator, Mapping
from typing import Final, NoReturn

from api.lookup import DocumentLookup
from ingest import secrets
from ingest.clients import Clients
from ingest.errors import UnsafeSecrets
from ingest.existence import Existence
from ingest.outbound import Outbound
from ingest.partners import PartnerRegistry
from ingest.pull import Pull
from ingest.push import Push
from ingest.secrets import Secrets
from roamlog.errors import Unusable, first_of
from roamlog.folder import FREE_BYTES, Folder
from roamlog.handshakes import outbound_of, own_parties
from roamlog.pulling import pages_of, pull_of
from roamlog.settings import Settings
from schemas.ocpi.dialect import Dialect
from schemas.ocpi.discovery import discover
from streams.catalogue import projections
from streams.clock import SystemClock
from streams.logs.lanes import LogMismatch
from streams.logs.local import LocalLog, LogDamaged, LogInUse
from streams.metrics import Metrics
from streams.ports import Clock, LogUnavailable, Position, StoreDamaged, StoreUnavailable
from streams.runtimes.embedded import Embedded
from streams.stores.clickhouse import ClickHouseStore, StoreError

_say: Final = logging.getLogger("roamlog")


class Tables:
    """What hangs on the table store: the runtime that fills the tables, and whoever reads them."""

    def __init__(  # noqa: PLR0917
        self, store: ClickHouseStore, runtime: Embedded, lookup: DocumentLookup, push: Push, pull: Pull, log: LocalLog
    ) -> None:
        self.store = store
        self.runtime = runtime
        self.lookup = lookup
        self.push = push
        self.pull = pull
        self._log = log

    async def watch(self) -> NoReturn:
        """Wait until anybody who reads the tables meets damage, and raise it: whoever holds them open begins anew."""
        raise await self.store.damage()

    @contextlib.asynccontextmanager
    async def folding(self) -> AsyncIterator[None]:
        """Fold what the log has while the block runs; a failure of the projector ends the block."""
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.runtime.run(stop), name="projector")
            try:
                yield
            finally:
                stop.set()

    async def caught_up(self, projection: str, timeout_s: float) -> bool:
        """Wait until the projection has folded all that the log holds now; False on time-out."""
        (wanted,) = [one for one in self.runtime.projections if one.name == projection]
        waits = [
            self.runtime.progress.reached(projection, Position(topic, partition, end - 1), timeout_s)
            for topic in wanted.topics
            for partition, end in (await self._log.end(topic)).items()
            if end
        ]
        return all(await asyncio.gather(*waits))


class Node:
    """An open data folder."""

    def __init__(
        self,
        *,
        settings: Settings,
        folder: Folder,
        clock: Clock,
        metrics: Metrics,
        secrets: Secrets,
        log: LocalLog,
        registry: PartnerRegistry,
        dialects: Mapping[str, Dialect],
        existence: Existence,
        outbound: Outbound,
    ) -> None:
        self.settings = settings
        self.folder = folder
        self.clock = clock
        self.metrics = metrics
        self.secrets = secrets
        self.log = log
        self.registry = registry
        self.dialects = dialects
        self.existence = existence
        self.outbound = outbound
        self._tables: Tables | None = None

    @property
    def url(self) -> str:
        """Where partners reach this house."""
        return self.settings.public_url or self.folder.run.url or self.settings.own_url

    @property
    def tables(self) -> Tables:
        """The tables; they are open inside `with_tables`."""
        if self._tables is None:
            raise RuntimeError("the tables are not open")
        return self._tables

    @contextlib.asynccontextmanager
    async def with_tables(self, public_url: str = "", stop: asyncio.Event | None = None) -> AsyncIterator[Tables]:
        """Open the tables for the length of the block. Raises Failure in a sentence.

        Tables that prove damaged, now or within the block, are moved aside, and the command begins anew, so that the log fills
        others; it ends instead where `stop` is set by then.
        """
        had = self.folder.tables.exists()
        damage: BaseException | None = None
        store = await _open_store(self.folder, had, stop)
        try:
            runtime = Embedded(
                self.log,
                self.log.log_id,
                store,
                projections(),
                clock=self.clock,
                cache_bytes=self.settings.state_cache_bytes,
                links=True,
                metrics=self.metrics,
                dialects=self.dialects,
            )
            runtime.pause(self.settings.projector == "paused")
            try:
                await runtime.start()
            except StoreDamaged as fault:
                _begin_anew(self.folder, fault, had, stop)
            lookup = DocumentLookup(store)
            push = Push(
                log=self.log,
                dialects=self.dialects,
                clock=self.clock,
                existence=self.existence,
                lookup=lookup,
                positions=runtime.progress,
                metrics=self.metrics,
                clients=Clients(self.registry, self.clock),
                public_url=public_url,
                patch_wait_s=self.settings.patch_wait_s,
            )
            pages = pages_of(self.settings, self.clock)
            pull = pull_of(self, store, runtime.progress, lookup, pages, push.heard, self.metrics)
            push.missed = pull.missed
            self._tables = Tables(store, runtime, lookup, push, pull, self.log)
            try:
                yield self._tables
            except (Exception, BaseExceptionGroup) as faults:
                damage = first_of(faults)
                if not _is_damage(damage):
                    raise
            finally:
                self._tables = None
                await pull.close()
                await pages.close()
                await runtime.close()
        finally:
            await store.close()
        if damage is not None:
            _begin_anew(self.folder, damage, had, stop)
        self.folder.tables_closed()


@contextlib.asynccontextmanager
async def opened(folder: Folder, settings: Settings) -> AsyncIterator[Node]:
    """Open the log and what needs nothing else, for the length of the block. Raises Unusable in a sentence."""
    # An empty file is an empty log to SQLite, and tables without records are no tables: all would be gone without a word.
    if folder.run.has_log and not (folder.log.exists() and folder.log.stat().st_size):
        remedy = "put it back from a backup, or name another folder with --data"
        raise Unusable(f"the log {folder.log} is gone or empty, and with it all that was taken; {remedy}")
    try:
        keys = secrets.of_folder(folder.path)
        log = LocalLog.open(folder.log, partitions=settings.partitions)
    except (UnsafeSecrets, LogMismatch, LogDamaged, LogInUse, LogUnavailable) as fault:
        raise Unusable(str(fault)) from fault
    clock = SystemClock()
    outbound = outbound_of(settings, clock)
    try:
        if not folder.run.has_log:
            folder.run.has_log = True
            folder.save()
        registry = PartnerRegistry(log, keys.pepper, clock, keys.key, own_parties(settings))
        await registry.catch_up()
        yield Node(
            settings=settings,
            folder=folder,
            clock=clock,
            metrics=Metrics(),
            secrets=keys,
            log=log,
            registry=registry,
            dialects=discover(),
            existence=Existence(settings.key_cache_bytes),
            outbound=outbound,
        )
    finally:
        await outbound.close()
        await log.close()


async def _open_store(folder: Folder, had: bool, stop: asyncio.Event | None) -> ClickHouseStore:
    """Return the tables' store; what cannot be read is moved aside, and the runtime makes it again from the log."""
    doubt = folder.begin_tables()
    if doubt == "power" and had:
        _say.warning("the machine went down with the tables open, so they were thrown away; the log makes them again")
    if doubt == "fatal":
        _say.warning("the tables could not be opened, so they were set aside; the log makes them again")
    try:
        store = ClickHouseStore.embedded(folder.tables)
        if doubt == "crash":
            await store.query("SELECT 1")
    except StoreDamaged as fault:
        _begin_anew(folder, fault, had, stop)
    except StoreUnavailable as fault:
        raise Unusable(str(fault)) from fault
    folder.tables_opened()
    return store


def _begin_anew(folder: Folder, fault: BaseException, had: bool, stop: asyncio.Event | None) -> NoReturn:
    """Move the tables aside and run the command anew, as it was called: one process opens one ClickHouse folder in its life.

    A process that was asked to stop meanwhile ends.
    """
    if shutil.disk_usage(folder.path).free < FREE_BYTES:
        raise Unusable(f"the disk of {folder.path} is full; free some space") from fault
    if not had:  # tables that were made just now: to make them again would fail again, for ever
        raise Unusable(f"the tables in {folder.path} cannot be made ({_in_short(fault)}); is its disk sound?") from fault
    aside = folder.set_aside()
    _say.warning("the tables cannot be read (%s); they lie in %s now, and the log makes them again", _in_short(fault), aside)
    if stop is not None and stop.is_set():
        raise SystemExit(0)
    logging.shutdown()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _is_damage(fault: BaseException) -> bool:
    return isinstance(fault, StoreDamaged) or (isinstance(fault, StoreError) and fault.code in _MISSING)


def _in_short(fault: BaseException) -> str:
    return (str(fault).strip().splitlines() or [type(fault).__name__])[0][:200]


_MISSING: Final = frozenset({60, 81})
"""ClickHouse's UNKNOWN_TABLE and UNKNOWN_DATABASE: what was there at the last start is gone."""
