"""Which kind of index a segment gets, and why. Pure; `CpuEngine.choose` is this.

The trap is what it may depend on: indexes are built anew when the choice for their segment is another one, by whoever
leads the shard. Were it to ask the machine (its caches, its memory, its load), two replicas on unequal machines would
rebuild each other's indexes for ever. So it knows the schema, the number of rows and the constants below, nothing else.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from vectorfleet.schema import IndexKind, IndexType, VectorSchema
from vectorfleet_node.engine.port import Choice

EXACT_BELOW: Final = 5_000  # rows: a scan costs less than a walk, has recall 1 and needs no build
_ASKED: Final = {IndexType.EXACT: IndexKind.EXACT, IndexType.HNSW: IndexKind.HNSW}


def choose(vector: VectorSchema, rows: int, kinds: Collection[IndexKind]) -> Choice:
    """See `port.Engine.choose`."""
    if vector.index in _ASKED:
        return Choice(_ASKED[vector.index], "as the schema says")
    if vector.index is not IndexType.AUTO:
        raise ValueError(f"index type {vector.index} needs a GPU; a CPU node has Auto, Exact and HNSW")
    if rows < EXACT_BELOW:
        return Choice(IndexKind.EXACT, f"fewer than {EXACT_BELOW:,} rows: a scan of them is quick and misses nothing")
    return Choice(IndexKind.HNSW, f"{EXACT_BELOW:,} rows or more")
