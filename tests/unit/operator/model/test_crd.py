"""The generated CRD: current, structural, bounded, and small enough for `kubectl apply`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from vectorfleet_operator.model.base import Rule
from vectorfleet_operator.model.generate import COLUMNS, ROOT, crd, files
from vectorfleet_operator.model.openapi import validation

FILES = files()
VERSION = crd()["spec"]["versions"][0]
SCHEMA = VERSION["schema"]["openAPIV3Schema"]
CLIENT_SIDE_APPLY_LIMIT = 262_144


def parts(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema inside `schema`, with its path."""
    yield path, schema
    for name, part in schema.get("properties", {}).items():
        yield from parts(part, f"{path}.{name}")
    for inner in ("items", "additionalProperties"):
        if inner in schema:
            yield from parts(schema[inner], f"{path}[]")


def at(path: str) -> dict[str, Any]:
    """The schema at a JSON path like `.spec.nodes.count`; a filter on conditions ends it."""
    schema = SCHEMA
    for name in re.sub(r"\[\?.*", "", path).strip(".").split("."):
        schema = schema["properties"][name]
    return schema


@pytest.mark.parametrize("path", FILES)
def test_the_committed_file_is_what_the_models_make(path: str) -> None:
    assert (ROOT / path).read_text() == FILES[path], "run make generate"


def test_the_crd_can_be_applied_by_the_client() -> None:
    assert max(len(text) for text in FILES.values()) < CLIENT_SIDE_APPLY_LIMIT


def test_the_schema_is_structural() -> None:
    for path, schema in parts(SCHEMA):
        assert "type" in schema or "x-kubernetes-int-or-string" in schema, path
        assert not {"$ref", "title", "examples", "oneOf", "const", "propertyNames"} & set(schema), path
        assert not [key for key in schema if key in ("x-rules", "x-type")], path


def test_everything_has_a_bound_so_that_rules_have_a_known_cost() -> None:
    for path, schema in parts(SCHEMA["properties"]["spec"]):
        if schema.get("type") == "string":
            assert "enum" in schema or "maxLength" in schema, path
        if schema.get("type") == "array":
            assert "maxItems" in schema, path
        if "additionalProperties" in schema:
            assert "maxProperties" in schema, path


def test_every_field_is_described_and_every_one_of_the_spec_has_an_example() -> None:
    for path, schema in parts(SCHEMA["properties"]["spec"]):
        if path and not path.endswith("[]"):
            assert "Example: " in schema["description"], path
    for path, schema in parts(SCHEMA["properties"]["status"]):
        assert schema.get("description") or path.endswith("[]"), path


def test_printer_columns_and_the_scale_subresource_point_at_fields_that_exist() -> None:
    for _, kind, path, _ in COLUMNS:
        if not path.startswith(".metadata"):
            assert at(path)["type"] == (kind if "conditions" not in path else "array")
    scale = VERSION["subresources"]["scale"]
    assert at(scale["specReplicasPath"])["type"] == at(scale["statusReplicasPath"])["type"] == "integer"
    assert at(scale["labelSelectorPath"])["type"] == "string"


def test_named_lists_are_merged_by_name() -> None:
    for path in (".spec.vectors", ".spec.fields"):
        assert at(path)["x-kubernetes-list-type"] == "map"
        assert at(path)["x-kubernetes-list-map-keys"] == ["name"]


def test_the_chart_keeps_the_crd_when_it_is_uninstalled() -> None:
    text = FILES["charts/vectorfleet/templates/crd.yaml"]
    assert "helm.sh/resource-policy: keep" in text
    assert text.count("{{") == 2


def test_an_expression_in_a_message_is_evaluated_by_the_api_server() -> None:
    made = validation(Rule("x", "self > 1", "it's {self.count}, 100% too few", field=".count"))
    assert made == {
        "rule": "self > 1",
        "messageExpression": r"'it\'s %s, 100%% too few'.format([self.count])",
        "fieldPath": ".count",
    }
    assert validation(Rule("x", "self > 1", "too few")) == {"rule": "self > 1", "message": "too few"}
