"""Generations of a projection's tables: which one serves, how far it came, how the next one takes over."""

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from msgspec import Struct

from schemas.types import Instant
from streams import tables
from streams.ports import TableStore, TopicPartition
from streams.projection import Projection, Table, row_version
from streams.values import integer, text

AnyProjection = Projection[Any]
FINDING_SUFFIX: Final = "_findings"
_RELIFTED: Final = " relifted "
_say: Final = logging.getLogger("roamlog")


class Reached(Struct, frozen=True):
    """The offset after the last folded record of a partition, and the newest received_at folded."""

    next_offset: int
    received_at: Instant


class Generation(Struct, frozen=True):
    """One filling of a projection's tables."""

    projection: str
    number: int

    @property
    def suffix(self) -> str:
        """How its tables end, e.g. `g2`."""
        return f"g{self.number}"


def tables_of(projection: AnyProjection) -> tuple[Table, ...]:
    """Return the current table (if any) and the fact tables."""
    return (*((projection.current,) if projection.current else ()), *projection.facts)


def fold_of(projection: AnyProjection) -> str:
    """Return what identifies a fold with its tables, so that a new version of either starts a new generation."""
    return " ".join((f"fold{projection.version}", *(f"{t.name}_v{t.version}" for t in tables_of(projection))))


