"""Files that carry a checksum of each of their blocks, so that a read of one row verifies only that row's block.

    data · table: crc32c u32 of each block of the data
    · trailer: magic, block bytes u32, data bytes u64, crc32c u32 of table and trailer

little-endian. `seal` turns a file of data into such a file, `CheckedFile` opens it, memory-mapped. A file of format 1
has neither table nor trailer: it opens too, but only the checksum in its name protects it. A file whose magic rotted
is taken for such a one; then its data has the wrong length, which every reader of data checks. The trap is time: a
block that was good when the file was opened may rot on the disk after its page was evicted, so whoever serves rows
verifies their blocks again.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from vectorfleet_node.storage.store import DataLoss

BLOCK_BYTES: Final = 16 << 10  # a search reads a block for each hit; smaller ones make whole files dear to verify
_MAGIC: Final = b"VFBLOCKS"
_TRAILER: Final = struct.Struct("<8sIQI")
_CRC_BYTES: Final = 4

Bytes = NDArray[np.uint8]
Offsets = NDArray[np.int64]


class DamagedFile(DataLoss):
    """Bytes of a file are not what was written. file: its name; offset: of the first bad byte range, in the file."""

    def __init__(self, file: str, offset: int, problem: str) -> None:
        super().__init__(f"{file} is damaged at offset {offset}: {problem}")
        self.file = file
        self.offset = offset


def seal(path: Path) -> tuple[int, int]:
    """Appends table and trailer to a file that holds the data; (size, crc32c) of the whole file then. Slow."""
    table, whole, size = bytearray(), 0, 0
    with path.open("r+b") as file:
        while block := file.read(BLOCK_BYTES):
            table += google_crc32c.value(block).to_bytes(_CRC_BYTES, "little")
            whole = google_crc32c.extend(whole, block)
            size += len(block)
        tail = bytes(table) + _TRAILER.pack(_MAGIC, BLOCK_BYTES, size, 0)[:-_CRC_BYTES]
        tail += google_crc32c.value(tail).to_bytes(_CRC_BYTES, "little")
        file.write(tail)
    return size + len(tail), google_crc32c.extend(whole, tail)


class CheckedFile:
    """A memory-mapped file. It stays valid for as long as anybody holds `data` or a view on it, also when unlinked.

    name: of the file. data: (bytes,) uint8, read-only, without table and trailer. checked: whether there are any.
    """

    def __init__(self, name: str, data: Bytes, table: NDArray[np.uint32] | None, block: int = BLOCK_BYTES) -> None:
        self.name = name
        self.data = data
        self.checked = table is not None
        self._table = table
        self._block = block

    @classmethod
    def open(cls, path: Path) -> CheckedFile:
        """Maps the file; checks trailer and table, no block. DamagedFile when they are bad, DataLoss without a file."""
        whole = _map(path)
        trailer = bytes(whole[-_TRAILER.size :])
        if not trailer.startswith(_MAGIC) or len(trailer) < _TRAILER.size:
            return cls(path.name, whole, None)
        _, block, size, crc = _TRAILER.unpack(trailer)
        at = len(whole) - _TRAILER.size
        blocks = -(-size // block) if block else -1
        if size + blocks * _CRC_BYTES != at:
            raise DamagedFile(path.name, at, f"the trailer says {size} bytes in blocks of {block}; the file has {at}")
        if google_crc32c.value(whole[size:-_CRC_BYTES]) != crc:
            raise DamagedFile(path.name, size, "the table of block checksums has a wrong checksum")
        table = np.frombuffer(whole[size:at], "<u4")
        return cls(path.name, whole[:size], table, block)

    @property
    def address(self) -> int:
        """Where the data is in memory: what Arrow's buffers over it are found by."""
        return int(self.data.ctypes.data)

    def verify(self, start: int, stop: int) -> None:
        """Checks the blocks that bytes [start, stop) touch. DamagedFile names the first bad one."""
        self._check(range(start // self._block, -(-stop // self._block)))

    def verify_view(self, view: NDArray[Any]) -> None:
        """Checks the blocks under a contiguous view of `data`. As `verify`."""
        if view.size:
            start = view.ctypes.data - self.address
            self.verify(start, start + view.nbytes)

    def verify_spans(self, starts: Offsets, stops: Offsets) -> None:
        """Checks the blocks that any of the byte ranges [starts[i], stops[i]) touches, each block once."""
        kept = stops > starts
        first, last = starts[kept] // self._block, (stops[kept] - 1) // self._block
        touched = set(first.tolist())
        wide = last > first
        for one, other in zip(first[wide].tolist(), last[wide].tolist(), strict=True):
            touched.update(range(one, other + 1))
        self._check(sorted(touched))

    def bad_spans(self) -> Iterator[tuple[int, int]]:
        """(start, stop) of each block of the data with a wrong checksum. Slow for large files."""
        for start in range(0, len(self.data), self._block):
            stop = min(start + self._block, len(self.data))
            try:
                self.verify(start, stop)
            except DamagedFile:
                yield start, stop

    def verify_all(self) -> None:
        """Checks every block. Slow for large files: call it in a thread."""
        self.verify(0, len(self.data))

    def _check(self, blocks: range | list[int]) -> None:
        if self._table is None:
            return
        data, table, size = self.data, self._table, self._block
        for block in blocks:
            start = block * size
            if google_crc32c.value(data[start : start + size]) != table[block]:
                raise DamagedFile(self.name, start, "the block there has a wrong checksum")


def _map(path: Path) -> Bytes:
    """The file's bytes, memory-mapped read-only."""
    try:
        with path.open("rb") as file:
            if not os.fstat(file.fileno()).st_size:
                return np.empty(0, np.uint8)
            return np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)
    except OSError as error:
        raise DataLoss(f"{path.name} cannot be read: {error}") from None
