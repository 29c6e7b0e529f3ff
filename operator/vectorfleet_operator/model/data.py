"""The parts of the spec that say what the rows are, how they are spread, and what a read may see.

Used by `spec`. Most of it is immutable: it describes data that outlives the resource (see vectorfleet.schema).
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field, model_validator

from vectorfleet.schema import FieldType, IndexType, KeyType, Metric, Quantization, VectorSchema
from vectorfleet.topology import ConsistencyLevel
from vectorfleet_operator.model.base import DURATION, NAME, Part, Rule, seconds


class KeySpec(Part):
    """The key of a row: an upsert replaces the row with the same key."""

    type: Annotated[
        KeyType,
        Rule(
            "key_type_is_immutable",
            "self == oldSelf",
            "key.type is immutable: it is {oldSelf} and cannot become {self}",
        ),
    ] = Field(KeyType.STRING, description="The type of every row's key. Immutable.", examples=["String"])


class HnswSpec(Part):
    """Parameters of an HNSW graph."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "hnsw_parameters_are_not_supported_yet",
            "!has(self.m) && !has(self.efConstruction)",
            "index.hnsw.m and index.hnsw.efConstruction are not supported yet: leave hnsw empty, the node chooses them",
        ),
    )

    m: int | None = Field(
        None, ge=4, le=128, description="Neighbours of a row in the graph. Not supported yet.", examples=[16]
    )
    ef_construction: int | None = Field(
        None, ge=8, le=4096, description="Candidates looked at while a row is added. Not supported yet.", examples=[200]
    )


class QuantizationSpec(Part):
    """How the copies of the vectors are encoded that a graph is walked by; the originals are always kept."""

    type: Quantization = Field(
        Quantization.AUTO,
        description="Auto lets the node choose by size. Float16 takes 2 bytes per dimension, Int8 1: half of the "
        "memory for a little less recall.",
        examples=["Int8"],
    )


class IndexSpec(Part):
    """The index of one named vector. Mutable: a change is built in the background."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "quantization_is_of_graphs",
            "self.quantization.type == 'Auto' || self.type in ['Auto', 'HNSW']",
            "index.quantization.type {self.quantization.type} is for graphs and index.type {self.type} has none: "
            "use Auto, or index.type Auto or HNSW",
        ),
    )

    type: Annotated[
        IndexType,
        Rule(
            "index_type_is_one_that_a_cpu_builds",
            "self in ['Auto', 'Exact', 'PQ', 'HNSW']",
            "index.type {self} is not supported yet: use Auto, Exact, PQ or HNSW",
        ),
    ] = Field(
        IndexType.AUTO,
        description="Auto chooses by device and size and says so in the status. Exact compares with every row, "
        "PQ with short codes of every row; HNSW walks a graph.",
        examples=["HNSW"],
    )
    hnsw: HnswSpec | None = Field(
        None, description="Parameters of an HNSW graph. Not supported yet.", examples=[{"m": 16}]
    )
    quantization: QuantizationSpec = Field(
        QuantizationSpec(), description="How the vectors in a graph are encoded.", examples=[{"type": "Auto"}]
    )

    @model_validator(mode="after")
    def _quantization_is_of_graphs(self) -> IndexSpec:
        VectorSchema(dimensions=1, index=self.type, quantization=self.quantization.type)
        return self


class VectorSpec(Part):
    """One named vector that every row has."""

    name: Annotated[
        str,
        Rule(
            "vector_name_is_an_identifier",
            f"self.matches(r'{NAME}')",
            "vectors[].name '{self}' must be 1 to 63 of a-z, 0-9 and _, and begin with a letter",
            replaces=("pattern",),
        ),
    ] = Field(pattern=NAME, max_length=63, description="How a search names this vector.", examples=["default"])
    dimensions: Annotated[
        int,
        Rule(
            "dimensions_are_immutable",
            "self == oldSelf",
            "vectors[].dimensions is immutable: it is {oldSelf} and cannot become {self}; add another vector instead",
        ),
    ] = Field(ge=1, le=32768, description="How many numbers the vector has. Immutable.", examples=[1024])
    metric: Annotated[
        Metric,
        Rule(
            "metric_is_immutable",
            "self == oldSelf",
            "vectors[].metric is immutable: it is {oldSelf} and cannot become {self}; add another vector instead",
        ),
    ] = Field(
        Metric.COSINE,
        description="How two vectors are compared. A score is higher for the better row. Immutable.",
        examples=["Cosine"],
    )
    index: IndexSpec = Field(IndexSpec(), description="How rows are found.", examples=[{"type": "Auto"}])


class FieldSpec(Part):
    """One typed, nullable field of a row's payload."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "json_fields_have_no_index",
            "self.type != 'Json' || !self.indexed",
            "fields[].indexed: {self.name} is Json and cannot be indexed: add a field for what you filter by",
            field=".indexed",
        ),
    )

    name: Annotated[
        str,
        Rule(
            "field_name_is_an_identifier",
            f"self.matches(r'{NAME}')",
            "fields[].name '{self}' must be 1 to 63 of a-z, 0-9 and _, and begin with a letter",
            replaces=("pattern",),
        ),
        Rule(
            "field_name_is_not_reserved",
            "self != 'key'",
            "fields[].name 'key' is reserved for the row's own key: choose another name",
        ),
    ] = Field(pattern=NAME, max_length=63, description="How filters and results name this field.", examples=["lang"])
    type: Annotated[
        FieldType,
        Rule(
            "field_type_is_immutable",
            "self == oldSelf",
            "fields[].type is immutable: it is {oldSelf} and cannot become {self}; add a field under another name",
        ),
    ] = Field(
        description="The type of the field's values; every one may be null. Json is any JSON document. Immutable.",
        examples=["String"],
    )
    indexed: bool = Field(
        False,
        description="Whether segments get an index of the field: filters then find its few rows without reading the "
        "column. Costs 4 bytes a row and value on disk, and each different value once. Of a Bool it changes nothing, "
        "its column is as quick; a Json field cannot have one. Mutable: older segments get it in the background.",
        examples=[True],
    )


class ShardingSpec(Part):
    """How rows are spread over nodes."""

    shards: Annotated[
        int,
        Rule(
            "shards_are_immutable",
            "self == oldSelf",
            "sharding.shards is immutable: it is {oldSelf} and cannot become {self}; resharding is not supported yet",
        ),
    ] = Field(1, ge=1, le=4096, description="Parts that rows are divided into by their key. Immutable.", examples=[20])
    replicas: int = Field(
        1,
        ge=1,
        le=16,
        description="Copies of each shard, each on another node; at most nodes.count. 2 survive the loss of a node.",
        examples=[3],
    )


class ConsistencySpec(Part):
    """What a read sees that does not say so itself."""

    default: ConsistencyLevel = Field(
        ConsistencyLevel.SESSION,
        description="Strong: every write acknowledged before the read. Session: the client's own. "
        "Bounded: at most maxStaleness old. Eventual: whatever the replica has.",
        examples=["Session"],
    )
    max_staleness: Annotated[
        str,
        Rule(
            "max_staleness_is_a_duration",
            f"self.matches(r'{DURATION}') && duration(self) >= duration('10ms') && duration(self) <= duration('1h')",
            "consistency.maxStaleness '{self}' must be a duration from 10ms to 1h, like 500ms, 1s or 2m",
            replaces=("pattern",),
        ),
    ] = Field("1s", pattern=DURATION, max_length=16, description="How old a Bounded read may be.", examples=["1s"])

    @property
    def max_staleness_seconds(self) -> float:
        """`max_staleness` in seconds."""
        return seconds(self.max_staleness)
