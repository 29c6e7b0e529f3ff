"""Python and numpy values to the columns of the wire, and back.

Vectors travel as packed little-endian float32, fields as typed columns with a validity list only where there are nulls.
Used by requests.py, replies.py and testing.py. Errors are InvalidArgument and name the column and the row.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vectorfleet.errors import InvalidArgument
from vectorfleet.partition import Key
from vectorfleet.v1 import vectorfleet_pb2 as pb

INT64 = np.iinfo(np.int64)
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


def pack_field(name: str, values: Sequence[Any] | NDArray[Any]) -> pb.FieldColumn | None:
    """A typed column; None when every value is null, which is what leaving a field out means."""
    plain = values.tolist() if isinstance(values, np.ndarray) else [_plain(value) for value in values]
    kinds = {type(value) for value in plain if value is not None}
    if not kinds:
        return None
    kind = float if kinds == {int, float} else kinds.pop() if len(kinds) == 1 else None
    if kind not in _CONTAINERS:
        raise InvalidArgument(_odd_value(name, plain))
    attribute, container, blank = _CONTAINERS[kind]
    filled = [blank if value is None else value for value in plain]
    if kind is int:
        _check_int64(f"fields[{name}]", filled)
    column = pb.FieldColumn(name=name, **{attribute: container(values=filled)})
    if None in plain:
        column.valid.extend(value is not None for value in plain)
    return column


def unpack_fields(columns: Iterable[pb.FieldColumn], rows: int) -> dict[str, list[Any]]:
    """Field columns of a reply, None where null."""
    unpacked: dict[str, list[Any]] = {}
    for column in columns:
        kind = column.WhichOneof("values")
        values: list[Any] = list(getattr(column, kind).values) if kind else [None] * rows
        if column.valid:
            values = [value if valid else None for value, valid in zip(values, column.valid, strict=True)]
        unpacked[column.name] = values
    return unpacked


def check_lengths(rows: int, columns: Mapping[str, int]) -> None:
    """Raises when a column is not `rows` long."""
    for name, length in columns.items():
        if length != rows:
            raise InvalidArgument(f"{name} has {length} rows and there are {rows} keys")


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _check_int64(name: str, values: list[int]) -> None:
    for row, value in enumerate(values):
        if not INT64.min <= value <= INT64.max:
            raise InvalidArgument(f"{name}[{row}] is {value}, which does not fit 64 bits")


def _odd_value(name: str, values: list[Any]) -> str:
    known = [(row, value) for row, value in enumerate(values) if value is not None]
    first = type(known[0][1])
    for row, value in known:
        if type(value) not in _CONTAINERS:
            allowed = "text, a whole number, a number, true/false or None"
            return f"fields[{name}] is {value!r} in row {row}, a {type(value).__name__}; expected {allowed}"
        if type(value) is not first:
            return f"fields[{name}] mixes {first.__name__} with {value!r} in row {row}: one type for a field"
    raise AssertionError("only called for a column that cannot be packed")
