"""From what a check found to the way a shard is rebuilt; pure. Used by `repair`.

A shard is rebuilt from a base (a manifest, or the log's beginning) and the log behind it. The newest base that loses
nothing is taken; when every base loses something, the one that loses least, and that only if the user says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from vectorfleet_node.maintenance.facts import ShardFacts
from vectorfleet_node.maintenance.findings import Kind, ShardReport
from vectorfleet_node.maintenance.words import counted
from vectorfleet_node.shard.state import imports_of
from vectorfleet_node.storage.manifest import Manifest
from vectorfleet_node.storage.record import Fence

_BROKEN: Final = {Kind.RECORD_DAMAGED, Kind.RECORD_MISSING, Kind.RECORD_ORDER}
_MANY: Final = 100_000


@dataclass(frozen=True)
class Plan:
    """How to rebuild: from a manifest (None: from nothing) by the log from slot `start` on.

    skipped: slots that cannot simply be applied. lost_segments: names of the rows files whose rows are lost, at least
    in part; lost_rows: at most so many. unknown: more may be lost than can be counted. pins: names of those that
    cannot be kept. fences: slots that cannot be read and held fences, for sure. losses: all that is lost in words.
    """

    manifest: Manifest | None
    start: int
    skipped: frozenset[int]
    lost_segments: frozenset[str]
    lost_rows: int
    unknown: bool
    pins: frozenset[str]
    fences: frozenset[int]
    losses: tuple[str, ...]

    @property
    def lossless(self) -> bool:
        """Whether nothing is lost."""
        return not self.losses


class CannotRepair(Exception):
    """Nothing can be done about this shard; the message says why."""


def needs_repair(report: ShardReport) -> bool:
    """Whether there is damage."""
    return any(finding.kind.damage for finding in report.findings)


def make_plan(report: ShardReport, facts: ShardFacts) -> Plan:
    """The best way to rebuild the shard. CannotRepair when a newer version wrote it, or nothing is left of it."""
    if any(finding.kind is Kind.NEWER for finding in report.findings):
        raise CannotRepair("a newer version wrote part of it: use the fsck of that version")
    if not facts.slots:
        raise CannotRepair("its log is empty: only a backup can bring it back")
    counted = sorted((position for position in facts.manifests if position in facts.controls.published), reverse=True)
    plans = [_plan(report, facts, base) for base in [*(facts.manifests[position] for position in counted), None]]
    return min(plans, key=lambda plan: (bool(plan.losses), plan.unknown, plan.lost_rows, len(plan.skipped)))


def _plan(report: ShardReport, facts: ShardFacts, base: Manifest | None) -> Plan:
    start = base.position + 1 if base else facts.kept
    lost, losses = _lost_segments(facts, base, start)
    unknown = False
    if start > 1 and base is None:
        unknown = True
        losses.append(f"every row that was written before slot {start}: no manifest can be read")
    if base is not None and base.position in facts.bad_manifests:
        unknown = True
        losses.append(f"manifest {base.position} contradicts its rows or the log: its rows are taken as they are")
    skipped = _skipped(report, facts, start)
    losses += [told for told in skipped.values() if told]
    pins = _lost_pins(report, facts)
    losses += [f"pin {name}: what it keeps cannot be read any more" for name in sorted(pins)]
    slots = frozenset(slot for slot, told in skipped.items() if told)
    fences = frozenset(skipped) - slots
    return Plan(base, start, slots, frozenset(lost), sum(lost.values()), unknown, pins, fences, tuple(losses))


def _lost_segments(facts: ShardFacts, base: Manifest | None, start: int) -> tuple[dict[str, int], list[str]]:
    """Segments whose rows cannot be read in full: name of the rows file -> live rows; and what to tell.

    They are those of the manifest, and those that the records from slot `start` on import.
    """
    lost, told = {}, []
    replayed = [fact.record for fact in facts.slots if fact.record is not None and fact.position >= start]
    imported = [entry for record in replayed for entry in imports_of(record)]
    for entry in (*(base.segments if base else ()), *imported):
        data = {entry.rows.name, *(file.name for file in entry.vectors.values())}
        if bad := sorted(data & facts.bad_files):
            lost[entry.rows.name] = int(entry.live_mask().sum())
            told.append(f"up to {counted(lost[entry.rows.name], 'row')} of the segment with {', '.join(bad)}")
    return lost, told


def _skipped(report: ShardReport, facts: ShardFacts, start: int) -> dict[int, str]:
    """Slots from `start` on that cannot simply be applied, and what to tell of each; nothing of fences."""
    kinds = {finding.position: finding.kind for finding in report.findings if finding.kind in _BROKEN}
    sizes = {fact.position: fact.size for fact in facts.slots}
    tail, found = facts.slots[-1].position, {}
    if tail - start - len(sizes) > _MANY:
        raise CannotRepair(f"{tail - start - len(sizes)} records are missing: only a backup can bring it back")
    for slot in range(start, tail + 1):
        if (slot not in sizes or slot in kinds) and (slot == 1 or _was_fence(facts, slot)):
            found[slot] = ""  # it wrote no rows
        elif slot not in sizes:
            found[slot] = f"whatever record {slot} wrote: it is missing"
        elif kinds.get(slot) is Kind.RECORD_ORDER:
            found[slot] = f"whatever stood before record {slot}, which does not follow what is there: both are applied"
        elif slot in kinds:
            found[slot] = f"whatever record {slot} wrote: its {counted(sizes[slot], 'byte')} cannot be read"
    return found


def _was_fence(facts: ShardFacts, slot: int) -> bool:
    """Whether the records around an unreadable one prove that it was a fence: the epoch rises over it."""
    around = {fact.position: fact.record for fact in facts.slots if abs(fact.position - slot) == 1}
    before, after = around.get(slot - 1), around.get(slot + 1)
    return before is not None and after is not None and not isinstance(after.body, Fence) and after.epoch > before.epoch


def _lost_pins(report: ShardReport, facts: ShardFacts) -> frozenset[str]:
    """Names of the pins of which anything cannot be read."""
    gone = {finding.position for finding in report.findings if finding.kind is Kind.PIN_LOST and finding.position}
    gone |= {fact.position for fact in facts.slots if fact.record is None}
    lost = set()
    for name, (position, through) in facts.controls.pins.items():
        manifest = facts.manifests.get(position)
        whole = manifest is not None and position not in facts.bad_manifests
        whole = whole and not any(position < slot <= through for slot in gone)
        if manifest is None or not whole or any(file.name in facts.bad_files for file in manifest.files()):
            lost.add(name)
    return frozenset(lost)
