"""Small pieces of the API layer: topologies, secrets, rows as protobuf, and statuses both ways."""

from __future__ import annotations

from pathlib import Path

import grpc
import numpy as np
import pyarrow as pa
import pytest
from fake_fleet import SCHEMA, collection
from google.rpc import status_pb2

from vectorfleet.schema import KeyType
from vectorfleet.topology import Topology
from vectorfleet.v1 import vectorfleet_pb2 as pb
from vectorfleet_node.api import errors, rows
from vectorfleet_node.api.auth import PeerSecret
from vectorfleet_node.api.errors import ApiError
from vectorfleet_node.api.http import HttpServer
from vectorfleet_node.api.topology import TopologyHolder
from vectorfleet_node.metrics import Metrics
from vectorfleet_node.query.model import Rows
from vectorfleet_node.shard import port
from vectorfleet_node.shard.budget import CacheBudget
from vectorfleet_node.storage import store

ONE = Topology(fence=1, version=5, collections=(collection({0: ("n0",)}),))


def test_a_topology_is_replaced_by_a_newer_one_and_never_by_an_older() -> None:
    seen: list[Topology] = []
    holder = TopologyHolder(seen.append)
    assert holder.offer(ONE)
    assert holder.offer(ONE)
    newer = ONE.model_copy(update={"fence": 2, "version": 1})
    assert holder.offer(newer)
    assert not holder.offer(ONE)
    assert holder.current == newer
    assert seen == [ONE, newer]
    with pytest.raises(ApiError, match="older"):
        holder.push(ONE.model_dump_json().encode())
    with pytest.raises(ApiError, match="not a topology"):
        holder.push(b"{}x")


def test_a_refreshed_topology_file_is_picked_up_and_a_broken_one_changes_nothing(tmp_path: Path) -> None:
    holder = TopologyHolder(lambda _: None)
    file = tmp_path / "topology.json"
    holder.read(file)
    assert str(file) in holder.problem
    file.write_text(ONE.model_dump_json())
    holder.read(file)
    assert holder.current == ONE
    file.write_text("{")
    holder.read(file)
    assert holder.current == ONE
    newer = ONE.model_copy(update={"version": 6})
    file.write_text(newer.model_dump_json())
    holder.read(file)
    assert holder.current == newer


def test_each_line_of_the_secret_is_valid_and_the_first_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("vectorfleet_node.api.auth.time.monotonic", lambda: now[0])
    file = tmp_path / "secret"
    secret = PeerSecret(file)
    assert secret.header() == ""
    assert not secret.accepts("Bearer ")
    file.write_text("new\nold\n")
    now[0] += 2
    assert secret.header() == "Bearer new"
    assert [secret.accepts(f"Bearer {word}") for word in ("new", "old", "other", "")] == [True, True, False, False]
    assert not secret.accepts("new")
    file.write_text("newest\n")
    now[0] += 2
    assert secret.header() == "Bearer newest"
    assert not secret.accepts("Bearer old")


def found(keys: list[str], years: list[int | None]) -> Rows:
    vectors = np.arange(len(keys) * 2, dtype=np.float32).reshape(-1, 2)
    return Rows(keys, pa.table({"year": pa.array(years, pa.int64())}), {"default": vectors})


def test_rows_keep_their_columns_together_when_joined_and_taken() -> None:
    first = rows.rows_message(found(["a", "b"], [1, 2]), SCHEMA)
    second = rows.rows_message(found(["c"], [None]), SCHEMA)
    joined = rows.concatenate([first, pb.Rows(), second])
    assert list(joined.fields[0].valid) == [True, True, False]
    taken = rows.take(joined, [2, 0])
    assert list(taken.keys.strings) == ["c", "a"]
    assert list(taken.fields[0].valid) == [False, True]
    assert taken.fields[0].ints.values[1] == 1
    assert np.frombuffer(taken.vectors[0].data, "<f4").tolist() == [0, 1, 0, 1]


def test_hits_of_several_nodes_merge_by_score_and_then_by_key() -> None:
    parts = [
        pb.Hits(rows=pb.Rows(keys=rows.keys_message(["d", "b"], KeyType.STRING)), scores=[0.9, 0.5]),
        pb.Hits(),
        pb.Hits(rows=pb.Rows(keys=rows.keys_message(["c", "a"], KeyType.STRING)), scores=[0.9, 0.1]),
    ]
    merged = rows.merge_hits(parts, 3)
    assert list(merged.rows.keys.strings) == ["c", "d", "b"]
    assert list(merged.scores) == pytest.approx([0.9, 0.9, 0.5])


class FailedCall(grpc.aio.AioRpcError):
    """A call that failed with a status."""

    def __init__(self, status: status_pb2.Status) -> None:
        trailing = grpc.aio.Metadata(("grpc-status-details-bin", status.SerializeToString()))
        super().__init__(errors.code_of(status), grpc.aio.Metadata(), trailing, details=status.message)


@pytest.mark.parametrize(
    "error",
    [
        port.NotLeader("owner", "n1:7301"),
        port.NotApplied("a"),
        port.InDoubt("b"),
        port.TooOld("c"),
        port.NotReady("d"),
        store.StoreUnavailable("e"),
        store.StoreFull("f"),
        store.DataLoss("g"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_a_peer_raised_is_raised_here(error: Exception) -> None:
    status = errors.status_of(error)
    assert status is not None
    again = errors.from_rpc(FailedCall(status), "n1:7301")
    assert type(again) is type(error)
    assert str(again) == str(error)
    if isinstance(again, port.NotLeader):
        assert (again.owner, again.address) == ("owner", "n1:7301")


def test_a_call_without_an_answer_is_not_taken_for_a_refusal() -> None:
    broken = FailedCall(status_pb2.Status(code=grpc.StatusCode.UNAVAILABLE.value[0], message="connection refused"))
    assert isinstance(errors.from_rpc(broken, "n1:7301"), errors.UnreachableError)


def test_the_http_end_points_tell_what_the_node_waits_for() -> None:
    waiting = ["things: shard 1: loading"]
    server = HttpServer(Metrics(lambda: (), CacheBudget()), lambda: waiting)
    assert server.answer("GET", "/healthz")[0] == 200
    assert server.answer("GET", "/readyz") == (503, "text/plain; charset=utf-8", b"things: shard 1: loading\n")
    waiting.clear()
    assert server.answer("GET", "/readyz")[0] == 200
    assert server.answer("GET", "/other")[0] == 404
    assert server.answer("POST", "/metrics")[0] == 405
