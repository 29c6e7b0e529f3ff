"""Around every call: its request id, its log line, its metrics, and the status that answers an exception.

An exception that `errors` does not know is a bug: it is logged with its traceback and answered INTERNAL.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import Any, cast

import grpc
from google.rpc import status_pb2
from grpc_status import rpc_status

from vectorfleet_node import logs
from vectorfleet_node.api import errors
from vectorfleet_node.api.auth import Continuation, Handler
from vectorfleet_node.api.peers import MAX_MESSAGE_BYTES
from vectorfleet_node.metrics import Metrics

SLOW_SECONDS = 1.0
REQUEST_ID_HEADER = "x-request-id"
_MAX_REQUEST_ID = 128
_OURS = "/vectorfleet.v1."
# These are answers, not trouble: a client that asks for nonsense must not fill the log.
_QUIET = {
    grpc.StatusCode.OK,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.ALREADY_EXISTS,
}
Behaviour = Callable[[Any, Any], Awaitable[Any]]


class Observe(grpc.aio.ServerInterceptor):
    """Wraps the calls of this package's services that give one answer; health and reflection pass untouched.

    closing: sends new calls away, in a way that clients try another node. Calls that gRPC's server has received but not
    begun when it stops are lost to their callers, as CANCELLED.
    """

    def __init__(self, metrics: Metrics) -> None:
        self.closing = False
        # Looked up once: `labels` costs more than what is done with its answer.
        self._count = lru_cache(maxsize=None)(metrics.requests.labels)
        self._duration = lru_cache(maxsize=None)(metrics.request_seconds.labels)
        self._observed: dict[str, Handler] = {}  # by method

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler | None:
        """The handler, observed; made at the method's first call."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or not method.startswith(_OURS) or handler.response_streaming:
            return handler
        if method not in self._observed:
            self._observed[method] = self._observe(handler, method)
        return self._observed[method]

    def _observe(self, handler: Handler, method: str) -> Handler:
        behaviour: Behaviour = cast(Any, handler.stream_unary if handler.request_streaming else handler.unary_unary)
        serialize: Callable[[Any], bytes] = handler.response_serializer or bytes
        name = method.removeprefix(_OURS)
        slow = math.inf if handler.request_streaming else SLOW_SECONDS  # a stream takes as long as it has rows

        async def observed(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            if self.closing:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "this node is about to stop: ask another one")
            # Not the system's randomness: reading that lets go of the interpreter and then queues behind the engine.
            logs.request_id.set(_given(context) or f"{random.getrandbits(128):032x}")
            began = time.monotonic()
            code = grpc.StatusCode.OK
            message = ""
            try:
                return sendable(serialize(await behaviour(request, context)))
            except asyncio.CancelledError:
                code = grpc.StatusCode.CANCELLED
                raise
            except Exception as error:  # noqa: BLE001 - whatever it is, the caller gets a status and the log the cause
                status = errors.status_of(error) or _bug(error, method)
                code, message = errors.code_of(status), status.message
                await context.abort_with_status(rpc_status.to_status(status))
            finally:
                self._record(name, code, message, time.monotonic() - began, slow)

        wrap = (
            grpc.stream_unary_rpc_method_handler if handler.request_streaming else grpc.unary_unary_rpc_method_handler
        )
        return wrap(
            observed,
            request_deserializer=handler.request_deserializer,
            response_serializer=None,  # `observed` gives bytes
        )

    def _record(self, method: str, code: grpc.StatusCode, message: str, seconds: float, slow: float) -> None:
        self._count(method, code.name).inc()
        self._duration(method).observe(seconds)
        quiet = code in _QUIET and seconds < slow
        if quiet and not logs.debugging():
            return
        log = logs.logger()
        tell = log.debug if quiet else log.warning
        tell(
            "call", method=method, code=code.name, seconds=round(seconds, 4), **({"error": message} if message else {})
        )


def _given(context: grpc.aio.ServicerContext[Any, Any]) -> str:
    """The id that the caller gave to the request; empty when it gave none."""
    for key, value in context.invocation_metadata() or ():
        if key == REQUEST_ID_HEADER:
            return str(value)[:_MAX_REQUEST_ID]
    return ""


def sendable(answer: bytes, limit: int = MAX_MESSAGE_BYTES) -> bytes:
    """The answer, unless it is too big for gRPC, which would only say so in its own words."""
    if len(answer) > limit:
        message = (
            f"the answer has {len(answer)} bytes, of {limit} allowed: ask for fewer rows, queries, output fields or "
            "vectors at a time"
        )
        raise errors.ApiError(grpc.StatusCode.INVALID_ARGUMENT, message)
    return answer


def _bug(error: Exception, method: str) -> status_pb2.Status:
    logs.logger().error("bug", method=method, exc_info=error)
    message = f"internal error: {type(error).__name__}; the node's log has the rest under request id"
    return status_pb2.Status(code=grpc.StatusCode.INTERNAL.value[0], message=f"{message} {logs.request_id.get()}")
