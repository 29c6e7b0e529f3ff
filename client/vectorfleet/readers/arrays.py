"""Arrays in memory, .npy (memory-mapped) and .npz. Object arrays are refused: they are pickles."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vectorfleet.errors import SourceError
from vectorfleet.readers.base import (
    KEY_COLUMNS,
    VECTOR_COLUMNS,
    Batch,
    Choice,
    SourceSchema,
    check_vectors,
    pick,
    pick_fields,
    row_numbers,
    schema_of,
)


class ArraySource:
    """Rows of arrays; what they hold is checked batch by batch, so that a mapped file is read once."""

    identity = ""

    def __init__(self, name: str, vectors: Mapping[str, Any], keys: Any, fields: Mapping[str, Sequence[Any]]) -> None:
        self._name = name
        self._vectors = {vector: np.asanyarray(array) for vector, array in vectors.items()}
        self._keys = keys
        self._fields = fields
        for vector, array in self._vectors.items():
            check_vectors(f"{name}: {vector}", array[:0], 0)
        self._rows = len(next(iter(self._vectors.values())))
        lengths = {"keys": self._rows if keys is None else len(keys)}
        lengths |= {column: len(values) for column, values in {**self._vectors, **fields}.items()}
        for column, length in lengths.items():
            if length != self._rows:
                raise SourceError(f"{name}: {column} has {length} rows, the vectors have {self._rows}")

    @property
    def rows(self) -> int:
        return self._rows

    def batches(self, size: int, skip: int = 0) -> Iterator[Batch]:
        for start in range(skip, self._rows, size):
            stop = min(start + size, self._rows)
            yield Batch(
                row_numbers(start, stop) if self._keys is None else self._keys[start:stop],
                {
                    vector: check_vectors(f"{self._name}: {vector}", array[start:stop], start)
                    for vector, array in self._vectors.items()
                },
                {column: _plain(values[start:stop]) for column, values in self._fields.items()},
            )

    def schema(self) -> SourceSchema:
        return schema_of(self, self._name)


def _plain(values: Sequence[Any]) -> list[Any]:
    return values.tolist() if isinstance(values, np.ndarray) else list(values)


def open_npy(path: Path, choice: Choice) -> ArraySource:
    """A 2-d array; row numbers as keys."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError, SyntaxError) as error:
        raise SourceError(f"{path}: not a .npy file of numbers: {error}") from error
    if choice.key or choice.fields:
        raise SourceError(f"{path}: a .npy file has no named columns; leave out key and fields")
    return ArraySource(str(path), {choice.vector or "default": array}, None, {})


def open_npz(path: Path, choice: Choice) -> ArraySource:
    """Named arrays: `vectors` (or the only 2-d one), `keys` and fields. Read into memory: a .npz cannot be mapped."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (ValueError, OSError, EOFError, SyntaxError, zipfile.BadZipFile) as error:
        raise SourceError(f"{path}: not a .npz file of plain arrays: {error}") from error
    name, present = str(path), list(arrays)
    vector = pick(name, "vector", choice.vector, ("vectors", *VECTOR_COLUMNS), present)
    if not vector:
        tables = [column for column, array in arrays.items() if array.ndim == 2]
        if len(tables) != 1:
            raise SourceError(f"{name}: which array holds the vectors? It has {', '.join(present) or 'none'}")
        vector = tables[0]
    key = pick(name, "key", choice.key, ("keys", *KEY_COLUMNS), present)
    fields = pick_fields(name, choice, {vector, key}, present)
    keys = arrays[key].tolist() if key else None
    return ArraySource(name, {"default": arrays[vector]}, keys, {column: arrays[column] for column in fields})
