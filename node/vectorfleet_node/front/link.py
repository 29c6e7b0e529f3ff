"""One end of the stream between a front process and the node's: frames in, frames out, on an event loop.

`gate` and `fronts` make one each over the two ends of a socket pair. What is sent waits in memory until the other end
reads it; that is bounded by the calls in flight and, for streams, by their windows.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar, cast

from vectorfleet_node.front.frames import FrameReader, Kind, header

_JOINED_BYTES = 16 * 1024  # below it one copy is cheaper than a list of buffers for the system


class End(Protocol):
    """Who is told what arrives."""

    def frame(self, kind: Kind, call: int, payload: memoryview) -> None:
        """A frame arrived; `payload` is valid until this returns."""

    def lost(self) -> None:
        """No more frames come and none can be sent: the other process ended, or one of the two closed the link."""


E = TypeVar("E", bound=End)


class Link(asyncio.BufferedProtocol, Generic[E]):
    """Carries frames for an `End`. Errors of sending show as its `lost`."""

    def __init__(self, make_end: Callable[[Link[Any]], E]) -> None:
        self._reader = FrameReader()
        self._transport: asyncio.Transport | None = None
        self.end = make_end(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio."""
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio."""
        self._transport = None
        self.end.lost()

    def get_buffer(self, sizehint: int) -> memoryview:
        """See asyncio."""
        return self._reader.space()

    def buffer_updated(self, nbytes: int) -> None:
        """See asyncio, which closes the link when this raises: what follows bytes that make no sense makes none."""
        for kind, call, payload in self._reader.received(nbytes):
            self.end.frame(kind, call, payload)

    def send(self, kind: Kind, call: int, *parts: bytes) -> None:
        """Sends a frame whose payload is the parts, one after the other. Does nothing once the link is lost."""
        transport = self._transport
        if transport is None:
            return
        size = sum(map(len, parts))
        head = header(kind, call, size)
        if size < _JOINED_BYTES:
            transport.write(b"".join((head, *parts)))
        else:
            transport.writelines((head, *parts))

    def close(self) -> None:
        """Ends the link; `lost` follows."""
        if self._transport is not None:
            self._transport.close()


async def connect(own: socket.socket, make_end: Callable[[Link[Any]], E]) -> Link[E]:
    """A link over one end of a socket pair, which it owns from now on."""
    _, link = await asyncio.get_running_loop().create_unix_connection(lambda: Link(make_end), sock=own)
    return link
