"""How a collection's schema may grow; pure. Used when a collection is adopted and when its claim is renewed."""

from __future__ import annotations

from vectorfleet.schema import CollectionSchema


def refusals(present: CollectionSchema, wanted: CollectionSchema) -> list[str]:
    """Why data with the schema `present` cannot be served as `wanted`, one sentence each; empty when it can."""
    found = present.differences(wanted)
    known = {vector.name for vector in present.vectors}
    found += [
        f"vectors[{vector.name}] is new: adding a vector to a collection that exists is not supported yet"
        for vector in wanted.vectors
        if vector.name not in known
    ]
    return found


def extended(present: CollectionSchema, wanted: CollectionSchema) -> CollectionSchema:
    """`present` with the indexes and the additional fields of `wanted`, which contradicts nothing in it.

    Fields keep their order, whatever order the user gives them now: new ones come last. A field that `wanted` does not
    know yet (an older topology) stays.
    """
    vectors = {vector.name: vector for vector in wanted.vectors}
    fields = {field.name: field for field in wanted.fields}
    known = {field.name for field in present.fields}
    return present.model_copy(
        update={
            "vectors": tuple(vectors.get(vector.name, vector) for vector in present.vectors),
            "fields": tuple(fields.get(field.name, field) for field in present.fields)
            + tuple(field for field in wanted.fields if field.name not in known),
        }
    )
