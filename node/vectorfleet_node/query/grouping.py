"""Group-by over one shard: the k best groups of rows that share a field's value, and the best rows of each.

The API layer calls `group_shard` in a thread and merges shards. Rows without a value are a group of their own. The trap
is an index's own k: the best rows may all be of one group. So what is found is taken out and the rest is searched
again, twice as wide and now exactly, until there are k groups or no rows are left; and a group of which the candidates
held too few rows is searched for more of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from vectorfleet.schema import CollectionSchema, FieldType, IndexKind
from vectorfleet_node.engine.port import Mask, SearchOptions
from vectorfleet_node.query.errors import InvalidQuery
from vectorfleet_node.query.model import Floats, Hits, SearchSpec
from vectorfleet_node.query.ranges import reaching
from vectorfleet_node.query.rows import Places, allowed, gather, hits_between, keys_of
from vectorfleet_node.query.validate import MAX_K, check_answer
from vectorfleet_node.shard.batch import KEY_COLUMN, arrow_schema
from vectorfleet_node.shard.view import ShardView

GROUPED_TYPES: Final = (FieldType.STRING, FieldType.INT64, FieldType.BOOL)
_BEST_FIRST: Final = [("score", "descending"), ("key", "ascending")]
_EXACT: Final = SearchOptions(exact=True)


@dataclass(frozen=True)
class Grouping:
    """`size` rows at most of each value of `field`; `grouping` makes it."""

    field: str
    size: int


@dataclass(frozen=True)
class Groups:
    """The answer to one query. hits: group after group, the one with the best row first, rows best first. sizes: rows
    of each group. values: one per group, in the field's type. complete: the shard has no other groups.
    """

    hits: Hits
    sizes: tuple[int, ...]
    values: pa.Array
    complete: bool


def grouping(schema: CollectionSchema, field: str, size: int, spec: SearchSpec) -> Grouping:
    """What a request asks for, checked. InvalidQuery names the request's field."""
    types = {each.name: each.type for each in schema.fields}
    if types.get(field) not in GROUPED_TYPES:
        known = ", ".join(name for name, kind in types.items() if kind in GROUPED_TYPES) or "none"
        raise InvalidQuery("group_by.field", f"is {field!r}; fields of type String, Int64 and Bool are {known}")
    wanted = size or 1
    if spec.k * wanted > MAX_K:
        raise InvalidQuery("group_by.size", f"is {wanted}: {spec.k} groups of so many rows are more than {MAX_K} rows")
    check_answer(schema, len(spec.queries), spec.k * wanted, spec.include_vectors)
    return Grouping(field, wanted)


def group_shard(
    view: ShardView, spec: SearchSpec, by: Grouping, only: Sequence[pa.Array] = ()
) -> tuple[list[Groups], frozenset[IndexKind]]:
    """The k best groups for each query, or with `only`, one array per query, the groups of just those values.

    port.Rotten as `search_shard`.
    """
    search = _Search(view, spec, by)
    chosen = [
        search.named(query, only[number]) if only else search.best(query)
        for number, query in enumerate(spec.queries[:, None])
    ]
    flat = [group.found for groups, _ in chosen for group in groups]
    joined = _Found.join(flat)
    rows = gather(
        view, spec.schema, joined.blocks, joined.rows, spec.output_fields, spec.include_vectors, (spec.vector,)
    )
    ends = np.cumsum([0, *(sum(len(group.found) for group in groups) for groups, _ in chosen)])
    answers = []
    for (start, end), (groups, complete) in zip(pairwise(ends.tolist()), chosen, strict=True):
        hits = hits_between(rows, joined.scores, start, end)
        values = search.values.take(pa.array([group.code for group in groups], pa.int64()))
        answers.append(Groups(hits, tuple(len(group.found) for group in groups), values, complete))
    return answers, frozenset(search.indexes)


@dataclass(frozen=True)
class _Found:
    """Places, scores and keys of rows, parallel."""

    blocks: Places
    rows: Places
    scores: Floats
    keys: pa.Array

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, numbers: slice | NDArray[np.int64]) -> _Found:
        """Some of them."""
        keys = self.keys[numbers] if isinstance(numbers, slice) else self.keys.take(pa.array(numbers))
        return _Found(self.blocks[numbers], self.rows[numbers], self.scores[numbers], keys)

    @classmethod
    def join(cls, parts: Sequence[_Found]) -> _Found:
        """All of them."""
        nothing = np.empty(0, np.int64)
        return cls(
            np.concatenate([nothing, *(part.blocks for part in parts)]),
            np.concatenate([nothing, *(part.rows for part in parts)]),
            np.concatenate([np.empty(0, np.float32), *(part.scores for part in parts)]),
            pa.concat_arrays([part.keys for part in parts]) if parts else pa.nulls(0),
        )


@dataclass(frozen=True)
class _Group:
    code: int
    found: _Found

    @property
    def rank(self) -> tuple[float, object]:
        return -float(self.found.scores[0]), self.found.keys[0].as_py()


