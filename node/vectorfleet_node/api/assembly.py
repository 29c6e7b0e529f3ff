"""Puts a node together from the real parts: stores, clocks, engine, replicas. Called by `main` and `standalone`."""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vectorfleet.descriptor import CollectionDescriptor
from vectorfleet.schema import CollectionSchema
from vectorfleet.topology import CollectionTopology, StorageLocation
from vectorfleet_node.api.auth import PeerSecret
from vectorfleet_node.api.host import Environment, HostedShard
from vectorfleet_node.api.node import Node
from vectorfleet_node.api.peers import Peers
from vectorfleet_node.api.supervision import Identity
from vectorfleet_node.engine.cpu import CpuEngine
from vectorfleet_node.engine.port import Engine
from vectorfleet_node.metrics import Metrics
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
class Assembly:
    """What differs between a fleet's node, a stand-alone one and a test. credentials: read in a thread, when needed."""

    identity: Identity
    cache: Path
    secret: PeerSecret
    credentials: Callable[[], Credentials]
    connect: Callable[[StorageLocation, Credentials], Store] = open_store

    def build(self) -> tuple[Node, Metrics]:
        """A node that has not started, and its metrics."""
        metrics = Metrics(lambda: node.reports())
        engine = CpuEngine()
        environment = Environment(
            node=self.identity.node,
            cache=self.cache,
            open_store=lambda location: self._open(location, metrics),
            adopt=_adopt,
            keeper=_keeper,
            make_replica=lambda hosted: self._replica(
                hosted, node.topology.addresses().get(node.name, ""), engine, metrics
            ),
        )
        rng = random.Random()  # noqa: S311 - spreads load and elections; no secret depends on it
        node = Node(self.identity, environment, Peers(self.secret), rng)
        return node, metrics

    def _open(self, location: StorageLocation, metrics: Metrics) -> Store:
        def observe(operation: str, outcome: str, _seconds: float) -> None:
            metrics.store_requests.labels(operation, outcome).inc()

        renewing = RenewingStore(location, self.credentials, connect=self.connect)
        return ObservedStore(renewing, observe, time.monotonic)

    def _replica(self, hosted: HostedShard, address: str, engine: Engine, metrics: Metrics) -> ShardReplica:
        remote = hosted.topology.storage.url.startswith(_REMOTE)
        return ShardReplica(
            hosted.store,
            hosted.uid,
            hosted.schema,
            hosted.shard,
            engine,
            hosted.cache,
            owner=self.identity.owner,
            address=address,
            clock=SystemClock(),
            sleep=asyncio.sleep,
            new_id=new_id,
            settings=ShardSettings(commit_window=REMOTE_COMMIT_WINDOW if remote else LOCAL_COMMIT_WINDOW),
            observer=Observer(
                appended=metrics.log_append_seconds.observe,
                index_built=metrics.index_builds.inc,
                index_loaded=metrics.index_loads.inc,
            ),
        )


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
