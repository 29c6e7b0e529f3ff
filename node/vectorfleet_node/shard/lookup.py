"""Finds sealed rows by key: in the segments' key indexes, among the rows that are live, by the key itself in the end.

`layout` asks it about now, `snapshot` about its own position; they differ in the masks of live rows. A key has at most
one live row, so the order of the segments does not matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vectorfleet_node.shard.view import Key
from vectorfleet_node.storage.keyindex import KeyIndex, Numbers, hash_keys


@dataclass(frozen=True)
class Lookup:
    """What is searched of one segment. keys: its column `key`, in one piece (much faster); live: (rows,) bool."""

    index: KeyIndex
    keys: pa.Array
    live: NDArray[np.bool_]


def find_live(segments: Sequence[Lookup], keys: Sequence[Key]) -> tuple[Numbers, Numbers]:
    """(segment, row) of the live row of each key, two (n,) arrays; -1 where there is none."""
    found, rows = np.full(len(keys), -1), np.full(len(keys), -1)
    if not segments or not keys:
        return found, rows
    hashes = hash_keys(keys)
    order = np.argsort(hashes)
    ordered = hashes[order]
    for number, segment in enumerate(segments):
        for places, candidates in segment.index.matches(ordered):
            alive = segment.live[candidates]
            asked, candidates = order[places[alive]], candidates[alive]
            there = segment.keys.take(pa.array(candidates)).to_pylist()
            same = np.array([keys[place] == key for place, key in zip(asked.tolist(), there, strict=True)], np.bool_)
            asked, candidates = asked[same], candidates[same]
            found[asked], rows[asked] = number, candidates
    return found, rows
