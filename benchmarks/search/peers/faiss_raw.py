"""faiss as a library: HNSW over fp16 without any server, which is the limit."""

from __future__ import annotations

import importlib
import os
from typing import Any

import numpy as np

from benchmarks.search.measures import Floats, Ids
from benchmarks.search.peers.base import EF_CONSTRUCTION, LINKS, Ask, Peer, batches


class RawFaiss(Peer):
    """See `Peer`. Its effort is efSearch."""

    blocking = True

    async def load(self, rows: Floats, percent: Ids) -> None:
        """See `Peer`."""
        self._faiss: Any = importlib.import_module("faiss")
        self._faiss.omp_set_num_threads(len(os.sched_getaffinity(0)))
        self._index = self._faiss.IndexHNSWSQ(rows.shape[1], self._faiss.ScalarQuantizer.QT_fp16, LINKS)
        self._index.hnsw.efConstruction = EF_CONSTRUCTION
        self._index.train(np.ascontiguousarray(rows))
        self._index.add(np.ascontiguousarray(rows))

    def requests(self, queries: Floats, ask: Ask) -> list[Any]:
        """See `Peer`."""
        parameters = self._faiss.SearchParametersHNSW(efSearch=ask.effort)
        return [(part, ask.k, parameters) for part in batches(queries, ask.batch)]

    def send(self, request: Any, client: int) -> Any:
        """See `Peer`."""
        queries, k, parameters = request
        self._faiss.omp_set_num_threads(1)  # belongs to the calling thread
        return self._index.search(queries, k, params=parameters)[1]

    def found(self, answer: Any) -> list[list[int]]:
        """See `Peer`."""
        ids: list[list[int]] = answer.tolist()
        return ids
