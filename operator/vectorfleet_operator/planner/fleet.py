"""The topology that a fleet should have next, from the one that it has, its pods and the nodes' reports.

Called by `planner.plan` and `planner.deletion`. The ConfigMap is the memory: `topology.json` is what nodes hold now,
`placement.json` is where the shards are going. Without it, both are found again from the nodes' reports. The trap:
zones are known only of scheduled pods, so that nothing is placed before the pods are (or had their time to be).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import ValidationError

from vectorfleet.topology import (
    PEER_PORT,
    Claim,
    CollectionTopology,
    NodeAddress,
    ShardPlacement,
    StorageLocation,
    Topology,
)
from vectorfleet_operator.model import names
from vectorfleet_operator.model.observed import Manifest, Observed
from vectorfleet_operator.model.spec import VectorCollectionSpec
from vectorfleet_operator.planner.placement import Host, Placement, place, step

TOPOLOGY_KEY = "topology.json"
PLACEMENT_KEY = "placement.json"
DATA_PATH = "/var/lib/vectorfleet"
SCHEDULING_PATIENCE = timedelta(seconds=20)
MOVES_AT_ONCE = 8


@dataclass(frozen=True)
class Fleet:
    """What to tell the nodes, and where that leads."""

    topology: Topology
    target: Placement  # where every shard is going
    placement: Placement  # where every shard is, as the topology says
    settled: bool  # the pods are where they will be

    @property
    def moving(self) -> frozenset[int]:
        """Shards whose nodes are not yet those of the target."""
        return frozenset(s for s, wanted in self.target.items() if set(wanted) != set(self.placement.get(s, ())))

    def nodes_used(self) -> frozenset[str]:
        """Nodes that hold a shard now or in the target."""
        return frozenset(
            node for placement in (self.placement, self.target) for nodes in placement.values() for node in nodes
        )


def ordinal(node: str) -> int:
    """The number at the end of a node's name."""
    return int(node.rsplit("-", 1)[1])


def stored_topology(config_map: Manifest | None) -> Topology | None:
    """The topology in the ConfigMap; None when there is none that can be read."""
    try:
        return Topology.model_validate_json((config_map or {})["data"][TOPOLOGY_KEY])
    except (KeyError, TypeError, ValidationError):
        return None


def stored_target(config_map: Manifest | None) -> dict[int, tuple[str, ...]]:
    """The target placement in the ConfigMap; empty when there is none that can be read."""
    try:
        stored = json.loads((config_map or {})["data"][PLACEMENT_KEY])
        return {int(shard): tuple(map(str, nodes)) for shard, nodes in stored.items()}
    except (KeyError, TypeError, ValueError, AttributeError):
        return {}


def next_fleet(observed: Observed, spec: VectorCollectionSpec, now: datetime) -> Fleet:
    """One step from the present topology towards the one that fits the spec and the pods."""
    config_map = observed.child("ConfigMap", names.topology(observed.name))
    stored = stored_topology(config_map)
    present = _present_placement(observed, stored)
    wanted = spec.nodes.count
    settled = _is_settled(observed, wanted, now)
    target = _target(observed, spec, stored, stored_target(config_map) or present, settled)
    if observed.data_uid:
        ready = {node: report.ready_shards() for node, report in observed.reports.items()}
        placement = step(present, target, ready, MOVES_AT_ONCE)
    else:
        placement = target  # nothing was served yet, so nothing is lost by placing afresh
    topology = _topology(observed, spec, stored, placement, _size(observed, wanted, placement, target))
    return Fleet(topology, target, placement, settled)


def _present_placement(observed: Observed, stored: Topology | None) -> dict[int, tuple[str, ...]]:
    """What the stored topology says; without one, what the nodes report to hold, leaders first."""
    if stored is not None and stored.collections:
        return {shard.id: shard.replicas for shard in stored.collections[0].shards if shard.replicas}
    held: dict[int, list[tuple[bool, int, str]]] = {}
    for node, report in observed.reports.items():
        for shard in report.shards:
            held.setdefault(shard.id, []).append((not shard.leader, ordinal(node), node))
    return {shard: tuple(node for _, _, node in sorted(nodes)) for shard, nodes in held.items()}