class Generations:
    """The store's register of generations. All statements are idempotent, so a crash between two of them heals."""

    def __init__(self, store: TableStore, log_id: str, epoch: int, on_cluster: str = "") -> None:
        """`on_cluster` names the ClickHouse cluster whose replicas keep the tables; by default one server does."""
        self.relifted: Callable[[AnyProjection], str] = lambda _: ""
        """Names what was lifted anew in a projection's topics (streams/relift.py)."""
        self._store = store
        self._log_id = log_id
        self._epoch = epoch
        self._on_cluster = on_cluster

    async def prepare(self) -> None:
        """Create the bookkeeping tables."""
        for table in tables.SYSTEM_TABLES:
            await self._store.command(tables.create(table, "g0", self._on_cluster))
            await self._store.command(tables.view(table, "g0", self._on_cluster))

    async def serving(self, projection: AnyProjection, *, mend: bool = True) -> Generation | None:
        """Return the generation that serves and fits fold and log, or None when one has to be filled.

        Readers see it then: a crash in `serve` may have left a view on tables that do not serve, which is mended but where
        `mend` says only to look.
        """
        found = await self._registered(projection)
        if found is None or found[0].partition(_RELIFTED)[0] != fold_of(projection) or found[2] != self._log_id:
            return None
        generation = Generation(projection.name, found[1])
        rows = await self._store.query("SELECT name, as_select FROM system.tables WHERE database = currentDatabase()")
        there = {text(name): text(select) for name, select in rows}
        for table in tables_of(projection):
            name = tables.physical(table, generation.suffix)
            if name not in there:
                if mend:
                    _say.warning("table %s is gone; the log makes projection %s again", name, projection.name)
                return None
            if mend and name not in re.findall(r"\w+", there.get(table.name, "")):
                await self._store.command(tables.view(table, generation.suffix, self._on_cluster))
        return generation

    async def is_current(self, projection: AnyProjection) -> bool:
        """Whether what serves was filled with all that is lifted anew by now."""
        found = await self._registered(projection)
        return found is not None and found[0].partition(_RELIFTED)[2] == self.relifted(projection)

    async def create(self, projection: AnyProjection, number: int | None = None) -> Generation:
        """Create the empty tables of a new generation (by default one above all that exist).

        The positions of one that was abandoned stay, so its number is not given again.
        """
        if number is None:
            found = await self._registered(projection)
            ((left,),) = await self._store.query(
                "SELECT max(generation) FROM positions WHERE projection_name = {projection:String}",
                {"projection": projection.name},
            )
            number = max(found[1] if found else 0, integer(left)) + 1
        generation = Generation(projection.name, number)
        for table in tables_of(projection):
            await self._store.command(tables.drop(table, generation.suffix, self._on_cluster))
            await self._store.command(tables.create(table, generation.suffix, self._on_cluster))
        return generation

    async def serve(self, projection: AnyProjection, generation: Generation) -> None:
        """Let readers see the generation, register it, and let go of the one before."""
        before = await self._registered(projection)
        for table in tables_of(projection):
            await self._store.command(tables.view(table, generation.suffix, self._on_cluster))
        relifted = self.relifted(projection)
        await self.note(generation, f"{fold_of(projection)}{_RELIFTED}{relifted}" if relifted else fold_of(projection))
        if before is not None and before[1] != generation.number:
            for table in tables_of(projection):
                await self._store.command(tables.drop(table, f"g{before[1]}", self._on_cluster))

    async def drop(self, projection: AnyProjection, generation: Generation) -> None:
        """Let go of a generation that does not serve."""
        for table in tables_of(projection):
            await self._store.command(tables.drop(table, generation.suffix, self._on_cluster))

    async def abandon(self, projection: AnyProjection, generation: Generation) -> None:
        """Let go of a generation that could not be filled or brought to serve; what served before serves on."""
        found = await self._registered(projection)
        if found is None or found[1] == generation.number:
            return
        for table in tables_of(projection):
            await self._store.command(tables.view(table, f"g{found[1]}", self._on_cluster))
        await self.drop(projection, generation)

    async def views(self, projections: Sequence[AnyProjection]) -> None:
        """Create the views over several projections (`findings`)."""
        findings = [t for p in projections for t in p.facts if t.name.endswith(FINDING_SUFFIX)]
        if findings:
            await self._store.command(tables.union_view("findings", findings, self._on_cluster))

    async def positions(self, generation: Generation) -> dict[TopicPartition, Reached]:
        """Return how far the generation came; a partition that it never read is absent."""
        rows = await self._store.query(
            "SELECT topic, of_partition, next_offset, received_at FROM positions"
            " WHERE projection_name = {projection:String} AND generation = {generation:UInt32} AND epoch = {epoch:UInt16}",
            {"projection": generation.projection, "generation": generation.number, "epoch": self._epoch},
        )
        return {
            TopicPartition(text(topic), integer(partition)): Reached(integer(offset), integer(received_at))
            for topic, partition, offset, received_at in rows
        }

    async def save(self, generations: Sequence[Generation], reached: Mapping[TopicPartition, Reached]) -> None:
        """Record that the generations came this far."""
        names = [column.name for column in tables.columns(tables.POSITIONS)]
        rows = [
            (
                generation.projection,
                generation.number,
                tp.topic,
                tp.partition,
                self._epoch,
                at.next_offset,
                at.received_at,
                tp.partition,
                row_version(self._epoch, at.next_offset),
            )
            for generation in generations
            for tp, at in reached.items()
        ]
        if rows:
            await self._store.insert(tables.physical(tables.POSITIONS, "g0"), names, rows)

    async def stage(self, name: str, of: str) -> tuple[Generation, str]:
        """Return the positions' owner of a second stage, and what it is `of`: what was noted last, else what is given.

        A stage fills no table, so `rebuild` does not touch it; another log begins it anew.
        """
        found = await self._of(name)
        if found is not None and found[2] == self._log_id:
            return Generation(name, found[1]), found[0]
        generation = Generation(name, 1 if found is None else found[1] + 1)
        await self.note(generation, of)
        return generation, of

    async def note(self, generation: Generation, of: str) -> None:
        """Register the generation as the one that serves, and what it is of."""
        version = row_version(self._epoch, generation.number)
        row = (generation.projection, of, generation.number, self._log_id, 0, version)
        names = [column.name for column in tables.columns(tables.GENERATIONS)]
        await self._store.insert(tables.physical(tables.GENERATIONS, "g0"), names, [row])

    async def _registered(self, projection: AnyProjection) -> tuple[str, int, str] | None:
        return await self._of(projection.name)

    async def _of(self, name: str) -> tuple[str, int, str] | None:
        rows = await self._store.query(
            "SELECT fold, generation, log_id FROM generations WHERE projection_name = {projection:String}", {"projection": name}
        )
        return (text(rows[0][0]), integer(rows[0][1]), text(rows[0][2])) if rows else None
