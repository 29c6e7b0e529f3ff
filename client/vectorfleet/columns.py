"""Python and numpy values to the columns of the wire, and back.

Vectors travel as packed little-endian float32, fields as typed columns with a validity list only where there are nulls.
Used by requests.py, replies.py and testing.py. Errors are InvalidArgument and name the column and the row.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vectorfleet.errors import InvalidArgument
from vectorfleet.partition import Key
from vectorfleet.v1 import vectorfleet_pb2 as pb

INT64 = np.iinfo(np.int64)
_ARRAYS: dict[type, tuple[str, type, type]] = {
    str: ("string_arrays", pb.StringArrays, pb.StringValues),
    int: ("int_arrays", pb.Int64Arrays, pb.Int64Values),
    float: ("double_arrays", pb.DoubleArrays, pb.DoubleValues),
}
_CONTAINERS: dict[type, tuple[str, type, Any]] = {
    str: ("strings", pb.StringValues, ""),
    bool: ("bools", pb.BoolValues, False),
    int: ("ints", pb.Int64Values, 0),
    float: ("doubles", pb.DoubleValues, 0.0),
}


def pack_keys(keys: Sequence[Key] | NDArray[Any]) -> pb.Keys:
    """Keys as they travel: all text, or all whole numbers that fit 64 bits."""
    values = keys.tolist() if isinstance(keys, np.ndarray) else [_plain(key) for key in keys]
    if not values:
        return pb.Keys()
    kind = type(values[0])
    if kind not in (str, int):
        raise InvalidArgument(f"keys[0] is {values[0]!r}, a {kind.__name__}; keys are text or whole numbers")
    for row, value in enumerate(values):
        if type(value) is not kind:
            raise InvalidArgument(f"keys[{row}] is {value!r}, but keys[0] is a {kind.__name__}: one type for all keys")
    if kind is str:
        return pb.Keys(strings=values)
    _check_int64("keys", values)
    return pb.Keys(ints=values)


def unpack_keys(keys: pb.Keys) -> list[Key]:
    """Keys of a reply."""
    return list(keys.strings) or list(keys.ints)


def matrix(vectors: ArrayLike, name: str = "vectors") -> NDArray[np.float32]:
    """`vectors` as float32 of shape (rows, dimensions), C order; a single vector becomes one row."""
    try:
        array = np.asarray(vectors, dtype="<f4", order="C")
    except (ValueError, TypeError) as error:
        raise InvalidArgument(f"{name} is not a table of numbers: {error}") from error
    if array.ndim == 1:
        array = array.reshape(1, -1)
    if array.ndim != 2 or not array.shape[1]:
        raise InvalidArgument(f"{name} has shape {array.shape}; expected (rows, dimensions)")
    return array


def pack_vectors(name: str, array: NDArray[np.float32]) -> pb.VectorColumn:
    """One named vector of each row; `array` as `matrix` returns it."""
    return pb.VectorColumn(name=name, dimensions=array.shape[1], data=array.tobytes())


def unpack_vectors(columns: Iterable[pb.VectorColumn]) -> dict[str, NDArray[np.float32]]:
    """Named vectors of a reply, each float32 of shape (rows, dimensions), read-only views of the reply's bytes."""
    return {
        column.name or "default": np.frombuffer(column.data, dtype="<f4").reshape(-1, column.dimensions)
        for column in columns
    }


@dataclass(frozen=True)
class Json:
    """A JSON document that is no object, for a Json field: `Json([1, "a"])`. A dict needs no wrapping."""

    value: Any


def pack_field(name: str, values: Sequence[Any] | NDArray[Any]) -> pb.FieldColumn | None:
    """A typed column; None when every value is null, which is what leaving a field out means.

    Lists become arrays, dicts and `Json` become JSON documents. A list without elements fits any type of array.
    """
    plain = [_plain(value) for value in values]
    kinds = {type(value) for value in plain if value is not None}
    if not kinds:
        return None
    column = pb.FieldColumn(name=name)
    if kinds <= {dict, Json}:
        column.jsons.values.extend(_json_text(name, row, value) for row, value in enumerate(plain))
    elif kinds == {list}:
        _pack_arrays(column, plain)
    else:
        _pack_plain(column, plain, kinds)
    if None in plain:
        column.valid.extend(value is not None for value in plain)
    return column


