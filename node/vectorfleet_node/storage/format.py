"""The one number that says how a shard's records, manifests and segment files are written, and which ones are read.

The newest fence's number is what a leader writes. A node reads its own format and the one before it, so a fleet can be
upgraded node by node: a leader raises the number, by a fence, once every replica of the shard reads the higher one. It
never falls. What is written in a newer format than this version reads stops the replica: it must not guess.

    1   segment files are bare: only a checksum of the whole file, in its name
    2   segment files carry a checksum of each block (`checked`), rows carry an index of their keys (`keyindex`),
        segments may have a file with the indexes of their fields (`fieldfile`),
        indexes may be of any kind, segments may be imported beside the log
"""

from __future__ import annotations

from typing import Final

from vectorfleet.schema import IndexKind

FORMAT: Final = 2
READABLE: Final = (1, 2)
BLOCK_CHECKSUMS: Final = 2  # the first format whose files have them, and key indexes
FIELD_INDEXES: Final = 2  # the first format whose segments may have a file with the indexes of their fields
IMPORTS: Final = 2  # the first format whose log can import segments
_INDEXES_OF_1: Final = frozenset({IndexKind.EXACT, IndexKind.HNSW})


def index_kinds(form: int) -> frozenset[IndexKind]:
    """The kinds of index that a manifest of that format may name."""
    return _INDEXES_OF_1 if form < BLOCK_CHECKSUMS else frozenset(IndexKind)


def readable() -> str:
    """The formats that this version reads, for humans."""
    return f"formats {READABLE[0]} to {READABLE[-1]}"
