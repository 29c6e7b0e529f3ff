"""Builds a shard's state from what of its objects can be read, by a plan. Writes local files only. Used by `repair`.

Whole segments are opened as a replica does. One with a damaged file is written anew from what can be read of it: its
index needs nothing but the vectors, and of its vectors only the rows in damaged blocks are lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vectorfleet.partition import Key
from vectorfleet.schema import CollectionSchema
from vectorfleet_node.engine.port import Engine
from vectorfleet_node.maintenance.facts import ShardFacts
from vectorfleet_node.maintenance.planning import Plan
from vectorfleet_node.shard.blocks import BlockPart, Segment
from vectorfleet_node.shard.opening import conform, open_requests, open_segment
from vectorfleet_node.shard.rowhash import LANES, to_hex, total
from vectorfleet_node.shard.state import ShardState, imports_of
from vectorfleet_node.shard.view import RowBlock
from vectorfleet_node.shard.writing import SegmentWriter
from vectorfleet_node.storage import paths, segment
from vectorfleet_node.storage.checked import CheckedFile
from vectorfleet_node.storage.format import FORMAT
from vectorfleet_node.storage.log import Log
from vectorfleet_node.storage.manifest import FileEntry, Manifest, RequestsEntry, SegmentEntry
from vectorfleet_node.storage.record import Batch, Fence, Record
from vectorfleet_node.storage.segment import KEY
from vectorfleet_node.storage.store import DataLoss, Store

_NAMED: Final = 10  # lost keys that a sentence names


@dataclass
class Salvaged:
    """A state at the log's tail. files: local ones that the store lacks. losses: exactly what is not in the state."""

    state: ShardState
    epoch: int
    writer: SegmentWriter
    files: list[FileEntry] = field(default_factory=list)
    losses: list[str] = field(default_factory=list)
    lost_keys: list[Key] = field(default_factory=list)


@dataclass(frozen=True)
class Workshop:
    """Where and with what a shard is rebuilt. folder: for its files."""

    store: Store
    log: Log
    shard: int
    collection: CollectionSchema
    engine: Engine
    folder: Path
    new_id: Callable[[], str]

    async def fetch(self, files: Iterable[FileEntry]) -> None:
        """Files into the folder; those that are absent stay so."""
        for file in files:
            with suppress(DataLoss):
                await self.store.download(paths.segment(self.shard, file.name), self.folder / file.name)


async def salvage(shop: Workshop, facts: ShardFacts, plan: Plan) -> Salvaged:
    """The state by the plan. DataLoss when what the check found whole cannot be read now."""
    unread = sum(fact.record is None for fact in facts.slots)
    epoch = max((fact.record.epoch for fact in facts.slots if fact.record), default=0) + 1 + unread
    rotten = _never
    writer = SegmentWriter(shop.folder, shop.collection, shop.engine, epoch, FORMAT, shop.new_id, _ignore, rotten)
    found = Salvaged(ShardState(shop.collection), epoch, writer)
    if plan.manifest is not None:
        found.state = await _at_manifest(shop, facts, plan.manifest, found)
    await _replay(shop, facts, plan, found)
    _tell(plan, facts, found)
    return found


async def _at_manifest(shop: Workshop, facts: ShardFacts, manifest: Manifest, found: Salvaged) -> ShardState:
    segments = []
    for entry in manifest.segments:
        opened = await _segment(shop, facts, entry, found)
        if opened is not None:
            segments.append(opened)
    if manifest.position in facts.bad_manifests:
        segments = await asyncio.to_thread(_without_doubles, segments, found)
    entries, requests, low = await _requests(shop, facts, manifest)
    rows, hashed = 0, np.zeros(LANES, np.uint64)
    for each in segments:
        live = each.entry.live_mask()
        rows, hashed = rows + int(live.sum()), hashed + total(each.content.hashes[live])
    said = {"rows": rows, "row_hash": to_hex(hashed), "requests": entries, "low": low}
    head = manifest.model_copy(update=said)
    return await asyncio.to_thread(ShardState.at_manifest, head, segments, requests, shop.collection)


