"""No room for a write: how long it waits, what its caller is told, and that a node's memory stays bounded."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from fake_fleet import SCHEMA, FakeNetwork, FakeReplica, collection
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from real_fleet import NAME, RealFleet, search, upsert, vectors

from vectorfleet.v1 import peer_pb2
from vectorfleet.v1 import vectorfleet_pb2 as pb
from vectorfleet_node.api import errors, parts
from vectorfleet_node.api.backpressure import Limits, WriteBudget, patience_of
from vectorfleet_node.api.parts import Failed, Landed, Part
from vectorfleet_node.api.writes import Writer
from vectorfleet_node.settings import memory_limit
from vectorfleet_node.shard.port import DeletePart, NotLeader, Overloaded
from vectorfleet_node.storage.store import StorageError, StoreFull, StoreUnavailable

PLACED = collection({0: ("n0", "n1"), 1: ("n0", "n1")})
PART = Part(1, ("a",), None)
MIB = 1 << 20


def network(error: Exception, after: int) -> tuple[FakeNetwork, list[str]]:
    """A leader on n1 that has no room for the first `after` attempts; and their request ids."""
    asked: list[str] = []

    def append(request: peer_pb2.AppendRequest) -> peer_pb2.AppendResponse:
        asked.append(request.request_id)
        if len(asked) <= after:
            raise error
        return peer_pb2.AppendResponse(position=9)

    return FakeNetwork({("n1:1", "Append"): append}), asked


async def write(error: Exception, after: int, seconds: float) -> tuple[Any, list[str]]:
    async def here(*_: Any) -> int:
        raise NotLeader("o1", "n1:1")

    calls, asked = network(error, after)
    writer = Writer("n0", here, lambda *_: "", calls, lambda: {"n0": "n0:1", "n1": "n1:1"}, lambda *_: None)
    outcomes = await writer.write(PLACED, "request", {}, [PART], time.monotonic() + seconds)
    return outcomes[1], asked


@pytest.mark.parametrize("error", [Overloaded("memory is full", 1.0), StoreUnavailable("no answer", 1.0)])
async def test_a_leader_without_room_is_asked_again_with_the_same_request_id(error: Exception) -> None:
    outcome, asked = await write(error, after=2, seconds=30)
    assert outcome == Landed(9)
    assert asked == ["request"] * 3


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Overloaded("memory is full", 1.5), grpc.StatusCode.RESOURCE_EXHAUSTED),
        (StoreUnavailable("no answer", 1.5), grpc.StatusCode.UNAVAILABLE),
    ],
)
async def test_a_leader_that_never_has_room_is_told_as_it_said_it(error: Exception, code: grpc.StatusCode) -> None:
    outcome, asked = await write(error, after=10**6, seconds=0.3)
    assert outcome == Failed(False, code, str(error), type(error).__name__, 1.5)
    assert len(asked) > 1


async def test_a_full_volume_is_told_at_once() -> None:
    outcome, asked = await write(StoreFull("10 bytes are free", 5.0), after=10**6, seconds=30)
    assert outcome == Failed(False, grpc.StatusCode.RESOURCE_EXHAUSTED, "10 bytes are free", "StoreFull", 5.0)
    assert len(asked) == 1


async def test_a_write_waits_shorter_than_its_caller() -> None:
    patiences: list[float] = []

    async def here(*arguments: Any) -> int:
        patiences.append(arguments[-1])
        return 9

    writer = Writer("n0", here, lambda *_: "", FakeNetwork(), lambda: {"n0": "n0:1"}, lambda *_: None)
    await writer.write(PLACED, "request", {}, [PART], time.monotonic() + 10)
    assert 7 < patiences[0] < 9
    assert patience_of(-1.0) == 0


async def test_what_a_takeover_takes_is_not_waited_again(one: RealFleet, monkeypatch: pytest.MonkeyPatch) -> None:
    node = one.running["n0"].node
    patiences: list[float] = []

    class Slow(FakeReplica):
        async def append(self, *arguments: Any) -> int:
            patiences.append(arguments[-1])
            return await super().append(*arguments)

    replica = Slow()
    monkeypatch.setattr(node, "replica", lambda *_: replica)
    moments = iter([100.0, 100.0, 104.0])  # it comes, is tried, and tried again
    monkeypatch.setattr("vectorfleet_node.api.node.time", SimpleNamespace(monotonic=lambda: next(moments)))

    async def gone(*_: Any) -> bool:
        await replica.take_over()
        return True

    monkeypatch.setattr(node.supervisor, "gone", gone)
    monkeypatch.setattr(node.supervisor, "lead", gone)
    await node.append(NAME, 0, "request", 0, DeletePart(("a",)), True, 10.0)
    assert patiences == [10.0, 6.0]


@pytest.mark.parametrize("error", [Overloaded("full", 1.25), StoreFull("full", 5.0), StoreUnavailable("away", 0.5)])
def test_an_error_and_its_hint_survive_the_way_from_node_to_node(error: Overloaded | StorageError) -> None:
    status = errors.status_of(error)
    assert status is not None
    trailing = rpc_status.to_status(status).trailing_metadata
    failure = grpc.aio.AioRpcError(
        errors.code_of(status), grpc.aio.Metadata(), grpc.aio.Metadata(*trailing), str(error)
    )
    again = errors.from_rpc(failure, "n1:1")
    assert (type(again), str(again), errors.retry_after(again)) == (type(error), str(error), error.retry_after)


def test_an_error_without_a_hint_gets_none_on_the_way() -> None:
    status = errors.status_of(StoreUnavailable("away"))
    assert status is not None
    assert [detail.TypeName() for detail in status.details] == ["google.rpc.ErrorInfo"]


def details_of(error: errors.ApiError) -> tuple[pb.WriteFailure, list[str], list[float]]:
    """The write's own details, the reasons and the hints."""
    failure, reasons, hints = pb.WriteFailure(), [], []
    for detail in error.details:
        if isinstance(detail, pb.WriteFailure):
            failure = detail
        elif isinstance(detail, error_details_pb2.ErrorInfo):
            reasons.append(detail.reason)
        elif isinstance(detail, error_details_pb2.RetryInfo):
            hints.append(detail.retry_delay.ToMilliseconds() / 1000)
    return failure, reasons, hints


