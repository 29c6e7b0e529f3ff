"""The engine of simulated nodes: what it calls a graph is a scan whose file tells which vectors it belongs to.

So an index that is opened over other vectors, or under another kind, is found at once. Now and then a build fails.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Collection
from hashlib import sha256
from pathlib import Path
from typing import Final

from vectorfleet.schema import IndexKind, Metric, VectorSchema
from vectorfleet_node.engine.cpu import CpuEngine
from vectorfleet_node.engine.exact import ExactIndex
from vectorfleet_node.engine.port import BuildFailed, BuildJob, Choice, Floats, Index

_FAILS: Final = 0.05  # share of graphs


class TinyGraph(ExactIndex):
    """A scan by another name."""

    @property
    def kind(self) -> IndexKind:
        """Always HNSW."""
        return IndexKind.HNSW


class TinyEngine(CpuEngine):
    """Young segments are scanned, others have a graph. events: counts builds that failed."""

    def __init__(self, source: random.Random, events: Counter[str]) -> None:
        super().__init__(build_threads=1)
        self._random = source
        self._events = events

    def choose(self, vector: VectorSchema, rows: int, kinds: Collection[IndexKind], *, quick: bool = False) -> Choice:
        """See `port.Engine.choose`."""
        kind = IndexKind.EXACT if quick else IndexKind.HNSW
        return Choice(kind, "simulated")

    def build(  # type: ignore[override]
        self, kind: IndexKind, vectors: Floats, metric: Metric, artefact: Path, job: BuildJob | None = None
    ) -> Index:
        """See `port.Engine.build`."""
        if kind is IndexKind.EXACT:
            return super().build(kind, vectors, metric, artefact)
        assert job is not None, "a graph is nothing that anybody waits for"
        if self._random.random() < _FAILS:
            self._events["index build that failed"] += 1
            raise BuildFailed("the simulated machine has no memory")
        artefact.write_bytes(_digest(vectors))
        return TinyGraph(vectors, metric)

    def load(self, kind: IndexKind, vectors: Floats, metric: Metric, artefact: Path, size: int | None = None) -> Index:
        """See `port.Engine.load`."""
        if kind is IndexKind.EXACT:
            return super().load(kind, vectors, metric, artefact, size)
        if artefact.read_bytes()[:size] != _digest(vectors):
            raise ValueError(f"{artefact.name} is no graph over these vectors")
        return TinyGraph(vectors, metric)


def _digest(vectors: Floats) -> bytes:
    return b"graph" + sha256(vectors.tobytes()).digest()
