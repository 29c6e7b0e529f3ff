"""Indexes of another kind than wanted are built anew: no row, no answer and no other file changes by it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from garbage import TIDY
from replicas import (
    QUIET,
    Counts,
    TestClock,
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
    segments_of,
    until,
    upsert,
    vectors_of,
    write,
)
from sealing import seal, writer_in
from steered import SteeredStore
from test_shard_writing import state_with_rows

from vectorfleet.schema import IndexKind, IndexType
from vectorfleet_node.engine import choosing
from vectorfleet_node.engine.cpu import CpuEngine
from vectorfleet_node.engine.port import BuildCancelled, BuildFailed, BuildJob
from vectorfleet_node.shard.port import Rotten
from vectorfleet_node.shard.reindexing import next_segment, outdated, reindex
from vectorfleet_node.shard.writing import Work
from vectorfleet_node.storage.store import StorageError

KEYS = [f"k{number}" for number in range(60)]
QUERIES = vectors_of(8, 99)
SCAN, GRAPH = indexed(IndexType.EXACT), indexed(IndexType.HNSW)


async def scanned(store: SteeredStore, folder: Path) -> None:
    """A shard of one segment that is scanned."""
    await new_shard(store)
    async with leading(make_replica(store, folder, "before", schema=SCAN)) as leader:
        await write(leader, upsert(KEYS, 1))
        await write(leader, delete("k7", "k8"))
        await leader.flush()
        assert leader.report().indexes == ("Exact",)


async def test_a_changed_index_type_takes_effect_in_segments_that_are_there(tmp_path: Path) -> None:
    store, counts, loads = SteeredStore(), Counts(), Counts()
    await scanned(store, tmp_path)
    follower = make_replica(store, tmp_path, "b", schema=GRAPH)
    async with leading(make_replica(store, tmp_path, "a", schema=GRAPH, counts=counts)) as leader, running(follower):
        rows, answers, hashed = contents(leader.view()), nearest(leader.view(), QUERIES), row_hash(leader)
        [before] = segments_of(leader)
        await leader.compact()
        [after] = segments_of(leader)
        assert leader.report().indexes == ("HNSW",)
        assert after.indexes["default"].kind is after.entry.indexes["default"].kind is IndexKind.HNSW
        assert (after.entry.rows, after.entry.vectors) == (before.entry.rows, before.entry.vectors)
        assert after.entry.indexes["default"].file.name != before.entry.indexes["default"].file.name
        assert (counts.built, len(counts.reindexed), counts.compacted) == (1, 1, [])
        assert leader.report().compaction == leader.report().message == ""
        await until(lambda: follower.report().indexes == ("HNSW",))
        for replica in (leader, follower):
            assert contents(replica.view()) == rows
            assert set(located(replica.view(), KEYS)) == set(rows)
            assert nearest(replica.view(), QUERIES) == answers
            assert row_hash(replica) == hashed
    async with running(again := make_replica(store, tmp_path, "c", schema=GRAPH, counts=loads)):
        assert (contents(again.view()), again.report().indexes) == (rows, ("HNSW",))
        assert (loads.built, loads.loaded) == (0, 1)


async def test_a_young_segment_gets_its_graph_when_there_is_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choosing, "EXACT_BELOW", 10)
    store = SteeredStore()
    await new_shard(store)
    async with leading(make_replica(store, tmp_path, "a", schema=GRAPH)) as leader:
        await write(leader, upsert(KEYS, 1))
        await leader.flush()
        assert leader.report().indexes == ("PQ",)
        rows = contents(leader.view())
    clock, settings, looks = TestClock(), replace(QUIET, seal_idle=0.02), 0

    async def sleep(seconds: float) -> None:
        nonlocal looks
        looks += seconds == settings.seal_idle / 8
        await asyncio.sleep(seconds)

    again = make_replica(store, tmp_path, "b", schema=GRAPH, settings=settings, clock=clock, sleep=sleep)
    async with leading(again) as leader:
        await until(lambda: looks > 20)
        assert leader.report().indexes == ("PQ",), "more writes may come, and a merge"
        clock.added += settings.reindex_idle
        await until(lambda: leader.report().indexes == ("HNSW",))
        assert contents(leader.view()) == rows


async def test_no_index_is_built_of_rotten_vectors(tmp_path: Path) -> None:
    store = SteeredStore()
    await scanned(store, tmp_path)
    async with leading(make_replica(store, tmp_path, "a", schema=GRAPH)) as leader:
        [path] = (tmp_path / "a").glob("*.vectors")
        with path.open("r+b") as file:  # in place: the open segment has it mapped
            byte = file.read(1)[0]
            file.seek(0)
            file.write(bytes([byte ^ 1]))
        with pytest.raises(Rotten, match="damaged"):
            await leader.compact()
        await until(lambda: leader.report().ready)
        await leader.compact()
        assert leader.report().indexes == ("HNSW",)


async def test_what_is_indexed_as_wanted_is_left_alone(tmp_path: Path) -> None:
    store, counts = SteeredStore(), Counts()
    await scanned(store, tmp_path)
    async with leading(make_replica(store, tmp_path, "a", schema=SCAN, counts=counts)) as leader:
        calls, position = len(store.calls), leader.report().position
        await leader.compact()
        assert (len(store.calls), leader.report().position, counts.built) == (calls, position, 0)


@pytest.mark.parametrize("seed", range(4))
async def test_nothing_is_lost_or_resurrected_whatever_happens_while_an_index_is_built(
    seed: int, tmp_path: Path
) -> None:
    source, store = random.Random(seed), SteeredStore()
    await scanned(store, tmp_path)
    async with leading(make_replica(store, tmp_path, "a", schema=GRAPH)) as leader:
        store.hold("upload")
        building = asyncio.create_task(leader.compact())
        await until(lambda: store.waiting)
        assert leader.report().compaction == "building an index over 58 rows"
        for step in range(source.randint(1, 4)):
            chosen = source.sample(KEYS, 10)
            await write(leader, delete(*chosen) if source.random() < 0.5 else upsert(chosen, 100 + step))
            if source.random() < 0.5:
                held, store._before = store._before, []
                await leader.flush()
                store._before = held
        rows, hashed = contents(leader.view()), row_hash(leader)
        store.release()
        await building
        assert (contents(leader.view()), row_hash(leader)) == (rows, hashed), f"seed {seed}"
        assert leader.report().message == ""
    async with running(again := make_replica(store.inner, tmp_path, "b", schema=GRAPH)):
        assert (contents(again.view()), row_hash(again)) == (rows, hashed), f"seed {seed}"
        assert {held.indexes["default"].kind for held in segments_of(again)} == {IndexKind.HNSW}


async def test_the_index_that_was_replaced_is_collected_and_nothing_else(tmp_path: Path) -> None:
    store = SteeredStore()
    await scanned(store, tmp_path)
    [old] = [key for key in store.keys("segments/") if key.endswith(".index")]
    async with leading(make_replica(store, tmp_path, "a", schema=GRAPH, settings=TIDY)) as leader:
        await leader.compact()
        kept = {file.name for held in segments_of(leader) for file in held.entry.files()}
        assert old in store.keys("segments/"), "an older manifest names it"
        for step in range(3):
            await write(leader, upsert(["more"], step))
            await leader.flush()
        await until(lambda: old not in store.keys("segments/"))
        assert {key.rpartition("/")[2] for key in store.keys("segments/")} >= kept
        assert not (tmp_path / "a" / old.rpartition("/")[2]).exists()


def fails_with(error: Exception) -> Callable[..., None]:
    def build(self: CpuEngine, kind: IndexKind, vectors: Any, metric: Any, artefact: Path, job: BuildJob) -> None:
        artefact.write_bytes(b"half")
        raise error

    return build


async def test_a_build_that_fails_is_told_tried_again_and_leaves_the_segment_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SteeredStore()
    await scanned(store, tmp_path)
    async with leading(make_replica(store, tmp_path, "a", schema=GRAPH)) as leader:
        rows, files = contents(leader.view()), sorted((tmp_path / "a").iterdir())
        with monkeypatch.context() as broken:
            broken.setattr(
                CpuEngine, "build", fails_with(BuildFailed("HNSW index over 58 x 8 cannot be built: memory"))
            )
            with pytest.raises(StorageError, match="58 x 8 cannot be built: memory"):
                await leader.compact()
        assert sorted((tmp_path / "a").iterdir()) == files
        assert (contents(leader.view()), leader.report().indexes) == (rows, ("Exact",))
        await leader.compact()
        assert leader.report().indexes == ("HNSW",)


async def test_a_build_that_ends_with_its_reign_leaves_only_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SteeredStore()
    await scanned(store, tmp_path)
    old, new = (make_replica(store, tmp_path, name, schema=GRAPH) for name in ("a", "b"))
    async with leading(old), running(new):
        rows = contents(old.view())
        store.hold("upload")
        building = asyncio.create_task(old.compact())
        await until(lambda: store.waiting)
        await new.take_over()
        await until(lambda: not old.leads)
        store.release()
        with pytest.raises(Exception, match="led by owner-b"):
            await building
        assert contents(old.view()) == contents(new.view()) == rows
        for file in segments_of(old)[0].entry.files():
            assert (tmp_path / "a" / file.name).exists()
        await new.compact()
        assert (contents(new.view()), new.report().indexes) == (rows, ("HNSW",))


async def test_a_job_asks_whether_the_reign_goes_on_and_tells_how_far_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, seen = SteeredStore(), list[str]()
    await scanned(store, tmp_path)
    leader = make_replica(store, tmp_path, "a", schema=GRAPH)

    def build(self: CpuEngine, kind: IndexKind, vectors: Any, metric: Any, artefact: Path, job: BuildJob) -> None:
        assert job.vectors.stat().st_size >= vectors.nbytes
        assert not job.cancelled()
        job.progress(24, 60)
        seen.append(leader.report().compaction)
        reign = leader._reign
        assert reign is not None
        reign.leadership.ended = True
        assert job.cancelled()
        raise BuildCancelled("nobody waits")

    async with leading(leader):
        monkeypatch.setattr(CpuEngine, "build", build)
        with pytest.raises(Exception, match="shard is led by"):
            await leader.compact()
    assert seen == ["building an index over 58 rows, 40 % indexed"]


def test_a_heal_that_is_under_way_does_not_bring_the_old_index_back(tmp_path: Path) -> None:
    state = state_with_rows()
    seal(state, writer_in(tmp_path, schema=SCAN))
    [old] = state.layout.segments
    graphs = writer_in(tmp_path, schema=GRAPH)
    assert next_segment([old], graphs) is old
    output = reindex(old, graphs, Work()).output
    assert output is not None
    assert (outdated(output, graphs), next_segment([output], graphs)) == ([], None)
    position = state.layout.position
    state.layout.install(position, [output], ())
    assert not state.replace(old), "what was healed is not what is in use any more"
    [held] = state.layout.segments
    assert held.indexes["default"].kind is held.entry.indexes["default"].kind is IndexKind.HNSW
    assert state.replace(output)


def test_a_segment_whose_index_the_store_has_lost_is_left_to_be_written_anew(tmp_path: Path) -> None:
    state = state_with_rows()
    seal(state, writer_in(tmp_path, schema=SCAN))
    [old] = state.layout.segments
    lost = replace(old, rebuilt=frozenset([old.entry.indexes["default"].file.name]))
    assert next_segment([lost], writer_in(tmp_path, schema=GRAPH)) is None
