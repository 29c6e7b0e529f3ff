"""How fast and how late durable writes are acknowledged, in a local directory, beside a bare loop of the same creates.

Rounds of the engine and of the bare loop take turns, each in a folder of its own. Nothing is flushed within a round:
this is the path of an acknowledgement. `sustained` lets everything run, for information: each byte is then written
three times (log, segment file, its copy in the store), and two cores build what they acknowledge.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np

from benchmarks.storage import bare, memory, shards
from benchmarks.storage.figures import Figure, Report, file_system, median
from benchmarks.storage.load import BATCH, DIMENSIONS, WRITERS, described, pace, saturate
from benchmarks.storage.metered import MeteredStore
from vectorfleet_node.api.assembly import LOCAL_COMMIT_WINDOW
from vectorfleet_node.shard.replica import ShardReplica
from vectorfleet_node.shard.settings import ShardSettings
from vectorfleet_node.storage.local import LocalStore

_WARM_UP: Final = 2 * WRITERS  # batches before latencies are measured
DEFAULT: Final = ShardSettings(commit_window=LOCAL_COMMIT_WINDOW)
NEVER_FLUSHED: Final = replace(DEFAULT, seal_rows=1 << 40, seal_bytes=1 << 50, seal_idle=1e9, publish_bytes=1 << 50)


@dataclass(frozen=True)
class Round:
    """One turn of the engine and one of the bare loop: rows a second of both."""

    rate: float
    raw_rate: float


@dataclass(frozen=True)
class Paced:
    """One turn at half load: seconds from when a batch was due to its acknowledgement, and those of bare creates."""

    latencies: list[float]
    creates: list[float]


class Bench:
    """Runs rounds below a folder on the file system to measure."""

    def __init__(self, folder: Path, parts: int) -> None:
        """parts: batches of a round."""
        self._folder = folder
        self._parts = list(shards.Rows(shards.schema(DIMENSIONS), BATCH, seed=1).parts(0, parts))

    async def full(self) -> Round:
        """One round under full load."""
        async with _Turn(self._folder, NEVER_FLUSHED) as turn:
            memory.touch_memory()
            seconds = await saturate(turn.replica, self._parts)
            memory.touch_memory()
            raw = await asyncio.to_thread(bare.create_files, turn.folder / "bare", turn.store.log_sizes[1:])
        rows = len(self._parts) * BATCH
        return Round(rows / seconds, rows / sum(raw))

    async def half(self, rows_per_second: float) -> Paced:
        """One round under the load given."""
        async with _Turn(self._folder, NEVER_FLUSHED) as turn:
            memory.touch_memory()
            await saturate(turn.replica, self._parts[:_WARM_UP])
            before = len(turn.store.log_sizes)
            latencies = await pace(turn.replica, self._parts[_WARM_UP:], rows_per_second / BATCH)
            memory.touch_memory()
            creates = await asyncio.to_thread(bare.create_files, turn.folder / "bare", turn.store.log_sizes[before:])
        return Paced(latencies, creates)

    async def sustained(self, parts: int) -> float:
        """Rows a second with the default settings: rows are flushed and segments merged meanwhile."""
        async with _Turn(self._folder, DEFAULT) as turn:
            rows = shards.Rows(shards.schema(DIMENSIONS), BATCH, seed=1)
            seconds = await saturate(turn.replica, list(rows.parts(0, parts)))
        return parts * BATCH / seconds


class _Turn:
    """A new shard in a new folder, both gone afterwards."""

    replica: ShardReplica
    store: MeteredStore
    folder: Path

    def __init__(self, folder: Path, settings: ShardSettings) -> None:
        self._parent = folder
        self._settings = settings
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> _Turn:
        self.folder = Path(self._stack.enter_context(TemporaryDirectory(dir=self._parent, prefix="bench-")))
        local = await asyncio.to_thread(LocalStore.open, self.folder / "data")
        self.store = MeteredStore(local)
        collection = shards.schema(DIMENSIONS)
        self.replica = await self._stack.enter_async_context(
            shards.leading(self.store, collection, self.folder / "cache", self._settings)
        )
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._stack.aclose()


async def run(folder: Path, *, rounds: int, parts: int, sustained_parts: int) -> Report:
    """Measures, in `folder`."""
    bench = Bench(folder, parts)
    await bench.full()  # warms up
    full = [await bench.full() for _ in range(rounds)]
    rate = median([one.rate for one in full])
    half = [await bench.half(rate / 2) for _ in range(rounds)]
    p99 = median([float(np.quantile(one.latencies, 0.99)) for one in half])
    create = median([seconds for one in half for seconds in one.creates])
    sustained = await bench.sustained(sustained_parts)
    allowed = (3 * create + LOCAL_COMMIT_WINDOW) * 1e3
    return Report(
        "append",
        (
            *described(rounds, parts),
            f"the store is a local folder on {file_system(folder)}",
            "half load: batches are due at even intervals, and late from when they were due",
            "sustained: with the default settings, rows are flushed and merged meanwhile; Exact index",
        ),
        (
            Figure(
                "acknowledged", rate, "rows/s", median([one.raw_rate for one in full]), "bare creates", "at least", 0.5
            ),
            Figure("p99 at half load", p99 * 1e3, "ms", allowed, "3 creates + commit window", "at most", 1.0),
            Figure("median at half load", median([x for one in half for x in one.latencies]) * 1e3, "ms"),
            Figure("one bare create at half load", create * 1e3, "ms"),
            Figure("sustained", sustained, "rows/s"),
        ),
    )
