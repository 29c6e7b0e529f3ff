"""`ShardView` over a state that goes on changing: made for the API's reads and for sealing.

The keys of growing rows are in one dictionary, changed in place until the next swap of the layout begins another.
Before a record changes it, the old values go into the undo page that is current then, and a new page follows; a
snapshot keeps its page and so finds what a key was when it was taken. Pages that no snapshot can reach are garbage:
nothing has to be released. Sealed rows are found by the segments' key indexes and the snapshot's own masks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from vectorfleet_node.shard.blocks import BlockPart, find
from vectorfleet_node.shard.lookup import find_live
from vectorfleet_node.shard.parts import first_sequence
from vectorfleet_node.shard.view import Key, RowBlock


@dataclass
class UndoPage:
    """The growing rows of the keys that one record touched, before it, and the page of the record after."""

    before: Mapping[Key, int | None] = field(default_factory=dict)
    next: UndoPage | None = None


class Snapshot:
    """The shard at one position. Safe to use from any thread while the event loop applies records."""

    def __init__(self, position: int, parts: tuple[BlockPart, ...], keys: Mapping[Key, int], page: UndoPage) -> None:
        self.parts = parts
        self._position = position
        self._blocks = tuple(part.block for part in parts)
        self._lookups = [part.lookup for part in parts if part.lookup is not None]  # sealed parts come first
        self._keys = keys
        self._page = page
        self._end = first_sequence(position + 1)

    @property
    def position(self) -> int:
        """See `ShardView`."""
        return self._position

    @property
    def blocks(self) -> tuple[RowBlock, ...]:
        """See `ShardView`."""
        return self._blocks

    def locate(self, keys: list[Key]) -> list[tuple[int, int] | None]:
        """See `ShardView`."""
        places: list[tuple[int, int] | None] = [None] * len(keys)
        sequences = [self._growing(key) for key in keys]
        sealed = [number for number, sequence in enumerate(sequences) if sequence is None]
        blocks, rows = find_live(self._lookups, [keys[number] for number in sealed])
        for number, block, row in zip(sealed, blocks.tolist(), rows.tolist(), strict=True):
            if block >= 0:
                places[number] = (block, row)
        growing = [number for number, sequence in enumerate(sequences) if sequence is not None]
        wanted = np.array([sequences[number] for number in growing], np.uint64)
        for block in range(len(self._lookups), len(self.parts)) if growing else ():
            rows, here = find(self.parts[block].sequences, wanted)
            for found in np.flatnonzero(here):
                places[growing[found]] = (block, int(rows[found]))
        return places

    def _growing(self, key: Key) -> int | None:
        """The live growing row at this position. What is not newer than the position has not changed since."""
        now = self._keys.get(key)
        if now is not None and now < self._end:
            return now
        page: UndoPage | None = self._page
        while page is not None:
            if key in page.before:
                return page.before[key]
            page = page.next
        return None
