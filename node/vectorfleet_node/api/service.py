"""The public service `VectorFleet`: checks a request, sends it to the shards, and answers as one.

Everything raised here is turned into a status by the observing interceptor.
"""
# ruff: noqa: N802 - gRPC gives the methods their names

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import Any, TypeVar

import grpc

from vectorfleet.partition import shard_of
from vectorfleet.topology import CollectionTopology
from vectorfleet.v1 import peer_pb2, vectorfleet_pb2_grpc
from vectorfleet.v1 import vectorfleet_pb2 as pb
from vectorfleet_node.api import consistency, grouped, imports, parts, scans, validate
from vectorfleet_node.api.describe import VERSION
from vectorfleet_node.api.errors import ApiError, invalid
from vectorfleet_node.api.node import Node
from vectorfleet_node.api.rows import concatenate, key_values, merge_hits, take
from vectorfleet_node.api.scatter import PATIENCE_SECONDS, Ask, Gathered, Scatter
from vectorfleet_node.api.searches import Answers
from vectorfleet_node.query.model import SearchSpec
from vectorfleet_node.query.validate import resolve_output_fields

DEFAULT_SECONDS = 30.0
# Kept back from the caller's deadline so that our answer, not the caller's clock, ends the call.
_ANSWER_SECONDS = 0.25
Context = Any  # grpc.aio.ServicerContext; its type parameters say nothing here
Create = Callable[[pb.CreateCollectionRequest], Awaitable[CollectionTopology]]
R = TypeVar(
    "R",
    Answers,
    peer_pb2.GetShardsResponse,
    peer_pb2.CountShardsResponse,
    peer_pb2.ScanShardResponse,
    peer_pb2.SearchGroupsResponse,
)


def _answer(found: Gathered[Answers], uid: str, k: int) -> pb.SearchResponse:
    """What the nodes found, as one. Filled in place: constructors of messages that hold others take thrice the time."""
    answered = [response for response in found.responses if response.results]
    answer = pb.SearchResponse()
    if len(answered) == 1:
        answer.results.extend(answered[0].results)
    else:
        parts = zip(*(response.results for response in answered), strict=True)
        answer.results.extend(merge_hits(hits, k) for hits in parts)
    answer.session.uid = uid
    answer.session.positions.update(found.positions)
    answer.missing_shards.extend(sorted(found.missing))
    answer.indexes.extend(sorted({kind for response in answered for kind in response.indexes}))
    explanation: list[pb.ShardExplanation] = [told for response in answered for told in response.explanation]
    answer.explanation.extend(sorted(explanation, key=lambda told: told.shard))
    return answer


def deadline_of(context: Context, default: float = DEFAULT_SECONDS) -> float:
    """When to have answered, by time.monotonic(). default: seconds, for a call that has no deadline."""
    remaining = context.time_remaining()
    seconds = default if remaining is None else float(remaining)
    return time.monotonic() + max(seconds * 0.5, seconds - _ANSWER_SECONDS)


