"""Checks of what callers send, before any shard sees it. The API layer calls these; each raises InvalidQuery or
FilterError.

NaN would silently ruin a graph's recall and a number beyond fp16 becomes infinite in one, so both are refused here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from vectorfleet.schema import CollectionSchema, Metric, VectorSchema
from vectorfleet_node.engine.port import Floats, SearchOptions
from vectorfleet_node.query.errors import InvalidQuery
from vectorfleet_node.query.filters import compile_filter
from vectorfleet_node.query.model import SearchSpec
from vectorfleet_node.query.ranges import check_min_score
from vectorfleet_node.shard.view import Key

MAX_K: Final = 16_384
MAX_HITS: Final = 1 << 20  # of one request
MAX_VECTOR_BYTES: Final = 256 << 20  # of one answer
MAX_EF: Final = 65_536
MIN_TARGET_RECALL: Final = 0.5  # less saves nothing
MAX_MAGNITUDE: Final = 65_504.0  # the largest fp16
MIN_COSINE_COMPONENT: Final = 1e-15  # of the largest one: its square has to stay a normal float32
DEFAULT_VECTOR: Final = "default"
ALL_FIELDS: Final = "*"


def search_spec(
    schema: CollectionSchema,
    *,
    vector: str,
    queries: Floats,
    k: int,
    filter_text: str = "",
    output_fields: Sequence[str] = (),
    include_vectors: bool = False,
    exact: bool = False,
    ef: int = 0,
    target_recall: float | None = None,
    min_score: float | None = None,
) -> SearchSpec:
    """A search that can be run. `queries`: (n, dimensions) float32. Errors name the fields of SearchRequest."""
    chosen = vector_schema(schema, vector)
    if not 1 <= k <= MAX_K:
        raise InvalidQuery("k", f"k is {k}; it has to be from 1 to {MAX_K}")
    check_queries(chosen, queries)
    check_answer(schema, len(queries), k, include_vectors)
    return SearchSpec(
        schema=schema,
        vector=chosen.name,
        queries=np.ascontiguousarray(queries, np.float32),
        k=k,
        filter=compile_filter(filter_text, schema) if filter_text.strip() else None,
        options=_options(exact, ef, target_recall),
        output_fields=resolve_output_fields(schema, output_fields),
        include_vectors=include_vectors,
        min_score=check_min_score(min_score),
    )


def _options(exact: bool, ef: int, target_recall: float | None) -> SearchOptions:
    if not 0 <= ef <= MAX_EF:
        raise InvalidQuery("params.ef", f"ef is {ef}; it has to be from 0 (chosen from k) to {MAX_EF}")
    if target_recall is None:
        return SearchOptions(exact=exact, ef=ef)
    if not MIN_TARGET_RECALL <= target_recall <= 1:
        allowed = f"it has to be from {MIN_TARGET_RECALL} to 1 (exact)"
        raise InvalidQuery("params.target_recall", f"target_recall is {target_recall:.4g}; {allowed}")
    if exact or ef:
        other = "exact" if exact else f"ef {ef}"
        raise InvalidQuery("params.target_recall", f"target_recall and {other} do not go together: give one of them")
    return SearchOptions(target_recall=round(target_recall, 4))  # it came as a float32


def check_answer(schema: CollectionSchema, queries: int, k: int, include_vectors: bool) -> None:
    """Refuses a search whose answer would be too big for one message, before anything is computed."""
    hits = queries * k
    if hits > MAX_HITS:
        raise InvalidQuery("k", f"{queries} queries of {k} hits are {hits} hits; a request may ask for {MAX_HITS}")
    size = hits * sum(vector.dimensions for vector in schema.vectors) * 4 if include_vectors else 0
    if size > MAX_VECTOR_BYTES:
        raise InvalidQuery(
            "include_vectors",
            f"the vectors of {queries} queries x {k} hits take {size} bytes; an answer may have {MAX_VECTOR_BYTES}",
        )


def vector_schema(schema: CollectionSchema, name: str) -> VectorSchema:
    """The named vector; the empty name is `default`."""
    wanted = name or DEFAULT_VECTOR
    for vector in schema.vectors:
        if vector.name == wanted:
            return vector
    known = ", ".join(vector.name for vector in schema.vectors)
    raise InvalidQuery("vector", f"there is no vector {wanted!r}; the collection has {known}")


def resolve_output_fields(schema: CollectionSchema, names: Sequence[str]) -> tuple[str, ...]:
    """The payload fields asked for, each once, in the order asked; `*` stands for all of them."""
    if not names:
        return ()
    known = [field.name for field in schema.fields]
    for name in names:
        if name not in known and name != ALL_FIELDS:
            there_are = f"the fields are {', '.join(known)}" if known else "the collection has no fields"
            raise InvalidQuery("output_fields", f"there is no field {name!r}; {there_are}")
    wanted = [field for name in names for field in (known if name == ALL_FIELDS else [name])]
    return tuple(dict.fromkeys(wanted))


def check_queries(vector: VectorSchema, queries: Floats) -> None:
    """Refuses query vectors that no index can answer; names the query, from 0, and the component."""
    if queries.ndim != 2 or not len(queries):
        raise InvalidQuery("queries", "there are no queries; at least one is needed")
    problem = _first_problem(vector, queries)
    if problem:
        raise InvalidQuery("queries", f"query {problem[0]} {problem[1]}")


def check_vectors(vector: VectorSchema, array: Floats, keys: Sequence[Key]) -> None:
    """Refuses (rows, dimensions) vectors that must not be stored; names the row, from 0, and its key."""
    field = f"rows.vectors[{vector.name}]"
    if array.ndim != 2 or len(array) != len(keys):
        raise InvalidQuery(field, f"there are {len(array)} vectors for {len(keys)} keys")
    problem = _first_problem(vector, array)
    if problem:
        row, what = problem
        raise InvalidQuery(field, f"row {row} (key {keys[row]!r}) {what}", row)


def _first_problem(vector: VectorSchema, array: Floats) -> tuple[int, str] | None:
    """The number of the first row with a vector that cannot be compared, and what is wrong with it."""
    if array.shape[1] != vector.dimensions:
        return 0, f"has {array.shape[1]} dimensions; vector {vector.name} has {vector.dimensions}"
    if not len(array):
        return None
    sizes = np.abs(array)
    largest = np.maximum.reduce(sizes, axis=1)
    least_allowed = MIN_COSINE_COMPONENT if vector.metric is Metric.COSINE else 0.0
    if least_allowed <= largest.min() and largest.max() <= MAX_MAGNITUDE:  # NaN compares false
        return None
    bad = ~(sizes <= MAX_MAGNITUDE)
    if bad.any():
        row, component = (int(number) for number in np.argwhere(bad)[0])
        allowed = f"allowed is -{MAX_MAGNITUDE:.0f} to {MAX_MAGNITUDE:.0f}"
        return row, f"has {array[row, component]} at component {component}; {allowed}"
    if vector.metric is Metric.COSINE:
        flat = largest < MIN_COSINE_COMPONENT
        if flat.any():
            return int(np.argmax(flat)), f"is zero (or nearly); it has no direction, which {vector.metric} compares"
    return None
