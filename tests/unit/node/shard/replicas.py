"""Replicas over a store in memory, with clocks and identifiers of the test's own. For the tests of this folder."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vectorfleet.schema import CollectionSchema, FieldSchema, FieldType, IndexType, VectorSchema
from vectorfleet_node.engine.cpu import CpuEngine
from vectorfleet_node.engine.port import SearchOptions
from vectorfleet_node.shard.batch import arrow_schema
from vectorfleet_node.shard.blocks import Segment
from vectorfleet_node.shard.budget import CacheBudget
from vectorfleet_node.shard.port import DeletePart, ReplicaReport, UpsertPart
from vectorfleet_node.shard.replica import ShardReplica
from vectorfleet_node.shard.rowhash import to_hex
from vectorfleet_node.shard.settings import Observer, ShardSettings
from vectorfleet_node.shard.view import Key, ShardView
from vectorfleet_node.storage.format import FORMAT
from vectorfleet_node.storage.log import Log, Sleep, genesis
from vectorfleet_node.storage.store import Store

UID = "0123456789abcdef"
DIMENSIONS = 8
SCHEMA = CollectionSchema(
    vectors=(VectorSchema(name="default", dimensions=DIMENSIONS),),
    fields=(
        FieldSchema(name="lang", type=FieldType.STRING, indexed=True),
        FieldSchema(name="year", type=FieldType.INT64),
    ),
    shards=1,
)
FLOOR = 1 << 40  # of requests that are never too old
# Nothing is sealed unless a test says so, and nothing waits long.
QUIET = ShardSettings(commit_window=0, seal_idle=1e9, publish_records=10**9, poll=0.01, poll_idle=0.05, scrub_seconds=0)


def indexed(kind: IndexType) -> CollectionSchema:
    """SCHEMA with another index."""
    vectors = (VectorSchema(name="default", dimensions=DIMENSIONS, index=kind),)
    return SCHEMA.model_copy(update={"vectors": vectors})


@dataclass
class TestClock:
    """The machine's clock, plus what a test adds to it."""

    __test__ = False
    added: float = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self.added

    def wall(self) -> float:
        return time.time() + self.added


@dataclass
class Counts:
    """What a replica's observer was told."""

    built: int = 0
    loaded: int = 0
    appended: list[float] = field(default_factory=list)
    flushed: list[int] = field(default_factory=list)
    compacted: list[int] = field(default_factory=list)
    reindexed: list[int] = field(default_factory=list)
    collected: Counter[str] = field(default_factory=Counter)

    def observer(self) -> Observer:
        def built() -> None:
            self.built += 1

        def loaded() -> None:
            self.loaded += 1

        def collected(kind: str, count: int) -> None:
            self.collected[kind] += count

        return Observer(
            self.appended.append,
            built,
            loaded,
            flushed=self.flushed.append,
            compacted=self.compacted.append,
            reindexed=self.reindexed.append,
            collected=collected,
        )


def ids(seed: int | str) -> Callable[[], str]:
    """A source of identifiers that differs for each seed."""
    source = random.Random(str(seed))
    return lambda: f"{source.getrandbits(128):032x}"


async def new_shard(store: Store, shard: int = 0) -> None:
    """Makes slot 1 of a shard's log."""
    await Log(store, UID, shard, sleep=asyncio.sleep).create_first(genesis(UID, shard, bytes(16), 1))


def make_replica(
    store: Store,
    cache: Path,
    name: str = "a",
    *,
    schema: CollectionSchema = SCHEMA,
    settings: ShardSettings = QUIET,
    counts: Counts | None = None,
    clock: TestClock | None = None,
    sleep: Sleep = asyncio.sleep,
    budget: CacheBudget | None = None,
    fleet_format: Callable[[], int] = lambda: FORMAT,
) -> ShardReplica:
    """A replica that has not started. The same name gives the same identifiers: use each once per test."""
    return ShardReplica(
        store,
        UID,
        schema,
        0,
        CpuEngine(build_threads=1),
        cache / name,
        owner=f"owner-{name}",
        address=f"{name}:7301",
        clock=clock or TestClock(),
        sleep=sleep,
        new_id=ids(name),
        settings=settings,
        observer=(counts or Counts()).observer(),
        budget=budget,
        fleet_format=fleet_format,
    )


@asynccontextmanager
async def running(*replicas: ShardReplica) -> AsyncIterator[None]:
    """Starts the replicas and stops them."""
    try:
        for replica in replicas:
            await replica.start()
        yield
    finally:
        for replica in replicas:
            await replica.stop()


@asynccontextmanager
async def leading(replica: ShardReplica) -> AsyncIterator[ShardReplica]:
    """Starts the replica, lets it lead, and stops it."""
    async with running(replica):
        await replica.take_over()
        yield replica


async def abandon(replica: ShardReplica) -> None:
    """Ends a replica as a kill would: tasks end where they are, nothing is decided, told or tidied up."""
    reigns = [*replica._ended, *([replica._reign] if replica._reign else [])]
    for reign in reigns:
        reign.leadership.ended = True
    tasks = [*replica._tasks, *([replica._taking] if replica._taking else [])]
    tasks += [task for reign in reigns for task in (reign._sending, *reign._jobs, *reign.importer._running.values())]
    shared = [replica._check, replica._follower.adoption, *(reign.publisher.sealing for reign in reigns)]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, *(run.close() for run in shared), return_exceptions=True)


