"""Sealing: a frozen state becomes segment files and a manifest. Pure work on values and files, run in a thread.

`publisher` calls it. Small sealed segments next to the growing rows are merged with them (size-tiered: the number of
segments stays logarithmic), so this is compaction too. Rows keep their sequence. Before anything is published the files
are read back and their rows hashed: what was lost or doubled on the way stops the seal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vectorfleet.schema import CollectionSchema
from vectorfleet_node.engine.port import Engine
from vectorfleet_node.shard.blocks import BlockPart, Segment
from vectorfleet_node.shard.rowhash import LANES, Hashes, hash_rows, to_hex, total
from vectorfleet_node.shard.state import FrozenState
from vectorfleet_node.storage import segment
from vectorfleet_node.storage.manifest import FileEntry, IndexEntry, Manifest, RequestsEntry, SegmentEntry
from vectorfleet_node.storage.segment import KEY, FileKind, SegmentRows
from vectorfleet_node.storage.store import DataLoss

_MERGE_RATIO: Final = 2  # a neighbour at most this many times larger than what is being written is merged into it
_PIECE_ROWS: Final = 4096


@dataclass(frozen=True)
class Sealed:
    """A finished seal. segments: in the manifest's order. new_files: what the store does not have yet."""

    manifest: Manifest
    segments: tuple[Segment, ...]
    new_files: tuple[FileEntry, ...]


def plan_merge(live: Sequence[int], counts: Sequence[int], sealed: int) -> list[range]:
    """Which neighbouring blocks to write as one segment each; the others stay as they are.

    Args:
        live, counts: rows of each block, oldest first: the live ones, and all.
        sealed: how many of the blocks, from the front, are sealed.
    """
    start, merged = sealed, sum(live[sealed:])
    while start > 0 and live[start - 1] <= _MERGE_RATIO * merged:
        start -= 1
        merged += live[start]
    ranges = [range(start, len(live))] if start < len(live) else []
    half_dead = [block for block in range(start) if 2 * live[block] <= counts[block]]
    if half_dead:  # one at a time: each costs the build of an index
        worst = max(half_dead, key=lambda block: counts[block] - live[block])
        ranges.insert(0, range(worst, worst + 1))
    return ranges


