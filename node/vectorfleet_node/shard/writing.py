"""Rows become the files of one new segment, in the format that the shard's fence allows. Blocking: run it in a thread.

Flush, compaction and imports call it. Rows keep their sequences and hashes, and are written in the order of their
sequences: those of an imported segment lie anywhere among its neighbours'. Superseded rows are left out. Files get
their final names when they are complete, so what a crash leaves is a `.tmp` file or an object that no manifest names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vectorfleet.schema import CollectionSchema, VectorSchema
from vectorfleet_node.engine.port import Build, BuildJob, Engine
from vectorfleet_node.shard.blocks import BlockPart, Segment
from vectorfleet_node.shard.checks import RottenCallback
from vectorfleet_node.shard.opening import open_segment
from vectorfleet_node.shard.rowhash import LANES, Hashes, hash_in_pieces, total
from vectorfleet_node.storage import checked, segment
from vectorfleet_node.storage.checked import CheckedFile
from vectorfleet_node.storage.fieldfile import write_fields
from vectorfleet_node.storage.format import BLOCK_CHECKSUMS, FIELD_INDEXES, index_kinds
from vectorfleet_node.storage.keyindex import KeyIndex
from vectorfleet_node.storage.manifest import FileEntry, IndexEntry, RequestsEntry, SegmentEntry
from vectorfleet_node.storage.segment import KEY, FileKind, SegmentRows

_PIECE_ROWS: Final = 4096


@dataclass(frozen=True)
class _Kept:
    """The rows to write, in order: the i-th is row `row[i]` of part `part[i]`.

    order: where each of them is when the parts are put behind each other. All (n,) int64.
    """

    parts: Sequence[BlockPart]
    part: NDArray[np.int64]
    row: NDArray[np.int64]
    order: NDArray[np.int64]

    @classmethod
    def of(cls, parts: Sequence[BlockPart]) -> _Kept:
        """The live rows, verified, by ascending sequence."""
        live = [np.flatnonzero(part.block.live) for part in parts]
        for part, rows in zip(parts, live, strict=True):
            part.block.verify(rows, part.block.rows.column_names, part.block.vectors)
        order = np.argsort(np.concatenate([part.sequences[rows] for part, rows in zip(parts, live, strict=True)]))
        numbers = np.repeat(np.arange(len(parts)), [len(rows) for rows in live])
        return cls(parts, numbers[order], np.concatenate(live)[order], order)

    def __len__(self) -> int:
        return len(self.row)

    def gather(self, arrays: Sequence[NDArray[Any]], start: int = 0, stop: int | None = None) -> NDArray[Any]:
        """Rows [start, stop) of these arrays, one for each part."""
        part, row = self.part[start:stop], self.row[start:stop]
        gathered = np.empty((len(row), *arrays[0].shape[1:]), arrays[0].dtype)
        for number in np.unique(part):
            here = part == number
            gathered[here] = arrays[number][row[here]]
        return gathered

    def table(self) -> pa.Table:
        """Key and fields."""
        taken = [part.block.rows.take(self.row[self.part == number]) for number, part in enumerate(self.parts)]
        table = pa.concat_tables(taken).combine_chunks()
        if (self.order[1:] > self.order[:-1]).all():
            return table
        return table.take(self.order).combine_chunks()

    def vectors(self, name: str) -> Iterator[NDArray[np.float32]]:
        """The vectors of that name, in pieces."""
        arrays = [part.block.vectors[name] for part in self.parts]
        for start in range(0, len(self), _PIECE_ROWS):
            yield self.gather(arrays, start, start + _PIECE_ROWS)


@dataclass(frozen=True)
class Work:
    """A job in a thread. cancelled: whether nobody waits for it any more. progress: told (rows indexed, of so many)."""

    cancelled: Callable[[], bool] = lambda: False
    progress: Callable[[int, int], None] = lambda _, __: None


@dataclass(frozen=True)
class SegmentWriter:
    """Writes files of one leader's epoch, in one format, into `folder`.

    new_id: 32 random hex digits. index_built: called for each index. rotten: see `SegmentFiles`.
    """

    folder: Path
    collection: CollectionSchema
    engine: Engine
    epoch: int
    format: int
    new_id: Callable[[], str]
    index_built: Callable[[], None]
    rotten: RottenCallback

    def write(self, parts: Sequence[BlockPart], work: Work | None = None) -> Segment:
        """A segment of the live rows of `parts`; at least one must be live. OSError of the disk.

        work: whose indexes may take long, BuildFailed; None: somebody waits, so indexes are quick ones.
        Rotten when a row to be written is in a bad block.
        """
        kept = _Kept.of(parts)
        rows = kept.table()
        content = SegmentRows(
            rows,
            kept.gather([part.sequences for part in parts]),
            kept.gather([part.hashes for part in parts]),
            KeyIndex.of(rows.column(KEY)),
        )
        made: list[FileEntry] = []
        try:
            rows_file = self._file("rows", lambda path: segment.write_rows(path, content, self.format))
            made.append(rows_file)
            fields = self.fields(rows)
            made += [] if fields is None else [fields]
            vectors, indexes = {}, {}
            for schema in self.collection.vectors:
                vectors[schema.name], indexes[schema.name] = self._vectors(schema, kept, made, work)
            entry = SegmentEntry(
                count=len(content.sequences), rows=rows_file, vectors=vectors, indexes=indexes, fields=fields
            )
            return open_segment(self.folder, entry, self.collection, self.engine, self.rotten)
        except BaseException:
            # A build that fails is tried again and again: what each attempt left would fill the disk.
            self.discard(made)
            raise

    def discard(self, files: Iterable[FileEntry]) -> None:
        """Deletes files of the folder that nobody wants."""
        for file in files:
            (self.folder / file.name).unlink(missing_ok=True)

    def builds(self, rows: int) -> list[Build]:
        """The indexes, in the order of the schema's vectors, that a segment of so many rows is to have in the end."""
        kinds = index_kinds(self.format)
        return [
            Build(self.engine.choose(schema, rows, kinds).kind, rows, schema.dimensions)
            for schema in self.collection.vectors
        ]

    def index(self, schema: VectorSchema, vectors: FileEntry, rows: int, work: Work | None) -> IndexEntry:
        """An index over a vectors file of the folder; see `write`."""
        path = self.folder / vectors.name
        raw = segment.map_vectors(CheckedFile.open(path), rows, schema.dimensions)
        kind = self.engine.choose(schema, rows, index_kinds(self.format), quick=work is None).kind
        job = None if work is None else BuildJob(path, work.cancelled, work.progress)
        artefact = self._file("index", lambda to: self.engine.build(kind, raw, schema.metric, to, job))
        self.index_built()
        return IndexEntry(kind=kind, file=artefact)

    @property
    def indexed_fields(self) -> list[str]:
        """The fields of which new segments have an index."""
        if self.format < FIELD_INDEXES:
            return []
        return [field.name for field in self.collection.fields if field.indexed and field.type.indexable]

    def fields(self, rows: pa.Table) -> FileEntry | None:
        """A file with the indexes of these rows' fields; None when no field has one."""
        indexed = self.indexed_fields
        return self._file("fields", lambda path: write_fields(path, rows, indexed)) if indexed else None

    def row_hash(self, entry: SegmentEntry) -> Hashes:
        """(4,) uint64: the sum of the row hashes of a segment, computed anew from the bytes on disk."""
        content = segment.read_rows(CheckedFile.open(self.folder / entry.rows.name))
        vectors = {
            schema.name: segment.map_vectors(
                CheckedFile.open(self.folder / entry.vectors[schema.name].name), entry.count, schema.dimensions
            )
            for schema in self.collection.vectors
        }
        found = np.zeros(LANES, np.uint64)
        for _, _, hashes in hash_in_pieces(content.sequences, content.rows, vectors):
            found = found + total(hashes)
        return found

    def requests(self, requests: list[tuple[str, int]], through: int) -> RequestsEntry:
        """A file of request ids, all of log positions up to `through`."""
        file = self._file("requests", lambda path: segment.write_requests(path, requests))
        return RequestsEntry(through=through, count=len(requests), file=file)

    def _vectors(
        self, schema: VectorSchema, kept: _Kept, made: list[FileEntry], work: Work | None
    ) -> tuple[FileEntry, IndexEntry]:
        """The files of one named vector; what is finished is added to `made`."""
        file = self._file("vectors", lambda path: segment.write_vectors(path, kept.vectors(schema.name)))
        made.append(file)
        index = self.index(schema, file, len(kept), work)
        made.append(index.file)
        return file, index

    def _file(self, kind: FileKind, write: Callable[[Path], object]) -> FileEntry:
        temporary = self.folder / f"{self.new_id()}.tmp"
        try:
            write(temporary)
            finish = checked.seal if self.format >= BLOCK_CHECKSUMS else segment.checksum
            size, crc = finish(temporary)
            name = segment.file_name(self.epoch, self.new_id()[:16], crc, kind)
            temporary.rename(self.folder / name)
        except BaseException:
            temporary.unlink(missing_ok=True)  # on a full disk its room is needed for the next attempt
            raise
        return FileEntry(name=name, size=size, crc32c=crc)
