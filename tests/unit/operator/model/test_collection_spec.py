"""The spec as the operator reads it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from pydantic import ValidationError

from vectorfleet.schema import CollectionSchema, IndexType, Metric, Quantization
from vectorfleet.topology import ConsistencyLevel
from vectorfleet_operator.model import names
from vectorfleet_operator.model.base import amount, seconds
from vectorfleet_operator.model.generate import crd
from vectorfleet_operator.model.nodes import DeviceType
from vectorfleet_operator.model.spec import DeletionPolicy, VectorCollectionSpec

SMALLEST: dict[str, Any] = {
    "vectors": [{"name": "default", "dimensions": 4}],
    "storage": {"url": "s3://team-vectors/articles"},
}


def read(**changed: Any) -> VectorCollectionSpec:
    return VectorCollectionSpec.model_validate({**SMALLEST, **changed})


def test_what_is_left_out_has_its_default() -> None:
    spec = read()
    assert (spec.sharding.shards, spec.sharding.replicas, spec.nodes.count) == (1, 1, 1)
    assert spec.consistency.default is ConsistencyLevel.SESSION
    assert spec.consistency.max_staleness_seconds == 1.0
    assert spec.nodes.device.type is DeviceType.CPU
    assert spec.deletion_policy is DeletionPolicy.RETAIN
    assert spec.storage.credentials is None
    assert not spec.suspend
    assert not spec.update.paused


def test_the_api_server_fills_in_the_same_defaults_as_the_models() -> None:
    schema = crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    assert VectorCollectionSpec.model_validate(filled(SMALLEST, schema)) == read()


def filled(value: Any, schema: dict[str, Any]) -> Any:
    """`value` with defaults as the API server puts them in."""
    if isinstance(value, list):
        return [filled(item, schema["items"]) for item in value]
    if not isinstance(value, dict):
        return value
    properties = schema.get("properties", {})
    present = {name: part["default"] for name, part in properties.items() if "default" in part} | value
    return {name: filled(content, properties[name]) for name, content in present.items()}


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        ({"type": "Exact"}, {"index": IndexType.EXACT}),
        ({"type": "PQ"}, {"index": IndexType.PQ}),
        ({"quantization": {"type": "Int8"}}, {"index": IndexType.AUTO, "quantization": Quantization.INT8}),
    ],
)
def test_the_schema_of_the_rows_is_all_that_outlives_the_resource(
    asked: dict[str, object], wanted: dict[str, object]
) -> None:
    spec = read(
        key={"type": "Int64"},
        vectors=[{"name": "title", "dimensions": 8, "metric": "Dot", "index": asked}],
        fields=[{"name": "lang", "type": "String", "indexed": True}],
        sharding={"shards": 3},
    )
    schema = spec.collection_schema()
    assert schema == CollectionSchema.model_validate(
        {
            "key": "Int64",
            "vectors": [{"name": "title", "dimensions": 8, "metric": Metric.DOT, **wanted}],
            "fields": [{"name": "lang", "type": "String", "indexed": True}],
            "shards": 3,
        }
    )


def test_a_quantization_of_what_is_no_graph_is_refused_without_the_api_server_too() -> None:
    with pytest.raises(ValidationError, match="quantization Int8 is for graphs and index PQ has none"):
        read(vectors=[{"name": "title", "dimensions": 8, "index": {"type": "PQ", "quantization": {"type": "Int8"}}}])


def test_an_unknown_field_is_an_error_that_names_it() -> None:
    with pytest.raises(ValidationError, match="shardin"):
        read(shardin={"shards": 2})


@pytest.mark.parametrize("storage", [{}, {"url": "s3://bucket/x", "volume": {"size": "1Gi"}}])
def test_an_object_older_than_the_rules_is_refused_too(storage: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="exactly one of url and volume"):
        read(storage=storage)
    with pytest.raises(ValidationError, match=r"nodes\.count must be at least 2"):
        read(sharding={"replicas": 2})


def test_a_spec_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        read().suspend = True  # type: ignore[misc]


def test_a_number_of_cpus_needs_no_quotes() -> None:
    spec = read(nodes={"template": {"resources": {"requests": {"cpu": 4, "memory": "16Gi"}}}})
    assert spec.nodes.template.resources.requests == {"cpu": "4", "memory": "16Gi"}


@pytest.mark.parametrize(("text", "value"), [("500ms", 0.5), ("1s", 1.0), ("1.5s", 1.5), ("2m", 120.0), ("1h", 3600.0)])
def test_durations_are_read(text: str, value: float) -> None:
    assert seconds(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "1", "s", "-1s", "1d", "1s\n", "1h30m"])
def test_what_is_no_duration_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration like"):
        seconds(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [("0", 0), ("500m", "0.5"), ("20Gi", 20 * 2**30), ("1.5k", 1500), ("2T", 2 * 10**12), ("3Ki", 3072)],
)
def test_quantities_are_read(text: str, value: int | str) -> None:
    assert amount(text) == Decimal(value)


@pytest.mark.parametrize("text", ["", "Gi", "1 GB", "-1", "1gi", "1e3"])
def test_what_is_no_quantity_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="is not a quantity like"):
        amount(text)


def test_the_longest_name_leaves_room_for_every_child() -> None:
    longest = "a" * names.MAX_NAME_LENGTH
    children = [
        names.stateful_set(longest) + "-0123456789",  # the pods' revision label
        names.peers(longest),
        names.topology(longest),
        names.purge(longest) + "-abcde",  # the Job's pod
        names.pod(longest, 999),
    ]
    assert [child for child in children if len(child) > 63] == []
    assert set(names.labels(longest)) == {names.COLLECTION_LABEL, names.MANAGED_BY_LABEL}
    assert names.peer_host("x", "search", 2) == "x-2.x-peers.search.svc"
