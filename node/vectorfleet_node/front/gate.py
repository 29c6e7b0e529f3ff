"""What a front process does: gRPC outside, frames to the node's process inside; no message is ever parsed here.

`__main__` runs one. It must import gRPC and little else: there is one of it for several CPUs. It ends at once when the
link to the node's process is lost, and only then: signals that reach the whole process group are the node's to act on.
"""

from __future__ import annotations

import asyncio
import json
import os
import struct
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any, Final, NamedTuple

import grpc

from vectorfleet_node.front.frames import CALLS, WINDOW, BrokenFrames, Kind, Status, pack_opening
from vectorfleet_node.front.link import Link

NO_DEADLINE: Final = float("inf")
_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}
Context = Any  # grpc.aio.ServicerContext; its type parameters say nothing here
Answer = bytes | Status


class Method(NamedTuple):
    """A method as the table of HELLO has it."""

    path: str
    requests: bool  # whether the caller sends a stream
    responses: bool  # whether it is answered with one


class Call:
    """A call under way, as the front process sees it."""

    __slots__ = ("answer",)

    def __init__(self) -> None:
        self.answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

    def finish(self, answer: Answer) -> None:
        """Its answer, or its end, arrived."""
        if not self.answer.done():
            self.answer.set_result(answer)


class Stream(Call):
    """A call of which at least one side is a stream."""

    __slots__ = ("messages", "window")

    def __init__(self) -> None:
        super().__init__()
        self.messages: asyncio.Queue[bytes | None] = asyncio.Queue()  # of the answer; None: its end
        self.window = asyncio.Semaphore(WINDOW)

    def finish(self, answer: Answer) -> None:
        """See Call."""
        super().finish(answer)
        self.messages.put_nowait(None)


class Gate(grpc.GenericRpcHandler):
    """Serves the methods of HELLO and passes their calls on. leave: ends this process at once, with an exit code.

    done: set when it was told to stop and has.
    """

    def __init__(self, link: Link[Any], leave: Callable[[int], object] = os._exit) -> None:
        self._link = link
        self._leave = leave
        self._calls: dict[int, Call] = {}
        self._next = 0
        self._server: grpc.aio.Server | None = None
        self._handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}
        self._task: asyncio.Task[None] | None = None
        self.done = asyncio.Event()

    # -- the link ----------------------------------------------------------------------------------------------------

    def frame(self, kind: Kind, call: int, payload: memoryview) -> None:
        """See link.End."""
        if kind is Kind.HELLO:
            self._task = asyncio.create_task(self._listen(json.loads(bytes(payload))))
        elif kind is Kind.STOP:
            self._task = asyncio.create_task(self._stop(*struct.unpack("<d", payload)))
        elif (known := self._calls.get(call)) is None:
            return  # its caller went away while this was under way
        elif kind is Kind.REPLY:
            known.finish(bytes(payload))
        elif kind is Kind.STATUS:
            known.finish(Status.unpack(payload))
        elif not isinstance(known, Stream):
            raise BrokenFrames(f"{kind.name} in a call without streams")
        elif kind is Kind.MESSAGE:
            known.messages.put_nowait(bytes(payload))
        elif kind is Kind.MORE:
            known.window.release()

    def lost(self) -> None:
        """See link.End. The node's process is gone: nothing may be answered any more, and the port must be closed."""
        self._leave(0 if self.done.is_set() else 1)

    async def _listen(self, hello: dict[str, Any]) -> None:
        for number, described in enumerate(hello["methods"]):
            method = Method(*described)
            self._handlers[method.path] = self._handler(number, method)
        options = list(hello["options"].items())
        self._server = grpc.aio.server(handlers=(self,), options=options, maximum_concurrent_rpcs=hello["most_calls"])
        problem = ""
        try:
            self._server.add_insecure_port(hello["address"])
            await self._server.start()
        except RuntimeError as error:
            problem = str(error)
        self._link.send(Kind.LISTENS, 0, problem.encode())

    async def _stop(self, seconds: float) -> None:
        if self._server is not None:
            await self._server.stop(seconds)
        self.done.set()

    # -- gRPC --------------------------------------------------------------------------------------------------------

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        """See grpc.GenericRpcHandler."""
        return self._handlers.get(details.method)

    def _handler(self, number: int, method: Method) -> grpc.RpcMethodHandler[Any, Any]:
        # Without (de)serializers gRPC gives and takes bytes.
        streamed = partial(self._streamed, number, method)
        if method.requests and method.responses:
            return grpc.stream_stream_rpc_method_handler(streamed)
        if method.requests:
            return grpc.stream_unary_rpc_method_handler(streamed)
        if method.responses:
            return grpc.unary_stream_rpc_method_handler(streamed)
        return grpc.unary_unary_rpc_method_handler(partial(self._unary, number))

    async def _unary(self, number: int, request: bytes, context: Context) -> bytes:
        known = Call()
        call = self._begin(number, context, known, request)
        try:
            return await _answered(await known.answer, context)
        finally:
            self._end(call, known)

    async def _streamed(self, number: int, method: Method, incoming: Any, context: Context) -> bytes:
        """`incoming`: the request, or an iterator of requests where the caller sends a stream."""
        known = Stream()
        call = self._begin(number, context, known, b"" if method.requests else incoming)
        sending = asyncio.create_task(self._send(call, known, incoming)) if method.requests else None
        try:
            while method.responses and (message := await known.messages.get()) is not None:
                await context.write(message)
                self._link.send(Kind.MORE, call)
            return await _answered(await known.answer, context)
        finally:
            if sending is not None:
                sending.cancel()
                # It fails when the caller goes away, which this call learns by itself.
                sending.add_done_callback(lambda task: task.cancelled() or task.exception())
            self._end(call, known)

    def _begin(self, method: int, context: Context, known: Call, request: bytes) -> int:
        while (call := self._next) in self._calls:  # the numbers have come round, and a long call still has this one
            self._next = (self._next + 1) % CALLS
        self._next = (call + 1) % CALLS
        self._calls[call] = known
        remaining = context.time_remaining()
        seconds = NO_DEADLINE if remaining is None else float(remaining)
        self._link.send(Kind.CALL, call, pack_opening(method, seconds, context.invocation_metadata() or ()), request)
        return call

    def _end(self, call: int, known: Call) -> None:
        del self._calls[call]
        if not known.answer.done() or known.answer.cancelled():
            self._link.send(Kind.CANCEL, call)

    async def _send(self, call: int, known: Stream, requests: AsyncIterator[bytes]) -> None:
        async for message in requests:
            await known.window.acquire()
            self._link.send(Kind.MESSAGE, call, message)
        self._link.send(Kind.END, call)


async def _answered(answer: Answer, context: Context) -> bytes:
    """The message of an answer that is one; any other status ends the call here."""
    if isinstance(answer, bytes):
        return answer
    if answer.code:
        await context.abort(_CODES[answer.code], answer.details, tuple(answer.metadata))
    return b""
