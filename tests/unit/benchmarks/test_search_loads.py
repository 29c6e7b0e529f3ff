"""How the search benchmarks ask, without any engine."""

import asyncio
import time

import numpy as np
import pytest

from benchmarks.search import loads
from benchmarks.search.loads import Refused, Until


async def test_clients_ask_every_request_once_and_no_more_than_that_many_at_a_time() -> None:
    busy, most = 0, 0

    async def send(request: int, client: int) -> int:
        nonlocal busy, most
        busy += 1
        most = max(most, busy)
        await asyncio.sleep(0)
        busy -= 1
        return request * 2

    sample = await loads.clients(send, list(range(20)), 3, Until(requests=20))
    assert sample.answers == {place: place * 2 for place in range(20)}
    assert (len(sample.seconds), most) == (20, 3)


def test_threads_ask_every_request_once() -> None:
    sample = loads.threads(lambda request, client: request + client * 0, list(range(20)), 3, Until(requests=20))
    assert sample.answers == {place: place for place in range(20)}


async def test_requests_come_round_again_until_the_time_is_up() -> None:
    async def send(request: int, client: int) -> int:
        await asyncio.sleep(0)
        return request

    sample = await loads.clients(send, [7], 2, Until(seconds=0.05))
    assert len(sample.seconds) > 2
    assert sample.answers == {0: 7}
    assert sample.wall >= 0.05


async def test_a_refusal_is_counted_and_is_no_latency() -> None:
    async def send(request: int, client: int) -> int:
        if request % 2:
            raise Refused("RESOURCE_EXHAUSTED")
        return request

    sample = await loads.clients(send, list(range(10)), 2, Until(requests=10))
    assert dict(sample.failed) == {"RESOURCE_EXHAUSTED": 5}
    assert len(sample.seconds) == 5


async def test_latency_counts_from_when_a_query_was_due_not_from_when_it_was_sent() -> None:
    async def send(request: int, client: int) -> int:
        if request == 0:
            time.sleep(0.05)  # noqa: ASYNC251 - a stall of everything is what is tried
        return request

    sample = await loads.arriving(send, [0, 1], np.array([0.0, 0.01]))
    assert sample.seconds[1] >= 0.03


async def test_arrivals_beyond_what_may_wait_are_counted_and_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loads, "MOST_WAITING", 2)
    free = asyncio.Event()

    async def send(request: int, client: int) -> int:
        if client == 2:
            free.set()
        await free.wait()
        return request

    asyncio.get_running_loop().call_later(0.05, free.set)
    sample = await loads.arriving(send, [0], np.zeros(5))
    assert dict(sample.failed) == {"not sent: too many wait": 3}
    assert len(sample.seconds) == 2


async def test_waiting_for_arrivals_takes_no_core_from_a_server_beside() -> None:
    async def send(request: int, client: int) -> int:
        return request

    before = time.process_time()
    sample = await loads.arriving(send, [0], np.arange(10) * 0.05)
    assert sample.wall >= 0.4
    assert time.process_time() - before < 0.2


def test_arrivals_at_a_library_are_all_answered() -> None:
    sample = loads.arriving_threads(lambda request, client: request, [3, 4], np.array([0.0, 0.001, 0.002]))
    assert sample.answers == {0: 3, 1: 4}
    assert len(sample.seconds) == 3
