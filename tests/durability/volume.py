"""A small file system of its own for a test, and something that fills it. Needs the right to mount."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_NAME = "vectorfleet-durability"


class CannotMount(Exception):
    """This process may not mount."""


@contextmanager
def small_volume(folder: Path, size: int) -> Iterator[Path]:
    """A tmpfs of `size` bytes at a new folder. CannotMount. What a test that was killed left mounted goes first."""
    _unmount_leftovers()
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", f"{_NAME}-{os.getpid()}", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise CannotMount(getattr(error, "stderr", "") or str(error)) from error
    try:
        yield folder
    finally:
        _unmount(folder)


def _unmount_leftovers() -> None:
    for line in Path("/proc/mounts").read_text().splitlines():
        source, target, *_ = line.split()
        name, _, pid = source.rpartition("-")
        if name == _NAME and not Path(f"/proc/{pid}").exists():
            _unmount(Path(target))


def _unmount(folder: Path) -> None:
    subprocess.run(["umount", "--lazy", str(folder)], check=True, capture_output=True)


class Ballast:
    """A file that takes the room on a volume."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "ballast"

    def fill(self, leave: int) -> None:
        """Until that many bytes are free, or a little less; others may write meanwhile."""
        present = self._path.stat().st_size if self._path.exists() else 0
        free = shutil.disk_usage(self._path.parent).free
        with self._path.open("ab") as file, suppress(OSError):
            os.posix_fallocate(file.fileno(), 0, max(present + free - leave, 1))

    def remove(self) -> None:
        """All is free again."""
        self._path.unlink(missing_ok=True)
