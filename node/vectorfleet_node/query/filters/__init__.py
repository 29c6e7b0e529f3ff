"""Filters over keys and payload fields: parsed, fitted to the schema, compiled once. docs/filters.md has the
language."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vectorfleet.schema import CollectionSchema
from vectorfleet_node.query.filters.binding import Binder
from vectorfleet_node.query.filters.documents import Source
from vectorfleet_node.query.filters.expression import Expression
from vectorfleet_node.query.filters.indexed import through_indexes
from vectorfleet_node.query.filters.syntax import parse


@dataclass(frozen=True, eq=False)
class Filter:
    """A compiled filter, equal to itself only."""

    text: str
    expression: Expression

    def mask(self, rows: Source) -> NDArray[np.bool_]:
        """(rows,) bool: the rows for which the filter is true (neither false nor null).

        Raises what `rows` does where a column, or an index, is damaged.
        """
        masks = [_unpacked(chunk) for chunk in self.expression.values(rows).chunks]
        return masks[0] if len(masks) == 1 else np.concatenate([np.empty(0, np.bool_), *masks])


@lru_cache(maxsize=1024)
def compile_filter(text: str, schema: CollectionSchema) -> Filter:
    """The filter `text` over rows of `schema`. FilterError tells the column and what is allowed there."""
    return Filter(text, through_indexes(Binder(schema).bind(parse(text))))


def _unpacked(bits: pa.BooleanArray) -> NDArray[np.bool_]:
    """Which are true, neither false nor null. Arrow's own `fill_null` and `to_numpy` take ten times as long."""
    if not len(bits):
        return np.empty(0, np.bool_)
    valid, values = (buffer and np.frombuffer(buffer, np.uint8) for buffer in bits.buffers())
    end = bits.offset + len(bits)
    size = -(-end // 8)
    true = values[:size] if valid is None else values[:size] & valid[:size]
    return np.unpackbits(true, count=end, bitorder="little")[bits.offset :].view(np.bool_)
