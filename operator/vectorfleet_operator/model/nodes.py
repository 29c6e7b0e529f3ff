"""The part of the spec that is pods: how many nodes, on what device, with which cache and scheduling.

Used by `spec`. Kubernetes' own names are kept below `template`, so that a piece of a pod's YAML can be pasted there.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from vectorfleet_operator.model.base import QUANTITY, DnsName, Part, Quantity, ResourceQuantity, Rule

MAX_NODES = 1000
LabelKey = Annotated[str, Field(min_length=1, max_length=316)]
LabelValue = Annotated[str, Field(max_length=63)]


class DeviceType(StrEnum):
    """What a node computes on."""

    CPU = "CPU"
    GPU = "GPU"


class OnMissing(StrEnum):
    """What a node does that finds no device."""

    FAIL = "Fail"
    USE_CPU = "UseCPU"


class DeviceSpec(Part):
    """What a node computes on."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "gpus_are_not_supported_yet",
            "self.type == 'CPU'",
            "nodes.device.type {self.type} is not supported yet: use CPU",
            field=".type",
        ),
        Rule(
            "device_details_need_a_gpu",
            "self.type == 'GPU'"
            " || !(has(self.count) || has(self.memory) || has(self.resourceName) || has(self.onMissing))",
            "nodes.device.count, memory, resourceName and onMissing describe GPUs and mean nothing for type CPU",
        ),
    )

    type: DeviceType = Field(DeviceType.CPU, description="CPU or GPU. GPU is not supported yet.", examples=["CPU"])
    count: int | None = Field(None, ge=1, le=16, description="Devices of a node. Not supported yet.", examples=[1])
    memory: Quantity | None = Field(
        None, description="Memory of a device that the node may use. Not supported yet.", examples=["14Gi"]
    )
    resource_name: str | None = Field(
        None,
        max_length=316,
        description="The resource that a pod asks for. Not supported yet.",
        examples=["nvidia.com/gpu"],
    )
    on_missing: OnMissing | None = Field(
        None, description="What a node does that finds no device. Not supported yet.", examples=["Fail"]
    )


class CacheSpec(Part):
    """The volume of a node. It is a cache: losing it costs time, not data."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "cache_class_is_immutable",
            "has(self.storageClassName) == has(oldSelf.storageClassName)"
            " && (!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName)",
            "nodes.cache.storageClassName cannot be changed: that is not supported yet",
            field=".storageClassName",
        ),
    )

    size: Annotated[
        str,
        Rule(
            "cache_size_is_a_quantity",
            f"self.matches(r'{QUANTITY}') && quantity(self).isGreaterThan(quantity('0'))",
            "nodes.cache.size '{self}' must be a quantity above zero like 200Gi",
            replaces=("pattern",),
        ),
        Rule(
            "cache_size_only_grows",
            "!isQuantity(self) || !isQuantity(oldSelf) || quantity(self).compareTo(quantity(oldSelf)) >= 0",
            "nodes.cache.size can only grow: it is {oldSelf} and cannot become {self}",
        ),
    ] = Field(pattern=QUANTITY, max_length=32, description="Size of the volume; it can only grow.", examples=["200Gi"])
    storage_class_name: DnsName | None = Field(
        None, description="StorageClass of the volume; the cluster's default when absent.", examples=["nvme"]
    )


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
        examples=[[{"matchExpressions": [{"key": "pool", "operator": "Exists"}]}]],
    )


class NodeAffinity(Part):
    """Which Kubernetes nodes may run a node of the fleet."""

    required_during_scheduling_ignored_during_execution: NodeSelector | None = Field(
        None,
        description="What a Kubernetes node must have.",
        examples=[{"nodeSelectorTerms": [{"matchExpressions": [{"key": "pool", "operator": "Exists"}]}]}],
    )


class AffinitySpec(Part):
    """As in a pod's spec, node affinity only: the operator itself spreads pods over zones and hosts."""

    node_affinity: NodeAffinity | None = Field(
        None, description="Which Kubernetes nodes may be used, as in a pod's spec."
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
    affinity: AffinitySpec | None = Field(None, description="Which Kubernetes nodes may be used, as in a pod's spec.")
    service_account: ServiceAccountSpec = Field(
        ServiceAccountSpec(),
        description="The pods' ServiceAccount.",
        examples=[{"annotations": {"iam.gke.io/gcp-service-account": "search@project.iam.gserviceaccount.com"}}],
    )


class NodesSpec(Part):
    """The nodes of the fleet; each is one pod."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "cache_cannot_be_added_or_removed",
            "has(self.cache) == has(oldSelf.cache)",
            "nodes.cache can be neither added nor removed later: that is not supported yet",
            field=".cache",
        ),
    )

    count: Annotated[
        int,
        Rule(
            "there_is_a_node",
            f"self >= 1 && self <= {MAX_NODES}",
            f"nodes.count is {{self}}, must be from 1 to {MAX_NODES}; suspend: true stops all nodes and keeps the data",
            replaces=("minimum", "maximum"),
        ),
    ] = Field(
        1,
        ge=1,
        le=MAX_NODES,
        description="Nodes of the fleet, at least sharding.replicas. Leave it out of Git when something scales it.",
        examples=[60],
    )
    image: str = Field(
        "",
        max_length=512,
        description="Image of the nodes. Empty: the operator's default, kept from then on until this is changed.",
        examples=["registry.example.com/vectorfleet-node:0.1.0"],
    )
    device: DeviceSpec = Field(DeviceSpec(), description="What a node computes on.", examples=[{"type": "CPU"}])
    cache: CacheSpec | None = Field(
        None, description="A volume for each node. Absent: the disk of its host.", examples=[{"size": "200Gi"}]
    )
    template: TemplateSpec = Field(
        TemplateSpec(), description="What may be said of the pods.", examples=[{"nodeSelector": {"pool": "search"}}]
    )
