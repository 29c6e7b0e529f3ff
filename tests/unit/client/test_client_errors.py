"""Statuses and their details become errors that name the field, the keys and the shards."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from google.protobuf import any_pb2
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2

from vectorfleet import (
    DeadlineExceeded,
    InvalidArgument,
    ResourceExhausted,
    RetryPolicy,
    ServerError,
    Session,
    Unavailable,
    WriteFailed,
)
from vectorfleet.calls import Call
from vectorfleet.errors import MISSING_SHARDS, from_status
from vectorfleet.partition import shard_of
from vectorfleet.retry import Attempts
from vectorfleet.v1 import vectorfleet_pb2 as pb


@dataclass
class Failed:
    """A gRPC error as the library makes it."""

    status: grpc.StatusCode
    message: str
    attached: list[Any] = field(default_factory=list)
    status_message: str | None = None

    def code(self) -> grpc.StatusCode:
        return self.status

    def details(self) -> str:
        return self.message

    def trailing_metadata(self) -> tuple[tuple[str, bytes], ...]:
        packed = []
        for detail in self.attached:
            wrapped = any_pb2.Any()
            wrapped.Pack(detail)
            packed.append(wrapped)
        text = self.message if self.status_message is None else self.status_message
        rich = status_pb2.Status(code=self.status.value[0], message=text, details=packed)
        return (("grpc-status-details-bin", rich.SerializeToString()),)


SILENCE = Failed(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")
WRITE_FAILURE = pb.WriteFailure(
    parts=[
        pb.WriteFailure.Part(shard=2, outcome=pb.WriteFailure.FAILED, keys=pb.Keys(strings=["a"]), message="no leader"),
        pb.WriteFailure.Part(shard=3, outcome=pb.WriteFailure.UNKNOWN, keys=pb.Keys(strings=["b", "c"])),
    ],
    landed=pb.SessionToken(uid="u", positions={0: 7}),
)


def test_a_bad_request_names_its_fields() -> None:
    violation = error_details_pb2.BadRequest.FieldViolation(field="k", description="expected 1 to 16384")
    failure = Failed(
        grpc.StatusCode.INVALID_ARGUMENT, "k is 0", [error_details_pb2.BadRequest(field_violations=[violation])]
    )
    error = from_status(failure)
    assert isinstance(error, InvalidArgument)
    assert [(each.field, each.description) for each in error.violations] == [("k", "expected 1 to 16384")]


def test_a_write_that_did_not_land_everywhere_names_the_keys_and_what_landed() -> None:
    error = from_status(Failed(grpc.StatusCode.UNAVAILABLE, "half a write", [WRITE_FAILURE]), "id-1")
    assert isinstance(error, WriteFailed)
    assert isinstance(error, Unavailable)
    assert [(part.shard, part.outcome, part.keys) for part in error.parts] == [
        (2, "failed", ("a",)),
        (3, "unknown", ("b", "c")),
    ]
    assert (error.landed, error.missing_shards, error.request_id) == ({0: 7}, (2, 3), "id-1")


def test_an_unavailable_search_names_the_missing_shards() -> None:
    info = error_details_pb2.ErrorInfo(reason=MISSING_SHARDS, metadata={"shards": "1,4"})
    error = from_status(Failed(grpc.StatusCode.UNAVAILABLE, "two shards", [info]))
    assert isinstance(error, Unavailable)
    assert error.missing_shards == (1, 4)


def test_details_that_a_proxy_garbled_do_not_hide_the_status() -> None:
    error = from_status(Failed(grpc.StatusCode.UNAVAILABLE, "gateway", [WRITE_FAILURE], status_message="other"))
    assert type(error) is Unavailable


def test_an_unknown_status_keeps_its_name() -> None:
    error = from_status(Failed(grpc.StatusCode.DATA_LOSS, "rotten segment"))
    assert isinstance(error, ServerError)
    assert (error.code, str(error)) == ("DATA_LOSS", "rotten segment")


def test_a_write_that_can_never_land_is_not_retried() -> None:
    with pytest.raises(WriteFailed):
        attempts(9.0, Clock()).pause(Failed(grpc.StatusCode.FAILED_PRECONDITION, "too old", [WRITE_FAILURE]))
    lost = Failed(grpc.StatusCode.ABORTED, "another leader took the slot", [WRITE_FAILURE])
    assert attempts(9.0, Clock()).pause(lost) > 0


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def attempts(timeout: float, clock: Clock, **policy: float) -> Attempts:
    return Attempts(RetryPolicy(**policy), timeout, clock=clock, uniform=lambda low, high: high)  # type: ignore[arg-type]


def test_waits_grow_to_a_limit_and_are_shortened_at_random() -> None:
    down = Failed(grpc.StatusCode.UNAVAILABLE, "down")
    trying = attempts(100, Clock(), attempts=6, first=0.1, factor=2, longest=0.5)
    assert [trying.pause(down) for _ in range(5)] == pytest.approx([0.1, 0.2, 0.4, 0.5, 0.5])
    shortest = Attempts(RetryPolicy(first=0.1), 100, clock=Clock(), uniform=lambda low, high: low)
    assert shortest.pause(down) == pytest.approx(0.05)


def test_no_wait_goes_past_the_deadline() -> None:
    clock = Clock()
    trying = attempts(1.0, clock, first=0.4)
    trying.pause(Failed(grpc.StatusCode.UNAVAILABLE, "down"))
    clock.now = 0.5
    with pytest.raises(Unavailable):
        trying.pause(Failed(grpc.StatusCode.UNAVAILABLE, "down"))


def test_when_time_runs_out_after_failures_the_failure_is_told() -> None:
    clock = Clock()
    trying = attempts(1.0, clock, first=0.1)
    trying.pause(Failed(grpc.StatusCode.UNAVAILABLE, "the store is away"))
    clock.now = 1.0
    with pytest.raises(Unavailable, match="the store is away"):
        trying.pause(SILENCE)
    late = Clock()
    silent = attempts(1.0, late)
    late.now = 1.0
    with pytest.raises(DeadlineExceeded):
        silent.pause(SILENCE)


def test_a_node_that_hangs_leaves_time_to_ask_another() -> None:
    clock = Clock()
    trying = attempts(30.0, clock)
    assert trying.share() == pytest.approx(10.0)
    clock.now = 10.0
    assert trying.pause(SILENCE) == 0.0
    clock.now = 29.5
    assert trying.share() == pytest.approx(0.5)


def test_nodes_that_hang_one_after_the_other_end_the_call() -> None:
    trying = attempts(30.0, Clock(), attempts=3)
    assert [trying.pause(SILENCE) for _ in range(2)] == [0.0, 0.0]
    with pytest.raises(DeadlineExceeded):
        trying.pause(SILENCE)


def test_a_half_landed_write_is_remembered_by_the_session() -> None:
    session = Session()
    call: Call[None] = Call("Upsert", (), lambda replies: None, "things", session, "id-1")
    failure = Failed(grpc.StatusCode.UNAVAILABLE, "half a write", [WRITE_FAILURE])
    with pytest.raises(WriteFailed):
        call.judged(failure, attempts(1.0, Clock(), attempts=1), pb.UpsertRequest())
    assert (session.token("things").uid, dict(session.token("things").positions)) == ("u", {0: 7})


@pytest.mark.parametrize("method", ["Upsert", "Delete"])
def test_every_key_of_a_failed_part_is_named_though_the_server_listed_some(method: str) -> None:
    keys = [f"key-{number}" for number in range(5000)]
    failed = [key for key in keys if shard_of(key, 4) == 2]
    detail = pb.WriteFailure(
        parts=[pb.WriteFailure.Part(shard=2, outcome=pb.WriteFailure.FAILED, keys=pb.Keys(strings=failed[:3]))],
        shards=4,
    )
    message = pb.Keys(strings=keys)
    request = pb.UpsertRequest(rows=pb.Rows(keys=message)) if method == "Upsert" else pb.DeleteRequest(keys=message)
    call: Call[None] = Call(method, (), lambda replies: None)
    failure = Failed(grpc.StatusCode.UNAVAILABLE, "half a write", [detail])
    with pytest.raises(WriteFailed) as told:
        call.judged(failure, attempts(1.0, Clock(), attempts=1), request)
    assert list(told.value.parts[0].keys) == failed


def full(seconds: float, code: grpc.StatusCode = grpc.StatusCode.RESOURCE_EXHAUSTED, *more: Any) -> Failed:
    delay = Duration()
    delay.FromMilliseconds(round(1000 * seconds))
    return Failed(code, "memory is full", [*more, error_details_pb2.RetryInfo(retry_delay=delay)])


@pytest.mark.parametrize("code", [grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE])
def test_a_server_without_room_is_asked_again_when_it_said_and_as_long_as_there_is_time(code: grpc.StatusCode) -> None:
    clock = Clock()
    trying = attempts(60, clock, attempts=2)
    for _ in range(10):
        assert trying.pause(full(3, code)) == pytest.approx(4.5)
    clock.now += 56
    with pytest.raises((ResourceExhausted, Unavailable), match="memory is full") as told:
        trying.pause(full(3, code))
    assert told.value.retry_after == 3


def test_clients_that_were_sent_away_together_do_not_come_back_before_they_were_told() -> None:
    earliest = Attempts(RetryPolicy(), 100, clock=Clock(), uniform=lambda low, high: low)
    assert earliest.pause(full(3)) == 3
    assert earliest.pause(full(0)) > 0


def test_too_much_for_the_server_is_not_tried_again_unless_it_says_when() -> None:
    with pytest.raises(ResourceExhausted, match="larger than max"):
        attempts(60, Clock()).pause(Failed(grpc.StatusCode.RESOURCE_EXHAUSTED, "message larger than max"))


def test_a_write_that_found_no_room_until_the_end_names_its_keys_and_what_was_full() -> None:
    trying = attempts(2, Clock())
    with pytest.raises(WriteFailed, match="memory is full") as told:
        trying.pause(full(5, grpc.StatusCode.RESOURCE_EXHAUSTED, WRITE_FAILURE), "request")
    assert (told.value.retry_after, told.value.request_id) == (5, "request")
    assert [part.shard for part in told.value.parts] == [2, 3]


def test_time_that_runs_out_while_the_server_is_full_says_that_it_was_full() -> None:
    trying = attempts(60, Clock(), attempts=1)
    trying.pause(full(3))
    with pytest.raises(ResourceExhausted, match="memory is full"):
        trying.pause(SILENCE)
