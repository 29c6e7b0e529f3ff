"""Our engine without a server: the same indexes over the same rows, asked in the worker's own threads.

What it costs here is what a served query costs at least; `overhead` subtracts the two.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.search.measures import Floats, Ids
from benchmarks.search.peers.base import Ask, Peer, batches
from vectorfleet.schema import IndexKind, Metric
from vectorfleet_node.engine.cpu import CpuEngine
from vectorfleet_node.engine.port import Index, SearchOptions


class RawEngine(Peer):
    """See `Peer`. Its effort is ef. Option `segments`: (rows, kind of index) of each, as `ours.VectorFleet.about`
    tells; one HNSW unless told.
    """

    blocking = True
    efforts = (10, 2000)

    async def load(self, rows: Floats, percent: Ids) -> None:
        """See `Peer`."""
        engine = CpuEngine()
        self._indexes: list[tuple[int, Index]] = []
        start = 0
        for count, kind in self.options.get("segments", [(len(rows), IndexKind.HNSW)]):
            part = np.ascontiguousarray(rows[start : start + count])
            artefact = self.folder / f"{start}.index"
            self._indexes.append((start, engine.build(IndexKind(kind), part, Metric.COSINE, artefact)))
            start += count
        if start != len(rows):
            raise ValueError(f"the segments have {start} rows and there are {len(rows)}")

    def requests(self, queries: Floats, ask: Ask) -> list[Any]:
        """See `Peer`."""
        return [(part, ask) for part in batches(queries, ask.batch)]

    def send(self, request: Any, client: int) -> Any:
        """See `Peer`."""
        queries, ask = request
        options = SearchOptions(ef=ask.effort)
        answers = [index.search(queries, ask.k, allow=None, options=options) for _, index in self._indexes]
        if len(answers) == 1:
            return answers[0][1]
        starts = [start for start, _ in self._indexes]
        ids = np.hstack([np.where(ids < 0, -1, ids + start) for start, (_, ids) in zip(starts, answers, strict=True)])
        scores = np.hstack([np.where(ids < 0, -np.inf, scores) for scores, ids in answers])
        best = np.argsort(-scores, axis=1, kind="stable")[:, : ask.k]
        return np.take_along_axis(ids, best, axis=1)

    def found(self, answer: Any) -> list[list[int]]:
        """See `Peer`."""
        ids: list[list[int]] = answer.tolist()
        return ids
