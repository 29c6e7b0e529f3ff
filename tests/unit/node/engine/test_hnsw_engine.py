"""HNSW by faiss: recall with and without filters, exact scores, artefacts, threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from vectorfleet.schema import IndexKind, Metric
from vectorfleet_node.engine import planner
from vectorfleet_node.engine.cpu import CpuEngine
from vectorfleet_node.engine.hnsw import HnswIndex
from vectorfleet_node.engine.port import Index, SearchOptions

ROWS, DIMENSIONS = 20_000, 64
OPTIONS = SearchOptions()


def clustered(seed: int, rows: int, dimensions: int) -> np.ndarray:
    """Rows round 200 centres, of differing lengths."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((200, dimensions))
    rows_ = centres[rng.integers(0, 200, rows)] + 0.7 * rng.standard_normal((rows, dimensions))
    return (rows_ * rng.uniform(0.7, 1.4, (rows, 1))).astype(np.float32)


@dataclass(frozen=True)
class Case:
    """One metric: data, a graph and a scan over them, and the graph's artefact."""

    metric: Metric
    vectors: np.ndarray
    queries: np.ndarray
    graph: Index
    scan: Index
    artefact: Path


@pytest.fixture(scope="module", params=list(Metric))
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    vectors = clustered(1, ROWS, DIMENSIONS)
    queries = vectors[::400] + 0.3 * np.random.default_rng(2).standard_normal((50, DIMENSIONS)).astype(np.float32)
    folder = tmp_path_factory.mktemp("engine")
    engine = CpuEngine()
    graph = engine.build(IndexKind.HNSW, vectors, request.param, folder / "graph")
    scan = engine.build(IndexKind.EXACT, vectors, request.param, folder / "scan")
    return Case(request.param, vectors, queries, graph, scan, folder / "graph")


def recall(found: np.ndarray, truth: np.ndarray) -> float:
    return float(np.mean([len(set(a) & set(b)) / len(b) for a, b in zip(found, truth, strict=True)]))


def test_a_walk_finds_what_a_scan_finds(case: Case) -> None:
    _, truth = case.scan.search(case.queries, 10, allow=None, options=OPTIONS)
    _, found = case.graph.search(case.queries, 10, allow=None, options=OPTIONS)
    assert recall(found, truth) >= 0.98


def test_scores_of_a_walk_are_the_scores_of_a_scan_to_the_last_bit(case: Case) -> None:
    scores, ids = case.graph.search(case.queries, 10, allow=None, options=OPTIONS)
    for query, top, rows in zip(case.queries, scores, ids, strict=True):
        allow = np.zeros(ROWS, bool)
        allow[rows] = True
        again, same = case.scan.search(query[None], 10, allow=allow, options=OPTIONS)
        np.testing.assert_array_equal(top, again[0])
        np.testing.assert_array_equal(rows, same[0])


