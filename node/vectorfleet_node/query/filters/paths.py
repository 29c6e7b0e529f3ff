"""Comparisons of what stands at a path of a document with constants; used by `binding`.

A value that is not of the constant's type makes the comparison null. Numbers are Int64 or Float64 by how the document
writes them, and either is compared exactly with whole constants; no Int64 is rounded to be compared with a fraction.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from vectorfleet.schema import FieldType
from vectorfleet_node.query.errors import FilterError
from vectorfleet_node.query.filters import expression as ex
from vectorfleet_node.query.filters.documents import Part, Path
from vectorfleet_node.query.filters.literals import INT64, converted, shown
from vectorfleet_node.query.filters.syntax import Literal

TURNED: Final = {"==": "==", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_ALWAYS: Final = ("<=", INT64[-1])
_NEVER: Final = (">", INT64[-1])


@dataclass(frozen=True)
class Place:
    """A place in the documents of a column."""

    column: str
    path: Path

    @property
    def anything(self) -> ex.Expression:
        """Not null where there is a value that is not null."""
        return self.part("present") if self.path else ex.Column(self.column)

    def part(self, part: Part) -> ex.Expression:
        """The values of one type."""
        return ex.InDocument(self.column, self.path, part)


def compare(place: Place, operator: str, literal: Literal) -> ex.Expression:
    """`place operator literal`. FilterError for an order of true and false, or a number beyond Float64."""
    value = literal.value
    if isinstance(value, bool):
        if operator not in ("==", "!="):
            raise FilterError(literal.column, f"{shown(literal)} can be compared by == and !=, not by {operator}")
        return ex.Compare(place.part("bools"), operator, ex.Constant(pa.scalar(value)))
    if isinstance(value, str):
        return ex.Compare(place.part("strings"), operator, ex.Constant(pa.scalar(value)))
    whole_operator, whole = _whole(operator, value)
    fraction = converted(place.column, FieldType.FLOAT64, literal)
    return ex.First(
        (
            ex.Compare(place.part("ints"), whole_operator, ex.Constant(pa.scalar(whole, pa.int64()))),
            ex.Compare(place.part("floats"), operator, ex.Constant(pa.scalar(fraction, pa.float64()))),
        )
    )


def one_of(place: Place, literals: tuple[Literal, ...]) -> ex.Expression:
    """`place in [literals]`. FilterError unless they are all text, all numbers or all true and false."""
    kinds = {_kind(literal): literal for literal in reversed(literals)}
    if len(kinds) > 1:
        other = next(literal for literal in literals if _kind(literal) != _kind(literals[0]))
        problem = f"the list begins with {shown(literals[0])} and has {shown(other)}; one type is needed"
        raise FilterError(other.column, problem)
    values = [literal.value for literal in literals]
    match next(iter(kinds), None):
        case None:
            return ex.OneOf(place.part("present"), pa.array([], pa.bool_()))
        case FieldType.STRING:
            return ex.OneOf(place.part("strings"), pa.array(values, pa.string()))
        case FieldType.BOOL:
            return ex.OneOf(place.part("bools"), pa.array(values, pa.bool_()))
    wholes = [int(value) for value in values if value == int(value) and int(value) in INT64]
    fractions = [converted(place.column, FieldType.FLOAT64, literal) for literal in literals]
    fractions += [0.0, -0.0] if 0.0 in fractions else []
    return ex.First(
        (
            ex.OneOf(place.part("ints"), pa.array(wholes, pa.int64())),
            ex.OneOf(place.part("floats"), pa.array(fractions, pa.float64())),
        )
    )


def _kind(literal: Literal) -> FieldType:
    if isinstance(literal.value, bool):
        return FieldType.BOOL
    return FieldType.STRING if isinstance(literal.value, str) else FieldType.FLOAT64


def _whole(operator: str, value: float) -> tuple[str, int]:
    """The comparison with an Int64 that has the same outcome for every Int64."""
    below, above = math.floor(value), math.ceil(value)
    if below == above and below in INT64:
        return operator, below
    match operator:
        case "==" | "!=":
            return _ALWAYS if operator == "!=" else _NEVER
        case "<" | "<=":
            return ("<=", below) if below in INT64 else (_ALWAYS if below > 0 else _NEVER)
        case _:
            return (">=", above) if above in INT64 else (_ALWAYS if above < 0 else _NEVER)
