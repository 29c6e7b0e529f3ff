"""Ranking many queries at once is ranking each of them."""

from __future__ import annotations

import random

import numpy as np
import pytest

from vectorfleet.schema import Metric
from vectorfleet_node.engine import scoring
from vectorfleet_node.engine.scoring import padded, rank, rank_all


@pytest.mark.parametrize("seed", range(60))
def test_many_queries_are_ranked_as_each_alone_to_the_last_bit(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    source, rng = random.Random(seed), np.random.default_rng(seed)
    monkeypatch.setattr(scoring, "GATHER_BYTES", source.choice([1 << 10, 1 << 23]))
    metric, dimensions = source.choice(list(Metric)), source.choice([1, 3, 8, 100, 129])
    count, width, k = source.randint(1, 9), source.randint(0, 40), source.randint(1, 30)
    # Whole numbers and rows that repeat: many ties; zeros: rows without a direction.
    vectors = rng.integers(-2, 3, (50, dimensions)).astype(np.float32)
    vectors[25:] = vectors[:25]
    queries = rng.standard_normal((count, dimensions)).astype(np.float32)
    rows = np.array([rng.permutation(50)[:width] for _ in range(count)], np.int64)
    rows[rng.random(rows.shape) < source.choice([0, 0.3, 1])] = -1
    pairs = zip(rows, queries, strict=True)
    wanted = padded([rank(vectors, line[line >= 0], query, metric, k) for line, query in pairs], k)
    scores, ids = rank_all(vectors, rows, queries, metric, k)
    assert np.array_equal(scores, wanted[0]), f"seed {seed}"
    assert np.array_equal(ids, wanted[1]), f"seed {seed}"
