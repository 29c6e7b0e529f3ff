"""The right answers: for each question the score of the tenth best row, by an exact scan, kept by content."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from tests.golden.datasets import CACHE, Dataset

K = 10


def kth_scores(dataset: Dataset, mask: NDArray[np.bool_], question: str) -> NDArray[np.float32]:
    """(queries,) cosine of the k-th best of the rows in `mask`: what is at least as good is a right answer."""
    made_of = f"{dataset.digest} {question} {hashlib.sha256(mask.tobytes()).hexdigest()} {K}"
    path = CACHE / "golden" / f"truth-{hashlib.sha256(made_of.encode()).hexdigest()[:16]}.npy"
    if not path.is_file():
        partial = path.with_suffix(".partial.npy")
        np.save(partial, _scan(dataset.queries, dataset.vectors[mask]))
        partial.replace(path)
    scores: NDArray[np.float32] = np.load(path)
    return scores


def _scan(queries: NDArray[np.float32], vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
    best = []
    for query in queries.astype(np.float64):
        scores = vectors @ query.astype(np.float32) / lengths.astype(np.float32)
        near = np.argpartition(-scores, 4 * K)[: 4 * K]  # float32 nominates, float64 decides
        exact = vectors[near].astype(np.float64) @ query / (lengths[near] * np.linalg.norm(query))
        best.append(np.sort(exact)[-K])
    return np.array(best, np.float32)
