"""Calls to the nodes of a fleet: reports, topologies, claims. All carry the fleet's secret.

Used by `observe` and `act`. Nothing here fails because of a node: one that does not answer in time is one that is not
there, and the planner has to live with that anyway.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

import grpc
import structlog

from vectorfleet.topology import Topology
from vectorfleet.v1 import peer_pb2, peer_pb2_grpc
from vectorfleet_operator.model.observed import IndexReport, NodeReport, ShardReport, StorageState

REPORT_SECONDS = 2.0
PUSH_SECONDS = 5.0
RELEASE_SECONDS = 10.0
STATES = {
    peer_pb2.STORAGE_STARTING: StorageState.STARTING,
    peer_pb2.STORAGE_OK: StorageState.OK,
    peer_pb2.STORAGE_UNREACHABLE: StorageState.UNREACHABLE,
    peer_pb2.STORAGE_CREDENTIALS_MISSING: StorageState.CREDENTIALS_MISSING,
    peer_pb2.STORAGE_CREDENTIALS_REFUSED: StorageState.CREDENTIALS_REFUSED,
    peer_pb2.STORAGE_NOT_FOUND: StorageState.NOT_FOUND,
    peer_pb2.STORAGE_UNSAFE: StorageState.UNSAFE,
    peer_pb2.STORAGE_CLAIMED: StorageState.CLAIMED,
    peer_pb2.STORAGE_SCHEMA_MISMATCH: StorageState.SCHEMA_MISMATCH,
    peer_pb2.STORAGE_DELETED: StorageState.DELETED,
    peer_pb2.STORAGE_DATA_LOSS: StorageState.DATA_LOSS,
}

Answer = TypeVar("Answer")
log = structlog.get_logger()


class Peers:
    """The nodes of any fleet; `secret` is the first line of the fleet's Secret."""

    async def reports(self, addresses: Mapping[str, str], secret: str, collection: str) -> dict[str, NodeReport]:
        """What the nodes at `addresses` (by name) say of `collection`; those that do not answer are left out."""

        async def ask(stub: peer_pb2_grpc.PeerStub, metadata: tuple[tuple[str, str], ...]) -> peer_pb2.NodeReport:
            answer: peer_pb2.NodeReport = await stub.Report(
                peer_pb2.ReportRequest(), metadata=metadata, timeout=REPORT_SECONDS
            )
            return answer

        answers = await self._all("Report", tuple(addresses.values()), secret, ask)
        found = {}
        for name, address in addresses.items():
            answer = answers.get(address)
            if answer is not None and answer.node == name:
                found[name] = report_from(answer, collection)
        return found

    async def put_topology(self, addresses: tuple[str, ...], secret: str, topology: Topology) -> None:
        """Pushes `topology`; a node that has a newer one refuses."""
        request = peer_pb2.PutTopologyRequest(topology=topology.model_dump_json().encode())

        async def put(stub: peer_pb2_grpc.PeerStub, metadata: tuple[tuple[str, str], ...]) -> None:
            await stub.PutTopology(request, metadata=metadata, timeout=PUSH_SECONDS)

        await self._all("PutTopology", addresses, secret, put)

    async def release_claim(self, addresses: tuple[str, ...], secret: str, collection: str) -> bool:
        """Whether any node gave the claim back. All are asked, so that none renews it."""
        request = peer_pb2.ReleaseClaimRequest(collection=collection)

        async def release(stub: peer_pb2_grpc.PeerStub, metadata: tuple[tuple[str, str], ...]) -> bool:
            answer = await stub.ReleaseClaim(request, metadata=metadata, timeout=RELEASE_SECONDS)
            return bool(answer.released)

        return any((await self._all("ReleaseClaim", addresses, secret, release)).values())

    async def _all(
        self,
        call: str,
        addresses: tuple[str, ...],
        secret: str,
        ask: Callable[[peer_pb2_grpc.PeerStub, tuple[tuple[str, str], ...]], Awaitable[Answer]],
    ) -> dict[str, Answer]:
        """The answers by address, asked for in parallel."""
        metadata = (("authorization", f"Bearer {secret}"),)

        async def one(address: str) -> tuple[str, Answer] | None:
            async with grpc.aio.insecure_channel(address) as channel:
                stub = peer_pb2_grpc.PeerStub(channel)  # type: ignore[no-untyped-call]  # generated without types
                try:
                    return address, await ask(stub, metadata)
                except grpc.aio.AioRpcError as error:
                    log.info("node did not answer", call=call, address=address, code=error.code().name)
                    return None

        answers = await asyncio.gather(*(one(address) for address in addresses))
        return dict(answer for answer in answers if answer is not None)


def report_from(answer: peer_pb2.NodeReport, collection: str) -> NodeReport:
    """A node's answer, as far as it is about `collection`."""
    order = (answer.topology_fence, answer.topology_version)
    for found in answer.collections:
        if found.name == collection:
            return NodeReport(
                node=answer.node,
                topology=order,
                storage=STATES.get(found.storage, StorageState.STARTING),
                message=found.message,
                uid=found.uid,
                claim_holder=found.claim_holder,
                shards=tuple(
                    ShardReport(
                        id=shard.id,
                        ready=shard.ready,
                        leader=shard.leader,
                        position=shard.position,
                        rows=shard.rows,
                        index_details=tuple(
                            IndexReport(each.vector, each.kind, each.reason) for each in shard.index_details
                        ),
                    )
                    for shard in found.shards
                ),
            )
    return NodeReport(node=answer.node, topology=order)