@dataclass(frozen=True)
class Sealer:
    """Writes files of one leader's epoch into `folder`. new_id: 32 random hex digits."""

    folder: Path
    collection: CollectionSchema
    engine: Engine
    epoch: int
    new_id: Callable[[], str]
    index_built: Callable[[], None]

    def seal(self, frozen: FrozenState) -> Sealed:
        """The files and manifest of a frozen state. DataLoss when the files do not hold exactly its rows."""
        parts, segments, hashed = frozen.snapshot.parts, [], np.zeros(LANES, np.uint64)
        known = {held.entry.rows.name: held for held in frozen.segments}
        counts = [len(part.sequences) for part in parts]
        sealed = sum(part.block.sealed for part in parts)
        merges = {merge.start: merge for merge in plan_merge([part.block.live_rows for part in parts], counts, sealed)}
        new_files: list[FileEntry] = []
        block = 0
        while block < len(parts):
            merge = merges.get(block)
            if merge is None:
                part = parts[block]
                assert part.entry is not None
                segments.append(known[part.entry.rows.name].with_entry(_with_live(part.entry, part.block.live)))
                hashed = hashed + total(part.hashes[part.block.live])
            elif any(parts[number].block.live_rows for number in merge):
                written = self._write([parts[number] for number in merge])
                segments.append(written)
                new_files += written.entry.files()
                hashed = hashed + self._hash_of_files(written.entry)
            block = block + 1 if merge is None else merge.stop
        if to_hex(hashed) != frozen.head.row_hash:
            raise DataLoss(
                f"sealing stopped, nothing was published: the files for position {frozen.head.position} hold rows "
                f"with hash {to_hex(hashed)}; the state has {frozen.head.row_hash}"
            )
        requests, request_files = self._requests(frozen)
        entries = tuple(held.entry for held in segments)
        manifest = frozen.head.model_copy(update={"segments": entries, "requests": requests})
        return Sealed(manifest, tuple(segments), (*new_files, *request_files))

    def _write(self, parts: Sequence[BlockPart]) -> Segment:
        kept = [np.flatnonzero(part.block.live) for part in parts]
        pairs = list(zip(parts, kept, strict=True))
        rows = pa.concat_tables([part.block.rows.take(rows) for part, rows in pairs]).combine_chunks()
        sequences = np.concatenate([part.sequences[rows] for part, rows in pairs])
        hashes = np.concatenate([part.hashes[rows] for part, rows in pairs])
        written = SegmentRows(rows, sequences, hashes)
        rows_file = self._file("rows", lambda path: segment.write_rows(path, written))
        vectors, vector_files, indexes, index_files = {}, {}, {}, {}
        for schema in self.collection.vectors:
            name = schema.name
            file = self._file("vectors", lambda path, name=name: segment.write_vectors(path, _pieces(pairs, name)))  # type: ignore[misc]
            vector_files[name] = file
            vectors[name] = segment.map_vectors(self.folder / file.name, len(sequences), schema.dimensions)
            kind = self.engine.choose(schema.index, len(sequences), schema.dimensions)
            temporary = self._temporary()
            indexes[name] = self.engine.build(kind, vectors[name], schema.metric, temporary)
            self.index_built()
            index_files[name] = IndexEntry(kind=kind, file=self._finish(temporary, "index"))
        entry = SegmentEntry(count=len(sequences), rows=rows_file, vectors=vector_files, indexes=index_files)
        return Segment(entry, segment.read_rows(self.folder / rows_file.name), vectors, indexes)

    def _hash_of_files(self, entry: SegmentEntry) -> Hashes:
        """The sum of the row hashes, computed anew from the bytes on disk."""
        content = segment.read_rows(self.folder / entry.rows.name)
        vectors = {
            schema.name: segment.map_vectors(
                self.folder / entry.vectors[schema.name].name, entry.count, schema.dimensions
            )
            for schema in self.collection.vectors
        }
        found = np.zeros(LANES, np.uint64)
        for start in range(0, entry.count, _PIECE_ROWS):
            piece = slice(start, start + _PIECE_ROWS)
            rows = content.rows.slice(start, _PIECE_ROWS)
            some = {name: array[piece] for name, array in vectors.items()}
            found = found + total(
                hash_rows(rows.column(KEY).to_pylist(), content.sequences[piece].tolist(), rows, some)
            )
        return found

    def _requests(self, frozen: FrozenState) -> tuple[tuple[RequestsEntry, ...], list[FileEntry]]:
        if not frozen.new_requests:
            return frozen.request_files, []
        file = self._file("requests", lambda path: segment.write_requests(path, frozen.new_requests))
        entry = RequestsEntry(through=frozen.head.position, count=len(frozen.new_requests), file=file)
        return (*frozen.request_files, entry), [file]

    def _file(self, kind: FileKind, write: Callable[[Path], None]) -> FileEntry:
        temporary = self._temporary()
        write(temporary)
        return self._finish(temporary, kind)

    def _temporary(self) -> Path:
        return self.folder / f"{self.new_id()}.tmp"

    def _finish(self, temporary: Path, kind: FileKind) -> FileEntry:
        size, crc = segment.checksum(temporary)
        name = segment.file_name(self.epoch, self.new_id()[:16], crc, kind)
        temporary.rename(self.folder / name)
        return FileEntry(name=name, size=size, crc32c=crc)


def _with_live(entry: SegmentEntry, live: NDArray[np.bool_]) -> SegmentEntry:
    packed = b"" if live.all() else np.packbits(live, bitorder="little").tobytes()
    return entry.model_copy(update={"live": packed})


def _pieces(pairs: list[tuple[BlockPart, NDArray[np.int64]]], name: str) -> Iterator[NDArray[np.float32]]:
    for part, rows in pairs:
        for start in range(0, len(rows), _PIECE_ROWS):
            yield part.block.vectors[name][rows[start : start + _PIECE_ROWS]]
