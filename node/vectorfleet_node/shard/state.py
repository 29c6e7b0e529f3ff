"""The state of a shard at a log position: a fold of records 1..n and nothing else (no clock, no settings).

`replica` applies records in order, on the event loop, each at once: a reader sees a record whole or not at all. The
trap is that every replica must come to the same state, so whatever a record means is decided here, and only here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np

from vectorfleet.schema import CollectionSchema
from vectorfleet_node.shard.blocks import Segment
from vectorfleet_node.shard.layout import Layout
from vectorfleet_node.shard.parts import Deletion, Upsert, read_requests
from vectorfleet_node.shard.requests import RequestTable
from vectorfleet_node.shard.rowhash import LANES, Hashes, to_hex, total
from vectorfleet_node.shard.snapshot import Snapshot, UndoPage
from vectorfleet_node.shard.view import Key
from vectorfleet_node.storage.log import Entry
from vectorfleet_node.storage.manifest import Manifest, PinEntry, PublishedEntry, RequestsEntry
from vectorfleet_node.storage.record import Batch, Fence, Pin, Publish, Unpin
from vectorfleet_node.storage.segment import KEY
from vectorfleet_node.storage.store import DataLoss

_PIECE_ROWS: Final = 4096


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
    last log slot kept). row_hash: (4,) uint64. log_bytes: size of the records since the newest publish record.
    """

    def __init__(self, collection: CollectionSchema) -> None:
        self.position = 0
        self.chain = 0
        self.stamp = 0
        self.epoch = 0
        self.owner = ""
        self.address = ""
        self.published: dict[int, int] = {}
        self.boundary = 0
        self.pins: dict[str, tuple[int, int]] = {}
        self.requests = RequestTable()
        self.row_hash: Hashes = np.zeros(LANES, np.uint64)
        self.layout = Layout(collection)
        self.log_bytes = 0
        self._collection = collection
        self._keys: dict[Key, int] = {}
        self._page = UndoPage()
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
        state.published = {entry.position: entry.crc for entry in manifest.published}
        state.boundary = manifest.boundary
        state.pins = {pin.name: (pin.manifest, pin.through) for pin in manifest.pins}
        state.requests = RequestTable(requests, manifest.low)
        state.layout.install(manifest.position, segments, manifest.requests)
        for part in state.layout.parts():
            live = np.flatnonzero(part.block.live)
            state.row_hash = state.row_hash + total(part.hashes[live])
            keys, sequences = part.block.rows.column(KEY).take(live), part.sequences[live]
            for start in range(0, len(live), _PIECE_ROWS):  # in pieces: each holds the interpreter's lock
                piece = keys.slice(start, _PIECE_ROWS).to_pylist()
                state._keys.update(zip(piece, sequences[start : start + _PIECE_ROWS].tolist(), strict=True))
        if (to_hex(state.row_hash), len(state._keys)) != (manifest.row_hash, manifest.rows):
            raise DataLoss(
                f"manifest {manifest.position} of shard {manifest.shard}: its segments hold {len(state._keys)} rows "
                f"with hash {to_hex(state.row_hash)}; it says {manifest.rows} with hash {manifest.row_hash}"
            )
        return state

    @property
    def rows(self) -> int:
        """How many live rows there are."""
        return len(self._keys)

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
        )
        return FrozenState(head, self.snapshot(), self.layout.segments, request_files, new_requests)

    def install(self, manifest: Manifest, segments: Iterable[Segment]) -> None:
        """Swaps the layout to that of a manifest at or below the present position. Changes no answer."""
        self.layout.install(manifest.position, segments, manifest.requests)
        self._snapshot = None

    def apply(self, entry: Entry) -> None:
        """Makes S_n+1 of S_n. DataLoss, with nothing changed, when the record cannot follow."""
        record = entry.record
        if record.position != self.position + 1 or record.previous != self.chain:
            raise DataLoss(f"log record {record.position} does not follow record {self.position}")
        if (record.epoch <= self.epoch) if isinstance(record.body, Fence) else (record.epoch != self.epoch):
            raise DataLoss(f"log record {record.position} has epoch {record.epoch} after epoch {self.epoch}")
        match record.body:
            case Batch(requests):
                self._apply_batch(read_requests(requests, record.position, self._collection), record.position)
            case Fence():
                self.epoch, self.owner, self.address = record.epoch, record.body.owner, record.body.address
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
            superseded = self._upsert(part) if isinstance(part, Upsert) else self._delete(part)
            self.row_hash = self.row_hash - self.layout.kill(position, superseded)
            self.requests.add(part.request_id, position)

    def _upsert(self, part: Upsert) -> list[int]:
        self.layout.append(part)
        self.row_hash = self.row_hash + total(part.hashes)
        superseded = []
        for key, sequence in zip(part.keys, part.sequences, strict=True):
            old = self._keys.get(key)
            if old is not None:
                superseded.append(old)
            self._keys[key] = sequence
        return superseded

    def _delete(self, part: Deletion) -> list[int]:
        found = (self._keys.pop(key, None) for key in part.keys)
        return [sequence for sequence in found if sequence is not None]
