"""Sealing: growing rows become segments with artefacts, published and swapped in, and no answer changes."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from replicas import (
    DIMENSIONS,
    QUIET,
    SCHEMA,
    Counts,
    abandon,
    contents,
    delete,
    indexed,
    leading,
    located,
    make_replica,
    nearest,
    new_shard,
    row_hash,
    running,
    until,
    upsert,
    vectors_of,
    write,
)
from steered import SteeredStore

from vectorfleet.schema import CollectionSchema, FieldSchema, FieldType, IndexType, VectorSchema
from vectorfleet_node.shard.port import IndexReport, NotLeader
from vectorfleet_node.storage import segment
from vectorfleet_node.storage.memory import MemoryStore
from vectorfleet_node.storage.store import DataLoss

GRAPH = indexed(IndexType.HNSW)
QUERIES = vectors_of(10, 99)


async def test_a_new_replica_loads_the_artefacts_builds_nothing_and_answers_the_same(tmp_path: Path) -> None:
    store, leads, loads = MemoryStore(), Counts(), Counts()
    await new_shard(store)
    async with leading(make_replica(store, tmp_path, "a", schema=GRAPH, counts=leads)) as leader:
        await write(leader, upsert([f"k{number}" for number in range(300)], 1))
        await write(leader, delete("k7", "k8"))
        await leader.flush()
        assert (leads.built, leads.loaded) == (1, 0)
        assert leader.report().indexes == ("HNSW",)
        assert leader.report().index_details == (IndexReport("default", "HNSW", "as the schema says", 1, 298),)
        assert leader.report().growing_rows == 0
        await write(leader, upsert(["k9", "new"], 2))
        rows, answers, hashed = contents(leader.view()), nearest(leader.view(), QUERIES), row_hash(leader)
    async with leading(make_replica(store, tmp_path, "b", schema=GRAPH, counts=loads)) as fresh:
        assert contents(fresh.view()) == rows
        assert set(located(fresh.view(), [*rows, "k7"])) == set(rows)
        assert nearest(fresh.view(), QUERIES) == answers
        assert row_hash(fresh) == hashed
        assert (loads.built, loads.loaded) == (0, 1)


async def test_a_follower_swaps_to_published_segments_without_building_or_changing_an_answer(tmp_path: Path) -> None:
    store, counts = MemoryStore(), Counts()
    await new_shard(store)
    leader = make_replica(store, tmp_path, "a", schema=GRAPH)
    follower = make_replica(store, tmp_path, "b", schema=GRAPH, counts=counts)
    async with leading(leader), running(follower):
        await write(leader, upsert([f"k{number}" for number in range(100)], 1))
        await follower.make_strong()
        view, answers = follower.view(), nearest(follower.view(), QUERIES)
        await leader.flush()
        await until(lambda: follower.report().growing_rows == 0 and follower.report().indexes)
        assert follower.view().blocks[0].sealed
        assert contents(follower.view()) == contents(leader.view()) == contents(view)
        assert nearest(follower.view(), QUERIES) == nearest(view, QUERIES) == answers
        assert (counts.built, counts.loaded) == (0, 1)


async def test_a_view_of_sealed_rows_stays_as_it_was_while_they_are_superseded_and_sealed_again(tmp_path: Path) -> None:
    store = MemoryStore()
    await new_shard(store)
    async with leading(make_replica(store, tmp_path, "a")) as leader:
        await write(leader, upsert(["a", "b", "c"], 1))
        await leader.flush()
        view = leader.view()
        rows = contents(view)
        await write(leader, upsert(["a"], 2))
        await write(leader, delete("b"))
        assert contents(view) == rows
        await leader.flush()
        assert contents(view) == rows
        assert set(located(view, ["a", "b", "c"])) == set(rows)
        assert set(contents(leader.view())) == {"a", "c"}


@pytest.mark.parametrize("slow_part", ["upload", "create shards/0/manifests"])
async def test_what_changed_while_sealing_stays_changed_after_the_swap(slow_part: str, tmp_path: Path) -> None:
    store = SteeredStore()
    await new_shard(store)
    leader, follower = make_replica(store, tmp_path, "a"), make_replica(store.inner, tmp_path, "b")
    async with leading(leader), running(follower):
        await write(leader, upsert(["stays", "deleted", "replaced"], 1))
        store.hold(slow_part)
        flush = asyncio.create_task(leader.flush())
        await until(lambda: store.waiting)
        await write(leader, upsert(["replaced", "added"], 2))
        await write(leader, delete("deleted"))
        rows, hashed = contents(leader.view()), row_hash(leader)
        store.release()
        await flush
        for replica in (leader, follower):
            await replica.make_strong()
            await until(lambda replica=replica: any(block.sealed for block in replica.view().blocks))
            assert contents(replica.view()) == rows
            assert set(located(replica.view(), ["stays", "deleted", "replaced", "added"])) == set(rows)
            assert row_hash(replica) == hashed
    async with running(again := make_replica(store.inner, tmp_path, "c")):
        assert contents(again.view()) == rows


async def test_files_that_do_not_hold_exactly_the_rows_are_never_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, write_vectors = SteeredStore(), segment.write_vectors

    def rotten(path: Path, pieces) -> None:  # type: ignore[no-untyped-def]
        write_vectors(path, (piece + np.float32(1e-3) for piece in pieces))

    await new_shard(store)
    async with leading(make_replica(store, tmp_path, "a")) as leader:
        await write(leader, upsert(["a", "b"], 1))
        rows = contents(leader.view())
        monkeypatch.setattr(segment, "write_vectors", rotten)
        with pytest.raises(DataLoss, match="nothing was published"):
            await leader.flush()
        assert store.keys("manifests/") == store.keys("segments/") == []
        assert contents(leader.view()) == rows
        monkeypatch.undo()
        await leader.flush()
        assert contents(leader.view()) == rows


async def test_idle_rows_are_sealed_without_being_asked(tmp_path: Path) -> None:
    store = MemoryStore()
    await new_shard(store)
    async with leading(make_replica(store, tmp_path, "a", settings=replace(QUIET, seal_idle=0.05))) as leader:
        await write(leader, upsert(["a"]))
        await until(lambda: leader.report().indexes == ("Exact",))


@pytest.mark.parametrize("limit", [{"seal_rows": 40}, {"seal_bytes": 40 * DIMENSIONS * 4}, {"publish_records": 5}])
async def test_a_manifest_is_published_when_there_is_much_to_replay(limit: dict[str, int], tmp_path: Path) -> None:
    store = SteeredStore()
    await new_shard(store)
    settings = replace(QUIET, seal_idle=1e9, **limit)  # type: ignore[arg-type]

    async def quickly(seconds: float) -> None:
        await asyncio.sleep(min(seconds, 0.01))

    async with leading(make_replica(store, tmp_path, "a", settings=settings, sleep=quickly)) as leader:
        for number in range(6):
            await write(leader, upsert([f"{number}-{row}" for row in range(10)], number))
        await until(lambda: store.keys("manifests/"))
        await until(lambda: leader.report().bytes)


async def test_a_manifest_that_was_never_published_is_not_used(tmp_path: Path) -> None:
    store = SteeredStore()
    await new_shard(store)
    dying = make_replica(store, tmp_path, "a")
    await dying.start()
    await dying.take_over()
    await write(dying, upsert(["a"], 1))
    await dying.flush()
    published = len(store.keys("manifests/"))
    await write(dying, upsert(["b"], 2))
    rows = contents(dying.view())
    store.hold("create shards/0/log")
    flush = asyncio.create_task(dying.flush())
    await until(lambda: len(store.keys("manifests/")) > published and store.waiting)
    await abandon(dying)
    with pytest.raises(NotLeader):
        await flush
    async with leading(make_replica(store.inner, tmp_path, "b")) as fresh:
        assert fresh.report().growing_rows == 1
        assert contents(fresh.view()) == rows
        await fresh.flush()
        assert contents(fresh.view()) == rows


async def test_publishing_does_not_wait_behind_writes(tmp_path: Path) -> None:
    store = SteeredStore()
    await new_shard(store)
    settings = replace(QUIET, batch_bytes=1)
    async with leading(make_replica(store, tmp_path, "a", settings=settings)) as leader:
        await write(leader, upsert(["a"]))
        store.hold("create shards/0/log")
        writes = [asyncio.create_task(write(leader, upsert([f"k{number}"]))) for number in range(8)]
        await until(lambda: store.waiting)
        flush = asyncio.create_task(leader.flush())
        await until(lambda: store.keys("manifests/"))
        await asyncio.sleep(0.01)
        store.release()
        await flush
        assert sum(task.done() for task in writes) < len(writes)
        await asyncio.gather(*writes)


async def test_a_restart_reuses_the_files_in_its_cache_and_keeps_no_others(tmp_path: Path) -> None:
    store = SteeredStore()
    await new_shard(store)
    async with leading(make_replica(store, tmp_path, "a")) as leader:
        for number in range(4):
            await write(leader, upsert([f"k{number}"], number))
            await leader.flush()
    cache = tmp_path / "a"
    (cache / "leftover.tmp").touch()
    assert len(list(cache.iterdir())) - 1 < len(store.keys("segments/"))
    async with running(make_replica(store, tmp_path, "a")):
        assert store.asked("download") == 0
        kept = {path.name for path in cache.iterdir()}
        assert {path.rsplit(".", 1)[1] for path in kept} == {"rows", "vectors", "index", "fields", "requests"}
        assert len(kept) == 4 * 4 + 2


async def test_rows_older_than_a_field_have_nulls_in_it(tmp_path: Path) -> None:
    store = MemoryStore()
    await new_shard(store)
    old = SCHEMA.model_copy(update={"fields": SCHEMA.fields[:1]})
    async with leading(make_replica(store, tmp_path, "a", schema=old)) as leader:
        await write(leader, upsert(["sealed"], 1, schema=old))
        await leader.flush()
        await write(leader, upsert(["growing"], 2, schema=old))
        hashed = row_hash(leader)
    async with leading(make_replica(store, tmp_path, "b")) as leader:
        assert row_hash(leader) == hashed
        await write(leader, upsert(["new"], 3, year=2024))
        await leader.flush()
        rows = contents(leader.view())
        assert {key: row[1] for key, row in rows.items()} == {"sealed": None, "growing": None, "new": 2024}
    async with running(unaware := make_replica(store, tmp_path, "c", schema=old)):
        assert not unaware.report().ready
        assert "year" in unaware.report().message


async def test_several_vectors_and_integer_keys(tmp_path: Path) -> None:
    schema = CollectionSchema(
        key="Int64",
        vectors=(VectorSchema(name="text", dimensions=4), VectorSchema(name="image", dimensions=6, metric="L2")),
        fields=(FieldSchema(name="score", type=FieldType.FLOAT64), FieldSchema(name="ok", type=FieldType.BOOL)),
        shards=1,
    )
    store = MemoryStore()
    await new_shard(store)
    async with leading(make_replica(store, tmp_path, "a", schema=schema)) as leader:
        await write(leader, upsert([1, -(2**63), 2**63 - 1], 1, schema=schema))
        await leader.flush()
        await write(leader, delete(1))
        rows = contents(leader.view())
    async with running(again := make_replica(store, tmp_path, "b", schema=schema)):
        assert contents(again.view()) == rows
        assert set(rows) == {-(2**63), 2**63 - 1}
        assert set(again.view().blocks[0].indexes) == {"text", "image"}
