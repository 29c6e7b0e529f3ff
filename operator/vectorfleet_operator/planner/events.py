"""Events worth telling: transitions of conditions, and what was done to pods, shards and sizes.

Called by `planner.plan`. An event is named after its content and the state it came from, so that a plan that is made
twice (the operator was killed in between) tells it once.
"""

from __future__ import annotations

from vectorfleet_operator.model.observed import Observed
from vectorfleet_operator.model.status import Condition, ConditionStatus, Status
from vectorfleet_operator.planner.actions import Emit, EventType
from vectorfleet_operator.planner.fleet import Fleet, stored_topology
from vectorfleet_operator.planner.status import condition

QUIET_REASONS = ("Progressing", "Deleting")


def transitions(before: Status, after: Status) -> list[Emit]:
    """Events for what changed of Ready and FullyReplicated."""
    return [*_of_ready(before, after), *_of_replicas(before, after)]


def resized(observed: Observed, replicas: int, *, suspended: bool) -> list[Emit]:
    """Events for a StatefulSet that gets another number of pods."""
    live = observed.live_replicas
    if replicas == live:
        return []
    if suspended:
        reason, message = "Suspending", f"stopping {live} nodes, the data stays"
    elif replicas > live:
        reason, message = "ScaledUp", f"from {live} to {replicas} nodes"
    else:
        reason, message = "ScaledDown", f"from {live} to {replicas} nodes, which hold no shard any more"
    return [Emit(EventType.NORMAL, reason, message, f"generation {observed.generation}")]


def moved(observed: Observed, fleet: Fleet, config_map_name: str) -> list[Emit]:
    """Events for shards that get other nodes; the first placement is none."""
    stored = stored_topology(observed.child("ConfigMap", config_map_name))
    if stored is None or stored.order == fleet.topology.order or not stored.collections or not observed.data_uid:
        return []
    held = {shard.id: shard.replicas for shard in stored.collections[0].shards}
    changes = []
    for shard, nodes in sorted(fleet.placement.items()):
        added = sorted(set(nodes) - set(held.get(shard, ())))
        dropped = sorted(set(held.get(shard, ())) - set(nodes))
        if added or dropped:
            steps = [f"{word} {', '.join(names)}" for word, names in (("added", added), ("dropped", dropped)) if names]
            changes.append(f"shard {shard}: {', '.join(steps)}")
    shown = "; ".join(changes[:8]) + ("; …" if len(changes) > 8 else "")
    return [Emit(EventType.NORMAL, "ShardMoved", shown, f"topology {fleet.topology.order}")] if changes else []


def _of_ready(before: Status, after: Status) -> list[Emit]:
    old, new = condition(before, "Ready"), condition(after, "Ready")
    if new is None or (old is not None and (old.status, old.reason) == (new.status, new.reason)):
        return []
    if new.reason in QUIET_REASONS and (old is None or old.status is not ConditionStatus.TRUE):
        return []
    calm = new.status is ConditionStatus.TRUE or new.reason in ("Suspended", *QUIET_REASONS)
    return [Emit(EventType.NORMAL if calm else EventType.WARNING, new.reason, new.message, _since(old))]


def _of_replicas(before: Status, after: Status) -> list[Emit]:
    old, new = condition(before, "FullyReplicated"), condition(after, "FullyReplicated")
    if new is None or new.status is not ConditionStatus.TRUE or (old is not None and old.status is new.status):
        return []
    return [Emit(EventType.NORMAL, "FullyReplicated", new.message, _since(old))]


def _since(old: Condition | None) -> str:
    return f"{old.status} {old.reason} {old.last_transition_time}" if old is not None else ""
