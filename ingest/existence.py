"""What this process knows to exist, and one read at a time for what it does not."""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from ingest.admission import Key
from schemas.types import Module

ENTRY_BYTES: Final = 360
"""What an entry costs beside its characters: the tuple, its strings' headers, the mapping's link (CPython 3.11)."""


class Existence:
    """The keys that are durably there, least recently used ones forgotten first, bounded in bytes.

    Add a key only after its append returned: what is known here is answered without asking anybody. Each key may carry
    a small value, as a CDR's digest. Not knowing a key says nothing.
    """

    def __init__(self, max_bytes: int = 64 * 1024 * 1024) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._values: OrderedDict[tuple[str, Key], bytes] = OrderedDict()

    def __len__(self) -> int:
        return len(self._values)

    def get(self, module: str, key: Key) -> bytes | None:
        """Return the key's value (b"" where none was given), None where the key is not known; `module` is a ModuleID."""
        place = (module, key)
        value = self._values.get(place)
        if value is not None:
            self._values.move_to_end(place)
        return value

    def add(self, module: str, key: Key, value: bytes = b"") -> None:
        """Remember the key, with its value."""
        place = (module, key)
        if place in self._values:
            self._bytes += len(value) - len(self._values[place])
            self._values.move_to_end(place)
        else:
            self._bytes += _size(key, value)
        self._values[place] = value
        while self._bytes > self._max_bytes:
            (_, gone), lost = self._values.popitem(last=False)
            self._bytes -= _size(gone, lost)

    def forget(self, module: str, key: Key) -> None:
        """Know the key no longer: its object was taken away."""
        value = self._values.pop((module, key), None)
        if value is not None:
            self._bytes -= _size(key, value)


class Lookup(Protocol):
    """The current documents, as the projections have them."""

    async def documents(self, module: Module, keys: Sequence[Key]) -> Mapping[Key, bytes]:
        """Return the canonical JSON of those keys that a reader would be served; raises StoreUnavailable."""
        ...


class _Read:
    __slots__ = ("document", "done")

    def __init__(self) -> None:
        self.done = False
        self.document: bytes | None = None


class Documents:
    """Reads of single documents, coalesced: while one query runs, the next collects its keys."""

    MAX_KEYS: Final = 1000

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup
        self._turn = asyncio.Lock()
        self._waiting: dict[tuple[Module, Key], _Read] = {}

    @property
    def idle(self) -> bool:
        """Whether no query runs."""
        return not self._turn.locked()

    async def get(self, module: Module, key: Key) -> bytes | None:
        """Return the document as of some instant after the call, None where there is none; raises StoreUnavailable."""
        place = (module, key)
        read = self._waiting.get(place)
        if read is None:
            read = self._waiting[place] = _Read()
        async with self._turn:
            if not read.done:
                # Whoever took this read before and was cancelled or failed has dropped it: take it up again.
                self._waiting.pop(place, None)
                batch = [(key, read)]
                others = [other for other in self._waiting if other[0] is module][: self.MAX_KEYS - 1]
                batch += [(other[1], self._waiting.pop(other)) for other in others]
                found = await self._lookup.documents(module, [wanted for wanted, _ in batch])
                for wanted, waiting in batch:
                    waiting.document = found.get(wanted)
                    waiting.done = True
        return read.document


def _size(key: Key, value: bytes) -> int:
    return ENTRY_BYTES + sum(map(len, key)) + len(value)