def always_walk(monkeypatch: pytest.MonkeyPatch) -> None:
    for limit in ("FEW_ROWS", "FEW_ROWS_BY_DOT", "_ROWS_PER_EF"):
        monkeypatch.setattr(planner, limit, 0)


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5])
@pytest.mark.parametrize("walk", [False, True], ids=["planned", "always walking"])
def test_filters_keep_recall(case: Case, share: float, walk: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if walk:
        always_walk(monkeypatch)
    allow = np.random.default_rng(3).random(ROWS) < share
    _, truth = case.scan.search(case.queries, 10, allow=allow, options=OPTIONS)
    scores, found = case.graph.search(case.queries, 10, allow=allow, options=OPTIONS)
    assert allow[found].all()
    assert np.isfinite(scores).all()
    assert recall(found, truth) >= (0.9 if walk and case.metric is Metric.DOT else 0.95)


def test_a_filter_that_leaves_a_few_rows_returns_all_of_them(case: Case) -> None:
    allow = np.zeros(ROWS, bool)
    allow[[5, 17_000, 300]] = True
    scores, ids = case.graph.search(case.queries[:2], 10, allow=allow, options=OPTIONS)
    assert [sorted(row[:3].tolist()) for row in ids] == [[5, 300, 17_000]] * 2
    assert (ids[:, 3:] == -1).all()
    assert (scores[:, 3:] == -np.inf).all()


def test_an_opened_index_answers_as_the_built_one(case: Case) -> None:
    opened = CpuEngine().load(IndexKind.HNSW, case.vectors, case.metric, case.artefact)
    assert (opened.kind, opened.rows) == (IndexKind.HNSW, ROWS)
    for built, loaded in zip(
        case.graph.search(case.queries, 10, allow=None, options=OPTIONS),
        opened.search(case.queries, 10, allow=None, options=OPTIONS),
        strict=True,
    ):
        np.testing.assert_array_equal(built, loaded)


def test_exact_is_honoured(case: Case) -> None:
    truth = case.scan.search(case.queries, 10, allow=None, options=OPTIONS)
    for wanted, got in zip(
        truth, case.graph.search(case.queries, 10, allow=None, options=SearchOptions(exact=True)), strict=True
    ):
        np.testing.assert_array_equal(wanted, got)


def test_a_larger_ef_looks_harder(case: Case) -> None:
    _, truth = case.scan.search(case.queries, 10, allow=None, options=OPTIONS)
    small, large = (
        recall(case.graph.search(case.queries, 10, allow=None, options=SearchOptions(ef=ef))[1], truth)
        for ef in (18, 400)
    )
    assert small < large


def test_threads_that_search_at_once_get_the_answers_of_one(case: Case) -> None:
    masks = [None, *(np.random.default_rng(seed).random(ROWS) < 0.7 for seed in range(3))]
    alone = [case.graph.search(case.queries, 10, allow=mask, options=OPTIONS)[1] for mask in masks]
    with ThreadPoolExecutor(8) as pool:
        jobs = [
            (number, pool.submit(case.graph.search, case.queries, 10, allow=masks[number], options=OPTIONS))
            for number in np.arange(32) % len(masks)
        ]
        for number, job in jobs:
            np.testing.assert_array_equal(job.result()[1], alone[number])


def test_rows_behind_a_wall_of_equal_rows_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A walk ends among the equal rows, none of which is allowed; the answer must not be short."""
    always_walk(monkeypatch)
    vectors = np.ones((6000, 16), np.float32)
    vectors[::3] = -np.arange(2000)[:, None] - 1
    allow = np.arange(6000) % 3 == 0
    index = CpuEngine().build(IndexKind.HNSW, vectors, Metric.L2, tmp_path / "graph")
    _, ids = index.search(np.ones((1, 16), np.float32), 15, allow=allow, options=OPTIONS)
    assert ids[0].tolist() == list(range(0, 45, 3))


@pytest.mark.parametrize("magnitude", [1e-7, 60_000.0])
@pytest.mark.parametrize("metric", [Metric.L2, Metric.DOT])
def test_tiny_and_huge_numbers_keep_recall_in_fp16(magnitude: float, metric: Metric, tmp_path: Path) -> None:
    vectors = clustered(5, 2500, 24)
    vectors *= magnitude / np.abs(vectors).max()
    graph = CpuEngine().build(IndexKind.HNSW, vectors, metric, tmp_path / "graph")
    scan = CpuEngine().build(IndexKind.EXACT, vectors, metric, tmp_path / "scan")
    queries = vectors[::50]
    found, truth = (index.search(queries, 10, allow=None, options=OPTIONS)[1] for index in (graph, scan))
    assert recall(found, truth) >= 0.98


def test_k_beyond_the_rows_returns_each_row_once(tmp_path: Path) -> None:
    vectors = clustered(6, 40, 10)
    index = CpuEngine().build(IndexKind.HNSW, vectors, Metric.COSINE, tmp_path / "graph")
    assert isinstance(index, HnswIndex)
    _, ids = index.search(vectors[:2], 100, allow=None, options=OPTIONS)
    assert [sorted(row[:40].tolist()) for row in ids] == [list(range(40))] * 2
    assert (ids[:, 40:] == -1).all()
