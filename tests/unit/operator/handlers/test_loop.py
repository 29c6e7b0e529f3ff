"""The loop: it goes on whatever one collection brings, and ends with the lease."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from vectorfleet_operator.adapters.kubernetes import ApiError
from vectorfleet_operator.adapters.lease import LeaseLost
from vectorfleet_operator.adapters.observe import Sight, parse
from vectorfleet_operator.handlers import web
from vectorfleet_operator.handlers.loop import Reconciler, work
from vectorfleet_operator.handlers.queue import WorkQueue
from vectorfleet_operator.model.observed import Environment, Observed
from vectorfleet_operator.planner.actions import Action, Apply, PatchStatus

A, B = ("search", "a"), ("search", "b")
ENVIRONMENT = Environment("c", 1, "node:1", "system", "0.1.0")


class Passes:
    """Answers of a reconciler, one after the other; the rest are successes."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.keys: list[tuple[str, str]] = []
        self.done = asyncio.Event()

    async def reconcile(self, key: tuple[str, str]) -> float | None:
        self.keys.append(key)
        answer = self.answers.pop(0)
        if not self.answers:
            self.done.set()
        if isinstance(answer, BaseException):
            raise answer
        return float(answer)


async def worked(passes: Passes, *keys: tuple[str, str]) -> WorkQueue:
    queue = WorkQueue(time.monotonic)
    for key in keys:
        queue.add(key)
    worker = asyncio.create_task(work(queue, passes))  # type: ignore[arg-type]  # the one method that it uses
    await asyncio.wait_for(passes.done.wait(), 60)
    worker.cancel()
    return queue


@pytest.mark.parametrize("error", [ApiError(500, "down"), KeyError("a bug"), TimeoutError()])
async def test_a_collection_that_breaks_the_pass_does_not_stop_the_others(error: Exception) -> None:
    passes = Passes(error, 10.0)
    queue = await worked(passes, A, B)
    assert passes.keys == [A, B]
    assert A in queue


async def test_a_lost_lease_ends_the_work() -> None:
    queue = WorkQueue(time.monotonic)
    queue.add(A)
    with pytest.raises(LeaseLost):
        await work(queue, Passes(LeaseLost("gone")))  # type: ignore[arg-type]


class Observing:
    def __init__(self, sight: Sight | None) -> None:
        self.sight = sight

    async def observe(self, namespace: str, name: str, environment: Environment) -> Sight | None:
        return self.sight


class Acting:
    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.acts: list[tuple[Action, ...]] = []

    async def act(self, sight: Sight, actions: tuple[Action, ...]) -> None:
        self.acts.append(actions)
        if self.error is not None and any(isinstance(action, Apply) for action in actions):
            raise self.error


def sight() -> Sight:
    metadata = {"name": "a", "namespace": "search", "uid": "u", "generation": 1, "resourceVersion": "1"}
    spec = {"vectors": [{"name": "default", "dimensions": 8}], "storage": {"url": "s3://bucket/a"}}
    parsed, problems = parse(spec)
    return Sight(Observed({"metadata": metadata, "spec": spec}, parsed, problems, ENVIRONMENT), "")


def reconciler(observing: Any, acting: Any) -> Reconciler:
    return Reconciler(None, observing, acting, lambda: ENVIRONMENT)  # type: ignore[arg-type]  # lists are not used here


async def test_a_resource_that_is_gone_is_not_looked_at_again() -> None:
    assert await reconciler(Observing(None), Acting()).reconcile(A) is None


async def test_what_the_api_server_refuses_ends_up_in_the_status() -> None:
    acting = Acting(ApiError(403, "exceeded quota"))
    with pytest.raises(ApiError):
        await reconciler(Observing(sight()), acting).reconcile(A)
    (patch,) = acting.acts[-1]
    assert isinstance(patch, PatchStatus)
    assert "exceeded quota" in str(patch.status)


async def test_an_api_server_that_is_away_is_not_blamed_on_the_collection() -> None:
    acting = Acting(ApiError(0, "no answer"))
    with pytest.raises(ApiError):
        await reconciler(Observing(sight()), acting).reconcile(A)
    assert len(acting.acts) == 1


class Listing:
    def __init__(self, *names: str) -> None:
        self.names = names

    async def list(self, kind: str, namespace: str | None) -> list[dict[str, Any]]:
        return [{"metadata": {"namespace": "search", "name": name}} for name in self.names]


async def test_a_collection_whose_event_was_lost_is_found() -> None:
    queue = WorkQueue(time.monotonic)
    made = Reconciler(Listing("a"), None, None, lambda: ENVIRONMENT)  # type: ignore[arg-type]  # only lists are used
    resync = asyncio.create_task(made.resync(queue, ()))
    assert await asyncio.wait_for(queue.take(), 60) == A
    resync.cancel()


async def test_health_fails_when_a_collection_waits_too_long_and_metrics_tell_its_age() -> None:
    ages = [0.0]
    async with TestClient(TestServer(web.application(lambda: ages[0], lambda: ages[0] < 1))) as client:
        assert (await client.get("/healthz")).status == 200
        assert (await client.get("/readyz")).status == 200
        ages[0] = web.TOO_OLD_SECONDS + 1
        assert (await client.get("/healthz")).status == 503
        assert (await client.get("/readyz")).status == 503
        text = await (await client.get("/metrics")).text()
    assert f"vectorfleet_operator_queue_oldest_seconds {ages[0]}" in text
    assert "vectorfleet_operator_reconcile_seconds_bucket" in text
