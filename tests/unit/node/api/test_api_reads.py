"""Where a read goes and what it does about replicas that cannot answer."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from fake_fleet import FakeNetwork, FakeReplica, collection

from vectorfleet.topology import ConsistencyLevel
from vectorfleet.v1 import peer_pb2
from vectorfleet.v1 import vectorfleet_pb2 as pb
from vectorfleet_node.api import consistency
from vectorfleet_node.api.errors import ApiError, UnreachableError
from vectorfleet_node.api.routing import Router
from vectorfleet_node.api.scatter import Gathered, Scatter
from vectorfleet_node.api.watch import PeerWatch
from vectorfleet_node.shard.port import Behind, Overloaded
from vectorfleet_node.storage.store import StoreUnavailable

ADDRESSES = {name: f"{name}:7301" for name in ("n0", "n1", "n2")}
PLACED = collection({0: ("n0", "n1", "n2"), 1: ("n1", "n2")})
Node = Callable[[list[int]], list[peer_pb2.ShardAnswer]]


def ok(shards: list[int]) -> list[peer_pb2.ShardAnswer]:
    return [peer_pb2.ShardAnswer(shard=shard, position=5) for shard in shards]


def refusing(status: peer_pb2.ShardStatus, message: str = "no") -> Node:
    return lambda shards: [peer_pb2.ShardAnswer(shard=shard, status=status, message=message) for shard in shards]


def dead(shards: list[int]) -> list[peer_pb2.ShardAnswer]:
    raise UnreachableError("dead")


def older(shards: list[int]) -> list[peer_pb2.ShardAnswer]:
    raise ApiError(grpc.StatusCode.NOT_FOUND, "no such collection here")


def router(own_ready: bool = False, watch: PeerWatch | None = None, in_flight: dict[str, int] | None = None) -> Router:
    watch = watch or PeerWatch("n0", FakeNetwork(), lambda: ADDRESSES)
    return Router("n0", lambda *_: own_ready, watch, in_flight or {}, lambda: ADDRESSES, random.Random(1))


async def read(nodes: dict[str, Node], patience: float = 0.0) -> tuple[Gathered[Any], list[tuple[str, list[int]]]]:
    """A read of shards 0 and 1 from nodes that behave as told, and the calls it made."""
    calls: list[tuple[str, list[int]]] = []

    async def ask(node: str, shards: list[int], seconds: float) -> peer_pb2.CountShardsResponse:
        calls.append((node, shards))
        return peer_pb2.CountShardsResponse(answers=nodes[node](shards))

    watch = PeerWatch("n0", FakeNetwork(), lambda: ADDRESSES)
    scatter = Scatter(router(own_ready=True, watch=watch), watch, PLACED, ask, patience)
    return await scatter.run([0, 1], time.monotonic() + 5), calls


async def test_when_every_replica_is_full_the_caller_is_told_when_to_come_back() -> None:
    with pytest.raises(Overloaded) as refused:
        await read({"n0": full, "n1": full, "n2": full})
    assert refused.value.retry_after == 0.5


async def test_one_call_goes_to_each_node_with_all_its_shards() -> None:
    found, calls = await read({"n0": ok, "n1": ok, "n2": ok})
    assert found.positions == {0: 5, 1: 5}
    assert ("n0", [0]) in calls
    assert len(calls) == 2


def full(shards: list[int]) -> list[peer_pb2.ShardAnswer]:
    raise Overloaded("1024 searches wait", 0.5)


@pytest.mark.parametrize(
    "trouble", [dead, older, full, refusing(peer_pb2.SHARD_NOT_HERE), refusing(peer_pb2.SHARD_UNCHECKED)]
)
async def test_a_shard_that_one_replica_cannot_answer_is_asked_of_the_others(trouble: Node) -> None:
    found, _ = await read({"n0": trouble, "n1": trouble, "n2": ok})
    assert found.positions == {0: 5, 1: 5}
    assert found.missing == {}
    found.refuse_if_short("things")


async def test_a_shard_that_nobody_answers_is_missing_and_never_left_out_silently() -> None:
    found, _ = await read({"n0": ok, "n1": dead, "n2": refusing(peer_pb2.SHARD_NOT_HERE, "loading")})
    assert found.positions == {0: 5}
    assert set(found.missing) == {1}
    with pytest.raises(ApiError, match="shards 1 of things cannot answer") as refused:
        found.refuse_if_short("things")
    assert refused.value.code == grpc.StatusCode.UNAVAILABLE


async def test_a_position_beyond_the_log_is_refused_without_asking_everybody() -> None:
    found, calls = await read({"n0": ok, **dict.fromkeys(("n1", "n2"), refusing(peer_pb2.SHARD_BEHIND))}, patience=5)
    assert len(calls) == 2
    with pytest.raises(ApiError) as refused:
        found.refuse_if_short("things")
    assert refused.value.code == grpc.StatusCode.FAILED_PRECONDITION


async def test_a_replica_that_comes_back_within_the_patience_answers() -> None:
    tries = iter([dead, dead, ok, ok])
    found, _ = await read({"n0": ok, **dict.fromkeys(("n1", "n2"), lambda shards: next(tries)(shards))}, patience=5)
    assert found.positions == {0: 5, 1: 5}


def report(node: str, *, ready: bool = True, draining: bool = False) -> peer_pb2.NodeReport:
    shards = [peer_pb2.ShardReport(id=shard, ready=ready) for shard in (0, 1)]
    return peer_pb2.NodeReport(
        node=node, draining=draining, collections=[peer_pb2.CollectionReport(name="things", shards=shards)]
    )


async def watching(reports: dict[str, peer_pb2.NodeReport]) -> PeerWatch:
    network = FakeNetwork(
        {(ADDRESSES[node], "Report"): lambda _, found=found: found for node, found in reports.items()}
    )
    watch = PeerWatch("n0", network, lambda: ADDRESSES)
    await watch.ask()
    return watch


async def test_the_own_replica_answers_when_it_is_ready() -> None:
    watch = await watching({"n1": report("n1"), "n2": report("n2")})
    assert router(own_ready=True, watch=watch).choose(PLACED, 0, set()) == "n0"
    assert router(own_ready=True, watch=watch).choose(PLACED, 0, {"n0"}) in ("n1", "n2")


@pytest.mark.parametrize("flaw", [{"draining": True}, {"ready": False}, None], ids=["draining", "loading", "silent"])
async def test_a_draining_loading_or_silent_node_is_avoided_and_is_better_than_none(
    flaw: dict[str, bool] | None,
) -> None:
    reports = {"n2": report("n2")} if flaw is None else {"n1": report("n1", **flaw), "n2": report("n2")}
    routes = router(watch=await watching(reports))
    assert {routes.choose(PLACED, 1, set()) for _ in range(20)} == {"n2"}
    assert routes.choose(PLACED, 1, {"n2"}) == "n1"
    assert routes.choose(PLACED, 1, {"n1", "n2"}) is None


async def test_the_less_busy_of_two_replicas_is_chosen() -> None:
    watch = await watching({"n1": report("n1"), "n2": report("n2")})
    routes = router(watch=watch, in_flight={"n1:7301": 9, "n2:7301": 2})
    assert {routes.choose(PLACED, 1, set()) for _ in range(20)} == {"n2"}


LEVELS = pb.Consistency


@pytest.mark.parametrize(
    ("level", "replica", "status"),
    [
        (LEVELS(level=LEVELS.STRONG), FakeReplica(), peer_pb2.SHARD_OK),
        (LEVELS(level=LEVELS.STRONG), FakeReplica(strong=StoreUnavailable("x")), peer_pb2.SHARD_UNCHECKED),
        (LEVELS(level=LEVELS.BOUNDED), FakeReplica(fresh=StoreUnavailable("x")), peer_pb2.SHARD_UNCHECKED),
        (LEVELS(level=LEVELS.EVENTUAL), FakeReplica(strong=StoreUnavailable("x")), peer_pb2.SHARD_OK),
        (LEVELS(level=LEVELS.SESSION), FakeReplica(session=Behind("x")), peer_pb2.SHARD_OK),
        (LEVELS(level=LEVELS.STRONG), FakeReplica(ready=False), peer_pb2.SHARD_NOT_HERE),
        (LEVELS(level=LEVELS.EVENTUAL), None, peer_pb2.SHARD_NOT_HERE),
    ],
)
async def test_a_level_is_kept_or_the_shard_says_why_not(
    level: pb.Consistency, replica: FakeReplica | None, status: peer_pb2.ShardStatus
) -> None:
    answer, view = await consistency.view_at(replica, 0, level, 1.0)
    assert answer.status == status
    assert (view is not None) == (status == peer_pb2.SHARD_OK)


class CatchesUp(FakeReplica):
    """Learns of another record with each look at the log."""

    def _do(self, name: str, error: Exception | None) -> None:
        super()._do(name, error)
        self.position += 1


@pytest.mark.parametrize(
    "level", [LEVELS(level=LEVELS.STRONG), LEVELS(level=LEVELS.BOUNDED, max_staleness_seconds=1.0)]
)
async def test_what_is_served_is_what_the_replica_has_after_its_look(level: pb.Consistency) -> None:
    answer, view = await consistency.view_at(CatchesUp(position=7), 0, level, 1.0)
    assert view is not None
    assert (answer.position, view.position) == (8, 8)


@pytest.mark.parametrize(
    ("position", "error", "status"),
    [
        (7, Behind("x"), peer_pb2.SHARD_OK),
        (8, Behind("x"), peer_pb2.SHARD_BEHIND),
        (8, StoreUnavailable("x"), peer_pb2.SHARD_UNCHECKED),
    ],
)
async def test_a_session_asks_the_store_only_for_what_the_replica_has_not_seen(
    position: int, error: Exception, status: peer_pb2.ShardStatus
) -> None:
    token = pb.SessionToken(uid="uid-1", positions={0: position})
    replica = FakeReplica(position=7, session=error)
    answer, _ = await consistency.view_at(replica, 0, LEVELS(level=LEVELS.SESSION, session=token), 1.0)
    assert answer.status == status


def test_the_default_level_is_the_collections() -> None:
    bounded = PLACED.model_copy(update={"consistency": ConsistencyLevel.BOUNDED, "max_staleness_seconds": 3.0})
    resolved = consistency.resolve(LEVELS(), bounded, "uid-1")
    assert (resolved.level, resolved.max_staleness_seconds) == (LEVELS.BOUNDED, 3.0)


@pytest.mark.parametrize("staleness", [-1.0, float("nan"), float("inf")])
def test_a_staleness_that_means_nothing_is_refused(staleness: float) -> None:
    asked = LEVELS(level=LEVELS.BOUNDED, max_staleness_seconds=staleness)
    with pytest.raises(ApiError, match="max_staleness_seconds"):
        consistency.resolve(asked, PLACED, "uid-1")
