"""The engines that are compared, each behind the same three calls. `worker` makes one of them, in its own process.

vectorfleet is a server process that is asked by its SDK over gRPC; qdrant-edge and faiss are libraries within the
worker: their figures hold no network, which favours them.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Protocol

from benchmarks.search.measures import Floats

LINKS: Final = 16
EF_CONSTRUCTION: Final = 200
_BATCH: Final = 1000
_NAME: Final = "bench"
_SEALED: Final = 1800.0  # seconds


class Peer(Protocol):
    """One engine. `pid` is the process that holds the data, None for the worker itself."""

    pid: int | None

    def load(self, rows: Floats) -> None:
        """Stores and indexes the rows, keys being their places; returns when searches use the index."""

    def search(self, query: Floats, k: int, effort: int) -> list[int]:
        """Places of the k best rows for one query of shape (dimensions,); `effort` is the candidate list's size."""

    def close(self) -> None:
        """Ends what was started."""


class Faiss:
    """HNSW over fp16 without any server: the limit."""

    pid: int | None = None

    def __init__(self, folder: Path) -> None:
        self._faiss: Any = importlib.import_module("faiss")

    def load(self, rows: Floats) -> None:
        """See `Peer`."""
        dimensions = rows.shape[1]
        self._index = self._faiss.IndexHNSWSQ(dimensions, self._faiss.ScalarQuantizer.QT_fp16, LINKS)
        self._index.hnsw.efConstruction = EF_CONSTRUCTION
        self._index.train(rows)
        self._index.add(rows)

    def search(self, query: Floats, k: int, effort: int) -> list[int]:
        """See `Peer`."""
        self._faiss.omp_set_num_threads(1)
        parameters = self._faiss.SearchParametersHNSW(efSearch=effort)
        ids: list[int] = self._index.search(query[None], k, params=parameters)[1][0].tolist()
        return ids

    def close(self) -> None:
        """See `Peer`."""


class QdrantEdge:
    """Qdrant's engine as a library."""

    pid: int | None = None

    def __init__(self, folder: Path) -> None:
        self._q: Any = importlib.import_module("qdrant_edge")
        self._folder = folder / "qdrant"
        self._folder.mkdir()

    def load(self, rows: Floats) -> None:
        """See `Peer`."""
        q = self._q
        graph = q.HnswIndexConfig(m=LINKS, ef_construct=EF_CONSTRUCTION, full_scan_threshold=10)
        vectors = q.EdgeVectorParams(size=rows.shape[1], distance=q.Distance.Cosine, hnsw_config=graph)
        optimizers = q.EdgeOptimizersConfig(indexing_threshold=100, default_segment_number=1)
        config = q.EdgeConfig(vectors=vectors, optimizers=optimizers)
        self._shard = q.EdgeShard.create(str(self._folder), config)
        for start in range(0, len(rows), _BATCH):
            part = enumerate(rows[start : start + _BATCH].tolist(), start)
            self._shard.update(q.UpdateOperation.upsert_points([q.Point(place, row, None) for place, row in part]))
        self._shard.optimize()

    def search(self, query: Floats, k: int, effort: int) -> list[int]:
        """See `Peer`."""
        wanted = self._q.QueryRequest(
            limit=k, query=self._q.Query.Nearest(query.tolist()), params=self._q.SearchParams(hnsw_ef=effort)
        )
        return [point.id for point in self._shard.query(wanted)]

    def close(self) -> None:
        """See `Peer`."""
        self._shard.close()


class VectorFleet:
    """`vectorfleet serve` and the SDK."""

    def __init__(self, folder: Path) -> None:
        command: list[str | Path] = [
            Path(sys.prefix) / "bin" / "vectorfleet", "serve", "--data", folder / "data", "--port", "0",
        ]  # fmt: skip
        self._server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        self.pid: int | None = self._server.pid
        line = self._server.stderr.readline() if self._server.stderr else ""
        if " on " not in line:
            self._server.kill()
            raise RuntimeError(f"vectorfleet serve did not start: {line.strip()}")
        client: Any = importlib.import_module("vectorfleet").Client
        self._client = client(line.split(" on ")[1].split()[0], timeout=600.0)

    def load(self, rows: Floats) -> None:
        """See `Peer`. Waits until no row is growing."""
        self._client.create_collection(_NAME, rows.shape[1], index="HNSW", key="Int64")
        for start in range(0, len(rows), _BATCH):
            part = rows[start : start + _BATCH]
            self._client.upsert(_NAME, list(range(start, start + len(part))), part)
        deadline = time.monotonic() + _SEALED
        while not self._client.describe(_NAME).sealed:
            if time.monotonic() > deadline:
                raise RuntimeError(f"vectorfleet has growing rows {_SEALED:.0f} s after the last write")
            time.sleep(0.05)

    def search(self, query: Floats, k: int, effort: int) -> list[int]:
        """See `Peer`."""
        hits = self._client.search(_NAME, query, k=k, ef=effort).hits[0]
        return [int(hit.key) for hit in hits]

    def close(self) -> None:
        """See `Peer`."""
        self._client.close()
        self._server.terminate()
        self._server.wait(30)


PEERS: Final[dict[str, Callable[[Path], Peer]]] = {
    "vectorfleet": VectorFleet,
    "qdrant-edge": QdrantEdge,
    "faiss": Faiss,
}
