"""The codec of log records: one record is one object of a shard's log.

Used by `log` and by whoever folds a log (`shard`). A record is

    magic "VFLR" · format u16 · kind u16 · shard u32 · position u64 · epoch u64 · stamp u64 · previous u32
    · nonce 16 bytes · uid (u16 length, UTF-8) · body · crc32c u32 of all bytes before it

little-endian. Every format keeps the magic, the format number behind it and the crc at the end, so that a newer
program's record is told from a damaged one. The chain value is the stored crc, never a crc over the whole object:
a crc over data that ends with its own crc is the same constant for every record.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from google_crc32c import extend as extend_crc32c
from google_crc32c import value as crc32c

from vectorfleet.partition import Key as Key
from vectorfleet_node.storage.format import FORMAT, IMPORTS, READABLE, readable
from vectorfleet_node.storage.store import DataLoss, StorageError
from vectorfleet_node.storage.wire import Reader, Truncated, pack_bytes, pack_length, pack_text

NONCE_BYTES: Final = 16
_MAGIC: Final = b"VFLR"
_HEADER: Final = struct.Struct("<4sHHIQQQI16s")
_CRC: Final = struct.Struct("<I")
_UPSERT, _DELETE_TEXT, _DELETE_INTEGERS, _IMPORT = 1, 2, 3, 4


class _Kind(IntEnum):
    BATCH = 1
    FENCE = 2
    PUBLISH = 3
    PIN = 4
    UNPIN = 5


class UnknownRecord(StorageError):
    """An undamaged record that this version cannot read: the replica must stop before it."""


@dataclass(frozen=True)
class BatchRequest:
    """One client request's part in this shard: an upsert, an import or, when both are None, deletes.

    upsert: an Arrow IPC stream as `shard.batch.encode` makes it. deletes: keys of one type. segment: the JSON of a
    `manifest.SegmentEntry`, whose rows are written by this request; it has a record for itself, of format 2 or later.
    """

    request_id: str
    upsert: bytes | None
    deletes: tuple[Key, ...] = ()
    segment: bytes | None = None


@dataclass(frozen=True)
class Batch:
    """Writes that become visible together. Row numbers run through the requests in order.

    One without requests reserves its position, and so the sequences of its rows, for a segment to be imported.
    """

    requests: tuple[BatchRequest, ...]

    @property
    def imports(self) -> bool:
        """Whether it is an import."""
        return any(request.segment is not None for request in self.requests)


@dataclass(frozen=True)
class Fence:
    """Makes `owner` (random per process start; empty in slot 1) the leader, reachable at peer `address`.

    format: what this owner writes, this record included (`storage.format`).
    """

    owner: str
    address: str
    format: int


@dataclass(frozen=True)
class Publish:
    """Makes manifest number `manifest` (its bytes have this crc32c) count; slots up to `boundary` may be collected."""

    manifest: int
    crc: int
    boundary: int


@dataclass(frozen=True)
class Pin:
    """Keeps a manifest and the log slots (manifest, through] from collection."""

    name: str
    manifest: int
    through: int


@dataclass(frozen=True)
class Unpin:
    """Ends a pin."""

    name: str


Body = Batch | Fence | Publish | Pin | Unpin


@dataclass(frozen=True)
class Record:
    """One slot of a shard's log.

    stamp: milliseconds since the epoch, greater than the stamp before it. previous: chain value of record
    position - 1, 0 for slot 1. nonce: 16 bytes, drawn anew for each body. format: how it is written.
    """

    uid: str
    shard: int
    position: int
    epoch: int
    nonce: bytes
    stamp: int
    previous: int
    body: Body
    format: int = FORMAT


def encode(record: Record) -> bytes:
    """The record's bytes. ValueError when a value does not fit the format."""
    if len(record.nonce) != NONCE_BYTES:
        raise ValueError(f"nonce has {len(record.nonce)} bytes; it must have {NONCE_BYTES}")
    if problem := _misplaced_import(record.body, record.format):
        raise ValueError(f"record {record.position} {problem}")
    kind, body = _encode_body(record.body)
    try:
        header = _HEADER.pack(
            _MAGIC,
            record.format,
            kind,
            record.shard,
            record.position,
            record.epoch,
            record.stamp,
            record.previous,
            record.nonce,
        )
    except struct.error as error:
        raise ValueError(f"record {record.position} does not fit the log format: {error}") from None
    pieces, crc = [header, pack_text(record.uid), *body], 0
    for piece in pieces:
        crc = extend_crc32c(crc, piece)
    return b"".join([*pieces, _CRC.pack(crc)])  # copied once: a record has megabytes


