"""What the spec may say of the pods: a small typed part of a pod's own spec, under Kubernetes' names.

Used by `nodes`. A full pod template would make the CRD larger than `kubectl apply` takes, and let a user break what the
operator relies on.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field

from vectorfleet_operator.model.base import Part, ResourceQuantity

LabelKey = Annotated[str, Field(min_length=1, max_length=316)]
LabelValue = Annotated[str, Field(max_length=63)]
_TERMS: list[dict[str, Any]] = [{"matchExpressions": [{"key": "pool", "operator": "Exists"}]}]
_AFFINITY = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": _TERMS}}}


class ResourcesSpec(Part):
    """Requests and limits of the node's container."""

    requests: dict[LabelKey, ResourceQuantity] = Field(
        default_factory=dict,
        max_length=16,
        description="What a node is scheduled by.",
        examples=[{"cpu": "4", "memory": "16Gi"}],
    )
    limits: dict[LabelKey, ResourceQuantity] = Field(
        default_factory=dict, max_length=16, description="What a node may not exceed.", examples=[{"memory": "16Gi"}]
    )


class TolerationOperator(StrEnum):
    """How a toleration matches a taint's value."""

    EXISTS = "Exists"
    EQUAL = "Equal"


class TaintEffect(StrEnum):
    """What a taint does to pods without a toleration."""

    NO_SCHEDULE = "NoSchedule"
    PREFER_NO_SCHEDULE = "PreferNoSchedule"
    NO_EXECUTE = "NoExecute"


class Toleration(Part):
    """As in a pod's spec."""

    key: LabelKey | None = Field(None, description="Key of the taint; absent: every key.", examples=["dedicated"])
    operator: TolerationOperator | None = Field(None, description="Equal (the default) or Exists.", examples=["Exists"])
    value: LabelValue | None = Field(None, description="Value of the taint, for Equal.", examples=["search"])
    effect: TaintEffect | None = Field(
        None, description="Effect of the taint; absent: every effect.", examples=["NoSchedule"]
    )
    toleration_seconds: int | None = Field(
        None, ge=0, le=86400, description="How long a NoExecute taint is borne; absent: for ever.", examples=[60]
    )


class SelectorOperator(StrEnum):
    """How a label is compared."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"
    GT = "Gt"
    LT = "Lt"


class NodeSelectorRequirement(Part):
    """As in a pod's spec."""

    key: LabelKey = Field(description="A label of Kubernetes nodes.", examples=["node.kubernetes.io/instance-type"])
    operator: SelectorOperator = Field(description="How the label is compared.", examples=["In"])
    values: tuple[LabelValue, ...] = Field(
        (), max_length=32, description="What it is compared with.", examples=[["r7i.4xlarge"]]
    )


class NodeSelectorTerm(Part):
    """Requirements that must all hold."""

    match_expressions: tuple[NodeSelectorRequirement, ...] = Field(
        min_length=1,
        max_length=16,
        description="Requirements that must all hold.",
        examples=[[{"key": "pool", "operator": "Exists"}]],
    )


class NodeSelector(Part):
    """Terms of which one must hold."""

    node_selector_terms: tuple[NodeSelectorTerm, ...] = Field(
        min_length=1,
        max_length=8,
        description="Terms of which one must hold.",
        examples=[_TERMS],
    )


class NodeAffinity(Part):
    """Which Kubernetes nodes may run a node of the fleet."""

    required_during_scheduling_ignored_during_execution: NodeSelector | None = Field(
        None,
        description="What a Kubernetes node must have.",
        examples=[{"nodeSelectorTerms": _TERMS}],
    )


class AffinitySpec(Part):
    """As in a pod's spec, node affinity only: the operator itself spreads pods over zones and hosts."""

    node_affinity: NodeAffinity | None = Field(
        None, description="Which Kubernetes nodes may be used.", examples=[_AFFINITY["nodeAffinity"]]
    )


class ServiceAccountSpec(Part):
    """The pods' ServiceAccount, which the operator makes."""

    annotations: dict[LabelKey, Annotated[str, Field(max_length=512)]] = Field(
        default_factory=dict,
        max_length=16,
        description="Annotations that give the pods a workload identity.",
        examples=[{"eks.amazonaws.com/role-arn": "arn:aws:iam::123456789012:role/search"}],
    )


class TemplateSpec(Part):
    """What may be said of the pods."""

    resources: ResourcesSpec = Field(
        ResourcesSpec(), description="Requests and limits of a node.", examples=[{"requests": {"memory": "16Gi"}}]
    )
    node_selector: dict[LabelKey, LabelValue] = Field(
        default_factory=dict,
        max_length=16,
        description="Labels that a Kubernetes node must have.",
        examples=[{"pool": "search"}],
    )
    tolerations: tuple[Toleration, ...] = Field(
        (), max_length=16, description="Taints that pods bear.", examples=[[{"key": "dedicated", "operator": "Exists"}]]
    )
    affinity: AffinitySpec | None = Field(None, description="Which Kubernetes nodes may be used.", examples=[_AFFINITY])
    service_account: ServiceAccountSpec = Field(
        ServiceAccountSpec(),
        description="The pods' ServiceAccount.",
        examples=[{"annotations": {"iam.gke.io/gcp-service-account": "search@project.iam.gserviceaccount.com"}}],
    )
