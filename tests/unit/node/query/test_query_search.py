"""Searching the blocks of one shard, merging shards, reading and counting rows."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from views import View, block, schema

from vectorfleet.schema import CollectionSchema, IndexKind, KeyType, Metric
from vectorfleet_node.query.filters import compile_filter
from vectorfleet_node.query.model import Hits
from vectorfleet_node.query.rows import count, get_rows
from vectorfleet_node.query.search import merge, search_shard
from vectorfleet_node.query.trace import ShardTrace
from vectorfleet_node.query.validate import search_spec

METRICS = list(Metric)


def score(metric: Metric, query: np.ndarray, row: np.ndarray) -> float:
    """The definition in the .proto, in float64."""
    query, row = query.astype(float), row.astype(float)
    if metric is Metric.L2:
        return -float(((query - row) ** 2).sum())
    scale = np.linalg.norm(query) * np.linalg.norm(row) if metric is Metric.COSINE else 1.0
    return float(query @ row / scale)


def random_view(collection: CollectionSchema, seed: int) -> tuple[View, dict[str, np.ndarray]]:
    """Three blocks in which newer blocks supersede keys of older ones; and the live vectors by key."""
    rng = np.random.default_rng(seed)
    dimensions = collection.vectors[0].dimensions
    owner = {key: number for number in range(3) for key in rng.choice(200, 60, replace=False)}
    deleted = set(rng.choice(200, 20, replace=False))
    live_vectors, blocks = {}, []
    for number in range(3):
        mine = [key for key, last in owner.items() if last == number]
        stale = [key for key, last in owner.items() if last > number][:10]
        keys = [int(key) for key in rng.permutation(mine + stale)]
        vectors = rng.standard_normal((len(keys), dimensions)).astype(np.float32)
        live = [owner[key] == number and key not in deleted for key in keys]
        names = [f"k{key:03}" for key in keys]
        blocks.append(
            block(collection, names, vectors, live, year=keys, lang=["en" if key % 3 else None for key in keys])
        )
        live_vectors |= {name: vector for name, vector, alive in zip(names, vectors, live, strict=True) if alive}
    return View(tuple(blocks)), live_vectors


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("seed", range(5))
def test_a_search_returns_exactly_the_best_live_rows_of_all_blocks(metric: Metric, seed: int) -> None:
    collection = schema(metric)
    view, live = random_view(collection, seed)
    queries = np.random.default_rng(seed + 100).standard_normal((4, 8)).astype(np.float32)
    result = search_shard(view, search_spec(collection, vector="", queries=queries, k=15, include_vectors=True))
    assert result.indexes == {IndexKind.EXACT}
    assert len(result.hits) == 4
    for query, hits in zip(queries, result.hits, strict=True):
        expected = sorted(live, key=lambda key: -score(metric, query, live[key]))[:15]
        assert hits.keys == expected, f"seed {seed}"
        np.testing.assert_allclose(hits.scores, [score(metric, query, live[key]) for key in expected], rtol=1e-5)
        np.testing.assert_array_equal(hits.vectors["default"], [live[key] for key in expected])


@pytest.mark.parametrize("seed", range(5))
def test_superseded_and_deleted_rows_never_appear(seed: int) -> None:
    collection = schema()
    view, live = random_view(collection, seed)
    queries = np.random.default_rng(seed).standard_normal((2, 8)).astype(np.float32)
    for hits in search_shard(view, search_spec(collection, vector="", queries=queries, k=1000)).hits:
        keys = hits.keys
        assert sorted(keys) == sorted(live), f"seed {seed}"


def test_output_fields_come_in_the_order_asked_and_belong_to_their_rows() -> None:
    collection = schema()
    view, _ = random_view(collection, 3)
    query = np.ones((1, 8), np.float32)
    [hits] = search_shard(
        view, search_spec(collection, vector="", queries=query, k=9, output_fields=["year", "lang"])
    ).hits
    assert hits.fields.column_names == ["year", "lang"]
    assert [f"k{year:03}" for year in hits.fields["year"].to_pylist()] == hits.keys
    assert hits.vectors == {}


def test_a_filter_leaves_only_rows_that_pass_it() -> None:
    collection = schema()
    view, live = random_view(collection, 4)
    spec = search_spec(collection, vector="", queries=np.ones((1, 8), np.float32), k=500, filter_text="year < 50")
    [hits] = search_shard(view, spec).hits
    assert sorted(hits.keys) == sorted(key for key in live if int(key[1:]) < 50)
    assert count(view, spec.filter) == len(hits.keys)
    assert count(view, None) == len(live)


def test_a_block_in_which_no_row_passes_is_not_searched() -> None:
    collection = schema()
    view, _ = random_view(collection, 4)
    spec = search_spec(collection, vector="", queries=np.ones((1, 8), np.float32), k=5, filter_text="year < -1")
    result = search_shard(view, spec)
    assert result.indexes == frozenset()
    assert [len(hits.keys) for hits in result.hits] == [0]


@pytest.mark.parametrize("key", list(KeyType))
def test_an_empty_shard_answers_with_typed_empty_fields(key: KeyType) -> None:
    collection = schema(key=key)
    spec = search_spec(
        collection, vector="", queries=np.ones((2, 8), np.float32), k=5, output_fields=["*"], include_vectors=True
    )
    first, second = search_shard(View(()), spec).hits
    assert first.keys == []
    assert first.fields.schema.names == ["lang", "year", "price", "open"]
    assert second.vectors["default"].shape == (0, 8)
    assert count(View(()), None) == 0


@pytest.mark.parametrize("k", range(1, 7))
def test_equal_scores_are_ordered_by_key_at_the_kth_place_too(k: int) -> None:
    collection = schema(key=KeyType.INT64)
    same = np.ones((3, 8), np.float32)
    view = View((block(collection, [30, 10, 20], same), block(collection, [25, 5, 15], same)))
    [hits] = search_shard(view, search_spec(collection, vector="", queries=same[:1], k=k)).hits
    assert hits.keys == [5, 10, 15, 20, 25, 30][:k]


def test_get_returns_live_rows_in_the_order_asked_and_leaves_absent_keys_out() -> None:
    collection = schema()
    view, live = random_view(collection, 5)
    asked = [*sorted(live)[::-7], "nobody"]
    rows = get_rows(view, collection, asked, ("year",), True)
    assert rows.keys == asked[:-1]
    assert [f"k{year:03}" for year in rows.fields["year"].to_pylist()] == asked[:-1]
    np.testing.assert_array_equal(rows.vectors["default"], [live[key] for key in asked[:-1]])


def test_get_of_nothing_is_empty() -> None:
    collection = schema()
    rows = get_rows(random_view(collection, 5)[0], collection, ["nobody"], ("year",), True)
    assert len(rows.keys) == 0
    assert rows.fields.num_rows == 0


def hits_of(rows: list[tuple[int, float]], width: int) -> Hits:
    """Hits whose payload and vector can be told from the key."""
    best = sorted(rows, key=lambda row: (-row[1], row[0]))
    keys = [key for key, _ in best]
    fields = pa.table({"year": pa.array([key * 10 for key in keys], pa.int64())}) if width else pa.table({})
    vectors = {"default": np.array(keys, np.float32).reshape(-1, 1)} if width else {}
    return Hits(keys, fields, vectors, np.array([value for _, value in best], np.float32))


@given(
    shards=st.lists(
        st.dictionaries(st.integers(0, 300), st.sampled_from([0.0, 0.25, 0.5, 1.0, -3.0])), min_size=1, max_size=5
    ),
    k=st.integers(1, 20),
    width=st.booleans(),
)
def test_merging_shards_is_sorting_all_their_hits(shards: list[dict[int, float]], k: int, width: bool) -> None:
    parts = [[(key * len(shards) + number, value) for key, value in rows.items()] for number, rows in enumerate(shards)]
    [merged] = merge([[hits_of(rows, width)] for rows in parts], k)
    expected = sorted((row for rows in parts for row in rows), key=lambda row: (-row[1], row[0]))[:k]
    assert merged.keys == [key for key, _ in expected]
    assert merged.scores.tolist() == [value for _, value in expected]
    if width:
        assert merged.fields["year"].to_pylist() == [key * 10 for key, _ in expected]
        assert merged.vectors["default"][:, 0].tolist() == [key for key, _ in expected]


def test_merging_keeps_each_querys_hits_apart() -> None:
    left, right = [hits_of([(1, 1.0)], 1), hits_of([(2, 2.0)], 1)], [hits_of([(3, 3.0)], 1), hits_of([], 1)]
    assert [hits.keys for hits in merge([left, right], 2)] == [[3, 1], [2]]


def test_a_filter_is_compiled_once_for_a_schema() -> None:
    assert compile_filter("year > 3", schema()) is compile_filter("year > 3", schema())


def test_a_trace_tells_of_each_block_what_was_allowed_and_found() -> None:
    collection = schema()
    rng = np.random.default_rng(3)
    blocks = [
        block(collection, ["a", "b", "c"], rng.standard_normal((3, 8)), [True, False, True], year=[1, 1, 2]),
        block(collection, ["d", "e"], rng.standard_normal((2, 8)), year=[1, 1]),
    ]
    trace = ShardTrace()
    queries = rng.standard_normal((2, 8)).astype(np.float32)
    spec = search_spec(collection, vector="", queries=queries, k=5, filter_text="year == 2")
    told = search_shard(View(tuple(blocks)), spec, trace=trace)
    untold = search_shard(View(tuple(blocks)), spec)
    assert [(each.rows, each.live, each.allowed, each.candidates) for each in trace.blocks] == [
        (3, 2, 1, 2),  # one row for each of the two queries
        (2, 2, 0, 0),
    ]
    assert all(each.filter_ns > 0 and each.engine_ns >= 0 for each in trace.blocks)
    assert trace.rank_ns > 0
    assert trace.gather_ns > 0
    assert [hits.keys for hits in told.hits] == [hits.keys for hits in untold.hits]
