"""Qdrant's engine as a library (`qdrant-edge-py`); no package has its server."""

from __future__ import annotations

import importlib
from typing import Any, Final

from benchmarks.search.measures import Floats, Ids
from benchmarks.search.peers.base import EF_CONSTRUCTION, LINKS, Ask, Peer

_BATCH: Final = 1000


class QdrantEdge(Peer):
    """See `Peer`. Its effort is hnsw_ef."""

    blocking = True

    async def load(self, rows: Floats, percent: Ids) -> None:
        """See `Peer`."""
        q: Any = importlib.import_module("qdrant_edge")
        graph = q.HnswIndexConfig(m=LINKS, ef_construct=EF_CONSTRUCTION, full_scan_threshold=10)
        vectors = q.EdgeVectorParams(size=rows.shape[1], distance=q.Distance.Cosine, hnsw_config=graph)
        optimizers = q.EdgeOptimizersConfig(indexing_threshold=100, default_segment_number=1)
        folder = self.folder / "shard"
        folder.mkdir()
        self._q = q
        self._shard = q.EdgeShard.create(str(folder), q.EdgeConfig(vectors=vectors, optimizers=optimizers))
        for start in range(0, len(rows), _BATCH):
            part = enumerate(rows[start : start + _BATCH].tolist(), start)
            self._shard.update(q.UpdateOperation.upsert_points([q.Point(place, row, None) for place, row in part]))
        self._shard.optimize()

    def requests(self, queries: Floats, ask: Ask) -> list[Any]:
        """See `Peer`."""
        q, parameters = self._q, self._q.SearchParams(hnsw_ef=ask.effort)
        return [
            q.QueryRequest(limit=ask.k, query=q.Query.Nearest(query), params=parameters) for query in queries.tolist()
        ]

    def send(self, request: Any, client: int) -> Any:
        """See `Peer`."""
        return self._shard.query(request)

    def found(self, answer: Any) -> list[list[int]]:
        """See `Peer`."""
        return [[point.id for point in answer]]

    async def close(self) -> None:
        """See `Peer`."""
        self._shard.close()
