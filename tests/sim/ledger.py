"""What clients sent, and the log as it was first written: the truth that replicas are compared with.

The fold here is a second, much simpler implementation of the shard's state. It takes a request's rows from the client
who sent them, not from the log's bytes, so that it also notices rows that changed on their way there.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from vectorfleet_node.shard.parts import first_sequence
from vectorfleet_node.storage import manifest as manifests
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
    """A request as a client sent it: rows to upsert, or keys to delete."""

    request_id: str
    rows: tuple[Row, ...] = ()
    deletes: tuple[str, ...] = ()


Rows = dict[str, tuple[int, Row]]  # key -> (sequence, row)


@dataclass
class Ledger:
    """Everything sent, and records 1..tail. states[n]: the rows after record n."""

    uid: str
    shard: int
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
        fresh = Ledger(self.uid, self.shard, self.sent, self.never)
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
                    sequence = _apply(rows, self.sent[request.request_id], sequence)
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
    for key in write.deletes:
        rows.pop(key, None)
    return sequence
