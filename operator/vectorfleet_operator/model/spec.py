"""The spec of a VectorCollection: what a user writes, whole, with the rules that the API server enforces.

The operator parses every object with `VectorCollectionSpec.model_validate`; `generate` makes the CRD and its reference
from it. A field whose feature comes later is in the schema, and a rule says "not supported yet" where it means nothing.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from vectorfleet.schema import CollectionSchema, FieldSchema, VectorSchema
from vectorfleet_operator.model.base import DURATION, ListMap, Part, Rule
from vectorfleet_operator.model.data import (
    ConsistencySpec,
    FieldSpec,
    KeySpec,
    ShardingSpec,
    VectorSpec,
)
from vectorfleet_operator.model.names import COLLECTION_NAME, MAX_NAME_LENGTH
from vectorfleet_operator.model.nodes import NodesSpec
from vectorfleet_operator.model.storage import StorageSpec

# Rules that need the resource's metadata.
RESOURCE_RULES = (
    Rule(
        "name_leaves_room_for_the_children",
        f"self.metadata.name.matches(r'{COLLECTION_NAME}')",
        "metadata.name must be a lower-case letter, then letters, digits and dashes, "
        f"at most {MAX_NAME_LENGTH} in all: pods and Services are named after it",
    ),
)


class CanarySpec(Part):
    """One node goes first, and is compared with the others."""

    duration: str = Field("2m", pattern=DURATION, max_length=16, description="How long.", examples=["2m"])


class UpdateSpec(Part):
    """How changes reach the pods."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule("canary_is_not_supported_yet", "!has(self.canary)", "update.canary is not supported yet: leave it out"),
    )

    paused: bool = Field(
        False, description="Keeps running pods as they are when their template changes.", examples=[True]
    )
    canary: CanarySpec | None = Field(
        None, description="One node goes first. Not supported yet.", examples=[{"duration": "2m"}]
    )


class RetainSpec(Part):
    """Which backups are kept."""

    count: int = Field(14, ge=1, le=1000, description="How many.", examples=[14])


class BackupSpec(Part):
    """Regular backups."""

    schedule: str = Field(min_length=1, max_length=64, description="When, as cron writes it.", examples=["0 3 * * *"])
    retain: RetainSpec = Field(RetainSpec(), description="Which are kept.", examples=[{"count": 14}])
    verify: bool = Field(True, description="Whether each is restored to see that it can be.", examples=[True])


class DeletionPolicy(StrEnum):
    """What happens to the data when the resource is deleted."""

    RETAIN = "Retain"
    DELETE = "Delete"


class VectorCollectionSpec(Part):
    """A searchable collection of vectors, and the fleet of nodes that serves it."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "replicas_fit_on_the_nodes",
            "self.nodes.count < 1 || self.sharding.replicas <= self.nodes.count",
            "sharding.replicas is {self.sharding.replicas} and nodes.count {self.nodes.count} (1 when it is left out): "
            "each copy of a shard needs a node of its own, so nodes.count must be at least {self.sharding.replicas}",
            field=".nodes.count",
        ),
        Rule(
            "a_volume_has_one_node",
            "!has(self.storage.volume) || self.nodes.count == 1",
            "nodes.count is {self.nodes.count}: a collection on storage.volume has exactly 1 node; "
            "use storage.url for more",
            field=".nodes.count",
        ),
        Rule(
            "a_volume_has_no_cache",
            "!has(self.storage.volume) || !has(self.nodes.cache)",
            "nodes.cache goes with storage.url: with storage.volume the volume itself is the data",
            field=".nodes.cache",
        ),
        Rule(
            "fields_are_add_only",
            "!has(oldSelf.fields)"
            " || oldSelf.fields.all(old, has(self.fields) && self.fields.exists(new, new.name == old.name))",
            "fields is add-only: no entry can be removed or renamed, the stored rows have it",
            field=".fields",
        ),
        Rule("backup_is_not_supported_yet", "!has(self.backup)", "backup is not supported yet: leave it out"),
    )

    key: KeySpec = Field(KeySpec(), description="The key of a row.", examples=[{"type": "String"}])
    vectors: Annotated[
        tuple[VectorSpec, ...],
        ListMap(),
        Rule(
            "vectors_are_add_only",
            "oldSelf.all(old, self.exists(new, new.name == old.name))",
            "vectors is add-only: no entry can be removed or renamed, the stored rows have it",
        ),
    ] = Field(
        min_length=1,
        max_length=8,
        description="The named vectors of every row. Entries can be added, not removed.",
        examples=[[{"name": "default", "dimensions": 1024, "metric": "Cosine"}]],
    )
    fields: Annotated[
        tuple[FieldSpec, ...],
        ListMap(),
    ] = Field(
        (),
        max_length=64,
        description="The typed payload of every row. Entries can be added, not removed.",
        examples=[[{"name": "lang", "type": "String", "indexed": True}]],
    )
    sharding: ShardingSpec = Field(
        ShardingSpec(), description="How rows are spread over nodes.", examples=[{"shards": 20, "replicas": 3}]
    )
    storage: StorageSpec = Field(
        description="Where the data lives: exactly one of url (s3://, gs:// or az://) and volume.",
        examples=[{"url": "s3://team-vectors/articles"}],
    )
    nodes: NodesSpec = Field(NodesSpec(), description="All that is pods.", examples=[{"count": 60}])
    consistency: ConsistencySpec = Field(
        ConsistencySpec(),
        description="What a read sees that does not say so itself.",
        examples=[{"default": "Session"}],
    )
    update: UpdateSpec = Field(UpdateSpec(), description="How changes reach the pods.", examples=[{"paused": False}])
    backup: BackupSpec | None = Field(
        None, description="Regular backups. Not supported yet.", examples=[{"schedule": "0 3 * * *"}]
    )
    deletion_policy: DeletionPolicy = Field(
        DeletionPolicy.RETAIN,
        description="Retain keeps the data when the resource is deleted; Delete removes it.",
        examples=["Retain"],
    )
    suspend: bool = Field(False, description="Stops all nodes and keeps the data.", examples=[True])

    @model_validator(mode="after")
    def _copies_have_nodes(self) -> Self:
        """The API server refuses this too; an object made before its rules existed must not confuse the planner."""
        if self.sharding.replicas > self.nodes.count:
            raise ValueError(
                f"sharding.replicas is {self.sharding.replicas} and nodes.count {self.nodes.count}: "
                f"nodes.count must be at least {self.sharding.replicas}"
            )
        return self

    def collection_schema(self) -> CollectionSchema:
        """What of this spec is about the rows, as nodes and `collection.json` know it."""
        return CollectionSchema(
            key=self.key.type,
            vectors=tuple(
                VectorSchema(
                    name=vector.name,
                    dimensions=vector.dimensions,
                    metric=vector.metric,
                    index=vector.index.type,
                    quantization=vector.index.quantization.type,
                )
                for vector in self.vectors
            ),
            fields=tuple(FieldSchema(name=field.name, type=field.type, indexed=field.indexed) for field in self.fields),
            shards=self.sharding.shards,
        )
