"""How fast durable writes are acknowledged on an S3 server, beside bare obstore puts of the same sizes, one at a time.

One at a time because that is the protocol: a shard has one put in flight. More shards, more puts.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import obstore

from benchmarks.storage import memory, shards
from benchmarks.storage.append import NEVER_FLUSHED, Round
from benchmarks.storage.figures import Figure, Report, file_system, median
from benchmarks.storage.gateway import Gateway, gateway
from benchmarks.storage.load import BATCH, DIMENSIONS, described, saturate
from benchmarks.storage.metered import MeteredStore
from vectorfleet_node.api.assembly import REMOTE_COMMIT_WINDOW
from vectorfleet_node.shard.port import UpsertPart

SETTINGS: Final = replace(NEVER_FLUSHED, commit_window=REMOTE_COMMIT_WINDOW)


async def bare_puts(store: Any, sizes: Sequence[int]) -> float:
    """Seconds that creates of these sizes take, one after the other."""
    body = os.urandom(max(sizes))
    bodies = [body[:size] for size in sizes]
    start = time.perf_counter()
    for number, part in enumerate(bodies):
        await obstore.put_async(store, f"{number:020d}", part, mode="create", use_multipart=False)
    return time.perf_counter() - start


async def one_round(server: Gateway, folder: Path, number: int, parts: list[UpsertPart]) -> Round:
    """One turn of the engine, one of obstore."""
    store = MeteredStore(server.store(f"engine-{number}"))
    collection = shards.schema(DIMENSIONS)
    async with shards.leading(store, collection, folder / f"cache-{number}", SETTINGS) as replica:
        before = len(store.log_sizes)
        memory.touch_memory()
        seconds = await saturate(replica, parts)
        memory.touch_memory()
        raw = await bare_puts(server.bare(f"bare-{number}"), store.log_sizes[before:])
    rows = len(parts) * BATCH
    return Round(rows / seconds, rows / raw)


async def run(folder: Path, *, rounds: int, parts: int) -> Report:
    """Measures against versitygw over a folder in `folder`."""
    made = list(shards.Rows(shards.schema(DIMENSIONS), BATCH, seed=1).parts(0, parts))
    with TemporaryDirectory(dir=folder, prefix="bench-") as scratch, gateway(Path(scratch)) as server:
        await one_round(server, Path(scratch), 0, made)  # warms up
        done = [await one_round(server, Path(scratch), number, made) for number in range(1, rounds + 1)]
    return Report(
        "s3",
        (
            *described(rounds, parts),
            f"the store is versitygw over a folder on {file_system(folder)}, on the same machine",
        ),
        (
            Figure(
                "acknowledged",
                median([one.rate for one in done]),
                "rows/s",
                median([one.raw_rate for one in done]),
                "bare obstore puts",
                "at least",
                0.7,
            ),
        ),
    )
