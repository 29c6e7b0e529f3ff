"""Sealing: a frozen state becomes segment files and a manifest. Pure work on values and files, run in a thread.

`publisher` calls it. A seal writes the growing rows and nothing else, so it is quick whatever the shard's size; a merge
that `compaction` finished meanwhile takes its inputs' place. Before anything is published the new files are read back
and their rows hashed: what was lost or doubled on the way stops the seal.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from vectorfleet_node.shard.blocks import BlockPart, Segment, find
from vectorfleet_node.shard.rowhash import LANES, Hashes, to_hex, total
from vectorfleet_node.shard.state import FrozenState
from vectorfleet_node.shard.writing import SegmentWriter
from vectorfleet_node.storage.manifest import FileEntry, Manifest, RequestsEntry
from vectorfleet_node.storage.store import DataLoss


@dataclass(frozen=True)
class Merge:
    """A finished merge. inputs: names of the merged segments' rows files. output: None when no row of them was live.

    new_files: what was written for it. A segment whose index alone was built anew keeps its other files: it is the
    merge of itself.
    """

    inputs: frozenset[str]
    output: Segment | None
    new_files: tuple[FileEntry, ...]


@dataclass(frozen=True)
class Sealed:
    """A finished seal. segments: in the manifest's order. new_files: what the seal wrote."""

    manifest: Manifest
    segments: tuple[Segment, ...]
    new_files: tuple[FileEntry, ...]


@dataclass
class _Contents:
    """What a manifest is going to name, and the sum of the hashes of the rows that are live in it."""

    segments: list[Segment] = field(default_factory=list)
    row_hash: Hashes = field(default_factory=lambda: np.zeros(LANES, np.uint64))

    def add(self, segment: Segment, live: NDArray[np.bool_]) -> None:
        """A segment with its live rows; without any it is left out."""
        if live.any():
            self.segments.append(segment.with_entry(segment.entry.with_live(live)))
            self.row_hash = self.row_hash + total(segment.content.hashes[live])


@dataclass(frozen=True)
class Sealer:
    """Seals for one reign, with the writer of its epoch."""

    writer: SegmentWriter

    def seal(self, frozen: FrozenState, merge: Merge | None) -> Sealed:
        """The files and manifest of a frozen state, with a merge in its inputs' place.

        DataLoss when the files do not hold exactly the state's rows.
        """
        contents, new_files = self._sealed_rows(frozen, merge), []
        growing = [part for part in frozen.snapshot.parts if part.entry is None]
        if any(part.block.live_rows for part in growing):
            written = self.writer.write(growing)
            contents.segments.append(written)
            contents.row_hash = contents.row_hash + self.writer.row_hash(written.entry)
            new_files = written.entry.files()
        if to_hex(contents.row_hash) != frozen.head.row_hash:
            raise DataLoss(
                f"sealing stopped, nothing was published: the files for position {frozen.head.position} hold rows "
                f"with hash {to_hex(contents.row_hash)}; the state has {frozen.head.row_hash}"
            )
        requests, request_files = self._requests(frozen)
        entries = tuple(held.entry for held in contents.segments)
        manifest = frozen.head.model_copy(update={"segments": entries, "requests": requests})
        return Sealed(manifest, tuple(contents.segments), (*new_files, *request_files))

    def _sealed_rows(self, frozen: FrozenState, merge: Merge | None) -> _Contents:
        """The segments in use, oldest first; those that were merged give way to what they were merged into."""
        contents = _Contents()
        known = {held.entry.rows.name: held for held in frozen.segments}
        parts = [(part.entry.rows.name, part) for part in frozen.snapshot.parts if part.entry is not None]
        output = None if merge is None else merge.output
        for name, part in parts:
            if merge is None or name not in merge.inputs:
                contents.add(known[name], part.block.live)
            elif output is not None:
                contents.add(output, _live_now(output, [part for name, part in parts if name in merge.inputs]))
                output = None
        return contents

    def _requests(self, frozen: FrozenState) -> tuple[tuple[RequestsEntry, ...], list[FileEntry]]:
        if not frozen.new_requests:
            return frozen.request_files, []
        entry = self.writer.requests(frozen.new_requests, frozen.head.position)
        return (*frozen.request_files, entry), [entry.file]


def _live_now(output: Segment, inputs: list[BlockPart]) -> NDArray[np.bool_]:
    """(rows of the output,) bool: rows die while a merge runs, and only its inputs have been told.

    DataLoss when a row that is live in an input is not in the output: it would be lost.
    """
    live = np.zeros(output.entry.count, np.bool_)
    for part in inputs:
        rows, here = find(output.content.sequences, part.sequences[part.block.live])
        if not here.all():
            raise DataLoss(f"{output.entry.rows.name} lacks rows of what was merged into it")
        live[rows] = True
    return live
