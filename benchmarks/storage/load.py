"""The load of the figures: writers that send batches of rows to one shard. Used by `append` and `s3`."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from benchmarks.storage import shards
from vectorfleet_node.shard.port import UpsertPart
from vectorfleet_node.shard.replica import ShardReplica

DIMENSIONS: Final = 768
BATCH: Final = 100
WRITERS: Final = 16


def described(rounds: int, parts: int) -> tuple[str, str]:
    """The load in two sentences."""
    return (
        f"{WRITERS} writers with batches of {BATCH} rows of {DIMENSIONS} x float32, one shard",
        f"{rounds} rounds of {parts} batches, medians; what is compared with writes objects as large as the records",
    )


async def saturate(replica: ShardReplica, parts: list[UpsertPart]) -> float:
    """Seconds that WRITERS writers need for the parts, each sending its next one when the last is acknowledged."""
    waiting = iter(parts)

    async def write() -> None:
        for part in waiting:
            await shards.upsert(replica, part)

    start = time.perf_counter()
    await asyncio.gather(*(write() for _ in range(WRITERS)))
    return time.perf_counter() - start


async def pace(replica: ShardReplica, parts: list[UpsertPart], rate: float) -> list[float]:
    """Sends `rate` parts a second whether or not they are acknowledged; seconds of each from when it was due."""
    start = time.perf_counter()

    async def write(part: UpsertPart, due: float) -> float:
        await shards.upsert(replica, part)
        return time.perf_counter() - due

    sent = []
    for number, part in enumerate(parts):
        due = start + number / rate
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        sent.append(asyncio.create_task(write(part, due)))
    return await asyncio.gather(*sent)
