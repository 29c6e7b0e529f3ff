"""The machine's memory before a turn: pages that the host must hand out, and the page cache.

The trap is a virtual machine whose host takes free memory back: the first touch of a page then costs ten times a later
one, and whoever has the first turn pays for all. So enough is touched before each turn, the engine's and the raw one.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import numpy as np

_DROP: Final = Path("/proc/sys/vm/drop_caches")
_TOUCHED: Final = 1 << 30


def touch_memory(size: int = _TOUCHED) -> None:
    """Writes to so many bytes of memory and frees them; none of the host's making is left to whoever comes next."""
    np.empty(size, np.uint8).fill(1)


def make_cold(files: Iterable[Path]) -> str:
    """Drops the files from the page cache, and touches memory for what is about to be read; how it was done."""
    how = _drop(files)
    touch_memory(2 * _TOUCHED)
    return how


def _drop(files: Iterable[Path]) -> str:
    """As root for the whole machine, else by advice to the kernel, file by file."""
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
