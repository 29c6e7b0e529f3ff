"""What is known of a shard's objects, without their rows: values that a check gathers and a repair plans by. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from vectorfleet.partition import Key
from vectorfleet_node.maintenance import words
from vectorfleet_node.maintenance.slots import Inventory, Slot
from vectorfleet_node.storage.manifest import Manifest
from vectorfleet_node.storage.record import Batch, Fence, Pin, Publish, Record, Unpin


@dataclass(frozen=True)
class Fact:
    """A slot that holds something, its rows left out. record: None when it cannot be read; of a batch, without rows."""

    position: int
    size: int
    chain: int
    record: Record | None
    kind: str
    problem: str
    newer: bool


def fact_of(slot: Slot) -> Fact:
    """The small part of a slot."""
    record = slot.record
    if record is not None and isinstance(record.body, Batch):
        record = replace(record, body=Batch(()))
    kind = words.kind_of(record) if record else ""
    return Fact(slot.position, slot.size, slot.chain, record, kind, slot.problem, slot.newer)


@dataclass
class Controls:
    """What records other than batches say: a fold like the shard's own, written anew so that each checks the other.

    published: position -> crc; pins: name -> (manifest, last slot kept).
    """

    published: dict[int, int] = field(default_factory=dict)
    boundary: int = 0
    pins: dict[str, tuple[int, int]] = field(default_factory=dict)
    epoch: int = 0
    owner: str = ""
    address: str = ""

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
