"""Chroma's server, asked over HTTP with JSON: the only protocol that it has."""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.search import processes
from benchmarks.search.loads import Refused
from benchmarks.search.measures import Floats, Ids
from benchmarks.search.peers.base import EF_CONSTRUCTION, LINKS, NAME, Ask
from benchmarks.search.peers.served import Served

_BATCH: Final = 1000
_COLLECTIONS: Final = "/api/v2/tenants/default_tenant/databases/default_database/collections"
_OK: Final = 200


class Chroma(Served):
    """See `Peer`. Its effort is ef_search, which is the collection's and no request's."""

    async def load(self, rows: Floats, percent: Ids) -> None:
        """See `Peer`."""
        http: Any = importlib.import_module("aiohttp")
        self._effort = 0
        self._cores: Sequence[int] = sorted(os.sched_getaffinity(0))
        self._port = processes.free_port()
        self.log = self.folder / "log"
        self._session = http.ClientSession(f"http://localhost:{self._port}", connector=http.TCPConnector(limit=0))
        await self._started()
        graph = {"space": "cosine", "ef_construction": EF_CONSTRUCTION, "max_neighbors": LINKS, "batch_size": _BATCH}
        graph["sync_threshold"] = 10 * _BATCH
        made = await self._told("post", _COLLECTIONS, {"name": NAME, "configuration": {"hnsw": graph}})
        self._path = f"{_COLLECTIONS}/{made['id']}"
        for start in range(0, len(rows), _BATCH):
            part = rows[start : start + _BATCH].tolist()
            ids = [str(place) for place in range(start, start + len(part))]
            await self._told("post", f"{self._path}/upsert", {"ids": ids, "embeddings": part})
        await self._told("post", f"{self._path}/query", {"query_embeddings": [rows[0].tolist()], "n_results": 1})

    async def _started(self) -> None:
        program = Path(sys.prefix) / "bin" / "chroma"
        self.start([program, "run", "--path", self.folder / "data", "--port", str(self._port)])
        errors = importlib.import_module("aiohttp").ClientConnectionError
        async with asyncio.timeout(60):
            while True:
                try:
                    await self._told("get", "/api/v2/heartbeat", None)
                except errors:
                    self.check_running()
                    await asyncio.sleep(0.1)
                else:
                    return

    async def _told(self, method: str, path: str, body: Any) -> Any:
        async with self._session.request(method, path, json=body, timeout=None) as answer:
            if answer.status not in (_OK, _OK + 1):
                raise RuntimeError(f"{method} {path}: {answer.status} {await answer.text()}")
            return await answer.json()

    async def prepare(self, ask: Ask) -> None:
        """See `Peer`. An index that is open keeps the effort that it was opened with: the server starts anew."""
        if ask.effort != self._effort:
            wanted = {"hnsw": {"ef_search": max(ask.effort, ask.k)}}
            await self._told("put", self._path, {"new_configuration": wanted})
            self._effort = ask.effort
            self.stop()
            with processes.on(self._cores):
                await self._started()

    async def serve(self, cores: Sequence[int]) -> None:
        """See `Peer`."""
        self._cores = cores
        await super().serve(cores)

    def requests(self, queries: Floats, ask: Ask) -> list[Any]:
        """See `Peer`."""
        return [
            json.dumps({"query_embeddings": [query], "n_results": ask.k, "include": []}).encode()
            for query in queries.tolist()
        ]

    async def send(self, request: Any, client: int) -> Any:
        """See `Peer`."""
        headers = {"content-type": "application/json"}
        async with self._session.post(f"{self._path}/query", data=request, headers=headers) as answer:
            body = await answer.read()
        if answer.status != _OK:
            raise Refused(f"HTTP {answer.status}")
        return body

    def found(self, answer: Any) -> list[list[int]]:
        """See `Peer`."""
        return [[int(key) for key in keys] for keys in json.loads(answer)["ids"]]

    async def close(self) -> None:
        """See `Peer`."""
        await self._session.close()
        self.stop()