def decode(data: bytes, *, uid: str | None, shard: int, position: int) -> Record:
    """The record in `data`, which was read from that slot of that shard of that collection (None: any).

    DataLoss when the bytes are damaged or belong to another slot; UnknownRecord when a newer version wrote them.
    """
    where = f"log record {position} of shard {shard}"
    if len(data) < len(_MAGIC) + 2 + _CRC.size or data[: len(_MAGIC)] != _MAGIC:
        raise DataLoss(f"{where} is not a log record ({len(data)} bytes)")
    content = data[: -_CRC.size]
    if crc32c(content) != chain_value(data):
        raise DataLoss(f"{where} is damaged: its checksum is wrong")
    written = int.from_bytes(data[4:6], "little")
    if written not in READABLE:
        raise UnknownRecord(f"{where} has format {written}; this version reads {readable()}")
    try:
        record = _decode_content(content, where)
    except (Truncated, struct.error, UnicodeDecodeError) as error:
        raise DataLoss(f"{where} is malformed: {error}") from None
    if (record.shard, record.position) != (shard, position) or (uid is not None and record.uid != uid):
        raise DataLoss(
            f"{where} of collection {uid or '(any)'} holds record {record.position} of shard {record.shard} "
            f"of collection {record.uid}"
        )
    return record


def chain_value(data: bytes) -> int:
    """What the next record's `previous` must be, given this record's (valid) bytes."""
    return int.from_bytes(data[-_CRC.size :], "little")


def _decode_content(content: bytes, where: str) -> Record:
    _, written, kind, shard, position, epoch, stamp, previous, nonce = _HEADER.unpack_from(content)
    reader = Reader(content, _HEADER.size)
    uid = reader.text()
    body = _decode_body(kind, reader, where)
    reader.end()
    if problem := _misplaced_import(body, written):
        raise DataLoss(f"{where} {problem}")
    if isinstance(body, Fence) and body.format > FORMAT:
        raise UnknownRecord(f"{where} begins format {body.format}; this version reads {readable()}")
    return Record(uid, shard, position, epoch, nonce, stamp, previous, body, written)


def _misplaced_import(body: Body, written: int) -> str:
    """What is wrong with a batch that holds an import; empty when nothing is."""
    if not isinstance(body, Batch) or not body.imports:
        return ""
    if written < IMPORTS:
        return f"imports a segment in format {written}, which has no imports"
    return "" if len(body.requests) == 1 else f"imports a segment beside {len(body.requests) - 1} other requests"


def _encode_body(body: Body) -> tuple[int, list[bytes]]:
    """The kind of a record, and its body in pieces."""
    match body:
        case Batch():
            requests = [piece for request in body.requests for piece in _encode_request(request)]
            return _Kind.BATCH, [struct.pack("<I", len(body.requests)), *requests]
        case Fence():
            return _Kind.FENCE, [pack_text(body.owner), pack_text(body.address), struct.pack("<H", body.format)]
        case Publish():
            return _Kind.PUBLISH, [struct.pack("<QIQ", body.manifest, body.crc, body.boundary)]
        case Pin():
            return _Kind.PIN, [pack_text(body.name), struct.pack("<QQ", body.manifest, body.through)]
        case Unpin():
            return _Kind.UNPIN, [pack_text(body.name)]


def _decode_body(kind: int, reader: Reader, where: str) -> Body:
    match kind:
        case _Kind.BATCH:
            (count,) = reader.unpack("<I")
            return Batch(tuple(_decode_request(reader, where) for _ in range(count)))
        case _Kind.FENCE:
            return Fence(reader.text(), reader.text(), *reader.unpack("<H"))
        case _Kind.PUBLISH:
            return Publish(*reader.unpack("<QIQ"))
        case _Kind.PIN:
            return Pin(reader.text(), *reader.unpack("<QQ"))
        case _Kind.UNPIN:
            return Unpin(reader.text())
    raise UnknownRecord(f"{where} is of kind {kind}, which this version does not know")


def _encode_request(request: BatchRequest) -> list[bytes]:
    name = pack_text(request.request_id)
    if sum((request.upsert is not None, bool(request.deletes), request.segment is not None)) > 1:
        raise ValueError(f"request {request.request_id} is to do more than one of upsert, delete and import")
    if request.segment is not None:
        return [name, struct.pack("<B", _IMPORT), pack_bytes(request.segment)]
    if request.upsert is not None:
        return [name, struct.pack("<B", _UPSERT), pack_length(request.upsert), request.upsert]
    texts = [key for key in request.deletes if isinstance(key, str)]
    integers = [key for key in request.deletes if isinstance(key, int)]
    if texts and integers:
        raise ValueError(f"request {request.request_id} deletes keys of two types")
    if integers:
        try:
            return [name, struct.pack(f"<BI{len(integers)}q", _DELETE_INTEGERS, len(integers), *integers)]
        except struct.error:
            raise ValueError(f"request {request.request_id} deletes a key outside of 64 bits") from None
    return [name, struct.pack("<BI", _DELETE_TEXT, len(texts)), *(pack_bytes(key.encode()) for key in texts)]


def _decode_request(reader: Reader, where: str) -> BatchRequest:
    name = reader.text()
    (tag,) = reader.unpack("<B")
    if tag == _UPSERT:
        return BatchRequest(name, reader.bytes(), ())
    if tag == _DELETE_TEXT:
        (count,) = reader.unpack("<I")
        return BatchRequest(name, None, tuple(reader.bytes().decode() for _ in range(count)))
    if tag == _DELETE_INTEGERS:
        (count,) = reader.unpack("<I")
        return BatchRequest(name, None, reader.unpack_many(count, "q", 8))
    if tag == _IMPORT:
        return BatchRequest(name, None, segment=reader.bytes())
    raise UnknownRecord(f"{where} holds a request of kind {tag}, which this version does not know")
