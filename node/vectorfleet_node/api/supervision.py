"""Sees to it that every shard has a leader: asks each shard's leader once a second, and leads where it is gone.

Called by the node for the replicas on it. This decides only *when* to try; that two who try at once do no harm is the
log's business (the slot is the fence). A fence is written only after the log was read to its tail and the newest fence
there is still that of the leader who does not answer, so nobody steals.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from vectorfleet.v1 import peer_pb2

from vectorfleet_node import logs
from vectorfleet_node.api.errors import ApiError, UnreachableError
from vectorfleet_node.api.peers import PeerCaller
from vectorfleet_node.shard.port import NotLeader, Replica, ShardError
from vectorfleet_node.storage.store import StorageError

EVERY_SECONDS = 1.0
PING_SECONDS = 1.0
SUSPECT_SECONDS = 1.0
RANK_SECONDS = 0.3


@dataclass(frozen=True)
class Identity:
    """Who this process is. `owner` is random per start: a restarted process is another owner."""

    node: str
    owner: str
    address: str


@dataclass(frozen=True)
class Placed:
    """A replica on this node and the nodes that hold its shard, preferred leader first."""

    collection: str
    replica: Replica
    nodes: tuple[str, ...]


class Supervisor:
    """Leadership of the shards on this node."""

    def __init__(
        self,
        identity: Identity,
        peers: PeerCaller,
        placed: Callable[[], Iterator[Placed]],
        jitter: Callable[[], float],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._identity = identity
        self._peers = peers
        self._placed = placed
        self._jitter = jitter
        self._monotonic = monotonic
        self._suspected: dict[tuple[str, int], tuple[str, float]] = {}  # shard -> silent owner, since when
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
        """Leads the shard if its leader has been silent for long enough; one look."""
        replica = placed.replica
        key = (placed.collection, replica.shard)
        if not replica.report().ready or await self.answers(placed.collection, replica):
            self._suspected.pop(key, None)
            return
        owner = replica.leader[0]
        suspect, since = self._suspected.get(key, ("", 0.0))
        if suspect != owner or key not in self._suspected:
            since = self._monotonic()
            self._suspected[key] = (owner, since)
        rank = placed.nodes.index(self._identity.node) if self._identity.node in placed.nodes else len(placed.nodes)
        # Who never led cannot be asked again, and the same address with another process cannot come back either.
        patience = 0.0 if not owner or replica.leader[1] == self._identity.address else SUSPECT_SECONDS
        due = since + patience + rank * RANK_SECONDS
        await asyncio.sleep(max(0.0, due - self._monotonic()) + (self._jitter() if rank else 0.0))
        if await self.lead(placed.collection, replica):
            self._suspected.pop(key, None)

    async def answers(self, collection: str, replica: Replica) -> bool:
        """Whether the owner of the newest fence that this replica knows still leads."""
        owner, address = replica.leader
        if replica.leads:
            return True
        if not owner or address == self._identity.address:
            return False
        request = peer_pb2.PingRequest(collection=collection, shard=replica.shard, owner=owner)
        try:
            pong = await self._peers.call(address, "Ping", request, peer_pb2.PingResponse, PING_SECONDS)
        except (UnreachableError, ApiError, ShardError, StorageError):
            return False
        return pong.owner == owner and pong.leads

    async def lead(self, collection: str, replica: Replica) -> bool:
        """Takes over unless the log knows a newer leader, or the present one answers after all."""
        async with self._elections[(collection, replica.shard)]:
            return replica.leads or await self._stand(collection, replica)

    async def _stand(self, collection: str, replica: Replica) -> bool:
        suspect = replica.leader[0]
        try:
            await replica.make_strong()
            if replica.leader[0] != suspect or await self.answers(collection, replica):
                return replica.leads
            await replica.take_over()
        except NotLeader as error:
            logs.logger().info("lost an election", collection=collection, shard=replica.shard, leader=error.owner)
        except (ShardError, StorageError) as error:
            logs.logger().warning("cannot lead", collection=collection, shard=replica.shard, error=str(error))
        else:
            logs.logger().info("leads", collection=collection, shard=replica.shard, instead_of=suspect)
        return replica.leads
