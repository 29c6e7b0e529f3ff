"""The arithmetic behind the search benchmarks."""

import numpy as np
import pytest

from benchmarks.search.measures import clustered, comparable, nearest, passes, recall, tune


def test_the_same_seed_gives_the_same_unit_vectors() -> None:
    one, two = clustered(1, 50, 32), clustered(1, 50, 32)
    assert np.array_equal(one, two)
    assert not np.array_equal(one, clustered(2, 50, 32))
    assert np.allclose(np.linalg.norm(one, axis=1), 1, atol=1e-5)


def test_the_nearest_row_of_a_row_is_itself() -> None:
    rows = clustered(3, 40, 16)
    assert nearest(rows, rows, 1)[:, 0].tolist() == list(range(40))


def test_nearest_rows_are_the_best_by_dot_product_in_their_order() -> None:
    rows, queries = clustered(3, 400, 16), clustered(4, 5, 16)
    expected = np.argsort(-(queries @ rows.T), axis=1, kind="stable")[:, :7]
    assert np.array_equal(nearest(rows, queries, 7), expected)


def test_recall_counts_a_neighbour_once_and_misses_what_is_absent() -> None:
    truth = np.array([[1, 2], [3, 4]])
    assert recall([[2, 2], [3, 4]], truth) == 0.75
    assert recall([[], [4]], truth) == 0.25


@pytest.mark.parametrize("needed", [10, 11, 37, 64, 99, 100])
def test_tuning_finds_the_smallest_effort_that_reaches_the_recall(needed: int) -> None:
    found = tune(lambda effort: 0.96 if effort >= needed else 0.9, 10, 100, 0.95)
    assert found.reached
    assert 0 <= found.effort - needed <= max(1, needed // 50)


def test_tuning_of_large_efforts_stops_at_a_fiftieth() -> None:
    found = tune(lambda effort: 0.96 if effort >= 700 else 0.9, 10, 1000, 0.95)
    assert 700 <= found.effort <= 714
    assert len(found.tried) < 16


def test_tuning_that_never_reaches_the_recall_says_so_at_the_largest_effort() -> None:
    found = tune(lambda _: 0.9, 10, 100, 0.95)
    assert (found.effort, found.reached) == (100, False)


def test_only_recall_within_the_band_is_comparable() -> None:
    assert comparable(0.95, 0.95, 0.005)
    assert not comparable(0.9499, 0.95, 0.005)
    assert not comparable(0.956, 0.95, 0.005)


def test_the_load_that_passes_a_limit_lies_between_the_two_that_straddle_it() -> None:
    assert passes([(200, 20.0), (100, 5.0)], 10.0) == pytest.approx(100 + 100 / 3)
    assert passes([(100, 5.0), (200, 9.0)], 10.0) is None
    assert passes([(100, 12.0)], 10.0) == 0.0