def vectors_of(count: int, seed: int, dimensions: int = DIMENSIONS) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((count, dimensions), np.float32)


def upsert(
    keys: Sequence[Key],
    seed: int = 0,
    *,
    schema: CollectionSchema = SCHEMA,
    lang: str | None = "en",
    year: int | None = 0,
) -> UpsertPart:
    """Rows with random vectors; every row has the fields given."""
    columns: dict[str, object] = {"key": list(keys)}
    for vector in schema.vectors:
        flat = pa.array(vectors_of(len(keys), seed, vector.dimensions).reshape(-1))
        columns[f"vector.{vector.name}"] = pa.FixedSizeListArray.from_arrays(flat, vector.dimensions)
    given = {"field.lang": lang, "field.year": year}
    columns |= {f"field.{f.name}": [given.get(f"field.{f.name}")] * len(keys) for f in schema.fields}
    return UpsertPart(pa.RecordBatch.from_pydict(columns, schema=arrow_schema(schema)))


def delete(*keys: Key) -> DeletePart:
    return DeletePart(tuple(keys))


_request_numbers = itertools.count()


async def write(replica: ShardReplica, part: UpsertPart | DeletePart, request_id: str = "", floor: int = FLOOR) -> int:
    return await replica.append(request_id or f"request-{next(_request_numbers)}", floor, part)


def contents(view: ShardView) -> dict[Key, tuple[object, ...]]:
    """Every live row: key -> (fields..., vector bytes). Fails when a key is seen twice."""
    rows: dict[Key, tuple[object, ...]] = {}
    for block in view.blocks:
        for number in np.flatnonzero(block.live):
            row = block.rows.slice(int(number), 1).to_pylist()[0]
            key = row.pop("key")
            assert key not in rows, f"{key} is live twice"
            packed = tuple(bytes(block.vectors[name][number]) for name in sorted(block.vectors))
            rows[key] = (*row.values(), *packed)
    return rows


def located(view: ShardView, keys: list[Key]) -> dict[Key, object]:
    """What `locate` finds, as key of the row it points to; fails when it points at a dead row or another key's."""
    found: dict[Key, object] = {}
    for key, place in zip(keys, view.locate(keys), strict=True):
        if place is None:
            continue
        block = view.blocks[place[0]]
        assert block.live[place[1]], f"{key} is at a dead row"
        assert block.rows.column("key")[place[1]].as_py() == key
        found[key] = place
    return found


def nearest(view: ShardView, queries: NDArray[np.float32], k: int = 5) -> list[list[Key]]:
    """The k best keys of each query, over all blocks."""
    best: list[list[tuple[float, Key]]] = [[] for _ in queries]
    for block in view.blocks:
        scores, rows = block.indexes["default"].search(queries, k, allow=block.live, options=SearchOptions(exact=True))
        keys = block.rows.column("key").to_pylist()
        for query, (line, numbers) in enumerate(zip(scores, rows, strict=True)):
            best[query] += [(-float(s), keys[n]) for s, n in zip(line, numbers, strict=True) if n >= 0]
    return [[key for _, key in sorted(found)[:k]] for found in best]


async def batches(*parts: pa.RecordBatch) -> AsyncIterator[pa.RecordBatch]:
    for part in parts:
        yield part


async def bring(
    replica: ShardReplica, keys: Sequence[str], seed: int = 0, request_id: str = "import", patience: float = 0.0
) -> int:
    """Imports rows as `upsert` makes them, in two batches."""
    rows = upsert(keys, seed).rows
    half = len(keys) // 2
    return await replica.import_rows(request_id, FLOOR, batches(rows[:half], rows[half:]), patience)


def rows_of(keys: Sequence[str], seed: int = 0) -> dict[object, object]:
    """What a view must show of rows that `upsert` made."""
    rows = upsert(keys, seed).rows
    packed = rows.column("vector.default")
    return {key: ("en", 0, packed[number].values.to_numpy().tobytes()) for number, key in enumerate(keys)}


def seen(replica: ShardReplica) -> dict[object, object]:
    """The rows, found by scanning and by key alike."""
    view = replica.view()
    rows = dict(contents(view))
    assert set(located(view, list(rows))) == set(rows)  # type: ignore[arg-type]
    return rows


def segments_of(replica: ShardReplica) -> tuple[Segment, ...]:
    return replica._follower.state.layout.segments


def row_hash(replica: ShardReplica) -> str:
    return to_hex(replica._follower.state.row_hash)


def report(replica: ShardReplica) -> ReplicaReport:
    return replica.report()


async def until(condition: Callable[[], object], *, seconds: float = 60.0) -> None:
    """Waits until the condition holds. TimeoutError, no failed assertion, when it does not: nothing wrong was seen."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= deadline:
            raise TimeoutError(f"the condition did not come true within {seconds} s")
        await asyncio.sleep(0.005)
