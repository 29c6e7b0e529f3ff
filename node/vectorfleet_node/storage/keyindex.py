"""The key index of a segment: its keys' hashes in order, with the row of each. It replaces a dictionary of all keys.

Part of a `.rows` file since format 2. The trap is collisions: two keys may share a hash, so whoever looks a key up
compares the key itself (`matches` gives every row that may be meant).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vectorfleet.partition import Key, key_digest

_PIECE_ROWS: Final = 4096

Hashes64 = NDArray[np.uint64]
Numbers = NDArray[np.int64]


def hash_keys(keys: Sequence[Key]) -> Hashes64:
    """(n,) uint64: the hash of each key that also decides its shard."""
    return np.frombuffer(b"".join(map(key_digest, keys)), ">u8").astype(np.uint64)


@dataclass(frozen=True)
class KeyIndex:
    """hashes: (n,) uint64, ascending. rows: (n,) uint32, the row of each."""

    hashes: Hashes64
    rows: NDArray[np.uint32]

    @classmethod
    def of(cls, keys: pa.Array | pa.ChunkedArray) -> KeyIndex:
        """The index of a key column. Slow: about a second for a million keys."""
        pieces = [hash_keys(keys.slice(start, _PIECE_ROWS).to_pylist()) for start in range(0, len(keys), _PIECE_ROWS)]
        hashes = np.concatenate([np.empty(0, np.uint64), *pieces])
        rows = np.argsort(hashes, kind="stable").astype(np.uint32)
        return cls(hashes[rows], rows)

    def matches(self, wanted: Hashes64) -> Iterator[tuple[Numbers, Numbers]]:
        """Which of the `wanted` hashes (ascending: that is faster) are here: (numbers in `wanted`, rows), 1:1.

        More than one pair of arrays only where hashes collide; a number may then be in several.
        """
        count = len(self.hashes)
        at = np.searchsorted(self.hashes, wanted)
        numbers = np.arange(len(wanted))
        while len(at):
            inside = at < count
            at, numbers = at[inside], numbers[inside]
            same = self.hashes[at] == wanted[numbers]
            at, numbers = at[same], numbers[same]
            if len(at):
                yield numbers, self.rows[at].astype(np.int64)
            at = at + 1 if self._collide else at[:0]

    @cached_property
    def _collide(self) -> bool:
        """Whether two keys share a hash."""
        return bool(np.any(self.hashes[1:] == self.hashes[:-1]))
