"""The public port belongs to one node, also while none of its front processes listens."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest

from vectorfleet_node.front.fronts import reserve


@contextlib.contextmanager
def server(port: int, *, shares: bool) -> Iterator[socket.socket]:
    """A server as gRPC makes one; front processes share their port."""
    with socket.socket() as found:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(shares))
        found.bind(("127.0.0.1", port))
        found.listen()
        yield found


def refused(port: int) -> bool:
    """Whether another server, and another node, fail to get the port."""
    with pytest.raises(OSError, match="in use"), server(port, shares=False):
        pass
    with pytest.raises(OSError, match="in use"):
        reserve("127.0.0.1", port)
    return True


def test_a_reserved_port_is_kept_for_processes_that_share_it() -> None:
    with reserve("127.0.0.1", 0) as reserved:
        port = reserved.getsockname()[1]
        assert refused(port)
        with server(port, shares=True), server(port, shares=True):
            assert refused(port)
        assert refused(port)


def test_a_port_on_which_an_earlier_servers_connections_wind_down_is_free() -> None:
    with server(0, shares=False) as earlier:
        port = earlier.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            earlier.accept()[0].close()  # this side closes first, so it is the one that waits
    with reserve("127.0.0.1", port), server(port, shares=True):
        pass
