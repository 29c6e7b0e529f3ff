"""When a replica tries to lead, and when it must not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fake_fleet import FakeNetwork, FakeReplica

from vectorfleet.v1 import peer_pb2
from vectorfleet_node.api.supervision import SUSPECT_SECONDS, Identity, Placed, Supervisor
from vectorfleet_node.shard.port import NotLeader
from vectorfleet_node.storage.store import StoreUnavailable

ADDRESSES = {"me": "me:1", "other": "other:1"}
LED_BY_OTHER = ("their-owner", "other:1")


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


def pong(owner: str = "their-owner", leads: bool = True) -> Callable[[Any], peer_pb2.PingResponse]:
    return lambda request: peer_pb2.PingResponse(owner=owner, leads=leads)


async def check(
    replica: FakeReplica, ping: Callable[[Any], Any] | None, nodes: tuple[str, ...] = ("me", "other")
) -> Time:
    """One look at a shard whose leader answers pings as told; how long it took."""
    network = FakeNetwork({("other:1", "Ping"): ping} if ping else {})
    time = Time()
    supervisor = Supervisor(
        Identity("me", "my-owner"),
        network,
        lambda: ADDRESSES,
        lambda: iter(()),
        lambda: 0.05,
        monotonic=time.monotonic,
        sleep=time.sleep,
    )
    await supervisor.check(Placed("things", replica, nodes))
    return time


async def test_a_shard_that_nobody_ever_led_is_led_by_the_first_in_placement_at_once() -> None:
    replica = FakeReplica()
    assert (await check(replica, None)).now == 0
    assert replica.leads


async def test_the_next_in_placement_gives_the_first_time_to_lead() -> None:
    replica = FakeReplica()
    assert (await check(replica, None, nodes=("other", "me"))).now == pytest.approx(0.35)
    assert replica.leads


async def test_a_leader_that_answers_is_left_alone() -> None:
    replica = FakeReplica(leader=LED_BY_OTHER)
    await check(replica, pong())
    assert replica.calls == []


async def test_a_silent_leader_is_given_a_second() -> None:
    replica = FakeReplica(leader=LED_BY_OTHER)
    time = await check(replica, None)
    assert time.now >= SUSPECT_SECONDS
    assert replica.calls == ["make_strong", "take_over"]


async def test_a_leader_that_answers_again_within_the_second_keeps_leading() -> None:
    replica = FakeReplica(leader=LED_BY_OTHER)
    pings = iter([peer_pb2.PingResponse(owner="x")])

    def flaky(request: Any) -> peer_pb2.PingResponse:
        if next(pings, None) is not None:
            raise StoreUnavailable("any failed call")
        return peer_pb2.PingResponse(owner="their-owner", leads=True)

    await check(replica, flaky)
    assert replica.calls == []


@pytest.mark.parametrize("answer", [pong(owner="restarted"), pong(leads=False)], ids=["restarted", "leads no more"])
async def test_a_leader_that_says_it_is_none_is_replaced_at_once(answer: Callable[[Any], Any]) -> None:
    replica = FakeReplica(leader=LED_BY_OTHER)
    assert (await check(replica, answer)).now == 0
    assert replica.leads


async def test_an_earlier_life_of_this_node_is_succeeded_at_once() -> None:
    replica = FakeReplica(leader=("my-earlier-owner", "me:1"))
    assert (await check(replica, None)).now == 0
    assert replica.leads


async def test_nobody_steals_a_shard_whose_log_names_a_newer_leader() -> None:
    class Behind(FakeReplica):
        async def make_strong(self) -> None:
            await super().make_strong()
            self.leader = ("newer-owner", "third:1")

    replica = Behind(leader=LED_BY_OTHER)
    await check(replica, None)
    assert replica.calls == ["make_strong"]
    assert not replica.leads


@pytest.mark.parametrize("error", [StoreUnavailable("away"), NotLeader("faster", "third:1")])
async def test_a_lost_election_or_a_silent_store_leaves_it_a_follower(error: Exception) -> None:
    replica = FakeReplica(leader=LED_BY_OTHER, taking_over=error)
    await check(replica, None)
    assert not replica.leads


async def test_a_replica_that_is_loading_does_not_stand() -> None:
    replica = FakeReplica(ready=False)
    await check(replica, None)
    assert replica.calls == []
