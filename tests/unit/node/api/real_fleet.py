"""Real nodes in this process: gRPC on loopback, one shared store that can be taken away, real replicas."""

from __future__ import annotations

import asyncio
import itertools
import socket
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import grpc
import numpy as np

from vectorfleet.schema import CollectionSchema, FieldSchema, FieldType, VectorSchema
from vectorfleet.topology import (
    Claim,
    CollectionTopology,
    NodeAddress,
    ShardPlacement,
    StorageLocation,
    Topology,
)
from vectorfleet.v1 import peer_pb2, peer_pb2_grpc, vectorfleet_pb2_grpc
from vectorfleet.v1 import vectorfleet_pb2 as pb
from vectorfleet_node.api.assembly import Assembly
from vectorfleet_node.api.auth import PeerSecret
from vectorfleet_node.api.node import Node
from vectorfleet_node.api.server import NodeServer, Ports
from vectorfleet_node.api.supervision import Identity
from vectorfleet_node.storage.memory import MemoryStore
from vectorfleet_node.storage.store import Store, StoreUnavailable

DIMENSIONS = 4
NAME = "things"
SECRET = "between us"
# Two shards with two replicas each; no node holds both with its partner, so that some reads have to travel.
PLACEMENT: dict[int, tuple[str, ...]] = {0: ("n0", "n1"), 1: ("n1", "n2")}
T = TypeVar("T")
_numbers = itertools.count(1)


async def eventually(check: Callable[[], Awaitable[T]], *, timeout: float = 60, what: str = "") -> T:
    """The first truthy result; the last one is shown when there is none in time."""
    deadline = time.monotonic() + timeout
    while True:
        last = await check()
        if last:
            return last
        assert time.monotonic() < deadline, f"not within {timeout} s: {what}; last: {last!r}"
        await asyncio.sleep(0.02)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class MortalStore:
    """Passes everything to a store while it is alive."""

    def __init__(self, inner: Store) -> None:
        self.inner = inner
        self.alive = True

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.inner, name)

        async def guarded(*args: Any, **kwargs: Any) -> Any:
            if not self.alive:
                raise StoreUnavailable("the store is away")
            return await method(*args, **kwargs)

        return guarded


def vectors(count: int, seed: int = 0) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(seed).standard_normal((count, DIMENSIONS)).astype("<f4")


def upsert(keys: list[str], seed: int = 0, **more: Any) -> pb.UpsertRequest:
    """Rows with random vectors, every third in English."""
    languages = ["en" if number % 3 == 0 else "de" for number in range(len(keys))]
    data = vectors(len(keys), seed).tobytes()
    return pb.UpsertRequest(
        collection=NAME,
        rows=pb.Rows(
            keys=pb.Keys(strings=keys),
            vectors=[pb.VectorColumn(dimensions=DIMENSIONS, data=data)],
            fields=[pb.FieldColumn(name="lang", strings=pb.StringValues(values=languages))],
        ),
        **more,
    )


def search(query: Any, k: int = 3, level: int = pb.Consistency.STRONG, **more: Any) -> pb.SearchRequest:
    return pb.SearchRequest(
        collection=NAME,
        dimensions=DIMENSIONS,
        queries=np.atleast_2d(query).astype("<f4").tobytes(),
        k=k,
        consistency=more.pop("consistency", pb.Consistency(level=level)),  # type: ignore[arg-type]
        **more,
    )


@dataclass
class Running:
    """One node and a client of its API."""

    node: Node
    server: NodeServer
    ports: Ports
    channel: grpc.aio.Channel
    api: Any

    @property
    def peer_address(self) -> str:
        return f"127.0.0.1:{self.ports.peer}"

    async def kill(self) -> None:
        """As SIGKILL looks to the others: nothing answers any more. Its replicas live on as zombies."""
        for task in self.node._tasks:
            task.cancel()
        for server in self.server._servers:
            await server.stop(None)


