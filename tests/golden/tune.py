"""`python -m tests.golden.tune`: recall@10 by effort, which the planner's tables are made from. Minutes.

Over the half of the held-out queries that no test checks. For each effort the least recall of the data sets is what
counts: a table made from the easier one would promise too much.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tests.golden import datasets
from tests.golden.datasets import TUNING, Dataset
from tests.golden.indexes import view_of
from tests.golden.truth import K, kth_scores
from vectorfleet.schema import IndexKind
from vectorfleet_node.engine.port import EngineTrace, SearchOptions
from vectorfleet_node.query.filters import compile_filter
from vectorfleet_node.query.filters.documents import Source
from vectorfleet_node.shard.view import RowBlock

_ROUNDING: Final = 1e-6
_CANDIDATES: Final = K + 8
_EFFORTS: Final = {
    IndexKind.HNSW: (24, 32, 48, 64, 96, 128, 200, 256, 384, 512, 768, 1024),
    IndexKind.HNSW_INT8: (24, 32, 48, 64, 96, 128, 200, 256, 384, 512, 768, 1024),
    IndexKind.PQ: tuple(int(factor * _CANDIDATES) for factor in (1, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20)),
}
_FILTERED_EFFORTS: Final = {
    IndexKind.HNSW: (167, 200, 233, 267, 300),
    IndexKind.HNSW_INT8: (200,),
    IndexKind.PQ: (90, 180),
}


def main(kinds: Sequence[str]) -> int:
    """Prints a line for each kind of index, data set and effort."""
    for kind in map(IndexKind, kinds or _EFFORTS):
        for dataset in filter(None, (datasets.glove(), datasets.minilm())):
            _tell(dataset, kind)
    return 0


def _tell(dataset: Dataset, kind: IndexKind) -> None:
    block = view_of(dataset, kind).blocks[0]
    for effort in _EFFORTS[kind]:
        _measure(dataset, block, "", block.live, effort)
    for text in dataset.filters:
        mask = compile_filter(text, dataset.schema).mask(Source(block.rows))
        for effort in _FILTERED_EFFORTS[kind]:
            _measure(dataset, block, text, mask, effort)


def _measure(dataset: Dataset, block: RowBlock, text: str, mask: NDArray[np.bool_], effort: int) -> None:
    bars = kth_scores(dataset, mask, text)[TUNING]
    queries, trace = dataset.queries[TUNING], EngineTrace()
    index = block.indexes["default"]
    began = time.process_time()
    found, _ = index.search(queries, K, allow=mask, options=SearchOptions(ef=effort), trace=trace)
    took = 1e6 * (time.process_time() - began) / len(queries)
    recall = np.mean(found[:, :K] >= bars[:, None] - _ROUNDING)
    print(
        f"{index.kind} {dataset.name} {text}: ef={effort}: {trace.plan}: {recall:.4f}, {took:.0f} us of CPU a query",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
