"""Questions in plain English, and how good and how fast the answers are. Used by story.py.

Recall is against an exact search by numpy over the same vectors, not against the fleet's own: the fleet could be wrong
twice in the same way.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from demo.glosses import Gloss
from vectorfleet import SearchResult

QUESTIONS = (
    "someone who studies the stars",
    "the fear of being shut in a small room",
    "a word that is spelled the same backwards",
    "to walk without making any noise",
    "a place where planes land",
    "the long sleep of animals in winter",
)
K = 10
SAMPLED = 200
LEAST_RECALL = 0.98
_TIE = 1e-5  # scores closer than this are the same answer: the fleet may store vectors in half precision


class Searcher(Protocol):
    """The part of the client that is measured."""

    def search(
        self, collection: str, vectors: NDArray[np.float32], *, k: int, output_fields: tuple[str, ...] = ()
    ) -> SearchResult: ...


@dataclass(frozen=True)
class Measured:
    """Recall@10 against exact search, latencies of single queries in milliseconds, and the indexes that answered."""

    recall: float
    p50: float
    p99: float
    indexes: frozenset[str]

    def problems(self) -> list[str]:
        """What the demo promises and does not hold, one sentence each."""
        found = []
        if self.recall < LEAST_RECALL:
            found.append(f"recall@{K} is {self.recall:.4f}; promised is {LEAST_RECALL}")
        if not self.indexes - {"Exact"}:
            found.append(f"only exact search answered ({', '.join(self.indexes) or 'no index'}); promised is an index")
        return found


def sample(rows: list[Gloss], count: int = SAMPLED, seed: int = 1) -> list[str]:
    """Example sentences of WordNet, the same ones for the same seed: texts that are in no gloss that was embedded."""
    sentences = sorted({example for row in rows for example in row.examples if len(example.split()) >= 4})
    return random.Random(seed).sample(sentences, count)  # noqa: S311 - a sample, not a secret


def measure(
    client: Searcher, collection: str, queries: NDArray[np.float32], keys: list[str], vectors: NDArray[np.float32]
) -> Measured:
    """Asks the queries one by one; `vectors` of shape (rows, dimensions) belong to `keys`, all unit length."""
    place = {key: row for row, key in enumerate(keys)}
    exact = queries @ vectors.T
    right, seconds, indexes = 0, [], set()
    for query, scores in zip(queries, exact, strict=True):
        began = time.perf_counter()
        result = client.search(collection, query, k=K)
        seconds.append(time.perf_counter() - began)
        indexes |= set(result.indexes)
        tenth = np.partition(scores, -K)[-K]
        found = {str(hit.key) for hit in result.hits[0]}
        right += sum(bool(scores[place[key]] >= tenth - _TIE) for key in found)
    p50, p99 = np.percentile(np.array(seconds) * 1000, [50, 99])
    return Measured(right / (K * len(queries)), float(p50), float(p99), frozenset(indexes))
