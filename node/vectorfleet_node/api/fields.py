"""Payload columns of the wire to Arrow and back; pure. Used by `validate` (what comes in) and `rows` (what goes out).

A column of the wire is one of several lists, by its type; `slots` is that list, one entry a row. The traps: the slot of
a null holds something all the same, and an array without elements does not tell of what type they would be. A Json
value is parsed here once, so that whatever reads it later may rely on it; it is stored as the text that was given.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import pyarrow as pa
from pydantic_core import from_json

from vectorfleet.schema import FieldSchema, FieldType
from vectorfleet.v1 import vectorfleet_pb2 as pb
from vectorfleet_node.api.errors import invalid
from vectorfleet_node.shard.batch import FIELD_TYPES

MAX_JSON_BYTES: Final = 65_536
MAX_JSON_DEPTH: Final = 64
_LISTS: Final = {
    FieldType.STRING: "strings",
    FieldType.INT64: "ints",
    FieldType.FLOAT64: "doubles",
    FieldType.BOOL: "bools",
    FieldType.STRING_ARRAY: "string_arrays",
    FieldType.INT64_ARRAY: "int_arrays",
    FieldType.FLOAT64_ARRAY: "double_arrays",
    FieldType.JSON: "jsons",
}
_EMPTY: Final[dict[str, Any]] = {"strings": "", "ints": 0, "doubles": 0.0, "bools": False, "jsons": "null"} | {
    name: [] for name in ("string_arrays", "int_arrays", "double_arrays")
}
_ARRAYS: Final[dict[str, Callable[[list[Any]], Any]]] = {
    "string_arrays": lambda values: pb.StringValues(values=values),
    "int_arrays": lambda values: pb.Int64Values(values=values),
    "double_arrays": lambda values: pb.DoubleValues(values=values),
}


def slots(column: pb.FieldColumn) -> Any:
    """The list of the column's values, one a row, null or not; empty when the column says of no type."""
    name = column.WhichOneof("values")
    return _list(column, name) if name else []


def like(column: pb.FieldColumn, source: pb.FieldColumn) -> Any:
    """The empty list that `column` gets for values as `source` has them."""
    name = source.WhichOneof("values")
    getattr(column, name).SetInParent()
    return _list(column, name)


def field_array(column: pb.FieldColumn, schema: FieldSchema, rows: int) -> pa.Array:
    """The (rows,) values of one field that a client sent, in `batch.FIELD_TYPES`. Refused when they do not fit it."""
    field = f"rows.fields[{schema.name}]"
    name, given = _LISTS[schema.type], column.WhichOneof("values")
    values = slots(column)
    if given != name and not (name in _ARRAYS and given in _ARRAYS and not any(each.values for each in values)):
        raise invalid(field, f"values are {given or 'absent'}; a {schema.type} field takes {name}")
    if len(values) != rows:
        raise invalid(field, f"has {len(values)} values; {rows} rows need {rows}")
    if column.valid and len(column.valid) != rows:
        raise invalid(f"{field}.valid", f"has {len(column.valid)} entries; none or {rows} are needed")
    plain: list[Any] = [list(each.values) for each in values] if name in _ARRAYS else list(values)
    kept = [value if valid else None for value, valid in zip(plain, column.valid or [True] * rows, strict=True)]
    if schema.type is FieldType.JSON:
        kept = [None if text is None else _document(text, field, row) for row, text in enumerate(kept)]
    return pa.array(kept, type=FIELD_TYPES[schema.type])


def add_field(rows: pb.Rows, name: str, kind: FieldType, values: pa.ChunkedArray) -> None:
    """Adds a field's values to rows that are answered."""
    column, where = rows.fields.add(name=name), _LISTS[kind]
    getattr(column, where).SetInParent()
    plain = values.to_pylist()
    if values.null_count:
        column.valid.extend(value is not None for value in plain)
        plain = [_EMPTY[where] if value is None else value for value in plain]
    if make := _ARRAYS.get(where):
        getattr(column, where).rows.extend(make(value) for value in plain)
    else:
        getattr(column, where).values.extend(plain)


def _list(column: pb.FieldColumn, name: str) -> Any:
    container = getattr(column, name)
    return container.rows if name in _ARRAYS else container.values


def _document(text: str, field: str, row: int) -> str | None:
    """The text when it is a JSON document within bounds; None for `null`, which is the field's null."""
    if (size := len(text.encode())) > MAX_JSON_BYTES:
        raise invalid(field, f"row {row} has a document of {size} bytes; at most {MAX_JSON_BYTES} are allowed", row)
    try:
        document = from_json(text, allow_inf_nan=False)
    except ValueError as error:
        raise invalid(field, f"row {row} has {text[:40]!r}, which is not JSON: {error}", row) from None
    level: Sequence[Any] = [document]
    for _ in range(MAX_JSON_DEPTH + 1):
        for value in level:
            if type(value) in (int, float) and not _finite(value):
                raise invalid(field, f"row {row} has a number beyond the range of Float64", row)
        nested = [value for value in level if isinstance(value, dict | list)]
        if not nested:
            return None if document is None else text
        level = [each for value in nested for each in (value.values() if isinstance(value, dict) else value)]
    raise invalid(field, f"row {row} has a document nested more than {MAX_JSON_DEPTH} deep", row)


def _finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number of hundreds of digits
        return False
