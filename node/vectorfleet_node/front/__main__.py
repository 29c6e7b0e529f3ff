"""A front process: `python -m vectorfleet_node.front FD`, started by `fronts` with one end of a socket pair."""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
import sys

import uvloop

from vectorfleet_node.front.gate import Gate
from vectorfleet_node.front.link import connect


async def serve(descriptor: int) -> None:
    """Serves until it is told to stop; the whole process ends when the link is lost."""
    link = await connect(socket.socket(fileno=descriptor), Gate)
    await link.end.done.wait()
    link.close()
    await asyncio.Event().wait()  # `lost` ends the process


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    gc.freeze()
    uvloop.run(serve(int(sys.argv[1])))
