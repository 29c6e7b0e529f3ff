"""What is wrong with a fleet, in one reason and one sentence for a human.

Called by `planner.status`. Nodes say what stands between them and the data; here their answers become one. The trap:
a node that cannot reach the store is no reason to call a collection broken that every shard of is served elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass

from vectorfleet_operator.model.observed import NodeReport, Observed, StorageState
from vectorfleet_operator.model.spec import VectorCollectionSpec
from vectorfleet_operator.planner.placement import Placement

# Worst first. Those for a human to decide are reported as soon as one node says so.
FOR_HUMANS = (
    StorageState.DELETED,
    StorageState.CLAIMED,
    StorageState.SCHEMA_MISMATCH,
    StorageState.UNSAFE,
    StorageState.DATA_LOSS,
)
PASSING = (
    StorageState.NOT_FOUND,
    StorageState.CREDENTIALS_REFUSED,
    StorageState.CREDENTIALS_MISSING,
    StorageState.UNREACHABLE,
)


@dataclass(frozen=True)
class Problem:
    """Why the data cannot be served as the spec says."""

    reason: str
    message: str
    for_humans: bool = False


def ready_replicas(observed: Observed, placement: Placement) -> dict[int, list[NodeReport]]:
    """The reports of the nodes that serve each shard and are meant to."""
    return {
        shard: [
            report
            for node in nodes
            if (report := observed.reports.get(node)) is not None and shard in report.ready_shards()
        ]
        for shard, nodes in placement.items()
    }


def storage_problem(observed: Observed, spec: VectorCollectionSpec, placement: Placement) -> Problem | None:
    """What keeps the fleet from its data; None when nothing does."""
    by_state: dict[StorageState, NodeReport] = {}
    for _, report in sorted(observed.reports.items()):
        by_state.setdefault(report.storage, report)
    for state in FOR_HUMANS:
        if state in by_state:
            return Problem(state.value, _sentence(state, by_state[state], spec), for_humans=True)
    if _every_shard_reaches_its_data(observed, spec, placement):
        return None
    if observed.credentials is not None and observed.credentials.version is None:
        message = (
            f"the Secret {observed.credentials.name} of spec.storage.credentials.secretRef does not exist "
            f"in namespace {observed.namespace}: make it"
        )
        return Problem(StorageState.CREDENTIALS_MISSING.value, message)
    for state in PASSING:
        if state in by_state:
            return Problem(state.value, _sentence(state, by_state[state], spec))
    return None


def _every_shard_reaches_its_data(observed: Observed, spec: VectorCollectionSpec, placement: Placement) -> bool:
    serving = ready_replicas(observed, placement)
    return all(
        any(report.storage is StorageState.OK for report in serving.get(shard, ()))
        for shard in range(spec.sharding.shards)
    )


def _sentence(state: StorageState, report: NodeReport, spec: VectorCollectionSpec) -> str:
    where = spec.storage.url or "the volume"
    if state is StorageState.CLAIMED:
        what = f"{where} is held by {report.claim_holder or 'another VectorCollection'}"
    elif state in (StorageState.CREDENTIALS_REFUSED, StorageState.CREDENTIALS_MISSING):
        named = spec.storage.credentials
        source = f"Secret {named.secret_ref.name}" if named else "the pods' workload identity"
        what = f"{where} with {source}"
    else:
        what = where
    return f"{what}: {report.message or state.value} (node {report.node})"