class VectorFleetService(vectorfleet_pb2_grpc.VectorFleetServicer):
    """`create` makes collections on a stand-alone node; a fleet's node has none."""

    def __init__(self, node: Node, create: Create | None = None) -> None:
        self._node = node
        self._create = create
        self._importer = imports.Importer(node)

    # -- writes -------------------------------------------------------------------------------------------------------

    async def Upsert(self, request: pb.UpsertRequest, context: Context) -> pb.WriteResponse:
        """See the .proto."""
        collection = self._node.topology.collection(request.collection)
        schema = self._node.schema(request.collection)
        with self._node.write_budget.taking(request.ByteSize()):
            batch = await asyncio.to_thread(validate.upsert_batch, request.rows, schema)
            split = await asyncio.to_thread(parts.split_upsert, batch, schema)
            return await self._write(collection, request.request_id, request.floor, split, batch.num_rows, context)

    async def Import(self, requests: AsyncIterator[pb.ImportRequest], context: Context) -> pb.ImportResponse:
        """See the .proto."""
        return await self._importer.run(requests, deadline_of(context, imports.SECONDS))

    async def Delete(self, request: pb.DeleteRequest, context: Context) -> pb.WriteResponse:
        """See the .proto."""
        collection = self._node.topology.collection(request.collection)
        if request.filter:
            return await self._delete_matching(request, collection, context)
        with self._node.write_budget.taking(request.ByteSize()):
            keys = validate.keys_of(request.keys, collection.collection.key, "keys", distinct=True)
            split = parts.split_keys(keys, collection.collection)
            return await self._write(collection, request.request_id, request.floor, split, len(keys), context)

    async def _delete_matching(
        self, request: pb.DeleteRequest, collection: CollectionTopology, context: Context
    ) -> pb.WriteResponse:
        if request.keys.strings or request.keys.ints:
            raise invalid("filter", "is given beside keys; exactly one of the two is allowed")
        wanted = validate.filter_of(request.filter, self._node.schema(collection.name))
        if wanted is None:
            raise invalid("filter", "is blank; it would match every row, which has to be said by a filter that does")
        split = parts.split_filter(wanted, collection.collection)
        with self._node.write_budget.taking(request.ByteSize()):
            return await self._write(collection, request.request_id, request.floor, split, None, context)

    async def _write(
        self,
        collection: CollectionTopology,
        request_id: str,
        floor: pb.SessionToken,
        split: Sequence[parts.Part],
        rows: int | None,
        context: Context,
    ) -> pb.WriteResponse:
        validate.check_request_id(request_id)
        uid = self._node.uid(collection)
        consistency.check_token(floor, uid, collection.collection.shards, "floor")
        request_id = request_id or uuid.uuid4().hex
        floors = dict(floor.positions)
        for part in split:
            if part.shard not in floors:
                floors[part.shard] = await self._node.known_position(collection, part.shard)
        outcomes = await self._node.writer.write(collection, request_id, floors, split, deadline_of(context))
        failure = parts.failure(split, outcomes, uid, collection.collection, request_id)
        if failure is not None:
            raise failure
        landed = {shard: outcome for shard, outcome in outcomes.items() if isinstance(outcome, parts.Landed)}
        positions = {shard: outcome.position for shard, outcome in landed.items()}
        response = pb.WriteResponse(session=pb.SessionToken(uid=uid, positions=positions))
        if rows is None:  # a delete by filter: what the shards say
            response.rows = sum(outcome.deleted or 0 for outcome in landed.values())
            response.rows_unknown = any(outcome.deleted is None for outcome in landed.values())
        else:
            response.rows = rows
        return response

    # -- reads --------------------------------------------------------------------------------------------------------

    async def Search(self, request: pb.SearchRequest, context: Context) -> pb.SearchResponse:
        """See the .proto."""
        collection, uid = self._prepare(request)
        spec = validate.search_of(request, self._node.schema(collection.name))
        if request.HasField("group_by"):
            if request.explain:
                raise invalid("explain", "is true; with group_by only false is allowed")
            return await self._search_groups(request, spec, collection, uid, context)

        async def ask(node: str, shards: list[int], seconds: float) -> Answers:
            response: Answers
            if node == self._node.name:
                response = await self._node.local.search(request, shards, seconds, spec)
            else:
                asked = peer_pb2.SearchShardsRequest(request=request, shards=shards)
                response = await self._node.ask(node, "SearchShards", asked, peer_pb2.SearchShardsResponse, seconds)
            for told in response.explanation:
                told.node = node
            return response

        found = await self._scatter(
            collection, range(collection.collection.shards), ask, request.allow_partial, context
        )
        return _answer(found, uid, request.k)

    async def _search_groups(
        self, request: pb.SearchRequest, spec: SearchSpec, collection: CollectionTopology, uid: str, context: Context
    ) -> pb.SearchResponse:
        grouped.grouping_of(request, self._node.schema(collection.name), spec)
        response = pb.SearchResponse(session=pb.SessionToken(uid=uid))
        missing: set[int] = set()

        async def one_round(shards: Sequence[int], only: list[pb.FieldColumn]) -> list[peer_pb2.SearchGroupsResponse]:
            asked = peer_pb2.SearchGroupsRequest(request=request, only=only)
            if only:
                seen = dict(response.session.positions)
                asked.request.consistency.CopyFrom(consistency.not_before(request.consistency, uid, seen))

            async def ask(node: str, shards: list[int], seconds: float) -> peer_pb2.SearchGroupsResponse:
                part = peer_pb2.SearchGroupsRequest(request=asked.request, shards=shards, only=asked.only)
                if node == self._node.name:
                    return await self._node.local.search_groups(part, seconds)
                return await self._node.ask(node, "SearchGroups", part, peer_pb2.SearchGroupsResponse, seconds)

            found = await self._scatter(collection, shards, ask, request.allow_partial, context)
            response.session.positions.update(found.positions)
            missing.update(found.missing)
            return found.responses

        shards = range(collection.collection.shards)
        results, indexes = await grouped.search_groups(request, len(spec.queries), shards, one_round)
        response.results.extend(results)
        response.indexes.extend(indexes)
        response.missing_shards.extend(sorted(missing))
        return response

    async def Get(self, request: pb.GetRequest, context: Context) -> pb.GetResponse:
        """See the .proto."""
        collection, uid = self._prepare(request)
        schema = self._node.schema(collection.name)
        resolve_output_fields(schema, request.output_fields)
        keys = validate.keys_of(request.keys, schema.key, "keys", distinct=False)
        shards = sorted({shard_of(key, schema.shards) for key in keys})

        async def ask(node: str, shards: list[int], seconds: float) -> peer_pb2.GetShardsResponse:
            asked = peer_pb2.GetShardsRequest(request=request, shards=shards)
            if node == self._node.name:
                return await self._node.local.get(asked, seconds)
            return await self._node.ask(node, "GetShards", asked, peer_pb2.GetShardsResponse, seconds)

        found = await self._scatter(collection, shards, ask, False, context)
        rows = concatenate([response.rows for response in found.responses])
        numbers = {key: number for number, key in enumerate(key_values(rows.keys))}
        order = [numbers[key] for key in keys if key in numbers]
        return pb.GetResponse(rows=take(rows, order), session=pb.SessionToken(uid=uid, positions=found.positions))

    async def Count(self, request: pb.CountRequest, context: Context) -> pb.CountResponse:
        """See the .proto."""
        collection, uid = self._prepare(request)
        validate.filter_of(request.filter, self._node.schema(collection.name))

        async def ask(node: str, shards: list[int], seconds: float) -> peer_pb2.CountShardsResponse:
            asked = peer_pb2.CountShardsRequest(request=request, shards=shards)
            if node == self._node.name:
                return await self._node.local.count(asked, seconds)
            return await self._node.ask(node, "CountShards", asked, peer_pb2.CountShardsResponse, seconds)

        found = await self._scatter(
            collection, range(collection.collection.shards), ask, request.allow_partial, context
        )
        return pb.CountResponse(
            count=sum(response.count for response in found.responses),
            session=pb.SessionToken(uid=uid, positions=found.positions),
            missing_shards=sorted(found.missing),
        )

    async def Scan(self, request: pb.ScanRequest, context: Context) -> pb.ScanResponse:
        """See the .proto."""
        collection, uid = self._prepare(request)
        scans.checked(request, self._node.schema(collection.name))
        deadline = deadline_of(context)

        async def go_on(node: str, asked: peer_pb2.ScanShardRequest) -> peer_pb2.ScanShardResponse:
            remaining = deadline - time.monotonic()
            return await self._scan_on(node, asked, remaining / 3 if request.resume else remaining)

        async def begin(asked: peer_pb2.ScanShardRequest) -> peer_pb2.ScanShardResponse:
            async def ask(node: str, _: list[int], seconds: float) -> peer_pb2.ScanShardResponse:
                return await self._scan_on(node, asked, seconds)

            found = await self._scatter(collection, [asked.cursor.shard], ask, False, context)
            return next(page for page in found.responses if page.answers[0].status == peer_pb2.SHARD_OK)

        return await scans.next_page(request, collection, uid, begin, go_on)

    async def _scan_on(self, node: str, asked: peer_pb2.ScanShardRequest, seconds: float) -> peer_pb2.ScanShardResponse:
        if node == self._node.name:
            return await self._node.scans.page(asked, seconds)
        return await self._node.ask(node, "ScanShard", asked, peer_pb2.ScanShardResponse, seconds)

    def _prepare(
        self, request: pb.SearchRequest | pb.GetRequest | pb.CountRequest | pb.ScanRequest
    ) -> tuple[CollectionTopology, str]:
        """The collection and its uid; the request's consistency is resolved in place, for the peers it is sent to."""
        collection = self._node.topology.collection(request.collection)
        uid = self._node.uid(collection)
        request.consistency.CopyFrom(consistency.resolve(request.consistency, collection, uid))
        return collection, uid

    async def _scatter(
        self, collection: CollectionTopology, shards: Iterable[int], ask: Ask[R], partial: bool, context: Context
    ) -> Gathered[R]:
        # Who takes a partial answer wants it now; who wants all of it waits for a replica to come back.
        patience = 0.0 if partial else PATIENCE_SECONDS
        scatter = Scatter(self._node.router, self._node.watch, collection, ask, patience)
        found = await scatter.run(shards, deadline_of(context))
        if not partial or not found.positions:
            found.refuse_if_short(collection.name)
        return found

    # -- the rest -----------------------------------------------------------------------------------------------------

    async def Describe(self, request: pb.DescribeRequest, context: Context) -> pb.DescribeResponse:
        """See the .proto."""
        topology = self._node.topology.current
        if request.collection or topology is None:
            wanted: tuple[CollectionTopology, ...] = (self._node.topology.collection(request.collection),)
        else:
            wanted = topology.collections
        described = [self._node.describer.collection(entry, self._node.known_uid(entry)) for entry in wanted]
        return pb.DescribeResponse(collections=described, node=self._node.name, version=VERSION)

    async def CreateCollection(
        self, request: pb.CreateCollectionRequest, context: Context
    ) -> pb.CreateCollectionResponse:
        """See the .proto."""
        if self._create is None:
            message = "this node belongs to a fleet: make the collection by applying a VectorCollection"
            raise ApiError(grpc.StatusCode.FAILED_PRECONDITION, message)
        collection = await self._create(request)
        info = self._node.describer.collection(collection, self._node.known_uid(collection))
        return pb.CreateCollectionResponse(collection=info)
