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
from vectorfleet_node.query.filters.expression import Expression, columns_of
from vectorfleet_node.query.filters.syntax import parse
from vectorfleet_node.shard.view import RowsIdentity


@dataclass(frozen=True, eq=False)
class Filter:
    """A compiled filter, equal to itself only. columns: those that it reads, in order."""

    text: str
    expression: Expression
    columns: tuple[str, ...]

    def mask(self, rows: pa.Table, identity: RowsIdentity | None = None) -> NDArray[np.bool_]:
        """(rows,) bool: the rows for which the filter is true (neither false nor null). identity: of these rows."""
        passed: NDArray[np.bool_] = self.expression.values(Source(rows, identity)).fill_null(False).to_numpy()
        return passed


@lru_cache(maxsize=1024)
def compile_filter(text: str, schema: CollectionSchema) -> Filter:
    """The filter `text` over rows of `schema`. FilterError tells the column and what is allowed there."""
    expression = Binder(schema).bind(parse(text))
    return Filter(text, expression, tuple(sorted(columns_of(expression))))
