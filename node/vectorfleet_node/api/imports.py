"""Brings a part of an import to the leader of its shard. `Importer` is the public service's, the rest also the peers'.

First every candidate is asked whether it leads and whether it has the part already, which costs no row. Then the rows
stream to the one that leads, a chunk at a time, as fast as it takes them. The trap: a stream cannot be sent twice, so
whatever goes wrong from there on is answered at once, and the client sends the part again with the same id.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Final

import grpc
import pyarrow as pa

from vectorfleet.topology import CollectionTopology
from vectorfleet.v1 import peer_pb2
from vectorfleet.v1 import vectorfleet_pb2 as pb
from vectorfleet_node.api import chunks, consistency, errors
from vectorfleet_node.api.backpressure import patience_of
from vectorfleet_node.api.errors import ApiError, UnreachableError, invalid
from vectorfleet_node.api.node import Node
from vectorfleet_node.api.parts import Failed, Landed, received
from vectorfleet_node.api.writes import attempt_seconds
from vectorfleet_node.shard.batch import encode
from vectorfleet_node.shard.port import InDoubt, NotApplied, NotLeader, NotReady, Replica, TooNew

SECONDS: Final = 600.0  # of a call that has no deadline
# A shard that was just made is raised to the newest format when all of its nodes have been heard.
RISE_SECONDS: Final = 15.0
_RISE_LOOK_SECONDS: Final = 0.25
# Of a stream, in the node's budget for writes: the chunk that is checked, and the next one that gRPC has read already.
STREAM_BYTES: Final = 2 * chunks.MAX_CHUNK_BYTES


async def stored_here(node: Node, header: peer_pb2.ImportShardHeader) -> peer_pb2.ImportShardResponse:
    """What the leader on this node knows of the part. NotLeader, NotReady, TooOld."""

    async def look(replica: Replica) -> int:
        return replica.stored(header.request_id, header.floor) or 0

    position = await node.as_leader(header.collection, header.shard, header.take_over, look)
    return peer_pb2.ImportShardResponse(position=position, repeated=position > 0)


async def take_here(
    node: Node, header: peer_pb2.ImportShardHeader, batches: AsyncIterator[pa.RecordBatch], seconds: float
) -> peer_pb2.ImportShardResponse:
    """Imports into the replica on this node, which must lead. InDoubt after `seconds`; else as `Replica.import_rows`.

    batches: `header.rows` rows in all, else NotApplied.
    """
    counted = _Counted(batches, header.rows)

    async def take(replica: Replica) -> int:
        give_up = time.monotonic() + RISE_SECONDS
        while True:
            try:
                return await replica.import_rows(header.request_id, header.floor, counted.rows(), patience_of(seconds))
            except TooNew:
                if counted.begun or time.monotonic() > give_up:
                    raise
            await asyncio.sleep(_RISE_LOOK_SECONDS)

    try:
        async with _in_time(seconds):
            position = await node.as_leader(header.collection, header.shard, False, take)
    except ValueError as error:
        raise invalid("rows", str(error)) from None
    return peer_pb2.ImportShardResponse(position=position, repeated=not counted.begun)


async def take_stream(
    node: Node, requests: AsyncIterator[peer_pb2.ImportShardRequest], seconds: float
) -> peer_pb2.ImportShardResponse:
    """Answers a peer's stream, as `take_here`; only what is known of the part where its header says of no rows."""
    first = await anext(requests, peer_pb2.ImportShardRequest())
    header = first.header
    schema = node.host(header.collection).schema
    if not header.rows:
        return await stored_here(node, header)

    async def batches() -> AsyncGenerator[pa.RecordBatch]:
        async for request in requests:
            yield await received(request.rows, schema)

    async with aclosing(batches()) as decoded:
        return await take_here(node, header, decoded, seconds)


class _Counted:
    """Passes batches on, all or with an error: a peer that dies ends its stream like one that is done."""

    def __init__(self, batches: AsyncIterator[pa.RecordBatch], wanted: int) -> None:
        self.begun = False
        self._batches = batches
        self._wanted = wanted

    async def rows(self) -> AsyncIterator[pa.RecordBatch]:
        self.begun = True
        came = 0
        async for batch in self._batches:
            came += batch.num_rows
            yield batch
        if came != self._wanted:
            raise NotApplied(f"{came} of {self._wanted} rows came")


