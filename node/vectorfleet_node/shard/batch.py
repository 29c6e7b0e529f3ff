"""A shard's part of a write as Arrow: its schema and its bytes.

The API layer makes parts, `Peer.Append` carries their bytes and the log stores them.
"""

from __future__ import annotations

from typing import Final

import pyarrow as pa

from vectorfleet.schema import CollectionSchema, FieldType, KeyType
from vectorfleet_node.storage import arrow

KEY_COLUMN = "key"
FIELD_TYPES: Final = {
    FieldType.STRING: pa.string(),
    FieldType.INT64: pa.int64(),
    FieldType.FLOAT64: pa.float64(),
    FieldType.BOOL: pa.bool_(),
    FieldType.STRING_ARRAY: pa.list_(pa.string()),
    FieldType.INT64_ARRAY: pa.list_(pa.int64()),
    FieldType.FLOAT64_ARRAY: pa.list_(pa.float64()),
    FieldType.JSON: pa.string(),  # the text of a document that was parsed at the door
}


def vector_column(name: str) -> str:
    """Name of the column that holds a named vector."""
    return f"vector.{name}"


def field_column(name: str) -> str:
    """Name of the column that holds a payload field."""
    return f"field.{name}"


def arrow_schema(collection: CollectionSchema) -> pa.Schema:
    """Columns of an upsert: `key`, `vector.<name>` as fixed-size lists of float32, `field.<name>` nullable."""
    key = pa.string() if collection.key is KeyType.STRING else pa.int64()
    columns = [pa.field(KEY_COLUMN, key, nullable=False)]
    columns += [
        pa.field(vector_column(vector.name), pa.list_(pa.float32(), vector.dimensions), nullable=False)
        for vector in collection.vectors
    ]
    columns += [pa.field(field_column(field.name), FIELD_TYPES[field.type]) for field in collection.fields]
    return pa.schema(columns)


def encode(rows: pa.RecordBatch) -> bytes:
    """One record batch as an Arrow IPC stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_batch(rows)
    return bytes(sink.getvalue().to_pybytes())


def decode(data: bytes, collection: CollectionSchema) -> pa.RecordBatch:
    """The record batch in `data`. ValueError when it is not one batch of the collection's schema."""

    def check(schema: pa.Schema) -> None:
        if not schema.equals(arrow_schema(collection)):
            raise ValueError("not in the collection's schema")

    batches = arrow.read_stream(data, check).to_batches()
    if len(batches) != 1:
        raise ValueError(f"{len(batches)} record batches with rows; there must be one")
    return batches[0]
