"""gRPC without a client library: messages go out as the bytes they were encoded to.

Used for ours, Milvus and Weaviate.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import grpc

from benchmarks.search.loads import Refused
from benchmarks.search.peers.served import Served

CONNECTIONS: Final = 4  # that all clients share, as the processes of an application would
_OPTIONS: Final = (
    ("grpc.use_local_subchannel_pool", 1),  # else all channels would share one connection
    ("grpc.max_receive_message_length", -1),
)


class Wire:
    """Connections of one event loop to one method of a server."""

    def __init__(self, address: str, method: str, clients: int) -> None:
        count = min(clients, CONNECTIONS)
        self._channels = [grpc.aio.insecure_channel(address, options=_OPTIONS) for _ in range(count)]
        self._calls: Sequence[Any] = [channel.unary_unary(method) for channel in self._channels]

    async def send(self, request: bytes, client: int) -> bytes:
        """The answer's bytes. Refused with the status code when the server says no."""
        try:
            answer: bytes = await self._calls[client % len(self._calls)](request)
        except grpc.aio.AioRpcError as error:
            raise Refused(error.code().name) from None
        return answer

    async def close(self) -> None:
        """Ends the connections."""
        for channel in self._channels:
            await channel.close()


class Wired(Served):
    """A peer whose server is asked by a Wire. method: its search. address: `load` tells it."""

    method: str
    address: str
    _wire: Wire | None = None

    async def connect(self, clients: int) -> None:
        """See `Peer`."""
        if self._wire is not None:
            await self._wire.close()
        self._wire = Wire(self.address, self.method, clients)

    async def send(self, request: Any, client: int) -> Any:
        """See `Peer`."""
        if self._wire is None:
            raise RuntimeError("connect first")
        return await self._wire.send(request, client)

    async def close(self) -> None:
        """See `Peer`."""
        if self._wire is not None:
            await self._wire.close()
        self.stop()
