"""Brings each part of a write to its shard's leader, and goes on until it landed, was refused, or time is up.

The same request id goes with every attempt, so that a part that landed unseen is not applied twice. What is in doubt
once stays in doubt until an attempt succeeds.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import grpc

from vectorfleet.topology import CollectionTopology
from vectorfleet.v1 import peer_pb2
from vectorfleet_node.api import errors
from vectorfleet_node.api.backpressure import patience_of
from vectorfleet_node.api.errors import ApiError, UnreachableError
from vectorfleet_node.api.parts import Failed, Landed, Outcome, Part
from vectorfleet_node.api.peers import PeerCaller
from vectorfleet_node.shard.port import InDoubt, NotApplied, NotLeader, NotReady, Overloaded, TooOld
from vectorfleet_node.shard.port import Part as ShardPart
from vectorfleet_node.storage.store import StorageError, StoreUnavailable

_SHORTEST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 0.5
_SHORTEST_ATTEMPT_SECONDS = 5.0
# collection, shard, request id, floor, part, take over, patience in seconds -> position
AppendHere = Callable[[str, int, str, int, ShardPart, bool, float], Awaitable[int]]
Send = Callable[[str, bool, float], Awaitable[Landed]]  # node, take over, seconds left
DeletedHere = Callable[[str, int, str], int | None]  # collection, shard, request id -> rows that it deleted here
LeaderHere = Callable[[str, int], str]  # collection, shard -> peer address of the leader known here, or ""


@dataclass
class _Attempt:
    """Where one part's next attempt goes, and what is known so far."""

    node: str
    take_over: bool = False
    in_doubt: bool = False
    silent: set[str] = field(default_factory=set)
    pause: float = _SHORTEST_PAUSE_SECONDS
    last: str = "no leader was found"
    refusal: Exception | None = None  # the last answer, when it was that there is no room now


