"""The steps that check what the demo promises, against the in-memory fake and a fake kubectl."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from demo import fleet, screen, story
from demo.errors import DemoError
from vectorfleet import Client, RetryPolicy
from vectorfleet.testing import FakeFleet

VECTORS = np.random.default_rng(8).standard_normal((50, 8), dtype=np.float32)


class Kubectl:
    """kubectl for a fleet of one pod, `fake`; deleting it makes the next `failures` searches fail."""

    def __init__(self, server: FakeFleet, failures: int) -> None:
        self._server = server
        self._failures = failures
        self.deleted: list[str] = []

    def kubectl(self, *arguments: str) -> str:
        if "delete" in arguments:
            self.deleted.append(arguments[4])
            self._server.fail("Search", times=self._failures)
        return ""

    def json(self, *arguments: str) -> Any:
        conditions = [{"type": "Ready", "status": "True"}]
        return {"items": [{"metadata": {"name": "fake"}, "status": {"podIP": "::1", "conditions": conditions}}]}


@pytest.fixture
def server() -> Iterator[FakeFleet]:
    with FakeFleet() as running:
        yield running


@pytest.fixture
def client(server: FakeFleet, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    monkeypatch.setattr(story, "CALLS_AROUND_THE_KILL", 20)
    with Client(server.address, retry=RetryPolicy(attempts=3, first=0.001)) as made:
        made.create_collection(fleet.NAME, 8)
        made.upsert(fleet.NAME, [f"k{row}" for row in range(50)], VECTORS)
        yield made


def test_retries_carry_the_queries_over_a_dying_pod(client: Client, server: FakeFleet) -> None:
    kubectl = Kubectl(server, failures=2)
    story._kill(client, kubectl, VECTORS)  # type: ignore[arg-type]
    assert kubectl.deleted == ["fake"]


def test_a_call_that_fails_while_the_pod_dies_breaks_the_promise(client: Client, server: FakeFleet) -> None:
    with pytest.raises(DemoError, match=r"calls failed, promised are 0; the first: Unavailable"):
        story._kill(client, Kubectl(server, failures=60), VECTORS)  # type: ignore[arg-type]


def test_waiting_ends_with_what_was_seen_last() -> None:
    def early() -> bool:
        raise DemoError("not yet")

    with pytest.raises(DemoError, match=r"not within 0.01 s: a pod \(last: not yet\)"):
        screen.wait_until(early, "a pod", timeout=0.01, every=0.001)
    answers = iter([None, 0, 7])
    assert screen.wait_until(lambda: next(answers), "a number", timeout=5, every=0.001) == 7
