"""Searches on their way to the engine's threads: queued while all are busy, and joined into batches meanwhile.

`local` hands in searches; those that wait with the same key (shards at the same positions, vector, k, options, filter
and output) become one engine call with all their queries. Nobody waits for company: a free thread takes whoever is
there. The gain is the fixed cost of a call (a thread hop, the GIL, a scan of the same rows); a batch takes no more
than one thread's part of the queue, so that the other threads have work too.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Hashable
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from vectorfleet_node.api.admission import Admission

MOST_QUERIES: Final = 64  # of one engine call that joins several searches
S = TypeVar("S")
A = TypeVar("A")
Gone = Callable[[], bool]  # whether nobody waits for the answers any more
Run = Callable[[list[S], Gone], list[A]]  # in a thread: searches of one key to their answers, in order


@dataclass(eq=False)
class _Waiting(Generic[S, A]):
    key: Hashable
    search: S
    queries: int
    came: float
    deadline: float
    answer: asyncio.Future[A]


class Batcher(Generic[S, A]):
    """Runs searches on the threads of `pool`, `admission.threads` calls at a time. Belongs to one event loop."""

    def __init__(self, pool: Executor, run: Run[S, A], admission: Admission, clock: Callable[[], float]) -> None:
        self._pool = pool
        self._run = run
        self._admission = admission
        self._clock = clock
        self._queue: deque[_Waiting[S, A]] = deque()
        self._running = 0

    async def search(self, key: Hashable, search: S, queries: int, seconds: float) -> A:
        """The answer to a search of `queries` queries. Cancel it and it leaves the queue, or stops the engine's work
        when nobody else is in its batch.

        Raises:
            Overloaded: it would not begin, or did not, within `seconds`; or the queue is full.
        """
        loop = asyncio.get_running_loop()
        self._admission.enter(queries, seconds)
        now = self._clock()
        waiting: _Waiting[S, A] = _Waiting(key, search, queries, now, now + seconds, loop.create_future())
        self._queue.append(waiting)
        self._dispatch()
        try:
            return await waiting.answer
        except asyncio.CancelledError:
            self._forget(waiting)
            raise

    def _forget(self, waiting: _Waiting[S, A]) -> None:
        if waiting in self._queue:
            self._queue.remove(waiting)
            self._admission.leave(waiting.queries)

    def _dispatch(self) -> None:
        while self._queue and self._running < self._admission.threads:
            batch = self._next()
            if batch:
                self._start(batch)

    def _next(self) -> list[_Waiting[S, A]]:
        """The first in the queue and those of its key; they leave the queue. Empty when the first one came too late."""
        now = self._clock()
        first = self._queue.popleft()
        self._admission.leave(first.queries)
        if first.deadline <= now:
            _settle(first, self._admission.expired(now - first.came))
            return []
        alike = [waiting for waiting in self._queue if waiting.key == first.key and waiting.deadline > now]
        share = -(-(len(alike) + 1) // self._admission.threads)
        batch, queries = [first], first.queries
        for waiting in alike[: share - 1]:
            if queries + waiting.queries > MOST_QUERIES:
                break
            batch.append(waiting)
            queries += waiting.queries
            self._forget(waiting)
        self._admission.observer.started(queries, [now - waiting.came for waiting in batch])
        return batch

    def _start(self, batch: list[_Waiting[S, A]]) -> None:
        self._running += 1
        began = self._clock()
        searches = [waiting.search for waiting in batch]
        loop = asyncio.get_running_loop()
        call = self._pool.submit(self._run, searches, lambda: all(waiting.answer.done() for waiting in batch))
        # Not `run_in_executor`: its second future, chained to the first, costs a tenth of a small search.
        call.add_done_callback(lambda done: self._told(loop, batch, began, done))

    def _told(
        self, loop: asyncio.AbstractEventLoop, batch: list[_Waiting[S, A]], began: float, done: Future[list[A]]
    ) -> None:
        if not loop.is_closed():  # in a thread of the pool, which may outlive the loop
            loop.call_soon_threadsafe(self._finish, batch, began, done)

    def _finish(self, batch: list[_Waiting[S, A]], began: float, done: Future[list[A]]) -> None:
        self._running -= 1
        if done.cancelled():  # the pool was shut down
            for waiting in batch:
                waiting.answer.cancel()
        elif (error := done.exception()) is not None:
            for waiting in batch:
                _settle(waiting, error)
        else:
            self._admission.served(sum(waiting.queries for waiting in batch), self._clock() - began)
            for waiting, answer in zip(batch, done.result(), strict=True):
                if not waiting.answer.done():
                    waiting.answer.set_result(answer)
        self._dispatch()


def _settle(waiting: _Waiting[S, A], error: BaseException) -> None:
    if not waiting.answer.done():
        waiting.answer.set_exception(error)
