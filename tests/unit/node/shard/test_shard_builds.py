"""A leader whose index is built by a child: killed, told to stop, and started again in the middle of it."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from replicas import (
    DIMENSIONS,
    QUIET,
    UID,
    TestClock,
    contents,
    delete,
    ids,
    indexed,
    new_shard,
    running,
    segments_of,
    until,
    upsert,
    write,
)

from vectorfleet.schema import IndexKind, IndexType, Metric
from vectorfleet_node.engine.builder import engine as builds
from vectorfleet_node.engine.builder.engine import BuildEnd, BuildObserver, ProcessEngine
from vectorfleet_node.engine.cpu import CpuEngine
from vectorfleet_node.shard.replica import ShardReplica
from vectorfleet_node.storage.checked import CheckedFile
from vectorfleet_node.storage.local import LocalStore
from vectorfleet_node.storage.memory import MemoryStore
from vectorfleet_node.storage.segment import map_vectors
from vectorfleet_node.storage.store import Store

ROWS = 13_000  # four steps of a build
GRAPH = indexed(IndexType.HNSW)


def building(store: Store, cache: Path, name: str, ends: list[BuildEnd]) -> ShardReplica:
    """A replica that has not started; its builds go to children and write a checkpoint after each step."""
    builds.HEAVY = 1  # type: ignore[misc]
    engine = ProcessEngine(CpuEngine(1), cache, BuildObserver(ended=ends.append), checkpoint_seconds=0)
    return ShardReplica(
        store,
        UID,
        GRAPH,
        0,
        engine,
        cache / "shard",
        owner=f"owner-{name}",
        address=f"{name}:7301",
        clock=TestClock(),
        sleep=asyncio.sleep,
        new_id=ids(name),
        settings=QUIET,
    )


@pytest.fixture(autouse=True)
def heavy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts back what `building` changes."""
    monkeypatch.setattr(builds, "HEAVY", builds.HEAVY)


async def load(replica: ShardReplica) -> None:
    await write(replica, upsert([f"k{row}" for row in range(ROWS)], 1))
    await replica.flush()
    assert replica.report().indexes == ("PQ",)


def percent(report: str) -> int:
    """How far the build is that a report tells of; 0 before its first step."""
    return int(report.rpartition(", ")[2].split(" %")[0]) if "%" in report else 0


async def test_a_leader_that_stops_does_not_wait_for_its_build(tmp_path: Path) -> None:
    store, ends = MemoryStore(), list[BuildEnd]()
    await new_shard(store)
    leader = building(store, tmp_path, "a", ends)
    async with running(leader):
        await leader.take_over()
        await load(leader)
        compacting = asyncio.create_task(leader.compact())
        await until(lambda: percent(leader.report().compaction) >= 30)
    with pytest.raises(Exception, match="led by"):
        await compacting
    await until(lambda: ends)
    assert [end.outcome for end in ends] == ["cancelled"]
    await until(lambda: not list((tmp_path / "shard").glob("*.tmp")))


async def test_rows_die_and_flushes_go_on_while_a_child_builds(tmp_path: Path) -> None:
    store, ends = MemoryStore(), list[BuildEnd]()
    await new_shard(store)
    leader = building(store, tmp_path, "a", ends)
    async with running(leader):
        await leader.take_over()
        await load(leader)
        compacting = asyncio.create_task(leader.compact())
        await until(lambda: percent(leader.report().compaction) >= 30)
        await write(leader, delete("k1", "k2"))
        await write(leader, upsert(["more"], 2))
        await leader.flush()
        assert not compacting.done(), "the flush has not waited for the graph"
        await compacting
        rows = contents(leader.view())
        assert (len(rows), {"k1", "k2", "more"} & set(rows)) == (ROWS - 1, {"more"})
        assert leader.report().indexes == ("HNSW",)
    assert [end.outcome for end in ends] == ["built"]


async def lead(folder: Path, name: str, *, first: bool) -> None:
    """What the process below does: leads a shard in a folder and prints what it is at, line by line."""
    store, ends = LocalStore.open(folder / "store"), list[BuildEnd]()
    if first:
        await new_shard(store)
    leader = building(store, folder, name, ends)
    async with running(leader):
        await leader.take_over()
        if first:
            await load(leader)
        compacting = asyncio.create_task(leader.compact())
        while not compacting.done():
            print(json.dumps({"percent": percent(leader.report().compaction)}), flush=True)
            await asyncio.wait([compacting], timeout=0.05)
        await compacting
        [held] = segments_of(leader)
        files = {"vectors": held.entry.vectors["default"].name, "index": held.entry.indexes["default"].file.name}
        [end] = ends
        print(json.dumps({"outcome": end.outcome, "resumed": end.resumed, "rows": held.entry.count, **files}))


def start(folder: Path, name: str, *, first: bool) -> subprocess.Popen[str]:
    lines = (
        "import asyncio, pathlib, sys",
        f"sys.path[:] = {[str(Path(__file__).parent), *sys.path]!r}",
        f"import {__name__}",
        f"asyncio.run({__name__}.lead(pathlib.Path({str(folder)!r}), {name!r}, {first=}))",
    )
    return subprocess.Popen([sys.executable, "-c", "\n".join(lines)], stdout=subprocess.PIPE, text=True)


def test_after_a_kill_in_the_middle_of_a_build_the_next_leader_goes_on_with_it(tmp_path: Path) -> None:
    with start(tmp_path, "a", first=True) as killed:
        assert killed.stdout is not None
        told = 0
        while told < 60:  # two of the four steps are done, and the checkpoint of the first is on the disk
            told = json.loads(killed.stdout.readline())["percent"]
        killed.kill()
    with start(tmp_path, "b", first=False) as again:
        output, _ = again.communicate(timeout=120)
    found: dict[str, Any] = json.loads(output.splitlines()[-1])
    assert (found["outcome"], found["resumed"] >= 4096, found["rows"]) == ("resumed", True, ROWS)
    cache = tmp_path / "shard"
    vectors = map_vectors(CheckedFile.open(cache / found["vectors"]), ROWS, DIMENSIONS)
    CpuEngine(1).build(IndexKind.HNSW, np.ascontiguousarray(vectors), Metric.COSINE, tmp_path / "undisturbed")
    assert bytes(CheckedFile.open(cache / found["index"]).data) == (tmp_path / "undisturbed").read_bytes()
