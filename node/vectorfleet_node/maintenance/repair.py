"""Repairs what a check found: `vectorfleet fsck --repair`. Nothing is written before it is known what would be lost.

The claim is held meanwhile, so no node serves; a shard is rebuilt by a plan, published, and checked again. What cannot
be rebuilt without loss is only told, unless the loss was accepted.
"""

from __future__ import annotations

import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vectorfleet.descriptor import COLLECTION_OBJECT, CollectionDescriptor
from vectorfleet.topology import Claim
from vectorfleet_node.engine.port import Engine
from vectorfleet_node.maintenance.check import Progress, check_collection, look_at
from vectorfleet_node.maintenance.findings import Kind, Report, Severity, ShardReport
from vectorfleet_node.maintenance.holding import held
from vectorfleet_node.maintenance.planning import CannotRepair, Plan, make_plan, needs_repair
from vectorfleet_node.maintenance.rewriting import Rewriter, quarantine
from vectorfleet_node.maintenance.salvage import Workshop, salvage
from vectorfleet_node.shard.settings import Clock
from vectorfleet_node.storage import paths
from vectorfleet_node.storage.log import Log
from vectorfleet_node.storage.store import Store, StoreUnavailable


@dataclass(frozen=True)
class Tools:
    """What a repair takes from outside. watching: told whose claim is being watched. progress: see `check`."""

    clock: Clock
    sleep: Callable[[float], Awaitable[None]]
    new_id: Callable[[], str]
    engine: Engine
    watching: Callable[[Claim], None]
    progress: Progress


@dataclass
class Repair:
    """What became of one shard (None: of the collection's own objects). refused: why nothing was done."""

    shard: int | None
    done: list[str] = field(default_factory=list)
    losses: list[str] = field(default_factory=list)
    lost_keys: list[str | int] = field(default_factory=list)
    refused: str = ""

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "shard": self.shard,
            "done": self.done,
            "losses": self.losses,
            "lost_keys": self.lost_keys,
            "refused": self.refused,
        }


async def repair_collection(
    store: Store, url: str, before: Report, tools: Tools, *, accept_loss: bool
) -> tuple[list[Repair], Report]:
    """Repairs what the report `before` found damaged; what was done and lost, and a report of afterwards.

    Without anything to do, or with nothing that may be done, the store is not touched. ClaimedByOther when somebody
    serves the collection; any StorageError.
    """
    wanted = [_decide(report, accept_loss) for report in before.shards if needs_repair(report)]
    general = any(finding.kind in (Kind.COLLECTION, Kind.CLAIM) for finding in before.of(Severity.DAMAGE))
    refusals = [repair for repair, plan in wanted if plan is None]
    if not general and len(refusals) == len(wanted):
        return refusals, before
    descriptor = (await look_at(store, url)).descriptor
    if descriptor is None:
        return [
            Repair(None, refused="neither collection.json nor a claim can be read: nothing says what was here")
        ], before
    repairs = [await _repair_claims(store, before, tools)] if _has(before, Kind.CLAIM) else []
    async with held(
        store,
        descriptor.collection,
        tools.new_id(),
        clock=tools.clock,
        sleep=tools.sleep,
        watching=tools.watching,
    ):
        repairs += [await _repair_descriptor(store, descriptor)] if _has(before, Kind.COLLECTION) else []
        # Looked at again: what was found before the claim was held may be older than the last writes.
        now = await check_collection(store, url, progress=tools.progress)
        checked = {report.shard for report in before.shards}
        for report in now.shards:
            if report.shard in checked and needs_repair(report):
                repairs.append(await _repair_shard(store, descriptor, report, tools, accept_loss))
    only = before.shards[0].shard if len(before.shards) == 1 and descriptor.collection.shards > 1 else None
    return repairs, await check_collection(store, url, only=only, progress=tools.progress)


def _has(report: Report, kind: Kind) -> bool:
    return any(finding.kind is kind for finding in report.findings)


def _decide(report: ShardReport, accept_loss: bool) -> tuple[Repair, Plan | None]:
    """The plan, or why there is none to follow."""
    told = Repair(report.shard)
    try:
        plan = make_plan(report, report.facts)
    except CannotRepair as error:
        told.refused = str(error)
        return told, None
    if plan.lossless or accept_loss:
        return told, plan
    told.losses += plan.losses
    told.refused = "it cannot be rebuilt without losing something: look for a backup, or say --accept-loss"
    return told, None


async def _repair_shard(
    store: Store, descriptor: CollectionDescriptor, report: ShardReport, tools: Tools, accept_loss: bool
) -> Repair:
    told, plan = _decide(report, accept_loss)
    if plan is None:
        return told
    facts, shard = report.facts, report.shard
    log = Log(store, descriptor.uid, shard, sleep=tools.sleep)
    with tempfile.TemporaryDirectory(prefix="vectorfleet-fsck-") as folder:
        shop = Workshop(store, log, shard, descriptor.collection, tools.engine, Path(folder), tools.new_id)
        salvaged = await salvage(shop, facts, plan)
        if salvaged.losses and not accept_loss:
            return Repair(shard, losses=salvaged.losses, refused="something more is damaged than the check found")
        bad = sorted(_bad_slots(report))
        rewriter = Rewriter(shop, salvaged, descriptor.uid, tools.clock)
        await rewriter.publish(sorted(plan.pins), bad)
        for finding in report.findings:
            if finding.kind.damage and "/log/" not in finding.key:
                told.done += [f"{finding.key} is in quarantine"] if await quarantine(store, finding.key) else []
        await rewriter.give_up(bad)
    base = f"manifest {plan.manifest.position}" if plan.manifest else f"slot {plan.start}"
    told.done.append(f"rebuilt from {base} and the log; manifest {salvaged.state.newest_published} counts now")
    told.losses, told.lost_keys = salvaged.losses, list(salvaged.lost_keys)
    return told


def _bad_slots(report: ShardReport) -> set[int]:
    """Slots that hold nothing readable, or what does not follow, and are to be collected."""
    slots = report.facts.slots
    present = {fact.position for fact in slots}
    found = {fact.position for fact in slots if fact.record is None}
    for finding in report.findings:
        if finding.position is None:
            continue
        if finding.kind in (Kind.RECORD_DAMAGED, Kind.RECORD_ORDER):
            found.add(finding.position)
        elif finding.kind is Kind.RECORD_MISSING:
            slot = finding.position
            while slot not in present and slot < slots[-1].position:
                found.add(slot)
                slot += 1
    return found


async def _repair_descriptor(store: Store, descriptor: CollectionDescriptor) -> Repair:
    """collection.json anew, from the claims and the first record."""
    told = Repair(None)
    await quarantine(store, COLLECTION_OBJECT)
    if not await store.create(COLLECTION_OBJECT, descriptor.model_dump_json().encode()):
        raise StoreUnavailable(f"{COLLECTION_OBJECT} could not be created")
    told.done.append(f"{COLLECTION_OBJECT} was made anew from the newest claim and the first record")
    return told


async def _repair_claims(store: Store, before: Report, tools: Tools) -> Repair:
    """Moves claims away that cannot be read, once nobody has added one for long."""
    told = Repair(None)
    for finding in before.findings:
        is_claim = finding.kind is Kind.CLAIM and paths.number_of(finding.key) is not None
        if is_claim and await quarantine(store, finding.key):
            told.done.append(f"{finding.key} is in quarantine")
    return told
