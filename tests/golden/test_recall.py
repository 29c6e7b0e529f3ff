"""Recall@10 of at least 0.95 at default settings, for each kind of index, with and without real filters; and what a
target recall promises. Over the half of the held-out queries that nothing was tuned by.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache
from typing import Final

import numpy as np
import pytest

from tests.golden import datasets
from tests.golden.datasets import CHECKING, Dataset
from tests.golden.indexes import view_of
from tests.golden.truth import K, kth_scores
from vectorfleet.schema import IndexKind
from vectorfleet_node.query.filters import compile_filter
from vectorfleet_node.query.filters.documents import Source
from vectorfleet_node.query.search import search_shard
from vectorfleet_node.query.validate import search_spec

RECALL: Final = 0.95
KINDS: Final = tuple(IndexKind)
TARGETS: Final = (0.8, 0.9, 0.95, 0.98, 0.99, 0.995)
_SLACK: Final = 0.012  # of a mean over 150 queries: twice its standard error
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
        mask = compile_filter(text, schema).mask(Source(view.blocks[0].rows)) if text else view.blocks[0].live
        bars = kth_scores(dataset, mask, text)[CHECKING]
        spec = search_spec(schema, vector="", queries=dataset.queries[CHECKING], k=K, filter_text=text)
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


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind is not IndexKind.EXACT])
@pytest.mark.parametrize("make", [datasets.glove, datasets.minilm], ids=["GloVe-100", "MiniLM"])
def test_a_target_recall_is_about_reached(
    make: Callable[[], Dataset | None], kind: IndexKind, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = load(make)
    view, schema = view_of(dataset, kind), dataset.schema
    bars = kth_scores(dataset, view.blocks[0].live, "")[CHECKING]
    found: dict[float, float] = {}
    for target in TARGETS:
        spec = search_spec(schema, vector="", queries=dataset.queries[CHECKING], k=K, target_recall=target)
        hits = search_shard(view, spec).hits
        found[target] = float(
            np.mean([np.mean(one.scores >= bar - _ROUNDING) for one, bar in zip(hits, bars, strict=True)])
        )
    with capsys.disabled():
        print(f"\n{dataset.name}, {kind}: {found}", end="")
    assert all(recall >= target - _SLACK for target, recall in found.items()), found
