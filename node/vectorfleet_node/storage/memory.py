"""A store in this process's memory, for tests and `memory://` URLs. Nothing survives the process."""

from __future__ import annotations

import asyncio
from pathlib import Path

from vectorfleet_node.storage import files
from vectorfleet_node.storage.store import DataLoss


class MemoryStore:
    """Objects in a dictionary. Linearizable, and its listings never lag."""

    def __init__(self) -> None:
        self._objects: dict[str, bytes] = {}

    async def create(self, key: str, body: bytes) -> bool:
        """See `Store.create`."""
        if key in self._objects:
            return False
        self._objects[key] = bytes(body)
        return True

    async def get(self, key: str) -> bytes | None:
        """See `Store.get`."""
        return self._objects.get(key)

    async def list(self, prefix: str, *, after: str = "") -> list[str]:
        """See `Store.list`."""
        return sorted(key for key in self._objects if key.startswith(prefix) and key > after)

    async def put(self, key: str, body: bytes) -> None:
        """See `Store.put`."""
        self._objects[key] = bytes(body)

    async def delete(self, key: str) -> None:
        """See `Store.delete`."""
        self._objects.pop(key, None)

    async def upload(self, key: str, path: Path) -> None:
        """See `Store.upload`."""
        self._objects[key] = await asyncio.to_thread(path.read_bytes)

    async def download(self, key: str, path: Path) -> None:
        """See `Store.download`."""
        body = self._objects.get(key)
        if body is None:
            raise DataLoss(f"{key} is missing")
        await asyncio.to_thread(files.put_in_place, path, body)

    async def room(self) -> int | None:
        """See `Store.room`."""
        return None
