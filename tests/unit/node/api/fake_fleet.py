"""Small stand-ins for replicas and for the network, so that the API layer's decisions can be tested one by one."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from vectorfleet.schema import CollectionSchema, FieldSchema, FieldType, VectorSchema
from vectorfleet.topology import Claim, CollectionTopology, ShardPlacement, StorageLocation
from vectorfleet_node.api.errors import UnreachableError
from vectorfleet_node.shard.port import DeletePart, NotLeader, NotReady, ReplicaReport, UpsertPart

SCHEMA = CollectionSchema(
    vectors=(VectorSchema(name="default", dimensions=2),),
    fields=(FieldSchema(name="lang", type=FieldType.STRING), FieldSchema(name="year", type=FieldType.INT64)),
    shards=2,
)


def collection(placement: dict[int, tuple[str, ...]], schema: CollectionSchema = SCHEMA) -> CollectionTopology:
    """A collection `things` whose shards are placed as told."""
    return CollectionTopology(
        name="things",
        uid="uid-1",
        claim=Claim(cluster="c", namespace="n", name="things"),
        storage=StorageLocation(url="memory:///things"),
        collection=schema,
        shards=tuple(ShardPlacement(id=shard, replicas=nodes) for shard, nodes in placement.items()),
    )


@dataclass
class FakeView:
    """A view that only knows its position."""

    position: int
    blocks: tuple[Any, ...] = ()

    def locate(self, keys: list[Any]) -> list[None]:
        return [None] * len(keys)


@dataclass
class FakeReplica:
    """A replica that does as it is told: each attribute that is an exception is raised by the method of that name."""

    shard: int = 0
    ready: bool = True
    leader: tuple[str, str] = ("", "")
    leads: bool = False
    position: int = 7
    strong: Exception | None = None
    fresh: Exception | None = None
    session: Exception | None = None
    taking_over: Exception | None = None
    calls: list[str] = field(default_factory=list)

    def report(self) -> ReplicaReport:
        return ReplicaReport(self.shard, self.ready, self.leads, self.position, 0, 0, 0, (), "")

    def view(self) -> FakeView:
        if not self.ready:
            raise NotReady("loading")
        return FakeView(self.position)

    async def start(self) -> None: ...
    async def stop(self) -> None: ...
    async def flush(self) -> None: ...

    async def append(self, request_id: str, floor: int, part: UpsertPart | DeletePart, patience: float = 0.0) -> int:
        if not self.leads:
            raise NotLeader(*self.leader)
        self.position += 1
        return self.position

    def deleted(self, request_id: str) -> int | None:
        return None

    def stored(self, request_id: str, floor: int) -> int | None:
        return None

    async def import_rows(
        self, request_id: str, floor: int, rows: AsyncIterable[pa.RecordBatch], patience: float = 0.0
    ) -> int:
        if not self.leads:
            raise NotLeader(*self.leader)
        self.position += sum([batch.num_rows async for batch in rows])
        return self.position

    async def take_over(self) -> None:
        self._do("take_over", self.taking_over)
        self.leads, self.leader = True, ("me", "me:1")

    async def wait_for(self, position: int) -> None:
        self._do("wait_for", self.session)

    async def make_strong(self) -> None:
        self._do("make_strong", self.strong)

    async def make_fresh(self, max_staleness: float) -> None:
        self._do("make_fresh", self.fresh)

    def _do(self, name: str, error: Exception | None) -> None:
        self.calls.append(name)
        if error is not None:
            raise error


Answer = Callable[[Any], Any]  # request -> response, or raises


@dataclass
class FakeNetwork:
    """Answers calls by (address, method); an address without answers is a dead node."""

    answers: dict[tuple[str, str], Answer] = field(default_factory=dict)
    calls: list[tuple[str, str]] = field(default_factory=list)

    async def call(self, address: str, method: str, request: Any, answer: type[Any], timeout: float) -> Any:
        self.calls.append((address, method))
        if (address, method) not in self.answers:
            raise UnreachableError(f"node at {address} did not answer")
        return self.answers[address, method](request)
