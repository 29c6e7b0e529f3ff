"""HNSW by faiss: a graph over fp16 copies of the vectors, candidates ranked again by the raw vectors.

Made by `CpuEngine` for sealed segments; the artefact is memory-mapped, so processes share its pages. Traps: the
graph cannot change once it is searched; a scalar quantizer is many times slower when the dimensions are no multiple
of 16; the thread count of OpenMP belongs to the calling thread; faiss keeps bare pointers to bitmaps and mapped
bytes, so Python has to own them. Dot: the graph walks by inner product, which is no distance. It keeps its recall
when lengths differ (20,000 x 64, lognormal(1): .998 at ef 200, where a reduction to L2 by an added dimension falls
to .5), but under a filter it loses some (.94 at 10 %), and the planner scans more rows.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

import faiss
import numpy as np
from numpy.typing import NDArray

from vectorfleet.schema import IndexKind, Metric
from vectorfleet_node.engine.artefact import HEADER_BYTES, Header, check_header
from vectorfleet_node.engine.exact import ExactIndex
from vectorfleet_node.engine.planner import candidates, plan
from vectorfleet_node.engine.port import Floats, Ids, Mask, SearchOptions
from vectorfleet_node.engine.scoring import padded, rank, rows_per_chunk

LINKS: Final = 16  # M: edges per row and level (twice as many on the lowest)
EF_CONSTRUCTION: Final = 200
_PAD: Final = 16
_faiss: Any = faiss  # its stubs know neither all classes nor the constructors that its Python layer adds
_TOP_EXPONENT: Final = 8  # components are scaled below 2**8: far from fp16's ends at 65504 and 6e-5


class HnswIndex:
    """An opened graph: `graph` is a faiss.IndexHNSW over prepared vectors, `mapped` the bytes that it points into."""

    def __init__(self, graph: Any, mapped: NDArray[np.uint8], scale: float, vectors: Floats, metric: Metric) -> None:
        self._graph = graph
        self._mapped = mapped
        self._scale = scale
        self._vectors = vectors
        self._metric = metric
        self._exact = ExactIndex(vectors, metric)

    @property
    def kind(self) -> IndexKind:
        """Always HNSW."""
        return IndexKind.HNSW

    @property
    def rows(self) -> int:
        """How many vectors it holds."""
        return len(self._vectors)

    def search(self, queries: Floats, k: int, *, allow: Mask | None, options: SearchOptions) -> tuple[Floats, Ids]:
        """See `port.Index.search`. Walks the graph, or scans where the plan says that this is cheaper or surer."""
        allowed = self.rows if allow is None else int(np.count_nonzero(allow))
        ef = plan(self.rows, allowed, self._vectors.shape[1], k, self._metric, options)
        if ef is None:
            return self._exact.search(queries, k, allow=allow, options=options)
        found = self._walk(queries, candidates(k, self.rows), ef, None if allowed == self.rows else allow)
        ranked = [
            rank(self._vectors, rows[rows >= 0], query, self._metric, k)
            for rows, query in zip(found, queries, strict=True)
        ]
        # A walk can end early: behind many equal rows, or where the allowed rows are an island.
        short = [number for number, (_, ids) in enumerate(ranked) if len(ids) < min(k, allowed)]
        if short:
            answers = self._exact.search(queries[short], k, allow=allow, options=options)
            for number, scores, ids in zip(short, *answers, strict=True):
                ranked[number] = scores, ids
        return padded(ranked, k)

    def _walk(self, queries: Floats, k: int, ef: int, allow: Mask | None) -> Ids:
        parameters = _faiss.SearchParametersHNSW(efSearch=ef)
        if allow is not None:
            bits = np.packbits(allow, bitorder="little")
            selector = _faiss.IDSelectorBitmap(bits)  # points into `bits`; `parameters` points to it
            parameters.sel = selector
        faiss.omp_set_num_threads(1)
        ids: Ids = self._graph.search(_prepare(queries, self._metric, self._scale), k, params=parameters)[1]
        return ids


def build(vectors: Floats, metric: Metric, artefact: Path, threads: int) -> HnswIndex:
    """Makes the graph with `threads` threads, writes it to `artefact` and returns it, memory-mapped."""
    rows, dimensions = vectors.shape
    scale = _scale(vectors, metric)
    kind = faiss.METRIC_INNER_PRODUCT if metric is Metric.DOT else faiss.METRIC_L2
    graph = _faiss.IndexHNSWSQ(_padded(dimensions), faiss.ScalarQuantizer.QT_fp16, LINKS, kind)
    graph.hnsw.efConstruction = EF_CONSTRUCTION
    faiss.omp_set_num_threads(threads)
    step = rows_per_chunk(dimensions, 4)
    for start in range(0, rows, step):
        graph.add(_prepare(vectors[start : start + step], metric, scale))
    with artefact.open("wb") as file:
        file.write(bytes(HEADER_BYTES))
        faiss.write_index(graph, _faiss.PyCallbackIOWriter(file.write))
        body = file.tell() - HEADER_BYTES
        file.seek(0)
        file.write(Header(IndexKind.HNSW, metric, dimensions, rows, body, scale).pack())
        file.flush()
        os.fsync(file.fileno())
    return load(vectors, metric, artefact)


def load(vectors: Floats, metric: Metric, artefact: Path, size: int | None = None) -> HnswIndex:
    """Opens the graph in `artefact` in milliseconds. ValueError when it is not one over these vectors."""
    header = check_header(artefact, IndexKind.HNSW, metric, vectors.shape, size)
    mapped = np.memmap(artefact, np.uint8, "r", offset=HEADER_BYTES, shape=header.body_bytes)
    try:
        graph = _faiss.read_index(_faiss.ZeroCopyIOReader(faiss.swig_ptr(mapped), mapped.size))
    except RuntimeError as error:
        raise ValueError(f"{artefact.name} is damaged: {error}") from None
    if not isinstance(graph, faiss.IndexHNSW) or (graph.ntotal, graph.d) != (header.rows, _padded(header.dimensions)):
        raise ValueError(f"{artefact.name} is damaged: its body is no graph over {header.rows} x {header.dimensions}")
    return HnswIndex(graph, mapped, header.scale, vectors, metric)


def _padded(dimensions: int) -> int:
    return -(-dimensions // _PAD) * _PAD


def _scale(vectors: Floats, metric: Metric) -> float:
    """A power of two (it adds no rounding) that brings the largest component near the top of fp16's best range."""
    if metric is Metric.COSINE or not vectors.size:
        return 1.0
    step = rows_per_chunk(vectors.shape[1], 4)
    largest = max(float(np.abs(vectors[start : start + step]).max()) for start in range(0, len(vectors), step))
    return 2.0 ** (_TOP_EXPONENT - int(np.frexp(largest)[1])) if largest else 1.0


def _prepare(vectors: Floats, metric: Metric, scale: float) -> Floats:
    """What the graph holds of vectors: scaled, for Cosine of length 1 (L2 then orders as cosine does), zero-padded."""
    rows, dimensions = vectors.shape
    out = np.zeros((rows, _padded(dimensions)), np.float32)
    np.multiply(vectors, np.float32(scale), out=out[:, :dimensions])
    if metric is Metric.COSINE:
        lengths = np.sqrt(np.einsum("ij,ij->i", out, out))
        out /= np.maximum(lengths, np.finfo(np.float32).tiny)[:, None]
    return out
