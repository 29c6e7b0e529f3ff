"""From what was observed to what to do: the one entry of the planner, called by `handlers.reconcile`.

Pure: the same observation and time give the same plan, and a plan of a fleet that is as it should be has no actions.
The operator may be killed after any action; the next plan is made from whatever it left.
"""

from __future__ import annotations

from datetime import datetime

from vectorfleet.topology import Topology
from vectorfleet_operator.model import names
from vectorfleet_operator.model.observed import Manifest, Observed, StorageState
from vectorfleet_operator.model.spec import VectorCollectionSpec
from vectorfleet_operator.model.status import ConditionStatus, Status
from vectorfleet_operator.planner import deletion, events, status
from vectorfleet_operator.planner.actions import (
    STEADY,
    WORKING,
    Action,
    Apply,
    CreatePeerSecret,
    DeletePod,
    Emit,
    EventType,
    PatchStatus,
    Plan,
    PutTopology,
    RefreshCredentials,
    SetFinalizers,
)
from vectorfleet_operator.planner.addresses import of
from vectorfleet_operator.planner.children import config, network, pods
from vectorfleet_operator.planner.children.common import belongs_to, differs, is_ours
from vectorfleet_operator.planner.fleet import Fleet, next_fleet, ordinal
from vectorfleet_operator.planner.rollout import Context, Rollout, next_replacement


def plan(observed: Observed, now: datetime) -> Plan:
    """What to do now, and when to look again."""
    if observed.deleted_at is not None:
        return deletion.plan(observed, now)
    if observed.spec is None:
        return _finish(observed, [], status.build_invalid(observed, now), busy=False)
    return _serve(observed, observed.spec, now)


def failed(observed: Observed, message: str, now: datetime) -> PatchStatus | None:
    """The status after an action that the API server refused; None when it says so already."""
    after = status.refused(observed, message, now)
    return _patch(observed, after)


def _serve(observed: Observed, spec: VectorCollectionSpec, now: datetime) -> Plan:
    image = status.pinned_image(observed, spec)
    fleet = next_fleet(observed, spec, now)
    replicas = _replicas(observed, spec, fleet)
    rollout = next_replacement(Context(observed, spec, fleet))
    manifests = _children(observed, spec, fleet, image, replicas)
    conflict, waits = _strangers(observed, manifests)
    actions: list[Action] = list(_finalizer(observed))
    if not conflict and not waits:
        actions += _apply(observed, manifests)
        actions += events.resized(observed, replicas, suspended=spec.suspend)
        actions += events.moved(observed, fleet, names.topology(observed.name))
        actions += _push(observed, fleet.topology)
        actions += _refresh(observed)
        actions += _replace(rollout)
    situation = status.Situation(spec, fleet, rollout, image, conflict)
    after = status.build(observed, situation, now)
    return _finish(observed, actions, after, busy=bool(actions) or waits)


def _replicas(observed: Observed, spec: VectorCollectionSpec, fleet: Fleet) -> int:
    """Pods to have: fewer only when those to go hold nothing and every node that answers knows it."""
    wanted, live = (0 if spec.suspend else spec.nodes.count), observed.live_replicas
    if spec.suspend or wanted >= live:
        return wanted
    emptied = all(ordinal(node) < wanted for node in fleet.nodes_used())
    told = all(report.topology >= fleet.topology.order for report in observed.reports.values())
    return wanted if emptied and told else live


def _children(
    observed: Observed, spec: VectorCollectionSpec, fleet: Fleet, image: str, replicas: int
) -> list[Manifest]:
    """All children in the order in which they are needed, but the Secret that only the first pass makes."""
    return [
        network.service_account(observed, spec),
        network.peer_service(observed),
        network.client_service(observed),
        network.network_policy(observed),
        network.disruption_budget(observed),
        config.topology(observed, fleet),
        pods.stateful_set(observed, spec, image, replicas),
    ]


def _strangers(observed: Observed, manifests: list[Manifest]) -> tuple[str, bool]:
    """A message when a child's name is taken, and whether to wait for the garbage collector.

    Children of a resource of the same name that was just deleted go by themselves; adopting one would race with that.
    """
    wanted = [(str(m["kind"]), str(m["metadata"]["name"])) for m in manifests]
    waits = False
    for kind, name in [*wanted, ("Secret", names.peers(observed.name))]:
        live = observed.child(kind, name)
        if live is None:
            continue
        if live["metadata"].get("deletionTimestamp"):
            waits = True
        elif not belongs_to(live, observed.uid):
            if not is_ours(live):
                return f"{kind} {name} exists and is not this collection's: delete or rename one of the two", False
            waits |= bool(live["metadata"].get("ownerReferences"))
    return "", waits


def _finalizer(observed: Observed) -> list[Action]:
    if names.FINALIZER in observed.finalizers:
        return []
    version = str(observed.resource["metadata"].get("resourceVersion", ""))
    return [SetFinalizers((*observed.finalizers, names.FINALIZER), version)]


def _apply(observed: Observed, manifests: list[Manifest]) -> list[Action]:
    actions: list[Action] = []
    if observed.child("Secret", names.peers(observed.name)) is None:
        actions.append(CreatePeerSecret(config.peer_secret(observed)))
    for manifest in manifests:
        live = observed.child(manifest["kind"], manifest["metadata"]["name"])
        if differs(live, manifest):
            actions.append(Apply(manifest, "it differs from what it should be" if live else "it does not exist"))
    return actions


def _push(observed: Observed, topology: Topology) -> list[Action]:
    behind = [node for node, report in observed.reports.items() if report.topology < topology.order]
    addresses = of(observed, behind)
    return [PutTopology(addresses, topology)] if addresses else []


def _refresh(observed: Observed) -> list[Action]:
    """Pods that were refused with credentials that have been changed since."""
    secret = observed.credentials
    if secret is None or secret.version is None:
        return []
    refused = (StorageState.CREDENTIALS_MISSING, StorageState.CREDENTIALS_REFUSED)
    return [
        RefreshCredentials(pod.name, secret.version)
        for pod in observed.pods
        if pod.credentials != secret.version
        and not pod.terminating
        and (report := observed.reports.get(pod.name)) is not None
        and report.storage in refused
    ]


def _replace(rollout: Rollout) -> list[Action]:
    pod = rollout.delete
    if pod is None:
        return []
    event = Emit(EventType.NORMAL, "PodReplaced", f"{pod.name}: {rollout.reason}", pod.uid)
    return [DeletePod(pod.name, pod.uid, rollout.reason), event]


def _finish(observed: Observed, actions: list[Action], after: Status, *, busy: bool) -> Plan:
    patch = _patch(observed, after)
    if patch is not None:
        actions = [*actions, *events.transitions(status.previous(observed.status), after), patch]
    reconciling = status.condition(after, "Reconciling")
    ready = status.condition(after, "Ready")
    stalled = status.condition(after, "Stalled")
    busy |= reconciling is not None and reconciling.status is ConditionStatus.TRUE
    waiting = ready is not None and ready.status is not ConditionStatus.TRUE and ready.reason != "Suspended"
    calm = stalled is not None and stalled.status is ConditionStatus.TRUE
    return Plan(tuple(actions), WORKING if busy or (waiting and not calm) else STEADY)


def _patch(observed: Observed, after: Status) -> PatchStatus | None:
    wanted = after.to_resource()
    return PatchStatus(wanted) if wanted != observed.status else None
