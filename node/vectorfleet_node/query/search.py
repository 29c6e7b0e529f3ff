"""Search over one shard, and merging over shards and nodes. Pure; the API layer calls it in a thread.

The trap: a block's index returns its own best k, so payloads are read only after the blocks are merged. Equal scores
are ordered by key, at the k-th place too: an index returns more than k rows where rows tie with the k-th (up to
`engine.scoring.MAX_TIES` more of a block), and who is among the best k is decided here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from time import perf_counter_ns

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from vectorfleet.schema import IndexKind
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
    queries, blocks, rows, scores, indexes = _candidates(view, spec, gone, trace)
    found_at = perf_counter_ns()
    order = _best(queries, scores, lambda: keys_of(view, spec.schema, blocks, rows), spec.k)
    order = order[reaching(scores[order], spec.min_score)]
    queries, blocks, rows, scores = queries[order], blocks[order], rows[order], scores[order]
    ranked_at = perf_counter_ns()
    found = gather(view, spec.schema, blocks, rows, spec.output_fields, spec.include_vectors, (spec.vector,))
    ends = np.searchsorted(queries, np.arange(len(spec.queries) + 1))
    hits = [hits_between(found, scores, start, end) for start, end in pairwise(ends)]
    if trace is not None:
        trace.rank_ns, trace.gather_ns = ranked_at - found_at, perf_counter_ns() - ranked_at
    return SearchResult(hits, frozenset(indexes))


def merge(parts: Sequence[list[Hits]], k: int) -> list[Hits]:
    """For each query the best k of what several shards found: `parts[i][j]` answers query j. At least one part."""
    return [_merged(answers, k) for answers in zip(*parts, strict=True)]


def _candidates(
    view: ShardView, spec: SearchSpec, gone: Callable[[], bool], trace: ShardTrace | None
) -> tuple[Places, Places, Places, Floats, set[IndexKind]]:
    """What the blocks' indexes return, flat: query, block and row numbers, scores; and the kinds of index asked."""
    found: list[tuple[Places, Places, Places, Floats]] = []
    indexes = set()
    for number, block in enumerate(view.blocks):
        if gone():
            raise Abandoned
        began = perf_counter_ns()
        allow = allowed(block, spec.filter)
        passing = int(np.count_nonzero(allow))
        filtered = perf_counter_ns()
        index = block.indexes[spec.vector]
        candidates = 0
        if passing:
            indexes.add(index.kind)
            mask = None if passing == len(allow) else allow
            scores, ids = index.search(spec.queries, min(spec.k, passing), allow=mask, options=spec.options)
            queries, columns = np.nonzero(ids >= 0)
            found.append((queries, np.full(len(queries), number), ids[queries, columns], scores[queries, columns]))
            candidates = len(queries)
        if trace is not None:
            times = filtered - began, perf_counter_ns() - filtered
            rows, live = len(allow), block.live_rows
            trace.blocks.append(BlockTrace(rows, live, passing, block.sealed, index.kind, candidates, *times))
    nothing = np.empty(0, np.int64)
    parts = zip(*[(nothing, nothing, nothing, np.empty(0, np.float32)), *found], strict=True)
    all_queries, blocks, places, values = (np.concatenate(part) for part in parts)
    return all_queries, blocks, places, values, indexes


def _best(queries: Places, scores: Floats, keys: Callable[[], pa.Array], k: int) -> NDArray[np.int64]:
    """Which candidates are among the best k of their query: ordered by query, score (high first) and key.

    keys: asked only when scores tie, which is rare: reading keys costs more than ordering without them.
    """
    order: NDArray[np.int64] = np.lexsort((-scores, queries))
    ordered, ranked = queries[order], scores[order]
    if np.any((ordered[1:] == ordered[:-1]) & (ranked[1:] == ranked[:-1])):
        table = pa.table({"query": queries, "score": scores, "key": keys()})
        order = pc.sort_indices(table, sort_keys=_BEST_FIRST).to_numpy().astype(np.int64)
    place = np.arange(len(order)) - np.searchsorted(ordered, ordered)
    return order[place < k]


def _merged(answers: Sequence[Hits], k: int) -> Hits:
    parts = [part for part in answers if len(part.keys)] or [answers[0]]
    if len(parts) == 1:
        part = parts[0]
        return hits_between(part, part.scores, 0, min(k, len(part.keys)))
    keys = pa.concat_arrays([part.keys for part in parts])
    scores = np.concatenate([part.scores for part in parts])
    order = _best(np.zeros(len(keys), np.int64), scores, lambda: keys, k)
    fields = pa.concat_tables([part.fields for part in parts])
    if fields.num_columns:
        fields = fields.take(pa.array(order)).combine_chunks()
    vectors = {name: np.concatenate([part.vectors[name] for part in parts])[order] for name in parts[0].vectors}
    return Hits(keys.take(pa.array(order)), fields, vectors, scores[order])
