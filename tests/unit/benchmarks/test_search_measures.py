"""The arithmetic behind the search benchmarks."""

import numpy as np

from benchmarks.search.measures import clustered, least_effort, nearest, recall


def test_the_same_seed_gives_the_same_unit_vectors() -> None:
    one, two = clustered(1, 50, 32), clustered(1, 50, 32)
    assert np.array_equal(one, two)
    assert not np.array_equal(one, clustered(2, 50, 32))
    assert np.allclose(np.linalg.norm(one, axis=1), 1, atol=1e-5)


def test_the_nearest_row_of_a_row_is_itself() -> None:
    rows = clustered(3, 40, 16)
    assert nearest(rows, rows, 1)[:, 0].tolist() == list(range(40))


def test_recall_counts_a_neighbour_once_and_misses_what_is_absent() -> None:
    truth = np.array([[1, 2], [3, 4]])
    assert recall([[2, 2], [3, 4]], truth) == 0.75
    assert recall([[], [4]], truth) == 0.25


def test_the_least_effort_is_the_smallest_that_reaches_the_recall() -> None:
    assert least_effort([(64, 0.99), (32, 0.96), (16, 0.9)], 0.95) == 32
    assert least_effort([(64, 0.9)], 0.95) is None
