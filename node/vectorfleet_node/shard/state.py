"""The state of a shard at a log position: a fold of records 1..n and nothing else (no clock, no settings).

`replica` applies records in order, on the event loop, each at once: a reader sees a record whole or not at all. The
trap is that every replica must come to the same state, so whatever a record means is decided here, and only here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from vectorfleet.schema import CollectionSchema
from vectorfleet_node.shard.blocks import Segment
from vectorfleet_node.shard.layout import Layout
from vectorfleet_node.shard.parts import Deletion, Upsert, first_sequence, read_requests
from vectorfleet_node.shard.requests import RequestTable
from vectorfleet_node.shard.rowhash import LANES, Hashes, to_hex, total
from vectorfleet_node.shard.snapshot import Snapshot, UndoPage
from vectorfleet_node.shard.view import Key
from vectorfleet_node.storage.format import READABLE
from vectorfleet_node.storage.log import Entry
from vectorfleet_node.storage.manifest import Manifest, PinEntry, PublishedEntry, RequestsEntry
from vectorfleet_node.storage.record import Batch, Fence, Pin, Publish, Record, Unpin
from vectorfleet_node.storage.store import DataLoss


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


class ShardState:
    """S_n, and the layout of its rows.

    published: position -> crc of the manifests that count and are at or above `boundary`. pins: name -> (manifest,
    last log slot kept). fences: slots of all fences after slot `fences_since`, ascending. rows: how many are live.
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
        self.requests = RequestTable()
        self.rows = 0
        self.row_hash: Hashes = np.zeros(LANES, np.uint64)
        self.layout = Layout(collection)
        self.log_bytes = 0
        self.installed: Callable[[], None] = lambda: None
        self._collection = collection
        self._keys: dict[Key, int] = {}  # of live growing rows: sequence
        self._page = UndoPage()
        self._prepared: tuple[Record, list[Upsert | Deletion]] | None = None
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
        shards = self._collection.shards
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
            first_hash=-(-(shard << 64) // shards),
            last_hash=-(-((shard + 1) << 64) // shards) - 1,
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

    def prepare(self, record: Record) -> None:
        """Decodes and hashes a record's rows while it is on its way to the log, for `apply`. Safe in any thread.

        Rows that do not fit are left to `apply` to refuse.
        """
        if isinstance(record.body, Batch):
            with suppress(DataLoss):
                self._prepared = record, read_requests(record.body.requests, record.position, self._collection)

    def apply(self, entry: Entry) -> None:
        """Makes S_n+1 of S_n. DataLoss, with nothing changed, when the record cannot follow."""
        record = entry.record
        if record.position != self.position + 1 or record.previous != self.chain:
            raise DataLoss(f"log record {record.position} does not follow record {self.position}")
        if (record.epoch <= self.epoch) if isinstance(record.body, Fence) else (record.epoch != self.epoch):
            raise DataLoss(f"log record {record.position} has epoch {record.epoch} after epoch {self.epoch}")
        match record.body:
            case Batch():
                self._apply_batch(self._parts(record, record.body), record.position)
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
        self.position, self.chain, self.stamp = record.position, entry.chain, record.stamp
        self.log_bytes += len(entry.data)
        self._snapshot = None

    def _parts(self, record: Record, batch: Batch) -> list[Upsert | Deletion]:
        prepared, self._prepared = self._prepared, None
        if prepared is not None and prepared[0] is record:
            return prepared[1]
        return read_requests(batch.requests, record.position, self._collection)

    def _apply_publish(self, body: Publish) -> None:
        self.boundary = max(self.boundary, body.boundary)
        self.published[body.manifest] = body.crc
        self.published = {position: crc for position, crc in self.published.items() if position >= self.boundary}
        self.log_bytes = 0

    def _apply_batch(self, parts: list[Upsert | Deletion], position: int) -> None:
        page, self._page = self._page, UndoPage()
        page.before = {key: self._keys.get(key) for part in parts for key in part.keys}
        page.next = self._page
        for part in parts:
            self._supersede(part.keys, position)
            if isinstance(part, Upsert):
                self._add(part, position)
            self.requests.add(part.request_id, position)

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
