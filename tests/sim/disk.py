"""A disk in memory that forgets at a power cut what was not synced. For simulations and tests of `LocalStore`.

It implements `storage.disk.Disk`. Every file and folder has what is on the platter and what is only in the page cache:
a file's contents become durable by `sync`, a folder's names by `sync_folder`. At a power cut each change that was not
synced is kept or lost at random, on its own, and contents that were not synced may be torn. A failed sync drops what it
was to write: a second one that succeeds makes none of it durable, as on Linux.
"""

from __future__ import annotations

import errno
import io
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO


class PowerCut(Exception):
    """The machine is off: nobody who waits for this call learns anything any more."""


@dataclass
class DiskFaults:
    """Probabilities per operation, and how many bytes fit on the disk (None: any number)."""

    sync_error: float = 0.0
    short_read: float = 0.0
    bit_flip: float = 0.0
    capacity: int | None = None


@dataclass
class _Folder:
    """names: as seen. durable: on the platter. changes: not synced, oldest first, each of one or two names at once."""

    names: dict[str, _Node] = field(default_factory=dict)
    durable: dict[str, _Node] = field(default_factory=dict)
    changes: list[dict[str, _Node | None]] = field(default_factory=list)
    dropped: list[dict[str, _Node | None]] = field(default_factory=list)

    def change(self, changed: dict[str, _Node | None]) -> None:
        _apply(self.names, changed)
        self.changes.append(changed)

    def sync(self) -> None:
        for change in self.changes:
            _apply(self.durable, change)
            for older in self.dropped:  # what is on the platter now is not overtaken by what came before it
                for name in change:
                    older.pop(name, None)
        self.changes.clear()

    def fail(self) -> None:
        """Drops the names of files. A folder's own name waits for the next sync: nothing could write it once more."""
        self.dropped += [change for change in self.changes if not _makes_folder(change)]
        self.changes = [change for change in self.changes if _makes_folder(change)]

    def lose(self, chance: random.Random) -> int:
        """Keeps or loses each change; how many were lost."""
        unsynced = [*self.dropped, *self.changes]
        kept = [change for change in unsynced if chance.random() < 0.5]
        for change in kept:
            _apply(self.durable, change)
        self.names = dict(self.durable)
        self.changes, self.dropped = [], []
        return len(unsynced) - len(kept)


@dataclass
class _File:
    """data: as seen. durable: on the platter."""

    data: bytearray = field(default_factory=bytearray)
    durable: bytes = b""
    dropped: bool = False  # a sync failed: what is seen never reaches the platter by another one

    def sync(self) -> None:
        if not self.dropped:
            self.durable = bytes(self.data)

    def fail(self) -> None:
        self.dropped = True

    def lose(self, chance: random.Random) -> int:
        """Whole, lost or torn, when not synced; 1 when something was lost."""
        seen = bytes(self.data)
        if seen != self.durable:
            torn = seen[: chance.randint(0, len(seen))]
            zeroed = bytes(len(torn)) + seen[len(torn) :]
            self.durable = chance.choice([seen, self.durable, torn, zeroed])
        self.data, self.dropped = bytearray(self.durable), False
        return int(self.durable != seen)


_Node = _Folder | _File


