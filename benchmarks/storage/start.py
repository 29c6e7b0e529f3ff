"""How fast a shard starts when its files are on the node's volume, and when they are not, beside reading those bytes.

The page cache is dropped before each turn. A start is measured in a process of its own, so that its peak of memory is
its own.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from benchmarks.storage import bare, memory, shards
from benchmarks.storage.figures import Figure, Report, file_system, median
from vectorfleet.schema import IndexType
from vectorfleet_node.shard.settings import ShardSettings
from vectorfleet_node.storage.local import LocalStore

DIMENSIONS: Final = 128
_BATCH: Final = 10_000
_MIB: Final = 2**20

Opened = dict[str, float]  # as `opening.opened` returns it


async def fill(data: Path, cache: Path, rows: int, index: IndexType) -> None:
    """A shard of that many rows, flushed, with its files in the cache."""
    store = await asyncio.to_thread(LocalStore.open, data)
    collection = shards.schema(DIMENSIONS, index)
    async with shards.leading(store, collection, cache, ShardSettings()) as replica:
        for part in shards.Rows(collection, _BATCH, seed=1).parts(0, rows // _BATCH):
            await shards.upsert(replica, part)
        await replica.flush()


def _open(data: Path, cache: Path, index: IndexType) -> Opened:
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "benchmarks.storage.opening",
        data,
        cache,
        str(DIMENSIONS),
        index.value,
    ]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    result: Opened = json.loads(done.stdout)
    return result


def _copy(files: list[Path], folder: Path) -> float:
    """Seconds of `bare.copy_files` into a folder that is gone afterwards."""
    try:
        return bare.copy_files(files, folder)
    finally:
        shutil.rmtree(folder)


async def run(folder: Path, *, rounds: int, rows: int, index: IndexType) -> Report:
    """Measures, in `folder`."""
    reads: list[float] = []
    copies: list[float] = []
    warm: list[Opened] = []
    cold: list[Opened] = []
    with TemporaryDirectory(dir=folder, prefix="bench-") as scratch:
        data, cache, empty = (Path(scratch, name) for name in ("data", "cache", "empty"))
        await fill(data, cache, rows, index)
        files = sorted(path for path in cache.rglob("*") if path.is_file())
        size = sum(path.stat().st_size for path in files)
        for _ in range(rounds):
            dropped = memory.make_cold(files)
            reads.append(bare.read_files(files))
            memory.make_cold(files)
            warm.append(_open(data, cache, index))
            memory.make_cold(files)
            copies.append(_copy(files, Path(scratch, "copy")))
            memory.make_cold(files)
            cold.append(_open(data, empty, index))
            shutil.rmtree(empty)
    about = (
        f"{rows:,} rows of {DIMENSIONS} x float32, {index.value} index; {rounds} rounds, medians",
        f"{len(files)} files of {size / _MIB:,.0f} MiB on {file_system(folder)}, made cold by {dropped}",
        "memory is VmHWM after every vector was read once; live data is keys and vectors; an idle process is one that "
        "has imported the node and opened nothing",
    )
    live = shards.key_and_vector_bytes(rows, DIMENSIONS)
    return Report(f"start-{index.value.lower()}", about, _figures(reads, warm, copies, cold, live))


def _figures(
    reads: list[float], warm: list[Opened], copies: list[float], cold: list[Opened], live: int
) -> tuple[Figure, ...]:
    peak, idle = (median([one[name] for one in warm]) / _MIB for name in ("peak", "idle"))
    seconds_warm, seconds_cold = (median([one["seconds"] for one in starts]) for starts in (warm, cold))
    data = live / _MIB
    return (
        Figure("start from a warm cache", seconds_warm, "s", median(reads), "reading the files", "at most", 1.5),
        Figure("start from the store", seconds_cold, "s", median(copies), "copying the files durably"),
        Figure("peak memory beyond an idle process", peak - idle, "MiB", data, "live data", "at most", 1.3),
        Figure("peak memory", peak, "MiB", data, "live data"),
    )
