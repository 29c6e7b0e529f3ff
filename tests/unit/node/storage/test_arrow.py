"""Reading Arrow that cannot be trusted: what we write is read, what we never write is refused before it is decoded."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from vectorfleet_node.storage import arrow

ROWS = pa.record_batch(
    {"key": ["a", "bb", "ccc"], "v": pa.FixedSizeListArray.from_arrays(pa.array(np.ones(6, np.float32)), 2)}
)


def stream(rows: pa.RecordBatch, batches: int = 1, **options: object) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema, **options) as writer:
        for _ in range(batches):
            writer.write_batch(rows)
    return bytes(sink.getvalue().to_pybytes())


def anything(_: pa.Schema) -> None:
    """Every schema will do."""


def test_what_was_written_is_read_and_counted() -> None:
    data = stream(ROWS, batches=2)
    assert arrow.read_stream(data, anything).to_pylist() == ROWS.to_pylist() * 2
    assert arrow.count_rows(data) == 6


def test_a_file_is_read_without_its_footer() -> None:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, ROWS.schema) as writer:
        writer.write_batch(ROWS)
    assert arrow.read_file(sink.getvalue(), anything).to_pylist() == ROWS.to_pylist()
    with pytest.raises(ValueError, match="not an Arrow file"):
        arrow.read_file(pa.py_buffer(stream(ROWS)), anything)


@pytest.mark.parametrize("compression", ["lz4", "zstd"])
def test_compressed_rows_are_refused_before_they_are_inflated(compression: str) -> None:
    data = stream(ROWS, options=pa.ipc.IpcWriteOptions(compression=compression))
    with pytest.raises(ValueError, match="compressed"):
        arrow.read_stream(data, anything)


def test_dictionaries_are_refused() -> None:
    data = stream(pa.record_batch({"key": pa.array(["a", "a"]).dictionary_encode()}))
    with pytest.raises(ValueError, match="message of type dictionary"):
        arrow.read_stream(data, anything)


def test_the_schema_is_checked_before_any_row_is_read() -> None:
    def refuse(schema: pa.Schema) -> None:
        raise ValueError(f"no {schema.names[0]} here")

    with pytest.raises(ValueError, match="no key here"):
        arrow.read_stream(stream(ROWS), refuse)


def test_a_stream_cut_between_two_messages_is_not_a_shorter_stream() -> None:
    data = stream(ROWS, batches=2)
    for size in range(len(data)):
        with pytest.raises(ValueError, match="not an Arrow stream"):
            arrow.read_stream(data[:size], anything)


def test_offsets_that_point_outside_of_the_strings_are_found() -> None:
    offsets = pa.py_buffer(np.array([0, 1, 1 << 30, 3], np.int32))
    strings = pa.Array.from_buffers(pa.string(), 3, [None, offsets, pa.py_buffer(b"abc")])
    data = stream(pa.RecordBatch.from_arrays([strings], ["key"]))
    with pytest.raises(ValueError, match="Column 0"):
        arrow.read_stream(data, anything)
