"""Compaction: what is planned, what it costs, and that no answer changes, whatever happens while a job runs."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from replicas import (
    QUIET,
    Counts,
    contents,
    delete,
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

from vectorfleet_node.shard import seal
from vectorfleet_node.shard.compaction import FAN_IN, Size, plan
from vectorfleet_node.shard.replica import ShardReplica
from vectorfleet_node.storage import segment
from vectorfleet_node.storage.memory import MemoryStore
from vectorfleet_node.storage.store import DataLoss

NO_LIMIT = 1 << 60


def sizes(*live: int) -> list[Size]:
    return [Size(bytes_, bytes_) for bytes_ in live]


@pytest.mark.parametrize(
    ("segments", "limit", "expected"),
    [
        ([], NO_LIMIT, None),
        (sizes(10, 10, 10), NO_LIMIT, None),
        (sizes(10, 10, 10, 10), NO_LIMIT, range(4)),
        (sizes(100, 10, 10, 10, 10), NO_LIMIT, range(1, 5)),
        (sizes(10, 10, 10, 10, 100, 1, 1, 1, 1), NO_LIMIT, range(5, 9)),
        (sizes(1000, 100, 10, 1), NO_LIMIT, None),
        (sizes(16, 1, 16, 1, 16), NO_LIMIT, range(5)),  # small ones between large ones do not stay for ever
        (sizes(10, 10, 10, 10), 39, None),
        (sizes(10, 10, 10, 10), 40, range(4)),
        ([Size(100, 67)], NO_LIMIT, None),
        ([Size(100, 66)], NO_LIMIT, range(1)),
        ([Size(100, 60), Size(100, 10), Size(100, 100)], NO_LIMIT, range(1, 2)),
        ([Size(100, 60)], 10, range(1)),  # what is there already may be rewritten whatever its size
        ([Size(100, 0)], NO_LIMIT, range(1)),
    ],
)
def test_small_neighbours_are_merged_and_else_the_most_wasteful_segment_is_rewritten(
    segments: list[Size], limit: int, expected: range | None
) -> None:
    assert plan(segments, limit) == expected


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("updates", [0.0, 0.5, 1.0])
def test_write_amplification_segments_and_waste_are_bounded(updates: float, seed: int) -> None:
    source = random.Random(seed)
    segments: list[list[float]] = []  # stored, live
    flushed = compacted = 0.0
    for step in range(600):
        rows = source.choice([10, 100, 1000])
        live = sum(size for _, size in segments)
        for held in segments:  # as many rows as come are replaced, wherever they are
            held[1] -= min(updates * rows * held[1] / live if step > 50 else 0, held[1])
        segments.append([rows, rows])
        flushed += rows
        while chosen := plan([Size(int(stored), int(size)) for stored, size in segments], NO_LIMIT):
            out = sum(size for _, size in segments[chosen.start : chosen.stop])
            segments[chosen.start : chosen.stop] = [[out, out]] if out >= 1 else []
            compacted += out
        stored, live = (sum(column) for column in zip(*segments, strict=True))
        assert stored <= 1.5 * live + len(segments), f"seed {seed}, step {step}"
    print(f"seed {seed}: write amplification {(flushed + compacted) / flushed:.1f}, {len(segments)} segments")
    assert (flushed + compacted) / flushed < 7
    assert len(segments) < 20


async def many_segments(leader: ShardReplica, count: int = FAN_IN, rows: int = 20) -> None:
    for step in range(count):
        await write(leader, upsert([f"{step}-{row}" for row in range(rows)], step))
        await leader.flush()


async def test_a_flush_writes_growing_rows_only_and_a_merge_keeps_every_answer(tmp_path: Path) -> None:
    store, counts = SteeredStore(), Counts()
    await new_shard(store)
    leader, follower = make_replica(store, tmp_path, "a", counts=counts), make_replica(store, tmp_path, "b")
    async with leading(leader), running(follower):
        await many_segments(leader)
        await write(leader, delete("0-0", "3-3"))
        assert (len(counts.flushed), counts.compacted, leader.report().segments) == (4, [], 4)
        queries = vectors_of(5, 77)
        rows, answers, hashed = contents(leader.view()), nearest(leader.view(), queries), row_hash(leader)
        await leader.compact()
        assert (leader.report().segments, len(counts.compacted)) == (1, 1)
        assert leader.report().bytes == leader.report().live_bytes > 0
        assert leader.report().compaction == leader.report().message == ""
        await follower.make_strong()
        await until(lambda: follower.report().segments == 1)
        for replica in (leader, follower):
            assert contents(replica.view()) == rows
            assert set(located(replica.view(), list(rows))) == set(rows)
            assert nearest(replica.view(), queries) == answers
            assert row_hash(replica) == hashed
        sequences = leader._follower.state.layout.segments[0].content.sequences
        assert (np.diff(sequences.astype(np.int64)) > 0).all()
    async with running(again := make_replica(store, tmp_path, "c")):
        assert contents(again.view()) == rows
        assert again.report().message == ""


async def test_stored_bytes_are_at_most_half_more_than_live_ones_after_a_load_of_updates(tmp_path: Path) -> None:
    store, counts = SteeredStore(), Counts()
    await new_shard(store)
    source = random.Random(1)
    async with leading(make_replica(store, tmp_path, "a", counts=counts)) as leader:
        for step in range(30):
            new = [f"{step}-{row}" for row in range(20)]
            old = [f"{source.randrange(step)}-{source.randrange(20)}" for _ in range(20)] if step else []
            await write(leader, upsert([*new, *set(old)], step))
            await leader.flush()
            await leader.compact()
            report = leader.report()
            assert report.bytes <= 1.5 * report.live_bytes + report.segments
        assert report.segments < 12
        amplification = (sum(counts.flushed) + sum(counts.compacted)) / sum(counts.flushed)
        print(f"write amplification {amplification:.1f}, {report.segments} segments")
        assert amplification < 6


@pytest.mark.parametrize("seed", range(6))
async def test_nothing_is_lost_doubled_or_resurrected_whatever_happens_during_a_merge(
    seed: int, tmp_path: Path
) -> None:
    source, store = random.Random(seed), SteeredStore()
    await new_shard(store)
    keys = [f"{step}-{row}" for step in range(FAN_IN) for row in range(20)]
    async with leading(make_replica(store, tmp_path, "a")) as leader:
        await many_segments(leader)
        store.hold("upload")
        merging = asyncio.create_task(leader.compact())
        await until(lambda: store.waiting)
        assert leader.report().compaction
        for step in range(source.randint(1, 6)):
            chosen = source.sample(keys, 10)
            await write(leader, delete(*chosen) if source.random() < 0.5 else upsert(chosen, 100 + step))
            if source.random() < 0.4:
                held, store._before = store._before, []
                await leader.flush()  # beside the job, which still waits
                assert not merging.done()
                store._before = held
        rows, hashed = contents(leader.view()), row_hash(leader)
        store.release()
        await merging
        assert leader.report().message == ""
        assert (contents(leader.view()), row_hash(leader)) == (rows, hashed), f"seed {seed}"
        assert set(located(leader.view(), keys)) == set(rows)
        names = {held.entry.rows.name for held in leader._follower.state.layout.segments}
    async with running(again := make_replica(store.inner, tmp_path, "b")):
        assert (contents(again.view()), row_hash(again)) == (rows, hashed), f"seed {seed}"
        assert {held.entry.rows.name for held in again._follower.state.layout.segments} == names


async def test_a_job_whose_rows_all_died_meanwhile_leaves_no_segment(tmp_path: Path) -> None:
    store = SteeredStore()
    await new_shard(store)
    async with leading(make_replica(store, tmp_path, "a")) as leader:
        await many_segments(leader, rows=2)
        store.hold("upload")
        merging = asyncio.create_task(leader.compact())
        await until(lambda: store.waiting)
        await write(leader, delete(*contents(leader.view())))
        store.release()
        await merging
        assert (leader.report().segments, contents(leader.view())) == (0, {})
    async with running(again := make_replica(store, tmp_path, "b")):
        assert (contents(again.view()), again.report().message) == ({}, "")


async def stuck_merge(store: SteeredStore, leader: ShardReplica) -> asyncio.Task[None]:
    """A merge whose upload waits until `store.release`; uploads that come later do not."""
    store.hold("upload")
    merging = asyncio.create_task(leader.compact())
    await until(lambda: store.waiting)
    store._before = []
    return merging


async def test_writes_reads_and_flushes_go_on_while_a_job_is_stuck(tmp_path: Path) -> None:
    store = SteeredStore()
    await new_shard(store)
    async with leading(make_replica(store, tmp_path, "a")) as leader:
        await many_segments(leader)
        merging = await stuck_merge(store, leader)
        for step in range(5):
            await write(leader, upsert([f"more-{step}"], step))
            await leader.flush()
            assert leader.report().growing_rows == 0
            assert f"more-{step}" in contents(leader.view())
        assert not merging.done()
        store.release()
        await merging


async def test_a_merge_that_went_wrong_is_told_and_never_published_and_rows_are_flushed_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, write_vectors = SteeredStore(), segment.write_vectors

    def rotten(path: Path, pieces) -> None:  # type: ignore[no-untyped-def]
        write_vectors(path, (piece + np.float32(1e-3) for piece in pieces))

    await new_shard(store)
    async with leading(make_replica(store, tmp_path, "a")) as leader:
        await many_segments(leader)
        rows = contents(leader.view())
        files = store.keys("segments/")
        monkeypatch.setattr(segment, "write_vectors", rotten)
        with pytest.raises(DataLoss, match="merged segment"):
            await leader.compact()
        monkeypatch.undo()
        assert set(store.keys("segments/")) <= set(files)
        assert contents(leader.view()) == rows
        await write(leader, upsert(["after"]))
        await leader.flush()
        await leader.compact()
        assert leader.report().segments < FAN_IN


async def test_a_merge_that_lacks_a_live_row_is_refused_and_the_flush_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SteeredStore()
    await new_shard(store)
    async with leading(make_replica(store, tmp_path, "a")) as leader:
        await many_segments(leader)
        await write(leader, upsert(["growing"]))
        rows = contents(leader.view())

        def nothing_is_live(output, inputs):  # type: ignore[no-untyped-def]
            return np.zeros(output.entry.count, np.bool_)

        monkeypatch.setattr(seal, "_live_now", nothing_is_live)
        with pytest.raises(DataLoss, match="nothing was published"):
            await leader.compact()
        assert leader.report().growing_rows == 0
        assert contents(leader.view()) == rows


async def test_a_job_ends_with_its_reign_and_leaves_nothing_that_a_later_one_keeps(tmp_path: Path) -> None:
    store = SteeredStore()
    await new_shard(store)
    old, new = make_replica(store, tmp_path, "a"), make_replica(store.inner, tmp_path, "b")
    async with leading(old), running(new):
        await many_segments(old)
        rows = contents(old.view())
        await new.make_strong()
        await until(lambda: new.report().segments == FAN_IN)  # a follower loads a manifest after its record
        store.hold("upload")
        merging = asyncio.create_task(old.compact())
        await until(lambda: store.waiting)
        await new.take_over()
        await until(lambda: not old.leads)
        store.release()
        with pytest.raises(Exception, match="led by owner-b"):
            await merging
        await new.compact()
        assert new.report().segments == 1
        assert contents(new.view()) == rows


async def test_segments_are_merged_without_being_asked(tmp_path: Path) -> None:
    store = MemoryStore()
    await new_shard(store)
    settings = replace(QUIET, seal_idle=0.02)
    async with leading(make_replica(store, tmp_path, "a", settings=settings)) as leader:
        await many_segments(leader, count=6)
        await until(lambda: leader.report().segments < FAN_IN)


async def test_a_segment_is_written_anew_from_the_local_copy_when_asked(tmp_path: Path) -> None:
    store = SteeredStore()
    await new_shard(store)
    async with leading(make_replica(store, tmp_path, "a")) as leader:
        await many_segments(leader, count=2)
        rows = contents(leader.view())
        name = leader._follower.state.layout.segments[0].entry.rows.name
        store.rot(name)
        await leader.rewrite(name)
        assert leader.report().segments == 2
        assert name not in {held.entry.rows.name for held in leader._follower.state.layout.segments}
        await leader.rewrite("no such segment")
    async with running(again := make_replica(store, tmp_path, "b")):
        assert (contents(again.view()), again.report().message) == (rows, "")


async def test_the_cache_keeps_the_files_of_a_job_while_manifests_are_published(tmp_path: Path) -> None:
    store = SteeredStore()
    await new_shard(store)
    async with leading(make_replica(store, tmp_path, "a")) as leader:
        await many_segments(leader)
        merging = await stuck_merge(store, leader)
        await write(leader, upsert(["more"]))
        await leader.flush()
        store.release()
        await merging
        for held in leader._follower.state.layout.segments:
            assert all((tmp_path / "a" / file.name).exists() for file in held.entry.files())
