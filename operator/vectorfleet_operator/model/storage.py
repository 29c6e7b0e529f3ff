"""The part of the spec that says where the data lives: an object store, or a volume of one node.

Used by `spec`. The URL is the identity of the data, so almost nothing here can change.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from vectorfleet_operator.model.base import QUANTITY, DnsName, Part, Rule

URL = r"^(s3|gs|az)://[a-z0-9][a-z0-9._-]{1,61}[a-z0-9](/[A-Za-z0-9_][A-Za-z0-9._=-]*)*$"
ENDPOINT = r"^https?://[A-Za-z0-9._-]+(:[0-9]{1,5})?(/[A-Za-z0-9._~-]+)*$"


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
            "volume_size_is_fixed",
            "self == oldSelf",
            "storage.volume.size is {oldSelf} and cannot become {self}: resizing is not supported yet",
        ),
    ] = Field(
        pattern=QUANTITY,
        max_length=32,
        description="Size of the volume; resizing is not supported yet.",
        examples=["20Gi"],
    )
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