@dataclass
class RealFleet:
    """Nodes that share a store and a topology."""

    folder: Path
    schema: CollectionSchema
    store: MortalStore = field(default_factory=lambda: MortalStore(MemoryStore()))
    running: dict[str, Running] = field(default_factory=dict)
    version: int = 0
    url: str = field(default_factory=lambda: f"memory:///fleet-{next(_numbers)}")

    async def add(self, *names: str) -> None:
        """Starts nodes that know no topology yet."""
        secret = self.folder / "secret"
        secret.write_text(f"{SECRET}\nolder secret\n")
        for name in names:
            port = free_port()
            identity = Identity(name, f"owner-{name}-{next(_numbers)}")
            assembly = Assembly(
                identity, self.folder / name, PeerSecret(secret), dict, connect=lambda location, credentials: self.store
            )
            node, metrics = assembly.build()
            server = NodeServer(node, metrics, PeerSecret(secret))
            ports = await server.start(Ports("127.0.0.1", 0, port, 0))
            node.start()
            channel = grpc.aio.insecure_channel(f"127.0.0.1:{ports.api}")
            self.running[name] = Running(
                node,
                server,
                ports,
                channel,
                vectorfleet_pb2_grpc.VectorFleetStub(channel),  # type: ignore[no-untyped-call]
            )

    def topology(self, placement: dict[int, tuple[str, ...]], **more: Any) -> Topology:
        """The next version, with the shards placed as told."""
        self.version += 1
        collection = CollectionTopology(
            name=NAME,
            claim=Claim(cluster="test", namespace="test", name=NAME),
            storage=StorageLocation(url=self.url),
            collection=self.schema,
            shards=tuple(ShardPlacement(id=shard, replicas=nodes) for shard, nodes in placement.items()),
            **more,
        )
        nodes = tuple(NodeAddress(name=name, peer=entry.peer_address) for name, entry in self.running.items())
        return Topology(fence=1, version=self.version, nodes=nodes, collections=(collection,))

    async def place(self, placement: dict[int, tuple[str, ...]], **more: Any) -> None:
        """Pushes a topology to every node, as the operator does."""
        topology = self.topology(placement, **more)
        for entry in self.running.values():
            await self.push(entry, topology)

    async def push(self, entry: Running, topology: Topology, secret: str = SECRET) -> None:
        async with grpc.aio.insecure_channel(entry.peer_address) as channel:
            stub: Any = peer_pb2_grpc.PeerStub(channel)  # type: ignore[no-untyped-call]
            request = peer_pb2.PutTopologyRequest(topology=topology.model_dump_json().encode())
            await stub.PutTopology(request, metadata=[("authorization", f"Bearer {secret}")])

    async def ready(self, timeout: float = 60) -> None:
        """Waits until every node is ready and every shard has a leader that everybody knows."""

        async def check() -> bool:
            if any(entry.node.waiting() for entry in self.running.values()):
                return False
            for entry in self.running.values():
                await entry.node.watch.ask()
                described = await entry.api.Describe(pb.DescribeRequest(collection=NAME))
                for shard in described.collections[0].shards:
                    if sum(replica.leader for replica in shard.replicas) != 1:
                        return False
                    if not all(replica.ready for replica in shard.replicas):
                        return False
            return True

        await eventually(check, timeout=timeout, what="the fleet is ready")

    def leader(self, shard: int) -> str:
        """The node that leads a shard."""
        for name, entry in self.running.items():
            replica = entry.node.replica(NAME, shard)
            if replica is not None and replica.leads:
                return name
        raise AssertionError(f"nobody leads shard {shard}")

    async def stop(self) -> None:
        self.store.alive = True
        for entry in self.running.values():
            await entry.channel.close()
            for server in entry.server._servers:
                await server.stop(None)
            await entry.server.stop()
            await entry.node.stop()


def schema(shards: int = 2) -> CollectionSchema:
    return CollectionSchema(
        vectors=(VectorSchema(name="default", dimensions=DIMENSIONS),),
        fields=(FieldSchema(name="lang", type=FieldType.STRING),),
        shards=shards,
    )
