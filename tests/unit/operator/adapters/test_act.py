"""Acting: in order, under the lease, and no further than the first refusal."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from vectorfleet.topology import Topology
from vectorfleet_operator.adapters.act import Actor, event_manifest
from vectorfleet_operator.adapters.kubernetes import CONFLICT, ApiError
from vectorfleet_operator.adapters.lease import LeaseLost
from vectorfleet_operator.adapters.observe import Sight
from vectorfleet_operator.model.observed import Environment, Observed
from vectorfleet_operator.planner.actions import (
    Apply,
    CreatePeerSecret,
    DeletePod,
    Emit,
    EventType,
    PatchStatus,
    PutTopology,
    RefreshCredentials,
    SetFinalizers,
)

METADATA = {"name": "x", "namespace": "search", "uid": "u", "generation": 1}
OBSERVED = Observed({"metadata": METADATA}, None, (), Environment("c", 1, "node:1", "system", "0.1.0"))
SIGHT = Sight(OBSERVED, "secret")
CHILD = {"kind": "Service", "metadata": {"name": "x", "namespace": "search"}}


class Recorder:
    """Remembers calls; raises what it is told to for a method."""

    def __init__(self, **errors: Exception) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.errors = errors

    def __getattr__(self, name: str) -> Any:
        async def call(*args: Any, **named: Any) -> None:
            self.calls.append((name, *args, *named.values()))
            if name in self.errors:
                raise self.errors[name]

        return call


def actor(recorder: Any, may_act: Any = lambda: None) -> Actor:
    return Actor(recorder, recorder, "operator-1", may_act)


async def test_actions_are_done_in_their_order() -> None:
    recorder = Recorder()
    topology = Topology(version=3)
    actions = (
        SetFinalizers(("a",), "7"),
        Apply(CHILD, "why"),
        DeletePod("x-0", "uid-0", "why"),
        RefreshCredentials("x-1", "9"),
        PutTopology(("10.0.0.1:7301",), topology),
        PatchStatus({"rows": 1}),
    )
    await actor(recorder).act(SIGHT, actions)
    assert [call[0] for call in recorder.calls] == [
        "merge_patch", "apply", "delete", "merge_patch", "put_topology", "apply",
    ]  # fmt: skip
    assert recorder.calls[0][-1] == {"metadata": {"finalizers": ["a"], "resourceVersion": "7"}}
    assert recorder.calls[4][1:] == (("10.0.0.1:7301",), "secret", topology)
    assert recorder.calls[5][1]["metadata"]["uid"] == "u"


async def test_nothing_is_done_after_the_lease_is_lost() -> None:
    recorder = Recorder()
    checks = iter([None, LeaseLost("gone")])

    def may_act() -> None:
        if (error := next(checks)) is not None:
            raise error

    with pytest.raises(LeaseLost):
        await actor(recorder, may_act).act(SIGHT, (Apply(CHILD, ""), Apply(CHILD, "")))
    assert len(recorder.calls) == 1


async def test_a_refusal_names_the_child_and_ends_the_pass() -> None:
    recorder = Recorder(apply=ApiError(403, "exceeded quota"))
    with pytest.raises(ApiError, match="Service x: exceeded quota"):
        await actor(recorder).act(SIGHT, (Apply(CHILD, ""), PatchStatus({})))
    assert len(recorder.calls) == 1


async def test_the_secret_of_a_fleet_is_random_and_one_that_is_there_stays() -> None:
    recorder = Recorder()
    action = CreatePeerSecret({"kind": "Secret", "metadata": {"name": "x-peers", "namespace": "search"}})
    await actor(recorder).act(SIGHT, (action, action))
    one, other = (call[1]["stringData"]["secret"] for call in recorder.calls)
    assert one != other
    assert len(one) >= 32
    await actor(Recorder(create=ApiError(CONFLICT, "exists"))).act(SIGHT, (action,))


@pytest.mark.parametrize("code", [CONFLICT, 403, 0])
async def test_an_event_that_cannot_be_told_stops_nothing(code: int) -> None:
    recorder = Recorder(create=ApiError(code, "no"))
    await actor(recorder).act(SIGHT, (Emit(EventType.NORMAL, "Ready", "yes"), PatchStatus({})))
    assert [call[0] for call in recorder.calls] == ["create", "apply"]


def test_the_same_event_has_the_same_name_and_another_one_another() -> None:
    def name(event: Emit) -> str:
        return str(event_manifest(OBSERVED, event, "operator-1", datetime.now(UTC))["metadata"]["name"])

    event = Emit(EventType.NORMAL, "Ready", "yes", "since then")
    assert name(event) == name(Emit(EventType.NORMAL, "Ready", "yes", "since then"))
    assert name(event) != name(Emit(EventType.NORMAL, "Ready", "yes", "since now"))
