"""A scan of 4-bit product quantizer codes by faiss, the nearest refined by fp16 copies. Made by `CpuEngine`.

Codes of half a byte for 4 dimensions (2 in short vectors) are compared by table look-ups in registers: every row is
looked at, so a filter costs no recall, and an index over 100,000 rows is built in seconds. The price is memory traffic:
while the codes fit in the cache it beats a graph, and beyond it does not (`choosing` knows the limit). Traps: without
the one-celled IVF around it this scan takes no filter; after a load faiss refines nothing unless each search says so.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import faiss

from vectorfleet.schema import IndexKind, Metric
from vectorfleet_node.engine import approximate
from vectorfleet_node.engine.approximate import ApproximateIndex
from vectorfleet_node.engine.artefact import Header
from vectorfleet_node.engine.encoding import codes_of, padded_dimensions, sample, scale_of
from vectorfleet_node.engine.planner import refined
from vectorfleet_node.engine.port import Floats, SearchOptions

_ROWS_TO_TRAIN: Final = 1024  # faiss warns below 39 for each of its 16 centroids
_faiss: Any = faiss  # its stubs know neither all classes nor the constructors that its Python layer adds


class PqIndex(ApproximateIndex):
    """Opened codes. The effort is how many rows the codes nominate to be refined."""

    def _effort(self, allowed: int, k: int, options: SearchOptions) -> int | None:
        return refined(self.rows, allowed, k, self._header.metric, options)

    def _told(self, effort: int) -> str:
        return f"codes, refine {effort}"

    def _parameters(self, k: int, effort: int, selector: Any) -> Any:
        scan = _faiss.SearchParametersIVF(nprobe=1, sel=selector)
        # faiss multiplies by k again and rounds down.
        return _faiss.IndexRefineSearchParameters(k_factor=(effort + 0.5) / k, base_index_params=scan)


def build(vectors: Floats, metric: Metric, artefact: Path, threads: int) -> PqIndex:
    """Makes the codes with `threads` threads, writes them to `artefact` and returns them, opened."""
    rows, dimensions = vectors.shape
    scale = scale_of(vectors, metric)
    measure = faiss.METRIC_INNER_PRODUCT if metric is Metric.DOT else faiss.METRIC_L2
    recipe = f"IVF1,PQ{codes_of(dimensions)}x4fs,Refine(SQfp16)"
    codes = _faiss.index_factory(padded_dimensions(dimensions), recipe, measure)
    faiss.omp_set_num_threads(threads)
    codes.train(sample(vectors, metric, scale, at_least=_ROWS_TO_TRAIN))
    approximate.fill(codes, vectors, metric, scale)
    approximate.write(codes, Header(IndexKind.PQ, metric, dimensions, rows, scale=scale), artefact)
    return load(vectors, metric, artefact)


def load(vectors: Floats, metric: Metric, artefact: Path, size: int | None = None) -> PqIndex:
    """Opens the codes in `artefact` in milliseconds. ValueError when they are not over these vectors."""
    header, codes, mapped = approximate.read(IndexKind.PQ, faiss.IndexRefine, vectors, metric, artefact, size)
    scan = _faiss.downcast_index(codes.base_index)
    if not isinstance(scan, _faiss.IndexIVFPQFastScan) or codes_of(header.dimensions) != scan.pq.M:
        raise ValueError(f"{artefact.name} is damaged: its codes are not those of this version")
    return PqIndex(header, codes, mapped, vectors)
