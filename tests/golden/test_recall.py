"""Recall@10 of at least 0.95 at default settings, for each kind of index, with and without real filters."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache
from typing import Final

import numpy as np
import pytest

from tests.golden import datasets
from tests.golden.datasets import Dataset
from tests.golden.indexes import view_of
from tests.golden.truth import K, kth_scores
from vectorfleet.schema import IndexKind
from vectorfleet_node.query.filters import compile_filter
from vectorfleet_node.query.search import search_shard
from vectorfleet_node.query.validate import search_spec

RECALL: Final = 0.95
KINDS: Final = (IndexKind.EXACT, IndexKind.HNSW)
_ROUNDING: Final = 1e-6


@cache
def load(make: Callable[[], Dataset | None]) -> Dataset:
    """Once for all kinds."""
    dataset = make()
    if dataset is None:
        pytest.skip("the embeddings of the glosses are not in the cache; `make demo` makes them")
    return dataset


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("make", [datasets.glove, datasets.minilm], ids=["GloVe-100", "MiniLM"])
def test_recall_at_10_is_at_least_95_percent_with_and_without_filters(
    make: Callable[[], Dataset | None], kind: IndexKind, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = load(make)
    view, schema = view_of(dataset, kind), dataset.schema
    found: dict[str, float] = {}
    for text in ("", *dataset.filters):
        mask = compile_filter(text, schema).mask(view.blocks[0].rows) if text else view.blocks[0].live
        bars = kth_scores(dataset, mask, text)
        spec = search_spec(schema, vector="", queries=dataset.queries, k=K, filter_text=text)
        began = time.perf_counter()
        hits = search_shard(view, spec).hits
        took = 1e3 * (time.perf_counter() - began) / len(hits)
        assert all(len(one.keys) == K for one in hits)
        found[text] = float(
            np.mean([np.mean(one.scores >= bar - _ROUNDING) for one, bar in zip(hits, bars, strict=True)])
        )
        with capsys.disabled():
            print(f"\n{dataset.name}, {kind}: {found[text]:.3f} in {took:.2f} ms, {mask.mean():.1%} {text}", end="")
    assert min(found.values()) >= RECALL, found
