"""Rows of an imported part on their way into a segment: in files, so that memory does not grow with what is sent.

`importing` fills one from a caller's batches and gives it to the writer of segments. The files are called `*.tmp`: what
a process that died leaves of them is removed when the folder is used again. Blocking: run it in a thread.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from vectorfleet.schema import CollectionSchema
from vectorfleet_node.shard.batch import KEY_COLUMN, arrow_schema, field_column, vector_column
from vectorfleet_node.shard.blocks import BlockPart
from vectorfleet_node.shard.parts import ROW_BITS, first_sequence
from vectorfleet_node.shard.rowhash import LANES, hash_in_pieces
from vectorfleet_node.shard.validation import check_rows
from vectorfleet_node.shard.view import RowBlock


class Spool:
    """Takes batches until `part` is asked for. rows: so many so far; bytes: in its files.

    new_id: 32 random hex digits. limit: of its bytes.
    """

    def __init__(self, folder: Path, collection: CollectionSchema, new_id: Callable[[], str], limit: int) -> None:
        self.rows = 0
        self.bytes = 0
        self._collection = collection
        self._wanted = arrow_schema(collection)
        self._limit = limit
        unique = new_id()
        self._table = folder / f"{unique}.rows.tmp"
        self._raw = {vector.name: folder / f"{unique}.{number}.tmp" for number, vector in enumerate(collection.vectors)}
        types = [(field.name, self._wanted.field(field_column(field.name)).type) for field in collection.fields]
        self._schema = pa.schema([(KEY_COLUMN, self._wanted.field(KEY_COLUMN).type), *types])
        self._files: dict[str, BinaryIO] = {}
        self._writer: pa.RecordBatchStreamWriter | None = None

    def append(self, batch: pa.RecordBatch) -> None:
        """Adds rows, in the schema `batch.arrow_schema`. ValueError when they do not fit it, or are too many."""
        self._check(batch)
        if self._writer is None:
            self._writer = pa.ipc.new_stream(str(self._table), self._schema)
            self._files = {name: path.open("xb") for name, path in self._raw.items()}
        columns = [batch.column(KEY_COLUMN), *(batch.column(field_column(f.name)) for f in self._collection.fields)]
        rows = pa.RecordBatch.from_arrays(columns, schema=self._schema)
        self._writer.write_batch(rows)
        self.bytes += rows.nbytes
        for name, file in self._files.items():
            values = batch.column(vector_column(name)).flatten().to_numpy(zero_copy_only=False)
            self.bytes += file.write(np.ascontiguousarray(values, "<f4").data)
        self.rows += batch.num_rows

    def part(self, position: int) -> BlockPart:
        """All rows, with the sequences that the record at `position` reserves. Slow: they are hashed.

        ValueError when there are none, or a key is there twice.
        """
        if self._writer is None or not self.rows:
            raise ValueError("a part of an import must have at least one row")
        self.close()
        with pa.memory_map(str(self._table)) as source, pa.ipc.open_stream(source) as reader:
            table = reader.read_all()
        _refuse_doubles(table.column(KEY_COLUMN))
        vectors = {
            vector.name: np.memmap(self._raw[vector.name], "<f4", "r", shape=(self.rows, vector.dimensions))
            for vector in self._collection.vectors
        }
        sequences = np.arange(self.rows, dtype=np.uint64) + np.uint64(first_sequence(position))
        hashes = np.empty((self.rows, LANES), np.uint64)
        for start, keys, found in hash_in_pieces(sequences, table, vectors):
            hashes[start : start + len(keys)] = found
        block = RowBlock(table, vectors, {}, np.ones(self.rows, np.bool_), sealed=False)
        return BlockPart(block, sequences, hashes, None, None)

    def close(self) -> None:
        """Ends writing."""
        if self._writer is not None:
            self._writer.close()
        for file in self._files.values():
            file.close()

    def remove(self) -> None:
        """Deletes the files. A part that was made goes on reading them."""
        self.close()
        for path in (self._table, *self._raw.values()):
            path.unlink(missing_ok=True)

    def _check(self, batch: pa.RecordBatch) -> None:
        check_rows(batch, self._wanted)
        if self.rows + batch.num_rows >= 1 << ROW_BITS:
            raise ValueError(
                f"the part has {self.rows + batch.num_rows} rows or more; {(1 << ROW_BITS) - 1} are allowed"
            )
        if self.bytes + batch.nbytes > self._limit:
            raise ValueError(
                f"the part has {self.bytes + batch.nbytes} bytes or more; {self._limit} are allowed: send smaller parts"
            )


def _refuse_doubles(keys: pa.ChunkedArray) -> None:
    if pc.count_distinct(keys).as_py() != len(keys):
        counts = pc.value_counts(keys.combine_chunks())
        double = counts.filter(pc.greater(counts.field("counts"), 1)).field("values")[0].as_py()
        raise ValueError(f"key {double!r} is in the part twice; the keys of a part must be distinct")


def misplaced_key(keys: pa.Array, hashes: NDArray[np.uint64], rows: NDArray[np.uint32], span: range) -> object:
    """A key whose hash is not in `span`, None when there is none. hashes: ascending; rows: the row of each."""
    for end in (0, -1) if len(hashes) else ():
        if int(hashes[end]) not in span:
            return keys[int(rows[end])].as_py()
    return None
