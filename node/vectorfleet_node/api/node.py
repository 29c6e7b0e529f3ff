"""One node: what it hosts, whom it knows, and how a request finds its way. Services and HTTP end points ask it.

It follows the topology: collections that appear are opened, those that go are stopped and their cache removed.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import grpc
from google.protobuf.message import Message

from vectorfleet.schema import CollectionSchema
from vectorfleet.topology import CollectionTopology, Topology
from vectorfleet.v1 import peer_pb2
from vectorfleet_node.api.admission import Admission, SearchObserver
from vectorfleet_node.api.backpressure import WriteBudget
from vectorfleet_node.api.describe import VERSION, Describer, shard_report
from vectorfleet_node.api.errors import ApiError, UnreachableError
from vectorfleet_node.api.held import HeldScans
from vectorfleet_node.api.host import CollectionHost, Environment
from vectorfleet_node.api.local import LocalReads
from vectorfleet_node.api.peers import M, Peers
from vectorfleet_node.api.routing import Router
from vectorfleet_node.api.scans import LocalScans
from vectorfleet_node.api.supervision import Identity, Placed, Supervisor
from vectorfleet_node.api.tasks import stop_task, watch_task
from vectorfleet_node.api.topology import TopologyHolder
from vectorfleet_node.api.watch import PeerWatch
from vectorfleet_node.api.writes import Writer
from vectorfleet_node.shard.port import NotApplied, NotLeader, NotReady, Part, Replica, ReplicaReport
from vectorfleet_node.storage.format import FORMAT, READABLE

_JITTER_SECONDS = 0.1
Result = TypeVar("Result")


class Node:
    """Runs from `start` to `stop`, on one event loop."""

    def __init__(
        self,
        identity: Identity,
        environment: Environment,
        peers: Peers,
        rng: random.Random,
        write_budget: WriteBudget,
        searches: SearchObserver | None = None,
    ) -> None:
        self.identity = identity
        self.write_budget = write_budget
        self.draining = False
        self._environment = environment
        self._peers = peers
        self._hosts: dict[str, CollectionHost] = {}
        self._changed = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        threads = len(os.sched_getaffinity(0))
        self._threads = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="read")
        self.admission = Admission(threads, searches)
        self.topology = TopologyHolder(lambda _: self._changed.set())
        addresses = self.topology.addresses
        self.watch = PeerWatch(identity.node, peers, addresses)
        self.router = Router(identity.node, self._own_ready, self.watch, peers.in_flight, addresses, rng)
        self.writer = Writer(identity.node, self.append, self._leader_here, peers, addresses, self.deleted)
        self.local = LocalReads(self.replica, self.schema, self._threads, self.admission)
        held = HeldScans(lambda: uuid.uuid4().hex, time.monotonic)
        self.scans = LocalScans(identity.node, self.replica, self.schema, self._threads, held)
        self.describer = Describer(identity.node, self._own_shard, self.watch)
        self.supervisor = Supervisor(identity, peers, addresses, self._placed, lambda: rng.uniform(0, _JITTER_SECONDS))

    @property
    def name(self) -> str:
        """The node's name in the topology."""
        return self.identity.node

    # -- its life ---------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begins to follow the topology, to watch the other nodes and to supervise leaders."""
        for run in (self._follow, self.watch.run, self.supervisor.run, self.scans.held.run):
            task = asyncio.create_task(run())
            watch_task(task, run.__qualname__)
            self._tasks.append(task)

    async def stop(self) -> None:
        """Stops everything on this node; releases and deletes nothing."""
        for task in self._tasks:
            await stop_task(task)
        await asyncio.gather(*(host.stop() for host in self._hosts.values()))
        await self._peers.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _follow(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            if self.topology.current is not None:
                await self._reconcile(self.topology.current)

    async def _reconcile(self, topology: Topology) -> None:
        wanted = {collection.name: collection for collection in topology.collections}
        for name in set(self._hosts) - set(wanted):
            host = self._hosts.pop(name)
            await host.stop()
            await host.remove_cache()
            self.writer.forget(name)
            self.scans.held.forget(name)
        for name, collection in wanted.items():
            if name in self._hosts:
                await self._hosts[name].update(collection)
            else:
                self._hosts[name] = CollectionHost(collection, self._environment, self.supervisor.wake)
                self._hosts[name].start()
        await self._peers.forget(set(self.topology.addresses().values()))

    # -- what is on this node ---------------------------------------------------------------------------------------

    def host(self, collection: str) -> CollectionHost:
        """A collection's host. NOT_FOUND when there is none on this node."""
        host = self._hosts.get(collection)
        if host is None:
            raise ApiError(grpc.StatusCode.NOT_FOUND, f"collection {collection!r} is not on node {self.name}")
        return host

    def replica(self, collection: str, shard: int) -> Replica | None:
        """The replica of a shard on this node."""
        host = self._hosts.get(collection)
        return host.replica(shard) if host else None

    def reports(self) -> Iterator[tuple[str, ReplicaReport]]:
        """(collection, report) of every replica, for the metrics."""
        for name, host in list(self._hosts.items()):
            for replica in host.replicas():
                yield name, replica.report()

    def waiting(self) -> list[str]:
        """What keeps this node from being ready, a sentence each."""
        if self.draining:
            return ["draining: this node is about to stop"]
        topology = self.topology.current
        if topology is None:
            return [self.topology.problem]
        found = []
        for collection in topology.collections:
            host = self._hosts.get(collection.name)
            found += host.waiting() if host else [f"{collection.name}: about to be opened"]
        return found

    def report(self) -> peer_pb2.NodeReport:
        """Everything that the operator and the other nodes need to know."""
        fence, version = self.topology.current.order if self.topology.current else (0, 0)
        return peer_pb2.NodeReport(
            node=self.name,
            version=VERSION,
            topology_fence=fence,
            topology_version=version,
            collections=[host.report() for _, host in sorted(self._hosts.items())],
            draining=self.draining,
            storage_format=FORMAT,
        )

    def fleet_format(self, collection: str, shard: int) -> int:
        """The newest storage format that all replicas of a shard read; the oldest while one's node is not heard."""
        host = self._hosts.get(collection)
        placed = host.topology.shards if host else ()
        others = {node for entry in placed if entry.id == shard for node in entry.replicas} - {self.name}
        reports = [self.watch.report(node) for node in others]
        return min(
            [FORMAT, *(max(READABLE[0], report.storage_format) if report else READABLE[0] for report in reports)]
        )

    def _own_ready(self, collection: str, shard: int) -> bool:
        replica = self.replica(collection, shard)
        return replica is not None and replica.ready

    def _own_shard(self, collection: str, shard: int) -> peer_pb2.ShardReport | None:
        replica = self.replica(collection, shard)
        return shard_report(replica.report()) if replica else None

    def _leader_here(self, collection: str, shard: int) -> str:
        replica = self.replica(collection, shard)
        return replica.leader[1] if replica else ""

    def schema(self, collection: str) -> CollectionSchema:
        """The schema in use: that of the data once it is open, else the topology's. NOT_FOUND for unknown names."""
        host = self._hosts.get(collection)
        return host.schema if host else self.topology.collection(collection).collection

    def _placed(self) -> Iterator[Placed]:
        for name, host in list(self._hosts.items()):
            nodes = {shard.id: shard.replicas for shard in host.topology.shards}
            for replica in host.replicas():
                yield Placed(name, replica, nodes.get(replica.shard, ()))

    # -- how a request finds its way --------------------------------------------------------------------------------

    def known_uid(self, collection: CollectionTopology) -> str:
        """The collection's id as far as anybody told us; empty when nobody did."""
        host = self._hosts.get(collection.name)
        if own := (host.uid if host else "") or collection.uid:
            return own
        told = (
            entry.uid
            for report in self.watch.reports()
            for entry in report.collections
            if entry.name == collection.name
        )
        return next((uid for uid in told if uid), "")

    def uid(self, collection: CollectionTopology) -> str:
        """The collection's id. UNAVAILABLE, with what is wrong, while nobody knows it."""
        uid = self.known_uid(collection)
        if not uid:
            host = self._hosts.get(collection.name)
            reason = host.report().message if host else "about to be opened"
            raise ApiError(grpc.StatusCode.UNAVAILABLE, f"collection {collection.name} is not open yet: {reason}")
        return uid

    async def known_position(self, collection: CollectionTopology, shard: int) -> int:
        """A position that the shard's log has reached, for the floor of a write; asks the others when none is known."""
        for attempt in range(2):
            own = self._own_shard(collection.name, shard)
            told = [self.watch.shard(node, collection.name, shard) for node in self.topology.addresses()]
            positions = [report.position for report in [own, *told] if report is not None]
            known = max(self.writer.position(collection.name, shard), *positions, 0)
            if known or attempt:
                return known
            await self.watch.ask()
        return 0

    async def ask(self, node: str, method: str, request: Message, answer: type[M], seconds: float) -> M:
        """Calls the Peer service of another node. UnreachableError also for a node without an address."""
        return await self._peers.call(self._address(node), method, request, answer, seconds)

    async def stream(
        self, node: str, method: str, requests: AsyncIterator[Message], answer: type[M], seconds: float
    ) -> M:
        """As `ask`, for a method that takes a stream."""
        return await self._peers.stream(self._address(node), method, requests, answer, seconds)

    def _address(self, node: str) -> str:
        address = self.topology.addresses().get(node)
        if address is None:
            raise UnreachableError(f"node {node} is not in the topology")
        return address

    def deleted(self, collection: str, shard: int, request_id: str) -> int | None:
        """How many rows a delete by filter took away through this node; None when that is not known here."""
        replica = self.replica(collection, shard)
        return replica.deleted(request_id) if replica else None

    async def append(
        self,
        collection: str,
        shard: int,
        request_id: str,
        floor: int,
        part: Part,
        take_over: bool,
        patience: float,
    ) -> int:
        """Appends to a shard that this node leads; with `take_over` it leads first if the present leader is gone.

        Waits up to `patience` seconds for room.
        """
        give_up = time.monotonic() + patience

        async def append(replica: Replica) -> int:
            return await _append(replica, request_id, floor, part, max(0.0, give_up - time.monotonic()))

        return await self.as_leader(collection, shard, take_over, append)

    async def as_leader(
        self, collection: str, shard: int, take_over: bool, work: Callable[[Replica], Awaitable[Result]]
    ) -> Result:
        """`work` with the replica here; again once it leads if it did not, the leader is gone, and `take_over`."""
        replica = self.replica(collection, shard)
        if replica is None:
            raise NotReady(f"shard {shard} of {collection} is not on node {self.name}")
        try:
            return await work(replica)
        except NotLeader:
            gone = take_over and await self.supervisor.gone(collection, replica)
            if not gone or not await self.supervisor.lead(collection, replica):
                raise
        return await work(replica)


async def _append(replica: Replica, request_id: str, floor: int, part: Part, patience: float) -> int:
    try:
        return await replica.append(request_id, floor, part, patience)
    except ValueError as error:
        raise NotApplied(f"the shard has another schema: {error}") from None  # a topology lags; to be tried again
