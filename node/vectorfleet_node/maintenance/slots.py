"""Reads a shard's objects: which there are, and its log slot by slot. Used by `logview` and `check`.

Reading only, a window of slots at a time, so that a long log needs little memory. Listings may lag: what a listing does
not name is asked for by name before it counts as missing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from typing import Final

from vectorfleet_node.storage import paths
from vectorfleet_node.storage.log import LARGE_BLOCK, SMALL_BLOCK
from vectorfleet_node.storage.record import Record, UnknownRecord, chain_value, decode
from vectorfleet_node.storage.store import DataLoss, Store

_WINDOW: Final = 16


@dataclass
class Inventory:
    """The keys below one shard, sorted out. small, large: blocks with a boundary marker. unknown: keys of no kind."""

    slots: list[int] = field(default_factory=list)
    manifests: list[int] = field(default_factory=list)
    segments: list[str] = field(default_factory=list)
    small: set[int] = field(default_factory=set)
    large: set[int] = field(default_factory=set)
    unknown: list[str] = field(default_factory=list)

    def collected(self, position: int) -> bool:
        """Whether a marker allows the slot to be absent."""
        return position // SMALL_BLOCK in self.small or position // LARGE_BLOCK in self.large

    def stretches(self, first: int, last: int) -> list[tuple[int, int, bool]]:
        """Slots first..last as (from, to, collected), in order. Costs no more than there are markers."""
        found: list[tuple[int, int, bool]] = []
        ranges = [(block * SMALL_BLOCK, (block + 1) * SMALL_BLOCK - 1) for block in self.small]
        ranges += [(block * LARGE_BLOCK, (block + 1) * LARGE_BLOCK - 1) for block in self.large]
        for start, end in sorted(ranges):
            start, end = max(start, first), min(end, last)
            if start > end:
                continue
            if start > first:
                found.append((first, start - 1, False))
            if found and found[-1][2]:
                found[-1] = (found[-1][0], end, True)
            else:
                found.append((start, end, True))
            first = end + 1
        return [*found, (first, last, False)] if first <= last else found


@dataclass(frozen=True)
class Slot:
    """A log slot that holds something: a record, or what is wrong with it. newer: a later version wrote it."""

    position: int
    size: int
    record: Record | None
    chain: int
    problem: str = ""
    newer: bool = False


def sort_out(shard: int, keys: Iterable[str]) -> Inventory:
    """The inventory of a shard from the keys below it."""
    found = Inventory()
    for key in keys:
        kind, _, name = key.removeprefix(paths.shard_prefix(shard)).partition("/")
        number = paths.number_of(key)
        if kind == "log" and number and key == paths.log_slot(shard, number):
            found.slots.append(number)
        elif kind == "manifests" and number and key == paths.manifest(shard, number):
            found.manifests.append(number)
        elif kind == "segments" and name and "/" not in name:
            found.segments.append(name)
        elif kind != "boundary" or not _mark(found, shard, key):
            found.unknown.append(key)
    found.slots.sort()
    found.manifests.sort()
    return found


def _mark(found: Inventory, shard: int, key: str) -> bool:
    level, _, block = key.removeprefix(f"{paths.shard_prefix(shard)}boundary/").partition("/")
    if level not in ("1", "2") or not (block.isascii() and block.isdigit()):
        return False
    if key != paths.boundary(shard, int(level), int(block)):
        return False
    (found.small if level == "1" else found.large).add(int(block))
    return True


async def read_slot(store: Store, uid: str | None, shard: int, position: int) -> Slot | None:
    """One slot, or None when it is empty."""
    data = await store.get(paths.log_slot(shard, position))
    if data is None:
        return None
    chain = chain_value(data) if len(data) >= 4 else 0
    try:
        record = decode(data, uid=uid, shard=shard, position=position)
    except DataLoss as error:
        return Slot(position, len(data), None, chain, str(error))
    except UnknownRecord as error:
        return Slot(position, len(data), None, chain, str(error), newer=True)
    return Slot(position, len(data), record, chain)


async def read_slots(
    store: Store, uid: str | None, shard: int, positions: list[int], *, start: int = 1
) -> AsyncIterator[Slot]:
    """The slots at these ascending positions that hold something, then what follows the last one (or is at `start`)."""
    for start in range(0, len(positions), _WINDOW):
        window = positions[start : start + _WINDOW]
        for slot in await asyncio.gather(*(read_slot(store, uid, shard, position) for position in window)):
            if slot is not None:
                yield slot
    after = positions[-1] + 1 if positions else start
    while (slot := await read_slot(store, uid, shard, after)) is not None:
        yield slot
        after += 1
