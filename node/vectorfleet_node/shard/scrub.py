"""Reads the files of open segments again, slowly and for ever, because a disk forgets bits of what nobody reads.

`replica` runs one `Scrubber` for its cache. Files are read through a descriptor: a disk that fails is then an error
(through a memory map it would be a SIGBUS, which ends the process), and pages that no map uses are dropped from the
page cache before and after, so that it is the disk that is read and nobody else's pages are pushed out. What a map
does use is checked as queries see it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from google_crc32c import extend

from vectorfleet_node.storage.log import Sleep
from vectorfleet_node.storage.manifest import FileEntry

PIECE_BYTES: Final = 1 << 20
_IDLE: Final = 60.0  # seconds until the next look when nothing is sealed


@dataclass
class FileScan:
    """One pass over a file. Blocking. It opens the file for each piece: a pass lasts hours, and may be cancelled."""

    path: Path
    offset: int = 0
    crc: int = 0

    def step(self) -> int:
        """Reads the next piece; its size, 0 at the end. OSError when the disk cannot, or the file is gone."""
        with self.path.open("rb", buffering=0) as file:
            span = (file.fileno(), self.offset, PIECE_BYTES)
            os.posix_fadvise(*span, os.POSIX_FADV_DONTNEED)
            piece = os.pread(file.fileno(), PIECE_BYTES, self.offset)
            os.posix_fadvise(*span, os.POSIX_FADV_DONTNEED)
        self.crc = extend(self.crc, piece)
        self.offset += len(piece)
        return len(piece)


@dataclass
class Scrubber:
    """Checks what `files` names: path and entry of each file in use.

    period: seconds for a pass over everything. most: bytes a second at most, though a pass then takes longer.
    scrubbed: told how many bytes were read. rotten: told the name of a damaged file, and what is wrong with it.
    """

    files: Callable[[], Iterable[tuple[Path, FileEntry]]]
    sleep: Sleep
    period: float
    most: float
    scrubbed: Callable[[int], None]
    rotten: Callable[[str, str], None]

    async def run(self) -> None:
        """Passes over everything, again and again."""
        while True:
            found = list(self.files())
            total = sum(file.size for _, file in found)
            if not total:
                await self.sleep(min(_IDLE, self.period))
            for path, file in found:
                await self._check(path, file, total)

    async def _check(self, path: Path, file: FileEntry, total: int) -> None:
        problem = await self._problem(path, file, total)
        # Compaction may have replaced the segment, and its files may be gone: then nobody needs to know.
        if problem and any(used.name == file.name for _, used in self.files()):
            self.rotten(file.name, problem)

    async def _problem(self, path: Path, file: FileEntry, total: int) -> str:
        rate = min(self.most, max(1.0, total / self.period))
        scan = FileScan(path)
        try:
            while read := await asyncio.to_thread(scan.step):
                self.scrubbed(read)
                await self.sleep(read / rate)
        except OSError as error:
            return f"it cannot be read: {error.strerror}"
        if (scan.offset, scan.crc) != (file.size, file.crc32c):
            return f"{scan.offset} bytes with checksum {scan.crc:08x}; {file.size} with {file.crc32c:08x} were written"
        return ""
