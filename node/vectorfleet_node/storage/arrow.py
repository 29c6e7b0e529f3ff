"""Reads Arrow bytes that cannot be trusted: damaged in a way that no checksum shows, or made to do harm.

Used for the rows in log records and for segment files. Arrow itself checks that nothing lies outside of the bytes when
it is asked to validate; the traps are what it does before: it inflates compressed buffers to whatever size they claim,
and follows dictionaries. We write neither, so both are refused from the message's own table, before Arrow reads it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Final

import pyarrow as pa

_FILE_MAGIC: Final = b"ARROW1\x00\x00"
_END: Final = b"\xff\xff\xff\xff\x00\x00\x00\x00"
_FOOTER_END: Final = struct.Struct("<i6s")
_HEADER, _ROWS, _COMPRESSION = 2, 0, 3  # slots of the flatbuffer tables Message and RecordBatch


def read_stream(data: bytes | pa.Buffer, check: Callable[[pa.Schema], None]) -> pa.Table:
    """The table of an Arrow IPC stream, validated in full; zero-copy over `data`.

    check: called with the schema before any row is read; it raises ValueError for a schema that is not wanted.
    ValueError when the bytes are not such a stream.
    """
    count_rows(data)
    try:
        with pa.ipc.open_stream(data) as reader:
            check(reader.schema)
            table = reader.read_all()
        table.validate(full=True)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"not an Arrow stream: {_brief(error)}") from None
    return table


def read_file(data: pa.Buffer, check: Callable[[pa.Schema], None]) -> pa.Table:
    """The table of an Arrow IPC file, as `read_stream`. Its footer is passed over: inside, a file is a stream."""
    if data.size < len(_FILE_MAGIC) + _FOOTER_END.size or data.slice(0, len(_FILE_MAGIC)).to_pybytes() != _FILE_MAGIC:
        raise ValueError("not an Arrow file")
    footer, _ = _FOOTER_END.unpack(data.slice(data.size - _FOOTER_END.size).to_pybytes())
    size = data.size - _FOOTER_END.size - footer - len(_FILE_MAGIC)
    if not 0 <= size <= data.size - len(_FILE_MAGIC):
        raise ValueError(f"not an Arrow file: its footer has {footer} bytes")
    return read_stream(data.slice(len(_FILE_MAGIC), size), check)


def count_rows(data: bytes | pa.Buffer) -> int:
    """How many rows a stream says it has, without reading them. ValueError as `read_stream`."""
    if bytes(memoryview(data)[-len(_END) :]) != _END:
        raise ValueError("not an Arrow stream: its end is missing")
    return sum(_batches(data))


def _batches(data: bytes | pa.Buffer) -> Iterator[int]:
    """The number of rows of each record batch. ValueError for anything but a schema and plain record batches."""
    first = True
    try:
        reader = pa.ipc.MessageReader.open_stream(data)
        while True:
            message = reader.read_next_message()
            if message.type != ("schema" if first else "record batch"):
                raise ValueError(f"not an Arrow stream of ours: it has a message of type {message.type}")
            if not first:
                yield _plain_rows(message.metadata.to_pybytes())
            first = False
    except StopIteration:
        if first:
            raise ValueError("not an Arrow stream: it is empty") from None
    except (pa.ArrowException, OSError, struct.error) as error:
        raise ValueError(f"not an Arrow stream: {_brief(error)}") from None


def _plain_rows(metadata: bytes) -> int:
    """The row count of a record batch's metadata, which Arrow has verified. ValueError when its body is compressed."""
    (root,) = struct.unpack_from("<I", metadata)
    batch = _follow(metadata, _slot(metadata, root, _HEADER))
    if _slot(metadata, batch, _COMPRESSION):
        raise ValueError("not an Arrow stream of ours: it is compressed")
    rows = _slot(metadata, batch, _ROWS)
    return int(struct.unpack_from("<q", metadata, rows)[0]) if rows else 0


def _slot(data: bytes, table: int, number: int) -> int:
    """Where a flatbuffer table has its field; 0 when it has none."""
    vtable = table - struct.unpack_from("<i", data, table)[0]
    (size,) = struct.unpack_from("<H", data, vtable)
    entry = 4 + 2 * number
    if entry + 2 > size:
        return 0
    (offset,) = struct.unpack_from("<H", data, vtable + entry)
    return table + offset if offset else 0


def _follow(data: bytes, position: int) -> int:
    return position + int(struct.unpack_from("<I", data, position)[0])


def _brief(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
