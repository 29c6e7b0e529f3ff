"""The engine of a node without an accelerator: exact scans by numpy, HNSW graphs by faiss. Made once, at start.

The trap is a build beside searches: with a thread for each CPU it would take turns with them on every core.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from vectorfleet.schema import IndexType, Metric
from vectorfleet_node.engine import hnsw
from vectorfleet_node.engine.artefact import Header, check_header
from vectorfleet_node.engine.exact import ExactIndex
from vectorfleet_node.engine.port import Floats, Index

EXACT_BELOW: Final = 5_000  # rows: a scan costs less than a walk, has recall 1 and needs no build


class CpuEngine:
    """`port.Engine` on the CPU. A build uses `build_threads` threads (None: half of the CPUs), each search one."""

    def __init__(self, build_threads: int | None = None) -> None:
        self.build_threads = build_threads or max(1, len(os.sched_getaffinity(0)) // 2)

    def choose(self, wanted: IndexType, rows: int, dimensions: int) -> IndexType:
        """See `port.Engine.choose`. Auto: Exact below EXACT_BELOW rows, HNSW from there."""
        if wanted in (IndexType.EXACT, IndexType.HNSW):
            return wanted
        if wanted is IndexType.AUTO:
            return IndexType.EXACT if rows < EXACT_BELOW else IndexType.HNSW
        raise ValueError(f"index type {wanted} needs a GPU; a CPU node has Auto, Exact and HNSW")

    def build(self, kind: IndexType, vectors: Floats, metric: Metric, artefact: Path) -> Index:
        """See `port.Engine.build`. Replaces `artefact`; not atomic: write to a temporary name and rename."""
        _check(kind)
        if kind is IndexType.HNSW:
            return hnsw.build(vectors, metric, artefact, self.build_threads)
        rows, dimensions = vectors.shape
        artefact.write_bytes(Header(IndexType.EXACT, metric, dimensions, rows).pack())
        return ExactIndex(vectors, metric)

    def load(self, kind: IndexType, vectors: Floats, metric: Metric, artefact: Path, size: int | None = None) -> Index:
        """See `port.Engine.load`. ValueError when the artefact is damaged or belongs to other vectors."""
        _check(kind)
        if kind is IndexType.HNSW:
            return hnsw.load(vectors, metric, artefact, size)
        check_header(artefact, kind, metric, vectors.shape, size)
        return ExactIndex(vectors, metric)


def _check(kind: IndexType) -> None:
    if kind not in (IndexType.EXACT, IndexType.HNSW):
        raise ValueError(f"a CPU node builds and opens Exact and HNSW indexes, not {kind}; resolve it with choose()")
