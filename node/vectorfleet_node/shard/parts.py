"""A request of a log record, decoded and conformed to the schema: what `state` applies.

The trap is time: a record may be older than a field that the schema has by now. What the record lacks becomes null;
what the schema lacks is refused, because dropping it would lose it when the rows are sealed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import ValidationError

from vectorfleet.schema import CollectionSchema
from vectorfleet_node.shard.batch import KEY_COLUMN, arrow_schema, field_column, vector_column
from vectorfleet_node.shard.rowhash import Hashes, hash_rows
from vectorfleet_node.shard.view import Key
from vectorfleet_node.storage import arrow
from vectorfleet_node.storage.manifest import SegmentEntry
from vectorfleet_node.storage.record import BatchRequest
from vectorfleet_node.storage.store import DataLoss

ROW_BITS: Final = 24  # of a sequence: the row's number in its record; the bits above are the record's position


@dataclass(frozen=True)
class Upsert:
    """Rows to add. sequences: ascending; rows: `key` and the fields under their own names; vectors: (n, dimensions)."""

    request_id: str
    keys: list[Key]
    sequences: list[int]
    rows: pa.RecordBatch
    vectors: dict[str, NDArray[np.float32]]
    hashes: Hashes


@dataclass(frozen=True)
class Deletion:
    """Keys to remove."""

    request_id: str
    keys: tuple[Key, ...]


@dataclass(frozen=True)
class Import:
    """A segment whose rows are to replace all earlier ones with their keys."""

    request_id: str
    entry: SegmentEntry


DecodedPart = Upsert | Deletion | Import


def imported_entry(request: BatchRequest, position: int) -> SegmentEntry:
    """What the request in the record at `position` imports. DataLoss when that does not say it."""
    assert request.segment is not None, "no import"
    try:
        entry = SegmentEntry.model_validate_json(request.segment)
    except ValidationError as error:
        raise DataLoss(f"log record {position}, request {request.request_id}: {error}") from None
    if entry.live:
        raise DataLoss(f"log record {position}, request {request.request_id}: an imported segment with dead rows")
    return entry


def first_sequence(position: int) -> int:
    """The sequence of row 0 of the record at a log position; sequences order rows by (position, row)."""
    return position << ROW_BITS


def read_requests(requests: tuple[BatchRequest, ...], position: int, collection: CollectionSchema) -> list[DecodedPart]:
    """The requests of the batch at `position`. DataLoss when one does not fit the schema."""
    parts: list[DecodedPart] = []
    sequence = first_sequence(position)
    for request in requests:
        if request.segment is not None:
            parts.append(Import(request.request_id, imported_entry(request, position)))
            continue
        if request.upsert is None:
            parts.append(Deletion(request.request_id, request.deletes))
            continue
        try:
            upsert = _read_upsert(request.request_id, request.upsert, sequence, collection)
        except (pa.ArrowException, ValueError) as error:
            raise DataLoss(f"log record {position}, request {request.request_id}: {error}") from None
        sequence += len(upsert.keys)
        parts.append(upsert)
    return parts


def _read_upsert(request_id: str, data: bytes, sequence: int, collection: CollectionSchema) -> Upsert:
    batch = arrow.read_stream(data, lambda schema: _check_columns(schema, collection)).combine_chunks()
    _check_values(batch, sequence)
    columns = {KEY_COLUMN: batch.column(KEY_COLUMN)}
    wanted = arrow_schema(collection)
    for field in collection.fields:
        name = field_column(field.name)
        present = name in batch.schema.names
        columns[field.name] = batch.column(name) if present else pa.nulls(len(batch), wanted.field(name).type)
    # Copied: a slice of the record would keep the whole record, vectors and all, in memory.
    everything = np.arange(len(batch))
    rows = pa.RecordBatch.from_pydict({name: _array(column).take(everything) for name, column in columns.items()})
    vectors = {vector.name: _matrix(batch.column(vector_column(vector.name))) for vector in collection.vectors}
    keys = rows.column(0).to_pylist()
    sequences = list(range(sequence, sequence + len(keys)))
    return Upsert(request_id, keys, sequences, rows, vectors, hash_rows(keys, sequences, rows, vectors))


def _check_columns(found: pa.Schema, collection: CollectionSchema) -> None:
    wanted = arrow_schema(collection)
    if len(set(found.names)) != len(found.names):
        raise ValueError(f"a column is there twice: {found.names}")
    for field in found:
        if field.name not in wanted.names:
            raise ValueError(f"column {field.name} is not in this node's schema")
        if field.type != wanted.field(field.name).type:
            raise ValueError(f"column {field.name} is {field.type}; the schema says {wanted.field(field.name).type}")
    required = [KEY_COLUMN, *(vector_column(vector.name) for vector in collection.vectors)]
    missing = [name for name in required if name not in found.names]
    if missing:
        raise ValueError(f"column {missing[0]} is missing")


def _check_values(batch: pa.Table, sequence: int) -> None:
    row = sequence & ((1 << ROW_BITS) - 1)
    if row + len(batch) > 1 << ROW_BITS:
        raise ValueError(f"its {len(batch)} rows from row {row} on are too many for one record")
    for name in batch.schema.names:
        array = _array(batch.column(name))
        is_vector = pa.types.is_fixed_size_list(array.type)
        # A null inside of a vector would become a number, and a vector that is null would be left out.
        if (name == KEY_COLUMN or is_vector) and array.null_count + (array.flatten().null_count if is_vector else 0):
            raise ValueError(f"column {name} has nulls")


def _array(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    if isinstance(column, pa.ChunkedArray):
        return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()  # which would copy the one, too
    return column


def _matrix(column: pa.ChunkedArray) -> NDArray[np.float32]:
    lists = _array(column)
    flat: NDArray[np.float32] = lists.flatten().to_numpy(zero_copy_only=False)
    return flat.reshape(len(lists), lists.type.list_size)
