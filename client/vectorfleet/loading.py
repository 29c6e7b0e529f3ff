"""Bulk loads: fits the batches of a source to a collection's schema. Pure; used by `load` of both clients.

The trap: a batch alone does not tell a field's type (a column of prices may hold whole numbers for 2,000 rows), so
types come from the collection, never from the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from vectorfleet.columns import Json
from vectorfleet.errors import InvalidArgument, LoadFailed
from vectorfleet.partition import Key
from vectorfleet.readers import Batch, Source
from vectorfleet.retry import RetryPolicy
from vectorfleet.schema import FieldType, KeyType
from vectorfleet.values import CollectionInfo

Progress = Callable[[int, int | None], None]  # rows stored so far, rows in the source if it knows
PATIENT = RetryPolicy(attempts=1000)  # a load rides out a restarting node until its timeout


@dataclass(frozen=True)
class Upload:
    """One batch as it is written."""

    keys: list[Any]
    vectors: Mapping[str, Any]
    fields: Mapping[str, list[Any]]


def uploads(source: Source, into: CollectionInfo, batch_size: int, in_flight: int, skip: int) -> Iterator[Upload]:
    """The batches of `source` after its first `skip` rows, as rows of `into`; InvalidArgument where they do not fit."""
    for name, value, least in (("batch_size", batch_size, 1), ("in_flight", in_flight, 1), ("skip", skip, 0)):
        if value < least:
            raise InvalidArgument(f"{name} is {value}; expected {least} or more")
    return (fit(batch, into) for batch in source.batches(batch_size, skip))


def fit(batch: Batch, into: CollectionInfo) -> Upload:
    """One batch as rows of `into`."""
    vectors = {_vector_name(name, into): array for name, array in batch.vectors.items()}
    for vector in into.vectors:
        array = vectors.get(vector.name)
        if array is not None and array.shape[1] != vector.dimensions:
            raise InvalidArgument(
                f"the source has vectors of {array.shape[1]} dimensions and {into.name} has {vector.dimensions}"
            )
    types = {field.name: field.type for field in into.fields}
    unknown = sorted(set(batch.fields) - set(types))
    if unknown:
        known = ", ".join(types) or "none"
        raise InvalidArgument(
            f"{into.name} has no field {', '.join(unknown)} (fields: {known}); choose with fields=[...]"
        )
    return Upload(
        fit_keys(batch.keys, into.key_type),
        vectors,
        {name: _fit_values(values, types[name]) for name, values in batch.fields.items()},
    )


def _vector_name(name: str, into: CollectionInfo) -> str:
    known = [vector.name for vector in into.vectors]
    if name in known:
        return name
    if name == "default" and len(known) == 1:
        return known[0]
    raise InvalidArgument(f"{into.name} has no vector {name} (vectors: {', '.join(known)})")


def fit_keys(keys: Any, key_type: str) -> list[Key]:
    """`keys` as text or whole numbers, as the collection wants them."""
    plain: list[Key] = keys.tolist() if isinstance(keys, np.ndarray) else list(keys)
    if key_type == KeyType.STRING:
        return [str(key) for key in plain]
    try:
        return [int(key) for key in plain]
    except ValueError as error:
        raise InvalidArgument(f"the collection's keys are whole numbers: {error}") from None


def _fit_values(values: list[Any], kind: str) -> list[Any]:
    if kind == FieldType.FLOAT64:
        return [float(value) if type(value) is int else value for value in values]
    if kind == FieldType.FLOAT64_ARRAY:
        return [_fit_values(value, FieldType.FLOAT64) if isinstance(value, list) else value for value in values]
    if kind == FieldType.JSON:
        return [None if value is None else Json(value) for value in values]
    return values


def stopped(error: Exception, stored: int) -> LoadFailed:
    """What the user gets when a batch could not be written."""
    return LoadFailed(f"{error} (the first {stored:,} rows are stored; go on with skip={stored})", stored)
