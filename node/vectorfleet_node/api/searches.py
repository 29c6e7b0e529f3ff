"""What an engine thread does with a batch of searches: over each shard, merged, and put on the wire. Pure.

`local` queues searches through `batching` under `key_of`; equal keys mean that one call over stacked queries answers
all of them. The trap: a shard that turns out rotten is missing for the whole batch, and each search asks elsewhere.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

import numpy as np

from vectorfleet.v1 import peer_pb2
from vectorfleet.v1 import vectorfleet_pb2 as pb
from vectorfleet_node.api.rows import hits_message
from vectorfleet_node.query.model import SearchSpec
from vectorfleet_node.query.search import Abandoned, merge, search_shard
from vectorfleet_node.query.trace import ShardTrace
from vectorfleet_node.shard.port import Rotten
from vectorfleet_node.shard.view import ShardView

_JOINED_K: Final = 1024  # with more rows to a query the call's fixed cost is nothing, and answers take memory


@dataclass(frozen=True)
class ShardsSearch:
    """A search over shards of this node, by shard. came: when it was queued, by time.monotonic()."""

    views: Mapping[int, ShardView]
    spec: SearchSpec
    explain: bool = False
    came: float = 0.0


@dataclass(frozen=True)
class ShardsFound:
    """results: one per query; none when no shard answered. rotten: of the shards that did not, the reason.

    explanation: of each shard that answered, without the node's name; only where it was asked for.
    """

    results: list[pb.Hits]
    indexes: list[str]
    rotten: dict[int, str]
    explanation: list[pb.ShardExplanation] = field(default_factory=list)


class Answers(Protocol):
    """What a node found in its shards: peer_pb2.SearchShardsResponse, or `LocalAnswers` on the node itself."""

    @property
    def answers(self) -> Sequence[peer_pb2.ShardAnswer]:
        """One per shard asked."""

    @property
    def results(self) -> Sequence[pb.Hits]:
        """One per query; none when no shard answered."""

    @property
    def indexes(self) -> Sequence[str]:
        """The kinds of index that were searched."""

    @property
    def explanation(self) -> Sequence[pb.ShardExplanation]:
        """One per shard that answered, where asked for."""


@dataclass(frozen=True)
class LocalAnswers:
    """`Answers` without a message: copying hits from one to the next costs more than making them."""

    answers: Sequence[peer_pb2.ShardAnswer]
    results: Sequence[pb.Hits] = ()
    indexes: Sequence[str] = ()
    explanation: Sequence[pb.ShardExplanation] = ()

    def message(self) -> peer_pb2.SearchShardsResponse:
        """For another node."""
        return peer_pb2.SearchShardsResponse(
            answers=self.answers, results=self.results, indexes=self.indexes, explanation=self.explanation
        )


def key_of(search: ShardsSearch) -> Hashable:
    """Equal for searches that one call may answer, while they are held: views and filters count by identity."""
    spec = search.spec
    if spec.k > _JOINED_K:
        return object()
    views = tuple((shard, id(view)) for shard, view in search.views.items())
    output = (spec.output_fields, spec.include_vectors, spec.min_score)
    return views, spec.vector, spec.k, id(spec.filter), spec.options, output, search.explain


def run_batch(searches: Sequence[ShardsSearch], gone: Callable[[], bool]) -> list[ShardsFound]:
    """The answers to searches with one key, in order. Abandoned once `gone` says that nobody waits for them."""
    first, began = searches[0], time.monotonic()
    spec = first.spec
    if len(searches) > 1:
        spec = replace(spec, queries=np.concatenate([search.spec.queries for search in searches]))
    found, rotten = [], {}
    traces: dict[int, ShardTrace] = {}
    for shard, view in first.views.items():
        if gone():
            raise Abandoned
        try:
            trace = ShardTrace() if first.explain else None
            found.append(search_shard(view, spec, gone, trace))
            if trace is not None:
                traces[shard] = trace
        except Rotten as error:
            rotten[shard] = str(error)
    if not found:
        return [ShardsFound([], [], rotten)] * len(searches)
    merged = found[0].hits if len(found) == 1 else merge([result.hits for result in found], spec.k)
    hits = [hits_message(rows, spec.schema) for rows in merged]
    indexes: list[str] = sorted({kind for result in found for kind in result.indexes})
    answers, start = [], 0
    for search in searches:
        end = start + len(search.spec.queries)
        told = [
            _explained(shard, first.views[shard].position, began - search.came, len(spec.queries), trace)
            for shard, trace in traces.items()
        ]
        answers.append(ShardsFound(hits[start:end], indexes, rotten, told))
        start = end
    return answers


def _explained(shard: int, position: int, waited: float, queries: int, trace: ShardTrace) -> pb.ShardExplanation:
    segments = [
        pb.SegmentExplanation(
            rows=block.rows,
            live=block.live,
            allowed=block.allowed,
            sealed=block.sealed,
            index=block.index,
            candidates=block.candidates,
            filter_us=block.filter_ns // 1000,
            engine_us=block.engine_ns // 1000,
            plan=block.plan,
        )
        for block in trace.blocks
    ]
    return pb.ShardExplanation(
        shard=shard,
        position=position,
        wait_us=round(1e6 * max(0.0, waited)),
        batch_queries=queries,
        segments=segments,
        rank_us=trace.rank_ns // 1000,
        gather_us=trace.gather_ns // 1000,
    )
