"""The shard under test: the product's own replica over a store in memory, in one event loop."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

from vectorfleet.schema import CollectionSchema, FieldSchema, FieldType, IndexType, KeyType, Metric, VectorSchema
from vectorfleet_node.engine.cpu import CpuEngine
from vectorfleet_node.shard.batch import arrow_schema
from vectorfleet_node.shard.port import UpsertPart
from vectorfleet_node.shard.replica import ShardReplica
from vectorfleet_node.shard.settings import ShardSettings
from vectorfleet_node.storage.log import Log, genesis
from vectorfleet_node.storage.memory import MemoryStore

from .oracle import Key, Row

UID: Final = "0123456789abcdef"
# Nothing is sealed and nothing merged unless a case says so.
SETTINGS: Final = ShardSettings(
    commit_window=0, seal_idle=1e9, publish_records=10**9, poll=0.01, poll_idle=0.05, scrub_seconds=0
)


class HoldingStore(MemoryStore):
    """A store in memory that holds back the first operation whose key contains what it was told."""

    def __init__(self) -> None:
        super().__init__()
        self.held = asyncio.Event()
        self._wanted = ""
        self._released = asyncio.Event()

    def hold(self, part: str) -> None:
        """From now on; `held` is set when an operation waits."""
        self._wanted = part
        self.held.clear()
        self._released.clear()

    def release(self) -> None:
        """Lets it go on, and nothing is held any more."""
        self._wanted = ""
        self._released.set()

    async def create(self, key: str, body: bytes) -> bool:
        """See `Store.create`."""
        await self._pass(key)
        return await super().create(key, body)

    async def upload(self, key: str, path: Path) -> None:
        """See `Store.upload`."""
        await self._pass(key)
        await super().upload(key, path)

    async def _pass(self, key: str) -> None:
        if self._wanted and self._wanted in key:
            self._wanted = ""
            self.held.set()
            await self._released.wait()


class _Clock:
    def monotonic(self) -> float:
        return time.monotonic()

    def wall(self) -> float:
        return time.time()


def schema(metric: Metric, key: KeyType, index: IndexType, dimensions: int) -> CollectionSchema:
    """A collection with one vector and a field of each scalar type."""
    return CollectionSchema(
        key=key,
        vectors=(VectorSchema(dimensions=dimensions, metric=metric, index=index),),
        fields=(
            FieldSchema(name="lang", type=FieldType.STRING, indexed=True),
            FieldSchema(name="year", type=FieldType.INT64, indexed=True),
            FieldSchema(name="price", type=FieldType.FLOAT64, indexed=True),
            FieldSchema(name="open", type=FieldType.BOOL),
        ),
        shards=1,
    )


async def new_shard(store: MemoryStore) -> None:
    """Makes slot 1 of the shard's log."""
    await Log(store, UID, 0, sleep=asyncio.sleep).create_first(genesis(UID, 0, bytes(16), 1))


def make_replica(store: MemoryStore, collection: CollectionSchema, cache: Path, name: str) -> ShardReplica:
    """A replica that has not started. The same name gives the same identifiers: use each once in a case."""
    return ShardReplica(
        store,
        UID,
        collection,
        0,
        CpuEngine(build_threads=1),
        cache,
        owner=f"owner-{name}",
        address=f"{name}:7301",
        clock=_Clock(),
        sleep=asyncio.sleep,
        new_id=_ids(name),
        settings=SETTINGS,
    )


async def in_pieces(part: UpsertPart) -> AsyncIterator[pa.RecordBatch]:
    """The rows as an import takes them, in two batches."""
    half = part.rows.num_rows // 2
    for piece in (part.rows[:half], part.rows[half:]):
        yield piece


def upsert_part(collection: CollectionSchema, rows: dict[Key, Row]) -> UpsertPart:
    """The rows as a write."""
    flat = pa.array(np.array([row.vector for row in rows.values()], np.float32).reshape(-1))
    columns: dict[str, object] = {
        "key": list(rows),
        "vector.default": pa.FixedSizeListArray.from_arrays(flat, collection.vectors[0].dimensions),
    }
    columns |= {f"field.{f.name}": [row.fields[f.name] for row in rows.values()] for f in collection.fields}
    return UpsertPart(pa.RecordBatch.from_pydict(columns, schema=arrow_schema(collection)))


def _ids(seed: str) -> Callable[[], str]:
    source = random.Random(seed)
    return lambda: f"{source.getrandbits(128):032x}"
