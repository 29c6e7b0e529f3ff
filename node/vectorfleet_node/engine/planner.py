"""How to answer a search: walk a graph, and how widely; scan codes, and refine how many; or scan the rows. Pure
arithmetic, used by `hnsw` and `pq`.

A walk meets allowed and other rows alike, so to meet the same number of allowed ones it has to be wider by the
inverse of their share. A scan touches each allowed row once. Measured at 100,000 x 768 on one thread, a walk of
width ef costs as much as scanning ten to twenty times ef rows; a filter that correlates with the vectors costs a
walk more recall than a random one. On GloVe-100 (341,179 rows) the rarer half of the words has .92 at ef 283 and .96 at
500; the commonest tenth stays at .90 however wide the walk, and a scan of it is faster.

The two tables are from `python -m tests.golden.tune`, over queries that no test checks.
"""

from __future__ import annotations

from typing import Final

from vectorfleet.schema import Metric
from vectorfleet_node.engine.port import SearchOptions

DEFAULT_EF: Final = (
    200  # fp16 graphs with M = 16 reach .98-.99 recall@10 on text embeddings (dimensionality 17-19) at 128-200
)
FEW_ROWS: Final = 10_000  # of 768 dimensions or more: scanned in a few milliseconds at most, with recall 1
FEW_ROWS_BY_DOT: Final = 50_000  # a graph by inner product leads to the long rows; a filter may allow only others
_FEW_DIMENSIONS: Final = 768  # shorter vectors are scanned faster
_NARROW: Final = 20  # hits; a walk for more is wider by the root of it: for 100 at .95 on GloVe-100 ef has to be 384
_ROWS_PER_EF: Final = 12
_FILTERED_WIDTH: Final = 1.4  # a filter that leads away from the query takes a wider walk than a random one
_ALLOWED_PER_HIT: Final = 4  # a filtered walk looks at so many allowed rows for each one it returns

DEFAULT_REFINE: Final = 10.0  # rows that codes nominate for each one that is ranked exactly
_REFINE_MANY: Final = 5.0  # enough where more than _MANY are wanted, because these reach further down
_MANY: Final = 128
_DOT_REFINE: Final = 4.0  # so many times more: by inner product the error of a code grows with the row's length
_ROWS_PER_CODE_SCAN: Final = 100  # a scan of codes costs as much as a scan of a hundredth of the rows themselves
_ROWS_PER_REFINED: Final = 2  # and refining costs half as much as scanning

# Recall@10 on GloVe-100, the harder of two real data sets, and the effort that reached it.
_EF_FOR_RECALL: Final = ((0.80, 32), (0.90, 96), (0.95, 200), (0.98, 384), (0.99, 768), (0.995, 1024))
_REFINE_FOR_RECALL: Final = ((0.80, 1.5), (0.90, 3.0), (0.95, 5.0), (0.98, 8.0), (0.99, 15.0), (0.995, 20.0))


def walk_width(rows: int, allowed: int, dimensions: int, k: int, metric: Metric, options: SearchOptions) -> int | None:
    """The ef to walk a graph of `rows` rows with when `allowed` of them may be returned; None: scan these instead."""
    filtered = allowed < rows
    few = FEW_ROWS_BY_DOT if metric is Metric.DOT else FEW_ROWS
    few = max(few, FEW_ROWS * _FEW_DIMENSIONS // dimensions)
    if _exactly(options) or allowed <= k or (filtered and allowed <= few):
        return None
    width = _for_recall(_EF_FOR_RECALL, options.target_recall) if options.target_recall else DEFAULT_EF
    ef = max(options.ef or int(width * max(1.0, k / _NARROW) ** 0.5), candidates(k, rows))
    if filtered:
        ef = max(int(_FILTERED_WIDTH * ef * rows / allowed), _ALLOWED_PER_HIT * k * rows // allowed)
    asked_to_walk = options.ef > 0 and not filtered
    if allowed <= _ROWS_PER_EF * ef and not asked_to_walk:
        return None
    return min(ef, rows)


def refined(rows: int, allowed: int, k: int, metric: Metric, options: SearchOptions) -> int | None:
    """How many of `rows` rows their codes nominate when `allowed` may be returned; None: scan these instead."""
    if _exactly(options) or allowed <= max(k, rows // _ROWS_PER_CODE_SCAN):
        return None
    ranked = candidates(k, rows)
    factor = _REFINE_MANY if ranked > _MANY else DEFAULT_REFINE
    if options.target_recall:
        factor = _for_recall(_REFINE_FOR_RECALL, options.target_recall)
    if metric is Metric.DOT:
        factor *= _DOT_REFINE
    nominated = max(options.ef or int(factor * ranked), ranked)
    if allowed <= _ROWS_PER_REFINED * nominated and not options.ef:
        return None
    return min(nominated, rows)


def candidates(k: int, rows: int) -> int:
    """How many rows are ranked exactly: a few more than k, because the copies' rounding swaps near neighbours."""
    return min(rows, k + max(8, k // 8))


def _exactly(options: SearchOptions) -> bool:
    return options.exact or options.target_recall > _EF_FOR_RECALL[-1][0]


def _for_recall(table: tuple[tuple[float, float], ...], target: float) -> float:
    """The effort of the first line that reaches the target; more than the last one promises is for a scan."""
    return next(effort for recall, effort in table if recall >= target)
