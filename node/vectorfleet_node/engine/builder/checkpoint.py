"""A graph that is half done, on the disk: a build that was killed goes on from there and not from its first row.

`worker` hands it to `hnsw.build`. What a resumed build writes is byte for byte what an uninterrupted one writes, as far
as a build is deterministic (with one thread it is). The traps: faiss draws each row's level from a generator that its
files do not hold, so the draws of the rows that are in are repeated; and what its reader makes of damaged bytes is
anybody's guess, so a checksum is verified first.
"""

from __future__ import annotations

import os
import shutil
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, Final

import faiss
import google_crc32c

from vectorfleet_node.engine.builder import kept

_MAGIC: Final = b"VFBUILD1"
_HEADER: Final = struct.Struct("<8s16sQQI")  # magic, key, rows, bytes of the graph, their crc32c
_PIECE: Final = 1 << 20
_COST: Final = 20  # a checkpoint is written when that many times the time that the last one took has passed
_ROW_BYTES: Final = 256  # of a graph beside the codes: more than its links take
_faiss: Any = faiss  # its stubs do not know the classes that its Python layer adds


class Checkpoint:
    """Implements `hnsw.Steps` for one build.

    every: seconds between two checkpoints at least. resumed, added_to: told how many rows are in.
    """

    def __init__(
        self,
        folder: Path,
        key: str,
        every: float,
        resumed: Callable[[int], None],
        added_to: Callable[[int], None],
    ) -> None:
        self._path = folder / f"{key}{kept.CHECKPOINT}"
        self._key = bytes.fromhex(key)
        self._every = every
        self._resumed = resumed
        self._added_to = added_to
        self._due = time.monotonic() + every

    def resume(self) -> Any | None:
        """The faiss graph of the last checkpoint, ready to be added to; None without a good one."""
        if not self._path.exists():
            return None
        with self._path.open("rb") as file:
            rows = self._good(file)
            if rows is None:
                self.discard()
                return None
            file.seek(_HEADER.size)
            graph = _faiss.read_index(_faiss.PyCallbackIOReader(file.read))  # not mapped: it is added to
        for _ in range(rows):
            graph.hnsw.rng.rand_float()
        self._resumed(rows)
        return graph

    def added(self, graph: Any) -> None:
        """Rows were added: writes a checkpoint if it is time for one. A disk that refuses is no failure."""
        self._added_to(graph.ntotal)
        began = time.monotonic()
        if began < self._due:
            return
        try:
            self._write(graph)
        except OSError:
            kept.temporary(self._path.parent).unlink(missing_ok=True)
        now = time.monotonic()
        self._due = now + max(self._every, _COST * (now - began))

    def discard(self) -> None:
        """The build is complete, or the checkpoint is not to be trusted."""
        self._path.unlink(missing_ok=True)

    def _good(self, file: BinaryIO) -> int | None:
        """How many rows the graph in the file has; None when the file is damaged or another build's."""
        header = file.read(_HEADER.size)
        if len(header) < _HEADER.size:
            return None
        magic, key, rows, size, crc = _HEADER.unpack(header)
        found = 0
        while piece := file.read(_PIECE):
            found, size = google_crc32c.extend(found, piece), size - len(piece)
        return int(rows) if (magic, key, size, found) == (_MAGIC, self._key, 0, crc) else None

    def _write(self, graph: Any) -> None:
        folder = self._path.parent
        needed = graph.ntotal * (graph.storage.sa_code_size() + _ROW_BYTES)
        if shutil.disk_usage(folder).free < 2 * needed:
            return  # what is flushed needs that room more
        path = kept.temporary(folder)
        with path.open("wb") as file:
            file.write(bytes(_HEADER.size))
            body = _Sink(file)
            _faiss.write_index(graph, _faiss.PyCallbackIOWriter(body.write))
            file.seek(0)
            file.write(_HEADER.pack(_MAGIC, self._key, graph.ntotal, body.size, body.crc))
            file.flush()
            os.fsync(file.fileno())
        path.rename(self._path)


class _Sink:
    """Counts and sums up what is written."""

    def __init__(self, file: BinaryIO) -> None:
        self.size = self.crc = 0
        self._file = file

    def write(self, piece: bytes) -> int:
        self.crc = google_crc32c.extend(self.crc, piece)
        self.size += len(piece)
        return self._file.write(piece)
