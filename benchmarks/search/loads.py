"""Asking a peer: by clients that wait for each answer, or by queries that arrive whether it keeps up or not.

Requests are encoded before the clock starts and answers decoded after it stops, for every peer: what is measured is the
peer and its transport, not a client library. Used by `worker` only.

The trap of a closed loop: a slow answer delays the next question, so its p99 hides a stall. `arriving` counts latency
from when a query was due, not from when it was sent.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

MOST_WAITING: Final = 512  # unanswered arrivals; beyond it the peer is drowned and one more is not sent
_THREADS: Final = 16
_DROWNED: Final = "not sent: too many wait"


class Refused(Exception):
    """The peer answered with an error; `str()` is its kind."""


Send = Callable[[Any, int], Awaitable[Any]]
BlockingSend = Callable[[Any, int], Any]


@dataclass
class Sample:
    """What one turn gave. answers: by place of the query, the first one each. failed: refusals by kind."""

    seconds: list[float] = field(default_factory=list)
    answers: dict[int, Any] = field(default_factory=dict)
    failed: Counter[str] = field(default_factory=Counter)
    wall: float = 0.0

    def answered(self, place: int, answer: Any, seconds: float) -> None:
        """One query more."""
        self.seconds.append(seconds)
        self.answers.setdefault(place, answer)


@dataclass(frozen=True)
class Until:
    """When a closed loop ends: after so many requests, or so many seconds."""

    requests: int | None = None
    seconds: float | None = None

    def places(self) -> Callable[[], int | None]:
        """Gives the number of the next request, None when there shall be none. Safe in threads."""
        count, end = itertools.count(), time.perf_counter() + (self.seconds or float("inf"))

        def following() -> int | None:
            place = next(count)
            over = time.perf_counter() >= end or (self.requests is not None and place >= self.requests)
            return None if over else place

        return following


async def clients(send: Send, requests: Sequence[Any], count: int, until: Until) -> Sample:
    """`count` clients, each sending its next request when the last is answered."""
    sample, following = Sample(), until.places()

    async def client(number: int) -> None:
        while (place := following()) is not None:
            began = time.perf_counter()
            try:
                answer = await send(requests[place % len(requests)], number)
            except Refused as refused:
                sample.failed[str(refused)] += 1
            else:
                sample.answered(place % len(requests), answer, time.perf_counter() - began)

    began = time.perf_counter()
    await asyncio.gather(*(client(number) for number in range(count)))
    sample.wall = time.perf_counter() - began
    return sample


def threads(send: BlockingSend, requests: Sequence[Any], count: int, until: Until) -> Sample:
    """As `clients`, with a thread for each, for a library that is called."""
    sample, following = Sample(), until.places()

    def client(number: int) -> None:
        while (place := following()) is not None:
            began = time.perf_counter()
            answer = send(requests[place % len(requests)], number)
            sample.answered(place % len(requests), answer, time.perf_counter() - began)

    began = time.perf_counter()
    with ThreadPoolExecutor(count) as pool:
        for done in [pool.submit(client, number) for number in range(count)]:
            done.result()
    sample.wall = time.perf_counter() - began
    return sample


async def arriving(send: Send, requests: Sequence[Any], due: NDArray[np.float64]) -> Sample:
    """Sends a request at each of the times `due`, seconds from now; returns when all are answered.

    A thread keeps the time: a loop's timers are a millisecond coarse, and polling would take a core from the server.
    """
    sample, waiting, loop = Sample(), set[asyncio.Task[None]](), asyncio.get_running_loop()
    began = time.perf_counter()

    async def one(number: int, arrival: float) -> None:
        place = number % len(requests)
        try:
            answer = await send(requests[place], number)
        except Refused as refused:
            sample.failed[str(refused)] += 1
        else:
            sample.answered(place, answer, time.perf_counter() - arrival)

    def arrive(number: int, arrival: float) -> None:
        if len(waiting) >= MOST_WAITING:
            sample.failed[_DROWNED] += 1
            return
        task = loop.create_task(one(number, arrival))
        waiting.add(task)
        task.add_done_callback(waiting.discard)

    def keep_time() -> None:
        for number, after in enumerate(due.tolist()):
            time.sleep(max(0.0, began + after - time.perf_counter()))
            loop.call_soon_threadsafe(arrive, number, began + after)

    await asyncio.to_thread(keep_time)
    await asyncio.gather(*waiting)
    sample.wall = time.perf_counter() - began
    return sample


def arriving_threads(send: BlockingSend, requests: Sequence[Any], due: NDArray[np.float64]) -> Sample:
    """As `arriving`, for a library: `_THREADS` threads answer, and an arrival waits for a free one."""
    sample, room = Sample(), threading.Semaphore(MOST_WAITING)

    def one(number: int, arrival: float) -> None:
        try:
            answer = send(requests[number % len(requests)], number)
            sample.answered(number % len(requests), answer, time.perf_counter() - arrival)
        finally:
            room.release()

    began = time.perf_counter()
    with ThreadPoolExecutor(_THREADS) as pool:
        sent = []
        for number, after in enumerate(due.tolist()):
            time.sleep(max(0.0, began + after - time.perf_counter()))
            if room.acquire(blocking=False):
                sent.append(pool.submit(one, number, began + after))
            else:
                sample.failed[_DROWNED] += 1
        for done in sent:
            done.result()
    sample.wall = time.perf_counter() - began
    return sample
