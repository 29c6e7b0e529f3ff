"""JSON lines: one object a line, `{"key": …, "vector": […], "any": "field"}`. A field that a line lacks is null."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vectorfleet.errors import SourceError
from vectorfleet.readers.base import (
    KEY_COLUMNS,
    VECTOR_COLUMNS,
    Batch,
    Choice,
    SourceSchema,
    check_vectors,
    pick,
    row_numbers,
    schema_of,
)

if TYPE_CHECKING:
    from vectorfleet.readers.objects import ObjectFile

Line = tuple[int, dict[str, Any]]  # place in the source, object


class LineSource:
    """Rows of a file of JSON lines; blank lines do not count."""

    identity = ""

    def __init__(self, path: Path | ObjectFile, key: str, vector: str, fields: tuple[str, ...] | None) -> None:
        self._path = path
        self._key = key
        self._vector = vector
        self._fields = fields

    @property
    def rows(self) -> None:
        return None

    def batches(self, size: int, skip: int = 0) -> Iterator[Batch]:
        try:
            with self._path.open("rb") as file:
                lines = enumerate(line for line in file if line.strip())
                rest = islice(lines, skip, None)
                while block := [(row, parse_line(str(self._path), row, line)) for row, line in islice(rest, size)]:
                    yield self._batch(block)
        except OSError as error:
            raise SourceError(f"{self._path}: cannot be read: {error}") from error

    def schema(self) -> SourceSchema:
        return schema_of(self, str(self._path))

    def _batch(self, block: list[Line]) -> Batch:
        keys: Any = row_numbers(block[0][0], block[-1][0] + 1)
        if self._key:
            keys = [self._needed(row, values, self._key) for row, values in block]
        names = self._fields
        if names is None:
            seen = {name: None for _, values in block for name in values}
            names = tuple(name for name in seen if name not in (self._key, self._vector))
        return Batch(
            keys, {"default": self._matrix(block)}, {name: [values.get(name) for _, values in block] for name in names}
        )

    def _needed(self, row: int, values: dict[str, Any], name: str) -> Any:
        if values.get(name) is None:
            raise SourceError(f"{self._path}: row {row}: has no {name!r}; it has {', '.join(values) or 'nothing'}")
        return values[name]

    def _matrix(self, block: list[Line]) -> NDArray[Any]:
        vectors: list[list[float]] = []
        for row, values in block:
            vector = self._needed(row, values, self._vector)
            if not isinstance(vector, list) or not all(type(number) in (int, float) for number in vector):
                raise SourceError(f"{self._path}: row {row}: {self._vector!r} is no list of numbers")
            if vectors and len(vector) != len(vectors[0]):
                raise SourceError(
                    f"{self._path}: row {row}: the vector has {len(vector)} dimensions; expected {len(vectors[0])}"
                )
            vectors.append(vector)
        return check_vectors(str(self._path), np.asarray(vectors, dtype=np.float32), block[0][0])


def parse_line(name: str, row: int, line: bytes) -> dict[str, Any]:
    """The object of one line; SourceError that names file and row where it is none."""
    try:
        value = json.loads(line)
    except ValueError as error:
        raise SourceError(f"{name}: row {row}: not JSON: {error}") from error
    if not isinstance(value, dict):
        raise SourceError(f"{name}: row {row}: is a {type(value).__name__}; expected an object")
    return value


def open_lines(path: Path | ObjectFile, choice: Choice) -> LineSource:
    """A file of JSON lines; which columns are key and vector is told by its first line."""
    name = str(path)
    with path.open("rb") as file:
        first = next((line for line in file if line.strip()), None)
    if first is None:
        raise SourceError(f"{name}: has no rows")
    present = list(parse_line(name, 0, first))
    vector = pick(name, "vector", choice.vector, VECTOR_COLUMNS, present)
    if not vector:
        raise SourceError(f"{name}: which column holds the vector? Its first row has {', '.join(present) or 'nothing'}")
    return LineSource(path, pick(name, "key", choice.key, KEY_COLUMNS, present), vector, choice.fields)
