"""A collection from creation to deletion, planned against a cluster in memory."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from operator_world import NAME, World, spec_json

from vectorfleet_operator.model import names
from vectorfleet_operator.model.observed import StorageState
from vectorfleet_operator.planner.actions import STEADY, Apply, PatchStatus, PutTopology, ReleaseClaim


def running(**spec: object) -> World:
    world = World(spec_json(**spec))
    world.converge()
    return world


def test_a_collection_becomes_ready_and_then_nothing_is_written() -> None:
    world = running()
    assert world.condition("Ready")["status"] == "True"
    assert world.condition("FullyReplicated")["status"] == "True"
    assert world.condition("Reconciling")["status"] == world.condition("Stalled")["status"] == "False"
    assert world.status["rows"] == 20
    for _ in range(5):
        world.live()
        made = world.plan()
        assert made.actions == ()
        assert made.look_again == STEADY


def test_the_status_tells_which_indexes_there_are_and_why() -> None:
    assert running().status["indexes"] == [{"vector": "default", "types": ["HNSW"], "reason": "HNSW: many rows"}]


def test_ready_is_unknown_from_the_first_event_on() -> None:
    world = World()
    world.act(world.plan())
    assert world.condition("Ready")["status"] == "Unknown"
    assert world.status["observedGeneration"] == 1


def test_the_finalizer_is_there_before_anything_else_is_made() -> None:
    world = World()
    world.act(world.plan(), limit=1)
    assert world.resource is not None
    assert world.resource["metadata"]["finalizers"] == [names.FINALIZER]
    assert not world.children


def test_nothing_is_placed_before_the_pods_are_scheduled() -> None:
    world = World()
    world.unschedulable = {0}
    for _ in range(5):
        world.act(world.plan())
        world.live()
    assert set(world.placement().values()) == {()}
    world.unschedulable = set()
    world.converge()
    assert all(len(nodes) == 2 for nodes in world.placement().values())


def test_a_pod_that_cannot_be_scheduled_does_not_keep_the_others_from_serving() -> None:
    world = World(spec_json(shards=2, replicas=1, nodes=2))
    world.unschedulable = {1}
    for _ in range(20):
        world.act(world.plan())
        world.live()
    assert set(world.placement().values()) == {(f"{NAME}-0",)}
    assert world.condition("Available")["status"] == "True"


def test_replicas_stand_in_different_zones() -> None:
    world = running(shards=6, replicas=2, nodes=6)
    for nodes in world.placement().values():
        assert len({world.pods[node].zone for node in nodes}) == 2


def test_an_edit_reaches_the_topology_before_the_status_says_ready() -> None:
    world = running()
    world.edit({"consistency": {"default": "Strong"}})
    made = world.plan()
    applied = [action for action in made.actions if isinstance(action, Apply)]
    assert [action.manifest["kind"] for action in applied] == ["ConfigMap"]
    assert isinstance(made.actions[-1], PatchStatus)
    world.act(made)
    assert world.condition("Ready")["observedGeneration"] == 2
    assert world.topology.collections[0].consistency == "Strong"


def test_a_node_with_an_old_topology_is_told_the_new_one() -> None:
    world = running()
    late = world.nodes[f"{NAME}-1"]
    late.topology = late.topology.model_copy(update={"version": 1})
    pushes = [action for action in world.plan().actions if isinstance(action, PutTopology)]
    assert [push.addresses for push in pushes] == [("10.0.0.1:7301",)]


def test_scaling_down_moves_the_shards_first() -> None:
    world = running(shards=6, replicas=1, nodes=3)
    world.edit({"nodes": {"count": 2}})
    for _ in range(60):
        assert world.served() == set(range(6))
        world.act(world.plan())
        if f"{NAME}-2" not in world.pods:
            break
        stateful_set = world.children["StatefulSet", NAME]
        if stateful_set["spec"]["replicas"] == 2:
            assert not any(f"{NAME}-2" in nodes for nodes in world.placement().values())
        world.live()
    world.converge()
    assert len(world.pods) == 2
    assert len(world.topology.nodes) == 2
    assert world.condition("Ready")["status"] == "True"


def test_no_pod_goes_before_every_node_knows_that_it_is_empty() -> None:
    world = running(shards=6, replicas=1, nodes=3)
    world.edit({"nodes": {"count": 2}})
    late = world.nodes[f"{NAME}-1"]
    old = late.topology
    for _ in range(12):
        world.act(world.plan())
        world.live()
        late.topology = old.model_copy(update={"version": 1, "collections": world.topology.collections})
    assert not any(f"{NAME}-2" in nodes for nodes in world.placement().values())
    assert world.children["StatefulSet", NAME]["spec"]["replicas"] == 3


def test_scaling_up_gives_the_new_node_its_share_and_keeps_every_shard_served() -> None:
    world = running(shards=4, replicas=2, nodes=2)
    world.edit({"nodes": {"count": 4}})
    for _ in range(20):
        assert world.served() == set(range(4))
        world.act(world.plan())
        world.live()
    world.converge()
    held = [node for nodes in world.placement().values() for node in nodes]
    assert {held.count(f"{NAME}-{number}") for number in range(4)} == {2}


def test_the_topology_only_grows() -> None:
    world = World()
    orders = []
    for _ in range(10):
        world.act(world.plan())
        world.live()
        orders.append(world.topology.order)
    world.edit({"nodes": {"count": 4}})
    for _ in range(10):
        world.act(world.plan())
        world.live()
        orders.append(world.topology.order)
    assert orders == sorted(orders)
    assert len(set(orders)) > 2


def test_a_lost_config_map_is_made_again_from_what_the_nodes_hold() -> None:
    world = running(shards=4)
    before, order = world.placement(), world.topology.order
    del world.children["ConfigMap", names.topology(NAME)]
    world.converge()
    assert {shard: set(nodes) for shard, nodes in world.placement().items()} == {
        shard: set(nodes) for shard, nodes in before.items()
    }
    assert world.topology.order > order
    assert world.condition("Ready")["status"] == "True"


def test_a_config_map_that_is_older_than_what_nodes_hold_is_written_anew_as_a_newer_one() -> None:
    world = running()
    held = world.topology.order
    key = ("ConfigMap", names.topology(NAME))
    old = world.topology.model_copy(update={"version": 1})
    world.children[key] = {**world.children[key], "data": {**world.children[key]["data"]}}
    world.children[key]["data"]["topology.json"] = old.model_dump_json()
    world.converge()
    assert world.topology.order > held


@pytest.mark.parametrize("kind", ["Service", "ConfigMap", "PodDisruptionBudget", "NetworkPolicy", "ServiceAccount"])
def test_a_child_that_somebody_changed_is_mended(kind: str) -> None:
    world = running()
    key = next(found for found in world.children if found[0] == kind)
    live = world.children[key]
    world.children[key] = {**live, "metadata": {**live["metadata"], "labels": {}}}
    applied = [action.manifest["kind"] for action in world.plan().actions if isinstance(action, Apply)]
    assert applied == [kind]


def test_a_child_of_an_earlier_resource_of_the_same_name_is_left_to_the_garbage_collector() -> None:
    world = running()
    assert world.resource is not None
    world.resource["metadata"]["uid"] = "uid-2"
    assert not any(isinstance(action, Apply) for action in world.plan().actions)
    world.children.clear()
    world.converge()
    assert world.condition("Ready")["status"] == "True"


def test_a_name_that_is_taken_is_told_and_left_alone() -> None:
    world = World()
    world.children["Service", NAME] = {"kind": "Service", "metadata": {"name": NAME}, "spec": {}}
    made = world.plan()
    assert not any(isinstance(action, Apply) for action in made.actions)
    world.act(made)
    assert world.condition("Stalled")["reason"] == "NameConflict"
    assert f"Service {NAME}" in world.condition("Ready")["message"]


def test_a_suspended_collection_has_no_pods_and_wakes_where_it_was() -> None:
    world = running(shards=4)
    before = world.placement()
    world.edit({"suspend": True})
    world.converge()
    assert not world.pods
    assert world.condition("Ready")["reason"] == "Suspended"
    assert world.condition("Reconciling")["status"] == "False"
    world.edit({"suspend": False})
    world.converge()
    assert world.placement() == before
    assert world.condition("Ready")["status"] == "True"


def test_a_pod_that_dies_does_not_take_ready_away_but_full_replication() -> None:
    world = running()
    world.kill(f"{NAME}-0")
    world.act(world.plan())
    assert world.condition("Ready")["status"] == "True"
    assert world.condition("FullyReplicated")["status"] == "False"
    assert world.status["operation"]["type"] == "Start"
    world.converge()
    assert world.condition("FullyReplicated")["status"] == "True"
    assert "operation" not in world.status


def test_a_shard_that_nobody_serves_takes_ready_away() -> None:
    world = running(shards=1, replicas=1, nodes=1)
    world.kill(f"{NAME}-0")
    world.act(world.plan())
    assert world.condition("Ready")["reason"] == "ShardsUnavailable"
    assert world.condition("Available")["status"] == "False"


def test_a_replica_in_a_pod_that_is_not_ready_does_not_count_as_a_copy() -> None:
    world = running()
    world.pods[f"{NAME}-0"] = replace(world.pods[f"{NAME}-0"], ready=False)
    world.act(world.plan())
    assert world.condition("Ready")["status"] == "True"
    assert world.condition("FullyReplicated")["status"] == "False"


def test_shards_behind_a_service_without_a_ready_pod_are_not_served() -> None:
    world = running()
    world.pods = {name: replace(pod, ready=False) for name, pod in world.pods.items()}
    world.act(world.plan())
    assert world.condition("Ready")["reason"] == "ShardsUnavailable"
    assert world.condition("Available")["status"] == "False"


def test_retain_gives_the_claim_back_before_it_stops_the_nodes_and_keeps_the_data() -> None:
    world = running()
    world.delete()
    made = world.plan()
    kinds = [type(action) for action in made.actions]
    assert kinds.index(ReleaseClaim) < kinds.index(Apply)
    world.act(made)
    world.converge()
    assert world.resource is None
    assert world.released == 1
    assert not world.purged


def test_delete_removes_the_data_after_the_last_pod_is_gone_and_keeps_the_claim_until_then() -> None:
    world = running(deletionPolicy="Delete")
    world.delete()
    for _ in range(10):
        if ("Job", names.purge(NAME)) in world.children:
            assert not world.pods
        if world.resource is None:
            break
        world.act(world.plan())
        world.live()
    assert world.resource is None
    assert world.purged
    assert world.released == 0


def test_no_purge_begins_while_a_pod_is_still_there() -> None:
    world = running(deletionPolicy="Delete")
    world.delete()
    for _ in range(3):
        world.act(world.plan())
    assert world.pods
    assert ("Job", names.purge(NAME)) not in world.children


def test_data_that_somebody_else_took_over_is_not_removed() -> None:
    world = running(deletionPolicy="Delete")
    world.storage = StorageState.CLAIMED
    world.live()
    world.act(world.plan())
    world.delete()
    world.converge()
    assert world.resource is None
    assert not world.purged


def test_a_purge_that_fails_is_told_and_tried_again() -> None:
    world = running(deletionPolicy="Delete")
    world.delete()
    world.job_succeeds = False
    for _ in range(12):
        world.act(world.plan())
        world.live()
    assert "PurgeFailed" in [event.reason for event in world.events]
    assert world.resource is not None
    world.job_succeeds = True
    world.converge()
    assert world.purged
    assert world.resource is None


def test_a_purge_waits_for_the_secret_and_says_so() -> None:
    world = running(deletionPolicy="Delete")
    world.delete()
    world.secret_version = None
    for _ in range(5):
        world.act(world.plan())
        world.live()
    assert ("Job", names.purge(NAME)) not in world.children
    assert "Secret storage" in world.status["operation"]["waitingFor"]
    world.edit({"deletionPolicy": "Retain"})
    world.converge()
    assert world.resource is None
    assert not world.purged


@pytest.mark.parametrize("state", [StorageState.CLAIMED, StorageState.SCHEMA_MISMATCH, StorageState.DELETED])
def test_data_that_was_never_ours_is_not_removed(state: StorageState) -> None:
    world = World(spec_json(deletionPolicy="Delete"))
    world.storage = state
    for _ in range(8):
        world.act(world.plan())
        world.live()
    assert world.condition("Stalled")["reason"] == state.value
    world.delete()
    world.converge()
    assert world.resource is None
    assert not world.purged
    assert "DataKept" in [event.reason for event in world.events]


def test_a_namespace_that_goes_does_not_hang_on_the_finalizer() -> None:
    world = running(deletionPolicy="Delete")
    world.namespace_terminating = True
    world.delete()
    world.converge()
    assert world.resource is None
    assert not world.purged


def test_pods_that_never_go_do_not_hang_the_finalizer() -> None:
    world = running()
    world.delete()
    world.act(world.plan())
    assert world.pods
    world.now += timedelta(seconds=120)
    world.act(world.plan())
    assert world.resource is None


def test_a_collection_that_never_started_is_let_go_at_once() -> None:
    world = World(spec_json(deletionPolicy="Delete"))
    world.act(world.plan(), limit=1)
    world.delete()
    world.act(world.plan())
    assert world.resource is None
