"""An asyncio event loop with virtual time and a seeded order of events, for several simulated processes at once.

Everything that is scheduled belongs to a `Process`, found in a context variable that tasks, callbacks and timers
inherit. Within a process the order is asyncio's, across processes it is any order. A process can be paused (what it
would do waits, its timers too) and killed: then nothing of it ever runs again, no `finally` and no cancellation, which
is why the loop keeps its tasks until the end. Functions for threads run inline, at a later moment.

When nothing is left to do, time jumps to the next timer; when there is none, or `limit` is passed, the run hangs.
"""

from __future__ import annotations

import asyncio
import heapq
import random
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from contextvars import Context, ContextVar, copy_context
from functools import partial
from typing import Any, TypeVar

from vectorfleet_node.shard.port import ShardError
from vectorfleet_node.storage.store import StorageError

from .violation import Violation

Result = TypeVar("Result")

_LONGEST_TURN = 4  # steps of one process in a row
_SLOW_JOB = 0.1  # share of jobs for threads that take long
_ENOUGH_TASKS = 512  # finished tasks are forgotten whenever a process has so many


class Process:
    """What is paused and killed as one."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.paused = False
        self.queue: deque[asyncio.Handle] = deque()
        self.tasks: list[asyncio.Task[Any]] = []
        self.context = Context()
        self.context.run(_PROCESS.set, self)
        self.on_job: Callable[[str], None] = lambda _: None  # told the name of each function for a thread, before it

    def keep(self, task: asyncio.Task[Any]) -> None:
        """Holds the task, so that the garbage collector does not end what a kill must not end."""
        if len(self.tasks) > _ENOUGH_TASKS:
            self.tasks = [kept for kept in self.tasks if not kept.done()]
        self.tasks.append(task)


_PROCESS: ContextVar[Process] = ContextVar("process")


def current_process() -> Process:
    """The process whose code is running."""
    return _PROCESS.get()


class SimulatedLoop(asyncio.BaseEventLoop):
    """See above. `main` is the process of whoever made the loop."""

    def __init__(self, source: random.Random, limit: float) -> None:
        super().__init__()
        self.main = Process("main")
        self._random = source.random
        self._limit = limit
        self._now = 0.0
        self._timers: list[tuple[float, int, Process, asyncio.TimerHandle]] = []
        self._count = 0
        self._processes = [self.main]
        self._buried: list[asyncio.Handle] = []
        self._dead: list[Process] = []
        self._failure: BaseException | None = None

    def process(self, name: str) -> Process:
        """Begins a new process."""
        process = Process(name)
        self._processes.append(process)
        return process

    def kill(self, process: Process) -> None:
        """As SIGKILL does."""
        process.alive = False
        self._processes.remove(process)
        self._dead.append(process)

    def spawn(self, process: Process, work: Coroutine[Any, Any, Result]) -> asyncio.Task[Result]:
        """Begins a task of a process."""
        return process.context.copy().run(self.create_task, work)

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Runs the simulation until the work is done. Violation when it hangs or something unforeseen is raised."""
        asyncio._set_running_loop(self)
        try:
            task = self.spawn(self.main, work)
            while not task.done():
                self._step()
            return task.result()
        finally:
            asyncio._set_running_loop(None)

    def close(self) -> None:
        """Lets go of everything that is unfinished, silently."""
        super().close()
        for process in [*self._processes, *self._dead]:
            for task in process.tasks:
                if not task.done():
                    task._log_destroy_pending = False  # type: ignore[attr-defined]
                    with suppress(BaseException):
                        task.get_coro().close()
            process.tasks.clear()
            process.queue.clear()
        self._timers.clear()
        self._buried.clear()
        self._dead.clear()

    # What asyncio asks of an event loop.

    def time(self) -> float:
        """Virtual seconds since the beginning."""
        return self._now

    def create_task(self, coro: Any, **options: Any) -> asyncio.Task[Any]:
        """Begins a task of the current process."""
        task = super().create_task(coro, **options)
        current_process().keep(task)
        return task

    def call_soon(self, callback: Any, *args: Any, context: Context | None = None) -> asyncio.Handle:  # type: ignore[override]
        """Queues a callback with the process of its context."""
        context = context or copy_context()
        handle = asyncio.Handle(callback, args, self, context)
        self._enqueue(context[_PROCESS], handle)
        return handle

    call_soon_threadsafe = call_soon  # type: ignore[assignment]

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Any, *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Queues a callback for later."""
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(self, when: float, callback: Any, *args: Any, context: Context | None = None) -> asyncio.TimerHandle:  # type: ignore[override]
        """Queues a callback for a time."""
        context = context or copy_context()
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        self._count += 1
        heapq.heappush(self._timers, (when, self._count, context[_PROCESS], handle))
        return handle

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        """Runs the function inline after a while. Like a thread, it may go on after its waiter was cancelled."""
        future = self.create_future()
        slow = self._random() < _SLOW_JOB
        self.call_later(self._random() * (1.0 if slow else 0.01), self._run_job, future, func, args)
        return future

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """An error that nobody awaits ends the run, unless a dead process raised it or it is of the ports' own."""
        error = context.get("exception")
        if error is not None and not isinstance(error, StorageError | ShardError) and self._failure is None:
            self._failure = error

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        pass

    def _enqueue(self, process: Process, handle: asyncio.Handle) -> None:
        (process.queue if process.alive else self._buried).append(handle)

    def _step(self) -> None:
        ready = [process for process in self._processes if process.queue and not process.paused]
        if not ready:
            self._advance()
            return
        process = ready[int(self._random() * len(ready))] if len(ready) > 1 else ready[0]
        for _ in range(1 + int(self._random() * _LONGEST_TURN)):
            if not process.queue or process.paused or not process.alive:
                break
            handle = process.queue.popleft()
            if not handle._cancelled:
                handle._run()
            if self._failure is not None:
                self._raise(self._failure)

    def _advance(self) -> None:
        while self._timers and self._timers[0][3]._cancelled:
            heapq.heappop(self._timers)
        if not self._timers:
            raise Violation(f"after {self._now:.1f} s nothing is left to happen: somebody waits for ever")
        self._now = max(self._now, self._timers[0][0])
        if self._now > self._limit:
            raise Violation(f"no end after {self._limit:.0f} s of virtual time: somebody hangs")
        while self._timers and self._timers[0][0] <= self._now:
            _, _, process, handle = heapq.heappop(self._timers)
            self._enqueue(process, handle)

    def _raise(self, failure: BaseException) -> None:
        self._failure = None
        if isinstance(failure, Violation | KeyboardInterrupt):
            raise failure
        raise Violation(f"internal error: {failure!r}") from failure

    def _run_job(self, future: asyncio.Future[Any], func: Callable[..., Any], args: tuple[Any, ...]) -> None:
        if future.cancelled() and self._random() < 0.5:
            return  # it had not begun
        process = current_process()
        called = func.args[0] if isinstance(func, partial) else func  # to_thread wraps it
        process.on_job(getattr(called, "__qualname__", ""))
        if process.paused or not process.alive:
            self.call_soon(self._run_job, future, func, args)
            return
        try:
            result, error = func(*args), None
        except Exception as raised:  # noqa: BLE001 - it belongs to whoever waits for the thread
            result, error = None, raised
        if not process.alive or future.cancelled():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)
