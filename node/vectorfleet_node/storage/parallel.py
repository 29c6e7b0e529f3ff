"""Many store operations at once, but not too many."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

Item = TypeVar("Item")


async def for_each(items: Iterable[Item], action: Callable[[Item], Awaitable[None]], *, limit: int = 32) -> None:
    """Runs the action on every item, at most `limit` at a time. The first error ends the others and is raised."""
    pending = iter(items)

    async def work() -> None:
        for item in pending:
            await action(item)

    workers = [asyncio.create_task(work()) for _ in range(limit)]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