def _without_doubles(segments: list[Segment], found: Salvaged) -> list[Segment]:
    """Of rows with one key only the newest stays live. Needs all keys in memory, so only where sums are wrong."""
    newest: dict[Key, tuple[int, int, int]] = {}
    masks = [each.entry.live_mask() for each in segments]
    doubles = 0
    for number, each in enumerate(segments):
        keys = each.content.rows.column(KEY).to_pylist()
        for row in np.flatnonzero(masks[number]).tolist():
            here = (int(each.content.sequences[row]), number, row)
            other = newest.get(keys[row])
            newest[keys[row]] = here if other is None else max(here, other)
            if other is not None:
                _, where, which = min(here, other)
                masks[where][which] = False
                doubles += 1
    if doubles:
        found.losses.append(f"{doubles} older versions of rows that were there twice")
    pairs = zip(segments, masks, strict=True)
    return [each.with_entry(each.entry.with_live(live)) for each, live in pairs if live.any()]


async def _segment(shop: Workshop, facts: ShardFacts, entry: SegmentEntry, found: Salvaged) -> Segment | None:
    """The segment, whole or written anew; None when none of its rows is left."""
    await shop.fetch(entry.files())
    if not facts.bad_files & {file.name for file in entry.files()}:
        return await asyncio.to_thread(open_segment, shop.folder, entry, shop.collection, shop.engine, _never)
    try:
        part, lost = await asyncio.to_thread(_readable, shop.folder, entry, shop.collection)
    except DataLoss:
        found.losses.append(f"{int(entry.live_mask().sum())} rows of {entry.rows.name}, of unknown keys")
        return None
    found.lost_keys += lost
    if not part.block.live_rows:
        return None
    written = await asyncio.to_thread(found.writer.write, [part])
    found.files += written.entry.files()
    return written


def _readable(folder: Path, entry: SegmentEntry, collection: CollectionSchema) -> tuple[BlockPart, list[Key]]:
    """The rows of a segment that can be read, and the keys of those that cannot. DataLoss when its rows file is bad."""
    content = segment.read_rows(CheckedFile.open(folder / entry.rows.name))
    if len(content.sequences) != entry.count:
        raise DataLoss(f"{entry.rows.name} has {len(content.sequences)} rows")
    live, vectors = entry.live_mask(), {}
    for schema in collection.vectors:
        file = CheckedFile.open(folder / entry.vectors[schema.name].name)
        vectors[schema.name] = segment.map_vectors(file, entry.count, schema.dimensions)
        good = _good_rows(file, entry.vectors[schema.name], entry.count)
        live = live & good
    lost = content.rows.column(KEY).take(np.flatnonzero(entry.live_mask() & ~live)).to_pylist()
    block = RowBlock(conform(content.rows, collection, entry.rows.name), vectors, {}, live, sealed=True)
    return BlockPart(block, content.sequences, content.hashes, None, None), lost


