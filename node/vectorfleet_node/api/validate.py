"""Checks of what a client sent, against the collection's schema; pure.

Every refusal names the field, the value and what is allowed. Called by the services before anything is read or
written. A write comes out as one Arrow batch in the schema that the log stores, keys as a list of Python values.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from vectorfleet.schema import CollectionSchema, FieldSchema, FieldType, KeyType, VectorSchema
from vectorfleet.v1 import vectorfleet_pb2 as pb

from vectorfleet_node.api.errors import invalid
from vectorfleet_node.shard.batch import arrow_schema
from vectorfleet_node.shard.view import Key

MAX_KEY_BYTES = 512
MAX_REQUEST_ID = 64
MAX_K = 16384
DEFAULT_VECTOR = "default"
_VALUES = {
    FieldType.STRING: ("strings", pa.string()),
    FieldType.INT64: ("ints", pa.int64()),
    FieldType.FLOAT64: ("doubles", pa.float64()),
    FieldType.BOOL: ("bools", pa.bool_()),
}


def _duplicate(values: Iterable[Key]) -> Key | None:
    seen: set[Key] = set()
    for value in values:
        if value in seen:
            return value
        seen.add(value)
    return None


def _names(values: Iterable[str]) -> str:
    return ", ".join(values) or "none"


def check_request_id(request_id: str) -> None:
    """Refuses an id longer than 64 characters."""
    if len(request_id) > MAX_REQUEST_ID:
        raise invalid("request_id", f"has {len(request_id)} characters; 1 to {MAX_REQUEST_ID} are allowed")


def keys_of(keys: pb.Keys, kind: KeyType, field: str, *, distinct: bool) -> list[Key]:
    """The keys in the collection's type, at least one; `field` is what a refusal calls them."""
    wanted, other = (keys.strings, keys.ints) if kind is KeyType.STRING else (keys.ints, keys.strings)
    if other:
        raise invalid(field, f"the collection's keys are {kind}; {len(other)} keys of another type were given")
    if not wanted:
        raise invalid(field, f"is empty; at least one {kind} key is needed")
    values: list[Key] = list(wanted)
    if kind is KeyType.STRING:
        for number, key in enumerate(keys.strings):
            size = len(key.encode())
            if not 1 <= size <= MAX_KEY_BYTES:
                problem = f"key {number} ({key[:40]!r}) has {size} bytes; 1 to {MAX_KEY_BYTES} are allowed"
                raise invalid(field, problem)
    if distinct and len(set(values)) != len(values):
        raise invalid(field, f"key {_duplicate(values)!r} is given twice; the keys of one request must be distinct")
    return values


def _vector_array(column: pb.VectorColumn, schema: VectorSchema, rows: int) -> pa.Array:
    field = f"rows.vectors[{schema.name}]"
    if column.dimensions != schema.dimensions:
        raise invalid(f"{field}.dimensions", f"is {column.dimensions}; the collection has {schema.dimensions}")
    expected = rows * schema.dimensions * 4
    if len(column.data) != expected:
        shape = f"{rows} rows x {schema.dimensions} dimensions x 4 bytes = {expected}"
        raise invalid(f"{field}.data", f"has {len(column.data)} bytes; {shape} are needed")
    values = np.frombuffer(column.data, dtype="<f4")
    finite = np.isfinite(values)
    if not finite.all():
        place = int(np.argmin(finite))
        row, dimension = divmod(place, schema.dimensions)
        problem = f"row {row}, dimension {dimension} is {values[place]}; every value must be finite"
        raise invalid(f"{field}.data", problem)
    return pa.FixedSizeListArray.from_arrays(pa.array(values), schema.dimensions)


def _vector_arrays(columns: Sequence[pb.VectorColumn], schema: CollectionSchema, rows: int) -> list[pa.Array]:
    named = [(column.name or DEFAULT_VECTOR, column) for column in columns]
    given = dict(named)
    known = {vector.name for vector in schema.vectors}
    if twice := _duplicate(name for name, _ in named):
        raise invalid("rows.vectors", f"vector {twice!r} is given twice")
    if unknown := set(given) - known:
        raise invalid("rows.vectors", f"unknown vector {min(unknown)!r}; the collection has: {_names(sorted(known))}")
    if missing := known - set(given):
        raise invalid("rows.vectors", f"vector {min(missing)!r} is missing; every row needs: {_names(sorted(known))}")
    return [_vector_array(given[vector.name], vector, rows) for vector in schema.vectors]


