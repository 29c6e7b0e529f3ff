"""Data and arithmetic of the search benchmarks. Pure; used by `__main__` and `worker`.

Rows lie round centres in a subspace, as text embeddings do: uniform noise has no neighbours worth finding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]
INTRINSIC: Final = 26  # dimensions that the rows really vary in
CENTRES: Final = 50


def clustered(seed: int, rows: int, dimensions: int) -> Floats:
    """(rows, dimensions) unit vectors, float32; the same for the same seed."""
    rng = np.random.default_rng(seed)
    basis = rng.standard_normal((INTRINSIC, dimensions)) / np.sqrt(INTRINSIC)
    centres = rng.standard_normal((CENTRES, INTRINSIC))
    inner = 0.5 * centres[rng.integers(0, CENTRES, rows)] + rng.standard_normal((rows, INTRINSIC))
    made = inner @ basis + 0.01 * rng.standard_normal((rows, dimensions))
    return np.asarray(made / np.linalg.norm(made, axis=1, keepdims=True), np.float32)


def nearest(rows: Floats, queries: Floats, k: int) -> Ids:
    """(queries, k) places of the rows with the largest dot product, best first."""
    scores = queries @ rows.T
    return np.argsort(-scores, axis=1, kind="stable")[:, :k].astype(np.int64)


def recall(found: Sequence[Sequence[int]], truth: Ids) -> float:
    """Share of the true neighbours that were found; what is missing or found twice does not count."""
    hits = sum(len(set(some) & set(best.tolist())) for some, best in zip(found, truth, strict=True))
    return hits / truth.size


def least_effort(tried: Sequence[tuple[int, float]], wanted: float) -> int | None:
    """The smallest effort of (effort, recall) whose recall is `wanted` or more; None when none is."""
    return min((effort for effort, reached in tried if reached >= wanted), default=None)
