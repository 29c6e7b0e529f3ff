"""Searches with group_by: what each shard tells of its groups, and how the best of all of them are put together.

`local` makes messages of a shard's groups and `service` runs `search_groups`. A shard's k best groups hold every group
that is among the k best of the collection, with its best row. But further rows of such a group may lie in a shard where
it is not among the k best; where they could matter, a second round asks those shards for just these groups. Rows that
were written between the rounds may then be seen, never fewer groups.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from vectorfleet import columns
from vectorfleet.partition import Key
from vectorfleet.schema import CollectionSchema
from vectorfleet.v1 import peer_pb2
from vectorfleet.v1 import vectorfleet_pb2 as pb
from vectorfleet_node.api.rows import concatenate, key_values, rows_message, take
from vectorfleet_node.query.grouping import Grouping, Groups, grouping
from vectorfleet_node.query.model import Rows, SearchSpec
from vectorfleet_node.shard.batch import arrow_schema, field_column

Round = Callable[[Sequence[int], list[pb.FieldColumn]], Awaitable[list[peer_pb2.SearchGroupsResponse]]]


def grouping_of(request: pb.SearchRequest, schema: CollectionSchema, spec: SearchSpec) -> Grouping:
    """The request's group_by, checked."""
    return grouping(schema, request.group_by.field, request.group_by.size, spec)


def only_of(asked: peer_pb2.SearchGroupsRequest, schema: CollectionSchema) -> list[pa.Array]:
    """The groups that a second round asks for, one array per query; empty in a first round."""
    kind = arrow_schema(schema).field(field_column(asked.request.group_by.field)).type
    return [pa.array(_values(column), kind) for column in asked.only]


def shard_message(
    shard: int, answers: Sequence[Groups], by: Grouping, schema: CollectionSchema
) -> peer_pb2.ShardGroups:
    """What one shard found, one answer per query."""
    message = peer_pb2.ShardGroups(shard=shard, complete=[groups.complete for groups in answers])
    for groups in answers:
        message.results.add(
            rows=rows_message(groups.hits, schema),
            scores=groups.hits.scores.tolist(),
            group_sizes=groups.sizes,
            groups=_column(by, groups.values, schema),
        )
    return message


def _column(by: Grouping, values: pa.Array, schema: CollectionSchema) -> pb.FieldColumn:
    rows = Rows([], pa.table({by.field: values}), {})
    (column,) = rows_message(rows, schema).fields
    return column


def _values(column: pb.FieldColumn) -> list[Any]:
    kind = column.WhichOneof("values")
    count = len(getattr(column, kind).values) if kind else len(column.valid)
    return columns.unpack_fields([column], count)[column.name]


def _packed(name: str, values: list[Any]) -> pb.FieldColumn:
    """What `_values` reads, also of nothing but nulls, whose type a column need not tell."""
    return columns.pack_field(name, values) or pb.FieldColumn(name=name, valid=[False] * len(values))


@dataclass(frozen=True, order=True)
class _Row:
    """A row where it is; the order is best first."""

    worst: float  # minus the score
    key: Key
    source: int = field(compare=False)
    number: int = field(compare=False)


class _Query:
    """The groups of one query, from all shards."""

    def __init__(self, k: int, size: int) -> None:
        self._k = k
        self._size = size
        self._sources: list[pb.Hits] = []
        self._groups: dict[Any, list[_Row]] = {}
        self._keys: set[Key] = set()
        self._told: dict[int, set[Any]] = {}  # by shard that has more groups than it told
        self._worst: dict[int, float] = {}  # best row of the last group that such a shard told

    def add(self, shard: int, hits: pb.Hits, complete: bool) -> None:
        """What a shard told. A row that is known already is not taken again: it may have changed its group."""
        keys, scores = key_values(hits.rows.keys), list(hits.scores)
        start, values = 0, _values(hits.groups)
        for value, size in zip(values, hits.group_sizes, strict=True):
            rows = [_Row(-scores[at], keys[at], len(self._sources), at) for at in range(start, start + size)]
            self._groups.setdefault(value, []).extend(row for row in rows if row.key not in self._keys)
            if not complete:
                self._told.setdefault(shard, set()).add(value)
                self._worst[shard] = rows[0].worst
            start += size
        self._keys.update(keys)
        self._sources.append(hits)

    def chosen(self) -> list[tuple[Any, list[_Row]]]:
        """The k best groups with their best rows."""
        filled = [(value, sorted(rows)[: self._size]) for value, rows in self._groups.items() if rows]
        return sorted(filled, key=lambda group: group[1][0])[: self._k]

    def wanted(self) -> dict[int, set[Any]]:
        """By shard, the chosen groups of which it may hold rows that belong here and were not told."""
        found: dict[int, set[Any]] = {}
        for value, rows in self.chosen():
            for shard, told in self._told.items():
                full = len(rows) >= self._size and rows[self._size - 1].worst < self._worst[shard]
                if self._size > 1 and value not in told and not full:
                    found.setdefault(shard, set()).add(value)
        return found

    def answer(self, field_name: str) -> pb.Hits:
        """The result of the query."""
        groups = self.chosen()
        ends = np.cumsum([0, *(len(source.scores) for source in self._sources)]).tolist()
        rows = [row for _, group in groups for row in group]
        everything = concatenate([source.rows for source in self._sources])
        values = [value for value, _ in groups]
        return pb.Hits(
            rows=take(everything, [ends[row.source] + row.number for row in rows]),
            scores=[-row.worst for row in rows],
            group_sizes=[len(group) for _, group in groups],
            groups=_packed(field_name, values),
        )


async def search_groups(
    request: pb.SearchRequest, queries: int, shards: Sequence[int], ask: Round
) -> tuple[list[pb.Hits], list[str]]:
    """The answers to the queries, and the kinds of index asked. ask: one round over some shards; what it does not
    answer for is its caller's to tell.
    """
    found = [_Query(request.k, request.group_by.size or 1) for _ in range(queries)]
    responses = await ask(shards, [])
    _add(found, responses)
    wanted = [query.wanted() for query in found]
    again = sorted({shard for query in wanted for shard in query})
    if again:
        only = [_packed(request.group_by.field, [*set().union(*query.values())]) for query in wanted]
        second = await ask(again, only)
        _add(found, second)
        responses = [*responses, *second]
    indexes = sorted({kind for response in responses for kind in response.indexes})
    return [query.answer(request.group_by.field) for query in found], indexes


def _add(found: Sequence[_Query], responses: Sequence[peer_pb2.SearchGroupsResponse]) -> None:
    for response in responses:
        for shard in response.found:
            for query, hits, complete in zip(found, shard.results, shard.complete, strict=True):
                query.add(shard.shard, hits, complete)
