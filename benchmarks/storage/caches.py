"""The machine's page cache, dropped before something is read cold. Used by `start`."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

_DROP: Final = Path("/proc/sys/vm/drop_caches")


def drop(files: Iterable[Path]) -> str:
    """Makes the files cold; how. As root for the whole machine, else by advice to the kernel, file by file."""
    os.sync()
    try:
        _DROP.write_text("3\n")
    except OSError:
        for path in files:
            _advise(path)
        return "posix_fadvise(DONTNEED) of each file"
    return "drop_caches"


def _advise(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)
