"""How a stream that asyncio's gRPC sent really ended. Used by the asynchronous client, and by nodes among each other.

The trap: where the other side ends a call while a message is on its way, gRPC says INTERNAL, "Internal error from
Core", beside what the other side said, before it or after it (grpcio 1.85), and the last word is what one gets.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import grpc

_PATIENCE_SECONDS = 1.0


class Ending:
    """Remembers what the other side of a call says. Made right after the call."""

    def __init__(self, call: Any) -> None:
        self._said: asyncio.Future[grpc.aio.AioRpcError] = asyncio.get_running_loop().create_future()
        call.add_done_callback(self._note)

    def _note(self, call: Any) -> None:
        code = _now(call.code())
        if code not in (grpc.StatusCode.INTERNAL, grpc.StatusCode.OK) and not self._said.done():
            metadata = _now(call.trailing_metadata())
            self._said.set_result(grpc.aio.AioRpcError(code, grpc.aio.Metadata(), metadata, _now(call.details())))

    async def of(self, failure: grpc.aio.AioRpcError) -> grpc.aio.AioRpcError:
        """`failure` of the call, or what its other side said."""
        if failure.code() is grpc.StatusCode.INTERNAL:
            await asyncio.wait([self._said], timeout=_PATIENCE_SECONDS)
        return self._said.result() if self._said.done() else failure


def _now(known: Coroutine[Any, Any, Any]) -> Any:
    """The result of a coroutine that has nothing to wait for: a call that has its status tells it at once."""
    try:
        known.send(None)
    except StopIteration as done:
        return done.value
    raise RuntimeError("a call that has ended has no status")
