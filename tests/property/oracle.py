"""What a shard must answer, by the definition: all live rows are scored in float64 and sorted. No index, no blocks.

Vectors have few binary digits, so that sums are exact in any order and equal scores are equal to the bit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vectorfleet.schema import Metric

from .filters import Fields, RandomFilter

Key = str | int


@dataclass(frozen=True)
class Row:
    """A row as the user wrote it. fields: `key` and all fields."""

    vector: tuple[float, ...]
    fields: Fields


@dataclass
class Oracle:
    """The live rows by key."""

    metric: Metric
    rows: dict[Key, Row] = field(default_factory=dict)

    def copy(self) -> Oracle:
        """The rows as they are now, for views that were taken now."""
        return Oracle(self.metric, dict(self.rows))

    def passing(self, filter_: RandomFilter | None) -> dict[Key, Row]:
        """The rows for which the filter is true."""
        if filter_ is None:
            return self.rows
        return {key: row for key, row in self.rows.items() if filter_.passes(row.fields) is True}

    def scores(self, query: NDArray[np.float32], filter_: RandomFilter | None) -> dict[Key, float]:
        """The score of each row that passes, rounded to float32 once."""
        passing = self.passing(filter_)
        if not passing:
            return {}
        vectors = np.array([row.vector for row in passing.values()], np.float64)
        values = _METRICS[self.metric](vectors, query.astype(np.float64)).astype(np.float32)
        return dict(zip(passing, values.tolist(), strict=True))


def best(scores: dict[Key, float], k: int, min_score: float | None = None) -> list[tuple[Key, float]]:
    """The k best: score descending, ties by key; strings are ordered by their UTF-8 bytes."""
    ranked = sorted(scores.items(), key=lambda item: (-item[1], order_of(item[0])))[:k]
    return [(key, score) for key, score in ranked if min_score is None or score >= min_score]


def order_of(key: Key) -> Any:
    """What keys are sorted by."""
    return key.encode() if isinstance(key, str) else key


def _cosine(vectors: NDArray[np.float64], query: NDArray[np.float64]) -> NDArray[np.float64]:
    lengths = np.sqrt((vectors * vectors).sum(axis=1)) * np.sqrt((query * query).sum())
    result: NDArray[np.float64] = (vectors * query).sum(axis=1) / lengths
    return result


def _l2(vectors: NDArray[np.float64], query: NDArray[np.float64]) -> NDArray[np.float64]:
    result: NDArray[np.float64] = -((vectors - query) ** 2).sum(axis=1)
    return result


def _dot(vectors: NDArray[np.float64], query: NDArray[np.float64]) -> NDArray[np.float64]:
    result: NDArray[np.float64] = (vectors * query).sum(axis=1)
    return result


_METRICS: dict[Metric, Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]] = {
    Metric.COSINE: _cosine,
    Metric.L2: _l2,
    Metric.DOT: _dot,
}
