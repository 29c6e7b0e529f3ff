"""The rows of a shard, added up: from the bytes of segments, and along the log. Pure. Used by `check`.

Only keys that later records touch are remembered one by one; of all others the sum is enough. So memory follows the
length of the log since the oldest manifest, not the size of the shard.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from vectorfleet.partition import Key
from vectorfleet_node.shard.parts import DecodedPart, Import, Upsert
from vectorfleet_node.shard.rowhash import LANES, Hashes, to_hex, total


@dataclass
class Tally:
    """Live rows at one position. hashed: (4,) uint64 sum; touched: hash of each live row whose key is written later."""

    rows: int = 0
    hashed: Hashes = field(default_factory=lambda: np.zeros(LANES, np.uint64))
    touched: dict[Key, Hashes] = field(default_factory=dict)

    def add(self, hashes: Hashes, live: NDArray[np.bool_], touched: Mapping[int, Key]) -> None:
        """A segment's rows. hashes: (n, 4); touched: row -> key, of all its rows."""
        self.rows += int(np.count_nonzero(live))
        self.hashed = self.hashed + total(hashes[live])
        self.touched |= {key: hashes[row].copy() for row, key in touched.items() if live[row]}

    def copy(self) -> Tally:
        """One that goes on by itself."""
        return Tally(self.rows, self.hashed.copy(), dict(self.touched))

    def apply(self, changes: Sequence[Change]) -> None:
        """A record's requests, in order."""
        for change in changes:
            for number, key in enumerate(change.keys):
                old = self.touched.pop(key, None)
                if old is not None:
                    self.rows -= 1
                    self.hashed = self.hashed - old
                if change.hashes is not None:
                    self.rows += 1
                    self.hashed = self.hashed + change.hashes[number]
                    self.touched[key] = change.hashes[number]

    def __str__(self) -> str:
        return f"{self.rows} rows with hash {to_hex(self.hashed)}"


@dataclass(frozen=True)
class Change:
    """One request: rows written, with their (n, 4) hashes, or keys deleted."""

    keys: Sequence[Key]
    hashes: Hashes | None


def changes_of(parts: Sequence[DecodedPart], imported: Change | None) -> list[Change]:
    """What is kept of a decoded record. imported: of the rows of its segment, if it imports one."""
    if imported is not None:
        return [imported]
    written = [part for part in parts if not isinstance(part, Import)]
    return [Change(list(part.keys), part.hashes if isinstance(part, Upsert) else None) for part in written]
