"""Compares what a view answers with what the oracle says. Each raises AssertionError with the difference."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vectorfleet.schema import CollectionSchema
from vectorfleet_node.query.filters import compile_filter
from vectorfleet_node.query.model import Hits, SearchSpec
from vectorfleet_node.query.rows import count, get_rows
from vectorfleet_node.query.search import merge, search_shard
from vectorfleet_node.query.validate import search_spec
from vectorfleet_node.shard.view import RowBlock, ShardView

from .filters import RandomFilter
from .oracle import Key, Oracle, best, order_of

FIELDS = ("open", "year")


@dataclass(frozen=True)
class Question:
    """A random search. approximate: the answer may lack rows of the best k, but nothing else may be wrong."""

    queries: NDArray[np.float32]
    k: int
    filter: RandomFilter | None
    exact: bool
    ef: int
    target_recall: float | None
    min_score: float | None
    approximate: bool

    def spec(self, collection: CollectionSchema) -> SearchSpec:
        """As the product takes it."""
        return search_spec(
            collection,
            vector="",
            queries=self.queries,
            k=self.k,
            filter_text=self.filter.text if self.filter else "",
            output_fields=FIELDS,
            include_vectors=self.k < 1000,
            exact=self.exact,
            ef=self.ef,
            target_recall=self.target_recall,
            min_score=self.min_score,
        )


@dataclass(frozen=True)
class Blocks:
    """Some blocks of a view, as if they were a shard of their own."""

    position: int
    blocks: tuple[RowBlock, ...]

    def locate(self, keys: list[Key]) -> list[tuple[int, int] | None]:
        """Not asked by searches."""
        raise NotImplementedError


def check_search(view: ShardView, collection: CollectionSchema, oracle: Oracle, question: Question) -> Counter[str]:
    """What was found of what should have been: `found` of `wanted` hits, and what happened."""
    spec = question.spec(collection)
    answers = search_shard(view, spec).hits
    assert len(answers) == len(question.queries)
    seen = Counter({"searches": 1, "queries": len(answers), "filtered": question.filter is not None})
    for query, hits in zip(question.queries, answers, strict=True):
        scores = oracle.scores(query, question.filter)
        expected = best(scores, question.k, question.min_score)
        found = list(zip(hits.keys, hits.scores.tolist(), strict=True))
        if question.approximate:
            _check_subset(found, scores, question)
            seen["wanted"] += len(expected)
            seen["found"] += sum(score >= expected[-1][1] for _, score in found) if expected else 0
        else:
            assert found == expected, difference(found, expected)
            seen["tied at k"] += len(scores) > question.k > 0 and _tied(scores, question.k)
        _check_rows(hits, oracle, spec.include_vectors)
    if not question.approximate and len(view.blocks) > 1:
        _check_merge(view, spec, answers)
    return seen


def check_count(view: ShardView, collection: CollectionSchema, oracle: Oracle, filter_: RandomFilter | None) -> None:
    """As many rows as pass."""
    compiled = compile_filter(filter_.text, collection) if filter_ else None
    assert count(view, compiled) == len(oracle.passing(filter_))


def check_get(view: ShardView, collection: CollectionSchema, oracle: Oracle, keys: list[Key]) -> None:
    """The live rows of these keys, in the order asked."""
    rows = get_rows(view, collection, keys, FIELDS, True)
    assert rows.keys == [key for key in keys if key in oracle.rows]
    fields = [{name: oracle.rows[key].fields[name] for name in FIELDS} for key in rows.keys]
    assert rows.fields.to_pylist() == fields
    assert rows.vectors["default"].tolist() == [list(oracle.rows[key].vector) for key in rows.keys]


def check_all(view: ShardView, collection: CollectionSchema, oracle: Oracle, source: random.Random) -> None:
    """Count, and every key, in random order."""
    check_count(view, collection, oracle, None)
    check_get(view, collection, oracle, source.sample(sorted(oracle.rows), k=len(oracle.rows)))


def difference(found: list[tuple[Key, float]], expected: list[tuple[Key, float]]) -> str:
    """The first place where they differ."""
    for place, (here, there) in enumerate(zip(found, expected, strict=False)):
        if here != there:
            return f"place {place} of {len(found)} has {here}; the oracle has {there} of {len(expected)}"
    return f"{len(found)} hits; the oracle has {len(expected)}"


def _check_subset(found: list[tuple[Key, float]], scores: dict[Key, float], question: Question) -> None:
    keys = [key for key, _ in found]
    assert len(set(keys)) == len(keys), f"doubled: {[key for key, times in Counter(keys).items() if times > 1]}"
    strangers = [key for key in keys if key not in scores]
    assert not strangers, f"dead rows, or rows that the filter does not allow: {strangers}"
    assert found == [(key, scores[key]) for key in keys], "a score is wrong"
    assert found == sorted(found, key=lambda hit: (-hit[1], order_of(hit[0]))), "not in order"
    if question.min_score is None:
        assert len(found) == min(question.k, len(scores)), f"{len(found)} of {len(scores)} rows for k={question.k}"


def _check_rows(hits: Hits, oracle: Oracle, with_vectors: bool) -> None:
    """Fields and vectors belong to the keys."""
    rows = [oracle.rows[key] for key in hits.keys]
    assert hits.fields.to_pylist() == [{name: row.fields[name] for name in FIELDS} for row in rows]
    if with_vectors:
        assert hits.vectors["default"].tolist() == [list(row.vector) for row in rows]


def _check_merge(view: ShardView, spec: SearchSpec, answers: list[Hits]) -> None:
    """Two halves searched apart, as two shards are, merge to the same answer."""
    middle = len(view.blocks) // 2
    halves = [Blocks(view.position, view.blocks[:middle]), Blocks(view.position, view.blocks[middle:])]
    merged = merge([search_shard(half, spec).hits for half in halves], spec.k)
    for one, other in zip(merged, answers, strict=True):
        assert one.keys == other.keys, "two halves merge to another answer"
        assert one.scores.tolist() == other.scores.tolist()


def _tied(scores: dict[Key, float], k: int) -> bool:
    ranked = sorted(scores.values(), reverse=True)
    return ranked[k - 1] == ranked[k]
