"""Checks of what a client sent, against the collection's schema; pure.

Every refusal names the field, the value and what is allowed. Called by the services before anything is read or
written. A write comes out as one Arrow batch in the schema that the log stores, keys as a list of Python values.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa

from vectorfleet.schema import CollectionSchema, KeyType, VectorSchema
from vectorfleet.v1 import vectorfleet_pb2 as pb
from vectorfleet_node.api.errors import invalid
from vectorfleet_node.api.fields import field_array
from vectorfleet_node.query.filters import Filter, compile_filter
from vectorfleet_node.query.model import SearchSpec
from vectorfleet_node.query.validate import DEFAULT_VECTOR, check_vectors, search_spec, vector_schema
from vectorfleet_node.shard.batch import FIELD_TYPES, arrow_schema
from vectorfleet_node.shard.view import Key

MAX_KEY_BYTES = 512
MAX_REQUEST_ID = 64


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
                problem = f"row {number} has the key {key[:40]!r} of {size} bytes; 1 to {MAX_KEY_BYTES} are allowed"
                raise invalid(field, problem, number)
    if distinct and len(set(values)) != len(values):
        raise invalid(field, f"key {_duplicate(values)!r} is given twice; the keys of one request must be distinct")
    return values


def _vector_array(column: pb.VectorColumn, schema: VectorSchema, keys: Sequence[Key]) -> pa.Array:
    rows = len(keys)
    field = f"rows.vectors[{schema.name}]"
    if column.dimensions != schema.dimensions:
        raise invalid(f"{field}.dimensions", f"is {column.dimensions}; the collection has {schema.dimensions}")
    expected = rows * schema.dimensions * 4
    if len(column.data) != expected:
        shape = f"{rows} rows x {schema.dimensions} dimensions x 4 bytes = {expected}"
        raise invalid(f"{field}.data", f"has {len(column.data)} bytes; {shape} are needed")
    values = np.frombuffer(column.data, dtype="<f4")
    check_vectors(schema, values.reshape(rows, schema.dimensions), keys)
    return pa.FixedSizeListArray.from_arrays(pa.array(values), schema.dimensions)


def _vector_arrays(columns: Sequence[pb.VectorColumn], schema: CollectionSchema, keys: Sequence[Key]) -> list[pa.Array]:
    named = [(column.name or DEFAULT_VECTOR, column) for column in columns]
    given = dict(named)
    known = {vector.name for vector in schema.vectors}
    if twice := _duplicate(name for name, _ in named):
        raise invalid("rows.vectors", f"vector {twice!r} is given twice")
    if unknown := set(given) - known:
        raise invalid("rows.vectors", f"unknown vector {min(unknown)!r}; the collection has: {_names(sorted(known))}")
    if missing := known - set(given):
        raise invalid("rows.vectors", f"vector {min(missing)!r} is missing; every row needs: {_names(sorted(known))}")
    return [_vector_array(given[vector.name], vector, keys) for vector in schema.vectors]


def _field_arrays(columns: Sequence[pb.FieldColumn], schema: CollectionSchema, rows: int) -> list[pa.Array]:
    given = {column.name: column for column in columns}
    known = [field.name for field in schema.fields]
    if twice := _duplicate(column.name for column in columns):
        raise invalid("rows.fields", f"field {twice!r} is given twice")
    if unknown := set(given) - set(known):
        raise invalid("rows.fields", f"unknown field {min(unknown)!r}; the collection has: {_names(known)}")
    return [
        field_array(given[field.name], field, rows)
        if field.name in given
        else pa.nulls(rows, type=FIELD_TYPES[field.type])
        for field in schema.fields
    ]


def upsert_batch(rows: pb.Rows, schema: CollectionSchema) -> pa.RecordBatch:
    """The rows of an upsert as one batch in `batch.arrow_schema(schema)`; fields that were not given are null."""
    keys = keys_of(rows.keys, schema.key, "rows.keys", distinct=True)
    arrays = [
        pa.array(keys, type=pa.string() if schema.key is KeyType.STRING else pa.int64()),
        *_vector_arrays(rows.vectors, schema, keys),
        *_field_arrays(rows.fields, schema, len(keys)),
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=arrow_schema(schema))


def search_of(request: pb.SearchRequest, schema: CollectionSchema) -> SearchSpec:
    """The search that a request asks for; every field checked."""
    vector = vector_schema(schema, request.vector)
    if request.dimensions != vector.dimensions:
        raise invalid("dimensions", f"is {request.dimensions}; vector {vector.name!r} has {vector.dimensions}")
    size = vector.dimensions * 4
    if not request.queries or len(request.queries) % size:
        multiple = f"a positive multiple of {vector.dimensions} dimensions x 4 bytes"
        raise invalid("queries", f"has {len(request.queries)} bytes; {multiple} is needed")
    return search_spec(
        schema,
        vector=vector.name,
        queries=np.frombuffer(request.queries, dtype="<f4").reshape(-1, vector.dimensions),
        k=request.k,
        filter_text=request.filter,
        output_fields=request.output_fields,
        include_vectors=request.include_vectors,
        exact=request.params.exact,
        ef=request.params.ef,
        target_recall=request.params.target_recall if request.params.HasField("target_recall") else None,
        min_score=request.min_score if request.HasField("min_score") else None,
    )


def filter_of(text: str, schema: CollectionSchema) -> Filter | None:
    """The filter; None when there is none."""
    return compile_filter(text, schema) if text.strip() else None
