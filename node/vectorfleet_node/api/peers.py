"""Calls to the other nodes: one channel per address, the fleet's secret and the request's id with each call.

A failed call raises what the peer meant (`errors.from_rpc`); `UnreachableError` when it did not answer.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import contextmanager, suppress
from typing import Any, Protocol, TypeVar, cast

import grpc
from google.protobuf.message import Message

from vectorfleet.status import Ending
from vectorfleet.v1 import peer_pb2_grpc
from vectorfleet_node import logs
from vectorfleet_node.api import errors
from vectorfleet_node.api.auth import PeerSecret

MAX_MESSAGE_BYTES = 512 * 1024 * 1024
SERVER_OPTIONS = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.keepalive_permit_without_calls", 1),
    # Clients ping each 10 s; without this the server takes that for an attack and closes the connection.
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    # Two servers must never share a port unseen.
    ("grpc.so_reuseport", 0),
)
CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    # A pod comes back under another address, and gRPC asks DNS at most each 30 s by default.
    ("grpc.dns_min_time_between_resolutions_ms", 1_000),
    # A pod that comes back has to be found at once: the default back-off grows to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 1_000),
)
M = TypeVar("M", bound=Message)


class PeerCaller(Protocol):
    """What the rest of the API layer needs of the network."""

    async def call(self, address: str, method: str, request: Message, answer: type[M], timeout: float) -> M:
        """The answer of the Peer service at `address`; UnreachableError when there is none within `timeout` seconds."""

    async def stream(
        self, address: str, method: str, requests: AsyncIterator[Message], answer: type[M], timeout: float
    ) -> M:
        """As `call`, for a method that takes a stream. What `requests` raises ends the call and is passed on.

        `requests` is asked for the next message when the peer has taken the last, and no more once the peer answered.
        """


class Peers:
    """Channels to the other nodes of a fleet."""

    def __init__(self, secret: PeerSecret) -> None:
        self._secret = secret
        self._channels: dict[str, tuple[grpc.aio.Channel, Any]] = {}
        self.in_flight: Counter[str] = Counter()

    def _stub(self, address: str) -> Any:
        known = self._channels.get(address)
        if known is None:
            channel = grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS)
            stub = peer_pb2_grpc.PeerStub(channel)  # type: ignore[no-untyped-call]  # generated
            known = self._channels[address] = (channel, stub)
        return known[1]

    @contextmanager
    def _counted(self, address: str) -> Any:
        self.in_flight[address] += 1
        try:
            yield
        finally:
            self.in_flight[address] -= 1
            if not self.in_flight[address]:
                del self.in_flight[address]  # addresses come and go

    async def call(self, address: str, method: str, request: Message, answer: type[M], timeout: float) -> M:
        """See PeerCaller."""
        call: Callable[..., Any] = getattr(self._stub(address), method)
        with self._counted(address):
            try:
                return cast(M, await call(request, timeout=max(timeout, 0.001), metadata=self._metadata()))
            except grpc.aio.AioRpcError as error:
                raise errors.from_rpc(error, address) from None

    async def stream(
        self, address: str, method: str, requests: AsyncIterator[Message], answer: type[M], timeout: float
    ) -> M:
        """See PeerCaller."""
        with self._counted(address):
            call = getattr(self._stub(address), method)(timeout=max(timeout, 0.001), metadata=self._metadata())
            ending = Ending(call)
            try:
                # Not as an iterator: gRPC would turn what it raises into a cancelled call.
                with suppress(asyncio.InvalidStateError, grpc.aio.AioRpcError):  # the peer has answered
                    async for request in requests:
                        await call.write(request)
                    await call.done_writing()
                return cast(M, await call)
            except grpc.aio.AioRpcError as error:
                raise errors.from_rpc(await ending.of(error), address) from None
            finally:
                call.cancel()

    def _metadata(self) -> list[tuple[str, str]]:
        metadata = [("x-request-id", logs.request_id.get())] if logs.request_id.get() else []
        if header := self._secret.header():
            metadata.append(("authorization", header))
        return metadata

    async def forget(self, addresses: set[str]) -> None:
        """Closes the channels to all addresses but these."""
        for address in set(self._channels) - addresses:
            channel, _ = self._channels.pop(address)
            await channel.close()

    async def close(self) -> None:
        """Closes all channels."""
        await self.forget(set())