def test_a_write_that_found_no_room_names_its_keys_and_says_when_to_come_back() -> None:
    split = [Part(0, ("a",), None), Part(1, ("b",), None)]
    full = Failed(False, grpc.StatusCode.RESOURCE_EXHAUSTED, "full", "Overloaded", 2.0)
    error = parts.failure(split, {0: Landed(3), 1: full}, "uid", SCHEMA, "request")
    assert error is not None
    assert error.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    failure, reasons, hints = details_of(error)
    assert [(part.shard, list(part.keys.strings)) for part in failure.parts] == [(1, ["b"])]
    assert dict(failure.landed.positions) == {0: 3}
    assert (reasons, hints) == (["Overloaded"], [2.0])


def test_a_write_that_failed_in_two_ways_waits_for_the_longer_of_them() -> None:
    split = [Part(0, ("a",), None), Part(1, ("b",), None)]
    outcomes = {
        0: Failed(False, grpc.StatusCode.RESOURCE_EXHAUSTED, "full", "StoreFull", 5.0),
        1: Failed(True, grpc.StatusCode.UNAVAILABLE, "away", "StoreUnavailable", 1.0),
    }
    error = parts.failure(split, outcomes, "uid", SCHEMA, "request")
    assert error is not None
    assert error.code is grpc.StatusCode.UNAVAILABLE
    assert details_of(error)[1:] == ([], [5.0])