class SimulatedDisk:
    """A file system of one machine, empty at first but for its root. One process after the other may use it.

    faults: may be replaced at any time. operations: how many were asked for. fired: how often which fault happened.
    before: called with the name of each operation and its path before it happens; may raise.
    """

    def __init__(self, seed: int, faults: DiskFaults | None = None) -> None:
        self.faults = faults or DiskFaults()
        self.operations = 0
        self.fired: Counter[str] = Counter()
        self.before: Callable[[str, Path], None] = lambda _operation, _path: None
        self._random = random.Random(seed)
        self._root = _Folder()
        self._tokens = 0
        self._cut_at: int | None = None

    def cut_before(self, operation: int) -> None:
        """From the operation of that number on (1 is the first ever) all raise PowerCut, until `power_cut`."""
        self._cut_at = operation

    def power_cut(self, chance: random.Random) -> None:
        """Loses what was not synced, as `chance` has it, and switches the machine on again."""
        self.fired["power cut"] += 1
        self._cut_at = None
        self._lose(self._root, chance)

    def token(self) -> str:
        """See `Disk.token`."""
        self._tokens += 1
        return f"{self._tokens:016x}"

    def create(self, path: Path) -> _OpenFile:
        """See `Disk.create`."""
        self._begin("create", path)
        folder = self._folder(path.parent)
        if path.name in folder.names:
            raise FileExistsError(errno.EEXIST, "File exists", str(path))
        file = _File()
        folder.change({path.name: file})
        return _OpenFile(self, path, file)

    def open(self, path: Path) -> BinaryIO:
        """See `Disk.open`."""
        self._begin("open", path)
        data = bytes(self._file(path).data)
        if data and self._happens("short read", self.faults.short_read):
            data = data[: self._random.randrange(len(data))]
        if data and self._happens("bit flip", self.faults.bit_flip):
            data = flipped(data, self._random)
        return io.BytesIO(data)

    def make_folder(self, path: Path) -> None:
        """See `Disk.make_folder`."""
        self._begin("make_folder", path)
        if path == Path(path.anchor):
            return
        parent = self._folder(path.parent)
        node = parent.names.get(path.name)
        if isinstance(node, _File):
            raise FileExistsError(errno.EEXIST, "File exists", str(path))
        if node is None:
            parent.change({path.name: _Folder()})

    def sync_folder(self, path: Path) -> None:
        """See `Disk.sync_folder`."""
        self._begin("sync_folder", path)
        self._sync(self._folder(path))

    def link(self, source: Path, target: Path) -> None:
        """See `Disk.link`."""
        self._begin("link", target)
        file, folder = self._file(source), self._folder(target.parent)
        if target.name in folder.names:
            raise FileExistsError(errno.EEXIST, "File exists", str(target))
        folder.change({target.name: file})

    def rename(self, source: Path, target: Path) -> None:
        """See `Disk.rename`."""
        self._begin("rename", target)
        file, folder = self._file(source), self._folder(target.parent)
        folder.change({source.name: None, target.name: file})

    def unlink(self, path: Path) -> None:
        """See `Disk.unlink`."""
        self._begin("unlink", path)
        self._file(path)
        self._folder(path.parent).change({path.name: None})

    def files(self, folder: Path) -> list[Path]:
        """See `Disk.files`."""
        self._begin("files", folder)
        try:
            node = self._folder(folder)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return [folder / name for name in _walk(node)]

    def room(self, path: Path) -> int:
        """See `Disk.room`."""
        self._begin("room", path)
        return self._room()

    def corrupt(self, path: Path, chance: random.Random) -> None:
        """Flips a bit of a file, on the platter too."""
        file = self._file(path)
        file.data = bytearray(flipped(bytes(file.data), chance))
        file.durable = bytes(file.data)
        self.fired["rot"] += 1

    def _write(self, path: Path, file: _File, data: bytes) -> None:
        self._begin("write", path)
        fits = min(len(data), max(self._room(), 0))
        file.data += data[:fits]
        if fits < len(data):
            self.fired["full"] += 1
            raise OSError(errno.ENOSPC, "No space left on device", str(path))

    def _sync(self, node: _Node) -> None:
        if self._happens("sync error", self.faults.sync_error):
            node.fail()
            raise OSError(errno.EIO, "Input/output error")
        node.sync()

    def _room(self) -> int:
        if self.faults.capacity is None:
            return 1 << 50
        nodes = {id(node): node for node in _walk(self._root).values()}
        return self.faults.capacity - sum(len(node.data) for node in nodes.values())

    def _begin(self, operation: str, path: Path) -> None:
        self.operations += 1
        if self._cut_at is not None and self.operations >= self._cut_at:
            raise PowerCut(f"before operation {self.operations}: {operation} {path}")
        self.before(operation, path)

    def _happens(self, fault: str, probability: float) -> bool:
        happens = probability > 0 and self._random.random() < probability
        self.fired[fault] += happens
        return happens

    def _node(self, path: Path) -> _Node:
        node: _Node = self._root
        for part in path.relative_to(path.anchor).parts:
            if isinstance(node, _File):
                raise NotADirectoryError(errno.ENOTDIR, "Not a directory", str(path))
            if part not in node.names:
                raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(path))
            node = node.names[part]
        return node

    def _folder(self, path: Path) -> _Folder:
        node = self._node(path)
        if isinstance(node, _File):
            raise NotADirectoryError(errno.ENOTDIR, "Not a directory", str(path))
        return node

    def _file(self, path: Path) -> _File:
        node = self._node(path)
        if isinstance(node, _Folder):
            raise IsADirectoryError(errno.EISDIR, "Is a directory", str(path))
        return node

    def _lose(self, folder: _Folder, chance: random.Random) -> None:
        self.fired["lost name"] += folder.lose(chance)
        for node in folder.names.values():
            if isinstance(node, _Folder):
                self._lose(node, chance)
            else:
                self.fired["lost contents"] += node.lose(chance)


class _OpenFile:
    """A `NewFile`."""

    def __init__(self, disk: SimulatedDisk, path: Path, file: _File) -> None:
        self._disk = disk
        self._path = path
        self._file = file

    def write(self, data: bytes) -> None:
        """See `NewFile.write`."""
        self._disk._write(self._path, self._file, data)

    def sync(self) -> None:
        """See `NewFile.sync`."""
        self._disk._begin("sync", self._path)
        self._disk._sync(self._file)

    def close(self) -> None:
        """See `NewFile.close`."""


def flipped(data: bytes, chance: random.Random) -> bytes:
    """The data with one bit turned."""
    changed = bytearray(data)
    changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _makes_folder(change: dict[str, _Node | None]) -> bool:
    return any(isinstance(node, _Folder) for node in change.values())


def _apply(names: dict[str, _Node], change: dict[str, _Node | None]) -> None:
    for name, node in change.items():
        if node is None:
            names.pop(name, None)
        else:
            names[name] = node


def _walk(folder: _Folder, above: str = "") -> dict[str, _File]:
    """Every file below a folder by its relative path."""
    found: dict[str, _File] = {}
    for name, node in folder.names.items():
        if isinstance(node, _Folder):
            found |= _walk(node, f"{above}{name}/")
        else:
            found[f"{above}{name}"] = node
    return found
