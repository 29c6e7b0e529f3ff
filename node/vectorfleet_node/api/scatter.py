"""One read over all shards: one call per node with all its shards, again elsewhere for those that got no answer.

Every shard ends up either answered or with the reason why not; there is no third way, so no answer is silently short.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

import grpc
from google.rpc import error_details_pb2

from vectorfleet.errors import MISSING_SHARDS
from vectorfleet.topology import CollectionTopology
from vectorfleet.v1 import peer_pb2
from vectorfleet_node.api.errors import DOMAIN, ApiError, UnreachableError
from vectorfleet_node.api.routing import Router
from vectorfleet_node.api.watch import PeerWatch
from vectorfleet_node.shard.port import Overloaded

PATIENCE_SECONDS = 5.0
_PAUSE_SECONDS = 0.1
_SHORTEST_ATTEMPT_SECONDS = 1.0


class Answered(Protocol):
    """A response of the Peer service that tells of each shard asked."""

    @property
    def answers(self) -> Sequence[peer_pb2.ShardAnswer]:
        """One per shard asked."""


R = TypeVar("R", bound=Answered)
Ask = Callable[[str, list[int], float], Awaitable[R]]  # node, shards, seconds -> response


@dataclass
class Gathered(Generic[R]):
    """What came back. positions: of the shards that answered. missing: of the others the last refusal."""

    responses: list[R] = field(default_factory=list)
    positions: dict[int, int] = field(default_factory=dict)
    missing: dict[int, peer_pb2.ShardAnswer] = field(default_factory=dict)

    def refuse_if_short(self, collection: str) -> None:
        """ApiError when a shard is missing: FAILED_PRECONDITION if only the session's position is, else UNAVAILABLE."""
        if not self.missing:
            return
        behind = all(answer.status == peer_pb2.SHARD_BEHIND for answer in self.missing.values())
        code = grpc.StatusCode.FAILED_PRECONDITION if behind else grpc.StatusCode.UNAVAILABLE
        shards = ", ".join(str(shard) for shard in sorted(self.missing))
        reasons = "; ".join(sorted({answer.message for answer in self.missing.values() if answer.message}))
        info = error_details_pb2.ErrorInfo(
            reason=MISSING_SHARDS, domain=DOMAIN, metadata={"shards": shards.replace(" ", ""), "collection": collection}
        )
        raise ApiError(code, f"shards {shards} of {collection} cannot answer: {reasons}", [info])


class Scatter(Generic[R]):
    """One read; used once. `patience`: how long, in seconds, shards without an answer are asked again."""

    def __init__(
        self, router: Router, watch: PeerWatch, collection: CollectionTopology, ask: Ask[R], patience: float
    ) -> None:
        self._router = router
        self._watch = watch
        self._collection = collection
        self._ask = ask
        self._patience = patience
        self._tried: dict[int, set[str]] = defaultdict(set)
        self._gathered: Gathered[R] = Gathered()

    async def run(self, shards: Iterable[int], deadline: float) -> Gathered[R]:
        """Asks until every shard has answered or nobody is left to ask; `deadline` by time.monotonic()."""
        pending = set(shards)
        give_up = min(deadline, time.monotonic() + self._patience)
        while pending:
            groups = self._groups(pending)
            if not groups:
                settled = all(self._hopeless(shard) for shard in pending)
                if settled or time.monotonic() + _PAUSE_SECONDS >= give_up:
                    break
                await asyncio.sleep(_PAUSE_SECONDS)
                self._tried.clear()
                continue
            asks = [self._ask_node(node, group, deadline) for node, group in groups.items()]
            await (asks[0] if len(asks) == 1 else asyncio.gather(*asks))
            pending -= set(self._gathered.positions)
            if time.monotonic() >= deadline:
                break
        for shard in pending:
            self._gathered.missing.setdefault(shard, _not_here(shard, f"no node holds shard {shard}"))
        for shard in self._gathered.positions:
            self._gathered.missing.pop(shard, None)
        return self._gathered

    def _groups(self, pending: set[int]) -> dict[str, list[int]]:
        groups: dict[str, list[int]] = defaultdict(list)
        for shard in sorted(pending):
            node = None if self._hopeless(shard) else self._router.choose(self._collection, shard, self._tried[shard])
            if node is not None:
                groups[node].append(shard)
        return groups

    def _hopeless(self, shard: int) -> bool:
        """The log itself does not reach the position, so no replica can; or all replicas found the store silent."""
        refusal = self._gathered.missing.get(shard)
        if refusal is None:
            return False
        if refusal.status == peer_pb2.SHARD_BEHIND:
            return True
        exhausted = self._router.choose(self._collection, shard, self._tried[shard]) is None
        return refusal.status == peer_pb2.SHARD_UNCHECKED and exhausted

    async def _ask_node(self, node: str, shards: list[int], deadline: float) -> None:
        for shard in shards:
            self._tried[shard].add(node)
        remaining = deadline - time.monotonic()
        more = [self._router.choose(self._collection, shard, self._tried[shard]) is not None for shard in shards]
        # A node that hangs must leave time to ask another one.
        timeout = min(remaining, max(_SHORTEST_ATTEMPT_SECONDS, remaining / 3)) if any(more) else remaining
        try:
            response = await self._ask(node, shards, timeout)
        except (UnreachableError, Overloaded, ApiError) as error:
            self._refused(node, shards, error, last=not all(more))
            return
        self._gathered.responses.append(response)
        for answer in response.answers:
            if answer.status == peer_pb2.SHARD_OK:
                self._gathered.positions[answer.shard] = answer.position
            else:
                self._gathered.missing[answer.shard] = answer

    def _refused(
        self, node: str, shards: list[int], error: UnreachableError | Overloaded | ApiError, *, last: bool
    ) -> None:
        """Remembers why a node did not answer, for others to be asked; raises what they would not answer either."""
        if isinstance(error, UnreachableError):
            self._watch.failed(node)
        elif isinstance(error, Overloaded):
            if last:  # its refusal is the caller's: it says when to come back
                raise error
        elif error.code is not grpc.StatusCode.NOT_FOUND:  # that one's topology is only older than ours
            raise error
        for shard in shards:
            self._gathered.missing[shard] = _not_here(shard, str(error))


def _not_here(shard: int, message: str) -> peer_pb2.ShardAnswer:
    return peer_pb2.ShardAnswer(shard=shard, status=peer_pb2.SHARD_NOT_HERE, message=message)
