"""The files of a segment: rows and request tables as Arrow IPC, vectors as raw float32. Written once, never changed.

Used by `shard`, which seals growing rows into such files and opens them. A file is called
`<epoch>-<random>-<crc32c>.<kind>`: the epoch lets garbage collection tell whose it is, the random part makes a name
used once, ever. Opening a file checks its shape only; bits are checked by `checksum` when a file enters the cache.
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

from vectorfleet_node.storage.store import DataLoss

FileKind = Literal["rows", "vectors", "index", "requests"]

HASH_BYTES: Final = 32
KEY: Final = "key"
SEQUENCE: Final = "sequence"
_HASH: Final = "hash"
_FIELD: Final = "field."
_PIECE: Final = 1 << 20


@dataclass(frozen=True)
class SegmentRows:
    """What a `.rows` file holds.

    rows: `key`, then the payload fields under their own names. sequences: (n,) uint64, ascending.
    hashes: (n, 4) uint64, the hash of each row.
    """

    rows: pa.Table
    sequences: NDArray[np.uint64]
    hashes: NDArray[np.uint64]


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


def write_rows(path: Path, content: SegmentRows) -> None:
    """Writes a `.rows` file."""
    count = len(content.sequences)
    hashes = pa.Array.from_buffers(
        pa.binary(HASH_BYTES), count, [None, pa.py_buffer(np.ascontiguousarray(content.hashes, "<u8").tobytes())]
    )
    columns: dict[str, Any] = {
        KEY: content.rows.column(KEY),
        SEQUENCE: pa.array(content.sequences, pa.uint64()),
        _HASH: hashes,
    }
    columns |= {_FIELD + name: content.rows.column(name) for name in content.rows.column_names if name != KEY}
    _write_table(path, pa.table(columns))


def read_rows(path: Path) -> SegmentRows:
    """Opens a `.rows` file, memory-mapped. DataLoss when it is not one."""
    table = _read_table(path)
    if table.column_names[:3] != [KEY, SEQUENCE, _HASH]:
        raise DataLoss(f"{path.name} is not a segment's rows: its columns are {table.column_names}")
    sequences = table.column(SEQUENCE).combine_chunks().to_numpy(zero_copy_only=False)
    packed = table.column(_HASH).combine_chunks()
    hashes = np.frombuffer(packed.buffers()[1], "<u8", count=4 * len(packed), offset=HASH_BYTES * packed.offset)
    rows = table.drop_columns([SEQUENCE, _HASH])
    rows = rows.rename_columns([name.removeprefix(_FIELD) for name in rows.column_names])
    return SegmentRows(rows, sequences, hashes.reshape(-1, 4))


def write_vectors(path: Path, pieces: Iterable[NDArray[np.float32]]) -> None:
    """Writes a `.vectors` file from (n, dimensions) pieces, in order."""
    with path.open("wb") as file:
        for piece in pieces:
            file.write(np.ascontiguousarray(piece, "<f4").data)


def map_vectors(path: Path, rows: int, dimensions: int) -> NDArray[np.float32]:
    """A `.vectors` file as a read-only (rows, dimensions) memory map. DataLoss when its size does not fit."""
    size, expected = path.stat().st_size, rows * dimensions * 4
    if size != expected:
        raise DataLoss(f"{path.name} has {size} bytes; {rows} vectors of {dimensions} dimensions have {expected}")
    return np.memmap(path, dtype="<f4", mode="r", shape=(rows, dimensions))


def write_requests(path: Path, requests: list[tuple[str, int]]) -> None:
    """Writes a `.requests` file: (request id, log position), oldest first."""
    ids, positions = [name for name, _ in requests], [position for _, position in requests]
    _write_table(path, pa.table({"id": pa.array(ids, pa.string()), "position": pa.array(positions, pa.uint64())}))


def read_requests(path: Path) -> list[tuple[str, int]]:
    """What `write_requests` wrote. DataLoss when it is not such a file."""
    table = _read_table(path)
    if table.column_names != ["id", "position"]:
        raise DataLoss(f"{path.name} is not a request table: its columns are {table.column_names}")
    return list(zip(table.column("id").to_pylist(), table.column("position").to_pylist(), strict=True))


def _write_table(path: Path, table: pa.Table) -> None:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)


def _read_table(path: Path) -> pa.Table:
    try:
        with pa.memory_map(str(path)) as source, pa.ipc.open_file(source) as reader:
            return reader.read_all()
    except (pa.ArrowException, OSError) as error:
        raise DataLoss(f"{path.name} is not an Arrow file: {error}") from None
