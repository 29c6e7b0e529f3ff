"""Puts a node together from the real parts: stores, clocks, engine, replicas. Called by `main` and `standalone`."""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from vectorfleet.descriptor import CollectionDescriptor
from vectorfleet.schema import CollectionSchema
from vectorfleet.topology import CollectionTopology, StorageLocation
from vectorfleet_node import logs
from vectorfleet_node.api.admission import SearchObserver
from vectorfleet_node.api.auth import PeerSecret
from vectorfleet_node.api.backpressure import Limits, WriteBudget
from vectorfleet_node.api.host import Environment, HostedShard
from vectorfleet_node.api.node import Node
from vectorfleet_node.api.peers import Peers
from vectorfleet_node.api.supervision import Identity
from vectorfleet_node.engine.builder.engine import BuildEnd, BuildObserver, ProcessEngine
from vectorfleet_node.engine.cpu import CpuEngine
from vectorfleet_node.engine.port import Engine
from vectorfleet_node.metrics import Metrics
from vectorfleet_node.shard.budget import CacheBudget
from vectorfleet_node.shard.importing import ImportTurns
from vectorfleet_node.shard.replica import ShardReplica
from vectorfleet_node.shard.settings import Observer, ShardSettings
from vectorfleet_node.storage.claims import ClaimKeeper
from vectorfleet_node.storage.collection import adopt_or_create
from vectorfleet_node.storage.credentials import Credentials, RenewingStore
from vectorfleet_node.storage.observed import ObservedStore
from vectorfleet_node.storage.open import open_store
from vectorfleet_node.storage.store import Store

LOCAL_COMMIT_WINDOW = 0.005
REMOTE_COMMIT_WINDOW = 0.05
FOLDER_SCRUB_SECONDS = 7 * 86_400.0
_REMOTE = ("s3://", "gs://", "az://")


class SystemClock:
    """`shard.settings.Clock` by the machine's clocks."""

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return time.monotonic()

    def wall(self) -> float:
        """Seconds since the epoch."""
        return time.time()


def new_id() -> str:
    """32 random hexadecimal digits: a nonce, a name, an owner."""
    return secrets.token_hex(16)


@dataclass(frozen=True)
class Upkeep:
    """How a node keeps its segment files. cache_bytes: their budget; None: the disk's size.

    scrub_seconds: for one look at every byte of a shard, 0: never. scrub_rate: bytes a second at most, for one shard.
    scrub_store_seconds: as scrub_seconds, for the copies in the store; None: a week in a folder, never in a bucket,
    which does so itself and charges for reading.
    """

    cache_bytes: int | None = None
    scrub_seconds: float = ShardSettings.scrub_seconds
    scrub_rate: int = ShardSettings.scrub_rate
    scrub_store_seconds: float | None = None

    def of_store(self, remote: bool) -> float:
        """Seconds for one look at the store's copies."""
        if self.scrub_store_seconds is not None:
            return self.scrub_store_seconds
        return 0.0 if remote else FOLDER_SCRUB_SECONDS


