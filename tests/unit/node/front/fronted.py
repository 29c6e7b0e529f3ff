"""A front process' gate and the node's side of it in one event loop, with a service that does as it is told."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import grpc
from google.protobuf.wrappers_pb2 import StringValue
from grpc_status import rpc_status

from vectorfleet_node.api import errors
from vectorfleet_node.front.dispatch import Calls, Dispatcher
from vectorfleet_node.front.frames import Kind
from vectorfleet_node.front.gate import Gate
from vectorfleet_node.front.link import Link, connect
from vectorfleet_node.front.methods import Methods


async def until(check: Callable[[], object], what: str, seconds: float = 30) -> None:
    """Returns when the check is true."""
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        await asyncio.sleep(0.001)


@dataclass
class Service:
    """Four methods, one of each kind; what they saw is kept."""

    seen: list[Any] = field(default_factory=list)
    running: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    written: int = 0
    width: int = 0

    async def one(self, request: StringValue, context: Any) -> StringValue:
        self.seen.append((request.value, context.time_remaining(), dict(context.invocation_metadata())))
        match request.value:
            case "wait":
                self.running.set()
                try:
                    await self.go_on.wait()
                except asyncio.CancelledError:
                    self.cancelled.set()
                    raise
            case "invalid":
                status = errors.status_of(errors.invalid("k", "is 0; hier fehlt etwas, überall"))
                await context.abort_with_status(rpc_status.to_status(status))
            case "abort":
                await context.abort(grpc.StatusCode.NOT_FOUND, "no such thing", (("why-bin", b"\x00\xff"),))
            case "bug":
                raise RuntimeError("a mistake")
            case "cancels itself":
                raise asyncio.CancelledError
        return StringValue(value=request.value.upper())

    async def gather(self, requests: AsyncIterator[StringValue], context: Any) -> StringValue:
        async for request in requests:
            self.seen.append(request.value)
            if request.value == "enough":
                break
            if request.value == "wait":
                self.running.set()
                await self.go_on.wait()
        return StringValue(value=" ".join(self.seen))

    async def count(self, request: StringValue, context: Any) -> AsyncIterator[StringValue]:
        try:
            for number in range(int(request.value)):
                self.written = number
                yield StringValue(value=str(number).zfill(self.width))
        finally:
            self.cancelled.set()
        if request.value == "13":
            await context.abort(grpc.StatusCode.OUT_OF_RANGE, "unlucky")

    async def echo(self, requests: AsyncIterator[StringValue], context: Any) -> None:
        async for request in requests:
            await context.write(request)

    def register(self, server: Any) -> None:
        types = {"request_deserializer": StringValue.FromString, "response_serializer": StringValue.SerializeToString}
        handlers = {
            "One": grpc.unary_unary_rpc_method_handler(self.one, **types),
            "Gather": grpc.stream_unary_rpc_method_handler(self.gather, **types),
            "Count": grpc.unary_stream_rpc_method_handler(self.count, **types),
            "Echo": grpc.stream_stream_rpc_method_handler(self.echo, **types),
        }
        server.add_registered_method_handlers("test.Service", handlers)


@dataclass
class Fronted:
    """The service, a client whose calls go through a gate, both ends of the link, and the gate's exit codes."""

    service: Service
    channel: grpc.aio.Channel
    link: Link[Calls]
    gate: Link[Gate]
    dispatcher: Dispatcher
    left: list[int]

    def call(self, kind: str, name: str) -> Any:
        types = {"request_serializer": StringValue.SerializeToString, "response_deserializer": StringValue.FromString}
        return getattr(self.channel, kind)(f"/test.Service/{name}", **types)

    async def one(self, value: str, **options: Any) -> str:
        answer: StringValue = await self.call("unary_unary", "One")(StringValue(value=value), **options)
        return answer.value


@asynccontextmanager
async def fronted(most_calls: int = 100) -> AsyncIterator[Fronted]:
    """A running pair."""
    service, left = Service(), list[int]()
    methods = Methods()
    service.register(methods)
    dispatcher = Dispatcher(methods, most_calls)
    ours, theirs = socket.socketpair()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    gate = await connect(theirs, lambda link: Gate(link, left.append))
    link = await connect(ours, partial(Calls, dispatcher))
    options = [("grpc.max_receive_message_length", 1 << 28), ("grpc.max_send_message_length", 1 << 28)]
    hello = {"address": address, "methods": methods.table(), "options": dict(options), "most_calls": 1000}
    link.send(Kind.HELLO, 0, json.dumps(hello).encode())
    assert await link.end.listening == ""
    try:
        async with grpc.aio.insecure_channel(address, options=options) as channel:
            yield Fronted(service, channel, link, gate, dispatcher, left)
    finally:
        gate.end.frame(Kind.STOP, 0, memoryview(bytes(8)))
        await gate.end.done.wait()
        gate.close()
        await link.end.finished()
    assert dispatcher.running == 0
