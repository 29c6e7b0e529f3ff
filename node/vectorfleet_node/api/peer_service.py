"""The service `Peer`: what this node does for the others and the operator. Its server asks for the fleet's secret."""
# ruff: noqa: N802 - gRPC gives the methods their names

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from vectorfleet.v1 import peer_pb2, peer_pb2_grpc
from vectorfleet_node.api import imports
from vectorfleet_node.api.backpressure import patience_of
from vectorfleet_node.api.node import Node
from vectorfleet_node.api.parts import received, selecting
from vectorfleet_node.api.rows import key_values
from vectorfleet_node.query.errors import InvalidQuery
from vectorfleet_node.query.filters import compile_filter
from vectorfleet_node.shard.port import DeletePart, NotApplied, Part, UpsertPart

_DEFAULT_SECONDS = 30.0
Context = Any  # grpc.aio.ServicerContext; its type parameters say nothing here


def _remaining(context: Context) -> float:
    remaining = context.time_remaining()
    return _DEFAULT_SECONDS if remaining is None else max(0.0, float(remaining))


class PeerService(peer_pb2_grpc.PeerServicer):
    """Answers for the shards on this node only."""

    def __init__(self, node: Node) -> None:
        self._node = node

    async def Append(self, request: peer_pb2.AppendRequest, context: Context) -> peer_pb2.AppendResponse:
        """See the .proto."""
        with self._node.write_budget.taking(request.ByteSize()):
            return await self._append(request, patience_of(_remaining(context)))

    async def _append(self, request: peer_pb2.AppendRequest, patience: float) -> peer_pb2.AppendResponse:
        schema = self._node.host(request.collection).schema
        part: Part
        if request.WhichOneof("part") == "upsert":
            part = UpsertPart(await received(request.upsert, schema))
        elif request.WhichOneof("part") == "delete_filter":
            try:
                part = selecting(compile_filter(request.delete_filter, schema))
            except InvalidQuery as error:
                raise NotApplied(f"this node has another schema: {error}") from None
        else:
            part = DeletePart(tuple(key_values(request.delete)))
        position = await self._node.append(
            request.collection, request.shard, request.request_id, request.floor, part, request.take_over, patience
        )
        deleted = self._node.deleted(request.collection, request.shard, request.request_id)
        return peer_pb2.AppendResponse(position=position, deleted=deleted)

    async def ImportShard(
        self, requests: AsyncIterator[peer_pb2.ImportShardRequest], context: Context
    ) -> peer_pb2.ImportShardResponse:
        """See the .proto."""
        with self._node.write_budget.taking(imports.STREAM_BYTES):
            return await imports.take_stream(self._node, requests, _remaining(context))

    async def SearchShards(
        self, request: peer_pb2.SearchShardsRequest, context: Context
    ) -> peer_pb2.SearchShardsResponse:
        """See the .proto."""
        return (await self._node.local.search(request.request, request.shards, _remaining(context))).message()

    async def SearchGroups(
        self, request: peer_pb2.SearchGroupsRequest, context: Context
    ) -> peer_pb2.SearchGroupsResponse:
        """See the .proto."""
        return await self._node.local.search_groups(request, _remaining(context))

    async def GetShards(self, request: peer_pb2.GetShardsRequest, context: Context) -> peer_pb2.GetShardsResponse:
        """See the .proto."""
        return await self._node.local.get(request, _remaining(context))

    async def CountShards(self, request: peer_pb2.CountShardsRequest, context: Context) -> peer_pb2.CountShardsResponse:
        """See the .proto."""
        return await self._node.local.count(request, _remaining(context))

    async def ScanShard(self, request: peer_pb2.ScanShardRequest, context: Context) -> peer_pb2.ScanShardResponse:
        """See the .proto."""
        return await self._node.scans.page(request, _remaining(context))

    async def Ping(self, request: peer_pb2.PingRequest, context: Context) -> peer_pb2.PingResponse:
        """See the .proto."""
        replica = self._node.replica(request.collection, request.shard)
        return peer_pb2.PingResponse(
            owner=self._node.identity.owner,
            leads=replica is not None and replica.leads,
            position=replica.report().position if replica else 0,
        )

    async def Report(self, request: peer_pb2.ReportRequest, context: Context) -> peer_pb2.NodeReport:
        """See the .proto."""
        return self._node.report()

    async def PutTopology(self, request: peer_pb2.PutTopologyRequest, context: Context) -> peer_pb2.PutTopologyResponse:
        """See the .proto."""
        self._node.topology.push(request.topology)
        return peer_pb2.PutTopologyResponse()

    async def Flush(self, request: peer_pb2.FlushRequest, context: Context) -> peer_pb2.FlushResponse:
        """See the .proto."""
        led = [replica for replica in self._node.host(request.collection).replicas() if replica.leads]
        await asyncio.gather(*(replica.flush() for replica in led))
        return peer_pb2.FlushResponse(shards=sorted(replica.shard for replica in led))

    async def ReleaseClaim(
        self, request: peer_pb2.ReleaseClaimRequest, context: Context
    ) -> peer_pb2.ReleaseClaimResponse:
        """See the .proto."""
        return peer_pb2.ReleaseClaimResponse(released=await self._node.host(request.collection).release())
