"""Durable file operations over a disk, blocking, for `local`; and files of other stores put in place whole."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

from vectorfleet_node.storage.disk import Disk, RealDisk
from vectorfleet_node.storage.store import StoreFull

TEMPORARY_PREFIX: Final = ".tmp-"
_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT)
_CHUNK: Final = 1 << 20


class FsyncFailed(Exception):
    """The kernel could not say that data is on disk. It may have dropped the pages: a second fsync proves nothing."""


@contextmanager
def full_is_told(path: Path) -> Iterator[None]:
    """Turns a full disk or quota into StoreFull."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise StoreFull(f"no room to write {path}: {error.strerror}") from error
        raise


def sync_folder(disk: Disk, path: Path) -> None:
    """Makes the names in a folder durable, or FsyncFailed."""
    with _sync_told(path):
        disk.sync_folder(path)


def temporary_beside(disk: Disk, target: Path) -> Path:
    """A fresh name in the target's folder that `sweep` recognises."""
    return target.with_name(f"{TEMPORARY_PREFIX}{disk.token()}")


def write_durably(disk: Disk, path: Path, source: bytes | BinaryIO) -> None:
    """Writes a new file from bytes or another file and syncs it; on any failure the file is gone again."""
    try:
        with full_is_told(path):
            file = disk.create(path)
            try:
                for chunk in [source] if isinstance(source, bytes) else iter(lambda: source.read(_CHUNK), b""):
                    file.write(chunk)
                with _sync_told(path):
                    file.sync()
            finally:
                file.close()
    except BaseException:
        remove(disk, path)
        raise


def replace_durably(disk: Disk, target: Path, source: bytes | BinaryIO) -> None:
    """Puts new contents under `target`, whole or not at all, durably."""
    temporary = temporary_beside(disk, target)
    write_durably(disk, temporary, source)
    try:
        disk.rename(temporary, target)
    except OSError:
        remove(disk, temporary)
        raise
    sync_folder(disk, target.parent)


def put_in_place(target: Path, source: bytes | BinaryIO) -> None:
    """Writes a file of this machine, whole or not at all, not durably: for downloads, which are checked before use."""
    disk = RealDisk()
    temporary = temporary_beside(disk, target)
    try:
        with full_is_told(target), temporary.open("xb") as file:
            for chunk in [source] if isinstance(source, bytes) else iter(lambda: source.read(_CHUNK), b""):
                file.write(chunk)
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def remove(disk: Disk, path: Path) -> None:
    """Removes a name if it is there."""
    with suppress(FileNotFoundError, NotADirectoryError):
        disk.unlink(path)


def sweep(disk: Disk, root: Path) -> None:
    """Removes what writers that died left behind."""
    for path in disk.files(root):
        if path.name.startswith(TEMPORARY_PREFIX):
            remove(disk, path)


@contextmanager
def _sync_told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise FsyncFailed(f"fsync of {path} failed: {error.strerror}") from error
