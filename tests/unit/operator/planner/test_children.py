"""The manifests: what they promise to Kubernetes, and that comparing them makes no needless writes."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from operator_world import NAME, World, spec_json

from vectorfleet_operator.model.spec import VectorCollectionSpec
from vectorfleet_operator.planner.children import pods
from vectorfleet_operator.planner.children.common import STAMP, differs, stamped


def made(**spec: Any) -> World:
    world = World(spec_json(**spec))
    world.act(world.plan())
    return world


def stateful_set(**spec: Any) -> dict[str, Any]:
    return made(**spec).children["StatefulSet", NAME]


def pod_spec(**spec: Any) -> dict[str, Any]:
    found: dict[str, Any] = stateful_set(**spec)["spec"]["template"]["spec"]
    return found


def test_every_child_is_owned_and_labelled() -> None:
    for child in made().children.values():
        owner = child["metadata"]["ownerReferences"]
        assert [(found["uid"], found["controller"]) for found in owner] == [("uid-1", True)]
        assert child["metadata"]["labels"]["vectorfleet.io/collection"] == NAME


def test_no_child_says_null_or_has_an_empty_map_but_empty_dir() -> None:
    def check(value: Any, path: str) -> None:
        assert value is not None, path
        if isinstance(value, dict):
            assert value or path.endswith(".emptyDir"), path
            for key, item in value.items():
                check(item, f"{path}.{key}")
        elif isinstance(value, list):
            assert value, path
            for item in value:
                check(item, path)

    template = {"resources": {}, "tolerations": [], "nodeSelector": {}}
    children = made(nodes={"count": 3, "template": template}).children
    assert len(children) == 8
    for (kind, name), child in children.items():
        check(child, f"{kind}/{name}")


def test_pods_pass_the_restricted_profile_and_have_no_token() -> None:
    spec = pod_spec()
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    (container,) = spec["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_pods_start_together_and_only_the_operator_replaces_them() -> None:
    found = stateful_set()["spec"]
    assert found["podManagementPolicy"] == "Parallel"
    assert found["updateStrategy"] == {"type": "OnDelete"}


def test_a_cache_volume_goes_with_its_pod_and_without_one_it_is_an_empty_dir() -> None:
    found = stateful_set(nodes={"count": 2, "cache": {"size": "1Gi", "storageClassName": "fast"}})["spec"]
    (claim,) = found["volumeClaimTemplates"]
    assert claim["metadata"]["labels"]["vectorfleet.io/collection"] == NAME
    assert claim["spec"]["storageClassName"] == "fast"
    assert found["persistentVolumeClaimRetentionPolicy"] == {"whenDeleted": "Delete", "whenScaled": "Delete"}
    assert {"name": "cache", "emptyDir": {}} in pod_spec()["volumes"]


def test_a_node_may_fill_most_of_its_cache_volume_and_is_told_nothing_without_one() -> None:
    def budget(**spec: Any) -> list[str]:
        return [entry["value"] for entry in pod_spec(**spec)["containers"][0]["env"] if entry["name"].endswith("BYTES")]

    assert budget(nodes={"count": 2, "cache": {"size": "10Gi"}}) == [str(85 * 10 * 2**30 // 100)]
    assert budget(nodes={"count": 2, "cache": {"size": "1.5G"}}) == ["1275000000"]
    assert budget() == []
    assert "volumeClaimTemplates" not in stateful_set()["spec"]


@pytest.mark.parametrize(("policy", "deleted"), [("Retain", "Retain"), ("Delete", "Delete")])
def test_a_data_volume_outlives_pods_and_goes_with_the_resource_only_when_asked(policy: str, deleted: str) -> None:
    world = made(shards=1, replicas=1, nodes=1, storage={"volume": {"size": "5Gi"}}, deletionPolicy=policy)
    found = world.children["StatefulSet", NAME]["spec"]
    assert found["persistentVolumeClaimRetentionPolicy"] == {"whenDeleted": deleted, "whenScaled": "Retain"}
    assert world.topology.collections[0].storage.url == "file:///var/lib/vectorfleet/data"
    mounts = found["template"]["spec"]["containers"][0]["volumeMounts"]
    assert {"name": "data", "mountPath": "/var/lib/vectorfleet"} in mounts


def test_credentials_are_mounted_when_named_and_may_be_missing() -> None:
    volume = next(found for found in pod_spec()["volumes"] if found["name"] == "credentials")
    assert volume["secret"] == {"secretName": "storage", "optional": True}
    names = [found["name"] for found in pod_spec(storage={"url": "s3://bucket/things"})["volumes"]]
    assert "credentials" not in names


def test_the_users_part_of_the_template_is_taken_over() -> None:
    template = {
        "resources": {"requests": {"cpu": 2, "memory": "4Gi"}},
        "nodeSelector": {"pool": "search"},
        "tolerations": [{"key": "dedicated", "operator": "Exists"}],
        "serviceAccount": {"annotations": {"eks.amazonaws.com/role-arn": "arn"}},
    }
    world = made(nodes={"count": 3, "template": template})
    spec = world.children["StatefulSet", NAME]["spec"]["template"]["spec"]
    assert spec["containers"][0]["resources"] == {"requests": {"cpu": "2", "memory": "4Gi"}}
    assert spec["nodeSelector"] == {"pool": "search"}
    assert spec["tolerations"] == [{"key": "dedicated", "operator": "Exists"}]
    assert world.children["ServiceAccount", NAME]["metadata"]["annotations"]["eks.amazonaws.com/role-arn"] == "arn"


def test_the_template_does_not_depend_on_anything_that_changes_by_itself() -> None:
    world = World()
    world.converge()
    before = world.children["StatefulSet", NAME]["spec"]["template"]
    world.edit({"consistency": {"default": "Strong"}, "nodes": {"count": 5}})
    world.converge()
    assert world.children["StatefulSet", NAME]["spec"]["template"] == before


def test_the_purge_job_is_no_pod_of_the_fleet_and_has_the_same_mounts() -> None:
    world = made(nodes={"count": 3, "cache": {"size": "1Gi"}})
    observed = world.observe()
    assert isinstance(observed.spec, VectorCollectionSpec)
    job = pods.purge_job(observed, observed.spec, "node:1")["spec"]["template"]
    assert "vectorfleet.io/collection" not in job["metadata"]["labels"]
    (container,) = job["spec"]["containers"]
    assert container["args"] == ["purge"]
    volumes = {volume["name"] for volume in job["spec"]["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} <= volumes


def live(manifest: dict[str, Any]) -> dict[str, Any]:
    """As an API server gives it back: with defaults, and quantities in its own form."""
    found = copy.deepcopy(manifest)
    found["metadata"].update(resourceVersion="7", managedFields=[{}], creationTimestamp="now")
    found["spec"]["extra"] = "defaulted"
    return found


def test_defaults_and_other_forms_of_a_quantity_are_no_difference() -> None:
    wanted = stamped({"metadata": {"name": "x"}, "spec": {"a": ["1024Mi"], "cpu": "0.5", "none": {}}})
    there = live(wanted)
    there["spec"].update(a=["1Gi"], cpu="500m")
    del there["spec"]["none"]
    assert not differs(there, wanted)


@pytest.mark.parametrize("change", ["value", "longer list", "stamp", "missing"])
def test_a_difference_is_found(change: str) -> None:
    wanted = stamped({"metadata": {"name": "x"}, "spec": {"a": ["one"], "b": "two"}})
    there = live(wanted)
    match change:
        case "value":
            there["spec"]["b"] = "three"
        case "longer list":
            there["spec"]["a"].append("more")
        case "stamp":
            there["metadata"]["annotations"][STAMP] = "old"
        case _:
            del there["spec"]["b"]
    assert differs(there, wanted)


def test_the_stamp_follows_the_content() -> None:
    one = stamped({"metadata": {"name": "x"}, "spec": {"a": 1}})
    assert stamped(json.loads(json.dumps(one))) == one
    other = stamped({"metadata": {"name": "x"}, "spec": {"a": 2}})
    assert other["metadata"]["annotations"][STAMP] != one["metadata"]["annotations"][STAMP]
