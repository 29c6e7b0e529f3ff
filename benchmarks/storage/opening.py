"""Opens a shard in a process of its own and says how long that took and how much memory. Run by `start`.

`python -m benchmarks.storage.opening DATA CACHE DIMENSIONS INDEX` prints one line of JSON. Imports are done before the
clock starts: a node is a process already when it is given a shard.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

import numpy as np
import uvloop

from benchmarks.storage import shards
from vectorfleet.schema import IndexType
from vectorfleet_node.engine.port import SearchOptions
from vectorfleet_node.shard.settings import ShardSettings
from vectorfleet_node.storage.local import LocalStore


def _status(field: str) -> int:
    """A field of /proc/self/status in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise LookupError(field)


async def opened(data: Path, cache: Path, dimensions: int, index: IndexType) -> dict[str, float]:
    """seconds from the start of a replica until it is ready; rows; idle, peak: resident bytes before, and at most."""
    idle = _status("VmRSS")
    start = time.perf_counter()
    store = await asyncio.to_thread(LocalStore.open, data)
    replica = shards.replica_of(store, shards.schema(dimensions, index), cache, ShardSettings())
    await replica.start()
    seconds = time.perf_counter() - start
    report = replica.report()
    if not report.ready:
        raise RuntimeError(f"the replica is not ready: {report.message}")
    query = np.ones((1, dimensions), np.float32)
    for block in replica.view().blocks:  # everything is held in memory now
        (found,) = block.indexes.values()
        found.search(query, 1, allow=block.live, options=SearchOptions(exact=True))
    await replica.stop()
    return {"seconds": seconds, "rows": report.rows, "idle": idle, "peak": _status("VmHWM")}


if __name__ == "__main__":
    arguments = sys.argv[1:]
    result = uvloop.run(opened(Path(arguments[0]), Path(arguments[1]), int(arguments[2]), IndexType(arguments[3])))
    print(json.dumps(result))
