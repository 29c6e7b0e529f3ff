"""One peer in a process of its own: commands as JSON lines on stdin, one JSON line for each on stdout.

`remote.Worker` starts it with the Python of the environment that has the peer. The end of stdin closes the peer. For a
server this is the client's process, for a library the engine's.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import sys
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final, TextIO

import numpy as np
import uvloop

from benchmarks.search import loads, processes
from benchmarks.search.loads import Sample, Until
from benchmarks.search.measures import Ids, recall
from benchmarks.search.peers import known
from benchmarks.search.peers.base import Ask, Peer

_TUNING_CLIENTS: Final = 8
_CONNECTIONS: Final = 16  # at most, for queries that arrive at random


@dataclass
class Bench:
    """The peer and the files of `data.lay_down`."""

    peer: Peer
    folder: Path

    def __post_init__(self) -> None:
        self._rows = np.load(self.folder / "rows.npy", mmap_mode="r")
        self._percent = np.load(self.folder / "percent.npy")
        self._queries = np.load(self.folder / "queries.npy")
        self._truth = cache(lambda below: np.load(self.folder / f"truth-{below}.npy"))

    async def load(self) -> dict[str, Any]:
        """Seconds until everything is stored and indexed."""
        began = time.perf_counter()
        await self.peer.load(self._rows, self._percent)
        return {"seconds": time.perf_counter() - began}

    async def serve(self, server: list[int], client: list[int], **options: Any) -> dict[str, Any]:
        """Puts the peer on its cores, and this process on the client's if it is not the peer itself.

        options: of the peer, from now on.
        """
        self.peer.options |= options
        await self.peer.serve(server)
        processes.pin([os.getpid()], client if self.peer.pids() else server)
        return {}

    async def once(self, ask: dict[str, int]) -> dict[str, Any]:
        """Asks each query once; the recall."""
        shape = Ask(**ask)
        sample = await self._closed(shape, _TUNING_CLIENTS, Until(requests=-(-len(self._queries) // shape.batch)))
        return {"recall": self._recall(sample, shape), "failed": sample.failed}

    async def efforts(self) -> dict[str, Any]:
        """The least and the largest that the peer can be asked with."""
        least, most = self.peer.efforts
        return {"least": least, "most": most}

    async def closed(self, ask: dict[str, int], clients: int, seconds: float) -> dict[str, Any]:
        """Clients that wait for their answers. CPU seconds a query are the server's, or the library's.

        client_share: CPU over time of the client beside a server; near 1 the client is the limit.
        """
        shape, pids = Ask(**ask), self.peer.pids()
        before, mine = processes.cpu(pids), time.process_time()
        sample = await self._closed(shape, clients, Until(seconds=seconds))
        mine = time.process_time() - mine
        used = processes.cpu(self.peer.pids()) - before if pids else mine
        queries = shape.batch * len(sample.seconds)
        share = mine / sample.wall if pids else 0.0
        told = {"qps": queries / sample.wall, "server_cpu": used / max(queries, 1), "client_share": share}
        return told | _times(sample.seconds) | {"recall": self._recall(sample, shape), "failed": sample.failed}

    async def opened(self, ask: dict[str, int], rate: float, seconds: float, seed: int) -> dict[str, Any]:
        """Queries that arrive at random times, `rate` a second."""
        shape = Ask(**ask)
        gaps = np.random.default_rng(seed).exponential(1 / rate, max(1, round(rate * seconds)))
        due = np.cumsum(gaps)
        await self.peer.connect(_CONNECTIONS)
        await self.peer.prepare(shape)
        requests = self.peer.requests(self._queries, shape)
        if self.peer.blocking:
            sample = await asyncio.to_thread(loads.arriving_threads, self.peer.send, requests, due)
        else:
            sample = await loads.arriving(self.peer.send, requests, due)
        told = {"rate": rate, "sent": len(due), "qps": len(sample.seconds) / sample.wall}
        return told | _times(sample.seconds) | {"recall": self._recall(sample, shape), "failed": sample.failed}

    async def memory(self) -> dict[str, Any]:
        """Bytes, as `processes.memory` has them."""
        return processes.memory(self.peer.pids() or [os.getpid()])

    async def about(self) -> dict[str, Any]:
        """See `Peer.about`."""
        return await self.peer.about()

    async def _closed(self, ask: Ask, clients: int, until: Until) -> Sample:
        await self.peer.connect(clients)
        await self.peer.prepare(ask)
        requests = self.peer.requests(self._queries, ask)
        if self.peer.blocking:
            return await asyncio.to_thread(loads.threads, self.peer.send, requests, clients, until)
        return await loads.clients(self.peer.send, requests, clients, until)

    def _recall(self, sample: Sample, ask: Ask) -> float:
        """Of the queries that were answered; 0 when none was."""
        truth: Ids = self._truth(ask.below)
        found, right = [], []
        for place, answer in sample.answers.items():
            rows = range(place * ask.batch, min((place + 1) * ask.batch, len(truth)))
            found += self.peer.found(answer)
            right += [truth[row] for row in rows]
        return recall(found, np.array(right)) if found else 0.0


def _times(seconds: list[float]) -> dict[str, float]:
    """Quantiles in milliseconds."""
    names = {"p50_ms": 0.5, "p99_ms": 0.99, "p999_ms": 0.999}
    return {name: float(np.quantile(seconds, share)) * 1e3 if seconds else 0.0 for name, share in names.items()}


async def _serve(bench: Bench, answers: TextIO) -> None:
    try:
        while line := await asyncio.to_thread(sys.stdin.readline):
            told = json.loads(line)
            answer = await getattr(bench, told.pop("do"))(**told)
            answers.write(json.dumps(answer) + "\n")
            answers.flush()
    finally:
        await bench.peer.close()


async def _run(name: str, folder: Path, options: dict[str, Any], answers: TextIO) -> None:
    found = known(name)
    module = importlib.import_module(f"benchmarks.search.peers.{found.module}")
    own = folder / name.replace(":", "-")
    own.mkdir()
    peer: Peer = getattr(module, found.cls)(own, name.partition(":")[2], options)
    await _serve(Bench(peer, folder), answers)


def main() -> None:
    """Arguments: the peer's name, the folder of the data, and its options as JSON."""
    name, folder, options = sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3])
    with os.fdopen(os.dup(sys.stdout.fileno()), "w") as answers:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # a library's own words are no answers
        uvloop.run(_run(name, folder, options, answers))


if __name__ == "__main__":
    main()
