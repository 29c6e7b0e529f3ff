"""fsck knows what the log imports: it misses the files, counts the rows, and rebuilds a shard by them."""

from __future__ import annotations

from pathlib import Path

import pytest
from collections_at_rest import Rows, change, check, describe, flipped, kinds, rows_of
from replicas import QUIET, UID, batches, contents, delete, leading, make_replica, new_shard, upsert, write
from test_fsck_repair import assert_whole, repair

from vectorfleet_node.maintenance.logview import log_lines
from vectorfleet_node.storage import paths
from vectorfleet_node.storage.memory import MemoryStore


async def make(folder: Path) -> tuple[MemoryStore, Rows, dict[str, set[str]]]:
    """A shard whose log imports twice: before its newest manifest and after it; and the files of each import."""
    store, files = MemoryStore(), {}
    await new_shard(store)
    await describe(store)
    async with leading(make_replica(store, folder, "maker", settings=QUIET)) as leader:
        await write(leader, upsert([f"k{number}" for number in range(20)], 1))
        await leader.flush()
        await leader.import_rows("first", 99, batches(upsert([f"k{number}" for number in range(5, 15)], 2).rows))
        await write(leader, delete("k5"))
        await leader.flush()
        await leader.import_rows("second", 99, batches(upsert(["k1", "k6", "new"], 3).rows))
        await write(leader, upsert(["k2", "new"], 4))
        for name, (position, names) in zip(
            ("first", "second"), sorted(leader._follower.state.imports.items()), strict=True
        ):
            assert leader.stored(name, 99) == position
            files[name] = {paths.segment(0, file) for file in names}
        return store, dict(contents(leader.view())), files


async def test_a_sound_shard_with_imports_is_clean_and_its_rows_are_counted(tmp_path: Path) -> None:
    store, rows, _ = await make(tmp_path)
    report = await check(store)
    assert report.all_findings == []
    assert report.shards[0].rows == len(rows)


@pytest.mark.parametrize("part", ["rows", "vectors", "index"])
async def test_every_file_that_only_the_log_names_is_missed_and_checked(tmp_path: Path, part: str) -> None:
    store, _, files = await make(tmp_path)
    (key,) = [key for key in files["second"] if key.endswith(part)]
    await change(store, key, flipped)
    assert {(found.kind.label, found.key) for found in (await check(store)).all_findings} == {("file-damaged", key)}
    await store.delete(key)
    assert {(found.kind.label, found.key) for found in (await check(store)).all_findings} == {("file-missing", key)}


async def test_what_the_log_imports_is_no_garbage_and_what_nothing_names_is(tmp_path: Path) -> None:
    store, _, files = await make(tmp_path)
    await store.put(paths.segment(0, "2-00-00000000.rows"), b"abandoned")
    assert kinds(await check(store)) == {"file-left"}
    for number in (3, 4):  # a merge and new manifests: the first import is only in the log then
        async with leading(make_replica(store, tmp_path, f"later-{number}")) as leader:
            await leader.rewrite(next(held.entry.rows.name for held in leader._follower.state.layout.segments))
    assert kinds(await check(store)) <= {"file-left"}
    assert files["second"] <= set(await store.list(""))


async def test_a_lost_index_of_an_import_is_built_anew_without_loss(tmp_path: Path) -> None:
    store, rows, files = await make(tmp_path)
    (key,) = [key for key in files["second"] if key.endswith(".index")]
    await change(store, key, flipped)
    (done,), report = await repair(store)
    assert not done.refused
    assert done.losses == []
    assert report.clean
    await assert_whole(store, rows, tmp_path)


async def test_lost_rows_of_an_import_are_told_before_anything_is_written(tmp_path: Path) -> None:
    store, rows, files = await make(tmp_path)
    (key,) = [key for key in files["second"] if key.endswith(".rows")]
    await store.delete(key)
    before = dict(store._objects)
    (refused,), _ = await repair(store)
    assert "without losing something" in refused.refused
    assert any("up to 3 rows of the segment with" in loss for loss in refused.losses)
    assert store._objects == before
    (done,), report = await repair(store, accept_loss=True)
    assert any("3 rows of" in loss for loss in done.losses)
    assert report.clean
    survived = await rows_of(store, tmp_path)
    assert {key for key in rows if survived.get(key) != rows[key]} == {"k1", "k6"}


async def test_the_log_tells_of_reservations_and_imports(tmp_path: Path) -> None:
    store, _, _ = await make(tmp_path)
    told = [line.text async for line in log_lines(store, UID, 0, start=1, limit=0)]
    assert told.count("reserves its position for rows to be imported") == 2
    assert any(text.startswith("imports 10 rows as the segment of 2-") for text in told)