def _good_rows(file: CheckedFile, entry: FileEntry, count: int) -> NDArray[np.bool_]:
    """(count,) bool: the rows that lie in good blocks. Without block checksums it is all or nothing."""
    if not file.checked and f"-{entry.crc32c:08x}." in entry.name:
        raise DataLoss(f"{file.name} has no block checksums")
    size, good = len(file.data) // count, np.ones(count, np.bool_)
    for start, stop in file.bad_spans():
        good[start // size : -(-stop // size)] = False
    return good


async def _requests(
    shop: Workshop, facts: ShardFacts, manifest: Manifest
) -> tuple[tuple[RequestsEntry, ...], list[tuple[str, int]], int]:
    """Files to keep, request ids, and the position up to which ids are forgotten.

    Behind a damaged file the ids come from the log, or else all up to its end count as forgotten: their retries are
    refused, none is applied twice.
    """
    kept: list[RequestsEntry] = []
    ids: list[tuple[str, int]] = []
    low = manifest.low
    whole = True
    for entry in manifest.requests:
        await shop.fetch([entry.file])
        whole = whole and entry.file.name not in facts.bad_files
        if whole:
            kept.append(entry)
        if entry.file.name not in facts.bad_files:
            ids += await asyncio.to_thread(open_requests, shop.folder, entry.file)
            continue
        before = max([other.through for other in manifest.requests if other.through < entry.through], default=0)
        logged = await _logged_ids(shop, facts, range(before + 1, entry.through + 1))
        if logged is None:
            low = max(low, entry.through)
        ids += logged or []
    return tuple(kept), ids, low


async def _logged_ids(shop: Workshop, facts: ShardFacts, slots: range) -> list[tuple[str, int]] | None:
    """The ids of the records in those slots; None when not every one of them can be read."""
    readable = {fact.position for fact in facts.slots if fact.record is not None}
    if not readable.issuperset(slots):
        return None
    found: list[tuple[str, int]] = []
    for slot in slots:
        entry = await shop.log.read(slot)
        if entry is not None and isinstance(entry.record.body, Batch):
            found += [(request.request_id, slot) for request in entry.record.body.requests]
    return found


async def _replay(shop: Workshop, facts: ShardFacts, plan: Plan, found: Salvaged) -> None:
    """Applies the log from the plan's start to the tail, over what cannot be read."""
    state = found.state
    present = {fact.position: fact for fact in facts.slots}
    if plan.manifest is None and plan.start > 1:
        state.position = state.fences_since = plan.start - 1
    vouched = plan.manifest is not None or plan.start == 1  # the state before the slot is that of the log
    for slot in range(plan.start, facts.slots[-1].position + 1):
        fact = present.get(slot)
        entry = await shop.log.read(slot) if fact is not None and fact.record is not None else None
        if entry is not None and (not vouched or slot in plan.skipped):
            _trust(state, entry.record)
        try:
            if entry is not None and await _open_imports(shop, facts, entry.record, found):
                state.apply(entry)
        except DataLoss:
            if slot not in plan.skipped | plan.fences:
                raise
        vouched = state.position == slot
        if not vouched:
            _pass_over(state, slot, fact.chain if fact else 0, fence=slot in plan.fences)


async def _open_imports(shop: Workshop, facts: ShardFacts, record: Record, found: Salvaged) -> bool:
    """Gives the state what the record imports; False when nothing is left of that."""
    for entry in imports_of(record):
        opened = await _segment(shop, facts, entry, found)
        if opened is None:
            return False
        found.state.offer(opened, entry.rows.name)
    return True


def _trust(state: ShardState, record: Record) -> None:
    """Nothing before the record vouches for it: it is taken as it is."""
    state.chain = record.previous
    state.epoch = min(state.epoch, record.epoch - 1) if isinstance(record.body, Fence) else record.epoch


def _pass_over(state: ShardState, slot: int, chain: int, *, fence: bool) -> None:
    """As if a record that says nothing stood in the slot, or a fence that nobody owns."""
    state.position, state.chain, state.stamp = slot, chain, state.stamp + 1
    if fence:
        state.epoch += 1
        state.fences.append(slot)


def _tell(plan: Plan, facts: ShardFacts, found: Salvaged) -> None:
    """Puts into words what is lost: of lost keys only those that no later record wrote or deleted."""
    found.lost_keys = [key for key in found.lost_keys if key not in facts.rewritten]
    if found.lost_keys:
        more = f" and {len(found.lost_keys) - _NAMED} more" if len(found.lost_keys) > _NAMED else ""
        named = ", ".join(repr(key) for key in found.lost_keys[:_NAMED])
        found.losses.append(f"{len(found.lost_keys)} rows with the keys {named}{more}")
    told = [loss for loss in plan.losses if not loss.startswith("up to ")]
    found.losses += told


def _never(file: str, problem: str) -> None:
    """Files are verified when they are opened here; nothing reads them later."""


def _ignore() -> None:
    pass
