"""Fits a syntax tree to a collection's schema: names become columns, literals get the type of what they meet.

Used by `filters.compile_filter`. The trap is a lossy cast: Arrow would compare Int64 with Float64 in Float64, so a
literal is turned into its column's type here, or refused, and two columns are compared only when their types are
equal. A path into documents has no type of its own: `paths` compares what is there with a literal of any type.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from vectorfleet.schema import CollectionSchema, FieldType
from vectorfleet_node.query.errors import FilterError
from vectorfleet_node.query.filters import expression as ex
from vectorfleet_node.query.filters import paths, syntax
from vectorfleet_node.query.filters.literals import converted, shown
from vectorfleet_node.shard.batch import FIELD_TYPES, KEY_COLUMN

_ELEMENTS: Final = {
    FieldType.STRING_ARRAY: FieldType.STRING,
    FieldType.INT64_ARRAY: FieldType.INT64,
    FieldType.FLOAT64_ARRAY: FieldType.FLOAT64,
}
_FUNCTIONS: Final = {
    "exists": "exists(field)",
    "length": "length(array)",
    "contains": "contains(array, value)",
    "contains_any": "contains_any(array, [values])",
    "contains_all": "contains_all(array, [values])",
}


@dataclass(frozen=True)
class _Value:
    """Something that has a value for each row. text: as an error calls it. path: None unless it is in a document."""

    column: int
    text: str
    kind: FieldType
    expression: ex.Expression
    place: paths.Place | None = None


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
                return self._one_of(self._left(operand, "in"), values)
            case syntax.Like(operand, pattern):
                return self._like(self._left(operand, "like"), pattern)
            case syntax.IsNull(operand):
                return ex.Missing(self._left(operand, "is null").expression)
            case syntax.Flag(operand):
                return self._flag(operand)

    def _type(self, name: syntax.Name) -> FieldType:
        if name.name not in self._types:
            if name.name.lower() == "null":
                raise FilterError(name.column, "nothing compares with null; write `is null` or `is not null`")
            known = ", ".join(self._types)
            raise FilterError(name.column, f"there is no field {name.name!r}; the fields are {known}")
        return self._types[name.name]

    def _value(self, operand: syntax.Name | syntax.Call) -> _Value:
        if isinstance(operand, syntax.Call):
            if operand.function != "length":
                self._check_function(operand)
                raise FilterError(operand.column, f"`{operand.function}` is true or false by itself; compare nothing")
            array = self._array(operand, 1)
            return _Value(operand.column, f"length({array.text})", FieldType.INT64, ex.Length(array.expression))
        kind = self._type(operand)
        if kind is FieldType.JSON:
            place = paths.Place(operand.name, operand.path)
            return _Value(operand.column, operand.name, kind, place.anything, place)
        if operand.path:
            raise FilterError(operand.column, f"{operand.name} is {kind}; only a Json field has paths")
        return _Value(operand.column, operand.name, kind, ex.Column(operand.name))

    def _left(self, operand: syntax.Operand, operator: str) -> _Value:
        if isinstance(operand, syntax.Literal):
            raise FilterError(operand.column, f"left of `{operator}` stands {shown(operand)}; a field has to")
        return self._value(operand)

    def _flag(self, operand: syntax.Operand) -> ex.Expression:
        if isinstance(operand, syntax.Literal):
            raise FilterError(operand.column, f"{shown(operand)} stands alone; compare a field with it")
        if isinstance(operand, syntax.Call) and operand.function != "length":
            return self._predicate(operand)
        value = self._value(operand)
        if value.place is not None:
            return value.place.part("bools")
        if value.kind is not FieldType.BOOL:
            problem = f"{value.text} is {value.kind} and stands alone; compare it with something"
            raise FilterError(value.column, problem + _array_hint(value.kind))
        return value.expression

    def _like(self, value: _Value, pattern: str) -> ex.Expression:
        if value.place is not None:
            return ex.Matches(value.place.part("strings"), pattern)
        if value.kind is not FieldType.STRING:
            raise FilterError(value.column, f"{value.text} is {value.kind}; `like` needs String")
        return ex.Matches(value.expression, pattern)

    def _one_of(self, value: _Value, literals: tuple[syntax.Literal, ...]) -> ex.Expression:
        if value.place is not None:
            return paths.one_of(value.place, literals)
        self._check_scalar(value)
        options = [converted(value.text, value.kind, literal) for literal in literals]
        if 0.0 in options and value.kind is FieldType.FLOAT64:
            options += [0.0, -0.0]  # equal to a comparison, two values to Arrow's set
        return ex.OneOf(value.expression, pa.array(options, FIELD_TYPES[value.kind]))

    def _compare(self, left: syntax.Operand, operator: str, right: syntax.Operand) -> ex.Expression:
        if isinstance(left, syntax.Literal):
            if isinstance(right, syntax.Literal):
                raise FilterError(left.column, f"`{operator}` stands between two constants; one has to be a field")
            return self._with_constant(self._value(right), paths.TURNED[operator], left)
        first = self._value(left)
        if isinstance(right, syntax.Literal):
            return self._with_constant(first, operator, right)
        second = self._value(right)
        for value in (first, second):
            if value.place is not None:
                raise FilterError(value.column, f"{value.text} is Json; it can be compared with constants only")
        self._check_order(first, operator)
        if second.kind is not first.kind:
            needed = f"`{first.text} {operator} {second.text}` needs {first.kind}"
            raise FilterError(second.column, f"{second.text} is {second.kind}; {needed}")
        return ex.Compare(first.expression, operator, second.expression)

    def _with_constant(self, value: _Value, operator: str, literal: syntax.Literal) -> ex.Expression:
        if value.place is not None:
            return paths.compare(value.place, operator, literal)
        self._check_order(value, operator)
        scalar = pa.scalar(converted(value.text, value.kind, literal), FIELD_TYPES[value.kind])
        return ex.Compare(value.expression, operator, ex.Constant(scalar))

    def _check_order(self, value: _Value, operator: str) -> None:
        self._check_scalar(value)
        if value.kind is FieldType.BOOL and operator not in ("==", "!="):
            raise FilterError(value.column, f"{value.text} is Bool; it can be compared by == and !=, not by {operator}")

    def _check_scalar(self, value: _Value) -> None:
        if value.kind in _ELEMENTS:
            problem = f"{value.text} is {value.kind} and is not compared as a whole"
            raise FilterError(value.column, problem + _array_hint(value.kind))

    def _check_function(self, call: syntax.Call) -> None:
        if call.function not in _FUNCTIONS:
            known = ", ".join(_FUNCTIONS.values())
            raise FilterError(call.column, f"there is no function {call.function!r}; the functions are {known}")

    def _predicate(self, call: syntax.Call) -> ex.Expression:
        self._check_function(call)
        if call.function == "exists":
            field = self._argument(call, 1)
            return ex.Negation(ex.Missing(field.expression))
        array = self._array(call, 2)
        given = call.arguments[1]
        if call.function == "contains" and isinstance(given, syntax.Literal):
            given = (given,)
        elif call.function == "contains" or not isinstance(given, tuple):
            raise FilterError(call.column, f"the arguments do not fit; write {_FUNCTIONS[call.function]}")
        kind = _ELEMENTS[array.kind]
        options = [converted(f"an element of {array.text}", kind, literal) for literal in given]
        every = call.function == "contains_all"
        return ex.Contains(array.expression, pa.array(options, FIELD_TYPES[kind]), every)

    def _argument(self, call: syntax.Call, count: int) -> _Value:
        """The field that a function's first argument has to be."""
        if len(call.arguments) != count or not isinstance(call.arguments[0], syntax.Name):
            raise FilterError(call.column, f"the arguments do not fit; write {_FUNCTIONS[call.function]}")
        return self._value(call.arguments[0])

    def _array(self, call: syntax.Call, count: int) -> _Value:
        value = self._argument(call, count)
        if value.kind not in _ELEMENTS:
            allowed = ", ".join(_ELEMENTS)
            raise FilterError(value.column, f"{value.text} is {value.kind}; `{call.function}` needs one of {allowed}")
        return value


def _array_hint(kind: FieldType) -> str:
    return "; there are contains, contains_any, contains_all and length" if kind in _ELEMENTS else ""
