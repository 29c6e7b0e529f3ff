"""Checks a write before it is sent to the log: what landed there and cannot be applied would stop every replica."""

from __future__ import annotations

from typing import Final

import pyarrow as pa

from vectorfleet.schema import CollectionSchema, KeyType
from vectorfleet_node.shard import batch
from vectorfleet_node.shard.parts import ROW_BITS
from vectorfleet_node.shard.port import DeletePart, UpsertPart
from vectorfleet_node.shard.view import Key
from vectorfleet_node.storage.record import BatchRequest

MAX_REQUEST_ID: Final = 64  # characters
_KEY_OVERHEAD: Final = 8


def check_request_id(request_id: str) -> None:
    """ValueError when it is empty or too long."""
    if not 1 <= len(request_id) <= MAX_REQUEST_ID:
        raise ValueError(f"request_id has {len(request_id)} characters; 1 to {MAX_REQUEST_ID} are allowed")


def check_rows(rows: pa.RecordBatch, wanted: pa.Schema) -> None:
    """ValueError when they have other columns than wanted, or nulls where there may be none."""
    if not rows.schema.equals(wanted):
        raise ValueError(f"rows have the columns {rows.schema.names}; the collection has {wanted.names}")
    for name in wanted.names:
        column = rows.column(name)
        nested = pa.types.is_fixed_size_list(column.type) and column.values.null_count  # `flatten` copies
        inside = column.flatten().null_count if nested else 0
        if not wanted.field(name).nullable and column.null_count + inside:
            raise ValueError(f"column {name} has nulls")


def request_of(
    request_id: str, part: UpsertPart | DeletePart, collection: CollectionSchema
) -> tuple[BatchRequest, int]:
    """The request as the log stores it, and its size in bytes. ValueError when it cannot be applied."""
    check_request_id(request_id)
    if isinstance(part, DeletePart):
        return BatchRequest(request_id, None, part.keys), sum(_key_size(key, collection.key) for key in part.keys)
    check_rows(part.rows, batch.arrow_schema(collection))
    if not 1 <= part.rows.num_rows < 1 << ROW_BITS:
        raise ValueError(f"the part has {part.rows.num_rows} rows; 1 to {(1 << ROW_BITS) - 1} are allowed")
    data = batch.encode(part.rows)
    return BatchRequest(request_id, data), len(data)


def _key_size(key: Key, kind: KeyType) -> int:
    if isinstance(key, str):
        if kind is KeyType.STRING:
            return len(key.encode()) + _KEY_OVERHEAD
    elif kind is KeyType.INT64 and -(1 << 63) <= key < 1 << 63:
        return _KEY_OVERHEAD
    raise ValueError(f"key {key!r} is not of the collection's key type {kind}")
