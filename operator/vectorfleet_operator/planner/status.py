"""The status of a collection: counts, conditions, and what the operator is doing and waits for.

Called by `planner.plan` and `planner.deletion`. Everything is computed anew from what was observed; only the id of the
data, the pinned image, the number of rows and times of transitions are carried over from the status before.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from pydantic import ValidationError

from vectorfleet_operator.model import names
from vectorfleet_operator.model.observed import Manifest, Observed, ShardReport
from vectorfleet_operator.model.spec import VectorCollectionSpec
from vectorfleet_operator.model.status import (
    MAX_MESSAGE,
    MAX_PLACEMENT,
    Condition,
    ConditionStatus,
    IndexStatus,
    NodesStatus,
    OperationStatus,
    ShardPlacementStatus,
    ShardsStatus,
    Status,
    StorageStatus,
    VersionsStatus,
)
from vectorfleet_operator.planner.conditions import (
    APPLY_FAILED,
    UNAVAILABLE,
    State,
    Verdict,
    conditions,
    finish,
    invalid,
    shard_list,
    timestamp,
)
from vectorfleet_operator.planner.fleet import Fleet
from vectorfleet_operator.planner.health import Problem, ready_replicas, storage_problem
from vectorfleet_operator.planner.rollout import Rollout


@dataclass(frozen=True)
class Situation:
    """What `planner.plan` decided, as far as the status tells it."""

    spec: VectorCollectionSpec
    fleet: Fleet
    rollout: Rollout
    image: str
    conflict: str = ""  # a child's name is taken by something that is not ours


@dataclass(frozen=True)
class Doing:
    """The operation in progress; an empty `type` means none."""

    type: str = ""
    step: str = ""
    waiting_for: str = ""

    def __str__(self) -> str:
        return f"{self.step}, waiting for {self.waiting_for}" if self.waiting_for else self.step


def previous(resource_status: Manifest) -> Status:
    """The status that is there, as far as it can be read: an older operator or a hand may have written it."""
    try:
        return Status.model_validate(resource_status)
    except ValidationError:
        readable = {}
        for key, value in resource_status.items():
            try:
                Status.model_validate({key: value})
            except ValidationError:
                continue
            readable[key] = value
        return Status.model_validate(readable)


def pinned_image(observed: Observed, spec: VectorCollectionSpec) -> str:
    """The image of the nodes: what the user asks for, else the one chosen once, whatever the operator's default is now.

    Until the collection has data, nothing was served with it, and a mended default wins.
    """
    pinned = previous(observed.status).versions
    if pinned is not None and pinned.image and pinned.requested_image == spec.nodes.image and observed.data_uid:
        return pinned.image
    return spec.nodes.image or observed.environment.node_image


def build(observed: Observed, situation: Situation, now: datetime) -> Status:
    """The status of a collection whose spec can be read and that is not being deleted."""
    spec, fleet = situation.spec, situation.fleet
    before = previous(observed.status)
    serving = ready_replicas(observed, fleet.placement)
    shards = range(spec.sharding.shards)
    # What nodes say of themselves reaches no client: the Service leads to pods that Kubernetes found ready.
    entrances = {pod.name for pod in observed.pods if pod.ready and not pod.terminating}
    unavailable = tuple(shard for shard in shards if not (entrances and serving.get(shard)))
    incomplete = tuple(
        shard
        for shard in shards
        if _is_incomplete(fleet, spec, shard, sum(report.node in entrances for report in serving.get(shard, ())))
    )
    problem = _problem(observed, situation)
    doing = _doing(observed, situation, unavailable, incomplete)
    state = State(
        suspended=spec.suspend,
        known=observed.child("StatefulSet", names.stateful_set(observed.name)) is not None,
        problem=problem,
        served=was_ready(before, observed.generation) or _lost_shards(before),
        rolled_out=_is_rolled_out(observed, situation) or was_ready(before, observed.generation),
        unavailable=unavailable,
        incomplete=incomplete,
        doing=str(doing),
        pods_left=len(observed.pods),
    )
    reason = (
        problem.reason if problem else "Suspended" if spec.suspend else "Serving" if not unavailable else "Starting"
    )
    return Status(
        observed_generation=observed.generation,
        conditions=conditions(state, before, observed.generation, now),
        shards=ShardsStatus(
            total=len(shards),
            available=len(shards) - len(unavailable),
            under_replicated=len(incomplete),
            moving=len(fleet.moving),
        ),
        nodes=_nodes(observed, situation.rollout),
        rows=_rows(observed, spec, before.rows),
        storage=StorageStatus(uid=observed.data_uid, url=spec.storage.url or "", state=reason),
        versions=_versions(observed, situation),
        operation=operation(doing, before, now),
        placement=tuple(
            ShardPlacementStatus(shard=shard, nodes=nodes[:16])
            for shard, nodes in sorted(fleet.placement.items())[:MAX_PLACEMENT]
        ),
        indexes=_indexes(observed, spec),
    )


def build_invalid(observed: Observed, now: datetime) -> Status:
    """The status of an object that cannot be understood: the rest of it stays as it was."""
    before = previous(observed.status)
    made = invalid(observed.problems, before, observed.generation, now)
    return before.model_copy(update={"observed_generation": observed.generation, "conditions": made})


def refused(observed: Observed, message: str, now: datetime) -> Status:
    """The status after the API server refused what the spec needs, for example beyond a quota."""
    return _changed(
        observed, [("Ready", False, APPLY_FAILED, message), ("Reconciling", True, APPLY_FAILED, message)], now
    )


def deleting(observed: Observed, doing: Doing, now: datetime) -> Status:
    """The status on the way out; what is known of the data stays."""
    verdicts: list[Verdict] = [("Ready", False, "Deleting", str(doing)), ("Reconciling", True, "Deleting", str(doing))]
    after = _changed(observed, verdicts, now)
    return after.model_copy(update={"operation": operation(doing, previous(observed.status), now)})


def _changed(observed: Observed, verdicts: list[Verdict], now: datetime) -> Status:
    """The status before with some conditions changed."""
    before = previous(observed.status)
    changed = finish(verdicts, before, observed.generation, now)
    kinds = {made.type for made in changed}
    kept = tuple(old for old in before.conditions if old.type not in kinds)
    return before.model_copy(update={"observed_generation": observed.generation, "conditions": (*changed, *kept)})


def operation(doing: Doing, before: Status, now: datetime) -> OperationStatus | None:
    """What is in progress, with the time when it began."""
    if not doing.type:
        return None
    old = before.operation
    started = old.started_at if old is not None and old.type == doing.type else timestamp(now)
    return OperationStatus(
        type=doing.type,
        step=doing.step[:MAX_MESSAGE],
        started_at=started,
        waiting_for=doing.waiting_for[:MAX_MESSAGE],
    )


def condition(status: Status, kind: str) -> Condition | None:
    """The condition of this type."""
    return next((found for found in status.conditions if found.type == kind), None)


def was_ready(status: Status, generation: int) -> bool:
    """Whether this generation of the spec was Ready in that status."""
    ready = condition(status, "Ready")
    return ready is not None and ready.status is ConditionStatus.TRUE and ready.observed_generation == generation


def _lost_shards(status: Status) -> bool:
    ready = condition(status, "Ready")
    return ready is not None and ready.reason == UNAVAILABLE


def _problem(observed: Observed, situation: Situation) -> Problem | None:
    if situation.conflict:
        return Problem("NameConflict", situation.conflict, for_humans=True)
    return storage_problem(observed, situation.spec, situation.fleet.placement)


def _is_incomplete(fleet: Fleet, spec: VectorCollectionSpec, shard: int, serving: int) -> bool:
    placed = fleet.placement.get(shard, ())
    return serving < max(len(placed), spec.sharding.replicas)


def _is_rolled_out(observed: Observed, situation: Situation) -> bool:
    spec, fleet = situation.spec, situation.fleet
    return (
        observed.live_replicas == spec.nodes.count == len(observed.pods)
        and fleet.settled
        and not fleet.moving
        and not situation.rollout.outdated
        and len(fleet.placement) == spec.sharding.shards
        and not any(pod.terminating for pod in observed.pods)
    )


def _doing(
    observed: Observed, situation: Situation, unavailable: tuple[int, ...], incomplete: tuple[int, ...]
) -> Doing:
    spec, fleet, rollout = situation.spec, situation.fleet, situation.rollout
    live, pods = observed.live_replicas, len(observed.pods)
    if spec.suspend:
        return Doing("Suspend", "stopping all nodes", f"{pods} pods to stop") if pods else Doing()
    if live > spec.nodes.count or pods > max(live, spec.nodes.count):
        step = f"from {max(live, pods)} to {spec.nodes.count} nodes"
        return Doing("ScaleDown", step, _moving(fleet) or "pods to stop and nodes to take the topology")
    if rollout.outdated:
        return Doing("Update", f"{len(rollout.outdated)} of {pods} pods are outdated", rollout.waiting_for)
    if fleet.moving:
        return Doing("Move", f"moving {shard_list(sorted(fleet.moving))}", "the new replicas to serve")
    if pods < spec.nodes.count or not fleet.settled:
        scheduled = sum(bool(pod.host) for pod in observed.pods)
        begun = "Start" if observed.data_uid else "Create"
        step = f"{scheduled} of {spec.nodes.count} pods are scheduled"
        return Doing(begun, step, _trouble(observed) or "pods to be scheduled")
    if incomplete:
        kind = "Repair" if observed.data_uid and not unavailable else "Start"
        return Doing(kind, f"loading {shard_list(incomplete)}", _trouble(observed) or "the replicas to serve")
    return Doing()


def _moving(fleet: Fleet) -> str:
    return f"{shard_list(sorted(fleet.moving))} to be served elsewhere" if fleet.moving else ""


def _trouble(observed: Observed) -> str:
    told = [f"{pod.name}: {pod.trouble}" for pod in observed.pods if pod.trouble]
    return "; ".join(told[:3])


def _nodes(observed: Observed, rollout: Rollout) -> NodesStatus:
    outdated = {pod.name for pod in rollout.outdated}
    return NodesStatus(
        count=len(observed.pods),
        ready=sum(pod.ready and not pod.terminating for pod in observed.pods),
        updated=sum(pod.name not in outdated for pod in observed.pods),
        selector=f"{names.COLLECTION_LABEL}={observed.name}",
    )


def _versions(observed: Observed, situation: Situation) -> VersionsStatus:
    return VersionsStatus(
        image=situation.image,
        requested_image=situation.spec.nodes.image,
        operator=observed.environment.operator_version,
    )


def _rows(observed: Observed, spec: VectorCollectionSpec, before: int | None) -> int | None:
    """Rows as the leaders count them; the number before while a shard is unknown, so that it does not flicker."""
    best: dict[int, ShardReport] = {}
    for report in observed.reports.values():
        for shard in report.shards:
            held = best.get(shard.id)
            if shard.ready and (held is None or (shard.leader, shard.position) > (held.leader, held.position)):
                best[shard.id] = shard
    return sum(shard.rows for shard in best.values()) if len(best) == spec.sharding.shards else before


def _indexes(observed: Observed, spec: VectorCollectionSpec) -> tuple[IndexStatus, ...]:
    """The kinds of index in use, and the leaders' reasons for them; of vectors that have sealed rows."""
    leading = [shard for report in observed.reports.values() for shard in report.shards if shard.leader]
    details = sorted({each for shard in leading for each in shard.index_details})
    found = []
    for name in sorted(vector.name for vector in spec.vectors):
        mine = [each for each in details if each.vector == name]
        if mine:
            kinds = tuple(sorted({each.kind for each in mine}))
            reason = "; ".join(f"{each.kind}: {each.reason}" for each in mine)
            found.append(IndexStatus(vector=name, types=kinds[:8], reason=reason[:MAX_MESSAGE]))
    return tuple(found)
