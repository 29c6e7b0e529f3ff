"""What the API server must refuse, and what it must accept: one table for test_admission.

Every rule of the CRD has a case here, under the rule's name; tests/unit/operator/model/test_rules.py sees to it. A case
without a rule is about what the schema itself demands.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]

BASE: Json = {
    "vectors": [{"name": "default", "dimensions": 32, "metric": "Cosine"}],
    "fields": [{"name": "lang", "type": "String"}],
    "sharding": {"shards": 2, "replicas": 1},
    "storage": {"url": "s3://bucket/admission"},
    "nodes": {"count": 2, "cache": {"size": "1Gi", "storageClassName": "fast"}},
    "suspend": True,
}
VOLUME: Json = {"storage": {"url": None, "volume": {"size": "1Gi"}}, "nodes": {"count": 1, "cache": None}}


@dataclass(frozen=True)
class Case:
    """`change`, merged into BASE, is refused with every fragment of `expected`.

    With `before` (merged into BASE) the change is an update of an object that exists. `name` is the object's.
    """

    rule: str
    change: Json
    expected: tuple[str, ...]
    before: Json | None = None
    name: str = ""


def merged(base: Json, change: Json) -> Json:
    """`base` with a JSON merge patch applied: None removes, lists are replaced."""
    result = dict(base)
    for key, value in change.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict) and isinstance(result.get(key), dict):
            result[key] = merged(result[key], value)
        else:
            result[key] = value
    return result


def _vector(**fields: Any) -> Json:
    return {"vectors": [{"name": "default", "dimensions": 32, "metric": "Cosine", **fields}]}


def _field(**fields: Any) -> Json:
    return {"fields": [{"name": "lang", "type": "String", **fields}]}


CREATED = (
    Case("name_leaves_room_for_the_children", {}, ("metadata.name", "at most 50"), name="a" * 51),
    Case("name_leaves_room_for_the_children", {}, ("metadata.name", "lower-case letter"), name="9lives.x"),
    Case("vector_name_is_an_identifier", _vector(name="De-fault"), ("vectors[0].name", "'De-fault'", "a-z, 0-9 and _")),
    Case("field_name_is_an_identifier", _field(name="Lang"), ("fields[0].name", "'Lang'", "a-z, 0-9 and _")),
    Case("field_name_is_not_reserved", _field(name="key"), ("fields[0].name", "'key'", "reserved")),
    Case(
        "json_fields_have_no_index",
        _field(type="Json", indexed=True),
        ("fields[0].indexed", "lang is Json and cannot be indexed"),
    ),
    Case(
        "index_type_is_one_that_a_cpu_builds",
        _vector(index={"type": "CAGRA"}),
        ("vectors[0].index.type", "CAGRA is not supported yet", "Auto, Exact, PQ or HNSW"),
    ),
    Case(
        "index_type_is_one_that_a_cpu_builds",
        _vector(index={"type": "IVFPQ"}),
        ("vectors[0].index.type", "IVFPQ is not supported yet"),
    ),
    Case(
        "hnsw_parameters_are_not_supported_yet",
        _vector(index={"type": "HNSW", "hnsw": {"m": 16}}),
        ("vectors[0].index.hnsw", "index.hnsw.m", "not supported yet"),
    ),
    Case(
        "quantization_is_of_graphs",
        _vector(index={"type": "Exact", "quantization": {"type": "Int8"}}),
        ("vectors[0].index", "Int8 is for graphs", "index.type Exact has none", "Auto or HNSW"),
    ),
    Case(
        "quantization_is_of_graphs",
        _vector(index={"type": "PQ", "quantization": {"type": "Float16"}}),
        ("vectors[0].index", "Float16 is for graphs", "index.type PQ has none"),
    ),
    Case(
        "storage_is_a_url_or_a_volume",
        {"storage": {"url": None}},
        ("spec.storage", "exactly one of url", "volume"),
    ),
    Case(
        "storage_is_a_url_or_a_volume",
        {"storage": {"volume": {"size": "1Gi"}}, "nodes": {"count": 1, "cache": None}},
        ("spec.storage", "exactly one of url", "volume"),
    ),
    Case(
        "storage_url_names_a_bucket",
        {"storage": {"url": "http://bucket/x"}},
        ("spec.storage.url", "'http://bucket/x'", "s3://", "gs://", "az://"),
    ),
    Case(
        "storage_url_names_a_bucket",
        {"storage": {"url": "s3://bucket/x/"}},
        ("spec.storage.url", "without a slash at the end"),
    ),
    Case("storage_url_names_a_bucket", {"storage": {"url": "s3://bucket/../x"}}, ("spec.storage.url", "'s3://bucket/")),
    Case(
        "storage_endpoint_is_http",
        {"storage": {"endpoint": "s3.example.com"}},
        ("spec.storage.endpoint", "'s3.example.com'", "https://"),
    ),
    Case(
        "object_store_settings_need_a_url",
        merged(VOLUME, {"storage": {"region": "eu"}}),
        ("spec.storage", "storage.region", "go with storage.url"),
    ),
    Case(
        "volume_size_is_a_quantity",
        merged(VOLUME, {"storage": {"volume": {"size": "big"}}}),
        ("spec.storage.volume.size", "'big'", "20Gi"),
    ),
    Case(
        "volume_size_is_a_quantity",
        merged(VOLUME, {"storage": {"volume": {"size": "0"}}}),
        ("spec.storage.volume.size", "'0'", "above zero"),
    ),
    Case(
        "a_volume_has_one_node",
        merged(VOLUME, {"nodes": {"count": 2}}),
        ("spec.nodes.count", "nodes.count is 2", "exactly 1 node"),
    ),
    Case(
        "a_volume_has_no_cache",
        merged(VOLUME, {"nodes": {"cache": {"size": "1Gi"}}}),
        ("spec.nodes.cache", "storage.url"),
    ),
    Case(
        "cache_size_is_a_quantity", {"nodes": {"cache": {"size": "1 GB"}}}, ("spec.nodes.cache.size", "'1 GB'", "200Gi")
    ),
    Case(
        "replicas_fit_on_the_nodes",
        {"sharding": {"replicas": 3}},
        ("spec.nodes.count", "sharding.replicas is 3", "nodes.count 2", "must be at least 3"),
    ),
    Case(
        "replicas_fit_on_the_nodes",
        {"sharding": {"replicas": 2}, "nodes": None},
        ("spec.nodes.count", "nodes.count 1 (1 when it is left out)", "must be at least 2"),
    ),
    Case("there_is_a_node", {"nodes": {"count": 0}}, ("spec.nodes.count", "is 0", "from 1 to 1000", "suspend: true")),
    Case("there_is_a_node", {"nodes": {"count": 1001}}, ("spec.nodes.count", "is 1001", "from 1 to 1000")),
    Case(
        "gpus_are_not_supported_yet",
        {"nodes": {"device": {"type": "GPU", "count": 1}}},
        ("spec.nodes.device.type", "GPU is not supported yet", "use CPU"),
    ),
    Case(
        "device_details_need_a_gpu",
        {"nodes": {"device": {"memory": "14Gi"}}},
        ("spec.nodes.device", "memory", "mean nothing for type CPU"),
    ),
    Case(
        "max_staleness_is_a_duration",
        {"consistency": {"maxStaleness": "soon"}},
        ("spec.consistency.maxStaleness", "'soon'", "from 10ms to 1h"),
    ),
    Case(
        "max_staleness_is_a_duration",
        {"consistency": {"maxStaleness": "2h"}},
        ("spec.consistency.maxStaleness", "'2h'", "from 10ms to 1h"),
    ),
    Case(
        "canary_is_not_supported_yet",
        {"update": {"canary": {"duration": "2m"}}},
        ("spec.update", "update.canary is not supported yet"),
    ),
    Case("backup_is_not_supported_yet", {"backup": {"schedule": "0 3 * * *"}}, ("spec", "backup is not supported yet")),
    Case("", {"vectors": None}, ("spec.vectors", "Required value")),
    Case("", {"vectors": []}, ("spec.vectors", "at least 1 items")),
    Case("", {"storage": None}, ("spec.storage", "Required value")),
    Case("", {"vectors": BASE["vectors"] * 2}, ("spec.vectors[1]", "Duplicate value", "default")),
    Case("", _vector(metric="Euclid"), ("spec.vectors[0].metric", "Euclid", '"Cosine", "L2", "Dot"')),
    Case("", _vector(dimensions=0), ("spec.vectors[0].dimensions", "greater than or equal to 1")),
    Case("", _vector(dimensions=40000), ("spec.vectors[0].dimensions", "less than or equal to 32768")),
    Case("", _vector(dimensions="many"), ("spec.vectors[0].dimensions", "must be of type integer")),
    Case("", _field(type="Text"), ("spec.fields[0].type", "Text", '"String", "Int64", "Float64", "Bool"')),
    Case("", {"key": {"type": "UUID"}}, ("spec.key.type", "UUID", '"String", "Int64"')),
    Case("", {"sharding": {"shards": 5000}}, ("spec.sharding.shards", "less than or equal to 4096")),
    Case("", {"sharding": {"replicas": 0}}, ("spec.sharding.replicas", "greater than or equal to 1")),
    Case("", {"consistency": {"default": "Strict"}}, ("spec.consistency.default", "Strict", '"Strong", "Session"')),
    Case("", {"deletionPolicy": "Keep"}, ("spec.deletionPolicy", "Keep", '"Retain", "Delete"')),
    Case("", {"nodes": {"device": {"type": "TPU"}}}, ("spec.nodes.device.type", "TPU", '"CPU", "GPU"')),
    Case("", {"shardin": {"shards": 2}}, ("unknown field", "spec.shardin")),
    Case("", {"security": {"tls": {}}}, ("unknown field", "spec.security")),
    Case("", {"slo": {"p99": "10ms"}}, ("unknown field", "spec.slo")),
    Case(
        "",
        {"nodes": {"template": {"resources": {"requests": {"cpu": "two"}}}}},
        ("spec.nodes.template.resources.requests.cpu", "two"),
    ),
)

UPDATED = (
    Case("key_type_is_immutable", {"key": {"type": "Int64"}}, ("spec.key.type", "it is String", "become Int64"), {}),
    Case(
        "dimensions_are_immutable",
        _vector(dimensions=64),
        ("spec.vectors[0].dimensions", "it is 32", "become 64"),
        {},
    ),
    Case("metric_is_immutable", _vector(metric="L2"), ("spec.vectors[0].metric", "it is Cosine", "become L2"), {}),
    Case("vectors_are_add_only", _vector(name="other"), ("spec.vectors", "add-only"), {}),
    Case("field_type_is_immutable", _field(type="Bool"), ("spec.fields[0].type", "it is String", "become Bool"), {}),
    Case("fields_are_add_only", {"fields": []}, ("spec.fields", "add-only"), {}),
    Case("fields_are_add_only", {"fields": None}, ("spec.fields", "add-only"), {}),
    Case("shards_are_immutable", {"sharding": {"shards": 4}}, ("spec.sharding.shards", "it is 2", "become 4"), {}),
    Case(
        "storage_url_is_immutable",
        {"storage": {"url": "s3://bucket/other"}},
        ("spec.storage.url", "'s3://bucket/admission'", "'s3://bucket/other'"),
        {},
    ),
    Case("storage_kind_is_immutable", VOLUME, ("spec.storage", "cannot change between url and volume"), {}),
    Case(
        "volume_size_is_fixed",
        merged(VOLUME, {"storage": {"volume": {"size": "2Gi"}}}),
        ("spec.storage.volume.size", "is 1Gi", "become 2Gi", "not supported yet"),
        VOLUME,
    ),
    Case(
        "volume_class_is_immutable",
        merged(VOLUME, {"storage": {"volume": {"storageClassName": "slow"}}}),
        ("spec.storage.volume.storageClassName", "immutable"),
        VOLUME,
    ),
    Case(
        "cache_size_is_fixed",
        {"nodes": {"cache": {"size": "2Gi"}}},
        ("spec.nodes.cache.size", "is 1Gi", "become 2Gi", "not supported yet"),
        {},
    ),
    Case(
        "cache_class_is_immutable",
        {"nodes": {"cache": {"storageClassName": "slow"}}},
        ("spec.nodes.cache.storageClassName", "not supported yet"),
        {},
    ),
    Case("cache_cannot_be_added_or_removed", {"nodes": {"cache": None}}, ("spec.nodes.cache", "neither added"), {}),
)

ACCEPTED: dict[str, Json] = {
    "the-base": {},
    "a-volume": VOLUME,
    "left-out-defaults": {"nodes": None, "sharding": None, "fields": None},
    "two-vectors": {"vectors": [*BASE["vectors"], {"name": "title", "dimensions": 8, "metric": "Dot"}]},
    "other-stores": {"storage": {"url": "az://container", "region": "", "endpoint": ""}},
    "google": {"storage": {"url": "gs://team.vectors/a/b-c_1"}},
    "an-own-s3": {
        "storage": {
            "endpoint": "http://10.0.0.1:7070",
            "region": "eu-central-1",
            "credentials": {"secretRef": {"name": "team-s3"}},
        }
    },
    "everything-that-is-supported": {
        "key": {"type": "Int64"},
        "vectors": [
            {
                "name": "default",
                "dimensions": 1024,
                "metric": "L2",
                "index": {"type": "HNSW", "hnsw": {}, "quantization": {"type": "Int8"}},
            }
        ],
        "consistency": {"default": "Bounded", "maxStaleness": "500ms"},
        "update": {"paused": True},
        "deletionPolicy": "Delete",
        "nodes": {
            "image": "registry.example.com/node:1",
            "device": {"type": "CPU"},
            "template": {
                "resources": {"requests": {"cpu": 1, "memory": "1.5Gi"}, "limits": {"memory": "2Gi"}},
                "nodeSelector": {"pool": "search"},
                "tolerations": [{"key": "dedicated", "operator": "Exists", "effect": "NoSchedule"}],
                "affinity": {
                    "nodeAffinity": {
                        "requiredDuringSchedulingIgnoredDuringExecution": {
                            "nodeSelectorTerms": [
                                {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}
                            ]
                        }
                    }
                },
                "serviceAccount": {"annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/x"}},
            },
        },
    },
}

ALLOWED_UPDATES: dict[str, Json] = {
    "added-entries": {
        "vectors": [{"name": "title", "dimensions": 8}, *BASE["vectors"]],
        "fields": [{"name": "year", "type": "Int64"}, *BASE["fields"]],
    },
    "other-index": _vector(index={"type": "PQ"}),
    "other-quantization": _vector(index={"type": "HNSW", "quantization": {"type": "Int8"}}),
    "other-secret": {"storage": {"credentials": {"secretRef": {"name": "new"}}, "endpoint": "https://s3.example.com"}},
    "other-scale": {"sharding": {"replicas": 3}, "nodes": {"count": 3, "image": "x"}},
}
