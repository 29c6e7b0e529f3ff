"""What clients sent, and the log as it was first written: the truth that replicas are compared with.

The fold here is a second, much simpler implementation of the shard's state. It takes a request's rows from the client
who sent them, not from the log's bytes, so that it also notices rows that changed on their way there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pyarrow as pa

from vectorfleet_node.shard.parts import ROW_BITS, first_sequence
from vectorfleet_node.storage import manifest as manifests
from vectorfleet_node.storage.manifest import SegmentEntry
from vectorfleet_node.storage.record import Batch, Fence, Pin, Publish, Record, Unpin, chain_value, decode

from .violation import Violation


@dataclass(frozen=True)
class Row:
    """A row as a client sent it."""

    key: str
    value: str
    vector: tuple[float, float]


@dataclass(frozen=True)
class Write:
    """A request as a client sent it: rows to upsert, keys to delete, or those of rows whose vector begins `below`.

    imported: the rows are a part of an import.
    """

    request_id: str
    rows: tuple[Row, ...] = ()
    deletes: tuple[str, ...] = ()
    below: float | None = None
    imported: bool = False


Rows = dict[str, tuple[int, Row]]  # key -> (sequence, row)


@dataclass
class Ledger:
    """Everything sent, and records 1..tail. states[n]: the rows after record n.

    segment: a file in the store. sequences: of the first row of each segment that was imported, by its rows file.
    imports: position -> names of the files that the record there imports.
    """

    uid: str
    shard: int
    segment: Callable[[str], bytes | None]
    sent: dict[str, Write] = field(default_factory=dict)
    never: set[str] = field(default_factory=set)  # every attempt was reported as not applied
    first: dict[int, bytes] = field(default_factory=dict)
    records: list[Record] = field(default_factory=list)
    states: list[Rows] = field(default_factory=lambda: [{}])
    landed: dict[str, int] = field(default_factory=dict)  # request -> position
    epoch: int = 0
    owners: dict[int, str] = field(default_factory=dict)  # epoch -> owner
    published: dict[int, int] = field(default_factory=dict)
    boundary: int = 0
    pins: dict[str, tuple[int, int]] = field(default_factory=dict)
    sequences: dict[str, int] = field(default_factory=dict)
    imports: dict[int, set[str]] = field(default_factory=dict)

    @property
    def tail(self) -> int:
        """Position of the last record."""
        return len(self.records)

    def append(self, position: int, body: bytes) -> Record:
        """A slot was written for the first time ever. Violation when it cannot be the next record."""
        if position != self.tail + 1:
            raise Violation(f"slot {position} was written when the log ended at {self.tail}")
        record = decode(body, uid=self.uid, shard=self.shard, position=position)
        chain = chain_value(self.first[self.tail]) if self.tail else 0
        if record.previous != chain:
            raise Violation(f"record {position} does not chain to record {self.tail}")
        fence = isinstance(record.body, Fence)
        if (record.epoch <= self.epoch) if fence else (record.epoch != self.epoch):
            raise Violation(f"record {position} of epoch {record.epoch} landed under epoch {self.epoch}: {record.body}")
        self.first[position] = body
        self.records.append(record)
        self._fold(record)
        return record

    def drop_last(self) -> None:
        """The last record was never durable, and is gone."""
        bodies = [self.first[position] for position in range(1, self.tail)]
        fresh = Ledger(self.uid, self.shard, self.segment, self.sent, self.never, sequences=self.sequences)
        for position, body in enumerate(bodies, 1):
            fresh.append(position, body)
        vars(self).update(vars(fresh))

    def _fold(self, record: Record) -> None:
        rows = self.states[-1]
        match record.body:
            case Batch(requests):
                rows = dict(rows)
                sequence = first_sequence(record.position)
                for request in requests:
                    self._land(request.request_id, record.position)
                    write = self.sent[request.request_id]
                    if request.segment is None:
                        sequence = _apply(rows, write, sequence)
                    else:
                        _apply(rows, write, self._import(record.position, request.segment))
            case Fence(owner=owner):
                self.epoch = record.epoch
                self.owners[record.epoch] = owner
            case Publish(manifest, crc, boundary):
                self.boundary = max(self.boundary, boundary)
                self.published[manifest] = crc
                self.published = {p: crc for p, crc in self.published.items() if p >= self.boundary}
            case Pin(name, manifest, through):
                if manifest in self.published:
                    self.pins[name] = (manifest, through)
            case Unpin(name):
                self.pins.pop(name, None)
        self.states.append(rows)

    def _import(self, position: int, segment: bytes) -> int:
        """The sequence of the first row of what the record imports."""
        entry = SegmentEntry.model_validate_json(segment)
        name = entry.rows.name
        self.imports[position] = {file.name for file in entry.files()}
        if name not in self.sequences:
            missing = [file for file in sorted(self.imports[position]) if self.segment(file) is None]
            if missing:
                raise Violation(f"record {position} imports {missing[0]}, which is not there")
            data = self.segment(name)
            assert data is not None
            with pa.ipc.open_stream(pa.BufferReader(data[len(b"ARROW1\0\0") :])) as reader:  # a stream is inside
                first = reader.read_all().column("sequence")[0].as_py()
            if first in self.sequences.values():
                raise Violation(f"record {position} imports rows with sequences from {first} on, which others have")
            self.sequences[name] = first
        first = self.sequences[name]
        reserved = first >> ROW_BITS
        body = self.records[reserved - 1].body
        if first_sequence(reserved) != first or reserved >= position or not isinstance(body, Batch) or body.requests:
            raise Violation(f"record {position} imports rows with sequences from {first} on, which are not reserved")
        return first

    def kept_imports(self) -> set[str]:
        """Names of the files that records import which may be replayed."""
        pins = self.pins.values()
        kept = (
            names
            for position, names in self.imports.items()
            if position > self.boundary or any(start < position <= end for start, end in pins)
        )
        return set[str]().union(*kept)

    def _land(self, request_id: str, position: int) -> None:
        if request_id in self.never:
            raise Violation(f"{request_id} was reported as not applied and landed at {position}")
        if request_id in self.landed:
            raise Violation(f"{request_id} was applied twice, at {self.landed[request_id]} and {position}")
        self.landed[request_id] = position

    def named_files(self, manifest: int, data: bytes) -> set[str]:
        """Names of the files that a manifest's bytes name."""
        decoded = manifests.decode(data, uid=self.uid, shard=self.shard, position=manifest)
        return {file.name for file in decoded.files()}


def _apply(rows: Rows, write: Write, sequence: int) -> int:
    for row in write.rows:
        rows[row.key] = (sequence, row)
        sequence += 1
    matching = [key for key, (_, row) in rows.items() if write.below is not None and row.vector[0] < write.below]
    for key in (*write.deletes, *matching):
        rows.pop(key, None)
    return sequence
