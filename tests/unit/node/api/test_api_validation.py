"""What a client may send: each refusal names the field, the value and what is allowed."""

from __future__ import annotations

from collections.abc import Callable

import grpc
import numpy as np
import pytest
from fake_fleet import SCHEMA
from google.rpc import error_details_pb2

from vectorfleet.schema import CollectionSchema, KeyType, VectorSchema
from vectorfleet.v1 import vectorfleet_pb2 as pb
from vectorfleet_node.api import errors, validate
from vectorfleet_node.shard.batch import arrow_schema, decode, encode

ROWS = 2


def good_rows() -> pb.Rows:
    vectors = np.array([[1, 2], [3, 4]], dtype="<f4")
    return pb.Rows(
        keys=pb.Keys(strings=["a", "b"]),
        vectors=[pb.VectorColumn(dimensions=2, data=vectors.tobytes())],
        fields=[
            pb.FieldColumn(name="year", ints=pb.Int64Values(values=[2020, 0]), valid=[True, False]),
            pb.FieldColumn(name="lang", strings=pb.StringValues(values=["en", "de"])),
        ],
    )


def refused(work: Callable[[], object]) -> tuple[str, str]:
    """The field and the message of the refusal, read as a client would."""
    with pytest.raises(Exception) as caught:
        work()
    status = errors.status_of(caught.value)
    assert status is not None, caught.value
    assert status.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    request = error_details_pb2.BadRequest()
    assert status.details[0].Unpack(request)
    violation = request.field_violations[0]
    assert violation.field in status.message
    return violation.field, violation.description


def floats(*values: float) -> bytes:
    return np.array(values, dtype="<f4").tobytes()


BAD_ROWS: list[tuple[str, str, Callable[[pb.Rows], object]]] = [
    ("rows.keys", "at least one", lambda rows: rows.keys.Clear()),
    ("rows.keys", "String", lambda rows: rows.keys.CopyFrom(pb.Keys(ints=[1, 2]))),
    ("rows.keys", "'a' is given twice", lambda rows: rows.keys.CopyFrom(pb.Keys(strings=["a", "a"]))),
    ("rows.keys", "1 to 512", lambda rows: rows.keys.CopyFrom(pb.Keys(strings=["", "b"]))),
    ("rows.keys", "513 bytes", lambda rows: rows.keys.CopyFrom(pb.Keys(strings=["a", "x" * 513]))),
    ("rows.keys", "514 bytes", lambda rows: rows.keys.CopyFrom(pb.Keys(strings=["a", "ä" * 257]))),
    ("rows.vectors", "'default' is missing", lambda rows: rows.ClearField("vectors")),
    ("rows.vectors", "unknown vector 'other'", lambda rows: rows.vectors.add(name="other")),
    ("rows.vectors", "given twice", lambda rows: rows.vectors.add(name="default")),
    ("rows.vectors[default].dimensions", "is 3", lambda rows: setattr(rows.vectors[0], "dimensions", 3)),
    ("rows.vectors[default].data", "has 3 bytes", lambda rows: setattr(rows.vectors[0], "data", b"abc")),
    ("rows.vectors[default]", "nan", lambda rows: setattr(rows.vectors[0], "data", floats(1, 2, 3, float("nan")))),
    ("rows.vectors[default]", "inf", lambda rows: setattr(rows.vectors[0], "data", floats(1, 2, 3, float("inf")))),
    (
        "rows.fields",
        "unknown field 'x'",
        lambda rows: rows.fields.add(name="x", bools=pb.BoolValues(values=[True] * 2)),
    ),
    ("rows.fields", "given twice", lambda rows: rows.fields.add(name="year", ints=pb.Int64Values(values=[1, 2]))),
    ("rows.fields[year]", "takes ints", lambda rows: rows.fields[0].strings.values.extend(["1", "2"])),
    ("rows.fields[year]", "has 3 values", lambda rows: rows.fields[0].ints.values.append(3)),
    ("rows.fields[year].valid", "has 3 entries", lambda rows: rows.fields[0].valid.append(True)),
]


@pytest.mark.parametrize(("field", "told", "spoil"), BAD_ROWS, ids=[f"{field}: {told}" for field, told, _ in BAD_ROWS])
def test_a_bad_upsert_is_refused_naming_field_and_value(
    field: str, told: str, spoil: Callable[[pb.Rows], object]
) -> None:
    rows = good_rows()
    spoil(rows)
    named, message = refused(lambda: validate.upsert_batch(rows, SCHEMA))
    assert named == field
    assert told in message


def test_a_good_upsert_becomes_a_batch_that_the_log_stores() -> None:
    batch = validate.upsert_batch(good_rows(), SCHEMA)
    assert batch.schema.equals(arrow_schema(SCHEMA))
    assert decode(encode(batch), SCHEMA).to_pylist() == [
        {"key": "a", "vector.default": [1, 2], "field.lang": "en", "field.year": 2020},
        {"key": "b", "vector.default": [3, 4], "field.lang": "de", "field.year": None},
    ]


def test_a_field_that_is_not_given_is_null() -> None:
    rows = good_rows()
    rows.ClearField("fields")
    assert validate.upsert_batch(rows, SCHEMA).column("field.year").null_count == ROWS


def test_int64_keys_are_taken_whole() -> None:
    schema = CollectionSchema(key=KeyType.INT64, vectors=(VectorSchema(dimensions=2),), shards=1)
    rows = good_rows()
    rows.ClearField("fields")
    rows.keys.CopyFrom(pb.Keys(ints=[-(2**63), 2**63 - 1]))
    assert validate.upsert_batch(rows, schema).column("key").to_pylist() == [-(2**63), 2**63 - 1]


BAD_SEARCHES: list[tuple[str, str, dict[str, object]]] = [
    ("vector", "'other'", {"vector": "other"}),
    ("k", "16384", {"k": 0}),
    ("k", "16384", {"k": 16385}),
    ("dimensions", "has 2", {"dimensions": 3}),
    ("queries", "positive multiple", {"queries": b""}),
    ("queries", "positive multiple", {"queries": b"123456789"}),
    ("queries", "nan", {"queries": floats(float("nan"), 1)}),
    ("output_fields", "'nope'", {"output_fields": ["nope"]}),
    ("filter", "column", {"filter": "lang =="}),
    ("filter", "nope", {"filter": 'nope == "x"'}),
    ("params.ef", "65536", {"params": pb.SearchParams(ef=70000)}),
    ("params.target_recall", "0.5 to 1", {"params": pb.SearchParams(target_recall=0)}),
]


@pytest.mark.parametrize(("field", "told", "change"), BAD_SEARCHES)
def test_a_bad_search_is_refused_naming_field_and_value(field: str, told: str, change: dict[str, object]) -> None:
    request = pb.SearchRequest(**{"dimensions": 2, "queries": floats(1, 0), "k": 3, **change})  # type: ignore[arg-type]
    named, message = refused(lambda: validate.search_of(request, SCHEMA))
    assert named == field
    assert told in message


def test_a_request_id_of_more_than_64_characters_is_refused() -> None:
    validate.check_request_id("x" * 64)
    named, message = refused(lambda: validate.check_request_id("x" * 65))
    assert named == "request_id"
    assert "65" in message
