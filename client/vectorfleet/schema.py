"""The schema of a collection: what operator, nodes and clients agree on about its rows.

The operator writes it into the topology, nodes into `collection.json`, and both compare the two.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]


class KeyType(StrEnum):
    """The type of a row's key."""

    STRING = "String"
    INT64 = "Int64"


class Metric(StrEnum):
    """How two vectors are compared. A score is always higher for the better row."""

    COSINE = "Cosine"
    L2 = "L2"
    DOT = "Dot"


class IndexType(StrEnum):
    """Kinds of index a user can ask for; `Auto` lets the node choose by device and size."""

    AUTO = "Auto"
    EXACT = "Exact"
    HNSW = "HNSW"
    PQ = "PQ"
    CAGRA = "CAGRA"
    IVFPQ = "IVFPQ"


class IndexKind(StrEnum):
    """Kinds of index that a segment has: what became of an `IndexType`. Manifests, reports and answers name them."""

    EXACT = "Exact"
    HNSW = "HNSW"
    HNSW_INT8 = "HNSW-Int8"
    PQ = "PQ"


class Quantization(StrEnum):
    """How the copies of the vectors are encoded that a graph is walked by; the originals are always kept."""

    AUTO = "Auto"
    FLOAT16 = "Float16"
    INT8 = "Int8"


class FieldType(StrEnum):
    """Types of payload fields. Every field is nullable; the elements of an array are not."""

    STRING = "String"
    INT64 = "Int64"
    FLOAT64 = "Float64"
    BOOL = "Bool"
    STRING_ARRAY = "StringArray"
    INT64_ARRAY = "Int64Array"
    FLOAT64_ARRAY = "Float64Array"
    JSON = "Json"

    @property
    def indexable(self) -> bool:
        """Whether segments can have an index of such a field. A Bool column is one already: a bit a row."""
        return self not in (FieldType.BOOL, FieldType.JSON)


class Frozen(BaseModel):
    """A value that crosses a process boundary: immutable, and unknown fields are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class VectorSchema(Frozen):
    """One named vector of each row. `dimensions` and `metric` never change; `index` and `quantization` may."""

    name: Name = "default"
    dimensions: int = Field(ge=1, le=32768)
    metric: Metric = Metric.COSINE
    index: IndexType = IndexType.AUTO
    # Left out where it says nothing: what is written then can be read by versions that do not know it.
    quantization: Quantization = Field(Quantization.AUTO, exclude_if=lambda value: value is Quantization.AUTO)

    @model_validator(mode="after")
    def _quantization_is_of_graphs(self) -> VectorSchema:
        if self.quantization is not Quantization.AUTO and self.index in (IndexType.EXACT, IndexType.PQ):
            raise ValueError(
                f"quantization {self.quantization} is for graphs and index {self.index} has none: use Auto or HNSW"
            )
        return self


class FieldSchema(Frozen):
    """One typed, nullable payload field."""

    name: Name
    type: FieldType
    indexed: bool = False


class CollectionSchema(Frozen):
    """Everything about a collection's rows that outlives any cluster."""

    key: KeyType = KeyType.STRING
    vectors: tuple[VectorSchema, ...] = Field(min_length=1)
    fields: tuple[FieldSchema, ...] = ()
    shards: int = Field(ge=1, le=4096)

    def differences(self, wanted: CollectionSchema) -> list[str]:
        """What in `wanted` contradicts the data described by this schema, one sentence each.

        New vectors and fields may be added and an index may change; nothing else may.
        """
        found = []
        if wanted.key != self.key:
            found.append(f"key.type is {self.key} in the data and {wanted.key} in the spec")
        if wanted.shards != self.shards:
            found.append(f"sharding.shards is {self.shards} in the data and {wanted.shards} in the spec")
        vectors = {vector.name: vector for vector in wanted.vectors}
        for vector in self.vectors:
            other = vectors.get(vector.name)
            if other is None:
                found.append(f"vectors[{vector.name}] is in the data and not in the spec")
            elif (other.dimensions, other.metric) != (vector.dimensions, vector.metric):
                found.append(
                    f"vectors[{vector.name}] is {vector.dimensions} x {vector.metric} in the data "
                    f"and {other.dimensions} x {other.metric} in the spec"
                )
        fields = {field.name: field for field in wanted.fields}
        for field in self.fields:
            match = fields.get(field.name)
            if match is None:
                found.append(f"fields[{field.name}] is in the data and not in the spec")
            elif match.type != field.type:
                found.append(f"fields[{field.name}] is {field.type} in the data and {match.type} in the spec")
        return found
