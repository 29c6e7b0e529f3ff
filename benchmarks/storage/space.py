"""How much the store holds for each live byte, and how often a byte was written, under a load of updates.

What is behind the oldest manifest that is kept is collected when newer ones come. So the load ends with a few tiny
flushes, else the last part of a load's log would be counted, whose size has nothing to do with the shard's.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np

from benchmarks.storage import shards
from benchmarks.storage.figures import Figure, Report
from benchmarks.storage.metered import MeteredStore
from vectorfleet_node.shard.replica import ShardReplica
from vectorfleet_node.shard.settings import ShardSettings
from vectorfleet_node.storage.local import LocalStore

DIMENSIONS: Final = 128
_BATCH: Final = 250
_LOOK: Final = 1.0  # seconds
SETTINGS: Final = replace(ShardSettings(), tidy_idle=5.0)  # an idle shard is tidied up after a minute, else
_QUIET: Final = 10  # looks without a change: compaction and collection have come to rest


async def settled(replica: ShardReplica, store: MeteredStore) -> None:
    """Merges what there is to merge, and waits until nothing is written or collected any more."""
    await replica.flush()
    await replica.compact()
    for _ in range(SETTINGS.keep_manifests):
        await shards.upsert(replica, shards.Rows(shards.schema(DIMENSIONS), 1, seed=1).part(range(1)))
        await replica.flush()
    quiet, before = 0, -1
    while quiet < _QUIET:
        await asyncio.sleep(_LOOK)
        now = store.written.total() + store.deleted
        quiet = quiet + 1 if now == before else 0
        before = now


async def load(replica: ShardReplica, rows: int, updates: int) -> int:
    """Inserts `rows` rows, then sends `updates` more of which each second one replaces a random row; the live rows."""
    rng, made = np.random.default_rng(1), shards.Rows(shards.schema(DIMENSIONS), _BATCH, seed=1)
    for part in made.parts(0, rows // _BATCH):
        await shards.upsert(replica, part)
    live = rows
    for turn in range(updates // _BATCH):
        half = _BATCH // 2
        replaced = rng.choice(live, _BATCH - half, replace=False)
        keys = np.concatenate([np.arange(live, live + half), replaced])
        await shards.upsert(replica, made.part(keys, turn))
        live += half
    return live


async def run(folder: Path, *, rows: int, updates: int) -> Report:
    """Measures, in `folder`."""
    with TemporaryDirectory(dir=folder, prefix="bench-") as scratch:
        store = MeteredStore(await asyncio.to_thread(LocalStore.open, Path(scratch, "data")))
        async with shards.leading(store, shards.schema(DIMENSIONS), Path(scratch, "cache"), SETTINGS) as replica:
            live = await load(replica, rows, updates)
            before = _bytes_below(Path(scratch, "data"))
            await settled(replica, store)
            after, segments = _bytes_below(Path(scratch, "data")), len(replica.view().blocks)
    sent = shards.key_and_vector_bytes(rows + updates, DIMENSIONS)
    held = shards.key_and_vector_bytes(live, DIMENSIONS)
    written = {kind: size / 2**20 for kind, size in store.written.items()}
    return Report(
        "space",
        (
            f"{rows:,} rows of {DIMENSIONS} x float32, then {updates:,} more of which half replace one; {live:,} live",
            f"the store held {before / 2**20:,.0f} MiB when the load ended; compared is what it held after compaction "
            f"and collection, in {segments} segments",
            "write amplification: bytes written to the store for each byte of keys and vectors sent; "
            + ", ".join(f"{kind} {size:,.0f} MiB" for kind, size in sorted(written.items())),
        ),
        (
            Figure("stored", after / 2**20, "MiB", held / 2**20, "live rows", "at most", 1.5),
            Figure("written in all", store.written.total() / 2**20, "MiB", sent / 2**20, "rows sent"),
            Figure("written as segments", written.get("segments", 0.0), "MiB", sent / 2**20, "rows sent"),
        ),
    )


def _bytes_below(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
