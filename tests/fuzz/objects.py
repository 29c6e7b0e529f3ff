"""One valid example of every object that is decoded, how it is decoded, and ways to spoil it. For this folder's tests.

What a decoder may raise is ours: DataLoss or UnknownRecord, naming the object. Anything else is a bug.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import google_crc32c
import numpy as np
import pyarrow as pa

from vectorfleet.descriptor import ClaimRecord, CollectionDescriptor
from vectorfleet.schema import CollectionSchema, FieldSchema, FieldType, IndexKind, Metric, VectorSchema
from vectorfleet.topology import Claim
from vectorfleet_node.engine.artefact import HEADER_BYTES, Header, read_header
from vectorfleet_node.maintenance import words
from vectorfleet_node.shard import batch
from vectorfleet_node.shard.parts import read_requests
from vectorfleet_node.storage import checked, fieldfile, paths, record, segment
from vectorfleet_node.storage import manifest as manifests
from vectorfleet_node.storage.checked import CheckedFile
from vectorfleet_node.storage.claims import newest_claim
from vectorfleet_node.storage.collection import read_descriptor
from vectorfleet_node.storage.keyindex import KeyIndex
from vectorfleet_node.storage.memory import MemoryStore
from vectorfleet_node.storage.record import Batch, BatchRequest, Body, Fence, Pin, Publish, Record, UnknownRecord, Unpin
from vectorfleet_node.storage.segment import SegmentRows
from vectorfleet_node.storage.store import DataLoss

OURS = (DataLoss, UnknownRecord)
UID, SHARD, POSITION = "0123456789abcdef", 3, 7
SCHEMA = CollectionSchema(
    vectors=(VectorSchema(name="default", dimensions=4),),
    fields=(
        FieldSchema(name="lang", type=FieldType.STRING),
        FieldSchema(name="year", type=FieldType.INT64),
        FieldSchema(name="good", type=FieldType.BOOL),
    ),
    shards=4,
)
EXTREMES = (0, 1, *(value for bits in (7, 8, 15, 16, 31, 32, 40, 63, 64) for value in ((1 << bits) - 1, 1 << bits)))


@dataclass(frozen=True)
class Object:
    """name: what an error must contain. checksummed: whether any change at all must be found.

    decode: reads the object to the last value. reseal: makes the checksum right again, for spoilt contents. bare: cut
    to so many bytes it is a whole file of format 1, without block checksums: only its name betrays it.
    """

    data: bytes
    name: str
    decode: Callable[[bytes], object]
    checksummed: bool = True
    reseal: Callable[[bytes], bytes] | None = None
    bare: int = -1


def rows(count: int = 5) -> pa.RecordBatch:
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(np.arange(4 * count, dtype=np.float32)), 4)
    columns = {
        "key": [f"key-{number}" for number in range(count)],
        "vector.default": vectors,
        "field.lang": ["en", None, "de", "", "fr"][:count],
        "field.year": [1, None, 3, -4, 1 << 62][:count],
        "field.good": [True, None, False, True, None][:count],
    }
    return pa.RecordBatch.from_pydict(columns, schema=batch.arrow_schema(SCHEMA))


def record_of(body: Body) -> bytes:
    return record.encode(Record(UID, SHARD, POSITION, 2, bytes(range(16)), 1_700_000_000_000, 99, body))


def batch_of(payload: bytes) -> bytes:
    """A record whose checksum is right around any rows at all."""
    return record_of(Batch((BatchRequest("request-1", payload),)))


def decode_record(data: bytes) -> Record:
    """As a replica reads it, rows and all, and as `vectorfleet log` shows it."""
    found = record.decode(data, uid=UID, shard=SHARD, position=POSITION)
    if isinstance(found.body, Batch):
        read_requests(found.body.requests, POSITION, SCHEMA)
        try:
            words.describe(found)
        except ValueError as error:
            raise DataLoss(f"log record: {error}") from None
    return found


def crc_behind(data: bytes) -> bytes:
    """The bytes with a right crc32c in their last four."""
    content = data[:-4]
    return content + google_crc32c.value(content).to_bytes(4, "little")


def imported() -> bytes:
    """What a record names that imports a segment."""
    entry = manifests.FileEntry(name=segment.file_name(2, "ab" * 8, 1, "rows"), size=10, crc32c=1)
    index = manifests.IndexEntry(kind=IndexKind.EXACT, file=entry)
    found = manifests.SegmentEntry(count=9, rows=entry, vectors={"default": entry}, indexes={"default": index})
    return found.model_dump_json().encode()


def _manifest() -> bytes:
    entry = manifests.FileEntry(name=segment.file_name(2, "ab" * 8, 1, "rows"), size=10, crc32c=1)
    segments = manifests.SegmentEntry(count=9, rows=entry, vectors={"default": entry}, indexes={}, live=b"\xff\x01")
    return manifests.encode(
        manifests.Manifest(
            uid=UID,
            shard=SHARD,
            position=POSITION,
            chain=5,
            epoch=2,
            stamp=1_700_000_000_000,
            owner="owner",
            address="a:1",
            first_hash=0,
            last_hash=(1 << 62) - 1,
            rows=9,
            row_hash="00" * 32,
            segments=(segments,),
            requests=(manifests.RequestsEntry(through=7, count=1, file=entry),),
            low=0,
            published=(manifests.PublishedEntry(position=4, crc=8),),
            boundary=4,
            pins=(manifests.PinEntry(name="backup", manifest=4, through=6),),
            imports=(manifests.ImportEntry(position=6, files=(entry.name,)),),
        )
    )


def _decode_manifest(data: bytes) -> object:
    return manifests.decode(data, uid=UID, shard=SHARD, position=POSITION)


_FOLDER = tempfile.TemporaryDirectory(prefix="vectorfleet-fuzz-")


def _scratch(name: str) -> Path:
    return Path(tempfile.mkdtemp(dir=_FOLDER.name)) / name


class Scratch:
    """Decodes a segment's file as `open` does: from a path with a name."""

    def __init__(self, name: str, read: Callable[[Path], object]) -> None:
        self.name = name
        self._path = _scratch(name)
        self._read = read

    def __call__(self, data: bytes) -> object:
        self._path.write_bytes(data)
        return self._read(self._path)