def _field_array(column: pb.FieldColumn, schema: FieldSchema, rows: int) -> pa.Array:
    field = f"rows.fields[{schema.name}]"
    name, kind = _VALUES[schema.type]
    given = column.WhichOneof("values")
    if given != name:
        raise invalid(field, f"values are {given or 'absent'}; a {schema.type} field takes {name}")
    values = getattr(column, name).values
    if len(values) != rows:
        raise invalid(field, f"has {len(values)} values; {rows} rows need {rows}")
    if column.valid and len(column.valid) != rows:
        raise invalid(f"{field}.valid", f"has {len(column.valid)} entries; none or {rows} are needed")
    mask = ~np.array(column.valid, dtype=np.bool_) if column.valid else None
    return pa.array(list(values), type=kind, mask=mask)


def _field_arrays(columns: Sequence[pb.FieldColumn], schema: CollectionSchema, rows: int) -> list[pa.Array]:
    given = {column.name: column for column in columns}
    known = [field.name for field in schema.fields]
    if twice := _duplicate(column.name for column in columns):
        raise invalid("rows.fields", f"field {twice!r} is given twice")
    if unknown := set(given) - set(known):
        raise invalid("rows.fields", f"unknown field {min(unknown)!r}; the collection has: {_names(known)}")
    return [
        _field_array(given[field.name], field, rows)
        if field.name in given
        else pa.nulls(rows, type=_VALUES[field.type][1])
        for field in schema.fields
    ]


def upsert_batch(rows: pb.Rows, schema: CollectionSchema) -> pa.RecordBatch:
    """The rows of an upsert as one batch in `batch.arrow_schema(schema)`; fields that were not given are null."""
    keys = keys_of(rows.keys, schema.key, "rows.keys", distinct=True)
    arrays = [
        pa.array(keys, type=pa.string() if schema.key is KeyType.STRING else pa.int64()),
        *_vector_arrays(rows.vectors, schema, len(keys)),
        *_field_arrays(rows.fields, schema, len(keys)),
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=arrow_schema(schema))


def vector_named(name: str, schema: CollectionSchema) -> VectorSchema:
    """The schema of the vector to search."""
    wanted = name or DEFAULT_VECTOR
    for vector in schema.vectors:
        if vector.name == wanted:
            return vector
    known = _names(vector.name for vector in schema.vectors)
    raise invalid("vector", f"unknown vector {wanted!r}; the collection has: {known}")


def queries_of(request: pb.SearchRequest, schema: CollectionSchema) -> NDArray[np.float32]:
    """The (n, dimensions) float32 query vectors; also checks `vector` and `k`."""
    vector = vector_named(request.vector, schema)
    if not 1 <= request.k <= MAX_K:
        raise invalid("k", f"is {request.k}; 1 to {MAX_K} are allowed")
    if request.dimensions != vector.dimensions:
        raise invalid("dimensions", f"is {request.dimensions}; vector {vector.name!r} has {vector.dimensions}")
    size = vector.dimensions * 4
    if not request.queries or len(request.queries) % size:
        problem = f"has {len(request.queries)} bytes; a positive multiple of {vector.dimensions} dimensions x 4 bytes"
        raise invalid("queries", f"{problem} is needed")
    queries = np.frombuffer(request.queries, dtype="<f4").reshape(-1, vector.dimensions)
    finite = np.isfinite(queries).all(axis=1)
    if not finite.all():
        raise invalid("queries", f"query {int(np.argmin(finite))} is not finite; every value must be")
    return queries


def output_fields_of(names: Sequence[str], schema: CollectionSchema) -> tuple[str, ...]:
    """The payload fields to return, in the order asked; `*` stands for all of them."""
    known = tuple(field.name for field in schema.fields)
    if "*" in names:
        return known
    for name in names:
        if name not in known:
            raise invalid("output_fields", f"unknown field {name!r}; allowed are *, {_names(known)}")
    return tuple(dict.fromkeys(names))
