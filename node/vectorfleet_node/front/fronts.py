"""Keeps a node's front processes running: starts them, again when they die, and drains them. Made by `api.server`.

They share the public port by SO_REUSEPORT: the kernel spreads connections over them. A socket that is bound and never
listens keeps the port for the node in the meantime, so that no other server gets a share of its calls.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
import sys
import time
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from vectorfleet_node import logs
from vectorfleet_node.front.dispatch import Calls, Dispatcher
from vectorfleet_node.front.frames import Kind
from vectorfleet_node.front.link import Link, connect
from vectorfleet_node.front.methods import Methods

_SHORTEST_PAUSE: Final = 0.1  # seconds before a front process is started again; doubles up to the longest
_LONGEST_PAUSE: Final = 10.0
_STEADY_SECONDS: Final = 60.0  # one that lived so long is started again after the shortest pause
_START_SECONDS: Final = 60.0
_END_SECONDS: Final = 2.0  # to end, after its calls have had their time


class FrontFailed(OSError):
    """A front process does not come up; the message says why."""


@dataclass(frozen=True)
class Plan:
    """What front processes serve. options: of their gRPC servers. most_calls: in progress at a time, of all of them."""

    methods: Methods
    options: Sequence[tuple[str, int]]
    most_calls: int

    def hello(self, address: str) -> bytes:
        """The payload of HELLO."""
        told = {
            "address": address,
            "methods": self.methods.table(),
            "options": {**dict(self.options), "grpc.so_reuseport": 1},
            "most_calls": self.most_calls,
        }
        return json.dumps(told).encode()


@dataclass(frozen=True)
class FrontObserver:
    """Told, on the event loop, what becomes of front processes: how many listen; that one ended unasked."""

    listening: Callable[[int], None] = lambda _count: None
    ended: Callable[[], None] = lambda: None


@dataclass(frozen=True, eq=False)
class _Front:
    """A front process that listens."""

    process: Process
    link: Link[Calls]
    began: float


class Fronts:
    """`count` front processes. Use: `start`, then `stop`."""

    def __init__(self, count: int, plan: Plan, observer: FrontObserver | None = None) -> None:
        self._count = count
        self._plan = plan
        self._observer = observer or FrontObserver()
        self._dispatcher = Dispatcher(plan.methods, plan.most_calls)
        self._hello = b""
        self._reserved: socket.socket | None = None
        self._listening: set[_Front] = set()
        self._keeping: list[asyncio.Task[None]] = []

    async def start(self, host: str, port: int) -> int:
        """Returns the port, which the system chooses for 0, once all of them listen.

        Raises:
            OSError: the port is taken, or the host is no address of this machine.
            FrontFailed: a process did not come up; none is left.
        """
        self._reserved = reserve(host, port)
        port = int(self._reserved.getsockname()[1])
        self._hello = self._plan.hello(f"{host}:{port}")
        started = await asyncio.gather(*(self._launch() for _ in range(self._count)), return_exceptions=True)
        self._keeping = [asyncio.create_task(self._keep(front)) for front in started if isinstance(front, _Front)]
        for problem in started:
            if isinstance(problem, BaseException):
                await self.stop(0.0)
                raise problem
        return port

    def waiting(self) -> list[str]:
        """Why nobody can call this node; empty while at least one front process listens."""
        return [] if self._listening else ["no front process listens; the log says why"]

    async def stop(self, seconds: float) -> None:
        """Stops listening, gives calls in progress `seconds` to finish, and ends the processes."""
        fronts = set(self._listening)
        for task in self._keeping:
            task.cancel()
        for front in fronts:
            front.link.send(Kind.STOP, 0, struct.pack("<d", seconds))
        await asyncio.gather(*(_ended(front, seconds + _END_SECONDS) for front in fronts))
        await asyncio.gather(*self._keeping, return_exceptions=True)
        if self._reserved is not None:
            self._reserved.close()

    async def _keep(self, front: _Front) -> None:
        """Waits for the end of a front process and starts another, for ever."""
        pause = _SHORTEST_PAUSE
        while True:
            await front.link.end.finished()
            code = await front.process.wait()
            self._tell(front, listens=False)
            self._observer.ended()
            pause = _SHORTEST_PAUSE if time.monotonic() - front.began > _STEADY_SECONDS else pause
            logs.logger().error("a front process ended", pid=front.process.pid, code=code, again_in_seconds=pause)
            while True:
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
                try:
                    front = await self._launch()
                    break
                except Exception as error:  # noqa: BLE001 - whatever it was, the next attempt may go well
                    logs.logger().error("a front process does not start", problem=str(error), again_in_seconds=pause)

    async def _launch(self) -> _Front:
        own, theirs = socket.socketpair()
        with theirs:
            command = (sys.executable, "-m", "vectorfleet_node.front", str(theirs.fileno()))
            process = await asyncio.create_subprocess_exec(*command, stdin=DEVNULL, pass_fds=(theirs.fileno(),))
        try:
            link = await connect(own, partial(Calls, self._dispatcher))
            link.send(Kind.HELLO, 0, self._hello)
            problem = await asyncio.wait_for(link.end.listening, _START_SECONDS)
            if problem:
                raise FrontFailed(f"front process {process.pid} does not listen: {problem}")
        except BaseException as error:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            if isinstance(error, TimeoutError):
                raise FrontFailed(f"front process {process.pid} did not start in {_START_SECONDS:.0f} s") from None
            raise
        front = _Front(process, link, time.monotonic())
        self._tell(front, listens=True)
        return front

    def _tell(self, front: _Front, *, listens: bool) -> None:
        (self._listening.add if listens else self._listening.discard)(front)
        self._observer.listening(len(self._listening))


async def _ended(front: _Front, seconds: float) -> None:
    try:
        await asyncio.wait_for(front.process.wait(), seconds)
    except TimeoutError:
        front.process.kill()
        await front.process.wait()
    await front.link.end.finished()


def reserve(host: str, port: int) -> socket.socket:
    """A socket that holds a free port without listening; this user's processes may listen there with SO_REUSEPORT.

    Nobody else can, not even while none of them listens. OSError when the port is taken.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    taken = socket.socket(family, kind, protocol)
    try:
        # Connections of an earlier server that wind down must not count, so SO_REUSEADDR is on while this one is bound;
        # left on, it would let other servers listen here, too.
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(address)
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    except OSError:
        taken.close()
        raise
    return taken
