"""Rotten bytes on a node, as clients and dashboards see them: another replica answers, or none; no answer is short."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from real_fleet import NAME, MortalStore, RealFleet, Running, eventually, schema, search, upsert, vectors

from vectorfleet.v1 import vectorfleet_pb2 as pb
from vectorfleet_node.storage.format import BLOCK_CHECKSUMS
from vectorfleet_node.storage.memory import MemoryStore

KEYS = [f"row-{number}" for number in range(200)]


class SlowStore(MortalStore):
    """No download ends before `let_go` is set."""

    def __init__(self) -> None:
        super().__init__(MemoryStore())
        self.let_go = asyncio.Event()
        self.let_go.set()

    async def download(self, key: str, path: Path) -> None:
        await self.let_go.wait()
        await self.inner.download(key, path)


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    fleet = RealFleet(tmp_path, schema(shards=1), SlowStore())

    async def sealed(*nodes: str) -> tuple[RealFleet, SlowStore]:
        """One shard on these nodes, its rows in a segment everywhere."""
        await fleet.add(*nodes)
        await fleet.place({0: nodes})
        await fleet.ready()

        leader = await eventually(lambda: leader_of(fleet), what="all replicas read the newest format")
        await fleet.running["n0"].api.Upsert(upsert(KEYS))
        await leader.flush()

        async def everywhere() -> bool:
            reports = [entry.node.replica(NAME, 0).report() for entry in fleet.running.values()]  # type: ignore[union-attr]
            return all(report.indexes and not report.growing_rows for report in reports)

        await eventually(everywhere, what="all rows are sealed")
        assert isinstance(fleet.store, SlowStore)
        return fleet, fleet.store

    yield sealed
    assert isinstance(fleet.store, SlowStore)
    fleet.store.let_go.set()
    await fleet.stop()


async def leader_of(fleet: RealFleet) -> Any:
    """Whoever leads and writes checksums of blocks."""
    replicas: list[Any] = [entry.node.replica(NAME, 0) for entry in fleet.running.values()]
    formats = {replica: replica._follower.state.format for replica in replicas if replica.leads}
    return next((replica for replica, written in formats.items() if written >= BLOCK_CHECKSUMS), None)


def flip(folder: Path) -> str:
    """Flips a bit of a mapped vector; the file's name."""
    (path,) = folder.glob("*/0/*.vectors")
    with path.open("r+b") as file:
        byte = file.read(1)[0]
        file.seek(0)
        file.write(bytes([byte ^ 1]))
    return path.name


async def replica_info(entry: Running, node: str) -> pb.ReplicaInfo:
    described = await entry.api.Describe(pb.DescribeRequest(collection=NAME))
    return next(info for info in described.collections[0].shards[0].replicas if info.node == node)


async def everything(entry: Running, timeout: float = 30) -> Any:
    request = pb.GetRequest(collection=NAME, keys=pb.Keys(strings=KEYS), include_vectors=True, output_fields=["*"])
    return (await entry.api.Get(request, timeout=timeout)).rows


async def test_another_replica_answers_while_one_is_healed_and_it_is_told_everywhere(fleet: Any) -> None:
    nodes, store = await fleet("n0", "n1")
    first = nodes.running["n0"]
    right = await everything(first)
    found = (await first.api.Search(search(vectors(1), k=10))).results
    store.let_go.clear()
    name = flip(nodes.folder / "n0")
    for _ in range(3):
        assert await everything(first) == right
        assert (await first.api.Search(search(vectors(1), k=10))).results == found
    sick = await replica_info(first, "n0")
    assert not sick.ready
    assert name in sick.message
    assert name in "".join(first.node.waiting())
    store.let_go.set()
    await eventually(lambda: ready(first, "n0"), what="it is healed")
    healed = await replica_info(first, "n0")
    assert (healed.message, healed.quarantined) == ("", 1)
    assert await everything(first) == right
    metrics = first.server._metrics.text().decode()
    assert "vectorfleet_node_rotten_blocks_total 1.0" in metrics
    assert 'vectorfleet_node_quarantined_files{collection="things",shard="0"} 1.0' in metrics
    assert "vectorfleet_node_cache_budget_bytes +Inf" in metrics


async def test_with_one_replica_a_call_waits_for_the_healing_or_fails_and_is_never_short(fleet: Any) -> None:
    nodes, store = await fleet("n0")
    only = nodes.running["n0"]
    right = await everything(only)
    store.let_go.clear()
    name = flip(nodes.folder / "n0")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await everything(only, timeout=1.0)
    assert refused.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
    waiting = asyncio.ensure_future(everything(only))
    await eventually(lambda: sick(only, name), what="it is told")
    store.let_go.set()
    assert await waiting == right


async def test_a_scan_never_gives_rotten_bytes_and_goes_on_elsewhere_if_it_may(fleet: Any) -> None:
    nodes, _ = await fleet("n0", "n1")
    first = nodes.running["n0"]
    right = await everything(first)
    request = pb.ScanRequest(collection=NAME, include_vectors=True, page_size=1)
    page = await first.api.Scan(request)
    order = [page.rows.keys.strings[0]]
    vectors_ = [page.rows.vectors[0].data]
    flip(nodes.folder / "n0")  # in a block that holds all vectors
    request.cursor, request.page_size = page.cursor, 200
    with pytest.raises(grpc.aio.AioRpcError, match="does not hold the view") as refused:
        await first.api.Scan(request)
    assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    request.resume = True
    rest = await first.api.Scan(request)
    assert rest.resumed
    order += rest.rows.keys.strings
    vectors_.append(rest.rows.vectors[0].data)
    assert order == sorted(KEYS)
    size = len(vectors_[0])
    expected = {key: right.vectors[0].data[at * size : (at + 1) * size] for at, key in enumerate(right.keys.strings)}
    assert b"".join(vectors_) == b"".join(expected[key] for key in order)


async def ready(entry: Running, node: str) -> bool:
    return (await replica_info(entry, node)).ready


async def sick(entry: Running, name: str) -> bool:
    return name in (await replica_info(entry, "n0")).message