def written(write: Callable[[Path], object]) -> bytes:
    """The bytes of a file that `write` makes, without block checksums."""
    path = _scratch("file")
    write(path)
    return path.read_bytes()


def sealed(data: bytes) -> bytes:
    """Data with its block checksums."""
    path = _scratch("file")
    path.write_bytes(data)
    checked.seal(path)
    return path.read_bytes()


def unsealed(data: bytes) -> bytes:
    """The data of a checked file of one block."""
    return data[: -(24 + 4)]


def reseal(data: bytes) -> bytes:
    """A checked file of one block whose checksums are right again."""
    return sealed(unsealed(data))


def _rows_file() -> bytes:
    table = pa.table({"key": rows().column(0), "lang": rows().column(2), "year": rows().column(3)})
    sequences = np.arange(5, dtype=np.uint64) + (POSITION << 24)
    content = SegmentRows(table, sequences, np.ones((5, 4), np.uint64), KeyIndex.of(table.column("key")))
    return sealed(written(lambda path: segment.write_rows(path, content, 2)))


def _read_rows(path: Path) -> object:
    content = segment.read_rows(CheckedFile.open(path))
    return content.rows.to_pylist(), content.sequences.tolist(), content.hashes.tolist(), content.keys


def _columns() -> pa.Table:
    return pa.table({"lang": rows().column("field.lang"), "year": rows().column("field.year")})


def _fields_file() -> bytes:
    return sealed(written(lambda path: fieldfile.write_fields(path, _columns(), ["lang", "year"])))


def _read_fields(path: Path) -> object:
    found = fieldfile.read_fields(CheckedFile.open(path), _columns())
    spans = [index.span(">=", b"de" if name == "lang" else 3) for name, index in found.items()]
    return spans, [index.rows_of([(0, index.entries)]).tolist() for index in found.values()]


def _read_vectors(path: Path) -> object:
    file = CheckedFile.open(path)
    file.verify_all()
    return segment.map_vectors(file, 5, 4).tobytes()


def _requests_file() -> bytes:
    return sealed(written(lambda path: segment.write_requests(path, [("one", 3), ("two", 4)])))


