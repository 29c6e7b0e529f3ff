"""Fits a syntax tree to a collection's schema: names become columns, literals get the type of what they meet.

Used by `filters.compile_filter`. The trap is a lossy cast: Arrow would compare Int64 with Float64 in Float64, so a
literal is turned into its column's type here, or refused, and two columns are compared only when their types are
equal.
"""

from __future__ import annotations

import json
from typing import Final

import pyarrow as pa

from vectorfleet.schema import CollectionSchema, FieldType
from vectorfleet_node.query.errors import FilterError
from vectorfleet_node.query.filters import expression as ex
from vectorfleet_node.query.filters import syntax
from vectorfleet_node.shard.batch import KEY_COLUMN

_ARROW: Final = {
    FieldType.STRING: pa.string(),
    FieldType.INT64: pa.int64(),
    FieldType.FLOAT64: pa.float64(),
    FieldType.BOOL: pa.bool_(),
}
_SHOWN: Final = 40  # characters of a literal that an error repeats
_INT64: Final = range(-(2**63), 2**63)


class Binder:
    """Binds trees to one schema."""

    def __init__(self, schema: CollectionSchema) -> None:
        self._types = {KEY_COLUMN: FieldType(schema.key.value)} | {field.name: field.type for field in schema.fields}

    def bind(self, node: syntax.Node) -> ex.Expression:
        """The expression of a tree. FilterError names the column of what does not fit."""
        match node:
            case syntax.Junction(conjunction, terms):
                bound = tuple(self.bind(term) for term in terms)
                return ex.All(bound) if conjunction else ex.Either(bound)
            case syntax.Not(term):
                return ex.Negation(self.bind(term))
            case syntax.Comparison(operands, operators):
                pairs = zip(operands, operators, operands[1:], strict=False)
                links = tuple(self._compare(left, operator, right) for left, operator, right in pairs)
                return links[0] if len(links) == 1 else ex.All(links)
            case syntax.Membership(operand, values):
                return self._one_of(self._field(operand, "in"), values)
            case syntax.Like(operand, pattern):
                name = self._field(operand, "like")
                self._require(name, FieldType.STRING, "like")
                return ex.Matches(ex.Column(name.name), pattern)
            case syntax.IsNull(operand):
                return ex.Missing(ex.Column(self._field(operand, "is null").name))
            case syntax.Flag(operand):
                return self._flag(operand)

    def _type(self, name: syntax.Name) -> FieldType:
        if name.name not in self._types:
            if name.name.lower() == "null":
                raise FilterError(name.column, "nothing compares with null; write `is null` or `is not null`")
            known = ", ".join(self._types)
            raise FilterError(name.column, f"there is no field {name.name!r}; the fields are {known}")
        return self._types[name.name]

    def _field(self, operand: syntax.Operand, operator: str) -> syntax.Name:
        if isinstance(operand, syntax.Literal):
            raise FilterError(operand.column, f"left of `{operator}` stands {_shown(operand)}; a field has to")
        self._type(operand)
        return operand

    def _require(self, name: syntax.Name, wanted: FieldType, what: str) -> None:
        if self._type(name) is not wanted:
            raise FilterError(name.column, f"{name.name} is {self._type(name)}; `{what}` needs {wanted}")

    def _flag(self, operand: syntax.Operand) -> ex.Expression:
        if isinstance(operand, syntax.Literal):
            raise FilterError(operand.column, f"{_shown(operand)} stands alone; compare a field with it")
        if self._type(operand) is not FieldType.BOOL:
            problem = f"{operand.name} is {self._type(operand)} and stands alone; compare it with something"
            raise FilterError(operand.column, problem)
        return ex.Column(operand.name)

    def _one_of(self, name: syntax.Name, values: tuple[syntax.Literal, ...]) -> ex.Expression:
        kind = self._type(name)
        options = [_converted(name.name, kind, value) for value in values]
        if 0.0 in options and kind is FieldType.FLOAT64:
            options += [0.0, -0.0]  # equal to a comparison, two values to Arrow's set
        return ex.OneOf(ex.Column(name.name), pa.array(options, _ARROW[kind]))

    def _compare(self, left: syntax.Operand, operator: str, right: syntax.Operand) -> ex.Expression:
        match left, right:
            case syntax.Name(), syntax.Name():
                self._check_order(left, operator)
                self._require(right, self._type(left), f"{left.name} {operator} {right.name}")
                return ex.Compare(ex.Column(left.name), operator, ex.Column(right.name))
            case syntax.Name(), syntax.Literal():
                return ex.Compare(ex.Column(left.name), operator, self._constant(left, operator, right))
            case syntax.Literal(), syntax.Name():
                return ex.Compare(self._constant(right, operator, left), operator, ex.Column(right.name))
            case _:
                raise FilterError(left.column, f"`{operator}` stands between two constants; one has to be a field")

    def _constant(self, name: syntax.Name, operator: str, literal: syntax.Literal) -> ex.Expression:
        self._check_order(name, operator)
        kind = self._type(name)
        return ex.Constant(pa.scalar(_converted(name.name, kind, literal), _ARROW[kind]))

    def _check_order(self, name: syntax.Name, operator: str) -> None:
        if self._type(name) is FieldType.BOOL and operator not in ("==", "!="):
            raise FilterError(name.column, f"{name.name} is Bool; it can be compared by == and !=, not by {operator}")


def _shown(literal: syntax.Literal) -> str:
    text = json.dumps(literal.value, ensure_ascii=False)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _converted(name: str, kind: FieldType, literal: syntax.Literal) -> bool | int | float | str:
    """The literal's value in type `kind`. FilterError when that would change it (an int may round to Float64)."""
    value = literal.value
    if kind is FieldType.BOOL and isinstance(value, bool):
        return value
    if kind is FieldType.STRING and isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        if kind is FieldType.FLOAT64 and abs(value) <= 1.7e308:
            return float(value)
        if kind is FieldType.INT64 and value == int(value):
            if int(value) in _INT64:
                return int(value)
            raise FilterError(literal.column, f"{name} is Int64; {_shown(literal)} is out of its range")
    raise FilterError(literal.column, f"{name} is {kind} and cannot be compared with {_shown(literal)}")