class _Search:
    """One shard's rows, each with the number of its group."""

    def __init__(self, view: ShardView, spec: SearchSpec, by: Grouping) -> None:
        self.indexes: set[IndexKind] = set()
        self._view = view
        self._spec = spec
        self._by = by
        self._keys = arrow_schema(spec.schema).field(KEY_COLUMN).type
        self._allow = [allowed(block, spec.filter) for block in view.blocks]
        for block in view.blocks:
            block.verify_columns((by.field,))
        columns = [chunk for block in view.blocks for chunk in block.rows.column(by.field).chunks]
        encoded = pa.chunked_array(columns, _type_of(view, by.field)).dictionary_encode().unify_dictionaries()
        values = encoded.chunk(0).dictionary if encoded.num_chunks else pa.array([], encoded.type.value_type)
        null = len(values)  # the code of the group without a value
        self.values: pa.Array = pa.concat_arrays([values, pa.nulls(1, values.type)])
        codes = np.concatenate(
            [np.empty(0, np.int64), *(chunk.indices.fill_null(null).to_numpy() for chunk in encoded.chunks)]
        )
        ends = np.cumsum([len(allow) for allow in self._allow])[:-1]
        self._codes = np.split(codes.astype(np.int64), ends) if self._allow else []

    @cached_property
    def _rows(self) -> NDArray[np.int64]:
        """How many rows each group has."""
        counts = np.zeros(len(self.values), np.int64)
        for codes, allow in zip(self._codes, self._allow, strict=True):
            counts += np.bincount(codes[allow], minlength=len(counts))
        return counts

    def best(self, query: Floats) -> tuple[list[_Group], bool]:
        """The k best groups, and whether there are no others."""
        masks, options, width = list(self._allow), self._spec.options, self._spec.k * self._by.size
        groups: list[_Group] = []
        left = any(mask.any() for mask in masks)
        while left and len(groups) < self._spec.k:
            found, all_reach = self._nearest(query, width, masks, options)
            seen = self._split(found)
            groups += seen
            codes = np.array([group.code for group in seen], np.int64)
            masks = [mask & ~np.isin(here, codes) for mask, here in zip(masks, self._codes, strict=True)]
            left = all_reach and any(mask.any() for mask in masks)
            options, width = _EXACT, 2 * width
        best = sorted(groups, key=lambda group: group.rank)
        filled = [self._filled(query, group) for group in best[: self._spec.k]]
        return filled, not left and len(best) <= self._spec.k

    def named(self, query: Floats, values: pa.Array) -> tuple[list[_Group], bool]:
        """The groups of those values that have rows here."""
        codes = pc.index_in(values, self.values).drop_null().to_pylist() if len(values) else []
        found = [_Group(code, self._of_group(query, code)) for code in codes]
        return sorted((group for group in found if len(group.found)), key=lambda group: group.rank), True

    def _split(self, found: _Found) -> list[_Group]:
        """Candidates by group; no more rows of one than are wanted."""
        by_code: dict[int, list[int]] = {}
        for number, (block, row) in enumerate(zip(found.blocks.tolist(), found.rows.tolist(), strict=True)):
            by_code.setdefault(int(self._codes[block][row]), []).append(number)
        return [
            _Group(code, found.take(np.array(numbers[: self._by.size], np.int64))) for code, numbers in by_code.items()
        ]

    def _filled(self, query: Floats, group: _Group) -> _Group:
        if len(group.found) >= min(self._by.size, int(self._rows[group.code])):
            return group
        return _Group(group.code, self._of_group(query, group.code))

    def _of_group(self, query: Floats, code: int) -> _Found:
        masks = [allow & (codes == code) for allow, codes in zip(self._allow, self._codes, strict=True)]
        return self._nearest(query, self._by.size, masks, _EXACT)[0]

    def _nearest(self, query: Floats, k: int, masks: Sequence[Mask], options: SearchOptions) -> tuple[_Found, bool]:
        """The k best rows that the masks allow, best first; and whether all of them reach the wanted score."""
        parts = []
        for number, (block, mask) in enumerate(zip(self._view.blocks, masks, strict=True)):
            passing = int(np.count_nonzero(mask))
            if not passing:
                continue
            index = block.indexes[self._spec.vector]
            self.indexes.add(index.kind)
            scores, ids = index.search(query, min(k, passing), allow=mask, options=options)
            there = np.flatnonzero(ids[0] >= 0)
            blocks, rows = np.full(len(there), number), ids[0][there]
            keys = pa.array(keys_of(self._view, blocks, rows), self._keys)
            parts.append(_Found(blocks, rows, scores[0][there], keys))
        if not parts:
            return _Found.join(()), True
        found = _Found.join(parts)
        table = pa.table({"score": found.scores, "key": found.keys})
        ordered = found.take(pc.sort_indices(table, sort_keys=_BEST_FIRST).to_numpy().astype(np.int64)[:k])
        reached = ordered.take(reaching(ordered.scores, self._spec.min_score))
        return reached, len(reached) == len(ordered)


def _type_of(view: ShardView, field: str) -> pa.DataType:
    return view.blocks[0].rows.schema.field(field).type if view.blocks else pa.null()
