"""Parquet: one column of keys, one of vectors (lists of numbers, fixed size or not), the others are fields."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from vectorfleet.errors import SourceError
from vectorfleet.readers.base import (
    KEY_COLUMNS,
    VECTOR_COLUMNS,
    Batch,
    Choice,
    SourceSchema,
    array_of,
    check_vectors,
    pick,
    pick_fields,
    row_numbers,
    schema_of,
)
from vectorfleet.readers.objects import ObjectFile
from vectorfleet.schema import FieldType, KeyType

_READ_ERRORS = (pa.ArrowException, OSError)  # the network's are OSErrors


class ParquetSource:
    """Rows of a Parquet file, read by record batch."""

    identity = ""

    def __init__(self, path: Path | ObjectFile, file: pq.ParquetFile, key: str, vector: str, fields: list[str]) -> None:
        self._path = path
        self._file = file
        self._key = key
        self._vector = vector
        self._fields = fields

    @property
    def rows(self) -> int:
        return int(self._file.metadata.num_rows)

    def batches(self, size: int, skip: int = 0) -> Iterator[Batch]:
        columns = [*([self._key] if self._key else []), self._vector, *self._fields]
        groups, start = self._groups_after(skip)
        try:
            for batch in self._file.iter_batches(size, row_groups=groups, columns=columns):
                behind = max(0, min(skip - start, batch.num_rows))
                start += batch.num_rows
                if behind < batch.num_rows:
                    yield self._batch(batch.slice(behind), start - batch.num_rows + behind)
        except _READ_ERRORS as error:
            raise SourceError(f"{self._path}: after row {start}: {error}") from error

    def schema(self) -> SourceSchema:
        arrow = self._file.schema_arrow
        found = schema_of(self, str(self._path))
        types = {name: _field_type(arrow.field(name).type) for name in self._fields}
        numbers = not self._key or pa.types.is_integer(arrow.field(self._key).type)
        return SourceSchema(
            found.dimensions,
            KeyType.INT64 if numbers else KeyType.STRING,
            {name: kind for name, kind in types.items() if kind is not None},
        )

    def _groups_after(self, skip: int) -> tuple[list[int], int]:
        """Row groups that hold rows after `skip`, and the place of the first row of these."""
        start, metadata = 0, self._file.metadata
        for group in range(metadata.num_row_groups):
            rows = metadata.row_group(group).num_rows
            if start + rows > skip:
                return list(range(group, metadata.num_row_groups)), start
            start += rows
        return [], start

    def _batch(self, batch: pa.RecordBatch, start: int) -> Batch:
        keys: Any = batch.column(self._key).to_pylist() if self._key else row_numbers(start, start + batch.num_rows)
        if self._key and None in keys:
            raise SourceError(f"{self._path}: row {start + keys.index(None)}: the key is null")
        vectors = check_vectors(str(self._path), self._matrix(batch.column(self._vector), start), start)
        return Batch(keys, {"default": vectors}, {name: batch.column(name).to_pylist() for name in self._fields})

    def _matrix(self, column: Any, start: int) -> NDArray[Any]:
        if column.null_count:
            row = int(np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))[0])
            raise SourceError(f"{self._path}: row {start + row}: the vector is null")
        lengths = column.value_lengths().to_numpy(zero_copy_only=False)
        odd = np.flatnonzero(lengths != lengths[0])
        if len(odd):
            row = int(odd[0])
            raise SourceError(
                f"{self._path}: row {start + row}: the vector has {lengths[row]} dimensions; expected {lengths[0]}"
            )
        return np.asarray(column.flatten().to_numpy(zero_copy_only=False)).reshape(len(column), -1)


def open_parquet(path: Path | ObjectFile, choice: Choice) -> ParquetSource:
    """A Parquet file."""
    try:
        opened = path.native() if isinstance(path, ObjectFile) else path
        file = pq.ParquetFile(opened, pre_buffer=opened is not path)
    except _READ_ERRORS as error:
        raise SourceError(f"{path}: not a Parquet file: {error}") from error
    name, arrow = str(path), file.schema_arrow
    lists = [column.name for column in arrow if _is_vector(column.type)]
    vector = pick(name, "vector", choice.vector, VECTOR_COLUMNS, arrow.names)
    vector = vector or (lists[0] if len(lists) == 1 else "")
    if vector not in lists:
        shown = ", ".join(f"{column.name}: {column.type}" for column in arrow)
        raise SourceError(f"{name}: which column holds the vectors (a list of numbers)? It has {shown}")
    key = pick(name, "key", choice.key, KEY_COLUMNS, arrow.names)
    fields = pick_fields(name, choice, {key, vector}, arrow.names)
    for field in fields:
        if _field_type(arrow.field(field).type) is None and not pa.types.is_null(arrow.field(field).type):
            raise SourceError(
                f"{name}: column {field} is {arrow.field(field).type}; fields are text, numbers, true/false, "
                "lists of text or numbers, or structs. Choose the columns to load with fields"
            )
    return ParquetSource(path, file, key, vector, fields)


def _is_list(kind: Any) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _is_vector(kind: Any) -> bool:
    return _is_list(kind) and any(of(kind.value_type) for of in (pa.types.is_floating, pa.types.is_integer))


def _field_type(kind: Any) -> FieldType | None:
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return FieldType.STRING
    if _is_list(kind):
        return array_of(_field_type(kind.value_type))
    if pa.types.is_struct(kind):
        return FieldType.JSON
    if pa.types.is_dictionary(kind):
        return _field_type(kind.value_type)
    if pa.types.is_boolean(kind):
        return FieldType.BOOL
    if pa.types.is_integer(kind):
        return FieldType.INT64
    return FieldType.FLOAT64 if pa.types.is_floating(kind) else None