class Writer:
    """Sends writes; one per node."""

    def __init__(
        self,
        own_name: str,
        append_here: AppendHere,
        leader_here: LeaderHere,
        peers: PeerCaller,
        addresses: Callable[[], dict[str, str]],
        deleted_here: DeletedHere,
    ) -> None:
        self._own_name = own_name
        self._append_here = append_here
        self._leader_here = leader_here
        self._peers = peers
        self._addresses = addresses
        self._deleted_here = deleted_here
        self._leaders: dict[tuple[str, int], str] = {}  # node that took the last write
        self._positions: dict[tuple[str, int], int] = {}  # the newest that an append returned

    async def write(
        self,
        collection: CollectionTopology,
        request_id: str,
        floors: dict[int, int],
        parts: Sequence[Part],
        deadline: float,
    ) -> dict[int, Outcome]:
        """What became of each shard's part, at the latest by `deadline` (time.monotonic())."""
        outcomes = await asyncio.gather(
            *(self._land(collection, request_id, floors.get(part.shard, 0), part, deadline) for part in parts)
        )
        return {part.shard: outcome for part, outcome in zip(parts, outcomes, strict=True)}

    def forget(self, collection: str) -> None:
        """Drops what is remembered of a collection that is gone."""
        for known in (self._leaders, self._positions):
            for key in [key for key in known if key[0] == collection]:
                del known[key]

    def position(self, collection: str, shard: int) -> int:
        """A position of the shard that an append through this node returned; 0 when there was none."""
        return self._positions.get((collection, shard), 0)

    async def _land(
        self, collection: CollectionTopology, request_id: str, floor: int, part: Part, deadline: float
    ) -> Outcome:
        async def send(node: str, take_over: bool, remaining: float) -> Landed:
            return await self._send(collection, request_id, floor, part, node, take_over, remaining)

        return await self.deliver(collection, part.shard, send, deadline)

    async def deliver(self, collection: CollectionTopology, shard: int, send: Send, deadline: float) -> Outcome:
        """What became of what `send` sends to the shard's leader: to one replica after another until it lands.

        `send` raises what `Replica.append` does, or UnreachableError.
        """
        replicas = next((entry.replicas for entry in collection.shards if entry.id == shard), ())
        if not replicas:
            return Failed(False, grpc.StatusCode.UNAVAILABLE, "no node holds the shard")
        key = (collection.name, shard)
        attempt = _Attempt(self._first_node(collection.name, shard, replicas))
        while (remaining := deadline - time.monotonic()) > 0:
            attempt.refusal = None
            try:
                landed = await send(attempt.node, attempt.take_over, remaining)
            except NotLeader as error:
                self._follow(error, replicas, attempt)
            except (UnreachableError, NotReady, InDoubt, NotApplied) as error:
                self._go_on(error, replicas, attempt)
            except (TooOld, Overloaded, StorageError, ApiError) as error:
                if isinstance(error, ApiError) and error.code is grpc.StatusCode.NOT_FOUND:
                    self._go_on(NotReady(error.message), replicas, attempt)  # its topology is older than ours
                    continue
                if not _may_pass(error):
                    return _refused(error, attempt.in_doubt)
                attempt.refusal = error
            else:
                self._leaders[key] = attempt.node
                self._positions[key] = max(landed.position, self._positions.get(key, 0))
                return landed
            await asyncio.sleep(min(attempt.pause, max(0.0, deadline - time.monotonic())))
            attempt.pause = min(2 * attempt.pause, _LONGEST_PAUSE_SECONDS)
        if attempt.refusal is not None:
            return _refused(attempt.refusal, attempt.in_doubt)
        return Failed(attempt.in_doubt, grpc.StatusCode.UNAVAILABLE, f"time is up: {attempt.last}")

    def _first_node(self, collection: str, shard: int, replicas: Sequence[str]) -> str:
        known = self._node_at(self._leader_here(collection, shard)) or self._leaders.get((collection, shard), "")
        if known in replicas:
            return known
        return self._own_name if self._own_name in replicas else replicas[0]

    def _node_at(self, address: str) -> str:
        return next((name for name, known in self._addresses().items() if address and known == address), "")

    async def _send(
        self,
        collection: CollectionTopology,
        request_id: str,
        floor: int,
        part: Part,
        node: str,
        take_over: bool,
        remaining: float,
    ) -> Landed:
        if node == self._own_name:
            patience = patience_of(remaining)
            here = self._append_here(collection.name, part.shard, request_id, floor, part.local(), take_over, patience)
            try:
                position = await asyncio.wait_for(here, remaining)
            except TimeoutError:
                raise InDoubt("the object store has not confirmed the write in time") from None
            return Landed(position, self._deleted_here(collection.name, part.shard, request_id))
        address = self._addresses().get(node)
        if address is None:
            raise NotReady(f"node {node} has no address in the topology")
        request = part.message(collection.name, request_id, floor, collection.collection.key)
        request.take_over = take_over
        timeout = attempt_seconds(remaining)
        answer = await self._peers.call(address, "Append", request, peer_pb2.AppendResponse, timeout)
        return Landed(int(answer.position), int(answer.deleted) if answer.HasField("deleted") else None)

    def _follow(self, error: NotLeader, replicas: Sequence[str], attempt: _Attempt) -> None:
        attempt.last = str(error)
        leader = self._node_at(error.address)
        if leader and leader != attempt.node and leader not in attempt.silent:
            attempt.node, attempt.take_over = leader, False
        else:
            self._next_replica(replicas, attempt)

    def _go_on(self, error: Exception, replicas: Sequence[str], attempt: _Attempt) -> None:
        attempt.last = str(error)
        # A node that did not answer may have sent the part to the store before it fell silent.
        attempt.in_doubt |= isinstance(error, UnreachableError | InDoubt)
        if isinstance(error, UnreachableError):
            attempt.silent.add(attempt.node)
        if isinstance(error, UnreachableError | NotReady):
            self._next_replica(replicas, attempt)

    def _next_replica(self, replicas: Sequence[str], attempt: _Attempt) -> None:
        if attempt.silent >= set(replicas):
            attempt.silent.clear()
        start = replicas.index(attempt.node) + 1 if attempt.node in replicas else 0
        order = [*replicas[start:], *replicas[:start]]
        attempt.node = next(node for node in order if node not in attempt.silent)
        attempt.take_over = True


def attempt_seconds(remaining: float) -> float:
    """How long to wait for one node, so that time is left to ask another."""
    return min(remaining, max(_SHORTEST_ATTEMPT_SECONDS, remaining / 3))


def _refused(error: Exception, in_doubt: bool) -> Failed:
    status = errors.status_of(error)
    code = errors.code_of(status) if status else grpc.StatusCode.UNAVAILABLE
    # Too old to know is not the same as not applied.
    in_doubt = in_doubt or isinstance(error, TooOld)
    return Failed(in_doubt, code, str(error), type(error).__name__, errors.retry_after(error))


def _may_pass(error: Exception) -> bool:
    """Whether the leader had no room for the part, or no answer of the store, and expects to have it soon."""
    return isinstance(error, Overloaded | StoreUnavailable) and errors.retry_after(error) is not None
