"""A least-recently-used cache bounded in bytes."""

from collections import OrderedDict
from typing import Final, Generic, Protocol, TypeVar

ENTRY_BYTES: Final = 400
"""What an entry costs beside its content: the key's tuple and strings, the dictionary slot, object headers."""


class Sized(Protocol):
    """Something that knows its size in bytes."""

    @property
    def size(self) -> int: ...


K = TypeVar("K")
V = TypeVar("V", bound=Sized)


class ByteCache(Generic[K, V]):
    """Keeps the entries used last, as many as fit into `capacity_bytes`."""

    def __init__(self, capacity_bytes: int) -> None:
        self._capacity = capacity_bytes
        self._entries: OrderedDict[K, V] = OrderedDict()
        self.used_bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: K) -> V | None:
        """Return the entry and mark it as used, or None."""
        entry = self._entries.get(key)
        if entry is not None:
            self._entries.move_to_end(key)
        return entry

    def put(self, key: K, entry: V) -> None:
        """Keep the entry; the oldest ones leave when it does not fit."""
        previous = self._entries.pop(key, None)
        if previous is not None:
            self.used_bytes -= previous.size + ENTRY_BYTES
        self._entries[key] = entry
        self.used_bytes += entry.size + ENTRY_BYTES
        while self.used_bytes > self._capacity and self._entries:
            _, oldest = self._entries.popitem(last=False)
            self.used_bytes -= oldest.size + ENTRY_BYTES

    def discard(self, key: K) -> None:
        """Forget the entry, if it is there."""
        previous = self._entries.pop(key, None)
        if previous is not None:
            self.used_bytes -= previous.size + ENTRY_BYTES
