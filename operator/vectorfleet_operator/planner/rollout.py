"""Which pod of an outdated template may be replaced now: a table of rules with names that users see in the status.

Called by `planner.plan`. Every rule says why not, or nothing. `unhealthy_pod_may_always_go` comes before all of them:
a fleet that is broken by its template can only be mended by replacing the pods that have it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from vectorfleet_operator.model import names
from vectorfleet_operator.model.observed import Observed, Pod
from vectorfleet_operator.model.spec import VectorCollectionSpec
from vectorfleet_operator.planner.fleet import Fleet

UNHEALTHY_MAY_GO = "unhealthy_pod_may_always_go"


@dataclass(frozen=True)
class Context:
    """What the rules look at."""

    observed: Observed
    spec: VectorCollectionSpec
    fleet: Fleet


@dataclass(frozen=True)
class Rule:
    """`check` returns why this pod must not be deleted now, or "" when it may."""

    name: str
    check: Callable[[Context, Pod], str]


@dataclass(frozen=True)
class Rollout:
    """The pods with an old template, the one to delete now, and what the others wait for."""

    outdated: tuple[Pod, ...] = ()
    delete: Pod | None = None
    reason: str = ""
    waiting_for: str = ""


def update_is_not_paused(context: Context, pod: Pod) -> str:
    return "spec.update.paused is true" if context.spec.update.paused else ""


def one_disruption_at_a_time(context: Context, pod: Pod) -> str:
    away = [other.name for other in context.observed.pods if other.name != pod.name and not _is_well(other)]
    missing = context.observed.live_replicas - len(context.observed.pods)
    if away:
        return f"{', '.join(sorted(away))} is not ready"
    return f"{missing} pods do not exist yet" if missing > 0 else ""


def no_shard_is_moving(context: Context, pod: Pod) -> str:
    moving = sorted(context.fleet.moving)
    return f"shard {moving[0]} is on its way to another node" if moving else ""


def shard_keeps_a_ready_replica(context: Context, pod: Pod) -> str:
    """A shard with one replica by the user's choice has none to keep."""
    for shard, nodes in context.fleet.placement.items():
        if pod.name not in nodes or len(nodes) == 1 == context.spec.sharding.replicas:
            continue
        others = (context.observed.reports.get(node) for node in nodes if node != pod.name)
        if not any(other is not None and shard in other.ready_shards() for other in others):
            return f"no other node serves shard {shard}"
    return ""


RULES = (
    Rule("update_is_not_paused", update_is_not_paused),
    Rule("one_disruption_at_a_time", one_disruption_at_a_time),
    Rule("no_shard_is_moving", no_shard_is_moving),
    Rule("shard_keeps_a_ready_replica", shard_keeps_a_ready_replica),
)


def next_replacement(context: Context) -> Rollout:
    """At most one pod to delete; pods with the highest ordinal go first."""
    outdated = tuple(reversed(_outdated(context.observed)))
    waiting_for = ""
    for pod in outdated:
        if pod.terminating:
            waiting_for = waiting_for or f"{pod.name} to be replaced"
        elif _is_unhealthy(context.observed, pod):
            return Rollout(outdated, pod, f"{UNHEALTHY_MAY_GO}: it is not ready and its template is outdated")
    for pod in outdated:
        if pod.terminating:
            continue
        against = [(rule.name, why) for rule in RULES if (why := rule.check(context, pod))]
        if not against:
            return Rollout(outdated, pod, "its template is outdated")
        waiting_for = waiting_for or "; ".join(f"{name}: {why}" for name, why in against)
    return Rollout(outdated, waiting_for=waiting_for)


def _outdated(observed: Observed) -> list[Pod]:
    live = observed.child("StatefulSet", names.stateful_set(observed.name))
    status = (live or {}).get("status") or {}
    revision = status.get("updateRevision")
    if live is None or not revision or status.get("observedGeneration") != live["metadata"].get("generation"):
        return []  # the StatefulSet's controller has not seen the present template yet
    return [pod for pod in observed.pods if pod.revision and pod.revision != revision]


def _is_well(pod: Pod) -> bool:
    return pod.ready and not pod.terminating


def _is_unhealthy(observed: Observed, pod: Pod) -> bool:
    report = observed.reports.get(pod.name)
    return not pod.ready and not (report is not None and report.ready_shards())