def _read_index(path: Path) -> object:
    try:
        return read_header(path, path.stat().st_size)
    except ValueError as error:
        raise DataLoss(str(error)) from None


async def _decode_collection(data: bytes) -> object:
    store = MemoryStore()
    await store.put("collection.json", data)
    return await read_descriptor(store)


async def _decode_claim(data: bytes) -> object:
    store = MemoryStore()
    await store.put(paths.claim(1), data)
    return await newest_claim(store)


def _at_once(decode: Callable[[bytes], object]) -> Callable[[bytes], object]:
    """Runs a coroutine that never waits."""

    def run(data: bytes) -> object:
        try:
            decode(data).send(None)  # type: ignore[attr-defined]
        except StopIteration as ended:
            return ended.value
        raise AssertionError("a store in memory does not wait")

    return run


def _file(data: bytes, decode: Scratch) -> Object:
    return Object(data, decode.name, decode, reseal=reseal, bare=len(unsealed(data)))


def every_object() -> dict[str, Object]:
    """All of them, by name."""
    where = f"log record {POSITION} of shard {SHARD}"
    bodies: dict[str, Body] = {
        "upsert": Batch((BatchRequest("r-1", batch.encode(rows())), BatchRequest("r-2", None, ("a", "b")))),
        "deletes": Batch((BatchRequest("r-3", None, (1, -2, 3)),)),
        "reservation": Batch(()),
        "import": Batch((BatchRequest("r-4", None, segment=imported()),)),
        "fence": Fence("owner", "a:7301", 2),
        "publish": Publish(4, 77, 2),
        "pin": Pin("backup", 4, 6),
        "unpin": Unpin("backup"),
    }
    found = {
        f"record: {kind}": Object(record_of(body), where, decode_record, reseal=crc_behind)
        for kind, body in bodies.items()
    }
    name = f"manifest {POSITION} of shard {SHARD}"
    found["manifest"] = Object(_manifest(), name, _decode_manifest, reseal=crc_behind)
    vectors = sealed(np.arange(20, dtype="<f4").tobytes())
    header = Header(IndexKind.EXACT, Metric.COSINE, 4, 5).pack()
    assert len(header) == HEADER_BYTES
    descriptor = CollectionDescriptor(uid=UID, collection=SCHEMA, key_hash="blake2b-64")
    claim = ClaimRecord(holder=Claim(cluster="c", namespace="n", name="x"), collection=SCHEMA, stamp=1.5)
    return found | {
        "rows": _file(_rows_file(), Scratch("x.rows", _read_rows)),
        "vectors": _file(vectors, Scratch("x.vectors", _read_vectors)),
        "fields": _file(_fields_file(), Scratch("x.fields", _read_fields)),
        "requests": _file(
            _requests_file(), Scratch("x.requests", lambda path: segment.read_requests(CheckedFile.open(path)))
        ),
        "index": Object(header, "x.index", Scratch("x.index", _read_index), checksummed=False),
        "collection": Object(
            descriptor.model_dump_json().encode(), "collection.json", _at_once(_decode_collection), checksummed=False
        ),
        "claim": Object(claim.model_dump_json().encode(), paths.claim(1), _at_once(_decode_claim), checksummed=False),
    }


def truncated(data: bytes) -> Iterator[bytes]:
    """Cut at each offset."""
    for size in range(len(data)):
        yield data[:size]


def flipped(data: bytes, rng: random.Random, count: int) -> Iterator[bytes]:
    """One bit flipped: every bit of a small object, `count` random ones of a larger."""
    bits = range(8 * len(data)) if 8 * len(data) <= count else rng.sample(range(8 * len(data)), count)
    for bit in bits:
        yield data[: bit // 8] + bytes([data[bit // 8] ^ 1 << bit % 8]) + data[bit // 8 + 1 :]


def stretched(data: bytes, rng: random.Random, count: int) -> Iterator[bytes]:
    """An extreme number of 1, 2, 4 or 8 bytes written over whatever is there: counts, lengths, offsets."""
    for _ in range(count):
        size = rng.choice((1, 2, 4, 8))
        at = rng.randrange(max(1, len(data) - size))
        value = rng.choice(EXTREMES) % (1 << 8 * size)
        yield data[:at] + value.to_bytes(size, "little") + data[at + size :]
