"""The work queue on a virtual clock."""

from __future__ import annotations

import asyncio
import time

import pytest

from vectorfleet_operator.handlers.queue import MAX_BACKOFF, PAUSE, Schedule, WorkQueue

A, B = ("search", "a"), ("search", "b")


def test_a_key_that_is_woken_often_runs_once() -> None:
    schedule = Schedule()
    for _ in range(5):
        schedule.add(A, 10.0)
    assert schedule.take(10.0) == A
    assert schedule.take(100.0) is None


def test_a_key_is_never_run_twice_at_a_time_and_a_wake_meanwhile_is_not_lost() -> None:
    schedule = Schedule()
    schedule.add(A, 0.0)
    assert schedule.take(0.0) == A
    schedule.add(A, 1.0)
    assert schedule.take(5.0) is None
    schedule.succeeded(A, 5.0, 10.0)
    assert schedule.take(5.0 + PAUSE) == A


def test_the_key_that_waits_longest_is_next() -> None:
    schedule = Schedule()
    schedule.add(B, 2.0)
    schedule.add(A, 1.0)
    assert schedule.take(3.0) == A
    assert schedule.take(3.0) == B


def test_a_wake_makes_a_later_run_earlier_but_not_the_other_way_round() -> None:
    schedule = Schedule()
    schedule.add(A, 100.0)
    schedule.add(A, 5.0)
    schedule.add(A, 50.0)
    assert schedule.next_due() == 5.0


def test_a_flood_of_events_is_one_run_per_pause() -> None:
    schedule = Schedule()
    schedule.add(A, 0.0)
    runs = 0
    for tick in range(100):
        now = tick * 0.01
        schedule.add(A, now)
        if schedule.take(now) is not None:
            runs += 1
            schedule.succeeded(A, now, 10.0)
    assert runs == 1.0 / PAUSE


def test_failures_wait_longer_and_longer_up_to_a_limit_and_success_forgets_them() -> None:
    schedule = Schedule()
    now, delays = 0.0, []
    schedule.add(A, now)
    for _ in range(9):
        assert schedule.take(now) == A
        delays.append(schedule.failed(A, now))
        now += delays[-1]
    assert delays[:3] == [1.0, 2.0, 4.0]
    assert delays[-1] == MAX_BACKOFF
    assert schedule.take(now) == A
    schedule.succeeded(A, now, 0.0)
    assert schedule.take(now + PAUSE) == A
    assert schedule.failed(A, now) == 1.0


def test_a_key_that_is_gone_is_forgotten() -> None:
    schedule = Schedule()
    schedule.add(A, 0.0)
    schedule.take(0.0)
    schedule.succeeded(A, 0.0, None)
    assert A not in schedule
    assert schedule.next_due() is None


def test_the_oldest_age_counts_waiting_and_running_keys() -> None:
    schedule = Schedule()
    assert schedule.oldest(100.0) == 0.0
    schedule.add(A, 10.0)
    schedule.add(B, 90.0)
    assert schedule.oldest(100.0) == 90.0
    schedule.take(20.0)
    assert schedule.oldest(100.0) == 80.0


async def test_a_waiting_worker_is_woken_by_a_new_key() -> None:
    queue = WorkQueue(time.monotonic)
    waiting = asyncio.create_task(queue.take())
    await asyncio.sleep(0)
    queue.add(A)
    assert await asyncio.wait_for(waiting, 60) == A


async def test_a_key_comes_back_when_its_time_has_come() -> None:
    queue = WorkQueue(time.monotonic)
    queue.add(A)
    assert await queue.take() == A
    queue.succeeded(A, 0.0)
    assert await asyncio.wait_for(queue.take(), 60) == A


async def test_a_worker_that_is_cancelled_takes_no_key_with_it() -> None:
    queue = WorkQueue(time.monotonic)
    waiting = asyncio.create_task(queue.take())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    queue.add(A)
    assert await asyncio.wait_for(queue.take(), 60) == A
