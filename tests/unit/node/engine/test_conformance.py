"""What `port.Index` promises, run unchanged on every kind of index that a CPU node builds."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from vectorfleet.schema import IndexKind, Metric
from vectorfleet_node.engine.cpu import CpuEngine
from vectorfleet_node.engine.exact import ExactIndex
from vectorfleet_node.engine.port import EngineTrace, Index, SearchOptions

SEED, ROWS, DIMENSIONS = 5, 6_000, 64
KINDS = list(IndexKind)
OPTIONS = SearchOptions()


def built(kind: IndexKind, vectors: np.ndarray, metric: Metric, folder: Path) -> Index:
    """Built, and opened again as a node does after a restart."""
    engine = CpuEngine(build_threads=2)
    engine.build(kind, vectors, metric, folder / "index")
    return engine.load(kind, vectors, metric, folder / "index")


def clustered() -> tuple[np.ndarray, np.ndarray]:
    """Rows round 200 centres and of differing lengths, and which centre each is round."""
    rng = np.random.default_rng(SEED)
    centre = rng.integers(0, 200, ROWS)
    rows = rng.standard_normal((200, DIMENSIONS))[centre] + 0.7 * rng.standard_normal((ROWS, DIMENSIONS))
    return (rows * rng.uniform(0.7, 1.4, (ROWS, 1))).astype(np.float32), centre


VECTORS, CENTRE = clustered()
QUERIES = VECTORS[:: ROWS // 40] + 0.3 * np.random.default_rng(SEED + 1).standard_normal((40, DIMENSIONS)).astype(
    np.float32
)


@pytest.fixture(scope="module", params=[(kind, metric) for kind in KINDS for metric in Metric], ids=str)
def index(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Index:
    kind, metric = request.param
    made = built(kind, VECTORS, metric, tmp_path_factory.mktemp("index"))
    assert (made.kind, made.rows) == (kind, ROWS)
    return made


@pytest.fixture
def scan(request: pytest.FixtureRequest, index: Index) -> ExactIndex:
    return ExactIndex(VECTORS, request.node.callspec.params["index"][1])


def allowed(selectivity: float, *, correlated: bool) -> np.ndarray:
    """Rows that a filter leaves: any, or those round some centres."""
    rng = np.random.default_rng([SEED, int(selectivity * 1000)])
    if not correlated:
        return rng.random(ROWS) < selectivity
    order = np.argsort(rng.permutation(200)[CENTRE], kind="stable")
    mask = np.zeros(ROWS, bool)
    mask[order[: int(selectivity * ROWS)]] = True
    return mask


@pytest.mark.parametrize("correlated", [False, True], ids=["random", "correlated"])
@pytest.mark.parametrize("selectivity", [0.001, 0.01, 0.1, 0.5, 0.9, 1.0])
def test_a_filter_of_any_selectivity_keeps_recall(
    index: Index, scan: ExactIndex, selectivity: float, correlated: bool
) -> None:
    allow = allowed(selectivity, correlated=correlated)
    _, truth = scan.search(QUERIES, 10, allow=allow, options=OPTIONS)
    scores, found = index.search(QUERIES, 10, allow=allow, options=OPTIONS)
    assert allow[found[found >= 0]].all()
    assert (scores[:, 1:] <= scores[:, :-1]).all()
    best = [set(row[row >= 0][:10].tolist()) for row in truth]
    recall = np.mean([len(real & set(row[:10].tolist())) / len(real) for row, real in zip(found, best, strict=True)])
    print(f"seed {SEED}: recall@10 {recall:.3f}")
    assert recall >= 0.95


def test_scores_are_those_of_a_scan_to_the_last_bit(index: Index, scan: ExactIndex) -> None:
    for query, scores, ids in zip(QUERIES, *index.search(QUERIES, 10, allow=None, options=OPTIONS), strict=True):
        allow = np.zeros(ROWS, bool)
        allow[ids] = True
        again, same = scan.search(query[None], 10, allow=allow, options=OPTIONS)
        np.testing.assert_array_equal(scores, again[0])
        np.testing.assert_array_equal(ids, same[0])


def test_exact_is_what_a_scan_answers(index: Index, scan: ExactIndex) -> None:
    answer = index.search(QUERIES, 10, allow=None, options=SearchOptions(exact=True))
    for got, expected in zip(answer, scan.search(QUERIES, 10, allow=None, options=OPTIONS), strict=True):
        np.testing.assert_array_equal(got, expected)


def test_a_batch_a_single_query_and_threads_answer_alike(index: Index) -> None:
    batch = index.search(QUERIES, 10, allow=None, options=OPTIONS)

    def alone(number: int) -> tuple[np.ndarray, np.ndarray]:
        return index.search(QUERIES[number : number + 1], 10, allow=None, options=OPTIONS)

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(alone, [*range(len(QUERIES))] * 3))
    for number, (scores, ids) in enumerate(answers):
        np.testing.assert_array_equal(ids[0, :10], batch[1][number % len(QUERIES), :10])
        np.testing.assert_array_equal(scores[0, :10], batch[0][number % len(QUERIES), :10])


def test_more_rows_than_a_filter_leaves_are_all_of_these_and_then_nothing(index: Index) -> None:
    allow = np.zeros(ROWS, bool)
    allow[[3, 19, 777]] = True
    scores, ids = index.search(QUERIES[:2], 8, allow=allow, options=OPTIONS)
    assert [set(row) for row in ids[:, :3].tolist()] == [{3, 19, 777}] * 2
    assert (ids[:, 3:] == -1).all()
    assert (scores[:, 3:] == -np.inf).all()


def test_no_row_allowed_is_an_answer_without_rows(index: Index) -> None:
    scores, ids = index.search(QUERIES[:1], 3, allow=np.zeros(ROWS, bool), options=OPTIONS)
    assert (ids.tolist(), scores.tolist()) == ([[-1] * 3], [[-np.inf] * 3])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("metric", list(Metric))
def test_more_rows_than_there_are_is_every_row(kind: IndexKind, metric: Metric, tmp_path: Path) -> None:
    small = built(kind, VECTORS[:50], metric, tmp_path)
    _, ids = small.search(QUERIES[:3], 60, allow=None, options=OPTIONS)
    assert [sorted(row) for row in ids[:, :50].tolist()] == [list(range(50))] * 3
    assert (ids[:, 50:] == -1).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("metric", list(Metric))
def test_equal_rows_are_in_the_order_of_their_numbers(kind: IndexKind, metric: Metric, tmp_path: Path) -> None:
    equal = np.ones((300, DIMENSIONS), np.float32)
    scores, ids = built(kind, equal, metric, tmp_path).search(equal[:1], 300, allow=None, options=OPTIONS)
    assert ids[0].tolist() == list(range(300))
    assert len(set(scores[0].tolist())) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_zero_vector_has_cosine_zero_as_a_row_and_as_a_query(kind: IndexKind, tmp_path: Path) -> None:
    vectors = VECTORS[:200].copy()
    vectors[7] = 0
    index = built(kind, vectors, Metric.COSINE, tmp_path)
    scores, ids = index.search(QUERIES[:1], 200, allow=None, options=OPTIONS)
    assert scores[0][ids[0] == 7].tolist() == [0]
    scores, _ = index.search(np.zeros((1, DIMENSIONS), np.float32), 200, allow=None, options=OPTIONS)
    assert set(scores[0].tolist()) == {0}


def test_it_tells_how_it_looked(index: Index) -> None:
    plans = {
        IndexKind.EXACT: f"scan of {ROWS} rows",
        IndexKind.HNSW: "graph, ef 200",
        IndexKind.HNSW_INT8: "graph, ef 200",
        IndexKind.PQ: "codes, refine ",
    }
    trace = EngineTrace()
    index.search(QUERIES, 10, allow=None, options=OPTIONS, trace=trace)
    assert trace.plan.startswith(plans[index.kind])
    few = np.arange(ROWS) < 12
    index.search(QUERIES, 10, allow=few, options=OPTIONS, trace=trace)
    assert trace.plan == "scan of 12 allowed rows"
