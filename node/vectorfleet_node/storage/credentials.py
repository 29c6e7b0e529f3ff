"""A store that takes up new credentials by itself, and the folder that a Secret is mounted as. Used by the node.

Secrets are rotated under a running node, and a wrong one is mended while the node waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TypeVar

from vectorfleet.topology import StorageLocation
from vectorfleet_node.storage.open import open_store
from vectorfleet_node.storage.store import CredentialsMissing, CredentialsRefused, Store

Result = TypeVar("Result")
Credentials = Mapping[str, str]


def read_folder(folder: Path) -> dict[str, str]:
    """One file per key, as a Secret is mounted; empty when there is no such folder. Blocking."""
    if not folder.is_dir():
        return {}
    files = [path for path in folder.iterdir() if not path.name.startswith(".") and path.is_file()]
    return {path.name: path.read_text().strip() for path in files}


class RenewingStore:
    """Opens the location at the first operation; reads the credentials again whenever they are refused or missing.

    An operation that was refused and finds other credentials is tried once more. Nothing was written by a refused one.
    Raises ValueError, as `open_store`, at the first operation if the URL is of no known kind.
    """

    def __init__(
        self,
        location: StorageLocation,
        read: Callable[[], Credentials],
        *,
        connect: Callable[[StorageLocation, Credentials], Store] = open_store,
    ) -> None:
        """read: the present credentials; it and `connect` are called in threads."""
        self._location = location
        self._read = read
        self._connect = connect
        self._opening = asyncio.Lock()
        self._store: Store | None = None
        self._credentials: Credentials = {}

    async def create(self, key: str, body: bytes) -> bool:
        """See `Store.create`."""
        return await self._do(lambda store: store.create(key, body))

    async def get(self, key: str) -> bytes | None:
        """See `Store.get`."""
        return await self._do(lambda store: store.get(key))

    async def list(self, prefix: str, *, after: str = "") -> list[str]:
        """See `Store.list`."""
        return await self._do(lambda store: store.list(prefix, after=after))

    async def put(self, key: str, body: bytes) -> None:
        """See `Store.put`."""
        await self._do(lambda store: store.put(key, body))

    async def delete(self, key: str) -> None:
        """See `Store.delete`."""
        await self._do(lambda store: store.delete(key))

    async def upload(self, key: str, path: Path) -> None:
        """See `Store.upload`."""
        await self._do(lambda store: store.upload(key, path))

    async def download(self, key: str, path: Path) -> None:
        """See `Store.download`."""
        await self._do(lambda store: store.download(key, path))

    async def room(self) -> int | None:
        """See `Store.room`."""
        return await self._do(lambda store: store.room())

    async def _do(self, action: Callable[[Store], Awaitable[Result]]) -> Result:
        store = await self._opened()
        try:
            return await action(store)
        except (CredentialsMissing, CredentialsRefused):
            if await self._opened(again=True) is store:
                raise
        return await action(await self._opened())

    async def _opened(self, *, again: bool = False) -> Store:
        async with self._opening:
            if self._store is None or again:
                try:
                    credentials = await asyncio.to_thread(self._read)
                except OSError as error:  # a mounted Secret changes by renaming folders
                    raise CredentialsMissing(f"the credentials cannot be read: {error}") from error
                if self._store is None or credentials != self._credentials:
                    self._store = await asyncio.to_thread(self._connect, self._location, credentials)
                    self._credentials = dict(credentials)
            return self._store
