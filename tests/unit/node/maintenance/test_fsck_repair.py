"""fsck --repair rebuilds without loss what it can, refuses what it cannot, and says exactly what a salvage lost."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from collections_at_rest import (
    URL,
    Rows,
    change,
    check,
    flipped,
    keys,
    make_collected,
    rewrite_manifest,
    rewrite_record,
    rows_of,
)
from replicas import SCHEMA, UID, contents, ids, leading, make_replica, upsert, write

from vectorfleet.descriptor import ClaimRecord
from vectorfleet.topology import Claim
from vectorfleet_node.engine.cpu import CpuEngine
from vectorfleet_node.maintenance.findings import Report, Severity
from vectorfleet_node.maintenance.repair import Repair, Tools, repair_collection
from vectorfleet_node.storage import manifest as manifests
from vectorfleet_node.storage import paths
from vectorfleet_node.storage.claims import ClaimedByOther
from vectorfleet_node.storage.memory import MemoryStore
from vectorfleet_node.storage.record import chain_value
from vectorfleet_node.storage.store import Store

TAIL = 8
_runs = itertools.count()


@dataclass
class FastClock:
    """A clock that only sleeping moves."""

    now: float = 1_800_000_000.0
    slept: list[Callable[[], None]] = field(default_factory=list)

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        for act in self.slept:
            act()
        await asyncio.sleep(0)


def tools(clock: FastClock | None = None) -> Tools:
    clock = clock or FastClock()
    new_id = ids(f"fsck-{next(_runs)}")
    engine = CpuEngine(build_threads=1)
    return Tools(clock, clock.sleep, new_id, engine, lambda _: None, lambda *_: None)


async def repair(store: Store, *, accept_loss: bool = False) -> tuple[list[Repair], Report]:
    return await repair_collection(store, URL, await check(store), tools(), accept_loss=accept_loss)


async def assert_whole(store: MemoryStore, rows: Rows, folder: Path) -> None:
    """Clean, equal to what it was, and a leader goes on with it."""
    report = await check(store)
    assert report.clean, report.of(Severity.DAMAGE)
    assert await rows_of(store, folder, f"reader-{next(_runs)}") == rows
    async with leading(make_replica(store, folder, f"leader-{next(_runs)}")) as leader:
        await write(leader, upsert(["afterwards"], 9))
        await leader.flush()
        assert set(contents(leader.view())) == {*rows, "afterwards"}
    assert (await check(store)).clean


async def spoil_files(store: MemoryStore, part: str) -> None:
    """Rot in every file of the newest manifest's own: the older manifest's stay good."""
    old = manifests.decode(await store.get(paths.manifest(0, 3)) or b"", uid=UID, shard=0, position=3)
    kept = {file.name for file in old.files()}
    for key in await keys(store, part):
        if key.rsplit("/", 1)[-1] not in kept:
            await change(store, key, flipped)


@pytest.mark.parametrize("part", [".rows", ".vectors", ".index", ".requests"])
async def test_files_of_the_newest_manifest_are_rebuilt_from_the_older_one_and_the_log(
    part: str, store: MemoryStore, rows: Rows, tmp_path: Path
) -> None:
    await spoil_files(store, part)
    repairs, after = await repair(store)
    assert after.clean
    assert [(entry.losses, entry.refused) for entry in repairs] == [([], "")]
    await assert_whole(store, rows, tmp_path)
    assert await keys(store, "quarantine/shards/0/segments/")


@pytest.mark.parametrize("part", [".index", ".requests"])
async def test_an_index_or_request_file_needs_neither_log_nor_older_manifest(
    part: str, store: MemoryStore, rows: Rows, tmp_path: Path
) -> None:
    for key in await keys(store, part):
        await change(store, key, flipped)
    await change(store, paths.manifest(0, 3), flipped)
    repairs, after = await repair(store)
    assert after.clean
    assert all(not entry.losses for entry in repairs)
    await assert_whole(store, rows, tmp_path)


@pytest.mark.parametrize("position", [3, 6])
async def test_a_damaged_or_missing_manifest_is_rebuilt(
    position: int, store: MemoryStore, rows: Rows, tmp_path: Path
) -> None:
    await change(store, paths.manifest(0, position), flipped)
    await repair(store)
    await assert_whole(store, rows, tmp_path)
    assert await keys(store, "quarantine/shards/0/manifests/")
    await store.delete(paths.manifest(0, max(map(int, (key[-20:] for key in await keys(store, "0/manifests/"))))))
    await repair(store)
    report = await check(store)
    assert report.clean


@pytest.mark.parametrize("position", [1, 2, 3, 5])
async def test_a_damaged_record_below_the_newest_manifest_is_covered_by_it(
    position: int, store: MemoryStore, rows: Rows, tmp_path: Path
) -> None:
    await change(store, paths.log_slot(0, position), flipped)
    repairs, after = await repair(store)
    assert after.clean, after.of(Severity.DAMAGE)
    assert [entry.losses for entry in repairs] == [[]]
    await assert_whole(store, rows, tmp_path)
    assert await store.get(f"quarantine/{paths.log_slot(0, position)}") is not None
    assert await store.get(paths.log_slot(0, 1)) is not None


@pytest.mark.parametrize("position", [1, 4, 6])
async def test_a_hole_below_the_newest_manifest_is_covered_by_it(
    position: int, store: MemoryStore, rows: Rows, tmp_path: Path
) -> None:
    await store.delete(paths.log_slot(0, position))
    await repair(store)
    await assert_whole(store, rows, tmp_path)


async def test_a_manifest_that_lost_a_row_gives_way_to_what_the_log_says(
    store: MemoryStore, rows: Rows, tmp_path: Path
) -> None:
    older = manifests.decode(await store.get(paths.manifest(0, 3)) or b"", uid=UID, shard=0, position=3)
    await rewrite_manifest(store, 6, segments=older.segments, rows=older.rows, row_hash=older.row_hash)
    body = await store.get(paths.log_slot(0, 7)) or b""
    await rewrite_record(store, 8, previous=chain_value(body))
    repairs, after = await repair(store)
    assert after.clean
    assert [entry.losses for entry in repairs] == [[]]
    await assert_whole(store, rows, tmp_path)


async def test_an_early_marker_is_taken_away_again(store: MemoryStore, rows: Rows, tmp_path: Path) -> None:
    await store.create(paths.boundary(0, 2, 0), b"")
    await repair(store)
    await assert_whole(store, rows, tmp_path)


async def test_collection_json_is_made_anew_from_claims_and_the_first_record(
    store: MemoryStore, rows: Rows, tmp_path: Path
) -> None:
    before = await store.get("collection.json")
    await _claim(store, 1, released=True)
    await store.delete("collection.json")
    _, after = await repair(store)
    assert after.clean
    assert await store.get("collection.json") == before
    await assert_whole(store, rows, tmp_path)


async def test_a_damaged_claim_goes_into_quarantine(store: MemoryStore, rows: Rows, tmp_path: Path) -> None:
    await _claim(store, 1, released=True)
    await store.create(paths.claim(2), b"{")
    _, after = await repair(store)
    assert after.clean
    assert await store.get(f"quarantine/{paths.claim(2)}") == b"{"


@pytest.mark.parametrize("accept_loss", [False, True])
async def test_nothing_is_done_while_a_fleet_renews_its_claim(accept_loss: bool, store: MemoryStore) -> None:
    await _claim(store, 1)
    await change(store, paths.manifest(0, 6), flipped)
    clock = FastClock()
    renewals = itertools.count(2)
    body = await store.get(paths.claim(1)) or b""
    clock.slept.append(lambda: store._objects.update({paths.claim(next(renewals)): body}))
    with pytest.raises(ClaimedByOther, match="live/things"):
        await repair_collection(store, URL, await check(store), tools(clock), accept_loss=accept_loss)
    assert not await keys(store, "quarantine/")


async def test_a_claim_that_nobody_renews_is_taken_after_a_while_and_released(store: MemoryStore) -> None:
    await _claim(store, 1)
    await change(store, paths.manifest(0, 6), flipped)
    clock = FastClock()
    began = clock.now
    _, after = await repair_collection(store, URL, await check(store), tools(clock), accept_loss=False)
    assert after.clean
    assert clock.now - began >= 45
    newest = max(await keys(store, "claims/"))
    record = ClaimRecord.model_validate_json(await store.get(newest) or b"")
    assert record.released
    assert record.holder.namespace == "fsck"


async def _refused(store: MemoryStore) -> list[str]:
    """Without --accept-loss: what would be lost; the store is as it was."""
    before = dict(store._objects)
    repairs, after = await repair(store)
    assert not after.clean
    assert store._objects == before
    assert all(entry.refused for entry in repairs)
    return [loss for entry in repairs for loss in entry.losses]


async def _accepted(store: MemoryStore, folder: Path) -> tuple[list[str], Rows]:
    """With it: what was lost, and what is left."""
    repairs, after = await repair(store, accept_loss=True)
    assert after.clean, after.of(Severity.DAMAGE)
    left = await rows_of(store, folder, f"reader-{next(_runs)}")
    await assert_whole(store, left, folder)
    return [loss for entry in repairs for loss in entry.losses], left


async def test_a_torn_last_record_is_damage_and_its_loss_is_told(
    store: MemoryStore, rows: Rows, tmp_path: Path
) -> None:
    await change(store, paths.log_slot(0, TAIL), lambda body: body[:100])
    assert await _refused(store) == ["whatever record 8 wrote: its 100 bytes cannot be read"]
    losses, left = await _accepted(store, tmp_path)
    assert losses == ["whatever record 8 wrote: its 100 bytes cannot be read"]
    assert set(left) == set(rows) - {"late"}
    assert left["k5"] == rows["k5"]


async def test_records_behind_a_damaged_one_are_kept(store: MemoryStore, rows: Rows, tmp_path: Path) -> None:
    for key in await keys(store, "manifests/"):
        await change(store, key, flipped)
    await change(store, paths.log_slot(0, 5), flipped)
    assert any("record 5" in loss for loss in await _refused(store))
    losses, left = await _accepted(store, tmp_path)
    assert [loss.split(":")[0] for loss in losses] == ["whatever record 5 wrote"]
    assert set(left) == {*rows, "k1", "k2"}, "record 5 deleted k1 and k2"
    assert all(left[key] == rows[key] for key in rows)


async def test_rows_in_bad_blocks_are_lost_by_name_and_no_others(tmp_path: Path) -> None:
    store, rows = await make_collected(tmp_path)
    key = largest(store, ".vectors")
    await change(store, key, lambda body: flipped(body, 0.0))
    told = await _refused(store)
    assert len(told) == 1
    assert told[0].startswith("up to 6,000 rows of the segment with ")
    losses, left = await _accepted(store, tmp_path)
    lost = set(rows) - set(left)
    assert 0 < len(lost) <= 65536 // 32
    assert losses[0].startswith(f"{len(lost)} rows with the keys 'row-0', 'row-1', ")
    assert all(left[kept] == rows[kept] for kept in left)


async def test_a_segment_whose_rows_file_is_gone_is_lost_as_a_whole_and_counted(tmp_path: Path) -> None:
    store, _ = await make_collected(tmp_path)
    key = largest(store, ".rows")
    await store.delete(key)
    assert (await _refused(store))[0].startswith("up to 6,000 rows of the segment with ")
    losses, left = await _accepted(store, tmp_path)
    assert losses == [f"6000 rows of {key.rsplit('/', 1)[-1]}, of unknown keys"]
    assert left == {}


async def test_an_empty_log_cannot_be_repaired(store: MemoryStore) -> None:
    for key in await keys(store, "/log/"):
        await store.delete(key)
    repairs, after = await repair(store, accept_loss=True)
    assert not after.clean
    assert "only a backup" in repairs[0].refused


async def _claim(store: MemoryStore, number: int, *, released: bool = False) -> None:
    holder = Claim(cluster="c", namespace="live", name="things")
    record = ClaimRecord(holder=holder, released=released, collection=SCHEMA, stamp=1.0)
    await store.create(paths.claim(number), record.model_dump_json().encode())


def largest(store: MemoryStore, part: str) -> str:
    return max((key for key in store._objects if part in key), key=lambda key: len(store._objects[key]))
