"""Values inside of JSON documents, as Arrow columns. Used by `expression` for the paths of a filter.

A document is parsed once for each path and what was found is kept (`PARSED`), because parsing is a loop in Python,
about 3 µs a document; of growing rows too, so that a write costs no more than its own rows. A value is in the column of
its type and null in the others: that makes a comparison with a value of another type null. Numbers written as whole
ones are Int64 where they fit, all others Float64.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import pyarrow as pa
from pydantic_core import from_json

from vectorfleet_node.query.filters.kept import Kept
from vectorfleet_node.shard.view import RowsIdentity
from vectorfleet_node.storage.fieldindex import FieldIndex

Path = tuple[str | int, ...]  # names of members and numbers of elements, from 0
Part = Literal["strings", "ints", "floats", "bools", "present"]

KEPT_BYTES: Final = 64 << 20  # until `masks.keep_at_most` says otherwise
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
        return pa.chunked_array([self._array(part)])

    def rows(self, first: int, count: int) -> Found:
        """What stands in some of the documents."""
        return Found(count, {part: array.slice(first, count) for part, array in self.arrays.items()})

    def and_then(self, more: Found) -> Found:
        """What stands in these documents and in others behind them."""
        parts = self.arrays | more.arrays
        arrays = {part: pa.concat_arrays([self._array(part), more._array(part)]) for part in parts}
        return Found(self.count + more.count, arrays)

    @property
    def bytes(self) -> int:
        """Memory of the arrays."""
        return sum(int(array.nbytes) for array in self.arrays.values())

    def _array(self, part: Part) -> pa.Array:
        return self.arrays.get(part, pa.nulls(self.count, _TYPES[part]))


@dataclass(frozen=True)
class _Known:
    """What stands in the documents of a lineage's rows from number `first` on."""

    first: int
    found: Found

    @property
    def end(self) -> int:
        return self.first + self.found.count


@dataclass(frozen=True)
class Source:
    """The rows that a filter is evaluated for, once.

    identity: None when what is found is not kept for longer. indexes: those of fields, over these rows; they verify
    themselves. verify: called with the names of columns before these are read.
    """

    table: pa.Table
    identity: RowsIdentity | None = None
    indexes: Mapping[str, FieldIndex] = field(default_factory=dict)
    verify: Callable[[tuple[str, ...]], None] = lambda _: None
    _columns: dict[str, pa.ChunkedArray] = field(default_factory=dict)
    _found: dict[tuple[str, Path], Found] = field(default_factory=dict)

    def column(self, name: str) -> pa.ChunkedArray:
        """A column, verified."""
        if name not in self._columns:
            self.verify((name,))
            self._columns[name] = self.table[name]
        return self._columns[name]

    def found(self, column: str, path: Path) -> Found:
        """What stands at a path of the documents in a Json column."""
        place = column, path
        if place not in self._found:
            self._found[place] = self._find(place, self.identity) if self.identity else find(self.column(column), path)
        return self._found[place]

    def _find(self, place: tuple[str, Path], identity: RowsIdentity) -> Found:
        """As `found`; documents in which it was found already, by whoever, are not parsed again."""
        column, path = place
        owner, first, last = identity.lineage or identity, identity.first, identity.first + self.table.num_rows
        kept = PARSED.get(owner, place)
        known = kept if kept is not None and kept.first <= first <= kept.end else _Known(first, Found(0, {}))
        if known.end < last:
            more = find(self.column(column).slice(known.end - first), path)
            known = _Known(first, known.found.rows(first - known.first, known.end - first).and_then(more))
            if kept is None or known.end > kept.end:  # not what somebody asks who reads older rows
                PARSED.put(owner, place, known, known.found.bytes)
        return known.found.rows(first - known.first, last - first)


PARSED: Final[Kept[_Known]] = Kept(KEPT_BYTES)


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
