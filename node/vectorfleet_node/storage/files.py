"""Durable file operations, blocking, for `local`. Linux semantics: what is not fsynced does not survive a power cut."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vectorfleet_node.storage.store import StoreFull

TEMPORARY_PREFIX = ".tmp-"
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


class FsyncFailed(Exception):
    """The kernel could not say that data is on disk. It may have dropped the pages: a second fsync proves nothing."""


@contextmanager
def room(path: Path) -> Iterator[None]:
    """Turns a full disk or quota into StoreFull."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise StoreFull(f"no room to write {path}: {error.strerror}") from error
        raise


def fsync(descriptor: int, path: Path) -> None:
    """fsync, or FsyncFailed."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        raise FsyncFailed(f"fsync of {path} failed: {error.strerror}") from error


def fsync_directory(path: Path) -> None:
    """Makes the names in a directory durable, or FsyncFailed."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fsync(descriptor, path)
    finally:
        os.close(descriptor)


def temporary_beside(target: Path) -> Path:
    """A fresh name in the target's directory that `sweep` recognises."""
    return target.with_name(f"{TEMPORARY_PREFIX}{os.urandom(8).hex()}")


def write_durably(path: Path, source: bytes | Path) -> None:
    """Writes a new file from bytes or another file and fsyncs it; on any failure the file is gone again."""
    try:
        with room(path), path.open("xb") as file:
            if isinstance(source, bytes):
                file.write(source)
            else:
                with source.open("rb") as origin:
                    shutil.copyfileobj(origin, file, 1 << 20)
            file.flush()
            fsync(file.fileno(), path)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def replace_durably(target: Path, source: bytes | Path) -> None:
    """Puts new contents under `target`, whole or not at all, durably."""
    temporary = temporary_beside(target)
    write_durably(temporary, source)
    try:
        temporary.replace(target)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    fsync_directory(target.parent)


def sweep(root: Path) -> None:
    """Removes what writers that died left behind."""
    for path in root.rglob(f"{TEMPORARY_PREFIX}*"):
        path.unlink(missing_ok=True)
