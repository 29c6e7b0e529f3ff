"""The files of a segment: rows and request tables as Arrow IPC, vectors as raw float32. Written once, never changed.

Used by `shard`, which seals growing rows into such files and opens them. A file is called
`<epoch>-<random>-<crc32c>.<kind>`: the epoch lets garbage collection tell whose it is, the random part makes a name
used once, ever. Files of format 2 are `checked` files; whoever writes one seals it when its data is complete.

The trap is what a state decides with (keys, sequences, row hashes): a page of a mapped file may come back rotten from
the disk, so these columns are copied into memory when the file is opened. Fields and vectors stay mapped.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import google_crc32c
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vectorfleet_node.storage.arrow import read_file
from vectorfleet_node.storage.checked import CheckedFile
from vectorfleet_node.storage.format import BLOCK_CHECKSUMS
from vectorfleet_node.storage.keyindex import KeyIndex
from vectorfleet_node.storage.store import DataLoss

Vectors = NDArray[np.float32]
FileKind = Literal["rows", "vectors", "index", "fields", "requests"]

HASH_BYTES: Final = 32
KEY: Final = "key"
SEQUENCE: Final = "sequence"
_HASH: Final = "hash"
_KEY_HASH: Final = "key_hash"
_KEY_ROW: Final = "key_row"
_FIELD: Final = "field."
_PIECE: Final = 1 << 20
_OURS: Final[dict[str, pa.DataType]] = {SEQUENCE: pa.uint64(), _HASH: pa.binary(HASH_BYTES)}
_INDEX: Final[dict[str, pa.DataType]] = {_KEY_HASH: pa.uint64(), _KEY_ROW: pa.uint32()}
_REQUESTS: Final = pa.schema([("id", pa.string()), ("position", pa.uint64())])


@dataclass(frozen=True)
class SegmentRows:
    """What a `.rows` file holds.

    rows: `key`, then the payload fields under their own names. sequences: (n,) uint64, ascending.
    hashes: (n, 4) uint64, the hash of each row. keys: the index of the column `key`.
    """

    rows: pa.Table
    sequences: NDArray[np.uint64]
    hashes: NDArray[np.uint64]
    keys: KeyIndex


def file_name(epoch: int, unique: str, crc32c: int, kind: FileKind) -> str:
    """The name of a finished file."""
    return f"{epoch}-{unique}-{crc32c:08x}.{kind}"


def checksum(path: Path) -> tuple[int, int]:
    """(size in bytes, crc32c) of a file. Slow for large files: call it in a thread."""
    crc, size = 0, 0
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            crc = google_crc32c.extend(crc, piece)
            size += len(piece)
    return size, crc


def write_rows(path: Path, content: SegmentRows, written_format: int) -> None:
    """Writes a `.rows` file; format 1 has no key index."""
    packed = pa.py_buffer(np.ascontiguousarray(content.hashes, "<u8").tobytes())
    columns: dict[str, Any] = {
        KEY: content.rows.column(KEY),
        SEQUENCE: pa.array(content.sequences, pa.uint64()),
        _HASH: pa.Array.from_buffers(pa.binary(HASH_BYTES), len(content.sequences), [None, packed]),
    }
    if written_format >= BLOCK_CHECKSUMS:
        columns |= {_KEY_HASH: pa.array(content.keys.hashes), _KEY_ROW: pa.array(content.keys.rows)}
    columns |= {_FIELD + name: content.rows.column(name) for name in content.rows.column_names if name != KEY}
    _write_table(path, pa.table(columns))


def read_rows(file: CheckedFile) -> SegmentRows:
    """The content of a `.rows` file, verified whole; its fields stay mapped. DataLoss when it is not such a file."""
    file.verify_all()
    table = _read_table(file, _check_rows)
    keys = _in_memory(table.column(KEY))
    sequences = table.column(SEQUENCE).to_numpy().copy()
    packed = _in_memory(table.column(_HASH))
    hashes = np.frombuffer(packed.buffers()[1], "<u8", count=4 * len(packed), offset=HASH_BYTES * packed.offset)
    fields = [name for name in table.column_names if name.startswith(_FIELD)]
    rows = pa.table({KEY: keys} | {name.removeprefix(_FIELD): table.column(name) for name in fields})
    return SegmentRows(rows, sequences, hashes.reshape(-1, 4), _key_index(file, table, keys))


def write_vectors(path: Path, pieces: Iterable[Vectors]) -> None:
    """Writes a `.vectors` file from (n, dimensions) pieces, in order."""
    with path.open("wb") as file:
        for piece in pieces:
            file.write(np.ascontiguousarray(piece, "<f4").data)


def map_vectors(file: CheckedFile, rows: int, dimensions: int) -> Vectors:
    """A `.vectors` file as a read-only (rows, dimensions) view of its map. DataLoss when its size does not fit."""
    size, expected = len(file.data), rows * dimensions * 4
    if size != expected:
        raise DataLoss(f"{file.name} has {size} bytes; {rows} vectors of {dimensions} dimensions have {expected}")
    return file.data.view("<f4").reshape(rows, dimensions)


def write_requests(path: Path, requests: list[tuple[str, int]]) -> None:
    """Writes a `.requests` file: (request id, log position), oldest first."""
    ids, positions = [name for name, _ in requests], [position for _, position in requests]
    _write_table(path, pa.table([pa.array(ids, pa.string()), pa.array(positions, pa.uint64())], schema=_REQUESTS))


def read_requests(file: CheckedFile) -> list[tuple[str, int]]:
    """What `write_requests` wrote, verified. DataLoss when it is not such a file."""
    file.verify_all()
    table = _read_table(file, _check_requests)
    return list(zip(table.column("id").to_pylist(), table.column("position").to_pylist(), strict=True))


def _write_table(path: Path, table: pa.Table) -> None:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)


def _read_table(file: CheckedFile, check: Any) -> pa.Table:
    """The Arrow table over the map. DataLoss when it is not one, or one of our own columns has nulls."""
    try:
        table = read_file(pa.py_buffer(file.data), check)
        for name in table.column_names:
            if not name.startswith(_FIELD) and table.column(name).null_count:
                raise ValueError(f"column {name} has nulls")
    except ValueError as error:
        raise DataLoss(f"{file.name} cannot be read: {error}") from None
    return table


def _check_rows(schema: pa.Schema) -> None:
    wanted = {KEY: schema.field(0).type, **_OURS} if len(schema) else _OURS
    if schema.names[3:4] == [_KEY_HASH]:
        wanted |= _INDEX
    found = dict(zip(schema.names[: len(wanted)], schema.types, strict=False))
    fields = schema.names[len(wanted) :]
    if found != wanted or wanted[KEY] not in (pa.string(), pa.int64()) or not all(f.startswith(_FIELD) for f in fields):
        raise ValueError(f"these are not a segment's rows: the columns are {schema.names}")


def _check_requests(schema: pa.Schema) -> None:
    if not schema.equals(_REQUESTS):
        raise ValueError(f"this is not a request table: the columns are {schema.names}")


def _in_memory(column: pa.ChunkedArray) -> pa.Array:
    """A copy, in one piece, that does not depend on the file any more."""
    if column.num_chunks != 1:
        return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    chunk = column.chunk(0)
    copies = [None if buffer is None else pa.py_buffer(buffer.to_pybytes()) for buffer in chunk.buffers()]
    return pa.Array.from_buffers(chunk.type, len(chunk), copies, offset=chunk.offset)


def _key_index(file: CheckedFile, table: pa.Table, keys: pa.Array) -> KeyIndex:
    if _KEY_HASH not in table.column_names:
        return KeyIndex.of(keys)
    index = KeyIndex(table.column(_KEY_HASH).to_numpy().copy(), table.column(_KEY_ROW).to_numpy().copy())
    if np.any(index.rows >= len(keys)) or np.any(index.hashes[1:] < index.hashes[:-1]):
        raise DataLoss(f"{file.name} cannot be read: its key index is out of order or points outside of its rows")
    return index
