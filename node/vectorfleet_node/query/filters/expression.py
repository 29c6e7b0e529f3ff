"""A filter that fits its schema, as expressions over Arrow columns. Made by `binding`, evaluated per block of rows.

Logic is three-valued, as in SQL: what is compared with a null is null, `not` of null is null, and only true passes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import Any, Final, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from vectorfleet_node.query.filters.documents import Part, Path, Source

Values = Any  # pa.ChunkedArray, or pa.Scalar for a literal; pyarrow has no types of its own
_COMPARE: Final[dict[str, Callable[[Values, Values], Values]]] = {
    "==": pc.equal,
    "!=": pc.not_equal,
    "<": pc.less,
    "<=": pc.less_equal,
    ">": pc.greater,
    ">=": pc.greater_equal,
}


class Expression(Protocol):
    """Something with a value for each row."""

    def values(self, rows: Source) -> Values:
        """The values for `rows`: a chunked array as long as their table, or a scalar."""


@dataclass(frozen=True)
class Column:
    """A column of the table."""

    name: str

    def values(self, rows: Source) -> Values:
        """See Expression."""
        return rows.column(self.name)


@dataclass(frozen=True)
class InDocument:
    """What stands at a path of a column of JSON documents, if it is of one type; null otherwise."""

    name: str
    path: Path
    part: Part

    def values(self, rows: Source) -> Values:
        """See Expression."""
        return rows.found(self.name, self.path).part(self.part)


@dataclass(frozen=True)
class Constant:
    """A literal in the type of what it is compared with."""

    scalar: pa.Scalar

    def values(self, rows: Source) -> Values:
        """See Expression."""
        return self.scalar


@dataclass(frozen=True)
class Compare:
    """A comparison of two values of one type."""

    left: Expression
    operator: str
    right: Expression

    def values(self, rows: Source) -> Values:
        """See Expression."""
        return _COMPARE[self.operator](self.left.values(rows), self.right.values(rows))


@dataclass(frozen=True)
class OneOf:
    """Whether the value is in a set without nulls; null for null, where Arrow says false."""

    operand: Expression
    options: pa.Array

    def values(self, rows: Source) -> Values:
        """See Expression."""
        operand = self.operand.values(rows)
        return pc.if_else(pc.is_valid(operand), pc.is_in(operand, value_set=self.options), None)


@dataclass(frozen=True)
class First:
    """The first of several values that is not null."""

    terms: tuple[Expression, ...]

    def values(self, rows: Source) -> Values:
        """See Expression."""
        return pc.coalesce(*(term.values(rows) for term in self.terms))


@dataclass(frozen=True)
class Length:
    """How many elements an array has, as int64; null for null."""

    operand: Expression

    def values(self, rows: Source) -> Values:
        """See Expression."""
        return pc.list_value_length(self.operand.values(rows)).cast(pa.int64())


@dataclass(frozen=True)
class Contains:
    """Whether an array has one of the options, or every one of them; null for null.

    options: without nulls, in the type of the elements. Both zeros are equal.
    """

    operand: Expression
    options: pa.Array
    every: bool

    def values(self, rows: Source) -> Values:
        """See Expression."""
        options = pc.unique(_one_zero(self.options))
        chunks = [self._of(chunk, options) for chunk in self.operand.values(rows).chunks]
        return pa.chunked_array(chunks, pa.bool_())

    def _of(self, lists: pa.Array, options: pa.Array) -> pa.Array:
        lengths = pc.list_value_length(lists).fill_null(0).to_numpy(zero_copy_only=False)
        found = pc.index_in(_one_zero(lists.flatten()), options)
        here = found.is_valid().to_numpy(zero_copy_only=False)
        row_of: NDArray[np.int64] = np.repeat(np.arange(len(lists)), lengths)[here]
        if self.every:  # an option counts once, however often a row has it
            pairs = np.unique(row_of * max(len(options), 1) + found.drop_null().to_numpy())
            row_of = pairs // max(len(options), 1)
        enough = np.bincount(row_of, minlength=len(lists)) >= (len(options) if self.every else 1)
        return pa.array(enough, mask=lists.is_null().to_numpy(zero_copy_only=False))


def _one_zero(values: pa.Array) -> pa.Array:
    return pc.add(values, 0.0) if pa.types.is_floating(values.type) else values


@dataclass(frozen=True)
class Matches:
    """SQL's LIKE."""

    operand: Expression
    pattern: str

    def values(self, rows: Source) -> Values:
        """See Expression."""
        return pc.match_like(self.operand.values(rows), self.pattern)


@dataclass(frozen=True)
class Missing:
    """Whether the value is null; never null itself."""

    operand: Expression

    def values(self, rows: Source) -> Values:
        """See Expression."""
        return pc.is_null(self.operand.values(rows))


@dataclass(frozen=True)
class Negation:
    """True for false, false for true, null for null."""

    term: Expression

    def values(self, rows: Source) -> Values:
        """See Expression."""
        return pc.invert(self.term.values(rows))


@dataclass(frozen=True)
class All:
    """True when each term is, false when one is false."""

    terms: tuple[Expression, ...]

    def values(self, rows: Source) -> Values:
        """See Expression."""
        return reduce(pc.and_kleene, (term.values(rows) for term in self.terms))


@dataclass(frozen=True)
class Either:
    """True when a term is, false when each is false."""

    terms: tuple[Expression, ...]

    def values(self, rows: Source) -> Values:
        """See Expression."""
        return reduce(pc.or_kleene, (term.values(rows) for term in self.terms))
