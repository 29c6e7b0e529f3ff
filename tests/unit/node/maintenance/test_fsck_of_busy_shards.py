"""fsck of shards that flush, merge and collect: no false alarm while they do, and pins are checked and given up."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

from collections_at_rest import change, check, describe, flipped, keys, rows_of
from replicas import QUIET, UID, contents, delete, leading, make_replica, new_shard, upsert, write
from test_fsck_repair import repair

from vectorfleet_node.maintenance.findings import Severity
from vectorfleet_node.maintenance.logview import log_lines
from vectorfleet_node.shard.replica import ShardReplica
from vectorfleet_node.storage import paths
from vectorfleet_node.storage.memory import MemoryStore

BUSY = replace(QUIET, seal_rows=40, seal_idle=0.05, publish_records=20, keep_manifests=2, collect_pause=0.0)


async def new_collection() -> MemoryStore:
    store = MemoryStore()
    await new_shard(store)
    await describe(store)
    return store


async def keep_busy(leader: ShardReplica, rounds: int) -> None:
    for number in range(rounds):
        await write(leader, upsert([f"k{(number * 7 + step) % 200}" for step in range(5)], number))
        await write(leader, delete(f"k{number * 3 % 200}"))
        if number % 10 == 0:
            await leader.flush()


async def test_a_shard_is_clean_after_flushes_merges_and_collection(tmp_path: Path) -> None:
    store = await new_collection()
    async with leading(make_replica(store, tmp_path, "busy", settings=BUSY)) as leader:
        await keep_busy(leader, 120)
        await leader.compact()
        await leader.flush()
        rows = dict(contents(leader.view()))
    report = await check(store)
    assert report.of(Severity.DAMAGE) == []
    assert report.of(Severity.WARNING) == []
    assert report.shards[0].rows == len(rows)
    assert report.shards[0].boundary > 64
    told = [line async for line in log_lines(store, UID, 0, start=1, limit=0)]
    assert not any(line.damaged for line in told)
    assert any(line.kind == "collected" for line in told)


async def test_a_shard_that_is_written_and_collected_meanwhile_is_never_called_damaged(tmp_path: Path) -> None:
    store = await new_collection()
    async with leading(make_replica(store, tmp_path, "busy", settings=BUSY)) as leader:
        work = asyncio.create_task(keep_busy(leader, 300))
        looks = 0
        while not work.done():
            assert (await check(store)).of(Severity.DAMAGE) == []
            looks += 1
        await work
    assert looks > 2


async def test_a_pin_that_cannot_be_kept_is_told_and_only_given_up_when_that_is_accepted(tmp_path: Path) -> None:
    store = await new_collection()
    async with leading(make_replica(store, tmp_path, "busy", settings=BUSY)) as leader:
        await keep_busy(leader, 15)
        pin = await leader.pin("backup")
        await keep_busy(leader, 80)
        await leader.flush()
        rows = dict(contents(leader.view()))
    assert (await check(store)).clean
    manifest = paths.manifest(0, pin.manifest)
    await change(store, manifest, flipped)
    before = dict(store._objects)
    repairs, after = await repair(store)
    assert (after.clean, store._objects) == (False, before)
    assert repairs[0].losses == ["pin backup: what it keeps cannot be read any more"]
    repairs, after = await repair(store, accept_loss=True)
    assert after.clean, after.of(Severity.DAMAGE)
    assert repairs[0].losses == ["pin backup: what it keeps cannot be read any more"]
    assert await rows_of(store, tmp_path) == rows
    assert await keys(store, f"quarantine/{manifest}")
