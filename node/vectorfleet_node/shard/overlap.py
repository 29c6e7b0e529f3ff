"""Which rows an imported segment supersedes: found by the key indexes of both sides, in a thread, ahead of its record.

`state` prepares an `Overlap` while the record is on its way to the log, so that applying it on the event loop is a
matter of masks. The trap is time: between the two the layout may be swapped. An overlap is therefore kept by segment,
what it lacks is computed when it is asked for, and liveness is never part of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vectorfleet_node.shard.blocks import Segment
from vectorfleet_node.shard.layout import Shared
from vectorfleet_node.shard.lookup import Lookup, find_live
from vectorfleet_node.shard.rowhash import Hashes, total
from vectorfleet_node.shard.view import Key
from vectorfleet_node.storage.keyindex import Numbers
from vectorfleet_node.storage.segment import KEY, SegmentRows


def shared_rows(content: SegmentRows, other: SegmentRows) -> Numbers:
    """The rows of `other`, live or not, whose keys are in `content` too, ascending."""
    mine, theirs = content.rows.column(KEY).chunk(0), other.rows.column(KEY).chunk(0)
    found = [np.empty(0, np.int64)]
    if len(theirs) < len(mine):
        for numbers, rows in content.keys.matches(other.keys.hashes):
            found.append(_same(mine, rows, theirs, other.keys.rows[numbers].astype(np.int64)))
    else:
        for numbers, rows in other.keys.matches(content.keys.hashes):
            found.append(_same(mine, content.keys.rows[numbers].astype(np.int64), theirs, rows))
    return np.sort(np.concatenate(found))


def _same(mine: pa.Array, here: Numbers, theirs: pa.Array, there: Numbers) -> Numbers:
    """Of the rows `there` those whose key is that of the row `here` beside it; equal hashes are no proof."""
    equal = pc.equal(mine.take(pa.array(here)), theirs.take(pa.array(there)))
    same: Numbers = there[equal.to_numpy(zero_copy_only=False)]
    return same


@dataclass(frozen=True)
class Overlap:
    """What a segment about to be imported supersedes in the state at `position`.

    growing: its keys among those of growing rows. hashes: (4,) uint64, the sum of its own rows' hashes.
    """

    segment: Segment
    position: int
    growing: list[Key]
    hashes: Hashes
    _shared: dict[str, Shared] = field(default_factory=dict)  # by name of the other segment's rows file

    @classmethod
    def of(cls, segment: Segment, position: int, growing: list[Key], others: Iterable[Segment]) -> Overlap:
        """Slow: a second for a million rows. growing: the keys of all growing rows."""
        content = segment.content
        lookup = Lookup(content.keys, content.rows.column(KEY).chunk(0), np.ones(segment.entry.count, np.bool_))
        found, _ = find_live([lookup], growing)
        there = [growing[number] for number in np.flatnonzero(found >= 0)]
        overlap = cls(segment, position, there, total(content.hashes))
        for other in others:
            overlap.shared(other)
        return overlap

    def shared(self, other: Segment) -> Shared:
        """The rows of another segment whose keys this one has; quick for those that were there from the start."""
        name = other.entry.rows.name
        if name not in self._shared:
            rows = shared_rows(self.segment.content, other.content)
            self._shared[name] = Shared(rows, total(other.content.hashes[rows]))
        return self._shared[name]