class Importer:
    """Answers `Import` for one node."""

    def __init__(self, node: Node) -> None:
        self._node = node

    async def run(self, requests: AsyncIterator[pb.ImportRequest], deadline: float) -> pb.ImportResponse:
        """The answer, at the latest by `deadline` (time.monotonic()). When cancelled, nothing more is sent."""
        with self._node.write_budget.taking(STREAM_BYTES):
            header = await chunks.header_of(requests)
            collection = self._node.topology.collection(header.collection)
            uid = self._check(header, collection)
            asked = await self._header(header, collection)
            node, found = await self._find(collection, asked, deadline)
            if header.rows and not found.position:
                asked.rows, asked.take_over = header.rows, False
                batches = chunks.checked(requests, header, self._node.schema(collection.name))
                async with aclosing(batches):
                    found = await self._send(node, asked, batches, deadline - time.monotonic())
            return _response(header, uid, found)

    def _check(self, header: pb.ImportHeader, collection: CollectionTopology) -> str:
        """The collection's uid; refuses a header that does not fit it."""
        shards = collection.collection.shards
        if header.shard >= shards:
            raise invalid("header.shard", f"is {header.shard}; the collection has the shards 0 to {shards - 1}")
        uid = self._node.uid(collection)
        consistency.check_token(header.floor, uid, shards, "header.floor")
        return uid

    async def _header(self, header: pb.ImportHeader, collection: CollectionTopology) -> peer_pb2.ImportShardHeader:
        """As the leader is asked with: no rows yet."""
        floor = header.floor.positions.get(header.shard)
        if floor is None:
            floor = await self._node.known_position(collection, header.shard)
        return peer_pb2.ImportShardHeader(
            collection=header.collection, shard=header.shard, request_id=header.request_id, floor=floor
        )

    async def _find(
        self, collection: CollectionTopology, header: peer_pb2.ImportShardHeader, deadline: float
    ) -> tuple[str, peer_pb2.ImportShardResponse]:
        """Who leads the shard, and what it says of the part."""
        leader, answer = "", peer_pb2.ImportShardResponse()

        async def ask(node: str, take_over: bool, remaining: float) -> Landed:
            nonlocal leader, answer
            header.take_over = take_over
            answer = await self._ask(node, header, attempt_seconds(remaining))
            leader = node
            return Landed(answer.position)

        outcome = await self._node.writer.deliver(collection, header.shard, ask, deadline)
        if isinstance(outcome, Failed):
            details = errors.hints(outcome.reason, outcome.retry_after)
            raise ApiError(outcome.code, f"shard {header.shard} did not take the import: {outcome.message}", details)
        return leader, answer

    async def _ask(self, node: str, header: peer_pb2.ImportShardHeader, seconds: float) -> peer_pb2.ImportShardResponse:
        if node != self._node.name:
            return await self._node.stream(
                node, "ImportShard", _messages(header), peer_pb2.ImportShardResponse, seconds
            )
        try:
            async with asyncio.timeout(seconds):
                return await stored_here(self._node, header)
        except TimeoutError:
            raise NotReady("this node could not lead the shard in time") from None

    async def _send(
        self, node: str, header: peer_pb2.ImportShardHeader, batches: AsyncIterator[pa.RecordBatch], seconds: float
    ) -> peer_pb2.ImportShardResponse:
        try:
            if node == self._node.name:
                return await take_here(self._node, header, batches, seconds)
            messages = _messages(header, batches)
            async with _in_time(seconds):  # the peer's answer is only seen when there is a message to send
                return await self._node.stream(node, "ImportShard", messages, peer_pb2.ImportShardResponse, seconds)
        except (NotLeader, NotReady, UnreachableError) as error:
            message = f"shard {header.shard} did not take the import: {error}. Send it again with the same request_id"
            raise ApiError(grpc.StatusCode.UNAVAILABLE, message) from None


@asynccontextmanager
async def _in_time(seconds: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise InDoubt("the import was not finished in time") from None


async def _messages(
    header: peer_pb2.ImportShardHeader, batches: AsyncIterator[pa.RecordBatch] | None = None
) -> AsyncIterator[peer_pb2.ImportShardRequest]:
    yield peer_pb2.ImportShardRequest(header=header)
    if batches is not None:
        async for batch in batches:
            yield peer_pb2.ImportShardRequest(rows=encode(batch))


def _response(header: pb.ImportHeader, uid: str, found: peer_pb2.ImportShardResponse) -> pb.ImportResponse:
    positions = {header.shard: found.position} if found.position else {}
    return pb.ImportResponse(
        session=pb.SessionToken(uid=uid, positions=positions), rows=header.rows, repeated=found.repeated
    )
