"""Each rule of the CRD is tested against a real API server, and the models agree with what is accepted there."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from pydantic import ValidationError

from vectorfleet_operator.model.generate import resource_schema
from vectorfleet_operator.model.openapi import rules_of
from vectorfleet_operator.model.spec import VectorCollectionSpec

ROOT = Path(__file__).resolve().parents[4]


def _table() -> ModuleType:
    """tests/e2e/admission_cases.py, which is on no path here."""
    found = importlib.util.spec_from_file_location("admission_cases", ROOT / "tests/e2e/admission_cases.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules["admission_cases"] = module
    found.loader.exec_module(module)
    return module


TABLE = _table()
RULES = list(rules_of(resource_schema()))
# That names are unique is only the API server's to know: the list is a map there.
STRUCTURAL = [case for case in TABLE.CREATED if case.rule == "" and "Duplicate value" not in case.expected]
GOOD: dict[str, Any] = {**TABLE.ACCEPTED, **TABLE.ALLOWED_UPDATES}


def test_every_rule_has_an_admission_case_and_every_case_a_rule_that_exists() -> None:
    assert {case.rule for case in (*TABLE.CREATED, *TABLE.UPDATED)} - {""} == {rule.name for rule in RULES}


def test_no_two_rules_have_the_same_name() -> None:
    assert len({rule.name for rule in RULES}) == len(RULES)


def test_a_rule_about_changes_is_tested_by_a_change() -> None:
    transitions = {rule.name for rule in RULES if "oldSelf" in rule.cel}
    assert transitions == {case.rule for case in TABLE.UPDATED}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_a_message_names_a_field_of_the_spec(rule: Any) -> None:
    schema = resource_schema()
    fields = {name for part in _objects(schema) for name in part["properties"]}
    assert any(field in rule.message for field in fields), rule.message


@pytest.mark.parametrize("name", GOOD)
def test_what_the_api_server_accepts_the_operator_can_read(name: str) -> None:
    VectorCollectionSpec.model_validate(TABLE.merged(TABLE.BASE, GOOD[name])).collection_schema()


@pytest.mark.parametrize("case", STRUCTURAL, ids=lambda case: case.expected[0])
def test_what_the_schema_refuses_the_operator_refuses_with_a_reason(case: Any) -> None:
    with pytest.raises(ValidationError):
        VectorCollectionSpec.model_validate(TABLE.merged(TABLE.BASE, case.change))


def _objects(schema: dict[str, Any]) -> list[dict[str, Any]]:
    """`schema` and all objects in it that have properties."""
    inner = [*schema.get("properties", {}).values(), *([schema["items"]] if "items" in schema else [])]
    own = [schema] if "properties" in schema else []
    return own + [found for part in inner for found in _objects(part)]
