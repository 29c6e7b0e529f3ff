"""Rows in memory: sealed segments and chunks of growing rows, each with its mask of live rows.

`layout` holds them; only the event loop changes them. A reader gets a `BlockPart`, which never changes: growing arrays
are only ever written behind its end, and masks are copied when a reader asks after a change, not at each change.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vectorfleet.schema import CollectionSchema
from vectorfleet_node.engine.exact import ExactIndex
from vectorfleet_node.engine.port import Index
from vectorfleet_node.shard.checks import SegmentFiles
from vectorfleet_node.shard.lookup import Lookup
from vectorfleet_node.shard.parts import Upsert, first_sequence
from vectorfleet_node.shard.rowhash import LANES, Hashes, total
from vectorfleet_node.shard.view import Lineage, RowBlock, RowsIdentity
from vectorfleet_node.storage.fieldindex import FieldIndex
from vectorfleet_node.storage.manifest import SegmentEntry
from vectorfleet_node.storage.segment import KEY, SegmentRows

Sequences = NDArray[np.uint64]

ROW_MEMORY: Final = 256  # bytes of a growing row beside its values: sequence, hash, its key in the maps
_CHUNK_BYTES: Final = 32 << 20
_CHUNK_ROWS: Final = (256, 16384)  # at least, at most


@dataclass(frozen=True)
class Segment:
    """An opened segment: `entry` names its files, everything else is in memory or memory-mapped from `files`.

    rebuilt: names of index files that the store has no good copy of; these indexes are in no file any more.
    fields: the indexes of payload fields, by field.
    """

    entry: SegmentEntry
    content: SegmentRows
    vectors: Mapping[str, NDArray[np.float32]]
    indexes: Mapping[str, Index]
    files: SegmentFiles
    rebuilt: frozenset[str] = frozenset()
    identity: RowsIdentity = field(default_factory=RowsIdentity)
    fields: Mapping[str, FieldIndex] = field(default_factory=dict)

    def with_entry(self, entry: SegmentEntry) -> Segment:
        """The same rows as another manifest has them."""
        return replace(self, entry=entry)


@dataclass(frozen=True)
class BlockPart:
    """A block as a reader holds it, with the (rows,) sequences and (rows, 4) hashes of its rows, live or not.

    entry, lookup: None for growing rows, which are found by sequence.
    """

    block: RowBlock
    sequences: Sequences
    hashes: Hashes
    entry: SegmentEntry | None
    lookup: Lookup | None


def find(sequences: Sequences, wanted: Sequences) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """For each wanted sequence its row among the ascending `sequences`, and whether it is there at all."""
    rows = np.searchsorted(sequences, wanted)
    rows = np.minimum(rows, len(sequences) - 1)
    return rows, sequences[rows] == wanted


@dataclass
class SealedRows:
    """A segment and which of its rows are live now."""

    segment: Segment
    live: NDArray[np.bool_]
    _part: BlockPart | None = None

    @property
    def lookup(self) -> Lookup:
        """What is searched for keys, as of now."""
        content = self.segment.content
        return Lookup(content.keys, content.rows.column(KEY).chunk(0), self.live)

    def kill(self, sequences: Sequences) -> None:
        """Marks those rows as superseded that are here."""
        rows, here = find(self.segment.content.sequences, sequences)
        self.kill_rows(rows[here])

    def kill_rows(self, rows: NDArray[np.int64]) -> None:
        """Marks rows as superseded."""
        if len(rows):
            self.live[rows] = False
            self._part = None

    def replace(self, segment: Segment) -> None:
        """Reads the same rows from other copies of their files from now on."""
        self.segment = segment
        self._part = None

    def part(self) -> BlockPart:
        """The block as it is now."""
        if self._part is None:
            segment, content = self.segment, self.segment.content
            block = RowBlock(
                content.rows,
                segment.vectors,
                segment.indexes,
                self.live.copy(),
                True,
                segment.files,
                segment.identity,
                segment.fields,
            )
            self._part = BlockPart(
                block, content.sequences, content.hashes, segment.entry, replace(self.lookup, live=block.live)
            )
        return self._part


@dataclass
class GrowingRows:
    """A chunk of rows that are in no segment yet, in arrays allocated once. Appending copies only what is appended."""

    collection: CollectionSchema
    _start: int = 0
    _end: int = 0
    _batches: list[pa.RecordBatch] = field(default_factory=list)
    _batch_bytes: int = 0
    _lineage: Lineage = field(default_factory=Lineage)
    _identity: RowsIdentity = field(default_factory=RowsIdentity)
    _part: BlockPart | None = None

    def __post_init__(self) -> None:
        row_bytes = sum(vector.dimensions * 4 for vector in self.collection.vectors)
        self._row_bytes = row_bytes + ROW_MEMORY
        self._capacity = int(np.clip(_CHUNK_BYTES // row_bytes, *_CHUNK_ROWS))
        self._sequences = np.empty(self._capacity, np.uint64)
        self._hashes = np.empty((self._capacity, LANES), np.uint64)
        self._live = np.ones(self._capacity, np.bool_)
        self._vectors = {
            vector.name: np.empty((self._capacity, vector.dimensions), np.float32) for vector in self.collection.vectors
        }

    @property
    def rows(self) -> int:
        """How many rows it holds, live or not."""
        return self._end - self._start

    @property
    def live_rows(self) -> int:
        """How many of them are live."""
        return int(np.count_nonzero(self._live[self._start : self._end]))

    @property
    def bytes(self) -> int:
        """Memory of its rows."""
        return self.rows * self._row_bytes + self._batch_bytes

    @property
    def full(self) -> bool:
        """Whether no row fits any more."""
        return self._end == self._capacity

    def append(self, upsert: Upsert, first: int) -> int:
        """Adds rows of the upsert from row `first` on, as many as fit; how many these are."""
        count = min(len(upsert.keys) - first, self._capacity - self._end)
        there, here = slice(first, first + count), slice(self._end, self._end + count)
        self._sequences[here] = upsert.sequences[there]
        self._hashes[here] = upsert.hashes[there]
        for name, vectors in self._vectors.items():
            vectors[here] = upsert.vectors[name][there]
        self._batches.append(upsert.rows.slice(first, count))
        # Like a binary counter: few batches whatever the writes' sizes, each row copied a logarithmic number of times.
        while len(self._batches) > 1 and self._batches[-2].num_rows <= self._batches[-1].num_rows:
            self._batches[-2:] = [pa.concat_batches(self._batches[-2:])]
        self._batch_bytes = sum(int(batch.nbytes) for batch in self._batches)
        self._end += count
        self._identity = RowsIdentity(self._lineage, self._start)
        self._part = None
        return count

    def kill(self, sequences: Sequences) -> Hashes:
        """Marks rows as superseded; the sum of the hashes of those that are here."""
        if not self.rows:
            return np.zeros(LANES, np.uint64)
        rows, here = find(self._sequences[self._start : self._end], sequences)
        rows = rows[here] + self._start
        if len(rows):
            self._live[rows] = False
            self._part = None
        return total(self._hashes[rows])

    def drop_through(self, position: int) -> None:
        """Forgets the rows of records up to `position`: a segment has them."""
        kept = np.searchsorted(self._sequences[: self._end], np.uint64(first_sequence(position + 1)))
        if kept > self._start:
            self._start = int(kept)
            self._identity = RowsIdentity(self._lineage, self._start)
            self._part = None

    def part(self) -> BlockPart:
        """The block as it is now."""
        if self._part is None:
            span = slice(self._start, self._end)
            vectors = {name: array[span] for name, array in self._vectors.items()}
            indexes = {
                vector.name: ExactIndex(vectors[vector.name], vector.metric) for vector in self.collection.vectors
            }
            rows = pa.Table.from_batches(self._batches).slice(self._start)
            block = RowBlock(rows, vectors, indexes, self._live[span].copy(), sealed=False, identity=self._identity)
            self._part = BlockPart(block, self._sequences[span], self._hashes[span], None, None)
        return self._part