@dataclass(frozen=True)
class Assembly:
    """What differs between a fleet's node, a stand-alone one and a test.

    credentials: read in a thread, when needed. build_threads: of one index build; None: half of the CPUs.
    """

    identity: Identity
    cache: Path
    secret: PeerSecret
    credentials: Callable[[], Credentials]
    connect: Callable[[StorageLocation, Credentials], Store] = open_store
    upkeep: Upkeep = Upkeep()
    limits: Limits = field(default_factory=Limits)
    build_threads: int | None = None

    def build(self) -> tuple[Node, Metrics]:
        """A node that has not started, and its metrics."""
        budget, turns = CacheBudget(self.upkeep.cache_bytes), ImportTurns()
        metrics = Metrics(lambda: node.reports(), budget, lambda: node.admission.waiting)
        engine = ProcessEngine(CpuEngine(self.build_threads), self.cache, _builds(metrics))
        environment = Environment(
            node=self.identity.node,
            cache=self.cache,
            open_store=lambda location: self._open(location, metrics),
            adopt=_adopt,
            keeper=_keeper,
            make_replica=lambda hosted: self._replica(hosted, node, engine, metrics, budget, turns),
        )
        rng = random.Random()  # noqa: S311 - spreads load and elections; no secret depends on it
        write_budget = WriteBudget(self.limits.writes, lambda reason: metrics.writes_refused.labels(reason).inc())
        node = Node(self.identity, environment, Peers(self.secret), rng, write_budget, _searches(metrics))
        return node, metrics

    def _open(self, location: StorageLocation, metrics: Metrics) -> Store:
        def observe(operation: str, outcome: str, _seconds: float) -> None:
            metrics.store_requests.labels(operation, outcome).inc()

        renewing = RenewingStore(location, self.credentials, connect=self.connect)
        return ObservedStore(renewing, observe, time.monotonic)

    def _replica(
        self,
        hosted: HostedShard,
        node: Node,
        engine: Engine,
        metrics: Metrics,
        budget: CacheBudget,
        turns: ImportTurns,
    ) -> ShardReplica:
        remote = hosted.topology.storage.url.startswith(_REMOTE)
        growing = self.limits.growing_of_shard(len(hosted.topology.shards_on(self.identity.node)))
        log = logs.logger().bind(collection=hosted.topology.name, shard=hosted.shard)

        def rotten(file: str, problem: str) -> None:
            metrics.rotten_blocks.inc()
            log.warning("rotten file set aside", file=file, problem=problem)

        def compacted(size: int) -> None:
            metrics.compactions.inc()
            metrics.compaction_bytes.inc(size)

        return ShardReplica(
            hosted.store,
            hosted.uid,
            hosted.schema,
            hosted.shard,
            engine,
            hosted.cache,
            owner=self.identity.owner,
            address=node.topology.addresses().get(node.name, ""),
            clock=SystemClock(),
            sleep=asyncio.sleep,
            new_id=new_id,
            settings=ShardSettings(
                commit_window=REMOTE_COMMIT_WINDOW if remote else LOCAL_COMMIT_WINDOW,
                scrub_seconds=self.upkeep.scrub_seconds,
                scrub_rate=self.upkeep.scrub_rate,
                scrub_store_seconds=self.upkeep.of_store(remote),
                growing_bytes=growing,
                seal_bytes=min(ShardSettings.seal_bytes, growing // 4),
                reserve_bytes=self.limits.reserve,
            ),
            observer=Observer(
                appended=metrics.log_append_seconds.observe,
                index_built=metrics.index_builds.inc,
                index_loaded=metrics.index_loads.inc,
                rotten=rotten,
                scrubbed=metrics.scrubbed_bytes.inc,
                refused=lambda reason: metrics.writes_refused.labels(reason).inc(),
                flushed=metrics.flush_bytes.inc,
                compacted=compacted,
                reindexed=metrics.reindex_bytes.inc,
                collected=lambda kind, count: metrics.collected_objects.labels(kind).inc(count),
            ),
            budget=budget,
            turns=turns,
            fleet_format=lambda: node.fleet_format(hosted.topology.name, hosted.shard),
        )


def _searches(metrics: Metrics) -> SearchObserver:
    def started(queries: int, waited: list[float]) -> None:
        metrics.search_batch_queries.observe(queries)
        for seconds in waited:
            metrics.search_wait_seconds.observe(seconds)

    return SearchObserver(lambda reason: metrics.searches_shed.labels(reason).inc(), started)


def _builds(metrics: Metrics) -> BuildObserver:
    def ended(build: BuildEnd) -> None:
        metrics.index_builds_running.dec()
        metrics.index_build_outcomes.labels(build.outcome).inc()
        metrics.index_build_seconds.observe(build.seconds)
        log = logs.logger().bind(kind=build.kind.value, rows=build.rows, dimensions=build.dimensions)
        told = {"outcome": build.outcome, "seconds": round(build.seconds, 1), "resumed_rows": build.resumed}
        if build.outcome == "failed":
            log.warning("index build", problem=build.problem, **told)
        else:
            log.info("index build", **told)

    return BuildObserver(metrics.index_builds_running.inc, ended)


async def _adopt(store: Store, topology: CollectionTopology) -> CollectionDescriptor:
    return await adopt_or_create(
        store,
        topology,
        new_uid=new_id,
        new_nonce=lambda: secrets.token_bytes(16),
        now_milliseconds=lambda: int(time.time() * 1000),
        sleep=asyncio.sleep,
    )


def _keeper(store: Store, topology: CollectionTopology, schema: CollectionSchema) -> ClaimKeeper:
    return ClaimKeeper(store, topology.claim, schema, monotonic=time.monotonic, wall=time.time)
