"""How to answer a search on a graph: walk it, and how widely, or scan. Pure arithmetic, used by `hnsw`.

A walk meets allowed and other rows alike, so to meet the same number of allowed ones it has to be wider by the
inverse of their share. A scan touches each allowed row once. Measured at 100,000 x 768 on one thread, a walk of
width ef costs as much as scanning ten to twenty times ef rows; a filter that correlates with the vectors costs a
walk more recall than a random one. On GloVe-100 (341,179 rows) the rarer half of the words has .92 at ef 283 and .96 at
500; the commonest tenth stays at .90 however wide the walk, and a scan of it is faster.
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
_ROWS_PER_EF: Final = 12
_FILTERED_WIDTH: Final = 1.2  # a filter that leads away from the query takes a wider walk than a random one
_ALLOWED_PER_HIT: Final = 4  # a filtered walk looks at so many allowed rows for each one it returns


def plan(rows: int, allowed: int, dimensions: int, k: int, metric: Metric, options: SearchOptions) -> int | None:
    """The ef to walk a graph of `rows` rows with when `allowed` of them may be returned; None: scan these instead."""
    filtered = allowed < rows
    few = FEW_ROWS_BY_DOT if metric is Metric.DOT else FEW_ROWS
    few = max(few, FEW_ROWS * _FEW_DIMENSIONS // dimensions)
    if options.exact or allowed <= k or (filtered and allowed <= few):
        return None
    ef = max(options.ef or max(DEFAULT_EF, 2 * k), candidates(k, rows))
    if filtered:
        ef = max(int(_FILTERED_WIDTH * ef * rows / allowed), _ALLOWED_PER_HIT * k * rows // allowed)
    asked_to_walk = options.ef > 0 and not filtered
    if allowed <= _ROWS_PER_EF * ef and not asked_to_walk:
        return None
    return min(ef, rows)


def candidates(k: int, rows: int) -> int:
    """How many rows a walk brings home to be ranked exactly: a few more than k, because fp16 swaps near neighbours."""
    return min(rows, k + max(8, k // 8))
