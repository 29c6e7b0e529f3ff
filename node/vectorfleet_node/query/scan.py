"""Reading every row of a view that matches a filter, in the order of keys: scans, and deletes by filter.

A scan sorts the places of its rows once (8 bytes a row) and then reads page after page of them from the same view; the
API layer keeps the two together. The order of keys (by bytes, or by number) is what lets a scan go on behind a key in
another view, when its own is gone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from vectorfleet.schema import CollectionSchema
from vectorfleet_node.query.filters import Filter
from vectorfleet_node.query.model import Rows
from vectorfleet_node.query.rows import allowed, gather
from vectorfleet_node.shard.batch import KEY_COLUMN, arrow_schema
from vectorfleet_node.shard.view import Key, ShardView


@dataclass(frozen=True)
class Order:
    """Where the rows of a scan are, in the order of their keys. blocks, rows: (n,) int32, numbers in the view."""

    blocks: NDArray[np.int32]
    rows: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.rows)


def in_order(view: ShardView, schema: CollectionSchema, filter_: Filter | None, after: Key | None = None) -> Order:
    """The live rows that pass the filter and, with `after`, have a greater key. port.Rotten as `allowed`."""
    keys: list[pa.Array] = [pa.array([], arrow_schema(schema).field(KEY_COLUMN).type)]
    blocks, rows = [np.empty(0, np.int32)], [np.empty(0, np.int32)]
    for number, block in enumerate(view.blocks):
        found = np.flatnonzero(allowed(block, filter_))
        here = block.rows.column(KEY_COLUMN).take(pa.array(found)).combine_chunks()
        if after is not None:
            later = pc.greater(here, pa.scalar(after, here.type))
            here, found = here.filter(later), found[later.to_numpy(zero_copy_only=False)]
        keys.append(here)
        blocks.append(np.full(len(found), number, np.int32))
        rows.append(found.astype(np.int32))
    order = pc.sort_indices(pa.chunked_array(keys)).to_numpy()
    return Order(np.concatenate(blocks)[order], np.concatenate(rows)[order])


def page(
    view: ShardView,
    schema: CollectionSchema,
    order: Order,
    start: int,
    size: int,
    output_fields: tuple[str, ...],
    include_vectors: bool,
) -> Rows:
    """Up to `size` rows of the order from number `start` on. port.Rotten when a row's bytes are damaged."""
    here = slice(start, start + size)
    blocks, rows = order.blocks[here].astype(np.int64), order.rows[here].astype(np.int64)
    return gather(view, schema, blocks, rows, output_fields, include_vectors)


def matching_keys(view: ShardView, filter_: Filter, limit: int) -> list[Key]:
    """The keys of up to `limit` live rows that pass the filter, in no particular order. port.Rotten as `allowed`."""
    found: list[Key] = []
    for block in view.blocks:
        here = np.flatnonzero(allowed(block, filter_))[: limit - len(found)]
        found += block.rows.column(KEY_COLUMN).take(pa.array(here)).to_pylist()
        if len(found) >= limit:
            break
    return found
