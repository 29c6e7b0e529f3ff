"""HNSW by faiss: a graph over fp16 or int8 copies of the vectors. Made by `CpuEngine` for sealed segments.

The artefact is memory-mapped, so processes share its pages. Traps: the graph cannot change once it is searched. Dot:
the graph walks by inner product, which is no distance. It keeps its recall when lengths differ (20,000 x 64,
lognormal(1): .998 at ef 200, where a reduction to L2 by an added dimension falls to .5), but under a filter it loses
some (.94 at 10 %), and the planner scans more rows.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Protocol

import faiss

from vectorfleet.schema import IndexKind, Metric
from vectorfleet_node.engine import approximate
from vectorfleet_node.engine.approximate import ApproximateIndex
from vectorfleet_node.engine.artefact import Header
from vectorfleet_node.engine.encoding import padded_dimensions, sample, scale_of
from vectorfleet_node.engine.planner import walk_width
from vectorfleet_node.engine.port import Floats, SearchOptions

LINKS: Final = 16  # M: edges per row and level (twice as many on the lowest)
EF_CONSTRUCTION: Final = 200
PARAMETERS: Final = (LINKS, EF_CONSTRUCTION)  # with others the same vectors make another index
_QUANTIZERS: Final[dict[IndexKind, int]] = {
    IndexKind.HNSW: faiss.ScalarQuantizer.QT_fp16,
    IndexKind.HNSW_INT8: faiss.ScalarQuantizer.QT_8bit,
}
KINDS: Final = tuple(_QUANTIZERS)
_faiss: Any = faiss  # its stubs know neither all classes nor the constructors that its Python layer adds


class Steps(Protocol):
    """Watches a build, and remembers what is done. Called in the thread that builds."""

    def resume(self) -> Any | None:
        """A faiss graph over the first rows, of a build that was broken off; None: begin with the first row."""

    def added(self, graph: Any) -> None:
        """More rows are in the graph."""


class HnswIndex(ApproximateIndex):
    """An opened graph. The effort is ef, the width of the walk."""

    def _effort(self, allowed: int, k: int, options: SearchOptions) -> int | None:
        return walk_width(self.rows, allowed, self._vectors.shape[1], k, self._header.metric, options)

    def _told(self, effort: int) -> str:
        return f"graph, ef {effort}"

    def _parameters(self, k: int, effort: int, selector: Any) -> Any:
        return _faiss.SearchParametersHNSW(efSearch=effort, sel=selector)


def build(
    kind: IndexKind, vectors: Floats, metric: Metric, artefact: Path, threads: int, steps: Steps | None = None
) -> HnswIndex:
    """Makes the graph with `threads` threads, writes it to `artefact` and returns it, memory-mapped."""
    rows, dimensions = vectors.shape
    scale = scale_of(vectors, metric)
    faiss.omp_set_num_threads(threads)
    graph = steps.resume() if steps else None
    if graph is None:
        graph = _empty(kind, vectors, metric, scale)
    approximate.fill(graph, vectors, metric, scale, steps.added if steps else None)
    approximate.write(graph, Header(kind, metric, dimensions, rows, scale=scale), artefact)
    return load(kind, vectors, metric, artefact)


def _empty(kind: IndexKind, vectors: Floats, metric: Metric, scale: float) -> Any:
    """A graph without rows whose quantizer knows the vectors."""
    measure = faiss.METRIC_INNER_PRODUCT if metric is Metric.DOT else faiss.METRIC_L2
    graph = _faiss.IndexHNSWSQ(padded_dimensions(vectors.shape[1]), _QUANTIZERS[kind], LINKS, measure)
    graph.hnsw.efConstruction = EF_CONSTRUCTION
    if kind is IndexKind.HNSW_INT8:
        graph.train(sample(vectors, metric, scale, at_least=1))
    return graph


def load(kind: IndexKind, vectors: Floats, metric: Metric, artefact: Path, size: int | None = None) -> HnswIndex:
    """Opens the graph in `artefact` in milliseconds. ValueError when it is not one over these vectors."""
    header, graph, mapped = approximate.read(kind, faiss.IndexHNSWSQ, vectors, metric, artefact, size)
    return HnswIndex(header, graph, mapped, vectors)
