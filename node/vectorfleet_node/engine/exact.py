"""Exact search: every allowed row is compared with every query, by matrix multiplication in chunks of rows.

Small sealed segments get one from `CpuEngine`; `shard` makes one over the growing rows for each view, so making one
costs nothing. The trap is float32: expanded distances and BLAS rounding are off in the last digits, so the scan only
nominates every row that could be among the best k within a rounding bound, and `scoring` ranks the nominees.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Final

import numpy as np

from vectorfleet.schema import IndexKind, Metric
from vectorfleet_node.engine.port import EngineTrace, Floats, Ids, Mask, SearchOptions
from vectorfleet_node.engine.scoring import MAX_TIES, padded, rank, rank_all, rows_per_chunk

_SCORES_PER_CHUNK: Final = 1 << 21  # of one chunk of rows and all queries of a batch
_QUERIES_PER_BATCH: Final = 64
_UNEVEN: Final = 4  # so many times as many nominees, with -1 to fill up, may be ranked to rank all queries at once
_GATHER_BELOW: Final = 0.3  # of the rows allowed: copying them costs less than scanning all of them


class ExactIndex:
    """An index without a structure: the vectors themselves.

    Args:
        vectors: (rows, dimensions) float32, raw; perhaps a read-only memory map. Must not change.
        metric: how vectors are compared.
    """

    def __init__(self, vectors: Floats, metric: Metric) -> None:
        self._vectors = vectors
        self._metric = metric

    @property
    def kind(self) -> IndexKind:
        """Always Exact."""
        return IndexKind.EXACT

    @property
    def rows(self) -> int:
        """How many vectors there are."""
        return len(self._vectors)

    @cached_property
    def _lengths(self) -> Floats:
        """(rows,) float32, made by the first search of all rows: one pass over the vectors."""
        return _lengths(self._vectors)

    def search(
        self, queries: Floats, k: int, *, allow: Mask | None, options: SearchOptions, trace: EngineTrace | None = None
    ) -> tuple[Floats, Ids]:
        """See `port.Index.search`; `options` change nothing here."""
        if trace is not None:
            rows = f"{self.rows}" if allow is None else f"{np.count_nonzero(allow)} allowed"
            trace.plan = f"scan of {rows} rows"
        batches = range(0, len(queries), _QUERIES_PER_BATCH)
        found = [self._search(queries[start : start + _QUERIES_PER_BATCH], k, allow) for start in batches]
        return padded([answer for batch in found for answer in batch], k)

    def _search(self, queries: Floats, k: int, allow: Mask | None) -> list[tuple[Floats, Ids]]:
        asking, nominees = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        bar = np.full(
            len(queries), np.finfo(np.float32).min, np.float32
        )  # k rows reach it; below it nobody can be among them
        for rows in self._chunks(allow, len(queries)):
            low, high = self._bounds(queries, rows, allow)
            if high.shape[1] > k:
                bar = np.maximum(bar, np.partition(low, -k, axis=1)[:, -k])
            who, here = (high >= bar[:, None]).nonzero()
            asking.append(who)
            nominees.append(here + rows.start if isinstance(rows, slice) else rows[here])
        return self._ranked(queries, np.concatenate(asking), np.concatenate(nominees), k)

    def _ranked(self, queries: Floats, asking: Ids, nominees: Ids, k: int) -> list[tuple[Floats, Ids]]:
        """The best of the nominees, each with the number of its query."""
        if len(queries) == 1:
            return [rank(self._vectors, nominees, queries[0], self._metric, k)]
        order = np.argsort(asking, kind="stable")
        asking, nominees = asking[order], nominees[order]
        ends = np.cumsum(np.bincount(asking, minlength=len(queries)))
        starts = np.concatenate([ends[:1] * 0, ends[:-1]])
        width = int((ends - starts).max())
        if width > k + MAX_TIES or width * len(queries) > _UNEVEN * len(nominees):
            found = zip(queries, np.split(nominees, ends[:-1]), strict=True)
            return [rank(self._vectors, rows, query, self._metric, k) for query, rows in found]
        lines = np.full((len(queries), width), -1, np.int64)
        lines[asking, np.arange(len(nominees)) - starts[asking]] = nominees
        return list(zip(*rank_all(self._vectors, lines, queries, self._metric, k), strict=True))

    def _chunks(self, allow: Mask | None, queries: int) -> Iterator[slice | Ids]:
        """The rows to look at, in order: slices of all rows, or the numbers of the allowed ones when these are few."""
        step = max(1024, _SCORES_PER_CHUNK // queries)
        if allow is None or np.count_nonzero(allow) > _GATHER_BELOW * len(allow):
            for start in range(0, self.rows, step):
                yield slice(start, min(start + step, self.rows))
            return
        numbers = np.flatnonzero(allow)
        step = min(step, rows_per_chunk(self._vectors.shape[1], 4))
        for start in range(0, len(numbers), step):
            yield numbers[start : start + step]

    def _bounds(self, queries: Floats, rows: slice | Ids, allow: Mask | None) -> tuple[Floats, Floats]:
        """(queries, rows) lower and upper bounds of a value that orders rows as the score does; -inf: not allowed."""
        part = self._vectors[rows]
        # A few rows of a large memory map must not cost a pass over all of it.
        lengths = self._lengths[rows] if isinstance(rows, slice) else _lengths(part)
        values: Floats = queries @ part.T
        query_lengths = _lengths(queries)[:, None]
        # The error of a float32 dot product of d terms grows as sqrt(d) roundings; 4 leaves room.
        unit = np.float32(4 * np.finfo(np.float32).eps * np.sqrt(queries.shape[1]))
        if self._metric is Metric.COSINE:
            values /= np.maximum(lengths, np.finfo(np.float32).tiny)
            slack = unit * query_lengths
        elif self._metric is Metric.L2:
            values -= lengths * lengths / 2
            slack = unit * (query_lengths + lengths) * lengths
        else:
            slack = unit * query_lengths * lengths
        if allow is not None and isinstance(rows, slice):
            values = np.where(allow[rows], values, np.float32(-np.inf))
        return values - slack, values + slack


def _lengths(vectors: Floats) -> Floats:
    lengths: Floats = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    return lengths
