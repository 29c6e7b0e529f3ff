"""A simulated node: one process after another with a `ShardReplica` of the product, on one cache folder."""

from __future__ import annotations

import asyncio
import random
import shutil
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from vectorfleet.schema import CollectionSchema, FieldSchema, FieldType, IndexType, VectorSchema
from vectorfleet_node.shard.cache import SegmentCache
from vectorfleet_node.shard.loader import Loader
from vectorfleet_node.shard.replica import ShardReplica
from vectorfleet_node.shard.settings import Observer, ShardSettings
from vectorfleet_node.shard.view import ShardView
from vectorfleet_node.storage.log import Log
from vectorfleet_node.storage.store import StorageError, Store

from .disk import PowerCut
from .engine import TinyEngine
from .loop import Process, SimulatedLoop
from .tracing import Trace

Result = TypeVar("Result")

UID, SHARD = "simulated", 0
SCHEMA = CollectionSchema(
    vectors=(VectorSchema(name="default", dimensions=2, index=IndexType.AUTO),),
    fields=(FieldSchema(name="value", type=FieldType.STRING, indexed=True),),
    shards=1,
)
_WALL = 1_700_000_000.0


class NodeClock:
    """A monotonic clock that began some time ago, and a wall clock that jumps."""

    def __init__(self, loop: SimulatedLoop, offset: float) -> None:
        self.jumped = 0.0
        self._loop = loop
        self._offset = offset

    def monotonic(self) -> float:
        """See `Clock`."""
        return self._loop.time() + self._offset

    def wall(self) -> float:
        """See `Clock`."""
        return _WALL + self._loop.time() + self.jumped


class Node:
    """`replica` and `process` are None while the node is down."""

    def __init__(
        self,
        name: str,
        loop: SimulatedLoop,
        make_store: Callable[[], Store],
        folder: Path,
        source: random.Random,
        settings: ShardSettings,
        fleet_format: Callable[[], int],
        events: Counter[str],
        trace: Trace,
    ) -> None:
        self.name = name
        self.process: Process | None = None
        self.replica: ShardReplica | None = None
        self.clock = NodeClock(loop, source.random() * 1000)
        self.starts = 0
        self.stopping = False
        self.on_job: Callable[[Node, str], None] = lambda _node, _job: None
        self._loop = loop
        self._make_store = make_store
        self.folder = folder
        self._random = source
        self._settings = settings
        self._fleet_format = fleet_format
        self._pinned_reads = 0
        self._events = events
        self._trace = trace
        self._engine = TinyEngine(source, events)

    @property
    def up(self) -> bool:
        """Whether it answers now."""
        return self.process is not None and not self.process.paused

    @property
    def leads(self) -> bool:
        """Whether it believes so."""
        return self.replica is not None and self.replica.leads

    @property
    def follows(self) -> bool:
        """Whether it has loaded the shard and does not lead it."""
        return self.replica is not None and self.replica.report().position > 0 and not self.replica.leads

    @property
    def merges(self) -> bool:
        """Whether a compaction is under way."""
        return self.replica is not None and self.replica.report().compaction != ""

    def start(self, *, keep_cache: bool = True) -> None:
        """A new process, with a new owner id; none when its volume fails it."""
        if not keep_cache:
            shutil.rmtree(self.folder, ignore_errors=True)
        self.starts += 1
        process = self.process = self._loop.process(self.name)
        process.on_job = lambda job: self.on_job(self, job)
        self.stopping = False
        self._trace(self.name, f"starts, cache {'kept' if keep_cache else 'lost'}")
        try:
            self._store = self._make_store()
        except (StorageError, PowerCut):
            self.kill()
            return
        self.replica = process.context.run(self._make_replica)
        self._loop.spawn(process, self.replica.start())

    def kill(self) -> None:
        """SIGKILL."""
        if self.process is not None:
            self._trace(self.name, "is killed")
            self._loop.kill(self.process)
            self.process = self.replica = None

    def call(
        self, operation: Callable[[ShardReplica], Awaitable[Result]], done: Callable[[object], None]
    ) -> asyncio.Task[None]:
        """Runs an operation as the node's server would; `done` gets its result or exception, if the node lives on."""
        replica = self.replica
        assert self.process is not None
        assert replica is not None

        async def run() -> None:
            try:
                outcome: object = await operation(replica)
            except Exception as error:  # noqa: BLE001 - the caller judges it
                outcome = error
            done(outcome)

        return self._loop.spawn(self.process, run())

    async def read_at(self, manifest: int, through: int) -> ShardView:
        """The shard at a pinned position, loaded beside the replica. Call it on the node."""
        self._pinned_reads += 1
        folder = self.folder.with_name(f"{self.name}-pinned-{self._pinned_reads}")
        cache = SegmentCache(self._store, SHARD, folder, self._engine, SCHEMA, Observer())
        await cache.prepare()
        log = Log(self._store, UID, SHARD, sleep=asyncio.sleep)
        loader = Loader(self._store, log, cache, uid=UID, shard=SHARD, collection=SCHEMA, sleep=asyncio.sleep)
        return (await loader.load_at(manifest, through)).snapshot()

    def _make_replica(self) -> ShardReplica:
        return ShardReplica(
            self._store,
            UID,
            SCHEMA,
            SHARD,
            self._engine,
            self.folder,
            owner=f"{self.name}#{self.starts}",
            address=f"{self.name}:1",
            clock=self.clock,
            sleep=asyncio.sleep,
            new_id=lambda: f"{self._random.getrandbits(128):032x}",
            settings=self._settings,
            observer=Observer(
                rotten=self._rotten,
                refused=lambda reason: self._count(f"refused: {reason}"),
                flushed=lambda _: self._count("flush"),
                compacted=lambda _: self._count("merge"),
                reindexed=lambda _: self._count("reindex"),
            ),
            fleet_format=self._fleet_format,
        )

    def _rotten(self, name: str, problem: str) -> None:
        self._trace(self.name, f"sets {name} aside: {problem}")
        self._count("rotten file set aside")

    def _count(self, event: str) -> None:
        self._events[event] += 1
