"""Leaves of a filter that ask the index of their field, where a block has one. Used by `filters.compile_filter`.

Each holds the plain expression that it stands for, and has exactly its values: nulls stay nulls, under `not` too. The
plain one is evaluated where there is no index (growing rows, older segments) and where that is quicker: a range with a
large part of the numbers is a scan of the column, in order, against a walk over the rows in the order of their values.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
import pyarrow as pa

from vectorfleet_node.query.filters.documents import Source
from vectorfleet_node.query.filters.expression import (
    All,
    Column,
    Compare,
    Constant,
    Contains,
    Either,
    Expression,
    Matches,
    Missing,
    Negation,
    OneOf,
    Values,
)
from vectorfleet_node.storage.fieldindex import FieldIndex, Rows, Span, Texts, Value

_DENSE: Final = 4  # numbers are scanned when more than this part of the rows would have to be walked over
_LOOKED_UP: Final = (16, 5_000)  # constants: so many, or one for so many rows, which are scanned in the same time


@dataclass(frozen=True)
class InRange:
    """A comparison of the field with constants (== < <= > >=), or several that all have to hold."""

    name: str
    plain: Expression
    bounds: tuple[tuple[str, Value], ...]
    inverted: bool = False  # for !=

    def values(self, rows: Source) -> Values:
        """See Expression."""
        index = rows.indexes.get(self.name)
        if index is None or _too_many(self.bounds, index):
            return self.plain.values(rows)
        starts, stops = zip(*(index.span(*bound) for bound in self.bounds), strict=True)
        spans = _disjoint([(max(starts), min(stops))])
        size = _size(spans)
        if not isinstance(index.values, Texts) and min(size, index.entries - size) * _DENSE > index.rows:
            return self.plain.values(rows)
        return _marked(index, spans, self.inverted)


@dataclass(frozen=True)
class AnyOf:
    """Whether the field has one of several values."""

    name: str
    plain: Expression
    options: tuple[Value, ...]

    def values(self, rows: Source) -> Values:
        """See Expression."""
        index = rows.indexes.get(self.name)
        if index is None or _too_many(self.options, index):
            return self.plain.values(rows)
        return _marked(index, _disjoint(index.span("==", option) for option in self.options), False)


@dataclass(frozen=True)
class BeginsWith:
    """Whether a string begins so."""

    name: str
    plain: Expression
    prefix: bytes

    def values(self, rows: Source) -> Values:
        """See Expression."""
        index = rows.indexes.get(self.name)
        if index is None:
            return self.plain.values(rows)
        return _marked(index, _disjoint([index.span_of_prefix(self.prefix)]), False)


@dataclass(frozen=True)
class Holds:
    """Whether an array has one of the options, or every one of them."""

    name: str
    plain: Expression
    options: tuple[Value, ...]
    every: bool

    def values(self, rows: Source) -> Values:
        """See Expression."""
        index = rows.indexes.get(self.name)
        if index is None or not self.options or _too_many(self.options, index):
            return self.plain.values(rows)
        spans = [index.span("==", option) for option in self.options]
        if not self.every:
            return _booleans(index, index.rows_of(spans), False)
        fewest, *rest = sorted(spans, key=lambda span: span[1] - span[0])
        marked = index.rows_of([fewest])
        for span in rest:
            marked = _both(marked, index.rows_of([span]), index.rows) if len(marked) else marked
        return _booleans(index, marked, False)


@dataclass(frozen=True)
class Absent:
    """Whether the field is null."""

    name: str
    plain: Expression

    def values(self, rows: Source) -> Values:
        """See Expression."""
        index = rows.indexes.get(self.name)
        if index is None:
            return self.plain.values(rows)
        valid = np.full(-(-index.rows // 8), 255, np.uint8) if index.valid is None else index.valid
        return pa.chunked_array([pa.Array.from_buffers(pa.bool_(), index.rows, [None, pa.py_buffer(~valid)])])


def through_indexes(expression: Expression) -> Expression:
    """The expression with leaves that ask indexes, where it has any that can."""
    match expression:
        case Compare(Column(name), operator, Constant(scalar)) if not pa.types.is_boolean(scalar.type):
            bound = "==" if operator == "!=" else operator, _value(scalar.as_py())
            return InRange(name, expression, (bound,), inverted=operator == "!=")
        case OneOf(Column(name), options) if not pa.types.is_boolean(options.type):
            return AnyOf(name, expression, _values(options))
        case Contains(Column(name), options, every):
            return Holds(name, expression, _values(options), every)
        case Missing(Column(name)):
            return Absent(name, expression)
        case Matches(Column(name), pattern) if not set(pattern.rstrip("%")) & set("%_\\"):
            prefix = pattern.rstrip("%").encode()
            return BeginsWith(name, expression, prefix) if pattern.endswith("%") else AnyOf(name, expression, (prefix,))
        case Negation(term):
            return Negation(through_indexes(term))
        case Either(terms):
            return Either(tuple(map(through_indexes, terms)))
        case All(terms):
            return All(_joined(map(through_indexes, terms)))
    return expression


def _joined(terms: Iterable[Expression]) -> tuple[Expression, ...]:
    """Ranges of one field as one: each alone may have most of the rows."""
    others: list[Expression] = []
    ranges: dict[str, list[InRange]] = {}
    for term in terms:
        if isinstance(term, InRange) and not term.inverted:
            ranges.setdefault(term.name, []).append(term)
        else:
            others.append(term)
    whole = (
        InRange(name, All(tuple(one.plain for one in found)), tuple(bound for one in found for bound in one.bounds))
        for name, found in ranges.items()
    )
    return (*whole, *others)


def _value(value: Any) -> Value:
    plain: Value = value.encode() if isinstance(value, str) else value
    return plain


def _values(options: pa.Array) -> tuple[Value, ...]:
    return tuple(map(_value, options.to_pylist()))


def _too_many(constants: Sequence[object], index: FieldIndex) -> bool:
    at_least, for_each = _LOOKED_UP
    return len(constants) > max(at_least, index.rows // for_each)


def _disjoint(spans: Iterable[Span]) -> list[Span]:
    """Spans of entries of different values, each once, in order, without empty ones."""
    return sorted({(start, stop) for start, stop in spans if start < stop})


def _others(spans: list[Span], index: FieldIndex) -> list[Span]:
    """All other entries."""
    ends = [(0, 0), *spans, (index.entries, index.entries)]
    return _disjoint((before[1], after[0]) for before, after in pairwise(ends))


def _size(spans: list[Span]) -> int:
    return sum(stop - start for start, stop in spans)


def _marked(index: FieldIndex, spans: list[Span], inverted: bool) -> Values:
    """True for the rows of disjoint `spans`, or with `inverted` for all others; works it out from the smaller part."""
    if 2 * _size(spans) > index.entries:
        return _booleans(index, index.rows_of(_others(spans, index)), not inverted)
    return _booleans(index, index.rows_of(spans), inverted)


def _both(some: Rows, others: Rows, rows: int) -> Rows:
    here = np.zeros(rows, np.bool_)
    here[some] = True
    return others[here[others]]


def _booleans(index: FieldIndex, marked: Rows, others: bool) -> Values:
    """(rows,) true for the marked rows, or for all others; null where the field is."""
    mask = np.full(index.rows, others, np.bool_)
    mask[marked] = not others
    bits = pa.py_buffer(np.packbits(mask, bitorder="little"))
    valid = None if index.valid is None else pa.py_buffer(index.valid)
    return pa.chunked_array([pa.Array.from_buffers(pa.bool_(), index.rows, [valid, bits])])
