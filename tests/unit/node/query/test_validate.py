"""What is refused before any shard sees it, and in which words."""

from __future__ import annotations

import numpy as np
import pytest
from views import schema

from vectorfleet.schema import CollectionSchema, Metric
from vectorfleet_node.engine.port import SearchOptions
from vectorfleet_node.query.errors import FilterError, InvalidQuery
from vectorfleet_node.query.validate import check_vectors, resolve_output_fields, search_spec

COLLECTION = schema(Metric.COSINE, dimensions=4)
GOOD = np.ones((3, 4), np.float32)
NO_FIELDS = CollectionSchema(vectors=COLLECTION.vectors, shards=1)


def spoiled(value: float, row: int = 1, component: int = 2) -> np.ndarray:
    array = GOOD.copy()
    array[row, component] = value
    return array


def test_a_good_search_is_resolved() -> None:
    spec = search_spec(COLLECTION, vector="", queries=GOOD, k=3, output_fields=["year", "*", "year"], ef=77, exact=True)
    assert spec.vector == "default"
    assert spec.output_fields == ("year", "lang", "price", "open")
    assert (spec.options.ef, spec.options.exact, spec.filter) == (77, True, None)


def test_a_target_recall_is_what_the_caller_wrote_though_it_travels_as_a_float32() -> None:
    spec = search_spec(COLLECTION, vector="", queries=GOOD, k=3, target_recall=float(np.float32(0.99)))
    assert spec.options == SearchOptions(target_recall=0.99)


@pytest.mark.parametrize("blank", ["", "  \n"])
def test_a_blank_filter_is_none(blank: str) -> None:
    assert search_spec(COLLECTION, vector="", queries=GOOD, k=3, filter_text=blank).filter is None


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"vector": "title"}, "vector", "there is no vector 'title'; the collection has default"),
        ({"k": 0}, "k", "k is 0; it has to be from 1 to 16384"),
        ({"k": 16_385}, "k", "k is 16385"),
        ({"ef": 65_537}, "params.ef", "ef is 65537; it has to be from 0 (chosen from k) to 65536"),
        ({"target_recall": 0.4}, "params.target_recall", "target_recall is 0.4; it has to be from 0.5 to 1 (exact)"),
        ({"target_recall": 1.01}, "params.target_recall", "target_recall is 1.01; it has to be from 0.5 to 1 (exact)"),
        ({"target_recall": float("nan")}, "params.target_recall", "target_recall is nan"),
        ({"target_recall": 0.9, "ef": 7}, "params.target_recall", "target_recall and ef 7 do not go together"),
        ({"target_recall": 1, "exact": True}, "params.target_recall", "target_recall and exact do not go together"),
        ({"queries": GOOD[:0]}, "queries", "at least one"),
        ({"queries": GOOD[:, :3]}, "queries", "query 0 has 3 dimensions; vector default has 4"),
        ({"queries": spoiled(float("nan"))}, "queries", "query 1 has nan at component 2"),
        ({"queries": spoiled(float("-inf"), 2, 0)}, "queries", "query 2 has -inf at component 0"),
        ({"queries": spoiled(1e6)}, "queries", "query 1 has 1000000.0 at component 2; allowed is -65504 to 65504"),
        ({"queries": np.zeros((1, 4), np.float32)}, "queries", "query 0 is zero (or nearly)"),
        ({"queries": np.full((1, 4), 1e-30, np.float32)}, "queries", "query 0 is zero (or nearly)"),
        ({"output_fields": ["yaer"]}, "output_fields", "no field 'yaer'; the fields are lang, year, price, open"),
    ],
)  # fmt: skip
def test_a_bad_search_is_refused_with_field_value_and_what_is_allowed(
    changes: dict[str, object], field: str, words: str
) -> None:
    with pytest.raises(InvalidQuery) as caught:
        search_spec(COLLECTION, **({"vector": "", "queries": GOOD, "k": 5} | changes))  # type: ignore[arg-type]
    assert caught.value.field == field
    assert words in caught.value.message


def test_a_bad_filter_is_an_invalid_query() -> None:
    with pytest.raises(FilterError) as caught:
        search_spec(COLLECTION, vector="", queries=GOOD, k=5, filter_text="year >")
    assert isinstance(caught.value, InvalidQuery)


def test_zero_vectors_are_fine_where_direction_does_not_matter() -> None:
    for metric in (Metric.L2, Metric.DOT):
        zeros = np.zeros((1, 4), np.float32)
        search_spec(schema(metric, dimensions=4), vector="", queries=zeros, k=1)
        check_vectors(schema(metric, dimensions=4).vectors[0], zeros, ["a"])


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (spoiled(float("nan")), "row 1 (key 'b') has nan at component 2"),
        (spoiled(65_505), "row 1 (key 'b') has 65505.0 at component 2; allowed is -65504 to 65504"),
        (GOOD * np.array([[1], [1], [0]], np.float32), "row 2 (key 'c') is zero (or nearly)"),
        (GOOD[:, :2], "row 0 (key 'a') has 2 dimensions; vector default has 4"),
        (GOOD[:2], "there are 2 vectors for 3 keys"),
    ],
)
def test_vectors_that_must_not_be_stored_are_refused_with_row_and_key(array: np.ndarray, words: str) -> None:
    with pytest.raises(InvalidQuery) as caught:
        check_vectors(COLLECTION.vectors[0], array, ["a", "b", "c"])
    assert caught.value.field == "rows.vectors[default]"
    assert words in caught.value.message


def test_the_largest_fp16_and_no_rows_are_accepted() -> None:
    check_vectors(COLLECTION.vectors[0], spoiled(-65_504), ["a", "b", "c"])
    check_vectors(COLLECTION.vectors[0], GOOD[:0], [])


def test_a_collection_without_fields_says_so() -> None:
    assert resolve_output_fields(NO_FIELDS, ["*"]) == ()
    with pytest.raises(InvalidQuery, match="the collection has no fields"):
        resolve_output_fields(NO_FIELDS, ["x"])
