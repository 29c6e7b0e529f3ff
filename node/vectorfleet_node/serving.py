"""Runs a node's servers until the process is told to stop. Shared by `main` (a fleet's node) and `standalone`."""

from __future__ import annotations

import asyncio
import signal

from vectorfleet_node.api.node import Node
from vectorfleet_node.api.server import NodeServer


def stop_signal() -> asyncio.Event:
    """An event that SIGTERM or SIGINT sets. A process that is PID 1 has no handler for them unless it asks for one."""
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    return told


async def finish(node: Node, server: NodeServer, drain_seconds: float) -> None:
    """Drains and stops. What is in flight is finished or decided; nothing is released or deleted."""
    await server.drain(drain_seconds)
    await server.stop()
    await node.stop()
