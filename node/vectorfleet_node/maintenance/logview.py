"""A shard's log as lines for humans and programs: `vectorfleet log`. Reads only, so it works while nodes run."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from typing import Any

from vectorfleet_node.maintenance import words
from vectorfleet_node.maintenance.slots import Inventory, Slot, read_slot, read_slots, sort_out
from vectorfleet_node.storage import paths
from vectorfleet_node.storage.collection import read_descriptor
from vectorfleet_node.storage.store import DataLoss, Store, StoreNotFound


@dataclass(frozen=True)
class LogLine:
    """One record, or a stretch of slots: what there is to say about it.

    position, until: first and last slot. kind: batch, fence, publish, pin, unpin, collected, missing or damaged.
    stamp: milliseconds since the epoch; time: the same as UTC. size: bytes. Empty and 0 where there is no record.
    """

    shard: int
    position: int
    until: int
    kind: str
    text: str
    time: str = ""
    stamp: int = 0
    epoch: int = 0
    size: int = 0

    @property
    def damaged(self) -> bool:
        """Whether something is wrong here."""
        return self.kind in ("damaged", "missing")

    def as_json(self) -> dict[str, Any]:
        """The fields."""
        return asdict(self)


@dataclass(frozen=True)
class Collection:
    """What `log` and `fsck` need to know of a collection first."""

    uid: str
    shards: int


async def open_collection(store: Store, url: str) -> Collection:
    """Uid and number of shards. StoreNotFound when there is no collection; DataLoss when it cannot be read."""
    descriptor = await read_descriptor(store)
    if descriptor is None:
        raise StoreNotFound(f"there is no collection at {url}: it has no collection.json")
    return Collection(descriptor.uid, descriptor.collection.shards)


def chosen_shards(collection: Collection, only: int | None) -> list[int]:
    """All shards, or the one that was asked for. ValueError when there is no such shard."""
    if only is not None and only >= collection.shards:
        raise ValueError(f"--shard is {only}; the collection has {words.counted(collection.shards, 'shard')}, from 0")
    return list(range(collection.shards)) if only is None else [only]


async def log_lines(store: Store, uid: str, shard: int, *, start: int, limit: int) -> AsyncIterator[LogLine]:
    """The log from slot `start` on (0: the newest `limit` slots), at most `limit` records (0: all)."""
    inventory = sort_out(shard, await store.list(paths.shard_prefix(shard)))
    positions = [position for position in inventory.slots if position >= start]
    if not start and limit:
        positions = positions[-limit:]
    expected = start or (1 if len(positions) == len(inventory.slots) else positions[0])
    before, told = await read_slot(store, uid, shard, expected - 1), 0
    async for slot in read_slots(store, uid, shard, positions, start=expected):
        if limit and told == limit:
            return
        for gap in gaps(inventory, shard, expected, slot.position - 1):
            yield gap
        yield _line(shard, slot, before, inventory)
        before, expected, told = slot, slot.position + 1, told + 1


def gaps(inventory: Inventory, shard: int, first: int, last: int) -> list[LogLine]:
    """What to say about empty slots first..last: stretches that were collected, and ones that are missing."""
    found = []
    for start, end, collected in inventory.stretches(first, last):
        span = f"slots {start}-{end}" if end > start else f"slot {start}"
        was = ("were" if end > start else "was") if collected else ("are" if end > start else "is")
        kind = "collected" if collected else "missing"
        found.append(LogLine(shard, start, end, kind, f"{span} {was} {kind}"))
    return found


def _line(shard: int, slot: Slot, before: Slot | None, inventory: Inventory) -> LogLine:
    record = slot.record
    if record is None:
        return LogLine(shard, slot.position, slot.position, "damaged", slot.problem, size=slot.size)
    try:
        text, kind = words.describe(record), words.kind_of(record)
    except (ValueError, DataLoss) as error:
        text, kind = f"its checksum is right, its rows cannot be read: {error}", "damaged"
    if before is not None and before.position == slot.position - 1 and before.chain != record.previous:
        if inventory.collected(slot.position) and kind == "fence":
            text += " (never part of the log: it came after its slot was collected)"
        elif before.record is not None:
            text, kind = f"does not follow record {before.position}: the chain is broken here; it {text}", "damaged"
    return LogLine(
        shard,
        slot.position,
        slot.position,
        kind,
        text,
        words.time_of(record),
        record.stamp,
        record.epoch,
        slot.size,
    )
