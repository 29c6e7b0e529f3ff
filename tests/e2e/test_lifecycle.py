"""Spec edits, scaling, suspension and deletion of a collection, and operators that die in the middle of them."""

from __future__ import annotations

import json

from conftest import SYSTEM
from fleet import Fleet
from waiting import eventually


def kill_the_operator(fleet: Fleet) -> None:
    """SIGKILLs the operator: its pod is deleted without grace, and another one starts."""
    fleet.commands.kubectl(
        "-n", SYSTEM, "delete", "pods", "-l", "app.kubernetes.io/name=vectorfleet", "--force", "--grace-period=0"
    )


def test_an_empty_collection_becomes_ready_and_an_edit_is_observed(fleet: Fleet) -> None:
    fleet.apply(nodes=None, sharding={"shards": 1, "replicas": 1})
    fleet.wait_for("Ready")
    fleet.patch({"consistency": {"default": "Strong"}})
    fleet.wait_for("Ready")
    topology = json.loads(fleet.json("configmap", f"{fleet.name}-topology")["data"]["topology.json"])
    assert topology["collections"][0]["consistency"] == "Strong"


def test_scaling_up_and_down_moves_shards_without_losing_a_row(fleet: Fleet) -> None:
    fleet.apply(nodes={"count": 2})
    fleet.wait_for("FullyReplicated")
    fleet.load(1000, seed=3)
    before = fleet.answers()
    fleet.kubectl("scale", "vc", fleet.name, "--replicas=3")
    fleet.wait_for("FullyReplicated")
    eventually(lambda: len(fleet.pods()) == 3, timeout=30, what="three pods")
    assert fleet.answers() == before
    fleet.kubectl("scale", "vc", fleet.name, "--replicas=2")
    eventually(lambda: len(fleet.pods()) == 2, timeout=60, what="two pods")
    fleet.wait_for("FullyReplicated")
    assert fleet.answers() == before


def test_an_edit_of_the_nodes_replaces_every_pod_and_changes_no_answer(fleet: Fleet) -> None:
    fleet.apply(nodes={"count": 2})
    fleet.wait_for("FullyReplicated")
    fleet.load(500, seed=12)
    before = fleet.answers()
    old = {pod["metadata"]["uid"] for pod in fleet.pods()}
    fleet.patch({"nodes": {"template": {"resources": {"requests": {"cpu": "11m"}}}}})
    fleet.wait_for_new_pods(old)
    fleet.wait_for("FullyReplicated")
    assert fleet.answers() == before
    assert {pod["spec"]["containers"][0]["resources"]["requests"]["cpu"] for pod in fleet.pods()} == {"11m"}


def test_a_suspended_collection_has_no_pods_and_wakes_with_its_data(fleet: Fleet) -> None:
    fleet.apply(sharding={"shards": 1, "replicas": 1}, nodes={"count": 1})
    fleet.wait_for("Ready")
    fleet.load(200, seed=4)
    before = fleet.answers()
    fleet.patch({"suspend": True})
    fleet.wait_for("Ready", "False", reason="Suspended")
    eventually(lambda: not fleet.pods(), timeout=60, what="no pods")
    fleet.patch({"suspend": False})
    fleet.wait_for("Ready")
    assert fleet.answers() == before


def test_retain_keeps_the_data_for_the_same_yaml_and_delete_removes_it(fleet: Fleet) -> None:
    fleet.apply()
    fleet.wait_for("Ready")
    fleet.load(500, seed=5)
    before = fleet.answers()
    fleet.kubectl("delete", "vc", fleet.name, "--timeout=60s")
    eventually(lambda: not fleet.pods(), timeout=60, what="no pods")
    fleet.apply(deletionPolicy="Delete")
    fleet.wait_for("Ready")
    assert fleet.answers() == before
    fleet.kubectl("delete", "vc", fleet.name, "--timeout=90s")
    fleet.apply()
    refused = fleet.wait_for("Stalled", reason="Deleted")
    assert "deleted" in refused["message"]


def test_an_operator_killed_in_the_middle_of_a_creation_converges(fleet: Fleet) -> None:
    fleet.apply()
    eventually(
        lambda: fleet.commands.kubectl("-n", fleet.namespace, "get", "sts", fleet.name, check=False).returncode == 0,
        timeout=30,
        what="the StatefulSet is made",
        every=0.02,
    )
    kill_the_operator(fleet)
    fleet.wait_for("FullyReplicated")


def test_an_operator_killed_in_the_middle_of_a_scale_up_and_a_deletion_converges(fleet: Fleet) -> None:
    fleet.apply(nodes={"count": 2})
    fleet.wait_for("FullyReplicated")
    fleet.kubectl("scale", "vc", fleet.name, "--replicas=3")
    eventually(lambda: len(fleet.pods()) == 3, timeout=30, what="a third pod", every=0.02)
    kill_the_operator(fleet)
    fleet.wait_for("FullyReplicated")
    fleet.patch({"deletionPolicy": "Delete"})
    fleet.kubectl("delete", "vc", fleet.name, "--wait=false")
    kill_the_operator(fleet)
    eventually(
        lambda: not fleet.json("vc")["items"] and not fleet.pods(), timeout=120, what="the collection and its pods gone"
    )
