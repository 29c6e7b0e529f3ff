"""Rows as protobuf: made from Arrow, joined, and taken by number; pure. Used to answer reads and to merge answers.

Columns are parallel lists, so every function here keeps them equally long.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from vectorfleet.schema import CollectionSchema, KeyType
from vectorfleet.v1 import vectorfleet_pb2 as pb
from vectorfleet_node.api.fields import add_field, like, slots
from vectorfleet_node.query.model import Hits, Rows
from vectorfleet_node.shard.view import Key


def keys_message(keys: Iterable[Key], kind: KeyType) -> pb.Keys:
    """Keys in the list of their type."""
    return pb.Keys(strings=keys) if kind is KeyType.STRING else pb.Keys(ints=keys)  # type: ignore[arg-type]


def key_values(keys: pb.Keys) -> list[Key]:
    """The keys, whichever list they are in."""
    return list(keys.strings) or list(keys.ints)


def rows_message(found: Rows, schema: CollectionSchema) -> pb.Rows:
    """Rows as `query` found them."""
    rows = pb.Rows()
    _fill(rows, found, schema)
    return rows


def hits_message(found: Hits, schema: CollectionSchema) -> pb.Hits:
    """The answer to one query. Filled in place: a message that is given to another's constructor is copied."""
    hits = pb.Hits()
    _fill(hits.rows, found, schema)
    hits.scores.extend(found.scores.tolist())
    return hits


def _fill(rows: pb.Rows, found: Rows, schema: CollectionSchema) -> None:
    rows.keys.SetInParent()
    into: Any = rows.keys.strings if schema.key is KeyType.STRING else rows.keys.ints
    into.extend(found.keys)
    for name, values in found.vectors.items():
        data = np.ascontiguousarray(values, dtype="<f4").tobytes()
        rows.vectors.add(name=name, dimensions=values.shape[1], data=data)
    if found.fields.num_columns:
        types = {field.name: field.type for field in schema.fields}
        for name in found.fields.column_names:
            add_field(rows, name, types[name], found.fields.column(name))


def concatenate(parts: Sequence[pb.Rows]) -> pb.Rows:
    """All rows, in order. The parts that have rows have the same columns."""
    filled = [part for part in parts if part.keys.strings or part.keys.ints]
    if len(filled) <= 1:
        return filled[0] if filled else pb.Rows()
    joined = pb.Rows()
    for part in filled:
        joined.keys.MergeFrom(part.keys)
    for number, vector in enumerate(filled[0].vectors):
        data = b"".join(part.vectors[number].data for part in filled)
        joined.vectors.add(name=vector.name, dimensions=vector.dimensions, data=data)
    for number, field in enumerate(filled[0].fields):
        column = joined.fields.add(name=field.name)
        joined_values = like(column, field)
        nulls = any(part.fields[number].valid for part in filled)
        for part in filled:
            source = part.fields[number]
            values = slots(source)
            joined_values.extend(values)
            if nulls:
                column.valid.extend(source.valid or [True] * len(values))
    return joined


def take(rows: pb.Rows, numbers: Sequence[int]) -> pb.Rows:
    """The rows with these numbers, in this order."""
    taken = pb.Rows()
    if rows.keys.strings:
        taken.keys.strings.extend(rows.keys.strings[number] for number in numbers)
    else:
        taken.keys.ints.extend(rows.keys.ints[number] for number in numbers)
    for vector in rows.vectors:
        size = vector.dimensions * 4
        data = b"".join(vector.data[number * size : (number + 1) * size] for number in numbers)
        taken.vectors.add(name=vector.name, dimensions=vector.dimensions, data=data)
    for field in rows.fields:
        column = taken.fields.add(name=field.name)
        values = slots(field)
        like(column, field).extend(values[number] for number in numbers)
        if field.valid:
            column.valid.extend(field.valid[number] for number in numbers)
    return taken


def merge_hits(parts: Sequence[pb.Hits], k: int) -> pb.Hits:
    """The k best of several nodes' hits for one query; equal scores by key, so that every node answers alike."""
    if len(parts) == 1:
        return parts[0]
    rows = concatenate([part.rows for part in parts])
    scores = [score for part in parts for score in part.scores]
    keys = key_values(rows.keys)
    best = sorted(range(len(scores)), key=lambda number: (-scores[number], keys[number]))[:k]
    return pb.Hits(rows=take(rows, best), scores=[scores[number] for number in best])
