"""What a search asks and answers, as values. Made by `validate` and `search`, put on the wire by the API layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vectorfleet.schema import CollectionSchema, IndexKind
from vectorfleet_node.engine.port import SearchOptions
from vectorfleet_node.query.filters import Filter
from vectorfleet_node.shard.view import Key

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class SearchSpec:
    """A validated search: `validate.search_spec` makes it.

    queries: (n, dimensions) float32, C-contiguous, finite. output_fields: names of payload fields, `*`
    already resolved. min_score: hits with a lower score are left out.
    """

    schema: CollectionSchema
    vector: str
    queries: Floats
    k: int
    filter: Filter | None
    options: SearchOptions
    output_fields: tuple[str, ...]
    include_vectors: bool
    min_score: float | None = None


@dataclass(frozen=True)
class Rows:
    """n rows by column.

    keys: n strings or integers. fields: n rows of the output fields (no columns when none are asked for; do not count
    rows by it). vectors: each named vector as (n, dimensions) float32; empty when vectors are not asked for.
    """

    keys: list[Key]
    fields: pa.Table
    vectors: Mapping[str, Floats]


@dataclass(frozen=True)
class Hits(Rows):
    """The answer to one query: rows, best first, equal scores by key, with (n,) float32 scores, higher is better."""

    scores: Floats


@dataclass(frozen=True)
class SearchResult:
    """hits: one per query. indexes: the kinds of index that were searched."""

    hits: list[Hits]
    indexes: frozenset[IndexKind]
