"""Views for the tests of the query layer: real indexes over a few rows, no shard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from vectorfleet.schema import CollectionSchema, FieldSchema, FieldType, KeyType, Metric, VectorSchema
from vectorfleet_node.engine.exact import ExactIndex
from vectorfleet_node.shard.batch import arrow_schema, field_column
from vectorfleet_node.shard.view import Key, RowBlock

FIELDS = (
    FieldSchema(name="lang", type=FieldType.STRING),
    FieldSchema(name="year", type=FieldType.INT64),
    FieldSchema(name="price", type=FieldType.FLOAT64),
    FieldSchema(name="open", type=FieldType.BOOL),
)


def schema(metric: Metric = Metric.COSINE, dimensions: int = 8, key: KeyType = KeyType.STRING) -> CollectionSchema:
    """A collection with one vector and a field of each type."""
    vectors = (VectorSchema(name="default", dimensions=dimensions, metric=metric),)
    return CollectionSchema(key=key, vectors=vectors, fields=FIELDS, shards=1)


@dataclass(frozen=True)
class View:
    """A ShardView over blocks; the newest live row of a key is found by looking."""

    blocks: tuple[RowBlock, ...]
    position: int = 7

    def locate(self, keys: list[Key]) -> list[tuple[int, int] | None]:
        places: dict[Key, tuple[int, int]] = {}
        for number, block in enumerate(self.blocks):
            for row, key in enumerate(block.rows["key"].to_pylist()):
                if block.live[row]:
                    places[key] = (number, row)
        return [places.get(key) for key in keys]


def table(collection: CollectionSchema, keys: Sequence[Key], **fields: Sequence[object]) -> pa.Table:
    """A block's rows: the fields that are not given are null."""
    types = arrow_schema(collection)
    columns = {"key": pa.array(keys, types.field("key").type)}
    for field in collection.fields:
        values = fields.get(field.name, [None] * len(keys))
        columns[field.name] = pa.array(values, types.field(field_column(field.name)).type)
    return pa.table(columns)


def block(
    collection: CollectionSchema,
    keys: Sequence[Key],
    vectors: np.ndarray,
    live: Sequence[bool] | None = None,
    **fields: Sequence[object],
) -> RowBlock:
    """A sealed block with an Exact index."""
    values = np.ascontiguousarray(vectors, np.float32)
    return RowBlock(
        rows=table(collection, keys, **fields),
        vectors={"default": values},
        indexes={"default": ExactIndex(values, collection.vectors[0].metric)},
        live=np.ones(len(keys), bool) if live is None else np.array(live, bool),
        sealed=True,
    )
