"""The state of a shard at a log position: a fold of records 1..n and nothing else (no clock, no settings).

`replica` applies records in order, on the event loop, each at once: a reader sees a record whole or not at all. The
trap is that every replica must come to the same state, so whatever a record means is decided here, and only here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from vectorfleet.partition import hashes_of
from vectorfleet.schema import CollectionSchema
from vectorfleet_node.shard.blocks import Segment
from vectorfleet_node.shard.layout import Layout
from vectorfleet_node.shard.overlap import Overlap
from vectorfleet_node.shard.parts import (
    ROW_BITS,
    DecodedPart,
    Import,
    Upsert,
    first_sequence,
    imported_entry,
    read_requests,
)
from vectorfleet_node.shard.requests import RequestTable
from vectorfleet_node.shard.rowhash import LANES, Hashes, to_hex, total
from vectorfleet_node.shard.snapshot import Snapshot, UndoPage
from vectorfleet_node.shard.view import Key
from vectorfleet_node.storage.format import READABLE
from vectorfleet_node.storage.log import Entry
from vectorfleet_node.storage.manifest import (
    ImportEntry,
    Manifest,
    PinEntry,
    PublishedEntry,
    RequestsEntry,
    SegmentEntry,
)
from vectorfleet_node.storage.record import Batch, Fence, Pin, Publish, Record, Unpin
from vectorfleet_node.storage.store import DataLoss, StorageError


@dataclass(frozen=True)
class FrozenState:
    """S_p as a value. head: its manifest, without files. segments: of the layout in use. request_files, new_requests:
    what of the request table to keep in files, and what to write.
    """

    head: Manifest
    snapshot: Snapshot
    segments: tuple[Segment, ...]
    request_files: tuple[RequestsEntry, ...]
    new_requests: list[tuple[str, int]]


@dataclass(frozen=True)
class _Prepared:
    record: Record
    parts: list[DecodedPart]
    overlap: Overlap | None  # of an import


def imports_of(record: Record) -> list[SegmentEntry]:
    """The segments that must be open before the record can be applied. DataLoss when it does not say which."""
    if not isinstance(record.body, Batch):
        return []
    requests = [request for request in record.body.requests if request.segment is not None]
    return [imported_entry(request, record.position) for request in requests]


class ShardState:
    """S_n, and the layout of its rows.

    published: position -> crc of the manifests that count and are at or above `boundary`. pins: name -> (manifest,
    last log slot kept). fences: slots of all fences after slot `fences_since`, ascending. imports: position -> names of
    the files that the record there imports, of all records above `boundary` or kept by a pin. rows: how many are live.
    row_hash: (4,) uint64. log_bytes: size of the records since the newest publish record. format: the newest fence's.
    installed: called after each swap of the layout, which may have made room in memory.
    """

    def __init__(self, collection: CollectionSchema) -> None:
        self.position = 0
        self.chain = 0
        self.stamp = 0
        self.epoch = 0
        self.owner = ""
        self.address = ""
        self.format = READABLE[0]
        self.published: dict[int, int] = {}
        self.boundary = 0
        self.pins: dict[str, tuple[int, int]] = {}
        self.fences: list[int] = []
        self.fences_since = 0
        self.imports: dict[int, tuple[str, ...]] = {}
        self.requests = RequestTable()
        self.rows = 0
        self.row_hash: Hashes = np.zeros(LANES, np.uint64)
        self.layout = Layout(collection)
        self.log_bytes = 0
        self.installed: Callable[[], None] = lambda: None
        self._collection = collection
        self._keys: dict[Key, int] = {}  # of live growing rows: sequence
        self._page = UndoPage()
        self._prepared: _Prepared | None = None
        self._offered: dict[str, Segment] = {}  # opened, to be imported, by name of their rows file
        self._snapshot: Snapshot | None = None

    @classmethod
    def at_manifest(
        cls,
        manifest: Manifest,
        segments: Iterable[Segment],
        requests: list[tuple[str, int]],
        collection: CollectionSchema,
    ) -> ShardState:
        """S_p from its manifest; slow. DataLoss when the live rows are not those the manifest was made of."""
        state = cls(collection)
        state.position, state.chain, state.stamp = manifest.position, manifest.chain, manifest.stamp
        state.epoch, state.owner, state.address = manifest.epoch, manifest.owner, manifest.address
        state.format = manifest.format
        state.published = {entry.position: entry.crc for entry in manifest.published}
        state.boundary = manifest.boundary
        state.pins = {pin.name: (pin.manifest, pin.through) for pin in manifest.pins}
        state.fences = list(manifest.fences)
        state.fences_since = manifest.position if manifest.fences_since is None else manifest.fences_since
        state.imports = {entry.position: entry.files for entry in manifest.imports}
        state.requests = RequestTable(requests, manifest.low)
        state.layout.install(manifest.position, segments, manifest.requests)
        for part in state.layout.parts():
            live = part.block.live
            state.rows += part.block.live_rows
            state.row_hash = state.row_hash + total(part.hashes if live.all() else part.hashes[live])
        if (to_hex(state.row_hash), state.rows) != (manifest.row_hash, manifest.rows):
            raise DataLoss(
                f"manifest {manifest.position} of shard {manifest.shard}: its segments hold {state.rows} rows "
                f"with hash {to_hex(state.row_hash)}; it says {manifest.rows} with hash {manifest.row_hash}"
            )
        return state

    @property
    def newest_published(self) -> int:
        """Position of the newest manifest that counts, 0 when there is none."""
        return max(self.published, default=0)

    def snapshot(self) -> Snapshot:
        """What a reader sees now; the same object until the state changes."""
        if self._snapshot is None:
            self._snapshot = Snapshot(self.position, self.layout.parts(), self._keys, self._page)
        return self._snapshot

    def freeze(self, uid: str, shard: int) -> FrozenState:
        """The present state as a value, for sealing in a thread."""
        request_files, new_requests = self.requests.unsaved(self.layout.requests)
        hashes = hashes_of(shard, self._collection.shards)
        head = Manifest(
            format=self.format,
            uid=uid,
            shard=shard,
            position=self.position,
            chain=self.chain,
            epoch=self.epoch,
            stamp=self.stamp,
            owner=self.owner,
            address=self.address,
            first_hash=hashes.start,
            last_hash=hashes.stop - 1,
            rows=self.rows,
            row_hash=to_hex(self.row_hash),
            segments=(),
            requests=(),
            low=self.requests.low,
            published=tuple(PublishedEntry(position=p, crc=crc) for p, crc in sorted(self.published.items())),
            boundary=self.boundary,
            pins=tuple(PinEntry(name=n, manifest=m, through=r) for n, (m, r) in sorted(self.pins.items())),
            fences=tuple(self.fences),
            fences_since=self.fences_since,
            imports=tuple(ImportEntry(position=p, files=files) for p, files in sorted(self.imports.items())),
        )
        return FrozenState(head, self.snapshot(), self.layout.segments, request_files, new_requests)

    def install(self, manifest: Manifest, segments: Iterable[Segment]) -> None:
        """Swaps the layout to that of a manifest at or below the present position. Changes no answer."""
        self.layout.install(manifest.position, segments, manifest.requests)
        # A new dictionary: earlier snapshots keep theirs, which says what grew in their time.
        first = first_sequence(manifest.position + 1)
        self._keys = {key: sequence for key, sequence in self._keys.items() if sequence >= first}
        self._page = UndoPage()
        self._snapshot = None
        self.installed()

    def replace(self, segment: Segment) -> bool:
        """Reads a segment's rows from other copies of its files from now on, if it is in use. Changes no answer."""
        self._snapshot = None
        return self.layout.replace(segment)

    def offer(self, segment: Segment, name: str = "") -> None:
        """Opened: a segment that a record to come imports.

        name: of the rows file that the record names, where the rows were written anew since.
        """
        self._offered[name or segment.entry.rows.name] = segment

    def offered(self, entry: SegmentEntry) -> bool:
        """Whether a record that imports it could be applied."""
        return entry.rows.name in self._offered

    def withdraw(self, segment: Segment) -> None:
        """No record will import it."""
        self._offered.pop(segment.entry.rows.name, None)

    def prepare(self, record: Record) -> None:
        """Decodes a record and looks its rows up while it is on its way to the log, for `apply`. Safe in any thread.

        Rows that do not fit are left to `apply` to refuse.
        """
        if not isinstance(record.body, Batch):
            return
        with suppress(DataLoss):
            parts = read_requests(record.body.requests, record.position, self._collection)
            part = parts[0] if parts else None
            segment = self._offered.get(part.entry.rows.name) if isinstance(part, Import) else None
            self._prepared = _Prepared(record, parts, None if segment is None else self._overlap(segment))

    def apply(self, entry: Entry) -> None:
        """Makes S_n+1 of S_n. DataLoss, with nothing changed, when the record cannot follow."""
        record = entry.record
        if record.position != self.position + 1 or record.previous != self.chain:
            raise DataLoss(f"log record {record.position} does not follow record {self.position}")
        if (record.epoch <= self.epoch) if isinstance(record.body, Fence) else (record.epoch != self.epoch):
            raise DataLoss(f"log record {record.position} has epoch {record.epoch} after epoch {self.epoch}")
        match record.body:
            case Batch():
                self._apply_batch(self._prepared_parts(record, record.body), record)
            case Fence():
                self.epoch, self.owner, self.address = record.epoch, record.body.owner, record.body.address
                self.format = max(self.format, record.body.format)
                self.fences.append(record.position)
            case Publish():
                self._apply_publish(record.body)
            case Pin(name, manifest, through):
                if manifest in self.published:
                    self.pins[name] = (manifest, through)
            case Unpin(name):
                self.pins.pop(name, None)
        if self.imports and isinstance(record.body, Publish | Pin | Unpin):
            self.imports = {position: files for position, files in self.imports.items() if self._kept(position)}
        self.position, self.chain, self.stamp = record.position, entry.chain, record.stamp
        self.log_bytes += len(entry.data)
        self._snapshot = None

    def _kept(self, position: int) -> bool:
        """Whether a replica may yet be loaded by the record at that position."""
        return position > self.boundary or any(start < position <= end for start, end in self.pins.values())

    def _prepared_parts(self, record: Record, batch: Batch) -> _Prepared:
        prepared, self._prepared = self._prepared, None
        if prepared is not None and (prepared.record.position, prepared.record.nonce) == (
            record.position,
            record.nonce,
        ):
            return prepared  # the same bytes, whether they were sent or read
        return _Prepared(record, read_requests(batch.requests, record.position, self._collection), None)

    def _overlap(self, segment: Segment) -> Overlap:
        return Overlap.of(segment, self.position, list(self._keys), self.layout.segments)

    def _apply_publish(self, body: Publish) -> None:
        self.boundary = max(self.boundary, body.boundary)
        self.published[body.manifest] = body.crc
        self.published = {position: crc for position, crc in self.published.items() if position >= self.boundary}
        self.log_bytes = 0

    def _apply_batch(self, prepared: _Prepared, record: Record) -> None:
        position = record.position
        for part in prepared.parts:
            if isinstance(part, Import):
                self._apply_import(part, prepared.overlap, record)
                return  # it has a record for itself
        page, self._page = self._page, UndoPage()
        page.before = {key: self._keys.get(key) for part in prepared.parts for key in _keys_of(part)}
        page.next = self._page
        for part in prepared.parts:
            self._supersede(_keys_of(part), position)
            if isinstance(part, Upsert):
                self._add(part, position)
            self.requests.add(part.request_id, position)

    def _apply_import(self, part: Import, overlap: Overlap | None, record: Record) -> None:
        segment = self._offered.get(part.entry.rows.name)
        if segment is None:
            raise StorageError(f"{part.entry.rows.name}, which log record {record.position} imports, is not open yet")
        _check_reserved(segment, record.position)
        if overlap is None or overlap.segment is not segment or overlap.position != self.position:
            overlap = self._overlap(segment)
        del self._offered[part.entry.rows.name]
        page, self._page = self._page, UndoPage()
        page.before = {key: self._keys.get(key) for key in overlap.growing}
        page.next = self._page
        growing = [self._keys.pop(key) for key in overlap.growing if key in self._keys]
        hidden, hashes = self.layout.kill_shared(record.position, growing, overlap.shared)
        self.layout.add_segment(record.position, segment)
        self.rows += segment.entry.count - hidden
        self.row_hash = self.row_hash + overlap.hashes - hashes
        self.imports[record.position] = part.entry.names()
        self.requests.add(part.request_id, record.position)

    def _supersede(self, keys: Sequence[Key], position: int) -> None:
        """Hides the live versions of keys."""
        growing, sealed = [], []
        for key in dict.fromkeys(keys):  # twice in one request is once
            sequence = self._keys.pop(key, None)
            if sequence is None:
                sealed.append(key)
            else:
                growing.append(sequence)
        hidden, hashes = self.layout.kill(position, growing, sealed)
        self.rows -= hidden
        self.row_hash = self.row_hash - hashes

    def _add(self, part: Upsert, position: int) -> None:
        """Adds rows whose keys have no live version; of a key that is there twice, the last counts."""
        self.layout.append(part)
        newest = dict(zip(part.keys, part.sequences, strict=True))
        self._keys |= newest
        older = [s for key, s in zip(part.keys, part.sequences, strict=True) if newest[key] != s]
        _, hashes = self.layout.kill(position, older, [])
        self.rows += len(newest)
        self.row_hash = self.row_hash + total(part.hashes) - hashes


def _keys_of(part: DecodedPart) -> Sequence[Key]:
    return () if isinstance(part, Import) else part.keys


def _check_reserved(segment: Segment, position: int) -> None:
    """DataLoss unless all rows have sequences of one earlier position, which nothing else can have."""
    first, last = (int(segment.content.sequences[row]) >> ROW_BITS for row in (0, -1))
    if first != last or last >= position:
        raise DataLoss(
            f"log record {position} imports {segment.entry.rows.name}, whose rows are of positions {first} to {last}: "
            "they must be of one position, reserved before"
        )
