"""A store that counts what is written through it. Used to write the same again barely, and for write amplification."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from vectorfleet_node.storage import paths
from vectorfleet_node.storage.store import Store


class MeteredStore:
    """Passes everything on to `inner`.

    log_sizes: of each log record created, in order. written: bytes by kind of object: log, segments, manifests...
    deleted: how many objects.
    """

    def __init__(self, inner: Store) -> None:
        self.log_sizes: list[int] = []
        self.written: Counter[str] = Counter()
        self.deleted = 0
        self._inner = inner

    async def create(self, key: str, body: bytes) -> bool:
        """See `Store.create`."""
        created = await self._inner.create(key, body)
        if created:
            self._count(key, len(body))
        return created

    async def get(self, key: str) -> bytes | None:
        """See `Store.get`."""
        return await self._inner.get(key)

    async def list(self, prefix: str, *, after: str = "") -> list[str]:
        """See `Store.list`."""
        return await self._inner.list(prefix, after=after)

    async def put(self, key: str, body: bytes) -> None:
        """See `Store.put`."""
        await self._inner.put(key, body)
        self._count(key, len(body))

    async def delete(self, key: str) -> None:
        """See `Store.delete`."""
        await self._inner.delete(key)
        self.deleted += 1

    async def upload(self, key: str, path: Path) -> None:
        """See `Store.upload`."""
        await self._inner.upload(key, path)
        self._count(key, path.stat().st_size)  # noqa: ASYNC240 - one look at a file just read

    async def download(self, key: str, path: Path) -> None:
        """See `Store.download`."""
        await self._inner.download(key, path)

    async def room(self) -> int | None:
        """See `Store.room`."""
        return await self._inner.room()

    def _count(self, key: str, size: int) -> None:
        kind = key.removeprefix(paths.SHARDS_PREFIX).partition("/")[2].partition("/")[0] or key
        self.written[kind] += size
        if kind == "log":
            self.log_sizes.append(size)
