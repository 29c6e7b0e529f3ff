"""Reads the files of open segments again, slowly and for ever, because a disk forgets bits of what nobody reads.

`replica` runs a `Scrubber` for its cache and, while it leads, another one for the store's copies. The cache's files are
read through a descriptor: a disk that fails is then an error (through a memory map it would be a SIGBUS, which ends the
process), and pages that no map uses are dropped from the page cache before and after, so that it is the disk that is
read and nobody else's pages are pushed out. What a map does use is checked as queries see it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from google_crc32c import extend

from vectorfleet_node.shard.cache import difference
from vectorfleet_node.storage.log import Sleep
from vectorfleet_node.storage.manifest import FileEntry
from vectorfleet_node.storage.store import StorageError

PIECE_BYTES: Final = 1 << 20
_IDLE: Final = 60.0  # seconds until the next look when there is nothing to check

Pace = Callable[[int], Awaitable[None]]  # waits for as long as so many bytes may take


@dataclass
class Scrubber:
    """Checks what `files` names, pass after pass.

    check: what is wrong with a file, empty when nothing is; a StorageError when it cannot know.
    period: seconds for a pass over everything. most: bytes a second at most, though a pass then takes longer.
    rotten: told the name of a damaged file, and what is wrong with it.
    """

    files: Callable[[], Sequence[FileEntry]]
    check: Callable[[FileEntry, Pace], Awaitable[str]]
    sleep: Sleep
    period: float
    most: float
    rotten: Callable[[str, str], None]

    async def run(self) -> None:
        """Passes over everything, again and again."""
        while True:
            await self.pass_once()
            if not self.files():
                await self.sleep(min(_IDLE, self.period))

    async def pass_once(self) -> None:
        """Checks each file that is in use when its turn comes."""
        files = self.files()
        rate = min(self.most, max(1.0, sum(file.size for file in files) / self.period))

        async def pace(size: int) -> None:
            await self.sleep(size / rate)

        for file in files:
            try:
                problem = await self.check(file, pace)
            except StorageError:
                await pace(file.size)
                continue
            # Compaction may have replaced the segment meanwhile, and its files may be gone: nobody needs to know.
            if problem and any(used.name == file.name for used in self.files()):
                self.rotten(file.name, problem)


@dataclass(frozen=True)
class DiskCheck:
    """Checks files of a folder. scrubbed: told how many bytes were read."""

    folder: Path
    scrubbed: Callable[[int], None]

    async def __call__(self, file: FileEntry, pace: Pace) -> str:
        """See `Scrubber.check`."""
        scan = _Scan(self.folder / file.name)
        try:
            while read := await asyncio.to_thread(scan.step):
                self.scrubbed(read)
                await pace(read)
        except OSError as error:
            return f"it cannot be read: {error.strerror}"
        found = (scan.offset, scan.crc)
        return "" if found == (file.size, file.crc32c) else difference(found, file)


@dataclass
class _Scan:
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
