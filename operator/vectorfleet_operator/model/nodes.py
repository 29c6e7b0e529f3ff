"""The part of the spec that is pods: how many nodes, on what device, with which cache and scheduling.

Used by `spec`. What may be said of the pods themselves is in `template`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from vectorfleet_operator.model.base import QUANTITY, DnsName, Part, Quantity, Rule
from vectorfleet_operator.model.template import TemplateSpec

MAX_NODES = 1000


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
            "cache_size_is_fixed",
            "self == oldSelf",
            "nodes.cache.size is {oldSelf} and cannot become {self}: resizing is not supported yet",
        ),
    ] = Field(
        pattern=QUANTITY,
        max_length=32,
        description="Size of the volume; resizing is not supported yet.",
        examples=["200Gi"],
    )
    storage_class_name: DnsName | None = Field(
        None, description="StorageClass of the volume; the cluster's default when absent.", examples=["nvme"]
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
