"""What HNSW and PQ indexes have in common: nominees of a faiss index are ranked again by the raw vectors.

So the scores are those of a scan to the last bit, and only who is nominated is approximate. Where the plan says that a
scan is cheaper or surer, and where an index came home with too few rows, the raw vectors are scanned. Also how such an
index becomes a file and is opened again. The trap: faiss keeps bare pointers to bitmaps and mapped bytes, so Python has
to own them; and the thread count of OpenMP belongs to the calling thread.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import faiss
import numpy as np
from numpy.typing import NDArray

from vectorfleet.schema import IndexKind, Metric
from vectorfleet_node.engine.artefact import HEADER_BYTES, Header, check_header
from vectorfleet_node.engine.encoding import padded_dimensions, prepare
from vectorfleet_node.engine.exact import ExactIndex
from vectorfleet_node.engine.planner import candidates
from vectorfleet_node.engine.port import EngineTrace, Floats, Ids, Mask, SearchOptions
from vectorfleet_node.engine.scoring import padded, rank_all, rows_per_chunk

_STEP_ROWS: Final = 4096  # between two looks whether a build is still wanted; a graph depends on it
_faiss: Any = faiss  # its stubs know neither all classes nor the constructors that its Python layer adds


class ApproximateIndex(ABC):
    """An opened artefact.

    Args:
        header: of the artefact.
        body: the faiss index over prepared vectors.
        mapped: the bytes that `body` points into.
        vectors: (rows, dimensions) float32, raw; perhaps a read-only memory map. Must not change.
    """

    def __init__(self, header: Header, body: Any, mapped: NDArray[np.uint8], vectors: Floats) -> None:
        self._header = header
        self._body = body
        self._mapped = mapped
        self._vectors = vectors
        self._exact = ExactIndex(vectors, header.metric)

    @property
    def kind(self) -> IndexKind:
        """What the artefact's header says."""
        return self._header.kind

    @property
    def rows(self) -> int:
        """How many vectors it holds."""
        return len(self._vectors)

    @abstractmethod
    def _effort(self, allowed: int, k: int, options: SearchOptions) -> int | None:
        """How hard to look when `allowed` rows may be returned; None: scan these instead."""

    @abstractmethod
    def _told(self, effort: int) -> str:
        """The plan for humans."""

    @abstractmethod
    def _parameters(self, k: int, effort: int, selector: Any) -> Any:
        """faiss's parameters of a search for k rows; selector: which rows may be returned, None for all."""

    def search(
        self, queries: Floats, k: int, *, allow: Mask | None, options: SearchOptions, trace: EngineTrace | None = None
    ) -> tuple[Floats, Ids]:
        """See `port.Index.search`."""
        allowed = self.rows if allow is None else int(np.count_nonzero(allow))
        effort = self._effort(allowed, k, options)
        if effort is None:
            return self._exact.search(queries, k, allow=allow, options=options, trace=trace)
        found = self._nominate(queries, candidates(k, self.rows), effort, None if allowed == self.rows else allow)
        scores, ids = rank_all(self._vectors, found, queries, self._header.metric, k)
        # A walk can end early: behind many equal rows, or where the allowed rows are an island.
        too_few = ids[:, min(k, allowed) - 1] < 0
        if trace is not None:
            trace.plan = self._told(effort)
            if few := int(np.count_nonzero(too_few)):
                trace.plan += f"; came home short for {few} of {len(queries)} queries: scan of {allowed} rows"
        if not too_few.any():
            return scores, ids
        short = np.flatnonzero(too_few)
        ranked = list(zip(scores, ids, strict=True))
        answers = self._exact.search(queries[short], k, allow=allow, options=options)
        for number, *answer in zip(short, *answers, strict=True):
            ranked[number] = tuple(answer)
        return padded(ranked, k)

    def _nominate(self, queries: Floats, k: int, effort: int, allow: Mask | None) -> Ids:
        selector = None
        if allow is not None:
            bits = np.packbits(allow, bitorder="little")
            selector = _faiss.IDSelectorBitmap(bits)  # points into `bits`; the parameters point to it
        parameters = self._parameters(k, effort, selector)
        faiss.omp_set_num_threads(1)
        prepared = prepare(queries, self._header.metric, self._header.scale)
        ids: Ids = self._body.search(prepared, k, params=parameters)[1]
        return ids


def fill(body: Any, vectors: Floats, metric: Metric, scale: float, added: Callable[[Any], None] | None = None) -> None:
    """Adds the vectors that a trained faiss index lacks, prepared, some at a time; `added` is told after each time."""
    step = min(_STEP_ROWS, rows_per_chunk(vectors.shape[1], 4))
    for start in range(body.ntotal, len(vectors), step):
        body.add(prepare(vectors[start : start + step], metric, scale))
        if added is not None:
            added(body)


def write(body: Any, header: Header, artefact: Path) -> None:
    """Writes a faiss index as an artefact and syncs it. The header's body_bytes are found here."""
    with artefact.open("wb") as file:
        file.write(bytes(HEADER_BYTES))
        faiss.write_index(body, _faiss.PyCallbackIOWriter(file.write))
        length = file.tell() - HEADER_BYTES
        file.seek(0)
        file.write(Header(header.kind, header.metric, header.dimensions, header.rows, length, header.scale).pack())
        file.flush()
        os.fsync(file.fileno())


def read(
    kind: IndexKind, form: type[Any], vectors: Floats, metric: Metric, artefact: Path, size: int | None
) -> tuple[Header, Any, NDArray[np.uint8]]:
    """Header, faiss index and mapped bytes of an artefact, in milliseconds: it is not built.

    form: the faiss class it has to be. ValueError when it is not an index of that kind over these vectors.
    """
    header = check_header(artefact, kind, metric, vectors.shape, size)
    mapped = np.memmap(artefact, np.uint8, "r", offset=HEADER_BYTES, shape=header.body_bytes)
    try:
        body = _faiss.read_index(_faiss.ZeroCopyIOReader(faiss.swig_ptr(mapped), mapped.size))
    except RuntimeError as error:
        raise ValueError(f"{artefact.name} is damaged: {error}") from None
    if not isinstance(body, form) or (body.ntotal, body.d) != (header.rows, padded_dimensions(header.dimensions)):
        raise ValueError(f"{artefact.name} is damaged: its body is no {kind} over {header.rows} x {header.dimensions}")
    return header, body, mapped
