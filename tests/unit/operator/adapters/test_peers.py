"""Calls to nodes, answered by real gRPC servers on the loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc
import pytest

from vectorfleet.topology import Topology
from vectorfleet.v1 import peer_pb2, peer_pb2_grpc
from vectorfleet.v1 import vectorfleet_pb2 as pb
from vectorfleet_operator.adapters.peers import STATES, Peers, report_from
from vectorfleet_operator.model.observed import IndexReport, StorageState


class Node(peer_pb2_grpc.PeerServicer):
    """Answers to `good` only."""

    def __init__(self) -> None:
        self.name = "x-0"
        self.topologies: list[Topology] = []
        self.refuses = False

    async def _authenticate(self, context: grpc.aio.ServicerContext) -> None:
        if ("authorization", "Bearer good") not in (context.invocation_metadata() or ()):
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "no")

    async def Report(self, request: peer_pb2.ReportRequest, context: grpc.aio.ServicerContext) -> peer_pb2.NodeReport:
        await self._authenticate(context)
        details = [pb.IndexInfo(vector="v", kind="HNSW", reason="many rows", segments=2, rows=5)]
        shard = peer_pb2.ShardReport(id=3, ready=True, leader=True, position=9, rows=5, index_details=details)
        found = peer_pb2.CollectionReport(name="x", uid="u", storage=peer_pb2.STORAGE_OK, shards=[shard])
        return peer_pb2.NodeReport(node=self.name, topology_fence=1, topology_version=2, collections=[found])

    async def PutTopology(
        self, request: peer_pb2.PutTopologyRequest, context: grpc.aio.ServicerContext
    ) -> peer_pb2.PutTopologyResponse:
        await self._authenticate(context)
        if self.refuses:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "mine is newer")
        self.topologies.append(Topology.model_validate_json(request.topology))
        return peer_pb2.PutTopologyResponse()

    async def ReleaseClaim(
        self, request: peer_pb2.ReleaseClaimRequest, context: grpc.aio.ServicerContext
    ) -> peer_pb2.ReleaseClaimResponse:
        await self._authenticate(context)
        return peer_pb2.ReleaseClaimResponse(released=request.collection == "x")


@pytest.fixture
async def node() -> AsyncIterator[tuple[Node, str]]:
    server, made = grpc.aio.server(), Node()
    peer_pb2_grpc.add_PeerServicer_to_server(made, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield made, f"127.0.0.1:{port}"
    await server.stop(None)


async def test_a_report_is_what_the_node_says_of_the_collection(node: tuple[Node, str]) -> None:
    reports = await Peers().reports({"x-0": node[1]}, "good", "x")
    report = reports["x-0"]
    assert report.topology == (1, 2)
    assert (report.storage, report.uid) == (StorageState.OK, "u")
    assert report.ready_shards() == {3}
    assert report.shards[0].rows == 5
    assert report.shards[0].index_details == (IndexReport("v", "HNSW", "many rows"),)


async def test_a_node_that_does_not_answer_or_refuses_has_no_report(node: tuple[Node, str]) -> None:
    assert await Peers().reports({"x-0": node[1], "x-1": "127.0.0.1:1"}, "good", "x") == {
        "x-0": (await Peers().reports({"x-0": node[1]}, "good", "x"))["x-0"]
    }
    assert await Peers().reports({"x-0": node[1]}, "bad", "x") == {}


async def test_a_pod_address_that_another_node_took_over_is_no_report(node: tuple[Node, str]) -> None:
    assert await Peers().reports({"x-7": node[1]}, "good", "x") == {}


async def test_a_topology_reaches_the_nodes_and_a_refusal_is_no_failure(node: tuple[Node, str]) -> None:
    topology = Topology(fence=2, version=5)
    await Peers().put_topology((node[1], "127.0.0.1:1"), "good", topology)
    assert node[0].topologies == [topology]
    node[0].refuses = True
    await Peers().put_topology((node[1],), "good", topology)


async def test_a_claim_is_released_when_any_node_says_so(node: tuple[Node, str]) -> None:
    assert await Peers().release_claim((node[1], "127.0.0.1:1"), "good", "x")
    assert not await Peers().release_claim((node[1],), "good", "y")


def test_every_state_of_the_protocol_has_a_reason() -> None:
    assert set(STATES) == set(peer_pb2.StorageState.values())
    assert set(STATES.values()) == set(StorageState)


def test_a_node_that_does_not_know_the_collection_yet_is_starting() -> None:
    report = report_from(peer_pb2.NodeReport(node="x-0", topology_version=4), "x")
    assert (report.storage, report.topology, report.shards) == (StorageState.STARTING, (0, 4), ())
