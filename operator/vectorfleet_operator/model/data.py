"""The parts of the spec that say what the rows are, where they live, and what a read may see.

Used by `spec`. Most of it is immutable: it describes data that outlives the resource (see vectorfleet.schema).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator
from vectorfleet.schema import FieldType, IndexType, KeyType, Metric
from vectorfleet.topology import ConsistencyLevel

from vectorfleet_operator.model.base import DURATION, NAME, QUANTITY, DnsName, Part, Rule, seconds

# Words of the filter language, and `key`, which names the row's own key in a filter.
RESERVED_FIELDS = ("key", "and", "or", "not", "in", "is", "null", "true", "false", "like")
URL = r"^(s3|gs|az)://[a-z0-9][a-z0-9._-]{1,61}[a-z0-9](/[A-Za-z0-9_][A-Za-z0-9._=-]*)*$"
ENDPOINT = r"^https?://[A-Za-z0-9._-]+(:[0-9]{1,5})?(/[A-Za-z0-9._~-]+)*$"
STALENESS_SECONDS = (0.01, 3600.0)


class QuantizationType(StrEnum):
    """How the vectors that an index scans are encoded; the originals are always kept."""

    AUTO = "Auto"
    FLOAT32 = "Float32"
    FLOAT16 = "Float16"
    INT8 = "Int8"
    PQ = "PQ"


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
    """How the vectors that an index scans are encoded."""

    type: Annotated[
        QuantizationType,
        Rule(
            "quantization_is_chosen_by_the_node",
            "self == 'Auto'",
            "index.quantization.type {self} is not supported yet: only Auto is, which lets the node choose",
        ),
    ] = Field(QuantizationType.AUTO, description="Auto lets the node choose.", examples=["Auto"])


class IndexSpec(Part):
    """The index of one named vector. Mutable: a change is built in the background."""

    type: Annotated[
        IndexType,
        Rule(
            "index_type_is_one_that_a_cpu_builds",
            "self in ['Auto', 'Exact', 'HNSW']",
            "index.type {self} is not supported yet: use Auto, Exact or HNSW",
        ),
    ] = Field(
        IndexType.AUTO,
        description="Auto chooses by device and size and says so in the status. Exact compares with every row.",
        examples=["HNSW"],
    )
    hnsw: HnswSpec | None = Field(None, description="Parameters of an HNSW graph; none is supported yet.")
    quantization: QuantizationSpec = Field(
        QuantizationSpec(), description="How the scanned vectors are encoded.", examples=[{"type": "Auto"}]
    )


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
            f"!(self in {list(RESERVED_FIELDS)})",
            f"fields[].name '{{self}}' is reserved, as are {', '.join(RESERVED_FIELDS)}: choose another name",
        ),
    ] = Field(pattern=NAME, max_length=63, description="How filters and results name this field.", examples=["lang"])
    type: Annotated[
        FieldType,
        Rule(
            "field_type_is_immutable",
            "self == oldSelf",
            "fields[].type is immutable: it is {oldSelf} and cannot become {self}; add a field under another name",
        ),
    ] = Field(description="The type of the field's values; every one may be null. Immutable.", examples=["String"])
    indexed: bool = Field(False, description="Whether filters on this field should be fast.", examples=[True])


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


class SecretReference(Part):
    """A Secret in the collection's own namespace."""

    name: DnsName = Field(description="Name of the Secret.", examples=["team-s3"])


class CredentialsSpec(Part):
    """Where the credentials of the object store come from."""

    secret_ref: SecretReference = Field(
        description="Secret with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (AWS_SESSION_TOKEN where needed), "
        "GOOGLE_SERVICE_ACCOUNT, or AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY.",
        examples=[{"name": "team-s3"}],
    )


