"""Reads over the shards of this node: for its own callers and, through the Peer service, for the other nodes.

Each shard answers at the consistency level asked for or says why it cannot; a scan that runs into rotten bytes is one
of the reasons, so that another replica is asked. Scans run in threads, never on the loop; all reads wait for theirs in
one queue with a bound (`batching`, `admission`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from vectorfleet.partition import shard_of
from vectorfleet.schema import CollectionSchema
from vectorfleet.v1 import peer_pb2
from vectorfleet.v1 import vectorfleet_pb2 as pb
from vectorfleet_node.api import grouped, validate
from vectorfleet_node.api.admission import Admission
from vectorfleet_node.api.batching import Batcher
from vectorfleet_node.api.consistency import tell_rotten, view_at
from vectorfleet_node.api.rows import concatenate, key_values, rows_message
from vectorfleet_node.api.searches import LocalAnswers, ShardsFound, ShardsSearch, key_of, run_batch
from vectorfleet_node.query.grouping import group_shard
from vectorfleet_node.query.model import SearchSpec
from vectorfleet_node.query.rows import count, get_rows
from vectorfleet_node.query.validate import resolve_output_fields
from vectorfleet_node.shard.port import Replica, Rotten
from vectorfleet_node.shard.view import Key, ShardView

FindReplica = Callable[[str, int], Replica | None]  # collection, shard
FindSchema = Callable[[str], CollectionSchema]
T = TypeVar("T")
Work = Callable[[], Any]  # any other read than a search


class LocalReads:
    """Reads the replicas of this process."""

    def __init__(
        self, replica: FindReplica, schema: FindSchema, threads: ThreadPoolExecutor, admission: Admission
    ) -> None:
        self._replica = replica
        self._schema = schema
        self._queue: Batcher[ShardsSearch | Work, Any] = Batcher(threads, _served, admission, time.monotonic)

    async def search(
        self, request: pb.SearchRequest, shards: Sequence[int], seconds: float, spec: SearchSpec | None = None
    ) -> LocalAnswers:
        """The k best over the shards that can answer within `seconds`; consistency already resolved.

        spec: the request's, where the caller has made it. port.Overloaded when too many searches wait.
        """
        began = time.monotonic()
        spec = spec or validate.search_of(request, self._schema(request.collection))
        answers, views = await self._views(request.collection, shards, request.consistency, seconds)
        if not views:
            return LocalAnswers(answers)
        now = time.monotonic()
        search = ShardsSearch(views, spec, request.explain, now)
        left = seconds - (now - began)
        found: ShardsFound = await self._queue.search(key_of(search), search, len(spec.queries), left)
        tell_rotten(answers, found.rotten)
        return LocalAnswers(answers, found.results, found.indexes, found.explanation)

    async def search_groups(self, asked: peer_pb2.SearchGroupsRequest, seconds: float) -> peer_pb2.SearchGroupsResponse:
        """The groups of each shard that can answer; as `search`."""
        request = asked.request
        give_up = time.monotonic() + seconds
        schema = self._schema(request.collection)
        spec = validate.search_of(request, schema)
        by, only = grouped.grouping_of(request, schema, spec), grouped.only_of(asked, schema)
        answers, views = await self._views(request.collection, asked.shards, request.consistency, seconds)

        def work(shard: int, view: ShardView) -> tuple[peer_pb2.ShardGroups, frozenset[str]]:
            groups, indexes = group_shard(view, spec, by, only)
            return grouped.shard_message(shard, groups, by, schema), indexes

        found = await self._read(answers, views, work, give_up, len(spec.queries))
        return peer_pb2.SearchGroupsResponse(
            answers=answers,
            found=[message for message, _ in found],
            indexes=sorted({kind for _, kinds in found for kind in kinds}),
        )

    async def get(self, asked: peer_pb2.GetShardsRequest, seconds: float) -> peer_pb2.GetShardsResponse:
        """The rows of the request's keys that live in the shards asked."""
        request = asked.request
        give_up = time.monotonic() + seconds
        schema = self._schema(request.collection)
        fields = resolve_output_fields(schema, request.output_fields)
        answers, views = await self._views(request.collection, asked.shards, request.consistency, seconds)
        keys = _by_shard(key_values(request.keys), schema, views)
        found = await self._read(
            answers,
            views,
            lambda shard, view: rows_message(
                get_rows(view, schema, keys[shard], fields, request.include_vectors), schema
            ),
            give_up,
        )
        return peer_pb2.GetShardsResponse(answers=answers, rows=concatenate(found))

    async def count(self, asked: peer_pb2.CountShardsRequest, seconds: float) -> peer_pb2.CountShardsResponse:
        """How many rows of the shards asked match the filter."""
        request = asked.request
        give_up = time.monotonic() + seconds
        wanted = validate.filter_of(request.filter, self._schema(request.collection))
        answers, views = await self._views(request.collection, asked.shards, request.consistency, seconds)
        found = await self._read(answers, views, lambda _, view: count(view, wanted), give_up)
        return peer_pb2.CountShardsResponse(answers=answers, count=sum(found))

    async def _views(
        self, collection: str, shards: Sequence[int], consistency: pb.Consistency, seconds: float
    ) -> tuple[list[peer_pb2.ShardAnswer], dict[int, ShardView]]:
        # Part of the time is for the scan and the way back.
        patience = seconds * 0.8
        asked = [view_at(self._replica(collection, shard), shard, consistency, patience) for shard in shards]
        # A task costs more than most waits: few levels wait for anything.
        found = [await asked[0]] if len(asked) == 1 else await asyncio.gather(*asked)
        views = {answer.shard: view for answer, view in found if view is not None}
        return [answer for answer, _ in found], views

    async def _read(
        self,
        answers: Sequence[peer_pb2.ShardAnswer],
        views: Mapping[int, ShardView],
        work: Callable[[int, ShardView], T],
        give_up: float,
        queries: int = 1,
    ) -> list[T]:
        """What `work` makes of each shard; those that it found rotten are told in `answers` instead.

        give_up: by time.monotonic(). queries: that it answers.
        """
        if not views:
            return []
        alone = object()  # no other read is answered by the same call
        left = give_up - time.monotonic()
        found: list[T]
        found, rotten = await self._queue.search(alone, lambda: _each(views, work), queries, left)
        tell_rotten(answers, rotten)
        return found


def _served(asked: Sequence[ShardsSearch | Work], gone: Callable[[], bool]) -> list[Any]:
    """The answers to what was asked with one key, in a thread."""
    searches = [each for each in asked if isinstance(each, ShardsSearch)]
    return run_batch(searches, gone) if searches else [each() for each in asked if not isinstance(each, ShardsSearch)]


def _each(views: Mapping[int, ShardView], work: Callable[[int, ShardView], T]) -> tuple[list[T], dict[int, str]]:
    found, rotten = [], {}
    for shard, view in views.items():
        try:
            found.append(work(shard, view))
        except Rotten as error:
            rotten[shard] = str(error)
    return found, rotten


def _by_shard(keys: Sequence[Key], schema: CollectionSchema, views: Mapping[int, ShardView]) -> dict[int, list[Key]]:
    found: dict[int, list[Key]] = {shard: [] for shard in views}
    for key in keys:
        shard = shard_of(key, schema.shards)
        if shard in found:
            found[shard].append(key)
    return found
