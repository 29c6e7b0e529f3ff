"""What happens between `kubectl delete` and the resource being gone: the finalizer's work.

Called by `planner.plan`. Retain: give the claim back, stop the nodes, let go. Delete: stop the nodes, run the purge
Job, let go. The trap: the claim is not given back before a purge, else somebody adopts data that is about to be
removed; and a finalizer must not hang, so everything but the removal of data itself has a time limit.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from vectorfleet_operator.model import names
from vectorfleet_operator.model.observed import Observed
from vectorfleet_operator.model.spec import DeletionPolicy, VectorCollectionSpec
from vectorfleet_operator.planner import events, status
from vectorfleet_operator.planner.actions import (
    STEADY,
    WORKING,
    Action,
    Apply,
    CreatePeerSecret,
    Emit,
    EventType,
    PatchStatus,
    Plan,
    ReleaseClaim,
    SetFinalizers,
)
from vectorfleet_operator.planner.addresses import reporting
from vectorfleet_operator.planner.children import config, network, pods
from vectorfleet_operator.planner.children.common import belongs_to, differs
from vectorfleet_operator.planner.fleet import next_fleet
from vectorfleet_operator.planner.health import FOR_HUMANS

PATIENCE_WITH_PODS = timedelta(seconds=90)  # their grace is 60 s; those of a lost host never go
PATIENCE_WITH_NAMESPACE = timedelta(seconds=60)


def plan(observed: Observed, now: datetime) -> Plan:
    """The next step towards letting go."""
    if names.FINALIZER not in observed.finalizers:
        return Plan((), STEADY)
    if observed.spec is None:
        return _let_go(observed, "DataKept", "the spec cannot be read, so the data stays where it is")
    stopping = _stop(observed, observed.spec, now)
    if stopping is not None:
        return stopping
    if not _purges(observed.spec):
        return _let_go(observed, "Released", f"the data stays at {observed.spec.storage.url or 'its volume'}")
    why_not = _why_not_to_purge(observed)
    if why_not:
        return _let_go(observed, "DataKept", why_not)
    return _purge(observed, observed.spec, now)


def _purges(spec: VectorCollectionSpec) -> bool:
    """A volume needs no purge: the StatefulSet's retention policy removes it."""
    return spec.deletion_policy is DeletionPolicy.DELETE and spec.storage.url is not None


def _stop(observed: Observed, spec: VectorCollectionSpec, now: datetime) -> Plan | None:
    """Scales to zero and waits for the pods; None when there is nothing left to wait for."""
    name = names.stateful_set(observed.name)
    live = observed.child("StatefulSet", name)
    actions: list[Action] = []
    if live is not None and belongs_to(live, observed.uid) and not live["metadata"].get("deletionTimestamp"):
        image = status.pinned_image(observed, spec)
        wanted = pods.stateful_set(observed, spec, image, 0)
        if differs(live, wanted):
            if observed.live_replicas and not _purges(spec):
                actions.append(ReleaseClaim(reporting(observed), observed.name))
            actions.append(Apply(wanted, "the collection is being deleted"))
    if not actions and (not observed.pods or _age(observed, now) > PATIENCE_WITH_PODS):
        return None
    doing = status.Doing("Delete", "stopping all nodes", f"{len(observed.pods)} pods to stop")
    return _in_progress(observed, actions, doing, now)


def _why_not_to_purge(observed: Observed) -> str:
    """Why there is nothing to purge, or no right to; "" when the data is this collection's."""
    reasons = {state.value for state in FOR_HUMANS}
    state = str((observed.status.get("storage") or {}).get("state", ""))
    if state in reasons:
        return f"nothing is removed: the data was not this collection's to serve ({state})"
    return "" if observed.data_uid else "nothing is removed: this collection never served any data"


def _purge(observed: Observed, spec: VectorCollectionSpec, now: datetime) -> Plan:
    job = observed.child("Job", names.purge(observed.name))
    if job is not None and belongs_to(job, observed.uid):
        outcome = _outcome(job)
        if outcome == "Complete":
            return _let_go(observed, "Purged", f"everything at {spec.storage.url} was removed")
        if observed.namespace_terminating and (outcome or _age(observed, now) > PATIENCE_WITH_NAMESPACE):
            return _let_go(observed, "DataKept", f"the namespace went before {spec.storage.url} was removed")
        if outcome == "Failed":
            told = Emit(
                EventType.WARNING, "PurgeFailed", f"Job {names.purge(observed.name)} failed; see its pods' logs. "
                "It is tried again; set deletionPolicy: Retain to keep the data and let go", str(job["metadata"]["uid"])
            )  # fmt: skip
            doing = status.Doing("Delete", "removing the data failed", "the next try")
            return _in_progress(observed, [told], doing, now)
        return _in_progress(observed, [], status.Doing("Delete", "removing the data", "the purge Job"), now)
    if observed.namespace_terminating:
        return _let_go(observed, "DataKept", f"the namespace is going, no Job can remove {spec.storage.url} any more")
    if job is not None:
        doing = status.Doing("Delete", "removing the data", "an earlier purge Job of the same name to go")
        return _in_progress(observed, [], doing, now)
    if observed.credentials is not None and observed.credentials.version is None:
        missing = f"the Secret {observed.credentials.name} (or deletionPolicy: Retain, which keeps the data)"
        return _in_progress(observed, [], status.Doing("Delete", "removing the data", missing), now)
    doing = status.Doing("Delete", "removing the data", "the purge Job")
    return _in_progress(observed, _job_actions(observed, spec, now), doing, now)


def _job_actions(observed: Observed, spec: VectorCollectionSpec, now: datetime) -> list[Action]:
    """The Job, and before it whatever its pod mounts that is gone."""
    fleet = next_fleet(observed, spec, now)
    needed = [network.service_account(observed, spec), config.topology(observed, fleet)]
    actions: list[Action] = []
    if observed.child("Secret", names.peers(observed.name)) is None:
        actions.append(CreatePeerSecret(config.peer_secret(observed)))
    actions.extend(
        Apply(manifest, "the purge Job needs it")
        for manifest in needed
        if observed.child(manifest["kind"], manifest["metadata"]["name"]) is None
    )
    job = pods.purge_job(observed, spec, status.pinned_image(observed, spec))
    return [*actions, Apply(job, "deletionPolicy is Delete")]


def _outcome(job: object) -> str:
    """`Complete`, `Failed` or "" while it runs."""
    found = job.get("status", {}).get("conditions", []) if isinstance(job, dict) else []
    return next((str(c["type"]) for c in found if c["type"] in ("Complete", "Failed") and c["status"] == "True"), "")


def _let_go(observed: Observed, reason: str, message: str) -> Plan:
    kept = tuple(finalizer for finalizer in observed.finalizers if finalizer != names.FINALIZER)
    kind = EventType.WARNING if reason == "DataKept" else EventType.NORMAL
    version = str(observed.resource["metadata"].get("resourceVersion", ""))
    return Plan((Emit(kind, reason, message), SetFinalizers(kept, version)), WORKING)


def _in_progress(observed: Observed, actions: list[Action], doing: status.Doing, now: datetime) -> Plan:
    after = status.deleting(observed, doing, now)
    told = events.transitions(status.previous(observed.status), after)
    wanted = after.to_resource()
    patch: list[Action] = [*told, PatchStatus(wanted)] if wanted != observed.status else []
    return Plan((*patch, *actions), WORKING)


def _age(observed: Observed, now: datetime) -> timedelta:
    return now - datetime.fromisoformat(str(observed.deleted_at).replace("Z", "+00:00"))
