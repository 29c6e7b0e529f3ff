"""Where a shard's rows are: the segments of one published manifest, and the growing rows since.

`state` decides what is live and tells it here by sequence. Swapping to another manifest's segments changes no answer:
a row of a new segment is visible iff it was live at the manifest *and* no later record superseded it.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from vectorfleet.schema import CollectionSchema
from vectorfleet_node.shard.blocks import BlockPart, GrowingRows, SealedRows, Segment, Sequences
from vectorfleet_node.shard.parts import Upsert
from vectorfleet_node.shard.rowhash import LANES, Hashes
from vectorfleet_node.storage.manifest import RequestsEntry


class Layout:
    """Segments of the manifest at `position` (0: none), and growing rows of later records."""

    def __init__(self, collection: CollectionSchema) -> None:
        self.position = 0
        self.requests: tuple[RequestsEntry, ...] = ()
        self._collection = collection
        self._sealed: list[SealedRows] = []
        self._growing: list[GrowingRows] = []
        self._killed: list[tuple[int, Sequences]] = []  # since `position`: (record, sequences that it superseded)

    @property
    def segments(self) -> tuple[Segment, ...]:
        """The sealed segments, oldest rows first."""
        return tuple(sealed.segment for sealed in self._sealed)

    @property
    def growing_rows(self) -> int:
        """Rows in no segment, live or not."""
        return sum(chunk.rows for chunk in self._growing)

    @property
    def live_growing_rows(self) -> int:
        """Live rows in no segment."""
        return sum(chunk.live_rows for chunk in self._growing)

    @property
    def growing_bytes(self) -> int:
        """Memory held by rows in no segment."""
        return sum(chunk.bytes for chunk in self._growing)

    def append(self, upsert: Upsert) -> None:
        """Adds growing rows, live."""
        first = 0
        while first < len(upsert.keys):
            if not self._growing or self._growing[-1].full:
                self._growing.append(GrowingRows(self._collection))
            first += self._growing[-1].append(upsert, first)

    def kill(self, position: int, superseded: list[int]) -> Hashes:
        """Hides rows that the record at `position` superseded; the sum of their hashes."""
        gone = np.zeros(LANES, np.uint64)
        if superseded:
            sequences = np.array(superseded, np.uint64)
            self._killed.append((position, sequences))
            for rows in self._blocks():
                gone += rows.kill(sequences)
        return gone

    def install(self, position: int, segments: Iterable[Segment], requests: tuple[RequestsEntry, ...]) -> None:
        """Swaps to the segments of the manifest at `position`, which must be later than the present one."""
        self._killed = [(record, sequences) for record, sequences in self._killed if record > position]
        self._sealed = [SealedRows(segment, segment.live_at_manifest()) for segment in segments]
        for _, sequences in self._killed:
            for sealed in self._sealed:
                sealed.kill(sequences)
        for chunk in self._growing:
            chunk.drop_through(position)
        self._growing = [chunk for chunk in self._growing if chunk.rows]
        self.position, self.requests = position, requests

    def parts(self) -> tuple[BlockPart, ...]:
        """All blocks as they are now, oldest rows first."""
        return tuple(rows.part() for rows in self._blocks())

    def _blocks(self) -> list[SealedRows | GrowingRows]:
        return [*self._sealed, *self._growing]
