"""A crash after any store call of flush, import, merge and collection leaves nothing wrong, and no garbage for long."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from garbage import TIDY, DyingStore, collected, fill
from replicas import (
    FLOOR,
    abandon,
    batches,
    contents,
    delete,
    leading,
    make_replica,
    new_shard,
    row_hash,
    running,
    upsert,
    write,
)

from vectorfleet_node.shard.compaction import FAN_IN
from vectorfleet_node.storage import paths
from vectorfleet_node.storage.memory import MemoryStore


async def prepared(folder: Path) -> tuple[MemoryStore, dict[object, object]]:
    """A shard with segments to merge and one to rewrite, whose garbage collection was interrupted in block 0."""
    store = MemoryStore()
    await new_shard(store)
    async with leading(make_replica(store, folder, "maker", settings=replace(TIDY, compact_bytes=0))) as leader:
        await fill(leader, 60)
        for step in range(FAN_IN):
            await fill(leader, 3, f"{step}-")
        await write(leader, delete("0-0", "0-1", "1-0"))
        await leader.flush()
        await collected(store, leader)
        rows = dict(contents(leader.view()))
    for slot in range(3, 9):
        store._objects[paths.log_slot(0, slot)] = b"left"  # a crashed collector's: it had made the marker
    return store, rows


KINDS = {"create log", "create manifests", "create boundary", "upload segments", "delete log", "delete segments"}


@dataclass
class Life:
    """One process over a store that dies with it after so many calls. allowed: the keys that may be read afterwards."""

    store: DyingStore
    folder: Path
    rows: set[object]

    def __post_init__(self) -> None:
        self.allowed = [self.rows]

    async def live(self) -> None:
        self.replica = make_replica(self.store, self.folder, f"life-{self.store.limit}", settings=TIDY)
        living = asyncio.create_task(self._work())
        dying = asyncio.create_task(self.store.died.wait())
        await asyncio.wait([living, dying], return_when=asyncio.FIRST_COMPLETED)
        await abandon(self.replica)
        for task in (living, dying):
            task.cancel()
        await asyncio.gather(living, dying, return_exceptions=True)

    async def _work(self) -> None:
        """Everything that writes to the store."""
        await self.replica.start()
        await self.replica.take_over()
        for step in range(3):
            self.allowed = [self.allowed[-1], {*self.allowed[-1], f"new-{step}"}]
            await write(self.replica, upsert([f"new-{step}"], step, year=step))
            self.allowed = [self.allowed[-1]]
            await self.replica.flush()
            await self.replica.compact()
        await collected(self.store.inner, self.replica)


@pytest.mark.parametrize("part", range(4))
async def test_a_crash_after_any_store_call_leaves_nothing_wrong_and_the_next_collection_no_orphan(
    part: int, tmp_path: Path
) -> None:
    base, rows = await prepared(tmp_path)

    async def live(limit: int) -> Life:
        store = MemoryStore()
        store._objects = dict(base._objects)
        life = Life(DyingStore(store, limit), tmp_path, set(rows))
        await life.live()
        return life

    whole = await live(10**9)
    calls = [f"{call.split(' ')[0]} {call.split('/')[2]}" for call in whole.store.calls]
    assert set(calls) >= KINDS
    for limit in range(1 + part, len(calls) + 1, 4):
        life = await live(limit)
        await check_after(life, tmp_path / f"after-{limit}", f"crash after call {limit}, {life.store.calls[-1]}")


@dataclass
class ImportingLife(Life):
    """One that imports, replaces imported rows, and flushes."""

    async def _work(self) -> None:
        await self.replica.start()
        await self.replica.take_over()
        for step in range(2):
            keys = ["import", f"import-{step}"]
            self.allowed = [self.allowed[-1], {*self.allowed[-1], *keys}]
            await self.replica.import_rows(f"import-{step}", FLOOR, batches(upsert(keys, step).rows))
            self.allowed = [self.allowed[-1]]
            await write(self.replica, upsert(["import"], step))
        await self.replica.flush()
        await self.replica.compact()


@pytest.mark.parametrize("part", range(2))
async def test_a_crash_after_any_store_call_of_an_import_leaves_all_of_a_part_or_nothing_and_no_orphan(
    part: int, tmp_path: Path
) -> None:
    async def live(limit: int) -> Life:
        store = MemoryStore()
        await new_shard(store)
        life = ImportingLife(DyingStore(store, limit), tmp_path, set())
        await life.live()
        return life

    whole = await live(10**9)
    for limit in range(1 + part, len(whole.store.calls) + 1, 2):
        life = await live(limit)
        await check_after(life, tmp_path / f"after-{limit}", f"crash after call {limit}, {life.store.calls[-1]}")


async def check_after(life: Life, folder: Path, where: str) -> None:
    store = life.store.inner
    async with leading(make_replica(store, folder, where, settings=TIDY)) as leader:
        assert leader.report().message == "", where
        assert set(contents(leader.view())) in life.allowed, where
        await leader.compact()
        for number in range(3):
            await fill(leader, 1, f"after-{number}-")
        await collected(store, leader)
        found, hashed = contents(leader.view()), row_hash(leader)
    async with running(again := make_replica(store, folder, f"{where}, again")):
        assert (contents(again.view()), row_hash(again), again.report().message) == (found, hashed, ""), where
