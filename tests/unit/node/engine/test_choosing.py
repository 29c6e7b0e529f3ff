"""Which kind of index a segment gets, and that the reason is told."""

from __future__ import annotations

import pytest

from vectorfleet.schema import IndexKind, IndexType, Quantization, VectorSchema
from vectorfleet_node.engine.choosing import CODES_BYTES, EXACT_BELOW
from vectorfleet_node.engine.cpu import CpuEngine
from vectorfleet_node.engine.port import Choice
from vectorfleet_node.storage.format import FORMAT, index_kinds

ENGINE = CpuEngine(build_threads=1)
GRAPHS = {IndexKind.HNSW, IndexKind.HNSW_INT8}


def chosen(
    index: IndexType = IndexType.AUTO,
    rows: int = 10**6,
    dimensions: int = 768,
    quantization: Quantization = Quantization.AUTO,
    form: int = FORMAT,
    quick: bool = False,
) -> Choice:
    vector = VectorSchema(dimensions=dimensions, index=index, quantization=quantization)
    return ENGINE.choose(vector, rows, index_kinds(form), quick=quick)


def test_auto_scans_few_rows_then_codes_and_walks_graphs_of_many() -> None:
    kinds = [chosen(rows=rows).kind for rows in (1, EXACT_BELOW - 1, EXACT_BELOW, 80_000, 100_000, 10**6)]
    assert kinds == [
        IndexKind.EXACT,
        IndexKind.EXACT,
        IndexKind.PQ,
        IndexKind.PQ,
        IndexKind.HNSW,
        IndexKind.HNSW_INT8,
    ]


@pytest.mark.parametrize("dimensions", [17, 96, 256, 257, 1024, 4096])
def test_auto_scans_codes_while_they_fit_in_the_cache(dimensions: int) -> None:
    """Half a byte for each 2 dimensions of a short vector, for each 4 of a long one; padded to 16."""
    width = -(-dimensions // 16) * 16
    most = CODES_BYTES // (width // 4 if width <= 256 else width // 8)
    assert chosen(rows=most, dimensions=dimensions).kind is IndexKind.PQ
    assert chosen(rows=most + 1, dimensions=dimensions).kind in GRAPHS


def test_auto_halves_the_memory_of_a_graph_where_it_is_large() -> None:
    assert chosen(rows=170_000).kind is IndexKind.HNSW
    assert chosen(rows=180_000).kind is IndexKind.HNSW_INT8


def test_the_schema_says_how_a_graph_is_encoded() -> None:
    for index in (IndexType.AUTO, IndexType.HNSW):
        assert chosen(index, 100_000, quantization=Quantization.INT8).kind is IndexKind.HNSW_INT8
        assert chosen(index, 10**7, quantization=Quantization.FLOAT16).kind is IndexKind.HNSW
    assert chosen(rows=50_000, quantization=Quantization.INT8).kind is IndexKind.PQ


@pytest.mark.parametrize("index", [IndexType.EXACT, IndexType.PQ])
def test_a_wanted_kind_is_used_whatever_the_size(index: IndexType) -> None:
    assert {chosen(index, rows).kind for rows in (1, 10**7)} == {IndexKind(index.value)}


def test_a_wanted_graph_is_used_whatever_the_size() -> None:
    assert chosen(IndexType.HNSW, 1).kind is IndexKind.HNSW
    assert chosen(IndexType.HNSW, 10**7).kind is IndexKind.HNSW_INT8


@pytest.mark.parametrize("index", [IndexType.CAGRA, IndexType.IVFPQ])
def test_kinds_that_need_a_gpu_are_refused_in_words(index: IndexType) -> None:
    with pytest.raises(ValueError, match=f"{index} needs a GPU; a CPU node has Auto, Exact, PQ and HNSW"):
        chosen(index, 10)


@pytest.mark.parametrize("index", [IndexType.AUTO, IndexType.EXACT, IndexType.PQ, IndexType.HNSW])
@pytest.mark.parametrize("quick", [False, True])
def test_a_shard_of_format_1_gets_no_kind_that_older_versions_do_not_know(index: IndexType, quick: bool) -> None:
    for rows in (10, 50_000, 10**7):
        choice = chosen(index, rows, form=1, quick=quick)
        assert choice.kind in (IndexKind.EXACT, IndexKind.HNSW)
    assert chosen(IndexType.PQ, form=1).reason == "PQ has to wait until every replica of the shard knows it"


def test_what_writes_wait_for_is_no_graph() -> None:
    assert chosen(IndexType.HNSW, 10**6, quick=True).kind is IndexKind.PQ
    assert chosen(IndexType.HNSW, 1_000, quick=True).kind is IndexKind.HNSW
    assert chosen(IndexType.HNSW, 10**6, quick=True, form=1).kind is IndexKind.EXACT


def test_the_reason_is_told() -> None:
    assert chosen(rows=10).reason == "fewer than 5,000 rows: a scan of them is quick and misses nothing"
    assert chosen(rows=50_000).reason == "its codes take at most 8 MiB, so that they stay in the cache"
    assert chosen(rows=100_000).reason == "its codes would take more than 8 MiB"
    assert chosen().reason.endswith("Int8 where copies in fp16 would take over 256 MiB")
    assert chosen(IndexType.EXACT).reason == "as the schema says"
    assert chosen(IndexType.HNSW, quantization=Quantization.INT8).reason.endswith("Int8 as the schema says")
