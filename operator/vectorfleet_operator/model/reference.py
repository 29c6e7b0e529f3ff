"""The API reference, docs/reference/api.md, from the same schema as the CRD. Called by `generate`."""

from __future__ import annotations

import json
import re

from vectorfleet_operator.model.base import RULES, TYPE, Rule
from vectorfleet_operator.model.names import API_VERSION, KIND, SHORT_NAME
from vectorfleet_operator.model.openapi import Schema

_INTRODUCTION = f"""# {KIND} (`{API_VERSION}`)

Made by `make generate` from the models in `operator/vectorfleet_operator/model`; do not edit it here.

`kubectl explain {SHORT_NAME}.spec` shows the same. The API server refuses what breaks a rule, with the rule's message.
"""


def reference(resource: Schema, resource_rules: tuple[Rule, ...]) -> str:
    """The Markdown page: one table for each type, in the order in which they are first named."""
    chapters = [
        _INTRODUCTION,
        "Rules of the whole resource:\n\n" + "\n".join(f"* {shown(r)}" for r in resource_rules),
    ]
    for part in ("spec", "status"):
        seen: set[str] = set()
        queue = [resource["properties"][part]]
        while queue:
            schema = queue.pop(0)
            if schema[TYPE] not in seen:
                seen.add(schema[TYPE])
                chapters.append(_chapter(schema))
                queue.extend(inner for inner in map(_object_in, schema["properties"].values()) if inner)
    return "\n\n".join(chapter.strip() for chapter in chapters) + "\n"


def _object_in(schema: Schema) -> Schema | None:
    """The type with a chapter of its own that a field holds, in a list or alone."""
    inner: Schema = schema.get("items", schema)
    return inner if TYPE in inner else None


def _chapter(schema: Schema) -> str:
    lines = [f"## {schema[TYPE]}", ""]
    if schema[RULES]:
        lines += [*[f"* {shown(rule)}" for rule in schema[RULES]], ""]
    lines += ["| field | type | default | description | rules |", "|---|---|---|---|---|"]
    required = schema.get("required", [])
    for name, field in schema["properties"].items():
        default = "required" if name in required else f"`{json.dumps(field['default'])}`" if "default" in field else ""
        rules = "<br>".join([*_limits(field), *[shown(rule) for rule in field.get(RULES, [])]])
        cells = (f"`{name}`", _type(field), default, field["description"], rules)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def _type(field: Schema) -> str:
    if "enum" in field:
        return " | ".join(f"`{value}`" for value in field["enum"])
    if field.get("type") == "array":
        return f"list of {_type(field['items'])}"
    if "additionalProperties" in field:
        return f"map of {_type(field['additionalProperties'])}"
    if TYPE in field:
        return f"[{field[TYPE]}](#{field[TYPE].lower()})"
    return "quantity" if "x-kubernetes-int-or-string" in field else str(field["type"])


def _limits(field: Schema) -> list[str]:
    """What the schema itself demands, where no rule says it better."""
    replaced = {keyword for rule in field.get(RULES, []) for keyword in rule.replaces}
    words = {
        "minimum": "at least {}",
        "maximum": "at most {}",
        "minItems": "at least {} entries",
        "maxItems": "at most {} entries",
        "maxProperties": "at most {} entries",
        "minLength": "at least {} characters",
        "maxLength": "at most {} characters",
        "pattern": "matches `{}`",
    }
    return [text.format(field[key]) for key, text in words.items() if key in field and key not in replaced]


def shown(rule: Rule) -> str:
    """The rule's message, with `…` for what the API server fills in."""
    return re.sub(r"\{[^{}]*\}", "…", rule.message)
