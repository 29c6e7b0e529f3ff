"""What is known of a shard's objects, without their rows: values that a check gathers and a repair plans by. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from vectorfleet.partition import Key
from vectorfleet_node.maintenance import words
from vectorfleet_node.maintenance.slots import Inventory, Slot
from vectorfleet_node.shard.state import imports_of
from vectorfleet_node.storage.manifest import Manifest
from vectorfleet_node.storage.record import Batch, Fence, Pin, Publish, Record, Unpin
from vectorfleet_node.storage.store import DataLoss


@dataclass(frozen=True)
class Fact:
    """A slot that holds something, its rows left out.

    record: None when it cannot be read; of a batch only what it imports.
    """

    position: int
    size: int
    chain: int
    record: Record | None
    kind: str
    problem: str
    newer: bool


def fact_of(slot: Slot) -> Fact:
    """The small part of a slot."""
    record, problem = slot.record, slot.problem
    kind = words.kind_of(record) if record else ""
    if record is not None and isinstance(record.body, Batch):
        imports = tuple(request for request in record.body.requests if request.segment is not None)
        record = replace(record, body=Batch(imports))
        try:
            imports_of(record)
        except DataLoss as error:
            record, problem = None, str(error)
    return Fact(slot.position, slot.size, slot.chain, record, kind, problem, slot.newer)


@dataclass
class Controls:
    """What records other than batches say: a fold like the shard's own, written anew so that each checks the other.

    published: position -> crc; pins: name -> (manifest, last slot kept); imports: position -> names of the files that
    the record there imports, where it may be replayed.
    """

    published: dict[int, int] = field(default_factory=dict)
    boundary: int = 0
    pins: dict[str, tuple[int, int]] = field(default_factory=dict)
    epoch: int = 0
    owner: str = ""
    address: str = ""
    imports: dict[int, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def at(cls, manifest: Manifest) -> Controls:
        """As of a manifest's position."""
        return cls(
            {entry.position: entry.crc for entry in manifest.published},
            manifest.boundary,
            {pin.name: (pin.manifest, pin.through) for pin in manifest.pins},
            manifest.epoch,
            manifest.owner,
            manifest.address,
            {entry.position: entry.files for entry in manifest.imports},
        )

    def apply(self, record: Record) -> None:
        """The next record."""
        match record.body:
            case Fence(owner, address, _):
                self.epoch, self.owner, self.address = record.epoch, owner, address
            case Publish(manifest, crc, boundary):
                self.boundary = max(self.boundary, boundary)
                kept = {**self.published, manifest: crc}
                self.published = {position: crc for position, crc in kept.items() if position >= self.boundary}
            case Pin(name, manifest, through) if manifest in self.published:
                self.pins[name] = (manifest, through)
            case Unpin(name):
                self.pins.pop(name, None)
            case Batch():
                for entry in imports_of(record):
                    self.imports[record.position] = entry.names()
                return
        self.imports = {
            position: files
            for position, files in self.imports.items()
            if position > self.boundary or self.pinned(position)
        }

    def pinned(self, position: int) -> bool:
        """Whether a pin keeps the slot."""
        return any(manifest < position <= through for manifest, through in self.pins.values())


@dataclass
class ShardFacts:
    """What `repair` needs to know besides the findings. manifests: those that count and can be read."""

    inventory: Inventory = field(default_factory=Inventory)
    slots: list[Fact] = field(default_factory=list)
    controls: Controls = field(default_factory=Controls)
    manifests: dict[int, Manifest] = field(default_factory=dict)
    bad_files: set[str] = field(default_factory=set)
    bad_manifests: set[int] = field(default_factory=set)
    kept: int = 1  # nothing has been collected from this slot on
    rewritten: set[Key] = field(default_factory=set)  # keys that the log behind the oldest manifest touches

    @property
    def newest(self) -> Manifest | None:
        """The newest manifest that counts and can be read."""
        counted = [position for position in self.manifests if position in self.controls.published]
        return self.manifests[max(counted)] if counted else None
