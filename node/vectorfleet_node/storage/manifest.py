"""A manifest: the whole state of a shard at one log position, as an object called after that position.

The shard's leader writes it and a `publish` record makes it count; loading a shard begins with one. Its bytes are

    magic "VFMF" · format u16 · JSON of `Manifest` · crc32c u32 of all bytes before it

The publish record names that stored crc: a crc over bytes that end with their own crc is the same for all.
"""

from __future__ import annotations

import struct
from typing import Final

import numpy as np
from google_crc32c import value as crc32c
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, ValidationError
from pydantic.main import IncEx

from vectorfleet.schema import Frozen, IndexKind
from vectorfleet_node.storage.format import FIELD_INDEXES, FORMAT, READABLE, readable
from vectorfleet_node.storage.record import UnknownRecord
from vectorfleet_node.storage.store import DataLoss

_SINCE_2: Final = {"fences", "fences_since", "imports"}  # fields; readers of format 1 refuse what they do not know
_MAGIC: Final = b"VFMF"
_HEADER: Final = struct.Struct("<4sH")
_CRC: Final = struct.Struct("<I")


class FileEntry(Frozen):
    """One immutable file under `segments/`. Its name becomes a path on this node: it may not lead elsewhere."""

    name: str = Field(pattern=r"^[0-9A-Za-z_.-]*$")
    size: int = Field(ge=0)
    crc32c: int = Field(ge=0, lt=1 << 32)


class IndexEntry(Frozen):
    """An index artefact and how to open it."""

    kind: IndexKind
    file: FileEntry


class SegmentEntry(Frozen):
    """A segment: its files, and which rows are live at the manifest's position.

    vectors, indexes: by vector name. fields: the indexes of its payload fields; None where none is indexed, and in
    format 1. live: one bit a row, least significant first; empty when every row is live.
    """

    model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")

    count: int = Field(ge=1)
    rows: FileEntry
    vectors: dict[str, FileEntry]
    indexes: dict[str, IndexEntry]
    fields: FileEntry | None = None
    live: bytes = b""

    def live_mask(self) -> NDArray[np.bool_]:
        """(count,) bool, a fresh array: the rows that were live at the manifest's position."""
        if not self.live:
            return np.ones(self.count, np.bool_)
        packed = np.frombuffer(self.live, np.uint8)
        return np.unpackbits(packed, count=self.count, bitorder="little").astype(np.bool_)

    def with_live(self, live: NDArray[np.bool_]) -> SegmentEntry:
        """The entry with other live rows."""
        packed = b"" if live.all() else np.packbits(live, bitorder="little").tobytes()
        return self.model_copy(update={"live": packed})

    def names(self) -> tuple[str, ...]:
        """What tells a segment from every other: the names of its files. Its rows' alone stay when it is reindexed."""
        return tuple(file.name for file in self.files())

    def files(self) -> list[FileEntry]:
        """Every file of the segment."""
        return [self.rows, *self.vectors.values(), *self.derived()]

    def derived(self) -> list[FileEntry]:
        """The files that could be made anew from the rows and vectors: indexes."""
        return [*(index.file for index in self.indexes.values()), *([self.fields] if self.fields else [])]


class RequestsEntry(Frozen):
    """A file of request ids, all of log positions in (the entry before it, `through`]."""

    through: int
    count: int
    file: FileEntry


class PublishedEntry(Frozen):
    """A manifest that a publish record made count."""

    position: int
    crc: int


class PinEntry(Frozen):
    """A pin: manifest `manifest` and log slots (manifest, through] are kept."""

    name: str
    manifest: int
    through: int


class ImportEntry(Frozen):
    """An imported segment that a replica may still have to read: the record that did it, and its files' names."""

    position: int
    files: tuple[str, ...]


class Manifest(Frozen):
    """S_p and where its rows are.

    format: how it is written, and the newest fence's: no file that it names is of a later one. chain, stamp: of record
    p. epoch, owner, address: of the newest fence. first_hash, last_hash: the inclusive range of key hashes that is this
    shard. row_hash: 64 hex digits, the sum of the live rows' hashes. low: newest log position whose request ids were
    forgotten. published, boundary, pins: as folded from the log. fences: slots of all fences after slot `fences_since`;
    a manifest of format 1 does not say (None), and nothing of its log was ever collected. imports: of records above the
    boundary or kept by a pin: whoever replays those needs the files, whatever became of the segments since.
    """

    format: int = Field(default=FORMAT, exclude=True)
    uid: str
    shard: int
    position: int
    chain: int
    epoch: int
    stamp: int
    owner: str
    address: str
    first_hash: int
    last_hash: int
    rows: int
    row_hash: str
    segments: tuple[SegmentEntry, ...]
    requests: tuple[RequestsEntry, ...]
    low: int
    published: tuple[PublishedEntry, ...]
    boundary: int
    pins: tuple[PinEntry, ...]
    fences: tuple[int, ...] = ()
    fences_since: int | None = None
    imports: tuple[ImportEntry, ...] = ()

    def files(self) -> list[FileEntry]:
        """Every file under `segments/` that the manifest names."""
        return [file for segment in self.segments for file in segment.files()] + [part.file for part in self.requests]


def encode(manifest: Manifest) -> bytes:
    """The manifest's bytes, in its format."""
    left_out: IncEx | None = None
    if manifest.format < FIELD_INDEXES:
        left_out = dict.fromkeys(_SINCE_2, True) | {"segments": {"__all__": {"fields"}}}
    content = _HEADER.pack(_MAGIC, manifest.format) + manifest.model_dump_json(exclude=left_out).encode()
    return content + _CRC.pack(crc32c(content))


def stored_crc(data: bytes) -> int:
    """The crc that the publish record of a (valid) manifest names."""
    return int.from_bytes(data[-_CRC.size :], "little")


def decode(data: bytes, *, uid: str, shard: int, position: int) -> Manifest:
    """The manifest in `data`. DataLoss when it is damaged or of another shard; UnknownRecord: of a newer version."""
    where = f"manifest {position} of shard {shard}"
    if len(data) < _HEADER.size + _CRC.size or data[: len(_MAGIC)] != _MAGIC:
        raise DataLoss(f"{where} is not a manifest ({len(data)} bytes)")
    if crc32c(data[: -_CRC.size]) != stored_crc(data):
        raise DataLoss(f"{where} is damaged: its checksum is wrong")
    _, written = _HEADER.unpack_from(data)
    if written not in READABLE:
        raise UnknownRecord(f"{where} has format {written}; this version reads {readable()}")
    try:
        manifest = Manifest.model_validate_json(data[_HEADER.size : -_CRC.size])
    except ValidationError as error:
        if kinds := {str(problem["input"]) for problem in error.errors() if problem["loc"][-1:] == ("kind",)}:
            named, known = ", ".join(sorted(kinds)), ", ".join(IndexKind)
            raise UnknownRecord(f"{where} has indexes of the kind {named}; this version knows {known}") from None
        raise DataLoss(f"{where} is malformed: {error}") from None
    if (manifest.uid, manifest.shard, manifest.position) != (uid, shard, position):
        raise DataLoss(
            f"{where} of collection {uid} holds manifest {manifest.position} of shard {manifest.shard} "
            f"of collection {manifest.uid}"
        )
    return manifest.model_copy(update={"format": written})
