"""What every part of the API types is made of: the base model, the CEL rules, durations and quantities.

Imported by the modules that describe the spec and the status, and by `generate`, which turns them into the CRD.
The trap: a rule only exists where the API server can see it. Attach it to a model (`rules`) or to a field
(`Annotated[..., Rule(...)]`), never check it in Python alone, and give it a case in tests/e2e/admission_cases.py.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, GetJsonSchemaHandler, WithJsonSchema
from pydantic.alias_generators import to_camel
from pydantic_core import CoreSchema

# Keys under which models leave things in their JSON schema for `openapi` and `reference`.
RULES = "x-rules"
TYPE = "x-type"


@dataclass(frozen=True)
class Rule:
    """A CEL rule (`x-kubernetes-validations`) with a name that its admission test is filed under.

    `message` may hold CEL expressions in braces: `"nodes.count is {self.count}: at least 1 is needed"`.
    `replaces` names keywords of the field's schema for which the rule has the better message; the CRD leaves them out.
    `field` (like `.nodes.count`) is where the error points, when that is not where the rule is attached.
    """

    name: str
    cel: str
    message: str
    field: str = ""
    replaces: tuple[str, ...] = ()

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Leaves the rule where `openapi` finds it."""
        schema = handler(core)
        return {**schema, RULES: [*schema.get(RULES, []), self]}


class Part(BaseModel):
    """A part of the resource: immutable, camelCase outside and snake_case inside, unknown fields are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)

    rules: ClassVar[tuple[Rule, ...]] = ()

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Leaves the type's name and rules where `openapi` finds them."""
        schema = handler.resolve_ref_schema(handler(core))
        schema[TYPE] = cls.__name__
        schema[RULES] = list(cls.rules)
        return schema


@dataclass(frozen=True)
class ListMap:
    """Marks a list whose items are merged and compared by `key`, so that two writers can own different items."""

    key: str = "name"

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Adds what the API server merges by."""
        return {
            **handler(core),
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": [self.key],
        }


NAME = r"^[a-z][a-z0-9_]{0,62}$"
QUANTITY = r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$"
DURATION = r"^[0-9]+(\.[0-9]+)?(ms|s|m|h)$"
DNS_NAME = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"

Quantity = Annotated[str, Field(pattern=QUANTITY, max_length=32)]
# A number without a unit may be written without quotes, as in a pod's own YAML.
ResourceQuantity = Annotated[
    str,
    BeforeValidator(lambda value: str(value) if isinstance(value, int) else value),
    Field(pattern=QUANTITY, max_length=32),
    WithJsonSchema(
        {"anyOf": [{"type": "integer"}, {"type": "string"}], "pattern": QUANTITY, "x-kubernetes-int-or-string": True}
    ),
]
DnsName = Annotated[str, Field(pattern=DNS_NAME, min_length=1, max_length=253)]

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_FACTORS = {
    "": Decimal(1),
    "m": Decimal("0.001"),
    **{letter: Decimal(1000) ** power for power, letter in enumerate("kMGTP", start=1)},
    **{letter + "i": Decimal(1024) ** power for power, letter in enumerate("KMGTP", start=1)},
}


def seconds(duration: str) -> float:
    """Seconds in a duration like `500ms`, `1.5s`, `2m` or `1h`; ValueError for anything else."""
    if not re.fullmatch(DURATION, duration):
        raise ValueError(f"{duration!r} is not a duration like 500ms, 1s, 2m or 1h")
    number = duration.rstrip("msh")
    return float(number) * _SECONDS[duration[len(number) :]]


def amount(quantity: str) -> Decimal:
    """The value of a Kubernetes quantity like `200Gi` or `500m`; ValueError for anything else."""
    if not re.fullmatch(QUANTITY, quantity):
        raise ValueError(f"{quantity!r} is not a quantity like 200Gi, 1.5T or 500m")
    number = quantity.rstrip("mkMGTPKi")
    return Decimal(number) * _FACTORS[quantity[len(number) :]]
