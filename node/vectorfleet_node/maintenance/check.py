"""Checks a whole collection, reading only: `vectorfleet fsck`, and before and after a repair.

One shard after the other; of each its keys, its log, its manifests, then the files of one segment at a time through a
temporary folder. The trap is a collection in use: what is missing may just have been collected, so a shard in which
something looks wrong is looked at again as long as its log has moved on meanwhile.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vectorfleet.descriptor import (
    CLAIMS_PREFIX,
    COLLECTION_OBJECT,
    TOMBSTONE_OBJECT,
    ClaimRecord,
    CollectionDescriptor,
)
from vectorfleet.partition import KEY_HASH
from vectorfleet_node.maintenance.findings import Finding, Kind, Report, ShardReport
from vectorfleet_node.maintenance.rewriting import QUARANTINE_PREFIX
from vectorfleet_node.maintenance.shardcheck import ShardCheck
from vectorfleet_node.maintenance.slots import read_slot
from vectorfleet_node.storage import paths
from vectorfleet_node.storage.claims import newest_claim
from vectorfleet_node.storage.collection import read_descriptor
from vectorfleet_node.storage.probe import PROBE_PREFIX
from vectorfleet_node.storage.store import DataLoss, Store, StoreNotFound

_ATTEMPTS: Final = 3

Progress = Callable[[str, int, int], None]  # what is being checked, how much is done, of how much


def _silent(_: str, __: int, ___: int) -> None:
    pass


@dataclass(frozen=True)
class Look:
    """The collection's own objects. report: what is wrong with them; descriptor: None when shards cannot be checked."""

    report: Report
    descriptor: CollectionDescriptor | None


async def look_at(store: Store, url: str) -> Look:
    """Checks everything but the shards. Raises as `check_collection`."""
    report = Report(url)
    keys = await store.list("")
    if not [key for key in keys if not key.startswith((QUARANTINE_PREFIX, PROBE_PREFIX))]:
        raise StoreNotFound(f"there is no collection at {url}: it is empty")
    if TOMBSTONE_OBJECT in keys:
        left = len(keys) - 1
        report.findings.append(Finding(Kind.DELETED, TOMBSTONE_OBJECT, f"{left} other objects are left"))
        return Look(report, None)
    descriptor = await _descriptor(store, report, keys)
    if descriptor is not None:
        report.uid = descriptor.uid
        _strangers(report, keys, descriptor.collection.shards)
    return Look(report, descriptor)


async def check_collection(store: Store, url: str, *, only: int | None = None, progress: Progress = _silent) -> Report:
    """What is there and what is wrong with it.

    StoreNotFound when there is nothing at the URL; ValueError when there is no shard `only`; any StorageError of the
    store itself, which then could not be checked. Damage is in the report, never raised.
    """
    look = await look_at(store, url)
    report, descriptor = look.report, look.descriptor
    if descriptor is None:
        return report
    shards = descriptor.collection.shards
    if only is not None and only >= shards:
        raise ValueError(f"--shard is {only}; the collection has the shards 0 to {shards - 1}")
    with tempfile.TemporaryDirectory(prefix="vectorfleet-fsck-") as folder:
        for shard in range(shards) if only is None else [only]:
            report.shards.append(await _shard(store, descriptor, shard, Path(folder), progress))
    return report


async def _shard(
    store: Store, descriptor: CollectionDescriptor, shard: int, folder: Path, progress: Progress
) -> ShardReport:
    seen: set[tuple[Kind, str]] | None = None
    for _ in range(_ATTEMPTS):
        found = await ShardCheck(store, descriptor.uid, descriptor.collection, shard, folder, progress).run()
        damage = [finding for finding in found.findings if finding.kind.damage]
        if seen is not None:  # what was collected meanwhile is not missed again
            damage = [finding for finding in damage if (finding.kind, finding.key) in seen]
            found.findings = [entry for entry in found.findings if entry in damage or not entry.kind.damage]
        if not damage or not await store.list(paths.log_prefix(shard), after=paths.log_slot(shard, found.tail)):
            break
        seen = {(finding.kind, finding.key) for finding in damage}
    return found


async def _descriptor(store: Store, report: Report, keys: list[str]) -> CollectionDescriptor | None:
    """The collection, its schema as last extended; from the claims when collection.json is gone or damaged."""
    claim = await _newest_readable_claim(store, report, keys)
    try:
        descriptor = await read_descriptor(store)
        problem = "it is missing"
    except DataLoss as error:
        descriptor, problem = None, str(error)
    if descriptor is None:
        report.findings.append(Finding(Kind.COLLECTION, COLLECTION_OBJECT, problem))
        descriptor = await recover_descriptor(store, claim)
    if descriptor is not None and claim is not None:
        descriptor = descriptor.model_copy(update={"collection": claim.collection})
    return descriptor


async def recover_descriptor(store: Store, claim: ClaimRecord | None) -> CollectionDescriptor | None:
    """`collection.json` anew: the schema of a claim, the uid of the first record. None when one is not to be had."""
    first = await read_slot(store, None, 0, 1)
    if claim is None or first is None or first.record is None:
        return None
    return CollectionDescriptor(uid=first.record.uid, collection=claim.collection, key_hash=KEY_HASH)


async def _newest_readable_claim(store: Store, report: Report, keys: list[str]) -> ClaimRecord | None:
    try:
        newest = await newest_claim(store)
    except DataLoss as error:
        report.findings.append(Finding(Kind.CLAIM, str(error).split(" ", 1)[0], str(error)))
    else:
        return newest[1] if newest else None
    for key in sorted((key for key in keys if key.startswith(CLAIMS_PREFIX)), reverse=True):
        data = await store.get(key)
        try:
            return ClaimRecord.model_validate_json(data or b"")
        except ValueError:
            continue
    return None


def _strangers(report: Report, keys: list[str], shards: int) -> None:
    """Objects that are none of the collection's. Those below its shards are told with the shards."""
    known = {COLLECTION_OBJECT, TOMBSTONE_OBJECT}
    prefixes = tuple(paths.shard_prefix(shard) for shard in range(shards))
    for key in keys:
        if key in known or key.startswith(prefixes):
            continue
        if key.startswith(QUARANTINE_PREFIX):
            report.findings.append(Finding(Kind.QUARANTINED, key, "an earlier repair put it there"))
        elif key.startswith(PROBE_PREFIX):
            report.findings.append(Finding(Kind.UNKNOWN, key, "a node that stopped left it when it tried the store"))
        elif not (key.startswith(CLAIMS_PREFIX) and paths.number_of(key) is not None):
            report.findings.append(Finding(Kind.UNKNOWN, key, "it has no place in a collection"))