class VolumeSpec(Part):
    """A volume that is the data of a one-node collection."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "volume_class_is_immutable",
            "has(self.storageClassName) == has(oldSelf.storageClassName)"
            " && (!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName)",
            "storage.volume.storageClassName is immutable: the data lives on that volume",
            field=".storageClassName",
        ),
    )

    size: Annotated[
        str,
        Rule(
            "volume_size_is_a_quantity",
            f"self.matches(r'{QUANTITY}') && quantity(self).isGreaterThan(quantity('0'))",
            "storage.volume.size '{self}' must be a quantity above zero like 20Gi",
            replaces=("pattern",),
        ),
        Rule(
            "volume_size_only_grows",
            "!isQuantity(self) || !isQuantity(oldSelf) || quantity(self).compareTo(quantity(oldSelf)) >= 0",
            "storage.volume.size can only grow: it is {oldSelf} and cannot become {self}",
        ),
    ] = Field(pattern=QUANTITY, max_length=32, description="Size of the volume; it can only grow.", examples=["20Gi"])
    storage_class_name: DnsName | None = Field(
        None, description="StorageClass of the volume; the cluster's default when absent. Immutable.", examples=["nvme"]
    )


class StorageSpec(Part):
    """Where the data lives: exactly one of an object store's `url`, or a `volume` (then there is one node)."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "storage_is_a_url_or_a_volume",
            "has(self.url) != has(self.volume)",
            "storage needs exactly one of url (an object store) and volume (one node, no object store)",
        ),
        Rule(
            "storage_kind_is_immutable",
            "has(self.url) == has(oldSelf.url)",
            "storage cannot change between url and volume: make a new collection and copy the rows",
        ),
        Rule(
            "object_store_settings_need_a_url",
            "has(self.url) || !(has(self.endpoint) || has(self.region) || has(self.credentials))",
            "storage.endpoint, storage.region and storage.credentials go with storage.url, not with storage.volume",
        ),
    )

    url: Annotated[
        str | None,
        Rule(
            "storage_url_names_a_bucket",
            f"self.matches(r'{URL}')",
            "storage.url '{self}' must be s3://bucket/prefix, gs://bucket/prefix or az://container/prefix, "
            "without a slash at the end",
            replaces=("pattern",),
        ),
        Rule(
            "storage_url_is_immutable",
            "self == oldSelf",
            "storage.url is the identity of the data and immutable: it is '{oldSelf}' and cannot become '{self}'",
        ),
    ] = Field(
        None,
        pattern=URL,
        max_length=512,
        description="The folder in an object store (s3://, gs:// or az://) that holds the data and is the collection's "
        "identity: the same URL in another resource or cluster adopts the data. Immutable.",
        examples=["s3://team-vectors/articles"],
    )
    endpoint: Annotated[
        str,
        Rule(
            "storage_endpoint_is_http",
            f"self == '' || self.matches(r'{ENDPOINT}')",
            "storage.endpoint '{self}' must be like https://s3.example.com:9000",
            replaces=("pattern",),
        ),
    ] = Field(
        "",
        pattern=f"^$|{ENDPOINT}",
        max_length=256,
        description="Address of an S3-compatible server; empty for the cloud's own.",
        examples=["http://s3.storage.svc:9000"],
    )
    region: str = Field(
        "",
        pattern=r"^[a-zA-Z0-9-]*$",
        max_length=64,
        description="Region of the bucket, where the store needs one.",
        examples=["eu-central-1"],
    )
    credentials: CredentialsSpec | None = Field(
        None,
        description="Credentials of the object store. Absent: the workload identity of the pods.",
        examples=[{"secretRef": {"name": "team-s3"}}],
    )
    volume: VolumeSpec | None = Field(
        None, description="A volume that is the data; there is one node then.", examples=[{"size": "20Gi"}]
    )

    @model_validator(mode="after")
    def _is_one_of_two(self) -> Self:
        """The API server refuses this too; an object made before its rules existed must not confuse the planner."""
        if (self.url is None) == (self.volume is None):
            raise ValueError("storage needs exactly one of url and volume")
        return self


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
        """`max_staleness` in seconds, within what the API server accepts."""
        low, high = STALENESS_SECONDS
        return min(max(seconds(self.max_staleness), low), high)
