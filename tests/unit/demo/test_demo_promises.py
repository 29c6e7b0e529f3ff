"""What the demo promises is measured, and what does not hold is told."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from demo import outage, questions
from demo.glosses import Gloss
from vectorfleet import Client, CollectionInfo, Hit, ReplicaInfo, RetryPolicy, SearchResult, ShardInfo, Unavailable
from vectorfleet.testing import FakeFleet

ROWS = 200
RANDOM = np.random.default_rng(6)


def unit(count: int) -> NDArray[np.float32]:
    vectors = RANDOM.standard_normal((count, 8), dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


VECTORS = unit(ROWS)
KEYS = [f"k{row}" for row in range(ROWS)]
QUERIES = unit(20)


@pytest.fixture
def client() -> Iterator[Client]:
    with FakeFleet() as fleet, Client(fleet.address, retry=RetryPolicy(attempts=2, first=0.001)) as made:
        made.create_collection("dictionary", 8)
        made.upsert("dictionary", KEYS, VECTORS)
        yield made


class Forgetful:
    """Finds what the client finds, but never the best row."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def search(self, collection: str, vectors: Any, *, k: int, output_fields: tuple[str, ...] = ()) -> SearchResult:
        hits = self._client.search(collection, vectors, k=k + 1).hits[0]
        return SearchResult([hits[1:]], ("HNSW",))


def test_an_exact_answer_has_recall_one_and_is_no_index(client: Client) -> None:
    measured = questions.measure(client, "dictionary", QUERIES, KEYS, VECTORS)
    assert measured.recall == 1.0
    assert measured.problems() == ["only exact search answered (Exact); promised is an index"]


def test_a_missing_neighbour_costs_recall(client: Client) -> None:
    measured = questions.measure(Forgetful(client), "dictionary", QUERIES, KEYS, VECTORS)
    assert measured.recall == pytest.approx(0.9)
    assert measured.problems() == ["recall@10 is 0.9000; promised is 0.98"]


def test_equal_scores_are_equally_right() -> None:
    class Other:
        def search(self, collection: str, vectors: Any, *, k: int, output_fields: tuple[str, ...] = ()) -> SearchResult:
            return SearchResult([[Hit(f"k{row}", 1.0) for row in range(10, 20)]], ("HNSW",))

    same = np.repeat(VECTORS[:1], 20, axis=0)
    assert questions.measure(Other(), "dictionary", VECTORS[:1], KEYS[:20], same).recall == 1.0


def test_the_sampled_sentences_are_the_same_each_time() -> None:
    rows = [Gloss(f"n{row}", "w", "d", "noun", (f"a sentence of number {row}", "too short")) for row in range(300)]
    assert questions.sample(rows) == questions.sample(rows)
    assert len(set(questions.sample(rows))) == questions.SAMPLED
    assert "too short" not in questions.sample(rows)


def test_a_query_loop_counts_calls_and_failures() -> None:
    enough = threading.Event()
    asked: list[int] = []

    def ask(query: NDArray[np.float32]) -> int:
        asked.append(1)
        number = len(asked)
        if number >= 50:
            enough.set()
        if number == 10:
            raise Unavailable("the pod is gone")
        return 9 if number == 20 else 10

    with outage.QueryLoop(ask, QUERIES, expected=10, threads=1) as loop:
        assert enough.wait(30)
    assert loop.tally.calls == len(asked)
    assert loop.tally.failures == ["Unavailable: the pod is gone", "9 hits instead of 10"]


def test_the_victim_is_a_leader() -> None:
    def copy(node: str, leader: bool) -> ReplicaInfo:
        return ReplicaInfo(node, True, True, leader, 1, 1, 0, (), "")

    shards = (ShardInfo(0, (copy("a", False), copy("b", True))),)
    assert outage.victim(CollectionInfo("dictionary", "u", "String", (), (), shards)) == "b"
