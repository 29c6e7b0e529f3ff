"""The index of a payload field of a segment: its distinct values, ascending, and for each the rows that have it.

`writing` builds it, `fieldfile` has its file, filters ask it. The arrays may be views of a mapped file, whose pages a
disk may give back rotten at any time: so whatever part of them decides something is verified right before, except for
what was copied into memory when the file was opened (a sample of the values, and which rows are null).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Rows = NDArray[np.uint32]
Value = int | float | bytes  # a string as its UTF-8 bytes, by which strings are ordered
Span = tuple[int, int]  # entries [start, stop) of `FieldIndex.order`
Verify = Callable[[NDArray[Any]], None]  # a view that is about to be believed

_SAMPLED: Final = 256  # one value of so many is kept in memory


@dataclass(frozen=True)
class Texts:
    """Strings as bytes. offsets: (n + 1,) int64 into data."""

    offsets: NDArray[np.int64]
    data: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, number: int) -> bytes:
        return self.data[self.offsets[number] : self.offsets[number + 1]].tobytes()


class FieldIndex:
    """The index of one field of a segment.

    rows: of the segment. values: (v,) int64 or float64, or texts; distinct, ascending, NaN last, one zero. comparable:
    how many of them are no NaN. starts: (v + 1,) uint32; the rows with values[i] are order[starts[i]:starts[i + 1]],
    ascending: a row stands once for each of its values, one without any nowhere. valid: (rows / 8,) uint8, one bit a
    row, least significant first, set where the field is not null; None when it never is.
    """

    def __init__(
        self,
        rows: int,
        values: NDArray[np.int64] | NDArray[np.float64] | Texts,
        starts: NDArray[np.uint32],
        order: Rows,
        valid: NDArray[np.uint8] | None,
        verify: Verify = lambda _: None,
    ) -> None:
        """To be called while the arrays are known to be whole. verify: raises DamagedFile for a view that rotted."""
        self.rows = rows
        self.values = values
        self.starts = starts
        self.order = order
        self.valid = valid
        last_is_nan = not isinstance(values, Texts) and len(values) > 0 and bool(np.isnan(values[-1]))
        self.comparable = len(values) - last_is_nan
        self._verify = verify
        self._sample = [_plain(values[number]) for number in range(0, self.comparable, _SAMPLED)]

    def span(self, operator: str, value: Value) -> Span:
        """The entries whose value is `operator` (== < <= > >=) the given one. NaN is never among them."""
        left, right = self._place(value, bisect_left), self._place(value, bisect_right)
        match operator:
            case "==":
                return self._entries(left, right)
            case "<":
                return self._entries(0, left)
            case "<=":
                return self._entries(0, right)
            case ">":
                return self._entries(right, self.comparable)
            case _:
                return self._entries(left, self.comparable)

    def span_of_prefix(self, prefix: bytes) -> Span:
        """The entries whose text begins so; no byte of UTF-8 is 255, so there is a text behind them all."""
        first = self._place(prefix, bisect_left)
        behind = prefix[:-1] + bytes([prefix[-1] + 1]) if prefix else b""
        return self._entries(first, self._place(behind, bisect_left) if behind else self.comparable)

    def rows_of(self, spans: Sequence[Span]) -> Rows:
        """The rows of those entries, in the entries' order."""
        parts = [self.order[start:stop] for start, stop in spans]
        for part in parts:
            self._verify(part)
        return parts[0] if len(parts) == 1 else np.concatenate([np.empty(0, np.uint32), *parts])

    @property
    def entries(self) -> int:
        """How many pairs of a value and a row there are."""
        return len(self.order)

    def _place(self, value: Value, bisect: Callable[..., int]) -> int:
        """Where the value is, or would be, among those that compare."""
        block = bisect(self._sample, value)
        low, high = max(block - 1, 0) * _SAMPLED, min(block * _SAMPLED, self.comparable)
        if isinstance(self.values, Texts):
            offsets = self.values.offsets[low : high + 1]
            self._verify(offsets)
            self._verify(self.values.data[offsets[0] : offsets[-1]])
        else:
            self._verify(self.values[low:high])
        return bisect(self.values, value, low, high)

    def _entries(self, first: int, last: int) -> Span:
        """From places among the values to entries."""
        ends = self.starts[first : first + 1], self.starts[last : last + 1]
        for end in ends:
            self._verify(end)
        start, stop = int(ends[0][0]), int(ends[1][0])
        return start, max(start, stop)


def build(column: pa.ChunkedArray) -> FieldIndex:
    """The index of a column of strings, int64, float64 or lists of these. Takes about 0.2 µs a row; lists more."""
    count = len(column)
    flat = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    present = flat.is_valid().to_numpy(zero_copy_only=False)
    valid = None if present.all() else np.packbits(present, bitorder="little")
    if pa.types.is_list(flat.type):
        lengths = pc.list_value_length(flat).fill_null(0).to_numpy()
        values, rows = flat.flatten(), np.repeat(np.arange(count, dtype=np.uint64), lengths)
    else:
        values, rows = flat.drop_null(), np.flatnonzero(present).astype(np.uint64)
    distinct, codes = _distinct(values)
    pairs = np.sort(codes.astype(np.uint64) << np.uint64(32) | rows)
    pairs = pairs[np.diff(pairs, prepend=~pairs[:1]) != 0]  # np.unique hashes, which takes 50 times as long
    starts = np.searchsorted(pairs >> np.uint64(32), np.arange(len(distinct) + 1, dtype=np.uint64))
    return FieldIndex(count, distinct, starts.astype(np.uint32), pairs.astype(np.uint32), valid)


def _distinct(values: pa.Array) -> tuple[Any, NDArray[np.int64]]:
    """The distinct values, ascending, and the place of each value among them."""
    if not pa.types.is_string(values.type):
        numbers = values.to_numpy()
        numbers = numbers + 0.0 if numbers.dtype == np.float64 else numbers  # makes one zero of both
        return np.unique(numbers, return_inverse=True)
    encoded = values.dictionary_encode()
    order = pc.sort_indices(encoded.dictionary).to_numpy()
    places = np.empty(len(order), np.int64)
    places[order] = np.arange(len(order))
    return texts_of(encoded.dictionary.take(order).cast(pa.large_string())), places[encoded.indices.to_numpy()]


def texts_of(strings: pa.LargeStringArray) -> Texts:
    """An Arrow array without nulls, as views of its buffers."""
    _, offsets, data = strings.buffers()
    bytes_ = np.empty(0, np.uint8) if data is None else np.frombuffer(data, np.uint8)
    if offsets is None or not offsets.size:
        return Texts(np.zeros(1, np.int64), bytes_)
    return Texts(np.frombuffer(offsets, np.int64)[strings.offset : strings.offset + len(strings) + 1], bytes_)


def _plain(value: Any) -> Value:
    plain: Value = value if isinstance(value, bytes) else value.item()
    return plain
