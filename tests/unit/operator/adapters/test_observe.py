"""What is read from the API server, and what becomes of objects that cannot be understood."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from vectorfleet_operator.adapters.observe import Observer, parse, pod_from, secret_of
from vectorfleet_operator.model.observed import Environment, NodeReport

ENVIRONMENT = Environment("cluster", 1, "node:1", "system", "0.1.0")
SPEC = {
    "vectors": [{"name": "default", "dimensions": 8}],
    "storage": {"url": "s3://bucket/x", "credentials": {"secretRef": {"name": "storage"}}},
}


def pod(name: str, **status: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "uid": f"uid-{name}", "creationTimestamp": "2026-01-01T00:00:00Z", "labels": {}},
        "spec": {"nodeName": "host-1"},
        "status": {"podIP": "10.0.0.1", **status},
    }


class Cluster:
    """Objects by kind and name."""

    def __init__(self, objects: dict[tuple[str, str], dict[str, Any]], pods: list[dict[str, Any]]) -> None:
        self.objects, self.pods = objects, pods
        self.gets: list[tuple[str, str]] = []

    async def get(self, kind: str, namespace: str | None, name: str) -> dict[str, Any] | None:
        self.gets.append((kind, name))
        return self.objects.get((kind, name))

    async def list(self, kind: str, namespace: str | None, label_selector: str = "") -> list[dict[str, Any]]:
        assert label_selector == "vectorfleet.io/collection=x"
        return self.pods


class NoPeers:
    def __init__(self) -> None:
        self.asked: list[tuple[dict[str, str], str]] = []

    async def reports(self, addresses: dict[str, str], secret: str, collection: str) -> dict[str, NodeReport]:
        self.asked.append((addresses, secret))
        return {}


def cluster(**metadata: Any) -> Cluster:
    objects = {
        ("VectorCollection", "x"): {
            "metadata": {"name": "x", "namespace": "search", "uid": "u", **metadata},
            "spec": SPEC,
        },
        ("Secret", "x-peers"): {"data": {"secret": base64.b64encode(b"new\nold\n").decode()}},
        ("Secret", "storage"): {"metadata": {"resourceVersion": "17"}},
        ("Node", "host-1"): {"metadata": {"labels": {"topology.kubernetes.io/zone": "z1"}}},
    }
    return Cluster(objects, [pod("x-0"), pod("x-purge-abcde"), pod("x-10")])


async def observe(found: Any, peers: Any) -> Any:
    return await Observer(found, peers).observe("search", "x", ENVIRONMENT)


async def test_pods_of_the_fleet_have_their_zone_and_are_asked_with_the_first_key() -> None:
    peers = NoPeers()
    sight = await observe(cluster(), peers)
    assert [(found.name, found.ordinal, found.zone) for found in sight.observed.pods] == [
        ("x-0", 0, "z1"),
        ("x-10", 10, "z1"),
    ]
    assert peers.asked == [({"x-0": "10.0.0.1:7301", "x-10": "10.0.0.1:7301"}, "new")]
    assert sight.observed.credentials.version == "17"


async def test_zones_are_read_once() -> None:
    found = cluster()
    observer = Observer(found, NoPeers())  # type: ignore[arg-type]  # the two methods that it uses
    for _ in range(3):
        await observer.observe("search", "x", ENVIRONMENT)
    assert found.gets.count(("Node", "host-1")) == 1


async def test_a_resource_that_is_gone_is_none() -> None:
    assert await observe(Cluster({}, []), NoPeers()) is None


async def test_a_namespace_is_looked_at_only_for_a_resource_that_goes() -> None:
    found = cluster()
    assert not (await observe(found, NoPeers())).observed.namespace_terminating
    assert ("Namespace", "search") not in found.gets
    going = cluster(deletionTimestamp="2026-01-01T00:00:00Z")
    going.objects["Namespace", "search"] = {"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}
    assert (await observe(going, NoPeers())).observed.namespace_terminating


async def test_without_the_fleets_secret_no_node_is_asked() -> None:
    found, peers = cluster(), NoPeers()
    del found.objects["Secret", "x-peers"]
    await observe(found, peers)
    assert peers.asked == []


@pytest.mark.parametrize("spec", [None, 3, "text", [], {}, {"vectors": 1}, {**SPEC, "nodes": {"count": "three"}}])
def test_a_broken_spec_is_a_list_of_sentences_that_name_the_field(spec: object) -> None:
    parsed, problems = parse(spec)
    assert parsed is None
    assert problems
    assert all(problem.startswith("spec") for problem in problems)


def test_a_problem_names_the_field_and_the_value() -> None:
    _, problems = parse({**SPEC, "nodes": {"count": "three"}})
    assert "spec.nodes.count 'three'" in problems[0]


@pytest.mark.parametrize("secret", [None, {}, {"data": None}, {"data": {"secret": "%%%"}}, {"data": {"secret": ""}}])
def test_a_secret_that_cannot_be_read_is_none(secret: Any) -> None:
    assert secret_of(secret) == ""


def test_a_pod_tells_why_it_does_not_start() -> None:
    waiting = {"reason": "ImagePullBackOff", "message": "no such image"}
    pulled = pod_from(pod("x-0", containerStatuses=[{"state": {"waiting": waiting}}]), {})
    assert pulled.trouble == "ImagePullBackOff: no such image"
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}
    assert pod_from(pod("x-0", conditions=[condition]), {}).trouble == "Unschedulable: 0/3 nodes"
    creating = {"reason": "ContainerCreating"}
    assert pod_from(pod("x-0", containerStatuses=[{"state": {"waiting": creating}}]), {}).trouble == ""
