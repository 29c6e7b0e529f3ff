"""Refusing wrong artefacts, and the threads of a build."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vectorfleet.schema import IndexKind, IndexType, Metric
from vectorfleet_node.engine.artefact import HEADER_BYTES
from vectorfleet_node.engine.cpu import CpuEngine
from vectorfleet_node.engine.port import SearchOptions

ENGINE = CpuEngine(build_threads=1)
VECTORS = np.random.default_rng(1).standard_normal((300, 12)).astype(np.float32)
KINDS = list(IndexKind)


@pytest.mark.parametrize("call", [ENGINE.build, ENGINE.load])
def test_auto_is_no_kind_to_build(call: object, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Auto is no kind of index"):
        call(IndexType.AUTO, VECTORS, Metric.L2, tmp_path / "index")  # type: ignore[operator]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "damage",
    [
        lambda body: b"",
        lambda body: body[: HEADER_BYTES - 1],
        lambda body: body[:-1],
        lambda body: body + b"\0",
        lambda body: b"X" + body[1:],
        lambda body: body[:8] + b"\xff\xff" + body[10:],
        lambda body: body[:10] + b"\x63" + body[11:],
    ],
    ids=["empty", "cut header", "cut", "extended", "magic", "format", "kind"],
)
def test_a_damaged_artefact_is_refused(kind: IndexKind, damage: object, tmp_path: Path) -> None:
    path = tmp_path / "index"
    ENGINE.build(kind, VECTORS, Metric.COSINE, path)
    path.write_bytes(damage(path.read_bytes()))  # type: ignore[operator]
    with pytest.raises(ValueError, match="index"):
        ENGINE.load(kind, VECTORS, Metric.COSINE, path)


def test_an_artefact_of_another_version_is_refused_by_its_kind(tmp_path: Path) -> None:
    path = tmp_path / "index"
    ENGINE.build(IndexKind.EXACT, VECTORS, Metric.COSINE, path)
    data = path.read_bytes()
    path.write_bytes(data[:10] + b"\x63" + data[11:])
    with pytest.raises(ValueError, match=r"index kind 99 .* another version wrote it; this one reads Exact, HNSW"):
        ENGINE.load(IndexKind.EXACT, VECTORS, Metric.COSINE, path)


def test_a_graph_whose_body_is_not_faiss_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "index"
    ENGINE.build(IndexKind.HNSW, VECTORS, Metric.COSINE, path)
    data = path.read_bytes()
    path.write_bytes(data[:HEADER_BYTES] + bytes(len(data) - HEADER_BYTES))
    with pytest.raises(ValueError, match="damaged"):
        ENGINE.load(IndexKind.HNSW, VECTORS, Metric.COSINE, path)


@pytest.mark.parametrize("kind", KINDS)
def test_an_artefact_over_other_vectors_is_refused(kind: IndexKind, tmp_path: Path) -> None:
    path = tmp_path / "index"
    ENGINE.build(kind, VECTORS, Metric.COSINE, path)
    other = KINDS[KINDS.index(kind) - 1]
    for wanted, vectors, metric in [
        (kind, VECTORS[:-1], Metric.COSINE),
        (kind, np.ascontiguousarray(VECTORS[:, :-1]), Metric.COSINE),
        (kind, VECTORS, Metric.L2),
        (other, VECTORS, Metric.COSINE),
    ]:
        with pytest.raises(ValueError, match=f"is {kind} by Cosine over 300 x 12, not {wanted} by {metric}"):
            ENGINE.load(wanted, vectors, metric, path)


@pytest.mark.parametrize("kind", KINDS)
def test_vectors_may_be_a_read_only_memory_map(kind: IndexKind, tmp_path: Path) -> None:
    np.save(tmp_path / "vectors.npy", VECTORS)
    mapped = np.load(tmp_path / "vectors.npy", mmap_mode="r")
    ENGINE.build(kind, mapped, Metric.COSINE, tmp_path / "index")
    index = ENGINE.load(kind, mapped, Metric.COSINE, tmp_path / "index")
    _, ids = index.search(VECTORS[:5], 1, allow=None, options=SearchOptions())
    assert ids[:, 0].tolist() == list(range(5))


@pytest.mark.parametrize("threads", [1, 3])
def test_a_build_takes_no_more_threads_than_it_is_given(
    threads: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[int] = []
    monkeypatch.setattr("faiss.omp_set_num_threads", given.append)
    CpuEngine(threads).build(IndexKind.HNSW, np.ones((3, 8), np.float32), Metric.L2, tmp_path / "graph")
    assert given == [threads]


@pytest.mark.parametrize(("cpus", "threads"), [(1, 1), (2, 1), (3, 1), (16, 8)])
def test_a_build_leaves_half_of_the_cpus_to_searches(cpus: int, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(cpus)))
    assert CpuEngine().build_threads == threads


def test_an_empty_graph_can_be_built_and_opened(tmp_path: Path) -> None:
    none = np.empty((0, 12), np.float32)
    ENGINE.build(IndexKind.HNSW, none, Metric.L2, tmp_path / "index")
    index = ENGINE.load(IndexKind.HNSW, none, Metric.L2, tmp_path / "index")
    _, ids = index.search(VECTORS[:1], 2, allow=None, options=SearchOptions())
    assert ids.tolist() == [[-1, -1]]
