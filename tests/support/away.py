"""What is away, or is not there at all."""

from collections.abc import Mapping, Sequence

from streams.ports import StoreUnavailable


class NoStore:
    """A table store that is away."""

    async def command(self, sql: str, parameters: Mapping[str, object] | None = None) -> None:
        raise StoreUnavailable

    async def insert(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[object]], token: str = "") -> None:
        raise StoreUnavailable

    async def query(self, sql: str, parameters: Mapping[str, object] | None = None) -> list[tuple[object, ...]]:
        raise StoreUnavailable

    async def query_bytes(self, sql: str, fmt: str, parameters: Mapping[str, object] | None = None) -> bytes:
        raise StoreUnavailable

    async def close(self) -> None: ...
