"""Checks a shard's log from facts about its slots, without their rows; pure. Used by `check`.

The trap is what may be missing: a slot, only in a block that has a marker, only at or below the boundary, never a
fence and never what a pin keeps. What lies unreadable below all that is garbage, not damage.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from vectorfleet_node.maintenance.facts import Controls, Fact
from vectorfleet_node.maintenance.findings import Kind, ShardReport
from vectorfleet_node.maintenance.slots import Inventory
from vectorfleet_node.storage import paths
from vectorfleet_node.storage.log import LARGE_BLOCK, SMALL_BLOCK
from vectorfleet_node.storage.record import Fence, Record


def first_kept(facts: Sequence[Fact], inventory: Inventory) -> int:
    """The slot from which on nothing has been collected."""
    positions = [0, *(fact.position for fact in facts)]
    for before, position in reversed(list(pairwise(positions))):
        if any(collected for _, _, collected in inventory.stretches(before + 1, position - 1)):
            return position
    return 1


def check_log(report: ShardReport, facts: Sequence[Fact], inventory: Inventory, controls: Controls) -> None:
    """Adds what is wrong with the log to the report. controls: as of its tail."""
    _check_slots(report, facts, inventory, controls)
    _check_order(report, facts, inventory, controls)
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
        leftover = _leftover(fact.position, inventory, controls)
        if fact.newer:
            kind = Kind.NEWER
        elif controls.pinned(fact.position) and leftover:
            kind = Kind.PIN_LOST
        else:
            kind = Kind.SLOT_LEFT if leftover else Kind.RECORD_DAMAGED
        report.add(kind, key, fact.problem, position=fact.position, size=fact.size)
    if not facts:
        report.add(
            Kind.RECORD_MISSING, paths.log_slot(shard, 1), "the log is empty: the shard's data is gone", position=1
        )


def _leftover(position: int, inventory: Inventory, controls: Controls) -> bool:
    """Whether nobody reads the slot any more: it may be collected at any time."""
    return position <= controls.boundary and inventory.collected(position)


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


def _check_order(report: ShardReport, facts: Sequence[Fact], inventory: Inventory, controls: Controls) -> None:
    for before, fact in pairwise(facts):
        record, last = fact.record, before.record
        if record is None or fact.position != before.position + 1:
            continue
        if _leftover(fact.position, inventory, controls) and not controls.pinned(fact.position):
            continue
        problem = "" if last is None else _disorder(last, record)
        if last is not None and record.previous != before.chain:
            # A candidate that was late can leave a fence in a slot that had been collected; nobody follows it.
            late = fact.kind == "fence" and inventory.collected(fact.position)
            late = late or (before.kind == "fence" and inventory.collected(before.position))
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
    """Manifests list the slots of fences; older ones do not, and then a gap in the epochs tells that one is gone."""
    shard, fences, newest = report.shard, {fact.position for fact in facts if fact.kind == "fence"}, report.facts.newest
    if newest is not None and newest.fences_since is not None:
        unreadable = {fact.position for fact in facts if fact.problem}
        for slot in sorted(set(newest.fences) - fences - unreadable - {1}):
            report.add(
                Kind.FENCE_MISSING, paths.log_slot(shard, slot), f"the fence in slot {slot} is gone", position=slot
            )
        return
    if any(fact.problem for fact in facts) or any(entry.kind is Kind.RECORD_MISSING for entry in report.findings):
        return  # the fence may be what is damaged
    seen = {fact.record.epoch for fact in facts if fact.record and fact.kind == "fence"}
    for epoch in range(1, max(seen, default=0)):
        if epoch not in seen:
            report.add(Kind.FENCE_MISSING, paths.log_prefix(shard), f"no slot holds the fence of epoch {epoch}")
