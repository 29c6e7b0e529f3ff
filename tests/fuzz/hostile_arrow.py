"""Run by `test_fuzz_arrow` in a process with little memory: `hostile_arrow.py <record|rows|fields|requests> <seed>`.

Prints how many it tried and how many were refused. An allocation that a lying length asks for fails here, and a failed
allocation is a failure of the test.
"""

from __future__ import annotations

import random
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
from objects import OURS, SCHEMA, Object, batch_of, every_object, flipped, rows, sealed, stretched, unsealed

from vectorfleet_node.shard import batch

ROOM = 96 << 20  # bytes of address space beyond what the interpreter and its libraries have


def limit_memory() -> None:
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + ROOM, used + ROOM))


def streams() -> Iterator[bytes]:
    """Streams that Arrow itself would read, none of them ours."""
    good = rows()
    for compression in ("lz4", "zstd"):
        data = _stream(good, pa.ipc.IpcWriteOptions(compression=compression))
        yield data
        for at in range(0, len(data) - 8, 8):  # buffers begin with the size they claim to inflate to
            yield data[:at] + (1 << 40).to_bytes(8, "little") + data[at + 8 :]
    zeros = pa.RecordBatch.from_pydict({"key": pa.array(["a" * (8 << 20)] * 8)})
    yield _stream(zeros, pa.ipc.IpcWriteOptions(compression="zstd"))  # 64 MiB in a few KiB
    nested: pa.DataType = pa.int8()
    for _ in range(60):
        nested = pa.list_(nested)
    yield _stream(pa.RecordBatch.from_pydict({"key": pa.array([None], nested)}))
    yield _stream(pa.RecordBatch.from_pydict({"key": pa.array(["a", "b"]).dictionary_encode()}))
    yield _stream(pa.RecordBatch.from_pydict({"key": pa.nulls(5)}))
    yield _stream(good.slice(0, 0))
    yield batch.encode(good)[:-8] + batch.encode(good)


def _stream(rows: pa.RecordBatch, options: pa.ipc.IpcWriteOptions | None = None) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema, options=options) as writer:
        writer.write_batch(rows)
    return bytes(sink.getvalue().to_pybytes())


def refused(found: Object, data: bytes) -> bool:
    try:
        found.decode(data)
    except OURS as error:
        if "alloc" in str(error):
            raise MemoryError(f"what the bytes claim was allocated: {error}") from None
        return True
    return False


def main(kind: str, seed: int) -> None:
    rng, objects = random.Random(seed), every_object()
    if kind == "record":
        found, payload, wrap = objects["record: upsert"], batch.encode(rows()), batch_of
        spoilt = [*streams()]
    else:
        found, wrap = objects[kind], sealed
        payload, spoilt = unsealed(found.data), []
    limit_memory()
    spoilt += [*flipped(payload, rng, 1500), *stretched(payload, rng, 2500)]
    print(len(spoilt), sum(refused(found, wrap(data)) for data in spoilt))


if __name__ == "__main__":
    assert SCHEMA.vectors
    main(sys.argv[1], int(sys.argv[2]))
