"""Group-by over a shard finds the groups and rows that sorting everything finds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from views import View, block, schema

from vectorfleet.schema import CollectionSchema, Metric
from vectorfleet_node.query.errors import InvalidQuery
from vectorfleet_node.query.grouping import Groups, group_shard, grouping
from vectorfleet_node.query.model import SearchSpec
from vectorfleet_node.query.search import search_shard
from vectorfleet_node.query.validate import search_spec

ROWS = 90
COLLECTION = schema(Metric.L2)


def some_view(rng: np.random.Generator, values: int) -> View:
    """Three blocks of rows in few groups, close together within a group so that one group fills an index's answer."""
    langs = [None if rng.random() < 0.2 else f"lang-{rng.integers(values)}" for _ in range(ROWS)]
    centres = {lang: rng.standard_normal(8) * 5 for lang in sorted(set(langs), key=str)}
    vectors = np.array([centres[lang] + rng.standard_normal(8) * 0.1 for lang in langs], np.float32)
    live = rng.random(ROWS) < 0.85
    keys = [f"row-{number:02}" for number in rng.permutation(ROWS)]
    cuts = [slice(0, 40), slice(40, 41), slice(41, ROWS)]
    return View(
        tuple(
            block(COLLECTION, keys[cut], vectors[cut], live[cut], lang=langs[cut], year=list(range(ROWS))[cut])
            for cut in cuts
        )
    )


def spec_of(collection: CollectionSchema, queries: Any, k: int, **more: Any) -> SearchSpec:
    return search_spec(collection, vector="", queries=queries, k=k, output_fields=["lang"], **more)


def plain(groups: Groups) -> list[tuple[object, list[tuple[str, float]]]]:
    """[(value, [(key, score), ...]), ...]"""
    keys, scores = groups.hits.keys, groups.hits.scores.tolist()
    found, start = [], 0
    for value, size in zip(groups.values.to_pylist(), groups.sizes, strict=True):
        found.append((value, list(zip(keys[start : start + size], scores[start : start + size], strict=True))))
        start += size
    assert start == len(keys)
    return found


def expected(view: View, spec: SearchSpec, size: int) -> list[list[tuple[object, list[tuple[str, float]]]]]:
    """All rows in order of score, then cut into groups."""
    everything = spec_of(spec.schema, spec.queries, ROWS, filter_text=spec.filter.text if spec.filter else "")
    answers = []
    for hits in search_shard(view, everything).hits:
        groups: dict[object, list[tuple[str, float]]] = {}
        langs = hits.fields["lang"].to_pylist()
        for key, score, lang in zip(hits.keys, hits.scores.tolist(), langs, strict=True):
            if spec.min_score is None or score >= np.float32(spec.min_score):
                groups.setdefault(lang, []).append((key, score))
        answers.append([(value, rows[:size]) for value, rows in groups.items()])
    return answers


@pytest.mark.parametrize("seed", range(25))
def test_the_groups_are_those_of_all_rows_sorted(seed: int) -> None:
    rng = np.random.default_rng(seed)
    view = some_view(rng, values=int(rng.integers(1, 30)))
    queries = (rng.standard_normal((3, 8)) * 5).astype(np.float32)
    for _ in range(6):
        k, size = int(rng.integers(1, 40)), int(rng.integers(1, 8))
        more: dict[str, Any] = {"filter_text": "year >= 30"} if rng.random() < 0.3 else {}
        if rng.random() < 0.3:
            more["min_score"] = float(-rng.random() * 400)
        spec = spec_of(COLLECTION, queries, k, **more)
        wanted = expected(view, spec, size)
        found, _ = group_shard(view, spec, grouping(COLLECTION, "lang", size, spec))
        assert [plain(groups) for groups in found] == [groups[:k] for groups in wanted], f"seed {seed}"
        told = [groups.complete for groups in found]
        assert not any(here and len(groups) > k for here, groups in zip(told, wanted, strict=True)), f"seed {seed}"
        assert all(here or len(groups) >= k for here, groups in zip(told, wanted, strict=True)), f"seed {seed}"
        assert [groups.hits.fields["lang"].to_pylist() for groups in found] == [
            [value for value, rows in groups[:k] for _ in rows] for groups in wanted
        ]


@pytest.mark.parametrize("seed", range(5))
def test_groups_can_be_asked_for_by_their_values(seed: int) -> None:
    rng = np.random.default_rng(seed)
    view = some_view(rng, values=10)
    queries = (rng.standard_normal((2, 8)) * 5).astype(np.float32)
    spec = spec_of(COLLECTION, queries, 3)
    only = [pa.array(["lang-3", None, "no such"], pa.string()), pa.array([], pa.string())]
    found, _ = group_shard(view, spec, grouping(COLLECTION, "lang", 4, spec), only)
    wanted = [(value, rows) for value, rows in expected(view, spec, 4)[0] if value in ("lang-3", None)]
    assert plain(found[0]) == wanted
    assert plain(found[1]) == []


def test_a_shard_without_rows_has_no_groups() -> None:
    spec = spec_of(COLLECTION, np.ones((1, 8), np.float32), 3)
    for view in (View(()), View((block(COLLECTION, ["a"], np.ones((1, 8)), [False]),))):
        found, _ = group_shard(view, spec, grouping(COLLECTION, "lang", 2, spec))
        assert plain(found[0]) == []
        assert found[0].complete


@pytest.mark.parametrize(
    ("field", "size", "problem"),
    [("nope", 1, "group_by.field"), ("price", 1, "String, Int64 and Bool"), ("lang", 9000, "group_by.size")],
)
def test_what_cannot_be_grouped_is_named(field: str, size: int, problem: str) -> None:
    spec = spec_of(COLLECTION, np.ones((1, 8), np.float32), 2)
    with pytest.raises(InvalidQuery, match=problem):
        grouping(COLLECTION, field, size, spec)
