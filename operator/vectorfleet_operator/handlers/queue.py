"""Which collection to reconcile next: one entry per key, however often it is woken, and never two workers on one.

Fed by `watch` and `resync`, drained by the workers of `loop`. `Schedule` is the pure part with the clock as an
argument; `WorkQueue` lets coroutines wait for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

Key = tuple[str, str]  # namespace, name

PAUSE = 0.5  # seconds between two runs of one key, so that a flood of events is one run
FIRST_BACKOFF, MAX_BACKOFF = 1.0, 60.0


class Schedule:
    """Keys and when they are due, in seconds of a monotonic clock."""

    def __init__(self) -> None:
        self._due: dict[Key, float] = {}
        self._running: dict[Key, float] = {}  # since when
        self._finished: dict[Key, float] = {}
        self._failures: dict[Key, int] = {}

    def __contains__(self, key: object) -> bool:
        return key in self._due or key in self._running

    def add(self, key: Key, due: float) -> None:
        """Makes `key` due at `due`, or when it already was if that is earlier."""
        due = max(due, self._finished.get(key, due - PAUSE) + PAUSE)
        self._due[key] = min(due, self._due.get(key, due))

    def take(self, now: float) -> Key | None:
        """The key that is due for longest, which is running from now on; None when none is due."""
        ready = [(due, key) for key, due in self._due.items() if due <= now and key not in self._running]
        if not ready:
            return None
        _, key = min(ready)
        del self._due[key]
        self._running[key] = now
        return key

    def next_due(self) -> float | None:
        """When the next key that is not running is due."""
        return min((due for key, due in self._due.items() if key not in self._running), default=None)

    def succeeded(self, key: Key, now: float, again: float | None) -> None:
        """`key` ran; it is due again in `again` seconds, or forgotten when that is None."""
        self._running.pop(key, None)
        self._failures.pop(key, None)
        if again is None:
            self._finished.pop(key, None)
        else:
            self._finished[key] = now
            self.add(key, now + again)

    def failed(self, key: Key, now: float) -> float:
        """`key` ran and failed; the seconds until it is due again, longer each time."""
        self._running.pop(key, None)
        self._finished[key] = now
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        delay = float(min(MAX_BACKOFF, FIRST_BACKOFF * 2 ** min(failures, 16)))
        self._due[key] = now + delay
        return delay

    def oldest(self, now: float) -> float:
        """Seconds that the key that waits or runs for longest has done so."""
        overdue = [now - due for due in self._due.values() if due <= now]
        return max([0.0, *overdue, *(now - since for since in self._running.values())])


class WorkQueue:
    """A Schedule to wait on."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._schedule = Schedule()
        self._changed = asyncio.Condition()
        self._wakes: set[asyncio.Task[None]] = set()

    def __contains__(self, key: object) -> bool:
        return key in self._schedule

    def add(self, key: Key) -> None:
        """Makes `key` due now."""
        self._schedule.add(key, self._clock())
        self._wake()

    async def take(self) -> Key:
        """Waits for a key that is due; `succeeded` or `failed` must follow."""
        async with self._changed:
            while (key := self._schedule.take(self._clock())) is None:
                due = self._schedule.next_due()
                try:
                    async with asyncio.timeout(None if due is None else max(0.0, due - self._clock())):
                        await self._changed.wait()
                except TimeoutError:
                    continue
            return key

    def succeeded(self, key: Key, again: float | None) -> None:
        """See Schedule."""
        self._schedule.succeeded(key, self._clock(), again)
        self._wake()

    def failed(self, key: Key) -> float:
        """See Schedule."""
        delay = self._schedule.failed(key, self._clock())
        self._wake()
        return delay

    def oldest(self) -> float:
        """See Schedule."""
        return self._schedule.oldest(self._clock())

    def _wake(self) -> None:
        task = asyncio.get_running_loop().create_task(self._notify())
        self._wakes.add(task)
        task.add_done_callback(self._wakes.discard)

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()