def test_limits_follow_the_memory_of_the_container_and_the_number_of_shards(tmp_path: Path) -> None:
    gib = 1 << 30
    plenty, small = Limits.for_memory(None), Limits.for_memory(gib)
    assert (plenty.writes, plenty.growing) == (256 * MIB, gib)
    assert (small.writes, small.growing) == (64 * MIB, 256 * MIB)
    assert Limits.for_memory(64 * gib) == plenty
    assert [small.growing_of_shard(shards) for shards in (0, 1, 4)] == [256 * MIB, 256 * MIB, 64 * MIB]
    assert plenty.growing_of_shard(1) == 512 * MIB
    limit = tmp_path / "memory.max"
    assert memory_limit(limit) is None
    for text, known in (("max\n", None), (f"{gib}\n", gib)):
        limit.write_text(text)
        assert memory_limit(limit) == known


def test_a_node_takes_no_more_writes_at_a_time_than_its_budget_has_room_for() -> None:
    refused: list[str] = []
    budget = WriteBudget(MIB, refused.append)
    with budget.taking(MIB // 2):
        with pytest.raises(Overloaded, match=f"of {MIB} allowed; .* nothing was sent") as told, budget.taking(MIB // 2):
            pass
        assert told.value.retry_after
        with budget.taking(MIB // 4):
            pass
    with pytest.raises(KeyError), budget.taking(MIB // 2):
        raise KeyError
    assert (budget.taken, refused) == (0, ["node"])
    with budget.taking(2 * MIB):  # could never be written otherwise
        pass


def test_many_tiny_writes_count_for_more_than_their_bytes() -> None:
    budget, entered = WriteBudget(MIB), 0
    with pytest.raises(Overloaded):
        entered = _nest(budget, 0)
    assert entered == 0
    assert budget.taken == 0


def _nest(budget: WriteBudget, depth: int) -> int:
    assert depth < 100
    with budget.taking(1):
        return _nest(budget, depth + 1)


async def refusal(call: Callable[[], Any]) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as told:
        await call()
    return told.value


async def test_a_node_that_is_full_of_writes_refuses_more_and_answers_reads(one: RealFleet) -> None:
    api, node = one.running["n0"].api, one.running["n0"].node
    keys = [f"key-{number}" for number in range(20)]
    await api.Upsert(upsert(keys))
    node.write_budget._limit = MIB
    with node.write_budget.taking(MIB):
        error = await refusal(lambda: api.Upsert(upsert(["late"]), timeout=30))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "nothing was sent" in (error.details() or "")
        status = errors.details_of(error)
        assert status is not None
        assert {detail.TypeName() for detail in status.details} == {"google.rpc.ErrorInfo", "google.rpc.RetryInfo"}
        deletion = pb.DeleteRequest(collection=NAME, keys=pb.Keys(strings=["key-0"]))
        assert (await refusal(lambda: api.Delete(deletion))).code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        found = await api.Search(search(vectors(1)))
        assert len(found.results[0].scores) == 3
    await asyncio.gather(*(api.Upsert(upsert([f"late-{number}"])) for number in range(10)))
    counted = await api.Count(pb.CountRequest(collection=NAME, consistency=pb.Consistency(level=pb.Consistency.STRONG)))
    assert counted.count == 30


async def test_metrics_tell_the_memory_of_writes_and_who_was_refused(one: RealFleet) -> None:
    running = one.running["n0"]
    await running.api.Upsert(upsert(["a", "b", "c"]))
    running.node.write_budget._limit = 1
    with running.node.write_budget.taking(0):
        await refusal(lambda: running.api.Upsert(upsert(["late"])))
    text = running.server._metrics.text().decode()
    assert 'vectorfleet_node_writes_refused_total{reason="node"} 1.0' in text
    assert f'vectorfleet_node_writes_waiting{{collection="{NAME}",shard="0"}} 0.0' in text
    lines = [line for line in text.splitlines() if line.startswith("vectorfleet_node_growing_bytes{")]
    assert sum(float(line.split()[-1]) for line in lines) > 3 * 256
