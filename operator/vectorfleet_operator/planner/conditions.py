"""The five conditions of a collection, as kstatus, `kubectl wait` and people read them.

Called by `planner.status`. Ready: the spec is rolled out and every shard serves. Once Ready for a generation, a pod
that comes back or a shard that moves does not take it away; a shard that nobody serves, or its store, does.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from vectorfleet_operator.model.status import MAX_MESSAGE, Condition, ConditionStatus, Status
from vectorfleet_operator.planner.health import Problem

Verdict = tuple[str, bool | None, str, str]  # type, whether it holds (None: unknown), reason, message
PROGRESSING, SUSPENDED, INVALID = "Progressing", "Suspended", "InvalidSpec"
APPLY_FAILED, UNAVAILABLE = "ApplyFailed", "ShardsUnavailable"


@dataclass(frozen=True)
class State:
    """What the conditions follow from."""

    suspended: bool
    served: bool  # this generation was Ready, and since then only lost shards
    known: bool  # false until the fleet's StatefulSet exists
    problem: Problem | None
    rolled_out: bool
    unavailable: tuple[int, ...]  # shards that nobody serves
    incomplete: tuple[int, ...]  # shards with fewer serving replicas than placed or wanted
    doing: str  # what is in progress, "" when nothing is
    pods_left: int


def conditions(state: State, before: Status, generation: int, now: datetime) -> tuple[Condition, ...]:
    """Ready, Available, FullyReplicated, Reconciling and Stalled."""
    return finish([_ready(state), *_redundancy(state), *_progress(state)], before, generation, now)


def invalid(problems: Iterable[str], before: Status, generation: int, now: datetime) -> tuple[Condition, ...]:
    """The conditions of an object that cannot be understood."""
    message = "; ".join(problems)
    verdicts = [
        ("Ready", False, INVALID, message),
        ("Available", None, INVALID, "the spec cannot be read"),
        ("FullyReplicated", None, INVALID, "the spec cannot be read"),
        ("Reconciling", False, INVALID, "nothing is done until the spec is mended"),
        ("Stalled", True, INVALID, message),
    ]
    return finish(verdicts, before, generation, now)


def finish(verdicts: Iterable[Verdict], before: Status, generation: int, now: datetime) -> tuple[Condition, ...]:
    """Conditions that keep the time of their last transition where nothing changed."""
    old = {condition.type: condition for condition in before.conditions}
    made = []
    for kind, holds, reason, message in verdicts:
        status = ConditionStatus.UNKNOWN if holds is None else ConditionStatus(str(holds))
        same = kind in old and old[kind].status is status
        made.append(
            Condition(
                type=kind,
                status=status,
                reason=reason,
                message=message[:MAX_MESSAGE],
                last_transition_time=old[kind].last_transition_time if same else timestamp(now),
                observed_generation=generation,
            )
        )
    return tuple(made)


def timestamp(moment: datetime) -> str:
    """As Kubernetes writes times."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def shard_list(shards: Iterable[int]) -> str:
    """A few shard ids for a message."""
    ids = list(shards)
    shown = ", ".join(map(str, ids[:5]))
    return f"shard{'s' if len(ids) > 1 else ''} {shown}{', …' if len(ids) > 5 else ''}"


def _ready(state: State) -> Verdict:
    if state.suspended:
        return ("Ready", False, SUSPENDED, "spec.suspend is true; the data is untouched")
    if state.problem is not None:
        return ("Ready", False, state.problem.reason, state.problem.message)
    if not state.known:
        return ("Ready", None, PROGRESSING, state.doing or "the fleet is being made")
    if not state.rolled_out:
        return ("Ready", False, PROGRESSING, state.doing or "the spec is being rolled out")
    if state.unavailable:
        message = f"no node serves {shard_list(state.unavailable)}"
        reason = UNAVAILABLE if state.served else PROGRESSING
        return ("Ready", False, reason, f"{message}; {state.doing}" if state.doing else message)
    return ("Ready", True, "Ready", "the spec is rolled out and every shard serves")


def _redundancy(state: State) -> list[Verdict]:
    if state.unavailable:
        reason = SUSPENDED if state.suspended else UNAVAILABLE
        available = ("Available", False, reason, f"no node serves {shard_list(state.unavailable)}")
    else:
        available = ("Available", True, "EveryShardServes", "every shard has a replica that serves")
    if state.incomplete:
        reason = SUSPENDED if state.suspended else "ReplicasMissing"
        message = f"not every replica of {shard_list(state.incomplete)} serves"
        return [available, ("FullyReplicated", False, reason, message)]
    return [available, ("FullyReplicated", True, "EveryReplicaServes", "every replica of every shard serves")]


def _progress(state: State) -> list[Verdict]:
    stalled = state.problem is not None and state.problem.for_humans and not state.suspended
    if state.suspended:
        busy, doing = state.pods_left > 0, f"{state.pods_left} pods are stopping"
    else:
        busy, doing = not stalled and bool(state.doing), state.doing
    reconciling = (
        ("Reconciling", True, PROGRESSING, doing)
        if busy
        else ("Reconciling", False, "Stalled" if stalled else "Steady", "")
    )
    if stalled and state.problem is not None:
        return [reconciling, ("Stalled", True, state.problem.reason, state.problem.message)]
    return [reconciling, ("Stalled", False, "NotStalled", "")]
