"""Runs the calls that front processes pass on, in the node's process. `fronts` makes one `Calls` for each of them.

gRPC's server would do the same: find the handler, parse, run it in a task, cancel it when the caller goes away, turn
what it raises into a status. Whatever happens, a call gets an answer: without one its caller would wait for ever.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import grpc

from vectorfleet_node import logs
from vectorfleet_node.front.frames import WINDOW, BrokenFrames, Kind, Opening, Status
from vectorfleet_node.front.link import Link
from vectorfleet_node.front.methods import Aborted, Context, Details, Handler, Method, Methods

_CANCELLED = Status(grpc.StatusCode.CANCELLED.value[0], "the call was cancelled")
_NO_MESSAGE = Status(grpc.StatusCode.INTERNAL.value[0], "the request cannot be parsed")
_UNIMPLEMENTED = Status(grpc.StatusCode.UNIMPLEMENTED.value[0], "Method not found!")


class Dispatcher:
    """What all links share: the methods, and how many calls run. Those above `most` at a time are refused."""

    def __init__(self, methods: Methods, most: int) -> None:
        self.methods = methods
        self.most = most
        self.running = 0
        self.full = Status(
            grpc.StatusCode.RESOURCE_EXHAUSTED.value[0], f"{most} calls are in progress on this node, as many as may"
        )


class Calls:
    """The calls of one front process: the end of its link on this side.

    listening: done with why the process cannot listen, empty when it does.
    """

    def __init__(self, dispatcher: Dispatcher, link: Link[Any]) -> None:
        self._link = link
        self._dispatcher = dispatcher
        self._running: dict[int, _Call] = {}
        self._lost = asyncio.Event()
        self.listening: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def frame(self, kind: Kind, call: int, payload: memoryview) -> None:
        """See link.End."""
        if kind is Kind.CALL:
            self._begin(call, Opening.unpack(payload))
        elif kind is Kind.LISTENS:
            self.listening.set_result(str(payload, "utf-8"))
        elif (known := self._running.get(call)) is not None:  # else it was answered while this was under way
            known.frame(kind, payload)

    def lost(self) -> None:
        """See link.End. The callers went with their front process."""
        for call in self._running.values():
            call.task.cancel()
        if not self.listening.done():
            self.listening.set_result("it ended at once")
        self._lost.set()

    async def finished(self) -> None:
        """Returns when the link is lost and no call of it runs any more."""
        await self._lost.wait()
        if self._running:
            await asyncio.wait([call.task for call in self._running.values()])

    def _begin(self, number: int, opening: Opening) -> None:
        if self._dispatcher.running >= self._dispatcher.most:
            self._link.send(Kind.STATUS, number, self._dispatcher.full.pack())
            return
        method = self._dispatcher.methods.registered[opening.method]
        self._dispatcher.running += 1
        call = self._running[number] = _Call(self._link, number, method, opening)
        call.task.add_done_callback(lambda _: self._forget(number))

    def _forget(self, number: int) -> None:
        del self._running[number]
        self._dispatcher.running -= 1


class _Call:
    """One call; its task ends with the answer sent."""

    def __init__(self, link: Link[Any], number: int, method: Method, opening: Opening) -> None:
        self._link = link
        self._number = number
        self._method = method
        self._opening = opening
        self._serialize: Callable[[Any], bytes] = bytes
        self._requests: asyncio.Queue[bytes | None] | None = None
        self._window: asyncio.Semaphore | None = None
        if method.handler.request_streaming:
            self._requests = asyncio.Queue()
        if method.handler.response_streaming:
            self._window = asyncio.Semaphore(WINDOW)
        self.task = asyncio.create_task(self._run())

    def frame(self, kind: Kind, payload: memoryview) -> None:
        """The front process says more about this call."""
        if kind is Kind.CANCEL:
            self.task.cancel()
        elif kind is Kind.MORE and self._window is not None:
            self._window.release()
        elif kind is Kind.MESSAGE and self._requests is not None:
            self._requests.put_nowait(bytes(payload))
        elif kind is Kind.END and self._requests is not None:
            self._requests.put_nowait(None)
        else:
            raise BrokenFrames(f"{kind.name} in a call of {self._method.path}")

    async def _run(self) -> None:
        try:
            status = await self._answer()
        except asyncio.CancelledError:
            self._link.send(Kind.STATUS, self._number, _CANCELLED.pack())
            raise
        except Aborted as aborted:
            status = aborted.status
        except Exception as error:  # noqa: BLE001 - the caller gets a status whatever it is, and the log the cause
            logs.logger().error("bug", method=self._method.path, exc_info=error)
            status = Status(grpc.StatusCode.UNKNOWN.value[0], f"Unexpected {type(error).__name__}: {error}")
        if status is not None:
            self._link.send(Kind.STATUS, self._number, status.pack())

    async def _answer(self) -> Status | None:
        """Runs the handler and sends what it answers; returns the status that is still to be sent."""
        handler = await self._method.find(Details(self._method.path, self._opening.metadata))  # type: ignore[arg-type]
        if handler is None:
            return _UNIMPLEMENTED
        self._serialize = handler.response_serializer or bytes
        context = Context(self._opening, self._write)
        asked = self._stream(handler) if handler.request_streaming else _parsed(handler, self._opening.request)
        result = _behaviour(handler)(asked, context)
        if not handler.response_streaming:
            self._link.send(Kind.REPLY, self._number, self._serialize(await result))
            return None
        if inspect.isasyncgen(result):
            async with aclosing(result):  # also when the caller goes away in the middle
                async for message in result:
                    await self._write(message)
        else:
            await result  # it calls context.write
        return Status(0, "")

    async def _stream(self, handler: Handler) -> AsyncIterator[Any]:
        assert self._requests is not None
        while (message := await self._requests.get()) is not None:
            self._link.send(Kind.MORE, self._number)
            yield _parsed(handler, message)

    async def _write(self, message: Any) -> None:
        assert self._window is not None, "the method is answered with one message"
        await self._window.acquire()
        self._link.send(Kind.MESSAGE, self._number, self._serialize(message))


def _parsed(handler: Handler, message: bytes) -> Any:
    parse = handler.request_deserializer
    try:
        return parse(message) if parse else message
    except Exception:  # noqa: BLE001 - a caller's mistake, which each kind of message tells in its own way
        raise Aborted(_NO_MESSAGE) from None


def _behaviour(handler: Handler) -> Callable[[Any, Any], Any]:
    """The handler's function, whichever of the four kinds it is."""
    found = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
    assert found is not None
    return found