def _pack_plain(column: pb.FieldColumn, plain: list[Any], kinds: set[type]) -> None:
    kind = float if kinds == {int, float} else kinds.pop() if len(kinds) == 1 else None
    if kind not in _CONTAINERS:
        raise InvalidArgument(_odd_value(column.name, plain))
    attribute, container, blank = _CONTAINERS[kind]
    filled = [blank if value is None else value for value in plain]
    if kind is int:
        _check_int64(f"fields[{column.name}]", filled)
    getattr(column, attribute).CopyFrom(container(values=filled))


def _pack_arrays(column: pb.FieldColumn, plain: list[Any]) -> None:
    rows = [[_plain(element) for element in value or ()] for value in plain]
    kinds = {type(element) for elements in rows for element in elements} or {str}
    kind = float if kinds == {int, float} else next(iter(kinds)) if len(kinds) == 1 else None
    if kind not in _ARRAYS:
        held = ", ".join(sorted(each.__name__ for each in kinds))
        allowed = "all text, all whole numbers or all numbers; wrap in vectorfleet.Json what is a JSON document"
        raise InvalidArgument(f"fields[{column.name}] has lists of {held}; expected {allowed}")
    if kind is int:
        for row, elements in enumerate(rows):
            _check_int64(f"fields[{column.name}][{row}]", elements)
    attribute, container, element = _ARRAYS[kind]
    getattr(column, attribute).CopyFrom(container(rows=[element(values=elements) for elements in rows]))


def _json_text(name: str, row: int, value: Any) -> str:
    document = value.value if isinstance(value, Json) else value
    try:
        return json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain_json)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidArgument(f"fields[{name}] is no JSON document in row {row}: {error}") from None


def _plain_json(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"a {type(value).__name__} is not JSON")


def unpack_fields(columns: Iterable[pb.FieldColumn], rows: int) -> dict[str, list[Any]]:
    """Field columns of a reply, None where null; arrays as lists, Json as what the document says."""
    unpacked: dict[str, list[Any]] = {}
    for column in columns:
        values = _unpacked(column, rows)
        if column.valid:
            values = [value if valid else None for value, valid in zip(values, column.valid, strict=True)]
        unpacked[column.name] = values
    return unpacked


def _unpacked(column: pb.FieldColumn, rows: int) -> list[Any]:
    kind = column.WhichOneof("values")
    match kind:
        case None:
            return [None] * rows
        case "string_arrays" | "int_arrays" | "double_arrays":
            return [list(row.values) for row in getattr(column, kind).rows]
        case "jsons":
            return [json.loads(text) for text in column.jsons.values]
        case _:
            return list(getattr(column, kind).values)


def check_lengths(rows: int, columns: Mapping[str, int]) -> None:
    """Raises when a column is not `rows` long."""
    for name, length in columns.items():
        if length != rows:
            raise InvalidArgument(f"{name} has {length} rows and there are {rows} keys")


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    return list(value) if isinstance(value, tuple) else value


def _check_int64(name: str, values: list[int]) -> None:
    for row, value in enumerate(values):
        if not INT64.min <= value <= INT64.max:
            raise InvalidArgument(f"{name}[{row}] is {value}, which does not fit 64 bits")


def _odd_value(name: str, values: list[Any]) -> str:
    known = [(row, value) for row, value in enumerate(values) if value is not None]
    first = type(known[0][1])
    for row, value in known:
        if type(value) not in {*_CONTAINERS, list, dict, Json}:
            allowed = "text, a number, true/false, a list of text or numbers, a JSON object or None"
            return f"fields[{name}] is {value!r} in row {row}, a {type(value).__name__}; expected {allowed}"
        if type(value) is not first:
            return f"fields[{name}] mixes {first.__name__} with {value!r} in row {row}: one type for a field"
    raise AssertionError("only called for a column that cannot be packed")
