"""Values inside of JSON documents, as Arrow columns. Used by `expression` for the paths of a filter.

A block's documents are parsed once for each path and what was found is kept (`PARSED`), because parsing is a loop in
Python, about 3 µs a document. A value is in the column of its type and null in the others: that makes a comparison
with a value of another type null. Numbers written as whole ones are Int64 where they fit, all others Float64.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, Literal

import pyarrow as pa
from pydantic_core import from_json

from vectorfleet_node.query.filters.kept import Kept
from vectorfleet_node.shard.view import RowsIdentity

Path = tuple[str | int, ...]  # names of members and numbers of elements, from 0
Part = Literal["strings", "ints", "floats", "bools", "present"]

KEPT_BYTES: Final = 64 << 20
_TYPES: Final[dict[Part, pa.DataType]] = {
    "strings": pa.string(),
    "ints": pa.int64(),
    "floats": pa.float64(),
    "bools": pa.bool_(),
    "present": pa.bool_(),
}


@dataclass(frozen=True)
class Found:
    """What stands at one path of n documents. arrays: (n,) each; a part that no document has is left out."""

    count: int
    arrays: dict[Part, pa.Array]

    def part(self, part: Part) -> pa.ChunkedArray:
        """(n,) the values of one type, null where there is none; of `present` true where there is any but null."""
        return pa.chunked_array([self.arrays.get(part, pa.nulls(self.count, _TYPES[part]))])

    @property
    def bytes(self) -> int:
        """Memory of the arrays."""
        return sum(int(array.nbytes) for array in self.arrays.values())


@dataclass(frozen=True)
class Source:
    """The rows that a filter is evaluated for, once. identity: None when what is found is not kept for longer."""

    table: pa.Table
    identity: RowsIdentity | None = None
    _found: dict[tuple[str, Path], Found] = field(default_factory=dict)

    def found(self, column: str, path: Path) -> Found:
        """What stands at a path of the documents in a Json column."""
        place = column, path
        if place not in self._found:
            known = PARSED.get(self.identity, place) if self.identity else None
            self._found[place] = known or find(self.table[column], path)
            if self.identity and not known:
                PARSED.put(self.identity, place, self._found[place], self._found[place].bytes)
        return self._found[place]


PARSED: Final[Kept[Found]] = Kept(KEPT_BYTES)


def find(documents: pa.ChunkedArray, path: Path) -> Found:
    """Parses the documents (null or valid JSON) and takes what is at `path`."""
    columns: dict[Part, list[Any]] = {}
    for row, text in enumerate(documents.to_pylist()):
        value = None if text is None else _at(from_json(text), path)
        if value is None:
            continue
        _column(columns, "present", len(documents))[row] = True
        match value:
            case bool():
                _column(columns, "bools", len(documents))[row] = value
            case str():
                _column(columns, "strings", len(documents))[row] = value
            case int() if -(2**63) <= value < 2**63:
                _column(columns, "ints", len(documents))[row] = value
            case int() | float():
                _column(columns, "floats", len(documents))[row] = float(value)
    return Found(len(documents), {part: pa.array(values, _TYPES[part]) for part, values in columns.items()})


def _column(columns: dict[Part, list[Any]], part: Part, count: int) -> list[Any]:
    if part not in columns:
        columns[part] = [None] * count
    return columns[part]


def _at(value: Any, path: Path) -> Any:
    for step in path:
        if isinstance(step, str):
            value = value.get(step) if isinstance(value, dict) else None
        else:
            value = value[step] if isinstance(value, list) and step < len(value) else None
    return value
