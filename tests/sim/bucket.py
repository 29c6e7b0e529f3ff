"""The one true store behind the simulated network: what landed there has happened, whoever knows of it.

It tells the oracle of every change the moment it happens, and remembers the latest changes for listings that lag.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

from vectorfleet_node.storage.memory import MemoryStore

Result = TypeVar("Result")

_REMEMBERED = 64  # changes


class Truth(Protocol):
    """What is in the store at this moment."""

    witness: Witness | None

    def get(self, key: str) -> bytes | None:
        """An object."""

    def keys(self, prefix: str) -> list[str]:
        """All keys with the prefix, ascending."""


class Witness(Protocol):
    """Told of every change before anybody else."""

    def created(self, key: str, body: bytes) -> None:
        """An object is there that was not."""

    def refused_create(self, key: str, body: bytes, found: bytes) -> None:
        """A create found something there."""

    def deleting(self, key: str) -> None:
        """An object is about to go."""


class Bucket:
    """Each operation happens at once. now: virtual seconds."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.witness: Witness | None = None
        self._store = MemoryStore()
        self._now = now
        self._changes: deque[tuple[float, str, bool]] = deque(maxlen=_REMEMBERED)  # when, key, whether it came

    def create(self, key: str, body: bytes) -> bool:
        """See `Store.create`."""
        created = _at_once(self._store.create(key, body))
        if created:
            self._changed(key, body)
        elif self.witness:
            self.witness.refused_create(key, body, self.get(key) or b"")
        return created

    def get(self, key: str) -> bytes | None:
        """See `Store.get`."""
        return _at_once(self._store.get(key))

    def put(self, key: str, body: bytes) -> None:
        """See `Store.put`."""
        _at_once(self._store.put(key, body))
        self._changed(key, body)

    def delete(self, key: str) -> None:
        """See `Store.delete`."""
        if self.get(key) is not None:
            if self.witness:
                self.witness.deleting(key)
            _at_once(self._store.delete(key))
            self._changes.append((self._now(), key, False))

    def keys(self, prefix: str) -> list[str]:
        """All keys with the prefix, ascending."""
        return _at_once(self._store.list(prefix))

    def keys_of_the_past(self, prefix: str, lag: float) -> list[str]:
        """`keys` as they were `lag` seconds ago, as far as that is remembered."""
        found, since = set(self.keys(prefix)), self._now() - lag
        for when, key, came in reversed(self._changes):
            if when < since:
                break
            if key.startswith(prefix):
                (found.discard if came else found.add)(key)
        return sorted(found)

    def _changed(self, key: str, body: bytes) -> None:
        self._changes.append((self._now(), key, True))
        if self.witness:
            self.witness.created(key, body)


def _at_once(work: Coroutine[Any, Any, Result]) -> Result:
    """Runs what never waits."""
    try:
        work.send(None)
    except StopIteration as done:
        result: Result = done.value
        return result
    raise AssertionError("the store in memory waited for something")
