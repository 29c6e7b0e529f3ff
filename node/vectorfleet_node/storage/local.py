"""The store in a local directory: `vectorfleet serve --data`, and a collection on a volume.

Create-if-absent is link(2). Several processes may share the directory; a failed fsync ends this process's writing.
The trap: a file can be seen before it is durable, and whoever sees a record may acknowledge it.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock  # noqa: TID251 - held inside the threads of asyncio.to_thread only
from typing import Final, TypeVar

from vectorfleet_node.storage import files
from vectorfleet_node.storage.disk import Disk, RealDisk
from vectorfleet_node.storage.store import (
    DataLoss,
    StorageError,
    StoreFull,
    StoreNotFound,
    StoreUnavailable,
    UnsafeStore,
)

Result = TypeVar("Result")
_NO_LINKS: Final = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS)
_ABSENT: Final = (FileNotFoundError, IsADirectoryError, NotADirectoryError)


class LocalStore:
    """Objects as files below `root`, one folder per key segment.

    Key segments must be non-empty and must not begin with a dot; anything else is a ValueError, as no key of ours does.
    """

    def __init__(self, root: Path, disk: Disk | None = None) -> None:
        self._root = root
        self._disk = disk or RealDisk()
        self._broken = ""  # why writing ended: the first failed fsync
        self._doubtful: set[str] = set()  # visible, perhaps not durable: nobody may be told that they exist
        self._under_way: list[str] = []  # being written: visible from some point on, durable only at the end
        self._durable: set[Path] = set()  # folders whose own names this process made durable
        self._syncing: dict[Path, Lock] = {}  # an error of fsync is told to one caller only: they go one by one
        self._unpersisted: list[Path] = []  # found at the start, not written anew yet
        self._persisting = Lock()

    @classmethod
    def open(cls, root: Path, disk: Disk | None = None) -> LocalStore:
        """Makes the folder, removes leftovers of crashed writers, writes the newest record of each log anew.

        Blocking. The last step, also done with the collection's own object, is for what an earlier process failed to
        fsync: it may be in the page cache only. On a full disk it is put off to the first write. StoreNotFound when the
        folder cannot be made, a StorageError when it cannot be written.
        """
        store = cls(root.resolve(), disk)
        with store._errors("open", ""):
            store._make_root()
            files.sweep(store._disk, store._root)
            store._unpersisted = _perhaps_cached(store._disk, store._root)
            with suppress(StoreFull):  # reads go on; `_write` tries again before anything else is written
                store._persist()
        return store

    async def create(self, key: str, body: bytes) -> bool:
        """See `Store.create`."""
        return await self._write("create", key, lambda target: self._create(target, body))

    async def get(self, key: str) -> bytes | None:
        """See `Store.get`."""
        return await self._run("get", key, lambda: self._read(key))

    async def list(self, prefix: str, *, after: str = "") -> list[str]:
        """See `Store.list`."""
        return await self._run("list", prefix, lambda: _list(self._disk, self._root, prefix, after))

    async def put(self, key: str, body: bytes) -> None:
        """See `Store.put`."""
        await self._write("put", key, lambda target: files.replace_durably(self._disk, target, body))

    async def delete(self, key: str) -> None:
        """See `Store.delete`."""
        await self._write("delete", key, self._delete, makes_folder=False)

    async def upload(self, key: str, path: Path) -> None:
        """See `Store.upload`."""

        def copy(target: Path) -> None:
            with path.open("rb") as source:
                files.replace_durably(self._disk, target, source)

        await self._write("upload", key, copy)

    async def download(self, key: str, path: Path) -> None:
        """See `Store.download`."""
        place = self._path(key)

        def copy() -> None:
            try:
                source = self._disk.open(place)
            except _ABSENT:
                raise DataLoss(f"{key} is missing") from None
            with source:
                files.put_in_place(path, source)

        await self._run("download", key, copy)

    async def room(self) -> int | None:
        """See `Store.room`."""
        return await self._run("room", "", lambda: self._disk.room(self._root))

    def _path(self, key: str) -> Path:
        if not _well_formed(key):
            raise ValueError(f"{key!r} is not an object's key")
        return self._root / key

    async def _write(
        self, operation: str, key: str, action: Callable[[Path], Result], *, makes_folder: bool = True
    ) -> Result:
        target = self._path(key)

        def write() -> Result:
            if self._broken:
                raise StoreUnavailable(f"{operation} {key} refused, restart this node: {self._broken}")
            self._under_way.append(key)
            try:
                self._persist()
                if makes_folder:
                    self._make_folder(target.parent)
                done = action(target)
                if self._broken:  # the error that another caller was told may have been about this
                    raise files.FsyncFailed(self._broken)
            except files.FsyncFailed as error:
                self._broken = self._broken or str(error)
                self._doubtful.add(key)
                raise StoreUnavailable(f"{operation} {key}: {error}") from error
            finally:
                self._under_way.remove(key)
            return done

        return await self._run(operation, key, write)

    def _create(self, target: Path, body: bytes) -> bool:
        temporary = files.temporary_beside(self._disk, target)
        files.write_durably(self._disk, temporary, body)
        try:
            with files.full_is_told(target):
                self._disk.link(temporary, target)
            created = True
        except FileExistsError:
            created = False
        except OSError as error:
            if error.errno in _NO_LINKS:
                raise UnsafeStore(f"the file system of {self._root} has no hard links: {error.strerror}") from error
            raise
        finally:
            files.remove(self._disk, temporary)
        if created:
            self._sync_folder(target.parent)
        else:
            self._write_anew(target)
        return created

    def _write_anew(self, path: Path) -> None:
        """Makes durable what is there: who wrote it may have died before the sync, and our caller builds on it.

        Only a copy proves it: after a sync that failed in another process, a second one succeeds and does nothing.
        """
        with suppress(FileNotFoundError), self._disk.open(path) as source:
            files.replace_durably(self._disk, path, source)

    def _read(self, key: str) -> bytes | None:
        path = self._path(key)
        try:
            with self._disk.open(path) as file:
                body = file.read()
        except _ABSENT:
            return None
        if key in self._under_way:
            self._sync_folder(path.parent)
        if key in self._doubtful:
            raise StoreUnavailable(f"{key} may not be durable: {self._broken}")
        return body

    def _delete(self, target: Path) -> None:
        try:
            self._disk.unlink(target)
        except (FileNotFoundError, NotADirectoryError):
            return
        self._sync_folder(target.parent)

    def _make_root(self) -> None:
        for folder in [*reversed(self._root.parents), self._root][1:]:
            try:
                self._disk.make_folder(folder)
            except OSError as error:
                raise StoreNotFound(f"{self._root} cannot be made: {error.strerror}") from error
            try:
                files.sync_folder(self._disk, folder.parent)
            except files.FsyncFailed as error:
                if not isinstance(error.__cause__, PermissionError):  # whoever may not read it has not made it either
                    raise
        self._durable.add(self._root)

    def _make_folder(self, folder: Path) -> None:
        """Makes a folder durably, and those above first: an earlier process may have made them and failed to sync."""
        if folder in self._durable:
            return
        self._make_folder(folder.parent)
        with files.full_is_told(folder):
            self._disk.make_folder(folder)
        self._sync_folder(folder.parent)
        self._durable.add(folder)

    def _sync_folder(self, folder: Path) -> None:
        with self._syncing.setdefault(folder, Lock()):
            try:
                files.sync_folder(self._disk, folder)
            except files.FsyncFailed as error:
                self._broken = self._broken or str(error)
                raise

    def _persist(self) -> None:
        with self._persisting:
            while self._unpersisted:
                self._write_anew(self._unpersisted[-1])
                self._unpersisted.pop()

    async def _run(self, operation: str, key: str, action: Callable[[], Result]) -> Result:
        with self._errors(operation, key):
            return await asyncio.to_thread(action)

    @contextmanager
    def _errors(self, operation: str, key: str) -> Iterator[None]:
        try:
            yield
        except StorageError:
            raise
        except (OSError, files.FsyncFailed) as error:
            raise StoreUnavailable(f"{operation} {key} in {self._root}: {error}") from error


def _well_formed(key: str) -> bool:
    return "\0" not in key and all(segment and not segment.startswith(".") for segment in key.split("/"))


def _list(disk: Disk, root: Path, prefix: str, after: str) -> list[str]:
    folder = prefix.rpartition("/")[0]
    if folder and not _well_formed(folder):
        raise ValueError(f"{prefix!r} is not a prefix of keys")
    keys = [path.relative_to(root).as_posix() for path in disk.files(root / folder) if not path.name.startswith(".")]
    return sorted(key for key in keys if key.startswith(prefix) and key > after)


def _perhaps_cached(disk: Disk, root: Path) -> list[Path]:
    """What readers build on without creating it: the last slot of each shard's log, and the objects at the root."""
    newest: dict[Path, Path] = {}
    for path in disk.files(root):
        folder = path.parent
        if path.name.startswith("."):
            continue
        if folder == root:
            newest[path] = path
        elif folder.name == "log" and folder.parent.parent == root / "shards":
            newest[folder] = max(path, newest.get(folder, path))
    return list(newest.values())
