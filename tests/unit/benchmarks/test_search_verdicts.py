"""What the search benchmarks call met: only what was measured under the conditions that were promised."""

from typing import Any

import numpy as np
import pytest

from benchmarks.search.__main__ import parsed, scale_of
from benchmarks.search.data import synthetic
from benchmarks.search.lineup import target
from benchmarks.search.measures import nearest
from benchmarks.search.parts import filtered, mixed, openloop, peers
from benchmarks.search.processes import split
from benchmarks.search.settings import FULL, QUICK, SMOKE
from benchmarks.search.writer import Happened, totals


@pytest.mark.parametrize(
    ("floors", "wanted"), [((0.8, 0.9), 0.95), ((0.8, 0.97), 0.97), ((0.96, 0.99), 0.96), ((1.0,), 0.95)]
)
def test_all_are_tuned_to_the_most_that_one_finds_at_its_least_effort_unless_it_is_too_much(
    floors: tuple[float, ...], wanted: float
) -> None:
    assert target(floors) == wanted


def row(peer: str, qps: float, *, server: bool = True, compared: bool = True, clients: int = 16) -> dict[str, Any]:
    return {
        "dataset": "synthetic", "peer": peer, "clients": clients, "qps": qps, "server": server, "compared": compared,
    }  # fmt: skip


def test_a_peer_outside_of_the_recall_band_and_a_library_are_not_compared_with() -> None:
    rows = [row("vectorfleet", 300.0), row("pgvector", 100.0), row("chroma", 900.0, compared=False)]
    (check,) = peers.checks([*rows, row("faiss", 5000.0, server=False)])
    assert (check.value, check.met) == ("3.00 x pgvector", True)


def test_our_own_row_outside_of_the_band_shows_nothing() -> None:
    (check,) = peers.checks([row("vectorfleet", 300.0, compared=False), row("pgvector", 100.0)])
    assert check.met is None


def test_being_less_than_half_as_fast_again_is_a_miss() -> None:
    (check,) = peers.checks([row("vectorfleet", 149.0), row("pgvector", 100.0)])
    assert check.met is False


def phases(p99: float, recall: float = 0.95, refused: int = 0) -> list[dict[str, Any]]:
    def of(qps: float, p99: float, recall: float, refused: int) -> dict[str, Any]:
        return {"qps": qps, "p99_ms": p99, "recall": recall, "refused": refused}

    return [of(50, 2.0, 0.95, 0), of(100, 9.0, 0.95, 0), of(50, p99, recall, refused), of(80, 9.0, 0.95, 0)]


def test_without_a_merge_meanwhile_a_run_under_writes_shows_nothing() -> None:
    conditions, *promises = mixed.checks(phases(3.0), Happened(rows=1000, seals=2, merges=0))
    assert conditions.met is False
    assert all(promise.met is None for promise in promises)


@pytest.mark.parametrize(
    ("rows", "met"),
    [
        (phases(6.0), [True, True, True]),
        (phases(6.1), [True, False, True]),
        (phases(6.0, refused=1), [False, True, True]),
        (phases(6.0, recall=0.944), [True, True, False]),
    ],
)
def test_with_seals_and_a_merge_each_promise_is_judged(rows: list[dict[str, Any]], met: list[bool]) -> None:
    conditions, *promises = mixed.checks(rows, Happened(rows=1000, seals=2, merges=1))
    assert conditions.met is True
    assert [promise.met for promise in promises[:3]] == met


def test_a_fast_filtered_search_that_lost_recall_is_a_miss() -> None:
    fast = {"percent": 1, "share": 0.9, "recall": 0.94}
    right = {"percent": 10, "share": 0.5, "recall": 0.95}
    assert [check.met for check in filtered.checks([fast, right, {"percent": 100}])] == [False, True]


def test_the_best_servers_are_those_with_most_queries_at_most_clients() -> None:
    rows = [row("pgvector", 50.0, clients=1), row("pgvector", 900.0), row("chroma", 99.0, clients=1)]
    rows += [row("chroma", 100.0), row("milvus-lite", 200.0), row("faiss", 9999.0, server=False)]
    assert openloop.best_servers(rows) == ("pgvector", "milvus-lite")


def test_rows_that_are_written_are_never_among_the_right_answers() -> None:
    found = synthetic(SMOKE)
    truth = nearest(found.rows, found.queries, 10)
    written = mixed.apart(found, np.concatenate([found.rows, -found.rows]))
    assert len(written)
    both = np.concatenate([found.rows, written])
    assert np.array_equal(nearest(both, found.queries, 10), truth)


def test_metrics_are_summed_over_their_labels() -> None:
    text = '# HELP a_total x\na_total{shard="0"} 2.0\na_total{shard="1"} 3.0\nb 1\n'
    assert totals(text) == {"a_total": 5.0, "b": 1.0}


def test_server_and_client_have_cores_of_their_own_where_there_are_enough() -> None:
    assert split(1, [4, 5, 6]).apart
    assert split(1, [4, 5, 6]).client == (5, 6)
    assert not split(2, [4, 5]).apart
    with pytest.raises(ValueError, match="3 cores are wanted for the server and this process may use 2"):
        split(3, [0, 1])


def test_the_command_line_changes_a_scale_and_refuses_unknown_peers() -> None:
    assert scale_of(parsed(["all"])) == FULL
    quick = scale_of(parsed(["mixed", "--quick", "--minutes", "2"]))
    assert (quick.name, quick.minutes, quick.rows) == ("quick", 2.0, QUICK.rows)
    assert scale_of(parsed(["growth", "--million"])).sizes[-1] == 1_000_000
    with pytest.raises(ValueError, match="elastic"):
        scale_of(parsed(["peers", "--peers", "elastic"]))
