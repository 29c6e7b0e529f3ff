"""What the other nodes say of themselves, asked once a second: for routing, `Describe` and nothing that decides safety.

A node whose last answer is missing counts as unreachable; a failed call of ours makes it so at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from vectorfleet.v1 import peer_pb2
from vectorfleet_node.api.errors import ApiError, UnreachableError
from vectorfleet_node.api.peers import PeerCaller
from vectorfleet_node.shard.port import ShardError
from vectorfleet_node.storage.store import StorageError

_EVERY_SECONDS = 1.0
_TIMEOUT_SECONDS = 1.0
Addresses = Callable[[], dict[str, str]]


class PeerWatch:
    """The newest report of every other node."""

    def __init__(self, own_name: str, peers: PeerCaller, addresses: Addresses) -> None:
        self._own_name = own_name
        self._peers = peers
        self._addresses = addresses
        self._reports: dict[str, peer_pb2.NodeReport] = {}
        self._silent: set[str] = set()

    def report(self, node: str) -> peer_pb2.NodeReport | None:
        """The node's newest report; None before the first and while it does not answer."""
        return None if node in self._silent else self._reports.get(node)

    def reports(self) -> list[peer_pb2.NodeReport]:
        """The newest report of every node that ever sent one."""
        return list(self._reports.values())

    def silent(self, node: str) -> bool:
        """Whether the node failed to answer the last time it was asked something."""
        return node in self._silent

    def failed(self, node: str) -> None:
        """A call to the node got no answer: it is silent until its next report."""
        self._silent.add(node)

    def shard(self, node: str, collection: str, shard: int) -> peer_pb2.ShardReport | None:
        """What the node last said of one of its shards."""
        report = self.report(node)
        for found in report.collections if report else ():
            if found.name == collection:
                return next((entry for entry in found.shards if entry.id == shard), None)
        return None

    async def ask(self) -> None:
        """Asks every other node once."""
        others = {name: address for name, address in self._addresses().items() if name != self._own_name}
        for gone in set(self._reports) - set(others):
            del self._reports[gone]
        await asyncio.gather(*(self._ask(name, address) for name, address in others.items()))

    async def _ask(self, name: str, address: str) -> None:
        try:
            report = await self._peers.call(
                address, "Report", peer_pb2.ReportRequest(), peer_pb2.NodeReport, _TIMEOUT_SECONDS
            )
        except (UnreachableError, ApiError, ShardError, StorageError):
            self._silent.add(name)
        else:
            self._reports[name] = report
            self._silent.discard(name)

    async def run(self) -> None:
        """Asks for ever."""
        while True:
            await self.ask()
            await asyncio.sleep(_EVERY_SECONDS)
