"""Product quantizer codes by faiss: recall, artefacts, few rows, many hits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest

from vectorfleet.schema import IndexKind, Metric
from vectorfleet_node.engine.artefact import HEADER_BYTES, Header
from vectorfleet_node.engine.cpu import CpuEngine
from vectorfleet_node.engine.encoding import codes_of, padded_dimensions
from vectorfleet_node.engine.exact import ExactIndex
from vectorfleet_node.engine.port import EngineTrace, Index, SearchOptions
from vectorfleet_node.engine.pq import PqIndex

ENGINE = CpuEngine(build_threads=1)
OPTIONS = SearchOptions()
SEED = 11


def clustered(rows: int, dimensions: int, lengths: float = 0.0) -> np.ndarray:
    """Rows round 100 centres; lengths: sigma of the lognormal that they are multiplied by."""
    rng = np.random.default_rng(SEED)
    vectors = rng.standard_normal((100, dimensions))[rng.integers(0, 100, rows)]
    vectors = vectors + 0.7 * rng.standard_normal((rows, dimensions))
    return (vectors * rng.lognormal(0, lengths, (rows, 1))).astype(np.float32)


def recall(index: Index, scan: ExactIndex, queries: np.ndarray, k: int, options: SearchOptions = OPTIONS) -> float:
    _, found = index.search(queries, k, allow=None, options=options)
    _, truth = scan.search(queries, k, allow=None, options=OPTIONS)
    return float(np.mean([len(set(a[:k]) & set(b[:k])) / k for a, b in zip(found, truth, strict=True)]))


@pytest.mark.parametrize("dimensions", [30, 100, 384])
@pytest.mark.parametrize("metric", list(Metric))
def test_many_hits_are_found_as_well_as_few(metric: Metric, dimensions: int, tmp_path: Path) -> None:
    vectors = clustered(8_000, dimensions)
    index, scan = ENGINE.build(IndexKind.PQ, vectors, metric, tmp_path / "codes"), ExactIndex(vectors, metric)
    queries = vectors[::400] + np.float32(0.1)
    for k, least in ((1, 0.95), (10, 0.95), (80, 0.95), (500, 0.9)):  # the last are beyond the query's cluster
        assert recall(index, scan, queries, k) >= least, k


def test_lengths_that_differ_widely_keep_their_recall_by_inner_product(tmp_path: Path) -> None:
    vectors = clustered(20_000, 64, lengths=1.0)
    index, scan = ENGINE.build(IndexKind.PQ, vectors, Metric.DOT, tmp_path / "codes"), ExactIndex(vectors, Metric.DOT)
    assert recall(index, scan, vectors[::400], 10) >= 0.95


def test_a_larger_candidate_list_and_a_higher_target_look_harder(tmp_path: Path) -> None:
    rng = np.random.default_rng(SEED)
    vectors = rng.standard_normal((10_000, 64)).astype(np.float32)  # has no structure: hard
    index, scan = ENGINE.build(IndexKind.PQ, vectors, Metric.L2, tmp_path / "codes"), ExactIndex(vectors, Metric.L2)
    queries = rng.standard_normal((50, 64)).astype(np.float32)
    for easy, hard in (
        (SearchOptions(ef=18), SearchOptions(ef=400)),
        (SearchOptions(target_recall=0.8), SearchOptions(target_recall=0.99)),
    ):
        assert recall(index, scan, queries, 10, easy) < recall(index, scan, queries, 10, hard)
    assert recall(index, scan, queries, 10, SearchOptions(target_recall=1.0)) == 1.0


@pytest.mark.parametrize("rows", [0, 1, 15, 300])
def test_so_few_rows_that_no_quantizer_can_learn_from_them_can_be_indexed(
    rows: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    vectors = clustered(rows, 12)
    ENGINE.build(IndexKind.PQ, vectors, Metric.L2, tmp_path / "codes")
    index = ENGINE.load(IndexKind.PQ, vectors, Metric.L2, tmp_path / "codes")
    _, ids = index.search(np.ones((1, 12), np.float32), rows + 2, allow=None, options=OPTIONS)
    assert sorted(ids[0].tolist()) == [-1, -1, *range(rows)]
    assert "WARNING" not in "".join(capfd.readouterr())


def test_opening_builds_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = clustered(6_000, 32)
    built = ENGINE.build(IndexKind.PQ, vectors, Metric.COSINE, tmp_path / "codes")

    def forbidden(*_: Any) -> None:
        raise AssertionError("it is built")

    for name in ("train", "add"):
        monkeypatch.setattr(faiss.Index, name, forbidden, raising=False)
        monkeypatch.setattr(faiss.IndexRefine, name, forbidden, raising=False)
    opened = ENGINE.load(IndexKind.PQ, vectors, Metric.COSINE, tmp_path / "codes")
    answers = [index.search(vectors[:20], 10, allow=None, options=OPTIONS) for index in (built, opened)]
    np.testing.assert_array_equal(*[ids for _, ids in answers])


def test_codes_are_looked_at_under_a_filter_and_not_only_without(tmp_path: Path) -> None:
    vectors = clustered(8_000, 64)
    index = ENGINE.build(IndexKind.PQ, vectors, Metric.L2, tmp_path / "codes")
    assert isinstance(index, PqIndex)
    trace, half = EngineTrace(), np.arange(8_000) % 2 == 1
    _, ids = index.search(vectors[:5], 10, allow=half, options=OPTIONS, trace=trace)
    assert trace.plan == "codes, refine 180"
    assert (ids % 2 == 1).all()


@pytest.mark.parametrize(
    "recipe", ["Flat", "IVF1,PQ8x4fs,Refine(SQfp16)", "PQ16x4fs,Refine(SQfp16)"], ids=["other", "coarser", "no filter"]
)
def test_codes_that_are_not_ours_are_refused(recipe: str, tmp_path: Path) -> None:
    """As another version might write them: searched, they would find too little, or fail in the middle of a search."""
    vectors = clustered(2_000, 32)
    body = faiss.index_factory(padded_dimensions(32), recipe)
    assert codes_of(32) == 16
    body.train(vectors)
    body.add(vectors)
    data = faiss.serialize_index(body).tobytes()
    path = tmp_path / "codes"
    path.write_bytes(Header(IndexKind.PQ, Metric.L2, 32, 2_000, len(data)).pack() + data)
    assert path.stat().st_size == HEADER_BYTES + len(data)
    with pytest.raises(ValueError, match="damaged"):
        ENGINE.load(IndexKind.PQ, vectors, Metric.L2, path)
