"""A store that tells a callable about each operation: for metrics and logs. Used by whoever opens a store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from vectorfleet_node.storage.store import StorageError, Store

Observe = Callable[[str, str, float], None]  # operation, outcome, seconds


class ObservedStore:
    """Passes everything on. Outcomes are `ok`, the name of a StorageError, or `interrupted` for anything else."""

    def __init__(self, store: Store, observe: Observe, monotonic: Callable[[], float]) -> None:
        self._store = store
        self._observe = observe
        self._monotonic = monotonic

    async def create(self, key: str, body: bytes) -> bool:
        """See `Store.create`."""
        with self._watched("create"):
            return await self._store.create(key, body)

    async def get(self, key: str) -> bytes | None:
        """See `Store.get`."""
        with self._watched("get"):
            return await self._store.get(key)

    async def list(self, prefix: str, *, after: str = "") -> list[str]:
        """See `Store.list`."""
        with self._watched("list"):
            return await self._store.list(prefix, after=after)

    async def put(self, key: str, body: bytes) -> None:
        """See `Store.put`."""
        with self._watched("put"):
            await self._store.put(key, body)

    async def delete(self, key: str) -> None:
        """See `Store.delete`."""
        with self._watched("delete"):
            await self._store.delete(key)

    async def upload(self, key: str, path: Path) -> None:
        """See `Store.upload`."""
        with self._watched("upload"):
            await self._store.upload(key, path)

    async def download(self, key: str, path: Path) -> None:
        """See `Store.download`."""
        with self._watched("download"):
            await self._store.download(key, path)

    async def room(self) -> int | None:
        """See `Store.room`."""
        with self._watched("room"):
            return await self._store.room()

    @contextmanager
    def _watched(self, operation: str) -> Iterator[None]:
        began = self._monotonic()
        outcome = "interrupted"
        try:
            yield
            outcome = "ok"
        except StorageError as error:
            outcome = type(error).__name__
            raise
        finally:
            self._observe(operation, outcome, self._monotonic() - began)
