"""LanceDB as a library: HNSW over 8-bit codes in one partition, candidates ranked again by the stored vectors."""

from __future__ import annotations

import importlib
from typing import Any, Final

import numpy as np

from benchmarks.search.measures import Floats, Ids
from benchmarks.search.peers.base import EF_CONSTRUCTION, LINKS, NAME, Ask, Peer

_REFINE: Final = 2  # times k candidates are ranked again
_BATCH: Final = 20_000


class LanceDb(Peer):
    """See `Peer`. Its effort is ef."""

    efforts = (20, 1000)

    async def load(self, rows: Floats, percent: Ids) -> None:
        """See `Peer`."""
        lance, arrow = importlib.import_module("lancedb"), importlib.import_module("pyarrow")
        index: Any = importlib.import_module("lancedb.index")
        self._database = await lance.connect_async(str(self.folder / "lance"))
        kind = arrow.list_(arrow.float32(), rows.shape[1])
        schema = arrow.schema([("id", arrow.int64()), ("vector", kind)])
        self._table = await self._database.create_table(NAME, schema=schema)
        for start in range(0, len(rows), _BATCH):
            part = np.ascontiguousarray(rows[start : start + _BATCH])
            vectors = arrow.FixedSizeListArray.from_arrays(arrow.array(part.reshape(-1)), rows.shape[1])
            ids = arrow.array(range(start, start + len(part)), arrow.int64())
            await self._table.add(arrow.table([ids, vectors], schema=schema))
        await self._table.optimize()
        graph = index.HnswSq(distance_type="cosine", num_partitions=1, m=LINKS, ef_construction=EF_CONSTRUCTION)
        await self._table.create_index("vector", config=graph)

    def requests(self, queries: Floats, ask: Ask) -> list[Any]:
        """See `Peer`."""
        return [(query, ask) for query in queries]

    async def send(self, request: Any, client: int) -> Any:
        """See `Peer`. A query object is made here: it cannot be used twice. Without `_distance` it warns each time."""
        query, ask = request
        asked = self._table.query().nearest_to(query).ef(max(ask.effort, _REFINE * ask.k)).refine_factor(_REFINE)
        return await asked.select(["id", "_distance"]).limit(ask.k).to_arrow()

    def found(self, answer: Any) -> list[list[int]]:
        """See `Peer`."""
        return [answer.column("id").to_pylist()]
