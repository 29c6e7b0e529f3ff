"""How a write finds its leaders, and what the caller is told about parts that did not land."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from fake_fleet import SCHEMA, FakeNetwork, collection

from vectorfleet.partition import shard_of
from vectorfleet.v1 import peer_pb2
from vectorfleet.v1 import vectorfleet_pb2 as pb
from vectorfleet_node.api import parts
from vectorfleet_node.api.errors import UnreachableError
from vectorfleet_node.api.parts import Failed, Landed, Part
from vectorfleet_node.api.writes import Writer
from vectorfleet_node.shard.port import InDoubt, NotApplied, NotLeader, TooOld
from vectorfleet_node.storage.store import StoreFull, StoreUnavailable

ADDRESSES = {"n0": "n0:7301", "n1": "n1:7301", "n2": "n2:7301"}
PLACED = collection({0: ("n0", "n1", "n2"), 1: ("n1", "n2")})
DELETE = Part(1, ("a",), None)
Behaviour = Callable[[peer_pb2.AppendRequest], peer_pb2.AppendResponse]


def landing(position: int) -> Behaviour:
    return lambda request: peer_pb2.AppendResponse(position=position)


def raising(*errors: Exception, then: Behaviour | None = None) -> Behaviour:
    """Raises each error once, then behaves as `then` (the last error again when there is none)."""
    left = list(errors)

    def behave(request: peer_pb2.AppendRequest) -> peer_pb2.AppendResponse:
        if not left and then is not None:
            return then(request)
        raise left.pop(0) if len(left) > 1 or then is not None else left[0]

    return behave


async def write(nodes: dict[str, Behaviour], seconds: float = 0.5) -> tuple[Any, list[peer_pb2.AppendRequest]]:
    """The outcome of a write to shard 1, sent by n0, which holds no replica of it; and the requests made."""
    requests: list[peer_pb2.AppendRequest] = []

    def answer(behaviour: Behaviour) -> Behaviour:
        def behave(request: peer_pb2.AppendRequest) -> peer_pb2.AppendResponse:
            copy = peer_pb2.AppendRequest()
            copy.CopyFrom(request)
            requests.append(copy)
            return behaviour(request)

        return behave

    async def here(*_: Any) -> int:
        raise AssertionError("shard 1 is not on n0")

    network = FakeNetwork({(ADDRESSES[name], "Append"): answer(behaviour) for name, behaviour in nodes.items()})
    writer = Writer("n0", here, lambda *_: "", network, lambda: ADDRESSES, lambda *_: None)
    outcomes = await writer.write(PLACED, "request", {1: 4}, [DELETE], time.monotonic() + seconds)
    return outcomes[1], requests


async def test_a_part_goes_to_the_leader_that_a_follower_names() -> None:
    outcome, requests = await write({"n1": raising(NotLeader("o2", "n2:7301")), "n2": landing(9)})
    assert outcome == Landed(9)
    assert [(request.floor, request.request_id, request.take_over) for request in requests] == [
        (4, "request", False)
    ] * 2


async def test_a_leader_that_is_named_and_does_not_answer_is_replaced_by_a_replica() -> None:
    follower = raising(NotLeader("o2", "n2:7301"), then=landing(9))
    outcome, requests = await write({"n1": follower})
    assert outcome == Landed(9)
    assert [request.take_over for request in requests] == [False, True]


@pytest.mark.parametrize("error", [UnreachableError("cut"), InDoubt("late"), NotApplied("lost the slot")])
async def test_what_did_not_land_is_sent_again_with_the_same_request_id(error: Exception) -> None:
    outcome, requests = await write(dict.fromkeys(("n1", "n2"), raising(error, then=landing(9))), seconds=3)
    assert outcome == Landed(9)
    assert {request.request_id for request in requests} == {"request"}
    assert len(requests) == 2


async def test_a_part_that_may_have_landed_is_unknown_and_one_that_never_was_sent_is_failed() -> None:
    unknown, _ = await write({"n1": raising(InDoubt("late"))})
    assert (unknown.in_doubt, unknown.code) == (True, grpc.StatusCode.UNAVAILABLE)
    failed, _ = await write(dict.fromkeys(("n1", "n2"), raising(NotApplied("lost"))))
    assert (failed.in_doubt, failed.code) == (False, grpc.StatusCode.UNAVAILABLE)


async def test_doubt_stays_when_a_later_attempt_is_refused() -> None:
    outcome, _ = await write({"n1": raising(InDoubt("late"), StoreUnavailable("away"))})
    assert outcome.in_doubt


@pytest.mark.parametrize(
    ("error", "code", "in_doubt"),
    [
        (StoreUnavailable("away"), grpc.StatusCode.UNAVAILABLE, False),
        (StoreFull("no room"), grpc.StatusCode.RESOURCE_EXHAUSTED, False),
        (TooOld("forgotten"), grpc.StatusCode.FAILED_PRECONDITION, True),
    ],
)
async def test_what_trying_again_cannot_change_is_answered_at_once(
    error: Exception, code: grpc.StatusCode, in_doubt: bool
) -> None:
    began = time.monotonic()
    outcome, requests = await write({"n1": raising(error)}, seconds=30)
    assert (outcome.code, outcome.in_doubt) == (code, in_doubt)
    assert len(requests) == 1
    assert time.monotonic() - began < 10


def test_parts_hold_each_key_once_in_the_shard_of_its_hash() -> None:
    keys = [f"key-{number}" for number in range(100)]
    split = parts.split_keys(keys, SCHEMA)
    assert sorted(key for part in split for key in part.keys) == sorted(keys)
    assert all(shard_of(key, SCHEMA.shards) == part.shard for part in split for key in part.keys)


def test_a_failure_names_the_keys_and_what_landed() -> None:
    split = [Part(0, ("a", "b"), None), Part(1, ("c",), None), Part(2, ("d",), None)]
    outcomes = {
        0: Landed(8),
        1: Failed(False, grpc.StatusCode.UNAVAILABLE, "away"),
        2: Failed(True, grpc.StatusCode.UNAVAILABLE, "late"),
    }
    error = parts.failure(split, outcomes, "uid-1", SCHEMA, "request")
    assert error is not None
    detail = error.details[0]
    assert isinstance(detail, pb.WriteFailure)
    assert dict(detail.landed.positions) == {0: 8}
    told = [(part.shard, part.outcome, list(part.keys.strings)) for part in detail.parts]
    assert told == [(1, pb.WriteFailure.FAILED, ["c"]), (2, pb.WriteFailure.UNKNOWN, ["d"])]
    assert "'request'" in error.message
    assert parts.failure(split[:1], outcomes, "uid-1", SCHEMA, "request") is None


def test_a_failure_of_very_many_keys_fits_a_header_and_counts_them() -> None:
    keys = tuple(f"a-rather-long-key-{number}" for number in range(10_000))
    outcomes = {0: Failed(True, grpc.StatusCode.UNAVAILABLE, "x" * 5000)}
    error = parts.failure([Part(0, keys, None)], outcomes, "uid-1", SCHEMA, "request")
    assert error is not None
    detail = error.details[0]
    assert isinstance(detail, pb.WriteFailure)
    assert detail.ByteSize() + len(error.message) < 7000
    assert "10000 keys" in detail.parts[0].message
