"""Watches the store and everything that clients are told, and says at once when a promise is broken."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa

from vectorfleet_node.shard.rowhash import hash_rows, to_hex, total
from vectorfleet_node.shard.view import ShardView
from vectorfleet_node.storage import log as logs
from vectorfleet_node.storage import manifest as manifests
from vectorfleet_node.storage import paths
from vectorfleet_node.storage.record import Fence, Pin, Publish, Record, decode

from .bucket import Truth
from .ledger import Ledger, Row, Rows, Write
from .violation import Violation


class Oracle:
    """A `bucket.Witness`, and the clients' notary."""

    def __init__(self, truth: Truth, ledger: Ledger, events: Counter[str]) -> None:
        self.ledger = ledger
        self.pinned: dict[str, tuple[int, int]] = {}  # name -> (manifest, through) of pins that must hold
        self.acked = 0  # the highest position acknowledged
        self.read = 0  # the highest position a strong read has shown
        self.shown = 0  # the highest position any read has shown
        self.acks: list[tuple[float, int]] = []  # when, and the highest position acknowledged by then
        self._truth = truth
        self._events = events
        self._shard = ledger.shard
        self._format = 1
        self._unpublished: set[int] = set()
        self._files: dict[int, set[str]] = {}  # of published and pinned manifests
        self._named: set[str] = set()  # by whatever manifest or record
        truth.witness = self

    # What happens in the store.

    def created(self, key: str, body: bytes) -> None:
        """See `Witness`."""
        position = paths.number_of(key)
        if position is not None and key.startswith(paths.manifests_prefix(self._shard)):
            self._unpublished.add(position)
        if "/boundary/" in key:
            self._events["small marker" if "/boundary/1/" in key else "large marker"] += 1
        if position is None or not key.startswith(paths.log_prefix(self._shard)):
            return
        if position in self.ledger.first:
            self._collected_again(position, body)
            return
        record = self.ledger.append(position, body)
        self._named |= self.ledger.imports.get(position, set())
        match record.body:
            case Publish():
                self._published(record, record.body)
            case Pin():
                self._events["pin"] += 1
            case Fence(format=written) if position > 1:
                self._events["format raised"] += written > self._format
                self._format = max(self._format, written)

    def _collected_again(self, position: int, body: bytes) -> None:
        record = decode(body, uid=self.ledger.uid, shard=self._shard, position=position)
        known = body == self.ledger.first[position]
        self._events["fence into a collected slot"] += isinstance(record.body, Fence)
        self._events[
            "late create of a record that was collected" if known else "other create into a collected slot"
        ] += 1

    def refused_create(self, key: str, body: bytes, found: bytes) -> None:
        """See `Witness`."""
        position = paths.number_of(key)
        if position is None or body == found or not key.startswith(paths.log_prefix(self._shard)):
            return
        record = decode(body, uid=self.ledger.uid, shard=self._shard, position=position)
        fence = isinstance(record.body, Fence)
        self._events["fence that found its slot taken" if fence else "zombie append that found its slot taken"] += 1

    def deleting(self, key: str) -> None:
        """See `Witness`."""
        position = paths.number_of(key)
        if key.startswith(paths.log_prefix(self._shard)) and position is not None:
            self._deleting_slot(position)
        elif key.startswith(paths.manifests_prefix(self._shard)):
            if position in self._kept_manifests():
                raise Violation(f"manifest {position} counts and is deleted")
            self._events["manifest collected"] += 1
        elif key.startswith(paths.segments_prefix(self._shard)):
            name = key.removeprefix(paths.segments_prefix(self._shard))
            for manifest in self._kept_manifests():
                if name in self._files.get(manifest, ()):
                    raise Violation(f"{name} is deleted and manifest {manifest} names it")
            if name in self.ledger.kept_imports():
                raise Violation(f"{name} is deleted and a record imports it that may be replayed")
            self._events["file of no record collected"] += name not in self._named
            self._events["segment file collected"] += 1
        elif key.startswith(paths.boundary(self._shard, 1, 0)[:-1]):
            block = int(key.rpartition("/")[2]) * logs.SMALL_BLOCK // logs.LARGE_BLOCK
            if self._truth.get(paths.boundary(self._shard, 2, block)) is None:
                raise Violation(f"{key} is deleted before the large marker is there")

    def _kept_manifests(self) -> set[int]:
        return {*self.ledger.published, *(manifest for manifest, _ in self.ledger.pins.values())}

    def _deleting_slot(self, position: int) -> None:
        ledger = self.ledger
        if self._truth.get(paths.log_slot(self._shard, position)) != ledger.first.get(position):
            return  # what somebody wrote there again after its collection
        if position > ledger.boundary:
            raise Violation(f"slot {position} is deleted; the boundary is {ledger.boundary}")
        if isinstance(ledger.records[position - 1].body, Fence):
            raise Violation(f"the fence in slot {position} is deleted")
        for name, (manifest, through) in ledger.pins.items():
            if manifest < position <= through:
                raise Violation(f"slot {position} is deleted; pin {name} keeps ({manifest}, {through}]")
        small = paths.boundary(self._shard, 1, position // logs.SMALL_BLOCK)
        large = paths.boundary(self._shard, 2, position // logs.LARGE_BLOCK)
        if self._truth.get(small) is None and self._truth.get(large) is None:
            raise Violation(f"slot {position} is deleted before a marker is there")
        self._events["slot collected"] += 1

    def _published(self, record: Record, publish: Publish) -> None:
        before = [position for position in self.ledger.published if position != publish.manifest]
        if publish.boundary > max(before, default=0):
            raise Violation(f"record {record.position} raises the boundary to {publish.boundary}, beyond {before}")
        self._unpublished.discard(publish.manifest)
        self._check_files(publish.manifest, publish.crc)

    @property
    def unpublished(self) -> int:
        """How many manifests were made that no publish record names."""
        return len(self._unpublished)

    def _check_files(self, manifest: int, crc: int | None) -> None:
        data = self._truth.get(paths.manifest(self._shard, manifest))
        if data is None or (crc is not None and manifests.stored_crc(data) != crc):
            raise Violation(f"manifest {manifest} counts, and it is not there")
        self._files[manifest] = self.ledger.named_files(manifest, data)
        self._named |= self._files[manifest]
        for name in sorted(self._files[manifest]):
            if self._truth.get(paths.segment(self._shard, name)) is None:
                raise Violation(f"manifest {manifest} counts and {name} is missing")

    def power_lost(self) -> None:
        """Some of what was not durable is gone: nothing that anybody was told of may be among it."""
        ledger, tail = self.ledger, self.ledger.tail
        while ledger.tail > ledger.boundary and self._slot(ledger.tail) is None:
            ledger.drop_last()
        self._events["unsynced record lost"] += tail - ledger.tail
        if ledger.tail < max(self.acked, self.shown):
            raise Violation(f"the power cut lost position {max(self.acked, self.shown)}, which was told of")
        for position in range(ledger.boundary + 1, ledger.tail + 1):
            if self._slot(position) != ledger.first[position]:
                raise Violation(f"slot {position} does not survive the power cut, slot {ledger.tail} does")
        for manifest in sorted(self._kept_manifests()):
            self._check_files(manifest, ledger.published.get(manifest))
        for name in sorted(ledger.kept_imports()):
            if self._truth.get(paths.segment(self._shard, name)) is None:
                raise Violation(f"{name}, which a record imports, does not survive the power cut")

    def _slot(self, position: int) -> bytes | None:
        return self._truth.get(paths.log_slot(self._shard, position))

    # What clients are told.

    def sending(self, write: Write) -> None:
        """A client is about to send it for the first time."""
        self.ledger.sent[write.request_id] = write

    def ack(self, request_id: str, position: int, now: float) -> None:
        """A client was told that its write is in the log."""
        if self.ledger.landed.get(request_id) != position:
            where = self.ledger.landed.get(request_id, "nowhere")
            raise Violation(f"{request_id} was acknowledged at {position} and is {where}")
        self.acked = max(self.acked, position)
        self.acks.append((now, self.acked))

    def refused(self, request_id: str) -> None:
        """A client was told of every attempt that it was not applied."""
        if request_id in self.ledger.landed:
            raise Violation(f"{request_id} was not applied, they said; it is at {self.ledger.landed[request_id]}")
        self.ledger.never.add(request_id)

    def acked_by(self, moment: float) -> int:
        """The highest position acknowledged up to then."""
        return max((position for when, position in self.acks if when <= moment), default=0)

    def check(self, view: ShardView, at_least: int = 0, what: str = "a view") -> None:
        """A view must be the fold of the log up to its position, and reach that far."""
        if view.position < at_least:
            raise Violation(f"{what} shows position {view.position}; {at_least} was acknowledged before it began")
        if view.position > self.ledger.tail:
            raise Violation(f"{what} shows position {view.position}; the log ends at {self.ledger.tail}")
        self.shown = max(self.shown, view.position)
        expected = self.ledger.states[view.position]
        found = rows_of(view)
        if found != {key: row for key, (_, row) in expected.items()}:
            raise Violation(f"{what} at position {view.position} is wrong: {_difference(found, expected)}")
        self._check_places(view, [*expected, "no such key"])

    def _check_places(self, view: ShardView, keys: list[str]) -> None:
        for key, place in zip(keys, view.locate(list(keys)), strict=True):
            if place is None:
                if key != "no such key":
                    raise Violation(f"{key} is not found at position {view.position}")
                continue
            block, row = place
            if view.blocks[block].rows.column("key")[row].as_py() != key or not view.blocks[block].live[row]:
                raise Violation(f"{key} is found in the wrong row at position {view.position}")

    # At the end.

    def row_hash(self) -> str:
        """What the row hash at the tail must be."""
        rows = self.ledger.states[-1]
        keys = sorted(rows)
        table = pa.table({"key": keys, "value": [rows[key][1].value for key in keys]})
        vectors = np.array([rows[key][1].vector for key in keys], np.float32).reshape(-1, 2)
        return to_hex(total(hash_rows(list(keys), [rows[key][0] for key in keys], table, {"default": vectors})))

    def garbage(self) -> list[str]:
        """Manifests and segment files in the store that no manifest that counts, no record and no pin needs."""
        kept = self._kept_manifests()
        named = self.ledger.kept_imports().union(*(self._files[manifest] for manifest in kept))
        prefix = paths.segments_prefix(self._shard)
        manifests = self._truth.keys(paths.manifests_prefix(self._shard))
        files = self._truth.keys(prefix)
        found = [key for key in manifests if paths.number_of(key) not in kept]
        return found + [key for key in files if key.removeprefix(prefix) not in named]


def rows_of(view: ShardView) -> dict[str, Row]:
    """Every live row of a view. Violation when a key has two."""
    found: dict[str, Row] = {}
    for block in view.blocks:
        live = np.flatnonzero(block.live)
        rows, vectors = block.rows.take(live).to_pydict(), block.vectors["default"][live].tolist()
        for key, value, (x, y) in zip(rows["key"], rows["value"], vectors, strict=True):
            if key in found:
                raise Violation(f"{key} has two live rows at position {view.position}")
            found[key] = Row(key, value, (x, y))
    return found


def _difference(found: dict[str, Row], expected: Rows) -> str:
    wrong = [key for key in {**found, **expected} if found.get(key) != (expected[key][1] if key in expected else None)]
    return "; ".join(f"{key} is {found.get(key)}, expected {expected.get(key)}" for key in wrong[:3])
