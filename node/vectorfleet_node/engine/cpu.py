"""The engine of a node without an accelerator: exact scans by numpy, HNSW graphs by faiss. Made once, at start.

The trap is a build beside searches: with a thread for each CPU it would take turns with them on every core.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

from vectorfleet.schema import IndexKind, Metric, VectorSchema
from vectorfleet_node.engine import choosing, hnsw
from vectorfleet_node.engine.artefact import Header, check_header
from vectorfleet_node.engine.exact import ExactIndex
from vectorfleet_node.engine.port import Choice, Floats, Index


class CpuEngine:
    """`port.Engine` on the CPU. A build uses `build_threads` threads (None: half of the CPUs), each search one."""

    def __init__(self, build_threads: int | None = None) -> None:
        self.build_threads = build_threads or max(1, len(os.sched_getaffinity(0)) // 2)

    def choose(self, vector: VectorSchema, rows: int, kinds: Collection[IndexKind]) -> Choice:
        """See `port.Engine.choose`."""
        return choosing.choose(vector, rows, kinds)

    def build(self, kind: IndexKind, vectors: Floats, metric: Metric, artefact: Path) -> Index:
        """See `port.Engine.build`. Replaces `artefact`; not atomic: write to a temporary name and rename."""
        _check(kind)
        if kind is IndexKind.HNSW:
            return hnsw.build(vectors, metric, artefact, self.build_threads)
        rows, dimensions = vectors.shape
        artefact.write_bytes(Header(IndexKind.EXACT, metric, dimensions, rows).pack())
        return ExactIndex(vectors, metric)

    def load(self, kind: IndexKind, vectors: Floats, metric: Metric, artefact: Path, size: int | None = None) -> Index:
        """See `port.Engine.load`. ValueError when the artefact is damaged or belongs to other vectors."""
        _check(kind)
        if kind is IndexKind.HNSW:
            return hnsw.load(vectors, metric, artefact, size)
        check_header(artefact, kind, metric, vectors.shape, size)
        return ExactIndex(vectors, metric)


def _check(kind: IndexKind) -> None:
    if kind not in (IndexKind.EXACT, IndexKind.HNSW):
        raise ValueError(f"a CPU node builds and opens Exact and HNSW indexes, not {kind}; resolve it with choose()")
