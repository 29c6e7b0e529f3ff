"""From what a user types as a URL to a store. Used by the commands `log` and `fsck`.

The trap is a folder that a node uses right now: opening it as a node does removes the files that the other is writing.
So it is opened for reading, and as a node does only when the first thing is written: by then the claim was looked at.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlsplit

from vectorfleet.topology import StorageLocation
from vectorfleet_node.storage.local import LocalStore
from vectorfleet_node.storage.open import open_store
from vectorfleet_node.storage.store import Store, StoreNotFound


def locate(url: str, endpoint: str = "", region: str = "") -> StorageLocation:
    """The location that a URL or a plain path names."""
    full = url if "://" in url else Path(url).expanduser().absolute().as_uri()
    return StorageLocation(url=full, endpoint=endpoint, region=region)


def open_location(location: StorageLocation) -> Store:
    """The store there, with credentials from the environment. Blocking.

    StoreNotFound when a folder is absent; ValueError and StorageErrors as `open_store`.
    """
    url = urlsplit(location.url)
    if url.scheme != "file":
        return open_store(location, {})
    folder = Path(unquote(url.path))
    if not folder.is_dir():
        raise StoreNotFound(f"{folder} is not a folder")
    return LateStore(LocalStore(folder.resolve()), lambda: open_store(location, {}))


class LateStore:
    """Reads through `reader`; what `open_writer` gives takes over at the first write."""

    def __init__(self, reader: Store, open_writer: Callable[[], Store]) -> None:
        self._reader = reader
        self._open_writer = open_writer
        self._opening = asyncio.Lock()
        self._writer: Store | None = None

    async def create(self, key: str, body: bytes) -> bool:
        """See `Store.create`."""
        return await (await self._written()).create(key, body)

    async def get(self, key: str) -> bytes | None:
        """See `Store.get`."""
        return await (self._writer or self._reader).get(key)

    async def list(self, prefix: str, *, after: str = "") -> list[str]:
        """See `Store.list`."""
        return await (self._writer or self._reader).list(prefix, after=after)

    async def put(self, key: str, body: bytes) -> None:
        """See `Store.put`."""
        await (await self._written()).put(key, body)

    async def delete(self, key: str) -> None:
        """See `Store.delete`."""
        await (await self._written()).delete(key)

    async def upload(self, key: str, path: Path) -> None:
        """See `Store.upload`."""
        await (await self._written()).upload(key, path)

    async def download(self, key: str, path: Path) -> None:
        """See `Store.download`."""
        await (self._writer or self._reader).download(key, path)

    async def room(self) -> int | None:
        """See `Store.room`."""
        return await (self._writer or self._reader).room()

    async def _written(self) -> Store:
        async with self._opening:
            if self._writer is None:
                self._writer = await asyncio.to_thread(self._open_writer)
            return self._writer
