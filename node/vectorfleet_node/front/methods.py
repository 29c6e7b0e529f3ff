"""The services of a node as front processes need them: gRPC's own handlers and interceptors, without gRPC's server.

`api.server` registers the services on `Methods` as it would on a grpc.aio server, and `dispatch` calls the handlers
with a `Context`; so a service does not know whether a call came through a front process.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, NoReturn, TypeAlias

import grpc

from vectorfleet_node.front.frames import Metadata, Opening, Status

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
FindHandler: TypeAlias = "Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]]"


class Details(NamedTuple):
    """What interceptors see of a call; as grpc.HandlerCallDetails."""

    method: str
    invocation_metadata: Metadata


class Aborted(Exception):
    """Thrown by `Context.abort`: the call ends with this status."""

    def __init__(self, status: Status) -> None:
        super().__init__(status.details)
        self.status = status


class Context:
    """What the services use of grpc.aio.ServicerContext, for one call that came through a front process.

    write: sends one message of an answer that is a stream, and waits while too many are under way.
    """

    def __init__(self, opening: Opening, write: Callable[[Any], Awaitable[None]]) -> None:
        self._deadline = time.monotonic() + opening.seconds
        self._metadata = opening.metadata
        self.write = write

    def time_remaining(self) -> float | None:
        """Seconds until the caller gives up; None when it never does."""
        return None if self._deadline == float("inf") else max(0.0, self._deadline - time.monotonic())

    def invocation_metadata(self) -> Metadata:
        """What the caller sent beside the request."""
        return self._metadata

    async def abort(self, code: grpc.StatusCode, details: str = "", trailing_metadata: Metadata = ()) -> NoReturn:
        """Ends the call with an error."""
        raise Aborted(Status(code.value[0], details, tuple(trailing_metadata)))

    async def abort_with_status(self, status: grpc.Status) -> NoReturn:
        """Ends the call with an error that has details for programs."""
        await self.abort(status.code, status.details, status.trailing_metadata or ())


class Method(NamedTuple):
    """One registered method. find: its handler for one call, after the interceptors."""

    path: str
    handler: Handler
    find: FindHandler


class Methods:
    """Takes registrations like a server. The first of the interceptors is the outermost."""

    def __init__(self, interceptors: Sequence[grpc.aio.ServerInterceptor] = ()) -> None:
        self._interceptors = interceptors
        self.registered: list[Method] = []

    def add_generic_rpc_handlers(self, handlers: Iterable[grpc.GenericRpcHandler]) -> None:
        """Does nothing: generated code registers each handler by name, too."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Handler]) -> None:
        """As grpc.aio.Server; generated code calls it."""
        for name, handler in handlers.items():
            self.registered.append(Method(f"/{service}/{name}", handler, self._chain(handler)))

    def _chain(self, handler: Handler) -> FindHandler:
        async def innermost(_: grpc.HandlerCallDetails) -> Handler | None:
            return handler

        find: FindHandler = innermost
        for interceptor in reversed(self._interceptors):
            find = partial(interceptor.intercept_service, find)
        return find

    def table(self) -> list[tuple[str, bool, bool]]:
        """For the front processes: path, whether the caller sends a stream, whether it is answered with one."""
        return [
            (method.path, bool(method.handler.request_streaming), bool(method.handler.response_streaming))
            for method in self.registered
        ]
