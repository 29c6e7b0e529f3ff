"""The store in a local directory: `vectorfleet serve --data`, and a collection on a volume.

Create-if-absent is link(2). Several processes may share the directory; a failed fsync ends this process's writing.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from vectorfleet_node.storage import files
from vectorfleet_node.storage.store import DataLoss, StorageError, StoreNotFound, StoreUnavailable, UnsafeStore

Result = TypeVar("Result")
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS)


class LocalStore:
    """Objects as files below `root`, one directory per key segment.

    Key segments must be non-empty and must not begin with a dot; anything else is a ValueError, as no key of ours does.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._broken = ""  # why writing ended: the first failed fsync
        self._doubtful: set[str] = set()  # visible, perhaps not durable: nobody may be told that they exist
        self._durable: set[Path] = set()  # directories whose own names this process made durable

    @classmethod
    def open(cls, root: Path) -> LocalStore:
        """Makes the directory, removes leftovers of crashed writers and re-persists the newest record of each log.

        Blocking. The last step is for a record whose directory entry an earlier process failed to fsync: it may be in
        the page cache only. StoreNotFound when the directory cannot be made, a StorageError when it cannot be written.
        """
        try:
            root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreNotFound(f"{root} cannot be made: {error.strerror}") from error
        store = cls(root.resolve())
        with store._errors("open", ""):
            files.sweep(store._root)
            for log in store._root.glob("shards/*/log"):
                newest = max((path.name for path in log.iterdir() if not path.name.startswith(".")), default=None)
                if newest is not None:
                    files.replace_durably(log / newest, log / newest)
        return store

    async def create(self, key: str, body: bytes) -> bool:
        """See `Store.create`."""
        return await self._write("create", key, lambda target: self._create(target, body))

    async def get(self, key: str) -> bytes | None:
        """See `Store.get`."""
        if key in self._doubtful:
            raise StoreUnavailable(f"{key} may not be durable: {self._broken}")
        return await self._run("get", key, lambda: _read(self._path(key)))

    async def list(self, prefix: str, *, after: str = "") -> list[str]:
        """See `Store.list`."""
        return await self._run("list", prefix, lambda: _list(self._root, prefix, after))

    async def put(self, key: str, body: bytes) -> None:
        """See `Store.put`."""
        await self._write("put", key, lambda target: files.replace_durably(target, body))

    async def delete(self, key: str) -> None:
        """See `Store.delete`."""
        await self._run("delete", key, lambda: _delete(self._path(key)))

    async def upload(self, key: str, path: Path) -> None:
        """See `Store.upload`."""
        await self._write("upload", key, lambda target: files.replace_durably(target, path))

    async def download(self, key: str, path: Path) -> None:
        """See `Store.download`."""
        source = self._path(key)
        if not await asyncio.to_thread(source.is_file):
            raise DataLoss(f"{key} is missing")
        await self._run("download", key, lambda: files.replace_durably(path, source))

    def _path(self, key: str) -> Path:
        if not _well_formed(key):
            raise ValueError(f"{key!r} is not an object's key")
        return self._root / key

    async def _write(self, operation: str, key: str, action: Callable[[Path], Result]) -> Result:
        target = self._path(key)

        def write() -> Result:
            if self._broken:
                raise StoreUnavailable(f"{operation} {key} refused, restart this node: {self._broken}")
            try:
                self._make_directory(target.parent)
                return action(target)
            except files.FsyncFailed as error:
                self._broken = str(error)
                self._doubtful.add(key)
                raise StoreUnavailable(f"{operation} {key}: {error}") from error

        return await self._run(operation, key, write)

    def _create(self, target: Path, body: bytes) -> bool:
        temporary = files.temporary_beside(target)
        files.write_durably(temporary, body)
        try:
            with files.room(target):
                os.link(temporary, target)
            created = True
        except FileExistsError:
            created = False
        except OSError as error:
            if error.errno in _NO_LINKS:
                raise UnsafeStore(f"the file system of {self._root} has no hard links: {error.strerror}") from error
            raise
        finally:
            temporary.unlink(missing_ok=True)
        # Also when it exists: whoever linked it may have died before this, and our caller builds on it.
        files.fsync_directory(target.parent)
        return created

    def _make_directory(self, directory: Path) -> None:
        if directory in self._durable:
            return
        if directory != self._root:
            self._make_directory(directory.parent)
            with files.room(directory):
                directory.mkdir(exist_ok=True)
        files.fsync_directory(directory.parent)
        self._durable.add(directory)

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


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return None


def _delete(path: Path) -> None:
    try:
        path.unlink()
    except (FileNotFoundError, NotADirectoryError):
        return
    files.fsync_directory(path.parent)


def _list(root: Path, prefix: str, after: str) -> list[str]:
    folder = prefix.rpartition("/")[0]
    if folder and not _well_formed(folder):
        raise ValueError(f"{prefix!r} is not a prefix of keys")
    found = []
    for directory, _, names in os.walk(root / folder):
        relative = Path(directory).relative_to(root).as_posix()
        base = "" if relative == "." else f"{relative}/"
        found += [base + name for name in names if not name.startswith(".")]
    return sorted(key for key in found if key.startswith(prefix) and key > after)
