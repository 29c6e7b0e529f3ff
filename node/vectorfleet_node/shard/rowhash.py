"""The hash of a shard's rows: a 256-bit hash per live row, summed lane by lane modulo 2^64.

A sum, so that it is kept up by adding new rows and subtracting superseded ones; not XOR, in which a doubled row would
cancel. Null fields do not count, so that a field added later changes no row's hash.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from hashlib import blake2b
from struct import Struct
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vectorfleet.partition import key_bytes
from vectorfleet_node.shard.batch import KEY_COLUMN
from vectorfleet_node.shard.view import Key

Hashes = NDArray[np.uint64]

LANES: Final = 4
_PIECE_ROWS: Final = 4096
_LENGTH: Final = Struct("<I")
_HEAD: Final = Struct("<QI")
_DOUBLE: Final = Struct("<d")


def hash_rows(
    keys: list[Key], sequences: list[int], rows: pa.Table | pa.RecordBatch, vectors: Mapping[str, NDArray[np.float32]]
) -> Hashes:
    """(n, 4) uint64 hashes. rows: the column `key` and the payload fields; vectors: (n, dimensions) per name."""
    pieces: list[Iterator[Any]] = [_heads(keys, sequences)]
    pieces += [_vector_pieces(name, vectors[name]) for name in sorted(vectors)]
    pieces += [_field_pieces(name, rows.column(name)) for name in sorted(rows.schema.names) if name != KEY_COLUMN]
    digests = [blake2b(b"".join(row), digest_size=8 * LANES).digest() for row in zip(*pieces, strict=True)]
    return np.frombuffer(b"".join(digests), "<u8").reshape(-1, LANES)


def hash_in_pieces(
    sequences: NDArray[np.uint64], rows: pa.Table, vectors: Mapping[str, NDArray[np.float32]]
) -> Iterator[tuple[int, list[Key], Hashes]]:
    """(first row, keys, (n, 4) hashes) of a few thousand rows at a time: for segments that fill the memory."""
    for start in range(0, len(sequences), _PIECE_ROWS):
        piece = slice(start, start + _PIECE_ROWS)
        table = rows.slice(start, _PIECE_ROWS)
        keys = table.column(KEY_COLUMN).to_pylist()
        some = {name: array[piece] for name, array in vectors.items()}
        yield start, keys, hash_rows(keys, sequences[piece].tolist(), table, some)


def total(hashes: Hashes) -> Hashes:
    """The (4,) sum of (n, 4) hashes modulo 2^64."""
    summed: Hashes = np.add.reduce(hashes, axis=0, dtype=np.uint64)
    return summed


def to_hex(value: Hashes) -> str:
    """64 hex digits."""
    return value.astype("<u8").tobytes().hex()


def _heads(keys: list[Key], sequences: list[int]) -> Iterator[bytes]:
    for key, sequence in zip(keys, sequences, strict=True):
        packed = key_bytes(key)
        yield _HEAD.pack(sequence, len(packed)) + packed


def _vector_pieces(name: str, vectors: NDArray[np.float32]) -> Iterator[bytes | memoryview]:
    rows, dimensions = vectors.shape
    size = dimensions * 4
    prefix = _sized(name.encode()) + _LENGTH.pack(size)
    flat = np.ascontiguousarray(vectors, "<f4").reshape(-1).view(np.uint8).data
    for start in range(0, rows * size, size):
        yield prefix + flat[start : start + size]


def _field_pieces(name: str, column: pa.Array | pa.ChunkedArray) -> Iterator[bytes]:
    prefix = _sized(name.encode())
    for value in column.to_pylist():
        yield b"" if value is None else prefix + _sized(_value_bytes(value))


def _value_bytes(value: str | int | float | bool | list[Any]) -> bytes:
    match value:
        case str():
            return b"s" + value.encode()
        case bool():
            return b"b1" if value else b"b0"
        case int():
            return b"i" + value.to_bytes(8, "little", signed=True)
        case float():
            return b"f" + _DOUBLE.pack(value)
        case list():
            return b"l" + b"".join(_sized(_value_bytes(element)) for element in value)


def _sized(data: bytes) -> bytes:
    return _LENGTH.pack(len(data)) + data
