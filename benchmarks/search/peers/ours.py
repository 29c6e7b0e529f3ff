"""`vectorfleet serve`, filled by the SDK and asked over gRPC."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.search import processes
from benchmarks.search.measures import Floats, Ids
from benchmarks.search.peers.base import ALL, NAME, Ask
from benchmarks.search.peers.wire import Wired
from vectorfleet import AsyncClient
from vectorfleet.v1 import vectorfleet_pb2 as pb

_BATCH: Final = 1000
_IN_FLIGHT: Final = 4
_SEALED: Final = 3600.0  # seconds
_SETTLED: Final = 6  # looks in a row at which nothing was left to do
_LOOK: Final = 0.25
_STARTED: Final = 60.0  # seconds


class VectorFleet(Wired):
    """See `Peer`. Its effort is ef. The variant is the index type, Auto unless told.

    Options: `fronts`, processes that take its calls, none unless told; `http_port`, where it tells its metrics.
    """

    method = "/vectorfleet.v1.VectorFleet/Search"
    efforts = (10, 2000)

    async def load(self, rows: Floats, percent: Ids) -> None:
        """See `Peer`. Waits until no row is growing and nothing is merged or built."""
        self.log = self.folder / "log"
        self._start()
        async with AsyncClient(self.address, timeout=600.0) as client:
            index = self.variant or "Auto"
            await client.create_collection(NAME, rows.shape[1], index=index, key="Int64", fields={"percent": "Int64"})
            room = asyncio.Semaphore(_IN_FLIGHT)

            async def write(start: int) -> None:
                async with room:
                    part = slice(start, start + _BATCH)
                    keys = range(start, min(start + _BATCH, len(rows)))
                    await client.upsert(NAME, list(keys), rows[part], fields={"percent": percent[part].tolist()})

            await asyncio.gather(*(write(start) for start in range(0, len(rows), _BATCH)))
            await self._settled(client)

    def _start(self) -> None:
        command: list[str | Path] = [Path(sys.prefix) / "bin" / "vectorfleet", "serve"]
        command += ["--data", self.folder / "data", "--port", "0"]
        if port := self.options.get("http_port"):
            command += ["--http-port", str(port)]
        os.environ["VECTORFLEET_FRONTS"] = str(self.options.get("fronts", 0))
        self.start(command)
        deadline = time.monotonic() + _STARTED
        while " on " not in (said := self.log.read_text()):
            self.check_running()
            if time.monotonic() > deadline:
                raise RuntimeError(f"vectorfleet serve has not started after {_STARTED:.0f} s: {said}")
            time.sleep(0.02)
        self.address = said.split(" on ")[1].split()[0]

    async def _settled(self, client: AsyncClient) -> None:
        looks = 0
        async with asyncio.timeout(_SEALED):
            while looks < _SETTLED:
                info = await client.describe(NAME)
                busy = any(copy.compaction for shard in info.shards for copy in shard.replicas)
                looks = looks + 1 if info.sealed and not busy else 0
                await asyncio.sleep(_LOOK)

    async def serve(self, cores: Sequence[int]) -> None:
        """See `Peer`. Starts anew, so that its threads are as many as its cores."""
        self.stop()
        with processes.on(cores):
            self._start()
        async with AsyncClient(self.address, timeout=600.0) as client:
            await self._settled(client)

    def requests(self, queries: Floats, ask: Ask) -> list[Any]:
        """See `Peer`."""
        return [
            pb.SearchRequest(
                collection=NAME,
                dimensions=queries.shape[1],
                queries=queries[start : start + ask.batch].tobytes(),
                k=ask.k,
                filter=f"percent < {ask.below}" if ask.below < ALL else "",
                params=pb.SearchParams(ef=ask.effort),
            ).SerializeToString()
            for start in range(0, len(queries), ask.batch)
        ]

    def found(self, answer: Any) -> list[list[int]]:
        """See `Peer`."""
        return [list(hits.rows.keys.ints) for hits in pb.SearchResponse.FromString(answer).results]

    async def about(self) -> dict[str, Any]:
        """Where it is; rows and index of each sealed segment, in their order; bytes of the artefacts that are open."""
        async with AsyncClient(self.address) as client:
            dimensions = (await client.describe(NAME)).vectors[0].dimensions
            told = (await client.search(NAME, [[1.0] * dimensions], k=1, explain=True)).explanation
        segments = [(each.rows, each.index) for shard in told for each in shard.segments]
        artefacts = sum(path.stat().st_size for path in (self.folder / "data" / ".cache").rglob("*.index"))
        return {"address": self.address, "segments": segments, "artefact_bytes": artefacts}
