"""Reading rows of a view: by place (for `search`) and by key (for the API layer's Get and Count).

Whatever leaves for a caller passes `gather`, and there the blocks of the files that it is read from are verified: a
disk may have changed them since they were opened. Then nothing is answered but port.Rotten.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vectorfleet.schema import CollectionSchema
from vectorfleet_node.query.filters import Filter
from vectorfleet_node.query.filters.masks import mask_of
from vectorfleet_node.query.model import Floats, Hits, Rows
from vectorfleet_node.shard.batch import KEY_COLUMN, arrow_schema, field_column
from vectorfleet_node.shard.view import Key, RowBlock, ShardView

Places = NDArray[np.int64]
_Parts = list[tuple[int, slice | Places]]  # each block that occurs, with an index to where it does; a slice: everywhere
_NO_FIELDS: Final = pa.table({})


def get_rows(
    view: ShardView, schema: CollectionSchema, keys: list[Key], output_fields: tuple[str, ...], include_vectors: bool
) -> Rows:
    """The live rows of `keys`, in the order asked; absent keys are left out."""
    found = [place for place in view.locate(keys) if place is not None]
    places = np.array(found, np.int64).reshape(-1, 2)
    return gather(view, schema, places[:, 0], places[:, 1], output_fields, include_vectors)


def count(view: ShardView, filter_: Filter | None) -> int:
    """How many live rows pass the filter (None: all)."""
    return sum(block.live_rows if filter_ is None else int(allowed(block, filter_).sum()) for block in view.blocks)


def allowed(block: RowBlock, filter_: Filter | None) -> NDArray[np.bool_]:
    """(rows,) bool: live and passing the filter. port.Rotten when a column that the filter reads is damaged."""
    if filter_ is None:
        return block.live
    return block.live & mask_of(block, filter_)


def gather(
    view: ShardView,
    schema: CollectionSchema,
    blocks: Places,
    rows: Places,
    output_fields: tuple[str, ...],
    include_vectors: bool,
    scored: tuple[str, ...] = (),
) -> Rows:
    """The rows at (blocks[i], rows[i]), in that order. Touches only these rows of the blocks.

    scored: vectors that the rows' scores were made of, verified also when they are not returned.
    """
    vectors = {
        vector.name: np.empty((len(rows), vector.dimensions), np.float32)
        for vector in (schema.vectors if include_vectors else ())
    }
    parts = _by_block(blocks)
    for number, here in parts:
        block = view.blocks[number]
        block.verify(rows[here], output_fields, {*vectors, *scored})
        for name, values in vectors.items():
            values[here] = block.vectors[name][rows[here]]
    fields = _NO_FIELDS
    if output_fields:
        fields = pa.Table.from_arrays(_columns(view, schema, parts, rows, output_fields), list(output_fields))
    return Rows(_keys(view, parts, rows), fields, vectors)


def keys_of(view: ShardView, blocks: Places, rows: Places) -> list[Key]:
    """The keys of the rows at (blocks[i], rows[i])."""
    return _keys(view, _by_block(blocks), rows)


def _by_block(blocks: Places) -> _Parts:
    if len(blocks) and (blocks == blocks[0]).all():
        return [(int(blocks[0]), slice(None))]
    return [(number, np.flatnonzero(blocks == number)) for number in sorted(set(blocks.tolist()))]


def _keys(view: ShardView, parts: _Parts, rows: Places) -> list[Key]:
    taken = [_taken_keys(view.blocks[number].rows.column(KEY_COLUMN), rows[here]) for number, here in parts]
    if len(taken) == 1:
        return taken[0]
    keys = np.empty(len(rows), object)
    for (_, here), part in zip(parts, taken, strict=True):
        keys[here] = part
    found: list[Key] = keys.tolist()
    return found


def _taken_keys(column: pa.ChunkedArray, rows: Places) -> list[Key]:
    """As Python values. Arrow's price is by the call, and a chunked column is the dearest to take few rows from."""
    values = column.chunk(0) if column.num_chunks == 1 else column
    if isinstance(values, pa.Int64Array):
        numbers: list[Key] = values.to_numpy()[rows].tolist()
        return numbers
    taken: list[Key] = values.take(pa.array(rows)).to_pylist()
    return taken


def hits_between(found: Rows, scores: Floats, start: int, end: int) -> Hits:
    """Rows `start` to `end` (exclusive) of what was found for several queries, with their scores: one query's hits."""
    vectors = {name: values[start:end] for name, values in found.vectors.items()}
    count = end - start
    fields = found.fields.slice(start, count) if found.fields.num_columns else found.fields
    return Hits(found.keys[start:end], fields, vectors, scores[start:end])


def _columns(
    view: ShardView, schema: CollectionSchema, parts: _Parts, rows: Places, names: tuple[str, ...]
) -> list[pa.Array]:
    """The named columns of the rows, in the order of `rows`: one take per block and column, for pyarrow's price is by
    the call when rows are few.
    """
    if not parts:
        columns = arrow_schema(schema)
        return [pa.array([], columns.field(name if name == KEY_COLUMN else field_column(name)).type) for name in names]
    wanted = [(view.blocks[number].rows, pa.array(rows[here])) for number, here in parts]
    taken = [[_flat(table.column(name).take(places)) for table, places in wanted] for name in names]
    if len(parts) == 1:
        return [column for [column] in taken]
    back = pa.array(np.argsort(np.concatenate([here for _, here in parts])))
    return [pa.concat_arrays(columns).take(back) for columns in taken]


def _flat(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
