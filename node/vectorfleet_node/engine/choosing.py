"""Which kind of index a segment gets, and why. Pure; `CpuEngine.choose` is this.

The trap is what it may depend on: indexes are built anew when the choice for their segment is another one, by whoever
leads the shard. Were it to ask the machine (its caches, its memory, its load), two replicas on unequal machines would
rebuild each other's indexes for ever. So it knows the schema, the number of rows and the constants below, nothing else.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from vectorfleet.schema import IndexKind, IndexType, Quantization, VectorSchema
from vectorfleet_node.engine.encoding import FP16_BYTES, codes_of, padded_dimensions
from vectorfleet_node.engine.port import Choice

EXACT_BELOW: Final = 5_000  # rows: a scan costs less than a walk, has recall 1 and needs no build
CODES_BYTES: Final = 8 << 20  # half of a cache of 16 MiB, which servers have at least; a shard has several segments
INT8_ABOVE: Final = 256 << 20  # bytes of fp16 copies: in a shard that large, memory per row is what a node runs out of
_ASKED: Final = {IndexType.EXACT: IndexKind.EXACT, IndexType.PQ: IndexKind.PQ}
_AS_ASKED: Final = "as the schema says"


def choose(vector: VectorSchema, rows: int, kinds: Collection[IndexKind], *, quick: bool = False) -> Choice:
    """See `port.Engine.choose`."""
    choice = _choose(vector, rows)
    if quick and choice.kind in (IndexKind.HNSW, IndexKind.HNSW_INT8) and rows >= EXACT_BELOW:
        choice = Choice(IndexKind.PQ, "new rows: a graph over them is built later")
    if choice.kind in kinds:
        return choice
    kind = IndexKind.EXACT if rows < EXACT_BELOW or quick else IndexKind.HNSW
    return Choice(kind, f"{choice.kind} has to wait until every replica of the shard knows it")


def _choose(vector: VectorSchema, rows: int) -> Choice:
    if vector.index in _ASKED:
        return Choice(_ASKED[vector.index], _AS_ASKED)
    if vector.index is IndexType.HNSW:
        return _graph(vector, rows, _AS_ASKED)
    if vector.index is not IndexType.AUTO:
        raise ValueError(f"index type {vector.index} needs a GPU; a CPU node has Auto, Exact, PQ and HNSW")
    if rows < EXACT_BELOW:
        return Choice(IndexKind.EXACT, f"fewer than {EXACT_BELOW:,} rows: a scan of them is quick and misses nothing")
    if rows * codes_of(vector.dimensions) // 2 <= CODES_BYTES:
        return Choice(IndexKind.PQ, f"its codes take at most {CODES_BYTES >> 20} MiB, so that they stay in the cache")
    return _graph(vector, rows, f"its codes would take more than {CODES_BYTES >> 20} MiB")


def _graph(vector: VectorSchema, rows: int, reason: str) -> Choice:
    if vector.quantization is Quantization.INT8:
        return Choice(IndexKind.HNSW_INT8, f"{reason}; Int8 as the schema says")
    if vector.quantization is Quantization.FLOAT16:
        return Choice(IndexKind.HNSW, f"{reason}; Float16 as the schema says")
    if rows * padded_dimensions(vector.dimensions) * FP16_BYTES > INT8_ABOVE:
        return Choice(
            IndexKind.HNSW_INT8, f"{reason}; Int8 where copies in fp16 would take over {INT8_ABOVE >> 20} MiB"
        )
    return Choice(IndexKind.HNSW, reason)
