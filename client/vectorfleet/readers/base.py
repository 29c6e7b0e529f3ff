"""What a source of rows is, and what its columns say about a schema. Used by every reader and by loading.py."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vectorfleet.errors import SourceError
from vectorfleet.schema import FieldType, KeyType

MAX_DIMENSIONS = 32_768
KEY_COLUMNS = ("key", "id")
VECTOR_COLUMNS = ("vector", "embedding")
_TYPES: dict[type, FieldType] = {
    str: FieldType.STRING,
    bool: FieldType.BOOL,
    int: FieldType.INT64,
    float: FieldType.FLOAT64,
    dict: FieldType.JSON,
}
_ARRAYS = {
    FieldType.STRING: FieldType.STRING_ARRAY,
    FieldType.INT64: FieldType.INT64_ARRAY,
    FieldType.FLOAT64: FieldType.FLOAT64_ARRAY,
}


@dataclass(frozen=True)
class Batch:
    """Some rows by column: the n-th key, vector and value belong together.

    `vectors` maps name to an array of shape (rows, dimensions); `fields` maps name to `rows` values, None for null.
    """

    keys: Sequence[Any] | NDArray[Any]
    vectors: Mapping[str, NDArray[Any]]
    fields: Mapping[str, list[Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class SourceSchema:
    """What a collection for these rows needs: dimensions per vector, type of key and fields."""

    dimensions: Mapping[str, int]
    key: KeyType
    fields: Mapping[str, FieldType]


@dataclass(frozen=True)
class Choice:
    """Columns the user chose; empty or None: by the defaults of `open_source`."""

    key: str = ""
    vector: str = ""
    fields: tuple[str, ...] | None = None


class Source(Protocol):
    """Rows to load. `batches` can be called again and starts anew.

    identity: what tells these rows from all others, wherever they are read; empty when nothing does. An import of
    a source with an identity can go on in another process.
    """

    identity: str

    @property
    def rows(self) -> int | None:
        """How many rows there are; None where that is not known before reading."""

    def batches(self, size: int, skip: int = 0) -> Iterator[Batch]:
        """All rows after the first `skip`, at most `size` at a time; SourceError at a row that cannot be read."""

    def schema(self) -> SourceSchema:
        """What the first rows say about types."""


def schema_of(source: Source, name: str) -> SourceSchema:
    """The schema by the values of the first 1,000 rows."""
    first = next(source.batches(1000), None)
    if first is None:
        raise SourceError(f"{name}: has no rows")
    types = {column: _type_of(name, column, values) for column, values in first.fields.items()}
    return SourceSchema(
        {vector: array.shape[1] for vector, array in first.vectors.items()},
        KeyType.STRING if isinstance(first.keys[0], str) else KeyType.INT64,
        {column: kind for column, kind in types.items() if kind is not None},
    )


def array_of(element: FieldType | None) -> FieldType | None:
    """The type of arrays of such elements; None when there is none."""
    return _ARRAYS.get(element) if element else None


def _type_of(name: str, column: str, values: Iterable[Any]) -> FieldType | None:
    known = [value for value in values if value is not None]
    kinds = {type(value) for value in known}
    if not kinds:
        return None
    if kinds == {list} and any(known):
        found = array_of(_type_of(name, column, (element for value in known for element in value)))
        return found or FieldType.JSON  # lists of objects, or of lists
    if kinds == {list}:
        return FieldType.STRING_ARRAY
    if kinds == {int, float}:
        return FieldType.FLOAT64
    if len(kinds) > 1 or not kinds <= set(_TYPES):
        held = ", ".join(sorted(kind.__name__ for kind in kinds))
        allowed = "text, number, true/false, list, object"
        raise SourceError(f"{name}: column {column} holds {held}; expected one of {allowed}")
    return _TYPES[kinds.pop()]


def row_numbers(start: int, stop: int) -> NDArray[np.int64]:
    """Keys for rows that have none: their place in the source, from 0."""
    return np.arange(start, stop, dtype=np.int64)


def pick(name: str, what: str, wanted: str, defaults: Sequence[str], present: Sequence[str]) -> str:
    """The column the user chose, or the first default that is present, or ""."""
    if wanted and wanted not in present:
        raise SourceError(f"{name}: has no {what} column {wanted!r}; its columns are {', '.join(present)}")
    return wanted or next((column for column in defaults if column in present), "")


def pick_fields(name: str, choice: Choice, taken: set[str], present: Sequence[str]) -> list[str]:
    """The columns that become fields."""
    if choice.fields is None:
        return [column for column in present if column not in taken]
    for column in choice.fields:
        if column not in present:
            raise SourceError(f"{name}: has no column {column!r}; its columns are {', '.join(present)}")
    return list(choice.fields)


def check_vectors(name: str, array: NDArray[Any], start: int) -> NDArray[Any]:
    """`array` when it is (rows, dimensions) of finite numbers; `start` is the place of its first row in the source."""
    if array.ndim != 2 or not 1 <= array.shape[1] <= MAX_DIMENSIONS:
        raise SourceError(f"{name}: vectors have shape {array.shape}; expected (rows, 1 to {MAX_DIMENSIONS})")
    if array.dtype.kind not in "fiu":
        raise SourceError(f"{name}: vectors are of type {array.dtype}; expected numbers")
    if array.dtype.kind == "f":
        bad = np.flatnonzero(~np.isfinite(array).all(axis=1))
        if len(bad):
            raise SourceError(f"{name}: row {start + int(bad[0])}: the vector holds NaN or infinity")
    return array
