"""Checks a shard's log from facts about its slots, without their rows; pure. Used by `check`.

The trap is what may be missing: a slot, only in a block that has a marker, only at or below the boundary, never a
fence and never what a pin keeps. What lies unreadable below all that is garbage, not damage.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from vectorfleet_node.maintenance import words
from vectorfleet_node.maintenance.findings import Kind, ShardReport
from vectorfleet_node.maintenance.slots import Inventory, Slot
from vectorfleet_node.storage import paths
from vectorfleet_node.storage.log import LARGE_BLOCK, SMALL_BLOCK
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


def first_kept(facts: Sequence[Fact], inventory: Inventory) -> int:
    """The slot from which on nothing has been collected."""
    befores = [0, *(fact.position for fact in facts[:-1])]
    for before, fact in zip(reversed(befores), reversed(facts), strict=True):
        if any(collected for _, _, collected in inventory.stretches(before + 1, fact.position - 1)):
            return fact.position
    return 1


def check_log(report: ShardReport, facts: Sequence[Fact], inventory: Inventory, controls: Controls) -> None:
    """Adds what is wrong with the log to the report. controls: as of its tail."""
    _check_slots(report, facts, inventory, controls)
    _check_order(report, facts, inventory)
    _check_markers(report, inventory, controls.boundary)
    _check_fences(report, facts)


def _check_slots(report: ShardReport, facts: Sequence[Fact], inventory: Inventory, controls: Controls) -> None:
    shard, expected = report.shard, 1
    for fact in facts:
        _check_gap(report, range(expected, fact.position), inventory, controls)
        expected = fact.position + 1
        if not fact.problem:
            continue
        key = paths.log_slot(shard, fact.position)
        leftover = fact.position <= controls.boundary and inventory.collected(fact.position)
        if fact.newer:
            kind = Kind.RECORD_NEWER
        elif controls.pinned(fact.position) and leftover:
            kind = Kind.PIN_LOST
        else:
            kind = Kind.SLOT_LEFT if leftover else Kind.RECORD_DAMAGED
        report.add(kind, key, fact.problem, position=fact.position, size=fact.size)
    if not facts:
        report.add(
            Kind.RECORD_MISSING, paths.log_slot(shard, 1), "the log is empty: the shard's data is gone", position=1
        )


def _check_gap(report: ShardReport, gap: range, inventory: Inventory, controls: Controls) -> None:
    """Slots in `gap` hold nothing: which of them must."""
    missing, boundary = Kind.RECORD_MISSING, controls.boundary
    if 1 in gap:
        _missing(report, missing, 1, 1, "the first fence is never collected")
        gap = range(2, gap.stop)
    for first, last, collected in inventory.stretches(gap.start, gap.stop - 1):
        if not collected:
            _missing(report, missing, first, last, "no boundary marker allows that")
            continue
        _missing(report, missing, max(first, boundary + 1), last, f"the boundary is {boundary}")
        for name, (manifest, through) in sorted(controls.pins.items()):
            kept = min(last, boundary, through)
            _missing(report, Kind.PIN_LOST, max(first, manifest + 1), kept, f"pin {name} keeps them")


def _missing(report: ShardReport, kind: Kind, first: int, last: int, why: str) -> None:
    if first <= last:
        slots = f"slots {first}-{last} are" if last > first else f"slot {first} is"
        report.add(kind, paths.log_slot(report.shard, first), f"{slots} missing: {why}", position=first)


def _check_order(report: ShardReport, facts: Sequence[Fact], inventory: Inventory) -> None:
    for before, fact in pairwise(facts):
        record, last = fact.record, before.record
        if record is None or fact.position != before.position + 1:
            continue
        problem = "" if last is None else _disorder(last, record)
        if record.previous != before.chain:
            # A candidate that was late can leave a fence in a slot that had been collected; nobody follows it.
            late = fact.kind == "fence" and inventory.collected(fact.position)
            late = late or (last is not None and before.kind == "fence" and inventory.collected(before.position))
            problem = "" if late else f"it does not follow the record in slot {before.position}: the chain is broken"
        if problem:
            report.add(Kind.RECORD_ORDER, paths.log_slot(report.shard, fact.position), problem, position=fact.position)


def _disorder(last: Record, record: Record) -> str:
    if isinstance(record.body, Fence):
        if record.epoch <= last.epoch:
            return f"a fence of epoch {record.epoch} stands behind epoch {last.epoch}"
    elif record.epoch != last.epoch:
        return f"it was written in epoch {record.epoch} and stands behind epoch {last.epoch}"
    return f"its stamp {record.stamp} is not later than {last.stamp}" if record.stamp <= last.stamp else ""


def _check_markers(report: ShardReport, inventory: Inventory, boundary: int) -> None:
    for level, size, blocks in ((1, SMALL_BLOCK, inventory.small), (2, LARGE_BLOCK, inventory.large)):
        for block in sorted(blocks):
            last = (block + 1) * size - 1
            if last > boundary:
                problem = f"it covers slots up to {last}; the boundary is {boundary}"
                report.add(Kind.MARKER_EARLY, paths.boundary(report.shard, level, block), problem)


def _check_fences(report: ShardReport, facts: Sequence[Fact]) -> None:
    if any(fact.problem for fact in facts) or any(entry.kind is Kind.RECORD_MISSING for entry in report.findings):
        return  # the fence may be what is damaged
    seen = {fact.record.epoch for fact in facts if fact.record and fact.kind == "fence"}
    for epoch in range(1, max(seen, default=0)):
        if epoch not in seen:
            problem = f"the fence of epoch {epoch} is nowhere in the log"
            report.add(Kind.FENCE_MISSING, paths.log_prefix(report.shard), problem)
