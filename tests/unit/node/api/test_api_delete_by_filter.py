"""Deletes by filter through any node of a fleet."""

from __future__ import annotations

import grpc
import pytest
from real_fleet import NAME, RealFleet, upsert

from vectorfleet.v1 import vectorfleet_pb2 as pb

STRONG = pb.Consistency(level=pb.Consistency.STRONG)
KEYS = [f"row-{number}" for number in range(60)]
ENGLISH = pb.DeleteRequest(collection=NAME, filter='lang == "en"')


async def test_every_node_deletes_in_all_shards_and_says_how_many_rows(three: RealFleet) -> None:
    for entry in three.running.values():
        await entry.api.Upsert(upsert(KEYS))
        done = await entry.api.Delete(ENGLISH)
        assert (done.rows, done.rows_unknown) == (20, False)
        assert set(done.session.positions) == {0, 1}
        counted = await entry.api.Count(pb.CountRequest(collection=NAME, consistency=STRONG))
        assert counted.count == 40
        assert (await entry.api.Delete(ENGLISH)).rows == 0


async def test_a_repeated_request_deletes_nothing_more_and_says_the_same(three: RealFleet) -> None:
    request = pb.DeleteRequest(collection=NAME, filter='lang == "en"', request_id="once")
    await three.running["n0"].api.Upsert(upsert(KEYS))
    first = await three.running["n0"].api.Delete(request)
    await three.running["n0"].api.Upsert(upsert(KEYS))
    second = await three.running["n2"].api.Delete(request)
    assert second == first
    counted = await three.running["n1"].api.Count(pb.CountRequest(collection=NAME, consistency=STRONG))
    assert counted.count == 60


async def test_after_a_change_of_leader_a_repeated_request_says_that_it_does_not_know_the_rows(
    three: RealFleet,
) -> None:
    request = pb.DeleteRequest(collection=NAME, filter='lang == "en"', request_id="once")
    await three.running["n2"].api.Upsert(upsert(KEYS))
    assert (await three.running["n2"].api.Delete(request)).rows == 20
    leader = three.leader(0)
    await three.running[leader].kill()
    asked = next(entry for name, entry in three.running.items() if name != leader)
    again = await asked.api.Delete(request, timeout=20)
    assert again.rows_unknown
    counted = await asked.api.Count(pb.CountRequest(collection=NAME, consistency=STRONG), timeout=20)
    assert counted.count == 40


@pytest.mark.parametrize(
    "wrong",
    [
        pb.DeleteRequest(collection=NAME),
        pb.DeleteRequest(collection=NAME, filter="  "),
        pb.DeleteRequest(collection=NAME, filter='lang == "en"', keys=pb.Keys(strings=["a"])),
        pb.DeleteRequest(collection=NAME, filter="nope == 1"),
    ],
)
async def test_exactly_one_of_keys_and_filter_is_needed(one: RealFleet, wrong: pb.DeleteRequest) -> None:
    with pytest.raises(grpc.aio.AioRpcError, match=r"keys|filter") as caught:
        await one.running["n0"].api.Delete(wrong)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
