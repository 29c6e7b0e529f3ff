"""Where a shard's rows are: the segments of one published manifest, and the growing rows since.

`state` decides what is live and tells it here: growing rows by sequence, sealed ones by key. Swapping to another
manifest's segments changes no answer: a row of a new segment is visible iff it was live at the manifest *and* no later
record superseded it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np

from vectorfleet.schema import CollectionSchema
from vectorfleet_node.shard.blocks import BlockPart, GrowingRows, SealedRows, Segment, Sequences
from vectorfleet_node.shard.lookup import find_live
from vectorfleet_node.shard.parts import Upsert
from vectorfleet_node.shard.rowhash import LANES, Hashes, total
from vectorfleet_node.shard.view import Key
from vectorfleet_node.storage.keyindex import Numbers
from vectorfleet_node.storage.manifest import FileEntry, RequestsEntry

KILLED_MEMORY: Final = 192  # bytes for a superseded row until a later manifest is in use: its sequence, its undo entry
SEQUENCE_MEMORY: Final = 8  # its sequence alone


@dataclass(frozen=True)
class Shared:
    """Rows of a segment, live or not, and the sum of their hashes."""

    rows: Numbers
    hashes: Hashes


def _nothing() -> Hashes:
    return np.zeros(LANES, np.uint64)


class Layout:
    """Segments of the manifest at `position` (0: none), segments imported since, and growing rows of later records."""

    def __init__(self, collection: CollectionSchema) -> None:
        self.position = 0
        self.requests: tuple[RequestsEntry, ...] = ()
        self._collection = collection
        self._sealed: list[SealedRows] = []
        self._imported: list[tuple[int, SealedRows]] = []  # since `position`: (record, its segment)
        self._growing: list[GrowingRows] = []
        self._killed_bytes = 0
        self._killed: list[tuple[int, Sequences, int]] = []  # since `position`: (record, superseded sequences, bytes)

    @property
    def segments(self) -> tuple[Segment, ...]:
        """The sealed segments: those of the manifest in its order, then those that no manifest in use has yet."""
        return tuple(sealed.segment for sealed in self._all_sealed())

    @property
    def imported(self) -> tuple[Segment, ...]:
        """The segments that were imported since the manifest in use."""
        return tuple(sealed.segment for _, sealed in self._imported)

    @property
    def local_files(self) -> list[FileEntry]:
        """The files here that answers come from."""
        segments = self.segments
        return [file for one in segments for file in one.entry.files() if file.name not in one.rebuilt]

    @property
    def stored_files(self) -> list[FileEntry]:
        """The files in the store that a replica is loaded from."""
        segments = self.segments
        return [file for one in segments for file in one.entry.files()] + [entry.file for entry in self.requests]

    @property
    def growing_rows(self) -> int:
        """Rows in no segment, live or not."""
        return sum(chunk.rows for chunk in self._growing)

    @property
    def unpublished(self) -> bool:
        """Whether there are rows that no manifest in use has."""
        return bool(self._imported) or self.growing_rows > 0

    @property
    def live_growing_rows(self) -> int:
        """Live rows in no segment."""
        return sum(chunk.live_rows for chunk in self._growing)

    @property
    def growing_bytes(self) -> int:
        """Memory held for records since `position`: by their rows, and by what they superseded."""
        return sum(chunk.bytes for chunk in self._growing) + self._killed_bytes

    def append(self, upsert: Upsert) -> None:
        """Adds growing rows, live."""
        first = 0
        while first < len(upsert.keys):
            if not self._growing or self._growing[-1].full:
                self._growing.append(GrowingRows(self._collection))
            first += self._growing[-1].append(upsert, first)

    def add_segment(self, record: int, segment: Segment) -> None:
        """Adds a segment that the record imports, all its rows live."""
        self._imported.append((record, SealedRows(segment, segment.entry.live_mask())))

    def kill(self, position: int, growing: list[int], sealed: list[Key]) -> tuple[int, Hashes]:
        """Hides rows that the record at `position` superseded: how many, and the sum of their hashes.

        growing: sequences. sealed: keys of which no growing row is live; most of them may have no row at all.
        """
        everywhere = self._all_sealed()
        blocks, rows = find_live([block.lookup for block in everywhere], sealed)
        found = [(everywhere[number], rows[blocks == number]) for number in np.unique(blocks[blocks >= 0])]
        gone = sum((total(block.segment.content.hashes[here]) for block, here in found), start=_nothing())
        return self._hide(position, growing, found, gone, KILLED_MEMORY)

    def kill_shared(self, position: int, growing: list[int], shared: Callable[[Segment], Shared]) -> tuple[int, Hashes]:
        """As `kill`, for a record that imports a segment. shared: the rows of a segment whose keys it has."""
        found, gone = [], _nothing()
        for block in self._all_sealed():
            rows, hashes = shared(block.segment), block.segment.content.hashes
            alive = block.live[rows.rows]
            found.append((block, rows.rows[alive]))
            # Mostly all of them are alive, and then there is nothing to add up here, on the event loop.
            dead = rows.rows[~alive]
            few = len(dead) < len(alive) / 2
            gone = gone + (rows.hashes - total(hashes[dead]) if few else total(hashes[found[-1][1]]))
        return self._hide(position, growing, found, gone, SEQUENCE_MEMORY)

    def _hide(
        self, position: int, growing: list[int], sealed: list[tuple[SealedRows, Numbers]], gone: Hashes, memory: int
    ) -> tuple[int, Hashes]:
        """gone: sum of the sealed rows' hashes. memory: bytes that each row takes from now on."""
        killed = [np.array(growing, np.uint64)]
        for chunk in self._growing if growing else ():
            gone = gone + chunk.kill(killed[0])
        for block, rows in sealed:
            block.kill_rows(rows)
            killed.append(block.segment.content.sequences[rows])
        sequences = np.concatenate(killed)
        if len(sequences):
            self._killed.append((position, sequences, memory * len(sequences)))
            self._killed_bytes += memory * len(sequences)
        return len(sequences), gone

    def install(self, position: int, segments: Iterable[Segment], requests: tuple[RequestsEntry, ...]) -> None:
        """Swaps to the segments of the manifest at `position`, which must be later than the present one."""
        self._killed = [killed for killed in self._killed if killed[0] > position]
        self._killed_bytes = sum(size for _, _, size in self._killed)
        # What is in use stays: it may have been replaced by good copies since the caller took hold of it.
        known = {segment.entry.names(): segment for segment in self.segments}
        fresh = [known.get(segment.entry.names(), segment).with_entry(segment.entry) for segment in segments]
        self._sealed = [SealedRows(segment, segment.entry.live_mask()) for segment in fresh]
        for _, sequences, _ in self._killed:
            for sealed in self._sealed:
                sealed.kill(sequences)
        self._imported = [(record, sealed) for record, sealed in self._imported if record > position]
        for chunk in self._growing:
            chunk.drop_through(position)
        self._growing = [chunk for chunk in self._growing if chunk.rows]
        self.position, self.requests = position, requests

    def replace(self, segment: Segment) -> bool:
        """Puts good copies of a segment's files in the place of rotten ones; whether exactly these are still in use."""
        held = [sealed for sealed in self._all_sealed() if sealed.segment.entry.names() == segment.entry.names()]
        for sealed in held:
            sealed.replace(segment.with_entry(sealed.segment.entry))
        return bool(held)

    def parts(self) -> tuple[BlockPart, ...]:
        """All blocks as they are now, sealed ones first."""
        return tuple(rows.part() for rows in self._blocks())

    def _blocks(self) -> list[SealedRows | GrowingRows]:
        return [*self._all_sealed(), *self._growing]

    def _all_sealed(self) -> list[SealedRows]:
        return [*self._sealed, *(sealed for _, sealed in self._imported)]
