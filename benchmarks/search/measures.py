"""Data and arithmetic of the search benchmarks. Pure; used by every part and by the workers.

Rows lie round centres in a subspace, as text embeddings do: uniform noise has no neighbours worth finding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]
INTRINSIC: Final = 26  # dimensions that the rows really vary in
CENTRES: Final = 50
_CHUNK: Final = 128 << 20  # bytes of scores held at a time


@dataclass(frozen=True)
class Tuned:
    """The smallest effort that reaches a recall. reached: whether it does; else `effort` is the largest allowed."""

    effort: int
    recall: float
    reached: bool
    tried: tuple[tuple[int, float], ...]


def clustered(seed: int, rows: int, dimensions: int) -> Floats:
    """(rows, dimensions) unit vectors, float32; the same for the same seed."""
    rng = np.random.default_rng(seed)
    basis = rng.standard_normal((INTRINSIC, dimensions)) / np.sqrt(INTRINSIC)
    centres = rng.standard_normal((CENTRES, INTRINSIC))
    inner = 0.5 * centres[rng.integers(0, CENTRES, rows)] + rng.standard_normal((rows, INTRINSIC))
    made = np.asarray(inner @ basis, np.float32)
    made += np.float32(0.01) * rng.standard_normal((rows, dimensions), np.float32)
    return unit(made)


def unit(vectors: Floats) -> Floats:
    """The same directions with length 1: every peer then means the same by its cosine or dot product."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, np.finfo(np.float32).tiny), np.float32)


def nearest(rows: Floats, queries: Floats, k: int) -> Ids:
    """(queries, k) places of the rows with the largest dot product, best first."""
    step = max(1, _CHUNK // (4 * len(rows)))
    found = []
    for start in range(0, len(queries), step):
        scores = queries[start : start + step] @ rows.T
        near = np.argpartition(-scores, k - 1, axis=1)[:, :k] if k < len(rows) else np.argsort(-scores, axis=1)
        order = np.argsort(-np.take_along_axis(scores, near, axis=1), axis=1, kind="stable")
        found.append(np.take_along_axis(near, order, axis=1))
    return np.concatenate(found).astype(np.int64)


def recall(found: Sequence[Sequence[int]], truth: Ids) -> float:
    """Share of the true neighbours that were found; what is missing or found twice does not count."""
    hits = sum(len(set(some) & set(best.tolist())) for some, best in zip(found, truth, strict=True))
    return hits / truth.size


def tune(measure: Callable[[int], float], low: int, high: int, wanted: float) -> Tuned:
    """Looks for the smallest effort of low..high whose recall, as `measure` tells, is `wanted` or more.

    It doubles, then halves what is between, down to a step of 1 or a fiftieth: recall is taken to grow with effort.
    """
    tried = {low: measure(low)}
    above = low
    while tried[above] < wanted and above < high:
        above = min(2 * above, high)
        tried[above] = measure(above)
    below = max((effort for effort in tried if effort < above), default=above)
    while tried[above] >= wanted and above - below > max(1, above // 50):
        middle = (above + below) // 2
        tried[middle] = measure(middle)
        above, below = (middle, below) if tried[middle] >= wanted else (above, middle)
    return Tuned(above, tried[above], tried[above] >= wanted, tuple(sorted(tried.items())))


def comparable(reached: float, wanted: float, band: float) -> bool:
    """Whether a recall may be compared with others: `wanted` or more, and at most `band` above."""
    return wanted <= reached <= wanted + band


def passes(loads: Sequence[tuple[float, float]], limit: float) -> float | None:
    """The load at which latency passes `limit`, of (load, latency), between two measured ones by a straight line.

    None when no measured load passes it; 0 when the smallest does.
    """
    ordered = sorted(loads)
    if ordered and ordered[0][1] > limit:
        return 0.0
    for (under, before), (over, after) in pairwise(ordered):
        if after > limit:
            return under + (over - under) * (limit - before) / (after - before)
    return None
