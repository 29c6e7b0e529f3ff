"""The disk port: the file operations that `LocalStore` is made of, blocking, and the machine's own disk.

What a port promises is what Linux does: contents survive a power cut once the file was synced, a name once its folder
was. Everything is an OSError as the kernel gives it; `files` and `local` say what it means. Tests bring a disk in
memory that forgets what was not synced, so nothing in `local` may go round the port.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import BinaryIO, Protocol


class NewFile(Protocol):
    """A file being written. Its name is visible from the start."""

    def write(self, data: bytes) -> None:
        """Appends all of `data`."""

    def sync(self) -> None:
        """Makes the contents durable. After an error nothing is known, and a second try proves nothing."""

    def close(self) -> None:
        """Ends writing; makes nothing durable."""


class Disk(Protocol):
    """A file system. Paths are absolute."""

    def token(self) -> str:
        """A name that nobody else has, for a temporary file."""

    def create(self, path: Path) -> NewFile:
        """A new, empty file. FileExistsError when the name is taken."""

    def open(self, path: Path) -> BinaryIO:
        """A file to read from. FileNotFoundError, NotADirectoryError or IsADirectoryError when there is none."""

    def make_folder(self, path: Path) -> None:
        """Makes a folder in an existing one, unless it is there."""

    def sync_folder(self, path: Path) -> None:
        """Makes the names in a folder durable."""

    def link(self, source: Path, target: Path) -> None:
        """A second name for a file. FileExistsError when the name is taken; of rivals one wins."""

    def rename(self, source: Path, target: Path) -> None:
        """Gives a file another name in the same folder, replacing what was there, at once."""

    def unlink(self, path: Path) -> None:
        """Removes a name. FileNotFoundError or NotADirectoryError when there is none."""

    def files(self, folder: Path) -> list[Path]:
        """Every file below a folder, in no order; none when there is no such folder."""

    def room(self, path: Path) -> int:
        """Bytes that may still be written to the file system of a path."""


class _RealFile:
    """Unbuffered, so that no error of writing is left for `sync` or `close` to report."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("xb", buffering=0)

    def write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[self._file.write(rest) or 0 :]

    def sync(self) -> None:
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


class RealDisk:
    """This machine's file systems."""

    def token(self) -> str:
        """See `Disk.token`."""
        return os.urandom(8).hex()  # noqa: TID251 - the real disk's; a simulated one brings its own

    def create(self, path: Path) -> NewFile:
        """See `Disk.create`."""
        return _RealFile(path)

    def open(self, path: Path) -> BinaryIO:
        """See `Disk.open`."""
        return path.open("rb")

    def make_folder(self, path: Path) -> None:
        """See `Disk.make_folder`."""
        path.mkdir(exist_ok=True)

    def sync_folder(self, path: Path) -> None:
        """See `Disk.sync_folder`."""
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def link(self, source: Path, target: Path) -> None:
        """See `Disk.link`."""
        os.link(source, target)

    def rename(self, source: Path, target: Path) -> None:
        """See `Disk.rename`."""
        source.replace(target)

    def unlink(self, path: Path) -> None:
        """See `Disk.unlink`."""
        path.unlink()

    def files(self, folder: Path) -> list[Path]:
        """See `Disk.files`."""
        return [Path(parent, name) for parent, _, names in os.walk(folder) for name in names]

    def room(self, path: Path) -> int:
        """See `Disk.room`."""
        return shutil.disk_usage(path).free
