"""The one true store when a run is on a volume: the product's `LocalStore` over a disk that forgets at a power cut.

The machine has one node. Its power can be cut between two operations of the disk; what was not synced is then kept or
lost at random, and the oracle is asked whether anything is missing that somebody was told of.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final

from vectorfleet_node.storage.local import LocalStore
from vectorfleet_node.storage.store import Store

from .bucket import Witness
from .disk import DiskFaults, PowerCut, SimulatedDisk, _walk
from .network import Network, Request
from .tracing import Trace

_ROOT: Final = Path("/volume")
_HOSTILE: Final = DiskFaults(sync_error=0.003)


class Volume:
    """A `SimulatedDisk` that tells a witness what happens to objects. on_cut: told when the power fails on its own."""

    def __init__(self, seed: int, network: Network, events: Counter[str], trace: Trace) -> None:
        self.witness: Witness | None = None
        self.on_cut: Callable[[], None] = lambda: None
        self.disk = _WatchedDisk(seed, self)
        self.disk.before = self._before
        self._network = network
        self._events = events
        self._trace = trace
        self._off = False
        self._operations_left: int | None = None
        self._after_link = False
        self._linked = False

    def get(self, key: str) -> bytes | None:
        """An object as it is seen now."""
        return self.disk.peek(_ROOT / key)

    def keys(self, prefix: str) -> list[str]:
        """Keys of the objects that are seen now, ascending."""
        return [key for key in self.disk.peek_keys() if key.startswith(prefix)]

    def open_store(self) -> Store:
        """The store of a new process. A StorageError when the disk fails."""
        return _CountedStore(LocalStore.open(_ROOT, self.disk), self._network)

    def be_hostile(self) -> None:
        """Syncs fail now and then."""
        self.disk.faults = _HOSTILE

    def mend(self) -> None:
        """Ends all faults."""
        self.disk.faults = DiskFaults()
        self._operations_left = None

    def fill(self, free: int) -> None:
        """Leaves so many bytes."""
        self.disk.faults.capacity = self.disk.used() + free

    def empty(self) -> None:
        """Makes room again."""
        self.disk.faults.capacity = None

    def cut_soon(self, operations: int, *, after_link: bool) -> None:
        """The power fails before the operation of that number, or right after the first link: it is not durable yet."""
        self._operations_left, self._after_link = operations, after_link

    def cut(self) -> None:
        """The power fails now."""
        self._off = True

    def switch_on(self, chance: random.Random) -> None:
        """The machine starts again, without what was lost."""
        if self._off:
            self._off, self._operations_left = False, None
            self.disk.power_cut(chance)
            self._events["power cut"] += 1
            self._trace("volume", "lost its power")

    def _before(self, operation: str, path: Path) -> None:
        if self._operations_left is not None:
            self._operations_left -= 1
            if self._linked if self._after_link else self._operations_left <= 0:
                self._operations_left, self._off = None, True
                self._events["power cut inside an operation"] += 1
                self.on_cut()
        if self._off:
            raise PowerCut(f"{operation} {path}")
        self._linked = operation == "link"


class _WatchedDisk(SimulatedDisk):
    def __init__(self, seed: int, volume: Volume) -> None:
        super().__init__(seed)
        self._volume = volume

    def link(self, source: Path, target: Path) -> None:
        try:
            super().link(source, target)
        except FileExistsError:
            if self._volume.witness:
                body, found = bytes(self._file(source).data), bytes(self._file(target).data)
                self._volume.witness.refused_create(_key(target), body, found)
            raise
        if self._volume.witness:
            self._volume.witness.created(_key(target), bytes(self._file(target).data))

    def unlink(self, path: Path) -> None:
        if self._volume.witness and not path.name.startswith(".") and self.peek(path) is not None:
            self._volume.witness.deleting(_key(path))
        super().unlink(path)

    def peek(self, path: Path) -> bytes | None:
        """A file's contents; None when there is none. No operation of the disk."""
        try:
            return bytes(self._file(path).data)
        except OSError:
            return None

    def peek_keys(self) -> list[str]:
        """Every object's key, ascending."""
        paths = (Path("/") / name for name in _walk(self._root))
        return sorted(_key(path) for path in paths if not path.name.startswith("."))

    def used(self) -> int:
        """Bytes of all files; one with two names counts twice."""
        return sum(len(file.data) for file in _walk(self._root).values())


class _CountedStore:
    """Announces each call to the network, which counts it and may have the caller killed."""

    def __init__(self, inner: LocalStore, network: Network) -> None:
        self._inner = inner
        self._network = network

    async def create(self, key: str, body: bytes) -> bool:
        await self._announce("create", key, body)
        return await self._inner.create(key, body)

    async def get(self, key: str) -> bytes | None:
        await self._announce("get", key)
        return await self._inner.get(key)

    async def list(self, prefix: str, *, after: str = "") -> list[str]:
        await self._announce("list", prefix)
        return await self._inner.list(prefix, after=after)

    async def put(self, key: str, body: bytes) -> None:
        await self._announce("put", key, body)
        await self._inner.put(key, body)

    async def delete(self, key: str) -> None:
        await self._announce("delete", key)
        await self._inner.delete(key)

    async def upload(self, key: str, path: Path) -> None:
        await self._announce("upload", key)
        await self._inner.upload(key, path)

    async def download(self, key: str, path: Path) -> None:
        await self._announce("download", key)
        await self._inner.download(key, path)

    async def room(self) -> int | None:
        return await self._inner.room()

    async def _announce(self, kind: str, key: str, body: bytes = b"") -> None:
        await self._network.announce(Request(kind, key, lambda: None, body))


def _key(path: Path) -> str:
    return path.relative_to(_ROOT).as_posix()
