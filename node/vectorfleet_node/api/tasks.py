"""Background tasks that end when told to and never fail unseen. Used by everything in the API layer that runs one."""

from __future__ import annotations

import asyncio

from vectorfleet_node import logs


async def stop_task(task: asyncio.Task[None] | None) -> None:
    """Cancels the task and waits for its end."""
    if task is not None:
        task.cancel()
        await asyncio.wait([task])


def watch_task(task: asyncio.Task[None], what: str) -> None:
    """Logs at once when a task that should run until it is cancelled, or end well, fails."""

    def tell(ended: asyncio.Task[None]) -> None:
        if not ended.cancelled() and (error := ended.exception()) is not None:
            logs.logger().error("a background task failed", task=what, exc_info=error)

    task.add_done_callback(tell)
