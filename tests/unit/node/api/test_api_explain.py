"""`explain`: how a search was answered, over all nodes."""

from __future__ import annotations

import grpc
import numpy as np
import pytest
from real_fleet import NAME, RealFleet, search, upsert, vectors

from vectorfleet import AsyncClient
from vectorfleet.v1 import vectorfleet_pb2 as pb

KEYS = [f"k{number}" for number in range(60)]


async def test_every_shard_tells_where_and_how_it_was_searched(three: RealFleet) -> None:
    api = three.running["n0"].api
    await api.Upsert(upsert(KEYS))
    found = await api.Search(search(vectors(2), k=5, filter='lang == "en"', explain=True))
    assert [told.shard for told in found.explanation] == [0, 1]
    here, there = found.explanation
    assert here.node == "n0"  # which holds shard 0, but not shard 1
    assert there.node in ("n1", "n2")
    assert {told.shard: told.position for told in found.explanation} == dict(found.session.positions)
    segments = [segment for told in found.explanation for segment in told.segments]
    assert sum(segment.live for segment in segments) == len(KEYS)
    assert sum(segment.allowed for segment in segments) == len(KEYS) / 3
    assert {segment.index for segment in segments} == {"Exact"}
    assert all(segment.plan == f"scan of {segment.allowed} allowed rows" for segment in segments if segment.allowed)
    assert {told.batch_queries for told in found.explanation} == {2}


async def test_who_does_not_ask_gets_no_explanation_and_the_same_hits(three: RealFleet) -> None:
    api = three.running["n0"].api
    await api.Upsert(upsert(KEYS))
    asked = await api.Search(search(np.ones(4), explain=True))
    unasked = await api.Search(search(np.ones(4)))
    assert not unasked.explanation
    assert list(asked.results) == list(unasked.results)


async def test_groups_are_not_explained(one: RealFleet) -> None:
    with pytest.raises(grpc.aio.AioRpcError, match="explain") as refused:
        await one.running["n0"].api.Search(search(np.ones(4), explain=True, group_by=pb.GroupBy(field="lang")))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_the_client_gives_the_explanation_as_values(one: RealFleet) -> None:
    running = one.running["n0"]
    await running.api.Upsert(upsert(KEYS))
    async with AsyncClient(f"127.0.0.1:{running.ports.api}") as client:
        result = await client.search(NAME, np.ones(4), k=3, consistency="Strong", explain=True)
    assert [(told.shard, told.node, told.batch_queries) for told in result.explanation] == [(0, "n0", 1), (1, "n0", 1)]
    segments = [segment for told in result.explanation for segment in told.segments]
    assert sum(segment.rows for segment in segments) == len(KEYS)
    assert not any(segment.sealed for segment in segments)
    assert [segment.plan for segment in segments] == [f"scan of {segment.rows} rows" for segment in segments]
