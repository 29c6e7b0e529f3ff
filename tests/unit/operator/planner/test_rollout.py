"""Replacing pods with an old template: the rules, and the image that stays until the user changes it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from operator_world import ENVIRONMENT, NAME, World, spec_json

from vectorfleet_operator.planner import plan as planner
from vectorfleet_operator.planner.actions import DeletePod
from vectorfleet_operator.planner.rollout import RULES, UNHEALTHY_MAY_GO


def outdated(**spec: object) -> World:
    """A fleet that serves, with a new image that its StatefulSet's controller has just seen."""
    world = World(spec_json(**spec))
    world.converge()
    assert world.resource is not None
    world.edit({"nodes": {**world.resource["spec"]["nodes"], "image": "node:2"}})
    world.act(world.plan())
    world.live()
    return world


def deletions(world: World) -> list[DeletePod]:
    return [action for action in world.plan().actions if isinstance(action, DeletePod)]


def waiting_for(world: World) -> str:
    world.act(world.plan())
    return str(world.status["operation"]["waitingFor"])


def test_one_pod_is_deleted_and_the_status_says_what_the_next_waits_for() -> None:
    world = outdated()
    assert [action.name for action in deletions(world)] == [f"{NAME}-2"]
    world.act(world.plan())
    assert deletions(world) == []
    assert "one_disruption_at_a_time" in waiting_for(world)


def test_a_paused_update_waits_and_says_so() -> None:
    world = outdated(update={"paused": True})
    assert deletions(world) == []
    assert "update_is_not_paused: spec.update.paused is true" in waiting_for(world)
    assert world.status["nodes"]["updated"] == 0


def test_the_last_replica_that_serves_a_shard_stays() -> None:
    world = outdated(shards=2, replicas=2, nodes=2)
    partner = world.nodes[f"{NAME}-0"]
    partner.loaded = {}
    world.load_passes = 10
    world.pods[f"{NAME}-0"] = replace(world.pods[f"{NAME}-0"], revision="node:2")
    world.nodes[f"{NAME}-1"].loaded = {0: 10, 1: 10}
    assert deletions(world) == []
    assert "shard_keeps_a_ready_replica" in waiting_for(world)


def test_a_collection_without_copies_can_still_be_updated() -> None:
    world = outdated(shards=1, replicas=1, nodes=1)
    assert [action.name for action in deletions(world)] == [f"{NAME}-0"]


def test_an_unhealthy_pod_may_always_go_even_while_another_is_away_and_the_update_is_paused() -> None:
    world = outdated(update={"paused": True})
    world.kill(f"{NAME}-0")
    world.nodes.pop(f"{NAME}-1")
    world.pods[f"{NAME}-1"] = replace(world.pods[f"{NAME}-1"], ready=False)
    found = deletions(world)
    assert [action.name for action in found] == [f"{NAME}-1"]
    assert UNHEALTHY_MAY_GO in found[0].reason


def test_nothing_is_replaced_before_the_controller_has_seen_the_template() -> None:
    world = outdated()
    world.children["StatefulSet", NAME]["status"]["observedGeneration"] = 0
    assert deletions(world) == []


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_every_rule_is_named_as_users_see_it(rule: object) -> None:
    assert getattr(rule, "check").__name__ == getattr(rule, "name")  # noqa: B009 - the pair must stay in step


def test_a_new_default_image_restarts_nothing_that_serves() -> None:
    world = World()
    world.converge()
    upgraded = replace(world.observe(), environment=replace(ENVIRONMENT, node_image="node:9", operator_version="0.1.0"))
    assert planner.plan(upgraded, world.now).actions == ()


def test_a_mended_default_image_reaches_a_collection_that_never_served() -> None:
    world = World()
    world.unschedulable = {0, 1, 2}
    world.act(world.plan())
    mended = replace(world.observe(), environment=replace(ENVIRONMENT, node_image="node:9"))
    world.act(planner.plan(mended, world.now))
    image = world.children["StatefulSet", NAME]["spec"]["template"]["spec"]["containers"][0]["image"]
    assert image == "node:9"


def test_an_image_that_the_user_gives_wins() -> None:
    world = outdated()
    world.converge()
    assert world.status["versions"]["image"] == world.status["versions"]["requestedImage"] == "node:2"
