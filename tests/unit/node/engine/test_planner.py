"""The plan of a search: how wide a walk, how many rows that codes nominate, or a scan."""

from __future__ import annotations

import pytest

from vectorfleet.schema import Metric
from vectorfleet_node.engine.planner import DEFAULT_EF, FEW_ROWS, FEW_ROWS_BY_DOT, refined, walk_width
from vectorfleet_node.engine.port import SearchOptions

DEFAULT = SearchOptions()


def test_a_walk_of_an_unfiltered_graph_is_as_wide_as_k_needs() -> None:
    assert walk_width(100_000, 100_000, 768, 10, Metric.L2, DEFAULT) == DEFAULT_EF
    assert walk_width(100_000, 100_000, 768, 500, Metric.L2, DEFAULT) == 1000
    assert walk_width(100_000, 100_000, 768, 10, Metric.L2, SearchOptions(ef=64)) == 64


def test_a_walk_is_never_narrower_than_k() -> None:
    for k in (1, 10, 400, 16_384):
        assert walk_width(10**6, 10**6, 768, k, Metric.L2, SearchOptions(ef=1)) > k


def test_a_filtered_walk_is_wider_by_the_share_that_is_allowed() -> None:
    assert walk_width(10**6, 500_000, 768, 100, Metric.L2, DEFAULT) == 1251
    assert walk_width(10**6, 250_000, 768, 100, Metric.L2, SearchOptions(ef=64)) == 1600
    assert walk_width(10**6, 250_000, 768, 10, Metric.L2, DEFAULT) == int(1.4 * 4 * DEFAULT_EF)


def test_a_scan_is_planned_where_a_walk_would_cost_more() -> None:
    assert walk_width(100_000, FEW_ROWS, 768, 10, Metric.L2, DEFAULT) is None
    assert walk_width(10**7, 20_000, 768, 100, Metric.L2, DEFAULT) is None
    assert walk_width(100_000, 100_000, 768, 16_384, Metric.L2, DEFAULT) is None
    assert walk_width(100_000, 100_000, 768, 10, Metric.L2, SearchOptions(exact=True)) is None


def test_more_rows_are_scanned_by_inner_product() -> None:
    assert walk_width(10**5, FEW_ROWS + 1, 768, 1, Metric.L2, SearchOptions(ef=2)) is not None
    assert walk_width(10**5, FEW_ROWS_BY_DOT, 768, 1, Metric.DOT, SearchOptions(ef=2)) is None


def test_more_rows_are_scanned_of_fewer_dimensions() -> None:
    assert walk_width(10**6, 70_000, 100, 1, Metric.L2, SearchOptions(ef=2)) is None
    assert walk_width(10**6, 70_000, 768, 1, Metric.L2, SearchOptions(ef=2)) is not None


def recalling(target: float) -> SearchOptions:
    return SearchOptions(target_recall=target)


def test_a_higher_target_recall_looks_harder_and_the_highest_scans() -> None:
    targets = (0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995)
    widths = [walk_width(10**6, 10**6, 768, 10, Metric.L2, recalling(target)) for target in targets]
    nominees = [refined(10**6, 10**6, 10, Metric.L2, recalling(target)) for target in targets]
    assert widths == [32, 32, 96, 200, 384, 768, 1024]
    assert nominees == [27, 27, 54, 90, 144, 270, 360]
    for target in (0.996, 1.0):
        assert walk_width(10**6, 10**6, 768, 10, Metric.L2, recalling(target)) is None
        assert refined(10**6, 10**6, 10, Metric.L2, recalling(target)) is None


def test_a_target_recall_counts_under_a_filter_too() -> None:
    unfiltered = walk_width(10**6, 10**6, 768, 10, Metric.L2, recalling(0.9))
    filtered = walk_width(10**6, 500_000, 768, 10, Metric.L2, recalling(0.9))
    assert unfiltered is not None
    assert filtered == int(2 * 1.4 * unfiltered)


def test_codes_nominate_ten_rows_for_each_that_is_ranked_and_five_where_many_are_wanted() -> None:
    assert refined(10**5, 10**5, 10, Metric.L2, DEFAULT) == 10 * 18
    assert refined(10**5, 10**5, 1000, Metric.L2, DEFAULT) == 5 * 1125
    assert refined(10**5, 10**5, 10, Metric.L2, SearchOptions(ef=64)) == 64
    assert refined(10**5, 10**5, 10, Metric.L2, SearchOptions(ef=1)) == 18


def test_codes_nominate_more_by_inner_product() -> None:
    assert refined(10**5, 10**5, 10, Metric.DOT, DEFAULT) == 40 * 18


def test_a_filter_changes_nothing_for_codes_unless_it_leaves_few_rows() -> None:
    assert refined(10**5, 5_000, 10, Metric.L2, DEFAULT) == refined(10**5, 10**5, 10, Metric.L2, DEFAULT)
    assert refined(10**5, 1_000, 10, Metric.L2, DEFAULT) is None
    assert refined(10**4, 300, 10, Metric.L2, DEFAULT) is None


@pytest.mark.parametrize("allowed", [5, 10])
def test_all_rows_that_may_be_returned_are_scanned_when_k_of_them_are_wanted(allowed: int) -> None:
    for options in (DEFAULT, SearchOptions(ef=1000)):
        assert walk_width(10**5, allowed, 768, 10, Metric.L2, options) is None
        assert refined(10**5, allowed, 10, Metric.L2, options) is None


def test_exact_scans() -> None:
    assert refined(10**5, 10**5, 10, Metric.L2, SearchOptions(exact=True)) is None
    assert refined(10**5, 10**5, 16_384, Metric.L2, DEFAULT) is None, "refining would cost as much"
