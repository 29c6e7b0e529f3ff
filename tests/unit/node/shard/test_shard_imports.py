"""Bulk imports: a part becomes visible at once, as of its record; it supersedes and is superseded as any write is."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from garbage import TIDY, collected
from replicas import (
    QUIET,
    SCHEMA,
    abandon,
    contents,
    delete,
    ids,
    leading,
    located,
    make_replica,
    new_shard,
    row_hash,
    running,
    until,
    upsert,
    write,
)
from steered import SteeredStore
from test_shard_pins import read

from vectorfleet_node.engine.cpu import CpuEngine
from vectorfleet_node.shard import compaction
from vectorfleet_node.shard.compaction import FAN_IN
from vectorfleet_node.shard.port import InDoubt, NotApplied, NotLeader, Overloaded, TooNew
from vectorfleet_node.shard.replica import ShardReplica
from vectorfleet_node.shard.spool import Spool
from vectorfleet_node.shard.writing import SegmentWriter
from vectorfleet_node.storage.memory import MemoryStore
from vectorfleet_node.storage.record import Batch
from vectorfleet_node.storage.store import StoreFull

FLOOR = 1 << 40


async def batches(*parts: pa.RecordBatch) -> AsyncIterator[pa.RecordBatch]:
    for part in parts:
        yield part


async def never() -> AsyncIterator[pa.RecordBatch]:
    raise AssertionError("the rows of a request that is known already were read")
    yield


async def bring(
    replica: ShardReplica, keys: Sequence[str], seed: int = 0, request_id: str = "import", patience: float = 0.0
) -> int:
    """Imports rows as `upsert` makes them, in two batches."""
    rows = upsert(keys, seed).rows
    half = len(keys) // 2
    return await replica.import_rows(request_id, FLOOR, batches(rows[:half], rows[half:]), patience)


def rows_of(keys: Sequence[str], seed: int = 0) -> dict[object, object]:
    """What a view must show of rows that `upsert` made."""
    rows = upsert(keys, seed).rows
    packed = rows.column("vector.default")
    return {key: ("en", 0, packed[number].values.to_numpy().tobytes()) for number, key in enumerate(keys)}


def seen(replica: ShardReplica) -> dict[object, object]:
    """The rows, found by scanning and by key alike."""
    view = replica.view()
    rows = dict(contents(view))
    assert set(located(view, list(rows))) == set(rows)  # type: ignore[arg-type]
    return rows


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


async def test_merges_put_imported_rows_among_those_of_their_neighbours(tmp_path: Path) -> None:
    """The rows of a part have sequences of the time of its beginning, between those of a segment flushed later."""
    store = SteeredStore()
    await new_shard(store)
    async with leading(make_replica(store, tmp_path, settings=TIDY)) as leader:
        for step in range(FAN_IN):
            await write(leader, upsert([f"early {step}"], 1))
            store.hold("upload")
            importing = asyncio.create_task(bring(leader, [f"import {step}.{n}" for n in range(3)], 2, f"i{step}"))
            await until(lambda: store.waiting)
            await write(leader, upsert([f"late {step}"], 3))
            store.release()
            await importing
            await leader.flush()
        before, hashed = seen(leader), row_hash(leader)
        assert leader.report().segments == 2 * FAN_IN
        await leader.compact()
        assert leader.report().segments < 2 * FAN_IN
        for segment in leader._follower.state.layout.segments:
            assert (segment.content.sequences[1:] > segment.content.sequences[:-1]).all()
        assert seen(leader) == before
        assert row_hash(leader) == hashed
    async with running(again := make_replica(store.inner, tmp_path, "again")):
        assert seen(again) == before
        assert row_hash(again) == hashed


def test_rows_whose_sequences_interleave_are_written_in_their_order(tmp_path: Path) -> None:
    keys = {"a": ["a3", "a7", "a8"], "b": ["b1", "b5"]}
    parts = []
    for name, mine in keys.items():
        spool = Spool(tmp_path, SCHEMA, ids(name), 1 << 20)
        spool.append(upsert(mine, ord(name)).rows)
        sequences = np.array([int(key[1:]) for key in mine], np.uint64)
        parts.append(replace(spool.part(1), sequences=sequences))
        spool.remove()
    engine = CpuEngine(build_threads=1)
    written = SegmentWriter(tmp_path, SCHEMA, engine, 2, 2, ids("w"), lambda: None, lambda *_: None).write(parts)
    assert written.content.sequences.tolist() == [1, 3, 5, 7, 8]
    assert written.content.rows.column("key").to_pylist() == ["b1", "a3", "b5", "a7", "a8"]
    expected = rows_of(keys["a"], ord("a")) | rows_of(keys["b"], ord("b"))
    for number, key in enumerate(written.content.rows.column("key").to_pylist()):
        assert expected[key] == ("en", 0, written.vectors["default"][number].tobytes())
    hashes = {tuple(row) for part in parts for row in part.hashes.tolist()}
    assert {tuple(row) for row in written.content.hashes.tolist()} == hashes


async def test_segments_are_not_merged_while_parts_are_imported_unless_there_are_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SteeredStore()
    await new_shard(store)
    async with leading(make_replica(store, tmp_path)) as leader:
        for number in range(FAN_IN):
            await write(leader, upsert([f"k{number}"]))
            await leader.flush()
        store.hold(".vectors")
        importing = asyncio.create_task(bring(leader, ["a", "b"]))
        await until(lambda: store.waiting)
        reign = leader._leading()
        await reign.compactor.settle(patient=True)
        assert leader.report().segments == FAN_IN
        monkeypatch.setattr(compaction, "_MANY", FAN_IN - 1)
        merging = asyncio.create_task(reign.compactor.settle(patient=True))
        await until(lambda: leader.report().compaction)
        store.release()
        await asyncio.gather(importing, merging)
        assert leader.report().segments == 2
        assert len(seen(leader)) == FAN_IN + 2


async def test_collection_keeps_what_an_import_named_until_nobody_can_replay_it(tmp_path: Path) -> None:
    store = MemoryStore()
    await new_shard(store)
    settings = replace(TIDY, keep_manifests=3)
    async with leading(make_replica(store, tmp_path, settings=settings)) as leader:
        await write(leader, upsert(["a"]))
        await leader.flush()
        await bring(leader, ["x", "y"], 1)
        await write(leader, delete("x", "y"))
        files = {name for names in leader._follower.state.imports.values() for name in names}
        assert files
        await write(leader, upsert(["b"]))
        await leader.flush()  # the manifest leaves the segment out: none of its rows is live
        await asyncio.sleep(0.1)
        assert files <= {key.rpartition("/")[2] for key in store._objects}
        for number in range(4):
            await write(leader, upsert([f"c{number}"]))
            await leader.flush()
        await until(lambda: not files & {key.rpartition("/")[2] for key in store._objects})
        assert not leader._follower.state.imports


async def test_a_pin_keeps_what_the_log_behind_its_manifest_imports(tmp_path: Path) -> None:
    store = SteeredStore()
    await new_shard(store)
    async with leading(make_replica(store, tmp_path, settings=TIDY)) as leader:
        await write(leader, upsert(["a", "x"]))
        await leader.flush()
        await bring(leader, ["x", "y"], 1)
        pin = await leader.pin("backup")
        pinned = seen(leader)
        files = {name for names in leader._follower.state.imports.values() for name in names}
        await write(leader, delete("x", "y"))
        for number in range(4):
            await write(leader, upsert([f"c{number}"]))
            await leader.flush()
        await leader.compact()
        await asyncio.sleep(0.1)
        assert (await read(store, tmp_path / "pinned", pin))[1] == pinned
        await leader.unpin("backup")
        await until(lambda: not files & {key.rpartition("/")[2] for key in store.keys("/segments/")})
        assert not leader._follower.state.imports


async def test_a_follower_that_comes_too_late_for_an_imported_segment_loads_a_newer_manifest(tmp_path: Path) -> None:
    store = SteeredStore()
    await new_shard(store.inner)
    follower = make_replica(store, tmp_path, "follower", settings=TIDY)
    async with leading(make_replica(store.inner, tmp_path, settings=TIDY)) as leader, running(follower):
        await write(leader, upsert(["a"]))
        await follower.wait_for(leader.view().position)
        store.hold("download")
        await bring(leader, ["x", "y"], 1)
        await until(lambda: store.waiting)
        await write(leader, delete("x"))
        for number in range(4):
            await write(leader, upsert([f"c{number}"]))
            await leader.flush()
        await leader.compact()
        await collected(store.inner, leader)
        store.release()
        await follower.wait_for(leader.view().position)
        assert seen(follower) == seen(leader)
        assert follower.ready


async def test_an_imported_segment_that_cannot_be_had_keeps_a_follower_before_its_record(tmp_path: Path) -> None:
    store = SteeredStore()
    await new_shard(store)
    async with leading(make_replica(store, tmp_path)) as leader:
        await write(leader, upsert(["a"]))
        before = leader.view().position
        await bring(leader, ["x", "y"], 1)
        await write(leader, upsert(["b"]))
        store.rot(".vectors")
        follower = make_replica(store, tmp_path, "follower")
        async with running(follower):
            assert not follower.ready
            assert "imports a segment that cannot be had" in follower.report().message
            assert "damaged in the store" in follower.report().message
        assert set(seen(leader)) == {"a", "b", "x", "y"}
        assert leader.view().position > before


async def test_a_follower_that_ran_into_a_damaged_segment_goes_on_when_it_was_mended(tmp_path: Path) -> None:
    store = SteeredStore()
    await new_shard(store)
    follower = make_replica(store, tmp_path, "follower")
    async with leading(make_replica(store.inner, tmp_path)) as leader, running(follower):
        await write(leader, upsert(["a"]))
        await follower.wait_for(leader.view().position)
        store.hold("download")
        await bring(leader, ["x", "y"], 1)
        await until(lambda: store.waiting)
        key = store.rot(".vectors")
        store.release()
        await until(lambda: not follower.ready)
        assert "imports a segment that cannot be had" in follower.report().message
        assert seen(follower) == rows_of(["a"])
        good = bytearray(store.inner._objects[key])
        good[-20] ^= 1
        store.inner._objects[key] = bytes(good)
        await until(lambda: follower.ready)
        await follower.wait_for(leader.view().position)
        assert seen(follower) == seen(leader)


async def test_what_a_leader_that_was_killed_had_spooled_is_removed_by_its_next_start(tmp_path: Path) -> None:
    store = MemoryStore()
    await new_shard(store)
    leader = make_replica(store, tmp_path)
    await leader.start()
    await leader.take_over()

    async def stalled() -> AsyncIterator[pa.RecordBatch]:
        yield upsert(["a"]).rows
        await asyncio.Event().wait()

    importing = asyncio.create_task(leader.import_rows("import", FLOOR, stalled()))
    await until(lambda: list((tmp_path / "a").glob("*.tmp")))
    left = {path: path.read_bytes() for path in (tmp_path / "a").glob("*.tmp")}
    await abandon(leader)
    importing.cancel()
    await asyncio.gather(importing, return_exceptions=True)
    for path, body in left.items():
        path.write_bytes(body)  # as a kill leaves it
    async with leading(make_replica(store, tmp_path)) as again:
        assert not list((tmp_path / "a").glob("*.tmp"))
        assert seen(again) == {}


async def test_in_a_shard_of_format_1_nothing_can_be_imported(tmp_path: Path) -> None:
    store = MemoryStore()
    await new_shard(store)
    async with leading(make_replica(store, tmp_path, fleet_format=lambda: 1)) as leader:
        with pytest.raises(TooNew, match="format 1"):
            await bring(leader, ["a"])
        assert seen(leader) == {}


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        (upsert(["a", "b", "a"]).rows, "key 'a' is in the part twice"),
        (upsert(["a"]).rows[:0], "at least one row"),
        (upsert(["a"]).rows.drop_columns(["field.lang"]), "rows have the columns"),
        (
            pa.RecordBatch.from_arrays(
                [pa.nulls(1, f.type) for f in upsert(["a"]).rows.schema], schema=upsert(["a"]).rows.schema
            ),
            "column key has nulls",
        ),
    ],
)
async def test_rows_that_do_not_fit_are_refused_and_leave_nothing(
    tmp_path: Path, rows: pa.RecordBatch, told: str
) -> None:
    store = MemoryStore()
    await new_shard(store)
    async with leading(make_replica(store, tmp_path)) as leader:
        with pytest.raises(ValueError, match=told):
            await leader.import_rows("import", FLOOR, batches(rows))
        assert not list((tmp_path / "a").glob("*"))
        assert seen(leader) == {}
        await bring(leader, ["a"], 1)
        assert seen(leader) == rows_of(["a"], 1)


async def test_keys_of_another_shard_are_refused(tmp_path: Path) -> None:
    store = MemoryStore()
    await new_shard(store)
    schema = SCHEMA.model_copy(update={"shards": 2})
    async with leading(make_replica(store, tmp_path, schema=schema)) as leader:
        with pytest.raises(ValueError, match="belongs to another shard"):
            await bring(leader, [f"k{number}" for number in range(50)])
        assert not list((tmp_path / "a").glob("*"))


async def test_a_part_that_is_too_large_is_refused_while_it_is_read(tmp_path: Path) -> None:
    store = MemoryStore()
    await new_shard(store)
    async with leading(make_replica(store, tmp_path, settings=replace(QUIET, import_bytes=2000))) as leader:
        rows = upsert([f"k{number}" for number in range(30)]).rows

        async def endless() -> AsyncIterator[pa.RecordBatch]:
            while True:
                yield rows

        with pytest.raises(ValueError, match="2000 are allowed: send smaller parts"):
            await leader.import_rows("import", FLOOR, endless())
        assert not list((tmp_path / "a").glob("*"))


async def test_what_the_rows_raise_ends_the_import(tmp_path: Path) -> None:
    store = MemoryStore()
    await new_shard(store)

    async def broken() -> AsyncIterator[pa.RecordBatch]:
        yield upsert(["a"]).rows
        raise ConnectionError("gone")

    async with leading(make_replica(store, tmp_path)) as leader:
        with pytest.raises(ConnectionError):
            await leader.import_rows("import", FLOOR, broken())
        assert not list((tmp_path / "a").glob("*"))
        assert leader.stored("import", FLOOR) is None
        assert seen(leader) == {}


async def test_few_parts_are_imported_at_once_and_who_waits_too_long_is_told_to_come_again(tmp_path: Path) -> None:
    store = SteeredStore()
    await new_shard(store)
    async with leading(make_replica(store, tmp_path)) as leader:
        store.hold("upload")
        held = [asyncio.create_task(bring(leader, [f"k{number}"], 0, f"r{number}")) for number in range(4)]
        await until(lambda: store.waiting >= 4)
        with pytest.raises(Overloaded) as refused:
            await bring(leader, ["more"], 0, "more", 0.05)
        assert refused.value.retry_after
        waiting = asyncio.create_task(bring(leader, ["waits"], 0, "waits", 60))
        await asyncio.sleep(0.01)
        store.release()
        await asyncio.gather(*held, waiting)
        assert len(seen(leader)) == 5
        assert len(await asyncio.gather(*(bring(leader, [f"m{number}"], 0, f"m{number}") for number in range(4)))) == 4


async def test_a_volume_without_room_refuses_a_part_and_loses_nothing(tmp_path: Path) -> None:
    class Tight(MemoryStore):
        left: int | None = None

        async def room(self) -> int | None:
            return self.left

    store = Tight()
    await new_shard(store)
    async with leading(make_replica(store, tmp_path, settings=replace(QUIET, reserve_bytes=1000))) as leader:
        store.left = 1000
        with pytest.raises(StoreFull, match="1000 bytes are free on the volume"):
            await bring(leader, ["a", "b"])
        assert not list((tmp_path / "a").glob("*"))
        store.left = None
        await bring(leader, ["a", "b"])
        assert seen(leader) == rows_of(["a", "b"])


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
