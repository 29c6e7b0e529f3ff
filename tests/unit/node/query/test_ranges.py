"""A threshold of the score leaves out what is worse, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from views import View, block, schema

from vectorfleet.schema import Metric
from vectorfleet_node.query.errors import InvalidQuery
from vectorfleet_node.query.search import search_shard
from vectorfleet_node.query.validate import MAX_HITS, search_spec


@pytest.mark.parametrize("metric", list(Metric))
@pytest.mark.parametrize("seed", range(5))
def test_exactly_the_rows_that_reach_the_score_are_found_and_never_more_than_k(metric: Metric, seed: int) -> None:
    rng = np.random.default_rng(seed)
    collection = schema(metric)
    vectors = rng.standard_normal((80, 8)).astype(np.float32)
    live = rng.random(80) < 0.8
    keys = [f"row-{number:02}" for number in range(80)]
    view = View(
        tuple(
            block(collection, keys[at : at + 20], vectors[at : at + 20], live[at : at + 20]) for at in (0, 20, 40, 60)
        )
    )
    query = rng.standard_normal((1, 8)).astype(np.float32)
    everything = search_shard(view, search_spec(collection, vector="", queries=query, k=80)).hits[0]
    scores = dict(zip(everything.keys, everything.scores.tolist(), strict=True))
    for bar in (*rng.choice(everything.scores, 4), np.float32(1e9), np.float32(-1e9)):
        for k in (1, 7, 80):
            spec = search_spec(collection, vector="", queries=query, k=k, min_score=float(bar))
            found = search_shard(view, spec).hits[0]
            wanted = [key for key in scores if scores[key] >= bar][:k]
            assert found.keys == wanted, f"seed {seed}, bar {bar}, k {k}"


def test_a_threshold_that_is_no_number_and_an_answer_that_is_too_big_are_refused() -> None:
    collection = schema()
    queries = np.ones((1000, 8), np.float32)
    with pytest.raises(InvalidQuery, match="min_score: is NaN"):
        search_spec(collection, vector="", queries=queries, k=1, min_score=float("nan"))
    with pytest.raises(InvalidQuery, match=rf"1000 queries of 16384 hits.*{MAX_HITS}"):
        search_spec(collection, vector="", queries=queries, k=16384)
    with pytest.raises(InvalidQuery, match="include_vectors"):
        search_spec(
            schema(dimensions=600), vector="", queries=np.ones((100, 600), np.float32), k=2000, include_vectors=True
        )
