"""The formats of the ANN benchmarks: .fvecs (each row: int32 dimensions, float32 values) and .fbin (uint32 rows, uint32
dimensions, then all values). Little-endian, memory-mapped; row numbers as keys.

The trap: both carry lengths that bytes can lie about, so sizes are checked against the file before anything is mapped.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from vectorfleet.errors import SourceError
from vectorfleet.readers.arrays import ArraySource
from vectorfleet.readers.base import MAX_DIMENSIONS, Batch, Choice, SourceSchema, check_vectors, row_numbers, schema_of


class FvecsSource:
    """Rows of an .fvecs file."""

    identity = ""

    def __init__(self, path: Path, dimensions: int, rows: int) -> None:
        self._path = path
        self._dimensions = dimensions
        self._rows = rows

    @property
    def rows(self) -> int:
        return self._rows

    def batches(self, size: int, skip: int = 0) -> Iterator[Batch]:
        mapped = np.memmap(self._path, dtype="<i4", mode="r").reshape(self._rows, self._dimensions + 1)
        for start in range(skip, self._rows, size):
            part = mapped[start : start + size]
            odd = np.flatnonzero(part[:, 0] != self._dimensions)
            if len(odd):
                row = int(odd[0])
                raise SourceError(
                    f"{self._path}: row {start + row}: says {part[row, 0]} dimensions; expected {self._dimensions}"
                )
            vectors = check_vectors(str(self._path), part[:, 1:].view("<f4"), start)
            yield Batch(row_numbers(start, start + len(part)), {"default": vectors})

    def schema(self) -> SourceSchema:
        return schema_of(self, str(self._path))


def open_fvecs(path: Path, choice: Choice) -> FvecsSource:
    """An .fvecs file."""
    _no_columns(path, choice)
    size = path.stat().st_size
    (dimensions,) = _header(path, 1)
    _check_dimensions(path, dimensions)
    row_bytes = 4 * (dimensions + 1)
    if size % row_bytes:
        raise SourceError(
            f"{path}: has {size} bytes; expected a multiple of {row_bytes} for rows of {dimensions} dimensions"
        )
    return FvecsSource(path, dimensions, size // row_bytes)


def open_fbin(path: Path, choice: Choice) -> ArraySource:
    """An .fbin file."""
    _no_columns(path, choice)
    size = path.stat().st_size
    rows, dimensions = _header(path, 2)
    _check_dimensions(path, dimensions)
    expected = 8 + rows * dimensions * 4
    if size != expected:
        raise SourceError(f"{path}: has {size} bytes; {rows} rows of {dimensions} dimensions need {expected}")
    if not rows:
        raise SourceError(f"{path}: has no rows")
    array = np.memmap(path, dtype="<f4", mode="r", offset=8, shape=(rows, dimensions))
    return ArraySource(str(path), {"default": array}, None, {})


def _header(path: Path, numbers: int) -> list[int]:
    with path.open("rb") as file:
        head = file.read(4 * numbers)
    if len(head) < 4 * numbers:
        raise SourceError(f"{path}: has {len(head)} bytes; its header alone has {4 * numbers}")
    return [int(number) for number in np.frombuffer(head, dtype="<u4")]


def _check_dimensions(path: Path, dimensions: int) -> None:
    if not 1 <= dimensions <= MAX_DIMENSIONS:
        raise SourceError(f"{path}: says {dimensions} dimensions; expected 1 to {MAX_DIMENSIONS}")


def _no_columns(path: Path, choice: Choice) -> None:
    if choice.key or choice.vector or choice.fields:
        raise SourceError(f"{path}: this format has no named columns; leave out key, vector and fields")
