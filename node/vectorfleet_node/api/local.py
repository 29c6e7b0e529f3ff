"""Reads over the shards of this node: for its own callers and, through the Peer service, for the other nodes.

Each shard answers at the consistency level asked for or says why it cannot. Scans run in threads, never on the loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from vectorfleet.partition import shard_of
from vectorfleet.schema import CollectionSchema
from vectorfleet.v1 import peer_pb2
from vectorfleet.v1 import vectorfleet_pb2 as pb
from vectorfleet_node.api import validate
from vectorfleet_node.api.consistency import view_at
from vectorfleet_node.api.rows import concatenate, key_values, rows_message
from vectorfleet_node.query.model import SearchSpec
from vectorfleet_node.query.rows import count, get_rows
from vectorfleet_node.query.search import merge, search_shard
from vectorfleet_node.query.validate import resolve_output_fields
from vectorfleet_node.shard.port import Replica
from vectorfleet_node.shard.view import Key, ShardView

FindReplica = Callable[[str, int], Replica | None]  # collection, shard
FindSchema = Callable[[str], CollectionSchema]
T = TypeVar("T")


class LocalReads:
    """Reads the replicas of this process."""

    def __init__(self, replica: FindReplica, schema: FindSchema, threads: ThreadPoolExecutor) -> None:
        self._replica = replica
        self._schema = schema
        self._threads = threads

    async def search(self, asked: peer_pb2.SearchShardsRequest, seconds: float) -> peer_pb2.SearchShardsResponse:
        """The k best over the shards that can answer within `seconds`; consistency already resolved."""
        request = asked.request
        schema = self._schema(request.collection)
        spec = validate.search_of(request, schema)
        answers, views = await self._views(request.collection, asked.shards, request.consistency, seconds)
        response = peer_pb2.SearchShardsResponse(answers=answers)
        if views:
            results, indexes = await self._run(_search, list(views.values()), spec, schema)
            response.results.extend(results)
            response.indexes.extend(indexes)
        return response

    async def get(self, asked: peer_pb2.GetShardsRequest, seconds: float) -> peer_pb2.GetShardsResponse:
        """The rows of the request's keys that live in the shards asked."""
        request = asked.request
        schema = self._schema(request.collection)
        fields = resolve_output_fields(schema, request.output_fields)
        answers, views = await self._views(request.collection, asked.shards, request.consistency, seconds)
        keys = key_values(request.keys)
        rows = await self._run(_get, views, schema, keys, fields, request.include_vectors)
        return peer_pb2.GetShardsResponse(answers=answers, rows=rows)

    async def count(self, asked: peer_pb2.CountShardsRequest, seconds: float) -> peer_pb2.CountShardsResponse:
        """How many rows of the shards asked match the filter."""
        request = asked.request
        wanted = validate.filter_of(request.filter, self._schema(request.collection))
        answers, views = await self._views(request.collection, asked.shards, request.consistency, seconds)
        total = await self._run(lambda: sum(count(view, wanted) for view in views.values()))
        return peer_pb2.CountShardsResponse(answers=answers, count=total)

    async def _views(
        self, collection: str, shards: Sequence[int], consistency: pb.Consistency, seconds: float
    ) -> tuple[list[peer_pb2.ShardAnswer], dict[int, ShardView]]:
        # Part of the time is for the scan and the way back.
        patience = seconds * 0.8
        found = await asyncio.gather(
            *(view_at(self._replica(collection, shard), shard, consistency, patience) for shard in shards)
        )
        views = {answer.shard: view for answer, view in found if view is not None}
        return [answer for answer, _ in found], views

    async def _run(self, work: Callable[..., T], *args: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *args)


def _search(views: Sequence[ShardView], spec: SearchSpec, schema: CollectionSchema) -> tuple[list[pb.Hits], list[str]]:
    results = [search_shard(view, spec) for view in views]
    merged = merge([result.hits for result in results], spec.k)
    hits = [pb.Hits(rows=rows_message(found, schema), scores=found.scores.tolist()) for found in merged]
    return hits, sorted({kind for result in results for kind in result.indexes})


def _get(
    views: dict[int, ShardView], schema: CollectionSchema, keys: Sequence[Key], fields: tuple[str, ...], vectors: bool
) -> pb.Rows:
    by_shard: dict[int, list[Key]] = {shard: [] for shard in views}
    for key in keys:
        shard = shard_of(key, schema.shards)
        if shard in by_shard:
            by_shard[shard].append(key)
    found = [get_rows(views[shard], schema, wanted, fields, vectors) for shard, wanted in by_shard.items()]
    return concatenate([rows_message(rows, schema) for rows in found])
