"""A Kubernetes and its nodes in memory, as far as the planner can tell the difference.

`World` holds a resource, its children, pods and what nodes report. `observe` and `apply` are what the operator does;
`live` is what everybody else does: controllers make and remove pods, a scheduler places them, nodes load their shards.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import ValidationError

from vectorfleet.topology import Topology
from vectorfleet_operator.model import names
from vectorfleet_operator.model.observed import (
    Credentials,
    Environment,
    IndexReport,
    NodeReport,
    Observed,
    Pod,
    ShardReport,
    StorageState,
)
from vectorfleet_operator.model.spec import VectorCollectionSpec
from vectorfleet_operator.planner import plan as planner
from vectorfleet_operator.planner.actions import (
    Action,
    Apply,
    CreatePeerSecret,
    DeletePod,
    Emit,
    PatchStatus,
    Plan,
    PutTopology,
    RefreshCredentials,
    ReleaseClaim,
    SetFinalizers,
)
from vectorfleet_operator.planner.fleet import stored_topology

Json = dict[str, Any]
ENVIRONMENT = Environment("cluster-uid", 1, "node:1", "vectorfleet-system", "0.1.0")
START = datetime(2026, 1, 1, tzinfo=UTC)
NAME = "things"


def spec_json(shards: int = 2, replicas: int = 2, nodes: int | Json = 3, **more: Any) -> Json:
    return {
        "vectors": [{"name": "default", "dimensions": 8}],
        "sharding": {"shards": shards, "replicas": replicas},
        "storage": {"url": "s3://bucket/things", "credentials": {"secretRef": {"name": "storage"}}},
        "nodes": {"count": nodes} if isinstance(nodes, int) else nodes,
        **more,
    }


@dataclass
class Node:
    """A running node process."""

    topology: Topology
    loaded: dict[int, int] = field(default_factory=dict)  # shard -> passes of `live` since it was placed here

    def shards(self, name: str) -> tuple[int, ...]:
        return self.topology.collections[0].shards_on(name)


class World:
    """One collection in one cluster."""

    def __init__(self, spec: Json | None = None, zones: int = 3, load_passes: int = 2) -> None:
        self.resource: Json | None = {
            "metadata": {"name": NAME, "namespace": "search", "uid": "uid-1", "generation": 1, "resourceVersion": "1"},
            "spec": spec or spec_json(),
        }
        self.zones, self.load_passes = zones, load_passes
        self.children: dict[tuple[str, str], Json] = {}
        self.pods: dict[str, Pod] = {}
        self.nodes: dict[str, Node] = {}
        self.now = START
        self.storage = StorageState.OK
        self.storage_message = ""
        self.secret_version: str | None = "1"
        self.namespace_terminating = False
        self.unschedulable: set[int] = set()
        self.job_succeeds: bool | None = True
        self.purged = False
        self.released = 0
        self.deleted_pods: list[str] = []
        self.events: list[Emit] = []
        self._numbers = itertools.count(1)

    # What the operator does.

    def observe(self) -> Observed:
        assert self.resource is not None
        try:
            spec, problems = VectorCollectionSpec.model_validate(self.resource["spec"]), ()
        except ValidationError as error:
            spec, problems = None, tuple(str(found["loc"]) for found in error.errors())
        has_secret = spec is not None and spec.storage.credentials is not None
        return Observed(
            resource=self.resource,
            spec=spec,
            problems=problems,
            environment=ENVIRONMENT,
            children=dict(self.children),
            pods=tuple(sorted(self.pods.values(), key=lambda pod: pod.ordinal)),
            reports={name: self._report(name, node) for name, node in self.nodes.items()},
            credentials=Credentials("storage", self.secret_version) if has_secret else None,
            namespace_terminating=self.namespace_terminating,
        )

    def plan(self) -> Plan:
        return planner.plan(self.observe(), self.now)

    def apply(self, action: Action) -> None:  # noqa: C901 - one case for each kind of action
        match action:
            case SetFinalizers(finalizers, _):
                self._set_finalizers(finalizers)
            case CreatePeerSecret(manifest):
                self.children.setdefault(("Secret", manifest["metadata"]["name"]), dict(manifest))
            case Apply(manifest, _):
                self._apply(dict(manifest))
            case DeletePod(name, uid, _):
                if name in self.pods and self.pods[name].uid == uid:
                    self.deleted_pods.append(name)
                    self.kill(name)
            case RefreshCredentials(pod, version):
                self.pods[pod] = replace(self.pods[pod], credentials=version)
            case PutTopology(addresses, topology):
                for name, node in self.nodes.items():
                    if f"{self.pods[name].address}:7301" in addresses and topology.order > node.topology.order:
                        node.topology = topology
            case ReleaseClaim():
                self.released += 1
            case Emit():
                self.events.append(action)
            case PatchStatus(status):
                assert self.resource is not None
                self.resource = {**self.resource, "status": status}

    def act(self, made: Plan, limit: int | None = None) -> None:
        """Does the plan's actions, or only the first `limit`: the operator was killed then."""
        for action in made.actions[:limit]:
            if self.resource is not None:
                self.apply(action)

    # What users do.

    def edit(self, spec: Json) -> None:
        assert self.resource is not None
        metadata = {**self.resource["metadata"], "generation": self.resource["metadata"]["generation"] + 1}
        self.resource = {**self.resource, "spec": {**self.resource["spec"], **spec}, "metadata": metadata}

    def delete(self) -> None:
        assert self.resource is not None
        at = self.now.isoformat().replace("+00:00", "Z")
        self.resource["metadata"] = {**self.resource["metadata"], "deletionTimestamp": at}
        if not self.resource["metadata"].get("finalizers"):
            self._gone()

    def kill(self, pod: str) -> None:
        self.pods.pop(pod, None)
        self.nodes.pop(pod, None)

    # What everybody else does.

    def live(self) -> None:
        """Two seconds pass."""
        self.now += timedelta(seconds=2)
        self._stateful_set_controller()
        self._job_controller()
        for name, pod in list(self.pods.items()):
            if not pod.host and pod.ordinal not in self.unschedulable:
                number = pod.ordinal % self.zones
                self.pods[name] = replace(
                    pod, host=f"host-{pod.ordinal}", zone=f"z{number}", address=f"10.0.0.{pod.ordinal}"
                )
            elif pod.host and name not in self.nodes:
                stored = stored_topology(self.children.get(("ConfigMap", names.topology(NAME))))
                if stored is not None:
                    self.nodes[name] = Node(stored)
        for name, node in self.nodes.items():
            placed = node.shards(name)
            node.loaded = {shard: node.loaded.get(shard, 0) + 1 for shard in placed}
            ready = all(self._serves(node, shard) for shard in placed)
            self.pods[name] = replace(self.pods[name], ready=ready)

    def converge(self, passes: int = 160) -> Plan:
        """Lives and plans until plans have had nothing to do for longer than a shard takes to load."""
        quiet = 0
        for _ in range(passes):
            self.live()
            if self.resource is None:
                return Plan()
            made = self.plan()
            self.act(made)
            quiet = 0 if made.actions or not self._is_quiet() else quiet + 1
            if quiet > self.load_passes + 2:
                return made
        raise AssertionError(f"no rest after {passes} passes: {self.plan().actions}")

    # What tests ask.

    @property
    def status(self) -> Json:
        assert self.resource is not None
        return dict(self.resource.get("status", {}))

    def condition(self, kind: str) -> Json:
        return next(dict(found) for found in self.status["conditions"] if found["type"] == kind)

    @property
    def topology(self) -> Topology:
        stored = stored_topology(self.children.get(("ConfigMap", names.topology(NAME))))
        assert stored is not None
        return stored

    def placement(self) -> dict[int, tuple[str, ...]]:
        return {shard.id: shard.replicas for shard in self.topology.collections[0].shards}

    def served(self) -> set[int]:
        """Shards that a node serves that every other node knows to have them."""
        return {
            shard
            for shard, nodes in self.placement().items()
            if any(name in self.nodes and self._serves(self.nodes[name], shard) for name in nodes)
        }

    def _serves(self, node: Node, shard: int) -> bool:
        return self.storage is StorageState.OK and node.loaded.get(shard, 0) >= self.load_passes

    def _is_quiet(self) -> bool:
        live = self.children.get(("StatefulSet", NAME))
        wanted = live["spec"]["replicas"] if live else 0
        return len(self.pods) == wanted and all(pod.host for pod in self.pods.values())

    def _report(self, name: str, node: Node) -> NodeReport:
        placed = node.topology.collections[0].shards
        shards = tuple(
            ShardReport(
                shard.id,
                ready=self._serves(node, shard.id),
                leader=shard.replicas[0] == name,
                position=7,
                rows=10,
                index_details=(IndexReport("default", "HNSW", "many rows"),),
            )
            for shard in placed
            if name in shard.replicas
        )
        uid = "data-1" if self.storage is StorageState.OK else ""
        return NodeReport(
            name, node.topology.order, self.storage, self.storage_message, uid, "rivals/other @ x", shards
        )

    def _apply(self, manifest: Json) -> None:
        key = (manifest["kind"], manifest["metadata"]["name"])
        live = self.children.get(key, {})
        metadata = dict(manifest["metadata"])
        if manifest["kind"] == "StatefulSet":
            changed = live.get("spec") != manifest["spec"]
            metadata["generation"] = live.get("metadata", {}).get("generation", 0) + changed
        manifest = {**manifest, "metadata": metadata}
        if "status" in live:
            manifest["status"] = live["status"]
        self.children[key] = manifest

    def _stateful_set_controller(self) -> None:
        live = self.children.get(("StatefulSet", NAME))
        if live is None:
            return
        image = live["spec"]["template"]["spec"]["containers"][0]["image"]
        generation = live["metadata"]["generation"]
        live["status"] = {"updateRevision": image, "observedGeneration": generation}
        wanted = live["spec"]["replicas"]
        for name, pod in list(self.pods.items()):
            if pod.ordinal >= wanted:
                self.kill(name)
        for number in range(wanted):
            name = names.pod(NAME, number)
            if name not in self.pods:
                uid = f"pod-{next(self._numbers)}"
                self.pods[name] = Pod(name, uid, self.now, ordinal=number, revision=image)

    def _job_controller(self) -> None:
        job = self.children.get(("Job", names.purge(NAME)))
        if job is None or self.job_succeeds is None:
            return
        if job.get("status"):
            del self.children[("Job", names.purge(NAME))]  # after its time to live
            return
        job["metadata"] = {**job["metadata"], "uid": f"job-{next(self._numbers)}"}
        self.purged |= self.job_succeeds
        outcome = "Complete" if self.job_succeeds else "Failed"
        job["status"] = {"conditions": [{"type": outcome, "status": "True"}]}

    def _set_finalizers(self, finalizers: tuple[str, ...]) -> None:
        assert self.resource is not None
        self.resource = {**self.resource, "metadata": {**self.resource["metadata"], "finalizers": list(finalizers)}}
        if not finalizers and self.resource["metadata"].get("deletionTimestamp"):
            self._gone()

    def _gone(self) -> None:
        self.resource = None
        self.children.clear()
        self.pods.clear()
        self.nodes.clear()
