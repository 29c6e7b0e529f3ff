"""From the models to structural OpenAPI v3, the dialect that a CustomResourceDefinition is written in.

`generate` publishes the result and `reference` documents it. The traps: a structural schema has no $ref, no null and no
title, and the API server checks the rules against each default before it fills in what is inside.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from vectorfleet_operator.model.base import RULES, TYPE, Part, Rule

Schema = dict[str, Any]
# Keywords of JSON schema that a structural schema may not have, or that would say nothing in it.
PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_DROPPED = ("title", "$defs", "propertyNames", "examples", "default")


def resolved(model: type[Part]) -> Schema:
    """The schema of `model` without references, still with the private keys RULES and TYPE."""
    schema = model.model_json_schema(by_alias=True)
    return _resolve(schema, schema.get("$defs", {}))


def published(schema: Schema) -> Schema:
    """A resolved schema as the CRD has it: rules as x-kubernetes-validations, nothing private."""
    shown = {key: value for key, value in schema.items() if key not in (RULES, TYPE)}
    rules: list[Rule] = schema.get(RULES, [])
    for rule in rules:
        for keyword in rule.replaces:
            shown.pop(keyword, None)
    if rules:
        shown["x-kubernetes-validations"] = [validation(rule) for rule in rules]
    if "properties" in shown:
        shown["properties"] = {name: published(part) for name, part in shown["properties"].items()}
    for inner in ("items", "additionalProperties"):
        if inner in shown:
            shown[inner] = published(shown[inner])
    return shown


def validation(rule: Rule) -> Schema:
    """One entry of x-kubernetes-validations. Expressions in braces in the message are evaluated by the API server."""
    shown: Schema = {"rule": rule.cel}
    values = re.findall(PLACEHOLDER, rule.message)
    if values:
        # One `format`, because the API server reckons that `string(self) + ...` could be of any length.
        text = re.sub(PLACEHOLDER, "%s", rule.message.replace("%", "%%"))
        shown["messageExpression"] = f"{_literal(text)}.format([{', '.join(values)}])"
    else:
        shown["message"] = rule.message
    if rule.field:
        shown["fieldPath"] = rule.field
    return shown


def rules_of(schema: Schema) -> Iterator[Rule]:
    """Every rule in a resolved schema."""
    yield from schema.get(RULES, [])
    inner = [schema[key] for key in ("items", "additionalProperties") if key in schema]
    for part in [*schema.get("properties", {}).values(), *inner]:
        yield from rules_of(part)


def _literal(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _resolve(schema: Schema, definitions: Schema) -> Schema:
    if "$ref" in schema:
        target = definitions[schema["$ref"].rsplit("/", 1)[1]]
        beside = {key: value for key, value in schema.items() if key != "$ref"}
        both = [*target.get(RULES, []), *beside.get(RULES, [])]
        return _resolve({**target, **beside, RULES: both}, definitions)
    if "anyOf" in schema and "x-kubernetes-int-or-string" not in schema:
        (present,) = [option for option in schema["anyOf"] if option != {"type": "null"}]
        return _resolve({**present, **{key: value for key, value in schema.items() if key != "anyOf"}}, definitions)
    shown = {key: value for key, value in schema.items() if key not in _DROPPED}
    if shown.get("additionalProperties") is False:
        del shown["additionalProperties"]
    if "properties" in shown:
        shown["properties"] = {name: _resolve(part, definitions) for name, part in shown["properties"].items()}
    for inner in ("items", "additionalProperties"):
        if inner in shown:
            shown[inner] = _resolve(shown[inner], definitions)
    return {**shown, **_default(schema, shown), **_description(schema)}


def _default(schema: Schema, shown: Schema) -> Schema:
    """The default to publish: an object's is made of those inside, written out because rules are checked against it."""
    default = schema.get("default")
    if "properties" in shown and default is not None:
        default = {name: part["default"] for name, part in shown["properties"].items() if "default" in part}
    return {} if default in (None, "", [], {}) else {"default": default}


def _description(schema: Schema) -> Schema:
    """The description with its example, because `kubectl explain` shows nothing else."""
    text = " ".join(schema.get("description", "").split())
    for example in schema.get("examples", []):
        shown = example if isinstance(example, str) else json.dumps(example)
        text += f" Example: {shown}"
    return {"description": text} if text else {}