def _is_settled(observed: Observed, wanted: int, now: datetime) -> bool:
    """Every pod of the spec is scheduled, or had its time to be."""
    pods = [pod for pod in observed.pods if pod.ordinal < wanted and not pod.terminating]
    late = {pod.name for pod in pods if now - pod.created > SCHEDULING_PATIENCE}
    if not any(pod.host for pod in pods) or (len(pods) < wanted and len(late) < len(pods)):
        return False
    return all(pod.host or pod.name in late for pod in pods)


def _target(
    observed: Observed,
    spec: VectorCollectionSpec,
    stored: Topology | None,
    before: Placement,
    settled: bool,
) -> dict[int, tuple[str, ...]]:
    shards = spec.sharding.shards
    if not settled:
        return {shard: before[shard] for shard in range(shards) if shard in before}
    hosts = _hosts(observed, spec.nodes.count, stored, before)
    return place(shards, spec.sharding.replicas, hosts, before if observed.data_uid else {})


def _hosts(observed: Observed, wanted: int, stored: Topology | None, before: Placement) -> list[Host]:
    """Nodes that may hold shards: scheduled now, or known to have held some and only away for a moment."""
    zones = {node.name: node.zone for node in stored.nodes} if stored else {}
    used = {node for nodes in before.values() for node in nodes}
    hosts = []
    for number in range(wanted):
        name = names.pod(observed.name, number)
        pod = observed.pod(name)
        if pod is not None and pod.host and not pod.terminating:
            hosts.append(Host(name, pod.zone, pod.host))
        elif name in used:
            hosts.append(Host(name, zones.get(name, ""), ""))
    return hosts


def _size(observed: Observed, wanted: int, placement: Placement, target: Placement) -> int:
    """How many nodes the topology names: those that the spec wants, and those that are still to be emptied."""
    used = [ordinal(node) + 1 for part in (placement, target) for nodes in part.values() for node in nodes]
    return max([wanted, observed.live_replicas, *used])


def _topology(
    observed: Observed, spec: VectorCollectionSpec, stored: Topology | None, placement: Placement, size: int
) -> Topology:
    """The stored topology when it says the same, else a newer one."""
    known = {node.name: node for node in stored.nodes} if stored else {}
    nodes = tuple(_address(observed, number, known) for number in range(size))
    collection = CollectionTopology(
        name=observed.name,
        uid=observed.data_uid,
        claim=Claim(cluster=observed.environment.cluster, namespace=observed.namespace, name=observed.name),
        storage=_storage(spec),
        collection=spec.collection_schema(),
        shards=tuple(
            ShardPlacement(id=shard, replicas=placement.get(shard, ())) for shard in range(spec.sharding.shards)
        ),
        consistency=spec.consistency.default,
        max_staleness_seconds=spec.consistency.max_staleness_seconds,
    )
    orders = [report.topology for report in observed.reports.values()]
    newest = max([stored.order if stored else (0, 0), *orders])
    same = stored is not None and (stored.nodes, stored.collections) == (nodes, (collection,))
    if stored is not None and same and newest == stored.order:
        return stored
    return Topology(
        fence=max(newest[0], observed.environment.fence),
        version=max([stored.version if stored else 0, *(version for _, version in orders)]) + 1,
        nodes=nodes,
        collections=(collection,),
    )


def _address(observed: Observed, number: int, known: Mapping[str, NodeAddress]) -> NodeAddress:
    name = names.pod(observed.name, number)
    pod = observed.pod(name)
    peer = f"{names.peer_host(observed.name, observed.namespace, number)}:{PEER_PORT}"
    if pod is not None and pod.host:
        return NodeAddress(name=name, peer=peer, zone=pod.zone)
    return NodeAddress(name=name, peer=peer, zone=known[name].zone if name in known else "")


def _storage(spec: VectorCollectionSpec) -> StorageLocation:
    if spec.storage.url is None:
        return StorageLocation(url=f"file://{DATA_PATH}/data")
    return StorageLocation(url=spec.storage.url, endpoint=spec.storage.endpoint, region=spec.storage.region)
