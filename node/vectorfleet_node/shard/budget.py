"""How many bytes the segment files of a node may take: one `CacheBudget` per node, shared by its shards' caches.

A file is *held* while a shard serves from it or fetches it, *spare* when only an earlier manifest names it, *damaged*
when it was set aside for somebody to look at. Spare and damaged files go, oldest first, when room is needed. The trap
is a file that is taken while it is being deleted: whatever holds or deletes does so under one lock.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

from vectorfleet_node.storage.store import StorageError

DAMAGED: Final = ".damaged"
DAMAGED_FILES: Final = 8  # kept on a node at most
DAMAGED_BYTES: Final = 1 << 30


class CacheFull(StorageError):
    """What must be held does not fit into the node's cache. needed: bytes asked for. limit: the budget in bytes."""

    def __init__(self, what: str, needed: int, held: int, limit: int) -> None:
        super().__init__(
            f"{what} needs {needed} bytes in this node's cache, which may take {limit} bytes and holds {held} bytes "
            "that cannot be spared: raise VECTORFLEET_CACHE_BYTES, or place fewer shards on this node"
        )
        self.needed = needed
        self.limit = limit


class CacheBudget:
    """Counts files by path; only the event loop calls it. limit: in bytes; None: only what is held is kept."""

    def __init__(self, limit: int | None = None) -> None:
        self.limit = limit
        self._held: dict[Path, int] = {}
        self._spare: dict[Path, int] = {}  # least recently used first
        self._damaged: dict[Path, int] = {}  # oldest first
        self._lock = asyncio.Lock()

    @property
    def used(self) -> int:
        """Bytes of all files, and of those about to be fetched."""
        return sum(sum(files.values()) for files in (self._held, self._spare, self._damaged))

    def damaged_in(self, folder: Path) -> int:
        """How many damaged files are kept in a folder."""
        return len(self._in(folder, self._damaged))

    async def found(self, files: Mapping[Path, int]) -> None:
        """Files that an earlier process left, least recently used first: spare until somebody holds them."""
        async with self._lock:
            for path, size in files.items():
                (self._damaged if path.suffix == DAMAGED else self._spare)[path] = size
            await self._make_room(0)

    async def hold(self, files: Mapping[Path, int], what: str) -> None:
        """Makes room for files that are here or about to be fetched, all or none. CacheFull names `what`."""
        async with self._lock:
            new = {path: size for path, size in files.items() if path not in self._held}
            self._require(sum(new.values()), what)
            for path in new:
                self._spare.pop(path, None)
            self._held |= new
            await self._make_room(0)

    async def require(self, size: int, what: str) -> None:
        """Makes room for `size` bytes of files that are about to be made. CacheFull names `what`."""
        async with self._lock:
            self._require(size, what)
            await self._make_room(size)

    async def made(self, files: Mapping[Path, int]) -> None:
        """Files that were written here: held, even when they turned out larger than was required."""
        async with self._lock:
            for path in files:
                self._spare.pop(path, None)
            self._held |= files
            await self._make_room(0)

    async def keep_only(self, folder: Path, names: Iterable[str]) -> None:
        """Of the folder's files only those names are held from now on."""
        async with self._lock:
            kept = {folder / name for name in names}
            let_go = {path: self._held.pop(path) for path in self._in(folder, self._held) if path not in kept}
            self._spare |= {path: let_go[path] for path in await asyncio.to_thread(_present, let_go)}
            if self.limit is None:
                unnamed = [path for path in self._in(folder, self._spare) if path not in kept]
                for path in unnamed:
                    del self._spare[path]
                await _delete(unnamed)

    async def set_aside(self, path: Path, size: int) -> None:
        """A damaged file, under its new name."""
        async with self._lock:
            self._damaged[path] = size
            await self._make_room(0)

    def forget(self, folder: Path) -> None:
        """Counts nothing of a folder any more; its files stay."""
        for files in (self._held, self._spare, self._damaged):
            for path in self._in(folder, files):
                del files[path]

    @staticmethod
    def _in(folder: Path, files: Mapping[Path, int]) -> list[Path]:
        return [path for path in files if path.parent == folder]

    def _require(self, size: int, what: str) -> None:
        held = sum(self._held.values())
        if self.limit is not None and held + size > self.limit:
            raise CacheFull(what, size, held, self.limit)

    async def _make_room(self, size: int) -> None:
        gone: list[Path] = []

        def evict(files: dict[Path, int], too_much: Callable[[], bool]) -> None:
            while files and too_much():
                path = next(iter(files))
                del files[path]
                gone.append(path)

        def over() -> bool:
            return self.limit is not None and self.used + size > self.limit

        evict(self._damaged, lambda: len(self._damaged) > DAMAGED_FILES or sum(self._damaged.values()) > DAMAGED_BYTES)
        evict(self._damaged, over)
        evict(self._spare, over)
        await _delete(gone)


def _present(paths: Iterable[Path]) -> list[Path]:
    return [path for path in paths if path.exists()]


async def _delete(paths: list[Path]) -> None:
    """Open files stay readable until they are let go."""
    if paths:
        await asyncio.to_thread(_unlink, paths)


def _unlink(paths: list[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)
