"""The engine of a node without an accelerator: exact scans by numpy, codes and graphs by faiss. Made once, at start.

The trap is a build beside searches: with a thread for each CPU it would take turns with them on every core.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from contextlib import AbstractAsyncContextManager, nullcontext
from pathlib import Path

from vectorfleet.schema import IndexKind, Metric, VectorSchema
from vectorfleet_node.engine import choosing, hnsw, pq
from vectorfleet_node.engine.artefact import Header, check_header
from vectorfleet_node.engine.exact import ExactIndex
from vectorfleet_node.engine.port import Build, BuildJob, Choice, Floats, Index


class CpuEngine:
    """`port.Engine` on the CPU. A build uses `build_threads` threads (None: half of the CPUs), each search one."""

    def __init__(self, build_threads: int | None = None) -> None:
        self.build_threads = build_threads or max(1, len(os.sched_getaffinity(0)) // 2)

    def choose(self, vector: VectorSchema, rows: int, kinds: Collection[IndexKind], *, quick: bool = False) -> Choice:
        """See `port.Engine.choose`."""
        return choosing.choose(vector, rows, kinds, quick=quick)

    def turn(self, builds: Iterable[Build]) -> AbstractAsyncContextManager[object]:
        """See `port.Engine.turn`; builds in the caller's thread wait for nobody."""
        return nullcontext()

    def build(
        self,
        kind: IndexKind,
        vectors: Floats,
        metric: Metric,
        artefact: Path,
        job: BuildJob | None = None,
        *,
        steps: hnsw.Steps | None = None,
    ) -> Index:
        """See `port.Engine.build`. Replaces `artefact`; not atomic: write to a temporary name and rename.

        The job changes nothing: this builds in the caller's thread, to the end. steps: see `hnsw.build`.
        """
        _check(kind)
        if kind is IndexKind.PQ:
            return pq.build(vectors, metric, artefact, self.build_threads)
        if kind in hnsw.KINDS:
            return hnsw.build(kind, vectors, metric, artefact, self.build_threads, steps)
        rows, dimensions = vectors.shape
        artefact.write_bytes(Header(IndexKind.EXACT, metric, dimensions, rows).pack())
        return ExactIndex(vectors, metric)

    def load(self, kind: IndexKind, vectors: Floats, metric: Metric, artefact: Path, size: int | None = None) -> Index:
        """See `port.Engine.load`. ValueError when the artefact is damaged or belongs to other vectors."""
        _check(kind)
        if kind is IndexKind.PQ:
            return pq.load(vectors, metric, artefact, size)
        if kind in hnsw.KINDS:
            return hnsw.load(kind, vectors, metric, artefact, size)
        check_header(artefact, kind, metric, vectors.shape, size)
        return ExactIndex(vectors, metric)


def _check(kind: IndexKind) -> None:
    if kind not in tuple(IndexKind):
        raise ValueError(f"{kind} is no kind of index that a CPU node builds and opens; resolve it with choose()")
