"""Constants of a filter: how an error shows them, and as values of a type. Used by `binding` and `paths`."""

from __future__ import annotations

import json
from typing import Final

from vectorfleet.schema import FieldType
from vectorfleet_node.query.errors import FilterError
from vectorfleet_node.query.filters.syntax import Literal

INT64: Final = range(-(2**63), 2**63)
_MAX_FLOAT: Final = 1.7e308
_SHOWN: Final = 40  # characters of a literal that an error repeats


def shown(literal: Literal) -> str:
    """The literal as an error repeats it."""
    text = json.dumps(literal.value, ensure_ascii=False)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def converted(name: str, kind: FieldType, literal: Literal) -> bool | int | float | str:
    """The literal's value in type `kind`. FilterError when that would change it (an int may round to Float64)."""
    value = literal.value
    if kind is FieldType.BOOL and isinstance(value, bool):
        return value
    if kind is FieldType.STRING and isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        if kind is FieldType.FLOAT64 and abs(value) <= _MAX_FLOAT:
            return float(value)
        if kind is FieldType.INT64 and value == int(value):
            if int(value) in INT64:
                return int(value)
            raise FilterError(literal.column, f"{name} is Int64; {shown(literal)} is out of its range")
    raise FilterError(literal.column, f"{name} is {kind} and cannot be compared with {shown(literal)}")
