"""Scores that do not depend on how a row was found: float64 arithmetic on the raw vectors, ties by row number.

Used by every engine to rank its last few candidates, so that a row scores the same in a scan, in a graph and in
each replica.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vectorfleet.schema import Metric
from vectorfleet_node.engine.port import Floats, Ids

Doubles = NDArray[np.float64]
GATHER_BYTES: Final = 1 << 23  # how much of the vectors is copied at a time
MAX_TIES: Final = 10_000  # so many rows that share the k-th score are kept, to be ordered by key


def rows_per_chunk(dimensions: int, itemsize: int) -> int:
    """How many rows fit in GATHER_BYTES; at least 16."""
    return max(16, GATHER_BYTES // (dimensions * itemsize))


def exact_scores(vectors: Floats, rows: Ids, query: Floats, metric: Metric) -> Floats:
    """The scores of `rows` (int64 row numbers) for one query, (len(rows),) float32. A zero vector has cosine 0."""
    out = np.empty(len(rows), np.float32)
    step = rows_per_chunk(vectors.shape[1], 8)
    for start in range(0, len(rows), step):
        out[start : start + step] = _scores(vectors, rows[None, start : start + step], query[None], metric)[0]
    return out


def _scores(vectors: Floats, rows: Ids, queries: Floats, metric: Metric) -> Doubles:
    """The scores of (n, width) rows, each line's for its own query."""
    part, wide = vectors[rows].astype(np.float64), queries.astype(np.float64)
    if metric is Metric.L2:
        part -= wide[:, None]
        distances: Doubles = np.vecdot(part, part)
        return -distances
    # vecdot takes row by row; `@` may round a row differently by its place in the matrix, and equal rows must tie.
    dots: Doubles = np.vecdot(part, wide[:, None])
    if metric is Metric.DOT:
        return dots
    lengths = np.sqrt(np.vecdot(part, part)) * np.sqrt(np.vecdot(wide, wide))[:, None]
    if lengths.all():
        cosines: Doubles = dots / lengths
        return cosines
    cosines = np.zeros_like(dots)
    np.divide(dots, lengths, out=cosines, where=lengths > 0)
    return cosines


def rank(vectors: Floats, rows: Ids, query: Floats, metric: Metric, k: int) -> tuple[Floats, Ids]:
    """The best k of distinct `rows` by exact score, ties by row number, and behind them those that tie with the k-th.

    Scores and row numbers, at most k + MAX_TIES of them.
    """
    scores = exact_scores(vectors, rows, query, metric)
    best = np.lexsort((rows, -scores))[: k + MAX_TIES]
    if len(best) > k:
        tied = np.count_nonzero(scores[best[k:]] == scores[best[k - 1]])
        best = best[: k + tied]
    return scores[best], rows[best]


def rank_all(vectors: Floats, rows: Ids, queries: Floats, metric: Metric, k: int) -> tuple[Floats, Ids]:
    """`rank` for many queries at once: line i of (n, width) `rows`, distinct but for -1, which is none, for query i.

    Two matrices of at least k columns, as `padded` makes them. A query costs a few microseconds, where each call of
    `rank` costs more than the walk of a small graph.
    """
    scores = np.empty(rows.shape, np.float32)
    step = max(1, rows_per_chunk(vectors.shape[1], 8) // max(1, rows.shape[1]))
    for start in range(0, len(rows), step):
        here = slice(start, start + step)
        scores[here] = _scores(vectors, rows[here], queries[here], metric)
    scores[rows < 0] = -np.inf
    best = np.lexsort((rows, -scores), axis=1)
    lines = np.arange(len(rows))[:, None]
    scores, ids = scores[lines, best], rows[lines, best]
    if rows.shape[1] <= k:
        return padded(list(zip(scores, ids, strict=True)), k)
    tied = (scores[:, k:] == scores[:, k - 1 : k]) & (ids[:, k:] >= 0)
    width = k
    if tied.any():
        scores[:, k:][~tied], ids[:, k:][~tied] = -np.inf, -1
        width += int(tied.sum(axis=1).max())
    return scores[:, :width], ids[:, :width]


def padded(ranked: Sequence[tuple[Floats, Ids]], k: int) -> tuple[Floats, Ids]:
    """Answers of `rank` as two matrices of at least k columns; -inf and -1 where there are no more rows."""
    width = max([k, *(len(ids) for _, ids in ranked)])
    scores = np.full((len(ranked), width), -np.inf, np.float32)
    ids = np.full((len(ranked), width), -1, np.int64)
    for number, (values, rows) in enumerate(ranked):
        scores[number, : len(rows)], ids[number, : len(rows)] = values, rows
    return scores, ids
