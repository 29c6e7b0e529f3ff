"""Which kind of index a segment gets."""

from __future__ import annotations

import pytest

from vectorfleet.schema import IndexKind, IndexType, VectorSchema
from vectorfleet_node.engine.choosing import EXACT_BELOW
from vectorfleet_node.engine.cpu import CpuEngine
from vectorfleet_node.engine.port import Choice
from vectorfleet_node.storage.format import FORMAT, index_kinds

ENGINE = CpuEngine(build_threads=1)


def chosen(index: IndexType, rows: int, dimensions: int = 384, form: int = FORMAT) -> Choice:
    return ENGINE.choose(VectorSchema(dimensions=dimensions, index=index), rows, index_kinds(form))


def test_auto_scans_small_segments_and_builds_graphs_for_large_ones() -> None:
    assert chosen(IndexType.AUTO, EXACT_BELOW - 1).kind is IndexKind.EXACT
    assert chosen(IndexType.AUTO, 10**7).kind is IndexKind.HNSW


@pytest.mark.parametrize("index", [IndexType.EXACT, IndexType.HNSW])
def test_a_wanted_kind_is_used_whatever_the_size(index: IndexType) -> None:
    assert {chosen(index, rows).kind for rows in (1, 10**7)} == {IndexKind(index.value)}


@pytest.mark.parametrize("index", [IndexType.CAGRA, IndexType.IVFPQ])
def test_kinds_that_need_a_gpu_are_refused_in_words(index: IndexType) -> None:
    with pytest.raises(ValueError, match=f"{index} needs a GPU; a CPU node has Auto, Exact and HNSW"):
        chosen(index, 10)
