"""What the engine is compared with: the same bytes, written or read by nothing but the calls that must be made."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

_PIECE: Final = 1 << 20


def create_files(folder: Path, sizes: Sequence[int]) -> list[float]:
    """Seconds that each takes of: temporary file, fsync, link, unlink, fsync of the folder; one after the other."""
    folder.mkdir()
    bodies = memoryview(os.urandom(max(sizes)))
    seconds = []
    for number, size in enumerate(sizes):
        start = time.perf_counter()
        _create(folder, f"{number:020d}", bodies[:size])
        seconds.append(time.perf_counter() - start)
    return seconds


def _create(folder: Path, name: str, body: memoryview) -> None:
    temporary = folder / ".temporary"
    with temporary.open("xb", buffering=0) as file:
        while body:
            body = body[file.write(body) or 0 :]
        os.fsync(file.fileno())
    os.link(temporary, folder / name)
    temporary.unlink()
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_files(files: Iterable[Path]) -> float:
    """Seconds to read the files to their ends, one after the other."""
    buffer = bytearray(_PIECE)
    start = time.perf_counter()
    for path in files:
        with path.open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass
    return time.perf_counter() - start


def copy_files(files: Iterable[Path], folder: Path) -> float:
    """Seconds to copy the files into a new folder, each with an fsync, one after the other."""
    folder.mkdir()
    buffer = bytearray(_PIECE)
    start = time.perf_counter()
    for path in files:
        with path.open("rb", buffering=0) as source, (folder / path.name).open("xb", buffering=0) as target:
            while size := source.readinto(buffer):
                target.write(memoryview(buffer)[:size])
            os.fsync(target.fileno())
    return time.perf_counter() - start
