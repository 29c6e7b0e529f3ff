"""One run of some work for many callers. `replica` shares checks of the log with it, and seals."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from vectorfleet_node.shard.port import InDoubt, NotReady


def observe_result(task: asyncio.Future[Any]) -> None:
    """Done-callback: marks an error as seen, for work whose callers may all have gone."""
    if not task.cancelled():
        task.exception()


async def wait_shared(task: asyncio.Task[None]) -> None:
    """Waits for a task that others wait for too.

    A cancelled caller does not end the task; raises what the task raises, or NotReady when it was cancelled itself.
    """
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        caller = asyncio.current_task()
        if task.cancelled() and not (caller and caller.cancelling()):
            raise NotReady("the shard was stopped meanwhile") from None
        raise


class SharedRun:
    """Runs `work` once at a time. Who joins while a run is under way gets the one after it, together with all who do:
    a run that began before the call may have asked its question too early.
    """

    def __init__(self, work: Callable[[], Awaitable[None]]) -> None:
        self._work = work
        self._current: asyncio.Task[None] | None = None
        self._next: asyncio.Task[None] | None = None

    async def join(self) -> None:
        """Waits for a run that begins after this call; raises what it raises, or NotReady when it was closed.

        A cancelled caller does not end the run.
        """
        if self._next is None:
            self._next = asyncio.create_task(self._run(self._current))
            self._next.add_done_callback(observe_result)
        await wait_shared(self._next)

    async def _run(self, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait([before])
        self._current, self._next = self._next, None
        await self._work()

    def cancel(self) -> None:
        """Ends the runs under way."""
        for task in (self._current, self._next):
            if task is not None:
                task.cancel()

    async def close(self) -> None:
        """Ends the runs under way and waits until they have."""
        self.cancel()
        tasks = [task for task in (self._current, self._next) if task is not None]
        await asyncio.gather(*tasks, return_exceptions=True)


async def landing(request_id: str, landed: asyncio.Future[int]) -> int:
    """Where a request has landed. InDoubt when the caller gives up first: the request goes on."""
    try:
        return await asyncio.shield(landed)
    except asyncio.CancelledError:
        raise InDoubt(f"request {request_id} is on its way to the log; send it again to learn its fate") from None
