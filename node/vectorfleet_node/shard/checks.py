"""Verifies the blocks of a segment's files that hold given rows: what a reader is about to be given.

Made with a `Segment`, called through `RowBlock.verify` by `query` in its threads. Where a value is in a file follows
from the address of its Arrow buffer, because the table is a view of the mapped file. What is not in the file needs no
check: the key column is a copy in memory, a field younger than the file is null.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.types as kinds
from numpy.typing import NDArray

from vectorfleet_node.shard.port import Rotten
from vectorfleet_node.storage.checked import CheckedFile, DamagedFile

Numbers = NDArray[np.int64]
RottenCallback = Callable[[str, str], None]  # (name of the file, what is wrong with it); called from any thread

_OFFSET_BYTES: Final = 4


@dataclass(frozen=True)
class SegmentFiles:
    """The mapped files of a segment. table: the rows over `rows`. vectors: by vector name, rows one after another.

    rotten: told of every bad block that a reader ran into, in the reader's thread.
    """

    rows: CheckedFile
    table: pa.Table
    vectors: Mapping[str, CheckedFile]
    rotten: RottenCallback

    def verify(self, rows: Numbers, fields: Iterable[str], vectors: Iterable[str]) -> None:
        """Checks the blocks of those rows in those columns and vectors. Rotten names the file, and where it is bad."""
        with self.telling():
            for name in fields:
                _verify_column(self.rows, self.table.column(name), rows)
            for name in vectors:
                file = self.vectors[name]
                size = len(file.data) // max(self.table.num_rows, 1)
                file.verify_spans(rows * size, (rows + 1) * size)

    def verify_columns(self, fields: Iterable[str]) -> None:
        """Checks the blocks of all rows in those columns. Rotten as `verify`."""
        with self.telling():
            for name in fields:
                for chunk in self.table.column(name).chunks:
                    if len(chunk):
                        ends = np.array([chunk.offset, chunk.offset + len(chunk) - 1])
                        _verify_slots(self.rows, chunk, ends[:1], ends[1:])

    @contextmanager
    def telling(self) -> Iterator[None]:
        """While it lasts, what is found damaged in a file of the segment is told, and raised as Rotten."""
        try:
            yield
        except DamagedFile as error:
            self.rotten(error.file, str(error))
            raise Rotten(str(error)) from None


def _verify_column(file: CheckedFile, column: pa.ChunkedArray, rows: Numbers) -> None:
    first = 0
    for chunk in column.chunks:
        here = rows[(rows >= first) & (rows < first + len(chunk))] - first
        if len(here):
            _verify_slots(file, chunk, here + chunk.offset, here + chunk.offset)
        first += len(chunk)


def _verify_slots(file: CheckedFile, chunk: pa.Array, first: Numbers, last: Numbers) -> None:
    """first, last: inclusive runs of values, by their numbers counted from where the buffers begin."""
    validity, values, *rest = chunk.buffers()  # of a list those of its elements follow
    _verify_buffer(file, validity, first // 8, last // 8 + 1)
    if kinds.is_string(chunk.type):
        _verify_buffer(file, values, first * _OFFSET_BYTES, (last + 2) * _OFFSET_BYTES)
        offsets = np.frombuffer(values, np.int32)  # trusted from here on
        _verify_buffer(file, rest[0], offsets[first].astype(np.int64), offsets[last + 1].astype(np.int64))
    elif kinds.is_list(chunk.type):
        _verify_buffer(file, values, first * _OFFSET_BYTES, (last + 2) * _OFFSET_BYTES)
        offsets, elements = np.frombuffer(values, np.int32), chunk.values  # trusted from here on
        starts, stops = offsets[first].astype(np.int64), offsets[last + 1].astype(np.int64)
        filled = stops > starts
        if filled.any():
            shift = elements.offset
            _verify_slots(file, elements, starts[filled] + shift, stops[filled] - 1 + shift)
    elif kinds.is_boolean(chunk.type):
        _verify_buffer(file, values, first // 8, last // 8 + 1)
    else:
        size = chunk.type.byte_width
        _verify_buffer(file, values, first * size, (last + 1) * size)


def _verify_buffer(file: CheckedFile, buffer: pa.Buffer | None, starts: Numbers, stops: Numbers) -> None:
    if buffer is None:
        return
    at = buffer.address - file.address
    if 0 <= at < len(file.data):
        file.verify_spans(starts + at, stops + at)
