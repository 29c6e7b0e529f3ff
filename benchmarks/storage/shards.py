"""One shard's replica in this process, on real clocks, and rows for it. Used by every benchmark of this package."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vectorfleet.schema import CollectionSchema, IndexType, VectorSchema
from vectorfleet_node.engine.cpu import CpuEngine
from vectorfleet_node.shard.batch import KEY_COLUMN, arrow_schema, vector_column
from vectorfleet_node.shard.port import UpsertPart
from vectorfleet_node.shard.replica import ShardReplica
from vectorfleet_node.shard.settings import Observer, ShardSettings
from vectorfleet_node.storage.log import Log, genesis
from vectorfleet_node.storage.store import Store

UID: Final = "0" * 32
SHARD: Final = 0
_VECTOR: Final = "default"
_NEVER_OLD: Final = 1 << 62  # a floor that no request table has passed


class Clock:
    """`shard.settings.Clock` by the machine's clocks."""

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return time.monotonic()

    def wall(self) -> float:
        """Seconds since the epoch."""
        return time.time()


def schema(dimensions: int, index: IndexType = IndexType.EXACT) -> CollectionSchema:
    """One shard of rows with one vector and no fields. Exact: what is measured is storage, not the build of graphs."""
    return CollectionSchema(vectors=(VectorSchema(name=_VECTOR, dimensions=dimensions, index=index),), shards=1)


def replica_of(
    store: Store, collection: CollectionSchema, cache: Path, settings: ShardSettings, observer: Observer | None = None
) -> ShardReplica:
    """A replica that has not started."""
    return ShardReplica(
        store,
        UID,
        collection,
        SHARD,
        CpuEngine(),
        cache,
        owner=secrets.token_hex(16),
        address="localhost:1",
        clock=Clock(),
        sleep=asyncio.sleep,
        new_id=lambda: secrets.token_hex(16),
        settings=settings,
        observer=observer,
    )


@asynccontextmanager
async def leading(
    store: Store, collection: CollectionSchema, cache: Path, settings: ShardSettings, observer: Observer | None = None
) -> AsyncIterator[ShardReplica]:
    """The leader of a shard, which is made when the store has none yet."""
    log = Log(store, UID, SHARD, sleep=asyncio.sleep)
    await log.create_first(genesis(UID, SHARD, secrets.token_bytes(16), int(time.time() * 1000)))
    replica = replica_of(store, collection, cache, settings, observer)
    try:
        await replica.start()
        await replica.take_over()
        yield replica
    finally:
        await replica.stop()


async def upsert(replica: ShardReplica, part: UpsertPart) -> int:
    """Writes a part under a fresh request id, waiting for room as long as it takes; its log position."""
    return await replica.append(secrets.token_hex(16), _NEVER_OLD, part, patience=600.0)


class Rows:
    """Makes parts of random rows. Keys are numbered; vectors are drawn once and used again, for speed."""

    def __init__(self, collection: CollectionSchema, rows: int, seed: int) -> None:
        """rows: in each part."""
        self._schema = arrow_schema(collection)
        self._rows = rows
        (vector,) = collection.vectors
        self._vectors: NDArray[np.float32] = np.random.default_rng(seed).standard_normal(
            (rows, vector.dimensions), np.float32
        )

    def part(self, keys: NDArray[np.int64] | range, turn: int = 0) -> UpsertPart:
        """The rows with these keys (as many as each part has); another turn gives other vectors."""
        vectors = np.roll(self._vectors, turn, axis=0)[: len(keys)]
        flat = pa.array(vectors.reshape(-1))
        columns = {
            KEY_COLUMN: pa.array([f"key-{key:012d}" for key in keys]),
            vector_column(_VECTOR): pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1]),
        }
        return UpsertPart(pa.RecordBatch.from_pydict(columns, schema=self._schema))

    def parts(self, first: int, count: int) -> Iterator[UpsertPart]:
        """Parts with keys from `first` on."""
        for turn in range(count):
            start = first + turn * self._rows
            yield self.part(range(start, start + self._rows), turn)


def key_and_vector_bytes(rows: int, dimensions: int) -> int:
    """What rows as `Rows` makes them are worth, in bytes: their key, their vector, nothing else."""
    return rows * (dimensions * 4 + len(f"key-{0:012d}"))
