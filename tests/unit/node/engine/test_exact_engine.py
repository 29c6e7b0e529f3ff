"""Exact search: against a float64 reference, with filters, ties, and numbers that are hard on float32."""

from __future__ import annotations

import numpy as np
import pytest

from vectorfleet.schema import IndexKind, Metric
from vectorfleet_node.engine import exact
from vectorfleet_node.engine.exact import ExactIndex
from vectorfleet_node.engine.port import SearchOptions
from vectorfleet_node.engine.scoring import MAX_TIES, rank

OPTIONS = SearchOptions()
METRICS = list(Metric)


def reference(vectors: np.ndarray, query: np.ndarray, metric: Metric) -> np.ndarray:
    """Scores by the definition, in float64, rounded once."""
    rows, query = vectors.astype(float), query.astype(float)
    if metric is Metric.L2:
        return (-((rows - query) ** 2).sum(axis=1)).astype(np.float32)
    scale = np.linalg.norm(rows, axis=1) * np.linalg.norm(query) if metric is Metric.COSINE else 1.0
    return (rows @ query / scale).astype(np.float32)


def expect_best(vectors: np.ndarray, queries: np.ndarray, metric: Metric, k: int, allow: np.ndarray | None) -> None:
    scores, ids = ExactIndex(vectors, metric).search(queries, k, allow=allow, options=OPTIONS)
    assert scores.shape == ids.shape
    assert len(scores) == len(queries)
    assert scores.shape[1] >= k
    scores, ids = scores[:, :k], ids[:, :k]
    assert (scores.dtype, ids.dtype) == (np.float32, np.int64)
    numbers = np.arange(len(vectors)) if allow is None else np.flatnonzero(allow)
    for query, top, rows in zip(queries, scores, ids, strict=True):
        truth = reference(vectors[numbers], query, metric)
        best = np.sort(truth)[::-1][:k]
        np.testing.assert_allclose(top[: len(best)], best, rtol=2e-6, atol=1e-7 * np.abs(truth).max(initial=1))
        assert len(set(rows[: len(best)])) == len(best)
        assert set(rows[: len(best)]) <= set(numbers.tolist())
        assert (rows[len(best) :] == -1).all()
        assert (top[len(best) :] == -np.inf).all()


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact, "_SCORES_PER_CHUNK", 4096)


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("share", [None, 0.0, 0.01, 0.2, 0.9])
@pytest.mark.parametrize("k", [1, 10, 3000])
def test_a_scan_finds_the_best_allowed_rows(
    metric: Metric, share: float | None, k: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exact, "_SCORES_PER_CHUNK", 4096)  # several chunks
    rng = np.random.default_rng(k)
    vectors = (rng.standard_normal((2500, 24)) * rng.lognormal(0, 1, (2500, 1))).astype(np.float32)
    queries = rng.standard_normal((70, 24)).astype(np.float32)[: 3 if k == 3000 else 70]
    expect_best(vectors, queries, metric, k, None if share is None else rng.random(2500) < share)


@pytest.mark.parametrize("metric", METRICS)
def test_rows_far_from_the_origin_keep_their_order(metric: Metric) -> None:
    """By the expanded distance |q|² - 2qx + |x|² in float32 these would be noise."""
    rng = np.random.default_rng(8)
    vectors = (1000 + rng.standard_normal((3000, 32)) * 0.01).astype(np.float32)
    expect_best(vectors, vectors[:5], metric, 10, None)


@pytest.mark.parametrize("metric", METRICS)
def test_equal_rows_are_returned_by_row_number_and_all_that_tie_with_the_last(metric: Metric) -> None:
    rng = np.random.default_rng(9)
    distinct = rng.standard_normal((7, 13)).astype(np.float32)
    vectors = distinct[np.arange(5000) % 7]
    scores, ids = ExactIndex(vectors, metric).search(distinct[3:4], 50, allow=None, options=OPTIONS)
    best = int(np.argmax(reference(distinct, distinct[3], metric)))
    assert ids[0].tolist() == list(range(best, 5000, 7))
    assert len(set(scores[0].tolist())) == 1


def test_what_ties_with_the_last_is_bounded() -> None:
    vectors = np.ones((MAX_TIES + 500, 3), np.float32)
    _, ids = ExactIndex(vectors, Metric.DOT).search(vectors[:1], 20, allow=None, options=OPTIONS)
    assert ids[0].tolist() == list(range(MAX_TIES + 20))


def test_a_query_without_ties_is_filled_up_beside_one_with_ties() -> None:
    vectors = np.array([[1, 0], [1, 0], [2, 3]], np.float32)
    scores, ids = ExactIndex(vectors, Metric.L2).search(vectors[1:], 1, allow=None, options=OPTIONS)
    assert ids.tolist() == [[0, 1], [2, -1]]
    assert scores.tolist() == [[0, 0], [0, -np.inf]]


def test_a_zero_vector_has_cosine_zero() -> None:
    vectors = np.zeros((3, 4), np.float32)
    vectors[1] = -1
    scores, ids = ExactIndex(vectors, Metric.COSINE).search(np.ones((1, 4), np.float32), 3, allow=None, options=OPTIONS)
    assert ids[0].tolist() == [0, 2, 1]
    assert scores[0].tolist() == [0, 0, -1]


def test_an_index_over_no_rows_answers_with_nothing() -> None:
    index = ExactIndex(np.empty((0, 4), np.float32), Metric.L2)
    scores, ids = index.search(np.ones((2, 4), np.float32), 3, allow=None, options=OPTIONS)
    assert (index.rows, index.kind) == (0, IndexKind.EXACT)
    assert ids.tolist() == [[-1] * 3] * 2
    assert (scores == -np.inf).all()


def test_candidates_in_any_order_are_ranked_by_score_and_then_row_number() -> None:
    vectors = np.ones((1000, 3), np.float32)
    vectors[7] = 2
    rows = np.random.default_rng(4).permutation(1000)
    scores, ids = rank(vectors, rows, np.ones(3, np.float32), Metric.DOT, 200)
    assert ids.tolist() == [7, *(row for row in range(1000) if row != 7)]
    assert scores.tolist() == [6.0] + [3.0] * 999
