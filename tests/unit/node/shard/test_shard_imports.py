"""Bulk imports: a part becomes visible at once, as of its record; it supersedes and is superseded as any write is."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from garbage import TIDY, collected
from replicas import (
    FLOOR,
    QUIET,
    abandon,
    bring,
    contents,
    delete,
    leading,
    located,
    make_replica,
    new_shard,
    row_hash,
    rows_of,
    running,
    seen,
    until,
    upsert,
    write,
)
from steered import SteeredStore

from vectorfleet_node.shard.port import InDoubt, NotApplied, NotLeader
from vectorfleet_node.storage.memory import MemoryStore
from vectorfleet_node.storage.record import Batch


async def never() -> AsyncIterator[pa.RecordBatch]:
    raise AssertionError("the rows of a request that is known already were read")
    yield


async def test_the_rows_of_a_part_are_there_at_its_position_and_in_every_replica(tmp_path: Path) -> None:
    store = MemoryStore()
    await new_shard(store)
    keys = [f"k{number}" for number in range(300)]
    follower = make_replica(store, tmp_path, "follower")
    async with leading(make_replica(store, tmp_path)) as leader, running(follower):
        position = await bring(leader, keys)
        assert leader.view().position == position
        assert seen(leader) == rows_of(keys)
        assert leader.stored("import", FLOOR) == position
        await follower.wait_for(position)
        assert seen(follower) == rows_of(keys)
        assert row_hash(follower) == row_hash(leader)
        assert follower.report().rows == 300
        assert follower.report().growing_rows == 0


async def test_a_part_replaces_earlier_rows_of_its_keys_wherever_they_are_and_no_others(tmp_path: Path) -> None:
    store = MemoryStore()
    await new_shard(store)
    async with leading(make_replica(store, tmp_path)) as leader:
        await write(leader, upsert(["sealed", "both", "stays"], 1))
        await leader.flush()
        await bring(leader, ["both", "imported"], 2, "first")
        await write(leader, upsert(["growing", "grows on"], 3))
        await bring(leader, ["sealed", "imported", "growing", "new"], 4, "second")
        expected = (
            rows_of(["sealed", "both", "stays"], 1)
            | rows_of(["both", "imported"], 2)
            | rows_of(["growing", "grows on"], 3)
            | rows_of(["sealed", "imported", "growing", "new"], 4)
        )
        assert seen(leader) == expected
        await leader.flush()
        assert seen(leader) == expected


async def test_later_writes_and_deletes_replace_the_rows_of_a_part_before_and_after_a_flush(tmp_path: Path) -> None:
    store = MemoryStore()
    await new_shard(store)
    async with leading(make_replica(store, tmp_path)) as leader:
        await bring(leader, ["a", "b", "c", "d"], 1)
        await write(leader, upsert(["a"], 2))
        await write(leader, delete("b"))
        await leader.flush()
        await write(leader, upsert(["c"], 3))
        expected = rows_of(["a", "b", "c", "d"], 1) | rows_of(["a"], 2) | rows_of(["c"], 3)
        del expected["b"]
        assert seen(leader) == expected
    async with running(again := make_replica(store, tmp_path, "again")):
        assert seen(again) == expected


async def test_a_view_stays_as_it_was_while_a_part_is_imported(tmp_path: Path) -> None:
    store = MemoryStore()
    await new_shard(store)
    async with leading(make_replica(store, tmp_path)) as leader:
        await write(leader, upsert(["sealed"], 1))
        await leader.flush()
        await write(leader, upsert(["growing"], 2))
        view = leader.view()
        rows, places = contents(view), located(view, ["sealed", "growing", "new"])
        await bring(leader, ["sealed", "growing", "new"], 3)
        assert contents(view) == rows
        assert located(view, ["sealed", "growing", "new"]) == places


async def test_what_was_written_while_a_part_was_made_is_older_than_the_part(tmp_path: Path) -> None:
    store = SteeredStore()
    await new_shard(store)
    async with leading(make_replica(store, tmp_path)) as leader:
        await write(leader, upsert(["deleted"], 1))
        store.hold("upload")
        importing = asyncio.create_task(bring(leader, ["deleted", "written"], 2))
        await until(lambda: store.waiting)
        await write(leader, delete("deleted"))
        await write(leader, upsert(["written"], 3))
        assert seen(leader) == rows_of(["written"], 3)
        store.release()
        await importing
        assert seen(leader) == rows_of(["deleted", "written"], 2)


async def test_nothing_of_a_part_is_seen_before_its_record(tmp_path: Path) -> None:
    store = SteeredStore()
    await new_shard(store)
    async with leading(make_replica(store, tmp_path)) as leader:
        store.hold(".vectors")
        importing = asyncio.create_task(bring(leader, ["a", "b"]))
        await until(lambda: store.waiting)
        assert seen(leader) == {}
        assert leader.stored("import", FLOOR) is None
        store.release()
        await importing
        assert set(seen(leader)) == {"a", "b"}


async def test_the_files_of_a_part_are_in_the_store_before_its_record(tmp_path: Path) -> None:
    store = SteeredStore()
    await new_shard(store)
    async with leading(make_replica(store, tmp_path)) as leader:
        record = f"create shards/0/log/{leader.view().position + 2:020d}"  # the first one reserves
        store.hold(record)
        importing = asyncio.create_task(bring(leader, ["a", "b"]))
        await until(lambda: store.asked(record))
        local = {path.name for path in (tmp_path / "a").iterdir()}
        stored = {key.rpartition("/")[2] for key in store.keys("/segments/")}
        store.release()
        await importing
        assert {name.rpartition(".")[2] for name in stored} >= {"rows", "vectors", "index"}
        assert stored == local


async def test_a_restart_replays_imports_that_no_manifest_has(tmp_path: Path) -> None:
    store = MemoryStore()
    await new_shard(store)
    async with leading(make_replica(store, tmp_path)) as leader:
        await write(leader, upsert(["a", "b"], 1))
        await leader.flush()
        await bring(leader, ["b", "c"], 2, "one")
        await write(leader, upsert(["c"], 3))
        await bring(leader, ["d", "a"], 4, "two")
        expected, hashed = seen(leader), row_hash(leader)
    async with leading(again := make_replica(store, tmp_path, "again")):
        assert seen(again) == expected
        assert row_hash(again) == hashed
        assert await again.import_rows("one", FLOOR, never()) == again.stored("one", FLOOR)
        await again.flush()
        assert seen(again) == expected


async def test_a_request_that_is_sent_again_is_imported_once_and_its_rows_are_not_read(tmp_path: Path) -> None:
    store = MemoryStore()
    await new_shard(store)
    async with leading(make_replica(store, tmp_path)) as leader:
        position = await bring(leader, ["a"], 1)
        await write(leader, upsert(["a"], 2))
        assert await leader.import_rows("import", FLOOR, never()) == position
        assert seen(leader) == rows_of(["a"], 2)


async def test_a_caller_that_gives_up_does_not_end_the_import_and_the_next_attempt_joins_it(tmp_path: Path) -> None:
    store = SteeredStore()
    await new_shard(store)
    async with leading(make_replica(store, tmp_path)) as leader:
        store.hold("upload")
        first = asyncio.create_task(bring(leader, ["a", "b"]))
        await until(lambda: store.waiting)
        first.cancel()
        with pytest.raises(InDoubt):
            await first
        second = asyncio.create_task(leader.import_rows("import", FLOOR, never()))
        await asyncio.sleep(0)
        store.release()
        position = await second
        assert seen(leader) == rows_of(["a", "b"])
        assert leader.view().position == position
        uploads = [call for call in store.calls if call.startswith("upload") and call.endswith(".rows")]
        assert len(uploads) == 1


async def test_two_attempts_at_once_are_imported_once(tmp_path: Path) -> None:
    store = MemoryStore()
    await new_shard(store)
    async with leading(make_replica(store, tmp_path)) as leader:
        positions = await asyncio.gather(*(bring(leader, ["a", "b"]) for _ in range(3)))
        assert len(set(positions)) == 1
        assert seen(leader) == rows_of(["a", "b"])
        assert not list((tmp_path / "a").glob("*.tmp"))


async def test_a_leader_that_is_lost_before_the_record_leaves_nothing_and_the_next_one_imports_anew(
    tmp_path: Path,
) -> None:
    store = SteeredStore()
    await new_shard(store)
    other = make_replica(store.inner, tmp_path, "other", settings=TIDY)
    async with leading(make_replica(store, tmp_path, settings=TIDY)) as leader, running(other):
        store.hold("upload")
        importing = asyncio.create_task(bring(leader, ["a", "b"]))
        await until(lambda: store.waiting)
        await other.take_over()
        store.release()
        with pytest.raises(NotApplied):
            await importing
        with pytest.raises(NotLeader):
            await bring(leader, ["a", "b"])
        assert not list((tmp_path / "a").glob("*"))
        assert await bring(other, ["a", "b"]) == other.view().position
        await write(other, upsert(["c"], 1))
        await other.flush()
        await collected(store.inner, other)
        expected = rows_of(["a", "b"]) | rows_of(["c"], 1)
        assert seen(other) == expected
        await leader.wait_for(other.view().position)
        assert seen(leader) == expected


async def test_a_record_that_landed_unnoticed_is_found_by_the_next_leader(tmp_path: Path) -> None:
    store = SteeredStore()
    await new_shard(store)
    leader = make_replica(store, tmp_path)
    await leader.start()
    await leader.take_over()
    before = leader.view().position
    store.hold_reply(f"create shards/0/log/{before + 2:020d}")  # one reserves, the other commits
    importing = asyncio.create_task(bring(leader, ["a", "b"]))
    await until(lambda: store.waiting)
    await abandon(leader)
    importing.cancel()
    async with leading(other := make_replica(store.inner, tmp_path, "other")):
        assert other.stored("import", FLOOR) == before + 2
        assert seen(other) == rows_of(["a", "b"])


async def test_an_import_is_a_record_of_its_own_among_other_writes(tmp_path: Path) -> None:
    store = SteeredStore()
    await new_shard(store)
    async with leading(make_replica(store, tmp_path)) as leader:
        store.hold("create shards/0/log")
        work = [asyncio.create_task(write(leader, upsert(["first"], 1)))]
        await until(lambda: store.waiting)
        work.append(asyncio.create_task(bring(leader, ["a", "b"])))
        await asyncio.sleep(0.1)
        store.release()
        await asyncio.gather(*work, *(write(leader, upsert([f"w{number}"], number)) for number in range(20)))
        log = leader._log
        records = [await log.read(position) for position in range(1, leader.view().position + 1)]
        bodies = [entry.record.body for entry in records if entry is not None]
        imports = [body for body in bodies if isinstance(body, Batch) and body.imports]
        assert len(imports) == 1
        assert len(imports[0].requests) == 1
        assert len(seen(leader)) == 23


async def test_an_idle_leader_publishes_what_was_imported(tmp_path: Path) -> None:
    store = MemoryStore()
    await new_shard(store)
    async with leading(make_replica(store, tmp_path, settings=replace(QUIET, seal_idle=0.2))) as leader:
        await bring(leader, ["a", "b"])
        await until(lambda: leader._follower.state.layout.position >= leader._follower.state.newest_published > 0)
        assert not leader._follower.state.layout.imported
        assert seen(leader) == rows_of(["a", "b"])


@pytest.mark.parametrize("seed", range(6))
async def test_imports_among_writes_flushes_merges_and_take_overs_leave_the_rows_of_a_dictionary(
    tmp_path: Path, seed: int
) -> None:
    source = random.Random(seed)
    store = MemoryStore()
    await new_shard(store)
    expected: dict[object, object] = {}
    replicas = [make_replica(store, tmp_path, name, settings=TIDY) for name in ("a", "b")]
    async with running(*replicas):
        leader = replicas[0]
        await leader.take_over()
        for step in range(60):
            keys = source.sample([f"k{number}" for number in range(12)], source.randint(1, 8))
            action = source.choices(["import", "write", "delete", "flush", "compact", "take over"], [6, 6, 3, 3, 1, 1])[
                0
            ]
            if action == "import":
                await bring(leader, keys, step, f"i{step}")
                expected |= rows_of(keys, step)
            elif action == "write":
                await write(leader, upsert(keys, step))
                expected |= rows_of(keys, step)
            elif action == "delete":
                await write(leader, delete(*keys))
                expected = {key: row for key, row in expected.items() if key not in keys}
            elif action == "flush":
                await leader.flush()
            elif action == "compact":
                await leader.compact()
            else:
                leader = source.choice(replicas)
                await leader.make_strong()  # who led before must know that it is over
                await leader.take_over()
            assert seen(leader) == expected, f"seed {seed}, step {step}: {action}"
        for replica in replicas:
            await replica.wait_for(leader.view().position)
            assert seen(replica) == expected
            assert row_hash(replica) == row_hash(leader)
    async with running(again := make_replica(store, tmp_path, "again")):
        assert seen(again) == expected
