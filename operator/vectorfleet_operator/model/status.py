"""The status of a VectorCollection, complete: the API server prunes what is not in it.

The operator builds one `Status` per reconciliation and writes it in one patch; `generate` makes the CRD's schema of it.
Lists are capped, because the object has to fit into etcd: the full placement is in the ConfigMap `<name>-topology`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field

from vectorfleet_operator.model.base import ListMap, Part

MAX_PLACEMENT = 64
MAX_MESSAGE = 1024
Text = Annotated[str, Field(max_length=MAX_MESSAGE)]
Time = Annotated[str, Field(json_schema_extra={"format": "date-time"}, max_length=64)]


class ConditionStatus(StrEnum):
    """Whether a condition holds."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Condition(Part):
    """One aspect of the state, as Kubernetes writes it."""

    type: str = Field(max_length=64, description="Ready, Available, FullyReplicated, Reconciling or Stalled.")
    status: ConditionStatus = Field(description="Whether it holds.")
    reason: str = Field(max_length=64, description="Why, in one word.")
    message: Text = Field("", description="Why, in a sentence.")
    last_transition_time: Time = Field(description="When status changed last.")
    observed_generation: int | None = Field(None, ge=0, description="Generation of the spec that this is about.")


class ShardsStatus(Part):
    """How the shards are."""

    total: int = Field(0, ge=0, description="Shards of the collection.")
    available: int = Field(0, ge=0, description="Shards with a replica that serves.")
    under_replicated: int = Field(0, ge=0, description="Shards with fewer serving replicas than the spec wants.")
    moving: int = Field(0, ge=0, description="Shards that are on their way to another node.")


class NodesStatus(Part):
    """How the nodes are."""

    count: int = Field(0, ge=0, description="Pods that exist.")
    ready: int = Field(0, ge=0, description="Pods that serve everything placed on them.")
    updated: int = Field(0, ge=0, description="Pods made from the present template.")
    selector: str = Field("", max_length=256, description="Label selector of the pods, for whatever scales them.")


class StorageStatus(Part):
    """What was found at the collection's URL."""

    uid: str = Field("", max_length=64, description="Id of the data, as in its collection.json.")
    url: str = Field("", max_length=512, description="Where the data is.")
    state: str = Field("", max_length=64, description="Serving, or the reason why the data is not served.")


class VersionsStatus(Part):
    """What runs."""

    image: str = Field("", max_length=512, description="Image of the nodes; kept while nodes.image stays the same.")
    requested_image: str = Field("", max_length=512, description="nodes.image when `image` was chosen.")
    operator: str = Field("", max_length=64, description="Version of the operator that wrote this status.")


class OperationStatus(Part):
    """What the operator is doing."""

    type: str = Field(max_length=64, description="What, in one word.")
    step: Text = Field("", description="The step that it is at.")
    started_at: Time | None = Field(None, description="When it began.")
    waiting_for: Text = Field("", description="What it waits for.")


class ShardPlacementStatus(Part):
    """Where one shard is."""

    shard: int = Field(ge=0, description="Id of the shard.")
    nodes: tuple[Annotated[str, Field(max_length=64)], ...] = Field(
        (), max_length=16, description="Nodes that hold it, the preferred leader first."
    )


class IndexStatus(Part):
    """The kinds of index of one vector, chosen or asked for."""

    vector: str = Field(max_length=63, description="Name of the vector.")
    types: tuple[Annotated[str, Field(max_length=16)], ...] = Field(
        (), max_length=8, description="Kinds of index that its sealed rows have."
    )
    reason: Text = Field("", description="Why these, and which one comes next where that is another.")


class Status(Part):
    """What the operator saw and did."""

    observed_generation: int = Field(0, ge=0, description="Generation of the spec that this status is about.")
    conditions: Annotated[tuple[Condition, ...], ListMap("type")] = Field(
        (), max_length=16, description="Ready, Available, FullyReplicated, Reconciling and Stalled."
    )
    shards: ShardsStatus | None = Field(None, description="How the shards are.")
    nodes: NodesStatus | None = Field(None, description="How the nodes are.")
    rows: int | None = Field(None, ge=0, description="Live rows, as the leaders last reported.")
    storage: StorageStatus | None = Field(None, description="What was found at the collection's URL.")
    versions: VersionsStatus | None = Field(None, description="What runs.")
    operation: OperationStatus | None = Field(None, description="What the operator is doing; absent when nothing.")
    placement: Annotated[tuple[ShardPlacementStatus, ...], ListMap("shard")] = Field(
        (), max_length=MAX_PLACEMENT, description=f"Where the first {MAX_PLACEMENT} shards are."
    )
    indexes: Annotated[tuple[IndexStatus, ...], ListMap("vector")] = Field(
        (), max_length=8, description="What index each vector has, and why."
    )

    def to_resource(self) -> dict[str, Any]:
        """The status as JSON for a patch: camelCase, without what is not known."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)
