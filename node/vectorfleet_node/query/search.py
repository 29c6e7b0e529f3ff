"""Search over one shard, and merging over shards and nodes. Pure; the API layer calls it in a thread.

The trap: a block's index returns its own best k, so payloads are read only after the blocks are merged. Equal scores
are ordered by key, at the k-th place too: an index returns more than k rows where rows tie with the k-th (up to
`engine.scoring.MAX_TIES` more of a block), and who is among the best k is decided here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from time import perf_counter_ns

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vectorfleet.schema import IndexKind
from vectorfleet_node.engine.port import EngineTrace, Ids
from vectorfleet_node.query.model import Floats, Hits, SearchResult, SearchSpec
from vectorfleet_node.query.ranges import reaching
from vectorfleet_node.query.rows import Places, allowed, gather, hits_between, keys_of
from vectorfleet_node.query.trace import BlockTrace, ShardTrace
from vectorfleet_node.shard.view import ShardView

_BEST_FIRST = [("query", "ascending"), ("score", "descending"), ("key", "ascending")]


class Abandoned(Exception):
    """The search was given up between two blocks."""


def search_shard(
    view: ShardView, spec: SearchSpec, gone: Callable[[], bool] = lambda: False, trace: ShardTrace | None = None
) -> SearchResult:
    """The best k live rows of a shard that pass the filter, for each query; fewer when fewer pass.

    gone: asked before each block; Abandoned once it is true. trace: told what was done, where one wants to know.
    """
    found, indexes = _candidates(view, spec, gone, trace)
    found_at = perf_counter_ns()
    best = _best(view, found, len(spec.queries), spec.k)
    if spec.min_score is not None:
        best = best.take(reaching(best.scores, spec.min_score))
    ranked_at = perf_counter_ns()
    rows = gather(view, spec.schema, best.blocks, best.rows, spec.output_fields, spec.include_vectors, (spec.vector,))
    ends = np.searchsorted(best.queries, np.arange(len(spec.queries) + 1)).tolist()
    hits = [hits_between(rows, best.scores, start, end) for start, end in pairwise(ends)]
    if trace is not None:
        trace.rank_ns, trace.gather_ns = ranked_at - found_at, perf_counter_ns() - ranked_at
    return SearchResult(hits, frozenset(indexes))


def merge(parts: Sequence[list[Hits]], k: int) -> list[Hits]:
    """For each query the best k of what several shards found: `parts[i][j]` answers query j. At least one part."""
    return [_merged(answers, k) for answers in zip(*parts, strict=True)]


@dataclass(frozen=True)
class _Places:
    """Rows of the view, flat: number of the query, block, row of the block, and score; ordered by query."""

    queries: Places
    blocks: Places
    rows: Places
    scores: Floats

    def take(self, order: slice | Places) -> _Places:
        """Some of them."""
        return _Places(self.queries[order], self.blocks[order], self.rows[order], self.scores[order])


def _candidates(
    view: ShardView, spec: SearchSpec, gone: Callable[[], bool], trace: ShardTrace | None
) -> tuple[list[tuple[int, Floats, Ids]], set[IndexKind]]:
    """What the blocks' indexes return: block number, scores and row numbers; and the kinds of index asked."""
    found: list[tuple[int, Floats, Ids]] = []
    indexes = set()
    for number, block in enumerate(view.blocks):
        if gone():
            raise Abandoned
        began = perf_counter_ns()
        allow = allowed(block, spec.filter)
        passing = block.live_rows if spec.filter is None else int(np.count_nonzero(allow))
        filtered = perf_counter_ns()
        index = block.indexes[spec.vector]
        candidates, engine = 0, EngineTrace() if trace is not None else None
        if passing:
            indexes.add(index.kind)
            mask = None if passing == len(allow) else allow
            scores, ids = index.search(
                spec.queries, min(spec.k, passing), allow=mask, options=spec.options, trace=engine
            )
            found.append((number, scores, ids))
            candidates = int(np.count_nonzero(ids >= 0)) if trace is not None else 0
        if trace is not None and engine is not None:
            rows, live, found_at = len(allow), block.live_rows, perf_counter_ns()
            told = index.kind, candidates, filtered - began, found_at - filtered, engine.plan
            trace.blocks.append(BlockTrace(rows, live, passing, block.sealed, *told))
    return found, indexes


def _best(view: ShardView, found: Sequence[tuple[int, Floats, Ids]], queries: int, k: int) -> _Places:
    """The best k candidates of each query: ordered by query, score (high first) and key."""
    if not found:
        nothing = np.empty(0, np.int64)
        return _Places(nothing, nothing, nothing, np.empty(0, np.float32))
    number, scores, ids = found[0]  # an index orders by score
    blocks = None
    if len(found) > 1:
        lines = np.arange(queries)[:, None]
        joined = np.concatenate([scores for _, scores, _ in found], axis=1)
        order = np.argsort(-joined, axis=1, kind="stable")
        scores = joined[lines, order]
        ids = np.concatenate([ids for _, _, ids in found], axis=1)[lines, order]
        blocks = np.concatenate([np.full(ids.shape[1], number) for number, _, ids in found])[order]
    there = ids >= 0
    tied = (scores[:, 1 : k + 1] == scores[:, :-1][:, :k]) & there[:, 1 : k + 1]
    ties = bool(tied.any())
    here = (there if ties else there[:, :k]).nonzero()
    flat = _Places(here[0], np.full(len(here[0]), number) if blocks is None else blocks[here], ids[here], scores[here])
    return _by_key(view, flat, k) if ties else flat


def _by_key(view: ShardView, found: _Places, k: int) -> _Places:
    """The same as `_best`, where scores tie, which is rare: reading keys costs more than ordering without them."""
    keys = pa.array(keys_of(view, found.blocks, found.rows))
    table = pa.table({"query": found.queries, "score": found.scores, "key": keys})
    ordered = found.take(pc.sort_indices(table, sort_keys=_BEST_FIRST).to_numpy().astype(np.int64))
    place = np.arange(len(keys)) - np.searchsorted(ordered.queries, ordered.queries)
    return ordered.take(np.flatnonzero(place < k))


def _merged(answers: Sequence[Hits], k: int) -> Hits:
    parts = [part for part in answers if part.keys] or [answers[0]]
    if len(parts) == 1:
        part = parts[0]
        return part if len(part.keys) <= k else hits_between(part, part.scores, 0, k)
    keys = [key for part in parts for key in part.keys]
    scores = np.concatenate([part.scores for part in parts])
    order = pc.sort_indices(pa.table({"score": scores, "key": keys}), sort_keys=_BEST_FIRST[1:]).to_numpy()[:k]
    fields = pa.concat_tables([part.fields for part in parts])
    if fields.num_columns:
        fields = fields.take(pa.array(order)).combine_chunks()
    vectors = {name: np.concatenate([part.vectors[name] for part in parts])[order] for name in parts[0].vectors}
    return Hits([keys[number] for number in order.tolist()], fields, vectors, scores[order])
