"""What filters worked out about blocks of rows, kept within a number of bytes: masks, and values found in documents.

A process has one of each, shared by its shards and threads. An entry belongs to a `view.RowsIdentity`, rows that never
change, or to a `view.Lineage`. It goes when room is needed (what was used longest ago first) and when its rows are
gone.

The trap: a weak reference may be told of at any moment, in any thread, also in one that holds the lock; it only notes
whose rows are gone, and the next call clears up.
"""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict, deque
from collections.abc import Hashable
from typing import Final, Generic, TypeVar

from vectorfleet_node.shard.view import Lineage, RowsIdentity

T = TypeVar("T")
_ENTRY_BYTES: Final = 256  # of an entry beside its value


class Kept(Generic[T]):
    """Values by rows and name, at most `limit` bytes of them. Safe to use from any thread."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.hits = 0
        self.misses = 0
        self.bytes = 0
        self._entries: OrderedDict[tuple[int, Hashable], tuple[T, int]] = OrderedDict()
        self._names: dict[int, set[Hashable]] = {}
        self._gone: deque[int] = deque()
        self._lock = threading.Lock()

    def resize(self, limit: int) -> None:
        """Keeps at most so many bytes from now on."""
        with self._lock:
            self.limit = limit
            self._make_room()

    def get(self, rows: RowsIdentity | Lineage, name: Hashable) -> T | None:
        """The value, if it is still there."""
        with self._lock:
            self._clear_up()
            entry = self._entries.get((id(rows), name))
            if entry is None:
                self.misses += 1
                return None
            self.hits += 1
            self._entries.move_to_end((id(rows), name))
            return entry[0]

    def put(self, rows: RowsIdentity | Lineage, name: Hashable, value: T, size: int) -> None:
        """Keeps a value of `size` bytes; not one that is larger than the limit by itself."""
        number, size = id(rows), size + _ENTRY_BYTES
        with self._lock:
            self._clear_up()
            if size > self.limit:
                return
            if number not in self._names:
                self._names[number] = set()
                weakref.finalize(rows, self._gone.append, number).atexit = False
            self._remove((number, name))
            self._names[number].add(name)
            self._entries[number, name] = value, size
            self.bytes += size
            self._make_room()

    def _make_room(self) -> None:
        while self.bytes > self.limit:
            self._remove(next(iter(self._entries)))

    def _clear_up(self) -> None:
        while self._gone:
            number = self._gone.popleft()
            for name in list(self._names[number]):
                self._remove((number, name))
            del self._names[number]

    def _remove(self, key: tuple[int, Hashable]) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self.bytes -= entry[1]
            self._names[key[0]].discard(key[1])
