"""What the status says of every way in which a collection can be, and which events tell of it."""

from __future__ import annotations

import pytest
from operator_world import NAME, World, spec_json

from vectorfleet_operator.model import names
from vectorfleet_operator.model.observed import StorageState
from vectorfleet_operator.planner import plan as planner
from vectorfleet_operator.planner.actions import STEADY, WORKING, Apply, RefreshCredentials

FOR_HUMANS = {"ClaimedByOther", "SchemaMismatch", "StorageUnsafe", "Deleted", "DataLoss"}


def looking_at(state: StorageState, message: str = "as the node says") -> World:
    world = World()
    world.storage, world.storage_message = state, message
    for _ in range(6):
        world.act(world.plan())
        world.live()
    world.act(world.plan())
    return world


@pytest.mark.parametrize(
    "state", [state for state in StorageState if state not in (StorageState.OK, StorageState.STARTING)]
)
def test_every_state_of_the_storage_is_a_reason_with_the_nodes_sentence(state: StorageState) -> None:
    world = looking_at(state)
    ready = world.condition("Ready")
    assert (ready["status"], ready["reason"]) == ("False", state.value)
    assert "as the node says" in ready["message"]
    assert "s3://bucket/things" in ready["message"]
    stalled = world.condition("Stalled")
    assert (stalled["status"] == "True") == (state.value in FOR_HUMANS)
    if state.value in FOR_HUMANS:
        assert stalled["reason"] == state.value
        assert world.condition("Reconciling")["status"] == "False"
        assert world.plan().look_again == STEADY
    else:
        assert world.plan().look_again == WORKING


def test_a_claim_names_its_holder() -> None:
    assert "rivals/other" in looking_at(StorageState.CLAIMED).condition("Ready")["message"]


def test_refused_credentials_name_the_secret() -> None:
    assert "Secret storage" in looking_at(StorageState.CREDENTIALS_REFUSED).condition("Ready")["message"]


def test_a_missing_secret_is_named_before_any_node_runs() -> None:
    world = World()
    world.secret_version = None
    world.act(world.plan())
    ready = world.condition("Ready")
    assert ready["reason"] == "CredentialsMissing"
    assert "Secret storage" in ready["message"]


def test_a_secret_that_went_while_everything_serves_is_no_alarm() -> None:
    world = World()
    world.converge()
    world.secret_version = None
    world.act(world.plan())
    assert world.condition("Ready")["status"] == "True"


def test_pods_that_were_refused_get_a_changed_secret_at_once_and_others_are_left_alone() -> None:
    world = looking_at(StorageState.CREDENTIALS_REFUSED)
    world.secret_version = "2"
    refreshed = [action for action in world.plan().actions if isinstance(action, RefreshCredentials)]
    assert {action.version for action in refreshed} == {"2"}
    assert len(refreshed) == 3
    world.act(world.plan())
    assert not any(isinstance(action, RefreshCredentials) for action in world.plan().actions)


def test_a_store_that_is_gone_takes_ready_away_and_leaves_available() -> None:
    world = World(load_passes=1)
    world.converge()
    observed = world.observe()
    reports = {
        name: type(report)(**{**vars(report), "storage": StorageState.UNREACHABLE, "message": "no answer"})
        for name, report in observed.reports.items()
    }
    gone = type(observed)(**{**vars(observed), "reports": reports})
    world.act(planner.plan(gone, world.now))
    assert world.condition("Ready")["reason"] == "StorageUnreachable"
    assert world.condition("Available")["status"] == "True"


def test_one_node_that_cannot_reach_the_store_is_no_reason_while_others_can() -> None:
    world = World(spec_json(shards=2, replicas=2, nodes=3))
    world.converge()
    observed = world.observe()
    lonely = f"{NAME}-0"
    report = observed.reports[lonely]
    reports = {**observed.reports, lonely: type(report)(**{**vars(report), "storage": StorageState.UNREACHABLE})}
    world.act(planner.plan(type(observed)(**{**vars(observed), "reports": reports}), world.now))
    assert world.condition("Ready")["status"] == "True"


def test_an_object_that_cannot_be_read_says_so_and_nothing_else_changes() -> None:
    world = World()
    world.converge()
    uid, children = world.status["storage"]["uid"], dict(world.children)
    world.edit({"sharding": {"shards": "many"}, "nodes": {"count": -1}})
    made = world.plan()
    assert not any(isinstance(action, Apply) for action in made.actions)
    world.act(made)
    assert world.condition("Ready")["reason"] == world.condition("Stalled")["reason"] == "InvalidSpec"
    assert "sharding" in world.condition("Ready")["message"]
    assert world.status["storage"]["uid"] == uid
    assert world.children == children
    assert world.plan().actions == ()
    world.delete()
    world.act(world.plan())
    assert world.resource is None


@pytest.mark.parametrize("spec", [None, 7, [], {}, {"vectors": None}])
def test_no_object_is_too_broken_for_a_status(spec: object) -> None:
    world = World()
    assert world.resource is not None
    world.resource["spec"] = spec
    world.act(world.plan())
    assert world.condition("Ready")["reason"] == "InvalidSpec"


def test_a_status_that_somebody_scribbled_on_is_mended() -> None:
    world = World()
    world.converge()
    assert world.resource is not None
    world.resource["status"] = {"conditions": "nonsense", "rows": -4, "storage": {"uid": "data-1"}}
    world.act(world.plan())
    assert world.condition("Ready")["status"] == "True"
    assert world.status["storage"]["uid"] == "data-1"


def test_what_the_api_server_refuses_is_told_once() -> None:
    world = World()
    patch = planner.failed(world.observe(), "StatefulSet things: exceeded quota", world.now)
    assert patch is not None
    world.apply(patch)
    assert world.condition("Ready")["reason"] == "ApplyFailed"
    assert "exceeded quota" in world.condition("Ready")["message"]
    assert planner.failed(world.observe(), "StatefulSet things: exceeded quota", world.now) is None


def test_transition_times_stay_while_a_condition_stays() -> None:
    world = World()
    world.converge()
    before = world.condition("Stalled")["lastTransitionTime"]
    world.edit({"suspend": True})
    world.converge()
    assert world.condition("Stalled")["lastTransitionTime"] == before
    assert world.condition("Ready")["lastTransitionTime"] > before


def test_events_tell_each_transition_once() -> None:
    world = World()
    world.converge()
    world.kill(f"{NAME}-0")
    world.converge()
    reasons = [event.reason for event in world.events]
    assert reasons.count("Ready") == 1
    assert reasons.count("FullyReplicated") == 2
    assert reasons.count("ScaledUp") == 1


def test_a_plan_made_twice_names_its_events_the_same() -> None:
    world = World()
    assert world.plan().actions == world.plan().actions


def test_rows_do_not_flicker_while_a_shard_is_unknown() -> None:
    world = World()
    world.converge()
    assert world.status["rows"] == 20
    for pod in list(world.nodes):
        world.nodes.pop(pod)
    world.act(world.plan())
    assert world.status["rows"] == 20


def test_the_scale_subresource_finds_count_and_selector() -> None:
    world = World()
    world.converge()
    assert world.status["nodes"]["count"] == 3
    assert world.status["nodes"]["selector"] == f"{names.COLLECTION_LABEL}={NAME}"
