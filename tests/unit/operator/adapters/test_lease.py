"""Leadership on a virtual clock: who may act, and from when on nobody else does."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from vectorfleet_operator.adapters.kubernetes import CONFLICT, ApiError
from vectorfleet_operator.adapters.lease import DURATION, RENEW_DEADLINE, Lease, LeaseLost


class Server:
    """One Lease with optimistic locking."""

    def __init__(self) -> None:
        self.lease: dict[str, Any] | None = None
        self.down = False

    async def get(self, kind: str, namespace: str, name: str) -> dict[str, Any] | None:
        self._check()
        return copy.deepcopy(self.lease)

    async def create(self, manifest: dict[str, Any]) -> dict[str, Any]:
        self._check()
        if self.lease is not None:
            raise ApiError(CONFLICT, "exists")
        self.lease = copy.deepcopy(manifest)
        self.lease["metadata"]["resourceVersion"] = 1
        return self.lease

    async def replace(self, manifest: dict[str, Any]) -> dict[str, Any]:
        self._check()
        assert self.lease is not None
        if manifest["metadata"]["resourceVersion"] != self.lease["metadata"]["resourceVersion"]:
            raise ApiError(CONFLICT, "changed")
        self.lease = copy.deepcopy(manifest)
        self.lease["metadata"]["resourceVersion"] += 1
        return self.lease

    def _check(self) -> None:
        if self.down:
            raise ApiError(0, "no answer")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def candidate(server: Any, clock: Clock, pod: str, process: str = "1") -> Lease:
    return Lease(server, "system", "operator", pod, process, clock)


async def attempt(lease: Lease) -> bool:
    return await lease._try()


async def test_the_first_candidate_leads_and_the_second_waits_until_the_lease_has_run_out_before_its_eyes() -> None:
    server, clock = Server(), Clock()
    first, second = candidate(server, clock, "a"), candidate(server, clock, "b")
    assert await attempt(first)
    assert not await attempt(second)
    clock.now += DURATION
    assert not await attempt(second)
    clock.now += 1
    assert await attempt(second)
    assert second.transitions == first.transitions + 1
    assert not await attempt(first)
    with pytest.raises(LeaseLost):
        first.check()


async def test_a_holder_stops_acting_before_anybody_may_take_over() -> None:
    server, clock = Server(), Clock()
    first, second = candidate(server, clock, "a"), candidate(server, clock, "b")
    assert await attempt(first)
    assert not await attempt(second)
    server.down = True
    clock.now += RENEW_DEADLINE - 0.1
    assert not await attempt(first)
    first.check()
    clock.now += 0.1
    with pytest.raises(LeaseLost):
        first.check()
    server.down = False
    assert not await attempt(second)


async def test_a_renewing_holder_keeps_its_fence() -> None:
    server, clock = Server(), Clock()
    first, second = candidate(server, clock, "a"), candidate(server, clock, "b")
    for _ in range(20):
        assert await attempt(first)
        assert not await attempt(second)
        clock.now += 2
    assert first.transitions == 1


async def test_a_released_lease_is_taken_at_once() -> None:
    server, clock = Server(), Clock()
    first, second = candidate(server, clock, "a"), candidate(server, clock, "b")
    assert await attempt(first)
    await first.release()
    with pytest.raises(LeaseLost):
        first.check()
    assert await attempt(second)
    assert second.transitions == 2


async def test_a_restarted_process_of_the_same_pod_does_not_wait_for_itself() -> None:
    server, clock = Server(), Clock()
    assert await attempt(candidate(server, clock, "a", "1"))
    again = candidate(server, clock, "a", "2")
    assert await attempt(again)
    assert again.transitions == 2


async def test_a_pod_whose_name_only_begins_the_same_waits() -> None:
    server, clock = Server(), Clock()
    assert await attempt(candidate(server, clock, "a_b", "1"))
    assert not await attempt(candidate(server, clock, "a", "2"))


async def test_who_never_held_the_lease_may_not_act() -> None:
    with pytest.raises(LeaseLost):
        candidate(Server(), Clock(), "a").check()
