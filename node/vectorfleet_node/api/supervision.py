"""Sees to it that every shard has a leader: asks each shard's leader once a second, and leads where it is gone.

Called by the node for the replicas on it, and by a write that found no leader. This decides only *when* to try; that
two who try at once do no harm is the log's business (the slot is the fence). A fence is written only after the log was
read to its tail and the newest fence there is still that of the leader who does not answer, so nobody steals.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum

from vectorfleet.v1 import peer_pb2
from vectorfleet_node import logs
from vectorfleet_node.api.errors import ApiError, UnreachableError
from vectorfleet_node.api.peers import PeerCaller
from vectorfleet_node.shard.port import NotLeader, Replica, ShardError
from vectorfleet_node.storage.store import StorageError

EVERY_SECONDS = 1.0
PING_SECONDS = 1.0
PING_AGAIN_SECONDS = 0.2
SUSPECT_SECONDS = 1.0
RANK_SECONDS = 0.3


@dataclass(frozen=True)
class Identity:
    """Who this process is. `owner` is random per start: a restarted process is another owner."""

    node: str
    owner: str


@dataclass(frozen=True)
class Placed:
    """A replica on this node and the nodes that hold its shard, preferred leader first."""

    collection: str
    replica: Replica
    nodes: tuple[str, ...]


class Leader(Enum):
    """What a shard's leader says to a ping."""

    LEADS = "leads"
    SILENT = "silent"  # no answer: perhaps the network
    GONE = "gone"  # nobody ever led, or another process answers, or it leads no more


class Supervisor:
    """Leadership of the shards on this node."""

    def __init__(
        self,
        identity: Identity,
        peers: PeerCaller,
        addresses: Callable[[], dict[str, str]],
        placed: Callable[[], Iterator[Placed]],
        jitter: Callable[[], float],
        *,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._identity = identity
        self._peers = peers
        self._addresses = addresses
        self._placed = placed
        self._jitter = jitter
        self._monotonic = monotonic
        self._sleep = sleep
        self._woken = asyncio.Event()
        self._elections: defaultdict[tuple[str, int], asyncio.Lock] = defaultdict(asyncio.Lock)
        self._checks: dict[tuple[str, int], asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Looks at every shard once a second, for ever; a slow one does not keep the others waiting."""
        try:
            while True:
                for placed in self._placed():
                    key = (placed.collection, placed.replica.shard)
                    if key not in self._checks or self._checks[key].done():
                        self._checks[key] = asyncio.create_task(self.check(placed))
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._woken.wait(), EVERY_SECONDS)
                self._woken.clear()
        finally:
            for check in self._checks.values():
                check.cancel()

    def wake(self) -> None:
        """Something changed: looks at once."""
        self._woken.set()

    async def check(self, placed: Placed) -> None:
        """Leads the shard if its leader is gone and no better placed replica does; one look."""
        replica = placed.replica
        if not replica.report().ready or not await self.gone(placed.collection, replica):
            return
        suspect = replica.leader[0]
        rank = placed.nodes.index(self._identity.node) if self._identity.node in placed.nodes else len(placed.nodes)
        if rank:
            await self._sleep(rank * RANK_SECONDS + self._jitter())
        if replica.leader[0] == suspect:
            await self.lead(placed.collection, replica)

    async def gone(self, collection: str, replica: Replica) -> bool:
        """Whether the shard has no leader: it said so, or was silent for SUSPECT_SECONDS."""
        deadline = self._monotonic() + SUSPECT_SECONDS
        while (heard := await self._ping(collection, replica)) is Leader.SILENT:
            if self._monotonic() >= deadline:
                return True
            await self._sleep(PING_AGAIN_SECONDS)
        return heard is Leader.GONE

    async def _ping(self, collection: str, replica: Replica) -> Leader:
        """What the owner of the newest fence that this replica knows says."""
        owner, address = replica.leader
        if replica.leads:
            return Leader.LEADS
        if not owner or address == self._addresses().get(self._identity.node):
            return Leader.GONE  # an earlier life of this node has nobody to answer for it
        request = peer_pb2.PingRequest(collection=collection, shard=replica.shard, owner=owner)
        try:
            pong = await self._peers.call(address, "Ping", request, peer_pb2.PingResponse, PING_SECONDS)
        except (UnreachableError, ApiError, ShardError, StorageError):
            return Leader.SILENT
        return Leader.LEADS if pong.owner == owner and pong.leads else Leader.GONE

    async def lead(self, collection: str, replica: Replica) -> bool:
        """Takes over unless the log knows a newer leader, or the present one answers after all; whether it leads."""
        async with self._elections[(collection, replica.shard)]:
            return replica.leads or await self._stand(collection, replica)

    async def _stand(self, collection: str, replica: Replica) -> bool:
        suspect = replica.leader[0]
        log = logs.logger().bind(collection=collection, shard=replica.shard)
        try:
            await replica.make_strong()
            if replica.leader[0] != suspect or await self._ping(collection, replica) is Leader.LEADS:
                return replica.leads
            await replica.take_over()
        except NotLeader as error:
            log.info("lost an election", leader=error.owner)
        except (ShardError, StorageError) as error:
            log.warning("cannot lead", error=str(error))
        else:
            log.info("leads", instead_of=suspect)
        return replica.leads
